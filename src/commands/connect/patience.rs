//! How often connecting is tried, and for how long: `--retry`, `--wait` and `--max-time`.
//!
//! Must not know how a connection is made: it is given something that tries. Trade-off: what tries sits on a thread of its own
//! when there is a clock, because a name lookup cannot be interrupted; whoever gives up leaves it behind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::verdict::SCHEMA;
use crate::connection::{Clock, Conn, Error, Kind, Op};
use crate::output::Output;
use crate::units::{Elapsed, milliseconds, parse_duration};

/// The first pause: a server that is just starting is there in no time.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Each pause is twice the one before, up to this: nobody wants to wait longer for a server that is already there.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How connecting is tried again.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PatienceArgs {
    /// When connecting fails, try so many times more
    ///
    /// After 50 ms, then twice as long each time, at most 1 s. What no server could change, such as a missing permission, is
    /// not tried again.
    #[arg(long, value_name = "N", alias = "retries")]
    pub retry: Option<u64>,
    /// Try until it answers, for so long at most [status when it does not: 124]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub wait: Option<Duration>,
    /// Pause so long before each next try
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub retry_pause: Option<Duration>,
}

/// What they mean.
#[derive(Debug, Clone)]
pub struct Patience {
    /// How many times more; none is any number.
    retries: Option<u64>,
    /// None grows.
    pause: Option<Duration>,
    wait: Option<Duration>,
    max_time: Option<Duration>,
}

impl PatienceArgs {
    /// What they mean, with the time that there is for everything.
    pub fn patience(&self, max_time: Option<Duration>) -> Patience {
        // Waiting alone says nothing of a number; nothing at all says that once is enough.
        let retries = self.retry.or(if self.wait.is_some() { None } else { Some(0) });
        Patience { retries, pause: self.retry_pause, wait: self.wait, max_time }
    }
}

/// What has been tried so far.
#[derive(Debug, Default)]
struct Tried {
    attempts: u64,
    last: Option<String>,
}

/// A try that failed and is followed by another, as a JSON line.
#[derive(Serialize)]
struct Retry {
    schema: &'static str,
    event: &'static str,
    attempt: u64,
    errname: &'static str,
    pause_ms: f64,
}

impl Patience {
    /// Tries until there is a connection, or no patience left.
    pub fn connect(
        &self,
        target: &str,
        attempt: impl FnMut() -> Result<Conn> + Send + 'static,
        output: Output,
    ) -> Result<Conn> {
        let tried = Arc::new(Mutex::new(Tried::default()));
        let Some(limit) = [self.wait, self.max_time].into_iter().flatten().min() else {
            return self.insist(attempt, &tried, output);
        };
        let (done, is_done) = mpsc::channel();
        let (patience, to_tell) = (self.clone(), tried.clone());
        // Whoever gave up does not listen any more.
        thread::spawn(move || drop(done.send(patience.insist(attempt, &to_tell, output))));
        is_done.recv_timeout(limit).unwrap_or_else(|_| {
            let error = Error::timed_out(Op::Connect, target, limit, Clock::Total);
            let tried = lock(&tried);
            Err(match &tried.last {
                Some(last) => error.told(format!("{}, the last: {last}", attempts(tried.attempts))),
                None => error,
            }
            .into())
        })
    }

    fn insist(&self, mut attempt: impl FnMut() -> Result<Conn>, tried: &Mutex<Tried>, output: Output) -> Result<Conn> {
        let mut pause = self.pause.unwrap_or(PAUSE_MIN);
        loop {
            let failed = match attempt() {
                Ok(conn) => return Ok(conn),
                Err(failed) => failed,
            };
            let error = failed.downcast::<Error>()?;
            let count = {
                let mut tried = lock(tried);
                tried.attempts += 1;
                tried.last = Some(error.reason());
                tried.attempts
            };
            if !may_change(&error) || self.retries.is_some_and(|retries| count > retries) {
                return Err(if count > 1 { error.told(attempts(count)) } else { error }.into());
            }
            let again = Elapsed(pause);
            let (errname, pause_ms) = (error.errname(), milliseconds(pause));
            let record = Retry { schema: SCHEMA, event: "retry", attempt: count, errname, pause_ms };
            output.verdict(&record, format_args!("{error}; again in {again}"));
            thread::sleep(pause);
            if self.pause.is_none() {
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

fn attempts(count: u64) -> String {
    if count == 1 { "1 attempt".to_owned() } else { format!("{count} attempts") }
}

/// A poisoned lock means that a thread panicked while it held it; what is inside is still good.
fn lock(tried: &Mutex<Tried>) -> MutexGuard<'_, Tried> {
    tried.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether it may be otherwise soon: what is wrong on this side stays so.
fn may_change(error: &Error) -> bool {
    match error.kind() {
        Kind::Refused
        | Kind::Reset
        | Kind::BrokenPipe
        | Kind::TimedOut
        | Kind::HostUnreachable
        | Kind::NetworkUnreachable
        | Kind::Prohibited
        | Kind::NameNotFound
        | Kind::LookupFailed
        | Kind::Busy
        | Kind::Proxy => true,
        Kind::AddressInUse
        | Kind::AddressNotAvailable
        | Kind::Permission
        | Kind::Exhausted
        | Kind::Unsupported
        | Kind::Misbehaved
        | Kind::Local => false,
    }
}
