//! JSON lines.
//!
//! Owns their fields, which never change their meaning under one schema. Must not know people. Trade-off: two forms:
//! `json` has an object for each target and nothing else; `ndjson` names every part apart, for programs that collect.

use std::time::SystemTime;

use serde::Serialize;

use crate::commands::probe::summary::Summary;
use crate::commands::probe::verdict::Verdict;
use crate::connection::Endpoint;
use crate::units::milliseconds;

/// The name and version of the lines of `json`.
const SCHEMA: &str = "sockkit.probe/1";

/// The name and version of those of `ndjson`.
const STREAM_SCHEMA: &str = "sockkit.probe.ndjson/1";

#[derive(Serialize)]
struct Record {
    schema: &'static str,
    target: String,
    address: Option<String>,
    state: &'static str,
    errno: Option<i32>,
    errname: &'static str,
    error: Option<String>,
    resolve_ms: f64,
    connect_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<String>,
}

/// The line of a target in `json`.
pub fn json(verdict: &Verdict) -> String {
    line(&Record {
        schema: SCHEMA,
        target: verdict.target.to_string(),
        address: verdict.address.as_ref().map(ToString::to_string),
        state: verdict.state().name(),
        errno: verdict.errno(),
        errname: verdict.errname(),
        error: verdict.error.as_ref().map(ToString::to_string),
        resolve_ms: milliseconds(verdict.resolve),
        connect_ms: milliseconds(verdict.elapsed),
        first_byte_ms: verdict.first_byte.map(milliseconds),
        received: received(verdict),
    })
}

#[derive(Serialize)]
struct Streamed {
    schema: &'static str,
    r#type: &'static str,
    target: String,
    host: Option<String>,
    addr: Option<String>,
    port: Option<u16>,
    proto: &'static str,
    state: &'static str,
    class: &'static str,
    errno: Option<i32>,
    errname: &'static str,
    error: Option<String>,
    step: &'static str,
    dns_ms: f64,
    connect_ms: f64,
    /// There is no TLS in a probe yet.
    tls_ms: Option<f64>,
    first_byte_ms: Option<f64>,
    received: Option<String>,
    local: Option<String>,
    attempt: u64,
    ts: String,
}

/// The line of a verdict in `ndjson`.
pub fn ndjson(verdict: &Verdict) -> String {
    let host = match &verdict.target.endpoint {
        Endpoint::Inet { host, .. } => Some(host.to_string()),
        Endpoint::Unix(_) => None,
    };
    line(&Streamed {
        schema: STREAM_SCHEMA,
        r#type: "result",
        target: verdict.target.to_string(),
        host,
        addr: verdict.address.as_ref().map(|address| match address.ip() {
            Some(ip) => ip.to_string(),
            None => address.to_string(),
        }),
        port: port(verdict),
        proto: protocol(verdict),
        state: verdict.state().name(),
        class: verdict.class(),
        errno: verdict.errno(),
        errname: verdict.errname(),
        error: verdict.error.as_ref().map(ToString::to_string),
        step: verdict.step(),
        dns_ms: milliseconds(verdict.resolve),
        connect_ms: milliseconds(verdict.elapsed),
        tls_ms: None,
        first_byte_ms: verdict.first_byte.map(milliseconds),
        received: received(verdict),
        local: verdict.local.as_ref().map(ToString::to_string),
        attempt: verdict.attempt,
        ts: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
    })
}

/// The port that was probed.
pub fn port(verdict: &Verdict) -> Option<u16> {
    use crate::connection::endpoint::Port;
    match &verdict.target.endpoint {
        Endpoint::Inet { port: Port::Number(number), .. } => Some(*number),
        _ => verdict.address.as_ref().and_then(crate::connection::Address::port),
    }
}

/// The protocol that was spoken.
pub fn protocol(verdict: &Verdict) -> &'static str {
    match (&verdict.target.endpoint, verdict.target.is_datagram) {
        (Endpoint::Unix(_), _) => "unix",
        (_, true) => "udp",
        (_, false) => "tcp",
    }
}

/// What the peer said, as text that has no byte lost.
fn received(verdict: &Verdict) -> Option<String> {
    verdict.received.as_ref().map(|bytes| bytes.escape_ascii().to_string())
}

#[derive(Serialize)]
struct Total<'a> {
    schema: &'static str,
    r#type: &'static str,
    total: u64,
    wanted: u64,
    counts: std::collections::BTreeMap<&'static str, u64>,
    not_tried: u64,
    elapsed_ms: f64,
    /// Whether every target was probed to its end.
    complete: bool,
    statistics: Vec<Measured<'a>>,
}

#[derive(Serialize)]
struct Measured<'a> {
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    addr: Option<&'a str>,
    attempts: u64,
    open: u64,
    connect_min_ms: Option<f64>,
    connect_avg_ms: Option<f64>,
    connect_p50_ms: Option<f64>,
    connect_p99_ms: Option<f64>,
    connect_max_ms: Option<f64>,
    jitter_ms: Option<f64>,
}

/// The last line of `ndjson`.
pub fn summary(summary: &Summary) -> String {
    let (wanted, total) = summary.tally.wanted();
    let measured = summary.statistics.values().map(|statistics| {
        let any = |time: std::time::Duration| (statistics.open > 0).then(|| milliseconds(time));
        Measured {
            target: &statistics.target,
            addr: statistics.address.as_deref(),
            attempts: statistics.attempts,
            open: statistics.open,
            connect_min_ms: any(statistics.min()),
            connect_avg_ms: any(statistics.mean()),
            connect_p50_ms: statistics.percentile(50.0).map(milliseconds),
            connect_p99_ms: statistics.percentile(99.0).map(milliseconds),
            connect_max_ms: any(statistics.max()),
            jitter_ms: statistics.jitter().map(milliseconds),
        }
    });
    line(&Total {
        schema: STREAM_SCHEMA,
        r#type: "summary",
        total,
        wanted,
        counts: summary.tally.counts().map(|(state, count)| (state.name(), count)).collect(),
        not_tried: summary.tally.untried,
        elapsed_ms: milliseconds(summary.elapsed),
        complete: summary.is_complete(),
        statistics: measured.collect(),
    })
}

fn line(record: &impl Serialize) -> String {
    match serde_json::to_string(record) {
        Ok(line) => line,
        Err(error) => unreachable!("numbers, text and lists are always JSON: {error}"),
    }
}
