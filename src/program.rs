//! A program that talks to a peer: its words, its environment, how it is started, and its end.
//!
//! Owns what it gets (the socket itself as stdin and stdout, or two pipes; the environment that UCSPI has for it; a process
//! group of its own) and that nothing of the group is left when it is over. Must not know who needs it, nor what it says.
//! Trade-off: whoever waits for it blocks; a caller with an event loop waits on a thread of its own, which beside a process
//! costs nothing.
//!
//! | what happens | then |
//! |---|---|
//! | it ends | what it left running in its group may finish within the grace, then is ended |
//! | somebody ends it | SIGTERM to the group, and SIGKILL after the grace |
//! | this process is killed | SIGKILL to the program, on Linux |

mod starter;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::connection::{Address, Conn, Transport, UnixName, errno};

/// How long a process may take to end when it has been told to, or when the one that started it has ended. A flush of
/// buffers fits in, and a person waits that long without wondering.
pub const GRACE: Duration = Duration::from_secs(1);

/// Whether a socket can be a program's stdin and stdout: on Windows many programs would not know it from a file.
pub const TAKES_SOCKETS: bool = cfg!(unix);

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    words: Vec<OsString>,
}

impl Program {
    /// A program by name or path, and its arguments as they are: no shell is in between.
    pub fn new(name: OsString, arguments: &[OsString]) -> Program {
        Program { words: std::iter::once(name).chain(arguments.iter().cloned()).collect() }
    }

    /// A shell's command: of sh(1), whose `$1` and so on are the arguments; on Windows of cmd.exe.
    pub fn of_shell(command: OsString, arguments: &[OsString]) -> Program {
        let shell: &[&str] = if cfg!(windows) { &["cmd.exe", "/C"] } else { &["sh", "-c"] };
        let name = if cfg!(windows) { None } else { Some(OsString::from("sh")) };
        let words = shell.iter().map(OsString::from).chain([command]).chain(name);
        Program { words: words.chain(arguments.iter().cloned()).collect() }
    }

    /// Its name, as it was typed.
    pub fn name(&self) -> &OsStr {
        self.words.first().map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// Starts it with the connection as its stdin and stdout. The caller's own descriptor stays open: the peer is told of the
    /// end only when that is closed too. It is made to block, because programs expect that.
    #[cfg(unix)]
    pub fn start_on_socket(&self, conn: &Conn) -> Result<Running, NotRun> {
        use std::os::fd::AsFd;
        let descriptor = || conn.socket().as_fd().try_clone_to_owned().map(Stdio::from);
        let not_run = |failure| self.not_run(failure);
        conn.socket().set_nonblocking(false).map_err(not_run)?;
        let (stdin, stdout) = (descriptor().map_err(not_run)?, descriptor().map_err(not_run)?);
        self.start(Surroundings::of(conn), stdin, stdout).map(Running::of)
    }

    /// Starts it with the connection as its stdin and stdout: not on this system.
    #[cfg(not(unix))]
    pub fn start_on_socket(&self, _conn: &Conn) -> Result<Running, NotRun> {
        Err(self.not_run(io::Error::new(io::ErrorKind::Unsupported, "a socket cannot be a program's stdin here")))
    }

    /// Starts it between two pipes: what it reads, and what it writes.
    pub fn start_on_pipes(&self, surroundings: Surroundings<'_>) -> Result<(Running, ChildStdin, ChildStdout), NotRun> {
        let mut child = self.start(surroundings, Stdio::piped(), Stdio::piped())?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both were asked to be pipes");
        };
        Ok((Running::of(child), stdin, stdout))
    }

    /// Starts it beside us, with our own stdout and stderr, and more variables in its environment.
    pub fn start_beside(&self, stdin: Stdio, environment: Vec<(String, Option<OsString>)>) -> Result<Running, NotRun> {
        self.spawn(environment, stdin, Stdio::inherit()).map(Running::of)
    }

    fn start(&self, surroundings: Surroundings<'_>, stdin: Stdio, stdout: Stdio) -> Result<Child, NotRun> {
        self.spawn(surroundings.environment(), stdin, stdout)
    }

