//! SIGINT and SIGTERM while a run is under way: the first ends it with a full report, the second at once.
//!
//! Owns the thread that hears them. Must not know what is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use anyhow::{Context, Result};

/// What has been heard.
#[derive(Debug, Default)]
pub struct Interrupt {
    count: AtomicU32,
    last: AtomicU8,
}

impl Interrupt {
    /// Listens from now on, to the end of the process.
    pub fn listen() -> Result<Arc<Interrupt>> {
        let heard = Arc::new(Interrupt::default());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().context("start the signal loop")?;
        let signals = {
            let _runtime = runtime.enter();
            Signals::new().context("listen for signals")?
        };
        let hearing = heard.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(signals.hear(&hearing)))
            .context("listen for signals")?;
        Ok(heard)
    }

    /// Whether the run is to end.
    pub fn is_asked(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// The signal that came second: the program is to end at once.
    pub fn insisted(&self) -> Option<u8> {
        (self.count.load(Ordering::Relaxed) > 1).then(|| self.last.load(Ordering::Relaxed))
    }

    fn hear(&self, signal: u8) {
        self.last.store(signal, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn hear(mut self, heard: &Interrupt) {
        loop {
            let number = tokio::select! {
                _ = self.interrupt.recv() => 2,
                _ = self.terminate.recv() => 15,
            };
            heard.hear(number);
        }
    }
}

/// Windows has ^C, which comes as what is SIGINT elsewhere.
#[cfg(windows)]
struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
}

#[cfg(windows)]
impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals { interrupt: tokio::signal::windows::ctrl_c()? })
    }

    async fn hear(mut self, heard: &Interrupt) {
        while self.interrupt.recv().await.is_some() {
            heard.hear(2);
        }
    }
}
