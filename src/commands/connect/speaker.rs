//! Who talks to the peer: whoever is at stdin and stdout, a program, a script, a record, or what verifies an echo.
//!
//! Owns which it is, from its beginning to what its end means. Must not know how the bytes get to the peer: to the relay all
//! of them are an input and an output.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};

use super::Plan;
use super::executed::{Finished, Piped};
use super::replay::Replaying;
use super::scripted::{self, Scripted};
use super::verified::Verifying;
use crate::connection::Conn;
use crate::exit::Status;
use crate::output::{Editing, Output, bulk_stdin, bulk_stdout, edited_stdin, stamped};
use crate::record::Track;
use crate::relay::{Ended, Outcome, Stopper, Taps};
use crate::script::{Played, Stage, play};
use crate::signals;

/// Who it is.
pub enum Speaker {
    /// Whoever is at stdin and stdout.
    Streams,
    /// `-e` and `-c`.
    Program(Piped),
    /// `--send`, `--expect` and `--script`.
    Script(Played),
    /// `--verify`.
    Verification(Verifying),
    /// `--replay`.
    Replay(Replaying),
}

/// What a relay joins to the peer.
pub struct Ends {
    /// What is sent.
    pub input: Box<dyn Read + Send>,
    /// Where what comes goes.
    pub output: Box<dyn Write + Send>,
    /// The terminal's editor, if lines are edited: it goes when the relay is over.
    pub editing: Option<Editing>,
}

impl Speaker {
    /// Begins to speak. A signal ends the relay.
    pub fn start(
        plan: &Plan,
        conn: &Arc<Conn>,
        stopper: Stopper,
        taps: &mut Taps,
        track: Option<&Arc<Track>>,
        output: Output,
    ) -> Result<(Speaker, Ends)> {
        if let Some(program) = &plan.program {
            let (running, ends) = Piped::start(program, conn, stopper)?;
            return Ok((Speaker::Program(running), ends));
        }
        let to_stop = stopper.clone();
        signals::hear(move |signal| to_stop.stop(signal)).context("listen for signals")?;
        if let Some(verification) = plan.verification {
            let (verifying, input, output) = verification.start(stopper);
            return Ok((Speaker::Verification(verifying), Ends { input, output, editing: None }));
        }
        let printer = bulk_stdout(plan.raw).context("open stdout")?;
        let printer = if plan.timestamps { stamped(printer) } else { printer };
        if let Some(replay) = &plan.replay {
            let (replaying, input) = replay.start(conn, stopper, track.cloned(), taps);
            return Ok((Speaker::Replay(replaying), Ends { input, output: printer, editing: None }));
        }
        let is_heard = plan.script.as_ref().is_none_or(|scripted| scripted.interacts);
        let edited = if plan.edits && is_heard { edited_stdin() } else { None };
        let (edited, editing) = edited.unzip();
        let typed = || edited.map_or_else(|| bulk_stdin().context("open stdin"), Ok);
        let Some(Scripted { script, interacts }) = &plan.script else {
            return Ok((Speaker::Streams, Ends { input: typed()?, output: printer, editing }));
        };
        let is_wanted_no_more = !interacts && script.ends_with_an_expectation();
        let stage = Stage {
            is_stream: conn.transport().is_stream(),
            output: printer,
            then: interacts.then(typed).transpose()?,
            report: scripted::report(output),
            over: Box::new(move |is_done| match (is_done, is_wanted_no_more) {
                (false, _) => stopper.abandon(),
                (true, true) => stopper.end_output(),
                (true, false) => {}
            }),
        };
        let (played, input, output) = play(script.clone(), stage);
        Ok((Speaker::Script(played), Ends { input, output, editing }))
    }

    /// Whether it has ended the connection with a reset.
    pub fn has_reset(&self) -> bool {
        matches!(self, Speaker::Replay(replaying) if replaying.has_reset())
    }

    /// Whether stdin is what is sent.
    pub fn is_stdin(&self) -> bool {
        matches!(self, Speaker::Streams)
    }

    /// Waits for its end, now that the relay is over, and says what that means for the relay's.
    pub fn finish(
        &self,
        outcome: &mut Outcome,
        conn: &Conn,
        deadline: Option<Instant>,
        output: Output,
    ) -> Result<Parting> {
        match self {
            Speaker::Streams => {}
            Speaker::Program(running) => return Ok(Parting(Some(running.finish(&outcome.ended, deadline)?))),
            Speaker::Verification(verifying) => {
                let ended = std::mem::replace(&mut outcome.ended, Ended::EndsFinished);
                outcome.ended = verifying.conclude(ended, conn, output);
            }
            Speaker::Replay(replaying) => {
                let ended = std::mem::replace(&mut outcome.ended, Ended::EndsFinished);
                outcome.ended = replaying.conclude(ended, conn);
            }
            // A clock, a signal or a full disk has cut it short.
            Speaker::Script(_) if !outcome.ended.is_clean() && !matches!(outcome.ended, Ended::PeerFailed(_)) => {}
            Speaker::Script(played) => {
                let ended = std::mem::replace(&mut outcome.ended, Ended::EndsFinished);
                let has_failed = matches!(ended, Ended::PeerFailed(_));
                outcome.ended = match played.finish(has_failed) {
                    Some(result) => scripted::conclude(result, ended, conn),
                    None => ended,
                };
            }
        }
        Ok(Parting(None))
    }
}

/// How a speaker ended, as far as that matters besides the relay: of a program.
#[derive(Debug, Clone, Copy)]
pub struct Parting(Option<Finished>);

impl Parting {
    /// The program's own status.
    pub fn program(self) -> Option<Status> {
        self.0.map(|finished| finished.status)
    }

    /// The number of the status that follows from it and from the conversation's.
    pub fn status(self, conversation: Status) -> Status {
        self.0.map_or(conversation, |finished| finished.number(conversation))
    }

    /// What status follows from it and from the conversation's, or what error.
    pub fn judge(self, conversation: Result<Status>, conn: &Conn) -> Result<Status> {
        match self.0 {
            Some(finished) => finished.judge(conversation, conn),
            None => conversation,
        }
    }
}
