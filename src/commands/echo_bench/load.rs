//! The round trips: one thread or several, each with its connections, one message under way on each.
//!
//! Owns the clock reads and the comparison of every byte. Must not know how results are shown. Trade-off: a thread that has
//! one connection uses blocking calls, which is the quickest round trip there is; one that has several waits for readiness.

mod blocking;
#[cfg(unix)]
mod readiness;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::ProgressBar;

use super::{Plan, Until};
use crate::connection::{Conn, Error, Transport};
use crate::exit::Status;
use crate::histogram::Histogram;
use crate::output::Output;
use crate::units::{Count, Latency};

/// How often a thread tells the progress bar what it has measured: seldom enough to be lost in a scheduler's tick.
const TELL_INTERVAL: Duration = Duration::from_millis(250);

/// What was measured, in all.
#[derive(Debug)]
pub(super) struct Measured {
    /// Round-trip times.
    pub(super) round_trips: Histogram,
    /// From the end of the warm-up to the last answer.
    pub(super) elapsed: Duration,
    /// What went wrong.
    pub(super) errors: Errors,
    /// What ended a connection before its time.
    pub(super) failure: Option<Error>,
    /// The status that follows from the errors.
    pub(super) status: Status,
}

/// What went wrong, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Errors {
    /// Datagrams without an answer in time.
    pub(super) lost: u64,
    /// Answers that came after their time, or for a message that was answered already.
    pub(super) late: u64,
    /// Answers that differ from what was sent.
    pub(super) corrupt: u64,
    /// The first byte that differed, in the stream of its connection or in its datagram.
    pub(super) first_corrupt_offset: Option<u64>,
}

impl Errors {
    fn add(&mut self, other: &Errors) {
        self.lost += other.lost;
        self.late += other.late;
        self.corrupt += other.corrupt;
        self.first_corrupt_offset = self.first_corrupt_offset.or(other.first_corrupt_offset);
    }
}

/// What one thread is to do.
struct Work {
    conns: Vec<Conn>,
    transport: Transport,
    length_bytes: usize,
    reply_timeout: Duration,
    /// Messages from here on are counted.
    count_from: Instant,
    /// None where a number of messages is wanted.
    end: Option<Instant>,
    shared: Arc<Shared>,
}

/// What the threads share. None of it is touched for every message, but `left` where a number of messages is wanted.
struct Shared {
    /// Messages that are still to be sent.
    left: AtomicU64,
    /// Somebody failed: the others end too.
    failed: AtomicBool,
    /// What the progress bar shows: the round trips so far, and until when; none where nobody looks.
    told: Option<Mutex<(Histogram, Instant)>>,
}

/// What one thread has measured.
#[derive(Default)]
struct Tally {
    round_trips: Histogram,
    errors: Errors,
    /// When the first counted message was sent, and the last counted answer came.
    span: Option<(Instant, Instant)>,
    failure: Option<Error>,
    /// What the progress bar has not been told.
    untold: Option<(Histogram, Instant)>,
}

impl Work {
    /// Whether one more message may be sent at this time.
    #[inline]
    fn goes_on(&self, now: Instant) -> bool {
        match self.end {
            Some(end) => now < end,
            None => self.shared.take_one(),
        }
    }

    fn tally(&self) -> Tally {
        Tally { untold: self.shared.told.as_ref().map(|_| (Histogram::default(), Instant::now())), ..Tally::default() }
    }
}

