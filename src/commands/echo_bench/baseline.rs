//! Results that are kept, and the verdict on a new one beside them.
//!
//! Owns the file and the comparison. Must not know how a result came about. Trade-off: runs are compared, not messages:
//! what differs between runs of one and the same thing (placement, caches, neighbours) is larger than what the many
//! messages of one run know; so it takes several runs on either side, and 95 % confidence over all that is compared, to
//! call something worse.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::collector::Measured;
use super::report::Settings;
use super::runs::Run;
use crate::cli::UsageError;
use crate::random::Random;
use crate::units::milliseconds;

/// The name and version of the file.
const SCHEMA: &str = "sockkit.echo-bench.saved/1";

/// Fewer runs say nothing about how runs differ.
const RUNS_MIN: usize = 3;

/// A change smaller than this is noise, however sure it is.
const NOISE: f64 = 0.01;

/// An interval wider than this to either side says nothing.
const WIDE: f64 = 0.10;

/// As many resamples settle the interval's ends.
const RESAMPLES: usize = 4000;

/// One resample of so many lies beyond either end: 97.5 % confidence for each of the two percentiles that are compared, so
/// that both together are wrong about nothing in 95 of 100 (Bonferroni).
const TAIL: usize = 80;

/// A saved result.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    schema: String,
    version: String,
    /// What was measured.
    pub target: String,
    /// How.
    pub settings: Settings,
    /// Each run.
    pub runs: Vec<SavedRun>,
}

/// One run of it. A percentile is null where it is unknown or infinite.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedRun {
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    round_trips_per_s: f64,
    /// How long it was.
    pub elapsed_ms: f64,
    /// Messages lost.
    pub lost: u64,
    /// The response's histogram: HdrHistogram's V2 encoding, compressed, in base64.
    pub histogram: String,
}

impl SavedRun {
    /// One run.
    pub fn of(measured: &Measured) -> Result<SavedRun> {
        let run = Run::of(measured);
        Ok(SavedRun {
            p50_us: run.p50_us,
            p99_us: run.p99_us,
            round_trips_per_s: run.round_trips_per_s,
            elapsed_ms: milliseconds(measured.elapsed),
            lost: run.lost,
            histogram: crate::base64::encode(&measured.response.encode()?),
        })
    }
}

impl Saved {
    /// These runs.
    pub fn new(target: String, settings: Settings, runs: Vec<SavedRun>) -> Saved {
        Saved { schema: SCHEMA.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), target, settings, runs }
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Saved> {
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("read {name}"))?;
        let refuse = || UsageError(format!("{name} was not written by echo-bench --save"));
        let saved: Saved = serde_json::from_str(&text).map_err(|_| refuse())?;
        if saved.schema == SCHEMA { Ok(saved) } else { Err(refuse().into()) }
    }

    /// Writes it.
    pub fn write(&self, file: &mut File) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        file.write_all(text.as_bytes()).context("write the result")
    }

    /// Refuses what cannot be compared: a difference in what was measured is no difference in how quick it is.
    pub fn must_be_like(&self, path: &Path, other: impl fmt::Display, settings: &Settings) -> Result<(), UsageError> {
        let (old, new) = (&self.settings, settings);
        let rows = [
            ("protocol", old.transport.clone(), new.transport.clone()),
            ("loop", old.pacing.clone(), new.pacing.clone()),
            ("connections", old.connections.to_string(), new.connections.to_string()),
            ("length", old.lengths.clone(), new.lengths.clone()),
            ("window", shown(old.window), shown(new.window)),
            ("rate", shown(old.rate_per_s), shown(new.rate_per_s)),
            ("arrival", shown(old.arrival.as_ref()), shown(new.arrival.as_ref())),
            ("reconnect", shown(old.reconnect), shown(new.reconnect)),
        ];
        match rows.into_iter().find(|(_, old, new)| old != new) {
            None => Ok(()),
            Some((what, old, new)) => Err(UsageError(format!(
                "{} cannot be compared with {other}: its {what} is {old}, and here {new}",
                path.display()
            ))),
        }
    }
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

/// What a change comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Quicker, surely.
    Better,
    /// Slower, surely.
    Worse,
    /// No change that matters.
    NoChange,
    /// The runs are too few, or differ too much among themselves.
    Inconclusive,
}

