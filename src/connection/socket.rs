//! Each socket call once: retried on EINTR, timed and traced under the name of its manual page.
//!
//! Owns the descriptor and closes it. Must not know what a call is for: deadlines, fallbacks and error messages belong to
//! its callers, which get the system's bare `io::Error`. Trade-off: the descriptor sits in an `Option` that only
//! `drop` empties, so that close(2) is timed and traced like every other call, without `unsafe`.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::Shutdown;

#[cfg(any(target_os = "linux", target_os = "android"))]
use socket2::MsgHdrMut;
use socket2::{Domain, MaybeUninitSlice, Protocol, SockAddr, Type};

use super::trace::{self, Returned, quoted};
use super::{Address, Family, TcpInfo, Transport, sys};

/// An open socket, closed on drop.
#[derive(Debug)]
pub struct Socket(Option<socket2::Socket>);

impl Returned for Socket {
    fn number(&self) -> i64 {
        self.id()
    }
}

/// Calls again until a signal no longer interrupts.
pub(super) fn uninterrupted<T>(mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match run() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl Socket {
    /// socket(2): non-blocking from its birth and closed on exec. `mptcp` asks for Multipath TCP (RFC 8684).
    pub fn new(family: Family, transport: Transport, mptcp: bool) -> io::Result<Socket> {
        let (domain, domain_name) = match family {
            Family::V4 => (Domain::IPV4, "AF_INET"),
            Family::V6 => (Domain::IPV6, "AF_INET6"),
            Family::Unix => (Domain::UNIX, "AF_UNIX"),
        };
        let (kind, kind_name) = match transport {
            Transport::Tcp | Transport::UnixStream => (Type::STREAM, "SOCK_STREAM"),
            Transport::Udp | Transport::UnixDatagram => (Type::DGRAM, "SOCK_DGRAM"),
            Transport::UnixSeqpacket => (Type::SEQPACKET, "SOCK_SEQPACKET"),
        };
        let no_mptcp = || io::Error::new(io::ErrorKind::Unsupported, "this system has no Multipath TCP");
        let protocol = if mptcp { Some(MULTIPATH.ok_or_else(no_mptcp)?) } else { None };
        let protocol_name = if mptcp { ", IPPROTO_MPTCP" } else { "" };
        trace::call(
            "socket",
            |_| format!("{domain_name}, {kind_name}{protocol_name}"),
            || open_nonblocking(domain, kind, protocol),
        )
    }

    /// The descriptor's number, as a trace shows it.
    pub fn id(&self) -> i64 {
        sys::id(self.raw())
    }

    /// For the options, which set and read what they like.
    pub(super) fn raw(&self) -> &socket2::Socket {
        match &self.0 {
            Some(socket) => socket,
            // Only `drop` empties the option, and nothing can call a method after that.
            None => unreachable!("a socket is closed only on drop"),
        }
    }

    /// Takes over what another process has made, and sees to it that no call on it waits.
    #[cfg(unix)]
    pub(super) fn handed_over(descriptor: std::os::fd::OwnedFd) -> io::Result<Socket> {
        let socket = Socket(Some(descriptor.into()));
        // What is no socket has no type.
        socket.is_stream()?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// Whether it has connections whose messages stay whole.
    #[cfg(unix)]
    pub(super) fn is_seqpacket(&self) -> io::Result<bool> {
        Ok(self.raw().r#type()? == Type::SEQPACKET)
    }

    /// Whether it carries a stream.
    #[cfg(unix)]
    pub(super) fn is_stream(&self) -> io::Result<bool> {
        Ok(self.raw().r#type()? == Type::STREAM)
    }

    /// Takes over what an event loop has accepted here: the loop made the call, so a trace cannot know how long it took.
    #[cfg(windows)]
    pub(super) fn adopt(&self, accepted: socket2::Socket, peer: Address) -> io::Result<(Socket, Address)> {
        let shown = |accepted: Option<&(Socket, Address)>| match accepted {
            Some((_, peer)) => format!("{}, {peer}", self.id()),
            None => self.id().to_string(),
        };
        trace::call("accept", shown, || Ok((Socket(Some(accepted)), peer)))
    }

    /// bind(2)
    pub fn bind(&self, address: &Address) -> io::Result<()> {
        let name = address.to_socket2()?;
        trace::call("bind", |_| format!("{}, {address}", self.id()), || self.raw().bind(&name))
    }

    /// listen(2) with a queue of `backlog` connections.
    pub fn listen(&self, backlog: i32) -> io::Result<()> {
        trace::call("listen", |_| format!("{}, {backlog}", self.id()), || self.raw().listen(backlog))
    }

    /// accept(2): the new socket, non-blocking, and its peer's address.
    pub fn accept(&self) -> io::Result<(Socket, Address)> {
        let shown = |accepted: Option<&(Socket, Address)>| match accepted {
            Some((_, peer)) => format!("{}, {peer}", self.id()),
            None => self.id().to_string(),
        };
        trace::call("accept", shown, || {
            let (socket, peer) = uninterrupted(|| accept_nonblocking(self.raw()))?;
            Ok((Socket(Some(socket)), Address::from_socket2(&peer)))
        })
    }

    /// connect(2). On a non-blocking socket this may say that it is in progress; see `dial`.
    pub fn connect(&self, address: &Address) -> io::Result<()> {
        let name = address.to_socket2()?;
        trace::call("connect", |_| format!("{}, {address}", self.id()), || self.raw().connect(&name))
    }

    /// connect(2) to nobody (`AF_UNSPEC`): a datagram socket hears everybody again.
    pub(super) fn disconnect(&self) -> io::Result<()> {
        trace::call(
            "connect",
            |_| format!("{}, AF_UNSPEC", self.id()),
            || rustix::net::connect_unspec(self.raw()).map_err(io::Error::from),
        )
    }

    /// The outcome of a connect that was in progress: `SO_ERROR`, cleared by reading it.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        let shown = |error: Option<&(usize, Option<io::Error>)>| {
            let pending = error.and_then(|(_, error)| error.as_ref()).and_then(io::Error::raw_os_error);
            format!("{}, SOL_SOCKET, SO_ERROR, [{}]", self.id(), pending.map_or("0", super::errno::name))
        };
        trace::call("getsockopt", shown, || Ok((0, self.raw().take_error()?))).map(|(_, error)| error)
    }

    /// recv(2): the number of bytes received, 0 at the end of a stream.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(buffer, "", |buffer| self.raw().read(buffer))
    }

    /// recv(2) with `MSG_PEEK`: what has come is looked at, and stays.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(buffer, ", MSG_PEEK", |buffer| self.raw().peek(sys::as_uninit(buffer)))
    }

    #[inline]
    fn receive(
        &self,
        buffer: &mut [u8],
        flags: &str,
        run: impl Fn(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let limit = buffer.len();
        // The call fills what the trace then shows.
        let bytes = RefCell::new(buffer);
        let shown = |count: Option<&usize>| {
            let bytes = bytes.borrow();
            format!("{}, {}, {limit}{flags}", self.id(), quoted(&bytes[..count.copied().unwrap_or(0)]))
        };
        trace::call("recv", shown, || uninterrupted(|| run(&mut bytes.borrow_mut())))
    }

    /// send(2): the number of bytes that the system took, which may be fewer than given.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send_shown(bytes, quoted)
    }

    /// send(2) of a secret: a trace shows only how long it is.
    pub(super) fn send_secret(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send_shown(bytes, |_| "[a secret]".to_owned())
    }

    #[inline]
    fn send_shown(&self, bytes: &[u8], shown: impl Fn(&[u8]) -> String) -> io::Result<usize> {
        let shown = |_: Option<&usize>| format!("{}, {}, {}", self.id(), shown(bytes), bytes.len());
        trace::call("send", shown, || uninterrupted(|| self.raw().write(bytes)))
    }

    /// recvfrom(2): the datagram's length, and its sender. `truncated` says that the buffer was too small for it.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        let limit = buffer.len();
        let id = self.id();
        let shown = |received: Option<&Datagram>| match received {
            Some(Datagram { length, from, .. }) => format!("{id}, {length} bytes, {limit}, {from}"),
            None => format!("{id}, {limit}"),
        };
        trace::call("recvfrom", shown, || {
            let (length, flags, from) =
                uninterrupted(|| self.raw().recv_from_vectored(&mut [MaybeUninitSlice::new(sys::as_uninit(buffer))]))?;
            Ok(Datagram { length, truncated: flags.is_truncated(), from: Address::from_socket2(&from) })
        })
    }

    /// recvmsg(2) with `MSG_ERRQUEUE`: the control messages of the next report in the error queue.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn error_report(&self) -> io::Result<Vec<u8>> {
        // The kernel's own is 64 bytes; others may come with it.
        let mut control = [0; 256];
        let id = self.id();
        trace::call(
            "recvmsg",
            |_| format!("{id}, MSG_ERRQUEUE"),
            || {
                // The datagram that it is about comes with it, and nobody asked for that.
                let mut lost = [];
                let mut buffers = [MaybeUninitSlice::new(sys::as_uninit(&mut lost))];
                let mut message =
                    MsgHdrMut::new().with_buffers(&mut buffers).with_control(sys::as_uninit(&mut control));
                uninterrupted(|| self.raw().recvmsg(&mut message, libc::MSG_ERRQUEUE))?;
                Ok((0_usize, message.control_len()))
            },
        )
        .map(|(_, length)| control[..length].to_vec())
    }

    /// sendto(2): one datagram to `address`.
    pub fn send_to(&self, bytes: &[u8], address: &Address) -> io::Result<usize> {
        let name: SockAddr = address.to_socket2()?;
        let shown = |_: Option<&usize>| format!("{}, {}, {}, {address}", self.id(), quoted(bytes), bytes.len());
        trace::call("sendto", shown, || uninterrupted(|| self.raw().send_to(bytes, &name)))
    }

    /// shutdown(2) of one direction or both.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let name = match how {
            Shutdown::Read => "SHUT_RD",
            Shutdown::Write => "SHUT_WR",
            Shutdown::Both => "SHUT_RDWR",
        };
        trace::call("shutdown", |_| format!("{}, {name}", self.id()), || self.raw().shutdown(how))
    }

    /// getsockname(2)
    pub fn local_address(&self) -> io::Result<Address> {
        self.name_of("getsockname", socket2::Socket::local_addr)
    }

    /// getpeername(2)
    pub fn peer_address(&self) -> io::Result<Address> {
        self.name_of("getpeername", socket2::Socket::peer_addr)
    }

    fn name_of(
        &self,
        call: &'static str,
        ask: impl Fn(&socket2::Socket) -> io::Result<SockAddr>,
    ) -> io::Result<Address> {
        let shown = |name: Option<&((), Address)>| match name {
            Some(((), address)) => format!("{}, {address}", self.id()),
            None => self.id().to_string(),
        };
        trace::call(call, shown, || Ok(((), Address::from_socket2(&ask(self.raw())?)))).map(|((), address)| address)
    }

    /// `TCP_INFO` of getsockopt(2): what the kernel knows of a TCP connection; none where it cannot tell.
    pub(super) fn tcp_info(&self) -> Option<TcpInfo> {
        if !cfg!(any(target_os = "linux", target_os = "android")) {
            return None;
        }
        let ask = || Ok(((), sys::tcp_info(self.raw()).ok_or_else(io::Error::last_os_error)?));
        let shown = |_: Option<&((), TcpInfo)>| format!("{}, IPPROTO_TCP, TCP_INFO", self.id());
        trace::call("getsockopt", shown, ask).ok().map(|((), info)| info)
    }

    /// `SIOCOUTQ` of ioctl(2): bytes that were sent and not acknowledged; none where the system cannot tell.
    pub(super) fn unacknowledged_bytes(&self) -> Option<u64> {
        if !cfg!(any(target_os = "linux", target_os = "android")) {
            return None;
        }
        let ask = || Ok(((), sys::unacknowledged_bytes(self.raw()).ok_or_else(io::Error::last_os_error)?));
        let shown = |queued: Option<&((), u64)>| match queued {
            Some(((), bytes)) => format!("{}, SIOCOUTQ, [{bytes}]", self.id()),
            None => format!("{}, SIOCOUTQ", self.id()),
        };
        trace::call("ioctl", shown, ask).ok().map(|((), bytes)| bytes)
    }

    /// `FIONREAD` of ioctl(2): bytes that have arrived and were not received; none where the system cannot tell.
    #[cfg(unix)]
    pub(super) fn unread_bytes(&self) -> Option<u64> {
        let ask = || Ok(((), rustix::io::ioctl_fionread(self)?));
        let shown = |queued: Option<&((), u64)>| match queued {
            Some(((), bytes)) => format!("{}, FIONREAD, [{bytes}]", self.id()),
            None => format!("{}, FIONREAD", self.id()),
        };
        trace::call("ioctl", shown, ask).ok().map(|((), bytes)| bytes)
    }

    /// Bytes that have arrived and were not received: here the system is not asked.
    #[cfg(not(unix))]
    pub(super) fn unread_bytes(&self) -> Option<u64> {
        None
    }

    /// Whether calls wait (`false`) or say EAGAIN (`true`).
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        let flag = i32::from(nonblocking);
        trace::call(
            "ioctl",
            |_| format!("{}, FIONBIO, [{flag}]", self.id()),
            || self.raw().set_nonblocking(nonblocking),
        )
    }
}

