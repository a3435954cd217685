//! The counts for machines that collect them: Prometheus' text over HTTP.
//!
//! Owns the names of the metrics, and as much of HTTP/1.1 (RFC 9112) as one GET takes. Must not know who counts. Trade-off:
//! one request a connection and no library: whoever scrapes once in a while loses nothing, and what is not understood is
//! refused instead of guessed.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::io;
use std::task::ready;
use std::time::Duration;

use super::counters::Summary;
use super::faults::Count;
use crate::connection::ready::Queue;
use crate::connection::{Conn, Driven};

/// How long a request and its answer may take in all. A scraper asks at once; nobody else has a claim on a descriptor.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest request head: a scraper's has a few hundred bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The form of Prometheus' text, with its version.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One scrape: what it asks is answered with the `text` of the metrics, and the connection closed.
pub async fn answer(conn: Conn, text: impl FnOnce() -> String) {
    let Ok(driven) = Driven::new(conn) else { return };
    // Whoever is slower than that, or gone, gets no answer.
    let _ = tokio::time::timeout(PATIENCE, converse(&driven, text)).await;
}

async fn converse(driven: &Driven<Conn>, text: impl FnOnce() -> String) -> io::Result<()> {
    let (status, body) = match head(driven).await?.as_deref().map(judge) {
        Some("200 OK") => ("200 OK", text()),
        Some(status) => (status, format!("{status}\n")),
        None => return Ok(()),
    };
    let allow = if status.starts_with("405") { "Allow: GET\r\n" } else { "" };
    let kind = if status.starts_with("200") { CONTENT_TYPE } else { "text/plain; charset=utf-8" };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}Connection: close\r\n\r\n{body}"
    );
    let mut rest = answer.as_bytes();
    while !rest.is_empty() {
        let sent = poll_fn(|context| driven.poll_write(context, |socket| socket.send(rest))).await?;
        rest = &rest[sent..];
    }
    driven.get().finish().map_err(io::Error::other)?;
    // A close with unread input would be a reset, which could overtake the answer.
    let mut block = [0; 512];
    while receive(driven, &mut block).await? > 0 {}
    Ok(())
}

/// The request up to its empty line; none if the peer has gone before. One that is too long ends where it is.
async fn head(driven: &Driven<Conn>) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut block = [0; 512];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") && head.len() <= HEAD_BYTES_MAX {
        match receive(driven, &mut block).await? {
            0 => return Ok(None),
            length => head.extend_from_slice(&block[..length]),
        }
    }
    Ok(Some(head))
}

async fn receive(driven: &Driven<Conn>, block: &mut [u8]) -> io::Result<usize> {
    poll_fn(|context| {
        let received = ready!(driven.poll_read(context, |socket| Ok((socket.recv(block)?, Queue::MayHoldMore))));
        std::task::Poll::Ready(received)
    })
    .await
}

/// The status of the answer to a request.
fn judge(head: &[u8]) -> &'static str {
    if head.len() > HEAD_BYTES_MAX {
        return "431 Request Header Fields Too Large";
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else { return "400 Bad Request" };
    let is_token = !method.is_empty() && method.iter().all(u8::is_ascii_alphabetic);
    if !is_token || !target.starts_with(b"/") {
        return "400 Bad Request";
    }
    match (version, method, target.split(|byte| *byte == b'?').next()) {
        (b"HTTP/1.1" | b"HTTP/1.0", b"GET", Some(b"/metrics")) => "200 OK",
        (b"HTTP/1.1" | b"HTTP/1.0", b"GET", _) => "404 Not Found",
        (b"HTTP/1.1" | b"HTTP/1.0", ..) => "405 Method Not Allowed",
        _ => "505 HTTP Version Not Supported",
    }
}

