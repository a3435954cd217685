//! SIGINT and SIGTERM as something that is heard, instead of the end of the process.
//!
//! Owns their registration and their numbers. Must not know what a signal means to anybody. Trade-off: a thread with an
//! event loop of its own, so that commands without one can hear signals too.

use std::io;

/// From now on each signal's number is told to `hear`, on a thread of its own, until that says `false`.
pub fn hear(hear: impl FnMut(u8) -> bool + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // Registered before this returns: a signal that comes sooner ends the process.
    let signals = {
        let _runtime = runtime.enter();
        Signals::new()?
    };
    let listen = move || runtime.block_on(signals.tell(hear));
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen)?;
    Ok(())
}

/// Those that ask a program to end.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn tell(mut self, mut hear: impl FnMut(u8) -> bool) {
        loop {
            let number = tokio::select! {
                _ = self.interrupt.recv() => 2,
                _ = self.terminate.recv() => 15,
            };
            if !hear(number) {
                return;
            }
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
    fn new() -> io::Result<Signals> {
        Ok(Signals { interrupt: tokio::signal::windows::ctrl_c()? })
    }

    async fn tell(mut self, mut hear: impl FnMut(u8) -> bool) {
        while self.interrupt.recv().await.is_some() && hear(2) {}
    }
}
