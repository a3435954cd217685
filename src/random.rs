//! Random numbers that a seed repeats: arrivals, lengths, what is sent, resampling, and what fault rules decide.
//!
//! Owns the generator. Must not know what it decides. Trade-off: SplitMix64 (Steele, Lea and Flood 2014) passes the usual
//! tests in five instructions; nothing here is a secret.

use std::time::SystemTime;

/// The number that a seed has for a place, whichever places were asked about before: the words name it, in their order.
#[inline]
pub fn at(seed: u64, place: &[u64]) -> Random {
    place.iter().fold(Random(seed), |state, word| Random::new(state.0, *word))
}

/// A seed that nobody chose: the time and the process are as good as any, and it is shown.
pub fn drawn_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Six digits can be read aloud and typed again.
    Random::new(now.as_nanos() as u64, u64::from(std::process::id())).below(1_000_000)
}

/// A generator.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// One that begins at `seed`. Different streams of one seed are independent of each other.
    pub fn new(seed: u64, stream: u64) -> Random {
        let mut random = Random(seed);
        let mixed = random.next_u64() ^ stream.wrapping_mul(0xd134_2543_de82_ef95);
        Random(mixed)
    }

    /// Any number.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0. Its bias is `limit` in 2^64.
    #[inline]
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(limit)) >> 64) as u64
    }

    /// Evenly over more than 0 and up to 1.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        // 53 bits are a double's precision; never 0, whose logarithm is infinite.
        ((self.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Exponentially distributed, of mean 1: the gaps of a Poisson process.
    #[inline]
    pub fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_streams_differ() {
        let draw = |seed, stream| Random::new(seed, stream).next_u64();
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
        assert_ne!(draw(7, 1), draw(8, 1));
    }

    #[test]
    fn a_place_has_its_number_whatever_else_was_asked() {
        let number = |place: &[u64]| at(7, place).next_u64();
        assert_eq!(number(&[1, 2]), number(&[1, 2]));
        let places: [&[u64]; 6] = [&[1, 2], &[2, 1], &[1], &[2], &[1, 2, 0], &[0, 1, 2]];
        let mut numbers: Vec<u64> = places.iter().map(|place| number(place)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), places.len());
        let ones = (0..100_000).filter(|offset| at(7, &[0, *offset]).below(10) == 0).count();
        assert!((9_700..10_300).contains(&ones), "{ones} of 100000 places have what every tenth should have");
    }

    #[test]
    fn the_distributions_have_their_means() {
        let mut random = Random::new(1, 0);
        let count = 100_000;
        let mean = |draw: &mut dyn FnMut() -> f64| (0..count).map(|_| draw()).sum::<f64>() / f64::from(count);
        assert!((mean(&mut || random.unit()) - 0.5).abs() < 0.01);
        assert!((mean(&mut || random.exponential()) - 1.0).abs() < 0.02);
        assert!((mean(&mut || random.below(10) as f64) - 4.5).abs() < 0.05);
    }
}
