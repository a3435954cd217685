//! The editor on a screen that does what terminals do: whatever is typed and comes, both are there in full.

use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::*;

/// A terminal without a height: each row, and where the cursor is.
struct Screen {
    columns: usize,
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

/// What the second column of a wide character holds.
const CONTINUED: char = '\0';

impl Screen {
    fn new(columns: usize) -> Screen {
        Screen { columns, rows: vec![Vec::new()], row: 0, column: 0 }
    }

    fn draw(&mut self, text: &str) {
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match character {
                '\r' => self.column = 0,
                '\n' => self.next_row(),
                '\x1b' => {
                    assert_eq!(rest.next(), Some('['));
                    let number: String = rest.by_ref().take_while(char::is_ascii_digit).collect();
                    // The iterator has taken the letter as well.
                    let letter = text[..text.len() - rest.as_str().len()].chars().next_back();
                    self.obey(number.parse().unwrap_or(0), letter.expect("a sequence has an end"));
                }
                _ => self.put(character),
            }
        }
    }

    fn obey(&mut self, number: usize, letter: char) {
        match letter {
            'A' => self.row = self.row.checked_sub(number).expect("there is such a row"),
            'C' => self.column = (self.column + number).min(self.columns - 1),
            'J' => {
                self.rows.truncate(self.row + 1);
                self.rows[self.row].truncate(self.column);
            }
            _ => panic!("{number}{letter}"),
        }
    }

    fn next_row(&mut self) {
        self.row += 1;
        if self.row == self.rows.len() {
            self.rows.push(Vec::new());
        }
    }

    fn put(&mut self, character: char) {
        let width = character.width().unwrap_or(0);
        if self.column + width > self.columns {
            self.column = 0;
            self.next_row();
        }
        let row = &mut self.rows[self.row];
        row.resize(row.len().max(self.column + width), ' ');
        row[self.column] = character;
        for continued in 1..width {
            row[self.column + continued] = CONTINUED;
        }
        // At the right edge it stays there until the next character comes.
        self.column += width;
    }

    fn shown(&self) -> Vec<String> {
        let text = |row: &Vec<char>| row.iter().filter(|one| **one != CONTINUED).collect::<String>();
        self.rows.iter().map(|row| text(row).trim_end().to_owned()).collect()
    }
}

/// An editor with its screen, and what should be there.
struct Terminal {
    editor: Editor,
    screen: Screen,
}

impl Terminal {
    fn new(columns: usize) -> Terminal {
        let mut editor = Editor::new();
        editor.fit(columns);
        Terminal { editor, screen: Screen::new(columns) }
    }

    fn press(&mut self, keys: &[u8]) -> Vec<Typed> {
        let mut text = String::new();
        let typed = self.editor.press(keys, &mut text);
        self.screen.draw(&text);
        typed
    }

    /// What comes from the peer, as the terminal gets it.
    fn come(&mut self, came: &str) {
        let mut text = String::new();
        self.editor.make_room(came, &mut text);
        text += &came.replace('\n', "\r\n");
        self.editor.follow(came, &mut text);
        self.editor.show(&mut text);
        self.screen.draw(&text);
    }
}

/// The line after these keys, and where the cursor is in it.
fn edited(keys: &str) -> (String, usize) {
    let mut terminal = Terminal::new(80);
    terminal.press(keys.as_bytes());
    (terminal.editor.line.iter().collect(), terminal.editor.cursor)
}

#[test]
fn each_key_does_what_it_does_in_a_shell() {
    for (keys, line, cursor) in [
        ("abc", "abc", 3),
        ("abc\x7f", "ab", 2),
        ("abc\x08", "ab", 2),
        ("abc\x01x", "xabc", 1),
        ("abc\x1b[Hx\x1b[Fy", "xabcy", 5),
        ("abc\x1b[1~x\x1b[4~y", "xabcy", 5),
        ("abc\x1b[D\x1b[Dx\x1b[Cy", "axbyc", 4),
        ("abc\x1bOD\x1bODx\x1bOCy", "axbyc", 4),
        ("abc\x02\x02x\x06y", "axbyc", 4),
        ("abc\x1b[D\x1b[3~", "ab", 2),
        ("abc\x01\x04", "bc", 0),
        ("one two  \x17", "one ", 4),
        ("one two\x1b\x7f", "one ", 4),
        ("one two\x1bbx", "one xtwo", 5),
        ("one two\x01\x1bfx", "onex two", 4),
        ("one two\x1b[1;5D\x1b[1;3Dx", "xone two", 1),
        ("one two\x1bb\x0b", "one ", 4),
        ("one two\x1bb\x15", "two", 0),
        ("gr\u{fc}\u{df}\u{20ac}\x7f", "gr\u{fc}\u{df}", 4),
        ("a\tb", "a\tb", 3),
        ("a\x16\x03b", "a\x03b", 3),
        ("a\x16\x1bb", "a\x1bb", 3),
        // What means nothing does nothing.
        ("a\x1b[99~b\x1b[200Zc\x1bxd\x07e\x19", "abcde", 5),
    ] {
        assert_eq!(edited(keys), (line.to_owned(), cursor), "{keys:?}");
    }
}

