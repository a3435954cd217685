//! Latencies recorded at three digits in constant memory, merged, and their percentiles as far as the sample supports them.
//!
//! Owns the rule of which percentiles may be stated, and how sure they are. Must not know what was measured. Trade-off:
//! three digits and one nanosecond's resolution up to a minute take 216 KiB for each thread that records; four digits
//! would leave the cache.

use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// A minute: no timeout of a single message is longer, and what is, is counted as a minute.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// 0.1 %: a fifth of what a clock read adds to the shortest round trip of a machine.
const DIGITS: u8 = 3;

/// With fewer samples beyond it a percentile is the story of those few.
const SAMPLES_BEYOND: f64 = 10.0;

/// Standard deviations to either side that hold 95 % of a normal distribution, and a binomial one at these counts.
const DEVIATIONS: f64 = 1.96;

/// A distribution of latencies. What was lost is in it too, as infinitely long.
#[derive(Debug, Clone)]
pub struct Histogram {
    recorded: Hdr<u64>,
    lost: u64,
}

/// A latency, or what was lost. Ordered: nothing is longer than for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// So long.
    Finite(Duration),
    /// No answer came.
    Infinite,
}

/// A percentile and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// The percentile of the sample, by nearest rank.
    pub value: Value,
    /// The lower end of its interval at 95 % confidence.
    pub low: Value,
    /// The upper end.
    pub high: Value,
}

impl Default for Histogram {
    fn default() -> Histogram {
        match Hdr::new_with_bounds(1, LATENCY_MAX_NS, DIGITS) {
            Ok(recorded) => Histogram { recorded, lost: 0 },
            Err(error) => unreachable!("the bounds are constants: {error}"),
        }
    }
}

impl Histogram {
    /// Records one latency.
    #[inline]
    pub fn record(&mut self, latency: Duration) {
        self.record_ns(latency.as_nanos() as u64);
    }

    /// Records one latency, in nanoseconds.
    #[inline]
    pub fn record_ns(&mut self, latency_ns: u64) {
        self.recorded.saturating_record(latency_ns);
    }

    /// Records `count` latencies of one length.
    pub fn record_many(&mut self, latency_ns: u64, count: u64) {
        self.recorded.saturating_record_n(latency_ns, count);
    }

    /// Records messages that were never answered.
    pub fn record_lost(&mut self, count: u64) {
        self.lost = self.lost.wrapping_add(count);
    }

    /// Takes one back that was given up too early. What was given up in one interval may come back in the next, so that the
    /// sum over the intervals is right and not each of them: the subtraction wraps, and so does the sum.
    pub fn unrecord_lost(&mut self) {
        self.lost = self.lost.wrapping_sub(1);
    }

    /// Adds what another thread recorded: never an average of percentiles.
    pub fn merge(&mut self, other: &Histogram) {
        if let Err(error) = self.recorded.add(&other.recorded) {
            unreachable!("all histograms have the same bounds: {error}");
        }
        self.lost = self.lost.wrapping_add(other.lost);
    }

    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.recorded.reset();
        self.lost = 0;
    }

    /// How many latencies were recorded, without what was lost.
    pub fn count(&self) -> u64 {
        self.recorded.len()
    }

    /// How many were lost.
    pub fn lost(&self) -> u64 {
        without_debt(self.lost)
    }

    /// The same of one interval, as it adds up: with what was taken back.
    pub fn lost_in_slice(&self) -> u64 {
        self.lost
    }

    /// How many there are in all.
    pub fn total(&self) -> u64 {
        self.count() + self.lost()
    }

    /// The shortest, zero if there is none.
    pub fn min(&self) -> Duration {
        Duration::from_nanos(self.recorded.min())
    }

    /// The longest, zero if there is none.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.recorded.max())
    }

    /// The mean of what was answered, zero if there is none.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.recorded.mean() as u64)
    }

    /// The latency that `percent` of the messages did not exceed; none where fewer than ten samples lie beyond it, or where
    /// it is infinite.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        match self.estimate(percent)?.value {
            Value::Finite(latency) => Some(latency),
            Value::Infinite => None,
        }
    }

    /// The latency that `percent` of the messages did not exceed, however few they are; none if there is no message.
    pub fn quantile(&self, percent: f64) -> Option<Value> {
        (self.total() > 0).then(|| self.at_rank(rank(percent, self.total())))
    }

    /// A percentile with its interval, by order statistics: the ranks between which the true one lies in 95 of 100 samples.
    /// None where fewer than ten samples lie beyond it.
    pub fn estimate(&self, percent: f64) -> Option<Estimate> {
        let total = self.total();
        if total < samples_needed(percent) {
            return None;
        }
        let share = percent / 100.0;
        let (middle, spread) = (total as f64 * share, DEVIATIONS * (total as f64 * share * (1.0 - share)).sqrt());
        let low = (middle - spread).floor().max(1.0) as u64;
        let high = ((middle + spread).ceil() as u64 + 1).min(total);
        Some(Estimate { value: self.at_rank(rank(percent, total)), low: self.at_rank(low), high: self.at_rank(high) })
    }

    /// The latency of rank `rank`, from 1.
    fn at_rank(&self, rank: u64) -> Value {
        let count = self.count();
        if rank > count {
            return Value::Infinite;
        }
        // Half a rank down, so that a rounding error cannot reach the next rank.
        let quantile = (rank as f64 - 0.5) / count as f64;
        Value::Finite(Duration::from_nanos(self.recorded.value_at_quantile(quantile).min(self.recorded.max())))
    }

    /// How many latencies there are of each length, in nanoseconds, from the shortest.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.recorded.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))
    }

    /// How many latencies lie from `low_ns` to `high_ns`, as exactly as three digits are.
    pub fn count_between(&self, low_ns: u64, high_ns: u64) -> u64 {
        self.recorded.count_between(low_ns, high_ns)
    }

    /// The bytes of HdrHistogram's V2 encoding, compressed. What was lost is not in it.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.recorded, &mut bytes).context("encode a histogram")?;
        Ok(bytes)
    }

    /// Adds what somebody has encoded, this program or another, at any precision.
    pub fn merge_encoded(&mut self, mut bytes: &[u8]) -> Result<()> {
        let other: Hdr<u64> = Deserializer::new().deserialize(&mut bytes).context("not a histogram in V2 encoding")?;
        for step in other.iter_recorded() {
            self.recorded.saturating_record_n(step.value_iterated_to(), step.count_at_value());
        }
        Ok(())
    }

    /// For the writer of the HdrHistogram log.
    pub fn recorded(&self) -> &Hdr<u64> {
        &self.recorded
    }
}

