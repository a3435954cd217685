//! What went wrong at a socket: which operation, on what, after how long, with which errno.
//!
//! Owns the one error type of the connection module, its one-line grammar, and what each errno is to a caller. Must not
//! know a command, an exit status or a terminal: callers ask [`Error::kind`] and decide. Trade-off: a target is kept as the
//! text that a person would read, so that an error can outlive the socket.

use std::fmt;
use std::io;
use std::time::Duration;

use super::errno;
use crate::units::Elapsed;

/// The operation that failed, in the words of the manual pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// getaddrinfo(3)
    Resolve,
    /// socket(2)
    Socket,
    /// setsockopt(2): the option as given on the command line, such as `ttl=33`
    SetOption(String),
    /// bind(2)
    Bind,
    /// listen(2)
    Listen,
    /// accept(2)
    Accept,
    /// connect(2)
    Connect,
    /// read(2) of a file that is to be sent
    Read,
    /// send(2)
    Send,
    /// recv(2)
    Receive,
    /// shutdown(2)
    Shutdown,
    /// A proxy's greeting, which says how to log in.
    Greet,
    /// The user and password, to a proxy.
    LogIn,
    /// A proxy is asked for the target.
    Ask,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Resolve => "resolve",
            Op::Socket => "socket",
            Op::SetOption(option) => return write!(f, "set {option} on"),
            Op::Bind => "bind",
            Op::Listen => "listen",
            Op::Accept => "accept",
            Op::Connect => "connect",
            Op::Read => "read",
            Op::Send => "send",
            Op::Receive => "receive",
            Op::Shutdown => "shutdown",
            Op::Greet => "greet",
            Op::LogIn => "log in to",
            Op::Ask => "ask",
        })
    }
}

/// The clock that ran out: every timeout says which one it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The name lookup.
    Resolve,
    /// The connection attempts.
    Connect,
    /// Waiting for a first client.
    Accept,
    /// Nothing came or went.
    Idle,
    /// One answer.
    Reply,
    /// The whole run.
    Total,
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Clock::Resolve => "resolve",
            Clock::Connect => "connect",
            Clock::Accept => "accept",
            Clock::Idle => "idle",
            Clock::Reply => "reply",
            Clock::Total => "total",
        })
    }
}

