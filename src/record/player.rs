//! One side of a recorded connection, played again: what is due when, and whether the peer does what it did.
//!
//! Owns the order of things and their times. Must not know sockets, threads or event loops: it is told what came and asked
//! what to do, so that a server's event loop and a client's threads can drive it. Trade-off: what comes is taken as soon as
//! it does, and only its count decides when the next thing is due; a peer that answers early is not held back.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::event::{Direction, Ending};
use super::line::hexadecimal;
use super::reader::{Action, Cut, Script, Step};

/// What has to have come before something is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matching {
    /// As many bytes as had come then, or datagrams.
    Bytes,
    /// The same bytes.
    Exact,
    /// Nothing: only the time decides.
    Nothing,
}

/// How fast it is played.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many times as fast as it was; above 0.
    Times(f64),
    /// Without any pause.
    Max,
}

/// How a script is played.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Manner {
    /// What has to have come before something is sent.
    pub matching: Matching,
    /// How fast.
    pub pace: Pace,
}

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<'a> {
    /// Send this, or a part of it; of datagrams all.
    Send(&'a [u8]),
    /// Nothing before this moment, unless something comes.
    Wait(Instant),
    /// Nothing before something comes.
    Receive,
    /// Half-close.
    Finish,
    /// Reset.
    Reset,
    /// Nothing more.
    Over,
}

/// What the peer did otherwise than it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// How many bytes were the same before it.
    pub offset: u64,
    what: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {}: {}", self.offset, self.what)
    }
}

/// A script that is being played.
#[derive(Debug)]
pub struct Player {
    script: Arc<Script>,
    /// The direction in the record that is ours now.
    ours: Direction,
    manner: Manner,
    next: usize,
    /// Of the step that is being sent.
    sent_bytes: usize,
    /// What the steps before it had the peer send: bytes, or datagrams.
    awaited: u64,
    came: u64,
    peer_has_finished: bool,
    has_finished: bool,
    /// A moment here, and the record's time that it stands for: pauses are measured from there.
    reference: (Instant, Duration),
    comparison: Comparison,
}

impl Player {
    /// From the beginning, now.
    pub fn new(script: Arc<Script>, ours: Direction, manner: Manner, now: Instant) -> Player {
        let reference = (now, script.opened);
        Player {
            script,
            ours,
            manner,
            next: 0,
            sent_bytes: 0,
            awaited: 0,
            came: 0,
            peer_has_finished: false,
            has_finished: false,
            reference,
            comparison: Comparison::default(),
        }
    }

