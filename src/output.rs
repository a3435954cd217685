//! The only printer: text and JSON lines on stdout, diagnostics on stderr, colour, progress, and safety from what peers send.
//!
//! Owns every byte that reaches a terminal, and whether it may be coloured; `terminal` and `editor` have the line that a person
//! types meanwhile, and `progress` the bar. Must not know what is printed. Trade-off: it writes and flushes line by line, so
//! that a reader sees each line when it happens; the one bulk stream of the program, `connect`'s, does not come through here.

#[cfg(unix)]
mod editor;
mod progress;
#[cfg(unix)]
mod terminal;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::SystemTime;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::connection::trace;
use crate::printable::{for_terminal, one_line};

/// Good news.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Bad news.
pub const BAD: Style = AnsiColor::Red.on_default();
/// What matters in a line.
pub const STRONG: Style = Style::new().bold();

/// How much is said on stderr. It never changes an exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// What a user expects to see.
    Normal,
    /// `-v`: what was done and found.
    Verbose,
}

/// Where and how the trace of socket calls is written.
#[derive(Debug, Clone)]
pub struct Trace {
    /// A file; none is stderr.
    pub file: Option<PathBuf>,
    /// Text or JSON lines.
    pub form: trace::Form,
}

/// How to print. Cheap to copy; it holds no stream.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// JSON lines instead of text.
    pub json: bool,
    /// How much goes to stderr.
    pub verbosity: Verbosity,
    /// When stdout and stderr are coloured.
    pub color: ColorChoice,
    /// Whether stdout belongs to peers: then the product goes to stderr.
    pub yields_stdout: bool,
}

impl Output {
    /// A line of the product on stdout, flushed: `record` as JSON, or `text`.
    pub fn product(&self, record: &impl Serialize, text: impl Display) -> io::Result<()> {
        self.print(if self.json { serde_json::to_string(record)? } else { text.to_string() })
    }

    /// Text on stdout, or where it is instead, a newline added, flushed.
    pub fn print(&self, text: impl Display) -> io::Result<()> {
        if self.yields_stdout {
            self.diagnose(format_args!("{text}"));
            return Ok(());
        }
        let write = || {
            let mut stdout = AutoStream::new(io::stdout(), self.choice(&io::stdout())).lock();
            writeln!(stdout, "{text}")?;
            stdout.flush()
        };
        match progress::shown() {
            Some(bar) if self.is_read_by_a_person() => bar.suspend(write),
            _ => write(),
        }
    }

    /// A failure, always said, in one line, with its hint in a second.
    pub fn error(&self, message: impl Display, hint: Option<&str>) {
        let (bad, plain) = (BAD.render(), BAD.render_reset());
        self.diagnose(format_args!("{bad}sockkit:{plain} {}", one_line(message.to_string())));
        if let Some(hint) = hint {
            self.diagnose(format_args!("         hint: {hint}"));
        }
    }

    /// What a user expects to be told, unless `--quiet`.
    pub fn note(&self, message: impl Display) {
        if self.verbosity >= Verbosity::Normal {
            self.diagnose(format_args!("{message}"));
        }
    }

    /// A line on stderr that was asked for by name, however little else is said.
    pub fn diagnostic(&self, message: impl Display) {
        self.diagnose(format_args!("{message}"));
    }

    /// What was asked for with `-v`.
    pub fn detail(&self, message: impl Display) {
        if self.verbosity >= Verbosity::Verbose {
            self.diagnose(format_args!("{message}"));
        }
    }

    /// Whether anybody sees what people are told from some verbosity on.
    pub fn tells_from(&self, verbosity: Verbosity) -> bool {
        self.json || self.verbosity >= verbosity
    }

    /// A record on stderr, for commands whose stdout belongs to the peer: JSON with `--json`, else text with `-v`.
    pub fn verdict(&self, record: &impl Serialize, text: impl Display) {
        self.verdict_from(Verbosity::Verbose, record, text);
    }

    /// The same, where people are told from another verbosity on.
    pub fn verdict_from(&self, verbosity: Verbosity, record: &impl Serialize, text: impl Display) {
        if self.json {
            self.record(record);
        } else if self.verbosity >= verbosity {
            self.diagnose(format_args!("{text}"));
        }
    }

    /// A record on stderr with `--json`, of which people are told otherwise or not at all.
    pub fn record(&self, record: &impl Serialize) {
        if let (true, Ok(json)) = (self.json, serde_json::to_string(record)) {
            self.diagnose(format_args!("{json}"));
        }
    }

    fn diagnose(&self, line: std::fmt::Arguments<'_>) {
        let write = || {
            let mut stderr = AutoStream::new(io::stderr(), self.choice(&io::stderr())).lock();
            stderr.write_all(format!("{line}\n").as_bytes())
        };
        // Where diagnostics cannot be written there is nowhere to say so, and the work must go on.
        let _ = write_diagnostics(write);
    }

