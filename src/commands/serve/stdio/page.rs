//! One stdout for many peers: the exact bytes of one, or the lines of several with their tags.
//!
//! Owns whose line is whose. Must not know where the lines come from. Trade-off: while several peers are there, a line is
//! held back until its end comes, so that no two are mixed; one that has no end is cut.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A longer line goes in pieces: one that never ends must not fill the memory.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What is written on.
#[derive(Clone)]
pub struct Page(Arc<Mutex<Written>>);

struct Written {
    output: Box<dyn Write + Send>,
    /// How many peers there are.
    columns: usize,
    /// The last byte that went out as it came was no line end.
    is_inside_line: bool,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Page")
    }
}

impl Page {
    /// Over an output.
    pub fn new(output: Box<dyn Write + Send>) -> Page {
        Page(Arc::new(Mutex::new(Written { output, columns: 0, is_inside_line: false })))
    }

    /// A part of it for one peer, until it is dropped.
    pub fn column(&self, tag: &str) -> Column {
        self.lock().columns += 1;
        Column { page: self.clone(), tag: format!("[{tag}] "), line: Vec::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    fn write_line(&mut self, tag: &str, line: &[u8]) -> io::Result<()> {
        let mut text = Vec::with_capacity(tag.len() + line.len() + 2);
        if std::mem::take(&mut self.is_inside_line) {
            text.push(b'\n');
        }
        text.extend_from_slice(tag.as_bytes());
        text.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            text.push(b'\n');
        }
        self.output.write_all(&text)
    }
}

/// What one peer writes.
pub struct Column {
    page: Page,
    tag: String,
    /// The beginning of a line whose end has not come, while there are others.
    line: Vec<u8>,
}

impl Write for Column {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut page = self.page.lock();
        if page.columns <= 1 && self.line.is_empty() {
            let count = page.output.write(bytes)?;
            page.is_inside_line = !bytes[..count].ends_with(b"\n");
            return Ok(count);
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            for piece in part.chunks(LINE_BYTES_MAX) {
                self.line.extend_from_slice(piece);
                if piece.ends_with(b"\n") || self.line.len() >= LINE_BYTES_MAX {
                    page.write_line(&self.tag, &self.line)?;
                    self.line.clear();
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut page = self.page.lock();
        if !self.line.is_empty() {
            page.write_line(&self.tag, &std::mem::take(&mut self.line))?;
        }
        page.output.flush()
    }
}

impl Drop for Column {
    fn drop(&mut self) {
        // What a peer sent before its reset is shown too.
        let _ = self.flush();
        self.page.lock().columns -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Sheet(Arc<Mutex<Vec<u8>>>);

    impl Write for Sheet {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn one_peer_is_exact_and_several_are_tagged() {
        let sheet = Sheet::default();
        let page = Page::new(Box::new(sheet.clone()));
        let shown = || String::from_utf8(std::mem::take(&mut *sheet.0.lock().unwrap())).unwrap();
        let mut first = page.column("#1 a");
        first.write_all(b"exact\nbytes").unwrap();
        assert_eq!(shown(), "exact\nbytes");
        let mut second = page.column("#2 b");
        second.write_all(b"hel").unwrap();
        assert_eq!(shown(), "");
        second.write_all(b"lo\nwor").unwrap();
        assert_eq!(shown(), "\n[#2 b] hello\n", "the line of the first had no end");
        first.write_all(b"x\n\n").unwrap();
        assert_eq!(shown(), "[#1 a] x\n[#1 a] \n");
        drop(first);
        second.write_all(b"ld\n").unwrap();
        assert_eq!(shown(), "[#2 b] world\n", "a line is tagged as it began");
        second.write_all(b"alone").unwrap();
        assert_eq!(shown(), "alone");
        let mut third = page.column("#3 c");
        third.write_all(&vec![b'y'; LINE_BYTES_MAX + 1]).unwrap();
        assert_eq!(shown().len(), "\n[#3 c] \n".len() + LINE_BYTES_MAX);
        drop(third);
        assert_eq!(shown(), "[#3 c] y\n", "an end that never comes holds nothing back");
    }
}
