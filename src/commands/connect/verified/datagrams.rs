//! Numbered datagrams, and a book of what became of each.
//!
//! Must not know what carries them. Trade-off: only a few are under way at a time, so that what is lost is not the doing of
//! full buffers.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::commands::echo_bench::{Errors, Found, Ledger, Message};
use crate::relay::Stopper;

/// As many are under way at most.
const WINDOW: usize = 16;

/// As many bytes: less than the receive buffers of all systems hold, with what each datagram costs besides.
const WINDOW_BYTES: usize = 48 * 1024;

/// What has not come after so long is lost. A round trip to anywhere on Earth fits in.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// How long it is looked for copies when everything has come.
const COPIES: Duration = Duration::from_millis(50);

/// So many are remembered when they have been answered: a copy of an older one counts as a stray.
const HISTORY: usize = 4096;

/// What became of the datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub sent: u64,
    pub right: u64,
    pub lost: u64,
    pub late: u64,
    pub duplicate: u64,
    pub reordered: u64,
    pub corrupt: u64,
    pub truncated: u64,
    pub stray: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { sent, right, lost, late, duplicate, reordered, corrupt, truncated, stray } = self;
        write!(f, "{right} of {sent} datagrams came back as they were sent")?;
        for (count, words) in [
            (lost, "lost"),
            (late, "late"),
            (duplicate, "doubled"),
            (reordered, "out of order"),
            (corrupt, "wrong"),
            (truncated, "cut short"),
            (stray, "never sent"),
        ] {
            if *count > 0 {
                write!(f, ", {count} {words}")?;
            }
        }
        Ok(())
    }
}

/// The book that sender and receiver keep together.
#[derive(Clone)]
pub struct Book(Arc<(Mutex<State>, Condvar)>);

struct State {
    ledger: Ledger,
    errors: Errors,
    message: Message,
    right: u64,
    begun: Instant,
    last_answer: Instant,
    unsent_bytes: u64,
    /// Of each but the last one.
    length: usize,
    /// How many may be under way.
    window: usize,
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of them, now that none is waited for.
    pub fn close(&self) -> Counts {
        let mut state = self.lock();
        state.give_up(Instant::now() + REPLY_TIMEOUT);
        let Errors { lost, late, duplicate, reordered, corrupt, truncated, stray, .. } = state.errors;
        let (sent, right) = (state.ledger.next() - 1, state.right);
        Counts { sent, right, lost, late, duplicate, reordered, corrupt, truncated, stray }
    }

    /// Why not all of them came back once, in order and as they were, if they did not.
    pub fn failure(&self) -> Option<(&'static str, String)> {
        let counts = self.close();
        let Counts { sent, right, duplicate, reordered, stray, .. } = counts;
        let is_right = right == sent && duplicate + reordered + stray == 0;
        (!is_right).then(|| ("not every datagram came back once, in order and as it was sent", counts.to_string()))
    }
}

impl State {
    /// Nanoseconds since the beginning, as the ledger wants them.
    fn clock(&self, time: Instant) -> u64 {
        time.saturating_duration_since(self.begun).as_nanos() as u64
    }

    fn give_up(&mut self, now: Instant) {
        let Some(sent_before) = now.checked_sub(REPLY_TIMEOUT) else { return };
        let sent_before = self.clock(sent_before);
        self.errors.lost += self.ledger.give_up(sent_before, |_| {}) as u64;
    }

    /// The next datagram, if one may go.
    fn next(&mut self) -> Option<&[u8]> {
        if self.unsent_bytes == 0 || self.ledger.waiting() >= self.window {
            return None;
        }
        let length = self.unsent_bytes.min(self.length as u64) as usize;
        self.unsent_bytes -= length as u64;
        let (sequence, now) = (self.ledger.next(), self.clock(Instant::now()));
        self.ledger.send(now, now, length, &mut self.errors);
        Some(self.message.of(0, sequence, length))
    }

    fn answer(&mut self, came: &[u8]) {
        self.last_answer = Instant::now();
        let Some(sequence) = self.message.sequence_of(0, came, self.ledger.known()) else {
            self.errors.stray += 1;
            return;
        };
        let entry = match self.ledger.answer(sequence, &mut self.errors) {
            Found::Answered(entry) => entry,
            Found::Late(entry) => {
                self.errors.lost -= 1;
                self.errors.late += 1;
                entry
            }
            Found::Duplicate => {
                self.errors.duplicate += 1;
                return;
            }
            Found::Stray => {
                self.errors.stray += 1;
                return;
            }
        };
        let length = entry.length as usize;
        if came.len() < length {
            self.errors.truncated += 1;
        } else if came.len() > length || self.message.difference(0, sequence, length, 0, came).is_some() {
            self.errors.corrupt += 1;
        } else {
            self.right += 1;
        }
    }
}

/// What is sent, and what compares what comes back.
pub fn start(
    seed: u64,
    bytes: u64,
    length: usize,
    stopper: Stopper,
) -> (Book, Box<dyn Read + Send>, Box<dyn Write + Send>) {
    let now = Instant::now();
    // The last one has what is left.
    let shortest = usize::try_from(bytes % length as u64).ok().filter(|rest| *rest > 0).unwrap_or(length);
    let state = State {
        ledger: Ledger::new(HISTORY),
        errors: Errors::default(),
        message: Message::new(shortest, length, seed),
        right: 0,
        begun: now,
        last_answer: now,
        unsent_bytes: bytes,
        length,
        window: (WINDOW_BYTES / length).clamp(1, WINDOW),
    };
    let book = Book(Arc::new((Mutex::new(state), Condvar::new())));
    (book.clone(), Box::new(Sends { book: book.clone(), stopper }), Box::new(Compares(book)))
}

struct Sends {
    book: Book,
    stopper: Stopper,
}

impl Read for Sends {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.book.lock();
        loop {
            state.give_up(Instant::now());
            if let Some(datagram) = state.next() {
                buffer[..datagram.len()].copy_from_slice(datagram);
                return Ok(datagram.len());
            }
            let is_over = state.unsent_bytes == 0 && state.ledger.waiting() == 0;
            if is_over && state.last_answer.elapsed() >= COPIES {
                self.stopper.end_output();
                return Ok(0);
            }
            // Woken by each answer; what is overdue announces itself to nobody.
            state = self.book.0.1.wait_timeout(state, COPIES).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

struct Compares(Book);

impl Write for Compares {
    fn write(&mut self, came: &[u8]) -> io::Result<usize> {
        self.0.lock().answer(came);
        self.0.0.1.notify_all();
        Ok(came.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
