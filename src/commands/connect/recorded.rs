//! `connect --record`: what passes goes into the record as well.
//!
//! Owns what the relay's end is called there. Must not know how a record is written. Trade-off: what is sent is written down
//! before it is, because an answer to it may come back on the other thread at once; when the connection fails meanwhile, the
//! end of the record has the number of bytes that the system took.

use std::sync::Arc;

use crate::commands::recording::{write_down, write_down_end};
use crate::connection::{Conn, Kind};
use crate::record::{Direction, Ending, Recorder, Track};
use crate::relay::{Ended, Outcome, Taps};

/// Writes down what passes from now on.
pub fn record(recorder: &Recorder, conn: &Conn, taps: &mut Taps) -> Arc<Track> {
    let track = Arc::new(recorder.open(1, conn.transport(), conn.peer(), conn.local()));
    taps.sending.push(write_down(&track, Direction::Sent));
    taps.received.push(write_down(&track, Direction::Received));
    taps.finishing.push(write_down_end(&track, Direction::Sent));
    taps.finished.push(write_down_end(&track, Direction::Received));
    track
}

/// Writes down how it ended; by our reset, or as the relay did.
pub fn close(track: &Track, outcome: &Outcome, has_reset: bool) {
    let ending = match &outcome.ended {
        _ if has_reset => Ending::Reset,
        Ended::PeerFinished => Ending::Finished,
        Ended::PeerFailed(error) if matches!(error.kind(), Kind::Reset | Kind::BrokenPipe) => Ending::PeerReset,
        Ended::PeerFailed(error) => Ending::Failed(error.errname().to_owned()),
        _ => Ending::Left,
    };
    track.close(ending, outcome.sent_bytes);
}
