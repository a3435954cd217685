//! A stream of numbered words, and its comparison with what comes back.
//!
//! Must not know what carries it. Trade-off: each eight bytes are drawn by their number alone, which costs a little for each;
//! but the stream begins anywhere without what was before it, and where foreign bytes belong can be looked up.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::random;
use crate::relay::Stopper;

const WORD_BYTES: u64 = 8;

/// Fills a buffer with the stream's bytes from `offset` on.
fn fill(seed: u64, offset: u64, buffer: &mut [u8]) {
    let (mut number, skipped) = (offset / WORD_BYTES, (offset % WORD_BYTES) as usize);
    let mut word = || {
        number += 1;
        random::at(seed, &[number]).next_u64().to_le_bytes()
    };
    let head = buffer.len().min((WORD_BYTES as usize - skipped) % WORD_BYTES as usize);
    let (head, rest) = buffer.split_at_mut(head);
    if !head.is_empty() {
        head.copy_from_slice(&word()[skipped..skipped + head.len()]);
    }
    for place in rest.chunks_mut(WORD_BYTES as usize) {
        place.copy_from_slice(&word()[..place.len()]);
    }
}

/// What has come back so far.
#[derive(Clone, Default)]
pub struct Compared(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    right_bytes: u64,
    wrong: Option<Wrong>,
}

/// The first byte that is not what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wrong {
    came: u8,
    /// None is that nothing more was due.
    expected: Option<u8>,
    /// Where what came belongs.
    belongs: Option<u64>,
}

impl Compared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes were right, and where the first wrong one is.
    pub fn so_far(&self) -> (u64, Option<u64>) {
        let state = self.lock();
        (state.right_bytes, state.wrong.map(|_| state.right_bytes))
    }

    /// Why not everything came back, if it did not.
    pub fn failure(&self, bytes: u64) -> Option<(&'static str, String)> {
        let state = self.lock();
        let offset = state.right_bytes;
        let Some(Wrong { came, expected, belongs }) = state.wrong else {
            let told = || ("the peer closed before everything came back", format!("{offset} of {bytes} bytes came"));
            return (offset < bytes).then(told);
        };
        let belongs = belongs.map_or(String::new(), |belongs| format!(", which belongs to offset {belongs}"));
        Some(match expected {
            Some(expected) => (
                "what came back is not what was sent",
                format!("at offset {offset} is 0x{came:02x} instead of 0x{expected:02x}{belongs}"),
            ),
            None => ("more came back than was sent", format!("at offset {offset} is 0x{came:02x}{belongs}")),
        })
    }
}

/// What is sent, and what compares what comes back.
pub fn start(seed: u64, bytes: u64, stopper: Stopper) -> (Compared, Box<dyn Read + Send>, Box<dyn Write + Send>) {
    let compared = Compared::default();
    let output = Compares { seed, bytes, compared: compared.clone(), stopper, expected: Vec::new() };
    (compared, Box::new(Sends { seed, bytes, offset: 0 }), Box::new(output))
}

struct Sends {
    seed: u64,
    bytes: u64,
    offset: u64,
}

impl Read for Sends {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (self.bytes - self.offset).min(buffer.len() as u64) as usize;
        fill(self.seed, self.offset, &mut buffer[..count]);
        self.offset += count as u64;
        Ok(count)
    }
}

struct Compares {
    seed: u64,
    bytes: u64,
    compared: Compared,
    stopper: Stopper,
    expected: Vec<u8>,
}

impl Write for Compares {
    fn write(&mut self, came: &[u8]) -> io::Result<usize> {
        let mut state = self.compared.lock();
        if state.wrong.is_some() {
            return Ok(came.len());
        }
        let offset = state.right_bytes;
        let due = (self.bytes - offset).min(came.len() as u64) as usize;
        self.expected.resize(due, 0);
        fill(self.seed, offset, &mut self.expected);
        // Comparing slices is one memcmp; the place is looked for only when it is wanted.
        let right = if self.expected == came[..due] {
            due
        } else {
            self.expected.iter().zip(came).take_while(|(expected, came)| expected == came).count()
        };
        state.right_bytes += right as u64;
        if let Some(&first) = came.get(right) {
            let belongs = find(self.seed, offset + right as u64, &came[right..]);
            state.wrong = Some(Wrong { came: first, expected: self.expected.get(right).copied(), belongs });
            self.stopper.abandon();
        } else if state.right_bytes == self.bytes {
            self.stopper.end_output();
        }
        Ok(came.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where in the stream bytes are that came at `offset`, if they are anywhere near.
fn find(seed: u64, offset: u64, came: &[u8]) -> Option<u64> {
    /// So many bytes are nowhere twice but by a chance in 2^64.
    const NEEDLE_BYTES: usize = 16;
    /// What buffers lose or repeat is shorter.
    const NEAR_BYTES: u64 = 1 << 20;
    let needle = came.get(..NEEDLE_BYTES)?;
    let begin = offset.saturating_sub(NEAR_BYTES);
    let mut window = vec![0; (offset - begin + NEAR_BYTES) as usize];
    fill(seed, begin, &mut window);
    let at = window.windows(NEEDLE_BYTES).position(|part| part == needle)?;
    Some(begin + at as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(seed: u64, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        fill(seed, offset, &mut bytes);
        bytes
    }

    #[test]
    fn the_stream_is_the_same_wherever_it_begins() {
        let whole = stream(7, 0, 100);
        for offset in 0..20 {
            for length in [0, 1, 3, 7, 8, 9, 17, 80] {
                assert_eq!(stream(7, offset, length), whole[offset as usize..][..length], "{offset} {length}");
            }
        }
        assert_ne!(whole, stream(8, 0, 100));
        assert_ne!(whole[..8], whole[8..16]);
    }

    #[test]
    fn foreign_bytes_are_found_where_they_belong() {
        for (offset, at) in [(0, 5), (3_000_000, 2_999_000), (100, 1_000_000), (5, 5)] {
            assert_eq!(find(7, offset, &stream(7, at, 20)), Some(at));
        }
        assert_eq!(find(7, 0, &[0; 20]), None);
        assert_eq!(find(7, 0, &stream(7, 5, 15)), None, "too few to tell");
        assert_eq!(find(7, 0, &stream(7, 1 << 30, 20)), None, "too far");
    }
}
