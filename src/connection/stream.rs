//! A connected socket: recv, send, finish, abort, close; over TCP and unix streams, and over connected datagrams.
//!
//! Owns the two addresses and what the connection did. Must not know who relays, echoes or measures through it.
//! Trade-off: errors are dressed (operation, peer, age of the connection) only when they happen, so that a call that
//! succeeds costs the system call and nothing else.

use std::io;
use std::net::Shutdown;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::error::kind_of;
use super::options::Effective;
use super::poll::{Interest, wait_any};
use super::report::Report;
use super::socket::Datagram;
use super::sys::TcpInfo;
use super::{Address, Clock, Error, Kind, Op, OwnPath, Result, Socket, Transport, options};

/// A connected socket.
#[derive(Debug)]
pub struct Conn {
    socket: Socket,
    transport: Transport,
    local: Address,
    peer: Address,
    opened: Instant,
    reply_timeout: OnceLock<Duration>,
    /// None without a proxy.
    beyond: Option<Box<Beyond>>,
    /// The path that we bound, if we did.
    own_path: Option<Box<OwnPath>>,
    /// Whether its peer is a group: then it is not connected, sends there, and hears whoever answers.
    has_group: bool,
}

/// What a proxy, which is the peer then, has connected us to.
#[derive(Debug)]
pub struct Beyond {
    /// As it was asked for.
    pub destination: String,
    /// The proxy, as messages name it.
    pub proxy: String,
}

impl Conn {
    pub(super) fn new(socket: Socket, transport: Transport, local: Address, peer: Address) -> Conn {
        Conn {
            socket,
            transport,
            local,
            peer,
            opened: Instant::now(),
            reply_timeout: OnceLock::new(),
            beyond: None,
            own_path: None,
            has_group: false,
        }
    }

    /// The same, which has this path.
    pub(super) fn with_path(self, own_path: Option<OwnPath>) -> Conn {
        Conn { own_path: own_path.map(Box::new), ..self }
    }

    /// The same, with a group for its peer: the socket is not connected.
    pub(super) fn for_group(self) -> Conn {
        Conn { has_group: true, ..self }
    }

    /// Its own path, which goes with what is given back: for whoever ends before all threads let go of the connection.
    pub fn take_path(&mut self) -> Option<Box<OwnPath>> {
        self.own_path.take()
    }

    /// Our end.
    pub fn local(&self) -> &Address {
        &self.local
    }

    /// The other end.
    pub fn peer(&self) -> &Address {
        &self.peer
    }

    /// What is behind the proxy that is its peer; none without one.
    pub fn beyond(&self) -> Option<&Beyond> {
        self.beyond.as_deref()
    }

    /// The same connection, now that the proxy at its other end has made the rest of the way.
    pub(super) fn reaching(self, beyond: Beyond) -> Conn {
        Conn { beyond: Some(Box::new(beyond)), opened: Instant::now(), ..self }
    }

    /// The protocol.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// How long it has been open.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// For event loops, and for reading options back.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Makes calls wait, for the commands that give a connection threads of its own.
    pub fn set_blocking(&self) -> Result<()> {
        self.socket.set_nonblocking(false).map_err(|error| self.error(Op::Socket, error))
    }

    /// From now on a `recv` that waits this long is an error that names the reply clock. It can be set once.
    pub fn set_reply_timeout(&self, timeout: Duration) -> Result<()> {
        let timeout = *self.reply_timeout.get_or_init(|| timeout);
        options::set_receive_timeout(&self.socket, timeout).map_err(|error| self.error(Op::Socket, error))
    }

    /// recv(2), waiting: what came, 0 at the end of a stream. On a datagram socket 0 is an empty datagram.
    #[inline]
    pub fn recv(&self, buffer: &mut [u8]) -> Result<usize> {
        self.socket.recv(buffer).map_err(|error| self.receive_error(error))
    }

    /// recvfrom(2), waiting: a datagram, who sent it, and whether it was cut off.
    pub fn recv_datagram(&self, buffer: &mut [u8]) -> Result<Datagram> {
        self.socket.recv_from(buffer).map_err(|error| self.receive_error(error))
    }

    /// send(2) once, or sendto(2) if the peer is a group: how many bytes the system took.
    pub fn send_some(&self, bytes: &[u8]) -> Result<usize> {
        let sent = if self.has_group { self.socket.send_to(bytes, &self.peer) } else { self.socket.send(bytes) };
        sent.map_err(|error| self.error(Op::Send, error))
    }

