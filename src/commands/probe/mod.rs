//! `probe`: a port check in the manner of `connect_ex`, of one port and of all of them.
//!
//! Owns what was typed and what it means. Must not know how a target is probed or printed.
//!
//! | file | owns |
//! |---|---|
//! | `grammar`, `ports` | what a word means |
//! | `targets` | which ports: what was named, what is excluded, and the expansion |
//! | `names`     | lookups under way |
//! | `sweep`     | the run: from targets to verdicts, through one window of connects |
//! | `waiting`   | when a target is probed again |
//! | `gateway`   | the way through a proxy |
//! | `checks`    | what a connection must do to count |
//! | `verdict`   | what became of a target; the status of the run |
//! | `summary`   | what a run amounts to |
//! | `report`    | the formats |
//! | `interrupt` | ^C and SIGTERM |
//! | `command`   | what becomes of the process after it |

mod checks;
mod command;
mod gateway;
mod grammar;
mod interrupt;
mod names;
mod ports;
mod report;
mod summary;
mod sweep;
mod targets;
mod verdict;
mod waiting;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{ValueEnum, ValueHint};
use regex::bytes::Regex;

use self::checks::Checks;
pub use self::report::Format;
use self::sweep::{Dials, sweep};
use self::targets::Targets;
pub use self::waiting::Goal;
use self::waiting::Rules;
use crate::cli::{Long, LookupArgs, OutputArgs, ProxyArgs, SourceArgs, TransportArgs, UsageError, places};
use crate::connection::descriptors;
use crate::connection::{Allowed, Endpoint, Options, Proxy, Source, Transport, trace};
use crate::escapes::unescape;
use crate::exit::Status;
use crate::output::Output;
use crate::script::parse_regex;
use crate::units::{Count, parse_duration};

/// More targets than this are far more often a slip than a wish: at the default timeout that many silent ones take an hour.
const TARGETS_MAX: u64 = 1_000_000;

/// Connects under way at a time: a thousand silent ports in one timeout, and no more than a small router's table holds.
const WINDOW: usize = 1024;

/// Descriptors that are not for connects: the standard streams, files, the event queue, the resolver's.
const DESCRIPTORS_APART: u64 = 32;

/// With more targets than a screen has lines, counts are wanted as well.
const MANY: u64 = 16;

/// How long `--wait` waits unless it is told.
const WAIT_DEADLINE: Duration = Duration::from_secs(30);

/// The pause before a retry, and between two looks of `--wait`.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// The pause between two measurements, as ping's.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

/// What `probe` was asked for.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::probe_help(), after_long_help = after_long_help())]
pub struct Args {
    /// Which ports: HOST:PORTS..., or HOST PORTS..., unix:PATH, @FILE
    ///
    /// PORTS is a list such as 80,443,8000-8010. HOST is a name, an address or a network such as 192.0.2.0/24. @FILE has
    /// targets line by line, and - stands for stdin; # begins a comment there. udp: before a target probes in datagrams.
    /// What is named twice is probed once.
    #[arg(value_name = "TARGET", required = true, value_hint = ValueHint::Hostname)]
    pub targets: Vec<String>,
    /// How long an attempt may take
    ///
    /// For each address of the name; a lookup may take as long. TCP repeats a lost SYN after one second: a shorter time gives
    /// it no second chance.
    #[arg(short = 'w', long, value_name = "DURATION", default_value = "3s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Measure each target so many times, as ping does
    ///
    /// A line for each, and then the times of those that were open: min, avg, p50, p99 and max, jitter and loss. A target
    /// counts as open if any of its measurements was.
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Pause between attempts [default: 1s with -c, else 250ms]
    #[arg(short = 'i', long, value_name = "DURATION", value_parser = parse_duration)]
    pub interval: Option<Duration>,
    /// What is printed for a target
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    pub output_format: Format,
    /// Probe only: always so (netcat's flag)
    #[arg(short = 'z', hide = true)]
    pub zero: bool,
    /// How it is probed, counted and told.
    #[command(flatten)]
    pub how: Long<How>,
    /// Our own end.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Protocol and family.
    #[command(flatten)]
    pub transport: TransportArgs,
    /// Names.
    #[command(flatten)]
    pub lookup: LookupArgs,
    /// A command to become when the targets are as wanted
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
    /// What is printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Last, because their heading would cover whatever came after them.
    #[command(flatten)]
    pub options: Long<Options>,
}

