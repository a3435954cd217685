//! What is sent: a number times a constant, the number itself, then a pattern in which no two bytes at near offsets agree by
//! chance.
//!
//! Owns the form of a message, its comparison, and whose answer a datagram is. Must not know when it is sent. Trade-off: a
//! thread has one copy of the pattern for all of its messages, and writes the number into it each time; so the memory does
//! not grow with the connections, and a comparison is one memcmp.

use std::cmp::Reverse;
use std::ops::Range;

use super::ledger::Ledger;
use crate::random::Random;

/// The number tells a message from all others of the run. At the head stands its product with a constant; shorter messages
/// carry the lowest bytes of that.
const NUMBER_BYTES: usize = 8;

/// Behind it stands the number as it is, or as much of that as there is room for: where one of the two is corrupt, the other
/// still names the message.
const HEADS_BYTES: usize = 2 * NUMBER_BYTES;

/// So many messages that wait are compared with a datagram that no head names: a server that returns nothing but such
/// datagrams must not cost more the wider the window is.
const COMPARED_MAX: usize = 1024;

/// Odd, so that it can be undone; and with bits everywhere, so that a wrong byte in the product makes a number that no message
/// has (Knuth's multiplicative hashing: 2^64 divided by the golden ratio). The number itself would make its neighbour's.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// What undoes it.
const INVERSE: u64 = inverse(FACTOR);

/// The number's upper bits are the connection's, so that an answer on the wrong connection shows.
const SEQUENCE_BITS: u32 = 48;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;

/// The inverse of an odd number modulo 2^64, by Newton's iteration: each step doubles the bits that are right.
const fn inverse(odd: u64) -> u64 {
    // Any odd number is its own inverse in the lowest three bits: 3, 6, 12, 24, 48, 96.
    let mut found = odd;
    let mut right_bits = 3;
    while right_bits < u64::BITS {
        found = found.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(found)));
        right_bits *= 2;
    }
    found
}

/// Whose answer a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// This message's.
    Message(u64),
    /// One of another connection.
    Another,
    /// Nobody's.
    Nothing,
}

/// The messages of one thread.
#[derive(Debug)]
pub struct Message {
    pattern: Vec<u8>,
    length_min: usize,
}

impl Message {
    /// Messages of `length_min` to `length_max` bytes, their pattern made of `seed`.
    pub fn new(length_min: usize, length_max: usize, seed: u64) -> Message {
        let mut random = Random::new(seed, 0);
        Message { pattern: (0..length_max).map(|_| random.next_u64() as u8).collect(), length_min }
    }

