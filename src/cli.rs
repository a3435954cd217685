//! The command line: the program, its four commands, and the flags that all of them share.
//!
//! Owns what was typed; `foreign` and `places` have an answer to what others' users type. Must not know what it means: each
//! command makes its plan of its own arguments.

pub mod faults;
mod foreign;
pub mod places;

use std::cell::Cell;
use std::env::VarError;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstream::ColorChoice;
use anyhow::Context;
use clap::builder::styling::{AnsiColor, Styles};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, ValueHint};

pub use faults::{FaultArgs, SeedArgs};

use crate::commands::{connect, echo_bench, probe, serve};
use crate::connection::trace::Form;
use crate::connection::{Allowed, Endpoint, Proxy, Query, Role, Source, Transport};
use crate::exit::{self, Status};
use crate::fault;
use crate::output::{Output, Trace, Verbosity};
use crate::program::Program;

/// clap's own colours, with the headings that man pages have.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Longer lines are hard to read, however wide the terminal is.
const HELP_COLUMNS_MAX: usize = 100;

/// Test sockets from the command line: a server, a client, a port check and a latency test.
#[derive(Debug, Parser)]
#[command(name = "sockkit", version, styles = STYLES, max_term_width = HELP_COLUMNS_MAX, args_override_self = true)]
#[command(after_help = exit::help(), subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Reads a command line.
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Said> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if faults::are_asked_for(&arguments) {
        return Err(Said::Page(fault::manual::page()));
    }
    let is_long = |argument: &OsString| {
        let bytes = argument.as_encoded_bytes();
        // Help, as a word and among other letters, lists everything.
        bytes == b"help" || bytes.starts_with(b"--") || (bytes.starts_with(b"-") && bytes.contains(&b'h'))
    };
    LEAVES_OUT_LONG.set(!arguments.iter().any(is_long));
    let read = Cli::try_parse_from(&arguments);
    LEAVES_OUT_LONG.set(false);
    read.map_err(|error| Said::Clap { translation: translation(&error, &arguments), error })
}

/// What others' flag means here, if that is why the command line could not be read.
fn translation(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(flag))) => {
            foreign::flag(arguments, flag, |line| Cli::try_parse_from(line).is_ok())
        }
        (ErrorKind::TooManyValues, _) => foreign::value(arguments),
        (ErrorKind::ValueValidation, Some(ContextValue::String(flag))) if flag.starts_with("--fault ") => {
            match error.get(ContextKind::InvalidValue) {
                Some(ContextValue::String(rule)) => foreign::rule(arguments, rule),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What there is to say to a command line instead of carrying it out.
#[derive(Debug)]
pub enum Said {
    /// By clap: its help, or what is wrong.
    Clap {
        /// What clap says.
        error: clap::Error,
        /// In place of a usage error's own words.
        translation: Option<String>,
    },
    /// By a page of ours.
    Page(String),
}

impl Said {
    /// Help and version go to stdout, as clap has them. A usage error goes to stderr in one line, as every error does.
    pub fn print(&self, output: Output) -> io::Result<Status> {
        let (error, translation) = match self {
            Said::Clap { error, translation } => (error, translation),
            Said::Page(page) => return output.print(page.trim_end()).map(|()| Status::Done),
        };
        if !error.use_stderr() {
            return error.print().map(|()| Status::Done);
        }
        if let Some(translation) = translation {
            output.error(translation, None);
        } else if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            // Where the help cannot be printed there is nowhere to say so.
            let _ = error.print();
        } else {
            let (message, tip) = in_one_line(&error.render().to_string());
            output.error(message, tip.as_deref());
        }
        Ok(Status::Usage)
    }
}

/// clap's message without its heading, its usage lines and its reference to the help; and its first tip, if it has one.
fn in_one_line(text: &str) -> (String, Option<String>) {
    let mut paragraphs = text.split("\n\n").map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        words.join(" ")
    });
    let message = paragraphs.next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(&message).to_owned();
    let first = |tips: &str| tips.split(" tip: ").next().unwrap_or_default().to_owned();
    (message, paragraphs.find_map(|paragraph| paragraph.strip_prefix("tip: ").map(first)))
}

/// The four commands, and two that print what the first four are documented and completed with.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A test server: echoes what it is sent
    Serve(Box<Deferred<serve::Args>>),
    /// A client: stdin to the peer, the peer to stdout
    Connect(Box<Deferred<connect::Args>>),
    /// A port check: the exit status is what connect_ex returns
    Probe(Box<Deferred<probe::Args>>),
    /// A latency test: measures an echo server
    EchoBench(Box<Deferred<echo_bench::Args>>),
    /// Print the completion script of a shell
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print a man page
    #[command(hide = true)]
    Man {
        /// The command; none is the program's own page.
        command: Option<String>,
    },
}

