//! The command after `--`: what becomes of the process once the targets are as wanted.
//!
//! Owns the two ways in which a command cannot be run. Must not know targets. Trade-off: on unix the command replaces this
//! process, so that its status, its signals and its stdin are its own; elsewhere it is a child that is waited for.

use std::ffi::OsString;
use std::io;
use std::process::Command;

use crate::exit::Status;
use crate::output::Output;

/// As env(1) and timeout(1) have it: the command was found, but cannot be run.
const CANNOT_RUN: u8 = 126;
/// And: it was not found.
const NOT_FOUND: u8 = 127;

/// Runs it. Comes back only if it could not be run, or where processes cannot be replaced.
pub fn run(words: &[OsString], output: Output) -> Status {
    let [program, arguments @ ..] = words else { return Status::Done };
    let mut command = Command::new(program);
    command.args(arguments);
    #[cfg(unix)]
    let failure = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let failure = match command.status() {
        // Windows' statuses have 32 bits; what does not fit is a failure all the same.
        Ok(status) => return Status::Errno(u8::try_from(status.code().unwrap_or(1)).unwrap_or(u8::MAX)),
        Err(failure) => failure,
    };
    let reason = crate::connection::errno::words(&failure);
    output.error(format_args!("run {} failed: {reason}", program.display()), None);
    Status::Errno(if failure.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN })
}
