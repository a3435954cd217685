//! A line that is being typed: what its keys mean, and how it is shown below what comes meanwhile.
//!
//! Owns the line, those before it, and where on the screen it begins. Must not know where keys come from and where the screen
//! is: bytes in, text out. Trade-off: the line is drawn again as a whole after each run of keys, and its rows are counted here
//! instead of asked for, so that a change of the terminal's width is noticed only at the next line.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::printable::drives_terminal;

/// More lines than this are not remembered: nobody goes back that far, and a session may last for months.
const REMEMBERED_MAX: usize = 1000;

/// Tab stops of terminals.
const TAB_COLUMNS: usize = 8;

/// What keys have led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// A line, without its end.
    Line(String),
    /// The end of the input: ^D in an empty line.
    End,
    /// The terminal is wanted back, and the job stopped: ^Z.
    Suspend,
    /// The terminal is wanted back, and the program ended: ^\.
    Quit,
}

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Character(char),
    Enter,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    Earlier,
    Later,
    EraseLeft,
    EraseRight,
    EraseWord,
    EraseToStart,
    EraseToEnd,
    EndOrEraseRight,
    Literally,
    Redraw,
    Suspend,
    Quit,
}

/// Where something is: rows below the line's first, and a column.
type Spot = (usize, usize);

/// An editor of lines.
#[derive(Debug, Default)]
pub struct Editor {
    columns: usize,
    line: Vec<char>,
    /// Characters before the cursor.
    cursor: usize,
    /// Lines that were typed, the oldest first.
    remembered: Vec<Vec<char>>,
    /// Which of them is shown, and what was being typed when it was asked for.
    recalled: Option<(usize, Vec<char>)>,
    /// The beginning of a key or a character whose other bytes have not come yet.
    incomplete: Vec<u8>,
    /// Whether the next key is a character, whatever it does otherwise.
    is_literal: bool,
    /// The column in which the line begins, behind what came last.
    column: usize,
    /// Whether that is the first because what came last has filled the row before.
    is_after_full_row: bool,
    /// In which row of the line the cursor is.
    row: usize,
    /// Whether there is anything of the line on the screen.
    is_drawn: bool,
}

impl Editor {
    /// An empty line at the beginning of a row.
    pub fn new() -> Editor {
        Editor { columns: 80, ..Editor::default() }
    }

    /// The width of the screen from now on.
    pub fn fit(&mut self, columns: usize) {
        // Narrower ones have no room for a character of two columns and the cursor.
        self.columns = columns.max(4);
    }

    /// Takes keys. What is to be written to the screen is appended to `screen`.
    pub fn press(&mut self, bytes: &[u8], screen: &mut String) -> Vec<Typed> {
        self.hide(screen);
        let mut typed = Vec::new();
        for &byte in bytes {
            self.incomplete.push(byte);
            if let Some(key) = self.key() {
                self.incomplete.clear();
                typed.extend(self.obey(key, screen));
            }
        }
        self.show(screen);
        typed
    }

    /// Takes the line off the screen: the cursor is then where it begins.
    pub fn hide(&mut self, screen: &mut String) {
        if !std::mem::take(&mut self.is_drawn) {
            return;
        }
        go_up(self.row, screen);
        *screen += "\r";
        go_right(self.column, screen);
        *screen += "\x1b[J";
        self.row = 0;
    }

    /// Draws the line where the cursor is.
    pub fn show(&mut self, screen: &mut String) {
        if self.line.is_empty() {
            return;
        }
        self.is_drawn = true;
        let mut spot = (0, self.column);
        let mut cursor = spot;
        for (index, &character) in self.line.iter().enumerate() {
            if index == self.cursor {
                cursor = spot;
            }
            let shown = shown(character);
            spot = self.after(spot, shown.width());
            *screen += &shown;
        }
        if self.cursor == self.line.len() {
            cursor = spot;
        }
        if spot.1 == 0 && spot.0 > 0 {
            // The terminal itself goes on to the next row only with the next character.
            *screen += "\r\n";
        }
        go_up(spot.0 - cursor.0, screen);
        *screen += "\r";
        go_right(cursor.1, screen);
        self.row = cursor.0;
    }

    /// Takes the line off the screen for this text to be written where it begins.
    pub fn make_room(&mut self, text: &str, screen: &mut String) {
        self.hide(screen);
        if self.is_after_full_row && text.starts_with('\n') {
            // The end of the row that is full has been written already.
            go_up(1, screen);
        }
    }

