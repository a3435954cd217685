//! Datagrams that are forwarded: each peer has a session, with a socket of its own that is connected to the target.
//!
//! Owns the sessions: how many there may be, and when one ends. Must not know how a target is found, nor what becomes of an
//! answer under fault rules. Trade-off: a task for each peer, with a queue before it, so that a lookup that hangs, or a
//! target that takes nothing, holds up one peer and not the listening socket; what the queue does not hold is lost, as on a
//! network.

use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::{Server, lock};
use crate::commands::serve::forward::Forward;
use crate::connection::datagram::DATAGRAM_BYTES_MAX;
use crate::connection::ready::Queue;
use crate::connection::{Address, Cause, Conn, Driven, Error, Listener, Op, Socket};

/// How long a peer and the target may both be silent: what RFC 4787 section 4.3 asks of a NAT, at the least.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// So many peers have a session at a time, each of which costs a descriptor: enough for any test, and little if somebody
/// forges more.
const SESSIONS_MAX: u64 = 1024;

/// Datagrams that wait for the target: as many as a burst has, and few enough for the memory.
const WAITING_MAX: usize = 64;

/// Lookups and connects at one time: each has a thread, and peers that are forged must not have one each.
const DIALS_MAX: usize = 8;

/// How long answers are waited for at the end: longer than the way over a satellite and back.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// What is wrong with a target that is this server.
const ITSELF: &str = "the target is this server itself";

/// A peer, at the socket where it comes in: that one has to answer it.
type Key = (i64, Address);

/// The sessions of a server.
#[derive(Debug)]
pub(super) struct Sessions {
    open: Mutex<HashMap<Key, Session>>,
    dials: Arc<Semaphore>,
    /// Filled and emptied within one poll, so that all sessions can have it.
    buffer: Mutex<Vec<u8>>,
}

#[derive(Debug)]
struct Session {
    questions: mpsc::Sender<Vec<u8>>,
    shown: Arc<Mutex<Shown>>,
    task: JoinHandle<()>,
}

/// What the others see of a session.
#[derive(Debug)]
struct Shown {
    /// When something came or went.
    used: Instant,
    /// Its socket's own address, once it has one.
    local: Option<Address>,
}

/// What a session's task has.
struct Errand {
    key: Key,
    listener: Arc<Driven<Listener>>,
    questions: mpsc::Receiver<Vec<u8>>,
    shown: Arc<Mutex<Shown>>,
    /// A question that the target has not taken yet.
    owed: Option<Vec<u8>>,
    /// Questions that may still be answered.
    asked: u64,
    /// The last failure, until there is an answer: the same one is not told for each datagram.
    told: Option<&'static str>,
    /// No more questions come.
    is_ending: bool,
}

impl Errand {
    /// A question has come.
    fn owes(&mut self, question: Vec<u8>) {
        self.owed = Some(question);
        lock(&self.shown).used = Instant::now();
    }
}

/// What a session waits for.
enum Event {
    Question(Option<Vec<u8>>),
    Sent,
    Answer(Vec<u8>),
    Silence,
}

impl Sessions {
    pub(super) fn new() -> Sessions {
        let (open, dials) = (Mutex::default(), Arc::new(Semaphore::new(DIALS_MAX)));
        Sessions { open, dials, buffer: Mutex::new(vec![0; DATAGRAM_BYTES_MAX]) }
    }
}

impl Server {
    /// Hands a datagram to its peer's session, which is begun with the first; says whether there was room.
    pub(super) fn hand_on(
        self: &Arc<Server>,
        listener: &Arc<Driven<Listener>>,
        forward: &Forward,
        bytes: &[u8],
        peer: &Address,
    ) -> bool {
        let key = (listener.get().socket().id(), peer.clone());
        let mut open = lock(&self.sessions.open);
        if !open.contains_key(&key) {
            // Its sender is one of our own sockets: the target is this server, and the datagram would go round for ever.
            if open.values().any(|session| lock(&session.shown).local.as_ref() == Some(peer)) {
                let name = format!("{} ({})", forward.target(), listener.get().transport());
                self.events.failed(&Error::new(Op::Send, name, Duration::ZERO, Cause::Misbehaved(ITSELF)));
                return false;
            }
            let sessions_max = self.settings.limits.open.unwrap_or(SESSIONS_MAX).min(SESSIONS_MAX);
            if open.len() as u64 >= sessions_max {
                end_the_longest_idle(&mut open);
            }
            open.insert(key.clone(), self.begin_session(key.clone(), listener.clone(), forward.clone()));
        }
        open.get(&key).is_some_and(|session| session.questions.try_send(bytes.to_vec()).is_ok())
    }

    fn begin_session(self: &Arc<Server>, key: Key, listener: Arc<Driven<Listener>>, forward: Forward) -> Session {
        let (sender, questions) = mpsc::channel(WAITING_MAX);
        let shown = Arc::new(Mutex::new(Shown { used: Instant::now(), local: None }));
        let errand = Errand {
            key,
            listener,
            questions,
            shown: shown.clone(),
            owed: None,
            asked: 0,
            told: None,
            is_ending: false,
        };
        Session { questions: sender, shown, task: tokio::spawn(self.clone().run_session(errand, forward)) }
    }

