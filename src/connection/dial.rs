//! connect(2) with a deadline, in the manner of `connect_ex`: every address tried, every attempt kept with its errno.
//!
//! Owns the race between the addresses of one name and the wait for its outcome. Must not know names (resolve.rs made
//! addresses of them) or what a refusal means to anybody. Trade-off: a race on poll(2), not on threads, so that an attempt
//! that is decided at once, as every one on loopback is, costs exactly socket, connect and getsockname.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::options::{self, Options, Phase};
use super::socket::{Interest, wait_any};
use super::{Address, Cause, Clock, Conn, Error, Kind, Op, Result, Socket, Transport, UnixName};

/// RFC 8305 section 5: how long an attempt may be silent before the next address is tried beside it.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A connection to oneself is undone and dialled again: the kernel then chooses another port, unless the user chose it.
const SELF_CONNECT_TRIES: u32 = 3;

/// How long a unix socket with a full queue is left alone before it is asked again: its server needs that long to accept.
const BUSY_DELAY: Duration = Duration::from_millis(1);

/// Where a connection should come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// `-s`: an address of this machine.
    pub address: Option<IpAddr>,
    /// `-p`: a port, or 0 for any.
    pub port: u16,
    /// `-s` of a unix socket: our own path.
    pub path: Option<UnixName>,
}

/// How to dial.
#[derive(Debug, Clone)]
pub struct Dial<'a> {
    /// The protocol.
    pub transport: Transport,
    /// The socket options.
    pub options: &'a Options,
    /// Our own end.
    pub source: &'a Source,
    /// How long each address may take to answer.
    pub timeout: Duration,
}

/// One address that was tried.
#[derive(Debug)]
pub struct Attempt {
    /// What was dialled.
    pub address: Address,
    /// How long it took to be decided.
    pub elapsed: Duration,
    /// Why it failed; none for the one that won, and for those that lost the race undecided.
    pub error: Option<Error>,
}

/// A connection, and what it took to get it.
#[derive(Debug)]
pub struct Dialed {
    /// The connection, non-blocking.
    pub conn: Conn,
    /// Every attempt that was begun, in the order of the addresses.
    pub attempts: Vec<Attempt>,
}

impl Dialed {
    /// The attempt that became the connection. Others may have no error either: they were still undecided.
    pub fn winner(&self) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.address == *self.conn.peer())
    }
}

/// No address answered.
#[derive(Debug)]
pub struct Failed {
    /// Every attempt, in the order of the addresses, at least one.
    pub attempts: Vec<Attempt>,
}

impl Failed {
    /// The error that says most about the target: an answer says more than silence, silence more than a local obstacle.
    pub fn into_error(self) -> Error {
        let tried = self.attempts.len();
        let errors = self.attempts.into_iter().filter_map(|attempt| attempt.error);
        let worst = errors.min_by_key(|error| match error.kind() {
            // Somebody listened there.
            Kind::Reset => 0,
            Kind::Refused => 1,
            Kind::Busy => 2,
            Kind::TimedOut => 3,
            Kind::HostUnreachable | Kind::Prohibited => 4,
            Kind::NetworkUnreachable => 5,
            _ => 6,
        });
        let mut worst = worst.unwrap_or_else(|| {
            let nothing = io::Error::other("no address to dial");
            Error::system(Op::Connect, "nothing", Duration::ZERO, nothing)
        });
        if tried > 1 {
            worst.target = format!("{}, the most telling of {tried} addresses,", worst.target).into();
        }
        worst
    }
}

/// An attempt that the kernel has not decided yet.
struct Pending {
    index: usize,
    socket: Socket,
    begun: Instant,
    /// Which try this is, counted by the self-connects that went before.
    tries: u32,
}

/// What became of one attempt so far.
enum Progress {
    Connected(Conn),
    Failed(Error),
    Pending(Pending),
}

