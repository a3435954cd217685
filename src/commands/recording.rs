//! Recording, as `serve` and `connect` have it: the flags, and what a record that cannot be written means to a command.
//!
//! Must not know what is recorded. Trade-off: the file is made before anybody is connected, so that a record which cannot be
//! made costs no connection; what comes of the connection, even that there was none, is then in it.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result};
use clap::ValueHint;

use crate::cli::UsageError;
use crate::connection::{Transport, errno};
use crate::exit::Status;
use crate::output::Output;
use crate::record::{Direction, Form, Header, Recorder, Track, create};
use crate::relay::{EndTap, Tap};
use crate::units::parse_size;

/// What is recorded, and where.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RecordArgs {
    /// Record what happens in FILE: as lines of JSON, or as packets if its name ends in .pcapng
    ///
    /// A line for each connection, run of bytes and end, with its time; written as it happens, and whole up to its last line
    /// even after a crash. The packets are made up around the bytes, for Wireshark and tcpdump. It holds what was sent, so
    /// only its owner may read the file; one that is there is left alone without --force.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub record: Option<PathBuf>,
    /// Of each direction of a connection, record only the first SIZE bytes
    ///
    /// Of what is cut, the length and the SHA-256 are recorded.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, requires = "record")]
    pub record_max: Option<u64>,
    /// End when the record cannot be written [status: 4]
    ///
    /// Without it the record is incomplete, which is told once, and the connections go on; the status is 4 in the end.
    #[arg(long, requires = "record")]
    pub record_strict: bool,
    /// Replace the record's FILE if it is there
    #[arg(long, requires = "record")]
    pub force: bool,
}

/// Writes down what passes one way on a connection.
pub fn write_down(track: &Arc<Track>, direction: Direction) -> Tap {
    let track = track.clone();
    Box::new(move |bytes| track.data(direction, bytes))
}

/// Writes down the end of one way.
pub fn write_down_end(track: &Arc<Track>, direction: Direction) -> EndTap {
    let track = track.clone();
    Box::new(move || track.finished(direction))
}

/// What is to be done when the record cannot be written.
#[derive(Default)]
struct Strictness {
    has_failed: bool,
    end: Option<Box<dyn FnOnce() + Send>>,
}

/// A record that a command is writing.
pub struct Recording {
    recorder: Recorder,
    name: PathBuf,
    strictness: Option<Arc<Mutex<Strictness>>>,
}

impl RecordArgs {
    /// Whether a record can hold what the command will do.
    pub fn check(&self, transport: Transport) -> Result<(), UsageError> {
        match &self.record {
            Some(name) if transport.is_unix() && matches!(Form::of(name, None), Form::Packets(_)) => {
                Err(UsageError(format!(
                    "--record {} is for packets, and a unix socket has none: with another name it is lines of JSON",
                    name.display()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Carries something out with a record around it, if there is to be one; with what faults are drawn from, if there are
    /// any.
    pub fn around(
        &self,
        seed: Option<u64>,
        output: Output,
        carry_out: impl FnOnce(Option<&Recording>) -> Result<Status>,
    ) -> Result<Status> {
        let Some(recording) = self.start(seed, output)? else { return carry_out(None) };
        let result = carry_out(Some(&recording));
        recording.end(result)
    }

    fn start(&self, seed: Option<u64>, output: Output) -> Result<Option<Recording>> {
        let Some(name) = self.record.clone() else { return Ok(None) };
        let open = || format!("open {}", name.display());
        let file = create(&name, self.force).with_context(open)?;
        let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
        let header = Header { start: SystemTime::now(), command: words.collect(), seed };
        let strictness = self.record_strict.then(Arc::<Mutex<Strictness>>::default);
        let told: Box<dyn FnOnce(&io::Error) + Send> = match strictness.clone() {
            Some(strictness) => Box::new(move |_| fail(&strictness)),
            None => {
                let name = name.display().to_string();
                Box::new(move |error| {
                    let reason = errno::reason(error);
                    output.error(format_args!("write {name} failed: {reason}; the record is incomplete"), None);
                })
            }
        };
        let form = Form::of(&name, self.record_max);
        let recorder = Recorder::start(file, form, header, told).context("start the thread that records")?;
        Ok(Some(Recording { recorder, name, strictness }))
    }
}

/// Ends the command, or leaves word for when it can be ended.
fn fail(strictness: &Mutex<Strictness>) {
    let mut strictness = strictness.lock().unwrap_or_else(PoisonError::into_inner);
    strictness.has_failed = true;
    if let Some(end) = strictness.end.take() {
        end();
    }
}

impl Recording {
    /// What takes the events.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// What ends the command if the record cannot be written and must be (`--record-strict`).
    pub fn ends_with(&self, end: impl FnOnce() + Send + 'static) {
        let Some(strictness) = &self.strictness else { return };
        let mut strictness = strictness.lock().unwrap_or_else(PoisonError::into_inner);
        if strictness.has_failed { end() } else { strictness.end = Some(Box::new(end)) }
    }

    /// Ends the record, and says what has become of the command's result.
    fn end(self, result: Result<Status>) -> Result<Status> {
        match self.recorder.finish() {
            Ok(()) => result,
            Err(error) if self.strictness.is_some() => {
                Err(error).with_context(|| format!("write {}", self.name.display()))
            }
            // It has been told, and a record with holes misleads, however well the rest went.
            Err(_) => result.map(|status| if status == Status::Done { Status::Local } else { status }),
        }
    }
}
