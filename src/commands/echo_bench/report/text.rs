//! The report for people: what was measured in one line, percentiles with their intervals, a histogram, what went wrong.
//!
//! Owns its words and columns. Must not know how anything was measured.

use std::time::Duration;

use super::super::baseline::{Change, Verdict};
use super::super::environment::Environment;
use super::super::merge::Merged;
use super::super::objective::Verdict as Judged;
use super::super::warm_up::Outcome;
use super::{Distribution, Percentile, Report, chart};
use crate::histogram::Value;
use crate::units::{Count, Elapsed, Latency, PerSecond, Size};

/// The first column's width: that of its longest word, and two.
const LABEL: usize = 14;

/// One column of percentiles.
const COLUMN: usize = 10;

impl Report {
    /// The whole report.
    pub fn text(&self) -> String {
        let mut lines = vec![self.headline(), self.throughput()];
        match (&self.service, &self.send_delay) {
            (Some(service), Some(send_delay)) => {
                lines.extend(self.planned(service, send_delay));
            }
            _ => lines.extend(self.round_trip.lines("round trip")),
        }
        if let Some(connect) = &self.connect {
            lines.extend(connect.lines("connect"));
        }
        if let Some(chart) = chart::histogram(&self.round_trip.histogram) {
            lines.push(String::new());
            lines.extend(chart);
            lines.push(String::new());
        }
        if let (Some(first), Some(last)) = (&self.tcp_info_at_start, &self.tcp_info) {
            let us = |microseconds: u32| Latency(Duration::from_micros(microseconds.into()));
            let text = format!(
                "rtt {} at the start, {} at the end, least {}; window {}, then {} segments; {} retransmitted",
                us(first.rtt_us),
                us(last.rtt_us),
                us(last.min_rtt_us),
                first.congestion_window_segments,
                last.congestion_window_segments,
                Count(last.retransmitted_segments),
            );
            lines.push(label("tcp", &text));
        }
        lines.push(label("errors", &self.errors_text()));
        lines.extend(self.comparisons());
        let environment = self.environment.as_ref();
        lines.extend(environment.and_then(Environment::path_text).map(|text| label("path", &text)));
        lines.extend(environment.map(|environment| label("cpu", &environment.text())));
        lines.extend(self.notes().iter().map(|note| label("note", note)));
        let warnings = self.environment.iter().flat_map(|environment| &environment.warnings);
        lines.extend(warnings.map(|warning| label("warning", warning)));
        lines.join("\n")
    }

    fn headline(&self) -> String {
        let settings = &self.settings;
        let own = if self.own_server { ", a server of its own" } else { "" };
        let plural = if settings.connections == 1 { "" } else { "s" };
        let pacing = match (settings.rate_per_s, &settings.arrival, settings.window) {
            (Some(rate), Some(arrival), _) => format!("open loop at {} ({arrival})", PerSecond(rate)),
            (_, _, Some(window)) if window > 1 => format!("closed loop, {window} under way on each"),
            _ => "closed loop".to_owned(),
        };
        let warm_up = match (self.warm_up_ms, self.warm_up) {
            (0.0, _) => String::new(),
            (time, Outcome::NotSettled) => format!(" after {} of warm-up that did not settle", elapsed(time)),
            (time, _) => format!(" after {} of warm-up", elapsed(time)),
        };
        let partial = if self.interrupted { ", partial: interrupted" } else { "" };
        format!(
            "{} ({}){own}: {} connection{plural}, {} bytes a message, {pacing}, {}{warm_up}{partial}",
            self.target,
            settings.transport,
            settings.connections,
            settings.lengths,
            elapsed(self.elapsed_ms),
        )
    }

    fn throughput(&self) -> String {
        let text = format!(
            "{} ({}, {}/s each way)",
            Count(self.round_trips),
            PerSecond(self.round_trips_per_s),
            Size(self.bytes_per_s_each_way as u64)
        );
        label("round trips", &text)
    }

