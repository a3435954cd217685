//! Two byte streams joined: an input to the peer, the peer to an output; and the rules of when that ends.
//!
//! Owns the half-close rules. Must not know terminals, command lines or what the bytes mean. Trade-off: two threads with
//! blocking calls, one a direction, because a runtime's stdin costs five times the copying; the input's thread may sit in
//! read(2) for ever, so it is never joined: the process ends around it.
//!
//! | what happens | while | then |
//! |---|---|---|
//! | the input ends | on a stream | half-close, and go on until the peer finishes |
//! | the input ends | on datagrams, or with `quit_after` | go on until the peer has been silent that long since |
//! | the input fails | any | as at its end, then failed |
//! | the peer finishes | the input has ended | done |
//! | the peer finishes | the input is silent | done: nobody is there to answer |
//! | the peer finishes | the input flows | go on until it ends or falls silent: the peer may have closed one half only |
//! | the peer resets | any | failed, with what was not acknowledged; a send under way fails first |
//! | a send fails | on a stream | take what still comes, then failed |
//! | the output fails | any | failed |

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::connection::datagram::DATAGRAM_BYTES_MAX;
use crate::connection::{Conn, Error, Kind, Op};

/// One read of a stream: measured on pipes, larger ones gain nothing and smaller ones lose.
const BLOCK_BYTES: usize = 256 * 1024;

/// The largest UDP payload over IPv4: what one read of the input may put into one datagram.
const PAYLOAD_BYTES_MAX: usize = 65_507;

/// An input that has given nothing for so long when the peer finishes is silent. A pipe that flows pauses for microseconds.
const SILENCE: Duration = Duration::from_millis(100);

/// What the user may decide.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// How long the peer may be silent once the input has ended; none waits for the peer's end.
    pub quit_after: Option<Duration>,
}

/// How it ended.
#[derive(Debug)]
pub enum Ended {
    /// The peer's FIN.
    PeerFinished,
    /// The peer was silent for `quit_after`.
    PeerSilent,
    /// The connection failed.
    PeerFailed(Error),
    /// The input could not be read.
    InputFailed(io::Error),
    /// The output could not be written.
    OutputFailed(io::Error),
}

/// What was relayed, and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// Bytes from the peer.
    pub received_bytes: u64,
    /// Bytes to the peer: taken by the system.
    pub sent_bytes: u64,
    /// Whether the input was read to its end, and all of it sent.
    pub input_ended: bool,
    /// Whether our FIN was sent.
    half_closed: bool,
}

impl Outcome {
    /// Bytes that were sent and that the peer has not acknowledged; none where the system cannot tell.
    pub fn unacknowledged_bytes(&self, conn: &Conn) -> Option<u64> {
        // Our FIN is counted like a byte, and is acknowledged last.
        conn.unacknowledged_bytes().map(|bytes| bytes.saturating_sub(u64::from(self.half_closed)))
    }
}

enum Event {
    InputEnded,
    InputFailed(io::Error),
    SendFailed(Error),
    PeerFinished,
    PeerFailed(Error),
    OutputFailed(io::Error),
}

/// What the three threads see of each other.
struct Progress {
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    half_closed: AtomicBool,
    input: Silence,
    peer: Silence,
}

/// Since when a side is being waited for. While what it gave is passed on it is not silent, however long that takes: there
/// may be more behind it.
struct Silence {
    begun: Instant,
    /// In nanoseconds since `begun`, or `NOT_WAITING`.
    since_ns: AtomicU64,
}

const NOT_WAITING: u64 = u64::MAX;

impl Silence {
    fn new() -> Silence {
        Silence { begun: Instant::now(), since_ns: AtomicU64::new(0) }
    }

    fn begins(&self) {
        self.since_ns.store(self.now_ns(), Ordering::Release);
    }

    fn ends(&self) {
        self.since_ns.store(NOT_WAITING, Ordering::Release);
    }

    fn lasts(&self) -> Duration {
        let since = self.since_ns.load(Ordering::Acquire);
        Duration::from_nanos(if since == NOT_WAITING { 0 } else { self.now_ns().saturating_sub(since) })
    }

    fn now_ns(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }
}

/// Joins the input to the peer and the peer to the output, until the rules say that it is over. The connection blocks.
pub fn relay(
    conn: Arc<Conn>,
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    rules: Rules,
) -> Outcome {
    let progress = Arc::new(Progress {
        received_bytes: AtomicU64::new(0),
        sent_bytes: AtomicU64::new(0),
        half_closed: AtomicBool::new(false),
        input: Silence::new(),
        peer: Silence::new(),
    });
    let (events, happened) = mpsc::channel();
    spawn(&conn, &progress, &events, |conn, progress| send_input(conn, input, progress));
    spawn(&conn, &progress, &events, |conn, progress| receive_output(conn, output, progress));
    let mut supervisor = Supervisor {
        progress: &progress,
        rules,
        input_over: None,
        input_ended: false,
        peer_finished: false,
        failed: None,
    };
    let ended = supervisor.watch(&happened);
    Outcome {
        ended,
        received_bytes: progress.received_bytes.load(Ordering::Acquire),
        sent_bytes: progress.sent_bytes.load(Ordering::Acquire),
        input_ended: supervisor.input_ended,
        half_closed: progress.half_closed.load(Ordering::Acquire),
    }
}

