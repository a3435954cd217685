//! The end of `connect`: who ended it and how, in words, as JSON, and as a status.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::kept::{Digests, SavedFile};
use super::speaker::Parting;
use crate::connection::{Conn, Error, Kind, Op, TcpInfo};
use crate::exit::Status;
use crate::output::{Output, Verbosity};
use crate::relay::{Ended, Outcome};
use crate::units::{Elapsed, Size, milliseconds};

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
    unread_bytes: Option<u64>,
    received_bytes_per_s: Option<f64>,
    sent_bytes_per_s: Option<f64>,
    input_ended: bool,
    elapsed_ms: f64,
    tcp_info: Option<TcpInfo>,
    status: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    program_status: Option<u8>,
    #[serde(flatten)]
    digests: Option<Digests>,
}

/// The end of a program that had the socket itself: only the system knows what went each way.
pub fn tell_handed_over(conn: &Conn, program: Status, status: Status, output: Output) {
    let number = program.number();
    let told = Told {
        how: "program_ended",
        words: format!("closed by us, the program having ended with status {number},"),
        went: None,
        unacknowledged_bytes: conn.unacknowledged_bytes(),
        input_ended: true,
        leaves_stdin: false,
        program: Some(program),
        status,
        digests: None,
        from: Verbosity::Verbose,
    };
    told.tell(conn, output);
}

/// The other end, which may be behind a proxy.
fn peer(conn: &Conn) -> String {
    conn.beyond().map_or_else(|| conn.peer().to_string(), |beyond| beyond.destination.clone())
}

/// Who ended it, how, and what went each way.
pub fn tell(
    conn: &Conn,
    outcome: &Outcome,
    reads_stdin: bool,
    parting: Parting,
    digests: Option<Digests>,
    output: Output,
) {
    let Outcome { received_bytes, sent_bytes, .. } = *outcome;
    if let Some(digests) = digests.as_ref().filter(|_| !output.json) {
        output.note(format_args!("sent      {sent_bytes} bytes, sha256 {}", digests.sent_sha256));
        output.note(format_args!("received  {received_bytes} bytes, sha256 {}", digests.received_sha256));
    }
    let (how, words) = how(&outcome.ended, parting.program());
    let is_interrupted = matches!(outcome.ended, Ended::Stopped(_)) && parting.program().is_none();
    let told = Told {
        how,
        words,
        went: Some((sent_bytes, received_bytes)),
        unacknowledged_bytes: outcome.unacknowledged_bytes,
        input_ended: outcome.input_ended,
        leaves_stdin: reads_stdin && !outcome.input_ended && !matches!(outcome.ended, Ended::InputFailed(_)),
        program: parting.program(),
        status: parting.status(status(&outcome.ended)),
        digests,
        from: if is_interrupted { Verbosity::Normal } else { Verbosity::Verbose },
    };
    told.tell(conn, output);
}

/// How it ended, as JSON and as people have it.
fn how(ended: &Ended, program: Option<Status>) -> (&'static str, String) {
    let (how, words) = match ended {
        Ended::PeerFinished => ("peer_finished", "closed by the peer"),
        Ended::PeerSilent => ("peer_silent", "closed by us, the peer being silent,"),
        Ended::Sent => ("sent", "closed by us, everything being sent,"),
        Ended::EndsFinished if program.is_some() => ("program_ended", "closed by us, the program having ended,"),
        Ended::EndsFinished => ("done", "closed by us, everything being done,"),
        Ended::TimedOut(clock) => return ("timed_out", format!("closed by us at the {clock} timeout")),
        Ended::Stopped(number) => return ("signal", format!("closed by us at signal {number}")),
        Ended::PeerFailed(error) => match error.kind() {
            Kind::Misbehaved => ("check_failed", "closed by us, a check having failed,"),
            Kind::Reset | Kind::BrokenPipe => ("peer_reset", "reset by the peer"),
            _ => ("peer_failed", "failed"),
        },
        Ended::InputFailed(_) => ("input_failed", "closed by us, stdin being unreadable,"),
        Ended::OutputFailed(_) => ("output_failed", "closed by us, stdout being closed,"),
    };
    (how, words.to_owned())
}

