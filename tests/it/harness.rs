//! Runs sockkit as a user would: as a process, with both streams and the status always looked at.
//!
//! Owns children and their ends: whatever a test does, its processes are gone after it, by the pid that was started. Must
//! not know any command's text. Trade-off: what differs between runs (ports, times) is masked in what came out, not
//! matched loosely in what is expected, so that an expectation reads like a transcript.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use regex::Regex;
use socket2::{Domain, SockAddr, Socket, Type};
#[cfg(target_os = "linux")]
use {
    rustix::event::{PollFd, PollFlags, poll},
    std::net::{Ipv4Addr, Ipv6Addr, TcpStream},
};

/// Far beyond what anything here takes, even on a machine that is busy with something else: only a hang reaches it.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The program under test.
pub const SOCKKIT: &str = env!("CARGO_BIN_EXE_sockkit");

/// One run of a program, and what is expected of it: nothing on either stream and status 0, unless said otherwise.
pub struct Run {
    command: Command,
    shown: String,
    stdin: Vec<u8>,
    has_own_stdin: bool,
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

impl Run {
    /// `sockkit` with these words, split at spaces.
    pub fn sockkit(words: &str) -> Run {
        Run::program(SOCKKIT).args(words.split_whitespace())
    }

    /// Any program.
    pub fn program(program: &str) -> Run {
        let mut command = Command::new(program);
        // What the machine of the person who runs the tests has set must not change them.
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env_remove("CLICOLOR").env("LC_ALL", "C");
        let shown = program.rsplit('/').next().unwrap_or(program).to_owned();
        Run {
            command,
            shown,
            stdin: Vec::new(),
            has_own_stdin: false,
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
        self.shown.push_str(" > elsewhere");
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
        let has_own_stdout = self.shown.ends_with(" > elsewhere");
        self.command.stderr(Stdio::piped());
        if !self.has_own_stdin {
            self.command.stdin(Stdio::piped());
        }
        if !has_own_stdout {
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

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
}

/// As a shell says it; an errno, which `probe` ends with, as Linux numbers it.
pub fn code_of(status: ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128 + signal;
    }
    let code = status.code().expect("it ended by itself");
    #[cfg(not(target_os = "linux"))]
    let code = foreign::ERRORS.iter().find(|error| error.status == Some(code)).map_or(code, |error| error.number);
    code
}

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

/// A running `sockkit serve`, ready: its listening lines have been read.
pub struct Server {
    child: Owned,
    /// The lines that came first.
    pub listening: Vec<String>,
    stdout: BufReader<ChildStdout>,
    stderr: Lines,
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
        let mut command = Command::new(SOCKKIT);
        command.arg("serve").args(words.split_whitespace()).env_remove("NO_COLOR");
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
        let mut stdout = self.stdout;
        let rest = thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).expect("a pipe can be read");
            bytes
        });
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
        let mut command = Command::new(SOCKKIT);
        command.args(words.split_whitespace()).args(more).env_remove("NO_COLOR").env("LC_ALL", "C");
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

/// A socket of the test's own, free of sockkit's code, to `HOST:PORT`, or to a path that begins with a slash. It waits long,
/// but not for ever.
#[track_caller]
pub fn dial(address: &str) -> Socket {
    let (socket, name) = plain_socket(address, Type::STREAM);
    socket.connect(&name).unwrap_or_else(|error| panic!("connect {address}: {error}"));
    patient(socket)
}

/// An unconnected socket of the family of `address`, and that address as the system takes it.
pub fn plain_socket(address: &str, kind: Type) -> (Socket, SockAddr) {
    let (domain, name) = match address.parse::<SocketAddr>() {
        Ok(inet) => (Domain::for_address(inet), inet.into()),
        Err(_) => (Domain::UNIX, SockAddr::unix(address).expect("a path that fits")),
    };
    (Socket::new(domain, kind, None).expect("a socket"), name)
}

/// The same socket, which gives up after the deadline.
pub fn patient(socket: Socket) -> Socket {
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    socket.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    socket
}

/// Where a peer of the test's own is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// 127.0.0.1, on a port that the system chose.
    Tcp,
    /// A path of its own.
    Unix,
}

impl Place {
    /// Where a stream can be on this system.
    pub const ALL: &[Place] = if cfg!(unix) { &[Place::Tcp, Place::Unix] } else { &[Place::Tcp] };
}

