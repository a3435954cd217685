//! How long messages are: one length, a range, or a list with weights.
//!
//! Owns their form on the command line. Must not know which lengths a protocol carries.

use std::fmt;

use crate::random::Random;
use crate::units::parse_size;

/// The lengths of messages, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lengths {
    /// All the same.
    Fixed(usize),
    /// Evenly from the first to the second.
    Range(usize, usize),
    /// Each with the sum of the weights up to it.
    Weighted(Vec<(usize, u64)>),
}

impl Lengths {
    /// Reads `64`, `64..1400`, or `64:9,1400:1` (nine of ten are 64 bytes long).
    pub fn parse(text: &str) -> Result<Lengths, String> {
        if let Some((low, high)) = text.split_once("..") {
            let (low, high) = (size(low)?, size(high)?);
            if low > high {
                return Err(format!("{text:?} is not a range: {low} is more than {high}"));
            }
            return Ok(Lengths::Range(low, high));
        }
        if !text.contains([',', ':']) {
            return size(text).map(Lengths::Fixed);
        }
        let mut sum = 0_u64;
        let entries = text.split(',').map(|entry| {
            let (length, weight) = entry.split_once(':').unwrap_or((entry, "1"));
            let refuse = || format!("{entry:?} has no weight from 1 to 1000000, for example 64:9,1400:1");
            let weight: u64 = weight.parse().map_err(|_| refuse())?;
            if !(1..=1_000_000).contains(&weight) {
                return Err(refuse());
            }
            sum += weight;
            Ok((size(length)?, sum))
        });
        entries.collect::<Result<_, String>>().map(Lengths::Weighted)
    }

    /// The length of the next message.
    #[inline]
    pub fn next(&self, random: &mut Random) -> usize {
        match self {
            Lengths::Fixed(length) => *length,
            Lengths::Range(low, high) => low + random.below((high - low + 1) as u64) as usize,
            Lengths::Weighted(entries) => {
                let sum = entries.last().map_or(1, |(_, sum)| *sum);
                let drawn = random.below(sum);
                entries.iter().find(|(_, up_to)| drawn < *up_to).map_or(1, |(length, _)| *length)
            }
        }
    }

    /// The shortest.
    pub fn min(&self) -> usize {
        match self {
            Lengths::Fixed(length) | Lengths::Range(length, _) => *length,
            Lengths::Weighted(entries) => entries.iter().map(|(length, _)| *length).min().unwrap_or(1),
        }
    }

    /// The longest.
    pub fn max(&self) -> usize {
        match self {
            Lengths::Fixed(length) | Lengths::Range(_, length) => *length,
            Lengths::Weighted(entries) => entries.iter().map(|(length, _)| *length).max().unwrap_or(1),
        }
    }
}

fn size(text: &str) -> Result<usize, String> {
    usize::try_from(parse_size(text)?).map_err(|_| format!("{text:?} is too large for this machine"))
}

/// As it is typed.
impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lengths::Fixed(length) => write!(f, "{length}"),
            Lengths::Range(low, high) => write!(f, "{low}..{high}"),
            Lengths::Weighted(entries) => {
                let mut before = 0;
                for (index, (length, sum)) in entries.iter().enumerate() {
                    write!(f, "{}{length}:{}", if index > 0 { "," } else { "" }, sum - before)?;
                    before = *sum;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_what_is_printed() {
        for (text, min, max) in
            [("64", 64, 64), ("64..1400", 64, 1400), ("64:9,1400:1", 64, 1400), ("9:1,3:2,5:3", 3, 9)]
        {
            let lengths = Lengths::parse(text).unwrap();
            assert_eq!((lengths.to_string().as_str(), lengths.min(), lengths.max()), (text, min, max));
        }
        assert_eq!(Lengths::parse("1Ki..2Ki"), Ok(Lengths::Range(1024, 2048)));
        assert_eq!(Lengths::parse("64,128").unwrap().to_string(), "64:1,128:1");
    }

    #[test]
    fn a_refused_length_says_why() {
        for (text, why) in [
            ("9..3", "9 is more than 3"),
            ("64:0", "no weight"),
            ("64:x,5", "no weight"),
            ("x", "is not a size"),
            ("3..", "is not a size"),
            ("64,,5", "is not a size"),
        ] {
            let error = Lengths::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn lengths_are_drawn_by_their_weights() {
        let mut random = Random::new(3, 0);
        let weighted = Lengths::parse("64:9,1400:1").unwrap();
        let long = (0..10_000).filter(|_| weighted.next(&mut random) == 1400).count();
        assert!((800..1200).contains(&long), "{long}");
        let range = Lengths::parse("3..5").unwrap();
        let mut seen = [0; 6];
        (0..3000).for_each(|_| seen[range.next(&mut random)] += 1);
        assert!(seen[3] > 900 && seen[4] > 900 && seen[5] > 900, "{seen:?}");
    }
}
