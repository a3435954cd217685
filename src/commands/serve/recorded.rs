//! `serve --record`: each connection's bytes and its end, and each datagram, go into the record as well.
//!
//! Owns what is a connection where there are none: each peer's datagrams are one. Must not know how a record is written.
//! Trade-off: those peers are kept in a table of limited size; who comes back after it was full is a new one.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::ending::How;
use crate::commands::recording::{write_down, write_down_end};
use crate::connection::{Address, Conn, Listener, errno};
use crate::fault::lane::EndingKind;
use crate::record::{Direction, Ending, Recorder, Track};
use crate::relay::Taps;

/// So many peers of datagrams are known at a time: enough for any test, and little memory if somebody forges more.
const PEERS_MAX: usize = 4096;

/// Writes down what passes on a connection from now on.
pub fn record(recorder: &Recorder, number: u64, conn: &Conn, taps: &mut Taps) -> Arc<Track> {
    let track = Arc::new(recorder.open(number, conn.transport(), conn.peer(), conn.local()));
    taps.received.push(write_down(&track, Direction::Received));
    taps.sent.push(write_down(&track, Direction::Sent));
    taps.finished.push(write_down_end(&track, Direction::Received));
    taps.finishing.push(write_down_end(&track, Direction::Sent));
    track
}

/// How a connection's end is called.
pub fn ending(how: &How) -> Ending {
    match how {
        How::Cut | How::Reset | How::TooSlow | How::BadHeader(_) | How::Fault(EndingKind::Reset) => Ending::Reset,
        How::PeerFinished
        | How::Program(_)
        | How::NotRun(_)
        | How::Finished
        | How::Stopped
        | How::TimedOut
        | How::Full
        | How::Fault(_) => Ending::Finished,
        How::Failed(_) if how.is_reset_by_peer() => Ending::PeerReset,
        How::Failed(error) => Ending::Failed(error.errname().to_owned()),
    }
}

/// What has become of the record, for the summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// Its file.
    pub file: String,
    /// Whether everything is in it, and its end.
    pub complete: bool,
    /// Why not.
    pub error: Option<String>,
}

impl Recorded {
    /// A record that has ended so.
    pub fn of(file: &Path, ended: io::Result<()>) -> Recorded {
        let error = ended.err().map(|error| errno::reason(&error));
        Recorded { file: file.display().to_string(), complete: error.is_none(), error }
    }
}

/// The peers of datagrams, each with its part of the record.
#[derive(Debug)]
pub struct Peers {
    recorder: Recorder,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    tracks: HashMap<Address, Arc<Track>>,
    count: u64,
}

impl Peers {
    /// Nobody yet.
    pub fn new(recorder: Recorder) -> Peers {
        Peers { recorder, known: Mutex::default() }
    }

    /// The part of the record that is this peer's.
    pub fn track(&self, peer: &Address, listener: &Listener) -> Arc<Track> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(track) = known.tracks.get(peer) {
            return track.clone();
        }
        if known.tracks.len() == PEERS_MAX {
            leave(&mut known);
        }
        known.count += 1;
        let track = Arc::new(self.recorder.open(known.count, listener.transport(), peer, listener.local()));
        known.tracks.insert(peer.clone(), track.clone());
        track
    }

    /// Nobody more.
    pub fn finish(&self) {
        leave(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn leave(known: &mut Known) {
    known.tracks.drain().for_each(|(_, track)| track.close(Ending::Left, u64::MAX));
}
