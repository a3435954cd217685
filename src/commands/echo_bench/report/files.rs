//! The files that intervals are written to while they happen: CSV, and the HdrHistogram log.
//!
//! Owns both forms. Must not know when an interval is complete. Trade-off: the log's few lines of text are written here, and
//! not by the histogram's own writer, which would have to borrow the file for as long as the run lasts.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::super::collector::Interval;
use super::Line;
use crate::base64;

/// A latency of nanoseconds is in milliseconds when it is divided by this, as the log's readers do by default.
const MAX_VALUE_DIVISOR: f64 = 1e6;

/// A file to write to: made before the run, so that the run is not in vain.
pub fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("create {}", path.display()))
}

/// A row for each interval.
#[derive(Debug)]
pub struct Csv(File);

impl Csv {
    /// Writes the names of the columns.
    pub fn begin(mut file: File) -> Result<Csv> {
        writeln!(
            file,
            "run,from_ms,to_ms,sent,round_trips,round_trips_per_s,bytes_per_s_each_way,p50_us,p90_us,p99_us,max_us,lost,late,\
             duplicate,reordered,corrupt,truncated,refused,tcp_rtt_us,tcp_retransmitted_segments"
        )
        .context("write the CSV file")?;
        Ok(Csv(file))
    }

    /// Writes a row. What is unknown is empty.
    pub fn add(&mut self, line: &Line) -> Result<()> {
        let cell = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let (errors, tcp) = (&line.errors, line.tcp_info.as_ref());
        writeln!(
            self.0,
            "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
            line.run,
            line.from_ms,
            line.to_ms,
            line.sent,
            line.round_trips,
            line.round_trips_per_s,
            line.bytes_per_s_each_way,
            cell(line.p50_us),
            cell(line.p90_us),
            cell(line.p99_us),
            cell(line.max_us),
            errors.lost,
            errors.late,
            errors.duplicate,
            errors.reordered,
            errors.corrupt,
            errors.truncated,
            errors.refused,
            cell(tcp.map(|tcp| tcp.rtt_us.into())),
            cell(tcp.map(|tcp| tcp.retransmitted_segments as f64)),
        )
        .context("write the CSV file")
    }
}

/// A HdrHistogram log, version 1.3, of V2 histograms in nanoseconds.
#[derive(Debug)]
pub struct HistogramLog {
    file: File,
    begun: Instant,
}

impl HistogramLog {
    /// Writes its head.
    pub fn begin(mut file: File) -> Result<HistogramLog> {
        let begun = Instant::now();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let date = humantime::format_rfc3339_seconds(SystemTime::now());
        write!(
            file,
            "#[Written by sockkit {} echo-bench: latencies in nanoseconds, maxima in milliseconds]\n\
             #[Histogram log format version 1.3]\n\
             #[StartTime: {now:.3} (seconds since epoch), {date}]\n\
             #[BaseTime: {now:.3} (seconds since epoch)]\n\
             \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
            env!("CARGO_PKG_VERSION"),
        )
        .context("write the histogram log")?;
        Ok(HistogramLog { file, begun })
    }

    /// Writes an interval.
    pub fn add(&mut self, interval: &Interval) -> Result<()> {
        // Of several runs each has its own zero; the log's is its own beginning.
        let from = interval.began.saturating_duration_since(self.begun).as_secs_f64();
        let length = interval.to.saturating_sub(interval.from).as_secs_f64();
        let max = interval.response.max().as_nanos() as f64 / MAX_VALUE_DIVISOR;
        let histogram = base64::encode(&interval.response.encode()?);
        writeln!(self.file, "{from:.3},{length:.3},{max:.3},{histogram}").context("write the histogram log")
    }
}
