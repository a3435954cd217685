//! `connect --record`: what passes goes into the record as well.
//!
//! Owns what the relay's end is called there. Must not know how a record is written. Trade-off: what is sent is written down
//! before it is, because an answer to it may come back on the other thread at once; when the connection fails meanwhile, the
//! end of the record has the number of bytes that the system took.

use std::sync::Arc;

use crate::connection::{Conn, Kind};
use crate::record::{Direction, Ending, Recorder, Track};
use crate::relay::{Ended, Outcome, Taps};

/// Writes down what passes from now on.
pub fn record(recorder: &Recorder, conn: &Conn, taps: &mut Taps) -> Arc<Track> {
    let track = Arc::new(recorder.open(1, conn.transport(), conn.peer(), conn.local()));
    let data = |direction| {
        let track = track.clone();
        Box::new(move |bytes: &[u8]| track.data(direction, bytes))
    };
    taps.sending.push(data(Direction::Sent));
    taps.received.push(data(Direction::Received));
    let finished = |direction| {
        let track = track.clone();
        Box::new(move || track.finished(direction))
    };
    taps.finishing.push(finished(Direction::Sent));
    taps.finished.push(finished(Direction::Received));
    track
}

/// Writes down how it ended.
pub fn close(track: &Track, outcome: &Outcome) {
    let ending = match &outcome.ended {
        Ended::PeerFinished => Ending::Finished,
        Ended::PeerFailed(error) if matches!(error.kind(), Kind::Reset | Kind::BrokenPipe) => Ending::PeerReset,
        Ended::PeerFailed(error) => Ending::Failed(error.errname().to_owned()),
        _ => Ending::Left,
    };
    track.close(ending, outcome.sent_bytes);
}
