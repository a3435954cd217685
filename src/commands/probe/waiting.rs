//! When a target is probed again: retries, waiting for a state, repeated measurements.
//!
//! Owns the decision and the times. Must not know sockets: it is given a verdict. Trade-off: a repeated attempt is a
//! date in an agenda of the one engine, so that ten thousand targets wait without a thread, and memory grows only with
//! those that are to be probed again.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::verdict::{State, Verdict};
use crate::connection::Op;

/// However much a pause grows, nobody wants to wait longer for a server that is already there.
const INTERVAL_MAX: Duration = Duration::from_secs(30);

/// What `--wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Goal {
    /// Somebody answers, and the checks that were asked for pass
    Open,
    /// A refusal, and nothing else: the host is there and nobody listens
    Closed,
    /// Anything but an answer: refused, silent or unreachable
    Down,
}

impl Goal {
    /// Whether a verdict is what was waited for. What says nothing of the target never is.
    pub fn is_met(self, state: State) -> bool {
        match self {
            Goal::Open => state == State::Open,
            Goal::Closed => state == State::Refused,
            Goal::Down => {
                matches!(state, State::Refused | State::TimedOut | State::Unreachable | State::OpenOrFiltered)
            }
        }
    }
}

/// When to probe again.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `--wait`
    pub wait: Option<Goal>,
    /// `--retries`
    pub retries: u64,
    /// `-c`, `--watch`: so many measurements of each target, `u64::MAX` without end.
    pub count: Option<u64>,
    /// `-i`
    pub interval: Duration,
    /// `--backoff`: what each pause is multiplied by.
    pub backoff: f64,
}

/// What follows a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It is the last word.
    Final,
    /// It is one measurement; the next is at this time.
    Next(Instant),
    /// It is no answer yet; ask again at this time.
    Again(Instant),
}

impl Rules {
    /// Whether a verdict is what was wanted.
    pub fn is_wanted(&self, verdict: &Verdict) -> bool {
        self.wait.unwrap_or(Goal::Open).is_met(verdict.state())
    }

    /// What follows a verdict on an attempt that was due at `due`.
    pub fn after(&self, verdict: &Verdict, due: Instant) -> After {
        if let Some(count) = self.count {
            // From when it was due, not from when it ended: then a slow answer does not shift those after it.
            let next = (due + self.interval).max(Instant::now());
            return if verdict.attempt < count { After::Next(next) } else { After::Final };
        }
        // What is wrong on this side will not get better by itself; a proxy may.
        let is_of_proxy = verdict.error.as_ref().is_some_and(|error| error.is_of_proxy() && error.op != Op::Resolve);
        let is_ours = verdict.state() == State::LocalError && !is_of_proxy;
        let is_answer = self.is_wanted(verdict) || is_ours;
        if is_answer || (self.wait.is_none() && verdict.attempt > self.retries) {
            return After::Final;
        }
        After::Again(Instant::now() + self.pause(verdict.attempt))
    }

    /// How long to leave a target alone after so many attempts.
    fn pause(&self, attempts: u64) -> Duration {
        let exponent = i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.interval.as_secs_f64() * self.backoff.powi(exponent);
        // An interval that was asked for is not cut; only its growth is.
        let longest = INTERVAL_MAX.max(self.interval);
        Duration::try_from_secs_f64(seconds).map_or(longest, |pause| pause.min(longest))
    }
}

/// What is to be done at which time.
#[derive(Debug)]
pub struct Agenda<T> {
    entries: BinaryHeap<Entry<T>>,
    /// What is due at the same time goes in the order in which it was entered.
    entered: u64,
}

#[derive(Debug)]
struct Entry<T> {
    time: Instant,
    number: u64,
    what: T,
}

impl<T> Agenda<T> {
    /// Nothing to do.
    pub fn new() -> Agenda<T> {
        Agenda { entries: BinaryHeap::new(), entered: 0 }
    }

    /// Enters something.
    pub fn enter(&mut self, time: Instant, what: T) {
        self.entered += 1;
        self.entries.push(Entry { time, number: self.entered, what });
    }

    /// When the next is due.
    pub fn next_time(&self) -> Option<Instant> {
        self.entries.peek().map(|entry| entry.time)
    }

    /// What is due.
    pub fn due(&mut self, now: Instant) -> Option<(Instant, T)> {
        self.entries.peek().filter(|entry| entry.time <= now)?;
        self.entries.pop().map(|entry| (entry.time, entry.what))
    }

    /// Gives up everything.
    pub fn abandon(&mut self) -> Vec<T> {
        self.entries.drain().map(|entry| entry.what).collect()
    }
}

// The heap has its greatest first, and the soonest shall be that.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Entry<T>) -> Ordering {
        (other.time, other.number).cmp(&(self.time, self.number))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Entry<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Entry<T>) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}
