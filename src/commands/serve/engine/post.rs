//! Datagrams under fault rules, on their way in and out.
//!
//! Owns those that are late, and the door of sockets for datagrams. Must not decide what becomes of them: the rules do.
//! Trade-off: one lock around both directions of all sockets, because a datagram's number counts in all of them; without
//! rules nobody asks for it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::{Server, lock};
use crate::commands::serve::faults::Faults;
use crate::connection::socket::Datagram;
use crate::connection::{Address, Driven, Listener};
use crate::fault::datagrams::Datagrams;
use crate::fault::door::Door;
use crate::fault::{Direction, Fired, RuleSet};
use crate::record::Track;

/// What belongs to a datagram: where it came in, or goes out, and who is at the other end.
#[derive(Clone)]
pub struct Letter {
    listener: Arc<Driven<Listener>>,
    peer: Address,
    truncated: bool,
    track: Option<Arc<Track>>,
}

/// The datagrams that are on their way.
pub struct Post {
    faults: Arc<Faults>,
    begun: Instant,
    set: Arc<RuleSet>,
    incoming: Option<Datagrams<Letter>>,
    outgoing: Option<Datagrams<Letter>>,
    /// Decided by rules that have been replaced since.
    rest: Vec<(Direction, Datagrams<Letter>)>,
    /// There is a new one to wait for.
    pub news: Arc<Notify>,
}

impl Post {
    pub fn new(faults: Arc<Faults>) -> Post {
        let set = faults.set();
        let (incoming, outgoing) = (Datagrams::new(&set, Direction::In), Datagrams::new(&set, Direction::Out));
        Post { faults, begun: Instant::now(), set, incoming, outgoing, rest: Vec::new(), news: Arc::default() }
    }

    /// Rules that were read again decide on what comes from now on.
    fn renew(&mut self) {
        let set = self.faults.set();
        if Arc::ptr_eq(&set, &self.set) {
            return;
        }
        let new = |direction| Datagrams::new(&set, direction);
        let incoming = std::mem::replace(&mut self.incoming, new(Direction::In));
        let outgoing = std::mem::replace(&mut self.outgoing, new(Direction::Out));
        self.rest.extend(incoming.map(|rest| (Direction::In, rest)));
        self.rest.extend(outgoing.map(|rest| (Direction::Out, rest)));
        self.set = set;
    }

    /// Takes a datagram, and says what fired. It is given back where no rule is for its direction.
    fn put(&mut self, direction: Direction, letter: Letter, bytes: Vec<u8>) -> Result<Vec<Fired>, (Letter, Vec<u8>)> {
        self.renew();
        let now = self.begun.elapsed();
        let way = if direction == Direction::In { &mut self.incoming } else { &mut self.outgoing };
        let Some(way) = way else { return Err((letter, bytes)) };
        let peer = letter.peer.ip();
        way.put(letter, bytes, peer, now);
        self.news.notify_one();
        Ok(way.take_fired())
    }

    /// The next that is due.
    fn pop(&mut self) -> Option<(Direction, Letter, Vec<u8>)> {
        let now = self.begun.elapsed();
        let due =
            self.ways().find_map(|(direction, way)| way.pop(now).map(|(letter, bytes)| (direction, letter, bytes)));
        self.rest.retain(|(_, way)| way.wake().is_some());
        due
    }

    fn ways(&mut self) -> impl Iterator<Item = (Direction, &mut Datagrams<Letter>)> {
        let incoming = self.incoming.as_mut().map(|way| (Direction::In, way));
        let outgoing = self.outgoing.as_mut().map(|way| (Direction::Out, way));
        let rest = self.rest.iter_mut().map(|(direction, way)| (*direction, way));
        rest.chain(incoming).chain(outgoing)
    }

    /// When the next is due; none if none waits.
    fn wake(&mut self) -> Option<Instant> {
        let begun = self.begun;
        self.ways().filter_map(|(_, way)| way.wake()).min().map(|due| begun + due)
    }
}

