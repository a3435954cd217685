//! What a connection must do to count: say or answer the right thing, and stay.
//!
//! Owns `--send`, `--expect`, `--banner` and `--stable`, and the threads on which they wait. Must not know which target
//! this is or what follows. Trade-off: a thread for each connection under check, so that a conversation reads from top to
//! bottom; their number is bounded, and the window of connects does not wait for them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use regex::bytes::Regex;

use super::gateway::{Errand, Gateway, Passed};
use crate::connection::poll::{Interest, wait_any};
use crate::connection::{Address, Cause, Conn, Error, Kind, Op, Result, Transport, Waker};
use crate::printable::quoted;

/// As many conversations at a time; more wait for their turn, which costs them time, but no answer.
const THREADS_MAX: usize = 256;

/// A conversation calls a handful of functions; the regex engine keeps its state on the heap.
const STACK_BYTES: usize = 256 * 1024;

/// What is kept of what the peer says, to look for `--expect` in it.
const RECEIVED_BYTES_MAX: usize = 64 * 1024;

/// What is shown of it: a banner is a line.
pub const BANNER_BYTES_MAX: usize = 256;

/// What to check.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    /// `--send`
    pub send: Option<Vec<u8>>,
    /// `--expect`
    pub expect: Option<Regex>,
    /// `--banner`
    pub has_banner: bool,
    /// `--stable`
    pub stable: Option<Duration>,
    /// How long the peer has to answer.
    pub timeout: Duration,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Why it does not count.
    pub error: Option<Error>,
    /// How long after the connect the first byte came.
    pub first_byte: Option<Duration>,
    /// What the peer said, if that was asked for.
    pub received: Option<Vec<u8>>,
    /// Through a proxy: how long it took to reach the target or to fail, and the address that was asked for.
    pub passed: Option<(Duration, Option<Address>)>,
}

impl Checks {
    /// Whether there is anything to check.
    pub fn is_any(&self) -> bool {
        self.send.is_some() || self.expect.is_some() || self.has_banner || self.stable.is_some()
    }

    /// Carries them out on a fresh connection.
    fn carry_out(&self, conn: &Conn) -> Checked {
        let mut checked = Checked::default();
        checked.error = self.converse(conn, &mut checked).and_then(|()| self.stay(conn)).err();
        if self.send.is_some() {
            // What was sent is followed by an orderly end; whether the peer still listens is its own business.
            let _ = conn.finish();
        }
        checked
    }

    /// The same behind a proxy, which is asked for the target first.
    fn carry_out_behind(&self, gateway: &Gateway, conn: Conn, spent: Duration, errand: &Errand) -> Checked {
        match gateway.pass(conn, spent, errand) {
            Ok(Passed { conn, address, elapsed }) => {
                Checked { passed: Some((elapsed, address)), ..self.carry_out(&conn) }
            }
            Err(error) => {
                let address = errand.only_address().filter(|_| !error.is_of_proxy());
                Checked { passed: Some((error.elapsed, address)), error: Some(error), ..Checked::default() }
            }
        }
    }

    /// Sends what is to be sent, and listens for as long as there is something to hear.
    fn converse(&self, conn: &Conn, checked: &mut Checked) -> Result<()> {
        let end = Instant::now() + self.timeout;
        // A UDP target has been asked already: the answer is why it counts as open.
        if let Some(bytes) = self.send.as_ref().filter(|_| conn.transport() != Transport::Udp) {
            send(conn, bytes, end)?;
        }
        if !self.has_banner && self.expect.is_none() {
            return Ok(());
        }
        let mut received = Vec::new();
        let heard = self.listen(conn, end, &mut received, &mut checked.first_byte);
        if self.has_banner {
            checked.received = Some(received[..received.len().min(BANNER_BYTES_MAX)].to_vec());
        }
        heard
    }

    /// Receives until the expectation is met; without one, until anything comes.
    fn listen(
        &self,
        conn: &Conn,
        end: Instant,
        received: &mut Vec<u8>,
        first_byte: &mut Option<Duration>,
    ) -> Result<()> {
        let failed = |why: &'static str, received: &[u8]| match &self.expect {
            // A peer that says nothing has no banner, and is no worse for it.
            None => Ok(()),
            Some(_) => {
                let error = Error::new(Op::Receive, conn, conn.age(), Cause::Misbehaved(why));
                Err(if received.is_empty() { error } else { error.told(told(received)) })
            }
        };
        let mut buffer = [0; 4096];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || received.len() >= RECEIVED_BYTES_MAX {
                return failed("what was expected did not come", received);
            }
            if !is_readable(conn, left) {
                continue;
            }
            match conn.recv(&mut buffer) {
                Ok(0) if conn.transport().is_stream() => {
                    return failed("the peer closed before what was expected came", received);
                }
                Ok(length) => {
                    first_byte.get_or_insert_with(|| conn.age());
                    received.extend_from_slice(&buffer[..length]);
                    if self.expect.as_ref().is_none_or(|expect| expect.is_match(received)) {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == Kind::Busy => {}
                Err(error) if error.kind() == Kind::Reset => {
                    return failed("the peer reset before what was expected came", received);
                }
                Err(error) => return if self.expect.is_some() { Err(error) } else { Ok(()) },
            }
        }
    }

