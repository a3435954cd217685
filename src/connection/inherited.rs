//! What another process hands over at our start: sockets that listen already (LISTEN_FDS, as sd_listen_fds(3) has it), and
//! descriptors by number.
//!
//! Owns the reading of the environment and the proof that a descriptor is ours to take. Must not know what is served.
//! Trade-off: only what was really inherited is taken: everything that this process opens is closed on exec, and what came
//! through exec is not, so that a wrong number is an error, and never somebody else's socket.

use std::fs::File;
use std::io;

use super::{Listener, Result};
#[cfg(unix)]
use super::{Socket, sys};

/// The first descriptor after the standard streams: where sockets that are handed over begin.
#[cfg(unix)]
const FIRST: i32 = 3;

/// The variables of the protocol: they are for us alone, and our children must not think them theirs.
#[cfg(unix)]
const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// A socket that somebody handed over, listening or bound.
#[derive(Debug)]
pub struct Handed {
    /// The listener. It is closed at the end and never shut down: others may hold it too.
    pub listener: Listener,
    /// What it is called by who handed it over.
    pub name: String,
}

/// The sockets that were handed over to this process, if any were; once. To be called before there is a second thread.
#[cfg(unix)]
pub fn take_listeners() -> Result<Vec<Handed>> {
    use std::time::Duration;

    use super::{Error, Op};

    let read = |name: &str| std::env::var(name).ok();
    let is_ours = read("LISTEN_PID").and_then(|pid| pid.parse().ok()) == Some(std::process::id());
    let count = read("LISTEN_FDS").and_then(|count| count.parse::<i32>().ok()).filter(|_| is_ours).unwrap_or(0);
    let names = read("LISTEN_FDNAMES").unwrap_or_default();
    if !is_ours {
        return Ok(Vec::new());
    }
    sys::forget_variables(&VARIABLES);
    let mut names = names.split(':').map(str::to_owned);
    let mut handed = Vec::new();
    for number in FIRST..FIRST.saturating_add(count) {
        let failed =
            |source| Error::system(Op::Listen, format!("LISTEN_FDS' descriptor {number}"), Duration::ZERO, source);
        let socket = sys::take_descriptor(number).and_then(Socket::handed_over).map_err(failed)?;
        let listener = Listener::handed_over(socket).map_err(failed)?;
        // sd_listen_fds_with_names(3) calls those without a name so.
        let name = names.next().filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned());
        handed.push(Handed { listener, name });
    }
    Ok(handed)
}

/// The sockets that were handed over to this process: none, on this system.
#[cfg(not(unix))]
pub fn take_listeners() -> Result<Vec<Handed>> {
    Ok(Vec::new())
}

/// A descriptor that was inherited, by its number; once.
pub fn take_descriptor(number: i32) -> io::Result<File> {
    #[cfg(unix)]
    return sys::take_descriptor(number).map(File::from);
    #[cfg(not(unix))]
    {
        let _ = number;
        Err(io::Error::new(io::ErrorKind::Unsupported, "this system does not hand over descriptors"))
    }
}

/// The value of a variable that is for us alone: our children do not get it. To be called before there is a second thread.
pub fn take_variable(name: &str) -> Option<std::ffi::OsString> {
    let value = std::env::var_os(name)?;
    #[cfg(unix)]
    sys::forget_variables(&[name]);
    Some(value)
}