    /// This text has been written where the line begins, which is behind it from now on.
    pub fn follow(&mut self, text: &str, screen: &mut String) {
        for character in text.chars() {
            self.column = match character {
                '\n' => 0,
                '\t' => (self.column / TAB_COLUMNS * TAB_COLUMNS + TAB_COLUMNS).min(self.columns - 1),
                _ => self.after((0, self.column), character.width().unwrap_or(0)).1,
            };
        }
        if !text.is_empty() {
            self.is_after_full_row = self.column == 0 && !text.ends_with('\n');
        }
        if self.is_after_full_row && !text.is_empty() {
            *screen += "\r\n";
        }
    }

    /// Whether something stands in the row before the line.
    pub fn is_behind_something(&self) -> bool {
        self.column > 0
    }

    /// Leaves the line as it stands, for others to write below it. Where it is shown again is a row of its own.
    pub fn leave(&mut self, screen: &mut String) {
        self.hide(screen);
        if !self.line.is_empty() {
            let cursor = std::mem::replace(&mut self.cursor, self.line.len());
            self.show(screen);
            self.end_row(screen);
            self.cursor = cursor;
        }
        (self.column, self.is_after_full_row) = (0, false);
    }

    /// Where the next character is, after one of so many columns.
    fn after(&self, (row, column): Spot, width: usize) -> Spot {
        match column + width {
            end if end < self.columns => (row, end),
            end if end == self.columns => (row + 1, 0),
            _ => (row + 1, width),
        }
    }

    /// Goes to the beginning of the next row, from the end of the line.
    fn end_row(&mut self, screen: &mut String) {
        let end =
            self.line.iter().fold((0, self.column), |spot, &character| self.after(spot, shown(character).width()));
        let is_there = end.1 == 0 && (end.0 > 0 || self.is_after_full_row);
        if !is_there {
            *screen += "\r\n";
        }
        (self.row, self.column, self.is_after_full_row, self.is_drawn) = (0, 0, false, false);
    }

    /// The key or the character that the bytes so far make; none while some are missing, or where they mean nothing.
    fn key(&mut self) -> Option<Key> {
        let key = match *self.incomplete.as_slice() {
            [byte] if self.is_literal && byte.is_ascii() => Some(Key::Character(char::from(byte))),
            [0x1b] | [0x1b, b'[' | b'O'] => return None,
            [0x1b, b'[', .., last] if (0x20..0x40).contains(&last) => return None,
            [0x1b, b'[' | b'O', ref sequence @ ..] => arrow(sequence),
            [0x1b, letter] => meta(letter),
            [byte] if byte.is_ascii_control() => control(byte),
            ref bytes => match std::str::from_utf8(bytes) {
                Ok(text) => text.chars().next().map(Key::Character),
                Err(error) if error.error_len().is_none() => return None,
                Err(_) => None,
            },
        };
        if key.is_none() {
            self.incomplete.clear();
        }
        self.is_literal = self.is_literal && key.is_none();
        key
    }

    fn obey(&mut self, key: Key, screen: &mut String) -> Option<Typed> {
        match key {
            Key::Character(character) => {
                self.line.insert(self.cursor, character);
                self.cursor += 1;
            }
            Key::Enter => return Some(Typed::Line(self.enter(screen))),
            Key::Left => self.cursor = self.cursor.saturating_sub(1),
            Key::Right => self.cursor = self.line.len().min(self.cursor + 1),
            Key::WordLeft => self.cursor = self.word_start(),
            Key::WordRight => self.cursor = self.word_end(),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.line.len(),
            Key::Earlier => self.recall(-1),
            Key::Later => self.recall(1),
            Key::EraseLeft => self.erase(self.cursor.saturating_sub(1), self.cursor),
            Key::EndOrEraseRight if self.line.is_empty() => return Some(Typed::End),
            Key::EraseRight | Key::EndOrEraseRight => self.erase(self.cursor, self.line.len().min(self.cursor + 1)),
            Key::EraseWord => self.erase(self.word_start(), self.cursor),
            Key::EraseToStart => self.erase(0, self.cursor),
            Key::EraseToEnd => self.erase(self.cursor, self.line.len()),
            Key::Literally => self.is_literal = true,
            Key::Redraw => {
                *screen += "\x1b[H\x1b[2J";
                (self.column, self.is_after_full_row) = (0, false);
            }
            Key::Suspend => return Some(Typed::Suspend),
            Key::Quit => return Some(Typed::Quit),
        }
        None
    }