/// Connects to the first address that answers. The addresses are raced as RFC 8305 has it: each gets a start of 250 ms
/// before the next, and a failure starts the next at once.
pub fn dial(addresses: &[Address], plan: &Dial) -> std::result::Result<Dialed, Failed> {
    let attempts =
        addresses.iter().map(|address| Attempt { address: address.clone(), elapsed: Duration::ZERO, error: None });
    let mut race =
        Race { plan, attempts: attempts.collect(), pending: Vec::new(), started: 0, last_start: Instant::now() };
    while race.started < race.attempts.len() || !race.pending.is_empty() {
        if let Some(conn) = race.step() {
            race.attempts.truncate(race.started);
            return Ok(Dialed { conn, attempts: race.attempts });
        }
    }
    Err(Failed { attempts: race.attempts })
}

struct Race<'a> {
    plan: &'a Dial<'a>,
    attempts: Vec<Attempt>,
    pending: Vec<Pending>,
    /// How many of the addresses have been tried or are being tried.
    started: usize,
    last_start: Instant,
}

impl Race<'_> {
    /// Starts the next attempt if it is time, else waits for one of those under way.
    fn step(&mut self) -> Option<Conn> {
        let is_time = self.pending.is_empty() || self.last_start.elapsed() >= ATTEMPT_DELAY;
        if self.started < self.attempts.len() && is_time {
            let index = self.started;
            self.started += 1;
            self.last_start = Instant::now();
            let progress = self.plan.begin(index, &self.attempts[index].address, self.last_start, 1);
            return self.settle(index, self.last_start, progress);
        }
        let ready = self.wait();
        for slot in (0..self.pending.len()).rev() {
            let Pending { begun, .. } = self.pending[slot];
            if ready[slot] || begun.elapsed() >= self.plan.timeout {
                let pending = self.pending.swap_remove(slot);
                let index = pending.index;
                let progress = self.plan.decide(pending, &self.attempts[index].address, ready[slot]);
                if let Some(conn) = self.settle(index, begun, progress) {
                    return Some(conn);
                }
            }
        }
        None
    }

    /// Waits until an attempt is decided, times out, or is to be joined by the next.
    fn wait(&self) -> Vec<bool> {
        let left = |begun: Instant, limit: Duration| limit.saturating_sub(begun.elapsed());
        let deadlines = self.pending.iter().map(|pending| left(pending.begun, self.plan.timeout));
        let next_start = (self.started < self.attempts.len()).then(|| left(self.last_start, ATTEMPT_DELAY));
        let timeout = deadlines.chain(next_start).min();
        let sockets: Vec<&Socket> = self.pending.iter().map(|pending| &pending.socket).collect();
        // A poll that fails (it has no reason to) leaves the decision to SO_ERROR.
        wait_any(&sockets, Interest::Writable, timeout).unwrap_or_else(|_| vec![true; sockets.len()])
    }

    fn settle(&mut self, index: usize, begun: Instant, progress: Progress) -> Option<Conn> {
        match progress {
            Progress::Pending(pending) => self.pending.push(pending),
            Progress::Failed(error) => {
                self.attempts[index].elapsed = error.elapsed;
                self.attempts[index].error = Some(error);
            }
            Progress::Connected(conn) => {
                self.attempts[index].elapsed = begun.elapsed();
                return Some(conn);
            }
        }
        None
    }
}