#[test]
fn what_is_no_character_is_left_out() {
    let mut terminal = Terminal::new(80);
    terminal.press(b"a\xffb\xc3");
    // The rest of a character may come later.
    terminal.press(b"\xbcc\xc3(d");
    assert_eq!(terminal.editor.line.iter().collect::<String>(), "ab\u{fc}cd");
}

#[test]
fn enter_and_the_keys_of_the_job_are_told() {
    let line = |text: &str| Typed::Line(text.to_owned());
    for (keys, told) in [
        ("one\ntwo\rthree", vec![line("one"), line("two")]),
        ("\n\x04", vec![line(""), Typed::End]),
        ("a\x04\n", vec![line("a")]),
        ("a\x1a", vec![Typed::Suspend]),
        ("a\x1c", vec![Typed::Quit]),
    ] {
        assert_eq!(Terminal::new(80).press(keys.as_bytes()), told, "{keys:?}");
    }
}

#[test]
fn the_lines_before_come_back_and_the_draft_too() {
    let mut terminal = Terminal::new(80);
    terminal.press(b"one\ntwo\ntwo\n\ndraft");
    for (keys, line) in [
        ("\x1b[A", "two"),
        ("\x10", "one"),
        ("\x1b[A", "one"),
        ("\x1b[B", "two"),
        ("\x0e", "draft"),
        ("\x1b[B", "draft"),
        ("\x1b[A!", "two!"),
        ("\n\x1b[A", "two!"),
        ("\x1b[A", "two"),
    ] {
        terminal.press(keys.as_bytes());
        assert_eq!(terminal.editor.line.iter().collect::<String>(), line, "{keys:?}");
    }
}

#[test]
fn a_session_of_months_does_not_fill_the_memory() {
    let mut terminal = Terminal::new(80);
    for number in 0..REMEMBERED_MAX + 10 {
        terminal.editor.press(format!("{number}\n").as_bytes(), &mut String::new());
    }
    assert_eq!(terminal.editor.remembered.len(), REMEMBERED_MAX);
    assert_eq!(terminal.editor.remembered[0].iter().collect::<String>(), "10");
}

#[test]
fn what_comes_is_shown_above_the_line_and_a_prompt_before_it() {
    let mut terminal = Terminal::new(12);
    terminal.press(b"abcdefghij");
    terminal.come("hello\nlogin: ");
    assert_eq!(terminal.screen.shown(), ["hello", "login: abcde", "fghij"]);
    terminal.press(b"\x01X");
    assert_eq!(terminal.screen.shown(), ["hello", "login: Xabcd", "efghij"]);
    assert_eq!((terminal.screen.row, terminal.screen.column), (1, 8));
    terminal.press(b"\n");
    terminal.come("welcome\n");
    assert_eq!(terminal.screen.shown(), ["hello", "login: Xabcd", "efghij", "welcome", ""]);
}

/// What a text looks like on so many columns, in rows.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut screen = Screen::new(columns);
    screen.draw(&text.replace('\n', "\r\n"));
    screen.shown()
}

#[derive(Debug, Clone)]
enum Happening {
    Keys(String),
    Comes(String),
}

fn happening() -> impl Strategy<Value = Happening> {
    let keys = prop_oneof![
        "[a-z\u{fc}\u{4e2d} ]{1,9}".boxed(),
        prop::sample::select(vec![
            "\x1b[D", "\x1b[C", "\x01", "\x05", "\x7f", "\x17", "\x0b", "\x15", "\n", "\x1b[A", "\x1b[B"
        ])
        .prop_map(str::to_owned)
        .boxed(),
    ];
    prop_oneof![
        3 => keys.prop_map(Happening::Keys),
        1 => "([a-z\u{4e2d} ]{0,12}\n?){1,3}".prop_map(Happening::Comes),
    ]
}

proptest! {
    /// The screen is what it would be if everything had been written once, in its order, and the cursor is in its place.
    #[test]
    fn the_screen_shows_what_came_and_what_is_typed(
        columns in 6_usize..20,
        happenings in prop::collection::vec(happening(), 0..40),
    ) {
        let mut terminal = Terminal::new(columns);
        let mut written = String::new();
        for happening in happenings {
            match happening {
                Happening::Keys(keys) => {
                    for typed in terminal.press(keys.as_bytes()) {
                        if let Typed::Line(line) = typed {
                            written += &(line + "\n");
                        }
                    }
                }
                Happening::Comes(text) => {
                    written += &text;
                    terminal.come(&text);
                }
            }
            let line: String = terminal.editor.line.iter().collect();
            let trim = |mut rows: Vec<String>| {
                while rows.last().is_some_and(String::is_empty) {
                    rows.pop();
                }
                rows
            };
            let expected = trim(wrapped(&(written.clone() + &line), columns));
            prop_assert_eq!(trim(terminal.screen.shown()), expected);
            let before: String = terminal.editor.line[..terminal.editor.cursor].iter().collect();
            let mut to_cursor = Screen::new(columns);
            to_cursor.draw(&(written.clone() + &before).replace('\n', "\r\n"));
            // A next character shows where a row that is full goes on.
            let spot = if to_cursor.column == columns { (to_cursor.row + 1, 0) } else { (to_cursor.row, to_cursor.column) };
            prop_assert_eq!((terminal.screen.row, terminal.screen.column), spot);
        }
        prop_assert!(terminal.screen.shown().iter().all(|row| row.width() <= columns));
    }
}
