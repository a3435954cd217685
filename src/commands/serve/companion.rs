//! `--then`: a command that runs as soon as the server listens, and with which the server ends.
//!
//! Owns its environment, and that neither outlives the other. Must not know how the server is told. Trade-off: a shell reads
//! the command, because it will want the port, and a shell is what puts a variable into a command.

use std::ffi::OsString;
use std::process::ExitStatus;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};

use crate::connection::{Address, Listener};
use crate::exit::Status;
use crate::output::{Output, stdin_for_program};
use crate::program::{Group, NotRun, Program};

/// What was typed.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ThenArgs {
    /// Run a shell's COMMAND once the server listens, and end with it, with its status
    ///
    /// In its environment SOCKKIT_PORT is the port and SOCKKIT_ADDRESS the first listening line's address. When the server
    /// ends first, by a signal or a limit, the command and what it started are ended: SIGTERM, a second later SIGKILL. The
    /// status is always the command's: 126 or 127 if it cannot be run.
    #[arg(long, value_name = "COMMAND")]
    pub then: Option<OsString>,
}

/// The command's processes, for whoever hears a signal; none until it runs.
pub type Reach = Arc<OnceLock<Group>>;

/// A command that is running.
#[derive(Debug)]
pub struct Companion {
    group: Group,
    waiting: JoinHandle<std::io::Result<ExitStatus>>,
}

impl Companion {
    /// Starts it; `ended` is told when it has ended.
    pub fn start(
        command: &OsString,
        listeners: &[Listener],
        reach: &Reach,
        ended: impl FnOnce() + Send + 'static,
    ) -> Result<Companion> {
        let first = listeners.first().map(Listener::local);
        let port = first.and_then(Address::port).map(|port| OsString::from(port.to_string()));
        let address = first.map(|address| OsString::from(address.to_string()));
        let environment = vec![("SOCKKIT_PORT".to_owned(), port), ("SOCKKIT_ADDRESS".to_owned(), address)];
        let running = Program::of_shell(command.clone(), &[]).start_beside(stdin_for_program(), environment)?;
        let group = running.group();
        // Nobody else sets it: there is one command.
        let _ = reach.set(group.clone());
        let wait = move || {
            let status = running.wait();
            ended();
            status
        };
        let waiting = thread::Builder::new().name("then".to_owned()).spawn(wait).context("wait for the command")?;
        Ok(Companion { group, waiting })
    }

    /// Ends it if it has not ended, and says how it did.
    pub fn finish(self) -> Result<Status> {
        if !self.waiting.is_finished() {
            self.group.end();
        }
        let status = self.waiting.join().map_err(|_| anyhow!("wait for the command failed"))?;
        status.map(Status::of_program).context("wait for the command")
    }
}

/// The status of a command that could not be run, which is told.
pub fn not_run(error: anyhow::Error, output: Output) -> Result<Status> {
    let not_run: NotRun = error.downcast()?;
    output.error(&not_run, not_run.hint());
    Ok(Status::of_not_run(&not_run.failure))
}