/// What recvfrom(2) tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The bytes that were put into the buffer.
    pub length: usize,
    /// The rest of the datagram was cut off.
    pub truncated: bool,
    /// Who sent it.
    pub from: Address,
}

impl Returned for Datagram {
    fn number(&self) -> i64 {
        self.length.number()
    }
}

/// Linux can say all of it in socket(2) itself; elsewhere it takes calls of their own.
fn open_nonblocking(domain: Domain, kind: Type, protocol: Option<Protocol>) -> io::Result<Socket> {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    return socket2::Socket::new(domain, kind.nonblocking(), protocol).map(|socket| Socket(Some(socket)));
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    {
        let socket = socket2::Socket::new(domain, kind, protocol)?;
        socket.set_nonblocking(true)?;
        Ok(Socket(Some(socket)))
    }
}

/// Multipath TCP, where there is one.
const MULTIPATH: Option<Protocol> = {
    #[cfg(target_os = "linux")]
    {
        Some(Protocol::MPTCP)
    }
    #[cfg(not(target_os = "linux"))]
    None
};

/// Linux and FreeBSD have accept4(2); elsewhere the flag is set after the fact.
fn accept_nonblocking(listener: &socket2::Socket) -> io::Result<(socket2::Socket, SockAddr)> {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    return listener.accept4(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    {
        let (socket, peer) = listener.accept()?;
        socket.set_nonblocking(true)?;
        Ok((socket, peer))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(socket) = self.0.take() else { return };
        let id = sys::id(&socket);
        // close(2) on Linux frees the descriptor whatever it returns, and socket2 does not tell: there is nothing to do.
        let _ = trace::call(
            "close",
            |_| id.to_string(),
            || {
                drop(socket);
                Ok(())
            },
        );
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.raw().as_fd()
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for Socket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        use std::os::fd::AsFd;
        self.as_fd().as_raw_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Socket {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.raw().as_socket()
    }
}

#[cfg(test)]
mod tests {
    use super::super::poll::{Interest, wait_any};
    use super::*;

    fn any_port() -> Address {
        Address::Inet(([127, 0, 0, 1], 0).into())
    }

    fn bound(transport: Transport) -> (Socket, Address) {
        let socket = Socket::new(Family::V4, transport, false).unwrap();
        socket.bind(&any_port()).unwrap();
        let address = socket.local_address().unwrap();
        (socket, address)
    }

    #[test]
    fn no_call_on_a_new_or_accepted_socket_waits() {
        let (datagram, _) = bound(Transport::Udp);
        assert_eq!(datagram.recv(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let (listener, address) = bound(Transport::Tcp);
        listener.listen(1).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let Address::Inet(inet) = address else { panic!("{address}") };
        let client = std::net::TcpStream::connect(inet).unwrap();
        wait_any(&[&listener], Interest::Readable, None).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        assert_eq!(peer, Address::Inet(client.local_addr().unwrap()));
        assert_eq!(accepted.recv(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_datagram_that_does_not_fit_is_known_to_be_cut() {
        let ((sender, from), (reader, address)) = (bound(Transport::Udp), bound(Transport::Udp));
        for (sent, length, truncated) in [(&b"12345678"[..], 8, false), (b"123456789", 8, true), (b"", 0, false)] {
            if cfg!(windows) && truncated {
                continue; // Wine says that it was cut, and that it had no bytes.
            }
            sender.send_to(sent, &address).unwrap();
            wait_any(&[&reader], Interest::Readable, None).unwrap();
            let received = reader.recv_from(&mut [0; 8]).unwrap();
            assert_eq!(received, Datagram { length, truncated, from: from.clone() });
        }
    }
}
