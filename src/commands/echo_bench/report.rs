//! What was measured, for people and for programs.
//!
//! Owns the form of the report. Must not know how it was measured. Trade-off: a percentile that the sample does not support
//! is left out of the text and null in JSON, instead of being a number that means nothing.

use std::time::Duration;

use serde::Serialize;

use super::load::{Errors, Measured};
use super::{Plan, Until};
use crate::histogram::{Histogram, samples_needed};
use crate::units::{Count, Elapsed, Latency, Size};

/// The name and version of the JSON object.
const SCHEMA: &str = "sockkit.echo-bench/1";

/// The percentiles that are shown, as far as the sample goes.
const PERCENTILES: [(f64, &str); 4] = [(50.0, "p50"), (90.0, "p90"), (99.0, "p99"), (99.9, "p99.9")];

/// Everything that is told.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    version: &'static str,
    target: String,
    transport: String,
    /// Whether the server was echo-bench's own.
    own_server: bool,
    /// Each connection sends its next message when it has the last one back.
    #[serde(rename = "loop")]
    pacing: &'static str,
    connections: u32,
    threads: u32,
    length_bytes: usize,
    warm_up_ms: f64,
    /// Of the part that is counted.
    elapsed_ms: f64,
    round_trips: u64,
    round_trips_per_s: f64,
    bytes_per_s_each_way: f64,
    round_trip: Distribution,
    verified: bool,
    errors: Errors,
    /// What ended it before its time.
    failure: Option<String>,
}

#[derive(Debug, Serialize)]
struct Distribution {
    min_us: Option<f64>,
    mean_us: Option<f64>,
    p50_us: Option<f64>,
    p90_us: Option<f64>,
    p99_us: Option<f64>,
    #[serde(rename = "p99.9_us")]
    p99_9_us: Option<f64>,
    max_us: Option<f64>,
    #[serde(skip)]
    histogram: Histogram,
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

impl Distribution {
    fn of(histogram: &Histogram) -> Distribution {
        let any = |duration: Duration| (histogram.count() > 0).then(|| microseconds(duration));
        let percentile = |percent| histogram.percentile(percent).map(microseconds);
        Distribution {
            min_us: any(histogram.min()),
            mean_us: any(histogram.mean()),
            p50_us: percentile(50.0),
            p90_us: percentile(90.0),
            p99_us: percentile(99.0),
            p99_9_us: percentile(99.9),
            max_us: any(histogram.max()),
            histogram: histogram.clone(),
        }
    }

    /// `min 12.1 µs   p50 14.6 µs   ...`, and what the missing ones would need.
    fn text(&self) -> String {
        let count = self.histogram.count();
        if count == 0 {
            return "none".to_owned();
        }
        let mut words = vec![format!("min {}", Latency(self.histogram.min()))];
        for (percent, name) in PERCENTILES {
            match self.histogram.percentile(percent) {
                Some(latency) => words.push(format!("{name} {}", Latency(latency))),
                None => {
                    words.push(format!("({name} needs {} round trips)", Count(samples_needed(percent))));
                    break;
                }
            }
        }
        words.push(format!("max {}", Latency(self.histogram.max())));
        words.join("   ")
    }
}

impl Report {
    pub(super) fn new(plan: &Plan, target: &str, measured: &Measured) -> Report {
        let seconds = measured.elapsed.as_secs_f64();
        let round_trips = measured.round_trips.count();
        let round_trips_per_s = if seconds > 0.0 { round_trips as f64 / seconds } else { 0.0 };
        Report {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            target: target.to_owned(),
            transport: plan.transport.to_string(),
            own_server: plan.endpoint.is_none(),
            pacing: "closed",
            connections: plan.connections,
            threads: plan.threads,
            length_bytes: plan.length_bytes,
            warm_up_ms: plan.warm_up.as_secs_f64() * 1e3,
            elapsed_ms: seconds * 1e3,
            round_trips,
            round_trips_per_s,
            bytes_per_s_each_way: round_trips_per_s * plan.length_bytes as f64,
            round_trip: Distribution::of(&measured.round_trips),
            verified: measured.errors.corrupt == 0,
            errors: measured.errors,
            failure: measured.failure.as_ref().map(ToString::to_string),
        }
    }

    /// The report for people.
    pub(super) fn text(&self, plan: &Plan) -> String {
        let Report { target, transport, connections, length_bytes, .. } = self;
        let own = if self.own_server { ", a server of its own" } else { "" };
        let plural = if *connections == 1 { "" } else { "s" };
        let warm_up = match plan.until {
            Until::Time(_) => format!(" after {} of warm-up", Elapsed(plan.warm_up)),
            Until::Messages(_) => String::new(),
        };
        let elapsed = Elapsed(Duration::from_secs_f64(self.elapsed_ms / 1e3));
        format!(
            "{target} ({transport}){own}: {connections} connection{plural}, {length_bytes} bytes a message, closed loop, \
             {elapsed}{warm_up}\n\
             round trips   {} ({}/s, {}/s each way)\n\
             round trip    {}\n\
             errors        {}",
            Count(self.round_trips),
            Count(self.round_trips_per_s as u64),
            Size(self.bytes_per_s_each_way as u64),
            self.round_trip.text(),
            self.errors_text(),
        )
    }

    fn errors_text(&self) -> String {
        let Errors { lost, late, corrupt, first_corrupt_offset } = self.errors;
        let mut words = Vec::new();
        for (count, what) in [(lost, "lost"), (late, "late"), (corrupt, "corrupt")] {
            if count > 0 {
                words.push(format!("{} {what}", Count(count)));
            }
        }
        if let Some(offset) = first_corrupt_offset {
            words.push(format!("the first wrong byte at offset {}", Count(offset)));
        }
        if self.failure.is_some() {
            words.push("ended early".to_owned());
        }
        if words.is_empty() { "none, every byte compared".to_owned() } else { words.join(", ") }
    }
}