/// Runs one direction on a thread of its own. It lets go of the connection before it tells what happened: whoever hears it
/// can then close.
fn spawn(
    conn: &Arc<Conn>,
    progress: &Arc<Progress>,
    events: &Sender<Event>,
    direction: impl FnOnce(&Conn, &Progress) -> Event + Send + 'static,
) {
    let (conn, progress, events) = (conn.clone(), progress.clone(), events.clone());
    thread::spawn(move || {
        let event = direction(&conn, &progress);
        drop(conn);
        // The supervisor may have gone, and then nobody asks any more.
        let _ = events.send(event);
    });
}

/// The input to the peer, then a half-close.
fn send_input(conn: &Conn, mut input: impl Read, progress: &Progress) -> Event {
    let mut block = vec![0; if conn.transport().is_stream() { BLOCK_BYTES } else { PAYLOAD_BYTES_MAX }];
    let event = loop {
        progress.input.begins();
        let read = input.read(&mut block);
        progress.input.ends();
        match read {
            Ok(0) => break Event::InputEnded,
            Ok(count) => {
                if let Err(error) = send_counted(conn, &block[..count], &progress.sent_bytes) {
                    break Event::SendFailed(error);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Event::InputFailed(error),
        }
    };
    if conn.transport().is_stream() {
        // A peer that is gone needs no half-close; how it went is what the receiving side finds out.
        progress.half_closed.store(conn.finish().is_ok(), Ordering::Release);
    }
    event
}

/// Sends all of it, counting as it goes: when it fails half way, what was taken until then has been sent.
fn send_counted(conn: &Conn, mut bytes: &[u8], sent_bytes: &AtomicU64) -> Result<(), Error> {
    while !bytes.is_empty() {
        let sent = conn.socket().send(bytes).map_err(|error| conn.error(Op::Send, error))?;
        sent_bytes.fetch_add(sent as u64, Ordering::AcqRel);
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// The peer to the output, to the peer's end.
fn receive_output(conn: &Conn, mut output: impl Write, progress: &Progress) -> Event {
    let is_stream = conn.transport().is_stream();
    let mut block = vec![0; if is_stream { BLOCK_BYTES } else { DATAGRAM_BYTES_MAX }];
    loop {
        progress.peer.begins();
        let received = conn.recv(&mut block);
        progress.peer.ends();
        match received {
            Ok(0) if is_stream => {
                return output.flush().map_or_else(Event::OutputFailed, |()| Event::PeerFinished);
            }
            Ok(count) => {
                progress.received_bytes.fetch_add(count as u64, Ordering::AcqRel);
                if let Err(error) = output.write_all(&block[..count]) {
                    return Event::OutputFailed(error);
                }
            }
            Err(error) => return Event::PeerFailed(error),
        }
    }
}

/// Applies the rules.
struct Supervisor<'a> {
    progress: &'a Progress,
    rules: Rules,
    /// When the input ended or failed, or could no longer be sent.
    input_over: Option<Instant>,
    /// Whether it was its end.
    input_ended: bool,
    peer_finished: bool,
    /// Why what the input still gives cannot be sent.
    failed: Option<Ended>,
}

impl Supervisor<'_> {
    fn watch(&mut self, happened: &Receiver<Event>) -> Ended {
        loop {
            let event = match self.patience() {
                None => happened.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
                Some(patience) => happened.recv_timeout(patience),
            };
            let ended = match event {
                Ok(event) => self.judge(event),
                // Time may have been given since: then there is patience again.
                Err(RecvTimeoutError::Timeout) if self.patience() != Some(Duration::ZERO) => None,
                Err(_) if self.peer_finished => Some(Ended::PeerFinished),
                Err(_) => Some(Ended::PeerSilent),
            };
            if let Some(ended) = ended {
                return self.failed.take().unwrap_or(ended);
            }
        }
    }

    fn judge(&mut self, event: Event) -> Option<Ended> {
        if matches!(event, Event::InputEnded | Event::InputFailed(_) | Event::SendFailed(_)) {
            self.input_over = Some(Instant::now());
        }
        match event {
            Event::InputEnded => self.input_ended = true,
            Event::InputFailed(error) => self.failed = Some(Ended::InputFailed(error)),
            Event::SendFailed(error) => {
                let is_final = error.kind() == Kind::Refused;
                self.failed.get_or_insert(Ended::PeerFailed(error));
                // An ICMP refusal of a datagram; on a stream the receiving side comes to its end by itself.
                if is_final {
                    return Some(Ended::PeerFinished);
                }
            }
            Event::PeerFinished => self.peer_finished = true,
            Event::PeerFailed(error) => {
                // The sending side is told only EPIPE, and only when it sends: what it has sent until then is counted still.
                self.failed.take_if(|failed| matches!(failed, Ended::PeerFailed(_)));
                self.failed.get_or_insert(Ended::PeerFailed(error));
                self.peer_finished = true;
            }
            Event::OutputFailed(error) => return Some(Ended::OutputFailed(error)),
        }
        (self.peer_finished && self.input_over.is_some()).then_some(Ended::PeerFinished)
    }

    /// How long nothing may happen before it is over; none is for ever.
    fn patience(&self) -> Option<Duration> {
        if self.peer_finished {
            return Some(SILENCE.saturating_sub(self.progress.input.lasts()));
        }
        let (quit_after, input_over) = self.rules.quit_after.zip(self.input_over)?;
        // An answer to the last of the input cannot have come before it was sent.
        Some(quit_after.saturating_sub(self.progress.peer.lasts().min(input_over.elapsed())))
    }
}
