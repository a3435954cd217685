//! A line that is being typed: keys, what they do to it, and what of it is seen.
//!
//! Must not know a terminal: it is given bytes and a width. Trade-off: one row that scrolls sideways, so that what a peer says
//! meanwhile can be put above it without counting rows.

use unicode_width::UnicodeWidthChar;

/// Lines that can be called back.
const HISTORY_LINES_MAX: usize = 1000;

/// A sequence of a key is shorter; what goes on is none.
const SEQUENCE_BYTES_MAX: usize = 16;

/// What was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Character(char),
    Enter,
    /// ^D: the end of the input in an empty line.
    End,
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    LineStart,
    LineEnd,
    Up,
    Down,
    EraseToEnd,
    EraseToStart,
    EraseWord,
}

/// Bytes as keys, as terminals since the VT100 send them.
#[derive(Debug, Default)]
pub struct Keys {
    /// The beginning of a sequence, or of a character.
    begun: Vec<u8>,
}

impl Keys {
    /// The key that this byte completes, if it does.
    pub fn press(&mut self, byte: u8) -> Option<Key> {
        self.begun.push(byte);
        let key = match self.begun.as_slice() {
            [0x1b] | [0x1b, b'[' | b'O'] => return None,
            [0x1b, b'[', parameters @ .., 0x20..=0x3f] if parameters.len() < SEQUENCE_BYTES_MAX => return None,
            [0x1b, b'[' | b'O', parameters @ .., last] => sequence(parameters, *last),
            [0x1b, b'b'] => Some(Key::WordLeft),
            [0x1b, b'f'] => Some(Key::WordRight),
            [0x1b, 0x7f] => Some(Key::EraseWord),
            [0x1b, ..] => None,
            [control @ (0..=0x1f | 0x7f)] => control_key(*control),
            bytes => match std::str::from_utf8(bytes) {
                Ok(text) => text.chars().next().map(Key::Character),
                Err(error) if error.error_len().is_none() => return None,
                // No character of any text: there is nothing to show of it.
                Err(_) => None,
            },
        };
        self.begun.clear();
        key
    }
}

fn control_key(byte: u8) -> Option<Key> {
    Some(match byte {
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Character('\t'),
        0x01 => Key::LineStart,
        0x02 => Key::Left,
        0x04 => Key::End,
        0x05 => Key::LineEnd,
        0x06 => Key::Right,
        0x08 | 0x7f => Key::Backspace,
        0x0b => Key::EraseToEnd,
        0x0e => Key::Down,
        0x10 => Key::Up,
        0x15 => Key::EraseToStart,
        0x17 => Key::EraseWord,
        _ => return None,
    })
}

fn sequence(parameters: &[u8], last: u8) -> Option<Key> {
    // With Control or Alt held, which is the second parameter, by words.
    let is_by_word = parameters.ends_with(b";5") || parameters.ends_with(b";3");
    Some(match (last, parameters) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) if is_by_word => Key::WordRight,
        (b'D', _) if is_by_word => Key::WordLeft,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', b"1" | b"7") => Key::LineStart,
        (b'F', _) | (b'~', b"4" | b"8") => Key::LineEnd,
        (b'~', b"3") => Key::Delete,
        _ => return None,
    })
}

/// What a key has come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// The line is another one, or the place in it.
    Changed,
    /// The line is done.
    Line(String),
    /// There will be no more lines.
    End,
}

/// The line, and those before it.
#[derive(Debug, Default)]
pub struct Line {
    text: String,
    /// Where the next character goes: in bytes.
    cursor: usize,
    history: Vec<String>,
    /// Which line of the history is shown; its length is none of them.
    place: usize,
    /// What was typed before one of them was called back.
    draft: String,
}

impl Line {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Does what a key says.
    pub fn press(&mut self, key: Key) -> Typed {
        match key {
            Key::Enter => return Typed::Line(self.take()),
            Key::End if self.text.is_empty() => return Typed::End,
            Key::Character(character) => {
                self.text.insert(self.cursor, character);
                self.cursor += character.len_utf8();
            }
            Key::Backspace => self.erase(self.before(1), self.cursor),
            Key::Delete | Key::End => self.erase(self.cursor, self.after(1)),
            Key::Left => self.cursor = self.before(1),
            Key::Right => self.cursor = self.after(1),
            Key::WordLeft => self.cursor = self.word_before(),
            Key::WordRight => self.cursor = self.word_after(),
            Key::LineStart => self.cursor = 0,
            Key::LineEnd => self.cursor = self.text.len(),
            Key::EraseToEnd => self.erase(self.cursor, self.text.len()),
            Key::EraseToStart => self.erase(0, self.cursor),
            Key::EraseWord => self.erase(self.word_before(), self.cursor),
            Key::Up => self.recall(self.place.saturating_sub(1)),
            Key::Down => self.recall((self.place + 1).min(self.history.len())),
        }
        Typed::Changed
    }

    /// What is seen of it in so many columns, and in which of them the cursor is.
    pub fn seen(&self, columns: usize) -> (String, usize) {
        let mut begin = 0;
        // The cursor has a column too.
        while width(&self.text[begin..self.cursor]) >= columns.max(1) {
            begin += self.text[begin..].chars().next().map_or(1, char::len_utf8);
        }
        let mut used = 0;
        let fits = |character: &char| {
            used += width_of(*character);
            used <= columns
        };
        // A tab is one column here; what it is to the peer is the peer's affair.
        let shown = self.text[begin..].chars().take_while(fits).map(|one| if one == '\t' { ' ' } else { one });
        (shown.collect(), width(&self.text[begin..self.cursor]))
    }

