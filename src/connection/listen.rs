//! socket, bind, listen, accept; and what to do when accept fails.
//!
//! Owns the promise that every family answers on one port, and the policy for accept's errors. Must not know what is
//! served. Trade-off: listeners are closed only on drop, never shut down: shutdown(2) of a listener gives its port away.

mod shut;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

#[cfg(unix)]
use super::Family;
use super::error::kind_of;
use super::options::{Effective, Options, Phase};
use super::own_path::{OwnPath, bind};
use super::{Address, Conn, Error, Kind, Op, Result, Socket, Transport, errno};

/// The kernel caps it at `somaxconn` (4096 on Linux since 5.4, 128 before): an accept storm must find room.
pub const BACKLOG: i32 = 4096;

/// How often a port that the kernel chose for one family is given back because the other family has it taken. Even on a
/// machine where every tenth port is taken, that many failures in a row come once in 10^16.
const PORT_TRIES: u32 = 16;

/// A socket that is bound, and listens if its transport connects.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    transport: Transport,
    local: Address,
    options: Options,
    backlog: i32,
    /// Removes the path of a unix socket when the listener goes.
    path: Option<OwnPath>,
    /// Its socket is bound, and does not listen.
    is_refusing: bool,
    /// The connection of our own that fills the queue, and what accept will call it.
    filling: Option<Socket>,
    filling_name: Mutex<Option<Address>>,
}

/// Binds every address, on one port if the port is 0. Of several addresses those that this machine does not have are left
/// out, as long as one remains.
pub fn listen(addresses: &[Address], transport: Transport, options: &Options, backlog: i32) -> Result<Vec<Listener>> {
    let mut tries = 1;
    loop {
        match listen_once(addresses, transport, options, backlog) {
            Err(error) if error.kind() == Kind::AddressInUse && chooses_port(addresses) && tries < PORT_TRIES => {
                tries += 1;
            }
            result => return result,
        }
    }
}

/// Whether the system chooses a port that must then be free in several families.
fn chooses_port(addresses: &[Address]) -> bool {
    addresses.len() > 1 && addresses.iter().all(|address| address.port() == Some(0))
}

fn listen_once(addresses: &[Address], transport: Transport, options: &Options, backlog: i32) -> Result<Vec<Listener>> {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut missing = None;
    for address in addresses {
        let chosen = listeners.first().and_then(|first| first.local.port());
        match Listener::begin(&with_port(address, chosen), transport, options, backlog) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_missing(&error) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

/// Whether this machine has no such address or family, which is no fault of what was asked for.
fn is_missing(error: &Error) -> bool {
    matches!(error.op, Op::Socket | Op::Bind) && matches!(error.kind(), Kind::AddressNotAvailable | Kind::Unsupported)
}

/// The same address; where the port is 0, with the one that the system chose for the first.
fn with_port(address: &Address, chosen: Option<u16>) -> Address {
    match (address, chosen) {
        (Address::Inet(inet), Some(port)) if inet.port() == 0 => Address::Inet(SocketAddr::new(inet.ip(), port)),
        _ => address.clone(),
    }
}

impl Listener {
    fn new(socket: Socket, transport: Transport, local: Address, options: Options) -> Listener {
        let (is_refusing, filling, filling_name) = (false, None, Mutex::new(None));
        Listener { socket, transport, local, options, backlog: BACKLOG, path: None, is_refusing, filling, filling_name }
    }

    fn begin(address: &Address, transport: Transport, options: &Options, backlog: i32) -> Result<Listener> {
        let begun = Instant::now();
        let failed = |op, source| Error::system(op, format!("{address} ({transport})"), begun.elapsed(), source);
        let family = address.family();
        let socket = Socket::new(family, transport, options.mptcp).map_err(|error| failed(Op::Socket, error))?;
        options.apply(&socket, family, transport, Phase::BeforeBind)?;
        let path = bind(&socket, address, transport).map_err(|error| failed(Op::Bind, error))?;
        options.apply(&socket, family, transport, Phase::BeforeListen)?;
        if transport.is_stream() {
            socket.listen(backlog).map_err(|error| failed(Op::Listen, error))?;
        }
        let local = socket.local_address().map_err(|error| failed(Op::Bind, error))?;
        Ok(Listener { backlog, path, ..Listener::new(socket, transport, local, options.clone()) })
    }

    /// One that somebody else has made, and may go on using: its path is not ours to remove.
    #[cfg(unix)]
    pub(super) fn handed_over(socket: Socket) -> io::Result<Listener> {
        let local = socket.local_address()?;
        let transport = match (local.family(), socket.is_stream()?) {
            (Family::Unix, _) if socket.is_seqpacket()? => Transport::UnixSeqpacket,
            (Family::Unix, true) => Transport::UnixStream,
            (Family::Unix, false) => Transport::UnixDatagram,
            (_, true) => Transport::Tcp,
            (_, false) => Transport::Udp,
        };
        if transport.is_stream() && !is_listening(&socket)? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the socket is connected, or was never told to listen",
            ));
        }
        Ok(Listener::new(socket, transport, local, Options::default()))
    }

    /// The same, whose connections get these options.
    #[must_use]
    pub fn with_options(self, options: &Options) -> Listener {
        Listener { options: options.clone(), ..self }
    }

    /// Where it listens; the port is the real one.
    pub fn local(&self) -> &Address {
        &self.local
    }

    /// The protocol.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// For event loops, and for reading options back.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The socket options in force.
    pub fn effective_options(&self) -> Effective<'_> {
        Effective { socket: &self.socket, family: self.local.family(), transport: self.transport }
    }

    /// accept(2) without waiting: none when the queue is empty.
    pub fn accept(&self) -> io::Result<Option<(Socket, Address)>> {
        match self.socket.accept() {
            Ok(accepted) => Ok(Some(accepted)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What accept(2) gave, with its options. The peer may be gone already, and then has no name any more: accept's is kept.
    pub fn connection(&self, socket: Socket, peer: Address) -> Result<Conn> {
        self.options.apply(&socket, self.local.family(), self.transport, Phase::Accepted)?;
        // A wildcard listener's own address says nothing; but asking costs a call that most connections never need.
        let local = if self.is_wildcard() { socket.local_address() } else { Ok(self.local.clone()) };
        Ok(Conn::new(socket, self.transport, local.unwrap_or_else(|_| self.local.clone()), peer))
    }

    fn is_wildcard(&self) -> bool {
        matches!(&self.local, Address::Inet(address) if address.ip().is_unspecified())
    }

    /// A failed accept, dressed for a message.
    pub fn accept_error(&self, source: io::Error) -> Error {
        Error::system(Op::Accept, self, Duration::ZERO, source)
    }
}

/// Whether a stream socket was told to listen: `SO_ACCEPTCONN`, socket(7). Apple's systems do not say; there the first accept
/// does.
#[cfg(unix)]
fn is_listening(socket: &Socket) -> io::Result<bool> {
    #[cfg(not(target_vendor = "apple"))]
    return Ok(rustix::net::sockopt::socket_acceptconn(socket.raw())?);
    #[cfg(target_vendor = "apple")]
    {
        let _ = socket;
        Ok(true)
    }
}

/// As error messages name it: `127.0.0.1:80 (tcp)`.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.local, self.transport)
    }
}

