//! What a server tells: who came, who went and how, and the sum of it. Text for people, JSON lines for programs.
//!
//! Owns the form of each event, the listening line's above all, which scripts wait for. Must not know how serving is done.
//! Trade-off: the listening lines are written before anything else happens; all that follows goes through a thread of its
//! own, late by what that takes, so that nobody is served later because somebody reads slowly.

mod sentences;

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::access::Refusal;
use super::counters::{Summary, Traffic};
use super::ending::How;
use super::expected::Difference;
use super::faults::{Count as FaultCount, Faults};
use super::service::Service;
use super::teller::{Line, Teller};
use crate::connection::proxy_protocol::Header;
use crate::connection::socket::Datagram;
use crate::connection::{Address, Conn, Error, Listener, Op, TcpInfo};
use crate::exit::Status;
use crate::fault::door::Door;
use crate::fault::lane::EndingKind;
use crate::fault::{Direction, Fired, Rule};
use crate::output::{Output, Verbosity};
use crate::units::{Count, Elapsed, milliseconds};
use sentences::sentences;

/// The name and version of the JSON lines.
const SCHEMA: &str = "sockkit.serve/1";

/// How long the end of the server waits for a reader that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where events go.
#[derive(Debug)]
pub struct Events {
    /// None says nothing at all: a server inside another command.
    output: Option<Output>,
    /// Once serving has begun.
    teller: Option<Teller>,
    /// How the summary is told on stderr, if that was asked for.
    form: Option<SummaryForm>,
}

/// How the summary is told on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SummaryForm {
    /// In a sentence.
    Text,
    /// As the JSON event.
    Json,
    /// Not at all.
    None,
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
    tcp_info: Option<TcpInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u8>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    faults: Option<Vec<FaultCount>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    elapsed_ms: f64,
}

#[derive(Serialize)]
struct Refused {
    peer: String,
    local: String,
    reason: &'static str,
}

#[derive(Serialize)]
struct Proxied {
    connection: u64,
    peer: String,
    source: Option<String>,
    destination: Option<String>,
}

#[derive(Serialize)]
struct Unexpected {
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<u64>,
    peer: String,
    offset: u64,
    why: String,
}

#[derive(Serialize)]
struct Metrics {
    address: String,
}

#[derive(Serialize)]
struct Full {
    connections: u64,
}

#[derive(Serialize)]
struct DatagramFault {
    datagram: u64,
    peer: String,
    rule: String,
    direction: Direction,
}

#[derive(Serialize)]
struct DoorStands {
    door: Door,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

#[derive(Serialize)]
struct Fault {
    connection: u64,
    peer: String,
    rule: String,
    direction: Direction,
    at_bytes: u64,
}

#[derive(Serialize)]
struct Reloaded {}

#[derive(Serialize)]
struct LeftOut {
    events: u64,
}

impl Events {
    /// Events on stdout, failures on stderr.
    pub fn new(output: Output, form: Option<SummaryForm>) -> Events {
        Events { output: Some(output), teller: None, form }
    }

    /// No events.
    pub fn none() -> Events {
        Events { output: None, teller: None, form: None }
    }

    /// Serving begins. From now on nothing waits for a reader; `failed` hears when stdout cannot be written.
    pub fn begin(&mut self, failed: impl FnOnce(io::Error) + Send + 'static) -> io::Result<()> {
        let Some(output) = self.output else { return Ok(()) };
        self.teller = Some(Teller::start(output, left_out, failed)?);
        Ok(())
    }

    /// Serving has ended: waits a little for what is not written yet.
    pub fn finish(&self) {
        let (Some(output), Some(teller)) = (&self.output, &self.teller) else { return };
        if !teller.finish(PATIENCE) {
            output.error("write stdout failed: nobody reads it; the last events are lost", None);
        }
    }

    /// How many events were left out.
    pub fn left_out(&self) -> u64 {
        self.teller.as_ref().map_or(0, Teller::left_out)
    }