/// A listener of the test's own, free of sockkit's code; with what removes its path at the end.
pub fn listener(place: Place) -> (Socket, String, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("peer").to_str().expect("temporary folders have plain names").to_owned();
    let (socket, name) = plain_socket(if place == Place::Tcp { "127.0.0.1:0" } else { &path }, Type::STREAM);
    socket.bind(&name).expect("a free address");
    socket.listen(16).expect("it is bound");
    let address = socket.local_addr().expect("it is bound").as_socket();
    (socket, address.map_or(path, |inet| inet.to_string()), folder)
}

/// A peer of the test's own: it serves one connection as its script says, on a thread.
pub struct Peer<T> {
    /// As `connect` takes it.
    pub address: String,
    serving: JoinHandle<T>,
    _folder: tempfile::TempDir,
}

impl<T: Send + 'static> Peer<T> {
    pub fn start(place: Place, script: impl FnOnce(Socket) -> T + Send + 'static) -> Peer<T> {
        let (listener, address, folder) = listener(place);
        let serving = thread::spawn(move || {
            let (connection, _) = listener.accept().expect("somebody comes");
            script(patient(connection))
        });
        Peer { address, serving, _folder: folder }
    }

    /// What its script found.
    #[track_caller]
    pub fn finish(self) -> T {
        self.serving.join().expect("the peer's script is carried out")
    }
}

/// A peer that takes its time. Never a wait until something is ready: that announces itself.
pub fn dawdle(time: Duration) {
    let (_still_here, nothing) = mpsc::channel::<()>();
    let _ = nothing.recv_timeout(time);
}

/// Sends everything and half-closes, while it reads to the end: what came.
#[track_caller]
pub fn exchange(socket: &Socket, bytes: &[u8]) -> Vec<u8> {
    thread::scope(|scope| {
        scope.spawn(|| {
            (&*socket).write_all(bytes).expect("all is taken");
            socket.shutdown(Shutdown::Write).expect("it is connected");
        });
        read_to_end(socket)
    })
}

/// What comes until the end of the stream; a reset is not an end.
#[track_caller]
pub fn read_to_end(mut socket: &Socket) -> Vec<u8> {
    let mut received = Vec::new();
    socket.read_to_end(&mut received).expect("the stream ends in order");
    received
}

/// Exactly so many bytes.
#[track_caller]
pub fn read_exactly(mut socket: &Socket, length: usize) -> Vec<u8> {
    let mut received = vec![0; length];
    socket.read_exact(&mut received).expect("so many bytes come");
    received
}

/// Bytes that show when one is missing, doubled or out of order: their period is no power of two.
pub fn pattern(length: usize) -> Vec<u8> {
    const PERIOD: u8 = 251;
    let mut bytes = (0..PERIOD).collect::<Vec<u8>>().repeat(length / usize::from(PERIOD) + 1);
    bytes.truncate(length);
    bytes
}

/// Asks again until it is so: for states that announce themselves to nobody.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        // Whoever is being asked needs the processor too.
        dawdle(Duration::from_millis(1));
    }
}

/// Replaces what differs between runs: times by `TIME`, ports that the system chose by `PORT`. Where errors have other
/// numbers and words than on Linux, they get Linux's.
pub fn mask(text: &str) -> String {
    static TIME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(\d+(\.\d+)? (ns|µs|ms|s)\b|\d+m \d\ds|\d+h \d\dm)").unwrap());
    // Chosen ports lie above the services'; the ports that tests name are below.
    static PORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(127\.0\.0\.1|\[::1\]|localhost):\d{4,5}\b").unwrap());
    #[cfg(not(target_os = "linux"))]
    let text = &foreign::as_on_linux(text);
    let text = TIME.replace_all(text, "TIME");
    PORT.replace_all(&text, "$1:PORT").into_owned()
}

/// The system's own number for a refused connection.
pub const REFUSED: i32 = if cfg!(target_os = "linux") {
    111
} else if cfg!(windows) {
    10061
} else {
    61
};

/// What other systems call what Linux calls otherwise.
#[cfg(not(target_os = "linux"))]
mod foreign {
    use std::sync::LazyLock;

    use regex::Regex;

    /// An error as expectations have it, that is as on Linux.
    pub struct Error {
        name: &'static str,
        pub number: i32,
        words: &'static str,
        /// `probe`'s exit status for it: BSD's number, which Winsock's is as well without the 10000 in front.
        pub status: Option<i32>,
    }