/// The long flags. They have defaults of their own where none of them is typed.
#[derive(Debug, Default, clap::Args)]
pub struct How {
    /// How long everything may take
    ///
    /// It cuts off whatever is under way then, a lookup too. [default with --wait: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub deadline: Option<Duration>,
    /// Probe until a target is so, or until the deadline
    ///
    /// Names that do not resolve yet are looked up again. Only what is wrong on this side ends the wait at once.
    #[arg(long, value_name = "STATE", conflicts_with_all = ["count", "watch", "retries"])]
    pub wait: Option<Goal>,
    /// Probe a target that fails so many times more
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, conflicts_with = "count")]
    pub retries: u64,
    /// The same until ^C
    #[arg(long, conflicts_with_all = ["count", "retries"])]
    pub watch: bool,
    /// Multiply the pause by this each time, up to 30 s
    #[arg(long, hide_short_help = true, value_name = "FACTOR", value_parser = parse_factor)]
    pub backoff: Option<f64>,
    /// Open only if the peer stays so long, without end or reset
    ///
    /// For ports that accept before there is a server behind them.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub stable: Option<Duration>,
    /// Send this when connected; over UDP it is the question
    ///
    /// \r \n \t \0 \xHH and \\ are what they are in C.
    #[arg(long, value_name = "TEXT", value_parser = parse_payload, allow_hyphen_values = true)]
    pub send: Option<Payload>,
    /// Open only if the answer matches this regular expression
    #[arg(long, value_name = "REGEX", value_parser = parse_regex, allow_hyphen_values = true)]
    pub expect: Option<Regex>,
    /// Show the first that the peer says
    #[arg(long)]
    pub banner: bool,
    /// Which addresses of a name
    #[arg(long = "addr", value_name = "WHICH", default_value = "any")]
    pub which: Which,
    /// How many targets must be as wanted [default: all; any with a range]
    #[arg(long, value_name = "all|any|N", value_parser = parse_require)]
    pub require: Option<Require>,
    /// Leave these out: HOST, HOST:PORTS, network or PORTS (repeatable)
    #[arg(long, value_name = "TARGET", value_hint = ValueHint::Hostname)]
    pub exclude: Vec<String>,
    /// Print only what is open
    #[arg(long)]
    pub open: bool,
    /// The way to a target.
    #[command(flatten)]
    pub proxy: ProxyArgs,
    /// Connects under way at a time [default: 1024]
    #[arg(long, hide_short_help = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub parallel: Option<u64>,
    /// Targets begun a second, at most
    #[arg(long, hide_short_help = true, value_name = "N", value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// Probe only the first N targets
    #[arg(long, hide_short_help = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Probe more than a million targets without asking
    #[arg(long, hide_short_help = true)]
    pub yes: bool,
    /// What the exit status means [default: errno; nagios with -o nagios]
    #[arg(long, value_name = "MEANING")]
    pub exit_code: Option<ExitCode>,
}

/// What `--send` sends.
#[derive(Debug, Clone)]
pub struct Payload(Vec<u8>);

/// Which addresses of a name are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Which {
    /// Only the first
    First,
    /// All until one answers
    #[default]
    Any,
    /// Each, as a target of its own
    All,
}

/// How many targets must be as wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Require {
    /// Every one.
    All,
    /// One at least.
    Any,
    /// So many at least.
    AtLeast(u64),
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
        \x20 sockkit probe db:5432,5433 web:http           ports of several hosts\n\
        \x20 sockkit probe --open 192.0.2.0/24:22,80       what is open in a network\n\
        \x20 sockkit probe --wait open db:5432 -- ./server the command, once the port is open\n\
        \x20 sockkit probe -c 10 -i 100ms db:5432          ten measurements, and their times\n\
        \x20 sockkit probe --expect '^SSH-' host:22        open, and the right thing behind it\n\
        \x20 case $(sockkit probe -o errname db:5432) in\n\
        \x20   OK) ;; ECONNREFUSED) echo down;; EAI_*) echo no such name;;\n\
        \x20 esac\n\n\
        A port that accepts and resets at once is open. A UDP port is open only if it answers; silence is open|filtered.\n\n{}",
        crate::exit::probe_help()
    )
}

fn parse_payload(text: &str) -> Result<Payload, String> {
    unescape(text).map(Payload)
}

fn parse_factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|factor: &f64| factor.is_finite() && *factor >= 1.0);
    factor.ok_or_else(|| format!("{text:?} is not a factor: write a number from 1 on, such as 1.5"))
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.strip_suffix("/s").unwrap_or(text).parse().ok();
    let rate = rate.filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| format!("{text:?} is not a rate: write targets a second, such as 100"))
}

