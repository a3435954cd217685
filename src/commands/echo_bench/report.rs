//! What was measured, for people and for programs.
//!
//! Owns the content of the report and its JSON form. Must not know how it was measured. Trade-off: a percentile that the
//! sample does not support is null in JSON, with the number of samples that it would need beside it, instead of being a
//! number that means nothing; and so is one that lies among lost messages, marked as infinite.

mod chart;
mod files;
mod intervals;
mod page;
mod text;

use std::time::Duration;

pub use files::{Csv, HistogramLog, create};
pub use intervals::Line;
pub use page::{html, svg};
use serde::Serialize;

use super::baseline::Change;
use super::collector::Measured;
use super::environment::Environment;
use super::load::Load;
use super::objective::Verdict;
use super::plan::{Plan, Target, Until};
use super::runs::Runs;
use super::series::{Block, Series};
use super::tally::Errors;
use super::trials::Trials;
use super::warm_up::Outcome;
use crate::connection::TcpInfo;
use crate::exit::Status;
use crate::histogram::{Estimate, Histogram, Value, samples_needed};
use crate::units::{microseconds, milliseconds};

/// The name and version of the JSON object.
const SCHEMA: &str = "sockkit.echo-bench/1";

/// The percentiles that are shown unless others are asked for, as far as the sample goes.
pub const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

/// Past this share of late sends the load was not the one that was asked for.
const LATE_SHARE: f64 = 0.01;

/// One or two late messages are an accident, however few there are in all.
const LATE_MIN: f64 = 2.0;

/// Everything that is told.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: &'static str,
    version: &'static str,
    /// What it was asked for.
    #[serde(flatten)]
    pub settings: Settings,
    target: String,
    /// Whether the server was echo-bench's own.
    own_server: bool,
    /// Ended by a signal before its time.
    interrupted: bool,
    warm_up_ms: f64,
    warm_up: Outcome,
    /// Messages of the warm-up, which are not counted.
    discarded: u64,
    /// Of the part that is counted.
    elapsed_ms: f64,
    round_trips: u64,
    round_trips_per_s: f64,
    bytes_per_s_each_way: f64,
    /// From the send to the answer; with a rate, from the planned time to the answer.
    pub round_trip: Distribution,
    /// With a rate: from the send to the answer.
    service: Option<Distribution>,
    /// With a rate: from the planned time to the send.
    send_delay: Option<Distribution>,
    /// The messages that were late although the socket was free are too many: this side was too slow for the rate.
    generator_limited: Option<bool>,
    sent_late: u64,
    /// With --reconnect: how long connecting took.
    connect: Option<Distribution>,
    verified: bool,
    errors: Errors,
    /// Of the lost datagrams, those that this machine itself dropped for want of room in our receive buffer.
    dropped_here: Option<u64>,
    /// What the kernel knew of the connections before the first message.
    tcp_info_at_start: Option<TcpSum>,
    /// And at the end.
    tcp_info: Option<TcpSum>,
    /// What ended it before its time.
    failure: Option<String>,
    /// Where there were several runs: each, and whether they agree. The rest of the report is all of them together.
    pub runs: Option<Runs>,
    /// With --ramp or --search: the rates that were tried. The rest of the report is the highest that held, or the last.
    pub trials: Option<Trials>,
    /// With --slo: each condition.
    pub objectives: Vec<Verdict>,
    /// With --baseline: each percentile, then and now.
    pub changes: Vec<Change>,
    /// With --fail-on-regression: something is worse by more than that.
    pub regression: Option<bool>,
    /// The machine, and what it did meanwhile.
    pub environment: Option<Environment>,
    /// How long each of `time_series` is.
    time_series_step_ms: f64,
    /// The run as it went by, in constant memory: a long run has longer steps.
    pub time_series: Vec<Step>,
}

/// One step of the time series.
#[derive(Debug, Serialize)]
pub struct Step {
    round_trips: u64,
    lost: u64,
    /// Null where there are no messages, or where it lies among the lost.
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    max_us: Option<f64>,
}

impl Step {
    fn of(block: &Block) -> Step {
        let at = |percent| block.quantile(percent).and_then(finite_us);
        Step { round_trips: block.count(), lost: block.lost(), p50_us: at(50.0), p99_us: at(99.0), max_us: at(100.0) }
    }
}

