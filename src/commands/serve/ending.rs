//! How a connection ended, in one value: for the events, the summary and the record.

use std::process::ExitStatus;

use super::service::First;
use super::stream::Broken;
use crate::connection::{Error, Kind, Op};
use crate::fault::lane::EndingKind;

/// How a connection ended.
#[derive(Debug)]
pub enum How {
    /// The peer's FIN, then ours.
    PeerFinished,
    /// Ours, then the peer's FIN: everything was said.
    Finished,
    /// Ours first: the server was told to stop.
    Stopped,
    /// Ours first: nothing came or went for too long.
    TimedOut,
    /// Ours first: as many bytes had come as may.
    Full,
    /// Reset by us: no PROXY header came, for this reason.
    BadHeader(String),
    /// Reset by us: its time to finish was over.
    Cut,
    /// By a fault rule, in this way.
    Fault(EndingKind),
    /// Reset by us: the service has it so.
    Reset,
    /// A program had it, and has ended so.
    Program(ExitStatus),
    /// A program was to have it, and could not be started.
    NotRun(String),
    /// Reset by us: it did not read what others sent it in time.
    TooSlow,
    /// A reset, or another error.
    Failed(Error),
}

impl How {
    /// What a service's end means.
    pub fn of(ended: Result<First, Broken>) -> How {
        match ended {
            Ok(First::Peer) => How::PeerFinished,
            Ok(First::Us) => How::Finished,
            Ok(First::Program(status)) => How::Program(status),
            // The peer that has reset meanwhile is told by a send; with nothing to send it has simply gone.
            Err(Broken::Call(error)) if error.op == Op::Shutdown && error.kind() == Kind::BrokenPipe => {
                How::PeerFinished
            }
            Err(Broken::Call(error)) => How::Failed(*error),
            Err(Broken::Rule(ending)) => How::Fault(ending.kind),
            Err(Broken::Reset) => How::Reset,
            Err(Broken::NotRun(why)) => How::NotRun(why.into()),
            Err(Broken::TooSlow) => How::TooSlow,
        }
    }

    /// The word for it in JSON.
    pub fn word(&self) -> &'static str {
        match self {
            How::PeerFinished => "peer_finished",
            How::Finished => "finished",
            How::Stopped => "stopped",
            How::TimedOut => "timed_out",
            How::Full => "max_bytes",
            How::BadHeader(_) => "bad_header",
            How::Program(_) => "program_ended",
            How::NotRun(_) => "not_run",
            How::Cut => "cut",
            How::Fault(EndingKind::Reset) => "reset_by_rule",
            How::Fault(_) => "closed_by_rule",
            How::Reset => "reset",
            How::TooSlow => "too_slow",
            How::Failed(_) if self.is_reset_by_peer() => "peer_reset",
            How::Failed(_) => "error",
        }
    }

    /// Whether the peer ended it abruptly. EPIPE is what a send says after the reset.
    pub fn is_reset_by_peer(&self) -> bool {
        matches!(self, How::Failed(error) if matches!(error.kind(), Kind::Reset | Kind::BrokenPipe))
    }
}
