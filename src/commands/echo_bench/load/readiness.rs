//! Several messages under way on one thread: over many connections, in a window, or as a plan has them.
//!
//! Owns the event loop. Must not know what a thread with one connection does. Trade-off: a bare wait on the sockets and not
//! a runtime, since there is nothing here but sockets and two deadlines, and every microsecond would be measured.

use std::collections::VecDeque;
use std::time::Duration;

use super::{HISTORY, Lane, Load, Work, ended_early};
use crate::commands::echo_bench::ledger::Ledger;
use crate::commands::echo_bench::pacing::{Schedule, WAKE};
use crate::commands::echo_bench::tally::{LATE_NS, Tally};
use crate::connection::crowd::Ready;
use crate::connection::{Cause, Clock, Conn, Crowd, Error, Kind, Op};

/// How often the loop looks for answers that are overdue, at least.
const OVERDUE_CHECK: Duration = Duration::from_millis(100);

/// What a stream is received into: more than most messages, so that one call empties the queue.
const BLOCK_BYTES: usize = 64 * 1024;

/// When so many planned messages wait for room in a socket, 64 MB of them, the rate cannot be kept: more would only take
/// memory, and time.
const QUEUED_MAX: usize = 4_000_000;

/// Drives all connections of a thread.
pub(super) fn drive(work: &Work, tally: &mut Tally) -> Result<(), Error> {
    let mut running = Loop::start(work)?;
    let result = running.measure(tally);
    for track in &mut running.tracks {
        if let Book::Datagrams(ledger) = &mut track.book {
            ledger.close(&mut tally.slice.errors);
        }
    }
    result
}

struct Loop<'a> {
    work: &'a Work,
    crowd: Crowd,
    lane: Lane,
    tracks: Vec<Track>,
    /// Shared by the connections: an answer is compared piece by piece, as it comes.
    block: Vec<u8>,
    /// Messages without an answer, sent or not.
    waiting: usize,
    /// Of those, the ones that are not sent.
    queued: usize,
    schedule: Option<Schedule>,
    /// Whose turn it is to send the next planned message.
    turn: usize,
}

/// One connection's messages under way.
struct Track {
    salt: u16,
    /// What the socket had no room for, oldest first.
    unsent: VecDeque<Unsent>,
    /// How much of the first of them has been sent.
    offset: usize,
    /// The number of the first of them, from 1.
    next: u64,
    /// Messages that may be sent when the loop looks for overdue ones: a server that refuses is not hammered.
    owed: usize,
    has_answered: bool,
    book: Book,
}

#[derive(Clone, Copy)]
struct Unsent {
    intended: u64,
    length: usize,
}

enum Book {
    Stream(Stream),
    Datagrams(Ledger),
}

/// A stream's answers come in order.
#[derive(Default)]
struct Stream {
    flights: VecDeque<Flight>,
    /// How much of the first flight's answer has come.
    received: usize,
    /// What came before it, and how many messages that was.
    echoed_bytes: u64,
    echoed: u64,
    is_corrupt: bool,
}

struct Flight {
    intended: u64,
    sent: u64,
    length: usize,
}

