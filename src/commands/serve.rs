//! `serve`: a test server. This file owns what was typed and what it means; `serve/engine.rs` does the serving.

mod access;
mod companion;
mod content;
mod counters;
mod discard;
mod echo;
mod embedded;
mod ending;
mod engine;
mod events;
mod executed;
mod expected;
mod faults;
mod faulty;
mod forward;
mod inetd;
mod life;
mod limits;
mod metrics;
mod mode;
mod parting;
mod passing;
mod piped;
mod proxied;
mod readiness;
mod recorded;
mod replay;
mod room;
mod service;
mod stdio;
mod stream;
mod teller;
mod underway;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueHint;
use tokio::sync::mpsc;

use crate::cli::faults::tell_options;
use crate::cli::{
    FaultArgs, LookupArgs, OutputArgs, ProgramArgs, SeedArgs, SeqpacketArgs, TransportArgs, UsageError, cores, places,
};
use crate::commands::connect::{JoiningArgs, PassingArgs};
use crate::commands::recording::{RecordArgs, Recording};
use crate::connection::datagram::PAYLOAD_BYTES_MAX;
use crate::connection::descriptors;
use crate::connection::inherited::{Handed, take_listeners};
use crate::connection::{Address, Allowed, Endpoint, Listener, Options, Query, Role, Transport, listen, resolve};
use crate::exit::Status;
use crate::fault::{Place, Side};
use crate::output::Output;
use crate::printable::one_line;
use crate::program::{Program, TAKES_SOCKETS};
use crate::relay::Rules;
use crate::signals::{self, Heard};
use crate::units::parse_duration;
use access::{Access, AccessArgs};
use companion::{Companion, Reach, ThenArgs};
use engine::{Ending, Settings, Wish};
use events::{Events, SummaryForm};
use executed::Exec;
use expected::Expected;
use faults::Faults;
use limits::LimitArgs;
use mode::{Mode, ModeParser};
use passing::Passing;
use piped::Pipes;
use readiness::{Readiness, ReadyArgs};
use replay::ServerReplayArgs;
use service::Service;
use stdio::Stdio;

pub use embedded::Embedded;

