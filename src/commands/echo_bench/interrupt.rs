//! SIGINT and SIGTERM while a run is under way: the first ends it with a full report, the second at once.
//!
//! Owns how often they have come. Must not know what is measured. Trade-off: who waits for long is woken, and who looks
//! often is not: no thread that measures hears of anything but the end.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::connection::Waker;
use crate::signals;

/// What has been heard.
#[derive(Debug, Default)]
pub struct Interrupt {
    count: AtomicU32,
    last: AtomicU8,
    /// Of what is waited for.
    waker: Mutex<Waker>,
}

impl Interrupt {
    /// Listens from now on, to the end of the process.
    pub fn listen() -> Result<Arc<Interrupt>> {
        let heard = Arc::new(Interrupt::default());
        let hearing = heard.clone();
        let hear = move |signal| {
            hearing.hear(signal);
            true
        };
        signals::hear(hear).context("listen for signals")?;
        Ok(heard)
    }

    /// Whether the run is to end.
    pub fn is_asked(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// What is waited for from now on ends when a signal comes, or has come.
    pub fn stops(&self, waker: Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker.clone();
        if self.is_asked() {
            waker.stop();
        }
    }

    /// The signal that came second: the program is to end at once.
    pub fn insisted(&self) -> Option<u8> {
        (self.count.load(Ordering::Relaxed) > 1).then(|| self.last.load(Ordering::Relaxed))
    }

    fn hear(&self, signal: u8) {
        self.last.store(signal, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.waker.lock().unwrap_or_else(PoisonError::into_inner).stop();
    }
}
