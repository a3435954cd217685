//! Several connections on one thread: each sends, and whichever has an answer is served next.
//!
//! Owns the event loop. Must not know what a thread with one connection does. Trade-off: mio's bare loop and not a runtime,
//! since there is nothing here but sockets and one deadline, and every microsecond would be measured.

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::blocking::ended_early;
use super::{Message, Tally, Work};
use crate::connection::error::kind_of;
use crate::connection::{Cause, Clock, Conn, Error, Kind, Op};

/// As many events as one wait takes: all that a busy thread's connections have between two waits.
const EVENTS_MAX: usize = 1024;

/// How often the loop looks for answers that are overdue.
const OVERDUE_CHECK: Duration = Duration::from_millis(100);

/// Drives all connections of a thread.
pub(super) fn drive(work: Work) -> Tally {
    let mut tally = work.tally();
    if let Err(failure) = Loop::start(&work).and_then(|mut running| running.measure(&mut tally)) {
        tally.fail(&work, failure);
    }
    tally
}

struct Loop<'a> {
    work: &'a Work,
    poll: Poll,
    lanes: Vec<Lane>,
    /// Shared by the connections: an answer is compared piece by piece, as it comes.
    block: Vec<u8>,
    /// Connections that wait for an answer.
    busy: usize,
}

/// One connection's message under way.
struct Lane {
    message: Message,
    sent: Instant,
    /// How much of the message has been sent, and how much of it has come back.
    sent_bytes: usize,
    received_bytes: usize,
    /// What has come back before it.
    echoed_bytes: u64,
    is_busy: bool,
    is_corrupt: bool,
}

impl<'a> Loop<'a> {
    fn start(work: &'a Work) -> Result<Loop<'a>, Error> {
        let failed = |error| work.conns[0].error(Op::Socket, error);
        let poll = Poll::new().map_err(failed)?;
        for (index, conn) in work.conns.iter().enumerate() {
            let descriptor = conn.socket().as_raw_fd();
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut SourceFd(&descriptor), Token(index), interest).map_err(failed)?;
        }
        let now = Instant::now();
        let lane = |_| Lane {
            message: Message::new(work.length_bytes),
            sent: now,
            sent_bytes: 0,
            received_bytes: 0,
            echoed_bytes: 0,
            is_busy: false,
            is_corrupt: false,
        };
        let lanes = work.conns.iter().map(lane).collect();
        Ok(Loop { work, poll, lanes, block: vec![0; work.length_bytes.max(64 * 1024)], busy: 0 })
    }

