//! One run of a program from its start to its end, as a user would see it.
//!
//! Owns what is expected of a run: both streams and the status are always looked at. Must not know any command's text.
//! Trade-off: what differs between runs (ports, times) is masked in what came out, not matched loosely in what is expected,
//! so that an expectation reads like a transcript.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use super::SOCKKIT;
use super::child::{Owned, code_of, collect, unswayed};
use super::mask;

/// One run of a program, and what is expected of it: nothing on either stream and status 0, unless said otherwise.
pub struct Run {
    command: Command,
    shown: String,
    stdin: Vec<u8>,
    has_own_stdin: bool,
    has_own_stdout: bool,
    stdout: String,
    stderr: String,
    code: i32,
}

/// How a run ended.
#[derive(Debug)]
pub struct Finished {
    pub stdout: Vec<u8>,
    pub stderr: String,
    /// 128 and the number for a signal, as a shell says it.
    pub code: i32,
}

impl Finished {
    /// The JSON lines on stderr that tell of such an event.
    pub fn events(&self, name: &str) -> Vec<Value> {
        let lines = self.stderr.lines().filter(|line| line.starts_with('{'));
        let records = lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
        records.filter(|record: &Value| record["event"] == name).collect()
    }

    /// The only one.
    #[track_caller]
    pub fn event(&self, name: &str) -> Value {
        let [event] = &self.events(name)[..] else { panic!("{name}: {}", self.stderr) };
        event.clone()
    }
}

impl Run {
    /// `sockkit` with these words, split at spaces.
    pub fn sockkit(words: &str) -> Run {
        Run::program(SOCKKIT).args(words.split_whitespace())
    }

    /// Any program.
    pub fn program(program: &str) -> Run {
        let shown = program.rsplit('/').next().unwrap_or(program).to_owned();
        Run {
            command: unswayed(program),
            shown,
            stdin: Vec::new(),
            has_own_stdin: false,
            has_own_stdout: false,
            stdout: String::new(),
            stderr: String::new(),
            code: 0,
        }
    }

    /// More words, each as it is.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Run {
        for arg in args {
            let _ = write!(self.shown, " {:?}", arg.as_ref().to_string_lossy());
            self.command.arg(arg.as_ref());
        }
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Run {
        self.command.env(name, value);
        self
    }

    /// What it reads; by default the end at once.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Run {
        self.stdin = bytes.into();
        self
    }

    /// Where it reads from instead of from a pipe.
    pub fn stdin_from(mut self, stdin: impl Into<Stdio>) -> Run {
        self.command.stdin(stdin);
        self.has_own_stdin = true;
        self
    }

    /// Where its stdout goes instead of to the test.
    pub fn stdout_to(mut self, stdout: impl Into<Stdio>) -> Run {
        self.command.stdout(stdout);
        self.has_own_stdout = true;
        self
    }

    /// What must be on stdout, masked.
    pub fn stdout(mut self, expected: &str) -> Run {
        expected.clone_into(&mut self.stdout);
        self
    }

    /// What must be on stderr, masked.
    pub fn stderr(mut self, expected: &str) -> Run {
        expected.clone_into(&mut self.stderr);
        self
    }

    pub fn code(mut self, expected: i32) -> Run {
        self.code = expected;
        self
    }

    /// Runs, and compares both streams and the status.
    #[track_caller]
    pub fn check(mut self) {
        let (shown, code) = (self.shown.clone(), self.code);
        let (stdout, stderr) = (std::mem::take(&mut self.stdout), std::mem::take(&mut self.stderr));
        let finished = self.finish();
        let came = (finished.code, mask(&String::from_utf8_lossy(&finished.stdout)), mask(&finished.stderr));
        let expected = (code, stdout, stderr);
        assert!(came == expected, "{shown}\n  expected {}\n  came     {}", show(&expected), show(&came));
    }

    /// Runs, and hands over what came.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        self.command.stderr(Stdio::piped());
        if !self.has_own_stdin {
            self.command.stdin(Stdio::piped());
        }
        if !self.has_own_stdout {
            self.command.stdout(Stdio::piped());
        }
        let mut child = Owned(self.command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.shown)));
        let input = child.0.stdin.take();
        let bytes = self.stdin;
        // A child that does not read to the end has its reasons; they are not the harness's.
        let writer = thread::spawn(move || drop(input.map(|mut input| input.write_all(&bytes))));
        let stdout = child.0.stdout.take().map(collect);
        let stderr = child.0.stderr.take().map(collect);
        let status = child.wait(&self.shown);
        let _ = writer.join();
        let join = |reader: Option<JoinHandle<Vec<u8>>>| reader.map_or(Vec::new(), |reader| reader.join().unwrap());
        let stderr = String::from_utf8_lossy(&join(stderr)).into_owned();
        Finished { stdout: join(stdout), stderr, code: code_of(status) }
    }
}

fn show((code, stdout, stderr): &(i32, String, String)) -> String {
    format!("status {code}\n    stdout {stdout:?}\n    stderr {stderr:?}")
}
