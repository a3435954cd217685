//! `echo-bench`: the latency and throughput of an echo server. This file owns what was typed and what it means;
//! `load` produces the round trips, `report` tells about them.

mod load;
mod report;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueHint;

use crate::cli::{OutputArgs, TransportArgs, UsageError, cores};
use crate::commands::serve::Embedded;
use crate::connection::dial::Failed;
use crate::connection::socket::raise_descriptor_limit;
use crate::connection::{Address, Conn, Dial, Endpoint, Options, Role, Source, Transport, dial, resolve};
use crate::exit::Status;
use crate::output::Output;
use crate::units::{parse_duration, parse_size};

/// What `echo-bench` was asked for.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::help(), after_long_help = after_long_help())]
pub struct Args {
    /// An echo server: HOST:PORT, HOST PORT, or with -U a PATH
    /// [default: one of its own]
    ///
    /// Any server that returns what it is sent (RFC 862) can be measured. Without one, echo-bench serves itself, and so
    /// measures the floor of this machine.
    #[arg(value_name = "ENDPOINT", num_args = 0..=2, value_hint = ValueHint::Hostname)]
    pub endpoint: Vec<String>,
    /// Connections, each with one message under way
    #[arg(short = 'c', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// How long to measure [default: 5s]
    ///
    /// The first tenth, at most 200 ms, is warm-up before that and is not counted.
    #[arg(short = 't', long, value_name = "DURATION", conflicts_with = "messages", value_parser = parse_duration)]
    pub time: Option<Duration>,
    /// How many messages to send, in all, instead of a time
    ///
    /// All are counted: there is no warm-up.
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: Option<u64>,
    /// How long a message is, in bytes
    #[arg(short = 'l', long, value_name = "SIZE", default_value = "64", value_parser = parse_size)]
    pub length: u64,
    /// How long a connection attempt may take
    #[arg(short = 'w', long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub connect_timeout: Duration,
    /// How long an answer may take
    ///
    /// A datagram without one is lost, and the next is sent; on a stream it is the end.
    #[arg(short = 'W', long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub reply_timeout: Duration,
    /// Threads [default: as many as cores, at most one a connection]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: Option<u32>,
    /// Protocol and family.
    #[command(flatten)]
    pub transport: BenchTransportArgs,
    /// What is printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Last, because their heading would cover whatever came after them.
    #[command(flatten)]
    pub options: Options,
}

/// The transport flags without `-n`, which here counts messages.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct BenchTransportArgs {
    /// IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// Datagrams: UDP, or with -U unix datagrams
    #[arg(short = 'u', long)]
    pub udp: bool,
    /// A unix socket: the target is its PATH, or @NAME for an abstract one
    #[arg(short = 'U', long)]
    pub unix: bool,
}

impl BenchTransportArgs {
    fn common(&self) -> TransportArgs {
        TransportArgs { ipv4: self.ipv4, ipv6: self.ipv6, udp: self.udp, unix: self.unix, numeric: false }
    }
}

/// The end of `echo-bench --help`.
fn after_long_help() -> String {
    format!(
        "Examples:\n\
        \x20 sockkit echo-bench                            its own server: the floor of this machine\n\
        \x20 sockkit echo-bench 127.0.0.1:65432 -t 2s      somebody else's, for two seconds\n\
        \x20 sockkit echo-bench -c 64 -l 1Ki               64 connections, 1024 bytes a message\n\
        \x20 sockkit echo-bench -u -n 10000                10 000 datagrams\n\
        \x20 sockkit echo-bench --json                     for programs\n\n\
        A round trip is from just before a message's first byte is sent to just after its last is received, in full. The\n\
        loop is closed: a connection sends its next message when it has the last one back, so a server that stalls is\n\
        asked less while it does. Every byte that comes back is compared with what was sent.\n\n{}",
        crate::exit::help()
    )
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// So long after the warm-up.
    Time(Duration),
    /// So many messages, over all connections.
    Messages(u64),
}

