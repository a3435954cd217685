//! A connection as the server knows it while it is served: its socket, what it has carried, and what it is asked to do.
//!
//! Owns how a connection hears that its time is over. Must not know why. Trade-off: a flag and a waker instead of a channel,
//! because ten thousand idle connections each have one of these.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use super::counters::{Counter, Traffic};
use crate::connection::{Conn, Driven};

/// What a connection is asked to do. Later ones are more urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// Nothing: it lives as long as its peer likes.
    Nothing,
    /// To finish: what the peer is sending is served, then its input has ended.
    ToFinish,
    /// To end now, with a reset.
    ToEnd,
}

/// What the server can do with a connection while it is served, whoever serves it.
pub trait Alive: Send + Sync {
    /// Asks it to do something. What is more urgent stays.
    fn ask(&self, asked: Asked);

    /// What it has carried.
    fn traffic(&self) -> Traffic;
}

/// A connection that is being served.
#[derive(Debug)]
pub struct Life {
    driven: Driven<Conn>,
    /// Only the connection's own task counts.
    received_bytes: Counter,
    sent_bytes: Counter,
    /// When something came or went last, in microseconds of its age; none where nobody wants to know.
    active_us: Option<Counter>,
    asked: AtomicU8,
    /// The task's, which stays the same: it serves nothing else.
    waker: OnceLock<Waker>,
}

impl Life {
    /// It begins. Only where somebody asks how long it has been idle is the clock read whenever something comes or goes.
    pub fn new(driven: Driven<Conn>, has_idle_clock: bool) -> Life {
        Life {
            driven,
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            active_us: has_idle_clock.then(Counter::default),
            asked: AtomicU8::new(Asked::Nothing as u8),
            waker: OnceLock::new(),
        }
    }

    /// The connection on its event loop.
    #[inline]
    pub fn driven(&self) -> &Driven<Conn> {
        &self.driven
    }

    /// The connection.
    pub fn conn(&self) -> &Conn {
        self.driven.get()
    }

    /// So many bytes have come.
    #[inline]
    pub fn received(&self, bytes: usize) {
        self.received_bytes.add_alone(bytes as u64);
        self.is_active();
    }

    /// So many bytes have gone.
    #[inline]
    pub fn sent(&self, bytes: usize) {
        self.sent_bytes.add_alone(bytes as u64);
        self.is_active();
    }

    #[inline]
    fn is_active(&self) {
        if let Some(active_us) = &self.active_us {
            active_us.raise(self.conn().age().as_micros() as u64);
        }
    }

    /// For how long nothing has come or gone.
    pub fn idle(&self) -> Duration {
        let active = Duration::from_micros(self.active_us.as_ref().map_or(0, Counter::get));
        self.conn().age().saturating_sub(active)
    }

    /// What it is asked to do. The first call decides whom to wake.
    pub fn listen(&self, context: &Context<'_>) -> Asked {
        // First the waker, then the look: whoever asks between the two finds somebody to wake.
        self.waker.get_or_init(|| context.waker().clone());
        self.asked()
    }

    /// What it is asked to do.
    pub fn asked(&self) -> Asked {
        match self.asked.load(Ordering::SeqCst) {
            0 => Asked::Nothing,
            1 => Asked::ToFinish,
            _ => Asked::ToEnd,
        }
    }
}

impl Alive for Life {
    fn ask(&self, asked: Asked) {
        self.asked.fetch_max(asked as u8, Ordering::SeqCst);
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    fn traffic(&self) -> Traffic {
        Traffic { received_bytes: self.received_bytes.get(), sent_bytes: self.sent_bytes.get() }
    }
}
