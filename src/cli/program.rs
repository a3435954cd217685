//! `-e` and `-c`: a program that talks to the peer.
//!
//! Owns the flags. Must not know how a program is run: that is `program`'s. Trade-off: without the feature `exec` the flags are
//! there all the same, and say so.

use std::ffi::OsString;

use clap::{Args, ValueHint};

use super::UsageError;
use crate::program::Program;

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
    #[arg(last = true, value_name = "ARGUMENT", requires = "program")]
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