fn parse_require(text: &str) -> Result<Require, String> {
    match (text, text.parse()) {
        ("all", _) => Ok(Require::All),
        ("any", _) => Ok(Require::Any),
        (_, Ok(number)) if number > 0 => Ok(Require::AtLeast(number)),
        _ => Err(format!("{text:?} is none of all, any and a number from 1 on")),
    }
}

/// What it means.
#[derive(Debug)]
struct Plan {
    targets: Targets,
    allowed: Allowed,
    is_numeric: bool,
    which: Which,
    timeout: Duration,
    deadline: Option<Duration>,
    rules: Rules,
    checks: Arc<Checks>,
    /// What UDP targets are asked, if there may be any.
    question: Option<Vec<u8>>,
    window: usize,
    rate: Option<f64>,
    limit: u64,
    require: Require,
    format: Format,
    only_open: bool,
    exit_code: ExitCode,
    options: Options,
    source: Source,
    unix_source: Source,
    proxy: Option<Proxy>,
    command: Vec<OsString>,
}

impl Plan {
    fn from_args(args: &Args, output: Output) -> Result<Plan> {
        let Long(how) = &args.how;
        places::check(&args.targets, "probe")?;
        if args.options.0.fast_open.is_some_and(|queue| queue > 0) {
            let why = "with --fast-open a connect ends before the peer has answered: it proves nothing about the port";
            return Err(UsageError(why.to_owned()).into());
        }
        let targets = targets(args)?;
        let format = if output.json { Format::Json } else { args.output_format };
        let meaning = if format == Format::Nagios { ExitCode::Nagios } else { ExitCode::Errno };
        let (has_unix, has_inet) = targets.families();
        let source =
            |is_needed: bool, transport| if is_needed { args.source.source(transport) } else { Ok(Source::default()) };
        let proxy = proxy(args, &targets)?;
        let limit = how.limit.unwrap_or(u64::MAX);
        let require = require(args, &targets)?;
        Ok(Plan {
            allowed: args.transport.allowed(),
            is_numeric: args.lookup.numeric,
            which: how.which,
            timeout: args.timeout,
            deadline: how.deadline.or(how.wait.map(|_| WAIT_DEADLINE)),
            rules: rules(args),
            checks: Arc::new(Checks {
                send: how.send.as_ref().map(|payload| payload.0.clone()),
                expect: how.expect.clone(),
                has_banner: how.banner,
                stable: how.stable,
                timeout: args.timeout,
            }),
            // An empty datagram is as good a question as any: a closed port refuses it too.
            question: Some(how.send.as_ref().map_or(Vec::new(), |payload| payload.0.clone())),
            window: window(args, targets.total.min(limit)),
            rate: how.rate,
            limit,
            require,
            format,
            only_open: how.open,
            exit_code: how.exit_code.unwrap_or(meaning),
            options: args.options.0.clone(),
            source: source(has_inet, Transport::Tcp)?,
            unix_source: source(has_unix, Transport::UnixStream)?,
            proxy,
            command: args.command.clone(),
            targets,
        })
    }

    /// How many targets there are, at most.
    fn total(&self) -> u64 {
        self.targets.total.min(self.limit)
    }

    /// Whether there are more than a person reads line by line.
    fn is_many(&self) -> bool {
        self.total() > MANY
    }

    /// Whether it may take long enough for somebody to lose patience.
    fn is_long(&self) -> bool {
        self.is_many() || self.rules.wait.is_some() || self.rules.count.is_some()
    }

    /// Whether something happens on other threads.
    fn needs_waker(&self) -> bool {
        self.is_long() || self.checks.is_any() || self.proxy.is_some() || self.targets.has_names(self.is_numeric)
    }

    /// The columns that the longest target takes; of very many hosts, that of the first of them.
    fn width(&self) -> usize {
        /// As many are looked at in a millisecond.
        const HOSTS_MAX: usize = 4096;
        self.targets.spots().take(HOSTS_MAX).map(|spot| spot.width()).max().unwrap_or(0)
    }
}