    /// From now on a datagram that did not arrive is an error of a later call, which names who said so, on systems that tell.
    pub fn hear_of_losses(&self) -> Result<()> {
        if self.transport != Transport::Udp || self.has_group {
            return Ok(());
        }
        let heard = options::report_errors(&self.socket, self.peer.family());
        heard.map_err(|error| self.error(Op::SetOption("error reports".to_owned()), error))
    }

    /// recv(2), not waiting: none if there is nothing yet.
    #[inline]
    pub fn try_recv(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        self.unless_busy(self.socket.recv(buffer), Op::Receive)
    }

    /// send(2), not waiting: how many bytes the system took, none if it has no room.
    #[inline]
    pub fn try_send(&self, bytes: &[u8]) -> Result<Option<usize>> {
        self.unless_busy(self.socket.send(bytes), Op::Send)
    }

    #[inline]
    fn unless_busy(&self, result: io::Result<usize>, op: Op) -> Result<Option<usize>> {
        match result {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(self.error(op, error)),
        }
    }

    /// SO_RCVTIMEO says EAGAIN (Winsock: WSAETIMEDOUT) when its time is up.
    #[cold]
    fn receive_error(&self, error: io::Error) -> Error {
        match (self.reply_timeout.get(), kind_of(&error)) {
            (Some(waited), Kind::Busy | Kind::TimedOut) => Error::timed_out(Op::Receive, self, *waited, Clock::Reply),
            _ => self.error(Op::Receive, error),
        }
    }

    /// send(2), called until the system has taken every byte of a stream, or the one datagram.
    pub fn send_all(&self, mut bytes: &[u8]) -> Result<()> {
        loop {
            bytes = &bytes[self.send_some(bytes)?..];
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Half-close: shutdown(2) of our direction. The peer sees the end of the stream and may go on talking.
    pub fn finish(&self) -> Result<()> {
        self.socket.shutdown(Shutdown::Write).map_err(|error| self.error(Op::Shutdown, error))
    }

    /// From now on its close is a RST: whatever is queued either way is thrown away, and the peer's next call fails with
    /// ECONNRESET.
    pub fn reset_on_close(&self) -> Result<()> {
        options::reset_on_close(&self.socket).map_err(|error| self.error(Op::SetOption("linger=0".to_owned()), error))
    }

    /// The same once everything that was sent is acknowledged, or the connection has failed: waits for that, because a reset
    /// throws away what is still queued.
    pub fn reset_once_acknowledged(&self) -> Result<()> {
        /// How often the queue is looked at: nothing tells when it is empty.
        const LOOK: Duration = Duration::from_millis(1);
        let has_failed = || !matches!(self.socket.take_error(), Ok(None));
        while self.unacknowledged_bytes().is_some_and(|bytes| bytes > 0) && !has_failed() {
            std::thread::sleep(LOOK);
        }
        self.reset_on_close()
    }

    /// Ends it with RST.
    pub fn abort(self) -> Result<()> {
        self.reset_on_close()
    }

    /// Ends it so that the peer has every byte we sent: FIN, then reads and drops what the peer still sends until its FIN
    /// or until `patience` has passed. A close with unread input would be a RST (RFC 2525 section 2.17).
    pub fn close_after_draining(self, patience: Duration) -> Result<()> {
        self.finish()?;
        self.drain(patience)
    }

    /// Reads and drops what the peer still sends, until its end or until `patience` has passed.
    pub fn drain(&self, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        // What arrives now has no reader any more; the size only bounds the number of calls.
        let mut unread = [0; 16 * 1024];
        loop {
            let left = patience.saturating_sub(begun.elapsed());
            let ready = wait_any(&[&self.socket], Interest::Readable, Some(left));
            if !ready.is_ok_and(|ready| ready == [true]) || matches!(self.socket.recv(&mut unread), Ok(0) | Err(_)) {
                return Ok(());
            }
        }
    }

    /// Bytes that the system has taken but the peer has not acknowledged; none where the system cannot tell.
    pub fn unacknowledged_bytes(&self) -> Option<u64> {
        if self.transport == Transport::Tcp { self.socket.unacknowledged_bytes() } else { None }
    }

    /// Bytes that have arrived and that nobody has received; of datagrams those of the next one. None where the system cannot
    /// tell.
    pub fn unread_bytes(&self) -> Option<u64> {
        self.socket.unread_bytes()
    }

    /// Datagrams that the system dropped because our receive buffer was full; none where it does not tell.
    pub fn receive_drops(&self) -> Option<u64> {
        if self.transport.is_stream() { None } else { super::sys::receive_drops(self.socket.raw()) }
    }

    /// What the kernel knows of it: none where there is no `TCP_INFO`.
    pub fn info(&self) -> Option<TcpInfo> {
        if self.transport == Transport::Tcp { self.socket.tcp_info() } else { None }
    }

    /// The socket options in force.
    pub fn effective_options(&self) -> Effective<'_> {
        Effective { socket: &self.socket, family: self.peer.family(), transport: self.transport }
    }

    /// A system error, dressed with the operation, the peer and the connection's age.
    pub fn error(&self, op: Op, source: io::Error) -> Error {
        let error = Error::system(op, self, self.age(), source);
        // What the network said of a datagram is beside the errno that it became.
        let report = if self.transport == Transport::Udp { Report::next(&self.socket) } else { None };
        match report {
            Some(report) => error.told(report.to_string()),
            None => error,
        }
    }
}

/// As error messages name it: `127.0.0.1:80 (tcp)`.
impl std::fmt::Display for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.beyond {
            Some(beyond) => write!(f, "{} ({}) through {}", beyond.destination, self.transport, beyond.proxy),
            None => write!(f, "{} ({})", self.peer, self.transport),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::connection::{Dial, Options, Source, dial};

