//! What became of a target, and what the status of the run is by all of them.
//!
//! Owns the words for the states and how many targets must be as wanted. Must not know how a verdict was reached or is
//! printed. Trade-off: the run keeps counts and the first failure in the order of the command line, never the verdicts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::targets::Target;
use super::{ExitCode, Require};
use crate::connection::{Address, Cause, Clock, Error, Kind, Op};
use crate::exit::{CHECK_FAILED, Status};

/// What a target was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Somebody answers there.
    Open,
    /// Nobody listens there.
    Refused,
    /// No answer.
    TimedOut,
    /// A datagram was not answered, which proves nothing.
    OpenOrFiltered,
    /// The way there ends, or is forbidden.
    Unreachable,
    /// A unix socket's queue is full.
    Busy,
    /// The name has no address.
    NotResolved,
    /// It is open, and does not what it should.
    CheckFailed,
    /// The probe could not be made, which says nothing of the target.
    LocalError,
}

impl State {
    /// Every state, in the order of a summary.
    pub const ALL: [State; 9] = [
        State::Open,
        State::Refused,
        State::TimedOut,
        State::OpenOrFiltered,
        State::Unreachable,
        State::Busy,
        State::NotResolved,
        State::CheckFailed,
        State::LocalError,
    ];

    /// What an error makes of a target; without one it is open.
    fn of(error: Option<&Error>) -> State {
        let Some(error) = error else { return State::Open };
        match error.kind() {
            // Whatever became of the proxy says nothing of the target.
            _ if error.is_of_proxy() => State::LocalError,
            Kind::Refused => State::Refused,
            Kind::TimedOut if matches!(error.cause, Cause::TimedOut(Clock::Reply)) => State::OpenOrFiltered,
            Kind::TimedOut => State::TimedOut,
            Kind::Busy => State::Busy,
            Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::Prohibited => State::Unreachable,
            Kind::NameNotFound | Kind::LookupFailed => State::NotResolved,
            Kind::Misbehaved => State::CheckFailed,
            _ => State::LocalError,
        }
    }

    /// As the machine-readable formats have it.
    pub fn name(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Refused => "refused",
            State::TimedOut => "timed_out",
            State::OpenOrFiltered => "open|filtered",
            State::Unreachable => "unreachable",
            State::Busy => "busy",
            State::NotResolved => "not_resolved",
            State::CheckFailed => "check_failed",
            State::LocalError => "local_error",
        }
    }
}

/// As a person reads it.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name().replace('_', " "))
    }
}

/// What is measured several times, in the order of the command line.
pub type Series = (u64, Option<String>);

/// What became of a target.
#[derive(Debug)]
pub struct Verdict {
    /// Which.
    pub target: Target,
    /// The address that answered, or the only one that did not; none if the name was not found, or has several.
    pub address: Option<Address>,
    /// Which of its addresses, where each is a target of its own.
    pub only: Option<Address>,
    /// Our end of the connection.
    pub local: Option<Address>,
    /// How long the name lookup took.
    pub resolve: Duration,
    /// How long the attempt took.
    pub elapsed: Duration,
    /// How long after the connect the first byte came, if any did.
    pub first_byte: Option<Duration>,
    /// What the peer said, if that was asked for.
    pub received: Option<Vec<u8>>,
    /// Which attempt this was, from 1.
    pub attempt: u64,
    /// Why it is not open.
    pub error: Option<Arc<Error>>,
    /// Whether this is what was wanted.
    pub is_wanted: bool,
}

impl Verdict {
    /// The word for it.
    pub fn state(&self) -> State {
        State::of(self.error.as_deref())
    }

    /// What its measurements have in common: the target, and its address where each is a target of its own.
    pub fn series(&self) -> Series {
        (self.target.index, self.only.as_ref().map(ToString::to_string))
    }

    /// The number that `connect_ex` returns; none where it has none.
    pub fn errno(&self) -> Option<i32> {
        self.error.as_ref().map_or(Some(0), |error| error.errno())
    }

