//! inetd's small services that speak first: chargen (RFC 864), daytime (RFC 867), time (RFC 868).
//!
//! Owns what each of them says. Must not know how it reaches anybody. Trade-off: the day is told in UTC, because a test that
//! passes in one time zone must pass in all.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::content::Content;

/// ASCII's printing characters, the space among them.
const PRINTING: std::ops::RangeInclusive<u8> = b' '..=b'~';

/// How many of them a line has (RFC 864: "one popular pattern").
const LINE_CHARACTERS: usize = 72;

/// The longest datagram: RFC 864 has "a random number (between 0 and 512) of characters".
const DATAGRAM_CHARACTERS_MAX: u64 = 512;

/// Lines that rotate: each begins with the character after the one that began the line before.
#[derive(Debug, Clone)]
pub struct Chargen {
    /// The lines.
    pub lines: Content,
    random: Arc<(RandomState, AtomicU64)>,
}

impl Chargen {
    /// The generator.
    pub fn new() -> Chargen {
        let mut period = Vec::new();
        for first in 0..PRINTING.count() {
            period.extend(PRINTING.cycle().skip(first).take(LINE_CHARACTERS));
            period.extend(b"\r\n");
        }
        Chargen { lines: Content::endless(&period), random: Arc::default() }
    }

    /// How long the next datagram is.
    pub fn datagram_length(&self) -> usize {
        let (random, number) = &*self.random;
        let drawn = random.hash_one(number.fetch_add(1, Ordering::Relaxed));
        (drawn % (DATAGRAM_CHARACTERS_MAX + 1)) as usize
    }
}

/// The time in words, in the form that RFC 867 calls popular: `Tuesday, February 22, 1982 17:37:43-UTC`.
pub fn daytime() -> Vec<u8> {
    format!("{}\r\n", in_words(since_1970_s())).into_bytes()
}

/// The seconds since 1900 as four bytes, the highest first (RFC 868). They begin anew in 2036.
pub fn time() -> Vec<u8> {
    /// From 1900 to 1970 are 70 years, 17 of them leap years.
    const TO_1970_S: u64 = (70 * 365 + 17) * 86_400;
    ((since_1970_s() + TO_1970_S) as u32).to_be_bytes().to_vec()
}

/// A clock that stands before 1970 tells of its beginning.
fn since_1970_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn in_words(since_1970_s: u64) -> String {
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (days, second) = (since_1970_s / 86_400, since_1970_s % 86_400);
    // RFC 3339's date has the numbers; only the words are missing.
    let date = humantime::format_rfc3339_seconds(UNIX_EPOCH + std::time::Duration::from_secs(since_1970_s)).to_string();
    let number = |range: std::ops::Range<usize>| date.get(range).and_then(|digits| digits.parse().ok()).unwrap_or(1);
    let (year, month, day): (usize, usize, usize) = (number(0..4), number(5..7), number(8..10));
    let (weekday, month) = (DAYS[days as usize % DAYS.len()], MONTHS[(month - 1) % MONTHS.len()]);
    format!("{weekday}, {month} {day}, {year} {:02}:{:02}:{:02}-UTC", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_its_words() {
        for (since_1970_s, words) in [
            (0, "Thursday, January 1, 1970 00:00:00-UTC"),
            (383_247_463, "Monday, February 22, 1982 17:37:43-UTC"),
            (951_782_400, "Tuesday, February 29, 2000 00:00:00-UTC"),
            (1_735_689_599, "Tuesday, December 31, 2024 23:59:59-UTC"),
        ] {
            assert_eq!(in_words(since_1970_s), words);
        }
    }

    #[test]
    fn the_lines_rotate_through_all_printing_characters() {
        let lines = Chargen::new().lines.beginning(96 * 74).unwrap();
        let text = String::from_utf8(lines).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines[0], " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg");
        assert_eq!(lines[1], "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefgh");
        assert_eq!(lines[94], "~ !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdef");
        assert_eq!((lines[95], lines.len()), (lines[0], 97));
    }

    #[test]
    fn a_datagram_is_as_long_as_the_rfc_lets_it() {
        let chargen = Chargen::new();
        let lengths: Vec<usize> = (0..1000).map(|_| chargen.datagram_length()).collect();
        assert!(lengths.iter().all(|length| *length <= 512) && lengths.iter().any(|length| *length > 256));
    }
}
