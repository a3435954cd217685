//! A process that a test started: its end, its status, its signals and its lines.
//!
//! Owns that whatever a test does, its processes are gone after it, by the pid that was started. Must not know what they
//! run. Trade-off: a watchdog's thread for each wait, because std cannot wait for a child with a deadline, and a sleep
//! between two looks would be a wait for a time.

use std::io::{BufRead, BufReader, PipeWriter, Read};
#[cfg(not(unix))]
use std::process::Stdio;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

#[cfg(target_os = "linux")]
use rustix::event::{PollFd, PollFlags, poll};

use super::DEADLINE;

/// A program that only its words decide: what the person who runs the tests has set must not change them.
pub fn unswayed(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env_remove("CLICOLOR").env("LC_ALL", "C");
    command
}

/// The writing end of a pipe that nobody reads.
pub fn unread_pipe() -> PipeWriter {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    until_unread(&writer);
    writer
}

/// Waits until nobody reads what is written there. Dropping our reader is not enough: between its vfork(2) and its execve(2) a
/// child of another test has it too, and what is written meanwhile is taken without a word. On a busy machine that is long.
#[cfg(target_os = "linux")]
pub fn until_unread(writer: &PipeWriter) {
    let deadline = DEADLINE.try_into().expect("it is short enough");
    // That nobody reads is told without being asked for.
    let told = poll(&mut [PollFd::new(writer, PollFlags::empty())], Some(&deadline)).expect("a pipe can be waited for");
    assert!(told > 0, "somebody reads it still");
}

/// Elsewhere a child is made by one call, and no other ever has its descriptors.
#[cfg(not(target_os = "linux"))]
pub fn until_unread(_writer: &PipeWriter) {}

/// A child that does not outlive its test.
pub struct Owned(pub Child);

impl Owned {
    /// Waits for its end, but not for ever.
    #[track_caller]
    pub fn wait(&mut self, shown: &str) -> ExitStatus {
        // Polling a child is the one wait that std cannot bound; a thread that is told to give up bounds it without a sleep.
        let (ended, is_over) = mpsc::channel::<()>();
        let pid = self.0.id();
        let watchdog = thread::spawn(move || match is_over.recv_timeout(DEADLINE) {
            Err(mpsc::RecvTimeoutError::Timeout) => {
                end_by_force(pid);
                true
            }
            _ => false,
        });
        let status = self.0.wait().expect("our own child");
        drop(ended);
        assert!(!watchdog.join().unwrap(), "{shown} hangs");
        status
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends a process that the test started, whatever it is doing.
fn end_by_force(pid: u32) {
    #[cfg(unix)]
    kill(pid, Signal::Kill);
    #[cfg(not(unix))]
    let _ = Command::new("taskkill").args(["/F", "/PID", &pid.to_string()]).stdout(Stdio::null()).status();
}

/// The signals that tests send.
#[cfg(unix)]
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    Interrupt,
    Terminate,
    Kill,
    /// Freezes it, so that what is sent meanwhile is queued for certain.
    Stop,
    Continue,
    Hangup,
    User1,
}

/// kill(1) of a process that the test started.
#[cfg(unix)]
pub fn kill(pid: u32, signal: Signal) {
    use rustix::process::{Pid, Signal as Number, kill_process};
    let number = match signal {
        Signal::Interrupt => Number::INT,
        Signal::Terminate => Number::TERM,
        Signal::Kill => Number::KILL,
        Signal::Stop => Number::STOP,
        Signal::Continue => Number::CONT,
        Signal::Hangup => Number::HUP,
        Signal::User1 => Number::USR1,
    };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    // A process that has ended meanwhile is what the caller wants.
    let _ = kill_process(pid, number);
}

/// As a shell says it; an errno, which `probe` ends with, as Linux numbers it.
pub fn code_of(status: ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128 + signal;
    }
    let code = status.code().expect("it ended by itself");
    #[cfg(not(target_os = "linux"))]
    let code = super::masked::foreign::ERRORS
        .iter()
        .find(|error| error.status == Some(code))
        .map_or(code, |error| error.number);
    code
}

/// All that a stream brings until its end, read beside whatever the test does.
pub fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
}

/// What a child says on stderr, line by line as it says it.
pub struct Lines {
    come: mpsc::Receiver<String>,
    /// Those that have been waited for.
    heard: String,
}

impl Lines {
    pub fn of(stream: impl Read + Send + 'static) -> Lines {
        let (line, come) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(stream).split(b'\n').map_while(Result::ok);
            // A test that has ended does not listen any more.
            lines.for_each(|bytes| drop(line.send(String::from_utf8_lossy(&bytes).into_owned() + "\n")));
        });
        Lines { come, heard: String::new() }
    }

    /// The next one, as it came.
    #[cfg(unix)]
    #[track_caller]
    pub fn next(&mut self) -> String {
        let line = self.come.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no line after {:?}", self.heard));
        self.heard += &line;
        line
    }

    #[cfg(unix)]
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        while !self.heard.contains(text) {
            let line = self.come.recv_timeout(DEADLINE);
            self.heard += &line.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.heard));
        }
    }

    /// All of it, once the child has ended.
    pub fn all(self) -> String {
        self.heard + &self.come.iter().collect::<String>()
    }
}