    /// The three distributions of an open loop, side by side.
    fn planned(&self, service: &Distribution, send_delay: &Distribution) -> Vec<String> {
        let all = [&self.round_trip, service, send_delay];
        let heads = ["response", "service", "send delay"].map(|head| format!("{head:>COLUMN$}"));
        let mut lines = vec![label("", &format!("{:<8}{}   95 % of response", "", heads.join("  ")))];
        let row = |name: &str, cells: [String; 3]| {
            let cells = cells.map(|cell| format!("{cell:>COLUMN$}"));
            format!("{name:<8}{}", cells.join("  "))
        };
        let plain = |of: fn(&Distribution) -> Option<f64>| all.map(|one| of(one).map_or("-".to_owned(), from_us));
        lines.push(label("latency", &row("min", plain(|one| one.min_us))));
        for (index, percentile) in self.round_trip.percentiles.iter().enumerate() {
            let cells = all.map(|one| one.percentiles[index].value_text().unwrap_or_else(|| "-".to_owned()));
            let tail = percentile.interval_text().unwrap_or_else(|| percentile.needs_text(self.round_trip.total()));
            lines.push(label("", &format!("{}   {tail}", row(&percentile.name(), cells))));
        }
        lines.push(label("", &row("max", plain(|one| one.max_us))));
        lines
    }

    fn errors_text(&self) -> String {
        let errors = &self.errors;
        let mut words = Vec::new();
        for (count, what) in [
            (errors.lost, "lost"),
            (errors.late, "late"),
            (errors.duplicate, "duplicate"),
            (errors.reordered, "reordered"),
            (errors.corrupt, "corrupt"),
            (errors.truncated, "truncated"),
            (errors.refused, "refused"),
            (errors.stray, "stray"),
        ] {
            if count > 0 {
                words.push(format!("{} {what}", Count(count)));
            }
        }
        if errors.loss_bursts > 0 {
            words.push(format!(
                "losses in {} bursts, the longest {}",
                Count(errors.loss_bursts),
                Count(errors.longest_loss_burst)
            ));
        }
        if let Some(dropped) = self.dropped_here.filter(|dropped| *dropped > 0) {
            words.push(format!("{} dropped here for want of receive buffer", Count(dropped)));
        }
        if let (Some(offset), Some(message)) = (errors.first_corrupt_offset, errors.first_corrupt_message) {
            words.push(format!("the first wrong byte at offset {}, in message {}", Count(offset), Count(message)));
        }
        if self.failure.is_some() {
            words.push("ended early".to_owned());
        }
        if words.is_empty() { "none, every byte compared".to_owned() } else { words.join(", ") }
    }

    /// Runs, rates, conditions and the baseline, as far as there are any.
    fn comparisons(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(runs) = &self.runs {
            let p50s: Vec<String> = runs.runs.iter().map(|run| run.p50_us.map_or("-".to_owned(), from_us)).collect();
            let spread = runs.p50_spread.map_or(String::new(), |spread| format!(" (spread {:.1} %)", spread * 100.0));
            let unstable =
                if runs.unstable { ", unstable: they disagree by more than each is unsure of itself" } else { "" };
            lines.push(label("runs", &format!("{}, p50 {}{spread}{unstable}", runs.runs.len(), p50s.join(", "))));
        }
        for trial in self.trials.iter().flat_map(|trials| &trials.trials) {
            let holds = match trial.holds {
                Some(true) => "   holds",
                Some(false) => "   does not hold",
                None => "",
            };
            let limited = if trial.generator_limited { ", generator limited" } else { "" };
            let us = |value: Option<f64>| value.map_or("-".to_owned(), from_us);
            let text = format!(
                "{:>11} asked {:>11} served   p50 {:>8}   p99 {:>8}{holds}{limited}",
                PerSecond(trial.rate_per_s),
                PerSecond(trial.run.round_trips_per_s),
                us(trial.run.p50_us),
                us(trial.run.p99_us),
            );
            lines.push(label("rate", &text));
        }
        if let Some(rate) = self.trials.as_ref().and_then(|trials| trials.highest_rate_per_s) {
            lines.push(label("highest rate", &PerSecond(rate).to_string()));
        }
        lines.extend(judged(&self.objectives, &self.changes));
        lines
    }

    /// What a reader should know before believing the numbers.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        match self.settings.rate_per_s {
            None => notes.push(
                "closed loop: a server that stalls is asked less while it does, so stalls are under-represented (-r RATE \
                 measures them)"
                    .to_owned(),
            ),
            Some(rate) => {
                if self.generator_limited == Some(true) {
                    notes.push(format!(
                        "generator limited: {} messages went out more than 1 ms late although the socket was free; a lower \
                         rate or more --threads",
                        Count(self.sent_late)
                    ));
                }
                if self.round_trips_per_s < rate * 0.95 && self.round_trips > 0 {
                    notes.push(format!(
                        "{} requested, {} served; the time in the queue is in the response",
                        PerSecond(rate),
                        PerSecond(self.round_trips_per_s)
                    ));
                }
            }
        }
        notes
    }
}

