//! THE connection module: the nine operations of a socket (socket, bind, listen, accept, connect, `connect_ex`, send,
//! recv, close) over TCP, UDP and unix sockets, and the only code of the program that sees `socket2`.
//!
//! | file | owns |
//! |---|---|
//! | `endpoint` | what a person types: `HOST:PORT`, `[v6]:PORT`, `unix:PATH` |
//! | `address`  | what a socket calls it |
//! | `resolve`  | from that to addresses, within a deadline |
//! | `options`  | the socket flags, and the one function that applies them |
//! | `socket`   | each system call once, timed and traced |
//! | `attempt`  | one connect: socket, bind, connect, and its end |
//! | `dial`     | the addresses of a name raced, with a deadline; every attempt kept |
//! | `dial/dialer` | a window of such calls under way |
//! | `poll`     | a few sockets waited for |
//! | `watch`    | many connecting sockets, waited for at once |
//! | `listen`   | socket, bind, listen, accept; what to do when accept fails |
//! | `inherited` | sockets and descriptors that another process hands over |
//! | `own_path` | a unix socket's path that is ours: taken, and removed |
//! | `stream`   | a connected byte stream: recv, send, finish, abort, close |
//! | `datagram` | how large a datagram can be, and which a server may answer |
//! | `report`   | what the network says of a datagram that did not arrive |
//! | `ready`    | sockets on serve's event loop |
//! | `proxy`    | SOCKS and CONNECT: a connection that somebody else makes |
//! | `proxy_protocol` | the PROXY protocol's header, out and in |
//! | `crowd`    | many sockets watched by one thread, for echo-bench |
//! | `descriptors` | how many sockets there can be |
//! | `interface` | the network interface that an address is reached through |
//! | `trace`    | every call as it happens |
//! | `error`, `errno` | what failed: operation, target, time, errno |
//! | `sys`      | the only `unsafe`: system calls that have no safe wrapper, and a library linked by hand |
//!
//! It must not know a command, an exit status or a terminal.

pub mod address;
mod attempt;
pub mod crowd;
pub mod datagram;
pub mod descriptors;
pub mod dial;
pub mod endpoint;
pub mod errno;
pub mod error;
pub mod inherited;
pub mod interface;
pub mod listen;
pub mod options;
pub mod own_path;
pub mod poll;
pub mod proxy;
pub mod proxy_protocol;
pub mod ready;
pub mod report;
pub mod resolve;
pub mod socket;
pub mod stream;
mod sys;
pub mod trace;
mod watch;

use std::fmt;

pub use address::{Address, UnixName};
pub use crowd::Crowd;
pub use dial::{Attempt, Dial, Dialed, Source, dial};
pub use endpoint::{Endpoint, Role};
pub use error::{Cause, Clock, Error, Kind, Op, Result};
pub use listen::{Listener, listen};
pub use options::Options;
pub use own_path::OwnPath;
pub use proxy::Proxy;
pub use ready::Driven;
pub use resolve::{Query, Resolved, resolve};
pub use socket::Socket;
pub use stream::Conn;
pub use sys::TcpInfo;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use sys::end_with_starter;
pub use watch::Waker;

/// The protocol that `-u` and `-U` choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A byte stream over IP.
    Tcp,
    /// Datagrams over IP.
    Udp,
    /// A byte stream on this machine.
    UnixStream,
    /// Datagrams on this machine.
    UnixDatagram,
    /// Connections on this machine whose messages stay whole.
    UnixSeqpacket,
}

impl Transport {
    /// All of them.
    pub const ALL: [Transport; 5] =
        [Transport::Tcp, Transport::Udp, Transport::UnixStream, Transport::UnixDatagram, Transport::UnixSeqpacket];

    /// Whether it has connections, in which what is sent arrives in its order, and each direction has an end.
    pub fn is_stream(self) -> bool {
        matches!(self, Transport::Tcp | Transport::UnixStream | Transport::UnixSeqpacket)
    }

    /// Whether what is sent in one call is received in one call, whole or cut off.
    pub fn keeps_boundaries(self) -> bool {
        matches!(self, Transport::Udp | Transport::UnixDatagram | Transport::UnixSeqpacket)
    }

    /// Whether its addresses are paths and not IP addresses.
    pub fn is_unix(self) -> bool {
        matches!(self, Transport::UnixStream | Transport::UnixDatagram | Transport::UnixSeqpacket)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::UnixStream => "unix",
            Transport::UnixDatagram => "unix datagram",
            Transport::UnixSeqpacket => "unix seqpacket",
        })
    }
}

/// The address family of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `AF_INET`
    V4,
    /// `AF_INET6`
    V6,
    /// `AF_UNIX`
    Unix,
}

/// The families that `-4` and `-6` allow for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allowed {
    /// IPv4 and IPv6.
    #[default]
    Any,
    /// IPv4 only (`-4`).
    V4,
    /// IPv6 only (`-6`).
    V6,
}

impl Allowed {
    /// Whether an address of this family may be used.
    pub fn admits(self, family: Family) -> bool {
        match self {
            Allowed::Any => true,
            Allowed::V4 => family != Family::V6,
            Allowed::V6 => family != Family::V4,
        }
    }
}