    /// Ends the line, which stays on the screen.
    fn enter(&mut self, screen: &mut String) -> String {
        self.cursor = self.line.len();
        self.show(screen);
        self.end_row(screen);
        let line = std::mem::take(&mut self.line);
        self.cursor = 0;
        self.recalled = None;
        let text = line.iter().collect();
        if !line.is_empty() && self.remembered.last() != Some(&line) {
            self.remembered.push(line);
            self.remembered.drain(..self.remembered.len().saturating_sub(REMEMBERED_MAX));
        }
        text
    }

    /// Shows a line that was typed before, or after the one that is shown; after the last is what was being typed.
    fn recall(&mut self, step: isize) {
        let newest = self.remembered.len();
        let (shown, draft) = self.recalled.take().unwrap_or_else(|| (newest, self.line.clone()));
        let wanted = shown.saturating_add_signed(step).min(newest);
        self.line = self.remembered.get(wanted).unwrap_or(&draft).clone();
        self.cursor = self.line.len();
        self.recalled = (wanted < newest).then_some((wanted, draft));
    }

    fn erase(&mut self, from: usize, to: usize) {
        self.line.drain(from..to);
        self.cursor = from;
    }

    /// The beginning of the word before the cursor.
    fn word_start(&self) -> usize {
        let before = &self.line[..self.cursor];
        let end = before.iter().rposition(|character| !character.is_whitespace()).map_or(0, |last| last + 1);
        before[..end].iter().rposition(|character| character.is_whitespace()).map_or(0, |gap| gap + 1)
    }

    /// The end of the word behind the cursor.
    fn word_end(&self) -> usize {
        let find = |from: usize, is_gap: bool| {
            let found = self.line[from..].iter().position(|character| character.is_whitespace() == is_gap);
            found.map_or(self.line.len(), |offset| from + offset)
        };
        find(find(self.cursor, false), true)
    }
}

fn go_up(rows: usize, screen: &mut String) {
    if rows > 0 {
        *screen += &format!("\x1b[{rows}A");
    }
}

fn go_right(columns: usize, screen: &mut String) {
    if columns > 0 {
        *screen += &format!("\x1b[{columns}C");
    }
}

/// What comes behind `ESC [` and `ESC O`.
fn arrow(sequence: &[u8]) -> Option<Key> {
    Some(match sequence {
        b"A" => Key::Earlier,
        b"B" => Key::Later,
        b"C" => Key::Right,
        b"D" => Key::Left,
        b"H" | b"1~" | b"7~" => Key::Home,
        b"F" | b"4~" | b"8~" => Key::End,
        b"3~" => Key::EraseRight,
        b"1;5C" | b"1;3C" => Key::WordRight,
        b"1;5D" | b"1;3D" => Key::WordLeft,
        _ => return None,
    })
}

/// A key with Alt, or behind Escape.
fn meta(letter: u8) -> Option<Key> {
    Some(match letter {
        b'b' => Key::WordLeft,
        b'f' => Key::WordRight,
        0x7f | 0x08 => Key::EraseWord,
        _ => return None,
    })
}

/// A key with Control, as Emacs, readline and shells have them.
fn control(byte: u8) -> Option<Key> {
    Some(match byte ^ 0x40 {
        b'A' => Key::Home,
        b'B' => Key::Left,
        b'D' => Key::EndOrEraseRight,
        b'E' => Key::End,
        b'F' => Key::Right,
        b'H' | b'?' => Key::EraseLeft,
        b'I' => Key::Character('\t'),
        b'J' | b'M' => Key::Enter,
        b'K' => Key::EraseToEnd,
        b'L' => Key::Redraw,
        b'N' => Key::Later,
        b'P' => Key::Earlier,
        b'U' => Key::EraseToStart,
        b'V' => Key::Literally,
        b'W' => Key::EraseWord,
        b'Z' => Key::Suspend,
        b'\\' => Key::Quit,
        _ => return None,
    })
}

/// A character as it is drawn: control characters as terminals show them.
fn shown(character: char) -> String {
    match u8::try_from(character) {
        Ok(byte) if byte.is_ascii_control() => format!("^{}", char::from(byte ^ 0x40)),
        _ if drives_terminal(character) => character.escape_unicode().to_string(),
        _ => character.to_string(),
    }
}

#[cfg(test)]
mod tests;
