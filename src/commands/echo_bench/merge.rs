//! Results of several machines, or of several times, added up: `--merge A B ...`.
//!
//! Owns the reading of both forms, `--save`'s and the HdrHistogram log. Must not know how a result came about. Trade-off:
//! histograms add up exactly, rates as if all had been measured at one time; percentiles are never averaged.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde::Serialize;

use super::baseline::Saved;
use super::report::{Distribution, PERCENTILES};
use crate::base64;
use crate::cli::UsageError;
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

/// Reads these files and adds them up.
pub fn merge(paths: &[PathBuf]) -> Result<Merged> {
    let mut all = Histogram::default();
    let mut files = Vec::new();
    for path in paths {
        let mut one = Histogram::default();
        let seconds = read(path, &mut one)?;
        let rate = if seconds > 0.0 { one.count() as f64 / seconds } else { 0.0 };
        files.push(Part {
            file: path.display().to_string(),
            round_trips: one.count(),
            round_trips_per_s: rate,
            lost: one.lost(),
        });
        all.merge(&one);
    }
    Ok(Merged {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        round_trips: all.count(),
        round_trips_per_s: files.iter().map(|file| file.round_trips_per_s).sum(),
        files,
        round_trip: Distribution::of(&all, &PERCENTILES, None),
    })
}

/// Adds a file's latencies, and says how many seconds they took.
fn read(path: &Path, sum: &mut Histogram) -> Result<f64> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    if text.starts_with(LOG_MARK) { read_log(path, &text, sum) } else { read_saved(path, sum) }
}

fn read_saved(path: &Path, sum: &mut Histogram) -> Result<f64> {
    let mut seconds = 0.0;
    for run in Saved::read(path)?.runs {
        add(path, &run.histogram, sum)?;
        sum.record_lost(run.lost);
        seconds += run.elapsed_ms / 1e3;
    }
    Ok(seconds)
}

fn read_log(path: &Path, text: &str, sum: &mut Histogram) -> Result<f64> {
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