    fn spawn(
        &self,
        environment: Vec<(String, Option<OsString>)>,
        stdin: Stdio,
        stdout: Stdio,
    ) -> Result<Child, NotRun> {
        let mut command = Command::new(self.name());
        command.args(self.words.iter().skip(1)).stdin(stdin).stdout(stdout);
        for (name, value) in environment {
            match value {
                Some(value) => command.env(name, value),
                // What was inherited would be of another connection.
                None => command.env_remove(name),
            };
        }
        process::keep_apart(&mut command);
        starter::start(command).map_err(|failure| self.not_run(failure))
    }

    fn not_run(&self, failure: io::Error) -> NotRun {
        NotRun { name: self.name().to_owned(), failure }
    }
}

/// A program that could not be run.
#[derive(Debug)]
pub struct NotRun {
    /// As it was typed.
    pub name: OsString,
    /// Why.
    pub failure: io::Error,
}

impl NotRun {
    /// What a person may have meant.
    pub fn hint(&self) -> Option<&'static str> {
        let has_space = self.name.as_encoded_bytes().contains(&b' ');
        let hint = "a program's arguments come after --, as in -e cat -- -v; -c runs a shell's command";
        (has_space && self.failure.kind() == io::ErrorKind::NotFound).then_some(hint)
    }
}

impl fmt::Display for NotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} failed: {}", self.name.display(), errno::words(&self.failure))
    }
}

impl std::error::Error for NotRun {}

/// Between which ends a program is run.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The protocol.
    pub transport: Transport,
    /// Our end.
    pub local: &'a Address,
    /// The other end.
    pub peer: &'a Address,
}

impl Surroundings<'_> {
    /// Those of a connection.
    pub fn of(conn: &Conn) -> Surroundings<'_> {
        Surroundings { transport: conn.transport(), local: conn.local(), peer: conn.peer() }
    }

    /// UCSPI's variables (<https://cr.yp.to/proto/ucspi.txt>), `TCPREMOTEIP` and the like; none is one that must not be set.
    fn environment(self) -> Vec<(String, Option<OsString>)> {
        let protocol = match self.transport {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
            Transport::UnixStream | Transport::UnixDatagram | Transport::UnixSeqpacket => "UNIX",
        };
        let mut environment = vec![("PROTO".to_owned(), Some(protocol.into()))];
        for (end, address) in [("LOCAL", self.local), ("REMOTE", self.peer)] {
            let mut set = |what: &str, value| environment.push((format!("{protocol}{end}{what}"), value));
            match address {
                Address::Inet(inet) => {
                    set("IP", Some(inet.ip().to_string().into()));
                    set("PORT", Some(inet.port().to_string().into()));
                    // Names are not looked up, and nobody is asked who it is (RFC 1413).
                    set("HOST", None);
                    set("INFO", None);
                }
                Address::Unix(UnixName::Path(path)) => set("PATH", Some(path.clone().into())),
                Address::Unix(UnixName::Unnamed) => set("PATH", None),
                Address::Unix(name) => set("PATH", Some(name.to_string().into())),
            }
        }
        environment
    }
}

/// A program that was started. Dropped, it runs on; nobody may do that but the end of this process.
#[derive(Debug)]
pub struct Running(process::Leader);

/// What ends a program from another thread. It never reaches a stranger: once the group is gone, nothing is sent to it.
#[derive(Debug, Clone)]
pub struct Group(process::Group);

impl Running {
    fn of(child: Child) -> Running {
        Running(process::Leader::new(child))
    }

    /// What ends it.
    pub fn group(&self) -> Group {
        Group(self.0.group())
    }

    /// Waits, blocking, for its end; then what is left of its group is seen to.
    pub fn wait(self) -> io::Result<ExitStatus> {
        self.0.wait()
    }
}

impl Group {
    /// Tells all of it to end: SIGTERM. On Windows, where there is no such thing, ends the program.
    pub fn terminate(&self) {
        self.0.terminate();
    }

