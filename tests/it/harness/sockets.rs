//! Sockets of the test's own, free of sockkit's code: who dials it, and who it dials.
//!
//! Owns that each waits long, but not for ever. Must not know the program under test. Trade-off: socket2 instead of std,
//! because one type is then TCP's and unix's, and a queue of length 0 can be had.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread::{self, JoinHandle};

use socket2::{Domain, SockAddr, Socket, Type};
#[cfg(target_os = "linux")]
use {
    rustix::event::{PollFd, PollFlags, poll},
    std::net::{Ipv4Addr, Ipv6Addr, TcpStream},
};

use super::DEADLINE;

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