impl Shared {
    fn take_one(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

impl Tally {
    /// Records a round trip. True if so much time went into telling that the clock must be read again.
    #[inline]
    fn record(&mut self, work: &Work, sent: Instant, received: Instant) -> bool {
        if sent < work.count_from {
            return false;
        }
        let latency = received - sent;
        self.round_trips.record(latency);
        self.span = Some((self.span.map_or(sent, |(first, _)| first), received));
        match &mut self.untold {
            None => false,
            Some((untold, told_at)) => {
                untold.record(latency);
                let is_due = received.saturating_duration_since(*told_at) >= TELL_INTERVAL;
                if is_due {
                    *told_at = received;
                    work.shared.tell(untold, received);
                }
                is_due
            }
        }
    }

    fn fail(&mut self, work: &Work, failure: Error) {
        work.shared.failed.store(true, Ordering::Relaxed);
        self.failure = Some(failure);
    }
}

impl Shared {
    fn tell(&self, untold: &mut Histogram, until: Instant) {
        if let Some(told) = &self.told {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.0.merge(untold);
            told.1 = told.1.max(until);
            untold.clear();
        }
    }
}

/// Runs the load to its end.
pub(super) fn run(plan: &Plan, conns: Vec<Conn>, output: Output) -> Result<Measured> {
    let length = match plan.until {
        Until::Time(time) => plan.warm_up + time,
        Until::Messages(_) => Duration::ZERO,
    };
    let bar = if length.is_zero() { None } else { output.progress(length) };
    let shared = Arc::new(Shared {
        left: AtomicU64::new(match plan.until {
            Until::Messages(messages) => messages,
            Until::Time(_) => 0,
        }),
        failed: AtomicBool::new(false),
        told: bar.as_ref().map(|_| Mutex::new((Histogram::default(), Instant::now()))),
    });
    let begun = Instant::now();
    let count_from = begun + plan.warm_up;
    let mut threads = Vec::new();
    // Where readiness belongs to an event loop's own socket types, each connection has a thread.
    let thread_count = if cfg!(unix) { plan.threads as usize } else { conns.len() };
    for conns in deal(conns, thread_count) {
        let work = Work {
            conns,
            transport: plan.transport,
            length_bytes: plan.length_bytes,
            reply_timeout: plan.reply_timeout,
            count_from,
            end: (!length.is_zero()).then_some(begun + length),
            shared: shared.clone(),
        };
        threads.push(thread::Builder::new().name("load".to_owned()).spawn(move || drive(work))?);
    }
    if let Some(bar) = bar {
        show(&bar, &shared, begun, length, count_from);
    }
    let tallies = threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect();
    Ok(sum(tallies))
}

/// The connections, evenly over the threads.
fn deal(conns: Vec<Conn>, threads: usize) -> Vec<Vec<Conn>> {
    let mut hands: Vec<Vec<Conn>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, conn) in conns.into_iter().enumerate() {
        hands[index % threads].push(conn);
    }
    hands
}

fn drive(work: Work) -> Tally {
    #[cfg(unix)]
    if work.conns.len() > 1 {
        return readiness::drive(work);
    }
    blocking::drive(work)
}

/// Moves the bar until the time is over, or somebody fails.
fn show(bar: &ProgressBar, shared: &Shared, begun: Instant, length: Duration, count_from: Instant) {
    while begun.elapsed() < length && !shared.failed.load(Ordering::Relaxed) {
        thread::sleep(TELL_INTERVAL.min(length.saturating_sub(begun.elapsed())));
        bar.set_position(begun.elapsed().as_millis() as u64);
        let Some(told) = &shared.told else { break };
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let (round_trips, until) = (&told.0, told.1);
        let rate = round_trips.count() as f64 / until.saturating_duration_since(count_from).as_secs_f64();
        if let Some(p99) = round_trips.percentile(99.0) {
            bar.set_message(format!("{} round trips/s, p99 {}", Count(rate as u64), Latency(p99)));
        }
    }
    bar.finish_and_clear();
}

/// One result out of the threads'.
fn sum(tallies: Vec<Tally>) -> Measured {
    let mut round_trips = Histogram::default();
    let mut errors = Errors::default();
    let mut failure = None;
    let mut span: Option<(Instant, Instant)> = None;
    for tally in tallies {
        round_trips.merge(&tally.round_trips);
        errors.add(&tally.errors);
        failure = failure.or(tally.failure);
        span = match (span, tally.span) {
            (Some((first, last)), Some((begun, ended))) => Some((first.min(begun), last.max(ended))),
            (one, other) => one.or(other),
        };
    }
    let status = if errors.corrupt > 0 {
        Status::CheckFailed
    } else if round_trips.count() == 0 {
        Status::TimedOut
    } else {
        Status::Done
    };
    let elapsed = span.map_or(Duration::ZERO, |(first, last)| last - first);
    Measured { round_trips, elapsed, errors, failure, status }
}

/// What is sent: a pattern in which no two bytes at near offsets agree by chance, different for each message.
#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    number: u64,
}

/// A number at the head of each message tells it from those before it; shorter messages carry as much of it as fits.
const NUMBER_BYTES: usize = 8;

impl Message {
    fn new(length_bytes: usize) -> Message {
        // xorshift64 (Marsaglia 2003): any generator would do whose low bytes do not repeat soon.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        Message { bytes: (0..length_bytes).map(|_| next()).collect(), number: 0 }
    }

    /// The next message.
    #[inline]
    fn advance(&mut self) -> &[u8] {
        self.number += 1;
        let head = self.bytes.len().min(NUMBER_BYTES);
        self.bytes[..head].copy_from_slice(&self.number.to_be_bytes()[NUMBER_BYTES - head..]);
        &self.bytes
    }

    /// The first byte at which an answer, or the part of one that begins at `offset`, differs.
    #[inline]
    fn difference(&self, offset: usize, answer: &[u8]) -> Option<usize> {
        let expected = &self.bytes[offset..offset + answer.len()];
        // Comparing slices is one memcmp; the offset is looked for only when it is wanted.
        if expected == answer { None } else { expected.iter().zip(answer).position(|(one, other)| one != other) }
    }

    /// Whether a datagram answers an earlier message: everything fits but the number.
    fn is_earlier(&self, answer: &[u8]) -> bool {
        let head = self.bytes.len().min(NUMBER_BYTES);
        answer.len() == self.bytes.len() && answer[head..] == self.bytes[head..] && answer[..head] < self.bytes[..head]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_byte_is_found() {
        let mut message = Message::new(64);
        let mut answer = message.advance().to_vec();
        assert_eq!(message.difference(0, &answer), None);
        assert_eq!(message.difference(10, &answer[10..20]), None);
        answer[40] ^= 1;
        assert_eq!(message.difference(0, &answer), Some(40));
        assert_eq!(message.difference(32, &answer[32..]), Some(8));
    }

    #[test]
    fn an_answer_to_an_earlier_message_is_told_from_a_corrupt_one() {
        for length in [9, 64] {
            let mut message = Message::new(length);
            let earlier = message.advance().to_vec();
            let current = message.advance().to_vec();
            assert!(message.is_earlier(&earlier));
            assert!(!message.is_earlier(&current));
            let mut corrupt = earlier.clone();
            corrupt[length - 1] ^= 1;
            assert!(!message.is_earlier(&corrupt));
        }
    }
}
