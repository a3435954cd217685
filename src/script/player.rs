//! Carries a script out between two ends of a relay: what it sends is the relay's input, what it hears the relay's output.
//!
//! Must not know what carries the bytes, nor who else sees them. Trade-off: a thread of its own that waits, so that a
//! conversation reads from top to bottom, and everything that a relay can do to bytes (pace, show, count) is done to a
//! script's as well.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use regex::bytes::Regex;

use super::{Action, Script, Step, Variables, Wanted};

/// What is kept of what the peer says until something expects it: of more, the oldest is forgotten.
const HEARD_BYTES_MAX: usize = 1 << 20;

/// How a script came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// A reset was expected, or what looked like one: the connection failed.
    pub met_reset: bool,
}

/// An expectation that was not met.
#[derive(Debug)]
pub struct Unmet {
    /// The statement, as it was written, and where.
    pub written: String,
    /// Why.
    pub why: &'static str,
    /// What came instead: what no expectation before it had used.
    pub received: Vec<u8>,
}

/// A script that is being carried out.
pub struct Played {
    ear: Arc<Ear>,
    ended: Receiver<Result<Done, Unmet>>,
}

impl Played {
    /// Waits for its end; where the connection has failed, nothing more is waited for.
    pub fn finish(&self, has_failed: bool) -> Option<Result<Done, Unmet>> {
        if has_failed {
            self.ear.end(End::Failed);
        }
        self.ended.recv().ok()
    }
}

/// Is told each statement that is done, and how long it took.
pub type Report = Box<dyn FnMut(&str, Duration) + Send>;

/// Where a script is carried out.
pub struct Stage {
    /// Whether what is heard is a stream, in which an expectation may lie anywhere, or datagrams, each for itself.
    pub is_stream: bool,
    /// Where the peer's bytes go as well.
    pub output: Box<dyn Write + Send>,
    /// What is sent when the script is done; none is the end.
    pub then: Option<Box<dyn Read + Send>>,
    /// Hears of its statements.
    pub report: Report,
    /// Is told that the script is over, and whether it was carried out to its end.
    pub over: Box<dyn FnOnce(bool) + Send>,
}

/// Begins to carry it out: what comes of it, what it sends, and where what the peer sends must go.
pub fn play(script: Script, stage: Stage) -> (Played, Box<dyn Read + Send>, Box<dyn Write + Send>) {
    let Stage { is_stream, output, then, report, over } = stage;
    let ear = Arc::new(Ear::new(is_stream));
    let (outgoing, pieces) = mpsc::channel();
    let (tell, ended) = mpsc::channel();
    let (hears, to_tell) = (Hears { ear: ear.clone(), output: Some(output) }, ear.clone());
    thread::spawn(move || {
        let mut player = Player { ear: &ear, outgoing: Some(outgoing), variables: Variables::new(), report };
        let result = player.carry_out(&script.steps);
        drop(player);
        ear.lock().is_deaf = true;
        let is_done = result.is_ok();
        // Whoever gave up does not listen any more.
        let _ = tell.send(result);
        over(is_done);
    });
    (Played { ear: to_tell, ended }, Box::new(Says { pieces, rest: Vec::new(), then }), Box::new(hears))
}

struct Player<'a> {
    ear: &'a Ear,
    /// Dropped when nothing more is sent.
    outgoing: Option<Sender<Vec<u8>>>,
    variables: Variables,
    report: Report,
}

impl Player<'_> {
    fn carry_out(&mut self, steps: &[Step]) -> Result<Done, Unmet> {
        let mut done = Done { met_reset: false };
        for step in steps {
            let begun = Instant::now();
            match &step.action {
                Action::Set { name, value } => {
                    let value = value.fill(&self.variables, <[u8]>::to_vec);
                    self.variables.insert(name.clone(), value);
                    continue;
                }
                Action::Send(template) => {
                    let bytes = template.fill(&self.variables, <[u8]>::to_vec);
                    // A variable may be empty; an empty read would be the end.
                    let outgoing = self.outgoing.as_ref().filter(|_| !bytes.is_empty());
                    if outgoing.is_some_and(|outgoing| outgoing.send(bytes).is_err()) {
                        return Err(self.unmet(step, "the connection was over before it was sent"));
                    }
                }
                Action::SendEnd => self.outgoing = None,
                Action::Expect { wanted, within } => {
                    self.await_peer(step, wanted, begun + *within)?;
                    done.met_reset |= matches!(wanted, Wanted::Reset);
                }
            }
            (self.report)(&step.written, begun.elapsed());
        }
        Ok(done)
    }

    fn await_peer(&mut self, step: &Step, wanted: &Wanted, until: Instant) -> Result<(), Unmet> {
        let met = match wanted {
            Wanted::Match(template) => {
                let regex = template.regex(&self.variables).map_err(|_| self.unmet(step, "it is too large"))?;
                self.ear.wait(until, |heard| heard.take_match(&regex).map(Some))
            }
            Wanted::End => self.ear.wait(until, |heard| heard.take_end(End::Finished).then_some(None)),
            Wanted::Reset => self.ear.wait(until, |heard| heard.take_end(End::Failed).then_some(None)),
        };
        match met {
            Some(captures) => {
                self.variables.extend(captures.into_iter().flatten());
                Ok(())
            }
            None => {
                let end = self.ear.lock().end;
                Err(self.unmet(step, why(wanted, end)))
            }
        }
    }

    fn unmet(&self, step: &Step, why: &'static str) -> Unmet {
        Unmet { written: step.written.clone(), why, received: self.ear.lock().all() }
    }
}

