//! `-e` and `-c`: a program for each connection, with the socket itself as its stdin and stdout.
//!
//! Owns the program's part: how it is told of the end, and what remains to be done after its own. Must not know how it is
//! started. Trade-off: nothing of the bytes is seen here, so they cost nothing and are not counted; where something needs to
//! see them, the program has pipes instead.

use std::io;
use std::net::Shutdown;
use std::process::ExitStatus;
use std::sync::Arc;

use super::counters::Traffic;
use super::life::{Alive, Asked};
use super::piped::Pipes;
use super::service::{First, Visit};
use super::stream::{Broken, Stream};
use crate::connection::Conn;
use crate::program::{Group, NotRun, Program};
use crate::relay::LEAVE_TAKING;

/// A program that is started for whoever comes.
#[derive(Debug, Clone)]
pub struct Exec {
    /// What is started.
    pub program: Program,
    /// Where its bytes must be seen; else it has the socket itself.
    pub pipes: Option<Pipes>,
}

/// A connection that a program has.
pub struct Executed {
    conn: Arc<Conn>,
    group: Group,
}

impl Exec {
    /// Starts it: what the server can ask of it, and what waits for its end, on a thread that may block.
    pub fn start(
        &self,
        conn: &Arc<Conn>,
    ) -> Result<(Executed, impl FnOnce() -> io::Result<ExitStatus> + Send + use<>), NotRun> {
        let running = self.program.start_on_socket(conn)?;
        let executed = Executed { conn: conn.clone(), group: running.group() };
        let conn = conn.clone();
        let wait = move || {
            let status = running.wait();
            // The tail of what it said is not to be lost to a reset, which a close with unread input would be.
            take_leave(&conn);
            status
        };
        Ok((executed, wait))
    }

    /// Has it serve one connection between pipes.
    pub async fn serve<S: Stream>(&self, stream: &mut S, visit: &Visit<'_>) -> Result<First, Broken> {
        match &self.pipes {
            Some(pipes) => pipes.serve(&self.program, stream, visit).await,
            // It has the socket, and is served without us.
            None => Ok(First::Peer),
        }
    }
}

/// Finishes, and reads what still comes for a while.
fn take_leave(conn: &Conn) {
    if conn.finish().is_err() {
        return;
    }
    let _ = conn.drain(LEAVE_TAKING);
}

impl Alive for Executed {
    fn ask(&self, asked: Asked) {
        match asked {
            Asked::Nothing => {}
            // It finds the end of its input, as if the peer had finished.
            Asked::ToFinish => drop(self.conn.socket().shutdown(Shutdown::Read)),
            Asked::ToEnd => {
                // It fails only on a connection that is gone already.
                let _ = self.conn.reset_on_close();
                self.group.kill();
            }
        }
    }

    /// Nobody counts.
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}
