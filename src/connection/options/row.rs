//! What a row of the option table is, and how it is applied and read back.
//!
//! Owns the decision whether an option is set: its transport, its family, its time, its system. Must not know any
//! single option: those are the rows of `table`. Trade-off: a row is made of plain function pointers and not of a
//! trait, so that a new option is a few lines in one place, and one that nobody asked for costs a comparison.

use std::cell::OnceCell;
use std::fmt;
use std::io;
use std::time::Instant;

use socket2::Socket as Raw;

use super::values::Value;
use super::{Options, Phase};
use crate::connection::trace::{self, Returned};
use crate::connection::{Cause, Error, Family, Op, Result, Socket, Transport};

/// One option of the system.
pub(super) struct Row {
    /// The flag that sets it. IPv4 and IPv6 have their own options: one flag may have several rows.
    pub(super) flag: &'static str,
    /// Level and name, as setsockopt(2) takes them.
    pub(super) constant: &'static str,
    /// The transports that have it.
    pub(super) transports: &'static [Transport],
    /// What other transports are told.
    pub(super) otherwise: &'static str,
    /// The families whose packets it is about.
    pub(super) reach: Reach,
    /// When it is set, but for accepted sockets.
    pub(super) phases: &'static [Phase],
    /// What accepted sockets need.
    pub(super) accepted: Accepted,
    /// Sets it, if it was asked for and the time is right.
    pub(super) set: fn(&Call) -> Result<()>,
    /// Reads it back.
    pub(super) get: Here<fn(&Raw) -> io::Result<Reading>>,
}

/// The sockets of an IP transport that an option is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// All of them.
    Any,
    /// IPv4 sockets.
    V4,
    /// IPv4 sockets, and IPv6 sockets that carry IPv4 too.
    V4Traffic,
    /// IPv6 sockets.
    V6,
}

/// What is done with an accepted socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepted {
    /// It has the option from its listener where accept(2) does that, else it is set again.
    Inherited,
    /// It is set again on every system.
    SetAgain,
    /// Nothing: the option is about binding, dialling or listening.
    Untouched,
}

/// A socket, and what is needed to know which options have a meaning for it.
pub(super) struct Target<'a> {
    socket: &'a Socket,
    family: Family,
    transport: Transport,
    /// Whether an IPv6 socket carries IPv4 as well: asked of the system once, and only if something depends on it.
    takes_v4: OnceCell<bool>,
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { transport, .. } = self;
        match self.family {
            Family::V4 => write!(f, "{transport}/IPv4 socket"),
            Family::V6 => write!(f, "{transport}/IPv6 socket"),
            Family::Unix => write!(f, "{transport} socket"),
        }
    }
}

impl Target<'_> {
    pub(super) fn new(socket: &Socket, family: Family, transport: Transport) -> Target<'_> {
        Target { socket, family, transport, takes_v4: OnceCell::new() }
    }

    /// Whether the socket carries what an option is about.
    fn carries(&self, reach: Reach) -> bool {
        match (reach, self.family) {
            (Reach::Any, _) | (Reach::V4 | Reach::V4Traffic, Family::V4) | (Reach::V6, Family::V6) => true,
            (Reach::V4Traffic, Family::V6) => TAKES_V4_OPTIONS && self.takes_v4(),
            (Reach::V4 | Reach::V4Traffic | Reach::V6, _) => false,
        }
    }

    fn takes_v4(&self) -> bool {
        let id = self.socket.id();
        let shown = |answer: Option<&((), bool)>| {
            let only_v6 = answer.map_or(String::new(), |((), only_v6)| only_v6.traced());
            format!("{id}, IPPROTO_IPV6, IPV6_V6ONLY, {only_v6}")
        };
        let ask = || trace::call("getsockopt", shown, || Ok(((), self.socket.raw().only_v6()?)));
        *self.takes_v4.get_or_init(|| ask().is_ok_and(|((), only_v6)| !only_v6))
    }
}

/// Whether the system lets IPv4's options be set on an IPv6 socket. The others apply IPv6's to both, or to neither.
const TAKES_V4_OPTIONS: bool = cfg!(any(target_os = "linux", target_os = "android", windows));

/// Whether accept(2) hands a listener's options on, for all those of [`Accepted::Inherited`].
const ACCEPT_INHERITS: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A function that this system has, or else why it does not.
pub(super) type Here<F> = std::result::Result<F, &'static str>;

/// What was read back.
pub(super) struct Reading {
    shown: String,
    traced: String,
}

impl Returned for Reading {
    fn number(&self) -> i64 {
        0
    }
}

/// Puts a value that was read back into words.
pub(super) fn read(value: io::Result<impl Value>) -> io::Result<Reading> {
    value.map(|value| Reading { shown: value.shown(), traced: value.traced() })
}

/// An option that has been asked for, maybe.
pub(super) struct Call<'a> {
    pub(super) options: &'a Options,
    pub(super) target: &'a Target<'a>,
    pub(super) phase: Phase,
    pub(super) row: &'a Row,
}

impl Call<'_> {
    /// Sets each of the values, if the socket has such an option and now is the time.
    pub(super) fn each<T: Value + Clone>(
        &self,
        values: impl IntoIterator<Item = T>,
        set: Here<fn(&Raw, T) -> io::Result<()>>,
    ) -> Result<()> {
        for value in values {
            let begun = Instant::now();
            self.one(value.clone(), set).map_err(|cause| {
                let option = format!("{}={}", self.row.flag, value.shown());
                Error::new(Op::SetOption(option), self.target, begun.elapsed(), cause)
            })?;
        }
        Ok(())
    }

    fn one<T: Value + Clone>(
        &self,
        value: T,
        set: Here<fn(&Raw, T) -> io::Result<()>>,
    ) -> std::result::Result<(), Cause> {
        let Call { row, target, .. } = self;
        if !row.transports.contains(&target.transport) {
            return Err(Cause::Unsupported(row.otherwise));
        }
        if !self.is_due() || !target.carries(row.reach) {
            return Ok(());
        }
        let set = set.map_err(Cause::Unsupported)?;
        let argument = value.clone();
        // The name of an interface becomes its number inside the call, so that a trace shows which name it was.
        let shown = |_: Option<&()>| format!("{}, {}, {}", target.socket.id(), row.constant, argument.traced());
        trace::call("setsockopt", shown, || set(target.socket.raw(), value)).map_err(Cause::System)
    }

    fn is_due(&self) -> bool {
        match (self.phase, self.row.accepted) {
            (Phase::Accepted, Accepted::Inherited) => !ACCEPT_INHERITS,
            (Phase::Accepted, Accepted::SetAgain) => true,
            (Phase::Accepted, Accepted::Untouched) => false,
            (phase, _) => self.row.phases.contains(&phase),
        }
    }
}

impl Row {
    /// The option's name without its level.
    pub(super) fn name(&self) -> &'static str {
        self.constant.split_once(", ").map_or(self.constant, |(_, name)| name)
    }

    /// The value in force; none where the socket or the system has no such option, or where it is empty.
    pub(super) fn read(&self, target: &Target) -> Option<String> {
        let get = self.get.ok()?;
        if !self.transports.contains(&target.transport) || !target.carries(self.reach) {
            return None;
        }
        let id = target.socket.id();
        let shown = |reading: Option<&Reading>| match reading {
            Some(Reading { traced, .. }) => format!("{id}, {}, {traced}", self.constant),
            None => format!("{id}, {}", self.constant),
        };
        let reading = trace::call("getsockopt", shown, || get(target.socket.raw())).ok()?;
        (!reading.shown.is_empty()).then_some(reading.shown)
    }
}
