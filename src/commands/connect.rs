//! `connect`: stdin to the peer, the peer to stdout. This file owns what was typed, what it means, and the verdict; the
//! relay and its rules are in `relay`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueHint;
use serde::Serialize;

use crate::cli::{OutputArgs, SourceArgs, TransportArgs, UsageError};
use crate::connection::{
    Attempt, Conn, Dial, Dialed, Endpoint, Options, Query, Role, Source, TcpInfo, Transport, dial, resolve,
};
use crate::exit::Status;
use crate::output::{Output, bulk_stdin, bulk_stdout};
use crate::relay::{Ended, Outcome, Rules, relay};
use crate::units::{Elapsed, milliseconds, parse_duration};

/// The name and version of the JSON lines.
const SCHEMA: &str = "sockkit.connect/1";

/// Datagrams have no end: so long after stdin's end the peer may be silent. A round trip to anywhere on Earth fits in.
const DATAGRAM_QUIT_AFTER: Duration = Duration::from_secs(1);

/// What `connect` was asked for.
// The help's brackets are no links.
#[allow(rustdoc::broken_intra_doc_links)]
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::help(), after_long_help = after_long_help())]
pub struct Args {
    /// Where to connect: HOST:PORT, HOST PORT, or with -U a PATH
    ///
    /// IPv6 addresses as [::1]:80 or ::1 80; services by name, as in localhost:http; without a host, loopback.
    #[arg(value_name = "ENDPOINT", num_args = 1..=2, required = true, value_hint = ValueHint::Hostname)]
    pub endpoint: Vec<String>,
    /// How long a connection attempt may take
    ///
    /// For each address of the name; a lookup may take as long.
    #[arg(short = 'w', long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub connect_timeout: Duration,
    /// Quit when the peer is silent this long after stdin's end
    ///
    /// Streams wait for the peer's end by default; datagrams, which have none, 1 second.
    #[arg(short = 'q', long, value_name = "DURATION", value_parser = parse_duration)]
    pub quit_after: Option<Duration>,
    /// Write what the peer sends to a terminal as it is
    ///
    /// Without it, what could drive the terminal is escaped. Pipes and files always get the exact bytes.
    #[arg(long)]
    pub raw: bool,
    /// Half-close at stdin's end: always so (netcat's flag)
    #[arg(short = 'N', hide = true)]
    pub half_close: bool,
    /// Listening is `sockkit serve` (netcat's flag)
    #[arg(short = 'l', hide = true)]
    pub listen: bool,
    /// Our own end.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Protocol and family.
    #[command(flatten)]
    pub transport: TransportArgs,
    /// What is printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Last, because their heading would cover whatever came after them.
    #[command(flatten)]
    pub options: Options,
}

/// The end of `connect --help`.
fn after_long_help() -> String {
    format!(
        "Examples:\n\
        \x20 echo hello | sockkit connect 127.0.0.1:65432\n\
        \x20 sockkit connect ::1 65432 < request > answer\n\
        \x20 sockkit connect -v -w 3 example.com 80        the verdict on stderr: who ended it, and how\n\
        \x20 echo ping | sockkit connect -u ::1 9000        UDP: ends when the peer is silent for a second\n\
        \x20 sockkit connect -U /tmp/echo.sock             a unix socket\n\n\
        At stdin's end our half is closed, and what the peer still sends is printed until it finishes too. When the \
        peer finishes first, connect ends as soon as stdin is silent. A reset is a failure, and says what was not \
        acknowledged.\n\n{}",
        crate::exit::help()
    )
}

/// What it means.
struct Plan {
    endpoint: Endpoint,
    query: Query,
    options: Options,
    source: Source,
    timeout: Duration,
    rules: Rules,
    raw: bool,
}

impl Plan {
    fn from_args(args: &Args) -> Result<Plan, UsageError> {
        if args.listen {
            return Err(UsageError(format!("-l listens: that is `sockkit serve {}`", args.endpoint.join(" "))));
        }
        let endpoint = Endpoint::parse(&args.endpoint, Role::Connect, args.transport.unix).map_err(UsageError)?;
        let transport = args.transport.to(&endpoint);
        let mut options = args.options.clone();
        if transport == Transport::Tcp {
            // What is typed goes out at once.
            options.nodelay.get_or_insert(true);
        }
        let quit_after = args.quit_after.or((!transport.is_stream()).then_some(DATAGRAM_QUIT_AFTER));
        Ok(Plan {
            query: args.transport.query(transport, Some(args.connect_timeout)),
            source: args.source.source(transport)?,
            endpoint,
            options,
            timeout: args.connect_timeout,
            rules: Rules { quit_after },
            raw: args.raw,
        })
    }
}

