//! `connect`: stdin to the peer, the peer to stdout. This file owns what was typed and what it means; the relay and its
//! rules are in `relay`; `joining` has the flags that `serve --stdio` has as well, `patience` tries again, `speaker` is who
//! talks to the peer, `executed` a program, `scripted` a script and `verified` numbered data in the user's place, `verdict` tells
//! how it ended, `kept` keeps what came and the hashes, `recorded` records, `shown` shows it, `way` is how the peer is reached,
//! `attempts` tells of that, and `datagrams` is how stdin is cut.

mod attempts;
mod datagrams;
mod executed;
mod faulty;
mod joining;
mod kept;
mod patience;
mod recorded;
mod replay;
mod scripted;
mod shown;
mod speaker;
mod verdict;
mod verified;
mod way;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{ValueEnum, ValueHint};

use crate::cli::faults::tell_options;
use crate::cli::{
    FaultArgs, LookupArgs, OutputArgs, ProgramArgs, ProxyArgs, SeedArgs, SeqpacketArgs, SourceArgs, TransportArgs,
    UsageError, places,
};
use crate::commands::recording::{RecordArgs, Recording};
use crate::connection::{Conn, Endpoint, Options, Proxy, Query, Role, Source, Transport};
use crate::exit::Status;
use crate::fault::{Place, RuleSet, Side};
use crate::output::{Output, stdin_length_bytes};
use crate::program::{self, Program};
use crate::record::Ending;
use crate::relay::{Ended, Manner, Relay, Rules, Taps, Traffic};
use crate::units::parse_duration;
use patience::{Patience, PatienceArgs};
use replay::{ClientReplayArgs, Replay};
use scripted::{ScriptArgs, Scripted};
use speaker::Speaker;
use verified::{Verification, VerifyArgs};

use attempts::Attempts;
pub use attempts::tell_attempts;
use datagrams::DatagramArgs;
use faulty::Faulty;
pub use joining::{JoiningArgs, PassingArgs};
pub use shown::dump;
use way::{HeaderArgs, Preamble, establish};

/// How long an echo that is verified may be silent, unless -W says otherwise.
const VERIFY_IDLE: Duration = Duration::from_secs(10);

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
    /// How often it is tried.
    #[command(flatten)]
    pub patience: PatienceArgs,
    /// Connect, say so, and close
    ///
    /// Nothing is sent. `probe` does it to many, and has the errno as its status.
    #[arg(short = 'z', long = "connect-only", conflicts_with_all = ["program", "output_file", "hash", "hex"])]
    pub connect_only: bool,
    /// Give up when nothing has come or gone for so long [status: 124]
    ///
    /// What a slow peer acknowledges counts, where the system tells it; it may then be an eighth longer.
    #[arg(short = 'W', long, value_name = "DURATION", value_parser = parse_duration)]
    pub idle_timeout: Option<Duration>,
    /// Give up after so long, whatever happens [status: 124]
    ///
    /// The name lookup and the connecting are part of it.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_time: Option<Duration>,
    /// Stay when the peer has finished, until stdin ends
    ///
    /// Without it, connect ends with the peer as soon as stdin is silent.
    #[arg(short = 'k', long, conflicts_with = "no_stdin")]
    pub keep_open: bool,
    /// Tell the hash of what went each way, on stderr
    #[arg(long, value_name = "HASH")]
    pub hash: Option<Hash>,
    /// Show bytes and rate on stderr while it is a terminal, and the time left when stdin is a file
    #[arg(long)]
    pub progress: bool,
    /// Leave what is typed to the terminal
    ///
    /// Without it, lines that are typed at a terminal can be edited before they are sent, and called back with the arrow keys;
    /// what comes is shown above them. --raw and --progress, which draw on the terminal as well, leave it out too.
    #[arg(long)]
    pub no_editing: bool,
    /// Half-close at stdin's end: always so (netcat's flag)
    #[arg(short = 'N', hide = true)]
    pub half_close: bool,
    /// How stdin and stdout are joined to the peer.
    #[command(flatten)]
    pub joining: JoiningArgs,
    /// How stdin becomes datagrams.
    #[command(flatten)]
    pub datagrams: DatagramArgs,
    /// What is shown and kept of the bytes that pass.
    #[command(flatten)]
    pub passing: PassingArgs,
    /// What is recorded.
    #[command(flatten)]
    pub record: RecordArgs,
    /// What is played.
    #[command(flatten)]
    pub replay: ClientReplayArgs,
    /// Faults on purpose.
    #[command(flatten)]
    pub faults: FaultArgs,
    /// What they draw.
    #[command(flatten)]
    pub seed: SeedArgs,
    /// A program in the user's place.
    #[command(flatten)]
    pub program: ProgramArgs,
    /// The way to the peer.
    #[command(flatten)]
    pub proxy: ProxyArgs,
    /// What goes ahead.
    #[command(flatten)]
    pub header: HeaderArgs,
    /// What an echo server is checked with.
    #[command(flatten)]
    pub verify: VerifyArgs,
    /// Our own end.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Protocol and family.
    #[command(flatten)]
    pub transport: TransportArgs,
    /// The third kind of unix sockets.
    #[command(flatten)]
    pub seqpacket: SeqpacketArgs,
    /// Names.
    #[command(flatten)]
    pub lookup: LookupArgs,
    /// A script in the user's place; after what has no heading, because its own would cover that.
    #[command(flatten)]
    pub script: ScriptArgs,
    /// What is printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Last, because their heading would cover whatever came after them.
    #[command(flatten)]
    pub options: Options,
}