/// What `serve` was asked for.
// The help's brackets are no links.
#[allow(rustdoc::broken_intra_doc_links)]
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::help(), after_long_help = after_long_help())]
pub struct Args {
    /// Where to listen: [HOST:]PORT, HOST PORT, or with -U a PATH
    ///
    /// Without a host the server listens on the loopback addresses, 127.0.0.1 and ::1, on one port. `0.0.0.0:PORT` and
    /// `[::]:PORT` (both families) must be asked for. Port 0 lets the system choose; the listening line tells which.
    #[arg(value_name = "ENDPOINT", num_args = 0..=2, value_hint = ValueHint::Hostname)]
    pub endpoint: Vec<String>,
    /// Port to listen on (0: any free one)
    // -1 is a port that is refused, and not --once.
    #[arg(short = 'p', long, value_name = "PORT", allow_hyphen_values = true)]
    pub port: Option<String>,
    /// Address to listen on [default: loopback]
    #[arg(short = 's', long = "bind", value_name = "ADDRESS", value_hint = ValueHint::Hostname)]
    pub bind: Option<String>,
    /// What to do with those who come
    ///
    /// Datagrams are answered each by itself, with at most as many bytes as came from outside this machine, unless they are
    /// forwarded. Where the server ends first, it reads what the peer still sends, for at most five seconds: else the peer
    /// could lose the end.
    #[arg(long, value_name = "MODE", default_value = "echo", value_parser = ModeParser)]
    pub mode: Mode,
    /// Join stdin and stdout to whoever comes, as `nc -l` does
    ///
    /// What a peer sends goes to stdout: the exact bytes, and while several peers are there line by line, each line behind the
    /// number and the address of its connection. Stdin goes to every peer that is there; at its end each peer's stream ends
    /// too, and the server goes on. With --once it ends with its peer, as `nc -l`. Datagrams are sent to the last who sent
    /// one. What the server tells goes to stderr.
    #[arg(long, conflicts_with = "mode")]
    pub stdio: bool,
    /// Serve one connection (or one datagram), then end
    #[arg(short = '1', long)]
    pub once: bool,
    /// At SIGINT or SIGTERM, how long open connections may finish
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub grace: Duration,
    /// How many connections may wait to be accepted
    ///
    /// The system caps it: at net.core.somaxconn on Linux.
    #[arg(long, value_name = "N", default_value_t = listen::BACKLOG, value_parser = clap::value_parser!(i32).range(1..))]
    pub backlog: i32,
    /// Each connection begins with a header of the PROXY protocol, version 1 or 2
    ///
    /// It must come within 3 seconds, and is never guessed: a connection without one is reset. --allow and --deny are about
    /// the proxy, not about whom it speaks for.
    #[arg(long)]
    pub proxy_protocol: bool,
    /// Compare what comes with a file; when anything differs, the status is 5
    ///
    /// Each connection must send exactly the file, and so must each datagram. The first differing offset is told; what came
    /// is served all the same.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub expect: Option<PathBuf>,
    /// Serve the counts to Prometheus: GET /metrics at [HOST:]PORT [default host: loopback]
    #[arg(long, value_name = "ENDPOINT", value_hint = ValueHint::Hostname)]
    pub metrics: Option<String>,
    /// How the summary is told on stderr [default: text, none with --json or --quiet]
    ///
    /// `json` is the line that ends the events of --json.
    #[arg(long, value_name = "FORM")]
    pub summary: Option<SummaryForm>,
    /// Who is told that it listens.
    #[command(flatten)]
    pub ready: ReadyArgs,
    /// What runs then.
    #[command(flatten)]
    pub then: ThenArgs,
    /// Keep listening after a connection ends: always so (netcat's flag)
    #[arg(short = 'k', long, hide = true)]
    pub keep_open: bool,
    /// Listen: always so (netcat's flag)
    #[arg(short = 'l', long, hide = true)]
    pub listen: bool,
    /// How much, and for how long.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Who may come in.
    #[command(flatten)]
    pub access: AccessArgs,
    /// What is recorded.
    #[command(flatten)]
    pub record: RecordArgs,
    /// What is played.
    #[command(flatten)]
    pub replay: ServerReplayArgs,
    /// Faults on purpose.
    #[command(flatten)]
    pub faults: FaultArgs,
    /// What they draw.
    #[command(flatten)]
    pub seed: SeedArgs,
    /// Protocol and family.
    #[command(flatten)]
    pub transport: TransportArgs,
    /// The third kind of unix sockets.
    #[command(flatten)]
    pub seqpacket: SeqpacketArgs,
    /// Names.
    #[command(flatten)]
    pub lookup: LookupArgs,
    /// A program for whoever comes.
    #[command(flatten)]
    pub program: ProgramArgs,
    /// What is shown and kept of the bytes that pass.
    #[command(flatten)]
    pub passing: PassingArgs,
    /// How stdin and stdout are joined to peers.
    #[command(flatten, next_help_heading = "With --stdio")]
    pub joining: JoiningArgs,
    /// What is printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Last, because their heading would cover whatever came after them.
    #[command(flatten)]
    pub options: Options,
}

