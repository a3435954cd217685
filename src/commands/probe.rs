//! `probe`: a port check in the manner of `connect_ex`. This file owns what was typed, the verdict on a target, and the
//! status that follows.

use std::io;
use std::time::Duration;

use anyhow::Result;
use clap::{ValueEnum, ValueHint};
use serde::Serialize;

use super::connect::tell_attempts;
use crate::cli::{OutputArgs, SourceArgs, TransportArgs, UsageError};
use crate::connection::{Address, Dial, Endpoint, Error, Kind, Op, Options, Role, Source, dial, resolve};
use crate::exit::Status;
use crate::output::{BAD, GOOD, Output, Verbosity};
use crate::units::{Elapsed, parse_duration};

/// The name and version of the JSON lines.
const SCHEMA: &str = "sockkit.probe/1";

/// What `probe` was asked for.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::probe_help(), after_long_help = after_long_help())]
pub struct Args {
    /// Which ports: HOST:PORT..., or HOST PORT..., or with -U PATH...
    #[arg(value_name = "TARGET", required = true, value_hint = ValueHint::Hostname)]
    pub targets: Vec<String>,
    /// How long an attempt may take
    ///
    /// For each address of the name; a lookup may take as long. TCP repeats a lost SYN after one second: a shorter time gives
    /// it no second chance.
    #[arg(short = 'w', long, value_name = "DURATION", default_value = "3s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// What is printed for a target
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    pub output_format: Format,
    /// What the exit status means
    #[arg(long, value_name = "MEANING", default_value = "errno")]
    pub exit_code: ExitCode,
    /// Probe only: always so (netcat's flag)
    #[arg(short = 'z', hide = true)]
    pub zero: bool,
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

/// What is printed for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for people.
    Text,
    /// The number that connect_ex returns: 0, or the errno (-1 where a name was not found).
    Errno,
    /// Its name, the same on every system: OK, ECONNREFUSED, EAI_NONAME.
    Errname,
    /// A JSON object (as --json).
    Json,
}

/// What the exit status means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExitCode {
    /// 0, or the errno of the first target that failed.
    Errno,
    /// The table of the other commands: the same on every system.
    Class,
    /// 0 open, 1 not open, 2 usage.
    Simple,
    /// 0 OK, 2 CRITICAL, 3 UNKNOWN (the probe itself failed).
    Nagios,
}

/// The end of `probe --help`.
fn after_long_help() -> String {
    format!(
        "Examples:\n\
        \x20 sockkit probe 127.0.0.1:65432 && echo open\n\
        \x20 sockkit probe db 5432 5433                    one host, several ports\n\
        \x20 sockkit probe -w 500ms -4 localhost:http      a service by name, half a second\n\
        \x20 case $(sockkit probe -o errname db:5432) in\n\
        \x20   OK) ;; ECONNREFUSED) echo down;; EAI_*) echo no such name;;\n\
        \x20 esac\n\n\
        A port that accepts and resets at once is open.\n\n{}",
        crate::exit::probe_help()
    )
}

/// What it means.
struct Plan {
    targets: Vec<Endpoint>,
    format: Format,
}

impl Plan {
    fn from_args(args: &Args, output: Output) -> Result<Plan, UsageError> {
        if args.listen {
            return Err(UsageError(format!("-l listens: that is `sockkit serve {}`", args.targets.join(" "))));
        }
        if args.transport.udp && !args.transport.unix {
            return Err(UsageError(
                "a connect proves nothing about a UDP port, which only answers datagrams: `sockkit connect -u` sends one".to_owned(),
            ));
        }
        if args.options.fast_open.is_some_and(|queue| queue > 0) {
            return Err(UsageError(
                "with --fast-open a connect ends before the peer has answered: it proves nothing about the port"
                    .to_owned(),
            ));
        }
        let format = if output.json { Format::Json } else { args.output_format };
        Ok(Plan { targets: targets(&args.targets, args.transport.unix)?, format })
    }
}

/// The targets out of both grammars: `HOST:PORT...`, or netcat's `HOST PORT...`.
fn targets(words: &[String], unix: bool) -> Result<Vec<Endpoint>, UsageError> {
    let one = |words: &[&str]| Endpoint::parse(words, Role::Connect, unix).map_err(UsageError);
    match words {
        [host, ports @ ..] if !unix && !ports.is_empty() && one(&[host]).is_err() => {
            ports.iter().map(|port| one(&[host, port])).collect()
        }
        _ => words.iter().map(|word| one(&[word])).collect(),
    }
}

/// What became of a target.
struct Verdict {
    target: String,
    /// The address that answered, or the only one that did not; none if the name was not found, or has several.
    address: Option<Address>,
    /// How long the name lookup took.
    resolve: Duration,
    /// How long the attempt took.
    elapsed: Duration,
    /// None is open.
    error: Option<Error>,
}

/// The JSON form of a verdict.
#[derive(Serialize)]
struct Record<'a> {
    schema: &'static str,
    target: &'a str,
    address: Option<String>,
    state: &'static str,
    errno: Option<i32>,
    errname: &'static str,
    error: Option<String>,
    resolve_ms: f64,
    connect_ms: f64,
}