/// Why the operation failed.
#[derive(Debug)]
pub enum Cause {
    /// The system's own answer.
    System(io::Error),
    /// The resolver's answer.
    Lookup {
        /// The `EAI_*` number; Winsock's where there are none.
        code: i32,
        /// Its name.
        name: &'static str,
        /// What it means.
        words: String,
        /// Whether the answer may be another one soon.
        retry: bool,
    },
    /// Our own clock ran out. As a number this is ETIMEDOUT, never EAGAIN.
    TimedOut(Clock),
    /// A unix listener's queue was full until our clock ran out. As a number this is ETIMEDOUT, not connect's EAGAIN.
    QueueFull,
    /// TCP's simultaneous open joined the socket to itself: nothing listens there, so as a number it is ECONNREFUSED.
    SelfConnect,
    /// This system, or this kind of socket, has no such thing.
    Unsupported(&'static str),
    /// The peer ended the connection although something was due.
    EndedEarly(&'static str),
    /// The peer did what it must not.
    Misbehaved(&'static str),
    /// A proxy could not be used, for this cause: nothing is known of the target, so as a number this is none.
    Proxy(Box<Cause>),
    /// What the other end said, in words that stand for no errno.
    Said(String),
}

/// What a caller may decide by. Fine enough for every exit status, coarse enough to be the same on every system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The peer answered that nothing listens there.
    Refused,
    /// The peer ended an established connection abruptly.
    Reset,
    /// The peer no longer reads (EPIPE).
    BrokenPipe,
    /// No answer came in time, by the system's clock or ours.
    TimedOut,
    /// The host cannot be reached.
    HostUnreachable,
    /// The network cannot be reached.
    NetworkUnreachable,
    /// Something on the way, or this machine's policy, forbids it.
    Prohibited,
    /// The name does not exist, or has no address of the wanted family.
    NameNotFound,
    /// The resolver could not say; it may later.
    LookupFailed,
    /// A unix socket's queue is full.
    Busy,
    /// The address or port is taken.
    AddressInUse,
    /// The address is not one of this machine.
    AddressNotAvailable,
    /// No permission.
    Permission,
    /// Out of descriptors or memory.
    Exhausted,
    /// This system or socket lacks it.
    Unsupported,
    /// The peer did what it must not.
    Misbehaved,
    /// A proxy could not be used, which says nothing of the target.
    Proxy,
    /// Anything else that happened on this side.
    Local,
}

/// A failed operation on a socket. `Display` is the whole message but for the program's name and the hint.
#[derive(Debug)]
pub struct Error {
    /// What was being done.
    pub op: Op,
    /// To what, as a person reads it: `127.0.0.1:1 (tcp)`.
    pub target: Box<str>,
    /// For how long.
    pub elapsed: Duration,
    /// Why it failed.
    pub cause: Cause,
    /// What else a person should know, at the end of the line: what was sent and received before it failed.
    pub aftermath: Option<Box<str>>,
}

/// What every function of the connection module returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failed operation.
    pub fn new(op: Op, target: impl fmt::Display, elapsed: Duration, cause: Cause) -> Error {
        Error { op, target: target.to_string().into(), elapsed, cause, aftermath: None }
    }

    /// An error that the system reported.
    pub fn system(op: Op, target: impl fmt::Display, elapsed: Duration, source: io::Error) -> Error {
        Error::new(op, target, elapsed, Cause::System(source))
    }

    /// One of our own clocks ran out.
    pub fn timed_out(op: Op, target: impl fmt::Display, elapsed: Duration, clock: Clock) -> Error {
        Error::new(op, target, elapsed, Cause::TimedOut(clock))
    }

    /// The same error with its aftermath, behind what else is known.
    #[must_use]
    pub fn told(self, aftermath: impl Into<Box<str>>) -> Error {
        let aftermath = match &self.aftermath {
            Some(before) => format!("{before}; {}", aftermath.into()).into(),
            None => aftermath.into(),
        };
        Error { aftermath: Some(aftermath), ..self }
    }

    /// The number that `connect_ex` would give: the errno, ETIMEDOUT for our own clocks, none for a failed lookup.
    pub fn errno(&self) -> Option<i32> {
        self.cause.errno()
    }

    /// The symbolic name, the same on every system: `ECONNREFUSED`, `EAI_NONAME`.
    pub fn errname(&self) -> &'static str {
        self.cause.errname()
    }

    /// The system's words, without operation and number: `Connection refused`.
    pub fn words(&self) -> String {
        self.cause.words()
    }

    /// The words with the numbers: `Connection refused (ECONNREFUSED, 111)`.
    pub fn reason(&self) -> String {
        self.cause.reason()
    }

    /// Whether a proxy could not be used, so that nothing is known of the target.
    pub fn is_of_proxy(&self) -> bool {
        matches!(self.cause, Cause::Proxy(_))
    }

    /// Of several that tried to reach one target, the one that says most about it: an answer says more than silence, silence
    /// more than a local obstacle. With more than one, it says so.
    pub fn most_telling(errors: Vec<Error>) -> Error {
        let tried = errors.len();
        let telling = errors.into_iter().min_by_key(|error| match error.kind() {
            // Somebody listened there.
            Kind::Reset => 0,
            Kind::Refused => 1,
            Kind::Busy => 2,
            Kind::TimedOut => 3,
            Kind::HostUnreachable | Kind::Prohibited => 4,
            Kind::NetworkUnreachable => 5,
            _ => 6,
        });
        let Some(mut telling) = telling else {
            return Error::new(
                Op::Connect,
                "nothing",
                Duration::ZERO,
                Cause::Unsupported("there is no address to dial"),
            );
        };
        if tried > 1 {
            telling.target = format!("{}, the most telling of {tried} addresses,", telling.target).into();
        }
        telling
    }