    /// What there is to do.
    pub fn turn(&mut self, now: Instant) -> Turn<'_> {
        while let Some(step) = self.script.steps.get(self.next) {
            let time = step.time;
            match &step.action {
                Action::Data(direction, bytes, cut) if *direction != self.ours => {
                    let awaited = self.awaited + self.weight(bytes, cut.as_ref());
                    if self.awaits() && self.came < awaited {
                        return if self.peer_has_finished { self.leave() } else { Turn::Receive };
                    }
                    self.awaited = awaited;
                    self.pass(now, time);
                }
                Action::Finished(direction) if *direction != self.ours => {
                    if self.awaits() && !self.peer_has_finished {
                        return Turn::Receive;
                    }
                    self.pass(now, time);
                }
                action => {
                    let due = self.due(time);
                    if due > now {
                        return Turn::Wait(due);
                    }
                    match action {
                        Action::Data(..) => break,
                        Action::Finished(_) if self.has_finished => self.pass(due, time),
                        Action::Finished(_) => return Turn::Finish,
                        Action::Closed(ending) => return self.close(&ending.clone()),
                    }
                }
            }
        }
        match self.script.steps.get(self.next).map(|step| &step.action) {
            Some(Action::Data(_, bytes, _)) => Turn::Send(&bytes[self.sent_bytes..]),
            _ => self.leave(),
        }
    }

    fn close(&mut self, ending: &Ending) -> Turn<'static> {
        match ending {
            Ending::Reset if self.ours == Direction::Sent => Turn::Reset,
            Ending::PeerReset if self.ours == Direction::Received => Turn::Reset,
            Ending::Reset | Ending::PeerReset if self.awaits() && !self.peer_has_finished => Turn::Receive,
            _ => self.leave(),
        }
    }

    fn leave(&self) -> Turn<'static> {
        if self.has_finished || !self.script.transport.is_stream() { Turn::Over } else { Turn::Finish }
    }

    /// So many bytes of what was to be sent are gone; of datagrams all of them.
    pub fn sent(&mut self, bytes: usize) {
        let Some(Step { action: Action::Data(_, all, _), time, .. }) = self.script.steps.get(self.next) else { return };
        let (length, time) = (all.len(), *time);
        self.sent_bytes += bytes;
        if self.sent_bytes >= length {
            self.sent_bytes = 0;
            // Not now, but when it was due: else every delay would add up.
            self.pass(self.due(time), time);
        }
    }

    /// Whether nothing more is to be sent, and nothing more is waited for.
    pub fn is_over(&self) -> bool {
        let rest = self.script.steps.get(self.next..).unwrap_or_default();
        let is_awaited = |step: &Step| match &step.action {
            Action::Data(..) => true,
            Action::Finished(direction) => *direction != self.ours,
            Action::Closed(ending) => matches!(ending, Ending::Reset | Ending::PeerReset),
        };
        self.has_finished && !rest.iter().any(is_awaited)
    }

    /// Our half is closed.
    pub fn finished(&mut self) {
        self.has_finished = true;
    }

    /// Something has come. In what was to be the same, the first difference is an error.
    pub fn received(&mut self, bytes: &[u8]) -> Result<(), Mismatch> {
        self.came += self.weight(bytes, None);
        if self.manner.matching != Matching::Exact {
            return Ok(());
        }
        let theirs = Theirs { steps: &self.script.steps, ours: self.ours };
        if self.script.transport.is_stream() {
            self.comparison.stream(theirs, bytes)
        } else {
            self.comparison.datagram(theirs, bytes)
        }
    }

    /// The peer has finished. That it did so early is an error.
    pub fn peer_finished(&mut self) -> Result<(), Mismatch> {
        self.peer_has_finished = true;
        let bytes = |step: &Step| match &step.action {
            Action::Data(direction, bytes, cut) if *direction != self.ours => self.weight(bytes, cut.as_ref()),
            _ => 0,
        };
        let mut in_all = 0;
        for step in &self.script.steps {
            in_all += bytes(step);
            if self.awaits() && in_all > self.came {
                let what = format!("it ended, and in line {} there was more", step.line);
                return Err(Mismatch { offset: self.came, what });
            }
        }
        Ok(())
    }

    /// Whether the record has the peer reset it, now that it was reset.
    pub fn expects_reset(&self) -> bool {
        let theirs = if self.ours == Direction::Sent { Ending::PeerReset } else { Ending::Reset };
        self.script.steps.last().is_some_and(|step| step.action == Action::Closed(theirs))
    }

    fn awaits(&self) -> bool {
        self.manner.matching != Matching::Nothing
    }

    fn weight(&self, bytes: &[u8], cut: Option<&Cut>) -> u64 {
        if self.script.transport.is_stream() { bytes.len() as u64 + cut.map_or(0, |cut| cut.bytes) } else { 1 }
    }

    /// When what happened at this time of the record is due.
    fn due(&self, time: Duration) -> Instant {
        let (moment, recorded) = self.reference;
        match self.manner.pace {
            Pace::Max => moment,
            Pace::Times(times) => moment + time.saturating_sub(recorded).div_f64(times),
        }
    }

    /// A step is done, at this moment.
    fn pass(&mut self, moment: Instant, time: Duration) {
        self.next += 1;
        // Where only the time decides, all of it counts from the beginning.
        if self.awaits() {
            self.reference = (moment, time);
        }
    }
}

/// What the peer has sent in the record.
#[derive(Clone, Copy)]
struct Theirs<'a> {
    steps: &'a [Step],
    ours: Direction,
}