/// The hashes that `--hash` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Hash {
    /// SHA-256 (FIPS 180-4), as sha256sum prints it.
    Sha256,
}

/// The end of `connect --help`.
fn after_long_help() -> String {
    format!(
        "Examples:\n\
        \x20 echo hello | sockkit connect 127.0.0.1:65432\n\
        \x20 sockkit connect ::1 65432 < request > answer\n\
        \x20 sockkit connect -v -w 3 example.com 80        the verdict on stderr: who ended it, and how\n\
        \x20 echo ping | sockkit connect -u ::1 9000        UDP: ends when the peer is silent for a second\n\
        \x20 sockkit connect -U /tmp/echo.sock             a unix socket\n\
        \x20 sockkit connect :6379 --send 'PING\\r\\n' --expect '^\\+PONG' --within 1\n\
        \x20 sockkit connect :6379 -e cat -- /etc/motd     a program talks to the peer\n\n\
        At stdin's end our half is closed, and what the peer still sends is printed until it finishes too. When the \
        peer finishes first, connect ends as soon as stdin is silent. A reset is a failure, and says what was not \
        acknowledged. SIGINT and SIGTERM end it at once, with the verdict that -v and --json print otherwise.\n\n{}",
        crate::exit::help()
    )
}

/// What it means.
struct Plan {
    endpoint: Endpoint,
    query: Query,
    options: Options,
    source: Source,
    proxy: Option<Proxy>,
    preamble: Option<Preamble>,
    timeout: Duration,
    patience: Patience,
    connects_only: bool,
    faults: Option<Arc<RuleSet>>,
    rules: Rules,
    /// How the input is cut before the fault rules see it.
    manner: Manner,
    program: Option<Program>,
    /// Whether the program can have the socket itself.
    hands_over: bool,
    script: Option<Scripted>,
    replay: Option<Replay>,
    verification: Option<Verification>,
    raw: bool,
    edits: bool,
    output_file: Option<PathBuf>,
    hash: Option<Hash>,
    hex: bool,
    timestamps: bool,
    progress: bool,
}