impl<'a> Loop<'a> {
    fn start(work: &'a Work) -> Result<Loop<'a>, Error> {
        let crowd = Crowd::new(&work.conns).map_err(|error| work.conns[0].error(Op::Socket, error))?;
        // All connections of a thread together remember as much as one alone.
        let history = (HISTORY / work.conns.len()).max(64);
        let track = |index: usize| Track {
            salt: work.salt(index),
            unsent: VecDeque::new(),
            offset: 0,
            next: 1,
            owed: 0,
            has_answered: false,
            book: if work.plan.transport.is_stream() {
                Book::Stream(Stream::default())
            } else {
                Book::Datagrams(Ledger::new(history))
            },
        };
        let schedule = match work.plan.load {
            Load::Closed { .. } => None,
            Load::Open { rate, arrival } => {
                Some(Schedule::new(work.clock.now(), rate, arrival, work.plan.seed, work.thread, work.threads))
            }
        };
        Ok(Loop {
            work,
            crowd,
            lane: work.lane(0),
            tracks: (0..work.conns.len()).map(track).collect(),
            block: vec![0; BLOCK_BYTES.max(work.plan.lengths.max() + 1)],
            waiting: 0,
            queued: 0,
            schedule,
            turn: 0,
        })
    }

    fn measure(&mut self, tally: &mut Tally) -> Result<(), Error> {
        let mut now = self.work.clock.now();
        if let Load::Closed { window } = self.work.plan.load {
            for _ in 0..window {
                for index in 0..self.tracks.len() {
                    now = self.work.clock.now();
                    self.begin(index, now, tally)?;
                }
            }
        }
        let check_ns =
            OVERDUE_CHECK.min(self.work.plan.reply_timeout / 4).max(Duration::from_millis(1)).as_nanos() as u64;
        let mut next_check = now + check_ns;
        let mut ready = Vec::with_capacity(self.tracks.len());
        loop {
            now = self.work.clock.now();
            let due = self.send_due(now, tally)?;
            if self.work.shared.is_stopped() || (self.waiting == 0 && due.is_none() && !self.is_owing(now, tally)) {
                return Ok(());
            }
            self.wait(now, due, next_check, &mut ready)?;
            for Ready { index, readable, writable, ended } in ready.drain(..) {
                if writable {
                    self.flush(index, None, tally)?;
                }
                if readable {
                    now = self.receive(index, ended, tally)?;
                    self.send_due(now, tally)?;
                }
            }
            now = self.work.clock.now();
            if now >= next_check {
                next_check = now + check_ns;
                tally.move_on(now);
                self.give_up_overdue(now, tally)?;
            }
        }
    }

    /// Waits for the sockets, the plan, or the next look at what is overdue.
    fn wait(&mut self, now: u64, due: Option<u64>, next_check: u64, ready: &mut Vec<Ready>) -> Result<(), Error> {
        let wake = WAKE.as_nanos() as u64;
        let until = due.map_or(next_check, |due| due.saturating_sub(wake).min(next_check));
        let timeout = if self.work.plan.is_spinning { 0 } else { until.saturating_sub(now) };
        let tracks = &self.tracks;
        let wants_room = |index: usize| !tracks[index].unsent.is_empty();
        let found = self
            .crowd
            .wait(&self.work.conns, wants_room, Duration::from_nanos(timeout), due.is_some())
            .map_err(|error| self.work.conns[0].error(Op::Receive, error))?;
        ready.extend_from_slice(found);
        if ready.is_empty() && timeout == 0 && !self.work.plan.is_spinning {
            // The peer may need this very core.
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Sends what the plan has for now, and says when it has something again.
    fn send_due(&mut self, now: u64, tally: &mut Tally) -> Result<Option<u64>, Error> {
        loop {
            let Some(schedule) = &mut self.schedule else { return Ok(None) };
            let due = schedule.due();
            if due > now {
                return Ok((due < tally.end()).then_some(due));
            }
            schedule.advance();
            if !tally.goes_on(due) {
                self.schedule = None;
                return Ok(None);
            }
            let index = self.turn;
            if self.queued >= QUEUED_MAX {
                return Err(rate_too_high(&self.work.conns[index]));
            }
            self.turn = (self.turn + 1) % self.tracks.len();
            let has_room = self.tracks[index].unsent.is_empty();
            self.enqueue(index, due, tally);
            // What the socket has no room for is the peer's doing, and goes when there is; what it has room for and is late
            // is ours.
            if has_room {
                tally.slice.sent_late += u64::from(self.work.clock.now() - due > LATE_NS);
                self.flush(index, None, tally)?;
            }
        }
    }

    /// A closed loop's next message, if there is to be one.
    #[inline]
    fn begin(&mut self, index: usize, now: u64, tally: &mut Tally) -> Result<(), Error> {
        if self.schedule.is_some() || matches!(self.work.plan.load, Load::Open { .. }) || !tally.goes_on(now) {
            return Ok(());
        }
        self.enqueue(index, now, tally);
        self.flush(index, Some(now), tally)
    }

    #[inline]
    fn enqueue(&mut self, index: usize, intended: u64, tally: &mut Tally) {
        let length = self.work.plan.lengths.next(&mut self.lane.random);
        self.tracks[index].unsent.push_back(Unsent { intended, length });
        self.waiting += 1;
        self.queued += 1;
        tally.slice.sent += 1;
    }

    /// Sends what the system takes; the rest goes when it says that there is room. `now` is the time if it is known.
    fn flush(&mut self, index: usize, now: Option<u64>, tally: &mut Tally) -> Result<(), Error> {
        let (conn, track) = (&self.work.conns[index], &mut self.tracks[index]);
        while let Some(&Unsent { intended, length }) = track.unsent.front() {
            let sent = now.unwrap_or_else(|| self.work.clock.now());
            let message = self.lane.message.of(track.salt, track.next, length);
            let count = match conn.try_send(&message[track.offset..]) {
                Ok(Some(count)) => count,
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == Kind::Refused && track.has_answered => {
                    // It is told of an earlier datagram, and this one was not sent.
                    Self::refused(track, &mut self.waiting, tally);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if track.offset == 0 {
                match &mut track.book {
                    Book::Stream(stream) => stream.flights.push_back(Flight { intended, sent, length }),
                    Book::Datagrams(ledger) => ledger.send(intended, sent, length, &mut tally.slice.errors),
                }
            }
            track.offset += count;
            if track.offset >= length {
                track.offset = 0;
                track.next += 1;
                track.unsent.pop_front();
                self.queued -= 1;
            }
        }
        Ok(())
    }

    /// The peer's system says that nobody listens.
    fn refused(track: &mut Track, waiting: &mut usize, tally: &mut Tally) {
        if let Book::Datagrams(ledger) = &mut track.book
            && let Some(entry) = ledger.refuse()
        {
            tally.refused(entry.intended);
            *waiting -= 1;
            track.owed += 1;
        }
    }

    /// Takes what has come, to the end of the stream if it has one, and says when that was.
    fn receive(&mut self, index: usize, has_ended: bool, tally: &mut Tally) -> Result<u64, Error> {
        loop {
            let conn = &self.work.conns[index];
            let count = match conn.try_recv(&mut self.block) {
                Ok(Some(0)) if self.work.plan.transport.is_stream() => {
                    // An idle connection may be closed; one that owes an answer may not.
                    let is_idle = matches!(&self.tracks[index].book, Book::Stream(stream) if stream.flights.is_empty());
                    return if is_idle { Ok(self.work.clock.now()) } else { Err(ended_early(conn)) };
                }
                Ok(Some(count)) => count,
                Ok(None) => return Ok(self.work.clock.now()),
                Err(error) if error.kind() == Kind::Refused && self.tracks[index].has_answered => {
                    Self::refused(&mut self.tracks[index], &mut self.waiting, tally);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let received = self.work.clock.now();
            self.tracks[index].has_answered = true;
            if !self.work.plan.transport.is_stream() {
                self.receive_datagram(index, count, received, tally)?;
                continue;
            }
            self.receive_stream(index, count, received, tally)?;
            // A short read has emptied the queue, and what comes later comes with an event of its own.
            if count < self.block.len() && !has_ended {
                return Ok(received);
            }
        }
    }

    fn receive_datagram(&mut self, index: usize, count: usize, now: u64, tally: &mut Tally) -> Result<(), Error> {
        let track = &mut self.tracks[index];
        let Book::Datagrams(ledger) = &mut track.book else { return Ok(()) };
        self.lane.salt = track.salt;
        if self.lane.book(ledger, &self.block[..count], now, tally) {
            self.waiting -= 1;
            self.begin(index, now, tally)?;
        }
        Ok(())
    }

    /// Compares what has come with what was sent; each answer that is complete is recorded, and followed by a message.
    fn receive_stream(&mut self, index: usize, count: usize, now: u64, tally: &mut Tally) -> Result<(), Error> {
        let mut from = 0;
        while from < count {
            let track = &mut self.tracks[index];
            let Book::Stream(stream) = &mut track.book else { return Ok(()) };
            let sent_of_last = if track.unsent.is_empty() || track.offset == 0 { None } else { Some(track.offset) };
            let Some(flight) = stream.flights.front() else { return Err(more_than_sent(&self.work.conns[index])) };
            let sent_bytes =
                if stream.flights.len() == 1 { sent_of_last.unwrap_or(flight.length) } else { flight.length };
            let part = (flight.length - stream.received).min(count - from);
            if stream.received + part > sent_bytes {
                return Err(more_than_sent(&self.work.conns[index]));
            }
            let (sequence, length) = (stream.echoed + 1, flight.length);
            let answer = &self.block[from..from + part];
            if let Some(offset) = self.lane.message.difference(track.salt, sequence, length, stream.received, answer)
                && !stream.is_corrupt
            {
                stream.is_corrupt = true;
                tally.slice.errors.note_corrupt(sequence, stream.echoed_bytes + offset as u64);
            }
            from += part;
            stream.received += part;
            if stream.received == length {
                let (intended, sent) = (flight.intended, flight.sent);
                stream.flights.pop_front();
                (stream.received, stream.is_corrupt) = (0, false);
                stream.echoed += 1;
                stream.echoed_bytes += length as u64;
                self.waiting -= 1;
                let told = tally.answered(intended, sent, now, length);
                self.begin(index, if told { self.work.clock.now() } else { now }, tally)?;
            }
        }
        Ok(())
    }

    /// Whether a closed loop still has messages to send, once the refusing server has had its rest.
    fn is_owing(&self, now: u64, tally: &Tally) -> bool {
        now < tally.end() && self.tracks.iter().any(|track| track.owed > 0)
    }

    /// A datagram that is not answered in time is lost; a stream that is silent so long has failed.
    fn give_up_overdue(&mut self, now: u64, tally: &mut Tally) -> Result<(), Error> {
        let Some(sent_before) = now.checked_sub(self.work.reply_timeout_ns()) else { return Ok(()) };
        for index in 0..self.tracks.len() {
            let track = &mut self.tracks[index];
            let mut owed = std::mem::take(&mut track.owed);
            match &mut track.book {
                Book::Stream(stream) => {
                    if stream.flights.front().is_some_and(|flight| flight.sent < sent_before) {
                        stream.flights.iter().for_each(|flight| tally.lost(flight.intended));
                        track
                            .unsent
                            .iter()
                            .skip(usize::from(track.offset > 0))
                            .for_each(|one| tally.lost(one.intended));
                        let conn = &self.work.conns[index];
                        return Err(Error::timed_out(Op::Receive, conn, self.work.plan.reply_timeout, Clock::Reply));
                    }
                }
                Book::Datagrams(ledger) => {
                    let count = ledger.give_up(sent_before, |entry| tally.lost(entry.intended));
                    self.waiting -= count;
                    owed += count;
                }
            }
            for _ in 0..owed {
                self.begin(index, now, tally)?;
            }
        }
        Ok(())
    }
}

/// Neither this machine nor the server is as quick as the plan.
fn rate_too_high(conn: &Conn) -> Error {
    let why = "the rate cannot be kept: four million messages are due that there was no room for";
    Error::new(Op::Send, conn, conn.age(), Cause::Unsupported(why))
}

/// The server sent more than it was sent: whatever it is, it does not echo.
fn more_than_sent(conn: &Conn) -> Error {
    Error::new(Op::Receive, conn, conn.age(), Cause::Misbehaved("the server sent more than it was sent"))
}