impl Server {
    /// A datagram that came: taken when its time has come, or at once.
    pub(super) async fn receive(
        self: &Arc<Server>,
        listener: &Arc<Driven<Listener>>,
        bytes: &[u8],
        datagram: &Datagram,
    ) {
        let Some(post) = &self.post else { return self.take(listener, bytes, datagram).await };
        let (peer, truncated) = (datagram.from.clone(), datagram.truncated);
        let letter = Letter { listener: listener.clone(), peer, truncated, track: None };
        let put = lock(post).put(Direction::In, letter, bytes.to_vec());
        match put {
            Ok(fired) => self.tell_datagram_faults(&datagram.from, fired),
            Err((_, bytes)) => self.take(listener, &bytes, datagram).await,
        }
        self.deliver().await;
    }

    /// A datagram that goes out: now, or when its time has come. Says whether it was sent, as far as that is known.
    pub(super) async fn post(
        &self,
        listener: &Arc<Driven<Listener>>,
        bytes: &[u8],
        peer: &Address,
        track: Option<&Arc<Track>>,
    ) -> bool {
        let Some(post) = &self.post else { return self.send(listener, bytes, peer, track.map(Arc::as_ref)).await };
        let (listener, track) = (listener.clone(), track.cloned());
        let letter = Letter { listener, peer: peer.clone(), truncated: false, track };
        let put = lock(post).put(Direction::Out, letter, bytes.to_vec());
        match put {
            Ok(fired) => {
                self.tell_datagram_faults(peer, fired);
                true
            }
            Err((letter, bytes)) => self.send(&letter.listener, &bytes, peer, letter.track.as_deref()).await,
        }
    }

    /// Takes and sends all that is due.
    async fn deliver(self: &Arc<Server>) {
        let Some(post) = &self.post else { return };
        loop {
            let due = lock(post).pop();
            let Some((direction, letter, bytes)) = due else { return };
            let Letter { listener, peer, truncated, track } = letter;
            if direction == Direction::In {
                let datagram = Datagram { length: bytes.len(), truncated, from: peer };
                self.take(&listener, &bytes, &datagram).await;
            } else {
                self.send(&listener, &bytes, &peer, track.as_deref()).await;
            }
        }
    }

    /// Delivers what is late when its time has come, for ever.
    pub(super) async fn deliver_what_is_late(self: Arc<Server>) {
        let Some(post) = &self.post else { return };
        let news = lock(post).news.clone();
        loop {
            let wake = lock(post).wake();
            match wake {
                Some(wake) => tokio::select! {
                    () = tokio::time::sleep_until(wake.into()) => self.deliver().await,
                    () = news.notified() => {}
                },
                None => news.notified().await,
            }
        }
    }

    /// Waits until nothing is on its way any more.
    pub(super) async fn all_delivered(self: &Arc<Server>) {
        let Some(post) = &self.post else { return };
        loop {
            let wake = lock(post).wake();
            let Some(wake) = wake else { return };
            tokio::time::sleep_until(wake.into()).await;
            self.deliver().await;
        }
    }

    fn tell_datagram_faults(&self, peer: &Address, fired: Vec<Fired>) {
        let Some(faults) = &self.settings.faults else { return };
        let set = faults.set();
        for fired in fired {
            if let Some(rule) = set.rules().get(fired.rule) {
                faults.count(rule);
                self.events.datagram_fault(peer, rule, fired);
            }
        }
    }

    /// Has the sockets hear nobody while the door is shut.
    pub(super) async fn mind_the_door(self: Arc<Server>, listeners: Vec<Arc<Driven<Listener>>>) {
        let Some(faults) = self.settings.faults.as_ref().filter(|faults| faults.set().has_door()) else { return };
        let set = faults.set();
        let (begun, mut before) = (Instant::now(), Door::Open);
        loop {
            let standing = set.door(begun.elapsed());
            if standing.door != before {
                for listener in &listeners {
                    let listener = listener.get();
                    let done = if standing.door == Door::Open { listener.hear() } else { listener.mute() };
                    if let Err(error) = done {
                        self.events.failed(&error);
                    }
                }
                before = standing.door;
                let rule = standing.rule.map(|rule| &set.rules()[rule]);
                if let Some(rule) = rule {
                    faults.count(rule);
                }
                self.events.door(standing.door, rule);
            }
            let Some(until) = standing.until else { return };
            tokio::time::sleep_until((begun + until).into()).await;
        }
    }
}
