//! The end of `connect`: who ended it and how, in words, as JSON, and as a status.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::kept::{Digests, SavedFile};
use crate::connection::{Conn, Error, Kind, Op, TcpInfo};
use crate::exit::Status;
use crate::output::{Output, Verbosity};
use crate::relay::{Ended, Outcome};
use crate::units::{Elapsed, milliseconds};

/// The name and version of the JSON lines.
pub const SCHEMA: &str = "sockkit.connect/1";

#[derive(Serialize)]
struct Verdict<'a> {
    schema: &'static str,
    event: &'static str,
    peer: String,
    local: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<&'a str>,
    how: &'a str,
    received_bytes: Option<u64>,
    sent_bytes: Option<u64>,
    unacknowledged_bytes: Option<u64>,
    input_ended: bool,
    elapsed_ms: f64,
    tcp_info: Option<TcpInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    program_status: Option<u8>,
    #[serde(flatten)]
    digests: Option<Digests>,
}

/// That there is a connection, where nothing else was asked.
#[derive(Serialize)]
struct Connected {
    schema: &'static str,
    event: &'static str,
    peer: String,
    local: String,
    transport: String,
    elapsed_ms: f64,
}

/// Says that somebody is there. Stdout is free: nothing of the peer's comes.
pub fn tell_connected(conn: &Conn, elapsed: Duration, output: Output) -> io::Result<()> {
    let record = Connected {
        schema: SCHEMA,
        event: "connected",
        peer: conn.peer().to_string(),
        local: conn.local().to_string(),
        transport: conn.transport().to_string(),
        elapsed_ms: milliseconds(elapsed),
    };
    if output.verbosity == Verbosity::Quiet {
        return Ok(());
    }
    output.product(&record, format_args!("{conn} open {}", Elapsed(elapsed)))
}

/// The end of a program that had the socket itself: only the system knows what went each way.
pub fn tell_handed_over(conn: &Conn, status: Status, output: Output) {
    let number = status.number();
    let text = format!(
        "{conn} closed, the program having ended with status {number}, after {}{}",
        Elapsed(conn.age()),
        round_trip(conn),
    );
    let verdict = Verdict {
        schema: SCHEMA,
        event: "closed",
        peer: peer(conn),
        local: conn.local().to_string(),
        proxy: conn.beyond().map(|beyond| beyond.proxy.as_str()),
        how: "program_ended",
        received_bytes: None,
        sent_bytes: None,
        unacknowledged_bytes: conn.unacknowledged_bytes(),
        input_ended: true,
        elapsed_ms: milliseconds(conn.age()),
        tcp_info: conn.info(),
        program_status: Some(number),
        digests: None,
    };
    output.verdict(&verdict, text);
}

/// The other end, which may be behind a proxy.
fn peer(conn: &Conn) -> String {
    conn.beyond().map_or_else(|| conn.peer().to_string(), |beyond| beyond.destination.clone())
}

/// What the system knows of the connection, at the end of a line.
fn round_trip(conn: &Conn) -> String {
    conn.info().map_or(String::new(), |info| {
        format!("; rtt {} µs, {} segments sent again", info.rtt_us, info.retransmitted_segments)
    })
}

/// Who ended it, how, and what went each way.
pub fn tell(conn: &Conn, outcome: &Outcome, program: Option<Status>, digests: Option<Digests>, output: Output) {
    let (how, words) = match &outcome.ended {
        Ended::PeerFinished => ("peer_finished", "closed by the peer"),
        Ended::PeerSilent => ("peer_silent", "quit, the peer being silent,"),
        Ended::Sent => ("sent", "closed, everything being sent,"),
        Ended::EndsFinished if program.is_some() => ("program_ended", "closed, the program having ended,"),
        Ended::EndsFinished => ("done", "closed, everything being done,"),
        Ended::TimedOut(_) => ("timed_out", "given up"),
        Ended::Stopped(_) => ("signal", "ended by a signal"),
        Ended::PeerFailed(error) if error.kind() == Kind::Misbehaved => ("check_failed", "failed its check"),
        Ended::PeerFailed(_) => ("peer_failed", "failed"),
        Ended::InputFailed(_) => ("input_failed", "failed, stdin being unreadable,"),
        Ended::OutputFailed(_) => ("output_failed", "quit, stdout being closed,"),
    };
    let &Outcome { received_bytes, sent_bytes, input_ended, .. } = outcome;
    let unacknowledged_bytes = outcome.unacknowledged_bytes(conn);
    let text = format!(
        "{conn} {words} after {}: {sent_bytes} bytes sent{}, {received_bytes} received{}{}",
        Elapsed(conn.age()),
        lost(unacknowledged_bytes).map_or(String::new(), |lost| format!(" ({lost})")),
        if input_ended || how == "check_failed" || matches!(outcome.ended, Ended::InputFailed(_)) {
            ""
        } else {
            "; stdin was still open"
        },
        round_trip(conn),
    );
    let verdict = Verdict {
        schema: SCHEMA,
        event: "closed",
        peer: peer(conn),
        local: conn.local().to_string(),
        proxy: conn.beyond().map(|beyond| beyond.proxy.as_str()),
        how,
        received_bytes: Some(received_bytes),
        sent_bytes: Some(sent_bytes),
        unacknowledged_bytes,
        input_ended,
        elapsed_ms: milliseconds(conn.age()),
        tcp_info: conn.info(),
        program_status: program.map(Status::number),
        digests,
    };
    output.verdict(&verdict, text);
    if let Some(Digests { sent_sha256, received_sha256 }) = verdict.digests.filter(|_| !output.json) {
        output.note(format_args!("sent      {sent_bytes} bytes, sha256 {sent_sha256}"));
        output.note(format_args!("received  {received_bytes} bytes, sha256 {received_sha256}"));
    }
}

/// What may not have arrived, if anything.
fn lost(unacknowledged_bytes: Option<u64>) -> Option<String> {
    let bytes = unacknowledged_bytes.filter(|bytes| *bytes > 0)?;
    Some(format!("of which {bytes} were not acknowledged"))
}

/// The status that follows.
pub fn judge(outcome: Outcome, conn: &Conn, file: &SavedFile) -> Result<Status> {
    let Outcome { received_bytes, sent_bytes, .. } = outcome;
    let lost = lost(outcome.unacknowledged_bytes(conn)).map_or(String::new(), |lost| format!(", {lost}"));
    let went = format!("{received_bytes} bytes received, {sent_bytes} sent{lost}");
    let failed = |error: Error| Err(if error.aftermath.is_some() { error } else { error.told(went) });
    match outcome.ended {
        Ended::PeerFinished | Ended::PeerSilent | Ended::Sent | Ended::EndsFinished => Ok(Status::Done),
        Ended::Stopped(signal) => Ok(Status::Signal(signal)),
        Ended::InputFailed(error) => Err(error).context("read stdin"),
        Ended::OutputFailed(error) => Err(error).with_context(|| match file.failed() {
            Some(name) => format!("write {}", name.display()),
            None => "write stdout".to_owned(),
        }),
        Ended::TimedOut(clock) => Ok(failed(Error::timed_out(Op::Receive, conn, conn.age(), clock))?),
        Ended::PeerFailed(error) => Ok(failed(error)?),
    }
}