/// The end of `serve --help`.
fn after_long_help() -> String {
    format!(
        "Examples:\n\
        \x20 sockkit serve -p 65432             echo on 127.0.0.1:65432 and [::1]:65432\n\
        \x20 sockkit serve -p 0 --quiet         the system chooses the port; the first line says which\n\
        \x20 sockkit serve -u 0.0.0.0 9000      UDP, on every IPv4 address\n\
        \x20 sockkit serve -U /tmp/echo.sock    a unix socket\n\
        \x20 sockkit serve -p 0 --mode chargen  another service than the echo\n\
        \x20 sockkit serve -p 0 -F reset,after=1KiB,chance=10%   faults on purpose: sockkit help faults\n\
        \x20 sockkit serve --stdio -1p 9000     nc -l: a peer to stdout, stdin to the peer\n\
        \x20 sockkit serve -lkvp 9000           netcat's letters work\n\n\
        The listening lines come first on stdout, and are flushed before the first accept: wait for them instead of \
        sleeping. SIGINT and SIGTERM end the server: what is under way may finish within --grace, a second signal ends \
        at once. SIGUSR1 prints the summary so far.\n\n{}",
        crate::exit::help()
    )
}

/// What it means.
struct Plan {
    /// None where somebody has handed over sockets that listen already.
    endpoint: Option<Endpoint>,
    query: Query,
    options: Options,
    settings: Settings,
    metrics: Option<Endpoint>,
    backlog: i32,
}

impl Plan {
    /// On a system that lets us have so many descriptors, and with sockets that were handed over, if any were.
    fn from_args(args: &Args, descriptors: Option<u64>, handed: &[Handed]) -> Result<Plan> {
        let (endpoint, transport) = match transport_of(handed, args)? {
            Some(transport) => (None, transport),
            None => {
                let endpoint = endpoint(args)?;
                let transport = args.seqpacket.to(args.transport.to(&endpoint))?;
                (Some(endpoint), transport)
            }
        };
        if transport.is_unix() && args.access.is_typed() {
            return Err(UsageError(
                "--allow and --deny have no meaning for a unix socket, whose path has permissions".to_owned(),
            )
            .into());
        }
        let mut options = args.options.clone();
        if transport == Transport::Tcp {
            // An echo must not wait for Nagle's algorithm, and a restart must not wait for TIME_WAIT. Winsock's SO_REUSEADDR
            // is another thing: it would let a second server take the port.
            options.nodelay.get_or_insert(true);
            if !cfg!(windows) {
                options.reuse_address.get_or_insert(true);
            }
        }
        if !transport.is_unix() {
            options.v6_only.get_or_insert(args.transport.allowed() == Allowed::V6);
        }
        let service = service(args, transport)?;
        if !transport.is_stream()
            && let Some(why) = service.why_not_datagrams(PAYLOAD_BYTES_MAX)
        {
            return Err(UsageError(format!("--mode {} is not for {transport}: {why}", service.word())).into());
        }
        let service = replay::read(&service, &args.replay, transport, args.output.output())?;
        args.record.check(transport)?;
        if args.proxy_protocol && (transport.keeps_boundaries() || !transport.is_stream()) {
            let why = "--proxy-protocol has no meaning for datagrams: the header begins a stream";
            return Err(UsageError(why.to_owned()).into());
        }
        let faults = faults(args, handed, transport, &mut options)?;
        let has_sessions = matches!(service, Service::Forward(_));
        Ok(Plan {
            endpoint,
            query: args.transport.query(transport, args.lookup.numeric, None),
            options,
            settings: Settings {
                limits: args.limits.limits(args.once, transport, has_sessions, descriptors)?,
                grace: args.grace,
                threads: cores(),
                recorder: None,
                record_file: args.record.record.clone(),
                access: Arc::new(Access::new(args.access.clone())?),
                readiness: Arc::default(),
                faults,
                has_proxy_header: args.proxy_protocol,
                expected: args.expect.as_ref().map(Expected::read).transpose()?,
                metrics: Vec::new(),
                passing: Passing::default(),
                service,
            },
            metrics: args.metrics.as_deref().map(metrics_endpoint).transpose()?,
            backlog: args.backlog,
        })
    }
}

