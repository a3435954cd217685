//! What was typed, and what it means.
//!
//! Owns the arguments and every refusal of them. Must not know how a plan is carried out: after it, nothing can be a usage
//! error.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueHint;

use super::length::Lengths;
use super::load::Load;
use super::pacing::Arrival;
use super::random::Random;
use super::warm_up::{self, WarmUp};
use crate::cli::{OutputArgs, TransportArgs, UsageError, cores};
use crate::commands::serve::Embedded;
use crate::connection::dial::Failed;
use crate::connection::{Address, Conn, Dial, Endpoint, Options, Role, Source, Transport, dial, resolve};
use crate::units::parse_duration;

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
    /// Connections
    #[arg(short = 'c', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub connections: u32,
    /// How long to measure [default: 5s]
    ///
    /// It begins after the warm-up, and ends with the answer to the last message that was sent in it.
    #[arg(short = 't', long, value_name = "DURATION", conflicts_with = "messages", value_parser = parse_duration)]
    pub time: Option<Duration>,
    /// How many messages to send, in all, instead of a time
    ///
    /// All are counted: there is no warm-up, unless --warm-up asks for one.
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: Option<u64>,
    /// How long a message is, in bytes: 64, 64..1400, or 64:9,1400:1
    ///
    /// A range is drawn from evenly. A list has a weight for each length: of 64:9,1400:1 nine in ten messages have 64
    /// bytes.
    #[arg(short = 'l', long, value_name = "SIZE", default_value = "64", value_parser = Lengths::parse)]
    pub length: Lengths,
    /// Messages a second, over all connections: an open loop
    ///
    /// Messages are sent as planned, whatever came back, and measured from the time they were planned for; what the
    /// server makes others wait for is part of the result. Without it the loop is closed: a connection sends its next
    /// message when it has one back.
    #[arg(short = 'r', long, value_name = "RATE", value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// How planned messages follow each other
    #[arg(long, value_name = "HOW", default_value = "uniform", requires = "rate")]
    pub arrival: Arrival,
    /// Messages under way on each connection, in a closed loop
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000), conflicts_with = "rate")]
    pub window: u32,
    /// Make each connection anew after so many messages
    ///
    /// How long connecting takes is told apart. Each connection has a thread of its own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["rate", "window", "udp"])]
    pub reconnect: Option<u64>,
    /// Also tell what happened every so often, while it does
    ///
    /// A line each, or with --json an object of the schema sockkit.echo-bench.interval/1, before the report. In steps of
    /// 50 ms.
    #[arg(short = 'i', long, value_name = "DURATION", value_parser = parse_duration)]
    pub interval: Option<Duration>,
    /// How long a connection attempt may take
    #[arg(short = 'w', long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub connect_timeout: Duration,
    /// How long an answer may take [default: 1s for datagrams, else 10s]
    ///
    /// A datagram without one is lost, and counts as an infinite latency; on a stream it is the end of the run.
    #[arg(short = 'W', long, value_name = "DURATION", value_parser = parse_duration)]
    pub reply_timeout: Option<Duration>,
    /// What comes before the measurement: auto, or a time
    /// [default: auto with a time]
    ///
    /// With auto it ends when the medians of five slices of 50 ms agree within 5 % and have no direction, and after 5 s at
    /// most. Its messages are not counted, but what is wrong with their answers is.
    #[arg(long, value_name = "auto|DURATION", value_parser = parse_warm_up)]
    pub warm_up: Option<WarmUpArg>,
    /// Threads [default: one a core, at most one a connection; 1 with -r]
    #[arg(long, hide_short_help = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// What random choices begin with [default: drawn, and shown]
    #[arg(long, hide_short_help = true, value_name = "N")]
    pub seed: Option<u64>,
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
    /// In the words of the other commands.
    pub fn common(&self) -> TransportArgs {
        TransportArgs { ipv4: self.ipv4, ipv6: self.ipv6, udp: self.udp, unix: self.unix, numeric: false }
    }
}

/// What `--warm-up` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarmUpArg {
    /// By rule.
    Auto,
    /// So long.
    Time(Duration),
}

fn parse_warm_up(text: &str) -> Result<WarmUpArg, String> {
    match text {
        "auto" => Ok(WarmUpArg::Auto),
        _ => parse_duration(text).map(WarmUpArg::Time).map_err(|error| format!("{error}, or auto")),
    }
}

/// Reads messages a second: `10000`, `10k`, `2.5M`, `0.5`.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let refuse = |why: &str| Err(format!("{text:?} is not a rate: {why}, for example 10000, 10k (a second) or 0.5"));
    let number = text.strip_suffix("/s").unwrap_or(text);
    let (number, factor) = match number.char_indices().next_back() {
        Some((end, 'k' | 'K')) => (&number[..end], 1e3),
        Some((end, 'M')) => (&number[..end], 1e6),
        _ => (number, 1.0),
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return refuse("a number of messages a second is needed");
    }
    match number.parse::<f64>().map(|number| number * factor) {
        Ok(rate) if rate <= 0.0 => refuse("it sends nothing"),
        Ok(rate) if rate < RATE_MIN => refuse("it is less than one an hour"),
        Ok(rate) if rate > RATE_MAX => refuse("no machine sends more than 100M a second"),
        Ok(rate) => Ok(rate),
        Err(_) => refuse("a number of messages a second is needed"),
    }
}

