//! `connect -F`: what goes out and what comes in, under fault rules.
//!
//! Owns the waiting. Must not decide anything, nor know the relay: to it these are an input and an output like others.
//! Trade-off: a thread more for each direction, so that what is late holds up nothing that is not.

use std::io::{self, Read, Write};
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::verdict::SCHEMA;
use crate::connection::datagram::payload_limit;
use crate::connection::{Conn, Transport};
use crate::fault::datagrams::Datagrams;
use crate::fault::lane::{Ending, EndingKind, Lane, Step};
use crate::fault::{Choice, Direction, Fired, RuleSet};
use crate::output::Output;
use crate::record::Track;
use crate::relay::{self, Halt, Manner, Rules, Stopper};

/// The only connection that there is.
const ORDINAL: u64 = 1;
/// One read of a stream: as much as a pipe holds, since it is copied once more than without rules.
const BLOCK_BYTES: usize = 64 * 1024;

/// What both directions share.
#[derive(Clone)]
pub struct Faulty {
    set: Arc<RuleSet>,
    /// Those that apply, by their place; to datagrams each by itself.
    applying: Vec<usize>,
    conn: Arc<Conn>,
    stopper: Stopper,
    track: Option<Arc<Track>>,
    output: Output,
    begun: Instant,
    has_reset: Arc<AtomicBool>,
}

/// A rule that has fired, as a JSON line.
#[derive(Serialize)]
struct Record {
    schema: &'static str,
    event: &'static str,
    rule: String,
    direction: Direction,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    datagram: Option<u64>,
}

/// One direction, of a stream or of datagrams.
enum Way {
    Stream(Box<Lane>),
    Datagrams(Datagrams<()>),
}

/// What a direction may do now.
enum Due {
    Pass(Vec<u8>),
    Wait(Option<Duration>),
    End(Ending),
}

impl Faulty {
    /// For a connection that begins now.
    pub fn new(
        set: Arc<RuleSet>,
        conn: Arc<Conn>,
        stopper: Stopper,
        track: Option<Arc<Track>>,
        output: Output,
    ) -> Faulty {
        let applying = Choice::default().connection(&set, ORDINAL, conn.peer().ip());
        Faulty { set, applying, conn, stopper, track, output, begun: Instant::now(), has_reset: Arc::default() }
    }

    /// Whether a rule has reset the connection.
    pub fn has_reset(&self) -> bool {
        self.has_reset.load(Ordering::SeqCst)
    }

    fn way(&self, direction: Direction) -> Option<Way> {
        if !self.conn.transport().is_stream() {
            return Datagrams::new(&self.set, direction).map(Way::Datagrams);
        }
        Lane::new(&self.set, &self.applying, ORDINAL, direction).map(|lane| Way::Stream(Box::new(lane)))
    }

    /// The input as the rules let it out, in pieces of this manner.
    pub fn input(&self, input: Box<dyn Read + Send>, manner: Manner) -> Box<dyn Read + Send> {
        let delays_close = self.applying.iter().map(|index| self.set.rules()[*index].action.delays_close()).sum();
        let Some(way) = self.way(Direction::Out) else { return Box::new(Late { input, delays_close }) };
        let (block, blocks) = mpsc::sync_channel(1);
        let is_stream = self.conn.transport().is_stream();
        let limit = (!is_stream).then(|| payload_limit(self.conn.peer().family()));
        thread::spawn(move || pump(input, relay::Outgoing::new(manner, limit), limit, &block));
        let (faulty, kept) = (self.clone(), Vec::new());
        Box::new(Outgoing { faulty, way, blocks, kept, is_ended: false, failed: None, delays_close })
    }

    /// The output as the rules let it in.
    pub fn output(&self, output: Box<dyn Write + Send>) -> Box<dyn Write + Send> {
        let Some(way) = self.way(Direction::In) else { return output };
        let (block, blocks) = mpsc::sync_channel(1);
        let incoming = Incoming { faulty: self.clone(), way, output };
        thread::spawn(move || incoming.pass_on(&blocks));
        Box::new(Entrance { blocks: block })
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn tell(&self, fired: Vec<Fired>) {
        for Fired { rule: index, direction, at } in fired {
            let rule = &self.set.rules()[index];
            if let Some(track) = &self.track {
                track.fault(index as u64, rule.action.word(), at);
            }
            let (word, is_stream) = (direction.word(), self.conn.transport().is_stream());
            let what = if is_stream { format!("{at} bytes {word}") } else { format!("datagram {at} {word}") };
            let record = Record {
                schema: SCHEMA,
                event: "fault",
                rule: rule.to_string(),
                direction,
                at_bytes: is_stream.then_some(at),
                datagram: (!is_stream).then_some(at),
            };
            self.output.verdict(&record, format_args!("fault: {rule}, {what}"));
        }
    }

    /// Resets the connection, once what was promised has arrived: the reset itself is the close.
    fn reset(&self, is_promised: bool) {
        // It fails only on a connection that is gone already.
        let _ = if is_promised { self.conn.reset_once_acknowledged() } else { self.conn.reset_on_close() };
        self.has_reset.store(true, Ordering::SeqCst);
        self.stopper.abandon();
    }
}

impl Way {
    /// How much may be put in.
    fn room(&self, now: Duration) -> usize {
        match self {
            Way::Stream(lane) => lane.room(now),
            Way::Datagrams(_) => usize::MAX,
        }
    }

