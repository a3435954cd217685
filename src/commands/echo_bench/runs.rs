//! Several runs of one plan: each by itself, what they are together, and whether they agree.
//!
//! Owns the comparison of runs with each other. Must not know how one is made. Trade-off: together they are one histogram,
//! never an average of percentiles; how far they lie apart is told beside it.

use serde::Serialize;

use super::collector::Measured;
use crate::histogram::Value;
use crate::units::microseconds;

/// Runs that lie this much further apart than one run's own uncertainty belong to different states of the machine.
const UNSTABLE_FACTOR: f64 = 2.0;

/// Less than this is no difference that anybody would act on.
const UNSTABLE_SHARE: f64 = 0.05;

/// One run, in short.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Messages answered.
    pub round_trips: u64,
    /// The same a second.
    pub round_trips_per_s: f64,
    /// Null if it is unknown or infinite.
    pub p50_us: Option<f64>,
    /// Null if it is unknown or infinite.
    pub p99_us: Option<f64>,
    /// How wide the 95 % interval of its p50 is.
    p50_interval_us: Option<f64>,
    /// Messages lost.
    pub lost: u64,
}

/// Several runs, in short.
#[derive(Debug, Clone, Serialize)]
pub struct Runs {
    /// Each.
    pub runs: Vec<Run>,
    /// From the lowest p50 to the highest, as a share of the lowest.
    pub p50_spread: Option<f64>,
    /// They disagree by more than each is unsure of itself.
    pub unstable: bool,
}

impl Run {
    /// What one run has measured.
    pub fn of(measured: &Measured) -> Run {
        let us = |percent| measured.response.percentile(percent).map(microseconds);
        let interval = measured.response.estimate(50.0).and_then(|estimate| {
            let resampled = measured.series.intervals(&[50.0]).map(|ends| ends[0]);
            let (low, high) = resampled.unwrap_or((estimate.low, estimate.high));
            match (low.min(estimate.low), high.max(estimate.high)) {
                (Value::Finite(low), Value::Finite(high)) => Some(microseconds(high.saturating_sub(low))),
                _ => None,
            }
        });
        let seconds = measured.elapsed.as_secs_f64();
        let count = measured.response.count();
        Run {
            round_trips: count,
            round_trips_per_s: if seconds > 0.0 { count as f64 / seconds } else { 0.0 },
            p50_us: us(50.0),
            p99_us: us(99.0),
            p50_interval_us: interval,
            lost: measured.response.lost(),
        }
    }
}

impl Runs {
    /// These runs, compared.
    pub fn of(runs: Vec<Run>) -> Runs {
        let known: Vec<f64> = runs.iter().filter_map(|run| run.p50_us).collect();
        let (low, high) = known.iter().fold((f64::MAX, 0.0_f64), |(low, high), p50| (low.min(*p50), high.max(*p50)));
        // The middle one: a single run that was disturbed is unsure of itself, and must not hide that the others disagree with it.
        let mut intervals: Vec<f64> = runs.iter().filter_map(|run| run.p50_interval_us).collect();
        intervals.sort_unstable_by(f64::total_cmp);
        let own = intervals.get(intervals.len() / 2).copied().unwrap_or(0.0);
        let is_known = known.len() > 1;
        let unstable = is_known && high - low > (own * UNSTABLE_FACTOR).max(low * UNSTABLE_SHARE);
        Runs { p50_spread: is_known.then(|| (high - low) / low), unstable, runs }
    }
}

/// All runs as one.
pub fn together(runs: Vec<Measured>) -> Measured {
    let mut all = runs.into_iter();
    let mut sum = all.next().unwrap_or_default();
    for run in all {
        sum.response.merge(&run.response);
        if let (Some(sum), Some(planned)) = (&mut sum.planned, &run.planned) {
            sum.service.merge(&planned.service);
            sum.send_delay.merge(&planned.send_delay);
        }
        if let (Some(sum), Some(connects)) = (&mut sum.connects, &run.connects) {
            sum.merge(connects);
        }
        sum.errors.add(&run.errors);
        sum.series.append(run.series);
        sum.sent += run.sent;
        sum.sent_late += run.sent_late;
        sum.discarded += run.discarded;
        sum.answered_bytes += run.answered_bytes;
        sum.elapsed += run.elapsed;
        sum.warm_up += run.warm_up;
        sum.is_interrupted |= run.is_interrupted;
        sum.settled = sum.settled.max(run.settled);
        sum.failure = sum.failure.or(run.failure);
        if let (Some(sum), Some(usage)) = (&mut sum.usage, &run.usage) {
            sum.add(usage);
        }
        sum.receive_drops = sum.receive_drops.zip(run.receive_drops).map(|(one, other)| one + other);
        sum.tcp_at_start.extend(run.tcp_at_start);
        sum.tcp.extend(run.tcp);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(p50_us: f64, interval_us: f64) -> Run {
        Run {
            round_trips: 1000,
            round_trips_per_s: 1000.0,
            p50_us: Some(p50_us),
            p99_us: None,
            p50_interval_us: Some(interval_us),
            lost: 0,
        }
    }

    #[test]
    fn runs_are_unstable_when_they_disagree_by_more_than_they_are_unsure() {
        for (p50s, intervals, unstable) in [
            (&[14.0, 14.1, 14.2][..], &[0.01; 3][..], false),
            (&[14.0, 70.0, 14.1], &[0.5; 3], true),
            (&[14.0, 16.0, 14.1], &[0.5; 3], true),
            (&[14.0, 16.0, 14.1], &[3.0; 3], false),
            (&[14.0, 70.0, 14.1], &[0.5, 60.0, 0.5], true),
            (&[14.0, 16.0], &[0.5, 3.0], false),
            (&[14.0], &[0.1], false),
        ] {
            let runs = Runs::of(p50s.iter().zip(intervals).map(|(p50, interval)| run(*p50, *interval)).collect());
            assert_eq!(runs.unstable, unstable, "{p50s:?} {intervals:?}");
        }
    }
}
