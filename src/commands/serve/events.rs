//! What a server tells: who came, who went and how, and the sum of it. Text for people, JSON lines for programs.
//!
//! Owns the form of each event, the listening line's above all, which scripts wait for. Must not know how serving is done.
//! Trade-off: a line is written and flushed under a lock by whichever thread has the event, because a line that is late or
//! torn is worth nothing; a server that must be fast is told `--quiet`.

use std::io;
use std::time::Duration;

use serde::Serialize;

use super::ending::How;
use super::engine::Summary;
use super::service::Service;
use super::stream::Traffic;
use crate::connection::socket::Datagram;
use crate::connection::{Conn, Error, Listener};
use crate::output::{Output, Verbosity};
use crate::units::{Count, Elapsed, Size, milliseconds};

/// The name and version of the JSON lines.
const SCHEMA: &str = "sockkit.serve/1";

/// Where events go.
#[derive(Debug, Clone, Copy)]
pub struct Events {
    /// None says nothing at all: a server inside another command.
    output: Option<Output>,
}

#[derive(Serialize)]
struct Event<T: Serialize> {
    schema: &'static str,
    event: &'static str,
    #[serde(flatten)]
    fields: T,
}

fn event<T: Serialize>(event: &'static str, fields: T) -> Event<T> {
    Event { schema: SCHEMA, event, fields }
}

#[derive(Serialize)]
struct Listening {
    address: String,
    transport: String,
    mode: &'static str,
}

#[derive(Serialize)]
struct Accepted {
    connection: u64,
    peer: String,
    local: String,
}

#[derive(Serialize)]
struct Closed {
    connection: u64,
    peer: String,
    how: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errname: Option<&'static str>,
    received_bytes: u64,
    sent_bytes: u64,
    elapsed_ms: f64,
}

#[derive(Serialize)]
struct Draining {
    connections: u64,
    grace_ms: f64,
}

#[derive(Serialize)]
struct Received {
    peer: String,
    received_bytes: usize,
    truncated: bool,
}

#[derive(Serialize)]
struct Served<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    elapsed_ms: f64,
}

impl Events {
    /// Events on stdout, failures on stderr.
    pub fn new(output: Output) -> Events {
        Events { output: Some(output) }
    }

    /// No events.
    pub fn none() -> Events {
        Events { output: None }
    }

    /// The lines that say where the server is: always, and first.
    pub fn listening(&self, listener: &Listener, service: &Service) -> io::Result<()> {
        let Some(output) = &self.output else { return Ok(()) };
        let (address, transport, mode) =
            (listener.local().to_string(), listener.transport().to_string(), service.word());
        let text = format!("listening on {address} ({transport}), {mode}");
        output.product(&event("listening", Listening { address, transport, mode }), text)
    }

    /// Somebody has come.
    pub fn accepted(&self, connection: u64, conn: &Conn) -> io::Result<()> {
        let Some(output) = self.talkative() else { return Ok(()) };
        let peer = conn.peer().to_string();
        let text = format!("connected by {peer}");
        output.product(&event("accepted", Accepted { connection, peer, local: conn.local().to_string() }), text)
    }

    /// Somebody has gone.
    pub fn closed(&self, connection: u64, conn: &Conn, traffic: Traffic, how: &How) -> io::Result<()> {
        let Some(output) = self.talkative() else { return Ok(()) };
        let (peer, elapsed) = (conn.peer().to_string(), conn.age());
        let Traffic { received_bytes, sent_bytes } = traffic;
        let (ending, errname) = match how {
            How::PeerFinished => ("closed by peer".to_owned(), None),
            How::Stopped => ("closed".to_owned(), None),
            How::Cut => ("cut off".to_owned(), None),
            How::Failed(error) => (format!("failed: {}", error.reason()), Some(error.errname())),
        };
        let text = format!(
            "{peer} {ending} after {}: {} bytes in, {} bytes out",
            Elapsed(elapsed),
            received_bytes,
            sent_bytes
        );
        let how = how.word();
        let elapsed_ms = milliseconds(elapsed);
        output.product(
            &event("closed", Closed { connection, peer, how, errname, received_bytes, sent_bytes, elapsed_ms }),
            text,
        )
    }

    /// A datagram has come; said only with `-v`, or in JSON.
    pub fn datagram(&self, datagram: &Datagram) -> io::Result<()> {
        let wanted = |output: &&Output| output.json || output.verbosity >= Verbosity::Verbose;
        let Some(output) = self.talkative().filter(wanted) else { return Ok(()) };
        let &Datagram { length, truncated, .. } = datagram;
        let peer = datagram.from.to_string();
        let cut = if truncated { ", cut off" } else { "" };
        let text = format!("datagram from {peer}: {length} bytes{cut}");
        output.product(&event("datagram", Received { peer, received_bytes: length, truncated }), text)
    }

    /// Something failed that does not end the server.
    pub fn failed(&self, error: &Error) {
        if let Some(output) = &self.output {
            output.error(error, error.hint());
        }
    }

    /// Told to stop, with connections still open.
    pub fn draining(&self, connections: u64, grace: Duration) -> io::Result<()> {
        let Some(output) = self.talkative() else { return Ok(()) };
        if output.json {
            return output.product(&event("draining", Draining { connections, grace_ms: milliseconds(grace) }), "");
        }
        let plural = if connections == 1 { "" } else { "s" };
        output.note(format_args!(
            "draining {} connection{plural} for at most {}; a second signal ends at once",
            Count(connections),
            Elapsed(grace)
        ));
        Ok(())
    }

    /// What was served in all: the last JSON line, or text on stderr.
    pub fn summary(&self, summary: &Summary, is_stream: bool, elapsed: Duration) -> io::Result<()> {
        let Some(output) = self.talkative() else { return Ok(()) };
        if output.json {
            let elapsed_ms = milliseconds(elapsed);
            return output.product(&event("summary", Served { summary, elapsed_ms }), "");
        }
        output.note(describe(summary, is_stream, elapsed));
        Ok(())
    }

    fn talkative(&self) -> Option<&Output> {
        self.output.as_ref().filter(|output| output.verbosity > Verbosity::Quiet)
    }
}

/// The summary for people.
fn describe(summary: &Summary, is_stream: bool, elapsed: Duration) -> String {
    let bytes = format!("in {}, out {}", Size(summary.received_bytes), Size(summary.sent_bytes));
    let (number, one) = if is_stream { (summary.connections, "connection") } else { (summary.datagrams, "datagram") };
    let plural = if number == 1 { "" } else { "s" };
    let mut text = format!("served {} {one}{plural} in {}", Count(number), Elapsed(elapsed));
    if summary.connections > 1 {
        text.push_str(&format!(", at most {} at once", Count(summary.connections_peak)));
    }
    for (number, what) in [
        (summary.connections_failed, "failed"),
        (summary.connections_cut, "cut off at the end"),
        (summary.accepts_failed, "accepts failed"),
        (summary.datagrams_unanswered, "not answered"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {} {what}", Count(number)));
        }
    }
    format!("{text}; {bytes}")
}
