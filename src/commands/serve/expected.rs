//! `--expect`: what peers send is compared with a file.
//!
//! Owns the comparison and its verdict. Must not know what else is done with the bytes. Trade-off: the file is held in
//! memory, once for all connections; each holds only how far it has come.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::relay::Tap;

/// What must come, on each connection and in each datagram.
#[derive(Debug, Clone)]
pub struct Expected(Arc<[u8]>);

/// What came instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Another byte.
    Byte {
        /// Its offset in the stream.
        offset: u64,
        /// The file's.
        expected: u8,
        /// The peer's.
        came: u8,
    },
    /// A byte where the file has none.
    TooMuch {
        /// The file's length.
        length_bytes: u64,
    },
    /// The end, where the file goes on.
    TooLittle {
        /// How much came.
        offset: u64,
        /// The file's length.
        length_bytes: u64,
    },
}

impl Difference {
    /// The first offset that differs.
    pub fn offset(self) -> u64 {
        match self {
            Difference::Byte { offset, .. } | Difference::TooLittle { offset, .. } => offset,
            Difference::TooMuch { length_bytes } => length_bytes,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Byte { offset, expected, came } => {
                write!(f, "differs at byte {offset}: {came:#04x} came, {expected:#04x} was expected")
            }
            Difference::TooMuch { length_bytes } => {
                write!(f, "differs at byte {length_bytes}: more came, the end was expected")
            }
            Difference::TooLittle { offset, length_bytes } => {
                write!(f, "differs at byte {offset}: the end came, {length_bytes} bytes were expected")
            }
        }
    }
}

impl Expected {
    /// The content of a file.
    pub fn read(path: &PathBuf) -> Result<Expected> {
        let content = std::fs::read(path).with_context(|| format!("read expected file \"{}\"", path.display()))?;
        Ok(Expected(content.into()))
    }

    /// A stream begins.
    pub fn begin(&self) -> Comparison {
        Comparison { expected: self.clone(), progress: Arc::default() }
    }

    /// What is wrong with a whole datagram, if anything is.
    pub fn check(&self, bytes: &[u8]) -> Option<Difference> {
        let mut progress = Progress::default();
        progress.go_on(&self.0, bytes);
        progress.end(&self.0)
    }
}

/// How far a stream has come.
#[derive(Debug)]
pub struct Comparison {
    expected: Expected,
    progress: Arc<Mutex<Progress>>,
}

#[derive(Debug, Default)]
struct Progress {
    offset: usize,
    difference: Option<Difference>,
}

impl Comparison {
    /// Who looks at what comes.
    pub fn tap(&self) -> Tap {
        let (expected, progress) = (self.expected.clone(), self.progress.clone());
        Box::new(move |bytes| progress.lock().unwrap_or_else(PoisonError::into_inner).go_on(&expected.0, bytes))
    }

    /// What was wrong with the stream, now that it has ended.
    pub fn end(&self) -> Option<Difference> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).end(&self.expected.0)
    }
}

impl Progress {
    fn go_on(&mut self, expected: &[u8], bytes: &[u8]) {
        if self.difference.is_some() {
            return;
        }
        let rest = expected.get(self.offset..).unwrap_or_default();
        let same = rest.iter().zip(bytes).take_while(|(expected, came)| expected == came).count();
        self.offset += same;
        let offset = self.offset as u64;
        self.difference = match (rest.get(same), bytes.get(same)) {
            (Some(expected), Some(came)) => Some(Difference::Byte { offset, expected: *expected, came: *came }),
            (None, Some(_)) => Some(Difference::TooMuch { length_bytes: offset }),
            (_, None) => None,
        };
    }

    fn end(&self, expected: &[u8]) -> Option<Difference> {
        let (offset, length_bytes) = (self.offset as u64, expected.len() as u64);
        let is_short = offset < length_bytes;
        self.difference.or_else(|| is_short.then_some(Difference::TooLittle { offset, length_bytes }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_difference_is_found() {
        for (came, expected) in [
            ("hello", None),
            ("", Some(Difference::TooLittle { offset: 0, length_bytes: 5 })),
            ("hell", Some(Difference::TooLittle { offset: 4, length_bytes: 5 })),
            ("hello!", Some(Difference::TooMuch { length_bytes: 5 })),
            ("help", Some(Difference::Byte { offset: 3, expected: b'l', came: b'p' })),
            ("jello!", Some(Difference::Byte { offset: 0, expected: b'h', came: b'j' })),
        ] {
            assert_eq!(Expected(b"hello"[..].into()).check(came.as_bytes()), expected, "{came}");
        }
    }

    proptest! {
        /// However it was cut into pieces on the way.
        #[test]
        fn pieces_are_compared_as_the_whole_is(file: Vec<u8>, came: Vec<u8>, flip: bool, cuts in prop::collection::vec(0_usize..40, 0..6)) {
            // What came is most often the file itself, or its beginning.
            let came = if flip { came } else { file[..file.len() * 3 / 4].to_vec() };
            let expected = Expected(file.into());
            let whole = expected.check(&came);
            let comparison = expected.begin();
            let mut tap = comparison.tap();
            let mut rest = &came[..];
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                tap(piece);
                rest = after;
            }
            tap(rest);
            prop_assert_eq!(comparison.end(), whole);
        }
    }
}