    fn put(&mut self, bytes: &[u8], now: Duration) {
        match self {
            Way::Stream(lane) => lane.put(bytes, now),
            Way::Datagrams(datagrams) => datagrams.put((), bytes.to_vec(), None, now),
        }
    }

    /// What is due, at most so many bytes of a stream.
    fn due(&mut self, most: usize, now: Duration) -> Due {
        match self {
            Way::Stream(lane) => match lane.step(now) {
                Step::Pass => {
                    let count = lane.piece().len().min(most);
                    let bytes = lane.piece()[..count].to_vec();
                    lane.passed(count, now);
                    Due::Pass(bytes)
                }
                Step::Wait(until) => Due::Wait(until),
                Step::End(ending) => Due::End(ending),
            },
            Way::Datagrams(datagrams) => match datagrams.pop(now) {
                Some(((), bytes)) => Due::Pass(bytes),
                None => Due::Wait(datagrams.wake()),
            },
        }
    }

    fn is_done(&self, now: Duration) -> bool {
        match self {
            Way::Stream(lane) => lane.is_done(now),
            Way::Datagrams(datagrams) => datagrams.wake().is_none(),
        }
    }

    fn take_fired(&mut self) -> Vec<Fired> {
        match self {
            Way::Stream(lane) => lane.take_fired(),
            Way::Datagrams(datagrams) => datagrams.take_fired(),
        }
    }
}

/// The relay's rules beneath these, and how the input is cut above them: those for datagrams must see each that goes out.
pub fn divide(rules: Rules, set: Option<&Arc<RuleSet>>, transport: Transport) -> (Rules, Manner) {
    let is_counted = |set: &Arc<RuleSet>| Datagrams::<()>::new(set, Direction::Out).is_some();
    if transport.is_stream() || !set.is_some_and(is_counted) {
        return (rules, Manner::default());
    }
    (Rules { manner: Manner::default(), ..rules }, rules.manner)
}

/// Reads an input to its end, block by block; a block is a datagram where there is a limit of their length.
fn pump(
    mut input: Box<dyn Read + Send>,
    mut outgoing: relay::Outgoing,
    limit: Option<usize>,
    blocks: &SyncSender<io::Result<Vec<u8>>>,
) {
    // A read that fills more than a datagram shows that there was too much for one.
    let mut buffer = vec![0; limit.map_or(BLOCK_BYTES, |limit| limit + 1)];
    let mut send = |piece: &[u8]| blocks.send(Ok(piece.to_vec()));
    loop {
        let (passed, end) = match input.read(&mut buffer) {
            Ok(0) => (outgoing.finish(&mut send), Some(None)),
            Ok(count) => (outgoing.pass(&buffer[..count], &mut send), None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => (outgoing.finish(&mut send), Some(Some(error))),
        };
        let failed = match (passed, end) {
            (Ok(()), None) => continue,
            (Ok(()), Some(failed)) => failed,
            (Err(Halt::TooLong(limit)), _) => Some(relay::too_long(limit)),
            // Nobody wants more.
            (Err(Halt::Send(_)), _) => None,
        };
        if let Some(error) = failed {
            let _ = blocks.send(Err(error));
        }
        return;
    }
}

/// An input that only ends later than it would.
struct Late {
    input: Box<dyn Read + Send>,
    delays_close: Duration,
}

impl Read for Late {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        if count == 0 {
            thread::sleep(take(&mut self.delays_close));
        }
        Ok(count)
    }
}

/// What is sent, as the relay reads it.
struct Outgoing {
    faulty: Faulty,
    way: Way,
    blocks: Receiver<io::Result<Vec<u8>>>,
    /// What was read of a stream and has no room yet.
    kept: Vec<u8>,
    is_ended: bool,
    /// How much later than due the end comes.
    delays_close: Duration,
    /// Why it ended, if it was not by itself.
    failed: Option<io::Error>,
}

impl Read for Outgoing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let now = self.faulty.now();
            let due = self.way.due(buffer.len(), now);
            self.faulty.tell(self.way.take_fired());
            match due {
                // To the relay that would be the end.
                Due::Pass(bytes) if bytes.is_empty() => drop(self.faulty.conn.socket().send(&[])?),
                Due::Pass(bytes) => {
                    // The relay has room for the longest datagram, and the pump lets none pass that is longer.
                    buffer[..bytes.len()].copy_from_slice(&bytes);
                    return Ok(bytes.len());
                }
                Due::End(Ending { kind: EndingKind::Reset, is_promised, .. }) => {
                    self.faulty.reset(is_promised);
                    // The relay is over; an end of the input would be a FIN.
                    self.wait(None);
                }
                Due::End(Ending { kind, .. }) => {
                    if kind == EndingKind::Close {
                        // The peer has a moment to finish, and is left then.
                        self.faulty.stopper.end_output();
                    }
                    return Ok(0);
                }
                Due::Wait(_) if self.is_ended && self.kept.is_empty() && self.way.is_done(now) => {
                    thread::sleep(take(&mut self.delays_close));
                    return self.failed.take().map_or(Ok(0), Err);
                }
                Due::Wait(until) => self.wait(until.map(|until| until.saturating_sub(now))),
            }
        }
    }
}