    /// Colour on this stream? An explicit `--color` decides; else the terminal, NO_COLOR, CLICOLOR and TERM do.
    fn choice(&self, stream: &impl anstream::stream::RawStream) -> ColorChoice {
        match self.color {
            ColorChoice::Auto => AutoStream::choice(stream),
            decided => decided,
        }
    }

    /// Whether a person reads stdout, and no program.
    pub fn is_read_by_a_person(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// A bar on stderr that fills with so many steps; none where no person is looking.
    pub fn progress_of(&self, steps: u64) -> Option<ProgressBar> {
        self.shows_progress().then(|| progress::of_steps(steps))
    }

    /// The same for bytes that pass, of which there are so many if that is known.
    pub fn transfer(&self, length_bytes: Option<u64>) -> Option<ProgressBar> {
        self.shows_progress().then(|| progress::of_bytes(length_bytes))
    }

    fn shows_progress(&self) -> bool {
        !self.json && self.verbosity > Verbosity::Quiet && io::stderr().is_terminal()
    }

    /// Starts `--trace`.
    pub fn start_trace(&self, settings: &Trace) -> io::Result<()> {
        let writer: Box<dyn Write + Send> = match &settings.file {
            Some(path) => Box::new(File::create(path)?),
            None => Box::new(Diagnostics),
        };
        trace::start(settings.form, writer);
        Ok(())
    }
}

/// Writes whole lines to stderr, around a bar or a line that is being typed on the same terminal.
fn write_diagnostics(write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    if !io::stderr().is_terminal() {
        return write();
    }
    if let Some(bar) = progress::shown() {
        return bar.suspend(write);
    }
    #[cfg(unix)]
    return terminal::write_lines(write);
    #[cfg(not(unix))]
    write()
}

/// Stderr for whoever writes whole lines.
struct Diagnostics;

impl Write for Diagnostics {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_diagnostics(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A terminal at which lines are edited until this is dropped.
#[cfg(unix)]
pub use terminal::Editing;
/// The same where the terminal edits lines by itself, as Windows' console does: it is never made.
#[cfg(not(unix))]
#[derive(Debug)]
pub enum Editing {}

/// Edits the lines that are typed from now on, if stdin and stdout are terminals that can be driven; what comes is then shown
/// above the line.
pub fn edited_stdin() -> Option<(Box<dyn Read + Send>, Editing)> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        let can_be_driven = std::env::var_os("TERM").is_some_and(|name| !name.is_empty() && name != "dumb");
        if !can_be_driven || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        let keys = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
        let screen = File::from(io::stdout().as_fd().try_clone_to_owned().ok()?);
        let (lines, editing) = terminal::edit(keys, screen).ok()?;
        Some((Box::new(lines), editing))
    }
    #[cfg(not(unix))]
    None
}

/// Stdin for bulk: unbuffered, so that what has come is there at once and large reads are not copied twice.
pub fn bulk_stdin() -> io::Result<Box<dyn Read + Send>> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        widen_if_pipe(&stdin);
        Ok(Box::new(stdin))
    }
    #[cfg(not(unix))]
    // Windows' console speaks UTF-16, which std's stdin turns into UTF-8.
    Ok(Box::new(io::stdin()))
}

/// What a pipe for bulk holds: as much as any user may ask for (pipe(7), `pipe-max-size`). The program at its other end then
/// runs longer before one of the two waits for the other: 1.2 times the rate of the default 64 KiB (`benches/connect.py`).
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 1024 * 1024;

/// Has a pipe hold more. What is no pipe has no such size, and a user's pipes may hold only so much in all: then it stays as
/// it is.
#[cfg(target_os = "linux")]
fn widen_if_pipe(stream: &File) {
    let _ = rustix::pipe::fcntl_setpipe_size(stream, PIPE_BYTES);
}

/// Elsewhere nobody but the system says how much a pipe holds.
#[cfg(all(unix, not(target_os = "linux")))]
fn widen_if_pipe(_stream: &File) {}

/// Stdin for a program that runs beside us: ours, unless it is a terminal, which only a foreground job may read from.
pub fn stdin_for_program() -> Stdio {
    if io::stdin().is_terminal() { Stdio::null() } else { Stdio::inherit() }
}

/// What is left of stdin, when it is a file: in bytes.
pub fn stdin_length_bytes() -> Option<u64> {
    #[cfg(unix)]
    {
        use std::io::Seek;
        use std::os::fd::AsFd;
        let mut file = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(metadata.len().saturating_sub(file.stream_position().ok()?))
    }
    #[cfg(not(unix))]
    None
}

/// The same output, each of its lines with the time (RFC 3339) at which its first byte came.
pub fn stamped(output: Box<dyn Write + Send>) -> Box<dyn Write + Send> {
    Box::new(Stamped { output, is_inside_line: false })
}

struct Stamped {
    output: Box<dyn Write + Send>,
    is_inside_line: bool,
}