    /// Longer than any test: what waits for it hangs.
    const PATIENCE: Duration = Duration::from_secs(600);

    /// A blocking connection, and its peer.
    fn pair() -> (Conn, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = [Address::Inet(listener.local_addr().unwrap())];
        let (options, source) = (Options::default(), Source::default());
        let plan = Dial { transport: Transport::Tcp, options: &options, source: &source, timeout: PATIENCE };
        let conn = dial(&address, &plan).unwrap().conn;
        conn.set_blocking().unwrap();
        (conn, listener.accept().unwrap().0)
    }

    #[test]
    fn a_half_close_lets_the_peer_answer_to_its_end() {
        let (conn, mut peer) = pair();
        conn.send_all(b"question").unwrap();
        conn.finish().unwrap();
        let mut heard = Vec::new();
        peer.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"question");
        peer.write_all(b"answer").unwrap();
        drop(peer);
        let mut buffer = [0; 16];
        assert_eq!(conn.recv(&mut buffer).unwrap(), b"answer".len());
        assert_eq!(conn.recv(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn everything_is_sent_however_slowly_the_peer_reads() {
        let (conn, mut peer) = pair();
        // More than the queues of both ends hold.
        let sent: Vec<u8> = (0..16 << 20).map(|number| (number / 251) as u8).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                conn.send_all(&sent).unwrap();
                conn.finish().unwrap();
            });
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            assert!(received == sent, "{} of {} bytes came, or others", received.len(), sent.len());
        });
    }

    /// Wine sends a FIN before the RST.
    #[cfg(unix)]
    #[test]
    fn an_abort_is_a_reset_on_both_sides() {
        let (conn, mut peer) = pair();
        conn.abort().unwrap();
        assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let (conn, peer) = pair();
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        let error = conn.recv(&mut [0; 8]).unwrap_err();
        assert_eq!((&error.op, error.kind()), (&Op::Receive, Kind::Reset));
        let expected = format!("receive {} (tcp) failed after ", conn.peer());
        assert!(error.to_string().starts_with(&expected), "{error}");
    }

    #[test]
    fn a_close_after_draining_loses_nothing_though_input_was_unread() {
        let (conn, mut peer) = pair();
        peer.write_all(&[b'x'; 1000]).unwrap();
        conn.send_all(b"last words").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| conn.close_after_draining(PATIENCE).unwrap());
            let mut heard = Vec::new();
            peer.read_to_end(&mut heard).expect("an end, and no reset");
            assert_eq!(heard, b"last words");
            drop(peer);
        });
    }

    #[test]
    fn a_reply_that_does_not_come_names_its_clock() {
        let (conn, _peer) = pair();
        let timeout = Duration::from_millis(20);
        conn.set_reply_timeout(timeout).unwrap();
        let begun = Instant::now();
        let error = conn.recv(&mut [0; 8]).unwrap_err();
        assert!(begun.elapsed() >= timeout);
        assert!(matches!(error.cause, super::super::Cause::TimedOut(Clock::Reply)), "{error}");
        assert_eq!(error.errname(), "ETIMEDOUT");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_tells_what_the_peer_has_acknowledged() {
        let (conn, mut peer) = pair();
        let sent_bytes = 5;
        conn.send_all(b"hello").unwrap();
        peer.read_exact(&mut [0; 5]).unwrap();
        peer.write_all(b"!").unwrap();
        conn.recv(&mut [0; 8]).unwrap();
        // The answer carried the acknowledgement.
        assert_eq!(conn.unacknowledged_bytes(), Some(0));
        let info = conn.info().unwrap();
        assert!(info.acknowledged_bytes >= sent_bytes && info.received_bytes >= 1, "{info:?}");
    }
}
