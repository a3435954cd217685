//! When a run is warm: the rule, over the medians of its first slices.
//!
//! Owns the rule. Must not know how a slice is filled. Trade-off: the first round trips find cold caches, a CPU that has not
//! found its frequency and a small congestion window; how long that lasts nobody knows beforehand, and a fixed time is
//! either too long or too short. What does not settle is said, and measured all the same.

use std::time::Duration;

/// As many medians in a row must agree.
const SETTLED: usize = 5;
/// So closely: the longest is at most this share longer than the shortest.
const SPREAD: f64 = 0.05;
/// Fewer samples have no median worth comparing.
const SAMPLES_IN_SLICE: u64 = 5;
/// So long at least, and so many messages.
const TIME_MIN: Duration = Duration::from_millis(200);
const SAMPLES_MIN: u64 = 1000;
/// So long at most: what has not settled then will not.
pub const TIME_MAX: Duration = Duration::from_secs(5);

/// How a run is warmed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarmUp {
    /// Not at all.
    None,
    /// So long.
    Fixed(Duration),
    /// Until it settles, at most so long.
    Auto(Duration),
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There was none, or it was for a fixed time.
    #[default]
    Fixed,
    /// The medians agreed.
    Settled,
    /// They did not, in all the time there was.
    NotSettled,
}

/// The slices of a warm-up so far.
#[derive(Debug, Default)]
pub struct Watch {
    medians: Vec<f64>,
    samples: u64,
    slices: u32,
}

impl Watch {
    /// One more slice has ended: its median, in nanoseconds, and how many samples that is of.
    pub fn add(&mut self, median_ns: Option<f64>, samples: u64) {
        self.slices += 1;
        self.samples += samples;
        match median_ns {
            Some(median) if samples >= SAMPLES_IN_SLICE => self.medians.push(median),
            // A slice in which next to nothing came back is no agreement.
            _ => self.medians.clear(),
        }
    }

    /// Whether the last medians agree and have no direction.
    pub fn is_settled(&self, slice: Duration) -> bool {
        if slice * self.slices < TIME_MIN || self.samples < SAMPLES_MIN || self.medians.len() < SETTLED {
            return false;
        }
        let last = &self.medians[self.medians.len() - SETTLED..];
        let (min, max) =
            last.iter().fold((f64::MAX, 0.0_f64), |(min, max), median| (min.min(*median), max.max(*median)));
        let rises = last.windows(2).all(|pair| pair[0] < pair[1]);
        let falls = last.windows(2).all(|pair| pair[0] > pair[1]);
        max <= min * (1.0 + SPREAD) && !rises && !falls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_warm_when_five_medians_agree_and_have_no_direction() {
        let slice = Duration::from_millis(50);
        for (medians, samples, settled) in [
            (&[14.0, 14.1, 14.0, 14.2, 14.1][..], 1000, true),
            (&[90.0, 50.0, 14.0, 14.1, 14.0, 14.2, 14.1], 1000, true),
            (&[14.0, 14.1, 14.0, 14.2], 1000, false),
            (&[14.0, 14.1, 14.0, 14.2, 15.0], 1000, false),
            (&[14.0, 14.1, 14.2, 14.3, 14.4], 1000, false),
            (&[14.4, 14.3, 14.2, 14.1, 14.0], 1000, false),
            (&[14.0, 14.1, 14.0, 14.2, 14.1], 100, false),
            (&[14.0, 14.1, f64::NAN, 14.2, 14.1, 14.0], 1000, false),
        ] {
            let mut watch = Watch::default();
            for median in medians {
                watch.add((!median.is_nan()).then_some(*median), samples);
            }
            assert_eq!(watch.is_settled(slice), settled, "{medians:?}");
        }
    }
}
