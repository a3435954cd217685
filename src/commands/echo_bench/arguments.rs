//! What was typed.
//!
//! Owns the arguments and how each is read. Must not know what they mean together: `plan` does.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::ValueHint;

use super::length::Lengths;
use super::objective::Objective;
use super::pacing::Arrival;
use super::trials::Ramp;
use crate::cli::{FaultArgs, OutputArgs, TransportArgs};
use crate::connection::Options;
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
    /// bytes. Datagrams of 1 or 2 bytes are too short to be told apart for sure: a corrupt one can pass for another's answer.
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
    #[arg(long, value_name = "HOW", default_value = "uniform")]
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
    /// What becomes of the result.
    #[command(flatten)]
    pub outcome: Box<OutcomeArgs>,
    /// What goes wrong on purpose at its own server.
    #[command(flatten)]
    pub faults: FaultArgs,
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

/// Several runs, what a result must fulfil, and the files that it goes to.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct OutcomeArgs {
    /// A condition that the result must fulfil, else status 5: p99<1ms
    ///
    /// About p50, p99.9 and the like, mean, max, rate (a second), lost (a number or a percentage) or errors, with one of
    /// < <= > >=. May be given several times.
    #[arg(long, value_name = "EXPRESSION", value_parser = Objective::parse)]
    pub slo: Vec<Objective>,
    /// Look for the highest rate that fulfils a condition: p99<1ms
    ///
    /// Each rate is measured for --time (default 1s), and for as long as the percentile needs messages, up to a minute; the
    /// search begins at --rate (default 1000). May be given several times; status 5 if no rate does.
    #[arg(long, value_name = "EXPRESSION", value_parser = Objective::parse, conflicts_with_all = ["messages", "runs", "reconnect", "window"])]
    pub search: Vec<Objective>,
    /// Measure at ten rates, one after the other: 1000..20k
    #[arg(long, value_name = "RATE..RATE", value_parser = Ramp::parse, conflicts_with_all = ["messages", "runs", "reconnect", "window", "rate", "search"])]
    pub ramp: Option<Ramp>,
    /// How many runs, each with new connections [default: 1; 5 to save or compare]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: Option<u32>,
    /// Keep the result in a file, for --baseline and --merge
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["search", "ramp"])]
    pub save: Option<PathBuf>,
    /// Compare with a result that was kept
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["search", "ramp"])]
    pub baseline: Option<PathBuf>,
    /// Status 5 if a percentile is surely worse, and by this much: 5%
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, requires = "baseline")]
    pub fail_on_regression: Option<f64>,
    /// Write the whole report to one HTML page
    ///
    /// It needs nothing but itself: no network, no script.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub html: Option<PathBuf>,
    /// Write the charts to an SVG file
    #[arg(long, hide_short_help = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub svg: Option<PathBuf>,
    /// Write each interval to a CSV file
    #[arg(long, hide_short_help = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub csv: Option<PathBuf>,
    /// Write each interval's histogram to a HdrHistogram log
    #[arg(long, hide_short_help = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub hlog: Option<PathBuf>,
    /// The percentiles to tell: 50,90,99.9
    #[arg(long, hide_short_help = true, value_name = "LIST", value_delimiter = ',', value_parser = parse_percentile)]
    pub percentiles: Vec<f64>,
    /// Wait for answers without sleeping, for the shortest round trip; takes a CPU for each thread
    ///
    /// Refused where there are fewer CPUs than threads that spin.
    #[arg(long, hide_short_help = true)]
    pub spin: bool,
    /// Keep threads on these CPUs, in turn: 0,1
    ///
    /// Echo-bench's own server is kept on the last of them.
    #[arg(long, hide_short_help = true, value_name = "LIST", value_delimiter = ',')]
    pub cpu: Vec<usize>,
    /// Add up results, of --save or --hlog, instead of measuring
    ///
    /// The sum is judged by --slo, and its runs are compared with those of a --baseline.
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with_all = ["endpoint", "save", "html", "svg", "csv", "hlog", "search", "ramp", "runs"])]
    pub merge: Vec<PathBuf>,
    /// Connect, then wait for this time: 2026-01-31T12:00:00Z
    ///
    /// So that several machines begin together; their clocks must agree.
    #[arg(long, hide_short_help = true, value_name = "TIME", value_parser = parse_time)]
    pub start_at: Option<SystemTime>,
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

/// Reads a point in time, in UTC.
fn parse_time(text: &str) -> Result<SystemTime, String> {
    let refuse = |_| format!("{text:?} is not a time, for example 2026-01-31T12:00:00Z");
    humantime::parse_rfc3339_weak(text).map_err(refuse)
}

/// Reads a percentile: more than 0, less than 100.
fn parse_percentile(text: &str) -> Result<f64, String> {
    let number = text.trim_start_matches('p').parse::<f64>().ok().filter(|number| *number > 0.0 && *number < 100.0);
    number.ok_or_else(|| format!("{text:?} is not a percentile between 0 and 100, for example 99.9"))
}

/// Reads a percentage as a share: `5%`, `5`, `0.5%`.
fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>().ok();
    let number = number.filter(|number| (0.0..=1000.0).contains(number));
    number.map(|number| number / 100.0).ok_or_else(|| format!("{text:?} is not a percentage, for example 5%"))
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
}
