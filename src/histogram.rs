//! Latencies recorded at three digits in constant memory, merged, and their percentiles as far as the sample supports them.
//!
//! Owns the rule of which percentiles may be stated. Must not know what was measured. Trade-off: three digits and one
//! nanosecond's resolution up to a minute take 216 KiB for each thread that records; four digits would leave the cache.

use std::time::Duration;

use hdrhistogram::Histogram as Hdr;

/// A minute: no timeout of a single message is longer, and what is, is counted as a minute.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// 0.1 %: a fifth of what a clock read adds to the shortest round trip of a machine.
const DIGITS: u8 = 3;

/// With fewer samples beyond it a percentile is the story of those few.
const SAMPLES_BEYOND: f64 = 10.0;

/// A distribution of latencies.
#[derive(Debug, Clone)]
pub struct Histogram {
    recorded: Hdr<u64>,
}

impl Default for Histogram {
    fn default() -> Histogram {
        match Hdr::new_with_bounds(1, LATENCY_MAX_NS, DIGITS) {
            Ok(recorded) => Histogram { recorded },
            Err(error) => unreachable!("the bounds are constants: {error}"),
        }
    }
}

impl Histogram {
    /// Records one latency.
    #[inline]
    pub fn record(&mut self, latency: Duration) {
        self.recorded.saturating_record(latency.as_nanos() as u64);
    }

    /// Adds what another thread recorded: never an average of percentiles.
    pub fn merge(&mut self, other: &Histogram) {
        if let Err(error) = self.recorded.add(&other.recorded) {
            unreachable!("all histograms have the same bounds: {error}");
        }
    }

    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.recorded.reset();
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.recorded.len()
    }

    /// The shortest, zero if there is none.
    pub fn min(&self) -> Duration {
        Duration::from_nanos(self.recorded.min())
    }

    /// The longest, zero if there is none.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.recorded.max())
    }

    /// The mean, zero if there is none.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.recorded.mean() as u64)
    }

    /// The latency that `percent` of the messages did not exceed; none where fewer than ten samples lie beyond it.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        (self.count() >= samples_needed(percent))
            .then(|| Duration::from_nanos(self.recorded.value_at_percentile(percent).min(self.recorded.max())))
    }
}

/// How many samples a percentile needs before it may be stated.
pub fn samples_needed(percent: f64) -> u64 {
    // Rounded first: 100 - 99.9 is a little more than 0.1 in binary.
    (SAMPLES_BEYOND * 100.0 / (100.0 - percent) - 1e-6).ceil() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it() {
        for (percent, needed) in [(50.0, 20), (90.0, 100), (99.0, 1000), (99.9, 10_000), (99.99, 100_000)] {
            assert_eq!(samples_needed(percent), needed, "p{percent}");
        }
        let mut histogram = Histogram::default();
        for _ in 0..999 {
            histogram.record(Duration::from_micros(10));
        }
        assert_eq!(histogram.percentile(99.0), None);
        histogram.record(Duration::from_micros(10));
        assert!(histogram.percentile(99.0).is_some());
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_secs(100_000));
        assert_eq!(histogram.count(), 1);
        assert!(histogram.max() >= Duration::from_secs(59));
    }

    /// Equal to three digits.
    fn close(found: Duration, exact_ns: u64) -> bool {
        (found.as_nanos() as f64 - exact_ns as f64).abs() <= exact_ns as f64 * 0.001 + 1.0
    }

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_samples(mut samples in proptest::collection::vec(1_u64..1_000_000_000, 1000..2000)) {
            let mut halves = [Histogram::default(), Histogram::default()];
            for (index, sample) in samples.iter().enumerate() {
                halves[index % 2].record(Duration::from_nanos(*sample));
            }
            let [mut whole, other] = halves;
            whole.merge(&other);
            samples.sort_unstable();
            prop_assert_eq!(whole.count(), samples.len() as u64);
            prop_assert!(close(whole.min(), samples[0]) && close(whole.max(), samples[samples.len() - 1]));
            for percent in [50.0, 90.0, 99.0] {
                let rank = (percent / 100.0 * samples.len() as f64).ceil() as usize;
                let (found, exact) = (whole.percentile(percent).unwrap(), samples[rank - 1]);
                prop_assert!(close(found, exact), "p{percent}: {found:?} is not {exact} ns");
            }
        }
    }
}
