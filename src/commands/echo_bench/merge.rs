//! Results of several machines, or of several times, added up: `--merge A B ...`.
//!
//! Owns the reading of both forms, `--save`'s and the HdrHistogram log. Must not know how a result came about. Trade-off:
//! histograms add up exactly, rates as if all had been measured at one time; percentiles are never averaged.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde::Serialize;

use super::arguments::OutcomeArgs;
use super::baseline::{self, Change, Saved};
use super::collector::Measured;
use super::objective::Verdict;
use super::report::{Distribution, PERCENTILES};
use super::tally::Errors;
use crate::base64;
use crate::cli::UsageError;
use crate::exit::Status;
use crate::histogram::Histogram;

/// The name and version of the JSON object.
const SCHEMA: &str = "sockkit.echo-bench.merged/1";

/// How a HdrHistogram log begins.
const LOG_MARK: &str = "#[";

/// Several results as one.
#[derive(Debug, Serialize)]
pub struct Merged {
    schema: &'static str,
    version: &'static str,
    /// Each file.
    pub files: Vec<Part>,
    /// In all.
    pub round_trips: u64,
    /// The sum of the rates.
    pub round_trips_per_s: f64,
    /// Of all messages.
    pub round_trip: Distribution,
    /// With --slo: each condition.
    pub objectives: Vec<Verdict>,
    /// With --baseline: each percentile, then and now.
    pub changes: Vec<Change>,
    /// With --fail-on-regression: something is worse by more than that.
    pub regression: Option<bool>,
}

/// One file.
#[derive(Debug, Serialize)]
pub struct Part {
    /// Its name.
    pub file: String,
    /// Messages answered.
    pub round_trips: u64,
    /// The same a second.
    pub round_trips_per_s: f64,
    /// Messages lost; a HdrHistogram log does not say.
    pub lost: u64,
}

impl Merged {
    /// The status that follows.
    pub fn status(&self) -> Status {
        let is_met = self.objectives.iter().all(|verdict| verdict.holds);
        if is_met && self.regression != Some(true) { Status::Done } else { Status::CheckFailed }
    }
}

/// Reads these files and adds them up, judges the sum, and compares their runs with those of a baseline.
pub fn merge(args: &OutcomeArgs) -> Result<Merged> {
    let mut all = Histogram::default();
    let mut files = Vec::new();
    let mut runs = Vec::new();
    let baseline = args.baseline.as_deref().map(Saved::read).transpose()?;
    for path in &args.merge {
        let mut one = Histogram::default();
        let seconds = match read(path)? {
            File::Saved(saved) => {
                if let (Some(baseline), Some(then)) = (&baseline, &args.baseline) {
                    baseline.must_be_like(then, path.display(), &saved.settings)?;
                }
                let seconds = add_saved(path, &saved, &mut one)?;
                runs.extend(saved.runs);
                seconds
            }
            File::Log(_) if baseline.is_some() => {
                let why = "is a HdrHistogram log, which has no runs to compare with a baseline's";
                return Err(UsageError(format!("{} {why}", path.display())).into());
            }
            File::Log(text) => add_log(path, &text, &mut one)?,
        };
        let rate = if seconds > 0.0 { one.count() as f64 / seconds } else { 0.0 };
        files.push(Part {
            file: path.display().to_string(),
            round_trips: one.count(),
            round_trips_per_s: rate,
            lost: one.lost(),
        });
        all.merge(&one);
    }
    let changes = baseline.map_or(Vec::new(), |baseline| baseline::compare(&baseline.runs, &runs));
    let rate: f64 = files.iter().map(|file| file.round_trips_per_s).sum();
    Ok(Merged {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        round_trips: all.count(),
        round_trips_per_s: rate,
        files,
        round_trip: Distribution::of(&all, &PERCENTILES, None),
        regression: args.fail_on_regression.map(|limit| baseline::is_regression(&changes, limit)),
        changes,
        objectives: args.slo.iter().map(|objective| objective.judge(&as_measured(all.clone(), rate))).collect(),
    })
}

/// As if one machine had done it, at the rate of all of them together.
fn as_measured(response: Histogram, rate: f64) -> Measured {
    let elapsed = if rate > 0.0 { Duration::from_secs_f64(response.count() as f64 / rate) } else { Duration::ZERO };
    let errors = Errors { lost: response.lost(), ..Errors::default() };
    Measured { response, errors, elapsed, ..Measured::default() }
}

/// What a file holds.
enum File {
    Saved(Box<Saved>),
    Log(String),
}

fn read(path: &Path) -> Result<File> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    if text.starts_with(LOG_MARK) {
        Ok(File::Log(text))
    } else {
        Saved::read(path).map(|saved| File::Saved(Box::new(saved)))
    }
}

/// Adds a result's latencies, and says how many seconds they took.
fn add_saved(path: &Path, saved: &Saved, sum: &mut Histogram) -> Result<f64> {
    let mut seconds = 0.0;
    for run in &saved.runs {
        add(path, &run.histogram, sum)?;
        sum.record_lost(run.lost);
        seconds += run.elapsed_ms / 1e3;
    }
    Ok(seconds)
}

/// The same of a log.
fn add_log(path: &Path, text: &str, sum: &mut Histogram) -> Result<f64> {
    let mut seconds = 0.0;
    for entry in IntervalLogIterator::new(text.as_bytes()) {
        match entry {
            Ok(LogEntry::Interval(interval)) => {
                add(path, interval.encoded_histogram(), sum)?;
                seconds += interval.duration().as_secs_f64();
            }
            Ok(_) => {}
            Err(_) => return Err(UsageError(format!("{} is not a HdrHistogram log", path.display())).into()),
        }
    }
    Ok(seconds)
}

fn add(path: &Path, text: &str, sum: &mut Histogram) -> Result<()> {
    let refuse = || UsageError(format!("{} holds something that is not a histogram", path.display()));
    let bytes = base64::decode(text).ok_or_else(refuse)?;
    sum.merge_encoded(&bytes).map_err(|_| refuse().into())
}
