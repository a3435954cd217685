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