/// How far what came is what was recorded.
#[derive(Debug, Default)]
struct Comparison {
    /// Steps that are done with.
    done: usize,
    /// Bytes of the run that has begun.
    within: u64,
    /// All bytes before that.
    before: u64,
    /// Of what the record has only the hash of.
    hash: Sha256,
}

impl Comparison {
    /// What the peer sends next in the record.
    fn next<'a>(&mut self, theirs: Theirs<'a>) -> Option<(&'a Step, &'a [u8], Option<&'a Cut>)> {
        loop {
            let step = theirs.steps.get(self.done)?;
            match &step.action {
                Action::Data(direction, kept, cut) if *direction != theirs.ours => {
                    return Some((step, kept, cut.as_ref()));
                }
                _ => self.done += 1,
            }
        }
    }

    fn stream(&mut self, theirs: Theirs<'_>, mut bytes: &[u8]) -> Result<(), Mismatch> {
        while let Some((step, kept, cut)) = self.next(theirs) {
            let left = &kept[kept.len().min(self.within as usize)..];
            let (here, behind) = bytes.split_at(bytes.len().min(left.len()));
            self.compare(step, left, here)?;
            self.within += here.len() as u64;
            bytes = self.take_cut(step, kept, cut, behind)?;
            if self.within < kept.len() as u64 + cut.map_or(0, |cut| cut.bytes) {
                return Ok(());
            }
            self.done += 1;
            self.before += self.within;
            self.within = 0;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let what = format!("nothing more was there, and {} came", quoted(bytes));
        Err(Mismatch { offset: self.before, what })
    }

    fn datagram(&mut self, theirs: Theirs<'_>, bytes: &[u8]) -> Result<(), Mismatch> {
        let Some((step, kept, cut)) = self.next(theirs) else {
            let what = format!("no more datagrams were there, and {} came", quoted(bytes));
            return Err(Mismatch { offset: self.before, what });
        };
        let (here, behind) = bytes.split_at(bytes.len().min(kept.len()));
        self.compare(step, kept, here)?;
        self.within = here.len() as u64;
        let rest = self.take_cut(step, kept, cut, behind)?;
        let length = kept.len() as u64 + cut.map_or(0, |cut| cut.bytes);
        if self.within < length || !rest.is_empty() {
            let what = format!("in line {} it was a datagram of {length} bytes, and {} came", step.line, bytes.len());
            return Err(Mismatch { offset: self.before + self.within, what });
        }
        self.done += 1;
        self.before += length;
        self.within = 0;
        Ok(())
    }

    /// What came must be what the record goes on with, as far as it came.
    fn compare(&self, step: &Step, recorded: &[u8], came: &[u8]) -> Result<(), Mismatch> {
        let Some(index) = recorded.iter().zip(came).position(|(one, other)| one != other) else { return Ok(()) };
        let what =
            format!("in line {} it was {}, and {} came", step.line, quoted(&recorded[index..]), quoted(&came[index..]));
        Err(Mismatch { offset: self.before + self.within + index as u64, what })
    }

    /// Hashes what the record has only the hash of; what is behind that is the rest.
    fn take_cut<'a>(
        &mut self,
        step: &Step,
        kept: &[u8],
        cut: Option<&Cut>,
        bytes: &'a [u8],
    ) -> Result<&'a [u8], Mismatch> {
        let Some(cut) = cut else { return Ok(bytes) };
        let left = kept.len() as u64 + cut.bytes - self.within;
        let (here, rest) = bytes.split_at(bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        self.hash.update(here);
        self.within += here.len() as u64;
        if here.len() as u64 == left && hexadecimal(&std::mem::take(&mut self.hash).finalize()) != cut.sha256 {
            let offset = self.before + kept.len() as u64;
            let what = format!("in line {} {} bytes had another SHA-256", step.line, cut.bytes);
            return Err(Mismatch { offset, what });
        }
        Ok(rest)
    }
}

/// The first bytes, in quotes.
fn quoted(bytes: &[u8]) -> String {
    /// Enough to see where it is.
    const SHOWN_BYTES_MAX: usize = 16;
    crate::printable::quoted(bytes, SHOWN_BYTES_MAX)
}

#[cfg(test)]
mod tests;
