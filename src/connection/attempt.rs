//! One connect(2) to one address, without waiting: begun, and later decided.
//!
//! Owns what an attempt is made of: socket, options, bind, connect, and the end of it. Must not know how many attempts are
//! under way, nor when to look at this one again: that is dial.rs. Trade-off: an attempt that is decided at once, as every
//! one on loopback is, costs exactly socket, connect twice and getsockname.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::dial::Dial;
use super::options::{self, Phase};
use super::own_path::bind;
use super::poll::Interest;
use super::report::Report;
use super::{Address, Cause, Clock, Conn, Error, Family, Op, OwnPath, Result, Socket, Transport, UnixName, errno};

/// A connection to oneself is undone and dialled again: the kernel then chooses another port, unless the user chose it.
const SELF_CONNECT_TRIES: u32 = 3;

/// An attempt that is not decided yet.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) socket: Socket,
    pub(super) begun: Instant,
    /// What its socket will be when it is decided.
    pub(super) until: Interest,
    /// Which try this is, counted by the self-connects that went before.
    tries: u32,
    /// The path that we bound, if we did.
    own_path: Option<OwnPath>,
}

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Progress {
    /// It is a connection, after this time.
    Connected(Conn, Duration),
    /// It is over.
    Failed(Error),
    /// The socket will be ready when it is decided.
    Undecided(Flight),
    /// A unix socket's queue is full: this cannot be waited for, it must be asked again.
    Busy(Flight),
}