/// A count of one interval by itself that adds up by wrapping: one in which more came back late than was given up has lost
/// nothing.
pub fn without_debt(count: u64) -> u64 {
    count.cast_signed().max(0).cast_unsigned()
}

/// The nearest rank of a percentile, from 1.
pub fn rank(percent: f64, total: u64) -> u64 {
    // Less a little: 99.9 % of 1000 is 999.0000000000001 in binary, and not the last of them.
    ((percent / 100.0 * total as f64 - 1e-6).ceil() as u64).clamp(1, total.max(1))
}

/// How many samples a percentile needs before it may be stated.
pub fn samples_needed(percent: f64) -> u64 {
    // Rounded first: 100 - 99.9 is a little more than 0.1 in binary. Below the middle it is the lower tail that is thin.
    let tail = percent.min(100.0 - percent);
    (SAMPLES_BEYOND * 100.0 / tail - 1e-6).ceil() as u64
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

    #[test]
    fn what_was_lost_is_infinitely_long() {
        let mut histogram = Histogram::default();
        histogram.record_many(10_000, 990);
        histogram.record_lost(10);
        let finite = |percent| matches!(histogram.quantile(percent), Some(Value::Finite(_)));
        assert!(finite(50.0) && finite(99.0) && !finite(99.1));
        assert_eq!(histogram.percentile(99.0), Some(Duration::from_nanos(10_007)));
        assert_eq!(histogram.estimate(99.0).unwrap().high, Value::Infinite, "the interval reaches into what was lost");
        histogram.record_lost(1);
        assert_eq!(histogram.estimate(99.0).unwrap().value, Value::Infinite);
        histogram.unrecord_lost();
        assert_eq!(histogram.lost(), 10);
    }

    #[test]
    fn what_is_found_again_in_a_later_interval_is_right_in_the_sum() {
        let (mut first, mut second) = (Histogram::default(), Histogram::default());
        first.record_lost(1);
        second.unrecord_lost();
        assert_eq!((first.lost(), second.lost()), (1, 0));
        first.merge(&second);
        assert_eq!(first.lost(), 0);
    }

    #[test]
    fn an_encoded_histogram_adds_up_with_itself() {
        let mut histogram = Histogram::default();
        histogram.record_many(14_800, 900);
        histogram.record_many(1_000_000, 100);
        let bytes = histogram.encode().unwrap();
        histogram.merge_encoded(&bytes).unwrap();
        assert_eq!((histogram.count(), histogram.buckets().count()), (2000, 2));
        assert!(histogram.merge_encoded(b"something else").is_err());
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

        #[test]
        fn an_interval_holds_its_percentile(samples in proptest::collection::vec(1_u64..1_000_000, 100..3000), lost in 0_u64..50) {
            let mut histogram = Histogram::default();
            for sample in &samples {
                histogram.record_ns(*sample);
            }
            histogram.record_lost(lost);
            for percent in [10.0, 50.0, 90.0, 99.0] {
                if let Some(Estimate { value, low, high }) = histogram.estimate(percent) {
                    prop_assert!(low <= value && value <= high, "p{percent}");
                }
            }
        }
    }
}