    /// The lines that say where the server is: always, and first.
    pub fn listening(&self, listener: &Listener, service: &Service) -> io::Result<()> {
        let Some(output) = &self.output else { return Ok(()) };
        let (address, transport, mode) =
            (listener.local().to_string(), listener.transport().to_string(), service.word());
        let text = format!("listening on {address} ({transport}), {mode}");
        output.product(&event("listening", Listening { address, transport, mode }), text)
    }

    /// Where the metrics are: said with the listening lines, but on stderr, since stdout's first lines are the server's own.
    pub fn metrics(&self, listener: &Listener) -> io::Result<()> {
        let Some(output) = self.talkative() else { return Ok(()) };
        let address = listener.local().to_string();
        if output.json {
            return output.print(line(output, "metrics", Metrics { address }, ""));
        }
        output.note(format_args!("metrics on http://{address}/metrics"));
        Ok(())
    }

    /// Somebody has come.
    pub fn accepted(&self, connection: u64, conn: &Conn) {
        let Some(output) = self.talkative() else { return };
        let peer = conn.peer().to_string();
        let text = format!("connected by {peer}");
        self.tell(output, "accepted", Accepted { connection, peer, local: conn.local().to_string() }, text);
    }

    /// A proxy has said whose connection it is.
    pub fn proxied(&self, connection: u64, conn: &Conn, header: &Header) {
        let Some(output) = self.talkative() else { return };
        let peer = conn.peer().to_string();
        let (source, destination) = match header {
            Header::Unknown => (None, None),
            Header::Proxied { source, destination, .. } => (Some(source.to_string()), Some(destination.to_string())),
        };
        let text = format!("{peer} speaks for {}", source.as_deref().unwrap_or("itself"));
        self.tell(output, "proxied", Proxied { connection, peer, source, destination }, text);
    }

    /// What came is not what was expected.
    pub fn unexpected(&self, connection: Option<u64>, peer: &Address, difference: Difference) {
        let Some(output) = self.output else { return };
        if output.json && output.verbosity > Verbosity::Quiet {
            let (peer, offset, why) = (peer.to_string(), difference.offset(), difference.to_string());
            return self.tell(output, "unexpected", Unexpected { connection, peer, offset, why }, "");
        }
        let what = connection.map_or("a datagram of".to_owned(), |connection| format!("connection {connection} of"));
        self.say(Line::Failure(format!("--expect: {what} {peer} {difference}"), None));
    }

    /// Nobody came, although something was expected.
    pub fn nothing_came(&self) {
        self.say(Line::Failure("--expect: nobody came".to_owned(), None));
    }

    /// Somebody has gone.
    pub fn closed(&self, connection: u64, conn: &Conn, traffic: Traffic, how: &How) {
        let Some(output) = self.talkative() else { return };
        let (peer, elapsed) = (conn.peer().to_string(), conn.age());
        let Traffic { received_bytes, sent_bytes } = traffic;
        let (ending, errname) = match how {
            How::PeerFinished => ("closed by peer".to_owned(), None),
            How::Finished | How::Stopped => ("closed".to_owned(), None),
            How::TimedOut => ("closed as idle".to_owned(), None),
            How::Full => ("closed at --max-bytes".to_owned(), None),
            How::Program(status) => (in_words(*status), None),
            How::NotRun(why) => (why.clone(), None),
            How::BadHeader(why) => (format!("reset ({why})"), None),
            How::Cut => ("cut off".to_owned(), None),
            How::Reset => ("reset".to_owned(), None),
            How::TooSlow => ("reset as too slow a reader".to_owned(), None),
            How::Fault(EndingKind::Reset) => ("reset by rule".to_owned(), None),
            How::Fault(_) => ("closed by rule".to_owned(), None),
            // Another place than the peer is named.
            How::Failed(error) if matches!(error.op, Op::Resolve | Op::Connect | Op::Read) => {
                (format!("failed ({error})"), Some(error.errname()))
            }
            How::Failed(error) => (format!("failed: {}", error.reason()), Some(error.errname())),
        };
        let text = format!(
            "{peer} {ending} after {}: {} bytes in, {} bytes out",
            Elapsed(elapsed),
            received_bytes,
            sent_bytes
        );
        let status = if let How::Program(status) = how { Some(Status::of_program(*status).number()) } else { None };
        let how = how.word();
        let elapsed_ms = milliseconds(elapsed);
        // What the kernel knows costs a call, and only JSON has room for it.
        let tcp_info = if output.json { conn.info() } else { None };
        let closed =
            Closed { connection, peer, how, errname, received_bytes, sent_bytes, elapsed_ms, tcp_info, status };
        self.tell(output, "closed", closed, text);
    }

