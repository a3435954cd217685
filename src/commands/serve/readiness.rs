//! Who is told that the server listens: a file, a descriptor, the service manager.
//!
//! Owns the three ways and their order. Must not know what is served. Trade-off: everybody is told after the listening
//! lines, in one place; whoever waits for one of them can connect at once.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::ValueHint;

use crate::cli::UsageError;
use crate::connection::inherited::{take_descriptor, take_variable};
use crate::connection::{Address, Family, Listener, Socket, Transport, UnixName};

/// What was typed.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ReadyArgs {
    /// Write the port to a file as soon as the server listens
    ///
    /// The file holds the port and a newline (of a unix socket the path) and nothing else. It appears complete, by a rename,
    /// and is gone when the server no longer listens; one that was left behind is removed before the server listens.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ready_file: Option<PathBuf>,
    /// Write the same to an inherited descriptor, and close it
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(3..))]
    pub ready_fd: Option<i32>,
}

/// Those who wait.
#[derive(Debug, Default)]
pub struct Readiness {
    file: Option<ReadyFile>,
    descriptor: Option<File>,
    /// NOTIFY_SOCKET, sd_notify(3).
    manager: Option<Address>,
}

/// A file that is there for as long as the server listens.
#[derive(Debug)]
struct ReadyFile {
    path: PathBuf,
    is_there: AtomicBool,
}

impl Readiness {
    /// Sees who waits, before anything is opened. To be called before there is a second thread.
    pub fn new(args: &ReadyArgs) -> Result<Readiness> {
        let descriptor = args.ready_fd.map(|number| {
            take_descriptor(number).map_err(|failure| {
                let why = crate::connection::errno::words(&failure);
                UsageError(format!("--ready-fd {number} is no descriptor that was handed over: {why}"))
            })
        });
        let file = args.ready_file.clone().map(ReadyFile::new).transpose()?;
        let manager = take_variable("NOTIFY_SOCKET").and_then(|name| notify_address(&name));
        Ok(Readiness { file, descriptor: descriptor.transpose()?, manager })
    }

    /// The server listens.
    pub fn tell(&mut self, listeners: &[Listener]) -> Result<()> {
        let Some(first) = listeners.first() else { return Ok(()) };
        let line = match first.local() {
            Address::Inet(address) => format!("{}\n", address.port()),
            Address::Unix(name) => format!("{}\n", name.to_string().trim_start_matches("unix:")),
        };
        if let Some(file) = &self.file {
            file.write(&line).with_context(|| format!("write ready file \"{}\"", file.path.display()))?;
        }
        if let Some(mut descriptor) = self.descriptor.take() {
            descriptor.write_all(line.as_bytes()).context("write to --ready-fd's descriptor")?;
        }
        let places: Vec<String> = listeners.iter().map(|listener| format!("{listener}")).collect();
        self.notify(&format!("READY=1\nSTATUS=listening on {}", places.join(", ")));
        Ok(())
    }

    /// The server no longer listens.
    pub fn retire(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// The server ends.
    pub fn tell_of_the_end(&self) {
        self.retire();
        self.notify("STOPPING=1\nSTATUS=finishing what is under way");
    }

    /// Tells the service manager, if there is one. Where it does not listen, nothing can be done about it.
    fn notify(&self, text: &str) {
        let Some(manager) = &self.manager else { return };
        let _ = Socket::new(Family::Unix, Transport::UnixDatagram, false)
            .and_then(|socket| socket.send_to(text.as_bytes(), manager));
    }
}

/// A path, or after an `@` an abstract name.
fn notify_address(name: &std::ffi::OsStr) -> Option<Address> {
    match name.as_encoded_bytes() {
        [b'@', rest @ ..] => Some(Address::Unix(UnixName::Abstract(rest.to_vec()))),
        [b'/', ..] => Some(Address::Unix(UnixName::Path(name.into()))),
        // AF_VSOCK, or nothing that is known.
        _ => None,
    }
}

impl ReadyFile {
    fn new(path: PathBuf) -> Result<ReadyFile> {
        match fs::remove_file(&path) {
            Err(failure) if failure.kind() != io::ErrorKind::NotFound => {
                Err(failure).with_context(|| format!("remove old ready file \"{}\"", path.display()))
            }
            _ => Ok(ReadyFile { path, is_there: AtomicBool::new(false) }),
        }
    }

    /// Nobody sees half of it: it is written beside its place, and put there.
    fn write(&self, line: &str) -> io::Result<()> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(format!(".{}", std::process::id()));
        let written = fs::write(&beside, line).and_then(|()| fs::rename(&beside, &self.path));
        if written.is_err() {
            // What failed is told; what is left of it is of no use.
            let _ = fs::remove_file(&beside);
        }
        self.is_there.store(written.is_ok(), Ordering::SeqCst);
        written
    }
}

impl ReadyFile {
    fn remove(&self) {
        if self.is_there.swap(false, Ordering::SeqCst) {
            // Nobody is left to tell, and the next server removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        self.remove();
    }
}
