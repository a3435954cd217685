//! The door: who comes in, and what happens when accepting fails.
//!
//! Owns the accept loop. Must not know what becomes of a connection. Trade-off: one task accepts for all listeners and all
//! event loops; the kernel's queue holds whoever comes meanwhile.

use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::doorway::Doorway;
use super::workers::Workers;
use super::{Server, Wishes, lock};
use crate::commands::serve::access::Refusal;
use crate::commands::serve::limits::OnFull;
use crate::commands::serve::service::Service;
use crate::commands::serve::stream::with_block;
use crate::connection::listen::{AcceptAdvice, after_failed_accept};
use crate::connection::{Address, Conn, Driven, Listener, Socket};

/// The shortest pause after accept ran out of descriptors: one may be back at once.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest, and the time between two complaints: a log that fills the disk would be the next failure.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why no more are accepted.
pub enum Closed {
    /// The server is told to stop, or its time is over.
    Told,
    /// As many as were wanted are there.
    Enough,
    /// Nobody has come for so long.
    Vacant(Duration),
}

/// How accepting has failed lately.
struct Trouble {
    pause: Duration,
    complained: Option<Instant>,
}

impl Trouble {
    /// Whether it is time for a word about it.
    fn is_to_be_told(&mut self) -> bool {
        let is_to_be_told = self.complained.is_none_or(|then| then.elapsed() >= PAUSE_MAX);
        if is_to_be_told {
            self.complained = Some(Instant::now());
        }
        is_to_be_told
    }
}

impl Server {
    /// Accepts until there is a reason not to. Only a broken listener is an error.
    pub(super) async fn accept_until(
        self: &Arc<Server>,
        doorway: &mut Doorway,
        workers: &Workers,
        wishes: &mut Wishes,
    ) -> Result<Closed> {
        let mut trouble = Trouble { pause: PAUSE_MIN, complained: None };
        let mut crowd = Trouble { pause: PAUSE_MIN, complained: None };
        let mut turn = 0_usize;
        loop {
            let (listener, accepted) = tokio::select! {
                biased;
                () = self.until_over(wishes) => return Ok(Closed::Told),
                () = doorway.changes() => {
                    doorway.adjust(&self.events)?;
                    continue;
                }
                accepted = self.accept_any(doorway.listeners(), turn, &mut crowd) => accepted,
                waited = self.until_vacant() => return Ok(Closed::Vacant(waited)),
            };
            turn = turn.wrapping_add(1);
            match accepted {
                Ok((socket, peer)) => {
                    trouble.pause = PAUSE_MIN;
                    self.welcome(listener, socket, peer, workers);
                    let served = self.counters.connections.get();
                    if self.settings.limits.total.is_some_and(|total| served >= total) {
                        return Ok(Closed::Enough);
                    }
                }
                Err(error) => match after_failed_accept(&error) {
                    AcceptAdvice::Retry => {}
                    AcceptAdvice::Stop => return Err(listener.accept_error(error).into()),
                    AcceptAdvice::BackOff => {
                        self.complain(listener, error, &mut trouble);
                        tokio::select! {
                            () = self.until_over(wishes) => return Ok(Closed::Told),
                            () = self.after_a_pause(&mut trouble) => {}
                        }
                    }
                },
            }
        }
    }

