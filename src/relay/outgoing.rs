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

/// What goes in one piece, which is one send, or one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pieces {
    /// What one read gave; with an interval a line.
    #[default]
    AsRead,
    /// A line, without its LF unless it ends with CR LF.
    Lines,
    /// So many bytes, and at the end what is left.
    Of(usize),
}

/// What the user may decide.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// Whether a line ends with CR LF instead of LF.
    pub crlf: bool,
    /// Each line goes out by itself, and the next one so much later.
    pub interval: Option<Duration>,
    /// Bytes a second, on average and in each short while; at least 1.
    pub rate_limit: Option<u64>,
    /// What goes in one piece.
    pub pieces: Pieces,
    /// Whether an input without a byte, or a line of `Pieces::Lines`, makes an empty piece: only of datagrams.
    pub sends_empty: bool,
}

/// Why nothing more goes out.
#[derive(Debug, PartialEq, Eq)]
pub enum Halt<E> {
    /// A piece could not be sent.
    Send(E),
    /// A piece has more than so many bytes, and must not be cut.
    TooLong(usize),
}

/// The input's bytes on their way out.
pub struct Outgoing {
    manner: Manner,
    /// How long a piece may be that will be a datagram; those of a stream may be cut anywhere.
    limit: Option<usize>,
    /// Whether nothing has come of the input.
    is_empty: bool,
    /// Whether the last byte was a CR, whose LF may begin the next block.
    after_cr: bool,
    /// The beginning of a line whose end has not been read.
    line: Vec<u8>,
    /// When the next piece may go.
    next: Option<Instant>,
}

impl Outgoing {
    /// None has gone yet.
    pub fn new(manner: Manner, limit: Option<usize>) -> Outgoing {
        Outgoing { manner, limit, is_empty: true, after_cr: false, line: Vec::new(), next: None }
    }

    /// Sends what was read, as far as it makes whole pieces.
    pub fn pass<E>(&mut self, bytes: &[u8], mut send: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), Halt<E>> {
        self.is_empty = false;
        if self.manner.crlf {
            let translated = self.with_crlf(bytes);
            return self.cut(&translated, &mut send);
        }
        self.cut(bytes, &mut send)
    }

