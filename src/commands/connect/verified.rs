//! `connect --verify`: data of a seed to an echo server, and every byte that comes back compared.
//!
//! Owns the flags and the verdict; `stream` and `datagrams` send and compare. Must not know how bytes get to the peer. Trade-off:
//! what is sent is a function of the seed and the place, so that nothing of it is kept, however much it is.

mod datagrams;
mod stream;

use std::io::{Read, Write};

use serde::Serialize;

use super::Args;
use super::verdict::SCHEMA;
use crate::cli::UsageError;
use crate::connection::datagram::PAYLOAD_BYTES_MAX;
use crate::connection::{Cause, Conn, Error, Op, Transport};
use crate::output::Output;
use crate::random;
use crate::relay::{Ended, Stopper};
use crate::units::parse_size;
use datagrams::Book;
use stream::Compared;

/// Of datagrams that are to pass everywhere: IPv6 demands that 1280 bytes do (RFC 8200 section 5), with their headers.
const DATAGRAM_BYTES: u64 = 512;

/// The flags.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct VerifyArgs {
    /// Send SIZE bytes [default: 1MiB] and compare each that comes back [status when one is wrong: 5]
    ///
    /// To an echo server. What is sent depends on --verify-seed and on its place alone; the first wrong byte is told with its
    /// offset. Of datagrams the lost, doubled, reordered and wrong ones are counted. When nothing comes for 10 seconds (-W) it
    /// is over.
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true, default_missing_value = "1MiB",
          value_parser = parse_size)]
    pub verify: Option<u64>,
    /// What the data is made of: the same number makes the same data [default: drawn, and told]
    #[arg(long, value_name = "N", requires = "verify")]
    pub verify_seed: Option<u64>,
    /// How large each datagram is [default: 512]
    #[arg(long, value_name = "SIZE", requires = "verify", value_parser = parse_size)]
    pub verify_length: Option<u64>,
}

/// What to send.
#[derive(Debug, Clone, Copy)]
pub struct Verification {
    bytes: u64,
    seed: u64,
    /// Of each datagram; a stream has none.
    length: Option<usize>,
}

/// The verification of a command line, if there is one: it decides what is sent.
pub fn verification_of(args: &Args, transport: Transport) -> Result<Option<Verification>, UsageError> {
    let Some(bytes) = args.verify.verify else { return Ok(None) };
    let others = [
        ("-e or -c", args.program.is_any()),
        ("the script", args.script.is_any()),
        ("-d", args.joining.no_stdin),
        ("--send-only", args.joining.send_only),
        ("-C", args.joining.crlf),
        ("-i", args.joining.interval.is_some()),
        ("-z", args.connect_only),
        ("-k", args.keep_open),
    ];
    if let Some((flag, _)) = others.iter().find(|(_, is_set)| *is_set) {
        return Err(UsageError(format!("--verify decides what is sent and heard: leave {flag} out")));
    }
    if bytes == 0 {
        return Err(UsageError("--verify=0 sends nothing: a size is needed, such as 1MiB".to_owned()));
    }
    let length = match (args.verify.verify_length, transport.is_stream()) {
        (Some(_), true) => {
            return Err(UsageError(format!("--verify-length is for datagrams, and {transport} is a stream")));
        }
        (Some(length), false) if !(1..=PAYLOAD_BYTES_MAX as u64).contains(&length) => {
            return Err(UsageError(format!("--verify-length {length} is no datagram's: 1 to {PAYLOAD_BYTES_MAX}")));
        }
        (length, is_stream) => (!is_stream).then_some(length.unwrap_or(DATAGRAM_BYTES) as usize),
    };
    let seed = args.verify.verify_seed.unwrap_or_else(random::drawn_seed);
    Ok(Some(Verification { bytes, seed, length }))
}

/// A verification under way.
pub struct Verifying {
    verification: Verification,
    found: Found,
}

enum Found {
    Stream(Compared),
    Datagrams(Book),
}

/// How it went, as a JSON line.
#[derive(Serialize)]
struct Verified {
    schema: &'static str,
    event: &'static str,
    seed: u64,
    verify_bytes: u64,
    verified_bytes: u64,
    wrong_offset: Option<u64>,
    datagrams: Option<datagrams::Counts>,
}

impl Verification {
    /// Begins: with what is sent, and what compares.
    pub fn start(self, stopper: Stopper) -> (Verifying, Box<dyn Read + Send>, Box<dyn Write + Send>) {
        let Verification { bytes, seed, length } = self;
        match length {
            None => {
                let (compared, input, output) = stream::start(seed, bytes, stopper);
                (Verifying { verification: self, found: Found::Stream(compared) }, input, output)
            }
            Some(length) => {
                let (book, input, output) = datagrams::start(seed, bytes, length, stopper);
                (Verifying { verification: self, found: Found::Datagrams(book) }, input, output)
            }
        }
    }
}

impl Verifying {
    /// What the end of a relay means, now that everything is compared; and says how it went.
    pub fn conclude(&self, ended: Ended, conn: &Conn, output: Output) -> Ended {
        let Verification { bytes, seed, .. } = self.verification;
        let (failure, words, record) = match &self.found {
            Found::Stream(compared) => {
                let (verified_bytes, wrong_offset) = compared.so_far();
                let words = format!("{bytes} bytes came back as they were sent; seed {seed}");
                (compared.failure(bytes), words, self.record(verified_bytes, wrong_offset, None))
            }
            Found::Datagrams(book) => {
                let counts = book.close();
                let words = format!("{counts}; seed {seed}");
                let verified_bytes = counts.right * self.verification.length.unwrap_or(0) as u64;
                (book.failure(), words, self.record(verified_bytes, None, Some(counts)))
            }
        };
        if output.json {
            output.verdict(&record, "");
        }
        match failure {
            // A connection that failed, or a clock that ran out, explains what is missing.
            Some((why, told)) if ended.is_clean() => {
                let error = Error::new(Op::Receive, conn, conn.age(), Cause::Misbehaved(why));
                Ended::PeerFailed(error.told(format!("{told}; seed {seed}")))
            }
            None if ended.is_clean() && !output.json => {
                output.note(words);
                ended
            }
            _ => ended,
        }
    }

    fn record(&self, verified_bytes: u64, wrong_offset: Option<u64>, datagrams: Option<datagrams::Counts>) -> Verified {
        let Verification { bytes, seed, .. } = self.verification;
        Verified {
            schema: SCHEMA,
            event: "verified",
            seed,
            verify_bytes: bytes,
            verified_bytes,
            wrong_offset,
            datagrams,
        }
    }
}