impl Dial<'_> {
    /// socket, options, bind if asked, connect.
    fn begin(&self, index: usize, address: &Address, begun: Instant, tries: u32) -> Progress {
        let socket = match self.open(address, begun) {
            Ok(socket) => socket,
            Err(error) => return Progress::Failed(error),
        };
        match connect_now(&socket, address) {
            Ok(()) => self.finish(socket, index, address, begun, tries),
            Err(error) if in_progress(&error) => Progress::Pending(Pending { index, socket, begun, tries }),
            Err(error) if is_busy(&error, self.transport) => self.wait_for_room(socket, index, address, begun),
            Err(error) => Progress::Failed(self.error(Op::Connect, address, begun, error)),
        }
    }

    /// The socket, ready to be connected.
    fn open(&self, address: &Address, begun: Instant) -> Result<Socket> {
        let family = address.family();
        let socket = Socket::new(family, self.transport, self.options.mptcp)
            .map_err(|error| self.error(Op::Socket, address, begun, error))?;
        self.options.apply(&socket, family, self.transport, Phase::BeforeBind)?;
        if let Some(own) = self.own_address(address) {
            socket.bind(&own).map_err(|error| self.error(Op::Bind, &own, begun, error))?;
        }
        self.options.apply(&socket, family, self.transport, Phase::BeforeConnect)?;
        Ok(socket)
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

    /// The end of a connect that was in progress: its outcome is in `SO_ERROR`.
    fn decide(&self, pending: Pending, address: &Address, ready: bool) -> Progress {
        let Pending { index, socket, begun, tries } = pending;
        match socket.take_error() {
            // Silence may have a reason that the kernel was told but does not act on, such as a soft ICMP error.
            Ok(Some(error)) | Err(error) => Progress::Failed(self.error(Op::Connect, address, begun, error)),
            Ok(None) if ready => self.finish(socket, index, address, begun, tries),
            Ok(None) => Progress::Failed(self.timed_out(address, begun)),
        }
    }

    /// A connected socket becomes a connection, unless TCP joined it to itself.
    fn finish(&self, socket: Socket, index: usize, address: &Address, begun: Instant, tries: u32) -> Progress {
        let local = match socket.local_address() {
            Ok(local) => local,
            Err(error) => return Progress::Failed(self.error(Op::Connect, address, begun, error)),
        };
        if self.transport == Transport::Tcp && local == *address {
            // After a plain close the port would stay in TIME_WAIT, and the server that it belongs to could not bind it.
            let _ = options::reset_on_close(&socket);
            drop(socket);
            if tries < SELF_CONNECT_TRIES {
                return self.begin(index, address, begun, tries + 1);
            }
            let target = self.describe(address);
            return Progress::Failed(Error::new(Op::Connect, target, begun.elapsed(), Cause::SelfConnect));
        }
        match self.options.apply(&socket, address.family(), self.transport, Phase::Connected) {
            Ok(()) => Progress::Connected(Conn::new(socket, self.transport, local, address.clone())),
            Err(error) => Progress::Failed(error),
        }
    }

    /// A unix socket whose queue is full says EAGAIN, is not in progress, and cannot be polled: it must be asked again.
    fn wait_for_room(&self, socket: Socket, index: usize, address: &Address, begun: Instant) -> Progress {
        loop {
            let left = self.timeout.saturating_sub(begun.elapsed());
            std::thread::sleep(BUSY_DELAY.min(left));
            match socket.connect(address) {
                Ok(()) => return self.finish(socket, index, address, begun, SELF_CONNECT_TRIES),
                Err(error) if !is_busy(&error, self.transport) => {
                    return Progress::Failed(self.error(Op::Connect, address, begun, error));
                }
                Err(_) if left.is_zero() => {
                    let target = self.describe(address);
                    return Progress::Failed(Error::new(Op::Connect, target, begun.elapsed(), Cause::QueueFull));
                }
                Err(_) => {}
            }
        }
    }

    fn describe(&self, address: &Address) -> String {
        format!("{address} ({})", self.transport)
    }

    fn error(&self, op: Op, address: &Address, begun: Instant, source: io::Error) -> Error {
        Error::system(op, self.describe(address), begun.elapsed(), source)
    }

    fn timed_out(&self, address: &Address, begun: Instant) -> Error {
        Error::timed_out(Op::Connect, self.describe(address), begun.elapsed(), Clock::Connect)
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

/// Whether connect(2) will be decided later. A connect that a signal interrupted goes on as well (POSIX).
fn in_progress(error: &io::Error) -> bool {
    let name = error.raw_os_error().map(super::errno::name);
    // Winsock says WSAEWOULDBLOCK where POSIX says EINPROGRESS.
    matches!(name, Some("EINPROGRESS" | "EALREADY" | "EINTR")) || (cfg!(windows) && name == Some("EAGAIN"))
}

/// Whether a unix socket's queue was full.
fn is_busy(error: &io::Error, transport: Transport) -> bool {
    transport.is_unix() && error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    /// Longer than any test: what waits for it hangs.
    const PATIENCE: Duration = Duration::from_secs(600);

    /// Nothing listens there: the system gives nobody a port that low.
    const CLOSED: &str = "127.0.0.1:1";

    fn address(text: &str) -> Address {
        Address::Inet(text.parse().unwrap())
    }

    fn local(listener: &TcpListener) -> Address {
        Address::Inet(listener.local_addr().unwrap())
    }

    fn dial_from(
        source: &Source,
        addresses: &[Address],
        timeout: Duration,
        transport: Transport,
    ) -> std::result::Result<Dialed, Failed> {
        dial(addresses, &Dial { transport, options: &Options::default(), source, timeout })
    }

    fn dial_tcp(addresses: &[Address], timeout: Duration) -> std::result::Result<Dialed, Failed> {
        dial_from(&Source::default(), addresses, timeout, Transport::Tcp)
    }

    /// A listener whose queue is full: Linux drops what else would connect. The second socket is what fills it.
    #[cfg(target_os = "linux")]
    fn silent() -> (Address, Socket, std::net::TcpStream) {
        let listener = Socket::new(super::super::Family::V4, Transport::Tcp, false).unwrap();
        listener.bind(&address("127.0.0.1:0")).unwrap();
        // A queue of length 0 has room for one.
        listener.listen(0).unwrap();
        let place = listener.local_address().unwrap();
        let Address::Inet(inet) = &place else { panic!("{place}") };
        let queued = std::net::TcpStream::connect(inet).unwrap();
        // The one that connects may know of it before the queue does.
        assert_eq!(wait_any(&[&listener], Interest::Readable, None).unwrap(), [true]);
        (place, listener, queued)
    }

    #[test]
    fn refused_addresses_are_kept_in_their_order_and_the_next_one_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [address(CLOSED), address("[::1]:1"), local(&listener), address("192.0.2.1:1")];
        let dialled = dial_tcp(&addresses, PATIENCE).unwrap();
        let tried: Vec<_> = dialled.attempts.iter().map(|attempt| &attempt.address).collect();
        assert_eq!(tried, addresses[..3].iter().collect::<Vec<_>>(), "the fourth is not needed");
        let outcomes: Vec<_> =
            dialled.attempts.iter().map(|attempt| attempt.error.as_ref().map(Error::errname)).collect();
        assert_eq!(outcomes, [Some("ECONNREFUSED"), Some("ECONNREFUSED"), None]);
        assert!(dialled.attempts.iter().all(|attempt| attempt.elapsed > Duration::ZERO), "{:?}", dialled.attempts);
        assert_eq!(dialled.winner().unwrap().address, local(&listener));
        assert_eq!(dialled.conn.peer(), &local(&listener));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_silent_address_is_joined_by_the_next_and_stays_undecided() {
        let (place, _listener, _queued) = silent();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dialled = dial_tcp(&[place.clone(), local(&listener), address(CLOSED)], PATIENCE).unwrap();
        assert_eq!(dialled.conn.peer(), &local(&listener));
        assert_eq!(dialled.attempts.len(), 2, "the third was not begun: {:?}", dialled.attempts);
        assert!(dialled.attempts[0].error.is_none() && dialled.attempts[0].address == place);
        assert_eq!(dialled.winner().unwrap().address, local(&listener));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn addresses_that_stay_silent_each_time_out_by_the_connect_clock() {
        let timeout = Duration::from_millis(50);
        let (first, second) = (silent(), silent());
        let failed = dial_tcp(&[first.0.clone(), second.0.clone()], timeout).unwrap_err();
        for (attempt, place) in failed.attempts.iter().zip([&first.0, &second.0]) {
            let error = attempt.error.as_ref().unwrap();
            assert!(matches!(error.cause, Cause::TimedOut(Clock::Connect)), "{error}");
            assert_eq!((&attempt.address, error.errname()), (place, "ETIMEDOUT"));
            assert!(attempt.elapsed >= timeout, "{:?}", attempt.elapsed);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_refusal_tells_more_than_silence_whatever_the_order() {
        let (place, _listener, _queued) = silent();
        for addresses in [[place.clone(), address(CLOSED)], [address(CLOSED), place]] {
            let error = dial_tcp(&addresses, Duration::from_millis(20)).unwrap_err().into_error();
            assert_eq!(error.kind(), Kind::Refused);
            let expected = "connect 127.0.0.1:1 (tcp), the most telling of 2 addresses, failed after ";
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }

    #[test]
    fn the_most_telling_error_is_the_one_nearest_to_the_peer() {
        let causes: [fn() -> Cause; 4] = [
            || Cause::System(io::ErrorKind::Unsupported.into()),
            || Cause::TimedOut(Clock::Connect),
            || Cause::QueueFull,
            || Cause::SelfConnect,
        ];
        let attempt = |cause: Cause| Attempt {
            address: address(CLOSED),
            elapsed: Duration::ZERO,
            error: Some(Error::new(Op::Connect, CLOSED, Duration::ZERO, cause)),
        };
        for (more, telling) in causes.iter().enumerate().skip(1) {
            for less in &causes[..more] {
                for attempts in [vec![attempt(less()), attempt(telling())], vec![attempt(telling()), attempt(less())]] {
                    assert_eq!(Failed { attempts }.into_error().words(), attempt(telling()).error.unwrap().words());
                }
            }
        }
    }

    #[test]
    fn a_failed_dial_of_one_address_names_only_that() {
        let error = dial_tcp(&[address(CLOSED)], PATIENCE).unwrap_err().into_error();
        assert!(error.to_string().starts_with("connect 127.0.0.1:1 (tcp) failed after "), "{error}");
        assert_eq!(dial_tcp(&[], PATIENCE).unwrap_err().into_error().kind(), Kind::Local);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peer_sees_the_source_that_was_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // An address that no other test uses, and a port of it that was free a moment ago.
        let port = TcpListener::bind("127.77.0.2:0").unwrap().local_addr().unwrap().port();
        let address = Some("127.77.0.2".parse().unwrap());
        for (source, expected_port) in [
            (Source { address, ..Source::default() }, None),
            (Source { address, port, ..Source::default() }, Some(port)),
        ] {
            let dialled = dial_from(&source, &[local(&listener)], PATIENCE, Transport::Tcp).unwrap();
            let (_, seen) = listener.accept().unwrap();
            assert_eq!(dialled.conn.local(), &Address::Inet(seen));
            assert_eq!(Some(seen.ip()), address);
            assert!(expected_port.is_none_or(|port| port == seen.port()), "{seen}");
            // Whoever closes second leaves no TIME_WAIT behind, and the next turn may have the port.
            dialled.conn.abort().unwrap();
        }
    }

    #[test]
    fn a_source_that_is_not_ours_fails_at_the_bind() {
        let source = Source { address: Some("192.0.2.1".parse().unwrap()), ..Source::default() };
        let error = dial_from(&source, &[address(CLOSED)], PATIENCE, Transport::Tcp).unwrap_err().into_error();
        assert_eq!((&error.op, error.kind()), (&Op::Bind, Kind::AddressNotAvailable));
    }

    #[test]
    fn a_datagram_socket_needs_nobody_to_be_there() {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer_address = Address::Inet(peer.local_addr().unwrap());
        let dialled = dial_from(&Source::default(), &[peer_address], PATIENCE, Transport::Udp).unwrap();
        dialled.conn.send_all(b"here").unwrap();
        let mut buffer = [0; 8];
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], &Address::Inet(from)), (&b"here"[..], dialled.conn.local()));
        assert!(dial_from(&Source::default(), &[address(CLOSED)], PATIENCE, Transport::Udp).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_unix_name_is_refused_by_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let place = Address::Unix(UnixName::Path(path.clone()));
        let dial_unix = || dial_from(&Source::default(), std::slice::from_ref(&place), PATIENCE, Transport::UnixStream);
        assert_eq!(dial_unix().unwrap_err().into_error().errname(), "ENOENT");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(dial_unix().unwrap().conn.peer(), &place);
        drop(listener);
        assert_eq!(dial_unix().unwrap_err().into_error().errname(), "ECONNREFUSED");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_unix_datagram_socket_has_a_name_that_can_be_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peer");
        let peer = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let place = [Address::Unix(UnixName::Path(path))];
        let own = UnixName::Path(folder.path().join("own"));
        for path in [None, Some(own)] {
            let source = Source { path, ..Source::default() };
            let conn = dial_from(&source, &place, PATIENCE, Transport::UnixDatagram).unwrap().conn;
            conn.send_all(b"question").unwrap();
            let mut buffer = [0; 16];
            let (_, from) = peer.recv_from(&mut buffer).unwrap();
            assert!(!from.is_unnamed(), "{source:?}");
            peer.send_to_addr(b"answer", &from).unwrap();
            assert_eq!(conn.recv(&mut buffer).unwrap(), b"answer".len());
        }
    }
}
