//! What one thread measures, handed over in slices of time.
//!
//! Owns what is recorded for a message. Must not know who adds it up. Trade-off: a thread fills one slice at a time and
//! hands it over whole, by its pointer; so nothing is recorded twice, and no lock or allocation is met on the way. The
//! price is two slices of memory for each thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use crate::connection::Error;
use crate::histogram::{Histogram, without_debt};

/// How long a slice is: short enough for the warm-up rule, and a hundredth of what the hand-over costs.
pub const SLICE: Duration = Duration::from_millis(50);
const SLICE_NS: u64 = SLICE.as_nanos() as u64;

/// A generator is late when it was free to send and did so this much after the plan: a scheduler's tick is less.
pub const LATE_NS: u64 = 1_000_000;

/// The run's clock: nanoseconds since it was made.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    begun: Instant,
}

impl Clock {
    /// Starts at 0.
    pub fn start() -> Clock {
        Clock { begun: Instant::now() }
    }

    /// When it was, or will be, this time.
    pub fn instant(&self, time_ns: u64) -> Instant {
        self.begun + Duration::from_nanos(time_ns)
    }

    /// The time.
    #[inline]
    pub fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }
}

/// What went wrong, counted. All but the offsets add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Errors {
    /// Messages without an answer, for good.
    pub lost: u64,
    /// Losses in a row, each row once.
    pub loss_bursts: u64,
    /// The longest of them.
    pub longest_loss_burst: u64,
    /// Answers that came after the reply timeout.
    pub late: u64,
    /// Answers beyond the first.
    pub duplicate: u64,
    /// Answers that came after one to a later message.
    pub reordered: u64,
    /// Answers that differ from what was sent.
    pub corrupt: u64,
    /// Answers that are shorter than what was sent.
    pub truncated: u64,
    /// Messages that the peer's system refused.
    pub refused: u64,
    /// Answers to nothing that is remembered.
    pub stray: u64,
    /// The first byte that differed, in the stream of its connection or in its datagram.
    pub first_corrupt_offset: Option<u64>,
    /// The message it belongs to, from 1 on its connection.
    pub first_corrupt_message: Option<u64>,
}

impl Errors {
    /// Adds another thread's.
    pub fn add(&mut self, other: &Errors) {
        // What one slice counts as lost, the next may take back: only the sum is never negative.
        self.lost = self.lost.wrapping_add(other.lost);
        self.refused = self.refused.wrapping_add(other.refused);
        self.loss_bursts += other.loss_bursts;
        self.longest_loss_burst = self.longest_loss_burst.max(other.longest_loss_burst);
        self.late += other.late;
        self.duplicate += other.duplicate;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.truncated += other.truncated;
        self.stray += other.stray;
        if self.first_corrupt_offset.is_none() {
            self.first_corrupt_offset = other.first_corrupt_offset;
            self.first_corrupt_message = other.first_corrupt_message;
        }
    }

    /// Those of one interval, as they can be told by themselves.
    pub fn of_interval(self) -> Errors {
        Errors { lost: without_debt(self.lost), refused: without_debt(self.refused), ..self }
    }

    /// An answer differs, first at this place.
    pub fn note_corrupt(&mut self, message: u64, offset: u64) {
        self.corrupt += 1;
        self.note_offset(message, offset);
    }

    /// An answer ends too early.
    pub fn note_truncated(&mut self, message: u64, offset: u64) {
        self.truncated += 1;
        self.note_offset(message, offset);
    }

    fn note_offset(&mut self, message: u64, offset: u64) {
        if self.first_corrupt_offset.is_none() {
            (self.first_corrupt_message, self.first_corrupt_offset) = (Some(message), Some(offset));
        }
    }

    /// Whether every answer was what it should be.
    pub fn is_verified(&self) -> bool {
        self.corrupt == 0 && self.truncated == 0
    }
}

/// What was recorded between two times.
#[derive(Debug, Default)]
pub struct Slice {
    /// Which slice of the run, from 0.
    pub number: u64,
    /// Whose it is: it goes back there, emptied.
    pub thread: usize,
    /// From the intended time to the answer; in a closed loop that is the round trip.
    pub response: Histogram,
    /// Where messages have a plan: from the send to the answer, and from the plan to the send.
    pub planned: Option<Planned>,
    /// Where connections are made anew: how long that takes.
    pub connects: Option<Histogram>,
    /// What went wrong.
    pub errors: Errors,
    /// Bytes that came back.
    pub answered_bytes: u64,
    /// Messages sent.
    pub sent: u64,
    /// Of those, how many later than planned although the socket was free.
    pub sent_late: u64,
    /// Messages that belong to the warm-up, answered or lost.
    pub discarded: u64,
    /// The last answer's time.
    pub last_answer: u64,
}

/// The two parts of a response.
#[derive(Debug, Default)]
pub struct Planned {
    /// From the send to the answer.
    pub service: Histogram,
    /// From the plan to the send.
    pub send_delay: Histogram,
}

impl Slice {
    /// An empty one that records what the load calls for.
    pub fn new(shape: Shape) -> Slice {
        Slice {
            thread: shape.thread,
            planned: shape.is_planned.then(Planned::default),
            connects: shape.reconnects.then(Histogram::default),
            ..Slice::default()
        }
    }

    /// Empties it, keeping the memory.
    pub fn clear(&mut self) {
        self.response.clear();
        if let Some(planned) = &mut self.planned {
            planned.service.clear();
            planned.send_delay.clear();
        }
        if let Some(connects) = &mut self.connects {
            connects.clear();
        }
        (self.errors, self.answered_bytes, self.sent, self.sent_late) = (Errors::default(), 0, 0, 0);
        (self.discarded, self.last_answer) = (0, 0);
    }
}