impl Plan {
    fn from_args(args: &Args) -> Result<Plan> {
        places::check(&args.endpoint, "connect")?;
        places::check_pair(&args.endpoint, args.passing.hex, "connect")?;
        let endpoint = Endpoint::parse(&args.endpoint, Role::Connect, args.transport.unix).map_err(UsageError)?;
        let transport = args.seqpacket.to(args.transport.to(&endpoint))?;
        let mut options = args.options.clone();
        if transport == Transport::Tcp {
            // What is typed goes out at once.
            options.nodelay.get_or_insert(true);
        }
        if args.datagrams.broadcasts {
            options.broadcast.get_or_insert(true);
        }
        let proxy = args.proxy.proxy()?;
        if let Some(proxy) = &proxy {
            proxy.suits(&endpoint, transport, args.transport.allowed()).map_err(UsageError)?;
        }
        args.record.check(transport)?;
        let faults = faults(args, transport, &mut options)?;
        let (rules, manner) = faulty::divide(rules(args, transport)?, faults.as_ref(), transport);
        Ok(Plan {
            faults,
            rules,
            manner,
            query: args.transport.query(transport, args.lookup.numeric, Some(args.connect_timeout)),
            proxy,
            preamble: args.header.preamble(transport)?,
            source: args.source.source(transport)?,
            endpoint,
            options,
            timeout: args.connect_timeout,
            patience: args.patience.patience(args.max_time),
            connects_only: connects_only(args, transport)?,
            program: executed::program_of(args)?,
            hands_over: program::TAKES_SOCKETS && !executed::sees_bytes(args) && !args.faults.is_typed(),
            script: scripted::script_of(args, transport)?,
            replay: replay::replay_of(args, transport)?,
            verification: verified::verification_of(args, transport)?,
            raw: args.joining.raw,
            edits: !(args.no_editing || args.joining.raw || args.joining.no_stdin || args.progress),
            output_file: args.passing.output_file.clone(),
            hash: args.hash,
            hex: args.passing.hex,
            timestamps: args.joining.timestamps,
            progress: args.progress,
        })
    }
}

/// The fault rules, and what of them is the kernel's business, among the options.
fn faults(args: &Args, transport: Transport, options: &mut Options) -> Result<Option<Arc<RuleSet>>> {
    if !args.faults.is_typed() {
        args.seed.refuse_without_rules()?;
        return Ok(None);
    }
    let set = args.faults.read(args.seed.seed()?.0, Place { transport, side: Side::Connects })?;
    tell_options(&set, transport, options)?;
    Ok(Some(Arc::new(set)))
}

/// Whether there is nothing to do but to connect.
fn connects_only(args: &Args, transport: Transport) -> Result<bool, UsageError> {
    if args.connect_only && !transport.is_stream() {
        let words = "-z connects, and of datagrams that proves nothing: `sockkit probe -u` sends one and waits";
        return Err(UsageError(words.to_owned()));
    }
    if args.connect_only && args.script.is_any() {
        return Err(UsageError("-z sends nothing and hears nothing: leave it out, or the script".to_owned()));
    }
    Ok(args.connect_only)
}

fn rules(args: &Args, transport: Transport) -> Result<Rules, UsageError> {
    let is_stream = transport.is_stream();
    if args.keep_open && !is_stream {
        let words = "-k stays after the peer's end, and datagrams have none: -q 1h waits an hour for their answers";
        return Err(UsageError(words.to_owned()));
    }
    if args.half_close && args.joining.no_shutdown {
        return Err(UsageError("-N half-closes at stdin's end, and --no-shutdown does not: leave one out".to_owned()));
    }
    let joined = args.joining.rules(is_stream);
    Ok(Rules {
        manner: args.datagrams.manner(joined.manner, transport)?,
        // A program, a script or a record may have something to say to the peer's end.
        outstays_peer: args.keep_open || args.program.is_any() || args.script.is_any() || args.replay.replay.is_some(),
        // A check that hangs helps nobody.
        idle_timeout: args.idle_timeout.or(args.verify.verify.map(|_| VERIFY_IDLE)),
        deadline: args.max_time.map(|time| Instant::now() + time),
        ..joined
    })
}

