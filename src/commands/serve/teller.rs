//! The thread that tells: event lines are written here, so that a reader who stops reading does not stop the server.
//!
//! Owns the queue between the event loops and the two streams, and its bound. Must not know what the lines say. Trade-off:
//! what finds the queue full is left out and counted, and the count is told in its place; memory without bounds, or a server
//! that waits for its log, would be worse.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::counters::Counter;
use crate::output::Output;

/// Lines that may wait: an accept storm of thousands finds room, and a reader that hangs costs a megabyte.
const LINES_MAX: usize = 4096;

/// What is written in one call, at most about so much: few calls for many lines.
const BATCH_BYTES: usize = 32 * 1024;

/// How often the end looks whether the queue has room, while a reader hangs.
const PATIENCE_STEP: Duration = Duration::from_millis(5);

/// Something to say.
#[derive(Debug)]
pub enum Line {
    /// A line of the product, on stdout.
    Event(String),
    /// What a person expects to be told, on stderr.
    Note(String),
    /// What was asked for, on stderr, even if little else is said.
    Summary(String),
    /// A failure that does not end the server, and its hint.
    Failure(String, Option<&'static str>),
    /// Nothing more comes: tell when everything is written.
    End(SyncSender<()>),
}

/// A line, and how many before it found no room.
type Entry = (u64, Line);

/// How the lines come to the thread.
#[derive(Debug)]
pub struct Teller {
    entries: SyncSender<Entry>,
    /// Since the last line that found room.
    left_out: AtomicU64,
    /// In all.
    left_out_total: Counter,
}

impl Teller {
    /// Starts the thread. `gap` makes the line for so many that were left out; `failed` hears when stdout cannot be written,
    /// once.
    pub fn start(
        output: Output,
        gap: fn(Output, u64) -> String,
        failed: impl FnOnce(io::Error) + Send + 'static,
    ) -> io::Result<Teller> {
        let (entries, come) = sync_channel(LINES_MAX);
        let writer = Writer { output, gap, failed: Some(Box::new(failed)), pending: String::new() };
        thread::Builder::new().name("tell".to_owned()).spawn(move || writer.write_all(&come))?;
        Ok(Teller { entries, left_out: AtomicU64::new(0), left_out_total: Counter::default() })
    }

    /// Says something, without waiting for anybody.
    pub fn tell(&self, line: Line) {
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        // That the thread is gone can only be after the end was told.
        if let Err(TrySendError::Full(_)) = self.entries.try_send((left_out, line)) {
            self.left_out.fetch_add(left_out + 1, Ordering::Relaxed);
            self.left_out_total.add(1);
        }
    }

    /// How many lines were left out so far.
    pub fn left_out(&self) -> u64 {
        self.left_out_total.get()
    }

    /// Says something that must not be left out: waits for room, but no longer than `patience`. Not for an event loop.
    pub fn insist(&self, line: Line, patience: Duration) -> bool {
        let begun = Instant::now();
        let mut entry = (self.left_out.swap(0, Ordering::Relaxed), line);
        loop {
            match self.entries.try_send(entry) {
                Ok(()) => return true,
                Err(TrySendError::Full(back)) if begun.elapsed() < patience => {
                    entry = back;
                    thread::sleep(PATIENCE_STEP);
                }
                Err(_) => return false,
            }
        }
    }

    /// Waits until everything is written, but no longer than `patience`: whether it is.
    pub fn finish(&self, patience: Duration) -> bool {
        let begun = Instant::now();
        let (written, is_written) = sync_channel(1);
        self.insist(Line::End(written), patience)
            && is_written.recv_timeout(patience.saturating_sub(begun.elapsed())).is_ok()
    }
}

/// The thread's own.
struct Writer {
    output: Output,
    gap: fn(Output, u64) -> String,
    /// Taken when stdout has failed.
    failed: Option<Box<dyn FnOnce(io::Error) + Send>>,
    /// Lines for stdout that are written together.
    pending: String,
}

impl Writer {
    fn write_all(mut self, come: &Receiver<Entry>) {
        while let Ok(first) = come.recv() {
            let mut next = Some(first);
            while let Some((left_out, line)) = next {
                if left_out > 0 {
                    self.add(&(self.gap)(self.output, left_out));
                }
                if !self.say(line) {
                    return;
                }
                next = come.try_recv().ok();
            }
            self.flush();
        }
    }

    /// Whether more may come.
    fn say(&mut self, line: Line) -> bool {
        match line {
            Line::Event(text) => self.add(&text),
            Line::Note(text) => {
                self.flush();
                self.output.note(text);
            }
            Line::Summary(text) => {
                self.flush();
                self.output.diagnostic(text);
            }
            Line::Failure(text, hint) => {
                self.flush();
                self.output.error(text, hint);
            }
            Line::End(written) => {
                self.flush();
                // Whoever waited may have lost patience.
                let _ = written.send(());
                return false;
            }
        }
        true
    }

    fn add(&mut self, text: &str) {
        if self.failed.is_none() {
            return;
        }
        if !self.pending.is_empty() {
            self.pending.push('\n');
        }
        self.pending.push_str(text);
        if self.pending.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Writes what is pending. After a failure nothing more goes to stdout.
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let written = self.output.print(&self.pending);
        self.pending.clear();
        if let Err(failure) = written
            && let Some(failed) = self.failed.take()
        {
            failed(failure);
        }
    }
}