impl Dial<'_> {
    /// socket, options, bind if asked, connect. A datagram socket then asks its question, if there is one.
    pub(super) fn begin(&self, address: &Address, question: Option<&[u8]>) -> Progress {
        let begun = Instant::now();
        match question {
            // A unix datagram socket that can be connected to has an owner.
            Some(question) if self.transport == Transport::Udp => self.ask(address, begun, question),
            _ => self.try_once(address, begun, 1),
        }
    }

    /// A datagram's connect asks nobody: only an answer says that somebody is there, and only an ICMP error that nobody is.
    fn ask(&self, address: &Address, begun: Instant, question: &[u8]) -> Progress {
        let socket = match self.open(address, begun) {
            Ok((socket, _)) => socket,
            Err(error) => return Progress::Failed(error),
        };
        if let Err(error) = options::report_errors(&socket, address.family()) {
            return Progress::Failed(self.error(Op::Socket, address, begun, error));
        }
        let asked = connect_now(&socket, address).and_then(|()| socket.send(question));
        match asked {
            Ok(_) => Progress::Undecided(Flight { socket, begun, until: Interest::Readable, tries: 1, own_path: None }),
            Err(error) => Progress::Failed(self.error(Op::Connect, address, begun, error)),
        }
    }

    fn try_once(&self, address: &Address, begun: Instant, tries: u32) -> Progress {
        match self.open(address, begun) {
            Ok((socket, own_path)) => {
                self.connect(Flight { socket, begun, until: Interest::Writable, tries, own_path }, address)
            }
            Err(error) => Progress::Failed(error),
        }
    }

    /// Asks a full queue again.
    pub(super) fn ask_again(&self, flight: Flight, address: &Address) -> Progress {
        self.connect(flight, address)
    }

    fn connect(&self, flight: Flight, address: &Address) -> Progress {
        match connect_now(&flight.socket, address) {
            Ok(()) => self.finish(flight, address),
            Err(error) if in_progress(&error) => Progress::Undecided(flight),
            Err(error) if self.transport.is_unix() && error.kind() == io::ErrorKind::WouldBlock => {
                Progress::Busy(flight)
            }
            Err(error) => Progress::Failed(self.error(Op::Connect, address, flight.begun, error)),
        }
    }

    /// The end of a connect that was in progress, because the socket is ready or because its time is up.
    pub(super) fn decide(&self, flight: Flight, address: &Address, is_ready: bool) -> Progress {
        match flight.socket.take_error() {
            // Silence may have a reason that the kernel was told but does not act on, such as a soft ICMP error.
            Ok(Some(error)) | Err(error) => {
                let error = self.error(Op::Connect, address, flight.begun, error);
                let report = if self.transport == Transport::Udp { Report::next(&flight.socket) } else { None };
                Progress::Failed(match report {
                    Some(report) => error.told(report.to_string()),
                    None => error,
                })
            }
            Ok(None) if is_ready => self.finish(flight, address),
            Ok(None) if flight.until == Interest::Readable => {
                self.give_up(&flight, address, Cause::TimedOut(Clock::Reply))
            }
            Ok(None) => self.give_up(&flight, address, Cause::TimedOut(Clock::Connect)),
        }
    }

    /// Its time is up.
    pub(super) fn give_up(&self, flight: &Flight, address: &Address, cause: Cause) -> Progress {
        Progress::Failed(Error::new(Op::Connect, self.describe(address), flight.begun.elapsed(), cause))
    }

    /// A datagram socket for a group, by multicast or broadcast: whoever answers has an address of its own, and a socket that
    /// is connected to the group's would not hear it.
    pub fn gather(&self, group: &Address) -> Result<Conn> {
        let begun = Instant::now();
        let (socket, _) = self.open(group, begun)?;
        let failed = |op, error| self.error(op, group, begun, error);
        if self.own_address(group).is_none() {
            // Without a port of its own it could not be told where it listens.
            let unspecified: SocketAddr = match group.family() {
                Family::V6 => ([0_u16; 8], 0).into(),
                _ => ([0, 0, 0, 0], 0).into(),
            };
            socket.bind(&Address::Inet(unspecified)).map_err(|error| failed(Op::Bind, error))?;
        }
        let local = socket.local_address().map_err(|error| failed(Op::Bind, error))?;
        self.options.apply(&socket, group.family(), self.transport, Phase::Connected)?;
        Ok(Conn::new(socket, self.transport, local, group.clone()).for_group())
    }

    /// The socket, ready to be connected.
    fn open(&self, address: &Address, begun: Instant) -> Result<(Socket, Option<OwnPath>)> {
        let family = address.family();
        let socket = Socket::new(family, self.transport, self.options.mptcp)
            .map_err(|error| self.error(Op::Socket, address, begun, error))?;
        self.options.apply(&socket, family, self.transport, Phase::BeforeBind)?;
        let mut own_path = None;
        if let Some(own) = self.own_address(address) {
            own_path = bind(&socket, &own, self.transport).map_err(|error| self.error(Op::Bind, &own, begun, error))?;
        }
        self.options.apply(&socket, family, self.transport, Phase::BeforeConnect)?;
        Ok((socket, own_path))
    }

    /// What to bind before connecting: only what was asked for, and a name that a unix datagram's answer can be sent to.
    fn own_address(&self, peer: &Address) -> Option<Address> {
        match peer {
            Address::Unix(_) => match &self.source.path {
                Some(path) => Some(Address::Unix(path.clone())),
                // Binding to no name makes Linux choose an abstract one (unix(7), autobind); others have no such thing.
                None if self.transport == Transport::UnixDatagram && cfg!(target_os = "linux") => {
                    Some(Address::Unix(UnixName::Unnamed))
                }
                None => None,
            },
            Address::Inet(peer) => match (self.source.address, self.source.port) {
                (None, 0) => None,
                (Some(address), port) => Some(Address::Inet(SocketAddr::new(address, port))),
                (None, port) if peer.is_ipv4() => Some(Address::Inet(SocketAddr::from(([0, 0, 0, 0], port)))),
                (None, port) => Some(Address::Inet(SocketAddr::from(([0_u16; 8], port)))),
            },
        }
    }

    /// A connected socket becomes a connection, unless it is joined to itself.
    fn finish(&self, flight: Flight, address: &Address) -> Progress {
        let Flight { socket, begun, until, tries, own_path } = flight;
        let local = match socket.local_address() {
            Ok(local) => local,
            Err(error) => return Progress::Failed(self.error(Op::Connect, address, begun, error)),
        };
        if matches!(self.transport, Transport::Tcp | Transport::Udp) && local == *address {
            // After a plain close the port would stay in TIME_WAIT, and the server that it belongs to could not bind it.
            let _ = options::reset_on_close(&socket);
            drop(socket);
            // A question that came back to its own socket has its answer: that port was free.
            if tries < SELF_CONNECT_TRIES && until == Interest::Writable {
                return self.try_once(address, begun, tries + 1);
            }
            let target = self.describe(address);
            return Progress::Failed(Error::new(Op::Connect, target, begun.elapsed(), Cause::SelfConnect));
        }
        match self.options.apply(&socket, address.family(), self.transport, Phase::Connected) {
            Ok(()) => {
                let conn = Conn::new(socket, self.transport, local, address.clone()).with_path(own_path);
                Progress::Connected(conn, begun.elapsed())
            }
            Err(error) => Progress::Failed(error),
        }
    }

    fn describe(&self, address: &Address) -> String {
        format!("{address} ({})", self.transport)
    }

    fn error(&self, op: Op, address: &Address, begun: Instant, source: io::Error) -> Error {
        Error::system(op, self.describe(address), begun.elapsed(), source)
    }
}

/// connect(2), and on Linux once more if it is in progress: the second call tells at once what loopback has decided
/// meanwhile, and is the only one where poll(2) and SO_ERROR would be two. Elsewhere a second call may say EINVAL.
fn connect_now(socket: &Socket, address: &Address) -> io::Result<()> {
    match socket.connect(address) {
        Err(error) if cfg!(target_os = "linux") && in_progress(&error) => socket.connect(address),
        result => result,
    }
}

/// Whether this machine has an address to reach another from. A stream's connect says EADDRNOTAVAIL without one, and also
/// without a free port; a datagram socket has ports of its own.
pub(super) fn has_own_address(peer: &Address) -> bool {
    let asked = Socket::new(peer.family(), Transport::Udp, false).and_then(|socket| socket.connect(peer));
    !asked.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// Whether connect(2) will be decided later. A connect that a signal interrupted goes on as well (POSIX).
fn in_progress(error: &io::Error) -> bool {
    let name = error.raw_os_error().map(errno::name);
    // Winsock says WSAEWOULDBLOCK where POSIX says EINPROGRESS.
    matches!(name, Some("EINPROGRESS" | "EALREADY" | "EINTR")) || (cfg!(windows) && name == Some("EAGAIN"))
}