    /// Whoever comes next, once there is room.
    async fn accept_any<'l>(
        &self,
        listeners: &'l [Driven<Listener>],
        turn: usize,
        crowd: &mut Trouble,
    ) -> (&'l Listener, io::Result<(Socket, Address)>) {
        if self.settings.limits.on_full == OnFull::Queue && self.is_full() {
            if crowd.is_to_be_told() {
                self.events.full(*self.open.borrow());
            }
            let is_room = |open: &u64| self.settings.limits.open.is_none_or(|most| *open < most);
            // The server holds the sender: there is always something to wait for.
            let _ = self.open.subscribe().wait_for(is_room).await;
        }
        accept_any(listeners, turn).await
    }

    fn is_full(&self) -> bool {
        self.settings.limits.open.is_some_and(|most| *self.open.borrow() >= most)
    }

    /// Accepting has failed for want of descriptors or memory.
    fn complain(&self, listener: &Listener, error: io::Error, trouble: &mut Trouble) {
        self.counters.accepts_failed.add(1);
        if trouble.is_to_be_told() {
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

    /// A new connection is dealt to an event loop, unless it is refused. What fails here is its own misfortune.
    fn welcome(self: &Arc<Server>, listener: &Listener, socket: Socket, peer: Address, workers: &Workers) {
        if self.settings.faults.is_some() && listener.is_filling(&peer) {
            return;
        }
        if let Some(why) = self.refusal(&peer) {
            return self.refuse(listener, socket, peer, why);
        }
        let id = self.counters.connections.add(1) + 1;
        let place = place(&peer);
        let chosen = self.settings.faults.as_ref().and_then(|faults| faults.choose(id, &peer)).map(Box::new);
        match listener.connection(socket, peer) {
            Ok(conn) => {
                self.events.accepted(id, &conn);
                let worker = workers.deal(id);
                if let Service::Exec(exec) = &self.settings.service
                    && exec.pipes.is_none()
                {
                    let (server, exec) = (self.clone(), exec.clone());
                    self.enter(place);
                    worker.spawn(async move {
                        server.execute(id, conn, &exec).await;
                        server.leave(place);
                    });
                    return;
                }
                if let Service::Stdio(stdio) = &self.settings.service {
                    let (server, stdio) = (self.clone(), stdio.clone());
                    self.enter(place);
                    worker.spawn(async move {
                        server.join(id, conn, &stdio).await;
                        server.leave(place);
                    });
                    return;
                }
                let begun = {
                    let _on_its_loop = worker.enter();
                    self.begin(id, conn)
                };
                let Some(life) = begun else { return };
                self.enter(place);
                let server = self.clone();
                // Little is kept for as long as it lasts: there may be ten thousand.
                worker.spawn(async move {
                    server.attend(id, &life, chosen).await;
                    let place = self::place(life.conn().peer());
                    drop(life);
                    server.leave(place);
                });
            }
            Err(error) => self.events.failed(&error),
        }
    }

    /// Why somebody is not let in, if so.
    fn refusal(&self, peer: &Address) -> Option<Refusal> {
        let limits = &self.settings.limits;
        if !self.settings.access.admits(peer) {
            return Some(Refusal::Denied);
        }
        if limits.on_full != OnFull::Queue && self.is_full() {
            return Some(Refusal::Full);
        }
        let (most, place) = limits.open_per_address.zip(place(peer))?;
        let open = lock(&self.open_by_address).get(&place).copied().unwrap_or(0);
        (open >= most).then_some(Refusal::FullForAddress)
    }

    /// Ends a connection that is not served. Who is denied is reset, which no client takes for an empty answer.
    fn refuse(&self, listener: &Listener, socket: Socket, peer: Address, why: Refusal) {
        self.counters.connections_refused.add(1);
        self.events.refused(&peer, listener, why);
        let is_reset = why == Refusal::Denied || self.settings.limits.on_full == OnFull::Reset;
        // Whatever fails here has failed for somebody who is not served.
        let _ = listener.connection(socket, peer).and_then(|conn| if is_reset { conn.abort() } else { close(&conn) });
    }

    fn enter(&self, place: Option<IpAddr>) {
        self.open.send_modify(|open| *open += 1);
        self.counters.connections_peak.raise(*self.open.borrow());
        if let (Some(_), Some(place)) = (self.settings.limits.open_per_address, place) {
            *lock(&self.open_by_address).entry(place).or_insert(0) += 1;
        }
    }

    fn leave(&self, place: Option<IpAddr>) {
        if let (Some(_), Some(place)) = (self.settings.limits.open_per_address, place)
            && let Entry::Occupied(mut open) = lock(&self.open_by_address).entry(place)
        {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
        self.open.send_modify(|open| *open -= 1);
    }
}

/// Where a peer is, for who counts by addresses: one that came over IPv4 is the same to sockets of both families.
fn place(peer: &Address) -> Option<IpAddr> {
    peer.ip().map(|ip| ip.to_canonical())
}

/// Ends a connection in order. What has come by now is read, because a close with unread input is a reset; nobody waits for
/// more, or the door would stand open to who only wants to hold it.
fn close(conn: &Conn) -> crate::connection::Result<()> {
    conn.finish()?;
    with_block(|block| while matches!(conn.try_recv(block), Ok(Some(length)) if length == block.len()) {});
    Ok(())
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