/// The metrics of a server that has so many open connections and is so old; with its fault rules, if it has any.
pub fn text(summary: &Summary, faults: &[Count], open: u64, age: Duration) -> String {
    let answered = summary.datagrams.saturating_sub(summary.datagrams_unanswered);
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, label: &str, values: &[(&str, u64)]| {
        let _ = write!(text, "# HELP sockkit_{name} {help}\n# TYPE sockkit_{name} {kind}\n");
        for (value, number) in values {
            // A rule's text may have what ends a label's value.
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let labels = if label.is_empty() { String::new() } else { format!("{{{label}=\"{value}\"}}") };
            let _ = writeln!(text, "sockkit_{name}{labels} {number}");
        }
    };
    let results = [
        // Nothing went wrong that was not to.
        ("clean", summary.connections_clean + summary.connections_reset_by_rule),
        ("failed", summary.connections_failed),
        ("timed_out", summary.connections_timed_out),
        ("cut", summary.connections_cut),
        ("refused", summary.connections_refused),
    ];
    metric("connections_total", "counter", "Connections that have ended, and how.", "result", &results);
    metric("connections_open", "gauge", "Connections that are open.", "", &[("", open)]);
    let peak = summary.connections_peak;
    metric("connections_peak", "gauge", "The most that were open at one time.", "", &[("", peak)]);
    let results =
        [("answered", answered), ("unanswered", summary.datagrams_unanswered), ("refused", summary.datagrams_refused)];
    metric("datagrams_total", "counter", "Datagrams received, and what became of them.", "result", &results);
    let directions = [("in", summary.received_bytes), ("out", summary.sent_bytes)];
    metric("bytes_total", "counter", "Bytes received and sent.", "direction", &directions);
    if !faults.is_empty() {
        let fired: Vec<(&str, u64)> = faults.iter().map(|count| (count.rule.as_str(), count.fired)).collect();
        metric("faults_total", "counter", "How often each fault rule has fired.", "rule", &fired);
    }
    let help = "Accepts that failed for want of descriptors or memory.";
    metric("accept_failures_total", "counter", help, "", &[("", summary.accepts_failed)]);
    let help = "Events that nobody read in time.";
    metric("events_dropped_total", "counter", help, "", &[("", summary.events_dropped)]);
    metric("uptime_seconds", "gauge", "How long the server has been there.", "", &[("", age.as_secs())]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_scrape_is_refused() {
        for (line, status) in [
            ("GET /metrics HTTP/1.1", "200 OK"),
            ("GET /metrics HTTP/1.0", "200 OK"),
            ("GET /metrics?x=1 HTTP/1.1", "200 OK"),
            ("GET / HTTP/1.1", "404 Not Found"),
            ("GET /metrics/x HTTP/1.1", "404 Not Found"),
            ("POST /metrics HTTP/1.1", "405 Method Not Allowed"),
            ("GET /metrics HTTP/2.0", "505 HTTP Version Not Supported"),
            ("GET http://x/metrics HTTP/1.1", "400 Bad Request"),
            ("GET /metrics", "400 Bad Request"),
            ("GET  /metrics HTTP/1.1", "400 Bad Request"),
            (" /metrics HTTP/1.1", "400 Bad Request"),
            ("\u{16}\u{3}\u{1}", "400 Bad Request"),
            ("", "400 Bad Request"),
        ] {
            assert_eq!(judge(format!("{line}\r\nHost: x\r\n\r\n").as_bytes()), status, "{line:?}");
        }
        assert_eq!(judge(&[b'x'; HEAD_BYTES_MAX + 1]), "431 Request Header Fields Too Large");
    }

    #[test]
    fn each_count_has_its_name() {
        let summary = Summary { connections_clean: 4, connections_failed: 2, connections_cut: 1, ..Summary::default() };
        let faults = [Count { rule: "reset,after=1KiB".to_owned(), fired: 5 }];
        let text = text(&summary, &faults, 3, Duration::from_secs(7));
        for line in [
            "sockkit_connections_total{result=\"clean\"} 4",
            "sockkit_connections_total{result=\"failed\"} 2",
            "sockkit_connections_total{result=\"cut\"} 1",
            "sockkit_connections_open 3",
            "sockkit_faults_total{rule=\"reset,after=1KiB\"} 5",
            "sockkit_uptime_seconds 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