/// One an hour: what is rarer is no load.
const RATE_MIN: f64 = 1.0 / 3600.0;
/// A system call takes a hundred nanoseconds, and there are two to a message.
const RATE_MAX: f64 = 1e8;

/// The end of `echo-bench --help`.
fn after_long_help() -> String {
    format!(
        "Examples:\n\
        \x20 sockkit echo-bench                            its own server: the floor of this machine\n\
        \x20 sockkit echo-bench 127.0.0.1:65432 -t 2s      somebody else's, for two seconds\n\
        \x20 sockkit echo-bench -c 64 -l 1Ki               64 connections, 1024 bytes a message\n\
        \x20 sockkit echo-bench -u -n 10000                10 000 datagrams\n\
        \x20 sockkit echo-bench -r 10k --arrival poisson   10 000 messages a second, as clients come\n\
        \x20 sockkit echo-bench --json                     for programs\n\n\
        A round trip is from just before a message's first byte is sent to just after its last is received, in full. Without\n\
        -r the loop is closed: a connection sends its next message when it has the last one back, so a server that stalls\n\
        is asked less while it does, and its stalls are under-represented. Every byte that comes back is compared with what\n\
        was sent. A percentile is shown with the interval that holds the true one in 95 of 100 cases, or with the number\n\
        of samples that it would need.\n\n{}",
        crate::exit::help()
    )
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// So long after the warm-up.
    Time(Duration),
    /// So many messages, over all connections.
    Messages(u64),
}

/// What it means.
#[derive(Debug, Clone)]
pub struct Plan {
    /// None is a server of our own.
    pub endpoint: Option<Endpoint>,
    /// The protocol.
    pub transport: Transport,
    /// The socket options.
    pub options: Options,
    /// How many connections.
    pub connections: u32,
    /// Over how many threads.
    pub threads: u32,
    /// How long messages are.
    pub lengths: Lengths,
    /// How they follow each other.
    pub load: Load,
    /// How many a connection lasts.
    pub reconnect: Option<u64>,
    /// When to stop.
    pub until: Until,
    /// What comes before.
    pub warm_up: WarmUp,
    /// The limits.
    pub connect_timeout: Duration,
    /// The limits.
    pub reply_timeout: Duration,
    /// How long an interval is, if there are to be any.
    pub interval: Option<Duration>,
    /// What random choices begin with.
    pub seed: u64,
    /// Whether threads look for answers without sleeping.
    pub is_spinning: bool,
    /// The CPUs that threads are kept on, in turn; none leaves it to the system.
    pub cpus: Vec<usize>,
}

/// More than a UDP datagram over IPv4 can carry.
const UDP_PAYLOAD_BYTES_MAX: usize = 65_507;

/// Larger messages measure memory, not sockets; and a typing error should not take the machine's.
const LENGTH_BYTES_MAX: usize = 64 << 20;

/// A thread for each connection that is made anew: more of them would measure the scheduler.
const RECONNECTING_MAX: u32 = 256;

impl Plan {
    /// What these arguments mean.
    pub fn from_args(args: &Args) -> Result<Plan, UsageError> {
        let parse = |words: &[String]| Endpoint::parse(words, Role::Connect, args.transport.unix).map_err(UsageError);
        let endpoint = if args.endpoint.is_empty() { None } else { Some(parse(&args.endpoint)?) };
        let is_unix = endpoint.as_ref().map_or(args.transport.unix, |endpoint| matches!(endpoint, Endpoint::Unix(_)));
        let transport = args.transport.common().transport(is_unix);
        check_length(&args.length, transport)?;
        let until = match (args.messages, args.time) {
            (Some(messages), _) => Until::Messages(messages),
            (None, Some(Duration::ZERO)) => return Err(UsageError("-t 0 measures nothing".to_owned())),
            (None, time) => Until::Time(time.unwrap_or(Duration::from_secs(5))),
        };
        let reply_timeout =
            args.reply_timeout.unwrap_or(Duration::from_secs(if transport.is_stream() { 10 } else { 1 }));
        if reply_timeout.is_zero() {
            return Err(UsageError("-W 0 waits for no answer: the shortest is 1us".to_owned()));
        }
        if args.interval.is_some_and(|interval| interval.is_zero()) {
            return Err(UsageError("-i 0 tells nothing: the shortest is 50ms".to_owned()));
        }
        if args.reconnect.is_some() && args.connections > RECONNECTING_MAX {
            return Err(UsageError(format!("--reconnect makes at most {RECONNECTING_MAX} connections at a time")));
        }
        let mut options = args.options.clone();
        if transport == Transport::Tcp {
            options.nodelay.get_or_insert(true);
        }
        let load = match args.rate {
            Some(rate) => Load::Open { rate, arrival: args.arrival },
            None => Load::Closed { window: args.window },
        };
        Ok(Plan {
            endpoint,
            transport,
            options,
            connections: args.connections,
            threads: threads(args),
            lengths: args.length.clone(),
            load,
            reconnect: args.reconnect,
            until,
            warm_up: warm_up(args.warm_up, until),
            connect_timeout: args.connect_timeout,
            reply_timeout,
            interval: args.interval,
            seed: args.seed.unwrap_or_else(drawn_seed),
            is_spinning: false,
            cpus: Vec::new(),
        })
    }

