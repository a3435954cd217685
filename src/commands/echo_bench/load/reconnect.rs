//! Connections that are made anew every so many messages: connect, exchange, close.
//!
//! Owns the life of those connections. Must not know how one is dialled, nor how messages are exchanged. Trade-off: a thread
//! for each, since a connect that waits for its answer cannot share one; so the connections are few, and the connects many.

use super::Work;
use super::blocking::{Pair, answer_buffer};
use crate::commands::echo_bench::tally::Tally;
use crate::connection::dial::Failed;
use crate::connection::{Error, Source, dial};

/// Drives one connection after another, each for so many messages.
pub(super) fn drive(work: &Work, messages: u64, tally: &mut Tally) -> Result<(), Error> {
    let source = Source::default();
    let how = work.plan.dial(&source);
    let (mut lane, mut answer) = (work.lane(0), answer_buffer(work));
    loop {
        let begun = work.clock.now();
        if begun >= tally.end() || work.shared.is_stopped() {
            return Ok(());
        }
        let conn = dial(&work.addresses, &how).map_err(Failed::into_error)?.conn;
        tally.connected(begun, work.clock.now());
        if Pair::new(work, &conn, &mut lane, &mut answer)?.measure_stream(messages, tally)? {
            return Ok(());
        }
    }
}
