//! `-x` and `-o`: what is shown and kept of the bytes that pass, whichever service they are for.
//!
//! Owns the file. Must not know what the bytes mean. Trade-off: peers share one file, in the order in which their bytes came;
//! whoever wants them apart serves one at a time.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::commands::connect::{PassingArgs, dump};
use crate::output::Output;
use crate::relay::Taps;

/// Where bytes are shown and kept.
#[derive(Debug, Clone, Default)]
pub struct Passing {
    dumped: Option<Output>,
    file: Option<Arc<(PathBuf, Mutex<File>)>>,
}

impl Passing {
    /// The file is made, or emptied.
    pub fn open(args: &PassingArgs, output: Output) -> Result<Passing> {
        let open = |name: &PathBuf| -> Result<_> {
            let file = File::create(name).with_context(|| format!("open {}", name.display()))?;
            Ok(Arc::new((name.clone(), Mutex::new(file))))
        };
        let file = args.output_file.as_ref().map(open).transpose()?;
        Ok(Passing { dumped: args.hex.then_some(output), file })
    }

    /// Whether nothing is shown or kept.
    pub fn is_off(&self) -> bool {
        self.dumped.is_none() && self.file.is_none()
    }

    /// Those who look at one connection's bytes; `label` tells it from others, and `failed` hears when the file cannot be
    /// written.
    pub fn taps(&self, label: &str, failed: impl Fn(io::Error, String) + Send + 'static) -> Taps {
        let mut taps = Taps::default();
        if let Some(output) = self.dumped {
            dump(&mut taps, output, label);
        }
        if let Some(file) = self.file.clone() {
            taps.received.push(Box::new(move |bytes| {
                let (name, file) = &*file;
                let written = file.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes);
                if let Err(error) = written {
                    failed(error, format!("write {}", name.display()));
                }
            }));
        }
        taps
    }
}
