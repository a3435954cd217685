//! Datagrams: received from anybody, answered to whoever sent them.
//!
//! Owns the loop and its end. Must not know what the answer is. Trade-off: one task for each socket, on the first event loop:
//! a datagram is answered before the next one is received, so that answers go in the order of their questions. Only a record's
//! pauses are waited for beside that, each peer's by a task.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Ending, Server, Wishes};
use crate::commands::serve::access::Refusal;
use crate::commands::serve::replay::{Next, Replay};
use crate::commands::serve::service::Service;
use crate::connection::datagram::{DATAGRAM_BYTES_MAX, answer_limit};
use crate::connection::ready::Queue;
use crate::connection::socket::Datagram;
use crate::connection::{Address, Driven, Listener, UnixName};
use crate::record::{Direction, Track};

/// Whose script is played: who has sent a datagram, and what may be sent back.
struct Asker {
    listener: Arc<Driven<Listener>>,
    peer: Address,
    /// The longest answer.
    limit: usize,
    track: Option<Arc<Track>>,
}

impl Server {
    /// Answers datagrams until told to stop; those that are queued then are still answered, within the grace time.
    pub(super) async fn answer_until(
        self: &Arc<Server>,
        listeners: Vec<Driven<Listener>>,
        wishes: &mut Wishes,
    ) -> Ending {
        let last_call = watch::Sender::new(false);
        let mut answering = JoinSet::new();
        let listeners: Vec<Arc<Driven<Listener>>> = listeners.into_iter().map(Arc::new).collect();
        for listener in &listeners {
            answering.spawn(self.clone().answer(listener.clone(), last_call.subscribe()));
        }
        // They end with the runtime.
        tokio::spawn(self.clone().deliver_what_is_late());
        tokio::spawn(self.clone().mind_the_door(listeners));
        let vacant = tokio::select! {
            () = self.until_over(wishes) => None,
            waited = self.until_vacant() => Some(waited),
        };
        self.stop();
        last_call.send_replace(true);
        let insisted = tokio::select! {
            () = async {
                while answering.join_next().await.is_some() {}
                self.all_delivered().await;
                self.all_sessions_over().await;
                self.all_played().await;
                // Their answers may be late as well.
                self.all_delivered().await;
            } => None,
            number = self.until_told(wishes) => number,
            () = tokio::time::sleep(self.settings.grace) => None,
        };
        match (insisted, vacant) {
            (Some(number), _) => Ending::Insisted(number),
            (None, Some(waited)) => self.vacant(waited),
            (None, None) => Ending::Done,
        }
    }

