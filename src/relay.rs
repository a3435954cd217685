//! Two byte streams joined: an input to the peer, the peer to an output; and the rules of when that ends.
//!
//! Owns the two directions, and what they tell of themselves; `outgoing` paces one, `supervisor` applies the rules. Must not
//! know terminals, command lines or what the bytes mean. Trade-off: two threads with blocking calls, one a direction, because
//! a runtime's stdin costs five times the copying; the input's thread may sit in read(2) for ever, so it is never joined: the
//! process ends around it. Bytes are read and sent, not spliced: `benches/connect.py` measures sendfile(2) and splice(2)
//! beside it, and over loopback both are slower.
//!
//! | what happens | while | then |
//! |---|---|---|
//! | the input ends | on a stream | half-close, and go on until the peer finishes |
//! | the input ends | with `keeps_direction` | go on until the peer finishes, who is told nothing |
//! | the input ends | on datagrams, or with `quit_after` | go on until the peer has been silent that long since |
//! | the input ends | sending only | half-close, and done when the peer's system has acknowledged everything |
//! | the input fails | any | as at its end, then failed |
//! | there is no input | receiving only | no half-close; with `quit_after` its time begins at once |
//! | the peer finishes | the input has ended | done |
//! | the peer finishes | the input is silent | done: nobody is there to answer |
//! | the peer finishes | the input flows | go on until it ends or falls silent: the peer may have closed one half only |
//! | the peer has finished, and all else is over | not all is acknowledged | its system has a moment to take it, then done; if it is refused, failed |
//! | the peer finishes | with `outstays_peer` | go on until the input ends, however silent it is |
//! | the peer resets | any | failed, with what was not acknowledged; a send under way fails first |
//! | a send fails | on a stream | take what still comes, then failed |
//! | the output fails | any | failed |
//! | the output takes no more | the input has ended | the peer has a moment to finish, then done |
//! | the output takes no more | the input flows | go on until it ends |
//! | nothing comes or goes | with `idle_timeout` | timed out |
//! | `deadline` | any | timed out |
//! | somebody stops or abandons it | any | over, at once |

mod outgoing;
mod supervisor;

use std::io::{self, Read, Write};
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::connection::datagram::{DATAGRAM_BYTES_MAX, payload_limit};
use crate::connection::socket::Datagram;
use crate::connection::{Clock, Conn, Error};
pub use outgoing::{Halt, Manner, Outgoing, Pieces};
use supervisor::Supervisor;

/// One read of a stream: measured on pipes, larger ones gain nothing and smaller ones lose.
const BLOCK_BYTES: usize = 256 * 1024;

/// How long the peer may take to finish once the input and the output have ended: a close with unread input would be a reset,
/// and could take from the peer what it has not read. A round trip to anywhere on Earth fits in.
pub const LEAVE_TAKING: Duration = Duration::from_secs(1);

/// Which directions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Both.
    BothWays,
    /// What the peer sends is dropped.
    SendOnly,
    /// The input is not read.
    ReceiveOnly,
}

/// What the user may decide.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Which directions there are.
    pub traffic: Traffic,
    /// How long the peer may be silent once the input has ended; none waits for the peer's end.
    pub quit_after: Option<Duration>,
    /// Whether the peer's end leaves the input all its time.
    pub outstays_peer: bool,
    /// Whether our direction stays open when the input has ended.
    pub keeps_direction: bool,
    /// How long nothing may come or go.
    pub idle_timeout: Option<Duration>,
    /// When it is over, whatever happens.
    pub deadline: Option<Instant>,
    /// How the input goes out.
    pub manner: Manner,
}

/// Something that looks at bytes as they pass, in their order; they wait for it.
pub type Tap = Box<dyn FnMut(&[u8]) + Send>;

/// Something that is told of each datagram that has come.
pub type DatagramTap = Box<dyn FnMut(&Datagram) + Send>;

/// Something that is told of the end of a direction.
pub type EndTap = Box<dyn FnOnce() + Send>;

