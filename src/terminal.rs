//! A terminal at which lines are typed and edited while a peer talks.
//!
//! Owns the terminal's mode, which it gives back, and the row with the line; `line` owns what is in it. Must not know who the
//! peer is. Trade-off: while nothing is typed, nothing is drawn: then a session looks as it would without this.
//!
//! The terminal still ends lines and makes signals of ^C and ^Z; only its own echo and line are off. What the peer says is put
//! in front of the line, and the beginning of a line of the peer's, such as a prompt, stays there.

mod line;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use line::{Key, Keys, Line, Typed, width};

/// Where the system does not tell.
const COLUMNS: usize = 80;

/// As many columns are left for the line; a longer beginning of the peer's has a row of its own.
const ROOM_MIN: usize = 20;

/// A prompt of so many bytes is longer than any row, and the rest of it need not be known.
const PROMPT_BYTES_MAX: usize = 4096;

/// A terminal in its edited mode, which ends with this.
pub struct Terminal(Shared);

/// A terminal, what is typed at it line by line, and what shows the peer's text on it.
pub type Edited = (Terminal, Box<dyn Read + Send>, Box<dyn Write + Send>);

/// Everything about it is behind one lock: what is drawn must not mix.
#[derive(Clone)]
struct Shared(Arc<Mutex<Screen>>);

struct Screen {
    /// To give its mode back; somebody else reads.
    input: File,
    output: File,
    original: Termios,
    line: Line,
    /// The peer's last line, as far as it has come.
    prompt: String,
    /// Whether the row shows the line, so that it must be drawn anew.
    is_drawn: bool,
    is_restored: bool,
}

impl Terminal {
    /// Turns its editing on; none where that cannot be.
    pub fn edit(input: File, output: File) -> Option<Edited> {
        let original = tcgetattr(&input).ok()?;
        let keyboard = input.try_clone().ok()?;
        let mut edited = original.clone();
        edited.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN);
        // A read has a byte at least, and waits for no more.
        edited.special_codes[SpecialCodeIndex::VMIN] = 1;
        edited.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&input, OptionalActions::Now, &edited).ok()?;
        let (line, prompt) = (Line::default(), String::new());
        let screen = Screen { input, output, original, line, prompt, is_drawn: false, is_restored: false };
        let shared = Shared(Arc::new(Mutex::new(screen)));
        let (keys, ready) = (Keys::default(), VecDeque::new());
        let typing = Typing { shared: shared.clone(), keyboard, keys, ready, has_ended: false };
        Some((Terminal(shared.clone()), Box::new(typing), Box::new(Showing(shared))))
    }

    /// Gives the terminal back as it was.
    pub fn restore(&self) {
        self.0.lock().restore();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Screen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Screen {
    fn restore(&mut self) {
        if std::mem::replace(&mut self.is_restored, true) {
            return;
        }
        if self.is_drawn {
            // What was typed stays to be seen; what follows has a row of its own.
            let _ = self.output.write_all(b"\n");
        }
        // A terminal that has gone needs nothing back.
        let _ = tcsetattr(&self.input, OptionalActions::Now, &self.original);
    }

    fn columns(&self) -> usize {
        tcgetwinsize(&self.output)
            .ok()
            .map(|size| usize::from(size.ws_col))
            .filter(|columns| *columns > 0)
            .unwrap_or(COLUMNS)
    }

    /// Draws the row: the peer's beginning, the line, and the cursor at its place.
    fn draw(&mut self) -> io::Result<()> {
        let room = self.columns().saturating_sub(width(&self.prompt) + 1);
        let (seen, cursor) = self.line.seen(room);
        let column = width(&self.prompt) + cursor;
        let place = if column == 0 { "\r".to_owned() } else { format!("\r\x1b[{column}C") };
        self.is_drawn = !self.line.is_empty();
        self.output.write_all(format!("\r{}{seen}\x1b[K{place}", self.prompt).as_bytes())
    }

    /// Shows what the peer says, and the line again behind it.
    fn show(&mut self, text: &str) -> io::Result<()> {
        let is_drawn = self.is_drawn;
        if is_drawn {
            self.output.write_all(format!("\r{}\x1b[K", self.prompt).as_bytes())?;
        }
        self.output.write_all(text.as_bytes())?;
        match text.rsplit_once('\n') {
            Some((_, begun)) => begun.clone_into(&mut self.prompt),
            None if self.prompt.len() < PROMPT_BYTES_MAX => self.prompt.push_str(text),
            None => {}
        }
        if is_drawn {
            if self.columns() < width(&self.prompt) + ROOM_MIN {
                self.output.write_all(b"\n")?;
                self.prompt.clear();
            }
            self.draw()?;
        }
        Ok(())
    }

    /// One key more.
    fn press(&mut self, key: Key) -> io::Result<Typed> {
        if self.line.is_empty() && self.columns() < width(&self.prompt) + ROOM_MIN {
            self.output.write_all(b"\n")?;
            self.prompt.clear();
        }
        let typed = self.line.press(key);
        match &typed {
            Typed::Changed => self.draw()?,
            Typed::End => {}
            Typed::Line(text) => {
                let shown = text.replace('\t', " ");
                self.output.write_all(format!("\r{}{shown}\x1b[K\n", self.prompt).as_bytes())?;
                self.prompt.clear();
                self.is_drawn = false;
            }
        }
        Ok(typed)
    }
}

/// What is typed, line by line.
struct Typing {
    shared: Shared,
    keyboard: File,
    keys: Keys,
    /// Lines that are done and were not read.
    ready: VecDeque<u8>,
    has_ended: bool,
}

impl Read for Typing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = [0; 1024];
        while self.ready.is_empty() && !self.has_ended {
            let count = self.keyboard.read(&mut bytes)?;
            self.has_ended = count == 0;
            for key in bytes[..count].iter().filter_map(|byte| self.keys.press(*byte)) {
                match self.shared.lock().press(key)? {
                    Typed::Line(line) => self.ready.extend(line.bytes().chain([b'\n'])),
                    Typed::End => self.has_ended = true,
                    Typed::Changed => {}
                }
            }
        }
        self.ready.read(buffer)
    }
}

/// Where the peer's text goes. It has been made safe for a terminal.
struct Showing(Shared);

impl Write for Showing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().show(&String::from_utf8_lossy(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
