//! The exit statuses: one table, in the help, in the README and here.
//!
//! Owns the numbers. Must not know how an error came about: it is given a kind and answers with a status.

use std::fmt::Write as _;
use std::io;
use std::process::{ExitCode, ExitStatus};

use crate::connection::{Error, Kind, errno};

/// How a run ended, in the portable table that every command uses (`probe` only on request).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done, cleanly.
    Done,
    /// The peer said no: refused, or reset.
    Refused,
    /// The command line was wrong. clap uses 2 as well.
    Usage,
    /// The host or network cannot be reached.
    Unreachable,
    /// Something on this side: could not bind, open, read or write; no permission; out of descriptors; no way through a proxy.
    Local,
    /// A check that was asked for failed.
    CheckFailed,
    /// The name has no address.
    NotResolved,
    /// Several targets failed for different reasons.
    Mixed,
    /// A clock ran out; the message says which.
    TimedOut,
    /// A bug of ours.
    Bug,
    /// Ended by a signal: 128 and its number.
    Signal(u8),
    /// `probe`: the errno, or a number from 200 for what has none.
    Errno(u8),
    /// Of a program that was run: its own, or why it could not be run.
    Program(u8),
}

/// What the help prints and the README repeats.
const TABLE: [(u8, &str); 10] = [
    (0, "done, cleanly"),
    (1, "the peer said no: refused, or reset"),
    (2, "usage"),
    (3, "unreachable: host or network"),
    (4, "local: could not bind, open, read or write; no permission; out of descriptors; the proxy failed"),
    (5, "a check that was asked for failed"),
    (6, "name not resolved"),
    (9, "several targets failed for different reasons"),
    (124, "timed out (the message says which clock)"),
    (125, "a bug of ours"),
];

/// Linux's largest errno is 133: what has no errno starts well above.
const NAME_NOT_FOUND: u8 = 200;
const LOOKUP_FAILED: u8 = 201;
/// What `--expect`, `--stable` or `--require` asked for was not so.
pub const CHECK_FAILED: u8 = 204;
const PROXY_FAILED: u8 = 205;

/// As env(1) and timeout(1) have it: the program was found, but cannot be run.
const CANNOT_RUN: u8 = 126;
/// And: it was not found.
const NOT_FOUND: u8 = 127;

/// Winsock's numbers are BSD's plus this.
const WINSOCK_BASE: i32 = 10_000;

impl Status {
    /// The number that the shell sees.
    pub fn number(self) -> u8 {
        match self {
            Status::Done => 0,
            Status::Refused => 1,
            Status::Usage => 2,
            Status::Unreachable => 3,
            Status::Local => 4,
            Status::CheckFailed => 5,
            Status::NotResolved => 6,
            Status::Mixed => 9,
            Status::TimedOut => 124,
            Status::Bug => 125,
            Status::Signal(number) => 128 + number,
            Status::Errno(number) | Status::Program(number) => number,
        }
    }

    /// Of a program that has ended: its own; 128 and the number of the signal that ended it. Windows' statuses have 32 bits:
    /// what does not fit is a failure all the same.
    pub fn of_program(status: ExitStatus) -> Status {
        #[cfg(unix)]
        if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
            return Status::Program(128 | u8::try_from(signal).unwrap_or(0));
        }
        Status::Program(u8::try_from(status.code().unwrap_or(1)).unwrap_or(u8::MAX))
    }

    /// Of a program that could not be run.
    pub fn of_not_run(failure: &io::Error) -> Status {
        Status::Program(if failure.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN })
    }

    /// The class of an error.
    pub fn of(kind: Kind) -> Status {
        match kind {
            Kind::Refused | Kind::Reset | Kind::BrokenPipe => Status::Refused,
            Kind::TimedOut | Kind::Busy => Status::TimedOut,
            Kind::Misbehaved => Status::CheckFailed,
            Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::Prohibited => Status::Unreachable,
            Kind::NameNotFound | Kind::LookupFailed => Status::NotResolved,
            Kind::AddressInUse
            | Kind::AddressNotAvailable
            | Kind::Permission
            | Kind::Exhausted
            | Kind::Unsupported
            | Kind::Proxy
            | Kind::Local => Status::Local,
        }
    }

    /// What `connect_ex` would return, as far as eight bits can hold it.
    pub fn errno_of(error: &Error) -> Status {
        let number = error.errno().map(|number| if number >= WINSOCK_BASE { number - WINSOCK_BASE } else { number });
        match (error.kind(), number.map(u8::try_from)) {
            _ if error.is_of_proxy() => Status::Errno(PROXY_FAILED),
            (Kind::NameNotFound, _) => Status::Errno(NAME_NOT_FOUND),
            (Kind::LookupFailed, _) => Status::Errno(LOOKUP_FAILED),
            (Kind::Misbehaved, _) => Status::Errno(CHECK_FAILED),
            (_, Some(Ok(number))) => Status::Errno(number),
            (Kind::Unsupported, _) => Status::Errno(u8::try_from(errno::EOPNOTSUPP % WINSOCK_BASE).unwrap_or(125)),
            _ => Status::Bug,
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status.number())
    }
}

/// The section of the help that lists the table.
pub fn help() -> String {
    let mut text = String::from("Exit status:\n");
    for (number, meaning) in TABLE {
        let _ = writeln!(text, "  {number:>3}  {meaning}");
    }
    text.push_str("  126, 127  the program to run cannot be run, is not there; one that ran has its own status\n");
    text.push_str("  130, 143  ended by SIGINT, SIGTERM (serve: by a second one)");
    text
}

/// The same for `probe`, whose statuses are `connect_ex`'s.
pub fn probe_help() -> String {
    let mut text =
        String::from("Exit status, as connect_ex returns it: 0, or the errno of the first target that failed:\n");
    for (number, meaning) in [
        ("0", "every target is open"),
        ("111", "ECONNREFUSED: nothing listens there"),
        ("110", "ETIMEDOUT: no answer in time, by the system's clock or by -w"),
        ("113", "EHOSTUNREACH: no route to the host"),
        ("101", "ENETUNREACH: no route to the network"),
        ("200", "the name was not found"),
        ("201", "the name lookup failed for now"),
        ("204", "--expect or --stable was not met"),
        ("205", "the proxy failed: nothing is known of the target"),
        ("2", "usage (and ENOENT: no such unix socket)"),
    ] {
        let _ = writeln!(text, "  {number:>3}  {meaning}");
    }
    text.push_str(
        "The numbers are Linux's; macOS has its own, Windows the Winsock number less 10000. `-o errname` prints names that \
         are the same everywhere; `--exit-code class` uses the table of the other commands: 0 open, 1 refused, 3 \
         unreachable, 4 local, 6 name not resolved, 9 mixed, 124 timed out.",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_what_the_statuses_are() {
        let all = [
            Status::Done,
            Status::Refused,
            Status::Usage,
            Status::Unreachable,
            Status::Local,
            Status::CheckFailed,
            Status::NotResolved,
            Status::Mixed,
            Status::TimedOut,
            Status::Bug,
        ];
        assert_eq!(all.map(Status::number), TABLE.map(|(number, _)| number));
    }

    #[test]
    fn signals_end_as_the_shell_has_it() {
        assert_eq!((Status::Signal(2).number(), Status::Signal(15).number()), (130, 143));
    }
}
