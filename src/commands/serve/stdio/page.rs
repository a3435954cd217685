//! One stdout for many peers: the exact bytes of one, or the lines of several with their tags.
//!
//! Owns whose line is whose. Must not know where the lines come from. Trade-off: while several peers are there, a line is
//! held back until its end comes or the others have left, so that no two are mixed; one that has no end is cut.

use std::collections::BTreeMap;
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
    /// One for each peer.
    rows: BTreeMap<u64, Row>,
    /// How many there have been.
    count: u64,
    /// The last byte that went out as it came was no line end.
    is_inside_line: bool,
}

/// What one peer has on the page.
struct Row {
    tag: String,
    /// The beginning of a line whose end has not come, while there are others.
    line: Vec<u8>,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Page")
    }
}

impl Page {
    /// Over an output.
    pub fn new(output: Box<dyn Write + Send>) -> Page {
        Page(Arc::new(Mutex::new(Written { output, rows: BTreeMap::new(), count: 0, is_inside_line: false })))
    }

    /// A part of it for one peer, until it is dropped.
    pub fn column(&self, tag: &str) -> Column {
        let mut page = self.lock();
        page.count += 1;
        let number = page.count;
        page.rows.insert(number, Row { tag: format!("[{tag}] "), line: Vec::new() });
        Column { page: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    fn write(&mut self, number: u64, bytes: &[u8]) -> io::Result<usize> {
        if self.rows.len() == 1 {
            self.let_out_the_last()?;
            let count = self.output.write(bytes)?;
            self.is_inside_line = !bytes[..count].ends_with(b"\n");
            return Ok(count);
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            for piece in part.chunks(LINE_BYTES_MAX) {
                let line = self.rows.get_mut(&number).map_or(&[][..], |row| {
                    row.line.extend_from_slice(piece);
                    &row.line
                });
                if piece.ends_with(b"\n") || line.len() >= LINE_BYTES_MAX {
                    self.let_out(number, true)?;
                }
            }
        }
        Ok(bytes.len())
    }

    /// Whoever is alone has nothing held back: there is nobody to be mixed with.
    fn let_out_the_last(&mut self) -> io::Result<()> {
        match self.rows.keys().next() {
            Some(&number) if self.rows.len() == 1 => self.let_out(number, false),
            _ => Ok(()),
        }
    }

    /// Writes what is held back of one peer, with a line end if it has none and this is all of it.
    fn let_out(&mut self, number: u64, is_all: bool) -> io::Result<()> {
        let Some(row) = self.rows.get_mut(&number).filter(|row| !row.line.is_empty()) else { return Ok(()) };
        let line = std::mem::take(&mut row.line);
        let mut text = Vec::with_capacity(row.tag.len() + line.len() + 2);
        if self.is_inside_line {
            text.push(b'\n');
        }
        text.extend_from_slice(row.tag.as_bytes());
        text.extend_from_slice(&line);
        if is_all && !line.ends_with(b"\n") {
            text.push(b'\n');
        }
        self.is_inside_line = !text.ends_with(b"\n");
        self.output.write_all(&text)
    }
}

/// What one peer writes.
pub struct Column {
    page: Page,
    number: u64,
}

impl Write for Column {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.page.lock().write(self.number, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut page = self.page.lock();
        page.let_out(self.number, true)?;
        page.output.flush()
    }
}

impl Drop for Column {
    fn drop(&mut self) {
        // What a peer sent before its reset is shown too.
        let _ = self.flush();
        let mut page = self.page.lock();
        page.rows.remove(&self.number);
        // Where it cannot be written, whoever writes next is told.
        let _ = page.let_out_the_last();
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
        assert_eq!(shown(), "[#2 b] wor", "who is alone is not held back");
        second.write_all(b"ld\n").unwrap();
        assert_eq!(shown(), "ld\n");
        second.write_all(b"alone").unwrap();
        assert_eq!(shown(), "alone");
        let mut third = page.column("#3 c");
        third.write_all(&vec![b'y'; LINE_BYTES_MAX + 1]).unwrap();
        assert_eq!(shown().len(), "\n[#3 c] \n".len() + LINE_BYTES_MAX);
        drop(third);
        assert_eq!(shown(), "[#3 c] y\n", "an end that never comes holds nothing back");
    }
}