/// What a slice has to record, and for whom.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape {
    /// The thread.
    pub thread: usize,
    /// Messages have a plan.
    pub is_planned: bool,
    /// Connections are made anew.
    pub reconnects: bool,
}

/// What the threads of a run share. None of it is written for every message, but `left` where a number is wanted.
#[derive(Debug)]
pub struct Shared {
    /// The run's clock.
    pub clock: Clock,
    /// Messages that are still to be sent; none where a time is wanted.
    pub left: Option<AtomicU64>,
    /// Somebody failed or was interrupted: the others end too.
    pub stop: AtomicBool,
    /// Messages from this time on are counted; the end of time while the warm-up lasts. A multiple of a slice.
    pub count_from: AtomicU64,
    /// The last message is sent before this time.
    pub end: AtomicU64,
}

impl Shared {
    fn take_one(&self) -> bool {
        let Some(left) = &self.left else { return true };
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Ends the run for everybody.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether the run has been ended.
    #[inline]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// One thread's records.
#[derive(Debug)]
pub struct Tally {
    /// The slice that is being filled.
    pub slice: Box<Slice>,
    shared: Arc<Shared>,
    shape: Shape,
    slice_ends: u64,
    count_from: u64,
    end: u64,
    filled: Sender<Box<Slice>>,
    empty: Receiver<Box<Slice>>,
    /// What ended the thread before its time.
    pub failure: Option<Error>,
}

impl Tally {
    /// A tally that hands its slices to `filled`, and gets them back from `empty`.
    pub fn new(shared: Arc<Shared>, shape: Shape, filled: Sender<Box<Slice>>, empty: Receiver<Box<Slice>>) -> Tally {
        let mut tally = Tally {
            slice: Box::new(Slice::new(shape)),
            slice_ends: 0,
            count_from: 0,
            end: 0,
            shared,
            shape,
            filled,
            empty,
            failure: None,
        };
        tally.begin_slice(tally.shared.clock.now());
        tally
    }

    /// Whether one more message may be sent at this time.
    #[inline]
    pub fn goes_on(&mut self, now: u64) -> bool {
        self.move_on(now);
        now < self.end && !self.shared.is_stopped() && (now < self.count_from || self.shared.take_one())
    }

    /// Moves on to the slice of this time, so that what was measured before is seen even if nothing has come for a while.
    #[inline]
    pub fn move_on(&mut self, now: u64) {
        if now >= self.slice_ends {
            self.hand_over(now);
        }
    }

    /// When the current slice ends.
    #[inline]
    pub fn slice_ends(&self) -> u64 {
        self.slice_ends
    }

    /// A connection was made.
    pub fn connected(&mut self, begun: u64, connected: u64) {
        self.move_on(connected);
        if let Some(connects) = &mut self.slice.connects
            && begun >= self.count_from
        {
            connects.record_ns(connected - begun);
        }
    }

    /// When the last message is to be sent, as far as it is known.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// A message was answered. True if so much time went into the hand-over of a slice that the clock must be read again.
    #[inline]
    pub fn answered(&mut self, intended: u64, sent: u64, received: u64, bytes: usize) -> bool {
        let is_over = received >= self.slice_ends;
        if is_over {
            self.hand_over(received);
        }
        self.slice.last_answer = received;
        if intended < self.count_from {
            self.slice.discarded += 1;
            if self.count_from != u64::MAX {
                return is_over;
            }
        }
        self.slice.answered_bytes += bytes as u64;
        // Never negative: the plan comes before the send, the send before the answer, on a clock that never goes back.
        self.slice.response.record_ns(received - intended);
        if let Some(planned) = &mut self.slice.planned {
            planned.service.record_ns(received - sent);
            planned.send_delay.record_ns(sent - intended);
        }
        is_over
    }

    /// A message was given up.
    pub fn lost(&mut self, intended: u64) {
        if intended < self.count_from {
            self.slice.discarded += 1;
        } else {
            self.slice.errors.lost = self.slice.errors.lost.wrapping_add(1);
            self.slice.response.record_lost(1);
        }
    }

    /// A message was given up too early: it has been answered after all.
    pub fn found(&mut self, intended: u64) {
        self.slice.errors.late += 1;
        if intended >= self.count_from {
            self.slice.errors.lost = self.slice.errors.lost.wrapping_sub(1);
            self.slice.response.unrecord_lost();
        }
    }

    /// A message was refused by the peer's system: it will have no answer either.
    pub fn refused(&mut self, intended: u64) {
        self.slice.errors.refused = self.slice.errors.refused.wrapping_add(1);
        if intended >= self.count_from {
            self.slice.response.record_lost(1);
        }
    }

    #[cold]
    fn hand_over(&mut self, now: u64) {
        // A slice that comes back is used again; it is late only if the collector does not run, and then a new one is made.
        let empty = self.empty.try_recv().unwrap_or_else(|_| Box::new(Slice::new(self.shape)));
        let full = std::mem::replace(&mut self.slice, empty);
        // Nobody takes it only if the run is over.
        let _ = self.filled.send(full);
        self.begin_slice(now);
    }

    fn begin_slice(&mut self, now: u64) {
        self.slice.number = now / SLICE_NS;
        self.slice_ends = (self.slice.number + 1) * SLICE_NS;
        self.count_from = self.shared.count_from.load(Ordering::Acquire);
        self.end = self.shared.end.load(Ordering::Acquire);
    }

    /// Ends the run with a failure.
    pub fn fail(&mut self, failure: Error) {
        self.shared.stop();
        self.failure = Some(failure);
    }

    /// Hands over the last slice, and says what failed.
    pub fn finish(mut self) -> Option<Error> {
        let _ = self.filled.send(self.slice);
        self.failure.take()
    }
}
