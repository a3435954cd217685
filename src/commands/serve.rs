//! `serve`: a test server. This file owns what was typed and what it means; `serve/engine.rs` does the serving.

mod access;
mod content;
mod counters;
mod discard;
mod echo;
mod embedded;
mod ending;
mod engine;
mod events;
mod inetd;
mod life;
mod limits;
mod mode;
mod parting;
mod service;
mod stream;
mod teller;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueHint;
use tokio::sync::mpsc;

use crate::cli::{LookupArgs, OutputArgs, TransportArgs, UsageError, cores};
use crate::connection::datagram::PAYLOAD_BYTES_MAX;
use crate::connection::socket::raise_descriptor_limit;
use crate::connection::{Allowed, Endpoint, Options, Query, Role, Transport, listen, resolve};
use crate::exit::Status;
use crate::output::Output;
use crate::signals;
use crate::units::parse_duration;
use access::{Access, AccessArgs};
use engine::{Ending, Settings, Wish};
use limits::LimitArgs;
use mode::ModeParser;
use service::Service;

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
    /// Datagrams are answered each by itself, with at most as many bytes as came from outside this machine. Where the server
    /// ends first, it reads what the peer still sends, for at most five seconds: else the peer could lose the end.
    #[arg(long, value_name = "MODE", default_value = "echo", value_parser = ModeParser)]
    pub mode: Service,
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
    /// Keep listening after a connection ends: always so (netcat's flag)
    #[arg(short = 'k', long, hide = true)]
    pub keep_open: bool,
    /// Listen: always so (netcat's flag)
    #[arg(short = 'l', hide = true)]
    pub listen: bool,
    /// How much, and for how long.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Who may come in.
    #[command(flatten)]
    pub access: AccessArgs,
    /// Protocol and family.
    #[command(flatten)]
    pub transport: TransportArgs,
    /// Names.
    #[command(flatten)]
    pub lookup: LookupArgs,
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
        \x20 sockkit serve -lkvp 9000           netcat's letters work\n\n\
        The listening lines come first on stdout, and are flushed before the first accept: wait for them instead of \
        sleeping. SIGINT and SIGTERM end the server: what is under way may finish within --grace, a second signal ends \
        at once. SIGUSR1 prints the summary so far.\n\n{}",
        crate::exit::help()
    )
}

/// What it means.
struct Plan {
    endpoint: Endpoint,
    query: Query,
    options: Options,
    settings: Settings,
    backlog: i32,
}

impl Plan {
    /// On a system that lets us have so many descriptors.
    fn from_args(args: &Args, descriptors: Option<u64>) -> Result<Plan> {
        let endpoint = endpoint(args)?;
        let transport = args.transport.to(&endpoint);
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
        if !transport.is_stream()
            && let Some(why) = args.mode.why_not_datagrams(PAYLOAD_BYTES_MAX)
        {
            return Err(UsageError(format!("--mode {} is not for {transport}: {why}", args.mode.word())).into());
        }
        Ok(Plan {
            endpoint,
            query: args.transport.query(transport, args.lookup.numeric, None),
            options,
            settings: Settings {
                service: args.mode.clone(),
                limits: args.limits.limits(args.once, transport, descriptors)?,
                grace: args.grace,
                threads: cores(),
                access: Arc::new(Access::new(args.access.clone())?),
            },
            backlog: args.backlog,
        })
    }
}

/// The endpoint out of netcat's several ways to say it.
fn endpoint(args: &Args) -> Result<Endpoint, UsageError> {
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

/// Runs `serve`.
pub fn run(args: &Args, output: Output) -> Result<Status> {
    let plan = Plan::from_args(args, raise_descriptor_limit())?;
    if let Some(shortfall) = args.limits.shortfall(&plan.settings.limits) {
        output.note(shortfall);
    }
    let resolved = resolve(&plan.endpoint, &plan.query)?;
    if plan.settings.service.needs_allow(plan.query.transport.is_stream()) {
        plan.settings.access.guard(plan.settings.service.word(), &resolved.addresses)?;
    }
    let listeners = listen(&resolved.addresses, plan.query.transport, &plan.options, plan.backlog)?;
    let (wish, wishes) = mpsc::unbounded_channel();
    let hear = move |heard| wish.send(Wish::of(heard)).is_ok();
    signals::hear_requests(hear).context("listen for signals")?;
    let events = events::Events::new(output);
    for listener in &listeners {
        events.listening(listener, &plan.settings.service)?;
        output.detail(format_args!("{}: {}", listener.local(), listener.effective_options()));
    }
    let (_summary, ending) = engine::serve(listeners, plan.settings, events, wishes)?;
    Ok(match ending {
        Ending::Done => Status::Done,
        Ending::Vacant(error) => return Err((*error).into()),
        Ending::Insisted(signal) => Status::Signal(signal),
    })
}