/// What to do when accept(2) fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptAdvice {
    /// That one connection died in the queue, or a firewall took it: the next may be fine.
    Retry,
    /// Descriptors or memory ran out: wait until some come back.
    BackOff,
    /// The listener itself is broken.
    Stop,
}

/// accept(2): network errors that were pending on the new socket come out of accept, and "should be treated like EAGAIN".
pub fn after_failed_accept(error: &io::Error) -> AcceptAdvice {
    match error.raw_os_error().map(errno::name) {
        Some(
            "EINTR" | "ECONNABORTED" | "ECONNRESET" | "EPERM" | "ENETDOWN" | "EPROTO" | "ENOPROTOOPT" | "EHOSTDOWN"
            | "ENONET" | "EHOSTUNREACH" | "EOPNOTSUPP" | "ENETUNREACH" | "ETIMEDOUT",
        ) => AcceptAdvice::Retry,
        _ if kind_of(error) == Kind::Exhausted => AcceptAdvice::BackOff,
        _ => AcceptAdvice::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_errors_are_treated_as_the_manual_says() {
        for (name, advice) in [
            (libc_number("ECONNABORTED"), AcceptAdvice::Retry),
            (libc_number("EMFILE"), AcceptAdvice::BackOff),
            (libc_number("ENOBUFS"), AcceptAdvice::BackOff),
            (libc_number("EBADF"), AcceptAdvice::Stop),
            (libc_number("EINVAL"), AcceptAdvice::Stop),
        ] {
            assert_eq!(after_failed_accept(&io::Error::from_raw_os_error(name)), advice, "{}", errno::name(name));
        }
    }

    /// The number of a name, found through the table that names numbers.
    fn libc_number(name: &str) -> i32 {
        (0..12_000).find(|number| errno::name(*number) == name).expect("every name has a number")
    }

    #[test]
    fn a_chosen_port_is_the_same_in_every_family() {
        let addresses = [
            Address::Inet(SocketAddr::from(([127, 0, 0, 1], 0))),
            Address::Inet(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0))),
        ];
        let listeners = listen(&addresses, Transport::Tcp, &Options::default(), BACKLOG).unwrap();
        let ports: Vec<_> = listeners.iter().map(|listener| listener.local().port()).collect();
        assert!(ports[0] != Some(0) && ports.iter().all(|port| *port == ports[0]), "{ports:?}");
    }
}
