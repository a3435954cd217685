//! Arguments that are defined only when they are needed.
//!
//! Owns when clap hears of them. Must not know what they are. Trade-off: what is defined depends on a switch that only the
//! reading of a command line sets, because clap hands nothing else to those who define arguments.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};

use clap::{ArgMatches, Args, FromArgMatches};

thread_local! {
    /// Whether the command line that is being read has no long flag.
    static LEAVES_OUT_LONG: Cell<bool> = const { Cell::new(false) };
}

/// Reads a command line, with `Long` arguments defined if it has any.
pub(super) fn reading<T>(arguments: &[OsString], read: impl FnOnce() -> T) -> T {
    LEAVES_OUT_LONG.set(!arguments.iter().any(|argument| wants_long(argument)));
    let result = read();
    LEAVES_OUT_LONG.set(false);
    result
}

/// A long flag does, and help, as a word and among other letters, since it lists everything.
fn wants_long(argument: &OsStr) -> bool {
    let bytes = argument.as_encoded_bytes();
    bytes == b"help" || bytes.starts_with(b"--") || (bytes.starts_with(b"-") && bytes.contains(&b'h'))
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