    fn measure(&mut self, tally: &mut Tally) -> Result<(), Error> {
        for index in 0..self.lanes.len() {
            self.begin(index, Instant::now())?;
        }
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut checked = Instant::now();
        while self.busy > 0 && !self.work.shared.failed.load(Ordering::Relaxed) {
            if let Err(error) = self.poll.poll(&mut events, Some(OVERDUE_CHECK))
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                return Err(self.work.conns[0].error(Op::Receive, error));
            }
            for event in &events {
                let Token(index) = event.token();
                if event.is_writable() {
                    self.send_rest(index)?;
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.receive(index, tally)?;
                }
            }
            if checked.elapsed() >= OVERDUE_CHECK {
                checked = Instant::now();
                self.give_up_overdue(checked, tally)?;
            }
        }
        Ok(())
    }

    /// Sends a connection's next message, if there is to be one.
    fn begin(&mut self, index: usize, now: Instant) -> Result<(), Error> {
        let lane = &mut self.lanes[index];
        if lane.is_busy {
            lane.is_busy = false;
            self.busy -= 1;
        }
        if !self.work.goes_on(now) {
            return Ok(());
        }
        lane.is_busy = true;
        self.busy += 1;
        (lane.sent, lane.sent_bytes, lane.received_bytes, lane.is_corrupt) = (now, 0, 0, false);
        lane.message.advance();
        self.send_rest(index)
    }

    /// Sends what the system takes; the rest goes when it says that there is room.
    fn send_rest(&mut self, index: usize) -> Result<(), Error> {
        let (conn, lane) = (&self.work.conns[index], &mut self.lanes[index]);
        while lane.is_busy && lane.sent_bytes < lane.message.bytes.len() {
            match conn.socket().send(&lane.message.bytes[lane.sent_bytes..]) {
                Ok(sent) => lane.sent_bytes += sent,
                Err(error) if kind_of(&error) == Kind::Busy => break,
                Err(error) => return Err(conn.error(Op::Send, error)),
            }
        }
        Ok(())
    }

    /// Takes what has come; a complete answer is recorded, and the next message sent.
    fn receive(&mut self, index: usize, tally: &mut Tally) -> Result<(), Error> {
        loop {
            let conn = &self.work.conns[index];
            let count = match conn.socket().recv(&mut self.block) {
                Ok(0) if self.work.transport.is_stream() => return self.stream_ended(index),
                Ok(count) => count,
                Err(error) if kind_of(&error) == Kind::Busy => return Ok(()),
                Err(error) => return Err(conn.error(Op::Receive, error)),
            };
            if self.accept(index, count, conn, tally)? {
                let received = Instant::now();
                let lane = &self.lanes[index];
                let told = tally.record(self.work, lane.sent, received);
                self.begin(index, if told { Instant::now() } else { received })?;
            }
            // A short read has emptied the queue, and what comes later comes with an event of its own.
            if self.work.transport.is_stream() && count < self.block.len() {
                return Ok(());
            }
        }
    }

    /// An idle connection may be closed; one that waits for an answer may not.
    fn stream_ended(&self, index: usize) -> Result<(), Error> {
        if self.lanes[index].is_busy { Err(ended_early(&self.work.conns[index])) } else { Ok(()) }
    }

    /// Compares `count` bytes of the block with what was sent. True if they complete the answer.
    fn accept(&mut self, index: usize, count: usize, conn: &Conn, tally: &mut Tally) -> Result<bool, Error> {
        let lane = &mut self.lanes[index];
        let answer = &self.block[..count];
        let length = lane.message.bytes.len();
        let is_stream = self.work.transport.is_stream();
        if !is_stream && (!lane.is_busy || lane.message.is_earlier(answer)) {
            tally.errors.late += 1;
            return Ok(false);
        }
        if is_stream && lane.received_bytes + count > lane.sent_bytes {
            return Err(more_than_sent(conn));
        }
        let offset = if is_stream || count == length {
            lane.message.difference(lane.received_bytes, answer)
        } else {
            Some(count.min(length))
        };
        if let Some(offset) = offset {
            tally.errors.corrupt += u64::from(!lane.is_corrupt);
            lane.is_corrupt = true;
            let offset = lane.echoed_bytes + (lane.received_bytes + offset) as u64;
            tally.errors.first_corrupt_offset.get_or_insert(offset);
        }
        lane.received_bytes += count;
        let is_complete = !is_stream || lane.received_bytes == length;
        if is_complete && is_stream {
            lane.echoed_bytes += length as u64;
        }
        Ok(is_complete)
    }

    /// A datagram that is not answered in time is lost; a stream that is silent so long has failed.
    fn give_up_overdue(&mut self, now: Instant, tally: &mut Tally) -> Result<(), Error> {
        for index in 0..self.lanes.len() {
            let lane = &self.lanes[index];
            if !lane.is_busy || now.saturating_duration_since(lane.sent) < self.work.reply_timeout {
                continue;
            }
            if self.work.transport.is_stream() {
                let conn = &self.work.conns[index];
                return Err(Error::timed_out(Op::Receive, conn, now - lane.sent, Clock::Reply));
            }
            tally.errors.lost += 1;
            self.begin(index, now)?;
        }
        Ok(())
    }
}

/// The server sent more than it was sent: whatever it is, it does not echo.
fn more_than_sent(conn: &Conn) -> Error {
    Error::new(Op::Receive, conn, conn.age(), Cause::Misbehaved("the server sent more than it was sent"))
}
