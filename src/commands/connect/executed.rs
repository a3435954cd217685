//! `connect -e` and `-c`: a program in the user's place.
//!
//! Owns the program's part of the conversation: either ends with the other. Must not know how bytes get from one to the
//! other. Trade-off: where nothing has to be seen of the bytes, the program has the socket itself, which costs nothing; but
//! then nobody counts what went each way.

use std::io::{self, Write};
use std::process::{ChildStdin, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};

use super::speaker::Ends;
use super::{Args, verdict};
use crate::cli::UsageError;
use crate::connection::{Clock, Conn, Error, Op};
use crate::exit::Status;
use crate::output::Output;
use crate::program::{GRACE, Group, Program, Running, Surroundings};
use crate::relay::{Ended, LEAVE_TAKING, Stopper};
use crate::signals;

/// The program, if there is one: it decides what is sent and for how long.
pub fn program_of(args: &Args) -> Result<Option<Program>, UsageError> {
    let program = args.program.program()?;
    let flags = [
        ("-d", args.joining.no_stdin),
        ("-k", args.keep_open),
        ("--send-only", args.joining.send_only),
        ("--timestamps", args.joining.timestamps),
    ];
    match flags.iter().find(|(_, is_set)| *is_set && program.is_some()) {
        Some((flag, _)) => {
            Err(UsageError(format!("{flag} is about stdin and stdout, which with a program are the program's")))
        }
        None => Ok(program),
    }
}

/// Whether what goes each way has to pass through here.
pub fn sees_bytes(args: &Args) -> bool {
    let is_paced = args.joining.crlf || args.joining.interval.is_some() || args.joining.rate_limit.is_some();
    let is_timed = args.joining.quit_after.is_some() || args.idle_timeout.is_some();
    let is_kept = args.passing.output_file.is_some() || args.hash.is_some() || args.record.record.is_some();
    is_paced || is_timed || is_kept || args.passing.hex || args.progress || args.joining.no_shutdown
}

/// What ends the waiting for a program.
enum Event {
    /// It has ended.
    Ended(io::Result<ExitStatus>),
    /// A signal of this number came.
    Signal(u8),
}

/// Why a program was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// By a signal of this number.
    Signal(u8),
    /// `--max-time` has passed.
    Deadline,
    /// The conversation was over.
    Over,
}

/// A program that is running, and what is heard of it.
struct Watched {
    group: Group,
    events: Sender<Event>,
    happened: Receiver<Event>,
}

impl Watched {
    /// Of a program that `start` starts. Signals are heard before that, and each is told to `hear` as well.
    fn start(
        start: impl FnOnce() -> Result<Running>,
        mut hear: impl FnMut(u8) + Send + 'static,
    ) -> Result<(Watched, Running)> {
        let (events, happened) = mpsc::channel();
        let heard = events.clone();
        let tell = move |signal| {
            hear(signal);
            heard.send(Event::Signal(signal)).is_ok()
        };
        signals::hear(tell).context("listen for signals")?;
        let running = start()?;
        Ok((Watched { group: running.group(), events, happened }, running))
    }

    /// Waits for its end on another thread, which then does what is to be done.
    fn expect_end(&self, running: Running, then: impl FnOnce() + Send + 'static) {
        let events = self.events.clone();
        thread::spawn(move || {
            let ended = running.wait();
            then();
            // Whoever gave up does not listen any more.
            let _ = events.send(Event::Ended(ended));
        });
    }

