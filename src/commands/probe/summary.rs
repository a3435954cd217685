//! What a run amounts to: counts, times, and statistics of what was measured several times.
//!
//! Owns the arithmetic. Must not know formats. Trade-off: a histogram for each target is exact to three digits in 216 KiB;
//! beyond a few dozen targets they are measured together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::verdict::{Series, State, Tally, Verdict};
use crate::histogram::Histogram;

/// More targets than anybody reads lines of; their histograms take 14 MiB.
const APART_MAX: usize = 64;

/// The end of a run.
#[derive(Debug)]
pub struct Summary {
    /// The verdicts.
    pub tally: Tally,
    /// What was measured several times, in the order of the command line.
    pub statistics: BTreeMap<Series, Statistics>,
    /// Targets that were begun and cut off without a verdict, by a signal.
    pub unfinished: u64,
    /// That signal's number.
    pub stopped_by: Option<u8>,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether there were more targets than a person reads line by line.
    pub is_many: bool,
}

impl Summary {
    /// Whether every target was probed to its end.
    pub fn is_complete(&self) -> bool {
        self.unfinished == 0 && self.tally.untried == 0
    }

    /// Whether a person wants the counts.
    pub fn is_worth_telling(&self) -> bool {
        self.is_many || !self.is_complete()
    }
}

/// Measurements of one target, or of all that are beyond the first few.
#[derive(Debug)]
pub struct Statistics {
    /// As it was typed.
    pub target: String,
    /// Its address, where each is a target of its own.
    pub address: Option<String>,
    /// How many measurements.
    pub attempts: u64,
    /// How many of them were open. Only these have times.
    pub open: u64,
    times: Histogram,
    last: Option<Duration>,
    /// The sum of the differences between one time and the next.
    varied: Duration,
}

impl Statistics {
    fn new(target: String, address: Option<String>) -> Statistics {
        let (times, varied) = (Histogram::default(), Duration::ZERO);
        Statistics { target, address, attempts: 0, open: 0, times, last: None, varied }
    }

    /// Counts a measurement.
    fn add(&mut self, verdict: &Verdict) {
        self.attempts += 1;
        if verdict.state() != State::Open {
            return;
        }
        self.open += 1;
        self.times.record(verdict.elapsed);
        if let Some(last) = self.last.replace(verdict.elapsed) {
            self.varied += verdict.elapsed.abs_diff(last);
        }
    }

    /// The shortest time.
    pub fn min(&self) -> Duration {
        self.times.min()
    }

    /// The mean.
    pub fn mean(&self) -> Duration {
        self.times.mean()
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        self.times.max()
    }

    /// A percentile, where there are enough measurements for it.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        self.times.percentile(percent)
    }

    /// The mean difference between one time and the next; none with fewer than two.
    pub fn jitter(&self) -> Option<Duration> {
        let differences = u32::try_from(self.open.checked_sub(1)?).ok().filter(|differences| *differences > 0)?;
        Some(self.varied / differences)
    }
}

/// Counts a measurement of a target.
pub fn measure(statistics: &mut BTreeMap<Series, Statistics>, verdict: &Verdict) {
    let series = verdict.series();
    let is_apart = statistics.contains_key(&series) || statistics.len() < APART_MAX;
    let (series, name) =
        if is_apart { (series, verdict.target.to_string()) } else { ((u64::MAX, None), "the others".to_owned()) };
    let address = series.1.clone();
    statistics.entry(series).or_insert_with(|| Statistics::new(name, address)).add(verdict);
}