/// Runs `connect`.
pub fn run(args: &Args, output: Output) -> Result<Status> {
    let plan = Arc::new(Plan::from_args(args)?);
    let set = plan.faults.as_ref();
    if let Some((count, set)) = args.seed.plan.zip(set) {
        for planned in set.plan(count, plan.query.transport.is_stream()) {
            output.product(&planned, &planned)?;
        }
        return Ok(Status::Done);
    }
    let seed = set.filter(|set| set.is_random()).map(|set| set.seed());
    if let (Some(seed), (_, true)) = (seed, args.seed.seed()?) {
        output.note(format_args!("faults are drawn with seed {seed}: repeat with --seed {seed}"));
    }
    args.record.around(seed, output, |recording| converse(&plan, recording, output))
}

/// One conversation, from the connecting to the verdict.
fn converse(plan: &Arc<Plan>, recording: Option<&Recording>, output: Output) -> Result<Status> {
    let mut conn = connected(plan, output)?;
    // The threads of the relay may never let go of the connection.
    let _own_path = conn.take_path();
    let conn = Arc::new(conn);
    if plan.connects_only {
        if let Some(recording) = recording {
            recorded::record(recording.recorder(), &conn, &mut Taps::default()).close(Ending::Left, 0);
        }
        return Ok(Status::Done);
    }
    if let Some(program) = plan.program.as_ref().filter(|_| plan.hands_over) {
        return executed::hand_over(program, conn, plan.rules.deadline, output);
    }
    let relay = Relay::new(conn.clone(), plan.rules);
    let stopper = relay.stopper();
    let mut taps = Taps::default();
    shown::tell_datagrams(&mut taps, output);
    let track = recording.map(|recording| {
        let ends = stopper.clone();
        recording.ends_with(move || ends.fail_output(io::ErrorKind::Other.into()));
        recorded::record(recording.recorder(), &conn, &mut taps)
    });
    let to_end = stopper.clone();
    let (speaker, ends) = Speaker::start(plan, &conn, stopper, &mut taps, track.as_ref(), output)?;
    let faulty = plan.faults.clone().map(|set| Faulty::new(set, conn.clone(), to_end, track.clone(), output));
    let (input, peers) = match &faulty {
        Some(faulty) => (faulty.input(ends.input, plan.manner), faulty.output(ends.output)),
        None => (ends.input, ends.output),
    };
    let (printer, file) = kept::save(peers, plan.output_file.as_deref())?;
    let hashes = plan.hash.map(|Hash::Sha256| kept::hash(&mut taps));
    if plan.hex {
        dump(&mut taps, output, "");
    }
    let reads_stdin = speaker.is_stdin() && plan.rules.traffic != Traffic::ReceiveOnly;
    let length = || if reads_stdin { stdin_length_bytes() } else { None };
    let bar = plan.progress.then(|| output.transfer(length())).flatten();
    if let Some(bar) = &bar {
        shown::count(&mut taps, bar);
    }
    let mut outcome = relay.run(input, printer, taps);
    drop(ends.editing);
    let has_reset = faulty.is_some_and(|faulty| faulty.has_reset());
    if has_reset {
        // The reset was wanted; it is the close.
        outcome.ended = Ended::EndsFinished;
    }
    if let Some(track) = track {
        recorded::close(&track, &outcome, speaker.has_reset() || has_reset);
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let parting = speaker.finish(&mut outcome, &conn, plan.rules.deadline, output)?;
    let digests = hashes.map(|hashes| hashes.finish());
    verdict::tell(&conn, &outcome, reads_stdin, parting, digests, output);
    parting.judge(verdict::judge(outcome, &conn, &file), &conn)
}

/// The connection, as long as there is patience.
fn connected(plan: &Arc<Plan>, output: Output) -> Result<Conn> {
    let target = format!("{} ({})", plan.endpoint, plan.query.transport);
    let plan = plan.clone();
    let patience = plan.patience.clone();
    let is_product = plan.connects_only;
    let (begun, attempts) = (Instant::now(), Attempts::default());
    let tried = attempts.clone();
    match patience.connect(&target, move || establish(&plan, &tried, output), output) {
        Ok(conn) => {
            attempts.tell_connected(&conn, begun.elapsed(), is_product, output)?;
            Ok(conn)
        }
        Err(error) => {
            attempts.tell_failed(&error, begun.elapsed(), output);
            Err(error)
        }
    }
}
