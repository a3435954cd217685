//! The door: who comes in, and what happens when accepting fails.
//!
//! Owns the accept loop. Must not know what becomes of a connection. Trade-off: one task accepts for all listeners and all
//! event loops; the kernel's queue holds whoever comes meanwhile.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::workers::Workers;
use super::{Server, Wishes};
use crate::commands::serve::access::Refusal;
use crate::connection::listen::{AcceptAdvice, after_failed_accept};
use crate::connection::{Address, Conn, Driven, Listener, Socket};

/// The shortest pause after accept ran out of descriptors: one may be back at once.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest, and the time between two complaints: a log that fills the disk would be the next failure.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How accepting has failed lately.
struct Trouble {
    pause: Duration,
    complained: Option<Instant>,
}

impl Server {
    /// Accepts until told to stop (true) or until `once` has its connection (false). Only a broken listener is an error.
    pub(super) async fn accept_until(
        self: &Arc<Server>,
        listeners: &[Driven<Listener>],
        workers: &Workers,
        wishes: &mut Wishes,
    ) -> Result<bool> {
        let mut trouble = Trouble { pause: PAUSE_MIN, complained: None };
        let mut turn = 0_usize;
        loop {
            let (listener, accepted) = tokio::select! {
                biased;
                _ = self.until_told(wishes) => return Ok(true),
                () = self.finished.notified() => return Ok(true),
                accepted = accept_any(listeners, turn) => accepted,
            };
            turn = turn.wrapping_add(1);
            match accepted {
                Ok((socket, peer)) => {
                    trouble.pause = PAUSE_MIN;
                    if self.welcome(listener, socket, peer, workers) && self.settings.once {
                        return Ok(false);
                    }
                }
                Err(error) => match after_failed_accept(&error) {
                    AcceptAdvice::Retry => {}
                    AcceptAdvice::Stop => return Err(listener.accept_error(error).into()),
                    AcceptAdvice::BackOff => {
                        self.complain(listener, error, &mut trouble);
                        tokio::select! {
                            _ = self.until_told(wishes) => return Ok(true),
                            () = self.after_a_pause(&mut trouble) => {}
                        }
                    }
                },
            }
        }
    }

    /// Accepting has failed for want of descriptors or memory.
    fn complain(&self, listener: &Listener, error: io::Error, trouble: &mut Trouble) {
        self.counters.accepts_failed.add(1);
        if trouble.complained.is_none_or(|then| then.elapsed() >= PAUSE_MAX) {
            trouble.complained = Some(Instant::now());
            self.events.failed(&listener.accept_error(error));
        }
    }

    /// Waits longer each time, but not when a connection ends: its descriptor is back.
    async fn after_a_pause(&self, trouble: &mut Trouble) {
        let mut open = self.open.subscribe();
        tokio::select! {
            () = tokio::time::sleep(trouble.pause) => trouble.pause = (trouble.pause * 2).min(PAUSE_MAX),
            _ = open.changed() => trouble.pause = PAUSE_MIN,
        }
    }

    /// Connections that the kernel has completed would be reset by closing the listener: they are served first.
    pub(super) fn accept_what_is_queued(self: &Arc<Server>, listeners: &[Driven<Listener>], workers: &Workers) {
        for listener in listeners {
            while let Ok(Some((socket, peer))) = listener.get().accept() {
                self.welcome(listener.get(), socket, peer, workers);
            }
        }
    }

    /// A new connection is dealt to an event loop, unless it is refused. What fails here is its own misfortune. Says whether
    /// it counts as served.
    fn welcome(self: &Arc<Server>, listener: &Listener, socket: Socket, peer: Address, workers: &Workers) -> bool {
        if !self.settings.access.admits(&peer) {
            self.refuse(listener, socket, peer, Refusal::Denied);
            return false;
        }
        let id = self.counters.connections.add(1) + 1;
        match listener.connection(socket, peer) {
            Ok(conn) => {
                self.enter();
                self.events.accepted(id, &conn);
                let server = self.clone();
                workers.deal(id).spawn(async move {
                    server.attend(id, conn).await;
                    server.leave();
                });
            }
            Err(error) => self.events.failed(&error),
        }
        true
    }

    /// Ends a connection that is not served: with a reset, which no client takes for an empty answer.
    fn refuse(&self, listener: &Listener, socket: Socket, peer: Address, why: Refusal) {
        self.counters.connections_refused.add(1);
        self.events.refused(&peer, listener, why);
        // Whatever fails here has failed for somebody who is not wanted.
        let _ = listener.connection(socket, peer).and_then(Conn::abort);
    }

    fn enter(&self) {
        self.open.send_modify(|open| *open += 1);
        self.counters.connections_peak.raise(*self.open.borrow());
    }

    fn leave(&self) {
        self.open.send_modify(|open| *open -= 1);
    }
}

/// A listener that has somebody waiting. The first to be asked is another one each `turn`: an accept storm at one must not
/// keep the others from theirs.
async fn accept_any(listeners: &[Driven<Listener>], turn: usize) -> (&Listener, io::Result<(Socket, Address)>) {
    poll_fn(|context| {
        for offset in 0..listeners.len() {
            let listener = &listeners[(turn + offset) % listeners.len()];
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                return Poll::Ready((listener.get(), accepted));
            }
        }
        Poll::Pending
    })
    .await
}