/// What makes two results comparable.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub struct Settings {
    /// The protocol.
    pub transport: String,
    /// `closed` or `open`.
    #[serde(rename = "loop")]
    pub pacing: String,
    /// See the arguments.
    pub connections: u32,
    /// See the arguments.
    pub threads: u32,
    /// The longest message.
    pub length_bytes: usize,
    /// As typed: a length, a range, or a list with weights.
    pub lengths: String,
    /// Messages under way on each connection, in a closed loop.
    pub window: Option<u32>,
    /// Messages a second, in an open loop.
    pub rate_per_s: Option<f64>,
    /// How they follow each other.
    pub arrival: Option<String>,
    /// Messages of a connection.
    pub reconnect: Option<u64>,
    /// How long to measure.
    pub time_ms: Option<f64>,
    /// Or how many messages.
    pub messages: Option<u64>,
    /// See the arguments.
    pub reply_timeout_ms: f64,
    /// What random choices began with.
    pub seed: u64,
}

impl Settings {
    /// The settings of a plan.
    pub fn of(plan: &Plan) -> Settings {
        let (pacing, window, rate_per_s, arrival) = match plan.load {
            Load::Closed { window } => ("closed", Some(window), None, None),
            Load::Open { rate, arrival } => ("open", None, Some(rate), Some(arrival.name().to_owned())),
        };
        let (time_ms, messages) = match plan.until {
            Until::Time(time) => (Some(milliseconds(time)), None),
            Until::Messages(messages) => (None, Some(messages)),
        };
        Settings {
            transport: plan.transport.to_string(),
            pacing: pacing.to_owned(),
            connections: plan.connections,
            threads: plan.threads,
            length_bytes: plan.lengths.max(),
            lengths: plan.lengths.to_string(),
            window,
            rate_per_s,
            arrival,
            reconnect: plan.reconnect,
            time_ms,
            messages,
            reply_timeout_ms: milliseconds(plan.reply_timeout),
            seed: plan.seed,
        }
    }
}

/// A distribution of latencies. Microseconds; null where nothing is known.
#[derive(Debug, Serialize)]
pub struct Distribution {
    count: u64,
    lost: u64,
    min_us: Option<f64>,
    mean_us: Option<f64>,
    p50_us: Option<f64>,
    p90_us: Option<f64>,
    p99_us: Option<f64>,
    #[serde(rename = "p99.9_us")]
    p99_9_us: Option<f64>,
    max_us: Option<f64>,
    percentiles: Vec<Percentile>,
    #[serde(skip)]
    histogram: Histogram,
}

/// A percentile, and how sure it is.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Percentile {
    percent: f64,
    /// Null if it is infinite, or the sample does not support it.
    value_us: Option<f64>,
    /// It lies among the lost messages.
    infinite: bool,
    /// The ends of its interval at 95 % confidence; where it has one, an end that is null is infinite.
    low_us: Option<f64>,
    high_us: Option<f64>,
    /// How many samples it would need, if there are fewer.
    needs: Option<u64>,
    #[serde(skip)]
    estimate: Option<Estimate>,
}

fn finite_us(value: Value) -> Option<f64> {
    match value {
        Value::Finite(latency) => Some(microseconds(latency)),
        Value::Infinite => None,
    }
}

impl Distribution {
    /// What a histogram says at these percentiles. The series makes their intervals honest where samples depend on each
    /// other.
    pub fn of(histogram: &Histogram, percents: &[f64], series: Option<&Series>) -> Distribution {
        let any = |duration: Duration| (histogram.count() > 0).then(|| microseconds(duration));
        let plain = |percent| histogram.percentile(percent).map(microseconds);
        let resampled = series.and_then(|series| series.intervals(percents));
        let row = |(index, percent): (usize, &f64)| {
            let estimate = histogram.estimate(*percent).map(|estimate| match &resampled {
                Some(ends) => widen(estimate, ends[index]),
                None => estimate,
            });
            Percentile {
                percent: *percent,
                value_us: estimate.and_then(|estimate| finite_us(estimate.value)),
                infinite: estimate.is_some_and(|estimate| estimate.value == Value::Infinite),
                low_us: estimate.and_then(|estimate| finite_us(estimate.low)),
                high_us: estimate.and_then(|estimate| finite_us(estimate.high)),
                needs: estimate.is_none().then(|| samples_needed(*percent)),
                estimate,
            }
        };
        Distribution {
            count: histogram.count(),
            lost: histogram.lost(),
            min_us: any(histogram.min()),
            mean_us: any(histogram.mean()),
            p50_us: plain(50.0),
            p90_us: plain(90.0),
            p99_us: plain(99.0),
            p99_9_us: plain(99.9),
            max_us: any(histogram.max()),
            percentiles: percents.iter().enumerate().map(row).collect(),
            histogram: histogram.clone(),
        }
    }
}