/// Those who look at what passes.
#[derive(Default)]
pub struct Taps {
    /// At what is about to be sent, before an answer to it can come; not all of it is sent when that fails.
    pub sending: Vec<Tap>,
    /// At what the system has taken for the peer.
    pub sent: Vec<Tap>,
    /// At what has come from the peer.
    pub received: Vec<Tap>,
    /// At each datagram that has come, before its bytes.
    pub datagrams: Vec<DatagramTap>,
    /// At our FIN, before it is sent.
    pub finishing: Vec<EndTap>,
    /// At the peer's FIN.
    pub finished: Vec<EndTap>,
}

/// How it ended.
#[derive(Debug)]
pub enum Ended {
    /// The peer's FIN.
    PeerFinished,
    /// The peer was silent for `quit_after`.
    PeerSilent,
    /// Sending only: everything was sent, and acknowledged where there are acknowledgements.
    Sent,
    /// The input and the output have ended, and the peer has not; or whoever has them wants no more.
    EndsFinished,
    /// A clock ran out.
    TimedOut(Clock),
    /// Somebody stopped it, by a signal of this number.
    Stopped(u8),
    /// The connection failed.
    PeerFailed(Error),
    /// The input could not be read.
    InputFailed(io::Error),
    /// The output could not be written.
    OutputFailed(io::Error),
}

impl Ended {
    /// Whether it came to an end by itself.
    pub fn is_clean(&self) -> bool {
        matches!(self, Ended::PeerFinished | Ended::PeerSilent | Ended::Sent | Ended::EndsFinished)
    }
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
    /// Bytes that were sent and that the peer had not acknowledged then; none where the system cannot tell.
    pub unacknowledged_bytes: Option<u64>,
}

enum Event {
    InputEnded,
    InputFailed(io::Error),
    SendFailed(Error),
    PeerFinished,
    PeerFailed(Error),
    OutputFailed(io::Error),
    OutputEnded,
    Abandoned,
    Stopped(u8),
}

/// What the three threads see of each other.
struct Progress {
    received_bytes: Passed,
    sent_bytes: Passed,
    half_closed: AtomicBool,
    input: Silence,
    peer: Silence,
    /// Since the last send.
    sent: Silence,
}

/// How many bytes have passed, until it is over: a thread that is not joined goes on, and what it does then is in no figure.
struct Passed(AtomicU64);

/// Set in a number of bytes that counts no more.
const OVER: u64 = 1 << 63;

impl Passed {
    /// So many more; whether they still count.
    fn add(&self, bytes: usize) -> bool {
        self.0.fetch_add(bytes as u64, Ordering::AcqRel) & OVER == 0
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire) & !OVER
    }

    /// From now on none counts; how many there are.
    fn end(&self) -> u64 {
        self.0.fetch_or(OVER, Ordering::AcqRel)
    }
}

impl Progress {
    /// Bytes that were sent and that the peer has not acknowledged yet; none where the system cannot tell.
    fn unacknowledged_bytes(&self, conn: &Conn) -> Option<u64> {
        // Our FIN is counted like a byte, and is acknowledged last.
        let finishes = u64::from(self.half_closed.load(Ordering::Acquire));
        conn.unacknowledged_bytes().map(|bytes| bytes.saturating_sub(finishes))
    }
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

    /// Waits until what was given is passed on; not for ever, because whoever gets it may not take it.
    fn settle(&self) {
        /// Much longer than any write that does not block.
        const SETTLING: Duration = Duration::from_millis(100);
        /// Nobody announces it, and it is seldom waited for.
        const LOOK: Duration = Duration::from_millis(1);
        let begun = Instant::now();
        while self.since_ns.load(Ordering::Acquire) == NOT_WAITING && begun.elapsed() < SETTLING {
            thread::sleep(LOOK);
        }
    }

    fn lasts(&self) -> Duration {
        let since = self.since_ns.load(Ordering::Acquire);
        Duration::from_nanos(if since == NOT_WAITING { 0 } else { self.now_ns().saturating_sub(since) })
    }

    fn now_ns(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }
}

