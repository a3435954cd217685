//! Lines for people.
//!
//! Owns their words. Must not know terminals: whether colour is shown is the printer's business. Trade-off: columns only
//! where a person reads, one space where a script might.

use crate::commands::probe::summary::{Statistics, Summary};
use crate::commands::probe::verdict::Verdict;
use crate::connection::{Address, Op};
use crate::output::{BAD, GOOD};
use crate::units::{Count, Elapsed, milliseconds};

/// `127.0.0.1:1 refused after 0.1 ms: Connection refused (ECONNREFUSED, 111)`
pub fn line(verdict: &Verdict, width: usize) -> String {
    let Verdict { target, address, only, elapsed, error, .. } = verdict;
    let (good, bad, plain) = (GOOD.render(), BAD.render(), BAD.render_reset());
    let (target, state) = (target.to_string(), verdict.state());
    let at = |address: &Option<Address>| {
        let place = address.as_ref().map(ToString::to_string).filter(|place| !target.ends_with(place.as_str()));
        place.map_or(String::new(), |place| format!(" at {place}"))
    };
    let Some(error) = error else {
        let place = at(address);
        return format!("{target:width$} {good}open{plain} {}{place}{}", Elapsed(*elapsed), said(verdict));
    };
    // What failed on this side or on the way, and at what, is another question than the target.
    if error.is_of_proxy() || !matches!(error.op, Op::Connect | Op::Resolve | Op::Receive) {
        return format!("{target:width$} {bad}{state}{plain}: {error}");
    }
    let more = error.aftermath.as_ref().map_or(String::new(), |aftermath| format!("; {aftermath}"));
    // Of several addresses that failed the reasons are one; where each is a target, it is named.
    let (elapsed, place) = (Elapsed(error.elapsed), at(only));
    format!("{target:width$} {bad}{state}{plain} after {elapsed}{place}: {}{more}", error.reason())
}

/// `, first byte after 0.3 ms: "220 ready\r\n"`
fn said(verdict: &Verdict) -> String {
    match (&verdict.received, verdict.first_byte) {
        (Some(received), Some(time)) => {
            format!(", first byte after {}: \"{}\"", Elapsed(time), received.escape_ascii())
        }
        (Some(_), None) => ", no banner".to_owned(),
        (None, _) => String::new(),
    }
}

/// `65 535 targets in 1.1 s: 5 open, 65 530 refused`
pub fn summary(summary: &Summary) -> String {
    let tally = &summary.tally;
    let (_, total) = tally.wanted();
    let mut counts: Vec<String> = tally.counts().map(|(state, count)| format!("{} {state}", Count(count))).collect();
    if tally.untried > 0 {
        counts.push(format!("{} not tried", Count(tally.untried)));
    }
    if summary.unfinished > 0 {
        counts.push(format!("{} not finished", Count(summary.unfinished)));
    }
    let noun = if total == 1 { "target" } else { "targets" };
    let found = if counts.is_empty() { "nothing was probed".to_owned() } else { counts.join(", ") };
    format!("{} {noun} in {}: {found}", Count(total), Elapsed(summary.elapsed))
}

/// A line for each target that was measured several times.
pub fn statistics(summary: &Summary) -> Vec<String> {
    summary.statistics.values().map(measured).collect()
}

/// `db:5432: 10 attempts, 9 open, 10 % lost; connect min/avg/p50/p99/max 0.10/0.12/-/-/0.20 ms, jitter 0.02 ms`
fn measured(statistics: &Statistics) -> String {
    let Statistics { target, address, attempts, open, .. } = statistics;
    let place = address.as_ref().map_or(String::new(), |address| format!(" at {address}"));
    let lost = (attempts - open) as f64 * 100.0 / (*attempts).max(1) as f64;
    let counts = format!("{target}{place}: {attempts} attempts, {open} open, {lost:.0} % lost");
    if *open == 0 {
        return counts;
    }
    let shown =
        |time: Option<std::time::Duration>| time.map_or("-".to_owned(), |time| format!("{:.2}", milliseconds(time)));
    let times = [
        Some(statistics.min()),
        Some(statistics.mean()),
        statistics.percentile(50.0),
        statistics.percentile(99.0),
        Some(statistics.max()),
    ];
    let jitter = shown(statistics.jitter());
    format!("{counts}; connect min/avg/p50/p99/max {} ms, jitter {jitter} ms", times.map(shown).join("/"))
}
