//! What `connect` shows of the bytes that pass: as a dump, and as progress.
//!
//! Must not know how a terminal is driven: `output` does. Trade-off: the bytes wait until they are shown, so that a dump is
//! in the order of what happened.

use std::time::Instant;

use indicatif::ProgressBar;
use serde::Serialize;

use super::verdict::SCHEMA;
use crate::connection::socket::Datagram;
use crate::output::{Output, hex_dump};
use crate::relay::{Tap, Taps};

/// Shows each run of bytes from now on, behind a label where there are several connections.
pub fn dump(taps: &mut Taps, output: Output, label: &str) {
    let begun = Instant::now();
    let shows = |direction: char| -> Tap {
        let (label, mut offset) = (label.to_owned(), 0);
        Box::new(move |bytes| {
            let (time, length) = (begun.elapsed().as_secs_f64(), bytes.len());
            let dump = hex_dump(offset, bytes);
            output.note(format_args!("{label}{direction} {time:.6} s, {length} bytes at {offset}{dump}"));
            offset += length as u64;
        })
    };
    taps.sending.push(shows('>'));
    taps.received.push(shows('<'));
}

/// A datagram that has come, as a JSON line.
#[derive(Serialize)]
struct Received {
    schema: &'static str,
    event: &'static str,
    peer: String,
    received_bytes: usize,
    truncated: bool,
}

/// Tells of each datagram that comes: what is cut off in any case, the others with `-v`, and all as JSON.
pub fn tell_datagrams(taps: &mut Taps, output: Output) {
    taps.datagrams.push(Box::new(move |datagram| {
        let Datagram { length, truncated, from } = datagram;
        if output.json {
            let (peer, received_bytes, truncated) = (from.to_string(), *length, *truncated);
            output.record(&Received { schema: SCHEMA, event: "datagram", peer, received_bytes, truncated });
        } else if *truncated {
            output.note(format_args!("datagram from {from}: {length} bytes, cut off"));
        } else {
            output.detail(format_args!("datagram from {from}: {length} bytes"));
        }
    }));
}

/// Moves a bar: with a length by what is sent of it, else by what goes either way.
pub fn count(taps: &mut Taps, bar: &ProgressBar) {
    let moves = || -> Tap {
        let bar = bar.clone();
        Box::new(move |bytes| bar.inc(bytes.len() as u64))
    };
    taps.sent.push(moves());
    if bar.length().is_none() {
        taps.received.push(moves());
    }
}
