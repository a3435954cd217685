//! What monitoring systems read: Prometheus' text format, and the line of a monitoring plugin.
//!
//! Owns the names of the metrics. Must not know thresholds: alarms are the monitoring system's own rules. Trade-off: both
//! formats need all verdicts before the first line, so these two alone hold something for each target.

use std::fmt::Write as _;

use super::records::protocol;
use super::text;
use crate::commands::probe::summary::Summary;
use crate::commands::probe::verdict::{State, Verdict};
use crate::units::{Elapsed, milliseconds};

/// The plugin guidelines want one line that fits a pager: more performance data than this is cut by its readers.
const PERFORMANCE_DATA_MAX: usize = 64;

/// The metrics, each with its samples together, as the format demands.
#[derive(Debug, Default)]
pub struct Prometheus {
    open: String,
    resolve: String,
    connect: String,
}

impl Prometheus {
    /// Adds the samples of a verdict.
    pub fn add(&mut self, verdict: &Verdict) {
        let target = label(&verdict.target.to_string());
        let address = label(&verdict.address.as_ref().map(ToString::to_string).unwrap_or_default());
        let labels = format!("target=\"{target}\",protocol=\"{}\"", protocol(verdict));
        let (state, errname) = (verdict.state().name(), verdict.errname());
        let reason =
            format!("address=\"{address}\",state=\"{state}\",reason=\"{errname}\",step=\"{}\"", verdict.step());
        let is_open = u8::from(verdict.state() == State::Open);
        let _ = writeln!(self.open, "sockkit_probe_open{{{labels},{reason}}} {is_open}");
        let _ = writeln!(self.resolve, "sockkit_probe_resolve_seconds{{{labels}}} {}", verdict.resolve.as_secs_f64());
        let _ = writeln!(self.connect, "sockkit_probe_connect_seconds{{{labels}}} {}", verdict.elapsed.as_secs_f64());
    }

    /// The whole text.
    pub fn text(&self) -> String {
        let metrics = [
            ("open", "Whether the target answers, and why not.", &self.open),
            ("resolve_seconds", "Time of the name lookup.", &self.resolve),
            ("connect_seconds", "Time of the connect.", &self.connect),
        ];
        let metric = |(name, help, samples): (&str, &str, &String)| {
            format!("# HELP sockkit_probe_{name} {help}\n# TYPE sockkit_probe_{name} gauge\n{samples}")
        };
        metrics.map(metric).concat().trim_end().to_owned()
    }
}

/// Backslash, quote and line break are escaped in a label's value.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The line of a monitoring plugin.
#[derive(Debug, Default)]
pub struct Nagios {
    /// The first failure, or the first success as long as there is no failure.
    told: Option<(bool, State, String)>,
    performance: Vec<String>,
}

impl Nagios {
    /// Takes note of a verdict.
    pub fn add(&mut self, verdict: &Verdict) {
        if self.told.as_ref().is_none_or(|(was_wanted, ..)| *was_wanted && !verdict.is_wanted) {
            let said = match &verdict.error {
                None => {
                    let place = verdict.address.as_ref().map_or(verdict.target.to_string(), ToString::to_string);
                    format!("{} on {place}", Elapsed(verdict.elapsed))
                }
                // A bar would begin the performance data.
                Some(_) => text::line(verdict, 0).replace('|', "/"),
            };
            self.told = Some((verdict.is_wanted, verdict.state(), plain(&said)));
        }
        if verdict.state() == State::Open && self.performance.len() < PERFORMANCE_DATA_MAX {
            let name = if self.performance.is_empty() { "time".to_owned() } else { format!("'{}'", verdict.target) };
            self.performance.push(format!("{name}={:.6}s;;;0", milliseconds(verdict.elapsed) / 1e3));
        }
    }

    /// `TCP OK - 0.3 ms on [::1]:7000|time=0.000343s;;;0`
    pub fn line(&self, summary: &Summary) -> String {
        let (wanted, total) = summary.tally.wanted();
        let word = match &self.told {
            _ if summary.tally.is_enough() => "OK",
            Some((_, State::LocalError, _)) => "UNKNOWN",
            _ => "CRITICAL",
        };
        let said = self.told.as_ref().map_or("nothing was probed", |(_, _, said)| said);
        let counts = if total > 1 { format!(", {wanted} of {total} as wanted") } else { String::new() };
        let data = if self.performance.is_empty() { String::new() } else { format!("|{}", self.performance.join(" ")) };
        format!("TCP {word} - {said}{counts}{data}")
    }
}

/// The same without colour.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}