/// One percentile, then and now.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// Which.
    pub metric: &'static str,
    /// The median of the runs then; null if it is unknown or infinite.
    pub baseline_us: Option<f64>,
    /// And now.
    pub current_us: Option<f64>,
    /// The change, as a share of the baseline, and its interval at 97.5 % confidence.
    pub change: Option<f64>,
    /// Its lower end.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// What it comes to.
    pub verdict: Verdict,
}

/// The verdict on each percentile.
pub fn compare(then: &[SavedRun], now: &[SavedRun]) -> Vec<Change> {
    let of =
        |runs: &[SavedRun], get: fn(&SavedRun) -> Option<f64>| -> Vec<f64> { runs.iter().filter_map(get).collect() };
    let p50: fn(&SavedRun) -> Option<f64> = |run| run.p50_us;
    let p99: fn(&SavedRun) -> Option<f64> = |run| run.p99_us;
    [("p50", p50), ("p99", p99)]
        .into_iter()
        .map(|(metric, get)| change(metric, &of(then, get), &of(now, get)))
        .collect()
}

/// Whether something is surely worse, and by so much.
pub fn is_regression(changes: &[Change], limit: f64) -> bool {
    let is_bad = |change: &Change| change.verdict == Verdict::Worse && change.change.is_some_and(|size| size >= limit);
    changes.iter().any(is_bad)
}

fn change(metric: &'static str, then: &[f64], now: &[f64]) -> Change {
    let known = |values: &[f64]| (!values.is_empty()).then(|| median(&mut values.to_vec()));
    let (baseline_us, current_us) = (known(then), known(now));
    let mut change =
        Change { metric, baseline_us, current_us, change: None, low: None, high: None, verdict: Verdict::Inconclusive };
    let (Some(baseline), Some(current)) = (baseline_us, current_us) else { return change };
    change.change = Some(current / baseline - 1.0);
    let (then, now) = (without_outliers(then), without_outliers(now));
    if then.len() < RUNS_MIN || now.len() < RUNS_MIN {
        return change;
    }
    let mut random = Random::new(RESAMPLES as u64, 0);
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| resampled_median(&now, &mut random) / resampled_median(&then, &mut random) - 1.0)
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let (low, high) = (ratios[RESAMPLES / TAIL], ratios[RESAMPLES - 1 - RESAMPLES / TAIL]);
    (change.low, change.high) = (Some(low), Some(high));
    change.verdict = if low > NOISE {
        Verdict::Worse
    } else if high < -NOISE {
        Verdict::Better
    } else if low > -WIDE && high < WIDE {
        Verdict::NoChange
    } else {
        Verdict::Inconclusive
    };
    change
}

/// The runs without the one in five, at most, that something else disturbed: its modified z-score (Iglewicz and Hoaglin
/// 1993) is beyond 3.5. Where more stand apart they are no accident, and all stay.
fn without_outliers(values: &[f64]) -> Vec<f64> {
    /// What makes a median of deviations comparable with a standard deviation.
    const NORMAL: f64 = 0.6745;
    const OUTLYING: f64 = 3.5;
    let middle = median(&mut values.to_vec());
    let mut deviations: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    // Runs that agree to the digit make nothing an outlier that is within the noise.
    let typical = median(&mut deviations).max(middle * NOISE);
    let kept: Vec<f64> =
        values.iter().copied().filter(|value| NORMAL * (value - middle).abs() / typical <= OUTLYING).collect();
    if (values.len() - kept.len()) * 5 <= values.len() { kept } else { values.to_vec() }
}