/// What it means.
#[derive(Debug)]
struct Plan {
    /// None is a server of our own.
    endpoint: Option<Endpoint>,
    transport: Transport,
    options: Options,
    connections: u32,
    threads: u32,
    length_bytes: usize,
    until: Until,
    warm_up: Duration,
    connect_timeout: Duration,
    reply_timeout: Duration,
}

/// A round trip's first hundreds of milliseconds find cold caches, and a CPU that has not found its frequency.
const WARM_UP_MAX: Duration = Duration::from_millis(200);

/// More than a UDP datagram over IPv4 can carry.
const UDP_PAYLOAD_BYTES_MAX: u64 = 65_507;

/// Larger messages measure memory, not sockets; and a typing error should not take the machine's.
const LENGTH_BYTES_MAX: u64 = 64 << 20;

impl Plan {
    fn from_args(args: &Args) -> Result<Plan, UsageError> {
        let transport_args = args.transport.common();
        let parse = |words: &[String]| Endpoint::parse(words, Role::Connect, args.transport.unix).map_err(UsageError);
        let endpoint = if args.endpoint.is_empty() { None } else { Some(parse(&args.endpoint)?) };
        let is_unix = endpoint.as_ref().map_or(args.transport.unix, |endpoint| matches!(endpoint, Endpoint::Unix(_)));
        let transport = transport_args.transport(is_unix);
        let limit = if transport == Transport::Udp { UDP_PAYLOAD_BYTES_MAX } else { LENGTH_BYTES_MAX };
        if args.length == 0 || args.length > limit {
            return Err(UsageError(format!("-l {} is not in 1 to {limit} bytes for {transport}", args.length)));
        }
        let until = match (args.messages, args.time) {
            (Some(messages), _) => Until::Messages(messages),
            (None, Some(Duration::ZERO)) => return Err(UsageError("-t 0 measures nothing".to_owned())),
            (None, time) => Until::Time(time.unwrap_or(Duration::from_secs(5))),
        };
        let mut options = args.options.clone();
        if transport == Transport::Tcp {
            options.nodelay.get_or_insert(true);
        }
        Ok(Plan {
            endpoint,
            transport,
            options,
            connections: args.connections,
            threads: args.threads.unwrap_or(cores() as u32).min(args.connections),
            length_bytes: args.length as usize,
            until,
            warm_up: match until {
                Until::Time(time) => (time / 10).min(WARM_UP_MAX),
                Until::Messages(_) => Duration::ZERO,
            },
            connect_timeout: args.connect_timeout,
            reply_timeout: args.reply_timeout,
        })
    }

    /// Dials every connection, before any clock starts.
    fn connect(&self, addresses: &[Address]) -> Result<Vec<Conn>> {
        let source = Source::default();
        let plan =
            Dial { transport: self.transport, options: &self.options, source: &source, timeout: self.connect_timeout };
        let one = |_| Ok(dial(addresses, &plan).map_err(Failed::into_error)?.conn);
        (0..self.connections).map(one).collect()
    }
}

/// Runs `echo-bench`.
pub fn run(args: &Args, output: Output) -> Result<Status> {
    let plan = Plan::from_args(args)?;
    raise_descriptor_limit();
    let allowed = args.transport.common().allowed();
    let (server, addresses) = match &plan.endpoint {
        Some(endpoint) => {
            let query = args.transport.common().query(plan.transport, Some(plan.connect_timeout));
            (None, resolve(endpoint, &query)?.addresses)
        }
        None => {
            let server = Embedded::start(plan.transport, allowed, &args.options).context("start a server")?;
            let address = server.address().clone();
            (Some(server), vec![address])
        }
    };
    let conns = plan.connect(&addresses)?;
    let target = conns[0].peer().to_string();
    output.detail(format_args!("{target}: {}", conns[0].effective_options()));
    let measured = load::run(&plan, conns, output)?;
    drop(server);
    let report = report::Report::new(&plan, &target, &measured);
    output.product(&report, report.text(&plan))?;
    measured.failure.map_or(Ok(measured.status), |error| Err(error.into()))
}