    const fn error(name: &'static str, number: i32, words: &'static str, status: Option<i32>) -> Error {
        Error { name, number, words, status }
    }

    pub const ERRORS: [Error; 8] = [
        error("EADDRINUSE", 98, "Address already in use", Some(48)),
        error("EADDRNOTAVAIL", 99, "Cannot assign requested address", Some(49)),
        error("ECONNRESET", 104, "Connection reset by peer", Some(54)),
        error("ETIMEDOUT", 110, "Connection timed out", Some(60)),
        error("ECONNREFUSED", 111, "Connection refused", Some(61)),
        error("ENOENT", 2, "No such file or directory", None),
        error("EAI_NONAME", -2, "Name or service not known", None),
        error("EAI_SERVICE", -8, "Servname not supported for ai_socktype", None),
    ];

    /// Numbers always; words only where they are the system's, and not our own.
    pub fn as_on_linux(text: &str) -> String {
        static NAMED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\((E[A-Z_]+), (\d+)\)").unwrap());
        let mut told = text.to_owned();
        for found in NAMED.captures_iter(text) {
            let Some(error) = ERRORS.iter().find(|error| error.name == &found[1]) else { continue };
            let ours = format!("({}, {})", error.name, error.number);
            let system = std::io::Error::from_raw_os_error(found[2].parse().expect("a number")).to_string();
            let (words, _) = system.rsplit_once(" (os error ").expect("std's form");
            let whole = format!("{} {}", words.trim_end_matches('.'), &found[0]);
            told = told.replace(&whole, &format!("{} {ours}", error.words)).replace(&found[0], &ours);
        }
        told
    }
}

/// Whether a program is installed. A test that needs one that is not says so, and is skipped.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).exists()));
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Whether this user may have namespaces of their own. A test that needs them and cannot says so, and is skipped.
#[cfg(target_os = "linux")]
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub fn can_unshare() -> bool {
    static CAN: LazyLock<bool> = LazyLock::new(|| {
        let tried =
            Command::new("unshare").args(["-rmn", "ip", "link", "set", "lo", "up"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    });
    if !*CAN {
        eprintln!("skipped: no namespaces here (unshare -rmn), or no ip(8)");
    }
    *CAN
}

/// `sockkit` with these words in namespaces of its own, made by `unshare` with these flags and furnished by a shell script.
#[cfg(target_os = "linux")]
pub fn unshared(flags: &str, furnish: &str, words: &str) -> Run {
    let script = format!("set -e; {furnish}\nexec \"$0\" \"$@\"");
    Run::program("unshare").args([flags, "sh", "-c", &script, SOCKKIT]).args(words.split_whitespace())
}

/// A TCP listener whose queue is full: Linux drops what else would connect, which then hears nothing.
#[cfg(target_os = "linux")]
pub struct Deaf {
    pub address: SocketAddr,
    listener: Socket,
    _queued: TcpStream,
}

#[cfg(target_os = "linux")]
impl Deaf {
    pub fn listen(address: SocketAddr) -> std::io::Result<Deaf> {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if address.is_ipv6() {
            listener.set_only_v6(true)?;
        }
        listener.bind(&address.into())?;
        // A queue of length 0 has room for one.
        listener.listen(0)?;
        let address = listener.local_addr()?.as_socket().expect("an IP address");
        let queued = TcpStream::connect(address)?;
        // The one that connects may know of it before the queue does.
        poll(&mut [PollFd::new(&listener, PollFlags::IN)], None)?;
        Ok(Deaf { address, listener, _queued: queued })
    }

    /// One on 127.0.0.1, and beside it what `listen` makes of the same port on ::1.
    pub fn beside<T>(listen: impl Fn(SocketAddr) -> std::io::Result<T>) -> (Deaf, T) {
        loop {
            let deaf = Deaf::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a listener");
            // The port may be somebody's there.
            if let Ok(other) = listen(SocketAddr::from((Ipv6Addr::LOCALHOST, deaf.address.port()))) {
                return (deaf, other);
            }
        }
    }

    /// Makes room for one more: what was dropped comes through when it is sent again, after a second.
    pub fn hear(&self) {
        self.listener.accept().expect("somebody is queued");
    }
}