impl Outgoing {
    /// Waits for that long, or until there is more to put in.
    fn wait(&mut self, time: Option<Duration>) {
        let now = self.faulty.now();
        let room = self.way.room(now).min(self.kept.len());
        if room > 0 {
            self.way.put(&self.kept[..room], now);
            self.kept.drain(..room);
            return;
        }
        let takes_more = self.kept.is_empty() && !self.is_ended && self.way.room(now) > 0 && !self.faulty.has_reset();
        if !takes_more {
            match time {
                Some(time) => thread::sleep(time),
                None => thread::park(),
            }
            return;
        }
        let block = match time {
            Some(time) => self.blocks.recv_timeout(time),
            None => self.blocks.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match block {
            // A datagram is put in as a whole, and an empty one too.
            Ok(Ok(datagram)) if matches!(self.way, Way::Datagrams(_)) => self.way.put(&datagram, self.faulty.now()),
            Ok(Ok(bytes)) => self.kept = bytes,
            Ok(Err(error)) => self.failed = Some(error),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.is_ended = true,
        }
    }
}

/// What the relay tells the thread of the incoming direction.
enum Told {
    Bytes(Vec<u8>),
    /// All of it is to be passed on, then it is told so.
    Flush(Sender<io::Result<()>>),
}

/// Where the relay writes what has come.
struct Entrance {
    blocks: SyncSender<Told>,
}

impl Write for Entrance {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.blocks.send(Told::Bytes(bytes.to_vec())).is_err() {
            // The thread has ended because its output has: the flush says how.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let (done, is_done) = mpsc::channel();
        if self.blocks.send(Told::Flush(done)).is_err() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        is_done.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }
}

/// What has come, on its way to the output.
struct Incoming {
    faulty: Faulty,
    way: Way,
    output: Box<dyn Write + Send>,
}

impl Incoming {
    fn pass_on(mut self, blocks: &Receiver<Told>) {
        let mut kept = Vec::new();
        let mut flush: Option<Sender<io::Result<()>>> = None;
        loop {
            let now = self.faulty.now();
            let due = self.way.due(usize::MAX, now);
            self.faulty.tell(self.way.take_fired());
            let until = match due {
                Due::Pass(bytes) => {
                    if let Err(error) = self.output.write_all(&bytes).and_then(|()| self.output.flush()) {
                        self.faulty.stopper.fail_output(error);
                        return;
                    }
                    continue;
                }
                Due::End(ending) => return self.faulty.reset(ending.is_promised),
                Due::Wait(until) => until,
            };
            let room = self.way.room(now).min(kept.len());
            if room > 0 {
                self.way.put(&kept[..room], now);
                kept.drain(..room);
                continue;
            }
            if kept.is_empty()
                && self.way.is_done(now)
                && let Some(done) = flush.take()
            {
                // Whoever waited may be gone.
                let _ = done.send(self.output.flush());
            }
            let told = match (until, kept.is_empty()) {
                (Some(until), true) => blocks.recv_timeout(until.saturating_sub(now)),
                (None, true) => blocks.recv().map_err(|_| RecvTimeoutError::Disconnected),
                (until, false) => {
                    match until {
                        Some(until) => thread::sleep(until.saturating_sub(now)),
                        None => thread::park(),
                    }
                    continue;
                }
            };
            match told {
                Ok(Told::Bytes(bytes)) if matches!(self.way, Way::Datagrams(_)) => self.way.put(&bytes, now),
                Ok(Told::Bytes(bytes)) => kept = bytes,
                Ok(Told::Flush(done)) => flush = Some(done),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}