    /// The name of that number, and of what has none.
    pub fn errname(&self) -> &'static str {
        self.error.as_ref().map_or("OK", |error| error.errname())
    }

    /// The word for its class in the portable table of statuses.
    pub fn class(&self) -> &'static str {
        match self.error.as_ref().map(|error| class(error)) {
            None => "open",
            Some(Status::Refused) => "refused",
            Some(Status::TimedOut) => "timeout",
            Some(Status::Unreachable) => "unreachable",
            Some(Status::NotResolved) => "resolve",
            Some(Status::CheckFailed) => "check",
            Some(_) => "local",
        }
    }

    /// How far it came.
    pub fn step(&self) -> &'static str {
        match self.error.as_ref().map(|error| &error.op) {
            None => "open",
            Some(Op::Resolve) => "resolve",
            Some(Op::Connect) => "connect",
            Some(Op::Send) => "send",
            Some(Op::Receive) => "receive",
            Some(Op::Greet | Op::LogIn | Op::Ask) => "proxy",
            Some(_) => "socket",
        }
    }
}

/// The class of an error in the portable table of statuses.
fn class(error: &Error) -> Status {
    if error.is_of_proxy() { Status::Local } else { Status::of(error.kind()) }
}

/// All verdicts so far, counted.
#[derive(Debug)]
pub struct Tally {
    require: Require,
    counts: [u64; State::ALL.len()],
    wanted: u64,
    total: u64,
    /// Those that nobody came to.
    pub untried: u64,
    first: Option<Failure>,
    /// The class that all failures have in common.
    class: Option<Status>,
    is_mixed: bool,
}

/// The first failure in the order of the command line.
#[derive(Debug, Clone, Copy)]
struct Failure {
    index: u64,
    errno: Status,
    class: Status,
}

impl Tally {
    /// Nothing yet.
    pub fn new(require: Require) -> Tally {
        let counts = [0; State::ALL.len()];
        Tally { require, counts, wanted: 0, total: 0, untried: 0, first: None, class: None, is_mixed: false }
    }

    /// Counts a verdict.
    pub fn add(&mut self, verdict: &Verdict) {
        self.counts[verdict.state() as usize] += 1;
        self.total += 1;
        if verdict.is_wanted {
            self.wanted += 1;
        } else if let Some(error) = &verdict.error {
            self.fail(verdict.target.index, error);
        }
    }

    /// Counts targets that there was no time for.
    pub fn leave_out(&mut self, index: u64, count: u64, error: &Error) {
        self.untried += count;
        self.total += count;
        self.fail(index, error);
    }

    /// Counts what was measured several times, when a signal or the deadline ends the measurements.
    pub fn close(&mut self, index: u64, was_wanted: bool, last: Option<&Error>) {
        self.total += 1;
        let state = if was_wanted { State::Open } else { State::of(last) };
        self.counts[state as usize] += 1;
        if was_wanted {
            self.wanted += 1;
        } else if let Some(error) = last {
            self.fail(index, error);
        }
    }

    fn fail(&mut self, index: u64, error: &Error) {
        let class = class(error);
        self.is_mixed |= self.class.is_some_and(|other| other != class);
        self.class = Some(class);
        if self.first.is_none_or(|first| index < first.index) {
            self.first = Some(Failure { index, errno: Status::errno_of(error), class });
        }
    }

    /// How many are open so far.
    pub fn open(&self) -> u64 {
        self.counts[State::Open as usize]
    }

    /// How many are as wanted, and how many there were.
    pub fn wanted(&self) -> (u64, u64) {
        (self.wanted, self.total)
    }

    /// How many there are of each state that there is.
    pub fn counts(&self) -> impl Iterator<Item = (State, u64)> {
        State::ALL.into_iter().zip(self.counts).filter(|(_, count)| *count > 0)
    }

    /// Whether as many are as wanted as must be.
    pub fn is_enough(&self) -> bool {
        match self.require {
            Require::All => self.wanted == self.total,
            Require::Any => self.wanted > 0,
            Require::AtLeast(number) => self.wanted >= number,
        }
    }

    /// The status of the run.
    pub fn status(&self, meaning: ExitCode) -> Status {
        if self.is_enough() {
            return Status::Done;
        }
        // Where none failed there are fewer targets than are required, since some were named twice.
        let (errno, class) =
            self.first.map_or((Status::Errno(CHECK_FAILED), Status::CheckFailed), |first| (first.errno, first.class));
        match meaning {
            ExitCode::Errno => errno,
            ExitCode::Class if self.is_mixed => Status::Mixed,
            ExitCode::Class => class,
            ExitCode::Simple => Status::Errno(1),
            ExitCode::Nagios if class == Status::Local => Status::Errno(3),
            ExitCode::Nagios => Status::Errno(2),
        }
    }
}
