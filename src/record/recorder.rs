//! The recorder: events from any thread, into a file.
//!
//! Owns the queue and the thread that writes. Must not know where events come from, nor what becomes of a failure: it is
//! told to whoever started the recorder. Trade-off: each event is a write(2) of its own, so that a program which is killed
//! leaves whole lines; and whoever has an event while the queue is full waits for the disk, but only so long: then the record
//! ends, and the connections go on.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::event::{Direction, Ending, Event, Header, What};
use super::line;
use super::pcapng::Packets;
use crate::connection::{Address, Transport};

/// What may wait for the disk: a hundred milliseconds of what a loopback carries, and little for any machine.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What an event without data counts for in the queue.
const EVENT_BYTES: usize = 128;

/// How long the disk may not take anything while the queue is full. A disk that is merely busy is back sooner, and a
/// connection that is held up longer would fail for a reason that is not its own.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a record is written.
#[derive(Debug)]
pub enum Form {
    /// Lines of JSON. Of each direction of a connection only the first bytes are kept, if there is a limit.
    Lines {
        /// How many bytes.
        limit_bytes: Option<u64>,
    },
    /// Packets for Wireshark and tcpdump.
    Packets(Packets),
}

impl Form {
    /// The one that the name of a file asks for, with a limit for each direction of a connection.
    pub fn of(path: &Path, limit_bytes: Option<u64>) -> Form {
        if path.extension().is_some_and(|extension| extension == "pcapng") {
            Form::Packets(Packets::new(limit_bytes))
        } else {
            Form::Lines { limit_bytes }
        }
    }

    fn begin(&mut self, header: &Header, bytes: &mut Vec<u8>) {
        match self {
            Form::Lines { .. } => line::write_head(header, bytes),
            Form::Packets(packets) => packets.begin(header, bytes),
        }
    }

    fn append(&mut self, event: &Event, bytes: &mut Vec<u8>) {
        match self {
            Form::Lines { limit_bytes } => line::write_event(event, *limit_bytes, bytes),
            Form::Packets(packets) => packets.append(event, bytes),
        }
    }
}

/// Who is told, once, that the record is incomplete, and why.
pub type Told = Box<dyn FnOnce(&io::Error) + Send>;

/// A record that is being written. A copy writes to the same one.
#[derive(Clone)]
pub struct Recorder(Arc<Shared>);

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

struct Shared {
    begun: Instant,
    queue: Mutex<Queue>,
    /// There is something to write, or nothing more will come.
    filled: Condvar,
    /// There is room again, or the writer has ended.
    emptied: Condvar,
    /// Events that the file has.
    written: AtomicU64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
    connections: u64,
    /// The time of the last event: none is earlier than the one before it.
    last: Duration,
    is_closed: bool,
    has_writer: bool,
    failure: Option<io::Error>,
    told: Option<Told>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// Begins a record in a file. Times count from now.
    pub fn start(file: File, form: Form, header: Header, told: Told) -> io::Result<Recorder> {
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            queue: Mutex::new(Queue {
                events: VecDeque::new(),
                bytes: 0,
                connections: 0,
                last: Duration::ZERO,
                is_closed: false,
                has_writer: true,
                failure: None,
                told: Some(told),
            }),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            written: AtomicU64::new(0),
            writer: Mutex::new(None),
        });
        let own = shared.clone();
        let writer = std::thread::Builder::new().name("record".to_owned()).spawn(move || {
            write_to(&own, file, form, &header);
            lock(&own.queue).has_writer = false;
            own.emptied.notify_all();
        })?;
        *lock(&shared.writer) = Some(writer);
        Ok(Recorder(shared))
    }

    /// A connection begins.
    pub fn open(&self, connection: u64, transport: Transport, peer: &Address, local: &Address) -> Track {
        let (peer, local) = (peer.clone(), local.clone());
        self.0.push(What::Open { connection, transport, peer, local });
        Track { recorder: self.clone(), connection, state: Mutex::default() }
    }

    /// Ends the record and waits until it is written. An error is why it is incomplete; it has been told. Once
    /// more it says the same.
    pub fn finish(&self) -> io::Result<()> {
        let mut queue = lock(&self.0.queue);
        queue.is_closed = true;
        self.0.filled.notify_all();
        let mut written = self.0.written.load(Ordering::Acquire);
        while queue.has_writer {
            let (guard, waited) = self.0.emptied.wait_timeout(queue, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            queue = guard;
            let now = self.0.written.load(Ordering::Acquire);
            if waited.timed_out() && now == written && queue.has_writer {
                drop(queue);
                self.0.fail(too_slow());
                queue = lock(&self.0.queue);
                // The thread hangs in a call that may never return: nobody waits for it again.
                queue.has_writer = false;
                drop(lock(&self.0.writer).take());
                break;
            }
            written = now;
        }
        let failure = queue.failure.as_ref().map(copy);
        drop(queue);
        if let Some(writer) = lock(&self.0.writer).take() {
            // It has panicked, if anything: then that has been printed.
            let _ = writer.join();
        }
        failure.map_or(Ok(()), Err)
    }
}

/// The same error once more: one is told, one kept.
fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

fn too_slow() -> io::Error {
    io::Error::other(format!("it took nothing for {} s", PATIENCE.as_secs()))
}

