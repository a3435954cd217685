//! sockkit: four commands over one connection module.
//!
//! # The map
//!
//! | where | what |
//! |---|---|
//! | `cli` | the command line: what was typed |
//! | `commands/serve`, `connect`, `probe`, `echo_bench` | each makes a plan of its arguments, then carries it out |
//! | `commands/recording`, `replaying` | what serve and connect share of it |
//! | `connection/` | sockets: endpoints, options, dial, listen, send, receive, trace, errors |
//! | `relay` | two byte streams joined, and the half-close rules |
//! | `record` | sessions written down, and read back |
//! | `base64` | bytes as text |
//! | `escapes` | bytes as people type them |
//! | `program` | a program that talks to a peer |
//! | `script` | what to send and what to expect, laid down beforehand |
//! | `fault` | faults on purpose: the rules' grammar, and every decision of theirs |
//! | `random` | random numbers that a seed repeats |
//! | `histogram` | latencies recorded, merged, and their percentiles |
//! | `completions` | the shells' scripts |
//! | `man` | the man pages |
//! | `output` | the only printer |
//! | `signals` | heard instead of obeyed |
//! | `network` | networks of addresses: read, printed, and who is in them |
//! | `printable` | text of strangers, as a terminal may see it |
//! | `units` | durations, sizes, counts: read and printed |
//! | `exit` | the table of exit statuses |
//!
//! From the command line to the work in two steps: clap's structs hold what was typed, and a command's `Plan` what it
//! means. After the plan nothing can be a usage error.
//!
//! # The invariants
//!
//! A test reads the source and holds it to these.
//!
//! 1. `socket2` appears only under `connection/`.
//! 2. Socket options are set only under `connection/options/`, by one function that knows family, kind and phase.
//! 3. Nothing prints but `output`; nothing exits but `main`; there is no `println!`, which panics on a closed stdout.
//! 4. clap appears only in `cli`, `completions`, `man`, `commands/` and `connection/options/`.
//! 5. Commands match on the operation and kind of an error, never on a raw errno: the numbers live in
//!    `connection/errno`, and what `probe` makes of them in `exit`.
//! 6. The trace, the faults and the record know nothing of the relay and the histogram, nor these of them; what is off
//!    costs nothing.
//! 7. `unsafe` appears only in `connection/sys`, each time with the reason that it holds.

pub mod base64;
pub mod cli;
pub mod commands {
    //! The four commands: each turns its arguments into a plan, and carries it out.
    pub mod connect;
    pub mod echo_bench;
    pub mod probe;
    pub mod recording;
    pub mod replaying;
    pub mod serve;
}
pub mod completions;
pub mod connection;
pub mod escapes;
pub mod exit;
pub mod fault;
pub mod histogram;
pub mod man;
pub mod network;
pub mod output;
pub mod printable;
pub mod program;
pub mod random;
pub mod record;
pub mod relay;
pub mod script;
pub mod signals;
pub mod units;

use std::ffi::OsString;
use std::io;

use anyhow::Context;

use cli::{Command, UsageError};
use commands::{connect, echo_bench, probe, serve};
use connection::trace;
use exit::Status;
use output::{Output, Verbosity};

/// Runs a command line to its end, and says how it ended. Every failure has been printed.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Status {
    let cli = match cli::read(arguments) {
        Ok(cli) => cli,
        Err(said) => return said.print(PLAIN).unwrap_or_else(|failure| report(&failure.into(), PLAIN)),
    };
    let output = cli.command.output_args().map_or(PLAIN, cli::OutputArgs::output);
    let status = carry_out(&cli.command, output).unwrap_or_else(|error| report(&error, output));
    match trace::finish() {
        // A trace with holes misleads, however well the rest went; but whoever closed it has read enough.
        Err(failure) if failure.kind() != io::ErrorKind::BrokenPipe => {
            report(&anyhow::Error::new(failure).context("write the trace"), output)
        }
        _ => status,
    }
}

/// How the commands print that have no flags for it.
const PLAIN: Output =
    Output { json: false, verbosity: Verbosity::Normal, color: anstream::ColorChoice::Never, yields_stdout: false };

fn carry_out(command: &Command, output: Output) -> anyhow::Result<Status> {
    if let Some(settings) = command.output_args().and_then(cli::OutputArgs::trace) {
        let name = settings.file.clone().unwrap_or_default();
        output.start_trace(&settings).with_context(|| format!("open trace file {}", name.display()))?;
    }
    match command {
        Command::Serve(args) => serve::run(&args.0, output),
        Command::Connect(args) => connect::run(&args.0, output),
        Command::Probe(args) => probe::run(&args.0, output),
        Command::EchoBench(args) => echo_bench::run(&args.0, output),
        Command::Completions { shell } => completions::print(*shell, output),
        Command::Man { command } => man::print(command.as_deref(), output),
    }
}

/// Prints an error and finds its status.
fn report(error: &anyhow::Error, output: Output) -> Status {
    if let Some(failure) = error.downcast_ref::<connection::Error>() {
        output.error(format_args!("{error:#}"), failure.hint());
        return Status::of(failure.kind());
    }
    if let Some(not_run) = error.downcast_ref::<program::NotRun>() {
        output.error(not_run, not_run.hint());
        return Status::of_not_run(&not_run.failure);
    }
    if error.is::<UsageError>() {
        output.error(error, None);
        return Status::Usage;
    }
    match error.downcast_ref::<io::Error>() {
        // Whoever read our stdout has read enough: that is their good right, and no failure.
        Some(failure) if failure.kind() == io::ErrorKind::BrokenPipe => Status::Done,
        Some(failure) => {
            output.error(describe(error, failure), None);
            Status::Local
        }
        None => {
            output.error(format_args!("{error:#}"), None);
            Status::Local
        }
    }
}

/// A failed operation on a file or stream, in the grammar of the socket errors: `write stdout failed: No space left on
/// device (ENOSPC, 28)`.
fn describe(error: &anyhow::Error, failure: &io::Error) -> String {
    let reason = connection::errno::reason(failure);
    if error.chain().count() > 1 {
        format!("{error} failed: {reason}")
    } else {
        format!("write stdout failed: {reason}")
    }
}