/// A relay that has not begun.
pub struct Relay {
    conn: Arc<Conn>,
    rules: Rules,
    progress: Arc<Progress>,
    events: Sender<Event>,
    happened: Receiver<Event>,
}

/// Ends a relay from outside.
#[derive(Clone)]
pub struct Stopper(Sender<Event>);

impl Stopper {
    /// Ends it, because of a signal of this number; whether it was still there to be ended.
    pub fn stop(&self, signal: u8) -> bool {
        self.0.send(Event::Stopped(signal)).is_ok()
    }

    /// Ends it, because somebody who gets what passes has failed.
    pub fn fail_output(&self, error: io::Error) {
        // A relay that is over needs no word.
        let _ = self.0.send(Event::OutputFailed(error));
    }

    /// Says that nobody reads the output any more.
    pub fn end_output(&self) {
        // A relay that is over needs no word.
        let _ = self.0.send(Event::OutputEnded);
    }

    /// Ends it at once, because whoever has the input and the output wants no more.
    pub fn abandon(&self) {
        // A relay that is over needs no word.
        let _ = self.0.send(Event::Abandoned);
    }
}

/// Tells how far a relay is, while it runs and after it.
#[derive(Clone)]
pub struct Meter(Arc<Progress>);

impl Meter {
    /// Bytes from the peer.
    pub fn received_bytes(&self) -> u64 {
        self.0.received_bytes.get()
    }

    /// Bytes to the peer: taken by the system.
    pub fn sent_bytes(&self) -> u64 {
        self.0.sent_bytes.get()
    }
}

impl Relay {
    /// Over a connection that blocks.
    pub fn new(conn: Arc<Conn>, rules: Rules) -> Relay {
        let progress = Arc::new(Progress {
            received_bytes: Passed(AtomicU64::new(0)),
            sent_bytes: Passed(AtomicU64::new(0)),
            half_closed: AtomicBool::new(false),
            input: Silence::new(),
            peer: Silence::new(),
            sent: Silence::new(),
        });
        let (events, happened) = mpsc::channel();
        Relay { conn, rules, progress, events, happened }
    }