impl Shared {
    fn push(&self, what: What) {
        let bytes = EVENT_BYTES + if let What::Data { bytes, .. } = &what { bytes.len() } else { 0 };
        let mut queue = lock(&self.queue);
        let time = self.begun.elapsed();
        while queue.bytes >= QUEUE_BYTES_MAX && !queue.is_closed {
            let written = self.written.load(Ordering::Acquire);
            let (guard, waited) = self.emptied.wait_timeout(queue, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            queue = guard;
            // A disk that is slow and takes something is waited for.
            let is_stuck = waited.timed_out() && self.written.load(Ordering::Acquire) == written;
            if is_stuck && queue.bytes >= QUEUE_BYTES_MAX {
                drop(queue);
                return self.fail(too_slow());
            }
        }
        if queue.is_closed {
            return;
        }
        queue.connections += u64::from(matches!(what, What::Open { .. }));
        queue.last = queue.last.max(time);
        queue.bytes += bytes;
        let event = Event { time: queue.last, what };
        queue.events.push_back(event);
        drop(queue);
        self.filled.notify_one();
    }

    /// Ends the record where it is. Only the first failure counts.
    fn fail(&self, error: io::Error) {
        let mut queue = lock(&self.queue);
        queue.is_closed = true;
        queue.events.clear();
        queue.bytes = 0;
        let told = queue.told.take();
        if told.is_some() {
            queue.failure = Some(copy(&error));
        }
        drop(queue);
        if let Some(told) = told {
            told(&error);
        }
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    /// What is to be written next, once there is something; none at the end.
    fn take(&self) -> Option<VecDeque<Event>> {
        let mut queue = lock(&self.queue);
        while queue.events.is_empty() {
            if queue.is_closed {
                return None;
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.bytes = 0;
        let events = std::mem::take(&mut queue.events);
        drop(queue);
        self.emptied.notify_all();
        Some(events)
    }

    fn has_failed(&self) -> bool {
        lock(&self.queue).told.is_none()
    }

    fn end(&self, complete: bool) -> Event {
        let queue = lock(&self.queue);
        let time = self.begun.elapsed().max(queue.last);
        Event { time, what: What::End { connections: queue.connections, complete } }
    }
}

/// Writes what comes, to the end.
fn write_to(shared: &Shared, mut file: File, mut form: Form, header: &Header) {
    let mut bytes = Vec::new();
    form.begin(header, &mut bytes);
    let mut whole_bytes = bytes.len() as u64;
    if let Err(error) = file.write_all(&bytes) {
        return shared.fail(error);
    }
    let mut write = |event: &Event, file: &mut File| {
        bytes.clear();
        form.append(event, &mut bytes);
        file.write_all(&bytes).map(|()| bytes.len() as u64)
    };
    while let Some(events) = shared.take() {
        for event in events {
            match write(&event, &mut file) {
                Ok(length) => whole_bytes += length,
                Err(error) => shared.fail(error),
            }
            if shared.has_failed() {
                break;
            }
            shared.written.fetch_add(1, Ordering::AcqRel);
        }
    }
    if !shared.has_failed() {
        match write(&shared.end(true), &mut file) {
            Ok(_) => return,
            Err(error) => shared.fail(error),
        }
    }
    // What is left of a line is taken back; where that cannot be done, or there is no room for an end, the missing end
    // tells as much.
    let _ = file.set_len(whole_bytes).and_then(|()| file.seek(io::SeekFrom::Start(whole_bytes)));
    let _ = write(&shared.end(false), &mut file);
}

/// One connection's part of a record. It knows how far each direction has come; what happens after its end is not written.
#[derive(Debug)]
pub struct Track {
    recorder: Recorder,
    connection: u64,
    /// Held while an event is queued, so that offsets go up in the file as well.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    received_bytes: u64,
    sent_bytes: u64,
    is_closed: bool,
}

impl State {
    fn so_far(&mut self, direction: Direction) -> &mut u64 {
        match direction {
            Direction::Received => &mut self.received_bytes,
            Direction::Sent => &mut self.sent_bytes,
        }
    }
}

impl Track {
    /// Bytes have passed, or one datagram has.
    pub fn data(&self, direction: Direction, bytes: &[u8]) {
        let copy = bytes.to_vec();
        self.push(|connection, state| {
            let so_far = state.so_far(direction);
            let offset = *so_far;
            *so_far += copy.len() as u64;
            What::Data { connection, direction, offset, bytes: copy }
        });
    }

    /// A direction has ended.
    pub fn finished(&self, direction: Direction) {
        self.push(|connection, state| What::Finished { connection, direction, offset: *state.so_far(direction) });
    }

    /// A rule misbehaved.
    pub fn fault(&self, rule: u64, fault: &str, at: u64) {
        self.push(|connection, _| What::Fault { connection, rule, fault: fault.to_owned(), at });
    }

    /// It is over. Of what was to be sent, the system has taken so many bytes.
    pub fn close(&self, ending: Ending, sent_bytes: u64) {
        self.push(|connection, state| {
            state.is_closed = true;
            let sent_bytes = sent_bytes.min(state.sent_bytes);
            What::Close { connection, ending, received_bytes: state.received_bytes, sent_bytes }
        });
    }

    fn push(&self, what: impl FnOnce(u64, &mut State) -> What) {
        let mut state = lock(&self.state);
        if !state.is_closed {
            let what = what(self.connection, &mut state);
            self.recorder.0.push(what);
        }
    }
}

#[cfg(test)]
mod tests;