    /// Dials every connection, before any clock starts.
    pub fn connect(&self, target: &Target) -> Result<Vec<Conn>> {
        let source = Source::default();
        let plan =
            Dial { transport: self.transport, options: &self.options, source: &source, timeout: self.connect_timeout };
        let one = |_| Ok(dial(&target.addresses, &plan).map_err(Failed::into_error)?.conn);
        (0..self.connections).map(one).collect()
    }
}

fn check_length(lengths: &Lengths, transport: Transport) -> Result<(), UsageError> {
    let limit = if transport == Transport::Udp { UDP_PAYLOAD_BYTES_MAX } else { LENGTH_BYTES_MAX };
    if lengths.min() == 0 || lengths.max() > limit {
        return Err(UsageError(format!("-l {lengths} is not in 1 to {limit} bytes for {transport}")));
    }
    Ok(())
}

fn threads(args: &Args) -> u32 {
    if args.reconnect.is_some() {
        return args.connections;
    }
    // A planned load waits for its next message by looking at the clock: more threads would take the server's CPU.
    let usual = if args.rate.is_some() { 1 } else { cores() as u32 };
    // Where there is no wait for many sockets, each connection has a thread.
    args.threads.unwrap_or(usual).min(args.connections)
}

fn warm_up(asked: Option<WarmUpArg>, until: Until) -> WarmUp {
    /// The rule cannot come to an end sooner.
    const AUTO_MIN: Duration = Duration::from_millis(400);
    match (asked, until) {
        (None, Until::Messages(_)) | (Some(WarmUpArg::Time(Duration::ZERO)), _) => WarmUp::None,
        (Some(WarmUpArg::Time(time)), _) => WarmUp::Fixed(time),
        // No longer than what is measured: a short run is meant to be short.
        (_, Until::Time(time)) => WarmUp::Auto(time.clamp(AUTO_MIN, warm_up::TIME_MAX)),
        (_, Until::Messages(_)) => WarmUp::Auto(warm_up::TIME_MAX),
    }
}

/// A seed that nobody chose: the time and the process are as good as any, and it is shown.
fn drawn_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // Six digits can be read aloud and typed again.
    Random::new(now.as_nanos() as u64, u64::from(std::process::id())).below(1_000_000)
}

/// What is measured: a server, ours or somebody's.
#[derive(Debug)]
pub struct Target {
    /// Where it is.
    pub addresses: Arc<Vec<Address>>,
    /// Ended with the measurement.
    pub own: Option<Embedded>,
}

impl Target {
    /// Finds the server, or starts one.
    pub fn find(args: &Args, plan: &Plan) -> Result<Target> {
        let common = args.transport.common();
        let (own, addresses) = match &plan.endpoint {
            Some(endpoint) => {
                (None, resolve(endpoint, &common.query(plan.transport, Some(plan.connect_timeout)))?.addresses)
            }
            None => {
                let server =
                    Embedded::start(plan.transport, common.allowed(), &args.options).context("start a server")?;
                let address = server.address().clone();
                (Some(server), vec![address])
            }
        };
        Ok(Target { addresses: Arc::new(addresses), own })
    }

    /// As a person reads it.
    pub fn name(&self) -> String {
        self.addresses.first().map(ToString::to_string).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_refused() {
        for (text, rate) in [("10000", 10_000.0), ("10k", 10_000.0), ("2.5M", 2.5e6), ("0.5", 0.5), ("100/s", 100.0)] {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
        for (text, why) in [
            ("0", "it sends nothing"),
            ("0.0001", "less than one an hour"),
            ("1000M", "no machine"),
            ("", "is needed"),
            ("k", "is needed"),
            ("-1", "is needed"),
            ("inf", "is needed"),
            ("1e9", "is needed"),
        ] {
            let error = parse_rate(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_warm_up_is_never_longer_than_its_limits() {
        let seconds = Duration::from_secs;
        for (asked, until, expected) in [
            (None, Until::Messages(5), WarmUp::None),
            (None, Until::Time(seconds(2)), WarmUp::Auto(seconds(2))),
            (None, Until::Time(seconds(60)), WarmUp::Auto(seconds(5))),
            (Some(WarmUpArg::Auto), Until::Messages(5), WarmUp::Auto(seconds(5))),
            (Some(WarmUpArg::Time(seconds(1))), Until::Messages(5), WarmUp::Fixed(seconds(1))),
            (Some(WarmUpArg::Time(seconds(0))), Until::Time(seconds(9)), WarmUp::None),
        ] {
            assert_eq!(warm_up(asked, until), expected, "{asked:?} {until:?}");
        }
    }
}