    /// What ends it from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.events.clone())
    }

    /// What tells how far it is.
    pub fn meter(&self) -> Meter {
        Meter(self.progress.clone())
    }

    /// Joins the input to the peer and the peer to the output, until the rules say that it is over.
    pub fn run(
        self,
        input: impl Read + Send + 'static,
        output: impl Write + Send + 'static,
        mut taps: Taps,
    ) -> Outcome {
        let Relay { conn, rules, progress, events, happened } = self;
        let receiving = Taps {
            received: take(&mut taps.received),
            datagrams: take(&mut taps.datagrams),
            finished: take(&mut taps.finished),
            ..Taps::default()
        };
        if rules.traffic != Traffic::ReceiveOnly {
            spawn(&conn, &progress, &events, move |conn, progress| send_input(conn, input, rules, taps, progress));
        }
        match rules.traffic {
            // Read and dropped: a close with unread input would be a reset.
            Traffic::SendOnly if conn.transport().is_stream() => {
                spawn(&conn, &progress, &events, move |conn, progress| {
                    receive_output(conn, io::sink(), receiving, progress)
                });
            }
            // An error that comes back is then found at the end, and not by chance before it.
            Traffic::SendOnly => {}
            _ => {
                spawn(&conn, &progress, &events, move |conn, progress| {
                    receive_output(conn, output, receiving, progress)
                });
            }
        }
        let mut supervisor = Supervisor::new(&conn, &progress, rules);
        let ended = supervisor.watch(&happened);
        let (received_bytes, sent_bytes) = (progress.received_bytes.end(), progress.sent_bytes.end());
        // What counts reaches the output, and those who look at it.
        if !matches!(ended, Ended::OutputFailed(_)) {
            progress.peer.settle();
        }
        progress.sent.settle();
        Outcome {
            ended,
            received_bytes,
            sent_bytes,
            input_ended: supervisor.input_ended(),
            unacknowledged_bytes: progress.unacknowledged_bytes(&conn),
        }
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

/// The input to the peer, then a half-close unless the rules are against it.
fn send_input(conn: &Conn, mut input: impl Read, rules: Rules, mut taps: Taps, progress: &Progress) -> Event {
    let is_stream = conn.transport().is_stream();
    let limit = conn.transport().keeps_boundaries().then(|| payload_limit(conn.peer().family()));
    // A read that fills more than a datagram shows that there was too much for one.
    let mut block = vec![0; limit.map_or(BLOCK_BYTES, |limit| limit + 1)];
    let mut outgoing = Outgoing::new(rules.manner, limit);
    let mut send = |piece: &[u8]| send_counted(conn, piece, &mut taps, progress);
    let event = loop {
        progress.input.begins();
        let read = input.read(&mut block);
        progress.input.ends();
        let (passed, end) = match read {
            Ok(0) => (outgoing.finish(&mut send), Some(Event::InputEnded)),
            Ok(count) => (outgoing.pass(&block[..count], &mut send), None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => (outgoing.finish(&mut send), Some(Event::InputFailed(error))),
        };
        match (passed, end) {
            (Err(Halt::Send(error)), _) => break Event::SendFailed(error),
            (Err(Halt::TooLong(limit)), _) => break Event::InputFailed(too_long(limit)),
            (Ok(()), Some(end)) => break end,
            (Ok(()), None) => {}
        }
    };
    if is_stream && !rules.keeps_direction {
        taps.finishing.into_iter().for_each(|tap| tap());
        // A peer that is gone needs no half-close; how it went is what the receiving side finds out.
        progress.half_closed.store(conn.finish().is_ok(), Ordering::Release);
    }
    event
}

/// There is more of the input than goes into one datagram, and nobody has said how to cut it.
pub fn too_long(limit: usize) -> io::Error {
    io::Error::other(format!(
        "there is more in one piece than the {limit} bytes of a datagram: --per-line sends lines, --datagram-size cuts"
    ))
}

/// Sends all of it, counting as it goes: when it fails half way, what was taken until then has been sent.
fn send_counted(conn: &Conn, mut bytes: &[u8], taps: &mut Taps, progress: &Progress) -> Result<(), Error> {
    for tap in &mut taps.sending {
        tap(bytes);
    }
    loop {
        let sent = conn.send_some(bytes)?;
        progress.sent.ends();
        if progress.sent_bytes.add(sent) {
            taps.sent.iter_mut().for_each(|tap| tap(&bytes[..sent]));
        }
        progress.sent.begins();
        bytes = &bytes[sent..];
        // An empty datagram has been sent now.
        if bytes.is_empty() {
            return Ok(());
        }
    }
}

/// The peer to the output, to the peer's end.
fn receive_output(conn: &Conn, mut output: impl Write, mut taps: Taps, progress: &Progress) -> Event {
    let is_stream = conn.transport().is_stream();
    let keeps_boundaries = conn.transport().keeps_boundaries();
    let mut block = vec![0; if is_stream { BLOCK_BYTES } else { DATAGRAM_BYTES_MAX }];
    loop {
        progress.peer.begins();
        let received = if keeps_boundaries {
            conn.recv_datagram(&mut block).map(|datagram| {
                // Without a byte it is the end of a connection.
                if !is_stream || datagram.length > 0 {
                    taps.datagrams.iter_mut().for_each(|tap| tap(&datagram));
                }
                datagram.length
            })
        } else {
            conn.recv(&mut block)
        };
        match received {
            Ok(0) if is_stream => {
                taps.finished.into_iter().for_each(|tap| tap());
                return output.flush().map_or_else(Event::OutputFailed, |()| Event::PeerFinished);
            }
            Ok(count) => {
                progress.peer.ends();
                if !progress.received_bytes.add(count) {
                    return Event::Abandoned;
                }
                for tap in &mut taps.received {
                    tap(&block[..count]);
                }
                if let Err(error) = output.write_all(&block[..count]) {
                    return Event::OutputFailed(error);
                }
            }
            Err(error) => return Event::PeerFailed(error),
        }
    }
}
