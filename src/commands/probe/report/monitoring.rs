//! What monitoring systems read: Prometheus' text format, and the line of a monitoring plugin.
//!
//! Owns the names of the metrics. Must not know thresholds: alarms are the monitoring system's own rules. Trade-off: both
//! formats need all verdicts before the first line, so these two alone hold something for each target; of several
//! measurements they tell the last, because neither has room for two values of one thing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::records::protocol;
use super::text;
use crate::commands::probe::summary::Summary;
use crate::commands::probe::verdict::{Series, State, Verdict};
use crate::units::{Elapsed, milliseconds};

/// The plugin guidelines want one line that fits a pager: more performance data than this is cut by its readers.
const PERFORMANCE_DATA_MAX: usize = 64;

/// The samples of each metric, by the names of [`METRICS`].
#[derive(Debug, Default)]
pub struct Prometheus {
    samples: BTreeMap<Series, [String; METRICS.len()]>,
}

/// The metrics, and what they tell.
const METRICS: [(&str, &str); 3] = [
    ("open", "Whether the target answers, and why not."),
    ("resolve_seconds", "Time of the name lookup."),
    ("connect_seconds", "Time of the connect."),
];

impl Prometheus {
    /// Adds the samples of a verdict.
    pub fn add(&mut self, verdict: &Verdict) {
        let target = label(&verdict.target.to_string());
        let address = label(&verdict.address.as_ref().map(ToString::to_string).unwrap_or_default());
        let labels = format!("target=\"{target}\",protocol=\"{}\",address=\"{address}\"", protocol(verdict));
        let (state, errname) = (verdict.state().name(), verdict.errname());
        let reason = format!("state=\"{state}\",reason=\"{errname}\",step=\"{}\"", verdict.step());
        let is_open = u8::from(verdict.state() == State::Open);
        let samples = [
            format!("{{{labels},{reason}}} {is_open}"),
            format!("{{{labels}}} {}", verdict.resolve.as_secs_f64()),
            format!("{{{labels}}} {}", verdict.elapsed.as_secs_f64()),
        ];
        self.samples.insert(verdict.series(), samples);
    }

    /// The whole text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // The format wants the samples of a metric together.
        for (metric, (name, help)) in METRICS.into_iter().enumerate() {
            let _ = writeln!(text, "# HELP sockkit_probe_{name} {help}\n# TYPE sockkit_probe_{name} gauge");
            for samples in self.samples.values() {
                let _ = writeln!(text, "sockkit_probe_{name}{}", samples[metric]);
            }
        }
        text.trim_end().to_owned()
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
    told: Option<Told>,
    performance: Vec<(Series, String)>,
}

/// What is told of one target.
#[derive(Debug)]
struct Told {
    series: Series,
    was_wanted: bool,
    state: State,
    said: String,
}

impl Nagios {
    /// Takes note of a verdict.
    pub fn add(&mut self, verdict: &Verdict) {
        let series = verdict.series();
        let gives_way = |told: &Told| told.series == series || (told.was_wanted && !verdict.is_wanted);
        if self.told.as_ref().is_none_or(gives_way) {
            let said = match &verdict.error {
                None => {
                    let place = verdict.address.as_ref().map_or(verdict.target.to_string(), ToString::to_string);
                    format!("{} on {place}", Elapsed(verdict.elapsed))
                }
                // A bar would begin the performance data.
                Some(_) => text::line(verdict, 0).replace('|', "/"),
            };
            let (series, state) = (series.clone(), verdict.state());
            self.told = Some(Told { series, was_wanted: verdict.is_wanted, state, said: plain(&said) });
        }
        if verdict.state() == State::Open {
            let earlier = self.performance.iter().position(|(other, _)| *other == series);
            let place = earlier.unwrap_or(self.performance.len());
            let name = if place == 0 { "time".to_owned() } else { format!("'{}'", verdict.target) };
            let data = format!("{name}={:.6}s;;;0", milliseconds(verdict.elapsed) / 1e3);
            match self.performance.get_mut(place) {
                Some(entry) => entry.1 = data,
                None if place < PERFORMANCE_DATA_MAX => self.performance.push((series, data)),
                None => {}
            }
        }
    }

    /// `TCP OK - 0.3 ms on [::1]:7000|time=0.000343s;;;0`
    pub fn line(&self, summary: &Summary) -> String {
        let (wanted, total) = summary.tally.wanted();
        let word = match &self.told {
            _ if summary.tally.is_enough() => "OK",
            Some(Told { state: State::LocalError, .. }) => "UNKNOWN",
            _ => "CRITICAL",
        };
        let said = self.told.as_ref().map_or("nothing was probed", |told| &told.said);
        let counts = if total > 1 { format!(", {wanted} of {total} as wanted") } else { String::new() };
        let data: Vec<&str> = self.performance.iter().map(|(_, data)| data.as_str()).collect();
        let bar = if data.is_empty() { "" } else { "|" };
        format!("TCP {word} - {said}{counts}{bar}{}", data.join(" "))
    }
}

/// The same without colour.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}
