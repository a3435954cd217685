//! The command line: the program, its four commands, and the flags that several of them share.
//!
//! Owns what was typed; `foreign` and `places` have an answer to what others' users type. Must not know what it means: each
//! command makes its plan of its own arguments. Trade-off: a command's own flags stand with the command, so this is not the
//! whole of the command line, but no command's file is.

mod deferred;
pub mod faults;
mod foreign;
mod output;
pub mod places;
mod program;
mod proxy;
mod transport;

use std::ffi::OsString;
use std::io;

use clap::builder::styling::{AnsiColor, Styles};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

use deferred::Deferred;
pub use deferred::Long;
pub use faults::{FaultArgs, SeedArgs};
pub use output::OutputArgs;
pub use program::ProgramArgs;
pub use proxy::ProxyArgs;
pub use transport::{LookupArgs, SeqpacketArgs, SourceArgs, TransportArgs};

use crate::commands::{connect, echo_bench, probe, serve};
use crate::exit::{self, Status};
use crate::fault;
use crate::output::Output;

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
    let read = deferred::reading(&arguments, || Cli::try_parse_from(&arguments));
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