/// Why something did not come.
fn why(wanted: &Wanted, end: Option<End>) -> &'static str {
    match (wanted, end) {
        (Wanted::Match(_), None) => "what was expected did not come in time",
        (Wanted::Match(_), Some(End::Finished)) => "the peer closed before what was expected came",
        (Wanted::Match(_), Some(End::Failed)) => "the peer reset before what was expected came",
        (Wanted::End, None) => "the peer did not finish in time",
        (Wanted::End, Some(_)) => "the peer reset instead of finishing",
        (Wanted::Reset, None) => "the peer did not reset in time",
        (Wanted::Reset, Some(_)) => "the peer finished instead of resetting",
    }
}

/// How the peer's direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Finished,
    Failed,
}

/// What has been heard of the peer, and who waits for more.
struct Ear {
    heard: Mutex<Heard>,
    changed: Condvar,
}

struct Heard {
    is_stream: bool,
    /// Datagrams; of a stream one piece at most.
    pieces: VecDeque<Vec<u8>>,
    bytes: usize,
    end: Option<End>,
    /// Nobody listens any more.
    is_deaf: bool,
}

/// The named groups of a match, as variables.
type Captures = Vec<(String, Vec<u8>)>;

impl Ear {
    fn new(is_stream: bool) -> Ear {
        let heard = Heard { is_stream, pieces: VecDeque::new(), bytes: 0, end: None, is_deaf: false };
        Ear { heard: Mutex::new(heard), changed: Condvar::new() }
    }

    /// A poisoned lock means that a thread panicked while it held it; what is inside is still good.
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks each time that something has changed, until there is an answer; none when there will be none.
    fn wait<T>(&self, until: Instant, mut look: impl FnMut(&mut Heard) -> Option<T>) -> Option<T> {
        let mut heard = self.lock();
        loop {
            if let Some(found) = look(&mut heard) {
                return Some(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if heard.end.is_some() || left.is_zero() {
                return None;
            }
            heard = self.changed.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn hear(&self, bytes: &[u8]) {
        let mut heard = self.lock();
        if !heard.is_deaf {
            heard.hear(bytes);
            self.changed.notify_all();
        }
    }

    fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_all();
    }
}

impl Heard {
    fn hear(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        match self.pieces.back_mut().filter(|_| self.is_stream) {
            Some(piece) => piece.extend_from_slice(bytes),
            None => self.pieces.push_back(bytes.to_vec()),
        }
        while self.bytes > HEARD_BYTES_MAX {
            let Some(oldest) = self.pieces.front_mut() else { return };
            // Half of a stream at once: each cut moves what is left.
            let cut = if self.is_stream { oldest.len() / 2 } else { oldest.len() };
            oldest.drain(..cut);
            self.bytes -= cut;
            if oldest.is_empty() {
                self.pieces.pop_front();
            }
        }
    }

    /// Finds the first match, and forgets everything up to its end; of datagrams the whole one.
    fn take_match(&mut self, regex: &Regex) -> Option<Captures> {
        // What has said nothing can match too.
        if self.pieces.is_empty() && self.is_stream {
            self.pieces.push_back(Vec::new());
        }
        for index in 0..self.pieces.len() {
            let piece = &mut self.pieces[index];
            let Some(found) = regex.captures(piece) else { continue };
            let value = |name: &str| found.name(name).map_or(Vec::new(), |group| group.as_bytes().to_vec());
            let captures = regex.capture_names().flatten().map(|name| (name.to_owned(), value(name))).collect();
            let end = found.get(0).map_or(0, |whole| whole.end());
            if self.is_stream {
                piece.drain(..end);
            } else {
                self.pieces.drain(..=index);
            }
            self.bytes = self.pieces.iter().map(Vec::len).sum();
            return Some(captures);
        }
        None
    }

    /// Whether the peer's direction has ended so. What came before is passed over then.
    fn take_end(&mut self, end: End) -> bool {
        let is_so = self.end == Some(end);
        if is_so {
            self.pieces.clear();
            self.bytes = 0;
        }
        is_so
    }

    fn all(&self) -> Vec<u8> {
        self.pieces.iter().flatten().copied().collect()
    }
}

/// What the script sends, as somebody's input.
struct Says {
    pieces: Receiver<Vec<u8>>,
    /// What did not fit into the reader's buffer.
    rest: Vec<u8>,
    then: Option<Box<dyn Read + Send>>,
}

impl Read for Says {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            match (self.pieces.recv(), &mut self.then) {
                (Ok(piece), _) => self.rest = piece,
                (Err(_), Some(then)) => return then.read(buffer),
                (Err(_), None) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.rest.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

/// Where the peer's bytes go: to the script, and on. Flushed at the peer's end; dropped without it, the connection failed.
struct Hears {
    ear: Arc<Ear>,
    output: Option<Box<dyn Write + Send>>,
}

impl Write for Hears {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.ear.hear(bytes);
        let Some(output) = &mut self.output else { return Ok(bytes.len()) };
        match output.write_all(bytes) {
            // Whoever reads has enough; the script has not.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !self.ear.lock().is_deaf => self.output = None,
            written => written?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.ear.end(End::Finished);
        self.output.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Hears {
    fn drop(&mut self) {
        self.ear.end(End::Failed);
    }
}