fn targets(args: &Args) -> Result<Targets> {
    let Long(how) = &args.how;
    let mut targets = Targets::new(args.transport.unix, args.transport.udp);
    targets.add_arguments(&args.targets)?;
    for word in &how.exclude {
        targets.exclude(word).map_err(|why| UsageError(format!("--exclude: {why}")))?;
    }
    if targets.total == 0 {
        return Err(UsageError(format!("no target in {}", args.targets.join(" "))).into());
    }
    if !how.exclude.is_empty() && targets.spots().all(|spot| spot.target(0).is_none()) {
        return Err(UsageError(format!("--exclude leaves no target of {}", args.targets.join(" "))).into());
    }
    if targets.total > TARGETS_MAX && !how.yes && how.limit.is_none() {
        let many = Count(targets.total);
        return Err(UsageError(format!(
            "that is {many} targets: --yes probes them all, --limit N the first N of them"
        ))
        .into());
    }
    Ok(targets)
}

/// How many must be as wanted, if there can be as many.
fn require(args: &Args, targets: &Targets) -> Result<Require> {
    let Long(how) = &args.how;
    let by_default = if targets.has_range { Require::Any } else { Require::All };
    let require = how.require.unwrap_or(by_default);
    let most = targets.total.min(how.limit.unwrap_or(u64::MAX));
    match require {
        // How many addresses a name has is not known yet.
        Require::AtLeast(number) if number > most && how.which != Which::All => {
            Err(UsageError(format!("--require {number} is more than there are targets: {}", Count(most))).into())
        }
        _ => Ok(require),
    }
}

/// The proxy, if every target can be asked of it.
fn proxy(args: &Args, targets: &Targets) -> Result<Option<Proxy>> {
    let Long(how) = &args.how;
    let Some(proxy) = how.proxy.proxy()? else { return Ok(None) };
    let refusal = targets.samples().find_map(|target| {
        let transport = args.transport.transport(matches!(target.endpoint, Endpoint::Unix(_)));
        let transport = if target.is_datagram { Transport::Udp } else { transport };
        proxy.suits(&target.endpoint, transport, args.transport.allowed()).err()
    });
    if let Some(why) = refusal {
        return Err(UsageError(why).into());
    }
    if how.which == Which::All && proxy.looks_names_up() && targets.has_names(false) {
        let why = "--addr all: this proxy looks names up itself; socks5:// has them looked up here";
        return Err(UsageError(why.to_owned()).into());
    }
    Ok(Some(proxy))
}

fn rules(args: &Args) -> Rules {
    let Long(how) = &args.how;
    let count = if how.watch { Some(u64::MAX) } else { args.count };
    let pause = if count.is_some() { MEASURE_INTERVAL } else { RETRY_INTERVAL };
    Rules {
        wait: how.wait,
        retries: how.retries,
        count,
        interval: args.interval.unwrap_or(pause),
        backoff: how.backoff.unwrap_or(1.0),
    }
}

/// How many connects are under way at a time: no more than there are targets, nor than descriptors can be had.
fn window(args: &Args, total: u64) -> usize {
    let Long(how) = &args.how;
    let wanted = how.parallel.map_or(WINDOW, |parallel| usize::try_from(parallel).unwrap_or(usize::MAX));
    let wanted = wanted.min(usize::try_from(total).unwrap_or(usize::MAX));
    if wanted <= MANY as usize {
        return wanted;
    }
    // A command inherits the limit, and some programs fail with one that is larger than they know.
    let limit = if args.command.is_empty() { descriptors::raise_limit() } else { descriptors::limit() };
    let free = limit.map_or(usize::MAX, |limit| limit.saturating_sub(DESCRIPTORS_APART).max(1) as usize);
    // Those that are talked to after their connect have a descriptor too.
    let is_talked_to = how.proxy.proxy.is_some();
    let is_checked = is_talked_to || how.send.is_some() || how.expect.is_some() || how.banner || how.stable.is_some();
    wanted.min(if is_checked { (free / 2).max(1) } else { free })
}

/// Runs `probe`.
pub fn run(args: &Args, output: Output) -> Result<Status> {
    let plan = Plan::from_args(args, output)?;
    let summary = sweep(&plan, &Dials::new(&plan), output)?;
    // Whoever stops measurements has them; whoever stops anything else, or what was to be the way to a command, has not.
    if let Some(signal) = summary.stopped_by.filter(|_| !summary.is_complete() || !plan.command.is_empty()) {
        return Ok(Status::Signal(signal));
    }
    let status = summary.tally.status(plan.exit_code);
    if status == Status::Done && !plan.command.is_empty() {
        trace::finish().context("write the trace")?;
        return Ok(command::run(&plan.command, output));
    }
    Ok(status)
}
