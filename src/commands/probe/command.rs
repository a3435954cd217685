//! The command after `--`: what becomes of the process once the targets are as wanted.
//!
//! Must not know targets. Trade-off: on unix the command replaces this process, so that its status, its signals and its
//! stdin are its own; elsewhere it is a child that is waited for.

use std::ffi::OsString;
use std::process::Command;

use crate::exit::Status;
use crate::output::Output;
use crate::program::NotRun;

/// Runs it. Comes back only if it could not be run, or where processes cannot be replaced.
pub fn run(words: &[OsString], output: Output) -> Status {
    let [program, arguments @ ..] = words else { return Status::Done };
    let mut command = Command::new(program);
    command.args(arguments);
    #[cfg(unix)]
    let failure = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let failure = match command.status() {
        Ok(status) => return Status::of_program(status),
        Err(failure) => failure,
    };
    let not_run = NotRun { name: program.clone(), failure };
    output.error(&not_run, None);
    Status::of_not_run(&not_run.failure)
}
