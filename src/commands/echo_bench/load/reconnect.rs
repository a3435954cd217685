//! Connections that are made anew every so many messages: connect, exchange, close.
//!
//! Owns the life of those connections. Must not know how one is dialled. Trade-off: a thread for each, since a connect that
//! waits for its answer cannot share one; so the connections are few, and the connects many.

use super::{Lane, Work, ended_early};
use crate::commands::echo_bench::tally::Tally;
use crate::connection::dial::Failed;
use crate::connection::{Clock, Conn, Error, Kind, Op, dial};

/// Drives one connection after another.
pub(super) fn drive(work: &Work, tally: &mut Tally) -> Result<(), Error> {
    let mut lane = work.lane(0);
    let mut answer = vec![0; work.lengths.max()];
    let mut sequence = 0;
    loop {
        let begun = work.clock.now();
        if begun >= tally.end() || work.shared.is_stopped() {
            return Ok(());
        }
        let conn = dial(&work.addresses, &work.dial()).map_err(Failed::into_error)?.conn;
        conn.set_blocking()?;
        conn.set_reply_timeout(work.patience())?;
        let mut now = work.clock.now();
        tally.connected(begun, now);
        for _ in 0..work.reconnect.unwrap_or(u64::MAX) {
            if !tally.goes_on(now) {
                return Ok(());
            }
            sequence += 1;
            let Some(received) = exchange(work, &conn, &mut lane, sequence, &mut answer, now, tally)? else {
                return Ok(());
            };
            now = received;
        }
    }
}

/// One message and its answer; none if the run was ended meanwhile.
fn exchange(
    work: &Work,
    conn: &Conn,
    lane: &mut Lane,
    sequence: u64,
    answer: &mut [u8],
    sent: u64,
    tally: &mut Tally,
) -> Result<Option<u64>, Error> {
    let length = work.lengths.next(&mut lane.random);
    tally.slice.sent += 1;
    conn.send_all(lane.message.of(lane.salt, sequence, length))?;
    let mut filled = 0;
    while filled < length {
        match conn.recv(&mut answer[filled..length]) {
            Ok(0) => return Err(ended_early(conn)),
            Ok(count) => filled += count,
            Err(error) if error.kind() == Kind::TimedOut => {
                if work.shared.is_stopped() {
                    return Ok(None);
                }
                if work.clock.now() - sent >= work.reply_timeout_ns() {
                    tally.lost(sent);
                    return Err(Error::timed_out(Op::Receive, conn, work.reply_timeout, Clock::Reply));
                }
            }
            Err(error) => return Err(error),
        }
    }
    let received = work.clock.now();
    if let Some(offset) = lane.message.difference(lane.salt, sequence, length, 0, &answer[..length]) {
        tally.slice.errors.note_corrupt(sequence, lane.echoed_bytes + offset as u64);
    }
    lane.echoed_bytes += length as u64;
    tally.answered(sent, sent, received, length);
    Ok(Some(received))
}
