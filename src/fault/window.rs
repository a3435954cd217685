//! From when until when a rule applies: `after=` and `for=`.
//!
//! Owns the count of what has passed, and the comparison with it. Must not know what the rule does. Trade-off: bytes and
//! messages are counted where they pass, one direction each, so a place in a stream is the same however it was read.

use std::time::Duration;

use super::rule::{After, Keys};

/// What has passed in a direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) bytes: u64,
    /// Lines, or datagrams.
    pub(super) messages: u64,
}

impl Progress {
    /// Counts a stream's bytes, and the lines that end in them.
    pub(super) fn pass(&mut self, bytes: &[u8], counts_lines: bool) {
        self.bytes += bytes.len() as u64;
        if counts_lines {
            self.messages +=
                bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")).count() as u64;
        }
    }
}

/// When a rule applies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    after: Option<After>,
    lasts: Option<Duration>,
    /// When its time began.
    began: Option<Duration>,
}

impl Window {
    pub(super) fn new(keys: &Keys) -> Window {
        Window { after: keys.after, lasts: keys.lasts, began: None }
    }

    /// Opens it if its time has come. A time that has passed unseen counts from when it was.
    pub(super) fn look(&mut self, progress: Progress, now: Duration) {
        let opens = match self.after {
            _ if self.began.is_some() => return,
            None => Some(Duration::ZERO),
            Some(After::Bytes(bytes)) => (progress.bytes >= bytes).then_some(now),
            Some(After::Messages(messages)) => (progress.messages >= messages).then_some(now),
            Some(After::Time(time)) => (now >= time).then_some(time),
        };
        self.began = opens;
    }

    /// When it opened, while it is open.
    pub(super) fn open_since(&self, now: Duration) -> Option<Duration> {
        self.began.filter(|began| self.lasts.is_none_or(|lasts| now < *began + lasts))
    }

    /// When it closes; none is never.
    pub(super) fn closes(&self) -> Option<Duration> {
        self.began.zip(self.lasts).map(|(began, lasts)| began + lasts)
    }

    /// When time alone will open it.
    pub(super) fn opens(&self) -> Option<Duration> {
        match self.after {
            Some(After::Time(time)) if self.began.is_none() => Some(time),
            _ => None,
        }
    }

    /// How many of the next bytes may pass before it opens; none if it does not open within them.
    pub(super) fn opens_within(&self, progress: Progress, next: &[u8]) -> Option<usize> {
        if self.began.is_some() {
            return None;
        }
        match self.after? {
            After::Bytes(bytes) => {
                let left = bytes.saturating_sub(progress.bytes);
                usize::try_from(left).ok().filter(|left| *left <= next.len())
            }
            After::Messages(messages) => {
                let left = usize::try_from(messages.saturating_sub(progress.messages)).ok()?;
                let mut ends = next.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
                ends.nth(left.checked_sub(1)?).map(|(index, _)| index + 1)
            }
            After::Time(_) => None,
        }
    }

    /// At which byte it opens, if bytes open it and have not yet.
    pub(super) fn opens_at_byte(&self) -> Option<u64> {
        match self.after {
            Some(After::Bytes(bytes)) if self.began.is_none() => Some(bytes),
            _ => None,
        }
    }

    /// Whether a place in the stream opens it, so that what comes before is promised to pass.
    pub(super) fn is_by_place(&self) -> bool {
        matches!(self.after, Some(After::Bytes(_) | After::Messages(_)))
    }

    /// Whether it has not opened yet.
    pub(super) fn is_to_open(&self) -> bool {
        self.began.is_none()
    }

    /// Whether it counts lines.
    pub(super) fn counts_messages(&self) -> bool {
        matches!(self.after, Some(After::Messages(_)))
    }
}