/// Runs `probe`.
pub fn run(args: &Args, mut output: Output) -> Result<Status> {
    let plan = Plan::from_args(args, output)?;
    let mut failed = Vec::new();
    for endpoint in &plan.targets {
        let verdict = probe(endpoint, args, output)?;
        match tell(&verdict, plan.format, output) {
            // Whoever read the lines has left, but the status is an answer too, and must not become a wrong one.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => output.verbosity = Verbosity::Quiet,
            written => written?,
        }
        failed.extend(verdict.error);
    }
    Ok(status(&failed, args.exit_code))
}

/// Dials one target.
fn probe(endpoint: &Endpoint, args: &Args, output: Output) -> Result<Verdict> {
    let target = endpoint.to_string();
    let transport = args.transport.to(endpoint);
    let source: Source = args.source.source(transport)?;
    let resolved = match resolve(endpoint, &args.transport.query(transport, Some(args.timeout))) {
        Ok(resolved) => resolved,
        Err(error) => {
            let (resolve, elapsed) = (error.elapsed, Duration::ZERO);
            return Ok(Verdict { target, address: None, resolve, elapsed, error: Some(error) });
        }
    };
    let resolve = resolved.elapsed;
    let plan = Dial { transport, options: &args.options, source: &source, timeout: args.timeout };
    let (address, elapsed, error) = match dial(&resolved.addresses, &plan) {
        Ok(dialled) => {
            tell_attempts(&dialled.attempts, output);
            let conn = &dialled.conn;
            output.detail(format_args!("{conn} from {}: {}", conn.local(), conn.effective_options()));
            let elapsed = dialled.winner().map_or(Duration::ZERO, |attempt| attempt.elapsed);
            (Some(conn.peer().clone()), elapsed, None)
        }
        Err(failed) => {
            tell_attempts(&failed.attempts, output);
            let only = failed.attempts.first().filter(|_| failed.attempts.len() == 1);
            let address = only.map(|attempt| attempt.address.clone());
            let error = failed.into_error();
            (address, error.elapsed, Some(error))
        }
    };
    // Only an established connection can be reset: somebody listens there, and does not like us.
    let error = error.filter(|error| error.kind() != Kind::Reset);
    Ok(Verdict { target, address, resolve, elapsed, error })
}

/// One line a target.
fn tell(verdict: &Verdict, format: Format, output: Output) -> io::Result<()> {
    if output.verbosity == Verbosity::Quiet {
        return Ok(());
    }
    let error = verdict.error.as_ref();
    match format {
        Format::Text => output.print(describe(verdict)),
        Format::Errno => output.print(error.map_or(0, |error| error.errno().unwrap_or(-1))),
        Format::Errname => output.print(error.map_or("OK", Error::errname)),
        Format::Json => Output { json: true, ..output }.product(
            &Record {
                schema: SCHEMA,
                target: &verdict.target,
                address: verdict.address.as_ref().map(ToString::to_string),
                state: state(error),
                errno: error.map_or(Some(0), Error::errno),
                errname: error.map_or("OK", Error::errname),
                error: error.map(ToString::to_string),
                resolve_ms: milliseconds(verdict.resolve),
                connect_ms: milliseconds(verdict.elapsed),
            },
            "",
        ),
    }
}

/// Divided from whole nanoseconds: then the number has no more digits than the clock.
fn milliseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

/// `127.0.0.1:1 refused after 0.1 ms: Connection refused (ECONNREFUSED, 111)`
fn describe(verdict: &Verdict) -> String {
    let Verdict { target, address, elapsed, error, .. } = verdict;
    let (good, bad, plain) = (GOOD.render(), BAD.render(), BAD.render_reset());
    match error {
        None => match address.as_ref().map(ToString::to_string).filter(|address| address != target) {
            Some(address) => format!("{target} {good}open{plain} {} at {address}", Elapsed(*elapsed)),
            None => format!("{target} {good}open{plain} {}", Elapsed(*elapsed)),
        },
        Some(error) => {
            let state = state(Some(error)).replace('_', " ");
            // What failed on this side, and at what, is another question than the target.
            if !matches!(error.op, Op::Connect | Op::Resolve) {
                return format!("{target} {bad}{state}{plain}: {error}");
            }
            format!("{target} {bad}{state}{plain} after {}: {}", Elapsed(error.elapsed), error.reason())
        }
    }
}

/// The word for it.
fn state(error: Option<&Error>) -> &'static str {
    let Some(error) = error else { return "open" };
    match error.kind() {
        Kind::Refused => "refused",
        Kind::TimedOut => "timed_out",
        Kind::Busy => "busy",
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::Prohibited => "unreachable",
        Kind::NameNotFound | Kind::LookupFailed => "not_resolved",
        _ => "local_error",
    }
}

/// The status of the whole run.
fn status(failed: &[Error], meaning: ExitCode) -> Status {
    let Some(first) = failed.first() else { return Status::Done };
    let class = Status::of(first.kind());
    match meaning {
        ExitCode::Errno => Status::errno_of(first),
        ExitCode::Class if failed.iter().any(|error| Status::of(error.kind()) != class) => Status::Mixed,
        ExitCode::Class => class,
        ExitCode::Simple => Status::Errno(1),
        ExitCode::Nagios if class == Status::Local => Status::Errno(3),
        ExitCode::Nagios => Status::Errno(2),
    }
}
