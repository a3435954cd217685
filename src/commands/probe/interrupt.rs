//! SIGINT and SIGTERM end a long run with its summary.
//!
//! Owns which of them came. Must not know what is stopped. Trade-off: they are heard only in runs that take their time; a
//! short one dies of a signal as every program does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::connection::Waker;
use crate::signals;

/// No signal has this number.
const NONE: u8 = 0;

/// The signal that stopped the run, as soon as there is one.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    signal: Arc<AtomicU8>,
}

impl Interrupt {
    /// From now on the first signal stops the run.
    pub fn stops(waker: &Waker) -> Interrupt {
        let interrupt = Interrupt::default();
        let (heard, waker) = (interrupt.clone(), waker.clone());
        let hear = move |signal| {
            heard.signal.store(signal, Ordering::Release);
            waker.stop();
            false
        };
        // A failure leaves the system's own way with signals, which ends the program too.
        let _ = signals::hear(hear);
        interrupt
    }

    /// Its number.
    pub fn signal(&self) -> Option<u8> {
        Some(self.signal.load(Ordering::Acquire)).filter(|signal| *signal != NONE)
    }
}