impl Write for Stamped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        let mut lines = Vec::with_capacity(bytes.len() * 2);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.is_inside_line {
                lines.extend_from_slice(now.as_bytes());
                lines.push(b' ');
            }
            lines.extend_from_slice(part);
            self.is_inside_line = !part.ends_with(b"\n");
        }
        self.output.write_all(&lines)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Bytes in hexadecimal and as text, sixteen in a line, as hexdump(1) with -C shows them; the first is at `offset`.
pub fn hex_dump(offset: u64, bytes: &[u8]) -> String {
    const LINE_BYTES: usize = 16;
    let mut dump = String::new();
    for (number, line) in bytes.chunks(LINE_BYTES).enumerate() {
        let mut digits = String::new();
        for (column, byte) in line.iter().enumerate() {
            digits += &format!("{}{byte:02x}", if column == LINE_BYTES / 2 { "  " } else { " " });
        }
        let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        let text: String = line.iter().map(shown).collect();
        dump += &format!("\n{:08x} {digits:49}  |{text}|", offset + (number * LINE_BYTES) as u64);
    }
    dump
}

/// Stdout for a peer's bytes: exact to a pipe or file, escaped to a terminal unless `raw`.
pub fn bulk_stdout(raw: bool) -> io::Result<Box<dyn Write + Send>> {
    if io::stdout().is_terminal() && !raw {
        return Ok(Box::new(Screen { incomplete: Vec::new() }));
    }
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        widen_if_pipe(&stdout);
        Ok(Box::new(stdout))
    }
    #[cfg(not(unix))]
    Ok(Box::new(Prompt(io::stdout())))
}

/// Stdout without std's wait for the end of a line: a prompt has none.
#[cfg(not(unix))]
struct Prompt(io::Stdout);

#[cfg(not(unix))]
impl Write for Prompt {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stdout = self.0.lock();
        stdout.write_all(bytes)?;
        stdout.flush()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A terminal that a peer's bytes cannot drive.
struct Screen {
    /// The beginning of a character whose other bytes have not come yet.
    incomplete: Vec<u8>,
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.incomplete.extend_from_slice(bytes);
        let complete = complete_length(&self.incomplete);
        let rest = self.incomplete.split_off(complete);
        show(&for_terminal(&std::mem::replace(&mut self.incomplete, rest)))?;
        Ok(bytes.len())
    }

    /// At the end no other bytes come: what is cut short is shown as it is.
    fn flush(&mut self) -> io::Result<()> {
        show(&for_terminal(&std::mem::take(&mut self.incomplete)))
    }
}

/// Writes text to the terminal that stdout is, around a bar or a line that is being typed there.
fn show(text: &str) -> io::Result<()> {
    let write = |end: &str| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.write_all(end.as_bytes())?;
        stdout.flush()
    };
    if let Some(bar) = progress::shown() {
        // The bar's row is its own, and is erased as a whole.
        let is_whole = text.is_empty() || text.ends_with('\n');
        return bar.suspend(|| write(if is_whole { "" } else { "\n" }));
    }
    #[cfg(unix)]
    return terminal::write_text(text, || write(""));
    #[cfg(not(unix))]
    write("")
}

/// How many bytes are there without a character that is cut short at the end.
fn complete_length(bytes: &[u8]) -> usize {
    /// UTF-8's longest character has four bytes: only the last three can be the beginning of one.
    const CUT_BYTES_MAX: usize = 3;
    let tail = bytes.len() - bytes.len().min(CUT_BYTES_MAX);
    for start in tail..bytes.len() {
        if let Err(error) = std::str::from_utf8(&bytes[start..])
            && error.valid_up_to() == 0
            && error.error_len().is_none()
        {
            return start;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_is_cut_waits_for_its_rest() {
        for (bytes, complete) in [
            (&b"abc"[..], 3),
            (&b"ab\xc3"[..], 2),
            (&b"ab\xc3\xbc"[..], 4),
            (&b"a\xe2\x82"[..], 1),
            (&b"\xf0\x9f\x92"[..], 0),
            (&b"a\xff"[..], 2),
            (&b""[..], 0),
        ] {
            assert_eq!(complete_length(bytes), complete, "{bytes:?}");
        }
    }

    #[test]
    fn a_dump_shows_bytes_as_hexdump_does() {
        let bytes: Vec<u8> = (b'/'..=b'@').chain(*b"\n\xff").collect();
        for (offset, bytes, dump) in [
            (0, &b""[..], ""),
            (0, b"hello\n", "\n00000000  68 65 6c 6c 6f 0a                                 |hello.|"),
            (
                256,
                &bytes,
                "\n00000100  2f 30 31 32 33 34 35 36  37 38 39 3a 3b 3c 3d 3e  |/0123456789:;<=>|\
                 \n00000110  3f 40 0a ff                                       |?@..|",
            ),
        ] {
            assert_eq!(hex_dump(offset, bytes), dump);
        }
    }
}