/// The protocol of the sockets that were handed over. Where there are some, the command line must not ask for others.
fn transport_of(handed: &[Handed], args: &Args) -> Result<Option<Transport>, UsageError> {
    let Some(first) = handed.first().map(|handed| handed.listener.transport()) else { return Ok(None) };
    let is_typed = !args.endpoint.is_empty() || args.port.is_some() || args.bind.is_some();
    if is_typed || args.transport.unix || args.transport.udp {
        return Err(UsageError("LISTEN_FDS has handed over sockets: leave out where to listen".to_owned()));
    }
    if handed.iter().any(|handed| handed.listener.transport().is_stream() != first.is_stream()) {
        return Err(UsageError(
            "LISTEN_FDS has handed over streams and datagrams: a server serves one of them".to_owned(),
        ));
    }
    Ok(Some(first))
}

/// The fault rules, and what of them is the kernel's business, among the options.
fn faults(args: &Args, handed: &[Handed], transport: Transport, options: &mut Options) -> Result<Option<Arc<Faults>>> {
    let place = Place { transport, side: Side::Serves };
    let Some(faults) = Faults::from_args(&args.faults, &args.seed, place)? else { return Ok(None) };
    tell_options(&faults.set(), transport, options)?;
    if !handed.is_empty() && faults.set().has_door() {
        let why = "LISTEN_FDS has handed over sockets, which are not ours to shut: leave out refuse, blackhole, no-accept \
                   and flap";
        return Err(UsageError(why.to_owned()).into());
    }
    Ok(Some(Arc::new(faults)))
}

/// What is to be done with those who come.
fn service(args: &Args, transport: Transport) -> Result<Service, UsageError> {
    let is_stdio = args.stdio || matches!(args.mode, Mode::Stdio);
    if let Some(flag) = args.joining.first_typed().filter(|_| !is_stdio) {
        return Err(UsageError(format!("{flag} is for stdin and stdout, which are joined to peers by --stdio")));
    }
    if let Some(program) = args.program.program()? {
        return exec(args, program);
    }
    Ok(match &args.mode {
        _ if is_stdio => Service::Stdio(stdio(args, transport)?),
        Mode::Of(service) => service.clone(),
        Mode::Stdio => unreachable!("it is handled above"),
    })
}

/// A program: with the socket itself where that can be, and between pipes where a layer has to see its bytes.
fn exec(args: &Args, program: Program) -> Result<Service, UsageError> {
    let flags = [
        ("--stdio", args.stdio || matches!(args.mode, Mode::Stdio)),
        ("--mode", !matches!(args.mode, Mode::Of(Service::Echo) | Mode::Stdio)),
    ];
    if let Some((flag, _)) = flags.iter().find(|(_, is_typed)| *is_typed) {
        let why = "says who talks to a peer, and that is the program: leave out one of them";
        return Err(UsageError(format!("{flag} {why}")));
    }
    let is_kept = args.passing.hex || args.passing.output_file.is_some() || args.record.record.is_some();
    let is_limited = args.limits.max_bytes.is_some() || args.limits.idle_timeout.is_some();
    let is_seen = args.faults.is_typed() || is_kept || is_limited || args.expect.is_some() || args.proxy_protocol;
    Ok(Service::Exec(Exec { program, pipes: (is_seen || !TAKES_SOCKETS).then(Pipes::default) }))
}

/// Stdin and stdout, as they are to be joined.
fn stdio(args: &Args, transport: Transport) -> Result<Stdio, UsageError> {
    if args.limits.max_bytes.is_some() {
        return Err(UsageError("--max-bytes is not for --stdio: `| head -c` limits what comes out of it".to_owned()));
    }
    if args.proxy_protocol {
        return Err(UsageError("--proxy-protocol is not for --stdio, which gives you the header too".to_owned()));
    }
    if args.faults.is_typed() {
        return Err(UsageError("fault rules are not for --stdio: connect -F has them at the other end".to_owned()));
    }
    let rules = Rules { idle_timeout: args.limits.idle_timeout, ..args.joining.rules(transport.is_stream()) };
    Ok(Stdio::new(&args.joining, rules, args.once || args.limits.conns == Some(1)))
}

