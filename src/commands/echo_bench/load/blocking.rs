//! One connection, one thread, blocking calls: send, receive, note the time.
//!
//! Owns the shortest path between two clock reads. Must not know other connections.

use std::time::Instant;

use super::{Message, Tally, Work};
use crate::connection::{Cause, Conn, Error, Kind, Op};

/// Drives the one connection of a thread.
pub(super) fn drive(work: Work) -> Tally {
    let mut tally = work.tally();
    let mut lane =
        Lane { message: Message::new(work.length_bytes), answer: vec![0; work.length_bytes + 1], echoed_bytes: 0 };
    let conn = &work.conns[0];
    let prepared = conn.set_blocking().and_then(|()| conn.set_reply_timeout(work.reply_timeout));
    let result = prepared.and_then(|()| lane.measure(conn, &work, &mut tally));
    if let Err(failure) = result {
        tally.fail(&work, failure);
    }
    tally
}

struct Lane {
    message: Message,
    /// One byte longer than a message, so that an answer that is too long shows.
    answer: Vec<u8>,
    /// What has come back before the current message, for the offset of a wrong byte.
    echoed_bytes: u64,
}

impl Lane {
    fn measure(&mut self, conn: &Conn, work: &Work, tally: &mut Tally) -> Result<(), Error> {
        let is_stream = work.transport.is_stream();
        let mut now = Instant::now();
        while work.goes_on(now) && !work.shared.failed.load(std::sync::atomic::Ordering::Relaxed) {
            let sent = now;
            conn.send_all(self.message.advance())?;
            let received =
                if is_stream { Some(self.stream_answer(conn, tally)?) } else { self.datagram_answer(conn, tally)? };
            let Some(received) = received else {
                now = Instant::now();
                continue;
            };
            // In a closed loop one answer's arrival is the next message's beginning: one clock read does for both.
            now = if tally.record(work, sent, received) { Instant::now() } else { received };
        }
        Ok(())
    }

    /// The whole answer, in as many pieces as it comes, compared once its time is known.
    fn stream_answer(&mut self, conn: &Conn, tally: &mut Tally) -> Result<Instant, Error> {
        let length = self.message.bytes.len();
        let mut filled = 0;
        while filled < length {
            match conn.recv(&mut self.answer[filled..length])? {
                0 => return Err(ended_early(conn)),
                count => filled += count,
            }
        }
        let received = Instant::now();
        if let Some(offset) = self.message.difference(0, &self.answer[..length]) {
            tally.errors.corrupt += 1;
            tally.errors.first_corrupt_offset.get_or_insert(self.echoed_bytes + offset as u64);
        }
        self.echoed_bytes += length as u64;
        Ok(received)
    }

    /// The answer to this datagram, or none if it is lost. Answers to earlier ones are late, and are passed over.
    fn datagram_answer(&mut self, conn: &Conn, tally: &mut Tally) -> Result<Option<Instant>, Error> {
        loop {
            let count = match conn.recv(&mut self.answer) {
                Err(error) if error.kind() == Kind::TimedOut => {
                    tally.errors.lost += 1;
                    return Ok(None);
                }
                result => result?,
            };
            let received = Instant::now();
            let answer = &self.answer[..count];
            if self.message.is_earlier(answer) {
                tally.errors.late += 1;
                continue;
            }
            let length = self.message.bytes.len();
            let offset = if count == length { self.message.difference(0, answer) } else { Some(count.min(length)) };
            if let Some(offset) = offset {
                tally.errors.corrupt += 1;
                tally.errors.first_corrupt_offset.get_or_insert(offset as u64);
            }
            return Ok(Some(received));
        }
    }
}

/// The server closed the connection although an answer was due.
pub(super) fn ended_early(conn: &Conn) -> Error {
    Error::new(Op::Receive, conn, conn.age(), Cause::EndedEarly("the server closed the connection before its answer"))
}
