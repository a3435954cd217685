//! What can happen to a connection, and the words for it in a record.
//!
//! Owns the vocabulary. Must not know how an event is written down. Trade-off: an event holds its own copy of the bytes,
//! because the buffer that they came in is somebody else's by the time they are written.

use std::time::{Duration, SystemTime};

use crate::connection::{Address, Transport};

/// What a record says of itself before anything happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// When it began.
    pub start: SystemTime,
    /// The words of the command line, without the program's name.
    pub command: Vec<String>,
    /// What the faults were drawn from, if there were any.
    pub seed: Option<u64>,
}

/// Which way bytes go, as the one who records sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the peer.
    Received,
    /// To the peer.
    Sent,
}

impl Direction {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Direction::Received => "rx",
            Direction::Sent => "tx",
        }
    }

    /// What a word means.
    pub fn read(word: &str) -> Option<Direction> {
        [Direction::Received, Direction::Sent].into_iter().find(|direction| direction.word() == word)
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// In order: both directions, or ours because it was time.
    Finished,
    /// By our reset.
    Reset,
    /// By the peer's reset.
    PeerReset,
    /// We left: datagrams have no end, and somebody may not have waited for one.
    Left,
    /// By another error of this name.
    Failed(String),
}

impl Ending {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Ending::Finished => "fin",
            Ending::Reset => "rst",
            Ending::PeerReset => "peer-rst",
            Ending::Left => "left",
            Ending::Failed(_) => "error",
        }
    }

    /// The name of its error, if it has one.
    pub fn errname(&self) -> Option<&str> {
        match self {
            Ending::Failed(name) => Some(name),
            _ => None,
        }
    }

    /// What a word means, with the name of the error that it may need.
    pub fn read(word: &str, errname: Option<String>) -> Option<Ending> {
        let failed = Ending::Failed(errname.unwrap_or_default());
        let endings = [Ending::Finished, Ending::Reset, Ending::PeerReset, Ending::Left, failed];
        endings.into_iter().find(|ending| ending.word() == word)
    }
}

/// Something that happened, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Since the record began, on the monotonic clock; never less than that of the event before it.
    pub time: Duration,
    /// What it was.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A connection, or the first datagram of a peer.
    Open {
        /// Its number, from 1 on.
        connection: u64,
        /// The protocol.
        transport: Transport,
        /// The other end.
        peer: Address,
        /// Our end.
        local: Address,
    },
    /// A run of bytes, or one datagram.
    Data {
        /// Its number.
        connection: u64,
        /// Which way.
        direction: Direction,
        /// How many bytes went this way before.
        offset: u64,
        /// What went.
        bytes: Vec<u8>,
    },
    /// A direction's FIN.
    Finished {
        /// Its number.
        connection: u64,
        /// Which way.
        direction: Direction,
        /// How many bytes went this way before.
        offset: u64,
    },
    /// A rule misbehaved on purpose.
    Fault {
        /// Its number.
        connection: u64,
        /// The rule's place in the list of rules, from 0 on.
        rule: u64,
        /// What it did.
        fault: String,
        /// Where in its direction.
        at: u64,
    },
    /// The end of a connection.
    Close {
        /// Its number.
        connection: u64,
        /// How.
        ending: Ending,
        /// Bytes from the peer in all.
        received_bytes: u64,
        /// Bytes to the peer in all: taken by the system. A send that failed may have been written down with more.
        sent_bytes: u64,
    },
    /// The end of the record.
    End {
        /// How many connections there were.
        connections: u64,
        /// Whether all of it was written.
        complete: bool,
    },
}