    /// Ends all of it: SIGKILL.
    pub fn kill(&self) {
        self.0.kill();
    }

    /// Tells all of it to end, and ends what is left after the grace. Blocks until then.
    pub fn end(&self) {
        self.terminate();
        if !self.0.is_gone_within(GRACE) {
            self.kill();
        }
    }
}

/// How often it is looked whether a group is gone: nobody announces that.
const LOOK: Duration = Duration::from_millis(10);

/// Asks again until it is so, or until the time is over.
fn within(time: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let begun = std::time::Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if begun.elapsed() >= time {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(unix)]
mod process {
    use std::io;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, ExitStatus};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

    use super::{GRACE, within};

    /// The program leads a group: a signal of our terminal does not reach it, and ours reaches all that it starts.
    pub(super) fn keep_apart(command: &mut Command) {
        command.process_group(0);
    }

    #[derive(Debug)]
    pub(super) struct Leader {
        child: Child,
        group: Group,
    }

    /// The group's number, until it is gone.
    #[derive(Debug, Clone)]
    pub(super) struct Group(Arc<Mutex<Option<Pid>>>);

    impl Leader {
        pub(super) fn new(child: Child) -> Leader {
            let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            Leader { child, group: Group(Arc::new(Mutex::new(number))) }
        }

        pub(super) fn group(&self) -> Group {
            self.group.clone()
        }

        pub(super) fn wait(mut self) -> io::Result<ExitStatus> {
            let status = self.child.wait()?;
            for signal in [None, Some(Signal::TERM), Some(Signal::KILL)] {
                if let Some(signal) = signal {
                    self.group.signal(signal);
                }
                if self.group.is_gone_within(GRACE) {
                    break;
                }
            }
            Ok(status)
        }
    }

    impl Group {
        pub(super) fn terminate(&self) {
            self.signal(Signal::TERM);
        }

        pub(super) fn kill(&self) {
            self.signal(Signal::KILL);
        }

        /// The number belongs to the group for as long as it has a process, ended or not; after that the system gives it to
        /// nobody before it has given out all the others. So it is forgotten as soon as it is seen to be free.
        fn signal(&self, signal: Signal) {
            let mut number = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if number.is_some_and(|number| kill_process_group(number, signal) == Err(rustix::io::Errno::SRCH)) {
                *number = None;
            }
        }

        fn is_gone(&self) -> bool {
            let mut number = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if number.is_some_and(|number| test_kill_process_group(number) == Err(rustix::io::Errno::SRCH)) {
                *number = None;
            }
            number.is_none()
        }

        pub(super) fn is_gone_within(&self, time: Duration) -> bool {
            within(time, || self.is_gone())
        }
    }
}

/// Where there are no process groups, the program alone is ended.
#[cfg(not(unix))]
mod process {
    use std::io;
    use std::process::{Child, Command, ExitStatus};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use super::{LOOK, within};

    pub(super) fn keep_apart(_command: &mut Command) {}

    #[derive(Debug)]
    pub(super) struct Leader(Group);

    #[derive(Debug, Clone)]
    pub(super) struct Group(Arc<Mutex<Child>>);

    impl Leader {
        pub(super) fn new(child: Child) -> Leader {
            Leader(Group(Arc::new(Mutex::new(child))))
        }

        pub(super) fn group(&self) -> Group {
            self.0.clone()
        }

        /// The lock is not held while waiting: the program must be endable.
        pub(super) fn wait(self) -> io::Result<ExitStatus> {
            loop {
                if let Some(status) = self.0.ask()? {
                    return Ok(status);
                }
                std::thread::sleep(LOOK);
            }
        }
    }

    impl Group {
        fn ask(&self) -> io::Result<Option<ExitStatus>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).try_wait()
        }

        pub(super) fn terminate(&self) {
            self.kill();
        }

        pub(super) fn kill(&self) {
            // It fails when the program has ended, which is what is wanted.
            let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).kill();
        }

        pub(super) fn is_gone_within(&self, time: Duration) -> bool {
            within(time, || self.ask().is_ok_and(|status| status.is_some()))
        }
    }
}
