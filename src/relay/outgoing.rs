//! What was read of the input, as it goes to the peer: its line ends, the pieces it goes in, and their pace.
//!
//! Must not know where the bytes come from, nor how they are sent. Trade-off: the waiting is done here, between reading and
//! sending, so that an input which is held back is not taken for a silent one. What is off costs nothing: then the bytes
//! pass as they are, in one piece.

use std::thread;
use std::time::{Duration, Instant};

/// A line that is longer goes in several pieces: it must end somewhere, or an endless one would fill the memory.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// With a limited rate, so often a second a stream's piece goes out: even enough for any peer, and few calls.
const PIECES_PER_SECOND: u64 = 50;

/// What the user may decide.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// Whether a line ends with CR LF instead of LF.
    pub crlf: bool,
    /// Each line goes out by itself, and the next one so much later.
    pub interval: Option<Duration>,
    /// Bytes a second, on average and in each short while; at least 1.
    pub rate_limit: Option<u64>,
}

/// The input's bytes on their way out.
pub(super) struct Outgoing {
    manner: Manner,
    /// Whether pieces may be cut anywhere: not those that will be datagrams.
    is_stream: bool,
    /// Whether the last byte was a CR, whose LF may begin the next block.
    after_cr: bool,
    /// The beginning of a line whose end has not been read.
    line: Vec<u8>,
    /// When the next piece may go.
    next: Option<Instant>,
}

impl Outgoing {
    pub(super) fn new(manner: Manner, is_stream: bool) -> Outgoing {
        Outgoing { manner, is_stream, after_cr: false, line: Vec::new(), next: None }
    }

    /// Sends what was read, as far as it makes whole pieces.
    pub(super) fn pass<E>(&mut self, bytes: &[u8], mut send: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.manner.crlf {
            let translated = self.with_crlf(bytes);
            return self.pass_lines(&translated, &mut send);
        }
        self.pass_lines(bytes, &mut send)
    }

    /// Sends what is left when the input has ended.
    pub(super) fn finish<E>(&mut self, mut send: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() { Ok(()) } else { self.pass_piece(&line, &mut send) }
    }

    fn with_crlf(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut translated = Vec::with_capacity(bytes.len() + bytes.len() / 16);
        for &byte in bytes {
            if byte == b'\n' && !self.after_cr {
                translated.push(b'\r');
            }
            translated.push(byte);
            self.after_cr = byte == b'\r';
        }
        translated
    }

    fn pass_lines<E>(&mut self, bytes: &[u8], send: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.manner.interval.is_none() {
            return self.pass_piece(bytes, send);
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.line.len() >= LINE_BYTES_MAX {
                let line = std::mem::take(&mut self.line);
                self.pass_piece(&line, send)?;
            }
        }
        Ok(())
    }

    fn pass_piece<E>(&mut self, bytes: &[u8], send: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let Some(rate) = self.manner.rate_limit else {
            self.wait();
            send(bytes)?;
            self.next = self.manner.interval.map(|interval| Instant::now() + interval);
            return Ok(());
        };
        let most = if self.is_stream { (rate / PIECES_PER_SECOND).max(1) as usize } else { usize::MAX };
        for piece in bytes.chunks(most) {
            let begun = self.wait();
            send(piece)?;
            // What a slow peer costs is not made up for: the limit holds in each short while.
            self.next = Some(begun + Duration::from_secs_f64(piece.len() as f64 / rate as f64));
        }
        // The interval is the longer of the two, or is no interval.
        let after = self.manner.interval.map(|interval| Instant::now() + interval);
        self.next = self.next.max(after);
        Ok(())
    }

    /// Until the next piece may go: when that was. A piece that is late because sleeping took longer lets the next keep time.
    fn wait(&mut self) -> Instant {
        /// What a busy machine oversleeps; more is the peer's doing.
        const OVERSLEPT: Duration = Duration::from_millis(100);
        let now = Instant::now();
        let Some(next) = self.next else { return now };
        thread::sleep(next.saturating_duration_since(now));
        if next.elapsed() < OVERSLEPT { next } else { Instant::now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes out, piece by piece, when these blocks are read.
    fn pieces(manner: Manner, is_stream: bool, blocks: &[&str]) -> Vec<String> {
        let mut gone = Vec::new();
        let mut send = |piece: &[u8]| {
            gone.push(String::from_utf8(piece.to_vec()).unwrap());
            Ok::<(), ()>(())
        };
        let mut outgoing = Outgoing::new(manner, is_stream);
        for block in blocks {
            outgoing.pass(block.as_bytes(), &mut send).unwrap();
        }
        outgoing.finish(&mut send).unwrap();
        gone
    }

    #[test]
    fn a_line_ends_with_cr_lf_however_it_was_read() {
        let manner = Manner { crlf: true, ..Manner::default() };
        for (blocks, sent) in [
            (&["a\nb"][..], "a\r\nb"),
            (&["a\r\n"], "a\r\n"),
            (&["a\r", "\nb\n"], "a\r\nb\r\n"),
            (&["a", "\n", "\n"], "a\r\n\r\n"),
            (&["\r\r\n\n"], "\r\r\n\r\n"),
        ] {
            assert_eq!(pieces(manner, true, blocks).concat(), sent, "{blocks:?}");
        }
    }

    #[test]
    fn with_an_interval_each_line_is_a_piece() {
        let manner = Manner { interval: Some(Duration::ZERO), ..Manner::default() };
        for (blocks, sent) in [
            (&["a\nb\n"][..], &["a\n", "b\n"][..]),
            (&["a", "b\nc", "d"], &["ab\n", "cd"]),
            (&["\n\n"], &["\n", "\n"]),
            (&[], &[]),
        ] {
            assert_eq!(pieces(manner, true, blocks), sent, "{blocks:?}");
        }
        let endless = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(pieces(manner, true, &[&endless, "y\n"]), [endless.as_str(), "y\n"]);
    }

    #[test]
    fn a_limited_rate_cuts_streams_and_no_datagrams() {
        let manner = Manner { rate_limit: Some(1000), ..Manner::default() };
        let bytes = "x".repeat(50);
        let begun = Instant::now();
        assert_eq!(pieces(manner, true, &[&bytes]), ["x".repeat(20), "x".repeat(20), "x".repeat(10)]);
        // The last piece waits for those before it.
        assert!(begun.elapsed() >= Duration::from_millis(40), "{:?}", begun.elapsed());
        assert_eq!(pieces(manner, false, &[&bytes]), [bytes]);
    }
}