    /// Waits out `--stable`, counted from the connect.
    fn stay(&self, conn: &Conn) -> Result<()> {
        let Some(stable) = self.stable else { return Ok(()) };
        let ended = |why| Err(Error::new(Op::Receive, conn, conn.age(), Cause::Misbehaved(why)));
        // What it says meanwhile has no reader, but must not hide what comes after it.
        let mut unread = [0; 16 * 1024];
        loop {
            let left = stable.saturating_sub(conn.age());
            if left.is_zero() {
                return Ok(());
            }
            if !is_readable(conn, left) {
                continue;
            }
            match conn.recv(&mut unread) {
                Ok(0) if conn.transport().is_stream() => return ended("the peer closed within the time to be stable"),
                Err(error) if error.kind() == Kind::Reset => {
                    return ended("the peer reset within the time to be stable");
                }
                Err(error) if error.kind() != Kind::Busy => return Err(error),
                _ => {}
            }
        }
    }
}

fn is_readable(conn: &Conn, timeout: Duration) -> bool {
    wait_any(&[conn.socket()], Interest::Readable, Some(timeout)).is_ok_and(|ready| ready == [true])
}

/// Sends all of it, as long as there is time.
fn send(conn: &Conn, mut bytes: &[u8], end: Instant) -> Result<()> {
    loop {
        match conn.socket().send(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let left = end.saturating_duration_since(Instant::now());
                if !wait_any(&[conn.socket()], Interest::Writable, Some(left)).is_ok_and(|ready| ready == [true]) {
                    let why = Cause::Misbehaved("the peer did not take what is to be sent");
                    return Err(Error::new(Op::Send, conn, conn.age(), why));
                }
            }
            Err(error) => {
                let error = conn.error(Op::Send, error);
                let is_peers = matches!(error.kind(), Kind::Reset | Kind::BrokenPipe);
                let cause = Cause::Misbehaved("the peer reset before it took what is to be sent");
                return Err(if is_peers { Error { cause, ..error } } else { error });
            }
        }
        if bytes.is_empty() {
            return Ok(());
        }
    }
}

/// The beginning of what came, for an error's end.
fn told(received: &[u8]) -> String {
    /// Enough to see what it is instead.
    const SHOWN_BYTES_MAX: usize = 60;
    format!("{} bytes came: {}", received.len(), quoted(received, SHOWN_BYTES_MAX))
}

/// Conversations under way, and those that wait for a thread.
#[derive(Debug)]
pub struct Conversations<T> {
    checks: Arc<Checks>,
    gateway: Option<Arc<Gateway>>,
    /// What belongs to each conversation, by its number.
    tags: HashMap<u64, T>,
    waiting: VecDeque<Waiting>,
    running: usize,
    begun: u64,
    sender: Sender<(u64, Checked)>,
    receiver: Receiver<(u64, Checked)>,
    waker: Waker,
}

/// A connection that waits for a thread.
#[derive(Debug)]
struct Waiting {
    number: u64,
    conn: Conn,
    /// How long it took.
    spent: Duration,
    /// What its peer, which is a proxy then, is to be asked for.
    errand: Option<Errand>,
}

impl<T> Conversations<T> {
    /// None yet. The waker hears of each that has ended.
    pub fn new(checks: Arc<Checks>, gateway: Option<Arc<Gateway>>, waker: Waker) -> Conversations<T> {
        let (sender, receiver) = channel();
        let (tags, waiting) = (HashMap::new(), VecDeque::new());
        Conversations { checks, gateway, tags, waiting, running: 0, begun: 0, sender, receiver, waker }
    }

    /// Begins one over a connection that took so long, now or when a thread is free. The tag comes back when it has ended.
    pub fn begin(&mut self, tag: T, conn: Conn, spent: Duration, errand: Option<Errand>) {
        self.begun += 1;
        self.tags.insert(self.begun, tag);
        self.waiting.push_back(Waiting { number: self.begun, conn, spent, errand });
        self.start_waiting();
    }

    /// Whether as many wait as can be under way: more connections would only be kept waiting.
    pub fn is_busy(&self) -> bool {
        self.waiting.len() >= THREADS_MAX
    }

    /// Whether none is under way.
    pub fn is_idle(&self) -> bool {
        self.tags.is_empty()
    }

    /// One that has ended.
    pub fn ended(&mut self) -> Option<(T, Checked)> {
        if self.tags.is_empty() {
            return None;
        }
        let (number, checked) = self.receiver.try_recv().ok()?;
        self.running -= 1;
        self.start_waiting();
        self.tags.remove(&number).map(|tag| (tag, checked))
    }

    /// Gives up all of them: whose they were.
    pub fn abandon(&mut self) -> Vec<T> {
        self.tags.drain().map(|(_, tag)| tag).collect()
    }

    fn start_waiting(&mut self) {
        while self.running < THREADS_MAX
            && let Some(Waiting { number, conn, spent, errand }) = self.waiting.pop_front()
        {
            self.running += 1;
            let (checks, sender, waker) = (self.checks.clone(), self.sender.clone(), self.waker.clone());
            let place = conn.to_string();
            let way = self.gateway.clone().zip(errand);
            let converse = move || {
                let checked = match way {
                    Some((gateway, errand)) => checks.carry_out_behind(&gateway, conn, spent, &errand),
                    None => {
                        let checked = checks.carry_out(&conn);
                        drop(conn);
                        checked
                    }
                };
                // Nobody listens any more once the run is over.
                let _ = sender.send((number, checked));
                waker.wake();
            };
            let spawned = thread::Builder::new().name("check".to_owned()).stack_size(STACK_BYTES).spawn(converse);
            if let Err(error) = spawned {
                let error = Some(Error::system(Op::Socket, place, Duration::ZERO, error));
                let _ = self.sender.send((number, Checked { error, ..Checked::default() }));
            }
        }
    }
}
