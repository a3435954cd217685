//! A connection that a program has, from beginning to end.
//!
//! Must not know what the program does. Trade-off: a thread waits for the program; beside a process it costs nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use tokio::sync::oneshot;

use super::{Server, lock};
use crate::commands::serve::counters::Traffic;
use crate::commands::serve::ending::How;
use crate::commands::serve::executed::Exec;
use crate::commands::serve::life::{Alive, Asked};
use crate::connection::Conn;

impl Server {
    /// Has the program serve it until its end, and tells of it.
    pub(super) async fn execute(&self, id: u64, conn: Conn, exec: &Exec) {
        let conn = Arc::new(conn);
        let how = match exec.start(&conn) {
            Ok((executed, wait)) => {
                self.attend_to(id, executed);
                let (done, is_done) = oneshot::channel();
                // Whoever waited for it has gone only with the server.
                let waiting = thread::Builder::new().name("program".to_owned()).spawn(move || drop(done.send(wait())));
                let ended = match waiting {
                    Ok(_) => is_done.await.unwrap_or_else(|_| Err(std::io::ErrorKind::BrokenPipe.into())),
                    Err(error) => Err(error),
                };
                lock(&self.live).remove(&id);
                ended.map_or_else(|error| How::NotRun(error.to_string()), How::Program)
            }
            Err(not_run) => {
                // It fails only on a connection that is gone already.
                let _ = conn.reset_on_close();
                How::NotRun(not_run.to_string())
            }
        };
        let how = if self.cutting.load(Ordering::SeqCst) { How::Cut } else { how };
        self.counters.ended(Traffic::default(), &how);
        self.events.closed(id, &conn, Traffic::default(), &how);
    }

    /// It is in the list of those who are told of the end.
    pub(super) fn attend_to(&self, id: u64, alive: impl Alive + 'static) {
        let alive = Arc::new(alive);
        lock(&self.live).insert(id, alive.clone());
        if self.stopping.load(Ordering::SeqCst) {
            alive.ask(Asked::ToFinish);
        }
        if self.cutting.load(Ordering::SeqCst) {
            alive.ask(Asked::ToEnd);
        }
    }
}