    /// What a caller decides by.
    pub fn kind(&self) -> Kind {
        match &self.cause {
            // What these numbers say of a peer they do not say of an option.
            Cause::System(source) if matches!(self.op, Op::SetOption(_)) => match kind_of(source) {
                kind @ (Kind::Permission | Kind::Exhausted) => kind,
                _ => Kind::Local,
            },
            // A path has permissions; towards an address it is a route or a packet filter that says no.
            Cause::System(source) => match (&self.op, kind_of(source)) {
                (Op::Connect, Kind::Permission) if !self.is_unix() => Kind::Prohibited,
                // Nobody refuses a bind: what is missing is the folder of the path.
                (Op::Bind, Kind::Refused) => Kind::Local,
                (_, kind) => kind,
            },
            Cause::Lookup { retry: true, .. } => Kind::LookupFailed,
            Cause::Lookup { .. } => Kind::NameNotFound,
            Cause::TimedOut(_) => Kind::TimedOut,
            Cause::QueueFull => Kind::Busy,
            Cause::SelfConnect => Kind::Refused,
            Cause::Unsupported(_) => Kind::Unsupported,
            Cause::EndedEarly(_) => Kind::Reset,
            Cause::Misbehaved(_) => Kind::Misbehaved,
            // Whichever clock it was, it has run out.
            Cause::Proxy(cause) if matches!(**cause, Cause::TimedOut(_)) => Kind::TimedOut,
            Cause::Proxy(_) => Kind::Proxy,
            Cause::Said(_) => Kind::Local,
        }
    }

    /// One line of advice, only where it can be computed from what is known.
    pub fn hint(&self) -> Option<&'static str> {
        match (&self.op, self.kind()) {
            (Op::Bind, Kind::AddressInUse) if !self.is_unix() => Some("-p 0 takes any free port"),
            (Op::Bind, Kind::Permission) if self.port().is_some_and(|port| port < 1024) => {
                Some("ports below 1024 need root or CAP_NET_BIND_SERVICE")
            }
            // A firewall says EPERM.
            (Op::Connect | Op::Send, Kind::Prohibited | Kind::Permission)
                if self.errname() == "EACCES" && self.target.ends_with("(udp)") =>
            {
                Some("a broadcast address needs --broadcast")
            }
            (Op::Bind, Kind::AddressNotAvailable) => Some("only an address of this machine can be bound"),
            // What the attempts said before is better than a guess.
            (Op::Connect, Kind::TimedOut) if !self.is_of_proxy() && self.aftermath.is_none() => {
                Some("a closed port refuses at once; silence is a firewall or a dead host")
            }
            _ => None,
        }
    }

    /// Whether the target is a unix name, which has no port and no route.
    fn is_unix(&self) -> bool {
        self.target.starts_with("unix:")
    }

    /// The port of the target, if it names one.
    fn port(&self) -> Option<u16> {
        if self.is_unix() {
            return None;
        }
        let address = self.target.split(' ').next()?;
        address.rsplit_once(':')?.1.parse().ok()
    }
}

impl Cause {
    fn errno(&self) -> Option<i32> {
        match self {
            Cause::System(source) => source.raw_os_error(),
            Cause::TimedOut(_) | Cause::QueueFull => Some(errno::ETIMEDOUT),
            Cause::SelfConnect => Some(errno::ECONNREFUSED),
            Cause::Lookup { .. }
            | Cause::Unsupported(_)
            | Cause::EndedEarly(_)
            | Cause::Misbehaved(_)
            | Cause::Proxy(_)
            | Cause::Said(_) => None,
        }
    }