thread_local! {
    /// Whether the command line that is being read has no long flag.
    static LEAVES_OUT_LONG: Cell<bool> = const { Cell::new(false) };
}

/// Arguments that are all long flags, defined only where the command line has any: to define them takes longer than to
/// probe a port. Without them they are as if none had been typed, so nothing else may refer to one of them.
#[derive(Debug, Clone, Default)]
pub struct Long<A>(pub A);

impl<A: Args + Default> FromArgMatches for Long<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if LEAVES_OUT_LONG.get() { Ok(Long::default()) } else { A::from_arg_matches(matches).map(Long) }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl<A: Args + Default> Args for Long<A> {
    fn augment_args(command: clap::Command) -> clap::Command {
        if LEAVES_OUT_LONG.get() { command } else { A::augment_args(command) }
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        A::augment_args_for_update(command)
    }
}

/// The arguments of a command, defined only when it is invoked: defining them all takes longer than a probe.
#[derive(Debug)]
pub struct Deferred<A>(pub A);

impl<A: Args> FromArgMatches for Deferred<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        A::from_arg_matches(matches).map(Deferred)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl<A: Args> Args for Deferred<A> {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.defer(define::<A>)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        command.defer(A::augment_args_for_update)
    }
}

/// Defines a command's arguments. What the list of the commands says of it stays, in place of its struct's description.
fn define<A: Args>(command: clap::Command) -> clap::Command {
    let about = command.get_about().cloned().unwrap_or_default();
    A::augment_args(command).about(about)
}

/// Which transport and family: the same in serve, connect, probe and echo-bench.
#[derive(Debug, Clone, Default, Args)]
pub struct TransportArgs {
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

/// The third kind of unix sockets: the same in serve and connect.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct SeqpacketArgs {
    /// A unix socket with connections whose messages stay whole
    ///
    /// One send is one receive there, as with datagrams, and each direction has an end, as with streams. SOCK_SEQPACKET,
    /// unix(7).
    #[arg(long, conflicts_with = "udp")]
    pub seqpacket: bool,
}

impl SeqpacketArgs {
    /// The protocol, if it is that of a unix socket.
    pub fn to(self, transport: Transport) -> Result<Transport, UsageError> {
        match (self.seqpacket, transport) {
            (false, transport) => Ok(transport),
            (true, Transport::UnixStream) => Ok(Transport::UnixSeqpacket),
            (true, other) => Err(UsageError(format!("--seqpacket is for unix sockets, and this is {other}: add -U"))),
        }
    }
}

/// How names are looked up: the same in serve, connect and probe; echo-bench counts its messages with `-n`.
#[derive(Debug, Clone, Default, Args)]
pub struct LookupArgs {
    /// No name lookups: hosts are addresses
    #[arg(short = 'n', long)]
    pub numeric: bool,
}

impl TransportArgs {
    /// The protocol for an endpoint: a unix one needs no `-U`.
    pub fn to(&self, endpoint: &Endpoint) -> Transport {
        self.transport(matches!(endpoint, Endpoint::Unix(_)))
    }

    /// The protocol, over unix sockets or over IP.
    pub fn transport(&self, is_unix: bool) -> Transport {
        match (is_unix, self.udp) {
            (false, false) => Transport::Tcp,
            (false, true) => Transport::Udp,
            (true, false) => Transport::UnixStream,
            (true, true) => Transport::UnixDatagram,
        }
    }

    /// What to ask the resolver for.
    pub fn query(&self, transport: Transport, numeric: bool, timeout: Option<Duration>) -> Query {
        Query { allowed: self.allowed(), transport, numeric, timeout }
    }

    /// The families that `-4` and `-6` leave.
    pub fn allowed(&self) -> Allowed {
        match (self.ipv4, self.ipv6) {
            (true, _) => Allowed::V4,
            (_, true) => Allowed::V6,
            _ => Allowed::Any,
        }
    }
}

/// Where a connection comes from: the same in connect and probe.
#[derive(Debug, Clone, Default, Args)]
pub struct SourceArgs {
    /// Address to connect from (unix datagrams: our own PATH)
    #[arg(short = 's', long = "source", value_name = "ADDRESS", value_hint = ValueHint::Hostname)]
    pub address: Option<String>,
    /// Port to connect from
    #[arg(short = 'p', long = "source-port", value_name = "PORT", value_parser = parse_port)]
    pub port: Option<u16>,
}

