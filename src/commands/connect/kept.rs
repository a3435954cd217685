//! What `connect` keeps of the bytes that pass: a copy of what came, and hashes of both directions.
//!
//! Must not know the relay's rules. Trade-off: a hash sits behind a lock that nobody else wants, because the thread that
//! feeds it may never end; what it holds when the relay is over is what counts.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::relay::{Tap, Taps};

/// The file of `-o`, which can fail as stdout can.
#[derive(Debug, Clone, Default)]
pub struct SavedFile(Arc<OnceLock<PathBuf>>);

impl SavedFile {
    /// Its name, if it was the file that could not be written.
    pub fn failed(&self) -> Option<&Path> {
        self.0.get().map(PathBuf::as_path)
    }
}

/// The same output, and a file that gets everything before it does.
pub fn save(output: Box<dyn Write + Send>, name: Option<&Path>) -> Result<(Box<dyn Write + Send>, SavedFile)> {
    let saved = SavedFile::default();
    let Some(name) = name else { return Ok((output, saved)) };
    let file = File::create(name).with_context(|| format!("open {}", name.display()))?;
    Ok((Box::new(Doubled { file, name: name.to_owned(), saved: saved.clone(), output }), saved))
}

struct Doubled {
    file: File,
    name: PathBuf,
    saved: SavedFile,
    output: Box<dyn Write + Send>,
}

impl Write for Doubled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes).inspect_err(|_| {
            self.saved.0.get_or_init(|| self.name.clone());
        })?;
        self.output.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Hashes of both directions, as far as they have come.
pub struct Hashes {
    sent: Arc<Mutex<Sha256>>,
    received: Arc<Mutex<Sha256>>,
}

/// The same, in hexadecimal.
#[derive(Debug, Serialize)]
pub struct Digests {
    pub sent_sha256: String,
    pub received_sha256: String,
}

/// Hashes what passes from now on.
pub fn hash(taps: &mut Taps) -> Hashes {
    let hashes = Hashes { sent: Arc::default(), received: Arc::default() };
    taps.sent.push(feeds(&hashes.sent));
    taps.received.push(feeds(&hashes.received));
    hashes
}

fn feeds(hash: &Arc<Mutex<Sha256>>) -> Tap {
    let hash = hash.clone();
    Box::new(move |bytes| hash.lock().unwrap_or_else(PoisonError::into_inner).update(bytes))
}

impl Hashes {
    /// Of all that has passed.
    pub fn finish(&self) -> Digests {
        let digest = |hash: &Mutex<Sha256>| {
            let bytes = hash.lock().unwrap_or_else(PoisonError::into_inner).clone().finalize();
            bytes.iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"))
        };
        Digests { sent_sha256: digest(&self.sent), received_sha256: digest(&self.received) }
    }
}