/// Runs `connect`.
pub fn run(args: &Args, output: Output) -> Result<Status> {
    let plan = Plan::from_args(args)?;
    let Plan { query, options, source, timeout, .. } = &plan;
    let resolved = resolve(&plan.endpoint, query)?;
    let dialled = dial(&resolved.addresses, &Dial { transport: query.transport, options, source, timeout: *timeout });
    let Dialed { conn, attempts } = dialled.map_err(|failed| {
        tell_attempts(&failed.attempts, output);
        failed.into_error()
    })?;
    tell_attempts(&attempts, output);
    output.detail(format_args!("connected to {conn} from {}: {}", conn.local(), conn.effective_options()));
    conn.set_blocking()?;
    let conn = Arc::new(conn);
    let input = bulk_stdin().context("open stdin")?;
    let printer = bulk_stdout(plan.raw).context("open stdout")?;
    let outcome = relay(conn.clone(), input, printer, plan.rules);
    tell(&conn, &outcome, output);
    judge(outcome, &conn)
}

/// With `-v`, each address of a name that did not answer.
pub(super) fn tell_attempts(attempts: &[Attempt], output: Output) {
    for attempt in attempts {
        if let Some(error) = attempt.error.as_ref().filter(|_| attempts.len() > 1) {
            output.detail(error);
        }
    }
}

#[derive(Serialize)]
struct Verdict<'a> {
    schema: &'static str,
    event: &'static str,
    peer: String,
    local: String,
    how: &'a str,
    received_bytes: u64,
    sent_bytes: u64,
    unacknowledged_bytes: Option<u64>,
    input_ended: bool,
    elapsed_ms: f64,
    tcp_info: Option<TcpInfo>,
}

/// Who ended it, how, and what went each way.
fn tell(conn: &Conn, outcome: &Outcome, output: Output) {
    let (how, words) = match &outcome.ended {
        Ended::PeerFinished => ("peer_finished", "closed by the peer"),
        Ended::PeerSilent => ("peer_silent", "quit, the peer being silent,"),
        Ended::PeerFailed(_) => ("peer_failed", "failed"),
        Ended::InputFailed(_) => ("input_failed", "failed, stdin being unreadable,"),
        Ended::OutputFailed(_) => ("output_failed", "quit, stdout being closed,"),
    };
    let &Outcome { received_bytes, sent_bytes, input_ended, .. } = outcome;
    let text = format!(
        "{conn} {words} after {}: {sent_bytes} bytes sent, {received_bytes} received{}{}",
        Elapsed(conn.age()),
        if input_ended || matches!(outcome.ended, Ended::InputFailed(_)) { "" } else { "; stdin was still open" },
        conn.info().map_or(String::new(), |info| format!(
            "; rtt {} µs, {} segments sent again",
            info.rtt_us, info.retransmitted_segments
        )),
    );
    let verdict = Verdict {
        schema: SCHEMA,
        event: "closed",
        peer: conn.peer().to_string(),
        local: conn.local().to_string(),
        how,
        received_bytes,
        sent_bytes,
        unacknowledged_bytes: outcome.unacknowledged_bytes(conn),
        input_ended,
        elapsed_ms: milliseconds(conn.age()),
        tcp_info: conn.info(),
    };
    output.verdict(&verdict, text);
}

/// The status that follows.
fn judge(outcome: Outcome, conn: &Conn) -> Result<Status> {
    let unacknowledged = outcome.unacknowledged_bytes(conn).filter(|bytes| *bytes > 0);
    match outcome.ended {
        Ended::PeerFinished | Ended::PeerSilent => Ok(Status::Done),
        Ended::InputFailed(error) => Err(error).context("read stdin"),
        Ended::OutputFailed(error) => Err(error).context("write stdout"),
        Ended::PeerFailed(error) => {
            let lost =
                unacknowledged.map_or(String::new(), |bytes| format!(", of which {bytes} were not acknowledged"));
            Err(error
                .told(format!("{} bytes received, {} sent{lost}", outcome.received_bytes, outcome.sent_bytes))
                .into())
        }
    }
}