/// The interval that holds both.
fn widen(estimate: Estimate, (low, high): (Value, Value)) -> Estimate {
    Estimate { low: estimate.low.min(low), high: estimate.high.max(high), ..estimate }
}

/// `TCP_INFO` of all connections that were asked.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TcpSum {
    connections: usize,
    /// The median of their smoothed round-trip times.
    pub rtt_us: u32,
    /// The smallest.
    min_rtt_us: u32,
    /// The sum.
    pub retransmitted_segments: u64,
    /// The median of their congestion windows.
    congestion_window_segments: u32,
    send_mss_bytes: u32,
    path_mtu_bytes: u32,
    /// The sum.
    delivery_rate_bytes_per_s: u64,
}

impl TcpSum {
    /// The sum of these connections'; none if there are none.
    pub fn of(infos: &[TcpInfo]) -> Option<TcpSum> {
        let median = |of: fn(&TcpInfo) -> u32| {
            let mut values: Vec<u32> = infos.iter().map(of).collect();
            values.sort_unstable();
            values[values.len() / 2]
        };
        let first = infos.first()?;
        Some(TcpSum {
            connections: infos.len(),
            rtt_us: median(|info| info.rtt_us),
            min_rtt_us: infos.iter().map(|info| info.min_rtt_us).min()?,
            retransmitted_segments: infos.iter().map(|info| u64::from(info.retransmitted_segments)).sum(),
            congestion_window_segments: median(|info| info.congestion_window_segments),
            send_mss_bytes: first.send_mss_bytes,
            path_mtu_bytes: first.path_mtu_bytes,
            delivery_rate_bytes_per_s: infos.iter().map(|info| info.delivery_rate_bytes_per_s).sum(),
        })
    }
}

/// Whether so many messages were late, although the socket was free, that this side was too slow for the rate.
pub fn is_generator_limited(measured: &Measured) -> bool {
    measured.sent_late as f64 > (measured.sent as f64 * LATE_SHARE).max(LATE_MIN)
}

impl Report {
    /// What a run has measured.
    pub fn new(plan: &Plan, target: &Target, measured: &Measured) -> Report {
        let seconds = measured.elapsed.as_secs_f64();
        let round_trips = measured.response.count();
        let per_s = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let percents = &plan.percentiles[..];
        let part = |histogram: &Histogram| Distribution::of(histogram, percents, None);
        let planned = measured.planned.as_ref();
        Report {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            settings: Settings::of(plan),
            target: target.name(),
            own_server: target.own.is_some(),
            interrupted: measured.is_interrupted,
            warm_up_ms: milliseconds(measured.warm_up),
            warm_up: measured.settled,
            discarded: measured.discarded,
            elapsed_ms: milliseconds(measured.elapsed),
            round_trips,
            round_trips_per_s: per_s(round_trips),
            bytes_per_s_each_way: per_s(measured.answered_bytes),
            round_trip: Distribution::of(&measured.response, percents, Some(&measured.series)),
            service: planned.map(|planned| part(&planned.service)),
            send_delay: planned.map(|planned| part(&planned.send_delay)),
            generator_limited: matches!(plan.load, Load::Open { .. }).then_some(is_generator_limited(measured)),
            sent_late: measured.sent_late,
            connect: measured.connects.as_ref().map(part),
            verified: measured.errors.is_verified(),
            errors: measured.errors,
            dropped_here: measured.receive_drops,
            tcp_info_at_start: TcpSum::of(&measured.tcp_at_start),
            tcp_info: TcpSum::of(&measured.tcp),
            failure: measured.failure.as_ref().map(ToString::to_string),
            runs: None,
            trials: None,
            objectives: Vec::new(),
            changes: Vec::new(),
            regression: None,
            environment: None,
            time_series_step_ms: milliseconds(measured.series.block_length()),
            time_series: measured.series.blocks.iter().map(Step::of).collect(),
        }
    }

    /// The status that follows from what was measured, where nothing failed outright.
    pub fn status(&self) -> Status {
        let is_met = self.objectives.iter().all(|verdict| verdict.holds);
        let has_rate = self.trials.as_ref().is_none_or(Trials::has_found);
        if !self.verified || !is_met || !has_rate || self.regression == Some(true) {
            Status::CheckFailed
        } else if self.round_trips > 0 {
            Status::Done
        } else if self.interrupted {
            // SIGINT's, as a shell has it: there is nothing to show.
            Status::Signal(2)
        } else {
            Status::TimedOut
        }
    }
}