    fn take(&mut self) -> String {
        let line = std::mem::take(&mut self.text);
        self.cursor = 0;
        if !line.is_empty() && self.history.last() != Some(&line) {
            self.history.push(line.clone());
            if self.history.len() > HISTORY_LINES_MAX {
                self.history.remove(0);
            }
        }
        self.place = self.history.len();
        line
    }

    fn recall(&mut self, place: usize) {
        if place == self.place {
            return;
        }
        if self.place == self.history.len() {
            self.draft.clone_from(&self.text);
        }
        self.place = place;
        self.text = self.history.get(place).unwrap_or(&self.draft).clone();
        self.cursor = self.text.len();
    }

    fn erase(&mut self, from: usize, to: usize) {
        self.text.replace_range(from..to, "");
        self.cursor = from;
    }

    fn before(&self, count: usize) -> usize {
        let mut places = self.text[..self.cursor].char_indices().rev().map(|(at, _)| at);
        places.nth(count - 1).unwrap_or(0)
    }

    fn after(&self, count: usize) -> usize {
        let mut places = self.text[self.cursor..].char_indices().map(|(at, _)| self.cursor + at);
        places.nth(count).unwrap_or(self.text.len())
    }

    fn word_before(&self) -> usize {
        let before = self.text[..self.cursor].trim_end();
        before.rfind(char::is_whitespace).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8))
    }

    fn word_after(&self) -> usize {
        let rest = &self.text[self.cursor..];
        let blanks = rest.len() - rest.trim_start().len();
        let word = rest[blanks..].find(char::is_whitespace).unwrap_or(rest.len() - blanks);
        self.cursor + blanks + word
    }
}

/// How many columns a text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

fn width_of(character: char) -> usize {
    character.width().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is entered when these bytes are typed; what is left in the line after a `|`.
    fn typed(bytes: &str) -> String {
        let (mut keys, mut line, mut entered) = (Keys::default(), Line::default(), String::new());
        for key in bytes.bytes().filter_map(|byte| keys.press(byte)) {
            match line.press(key) {
                Typed::Line(text) => entered += &format!("{text}\n"),
                Typed::End => entered += "END",
                Typed::Changed => {}
            }
        }
        format!("{entered}|{}", line.text)
    }

    #[test]
    fn keys_edit_the_line() {
        for (bytes, expected) in [
            ("abc\n", "abc\n|"),
            ("abc\x7f\x08X\r", "aX\n|"),
            ("bc\x01a\x05d\n", "abcd\n|"),
            ("ac\x1b[Db\n", "abc\n|"),
            ("ac\x1bODb\x1b[C!\n", "abc!\n|"),
            ("one two  \x17X\n", "one X\n|"),
            ("one two\x1b[1;5DX\x1b[1;5D\x1b[1;5D>\x1b[1;5C<\n", ">one< Xtwo\n|"),
            ("one two\x1bbX\n", "one Xtwo\n|"),
            ("abc\x1b[H\x1b[3~X\x1b[F!\n", "Xbc!\n|"),
            ("abc\x1b[D\x0b\n", "ab\n|"),
            ("abc\x1b[D\x15\n", "c\n|"),
            ("gr\u{fc}n\x1b[D\x7f\u{20ac}\n", "gr\u{20ac}n\n|"),
            ("a\tb\n", "a\tb\n|"),
            ("ab\x01\x04", "|b"),
            ("\x04", "END|"),
            ("\x1b[200~x\x1bz\x1b[5~\x00\n", "x\n|"),
            ("one\ntwo\n\x1b[A\x1b[A!\n", "one\ntwo\none!\n|"),
            ("one\nt\x1b[A\x1b[Bwo\n", "one\ntwo\n|"),
            ("one\none\ntwo\n\x10\x10\x10\n", "one\none\ntwo\none\n|"),
            ("\n", "\n|"),
        ] {
            assert_eq!(typed(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_scrolls_with_the_cursor() {
        let mut line = Line::default();
        "abcdefghij".chars().for_each(|one| drop(line.press(Key::Character(one))));
        assert_eq!(line.seen(20), ("abcdefghij".to_owned(), 10));
        assert_eq!(line.seen(5), ("ghij".to_owned(), 4));
        line.press(Key::LineStart);
        assert_eq!(line.seen(5), ("abcde".to_owned(), 0));
        line.press(Key::Character('\u{4e2d}'));
        assert_eq!(line.seen(1), ("a".to_owned(), 0));
        assert_eq!(line.seen(3), ("\u{4e2d}a".to_owned(), 2));
        // A character of two columns that would be cut is left out.
        line.press(Key::LineStart);
        assert_eq!(line.seen(1), (String::new(), 0));
    }

    proptest! {
        /// Whatever is typed, the cursor is at a character's edge, and what is seen fits.
        #[test]
        fn any_bytes_may_be_typed(bytes in proptest::collection::vec(any::<u8>(), 0..200), columns in 1_usize..40) {
            let (mut keys, mut line) = (Keys::default(), Line::default());
            for byte in bytes {
                if let Some(key) = keys.press(byte) {
                    line.press(key);
                }
                prop_assert!(line.text.is_char_boundary(line.cursor));
                let (seen, cursor) = line.seen(columns);
                prop_assert!(width(&seen) <= columns && cursor < columns.max(2), "{seen:?} {cursor}");
            }
        }
    }
}
