//! What is told of the connecting: who was tried and what became of it, and whether somebody is there.
//!
//! Must not know how a connection is made. Trade-off: the list of those who were tried is shared with the thread that tries,
//! which may be left behind; whoever gives up tells what is in it by then.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::verdict::SCHEMA;
use crate::connection::{Attempt, Conn, Error};
use crate::exit::Status;
use crate::output::{Output, Verbosity};
use crate::units::{Elapsed, milliseconds};

/// The addresses of the last try.
#[derive(Debug, Clone, Default)]
pub struct Attempts(Arc<Mutex<Vec<Tried>>>);

/// An address, and what became of it.
#[derive(Debug, Clone, Serialize)]
struct Tried {
    address: String,
    /// None where it answered, and where another was faster.
    errname: Option<&'static str>,
    elapsed_ms: f64,
}

impl Attempts {
    /// Another try has come to this.
    pub fn are(&self, attempts: &[Attempt]) {
        let tried = |attempt: &Attempt| Tried {
            address: attempt.address.to_string(),
            errname: attempt.error.as_ref().map(Error::errname),
            elapsed_ms: milliseconds(attempt.elapsed),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = attempts.iter().map(tried).collect();
    }

    fn list(&self) -> Vec<Tried> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that somebody is there: on stdout if nothing else was asked, for then nothing of the peer's comes there.
    pub fn tell_connected(&self, conn: &Conn, elapsed: Duration, is_product: bool, output: Output) -> io::Result<()> {
        let record = Connected {
            schema: SCHEMA,
            event: "connected",
            peer: conn.peer().to_string(),
            local: conn.local().to_string(),
            transport: conn.transport().to_string(),
            elapsed_ms: milliseconds(elapsed),
            attempts: self.list(),
        };
        if !is_product {
            // In words it has been told with the options in force.
            output.record(&record);
        } else if output.verbosity > Verbosity::Quiet {
            output.product(&record, format_args!("{conn} open {}", Elapsed(elapsed)))?;
        }
        Ok(())
    }

    /// Says to programs that nobody is there; people read the error itself.
    pub fn tell_failed(&self, error: &anyhow::Error, elapsed: Duration, output: Output) {
        let Some(error) = error.downcast_ref::<Error>() else { return };
        output.record(&Failed {
            schema: SCHEMA,
            event: "failed",
            errname: error.errname(),
            elapsed_ms: milliseconds(elapsed),
            attempts: self.list(),
            status: Status::of(error.kind()).number(),
        });
    }
}

#[derive(Serialize)]
struct Connected {
    schema: &'static str,
    event: &'static str,
    peer: String,
    local: String,
    transport: String,
    elapsed_ms: f64,
    attempts: Vec<Tried>,
}

#[derive(Serialize)]
struct Failed {
    schema: &'static str,
    event: &'static str,
    errname: &'static str,
    elapsed_ms: f64,
    attempts: Vec<Tried>,
    status: u8,
}

/// With `-v`, each address of a name that did not answer.
pub fn tell_attempts(attempts: &[Attempt], output: Output) {
    for attempt in attempts {
        if let Some(error) = attempt.error.as_ref().filter(|_| attempts.len() > 1) {
            output.detail(error);
        }
    }
}