/// What a verdict tells.
struct Told {
    how: &'static str,
    words: String,
    /// Bytes sent and received, where they were counted.
    went: Option<(u64, u64)>,
    unacknowledged_bytes: Option<u64>,
    input_ended: bool,
    /// Whether there was more of stdin, or could have been.
    leaves_stdin: bool,
    program: Option<Status>,
    status: Status,
    digests: Option<Digests>,
    /// Who has to ask for it: whoever interrupts a conversation wants to know without asking what was cut off.
    from: Verbosity,
}

impl Told {
    fn tell(self, conn: &Conn, output: Output) {
        if !output.tells_from(self.from) {
            return;
        }
        let (age, info, unread_bytes) = (conn.age(), conn.info(), conn.unread_bytes());
        let text = self.text(conn, age, info.as_ref(), unread_bytes);
        let per_s = |bytes: u64| bytes as f64 / age.as_secs_f64();
        let verdict = Verdict {
            schema: SCHEMA,
            event: "closed",
            peer: peer(conn),
            local: conn.local().to_string(),
            proxy: conn.beyond().map(|beyond| beyond.proxy.as_str()),
            how: self.how,
            received_bytes: self.went.map(|(_, received)| received),
            sent_bytes: self.went.map(|(sent, _)| sent),
            unacknowledged_bytes: self.unacknowledged_bytes,
            unread_bytes,
            received_bytes_per_s: self.went.map(|(_, received)| per_s(received)),
            sent_bytes_per_s: self.went.map(|(sent, _)| per_s(sent)),
            input_ended: self.input_ended,
            elapsed_ms: milliseconds(age),
            tcp_info: info,
            status: self.status.number(),
            program_status: self.program.map(Status::number),
            digests: self.digests,
        };
        output.verdict_from(self.from, &verdict, text);
    }

    fn text(&self, conn: &Conn, age: Duration, info: Option<&TcpInfo>, unread_bytes: Option<u64>) -> String {
        let mut parts = vec![format!("{conn} {} after {}", self.words, Elapsed(age))];
        if let Some((sent, received)) = self.went {
            let lost = lost(self.unacknowledged_bytes).map_or(String::new(), |lost| format!(" ({lost})"));
            let rate = Size(((sent + received) as f64 / age.as_secs_f64()) as u64);
            parts[0] += &format!(": {sent} bytes sent{lost}, {received} received, {rate}/s in all");
        }
        if let Some(bytes) = unread_bytes.filter(|bytes| *bytes > 0) {
            parts.push(format!("{bytes} arrived unread"));
        }
        if self.leaves_stdin {
            parts.push("stdin was still open".to_owned());
        }
        if let Some(info) = info {
            let TcpInfo { rtt_us, retransmitted_segments, congestion_window_segments, .. } = info;
            let delivery = Size(info.delivery_rate_bytes_per_s);
            parts.push(format!(
                "rtt {rtt_us} µs, {retransmitted_segments} segments sent again, a window of \
                 {congestion_window_segments}, {delivery}/s delivered"
            ));
        }
        parts.push(format!("status {}", self.status.number()));
        parts.join("; ")
    }
}

/// The status that an end of the relay has, which `judge` and what prints its errors come to as well.
fn status(ended: &Ended) -> Status {
    match ended {
        Ended::PeerFinished | Ended::PeerSilent | Ended::Sent | Ended::EndsFinished => Status::Done,
        Ended::Stopped(signal) => Status::Signal(*signal),
        Ended::TimedOut(_) => Status::TimedOut,
        Ended::PeerFailed(error) => Status::of(error.kind()),
        // Whoever read stdout has read enough.
        Ended::OutputFailed(error) if error.kind() == io::ErrorKind::BrokenPipe => Status::Done,
        Ended::InputFailed(_) | Ended::OutputFailed(_) => Status::Local,
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
    let lost = lost(outcome.unacknowledged_bytes).map_or(String::new(), |lost| format!(", {lost}"));
    let went = format!("{received_bytes} bytes received, {sent_bytes} sent{lost}");
    // A script has told what came already.
    let is_told = |error: &Error| error.kind() == Kind::Misbehaved && error.aftermath.is_some();
    let failed = |error: Error| Err(if is_told(&error) { error } else { error.told(went) });
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
