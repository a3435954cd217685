//! connect(2) with a deadline, in the manner of `connect_ex`: every address tried, every attempt kept with its errno.
//!
//! Owns what a call is told and what it came to. Must not know names (resolve.rs made addresses of them), when which
//! address is tried (dialer.rs), or what a refusal means to anybody. Trade-off: an outcome carries every attempt, also
//! where nobody asks for more than the connection, so that a failure can always say what was tried.

use std::net::IpAddr;
use std::time::Duration;

use super::options::Options;
use super::{Address, Conn, Error, Transport, UnixName, Waker};

mod dialer;

pub use dialer::{Dialer, Next};

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
    /// The error that says most about the target.
    pub fn into_error(self) -> Error {
        Error::most_telling(self.attempts.into_iter().filter_map(|attempt| attempt.error).collect())
    }
}

/// What a call came to.
pub type Outcome = Result<Dialed, Failed>;

/// Connects to the first address that answers.
pub fn dial(addresses: &[Address], plan: &Dial) -> Outcome {
    call(Dialer::alone(plan.timeout), addresses, plan).unwrap_or_else(|| Err(Failed { attempts: Vec::new() }))
}

/// The same, which whoever is given the waker may stop: then there is no outcome.
pub fn dial_unless_stopped(addresses: &[Address], plan: &Dial, give: impl FnOnce(Waker)) -> Option<Outcome> {
    let mut dialer = Dialer::alone(plan.timeout);
    give(dialer.waker());
    call(dialer, addresses, plan)
}

fn call<'a>(mut dialer: Dialer<'a, ()>, addresses: &[Address], plan: &'a Dial<'a>) -> Option<Outcome> {
    let (mut next, mut outcome) = (Some(addresses.to_vec()), None);
    dialer.run(
        |_| next.take().map_or(Next::Over, |addresses| Next::Call((), plan, addresses)),
        |(), result| outcome = Some(result),
    );
    outcome
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{TcpListener, UdpSocket};

    use super::super::{Cause, Clock, Kind, Op};
    #[cfg(target_os = "linux")]
    use super::super::{
        Socket,
        poll::{Interest, wait_any},
    };
    use super::*;

    /// Longer than any test: what waits for it hangs.
    pub(super) const PATIENCE: Duration = Duration::from_secs(600);

    /// Nothing listens there: the system gives nobody a port that low.
    pub(super) const CLOSED: &str = "127.0.0.1:1";

    pub(super) fn address(text: &str) -> Address {
        Address::Inet(text.parse().unwrap())
    }

    fn local(listener: &TcpListener) -> Address {
        Address::Inet(listener.local_addr().unwrap())
    }

    fn dial_from(source: &Source, addresses: &[Address], timeout: Duration, transport: Transport) -> Outcome {
        dial(addresses, &Dial { transport, options: &Options::default(), source, timeout })
    }

    fn dial_tcp(addresses: &[Address], timeout: Duration) -> Outcome {
        dial_from(&Source::default(), addresses, timeout, Transport::Tcp)
    }

    /// A listener whose queue is full: Linux drops what else would connect. The second socket is what fills it.
    #[cfg(target_os = "linux")]
    pub(super) fn silent() -> (Address, Socket, std::net::TcpStream) {
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
        assert_eq!(dial_tcp(&[], PATIENCE).unwrap_err().into_error().kind(), Kind::Unsupported);
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