/// The endpoint out of netcat's several ways to say it.
fn endpoint(args: &Args) -> Result<Endpoint, UsageError> {
    places::check(&args.endpoint, "connect")?;
    places::check_pair(&args.endpoint, args.passing.hex, "serve")?;
    let is_unix = args.transport.unix;
    let typed = args.endpoint.join(" ");
    let mut words = args.endpoint.clone();
    if is_unix || matches!(Endpoint::parse(&words, Role::Listen, false), Ok(Endpoint::Unix(_))) {
        for (flag, value) in [("-p", &args.port), ("-s", &args.bind)] {
            if let Some(value) = value {
                return Err(UsageError(format!("{flag} {value} has no meaning for a unix socket")));
            }
        }
    }
    if let Some(port) = &args.port {
        if Endpoint::parse(&words, Role::Listen, false).is_ok() {
            return Err(UsageError(format!("the port is given twice: by -p {port} and by \"{typed}\"")));
        }
        let is_alone = words.is_empty() && args.bind.is_none();
        words.push(if is_alone { format!(":{port}") } else { port.clone() });
    }
    if let Some(address) = &args.bind {
        if words.len() > 1 {
            return Err(UsageError(format!("the address is given twice: by -s {address} and by \"{typed}\"")));
        }
        words.insert(0, address.clone());
    }
    if words.is_empty() {
        let what = if is_unix { "a path" } else { "a port; -p 0 takes any free one" };
        return Err(UsageError(format!("serve needs {what}")));
    }
    Endpoint::parse(&words, Role::Listen, is_unix).map_err(UsageError)
}

/// The listeners: those that were handed over, or new ones.
fn listeners(plan: &Plan, handed: Vec<Handed>, output: Output) -> Result<Vec<Listener>> {
    let Plan { endpoint, query, options, settings, backlog, .. } = plan;
    let guard = |addresses: &[Address]| {
        let is_dangerous = settings.service.needs_allow(query.transport.is_stream());
        if is_dangerous { settings.access.guard(settings.service.word(), addresses) } else { Ok(()) }
    };
    let Some(endpoint) = endpoint else {
        let addresses: Vec<Address> = handed.iter().map(|handed| handed.listener.local().clone()).collect();
        guard(&addresses)?;
        let take = |Handed { listener, name }: Handed| {
            output.detail(format_args!("{}: handed over as \"{}\"", listener.local(), one_line(&name)));
            listener.with_options(options)
        };
        return Ok(handed.into_iter().map(take).collect());
    };
    let resolved = resolve(endpoint, query)?;
    guard(&resolved.addresses)?;
    Ok(listen(&resolved.addresses, query.transport, options, *backlog)?)
}

/// Where the metrics are served, if anywhere: a port of their own, so that who is served cannot read them by chance.
fn metrics_endpoint(typed: &str) -> Result<Endpoint, UsageError> {
    Endpoint::parse(&[typed], Role::Listen, false).map_err(|why| UsageError(format!("--metrics {typed}: {why}")))
}

fn metrics_listeners(plan: &Plan) -> Result<Vec<Listener>> {
    let Some(endpoint) = &plan.metrics else { return Ok(Vec::new()) };
    let transport = TransportArgs::default().to(endpoint);
    let mut options = Options::default();
    if transport == Transport::Tcp && !cfg!(windows) {
        options.reuse_address = Some(true);
    }
    let resolved = resolve(endpoint, &Query { transport, ..plan.query })?;
    Ok(listen(&resolved.addresses, transport, &options, plan.backlog)?)
}