    /// A datagram has come; said only with `-v`, or in JSON.
    pub fn datagram(&self, datagram: &Datagram) {
        let Some(output) = self.wordy() else { return };
        let &Datagram { length, truncated, .. } = datagram;
        let peer = datagram.from.to_string();
        let cut = if truncated { ", cut off" } else { "" };
        let text = format!("datagram from {peer}: {length} bytes{cut}");
        self.tell(output, "datagram", Received { peer, received_bytes: length, truncated }, text);
    }

    /// Something failed that does not end the server.
    pub fn failed(&self, error: &Error) {
        self.say(Line::Failure(error.to_string(), error.hint()));
    }

    /// Somebody was not let in; of datagrams that is said only with `-v`, or in JSON.
    pub fn refused(&self, peer: &Address, listener: &Listener, why: Refusal) {
        let wanted = if listener.transport().is_stream() { self.talkative() } else { self.wordy() };
        let Some(output) = wanted else { return };
        let (peer, local, reason) = (peer.to_string(), listener.local().to_string(), why.word());
        let text = format!("refused {peer}: {reason}");
        self.tell(output, "refused", Refused { peer, local, reason }, text);
    }

    /// As many are there as may be: others wait.
    pub fn full(&self, connections: u64) {
        let Some(output) = self.talkative() else { return };
        if output.json {
            return self.tell(output, "full", Full { connections }, "");
        }
        let text = format!("{} connections are open, as many as may be: others wait", Count(connections));
        self.say(Line::Note(text));
    }

    /// A fault rule has fired on a datagram; said only with `-v`, or in JSON.
    pub fn datagram_fault(&self, peer: &Address, rule: &Rule, fired: Fired) {
        let Some(output) = self.wordy() else { return };
        let (peer, rule) = (peer.to_string(), rule.to_string());
        let Fired { direction, at: datagram, .. } = fired;
        let text = format!("fault on {peer}: {rule}, datagram {datagram} {}", direction.word());
        self.tell(output, "fault", DatagramFault { datagram, peer, rule, direction }, text);
    }

    /// A fault rule has shut the door, or its time is over.
    pub fn door(&self, door: Door, rule: Option<&Rule>) {
        let Some(output) = self.talkative() else { return };
        let rule = rule.map(ToString::to_string);
        let by = rule.as_ref().map_or(String::new(), |rule| format!(", by {rule}"));
        self.tell(output, "door", DoorStands { door, rule }, format!("door: {}{by}", door.words()));
    }

    /// A fault rule has fired for the first time on a connection.
    pub fn fault(&self, connection: u64, conn: &Conn, rule: &Rule, fired: Fired) {
        let Some(output) = self.talkative() else { return };
        let (peer, rule) = (conn.peer().to_string(), rule.to_string());
        let Fired { direction, at: at_bytes, .. } = fired;
        let text = format!("fault on {peer}: {rule}, {at_bytes} bytes {}", direction.word());
        self.tell(output, "fault", Fault { connection, peer, rule, direction, at_bytes }, text);
    }