fn parse_port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("{text:?} is no port: 1 to 65535"))
}

impl SourceArgs {
    /// What it means for a protocol.
    pub fn source(&self, transport: Transport) -> Result<Source, UsageError> {
        if transport.is_unix() {
            return self.unix_source();
        }
        let parse = |address: &String| {
            address.parse().map_err(|_| UsageError(format!("-s \"{address}\" is not an IP address")))
        };
        let address = self.address.as_ref().map(parse).transpose()?;
        Ok(Source { address, port: self.port.unwrap_or(0), path: None })
    }

    fn unix_source(&self) -> Result<Source, UsageError> {
        if let Some(port) = self.port {
            return Err(UsageError(format!("-p {port} has no meaning for a unix socket")));
        }
        let Some(path) = &self.address else { return Ok(Source::default()) };
        match Endpoint::parse(&[path], Role::Listen, true).map_err(UsageError)? {
            Endpoint::Unix(name) => Ok(Source { path: Some(name), ..Source::default() }),
            Endpoint::Inet { .. } => Err(UsageError(format!("-s \"{path}\" is not a path"))),
        }
    }
}

/// A program that talks to the peer: the same in serve and connect.
#[derive(Debug, Clone, Default, Args)]
pub struct ProgramArgs {
    /// Run PROGRAM, and let it talk to the peer; its arguments come after --
    ///
    /// No shell is in between. The socket is its stdin and stdout (a pipe each where the bytes must be seen, as for -x), and
    /// UCSPI's variables (PROTO, TCPREMOTEIP, TCPREMOTEPORT, TCPLOCALIP, TCPLOCALPORT, or UNIXREMOTEPATH and UNIXLOCALPATH)
    /// say who is there. When it has ended, whatever it left running is ended as well.
    #[arg(short = 'e', long, value_name = "PROGRAM", value_hint = ValueHint::CommandName, group = "program")]
    pub exec: Option<OsString>,
    /// The same with a shell's command
    ///
    /// What comes after -- is $1 and so on.
    #[arg(short = 'c', long, value_name = "COMMAND", value_hint = ValueHint::CommandString, group = "program")]
    pub sh_exec: Option<OsString>,
    /// The arguments of the program that -e or -c runs
    #[arg(last = true, value_name = "ARGUMENT", requires = "program", value_hint = ValueHint::Other)]
    pub arguments: Vec<OsString>,
}

impl ProgramArgs {
    /// Whether there is one.
    pub fn is_any(&self) -> bool {
        self.exec.is_some() || self.sh_exec.is_some()
    }

    /// The program, if there is one.
    pub fn program(&self) -> Result<Option<Program>, UsageError> {
        let (flag, program) = match (&self.exec, &self.sh_exec) {
            (Some(name), _) => ("-e", Program::new(name.clone(), &self.arguments)),
            (_, Some(command)) => ("-c", Program::of_shell(command.clone(), &self.arguments)),
            _ => return Ok(None),
        };
        if !cfg!(feature = "exec") {
            return Err(UsageError(format!("{flag} runs a program, and this sockkit was built without `exec`")));
        }
        Ok(Some(program))
    }
}

/// The way to a target: the same in connect and probe.
// The help's brackets are no links.
#[allow(rustdoc::broken_intra_doc_links)]
#[derive(Debug, Clone, Default, Args)]
pub struct ProxyArgs {
    /// Connect through a proxy: SCHEME://[USER@]HOST:PORT
    ///
    /// The schemes are socks5 and socks4, which have the target's name looked up here, socks5h and socks4a, which leave it to
    /// the proxy, and http, which is the CONNECT of HTTP and leaves it to the proxy too. A password is no part of it:
    /// USER:PASSWORD is read from SOCKKIT_PROXY_AUTH or from a file. What the proxy says of the target is an answer of the
    /// target's; when the proxy itself fails, nothing is known of the target.
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub proxy: Option<String>,
    /// Read the proxy's USER:PASSWORD from the first line of FILE
    ///
    /// Nobody else may be allowed to read it. Without it, SOCKKIT_PROXY_AUTH is used.
    #[arg(long, value_name = "FILE", requires = "proxy", value_hint = ValueHint::FilePath)]
    pub proxy_auth_file: Option<PathBuf>,
}

/// Where the proxy's USER:PASSWORD is looked for without a file: an environment is not shown to other users.
const PROXY_SECRET: &str = "SOCKKIT_PROXY_AUTH";