/// Runs `serve`.
pub fn run(args: &Args, mut output: Output) -> Result<Status> {
    // First of all, while there is one thread and nothing was opened.
    let readiness = Readiness::new(&args.ready)?;
    let handed = take_listeners()?;
    let mut plan = Plan::from_args(args, descriptors::raise_limit(), &handed)?;
    output.yields_stdout = matches!(plan.settings.service, Service::Stdio(_));
    if let Some((count, faults)) = args.seed.plan.zip(plan.settings.faults.as_ref()) {
        for planned in faults.set().plan(count, plan.query.transport.is_stream()) {
            output.product(&planned, &planned)?;
        }
        return Ok(Status::Done);
    }
    if let Some(shortfall) = args.limits.shortfall(&plan.settings.limits) {
        output.note(shortfall);
    }
    let seed = plan.settings.faults.as_ref().and_then(|faults| faults.seed());
    args.record.around(seed, output, |recording| {
        plan.settings.recorder = recording.map(|recording| recording.recorder().clone());
        let mut listeners = listeners(&plan, handed, output)?;
        if let Some(faults) = &plan.settings.faults {
            engine::prepare(&mut listeners, faults)?;
        }
        plan.settings.metrics = metrics_listeners(&plan)?;
        plan.settings.passing = Passing::open(&args.passing, output)?;
        carry_out(plan, listeners, readiness, args, recording, output)
    })
}

/// Serves, from the listening to the end.
fn carry_out(
    mut plan: Plan,
    listeners: Vec<Listener>,
    mut readiness: Readiness,
    args: &Args,
    recording: Option<&Recording>,
    output: Output,
) -> Result<Status> {
    let (wish, wishes) = mpsc::unbounded_channel();
    if let Some(recording) = recording {
        let ends = wish.clone();
        // A server that is over needs no word.
        recording.ends_with(move || _ = ends.send(Wish::Stop(1)));
    }
    let reach = Reach::default();
    hear_signals(wish.clone(), reach.clone()).context("listen for signals")?;
    let events = Events::new(output, args.summary);
    for listener in &listeners {
        events.listening(listener, &plan.settings.service)?;
        output.detail(format_args!("{}: {}", listener.local(), listener.effective_options()));
    }
    plan.settings.metrics.iter().try_for_each(|listener| events.metrics(listener))?;
    if let Some(seed) = plan.settings.faults.as_ref().and_then(|faults| faults.drawn_seed()) {
        output.note(format_args!("faults are drawn with seed {seed}: repeat with --seed {seed}"));
    }
    readiness.tell(&listeners)?;
    plan.settings.readiness = Arc::new(readiness);
    let companion = match &args.then.then {
        Some(command) => {
            let ended = move || {
                // The server may have ended meanwhile.
                let _ = wish.send(Wish::Finish);
            };
            match Companion::start(command, &listeners, &reach, ended) {
                Ok(companion) => Some(companion),
                Err(error) => return companion::not_run(error, output),
            }
        }
        None => None,
    };
    let service = plan.settings.service.clone();
    let served = engine::serve(listeners, plan.settings, events, wishes);
    let status = companion.map(Companion::finish);
    let (_summary, ending) = served?;
    match (status.transpose()?, ending) {
        // Both have to be content.
        (Some(Status::Program(0)) | None, Ending::Unexpected) => Ok(Status::CheckFailed),
        (Some(status), _) => Ok(status),
        (None, Ending::Done) if service.differs() => Ok(Status::CheckFailed),
        (None, Ending::Done) => Ok(Status::Done),
        (None, Ending::Vacant(error)) => Err((*error).into()),
        (None, Ending::Insisted(signal)) => Ok(Status::Signal(signal)),
    }
}

/// Each signal is a wish. One that ends the server is for the command beside it too, which is in a group of its own.
fn hear_signals(wish: mpsc::UnboundedSender<Wish>, reach: Reach) -> std::io::Result<()> {
    let mut is_repeated = false;
    signals::hear_requests(move |heard| {
        if let (Heard::End(_), Some(group)) = (heard, reach.get()) {
            if is_repeated {
                group.kill();
            } else {
                group.terminate();
            }
            is_repeated = true;
        }
        wish.send(Wish::of(heard)).is_ok()
    })
}
