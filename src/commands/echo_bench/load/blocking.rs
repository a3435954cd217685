//! One connection, one thread, blocking calls: send, receive, note the time.
//!
//! Owns the shortest path between two clock reads. Must not know other connections, windows or plans.

use super::{Lane, Work, ended_early};
use crate::commands::echo_bench::ledger::{Found, Ledger};
use crate::commands::echo_bench::message::Answers;
use crate::commands::echo_bench::tally::Tally;
use crate::connection::{Clock, Conn, Error, Kind, Op};

/// Drives the one connection of a thread.
pub(super) fn drive(work: &Work, tally: &mut Tally) -> Result<(), Error> {
    let (mut lane, mut answer) = (work.lane(0), answer_buffer(work));
    let mut pair = Pair::new(work, &work.conns[0], &mut lane, &mut answer)?;
    if work.plan.transport.is_stream() {
        pair.measure_stream(u64::MAX, tally).map(drop)
    } else {
        pair.measure_datagrams(tally)
    }
}

/// One byte longer than a message, so that an answer that is too long shows.
pub(super) fn answer_buffer(work: &Work) -> Vec<u8> {
    vec![0; work.plan.lengths.max() + 1]
}

/// The two ends, and what is between them.
pub(super) struct Pair<'a> {
    work: &'a Work,
    conn: &'a Conn,
    lane: &'a mut Lane,
    answer: &'a mut [u8],
    has_answered: bool,
}

impl<'a> Pair<'a> {
    /// Exchanges messages with this connection from now on.
    pub(super) fn new(
        work: &'a Work,
        conn: &'a Conn,
        lane: &'a mut Lane,
        answer: &'a mut [u8],
    ) -> Result<Pair<'a>, Error> {
        if !work.plan.is_spinning {
            conn.set_blocking()?;
            conn.set_reply_timeout(work.patience())?;
        }
        Ok(Pair { work, conn, lane, answer, has_answered: false })
    }

    /// Sends so many messages, or until the run ends; says whether it has.
    pub(super) fn measure_stream(&mut self, messages: u64, tally: &mut Tally) -> Result<bool, Error> {
        let mut now = self.work.clock.now();
        let mut echoed_bytes = 0;
        for sequence in 1..=messages {
            if !tally.goes_on(now) {
                return Ok(true);
            }
            let length = self.work.plan.lengths.next(&mut self.lane.random);
            tally.slice.sent += 1;
            self.send(sequence, length)?;
            let Some(received) = self.stream_answer(now, length, tally)? else { return Ok(true) };
            if let Some(offset) =
                self.lane.message.difference(self.lane.salt, sequence, length, 0, &self.answer[..length])
            {
                tally.slice.errors.note_corrupt(sequence, echoed_bytes + offset as u64);
            }
            echoed_bytes += length as u64;
            // In a closed loop one answer's arrival is the next message's beginning: one clock read does for both.
            now = if tally.answered(now, now, received, length) { self.work.clock.now() } else { received };
        }
        Ok(false)
    }

    /// The whole answer, in as many pieces as it comes, and its time; none if the run was ended meanwhile.
    fn stream_answer(&mut self, sent: u64, length: usize, tally: &mut Tally) -> Result<Option<u64>, Error> {
        let mut filled = 0;
        while filled < length {
            match self.recv(filled, length)? {
                Some(0) => return Err(ended_early(self.conn)),
                Some(count) => filled += count,
                None => {
                    let now = self.work.clock.now();
                    tally.move_on(now);
                    if self.work.shared.is_stopped() {
                        return Ok(None);
                    }
                    if now - sent >= self.work.reply_timeout_ns() {
                        tally.lost(sent);
                        return Err(Error::timed_out(
                            Op::Receive,
                            self.conn,
                            self.work.plan.reply_timeout,
                            Clock::Reply,
                        ));
                    }
                }
            }
        }
        Ok(Some(self.work.clock.now()))
    }

    fn measure_datagrams(&mut self, tally: &mut Tally) -> Result<(), Error> {
        let mut ledger = Ledger::new(super::HISTORY);
        let result = self.exchange_datagrams(&mut ledger, tally);
        ledger.close(&mut tally.slice.errors);
        result
    }

    fn exchange_datagrams(&mut self, ledger: &mut Ledger, tally: &mut Tally) -> Result<(), Error> {
        let mut now = self.work.clock.now();
        while tally.goes_on(now) {
            let length = self.work.plan.lengths.next(&mut self.lane.random);
            tally.slice.sent += 1;
            // An error of an earlier datagram is told to the next call, whichever it is.
            let refused = match self.send(ledger.next(), length) {
                Err(error) if error.kind() == Kind::Refused && self.has_answered => true,
                result => result.map(|()| false)?,
            };
            ledger.send(now, now, length, &mut tally.slice.errors);
            now = match if refused { self.refused(ledger, tally) } else { self.datagram_answer(now, ledger, tally)? } {
                Some(received) => received,
                None if self.work.shared.is_stopped() => return Ok(()),
                None => self.work.clock.now(),
            };
        }
        Ok(())
    }

    /// Waits until the datagram that was just sent has its answer, or none; answers to others are booked on the way.
    fn datagram_answer(&mut self, sent: u64, ledger: &mut Ledger, tally: &mut Tally) -> Result<Option<u64>, Error> {
        while ledger.waiting() > 0 {
            let count = match self.recv(0, self.answer.len()) {
                Err(error) if error.kind() == Kind::Refused && self.has_answered => {
                    return Ok(self.refused(ledger, tally));
                }
                result => result?,
            };
            let received = self.work.clock.now();
            let Some(count) = count else {
                tally.move_on(received);
                if self.work.shared.is_stopped() {
                    return Ok(None);
                }
                if received - sent >= self.work.reply_timeout_ns() {
                    ledger.give_up(received, |entry| tally.lost(entry.intended));
                    return Ok(None);
                }
                continue;
            };
            self.has_answered = true;
            if self.lane.book(ledger, &self.answer[..count], received, tally) {
                return Ok(Some(if received < tally.slice_ends() { received } else { self.work.clock.now() }));
            }
        }
        Ok(None)
    }

    /// The peer's system says that nobody listens: its server may come back, and need not be hammered meanwhile.
    fn refused(&mut self, ledger: &mut Ledger, tally: &mut Tally) -> Option<u64> {
        if let Some(entry) = ledger.refuse() {
            tally.refused(entry.intended);
        }
        std::thread::sleep(super::REFUSED_PAUSE.min(self.work.plan.reply_timeout));
        None
    }

    /// Sends a message, all of it. While it spins the socket does not block, and is asked until it has room.
    #[inline]
    fn send(&mut self, sequence: u64, length: usize) -> Result<(), Error> {
        let mut bytes = self.lane.message.of(self.lane.salt, sequence, length);
        if !self.work.plan.is_spinning {
            return self.conn.send_all(bytes);
        }
        while !self.work.shared.is_stopped() {
            match self.conn.try_send(bytes)? {
                Some(count) if count == bytes.len() => return Ok(()),
                Some(count) => bytes = &bytes[count..],
                None => std::hint::spin_loop(),
            }
        }
        Ok(())
    }

    /// What came into this part of the answer; none if nothing came in a while.
    #[inline]
    fn recv(&mut self, from: usize, to: usize) -> Result<Option<usize>, Error> {
        if self.work.plan.is_spinning {
            return self.spin(from, to);
        }
        match self.conn.recv(&mut self.answer[from..to]) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == Kind::TimedOut => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks again and again, as `--spin` has it.
    fn spin(&mut self, from: usize, to: usize) -> Result<Option<usize>, Error> {
        /// So often without a look at the clock: some milliseconds.
        const ASKED: u32 = 10_000;
        for _ in 0..ASKED {
            match self.conn.try_recv(&mut self.answer[from..to])? {
                Some(count) => return Ok(Some(count)),
                None => std::hint::spin_loop(),
            }
        }
        Ok(None)
    }
}