impl Merged {
    /// The report of several results.
    pub fn text(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for part in &self.files {
            let lost = if part.lost > 0 { format!(", {} lost", Count(part.lost)) } else { String::new() };
            let counts = format!("{} ({}){lost}", Count(part.round_trips), PerSecond(part.round_trips_per_s));
            lines.push(label("file", &format!("{}: {counts}", part.file)));
        }
        let counts = format!("{} ({})", Count(self.round_trips), PerSecond(self.round_trips_per_s));
        lines.push(label("round trips", &counts));
        lines.extend(self.round_trip.lines("round trip"));
        lines.extend(judged(&self.objectives, &self.changes));
        lines.join("\n")
    }
}

/// Conditions, and the comparison with a baseline.
fn judged(objectives: &[Judged], changes: &[Change]) -> Vec<String> {
    let objective = |verdict: &Judged| {
        let holds = if verdict.holds { "holds" } else { "FAILS" };
        label("objective", &format!("{} {holds}: {}", verdict.objective, verdict.found))
    };
    let change = |change: &Change| label("baseline", &change_text(change));
    objectives.iter().map(objective).chain(changes.iter().map(change)).collect()
}

impl Distribution {
    fn total(&self) -> u64 {
        self.count + self.lost
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let (Some(min), Some(mean), Some(max)) = (self.min_us, self.mean_us, self.max_us) else {
            return vec![label(name, "none")];
        };
        let text = format!("min {}  mean {}  max {}", from_us(min), from_us(mean), from_us(max));
        let mut lines = vec![label(name, &text)];
        for percentile in &self.percentiles {
            let name = percentile.name();
            let text = match (percentile.value_text(), percentile.interval_text()) {
                (Some(value), Some(interval)) => format!("{name:<8}{value:>COLUMN$}   {interval}"),
                _ => format!("{name:<8}{:>COLUMN$}   {}", "-", percentile.needs_text(self.total())),
            };
            lines.push(label("", &text));
        }
        lines
    }
}

impl Percentile {
    fn name(&self) -> String {
        format!("p{}", self.percent)
    }

    fn value_text(&self) -> Option<String> {
        self.estimate.map(|estimate| value_text(estimate.value))
    }

    /// `14.5 µs .. 14.7 µs`
    fn interval_text(&self) -> Option<String> {
        self.estimate.map(|estimate| format!("{} .. {}", value_text(estimate.low), value_text(estimate.high)))
    }

    fn needs_text(&self, total: u64) -> String {
        let needs = self.needs.unwrap_or_default();
        format!("needs {} samples, has {}", Count(needs), Count(total))
    }
}

/// `p50 +10.2 % (+9.8 .. +10.6 %): worse (14.1 µs then, 15.5 µs now)`
fn change_text(change: &Change) -> String {
    let us = |value: Option<f64>| value.map_or("unknown".to_owned(), from_us);
    let percent = |share: f64| format!("{:+.1}", share * 100.0);
    let size = match (change.change, change.low, change.high) {
        (Some(size), Some(low), Some(high)) => {
            format!("{} % ({} .. {} %)", percent(size), percent(low), percent(high))
        }
        (Some(size), ..) => format!("{} %", percent(size)),
        _ => "unknown".to_owned(),
    };
    let verdict = match change.verdict {
        Verdict::Better => "better",
        Verdict::Worse => "WORSE",
        Verdict::NoChange => "no change",
        Verdict::Inconclusive => "inconclusive: the runs are too few, or differ too much",
    };
    format!("{} {size}: {verdict} ({} then, {} now)", change.metric, us(change.baseline_us), us(change.current_us))
}

fn value_text(value: Value) -> String {
    match value {
        Value::Finite(latency) => Latency(latency).to_string(),
        Value::Infinite => "lost".to_owned(),
    }
}

fn label(name: &str, text: &str) -> String {
    format!("{name:<LABEL$}{text}")
}

fn from_us(microseconds: f64) -> String {
    Latency(Duration::from_nanos((microseconds * 1e3) as u64)).to_string()
}

fn elapsed(milliseconds: f64) -> Elapsed {
    Elapsed(Duration::from_secs_f64(milliseconds / 1e3))
}
