//! A terminal at which lines are edited: its modes, its keys, and everything else that is written to it.
//!
//! Owns the terminal's state, which has to be given back whatever happens, and the one line that is being edited. Must not know
//! what lines mean. Trade-off: the editor is one per process, as the terminal is, so that whoever prints needs no handle to
//! step around the line.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_current_process_group};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::editor::{Editor, Typed};

/// The line that is being edited, if one is.
static EDITED: Mutex<Option<Edited>> = Mutex::new(None);

struct Edited {
    editor: Editor,
    screen: File,
    /// How the terminal was, and has to be again.
    found: Termios,
}

fn edited() -> MutexGuard<'static, Option<Edited>> {
    EDITED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Edited {
    /// Has the editor write to the screen.
    fn draw<T>(&mut self, write: impl FnOnce(&mut Editor, &mut String) -> T) -> io::Result<T> {
        let columns = tcgetwinsize(&self.screen).map_or(0, |size| size.ws_col);
        self.editor.fit(if columns == 0 { 80 } else { columns.into() });
        let mut text = String::new();
        let result = write(&mut self.editor, &mut text);
        self.screen.write_all(text.as_bytes())?;
        Ok(result)
    }

    /// Has the terminal give each key at once, and show none by itself. ^C is still a signal.
    fn take_keys(&self) -> io::Result<()> {
        let mut modes = self.found.clone();
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN);
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        // The terminal has to be given back first.
        for code in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
            modes.special_codes[code] = DISABLED;
        }
        Ok(tcsetattr(&self.screen, OptionalActions::Now, &modes)?)
    }

    fn give_back(&self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(&self.screen, OptionalActions::Drain, &self.found);
    }
}

/// No character: _POSIX_VDISABLE of termios(3).
const DISABLED: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };

/// Ends the editing when it is dropped.
#[derive(Debug)]
pub struct Editing(());

impl Drop for Editing {
    fn drop(&mut self) {
        end();
    }
}

fn end() {
    if let Some(mut edited) = edited().take() {
        // A terminal that is gone needs nothing.
        let _ = edited.draw(Editor::leave);
        edited.give_back();
    }
}

/// Edits what is typed from now on; an error where the terminal cannot be driven.
pub fn edit(keys: File, screen: File) -> io::Result<(Lines, Editing)> {
    let found = tcgetattr(&screen)?;
    let new = Edited { editor: Editor::new(), screen, found };
    new.take_keys()?;
    *edited() = Some(new);
    Ok((Lines { keys, lines: VecDeque::new(), has_ended: false }, Editing(())))
}

/// Writes text that has come: above the line that is being edited, or before it where its last line has no end yet.
pub fn write_text(text: &str, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    around(|editor, screen| editor.make_room(text, screen), write, |editor, screen| editor.follow(text, screen))
}

/// Writes whole lines above the line that is being edited.
pub fn write_lines(write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let begin = |editor: &mut Editor, screen: &mut String| {
        editor.hide(screen);
        if editor.is_behind_something() {
            *screen += "\n";
            editor.follow("\n", screen);
        }
    };
    around(begin, write, |_, _| {})
}

/// Writes something else than the line that is being edited, which is off the screen meanwhile.
fn around(
    before: impl FnOnce(&mut Editor, &mut String),
    write: impl FnOnce() -> io::Result<()>,
    after: impl FnOnce(&mut Editor, &mut String),
) -> io::Result<()> {
    let mut edited = edited();
    let Some(editing) = edited.as_mut() else {
        drop(edited);
        return write();
    };
    editing.draw(before)?;
    write()?;
    editing.draw(|editor, screen| {
        after(editor, screen);
        editor.show(screen);
    })
}

/// What is typed, line by line: a read gives no more than one.
pub struct Lines {
    keys: File,
    lines: VecDeque<Vec<u8>>,
    has_ended: bool,
}

impl Lines {
    fn obey(&mut self, typed: Typed) -> io::Result<()> {
        match typed {
            Typed::Line(line) => self.lines.push_back((line + "\n").into_bytes()),
            Typed::End => {
                self.has_ended = true;
                end();
            }
            Typed::Suspend => step_aside(Signal::TSTP)?,
            Typed::Quit => step_aside(Signal::QUIT)?,
        }
        Ok(())
    }
}

/// How long a process may go on after it was told to stop: another of its threads has to hear of it first. Terminal modes that
/// are changed before would be undone by the shell. Nobody types again so soon.
const STOPPING: Duration = Duration::from_millis(100);

/// Gives the terminal back for as long as a signal to the whole job lasts.
fn step_aside(signal: Signal) -> io::Result<()> {
    let mut edited = edited();
    let Some(editing) = edited.as_mut() else { return Ok(()) };
    editing.draw(Editor::leave)?;
    editing.give_back();
    kill_current_process_group(signal)?;
    thread::sleep(STOPPING);
    editing.take_keys()?;
    editing.draw(Editor::show)
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        /// More than a person types at once; what is pasted comes in several.
        const KEYS_BYTES: usize = 4096;
        loop {
            if let Some(mut line) = self.lines.pop_front() {
                let length = line.len().min(buffer.len());
                buffer[..length].copy_from_slice(&line[..length]);
                if length < line.len() {
                    self.lines.push_front(line.split_off(length));
                }
                return Ok(length);
            }
            let mut keys = [0; KEYS_BYTES];
            let count = if self.has_ended { 0 } else { self.keys.read(&mut keys)? };
            if count == 0 {
                self.has_ended = true;
                end();
                return Ok(0);
            }
            let typed = match edited().as_mut() {
                Some(editing) => editing.draw(|editor, screen| editor.press(&keys[..count], screen))?,
                None => Vec::new(),
            };
            for typed in typed {
                self.obey(typed)?;
            }
        }
    }
}