    /// Waits for its end. What is to cut it short has it told to end, and after the grace ended.
    fn finish(&self, deadline: Option<Instant>, mut cut: Option<Cut>) -> Result<(ExitStatus, Option<Cut>)> {
        let mut kill_at = None;
        if cut.is_some() {
            self.group.terminate();
            kill_at = Some(Instant::now() + GRACE);
        }
        loop {
            let clock = if cut.is_some() { kill_at } else { deadline };
            let event = match clock {
                Some(clock) => self.happened.recv_timeout(clock.saturating_duration_since(Instant::now())),
                None => self.happened.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match (event, cut) {
                (Ok(Event::Ended(ended)), _) => return Ok((ended.context("wait for the program")?, cut)),
                (Ok(Event::Signal(signal)), None) => {
                    self.group.terminate();
                    (cut, kill_at) = (Some(Cut::Signal(signal)), Some(Instant::now() + GRACE));
                }
                (Err(_), None) => {
                    self.group.terminate();
                    (cut, kill_at) = (Some(Cut::Deadline), Some(Instant::now() + GRACE));
                }
                // A second signal, or the end of the grace.
                (_, Some(_)) => {
                    self.group.kill();
                    kill_at = None;
                }
            }
        }
    }
}

/// Lets a program have the socket itself, and ends with it.
pub fn hand_over(program: &Program, conn: Arc<Conn>, deadline: Option<Instant>, output: Output) -> Result<Status> {
    let (watched, running) = Watched::start(|| Ok(program.start_on_socket(&conn)?), |_| {})?;
    watched.expect_end(running, || {});
    let (status, cut) = watched.finish(deadline, None)?;
    let finished = Finished { status: Status::of_program(status), cut };
    verdict::tell_handed_over(&conn, finished.status, finished.number(Status::Done), output);
    let status = finished.judge(Ok(Status::Done), &conn)?;
    if let Some(conn) = Arc::into_inner(conn).filter(|conn| cut.is_none() && conn.transport().is_stream()) {
        // A peer that has gone takes no leave.
        let _ = conn.close_after_draining(LEAVE_TAKING);
    }
    Ok(status)
}

/// A program between two pipes, which a relay joins to the peer.
pub struct Piped(Watched);

impl Piped {
    /// Starts it. Its end ends the relay, as a signal does.
    pub fn start(program: &Program, conn: &Conn, stopper: Stopper) -> Result<(Piped, Ends)> {
        let mut pipes = None;
        let start = || {
            let (running, stdin, stdout) = program.start_on_pipes(Surroundings::of(conn))?;
            pipes = Some(Ends { input: Box::new(stdout), output: Box::new(Listener(Some(stdin))), editing: None });
            Ok(running)
        };
        let to_stop = stopper.clone();
        let (watched, running) = Watched::start(start, move |signal| {
            // A relay that is over needs no word.
            let _ = to_stop.stop(signal);
        })?;
        watched.expect_end(running, move || stopper.end_output());
        Ok((Piped(watched), pipes.context("open the program's pipes")?))
    }

    /// Waits for its end, now that the relay is over. Where the peer has finished it may have its time.
    pub fn finish(&self, relay: &Ended, deadline: Option<Instant>) -> Result<Finished> {
        let cut = (!relay.is_clean()).then_some(Cut::Over);
        let (status, cut) = self.0.finish(deadline, cut)?;
        Ok(Finished { status: Status::of_program(status), cut })
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    /// Its own status.
    pub status: Status,
    cut: Option<Cut>,
}

impl Finished {
    /// What status follows: the conversation's when that failed or was cut short, else the program's.
    pub fn number(self, conversation: Status) -> Status {
        match (conversation, self.cut) {
            (Status::Done, None) => self.status,
            (Status::Done, Some(Cut::Signal(signal))) => Status::Signal(signal),
            (Status::Done, Some(_)) => Status::TimedOut,
            (status, _) => status,
        }
    }

    /// The same, or the error that explains it.
    pub fn judge(self, conversation: Result<Status>, conn: &Conn) -> Result<Status> {
        match (conversation?, self.cut) {
            (Status::Done, Some(Cut::Deadline | Cut::Over)) => {
                Err(Error::timed_out(Op::Receive, conn, conn.age(), Clock::Total).into())
            }
            (status, _) => Ok(self.number(status)),
        }
    }
}

/// A program's stdin, which is closed as soon as the program takes no more: that is its good right, and what the peer still
/// sends then has no reader.
struct Listener(Option<ChildStdin>);

impl Write for Listener {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stdin) = &mut self.0 else { return Ok(bytes.len()) };
        match stdin.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.0 = None;
                Ok(bytes.len())
            }
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
