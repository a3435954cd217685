//! What was served so far: counted where it happens, read by whoever asks.
//!
//! Owns the counts and their names, which the summary's JSON and the metrics share. Must not know who asks. Trade-off: one
//! relaxed atomic for each count, so that no datagram waits for a lock; counts that are read together may be a moment apart.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::ending::How;
use super::recorded::Recorded;
use crate::fault::lane::EndingKind;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// So many more; says how many there were.
    #[inline]
    pub fn add(&self, more: u64) -> u64 {
        self.0.fetch_add(more, Ordering::Relaxed)
    }

    /// The same where only one thread at a time counts: it costs no more than a plain addition.
    #[inline]
    pub fn add_alone(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    /// At least so many.
    pub fn raise(&self, level: u64) {
        self.0.fetch_max(level, Ordering::Relaxed);
    }

    /// How many.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bytes each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received from the peer.
    pub received_bytes: u64,
    /// Sent to the peer: taken by the system.
    pub sent_bytes: u64,
}

/// The counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub connections: Counter,
    /// Those that ended in order, or were closed by a rule.
    pub connections_clean: Counter,
    /// Those that a rule, or the record that is replayed, had us reset.
    pub connections_reset_by_rule: Counter,
    /// The most that were open at one time.
    pub connections_peak: Counter,
    /// Those that the peer reset, or that failed otherwise; among them those without a PROXY header where one must come.
    pub connections_failed: Counter,
    /// Of those that failed, the ones that the peer reset.
    pub connections_reset_by_peer: Counter,
    /// Those that were reset when the grace period ended.
    pub connections_cut: Counter,
    /// Those that were closed because they were idle.
    pub connections_timed_out: Counter,
    /// Those that were not let in, and are not among the connections.
    pub connections_refused: Counter,
    /// Connections and datagrams that brought something else than was expected.
    pub unexpected: Counter,
    /// Accepts that failed for want of descriptors or memory.
    pub accepts_failed: Counter,
    /// Datagrams received.
    pub datagrams: Counter,
    /// Datagrams that were not answered: forged senders, senders without a name, an answer that
    /// would be too long, or no room to send.
    pub datagrams_unanswered: Counter,
    /// Datagrams that were not let in, and are not among the datagrams.
    pub datagrams_refused: Counter,
    /// Bytes received, on connections that have ended.
    pub received_bytes: Counter,
    /// Bytes sent, on connections that have ended.
    pub sent_bytes: Counter,
}

impl Counters {
    /// A connection has ended.
    pub fn ended(&self, traffic: Traffic, how: &How) {
        self.received_bytes.add(traffic.received_bytes);
        self.sent_bytes.add(traffic.sent_bytes);
        if how.is_reset_by_peer() {
            self.connections_reset_by_peer.add(1);
        }
        match how {
            How::Failed(_) | How::BadHeader(_) | How::NotRun(_) | How::TooSlow => self.connections_failed.add(1),
            How::Cut => self.connections_cut.add(1),
            How::TimedOut => self.connections_timed_out.add(1),
            How::Fault(EndingKind::Reset) | How::Reset => self.connections_reset_by_rule.add(1),
            How::PeerFinished | How::Program(_) | How::Finished | How::Stopped | How::Full | How::Fault(_) => {
                self.connections_clean.add(1)
            }
        };
    }

    /// All of it, with what the connections that are open have carried so far.
    pub fn summary(&self, open: impl Iterator<Item = Traffic>) -> Summary {
        let mut summary = Summary {
            connections: self.connections.get(),
            connections_clean: self.connections_clean.get(),
            connections_reset_by_rule: self.connections_reset_by_rule.get(),
            connections_peak: self.connections_peak.get(),
            connections_failed: self.connections_failed.get(),
            connections_reset_by_peer: self.connections_reset_by_peer.get(),
            connections_cut: self.connections_cut.get(),
            connections_timed_out: self.connections_timed_out.get(),
            connections_refused: self.connections_refused.get(),
            unexpected: self.unexpected.get(),
            accepts_failed: self.accepts_failed.get(),
            datagrams: self.datagrams.get(),
            datagrams_unanswered: self.datagrams_unanswered.get(),
            datagrams_refused: self.datagrams_refused.get(),
            received_bytes: self.received_bytes.get(),
            sent_bytes: self.sent_bytes.get(),
            events_dropped: 0,
            drain: None,
            record: None,
        };
        for traffic in open {
            summary.received_bytes += traffic.received_bytes;
            summary.sent_bytes += traffic.sent_bytes;
        }
        summary
    }
}

/// The counts at one moment; the fields are those of [`Counters`], and what there is to say at the end.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    pub connections: u64,
    pub connections_clean: u64,
    pub connections_reset_by_rule: u64,
    pub connections_peak: u64,
    pub connections_failed: u64,
    pub connections_reset_by_peer: u64,
    pub connections_cut: u64,
    pub connections_timed_out: u64,
    pub connections_refused: u64,
    pub unexpected: u64,
    pub accepts_failed: u64,
    pub datagrams: u64,
    pub datagrams_unanswered: u64,
    pub datagrams_refused: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// Lines that were left out because nobody read them in time.
    pub events_dropped: u64,
    /// Once the server was told to stop while connections were open, and they have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// Once the record has ended, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Recorded>,
}

/// What became of the connections that were open when the server was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Drain {
    /// How many they were.
    pub connections: u64,
    /// Those that ended of themselves.
    pub finished: u64,
    /// Those that were reset in the end.
    pub cut: u64,
    /// How long they might take.
    pub grace_ms: f64,
    /// A second signal did not let them.
    #[serde(skip)]
    pub is_cut_short: bool,
    /// It took so long that it was announced.
    #[serde(skip)]
    pub is_announced: bool,
}