    /// Each datagram is answered to whoever sent it. No error ends the loop: each concerns one peer.
    async fn answer(self: Arc<Server>, listener: Arc<Driven<Listener>>, mut last_call: watch::Receiver<bool>) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let received = poll_fn(|context| {
                listener.poll_read(context, |socket| Ok((socket.recv_from(&mut buffer)?, Queue::MayHoldMore)))
            });
            let received = tokio::select! {
                received = received => received,
                _ = last_call.wait_for(|is_called| *is_called) => break,
            };
            // What recvfrom(2) reports here is the fate of an earlier answer: its receiver is gone.
            let Ok(datagram) = received else { continue };
            self.receive(&listener, &buffer[..datagram.length], &datagram).await;
            if self.settings.limits.total.is_some_and(|total| self.counters.datagrams.get() >= total) {
                return self.finished.notify_one();
            }
        }
        self.answer_what_is_queued(&listener, &mut buffer).await;
    }

    /// What came before the end. The event loop may not have heard of it yet, so the queue itself is asked.
    async fn answer_what_is_queued(self: &Arc<Server>, listener: &Arc<Driven<Listener>>, buffer: &mut [u8]) {
        loop {
            match listener.get().socket().recv_from(buffer) {
                Ok(datagram) => self.receive(listener, &buffer[..datagram.length], &datagram).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {}
            }
            // Whoever sends without end must not keep the grace time from passing.
            tokio::task::yield_now().await;
        }
    }

    /// Answers a datagram, unless it is refused.
    pub(super) async fn take(self: &Arc<Server>, listener: &Arc<Driven<Listener>>, bytes: &[u8], datagram: &Datagram) {
        if !self.admits(datagram, listener.get()) {
            return;
        }
        if let Some(difference) = self.settings.expected.as_ref().and_then(|expected| expected.check(bytes)) {
            self.counters.unexpected.add(1);
            self.events.unexpected(None, &datagram.from, difference);
        }
        let track = self.peers.as_ref().map(|peers| peers.track(&datagram.from, listener.get()));
        if let Some(track) = &track {
            track.data(Direction::Received, bytes);
        }
        if !self.answer_to(listener, bytes, &datagram.from, track.as_ref()).await {
            self.counters.datagrams_unanswered.add(u64::from(self.settings.service.answers()));
        }
    }

    /// Whether its sender may come in; it is counted and told of either way.
    pub(super) fn admits(&self, datagram: &Datagram, listener: &Listener) -> bool {
        if let Some(why) = self.why_refused(&datagram.from) {
            self.counters.datagrams_refused.add(1);
            self.events.refused(&datagram.from, listener, why);
            return false;
        }
        self.counters.datagrams.add(1);
        self.counters.received_bytes.add(datagram.length as u64);
        self.events.datagram(datagram);
        true
    }

    fn why_refused(&self, sender: &Address) -> Option<Refusal> {
        // An answer of the target's would have nowhere to go, and nobody would tell one such sender from another.
        let is_nobody = matches!(sender, Address::Unix(UnixName::Unnamed));
        if is_nobody && matches!(self.settings.service, Service::Forward(_)) {
            return Some(Refusal::Unnamed);
        }
        (!self.settings.access.admits(sender)).then_some(Refusal::Denied)
    }

    /// Answers a datagram, and says whether anything was sent, or is on its way to the target.
    async fn answer_to(
        self: &Arc<Server>,
        listener: &Arc<Driven<Listener>>,
        bytes: &[u8],
        peer: &Address,
        track: Option<&Arc<Track>>,
    ) -> bool {
        let Some(limit) = answer_limit(listener.get(), peer, bytes.len()) else { return false };
        if let Service::Forward(forward) = &self.settings.service {
            return self.hand_on(listener, forward, bytes, peer);
        }
        let Service::Replay(replay) = &self.settings.service else {
            let Some(reply) = self.settings.service.reply(bytes, limit) else { return false };
            return self.post(listener, &reply, peer, track).await;
        };
        replay.hear(peer, bytes);
        let asker = Asker { listener: listener.clone(), peer: peer.clone(), limit, track: track.cloned() };
        let (is_answered, pause) = self.play(replay, &asker).await;
        let Some(mut until) = pause else { return is_answered };
        let (server, replay, place) = (self.clone(), replay.clone(), replay.pauses.begin());
        tokio::spawn(async move {
            let _until_it_is_over = place;
            loop {
                tokio::time::sleep_until(until.into()).await;
                let (_, pause) = server.play(&replay, &asker).await;
                let Some(next) = pause else { return };
                until = next;
            }
        });
        true
    }

    async fn all_played(&self) {
        if let Service::Replay(replay) = &self.settings.service {
            replay.pauses.all_over().await;
        }
    }

    /// Sends what is due of somebody's script: whether anything was, and until when it pauses then.
    async fn play(&self, replay: &Replay, asker: &Asker) -> (bool, Option<Instant>) {
        let Asker { listener, peer, limit, track } = asker;
        let mut is_answered = false;
        loop {
            match replay.next(peer) {
                Next::Send(answer) => {
                    is_answered |= answer.len() <= *limit && self.post(listener, &answer, peer, track.as_ref()).await;
                }
                Next::Pause(until) => return (is_answered, Some(until)),
                Next::Nothing => return (is_answered, None),
            }
        }
    }

    pub(super) async fn send(
        &self,
        listener: &Driven<Listener>,
        bytes: &[u8],
        peer: &Address,
        track: Option<&Track>,
    ) -> bool {
        let sent = poll_fn(|context| listener.poll_write(context, |socket| socket.send_to(bytes, peer))).await;
        if sent.is_err() {
            return false;
        }
        if let Some(track) = track {
            track.data(Direction::Sent, bytes);
        }
        self.counters.sent_bytes.add(bytes.len() as u64);
        true
    }
}