    /// Sends what is left when the input has ended.
    pub fn finish<E>(&mut self, mut send: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), Halt<E>> {
        let rest = std::mem::take(&mut self.line);
        let is_due = !rest.is_empty() || (self.is_empty && self.manner.sends_empty);
        if is_due { self.pass_piece(&rest, &mut send) } else { Ok(()) }
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

    /// Cuts it into pieces.
    fn cut<E>(&mut self, bytes: &[u8], send: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), Halt<E>> {
        match self.manner.pieces {
            Pieces::AsRead if self.manner.interval.is_none() => self.pass_piece(bytes, send),
            Pieces::AsRead | Pieces::Lines => self.pass_lines(bytes, send),
            Pieces::Of(length) => {
                self.line.extend_from_slice(bytes);
                let whole = std::mem::take(&mut self.line);
                let pieces = whole.chunks_exact(length);
                self.line.extend_from_slice(pieces.remainder());
                pieces.into_iter().try_for_each(|piece| self.pass_piece(piece, send))
            }
        }
    }

    fn pass_lines<E>(&mut self, bytes: &[u8], send: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), Halt<E>> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            let is_long = match self.limit {
                Some(limit) => self.line.len() > limit,
                None => self.line.len() >= LINE_BYTES_MAX,
            };
            if !part.ends_with(b"\n") && !is_long {
                return Ok(());
            }
            let mut line = std::mem::take(&mut self.line);
            if self.manner.pieces == Pieces::Lines {
                if !self.manner.crlf && line.ends_with(b"\n") {
                    line.pop();
                }
                if line.is_empty() && !self.manner.sends_empty {
                    continue;
                }
            }
            self.pass_piece(&line, send)?;
        }
        Ok(())
    }

    fn pass_piece<E>(&mut self, bytes: &[u8], send: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), Halt<E>> {
        if let Some(limit) = self.limit.filter(|limit| bytes.len() > *limit) {
            return Err(Halt::TooLong(limit));
        }
        let Some(rate) = self.manner.rate_limit else {
            self.wait();
            send(bytes).map_err(Halt::Send)?;
            self.next = self.manner.interval.map(|interval| Instant::now() + interval);
            return Ok(());
        };
        // A datagram goes whole, and an empty one too.
        let most = if self.limit.is_none() { (rate / PIECES_PER_SECOND).max(1) as usize } else { bytes.len().max(1) };
        let (first, rest) = bytes.split_at(most.min(bytes.len()));
        for piece in std::iter::once(first).chain(rest.chunks(most)) {
            let begun = self.wait();
            send(piece).map_err(Halt::Send)?;
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
    fn pieces(manner: Manner, limit: Option<usize>, blocks: &[&str]) -> Vec<String> {
        let mut gone = Vec::new();
        let mut send = |piece: &[u8]| {
            gone.push(String::from_utf8(piece.to_vec()).unwrap());
            Ok::<(), ()>(())
        };
        let mut outgoing = Outgoing::new(manner, limit);
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
            assert_eq!(pieces(manner, None, blocks).concat(), sent, "{blocks:?}");
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
            assert_eq!(pieces(manner, None, blocks), sent, "{blocks:?}");
        }
        let endless = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(pieces(manner, None, &[&endless, "y\n"]), [endless.as_str(), "y\n"]);
    }

    #[test]
    fn a_limited_rate_cuts_streams_and_no_datagrams() {
        let manner = Manner { rate_limit: Some(1000), ..Manner::default() };
        let bytes = "x".repeat(50);
        let begun = Instant::now();
        assert_eq!(pieces(manner, None, &[&bytes]), ["x".repeat(20), "x".repeat(20), "x".repeat(10)]);
        // The last piece waits for those before it.
        assert!(begun.elapsed() >= Duration::from_millis(40), "{:?}", begun.elapsed());
        assert_eq!(pieces(manner, Some(100), &[&bytes]), [bytes]);
    }
    #[test]
    fn datagrams_are_lines_or_have_a_size_and_are_never_cut() {
        let lines = Manner { pieces: Pieces::Lines, ..Manner::default() };
        let with_empty = Manner { sends_empty: true, ..lines };
        let crlf = Manner { crlf: true, ..lines };
        let sized = Manner { pieces: Pieces::Of(3), ..Manner::default() };
        let sized_slowly = Manner { interval: Some(Duration::ZERO), rate_limit: Some(1_000_000), ..sized };
        let empty = Manner { sends_empty: true, ..Manner::default() };
        for (manner, blocks, sent) in [
            (lines, &["a\n\nb\r\n", "c"][..], &["a", "b\r", "c"][..]),
            (with_empty, &["a\n\n", "\nb\n"], &["a", "", "", "b"]),
            (crlf, &["a\n\nb"], &["a\r\n", "\r\n", "b"]),
            (sized, &["abcdefgh", "i", "j"], &["abc", "def", "ghi", "j"]),
            (sized, &["ab\n", "def"], &["ab\n", "def"]),
            (sized_slowly, &["abcd"], &["abc", "d"]),
            (sized, &[], &[]),
            (empty, &[], &[""]),
            (Manner { rate_limit: Some(1), ..empty }, &[], &[""]),
            (with_empty, &[], &[""]),
            (empty, &["\n"], &["\n"]),
            (Manner::default(), &["a\nb", "c"], &["a\nb", "c"]),
        ] {
            assert_eq!(pieces(manner, Some(5), blocks), sent, "{manner:?} {blocks:?}");
        }
    }

    #[test]
    fn what_is_too_long_for_a_datagram_does_not_go() {
        let interval = Manner { interval: Some(Duration::ZERO), ..Manner::default() };
        let lines = Manner { pieces: Pieces::Lines, ..Manner::default() };
        for manner in [Manner::default(), interval, lines] {
            let mut gone = Vec::new();
            let mut send = |piece: &[u8]| {
                gone.push(piece.to_vec());
                Ok::<(), ()>(())
            };
            let mut outgoing = Outgoing::new(manner, Some(5));
            outgoing.pass(b"abcd\n", &mut send).unwrap();
            assert_eq!(outgoing.pass(b"abcdef", &mut send), Err(Halt::TooLong(5)), "{manner:?}");
            assert_eq!(gone.len(), 1);
        }
    }
}