    fn errname(&self) -> &'static str {
        match self {
            Cause::Lookup { name, .. } => name,
            Cause::Unsupported(_) => "EOPNOTSUPP",
            Cause::EndedEarly(_) => "EEOF",
            Cause::Misbehaved(_) => "EEXPECT",
            Cause::Proxy(_) => "EPROXY",
            Cause::Said(_) => "EIO",
            Cause::System(_) | Cause::TimedOut(_) | Cause::QueueFull | Cause::SelfConnect => {
                self.errno().map_or("EIO", errno::name)
            }
        }
    }

    fn words(&self) -> String {
        match self {
            Cause::System(source) => errno::words(source),
            Cause::Lookup { words, .. } | Cause::Said(words) => words.clone(),
            // Answers there may have been, only not the one that was waited for.
            Cause::TimedOut(Clock::Total) => "the deadline passed".to_owned(),
            Cause::TimedOut(clock @ Clock::Idle) => format!("nothing came or went within the {clock} timeout"),
            Cause::TimedOut(clock @ Clock::Accept) => format!("nobody came within the {clock} timeout"),
            Cause::TimedOut(clock) => format!("no answer within the {clock} timeout"),
            Cause::QueueFull => "its queue was full until the connect timeout".to_owned(),
            Cause::SelfConnect => "connected to itself, nothing listens there".to_owned(),
            Cause::Unsupported(words) | Cause::EndedEarly(words) | Cause::Misbehaved(words) => (*words).to_owned(),
            Cause::Proxy(cause) => cause.words(),
        }
    }

    fn reason(&self) -> String {
        match (self, self.errno()) {
            (Cause::Lookup { code, name, words, .. }, _) => format!("{words} ({name}, {code})"),
            // Here the number is the proxy's, and is meant for people.
            (Cause::Proxy(cause), _) => cause.reason(),
            (_, Some(number)) => format!("{} ({}, {number})", self.words(), self.errname()),
            (_, None) => self.words(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Error { op, target, elapsed, .. } = self;
        write!(f, "{op} {target} failed after {}: {}", Elapsed(*elapsed), self.reason())?;
        match &self.aftermath {
            Some(aftermath) => write!(f, "; {aftermath}"),
            None => Ok(()),
        }
    }
}

// There is no `source`: the message holds its words already, and a chain would print them twice.
impl std::error::Error for Error {}

/// The kind of a system error, by errno where the name is known, else by what std makes of it.
pub fn kind_of(source: &io::Error) -> Kind {
    match source.raw_os_error().map(errno::name) {
        // A unix path that is not there, or is not a socket, has nobody listening either.
        Some("ECONNREFUSED" | "ENOENT" | "ENOTSOCK") => Kind::Refused,
        Some("ECONNRESET" | "ECONNABORTED") => Kind::Reset,
        Some("EPIPE" | "ESHUTDOWN" | "ENOTCONN") => Kind::BrokenPipe,
        Some("ETIMEDOUT") => Kind::TimedOut,
        Some("EHOSTUNREACH" | "EHOSTDOWN" | "ENONET" | "ENOPROTOOPT") => Kind::HostUnreachable,
        Some("ENETUNREACH" | "ENETDOWN") => Kind::NetworkUnreachable,
        Some("EAGAIN") => Kind::Busy,
        Some("EADDRINUSE") => Kind::AddressInUse,
        Some("EADDRNOTAVAIL") => Kind::AddressNotAvailable,
        Some("EACCES" | "EPERM") => Kind::Permission,
        Some("EMFILE" | "ENFILE" | "ENOBUFS" | "ENOMEM") => Kind::Exhausted,
        Some("EAFNOSUPPORT" | "EPROTONOSUPPORT" | "EOPNOTSUPP" | "ESOCKTNOSUPPORT") => Kind::Unsupported,
        None if source.kind() == io::ErrorKind::Unsupported => Kind::Unsupported,
        _ => Kind::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(op: Op, target: &str, name: &str) -> Error {
        let number = (0..12_000).find(|number| errno::name(*number) == name).expect("every name has a number");
        Error::system(op, target, Duration::from_millis(3), io::Error::from_raw_os_error(number))
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_message_says_operation_target_time_and_reason() {
        let tcp = "127.0.0.1:80 (tcp)";
        let lookup =
            Cause::Lookup { code: -2, name: "EAI_NONAME", words: "Name or service not known".to_owned(), retry: false };
        let own = |cause| Error::new(Op::Connect, tcp, Duration::from_millis(3), cause);
        for (error, message) in [
            (
                system(Op::Connect, tcp, "ECONNREFUSED"),
                "connect 127.0.0.1:80 (tcp) failed after 3.0 ms: Connection refused (ECONNREFUSED, 111)",
            ),
            (
                system(Op::Send, tcp, "EPIPE").told("2 bytes sent".to_owned()),
                "send 127.0.0.1:80 (tcp) failed after 3.0 ms: Broken pipe (EPIPE, 32); 2 bytes sent",
            ),
            (
                system(Op::SetOption("ttl=1".to_owned()), tcp, "EINVAL"),
                "set ttl=1 on 127.0.0.1:80 (tcp) failed after 3.0 ms: Invalid argument (EINVAL, 22)",
            ),
            (
                Error::timed_out(Op::Receive, tcp, Duration::from_secs(1), Clock::Reply),
                "receive 127.0.0.1:80 (tcp) failed after 1.0 s: no answer within the reply timeout (ETIMEDOUT, 110)",
            ),
            (
                own(Cause::QueueFull),
                "connect 127.0.0.1:80 (tcp) failed after 3.0 ms: its queue was full until the connect timeout (ETIMEDOUT, 110)",
            ),
            (
                own(Cause::SelfConnect),
                "connect 127.0.0.1:80 (tcp) failed after 3.0 ms: connected to itself, nothing listens there (ECONNREFUSED, 111)",
            ),
            (own(lookup), "connect 127.0.0.1:80 (tcp) failed after 3.0 ms: Name or service not known (EAI_NONAME, -2)"),
            (
                own(Cause::Unsupported("only tcp has it")),
                "connect 127.0.0.1:80 (tcp) failed after 3.0 ms: only tcp has it",
            ),
        ] {
            assert_eq!(error.to_string(), message);
            assert!(!message.contains('\n'));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_kind_follows_from_operation_and_number() {
        let (tcp, unix, option) = ("127.0.0.1:80 (tcp)", "unix:/a (unix)", Op::SetOption("mark=1".to_owned()));
        for (op, target, name, kind) in [
            (Op::Connect, tcp, "ECONNREFUSED", Kind::Refused),
            (Op::Connect, unix, "ENOENT", Kind::Refused),
            (Op::Connect, tcp, "ECONNRESET", Kind::Reset),
            (Op::Connect, tcp, "ECONNABORTED", Kind::Reset),
            (Op::Send, tcp, "EPIPE", Kind::BrokenPipe),
            (Op::Connect, tcp, "ETIMEDOUT", Kind::TimedOut),
            (Op::Connect, tcp, "EHOSTUNREACH", Kind::HostUnreachable),
            (Op::Connect, tcp, "ENETUNREACH", Kind::NetworkUnreachable),
            // A route or a packet filter forbids an address; a path has permissions.
            (Op::Connect, tcp, "EACCES", Kind::Prohibited),
            (Op::Connect, tcp, "EPERM", Kind::Prohibited),
            (Op::Connect, unix, "EACCES", Kind::Permission),
            (Op::Bind, tcp, "EACCES", Kind::Permission),
            (option.clone(), tcp, "EPERM", Kind::Permission),
            (option, tcp, "ENOENT", Kind::Local),
            (Op::Bind, tcp, "EADDRINUSE", Kind::AddressInUse),
            (Op::Bind, tcp, "EADDRNOTAVAIL", Kind::AddressNotAvailable),
            (Op::Socket, tcp, "EMFILE", Kind::Exhausted),
            (Op::Socket, tcp, "EAFNOSUPPORT", Kind::Unsupported),
            (Op::Connect, tcp, "EINVAL", Kind::Local),
        ] {
            let error = system(op, target, name);
            assert_eq!((error.kind(), error.errname()), (kind, name), "{error}");
        }
    }

    #[test]
    fn our_own_clocks_are_etimedout_and_never_eagain() {
        for cause in [Cause::TimedOut(Clock::Resolve), Cause::TimedOut(Clock::Connect), Cause::QueueFull] {
            let error = Error::new(Op::Connect, "a", Duration::ZERO, cause);
            assert_eq!((error.errno(), error.errname()), (Some(errno::ETIMEDOUT), "ETIMEDOUT"));
        }
    }

    #[test]
    fn a_hint_is_given_only_where_it_helps() {
        for (op, target, name, hint) in [
            (Op::Bind, "127.0.0.1:80 (tcp)", "EADDRINUSE", Some("-p 0 takes any free port")),
            (Op::Bind, "[::1]:80 (tcp)", "EACCES", Some("ports below 1024 need root or CAP_NET_BIND_SERVICE")),
            (Op::Bind, "127.0.0.1:8080 (tcp)", "EACCES", None),
            (Op::Bind, "unix:/a (unix)", "EADDRINUSE", None),
            (Op::Bind, "unix:/a:80 (unix)", "EACCES", None),
            (Op::Bind, "192.0.2.1:80 (tcp)", "EADDRNOTAVAIL", Some("only an address of this machine can be bound")),
            (Op::Connect, "127.0.0.1:80 (tcp)", "ECONNREFUSED", None),
        ] {
            assert_eq!(system(op, target, name).hint(), hint, "{target} {name}");
        }
    }
}