impl Lane {
    /// Books an answer. True if it is the first to a datagram that waits for one.
    #[inline]
    pub(super) fn book(&mut self, ledger: &mut Ledger, answer: &[u8], received: u64, tally: &mut Tally) -> bool {
        let sequence = match self.message.answered_by(self.salt, self.connections, answer, ledger) {
            Answers::Message(sequence) => sequence,
            Answers::Another => {
                tally.slice.errors.stray += 1;
                return false;
            }
            Answers::Nothing => {
                tally.slice.errors.note_corrupt(0, 0);
                return false;
            }
        };
        let found = ledger.answer(sequence, &mut tally.slice.errors);
        let (Found::Answered(entry) | Found::Late(entry)) = found else {
            match found {
                Found::Duplicate => tally.slice.errors.duplicate += 1,
                _ => tally.slice.errors.stray += 1,
            }
            return false;
        };
        let length = entry.length as usize;
        if answer.len() < length {
            tally.slice.errors.note_truncated(sequence, answer.len() as u64);
        } else {
            let offset = self.message.difference(self.salt, sequence, length, 0, &answer[..length]);
            if let Some(offset) = offset.or((answer.len() > length).then_some(length)) {
                tally.slice.errors.note_corrupt(sequence, offset as u64);
            }
        }
        if let Found::Late(_) = found {
            tally.found(entry.intended);
        }
        tally.answered(entry.intended, entry.sent, received, answer.len());
        matches!(found, Found::Answered(_))
    }
}