    /// Files were read again.
    pub fn reloaded(&self) {
        let Some(output) = self.talkative() else { return };
        self.tell(output, "reloaded", Reloaded {}, "reloaded");
    }

    /// Files could not be read again, or not understood: all is as it was.
    pub fn not_reloaded(&self, error: &anyhow::Error) {
        self.say(Line::Failure(format!("reload failed, the rules are as they were: {error:#}"), None));
    }

    /// Told to stop, with connections still open.
    pub fn draining(&self, connections: u64, grace: Duration) {
        let Some(output) = self.talkative() else { return };
        if output.json {
            return self.tell(output, "draining", Draining { connections, grace_ms: milliseconds(grace) }, "");
        }
        let plural = if connections == 1 { "" } else { "s" };
        self.say(Line::Note(format!(
            "draining {} connection{plural} for at most {}; a second signal ends at once",
            Count(connections),
            Elapsed(grace)
        )));
    }

    /// What was served so far, or in all: an event in JSON, and on stderr what was asked for.
    ///
    /// The last one waits a little for a reader that is slow: it is what was served in all.
    pub fn summary(
        &self,
        summary: &Summary,
        faults: Option<&Faults>,
        is_stream: bool,
        elapsed: Duration,
        is_last: bool,
    ) {
        let (Some(output), Some(teller)) = (self.output, &self.teller) else { return };
        let say = |line| {
            if is_last {
                // That it was in vain is told at the end, of everything that was not read.
                let _ = teller.insist(line, PATIENCE);
            } else {
                teller.tell(line);
            }
        };
        let (counts, seed) = (faults.map(Faults::counts), faults.and_then(Faults::seed));
        let in_json = || {
            let served = Served { summary, faults: counts.clone(), seed, elapsed_ms: milliseconds(elapsed) };
            serde_json::to_string(&event("summary", served)).unwrap_or_default()
        };
        let is_talkative = output.verbosity > Verbosity::Quiet;
        if output.json && is_talkative {
            say(Line::Event(in_json()));
        }
        let unasked = if is_talkative && !output.json { SummaryForm::Text } else { SummaryForm::None };
        match self.form.unwrap_or(unasked) {
            SummaryForm::Text => {
                let faults = counts.as_deref().map(|counts| (counts, seed));
                sentences(summary, faults, is_stream, elapsed).for_each(|text| say(Line::Summary(text)));
            }
            SummaryForm::Json => say(Line::Summary(in_json())),
            SummaryForm::None => {}
        }
    }

    fn talkative(&self) -> Option<Output> {
        self.output.filter(|output| output.verbosity > Verbosity::Quiet)
    }

    /// For what happens too often to be told unasked.
    fn wordy(&self) -> Option<Output> {
        self.talkative().filter(|output| output.json || output.verbosity >= Verbosity::Verbose)
    }

    /// An event, in the form that was asked for.
    fn tell(&self, output: Output, name: &'static str, fields: impl Serialize, text: impl Into<String>) {
        self.say(Line::Event(line(output, name, fields, text)));
    }

    fn say(&self, line: Line) {
        if let Some(teller) = &self.teller {
            teller.tell(line);
        }
    }
}

/// How a program has ended.
fn in_words(status: ExitStatus) -> String {
    match Status::of_program(status).number() {
        0 => "closed by its program".to_owned(),
        code => format!("closed by its program with status {code}"),
    }
}

/// An event as JSON, or its text.
fn line(output: Output, name: &'static str, fields: impl Serialize, text: impl Into<String>) -> String {
    if output.json {
        // Numbers and strings can always be written.
        serde_json::to_string(&event(name, fields)).unwrap_or_default()
    } else {
        text.into()
    }
}

/// The line in the place of so many others.
fn left_out(output: Output, events: u64) -> String {
    let plural = if events == 1 { "" } else { "s" };
    let text = format!("{} event{plural} left out: nobody read them in time", Count(events));
    line(output, "dropped", LeftOut { events }, text)
}
