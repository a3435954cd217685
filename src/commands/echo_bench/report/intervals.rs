//! What happened in each interval, a line or an object each.
//!
//! Owns their form. Must not know when an interval is complete.

use std::time::Duration;

use serde::Serialize;

use super::super::collector::Interval;
use super::super::tally::Errors;
use super::{TcpSum, finite_us};
use crate::histogram::Value;
use crate::units::{Count, Latency, PerSecond, microseconds, milliseconds};

/// The name and version of the JSON object.
const SCHEMA: &str = "sockkit.echo-bench.interval/1";

/// One interval.
#[derive(Debug, Serialize)]
pub struct Line {
    schema: &'static str,
    /// Which run, or which rate of several, from 1.
    pub run: u32,
    /// From the end of the run's warm-up.
    pub from_ms: f64,
    /// Its end.
    pub to_ms: f64,
    /// Messages sent in it.
    pub sent: u64,
    /// Messages answered in it.
    pub round_trips: u64,
    /// The same a second.
    pub round_trips_per_s: f64,
    /// Bytes that came back, a second.
    pub bytes_per_s_each_way: f64,
    /// Whatever the sample: null where there is none, or where it lies among the lost.
    pub p50_us: Option<f64>,
    /// The same.
    pub p90_us: Option<f64>,
    /// The same.
    pub p99_us: Option<f64>,
    /// The longest.
    pub max_us: Option<f64>,
    /// What went wrong in it. What is counted as lost here may be taken back in a later one.
    pub errors: Errors,
    /// At its end.
    pub tcp_info: Option<TcpSum>,
    #[serde(skip)]
    p50: Option<Value>,
    #[serde(skip)]
    p99: Option<Value>,
}

impl Line {
    /// What an interval says.
    pub fn of(interval: &Interval, run: u32) -> Line {
        let seconds = interval.to.saturating_sub(interval.from).as_secs_f64();
        let histogram = &interval.response;
        let at = |percent| histogram.quantile(percent);
        Line {
            schema: SCHEMA,
            run,
            from_ms: milliseconds(interval.from),
            to_ms: milliseconds(interval.to),
            sent: interval.sent,
            round_trips: histogram.count(),
            round_trips_per_s: histogram.count() as f64 / seconds,
            bytes_per_s_each_way: interval.answered_bytes as f64 / seconds,
            p50_us: at(50.0).and_then(finite_us),
            p90_us: at(90.0).and_then(finite_us),
            p99_us: at(99.0).and_then(finite_us),
            max_us: (histogram.count() > 0).then(|| microseconds(histogram.max())),
            errors: interval.errors.of_interval(),
            tcp_info: TcpSum::of(&interval.tcp),
            p50: at(50.0),
            p99: at(99.0),
        }
    }

    /// `  1.0 .. 2.0 s   67 543/s   p50 14.6 µs   p99 19.0 µs   max 1.20 ms   rtt 14 µs`, and before it which run, if there
    /// are several.
    pub fn text(&self, has_runs: bool) -> String {
        let shown = |value: Option<Value>| match value {
            None => "-".to_owned(),
            Some(Value::Infinite) => "lost".to_owned(),
            Some(Value::Finite(latency)) => Latency(latency).to_string(),
        };
        let max = self.max_us.map(|max| Value::Finite(Duration::from_nanos((max * 1e3) as u64)));
        let lost = if self.errors.lost > 0 { format!("   {} lost", Count(self.errors.lost)) } else { String::new() };
        let run = if has_runs { format!("run {:<3} ", self.run) } else { String::new() };
        let tcp = self.tcp_info.as_ref().map_or(String::new(), |tcp| {
            let again = tcp.retransmitted_segments;
            let again = if again > 0 { format!(", {} retransmitted so far", Count(again)) } else { String::new() };
            format!("   rtt {:>6}{again}", Latency(Duration::from_micros(tcp.rtt_us.into())).to_string())
        });
        format!(
            "{run}{:>7.2} .. {:<7.2} s {:>14}   p50 {:>8}   p99 {:>8}   max {:>8}{tcp}{lost}",
            self.from_ms / 1e3,
            self.to_ms / 1e3,
            PerSecond(self.round_trips_per_s),
            shown(self.p50),
            shown(self.p99),
            shown(max),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::histogram::Histogram;

    #[test]
    fn what_was_refused_is_not_lost_and_what_came_back_is_no_debt() {
        let told = |lost: u64, refused: u64| {
            let interval = Interval {
                from: Duration::ZERO,
                to: Duration::from_secs(1),
                began: Instant::now(),
                response: Histogram::default(),
                errors: Errors { lost, refused, ..Errors::default() },
                answered_bytes: 0,
                sent: 0,
                tcp: Vec::new(),
            };
            let line = Line::of(&interval, 1);
            (line.errors.lost, line.errors.refused)
        };
        assert_eq!(told(1, 2), (1, 2));
        assert_eq!(told(0_u64.wrapping_sub(1), 0_u64.wrapping_sub(2)), (0, 0));
    }
}