impl ProxyArgs {
    /// The proxy, with its secret.
    pub fn proxy(&self) -> anyhow::Result<Option<Proxy>> {
        let Some(url) = &self.proxy else { return Ok(None) };
        let secret = match &self.proxy_auth_file {
            Some(file) => Some(secret_in(file)?),
            None => match std::env::var(PROXY_SECRET) {
                Ok(secret) => Some(secret).filter(|secret| !secret.is_empty()),
                Err(VarError::NotPresent) => None,
                Err(VarError::NotUnicode(_)) => {
                    return Err(UsageError(format!("{PROXY_SECRET} is not UTF-8")).into());
                }
            },
        };
        let proxy = Proxy::parse(url, secret.as_deref());
        Ok(Some(proxy.map_err(|why| UsageError(format!("--proxy: {why}")))?))
    }
}

/// The first line of a file that only its owner can read. What is no regular file, such as a pipe, has its own guards.
fn secret_in(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let opened = File::open(file).with_context(|| format!("open {shown}"))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = opened.metadata().with_context(|| format!("open {shown}"))?;
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_file() && mode & 0o077 != 0 {
            let why = format!("others may read {shown} (mode {mode:03o}), and a password is in it: chmod 600 it");
            return Err(anyhow::Error::msg(why));
        }
    }
    let mut line = String::new();
    // Nobody has a longer one, and a device may have no end.
    let limit = 4096;
    BufReader::new(opened.take(limit)).read_line(&mut line).with_context(|| format!("read {shown}"))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How a trace is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    /// As strace would: time, call, arguments, result, duration.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is printed, and how: the same in all four commands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// JSON lines instead of text
    ///
    /// One object a line, each with a "schema" field that names its form and version.
    #[arg(short = 'j', long)]
    pub json: bool,
    /// Say more on stderr
    #[arg(short = 'v', long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say only errors (serve: and the listening lines)
    #[arg(long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// When to colour
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Print each socket call as it is made [to: stderr]
    ///
    /// Each line has the time since the start, the call, its arguments and result, and how long it took. With a FILE the
    /// lines go there instead of to stderr.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, value_hint = ValueHint::FilePath)]
    pub trace: Option<Option<PathBuf>>,
    /// How the trace is written [default: text, json with --json]
    #[arg(long, value_name = "FORMAT", requires = "trace")]
    pub trace_format: Option<TraceFormat>,
}

impl OutputArgs {
    /// How to print.
    pub fn output(&self) -> Output {
        Output {
            json: self.json,
            verbosity: match (self.quiet, self.verbose) {
                (true, _) => Verbosity::Quiet,
                (false, 0) => Verbosity::Normal,
                (false, _) => Verbosity::Verbose,
            },
            color: match self.color {
                Color::Auto => ColorChoice::Auto,
                Color::Always => ColorChoice::Always,
                Color::Never => ColorChoice::Never,
            },
            yields_stdout: false,
        }
    }

    /// Whether and how to trace.
    pub fn trace(&self) -> Option<Trace> {
        let file = self.trace.clone()?;
        let unsaid = if self.json { TraceFormat::Json } else { TraceFormat::Text };
        let form = match self.trace_format.unwrap_or(unsaid) {
            TraceFormat::Text => Form::Text,
            TraceFormat::Json => Form::Json,
        };
        Some(Trace { file, form })
    }
}

impl Command {
    /// The output flags that were typed; the commands that only print text have none.
    pub fn output_args(&self) -> Option<&OutputArgs> {
        match self {
            Command::Serve(args) => Some(&args.0.output),
            Command::Connect(args) => Some(&args.0.output),
            Command::Probe(args) => Some(&args.0.output),
            Command::EchoBench(args) => Some(&args.0.output),
            Command::Completions { .. } | Command::Man { .. } => None,
        }
    }
}

/// How many cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A command line that parsed but cannot be meant: one line, status 2.
#[derive(Debug)]
pub struct UsageError(pub String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// The whole command with all its arguments defined, for completions and man pages.
pub fn command() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    command
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_usage_error_is_one_line_and_its_tip_another() {
        for (words, message, tip) in [
            (&["conect"][..], "unrecognized subcommand 'conect'", Some("a similar subcommand exists: 'connect'")),
            (&["probe"], "the following required arguments were not provided: <TARGET>...", None),
            (
                &["probe", "x", "--color", "red"],
                "invalid value 'red' for '--color <WHEN>' [possible values: auto, always, never]",
                None,
            ),
        ] {
            let said = super::read(["sockkit"].iter().chain(words).map(Into::into)).unwrap_err();
            let super::Said::Clap { error, .. } = said else { panic!("{words:?} is no page") };
            let expected = (message.to_owned(), tip.map(str::to_owned));
            assert_eq!(super::in_one_line(&error.render().to_string()), expected);
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