fn resampled_median(values: &[f64], random: &mut Random) -> f64 {
    let mut drawn: Vec<f64> = values.iter().map(|_| values[random.below(values.len() as u64) as usize]).collect();
    median(&mut drawn)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Histogram;

    fn runs(p50s: &[f64]) -> Vec<SavedRun> {
        let run = |p50: &f64| SavedRun {
            p50_us: Some(*p50),
            p99_us: Some(p50 * 1.5),
            round_trips_per_s: 1e6 / p50,
            elapsed_ms: 1000.0,
            lost: 0,
            histogram: String::new(),
        };
        p50s.iter().map(run).collect()
    }

    fn verdict(then: &[f64], now: &[f64]) -> Verdict {
        compare(&runs(then), &runs(now))[0].verdict
    }

    #[test]
    fn a_verdict_takes_several_runs_and_a_clear_difference() {
        let steady = [14.0, 14.1, 14.05, 14.02, 14.08];
        for (then, now, expected) in [
            (&steady[..], &steady[..], Verdict::NoChange),
            (&steady, &[15.4, 15.5, 15.45, 15.42, 15.48], Verdict::Worse),
            (&steady, &[12.6, 12.7, 12.65, 12.62, 12.68], Verdict::Better),
            (&steady, &[14.1, 14.15, 14.12, 14.1, 14.11], Verdict::NoChange),
            (&steady, &[14.0, 14.1, 70.0, 14.05, 14.02], Verdict::NoChange),
            (&steady, &[14.0, 70.0, 14.1, 71.0, 69.0], Verdict::Inconclusive),
            (&steady, &[20.0, 20.0], Verdict::Inconclusive),
            (&steady, &[], Verdict::Inconclusive),
        ] {
            assert_eq!(verdict(then, now), expected, "{now:?}");
        }
    }

    /// Sixty runs of 400 ms, one after the other, of one build against its own server on one CPU of a busy machine, as --save
    /// has kept them; each latency of every histogram made longer by this factor.
    fn recorded(factor: f64) -> Vec<SavedRun> {
        let saved: Saved = serde_json::from_str(include_str!("../../../tests/recorded/sixty_runs.json")).unwrap();
        let made_longer = |run: &SavedRun| {
            let (mut kept, mut measured) = (Histogram::default(), Measured::default());
            kept.merge_encoded(&crate::base64::decode(&run.histogram).unwrap()).unwrap();
            for (ns, count) in kept.buckets() {
                measured.response.record_many((ns as f64 * factor) as u64, count);
            }
            SavedRun::of(&measured).unwrap()
        };
        saved.runs.iter().map(made_longer).collect()
    }

    #[test]
    fn a_recorded_run_is_kept_with_its_percentiles() {
        let saved: Saved = serde_json::from_str(include_str!("../../../tests/recorded/sixty_runs.json")).unwrap();
        for (kept, read) in saved.runs.iter().zip(recorded(1.0)) {
            assert_eq!((kept.p50_us, kept.p99_us), (read.p50_us, read.p99_us));
        }
    }

    #[test]
    fn nothing_changed_is_never_called_worse_and_ten_percent_is_found() {
        let [as_they_were, slower] = [1.0, 1.1].map(recorded);
        assert_eq!(as_they_were.len(), 60);
        let mut random = Random::new(11, 0);
        let mut draw = |runs: &[SavedRun]| -> Vec<SavedRun> {
            (0..5).map(|_| runs[random.below(runs.len() as u64) as usize].clone()).collect()
        };
        let (mut falsely_worse, mut found) = (0, 0);
        for _ in 0..100 {
            falsely_worse += u32::from(is_regression(&compare(&draw(&as_they_were), &draw(&as_they_were)), 0.0));
            found += u32::from(is_regression(&compare(&draw(&as_they_were), &draw(&slower)), 0.05));
        }
        assert!(falsely_worse <= 5 && found >= 95, "{falsely_worse} {found}");
    }

    #[test]
    fn runs_that_took_turns_are_told_apart_as_well() {
        // As they were made, one by one: what the machine did to one, it did to its neighbours.
        let [as_they_were, slower] = [1.0, 1.1].map(recorded);
        let every_other = |runs: &[SavedRun]| -> Vec<SavedRun> { runs.iter().step_by(2).cloned().collect() };
        let (mut falsely_worse, mut found, mut pairs) = (0, 0, 0);
        for (then, now) in as_they_were.windows(10).zip(slower.windows(10)) {
            pairs += 1;
            falsely_worse += u32::from(is_regression(&compare(&every_other(then), &every_other(&then[1..])), 0.0));
            found += u32::from(is_regression(&compare(&every_other(then), &every_other(&now[1..])), 0.05));
        }
        assert!(falsely_worse * 20 <= pairs && found * 20 >= pairs * 19, "{falsely_worse} {found} of {pairs}");
    }
}
