//! What is sent: a number, then a pattern in which no two bytes at near offsets agree by chance.
//!
//! Owns the form of a message and its comparison. Must not know when it is sent. Trade-off: a thread has one copy of the
//! pattern for all of its messages, and writes the number into it each time; so the memory does not grow with the
//! connections, and a comparison is one memcmp.

use crate::random::Random;

/// The number at the head tells a message from all others of the run; shorter messages carry its lowest bytes.
pub const NUMBER_BYTES: usize = 8;

/// The number's upper bits are the connection's, so that an answer on the wrong connection shows.
const SEQUENCE_BITS: u32 = 48;

/// The messages of one thread.
#[derive(Debug)]
pub struct Message {
    pattern: Vec<u8>,
}

impl Message {
    /// Messages up to `length_max` bytes, their pattern made of `seed`.
    pub fn new(length_max: usize, seed: u64) -> Message {
        let mut random = Random::new(seed, 0);
        Message { pattern: (0..length_max).map(|_| random.next_u64() as u8).collect() }
    }

    /// Message `sequence` (from 1) of connection `salt`, `length` bytes of it.
    #[inline]
    pub fn of(&mut self, salt: u16, sequence: u64, length: usize) -> &[u8] {
        let number = (u64::from(salt) << SEQUENCE_BITS) | sequence;
        let head = length.min(NUMBER_BYTES);
        self.pattern[..head].copy_from_slice(&number.to_be_bytes()[NUMBER_BYTES - head..]);
        // A shorter message before may have left other bytes where this one's pattern is: only the head is ever written.
        &self.pattern[..length]
    }

    /// The first byte at which an answer, or the part of one that begins at `offset`, differs; in the message's own count.
    #[inline]
    pub fn difference(
        &mut self,
        salt: u16,
        sequence: u64,
        length: usize,
        offset: usize,
        answer: &[u8],
    ) -> Option<usize> {
        let expected = &self.of(salt, sequence, length)[offset..offset + answer.len()];
        // Comparing slices is one memcmp; the offset is looked for only when it is wanted.
        if expected == answer {
            return None;
        }
        expected.iter().zip(answer).position(|(one, other)| one != other).map(|position| offset + position)
    }
}

/// Which message of connection `salt` a datagram answers, by its head: the one nearest below `next` that it can be; none if
/// it answers no message that was sent.
#[inline]
pub fn sequence_of(salt: u16, answer: &[u8], next: u64) -> Option<u64> {
    let head = answer.len().min(NUMBER_BYTES);
    let mut bytes = [0; NUMBER_BYTES];
    bytes[NUMBER_BYTES - head..].copy_from_slice(&answer[..head]);
    let number = u64::from_be_bytes(bytes);
    let bits = (head as u32 * 8).min(SEQUENCE_BITS);
    if head == NUMBER_BYTES && number >> SEQUENCE_BITS != u64::from(salt) {
        return None;
    }
    // The last message sent, less as much as the known bits say.
    let mask = (1 << bits) - 1;
    let last = next.checked_sub(1)?;
    let back = last.wrapping_sub(number) & mask;
    last.checked_sub(back).filter(|sequence| *sequence > 0)
}

/// Whether a datagram is another connection's: its number is, and the rest of it is a message of this run.
pub fn is_anothers(message: &Message, salt: u16, connections: u32, answer: &[u8]) -> bool {
    let Some((head, rest)) = answer.split_first_chunk::<NUMBER_BYTES>() else { return false };
    let other = u64::from_be_bytes(*head) >> SEQUENCE_BITS;
    other != u64::from(salt)
        && other < u64::from(connections)
        && message.pattern.get(NUMBER_BYTES..answer.len()) == Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_byte_is_found() {
        let mut message = Message::new(64, 1);
        let mut answer = message.of(1, 7, 64).to_vec();
        assert_eq!(message.difference(1, 7, 64, 0, &answer), None);
        assert_eq!(message.difference(1, 7, 64, 10, &answer[10..20]), None);
        assert_eq!(message.difference(2, 7, 64, 0, &answer), Some(1));
        answer[40] ^= 1;
        assert_eq!(message.difference(1, 7, 64, 0, &answer), Some(40));
        assert_eq!(message.difference(1, 7, 64, 32, &answer[32..]), Some(40));
    }

    #[test]
    fn an_answer_names_its_message() {
        let mut message = Message::new(64, 1);
        for length in [1, 2, 7, 8, 9, 64] {
            for (sequence, next) in [(1, 2), (5, 6), (5, 9), (200, 201), (300, 301), (256, 260)] {
                let answer = message.of(3, sequence, length).to_vec();
                assert_eq!(sequence_of(3, &answer, next), Some(sequence), "{length} {sequence} {next}");
            }
        }
        let answer = message.of(3, 5, 64).to_vec();
        assert_eq!(sequence_of(4, &answer, 6), None, "another connection's");
        assert_eq!(sequence_of(3, &answer, 5), None, "not sent yet");
        assert_eq!(sequence_of(3, &[], 2), Some(1), "an empty answer says nothing");
    }
}
