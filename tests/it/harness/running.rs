//! Programs that a test talks with while they run: a server that is ready, and a client whose stdin stays open.
//!
//! Owns their streams. Must not know what is said over their sockets. Trade-off: a server is ready when its listening lines
//! have been read, so that how many there will be is part of starting it.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::thread::JoinHandle;

use regex::Regex;

use super::SOCKKIT;
use super::child::{Lines, Owned, code_of, collect, unswayed};
#[cfg(unix)]
use super::child::{Signal, kill};
use super::run::Finished;

/// A running `sockkit serve`, ready: its listening lines have been read.
pub struct Server {
    child: Owned,
    /// The lines that came first.
    pub listening: Vec<String>,
    stdout: BufReader<ChildStdout>,
    stderr: Lines,
}

impl Server {
    /// `sockkit serve -p 0` with more words: on loopback, both families.
    #[track_caller]
    pub fn start(words: &str) -> Server {
        let families = if words.split_whitespace().any(|word| word == "-4" || word == "-6") { 1 } else { 2 };
        Server::start_with(&format!("-p 0 {words}"), families)
    }

    /// `sockkit serve` with these words, which make so many listening lines.
    #[track_caller]
    pub fn start_with(words: &str, lines: usize) -> Server {
        let mut command = unswayed(SOCKKIT);
        command.arg("serve").args(words.split_whitespace());
        Server::spawn(command, lines)
    }

    /// Any command that prints so many listening lines first.
    #[track_caller]
    pub fn spawn(mut command: Command, lines: usize) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Owned(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
        let mut stdout = BufReader::new(child.0.stdout.take().expect("stdout is a pipe"));
        let stderr = Lines::of(child.0.stderr.take().expect("stderr is a pipe"));
        let mut listening = Vec::new();
        for _ in 0..lines {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("a line");
            assert!(!line.is_empty(), "{command:?} ended: {}", stderr.all());
            listening.push(line.trim_end().to_owned());
        }
        Server { child, listening, stdout, stderr }
    }

    /// The port of the first listening line.
    pub fn port(&self) -> u16 {
        static PORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r":(\d+)[ \x22,]").unwrap());
        let found = PORT.captures(&self.listening[0]).unwrap_or_else(|| panic!("no port in {:?}", self.listening[0]));
        found[1].parse().expect("a port")
    }

    /// `127.0.0.1:PORT`
    pub fn v4(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// `[::1]:PORT`
    pub fn v6(&self) -> String {
        format!("[::1]:{}", self.port())
    }

    /// For signals, and for what the system tells of a process.
    #[cfg(unix)]
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// The next line of its stdout; empty at its end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// Waits until it has said something on stderr.
    #[cfg(unix)]
    #[track_caller]
    pub fn until_told(&mut self, text: &str) {
        self.stderr.wait_for(text);
    }

    /// Sends a signal and waits for the end. Stdout is what came after the listening lines and was not read yet.
    #[cfg(unix)]
    #[track_caller]
    pub fn end(self, signal: Signal) -> Finished {
        kill(self.pid(), signal);
        self.finish()
    }

    /// Waits for the end. Stdout is what came after the listening lines and was not read yet.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        let rest = collect(self.stdout);
        let code = code_of(self.child.wait("serve"));
        Finished { stdout: rest.join().unwrap(), stderr: self.stderr.all(), code }
    }
}

/// A running `sockkit` whose stdin the test holds: it stays open until the test drops it, or until the end.
pub struct Running {
    child: Owned,
    /// Taken to be dropped, which is the end of the input.
    pub stdin: Option<ChildStdin>,
    /// Taken to be read, or to be left unread.
    pub stdout: Option<ChildStdout>,
    stderr: JoinHandle<Vec<u8>>,
    shown: String,
}

impl Running {
    /// `sockkit` with these words.
    #[track_caller]
    pub fn sockkit(words: &str) -> Running {
        Running::sockkit_with(words, &[])
    }

    /// `sockkit` with these words, and more that are not split.
    #[track_caller]
    pub fn sockkit_with(words: &str, more: &[&str]) -> Running {
        let mut command = unswayed(SOCKKIT);
        command.args(words.split_whitespace()).args(more);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Owned(command.spawn().unwrap_or_else(|error| panic!("sockkit {words}: {error}")));
        let stderr = collect(child.0.stderr.take().expect("stderr is a pipe"));
        let (stdin, stdout) = (child.0.stdin.take(), child.0.stdout.take());
        Running { child, stdin, stdout, stderr, shown: format!("sockkit {words}") }
    }

    #[cfg(unix)]
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Something to read. A program that has ended does not, and says why itself.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.stdin.as_mut().expect("stdin is still open").write_all(bytes);
    }

    /// Waits for the end; stdin stays open until then unless it was taken.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        let stdout = self.stdout.take().map(collect);
        let code = code_of(self.child.wait(&self.shown));
        let stdout = stdout.map_or(Vec::new(), |reader| reader.join().unwrap());
        Finished { stdout, stderr: String::from_utf8_lossy(&self.stderr.join().unwrap()).into_owned(), code }
    }
}