    /// Serves a peer until it is idle. A failure costs the socket: the next question has a new one, to wherever the target
    /// is by then.
    async fn run_session(self: Arc<Server>, mut errand: Errand, forward: Forward) {
        loop {
            if errand.owed.is_none() {
                match self.next_event(&mut errand, None).await {
                    Ok(Event::Question(Some(question))) => errand.owes(question),
                    Ok(Event::Silence) if self.leaves(&errand) => return,
                    Ok(Event::Question(None)) => return,
                    Ok(_) | Err(_) => continue,
                }
            }
            let failed = match self.dial_target(&forward).await {
                Ok(conn) => match self.exchange(&mut errand, &conn).await {
                    Ok(()) => return,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            (errand.owed, errand.asked, errand.is_ending) = (None, 0, false);
            self.counters.datagrams_unanswered.add(1);
            if errand.told.replace(failed.errname()) != Some(failed.errname()) {
                self.events.failed(&failed);
            }
        }
    }

    async fn dial_target(&self, forward: &Forward) -> Result<Driven<Conn>, Error> {
        // It is never closed.
        let _permit = self.sessions.dials.clone().acquire_owned().await;
        let conn = forward.connected(self.is_stream).await?;
        // Without it the errors are only those of ports; where it fails it is for want of a newer system.
        let _ = conn.get().hear_of_losses();
        Ok(conn)
    }

    /// Questions and answers, until the session is idle or the server ends.
    async fn exchange(self: &Arc<Server>, errand: &mut Errand, conn: &Driven<Conn>) -> Result<(), Error> {
        *lock(&errand.shown) = Shown { used: Instant::now(), local: Some(conn.get().local().clone()) };
        loop {
            let event = self.next_event(errand, Some(conn)).await?;
            match event {
                Event::Question(Some(question)) => errand.owes(question),
                Event::Question(None) => errand.is_ending = true,
                Event::Sent => (errand.owed, errand.asked) = (None, errand.asked + 1),
                Event::Answer(answer) => {
                    (errand.told, errand.asked) = (None, errand.asked.saturating_sub(1));
                    lock(&errand.shown).used = Instant::now();
                    self.answer_peer(errand, &answer).await;
                }
                Event::Silence if errand.is_ending || self.leaves(errand) => return Ok(()),
                Event::Silence => {}
            }
            if errand.is_ending && errand.asked == 0 && errand.owed.is_none() {
                return Ok(());
            }
        }
    }

    /// The next that happens to a session, with its socket if it has one.
    async fn next_event(&self, errand: &mut Errand, conn: Option<&Driven<Conn>>) -> Result<Event, Error> {
        let idle_timeout = self.settings.limits.idle_timeout.unwrap_or(IDLE_TIMEOUT);
        let patience = if errand.is_ending { ANSWER_TIMEOUT } else { idle_timeout };
        let due = lock(&errand.shown).used + patience;
        let owed = errand.owed.as_deref();
        let sent = async {
            let (Some(conn), Some(bytes)) = (conn, owed) else { return pending().await };
            let sent = poll_fn(|context| conn.poll_write(context, |socket| socket.send(bytes))).await;
            sent.map_err(|error| conn.get().error(Op::Send, error))
        };
        let answer = async {
            let Some(conn) = conn else { return pending().await };
            let receive = |socket: &Socket| {
                let mut buffer = lock(&self.sessions.buffer);
                let length = socket.recv(&mut buffer)?;
                Ok((buffer[..length].to_vec(), Queue::MayHoldMore))
            };
            let received = poll_fn(|context| conn.poll_read(context, receive)).await;
            received.map_err(|error| conn.get().error(Op::Receive, error))
        };
        let failed = async {
            let Some(conn) = conn else { return pending().await };
            conn.get().error(Op::Receive, conn.failed().await)
        };
        tokio::select! {
            failed = failed => Err(failed),
            answer = answer => answer.map(Event::Answer),
            sent = sent => sent.map(|_| Event::Sent),
            question = errand.questions.recv(), if owed.is_none() && !errand.is_ending => Ok(Event::Question(question)),
            () = tokio::time::sleep_until(due.into()) => Ok(Event::Silence),
        }
    }

    /// Sends an answer of the target's back, however long it is: whoever may ask was allowed to.
    async fn answer_peer(&self, errand: &Errand, answer: &[u8]) {
        let (listener, peer) = (&errand.listener, &errand.key.1);
        let track = self.peers.as_ref().map(|peers| peers.track(peer, listener.get()));
        self.post(listener, answer, peer, track.as_ref()).await;
    }

    /// A session that has been idle goes, unless something has just come for it.
    fn leaves(&self, errand: &Errand) -> bool {
        let mut open = lock(&self.sessions.open);
        let is_idle = errand.questions.is_empty();
        if is_idle {
            open.remove(&errand.key);
        }
        is_idle
    }

    /// No more questions: the sessions end when they have their answers, or have waited for them.
    pub(super) async fn all_sessions_over(&self) {
        let open = std::mem::take(&mut *lock(&self.sessions.open));
        let tasks: Vec<JoinHandle<()>> = open.into_values().map(|session| session.task).collect();
        for task in tasks {
            // One that panicked is over too.
            let _ = task.await;
        }
    }
}

/// Makes room for another session.
fn end_the_longest_idle(open: &mut HashMap<Key, Session>) {
    let idle = open.iter().min_by_key(|(_, session)| lock(&session.shown).used).map(|(key, _)| key.clone());
    if let Some(session) = idle.and_then(|key| open.remove(&key)) {
        session.task.abort();
    }
}