    /// Message `sequence` (from 1) of connection `salt`, `length` bytes of it.
    #[inline]
    pub fn of(&mut self, salt: u16, sequence: u64, length: usize) -> &[u8] {
        let number = (u64::from(salt) << SEQUENCE_BITS) | sequence;
        // A longer or shorter message before has left its own heads there, and nothing else: all that is of this one is
        // written anew.
        let product = number.wrapping_mul(FACTOR).to_be_bytes();
        if length < NUMBER_BYTES {
            self.pattern[..length].copy_from_slice(&product[NUMBER_BYTES - length..]);
        } else {
            let heads = length.min(HEADS_BYTES);
            self.pattern[..NUMBER_BYTES].copy_from_slice(&product);
            self.pattern[NUMBER_BYTES..heads].copy_from_slice(&number.to_be_bytes()[..heads - NUMBER_BYTES]);
        }
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

    /// Whose answer a datagram is that came to connection `salt` of so many.
    #[inline]
    pub fn answered_by(&mut self, salt: u16, connections: u32, answer: &[u8], ledger: &Ledger) -> Answers {
        if let Some(sequence) = self.sequence_of(salt, answer, ledger.known()) {
            return Answers::Message(sequence);
        }
        if self.is_anothers(salt, connections, answer) {
            return Answers::Another;
        }
        // Without a name it belongs to the only one that waits, or to one of them if it looks like any.
        if ledger.waiting() == 1 || self.is_like(answer) {
            return self.nearest(salt, answer, ledger.all_waiting()).map_or(Answers::Nothing, Answers::Message);
        }
        Answers::Nothing
    }

    /// Which message of connection `salt` a datagram answers, by those of its heads that are right.
    #[inline]
    pub fn sequence_of(&self, salt: u16, answer: &[u8], known: Range<u64>) -> Option<u64> {
        let [by_product, by_number] = self.sequences_of(salt, answer, known);
        // A wrong byte makes another number of the one, and nonsense of the other.
        by_product.or(by_number)
    }

    /// The same by each of them; none where that head names no message that was sent, or is not there. A head that is cut
    /// short names one that is still `known`, or none.
    #[inline]
    fn sequences_of(&self, salt: u16, answer: &[u8], known: Range<u64>) -> [Option<u64>; 2] {
        let Some((product, rest)) = answer.split_first_chunk::<NUMBER_BYTES>() else {
            // Of a longer message that was cut so short the lowest bytes are missing, and they are all that is looked at.
            let is_whole = answer.len() >= self.length_min;
            return [is_whole.then(|| short_sequence(answer, known)).flatten(), None];
        };
        let again = rest.first_chunk().map(|number| u64::from_be_bytes(*number));
        [Some(number_of(*product)), again].map(|number| {
            let is_ours = |number: &u64| number >> SEQUENCE_BITS == u64::from(salt);
            let sequence = number.filter(is_ours)? & SEQUENCE_MASK;
            Some(sequence).filter(|sequence| (1..known.end).contains(sequence))
        })
    }

    /// Whether a datagram is another connection's: its number is, and the rest of it is a message of this run.
    fn is_anothers(&mut self, salt: u16, connections: u32, answer: &[u8]) -> bool {
        let Some(number) = answer.first_chunk().copied().map(number_of) else { return false };
        let (other, sequence) = ((number >> SEQUENCE_BITS) as u16, number & SEQUENCE_MASK);
        sequence > 0
            && other != salt
            && u32::from(other) < connections
            && answer.len() <= self.pattern.len()
            && self.of(other, sequence, answer.len()) == answer
    }

    /// Whether a datagram that no head names is one of these messages all the same: most of its pattern is theirs.
    fn is_like(&self, answer: &[u8]) -> bool {
        let pattern = self.pattern.get(HEADS_BYTES..).unwrap_or_default();
        let rest = answer.get(HEADS_BYTES..).unwrap_or_default();
        let alike = rest.iter().zip(pattern).filter(|(one, other)| one == other).count();
        alike * 2 >= rest.len()
    }

    /// Of these messages, each with its length, the one whose heads have most bytes in common with a datagram's; the oldest
    /// of several.
    fn nearest(&mut self, salt: u16, answer: &[u8], waiting: impl Iterator<Item = (u64, usize)>) -> Option<u64> {
        let alike = |(sequence, length): (u64, usize)| {
            let heads = self.of(salt, sequence, length.min(HEADS_BYTES));
            (heads.iter().zip(answer).filter(|(one, other)| one == other).count(), Reverse(sequence))
        };
        waiting.take(COMPARED_MAX).map(alike).max().map(|(_, Reverse(sequence))| sequence)
    }
}

/// The number of which a head is the product.
fn number_of(product: [u8; NUMBER_BYTES]) -> u64 {
    u64::from_be_bytes(product).wrapping_mul(INVERSE)
}

/// The message of whose head only the lowest bytes are there, which say as much of its number: the last that was sent, less as
/// much as they say. None that is not known: so many bytes can say any number, and those that were corrupted do.
fn short_sequence(answer: &[u8], known: Range<u64>) -> Option<u64> {
    let mut bytes = [0; NUMBER_BYTES];
    bytes[NUMBER_BYTES - answer.len()..].copy_from_slice(answer);
    let mask = ((1 << (answer.len() * 8)) - 1) & SEQUENCE_MASK;
    let last = known.end.checked_sub(1)?;
    let back = last.wrapping_sub(number_of(bytes)) & mask;
    last.checked_sub(back).filter(|sequence| known.contains(sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_byte_is_found() {
        let mut message = Message::new(64, 64, 1);
        let mut answer = message.of(1, 7, 64).to_vec();
        assert_eq!(message.difference(1, 7, 64, 0, &answer), None);
        assert_eq!(message.difference(1, 7, 64, 10, &answer[10..20]), None);
        assert_eq!(message.difference(2, 7, 64, 0, &answer), Some(0));
        answer[40] ^= 1;
        assert_eq!(message.difference(1, 7, 64, 0, &answer), Some(40));
        assert_eq!(message.difference(1, 7, 64, 32, &answer[32..]), Some(40));
    }

    #[test]
    fn an_answer_names_its_message() {
        for length in [1, 2, 7, 8, 9, 15, 16, 64] {
            let mut message = Message::new(length, length, 1);
            for (sequence, next) in [(1, 2), (5, 6), (5, 9), (200, 201), (300, 301), (256, 260)] {
                let answer = message.of(3, sequence, length).to_vec();
                let again = (length >= 16).then_some(sequence);
                assert_eq!(message.sequences_of(3, &answer, 1..next), [Some(sequence), again], "{length} {next}");
            }
        }
        let mut message = Message::new(64, 64, 1);
        let answer = message.of(3, 5, 64).to_vec();
        assert_eq!(message.sequences_of(4, &answer, 1..6), [None; 2], "another connection's");
        assert_eq!(message.sequences_of(3, &answer, 1..5), [None; 2], "not sent yet");
        assert_eq!(message.sequences_of(3, &answer[..7], 1..6), [None; 2], "cut too short");
        assert_eq!(message.sequences_of(3, &[], 1..2), [None; 2], "an empty answer says nothing");
    }

    #[test]
    fn messages_of_all_lengths_in_turn_are_verified() {
        let mut message = Message::new(1, 40, 1);
        let sent: Vec<Vec<u8>> = (1..=40).map(|length| message.of(0, length as u64, length).to_vec()).collect();
        for answer in sent.iter().rev() {
            let length = answer.len();
            assert_eq!(message.difference(0, length as u64, length, 0, answer), None, "{length}");
        }
    }

    #[test]
    fn any_wrong_byte_of_the_heads_leaves_one_that_is_right() {
        let mut message = Message::new(64, 64, 1);
        for sequence in [1, 255, 256, 70_000] {
            let whole = message.of(2, sequence, 64).to_vec();
            for (offset, flip) in (0..HEADS_BYTES).flat_map(|offset| (1..=255).map(move |flip| (offset, flip))) {
                let mut answer = whole.clone();
                answer[offset] ^= flip;
                assert_eq!(message.sequence_of(2, &answer, 1..100_000), Some(sequence), "{offset} {flip}");
            }
        }
    }

    #[test]
    fn another_connections_answer_and_one_without_heads_are_known_by_the_rest() {
        let mut message = Message::new(64, 64, 1);
        let answer = message.of(3, 5, 64).to_vec();
        assert!(message.is_anothers(2, 4, &answer) && !message.is_anothers(3, 4, &answer));
        assert!(!message.is_anothers(2, 3, &answer), "there is no such connection");
        let mut headless = answer;
        headless[..HEADS_BYTES].fill(0);
        assert!(message.is_like(&headless) && !message.is_anothers(2, 4, &headless));
        assert!(!message.is_like(&[0; 64]));
    }
    #[test]
    fn a_wrong_byte_of_a_short_message_names_no_other() {
        /// As many as a book remembers, of a run that is longer.
        const KNOWN: Range<u64> = 934_464..1_000_000;
        for (length, others_max) in [(15, 0), (9, 0), (8, 0), (6, 0), (5, 0), (4, 1), (3, 16)] {
            let mut message = Message::new(length, length, 1);
            let sequence = KNOWN.end - 1;
            let whole = message.of(2, sequence, length).to_vec();
            let mut others = 0;
            for (offset, flip) in (0..length).flat_map(|offset| (1..=255).map(move |flip| (offset, flip))) {
                let mut answer = whole.clone();
                answer[offset] ^= flip;
                let named = message.sequence_of(2, &answer, KNOWN);
                others += usize::from(named.is_some_and(|named| named != sequence));
            }
            assert!(others <= others_max, "{length} bytes: {others} of {}", length * 255);
        }
    }

    #[test]
    fn a_datagram_without_a_name_is_the_nearest_that_waits() {
        for length in [3, 4, 8, 12, 64] {
            let mut message = Message::new(length, length, 1);
            let mut answer = message.of(0, 5, length).to_vec();
            answer[1] ^= 0x55;
            assert_eq!(message.nearest(0, &answer, (1..=9).map(|sequence| (sequence, length))), Some(5), "{length}");
            // Where nothing is alike, it is the oldest.
            let nonsense: Vec<u8> = answer.iter().map(|_| 0xab).collect();
            assert_eq!(message.nearest(0, &nonsense, [(7, length)].into_iter()), Some(7), "{length}");
        }
    }
}
