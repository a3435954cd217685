//! Every option is set on real sockets and read back; first it must differ from the system's default.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::SockAddr;

use super::{bound, loopback, options, readings, refusal};
use crate::connection::options::row;
use crate::connection::options::table::ROWS;
use crate::connection::options::{Options, Phase};
use crate::connection::{Address, Family, Kind, Result, Socket, Transport};

/// The three kinds of socket that options are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Bound, and listening if it is TCP's.
    Bound,
    Dialled,
    Accepted,
}
use Role::{Accepted, Bound, Dialled};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn dialled(options: &Options, transport: Transport, peer: &Socket) -> Result<Socket> {
    let address = peer.local_address().unwrap();
    let family = address.family();
    let socket = Socket::new(family, transport, false).unwrap();
    socket.set_nonblocking(false).unwrap();
    options.apply(&socket, family, transport, Phase::BeforeBind)?;
    options.apply(&socket, family, transport, Phase::BeforeConnect)?;
    socket.connect(&address).unwrap();
    options.apply(&socket, family, transport, Phase::Connected)?;
    Ok(socket)
}

/// The accepted socket, and its peer to keep it alive.
fn accepted(listener: &Socket) -> (Socket, Socket) {
    let peer = dialled(&Options::default(), Transport::Tcp, listener).unwrap();
    listener.set_nonblocking(false).unwrap();
    (listener.accept().unwrap().0, peer)
}

/// One option: what is typed, what must be read back, and where it applies.
struct Case {
    argument: &'static str,
    reads: &'static str,
    transports: &'static [Transport],
    families: &'static [Family],
    roles: &'static [Role],
}

const IP: &[Transport] = &[Transport::Tcp, Transport::Udp];
const TCP: &[Transport] = &[Transport::Tcp];
const UDP: &[Transport] = &[Transport::Udp];
const ALL: &[Role] = &[Bound, Dialled, Accepted];
const OWN: &[Role] = &[Bound, Dialled];

const fn case(
    argument: &'static str,
    reads: &'static str,
    transports: &'static [Transport],
    roles: &'static [Role],
) -> Case {
    Case { argument, reads, transports, families: &FAMILIES, roles }
}

const CASES: &[Case] = &[
    case("--nodelay", "on", TCP, ALL),
    case("--keepalive=yes", "on", TCP, ALL),
    case("--keepalive-idle=11", "11s", TCP, ALL),
    case("--keepalive-interval=2m", "2m", TCP, ALL),
    case("--keepalive-count=7", "7", TCP, ALL),
    case("--linger=3", "3s", TCP, ALL),
    case("--linger=0", "0s", TCP, ALL),
    case("--ttl=33", "33", IP, ALL),
    case("--tos=ef", "0xb8", IP, ALL),
    // Linux doubles it.
    case("--send-buffer=20000", "40000", IP, ALL),
    case("--receive-buffer=20000", "40000", IP, ALL),
    case("--reuse-address", "on", IP, OWN),
    case("--reuse-port", "on", IP, OWN),
    // Binding to one IPv6 address turns it on by itself.
    Case { families: &[Family::V6], ..case("--v6-only", "on", IP, &[Dialled]) },
    case("--bind-device=lo", "lo", IP, OWN),
    case("--mark=5", "5", IP, ALL),
    case("--priority=3", "3", IP, ALL),
    case("--congestion=reno", "reno", TCP, ALL),
    case("--mss=1000", "1000", TCP, &[Bound]),
    // Time stamps take 12 bytes of every segment.
    case("--mss=1000", "988", TCP, &[Dialled, Accepted]),
    case("--user-timeout=1.5", "1s500ms", TCP, ALL),
    case("--quickack=off", "off", TCP, &[Dialled, Accepted]),
    case("--cork", "on", TCP, ALL),
    case("--thin-linear-timeouts", "on", TCP, ALL),
    case("--notsent-lowat=16Ki", "16384", TCP, ALL),
    case("--freebind", "on", IP, OWN),
    case("--transparent", "on", IP, OWN),
    case("--busy-poll=60us", "60us", IP, ALL),
    case("--incoming-cpu=0", "0", IP, &[Bound]),
    case("--broadcast", "on", UDP, OWN),
    case("--out-of-band-inline", "on", TCP, ALL),
    case("--multicast-ttl=9", "9", UDP, OWN),
    case("--multicast-loop=off", "off", UDP, OWN),
    Case { families: &[Family::V4], ..case("--multicast-interface=127.0.0.1", "127.0.0.1", UDP, OWN) },
    Case { families: &[Family::V6], ..case("--multicast-interface=lo", "1", UDP, OWN) },
    case("--multicast-all=off", "off", UDP, OWN),
];

/// Flags with a test of their own.
const TESTED_OTHERWISE: &[&str] = &["fast-open", "multicast-join"];

impl Case {
    fn flag(&self) -> &'static str {
        self.argument.trim_start_matches('-').split('=').next().unwrap()
    }
}

/// A socket of the wanted kind with the options on it, and whatever must stay open for it. For an accepted one,
/// `before` tells what it had from its listener.
struct Made {
    socket: Socket,
    before: Vec<String>,
    _others: Vec<Socket>,
}

fn make(role: Role, flag: &str, options: &Options, transport: Transport, family: Family) -> Result<Made> {
    let made = |socket, others| Made { socket, before: Vec::new(), _others: others };
    match role {
        Bound => bound(options, transport, &loopback(family)).map(|socket| made(socket, vec![])),
        Dialled => {
            let peer = bound(&Options::default(), transport, &loopback(family))?;
            dialled(options, transport, &peer).map(|socket| made(socket, vec![peer]))
        }
        Accepted => {
            let listener = bound(options, transport, &loopback(family))?;
            let (socket, peer) = accepted(&listener);
            let before = readings(flag, &socket, family, transport);
            options.apply(&socket, family, transport, Phase::Accepted)?;
            Ok(Made { socket, before, _others: vec![listener, peer] })
        }
    }
}

#[expect(clippy::print_stderr, reason = "what was not tested must be seen")]
fn check(case: &Case, role: Role, transport: Transport, family: Family) {
    let Case { argument, reads, .. } = case;
    let (flag, what) = (case.flag(), format!("{argument} on a {role:?} {transport} {family:?} socket"));
    let default = make(role, flag, &Options::default(), transport, family).unwrap();
    let default = readings(flag, &default.socket, family, transport);
    assert!(!default.iter().any(|value| value == reads), "{what}: {default:?} already without it");

    let made = match make(role, flag, &options(&[argument]), transport, family) {
        Err(error) if error.errname() == "EPERM" => return eprintln!("not tested: {what}: {error}"),
        made => made.unwrap(),
    };
    assert_eq!(readings(flag, &made.socket, family, transport), [*reads], "{what}");
    if role == Accepted {
        let rows = ROWS.iter().filter(|row| row.flag == flag);
        let inherited = rows.clone().all(|row| row.accepted == row::Accepted::Inherited);
        assert_eq!(made.before == [*reads], inherited, "{what}: {:?} from its listener", made.before);
        assert!(rows.clone().all(|row| row.accepted != row::Accepted::Untouched), "{what}: its rows leave it alone");
    }
}

#[test]
fn every_option_differs_from_the_default_and_is_read_back() {
    for case in CASES {
        for &transport in case.transports {
            for &family in case.families {
                let roles = case.roles.iter().filter(|role| transport == Transport::Tcp || **role != Accepted);
                roles.for_each(|&role| check(case, role, transport, family));
            }
        }
    }
}

#[test]
fn every_row_has_a_case_and_those_of_accepted_sockets_one_that_accepts() {
    for row in ROWS.iter().filter(|row| !TESTED_OTHERWISE.contains(&row.flag)) {
        let cases = || CASES.iter().filter(|case| case.flag() == row.flag);
        assert!(cases().count() > 0, "{} is not tested", row.flag);
        if row.transports.contains(&Transport::Tcp) && row.accepted != row::Accepted::Untouched {
            assert!(cases().any(|case| case.roles.contains(&Accepted)), "{} is not tested on accept", row.flag);
        }
    }
}

#[test]
fn a_socket_of_both_families_has_time_to_live_and_hop_limit() {
    let any: Address = Address::from_socket2(&SockAddr::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))));
    let both = bound(&options(&["--ttl=33", "--tos=af11", "--v6-only=off"]), Transport::Tcp, &any).unwrap();
    let traffic = |socket: &Socket| (socket.raw().ttl_v4().unwrap(), socket.raw().tos_v4().unwrap());
    let traffic_v6 = |socket: &Socket| (socket.raw().unicast_hops_v6().unwrap(), socket.raw().tclass_v6().unwrap());
    assert_eq!((traffic(&both), traffic_v6(&both)), ((33, 0x28), (33, 0x28)));
    assert_eq!(readings("ttl", &both, Family::V6, Transport::Tcp), ["33"]);

    // What a client by IPv4 gets.
    let port = both.local_address().unwrap().port().unwrap();
    let client = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    both.set_nonblocking(false).unwrap();
    let (socket, _) = both.accept().unwrap();
    assert_eq!(traffic(&socket), (33, 0x28));
    drop(client);

    let one = bound(&options(&["--ttl=33", "--tos=af11", "--v6-only"]), Transport::Tcp, &any).unwrap();
    assert_eq!((traffic(&one), traffic_v6(&one)), ((64, 0), (33, 0x28)));
    assert_eq!(readings("v6-only", &one, Family::V6, Transport::Tcp), ["on"]);
}

#[test]
fn fast_open_is_a_queue_to_a_listener_and_a_switch_to_a_client() {
    for family in FAMILIES {
        let listener = bound(&options(&["--fast-open=9"]), Transport::Tcp, &loopback(family)).unwrap();
        let client = dialled(&options(&["--fast-open"]), Transport::Tcp, &listener).unwrap();
        let plain = dialled(&options(&["--fast-open=0"]), Transport::Tcp, &listener).unwrap();
        let read = |socket| readings("fast-open", socket, family, Transport::Tcp);
        assert_eq!(read(&listener), ["9", "0 (TCP_FASTOPEN_CONNECT)"]);
        assert_eq!(read(&client), ["0", "1 (TCP_FASTOPEN_CONNECT)"]);
        assert_eq!(read(&plain), ["0"]);
    }
}

#[test]
fn an_unknown_congestion_control_is_no_missing_file() {
    let error = refusal(&["--congestion=nosuch"], Family::V4, Transport::Tcp).unwrap();
    let end = "no such congestion control, /proc/sys/net/ipv4/tcp_available_congestion_control has the list";
    assert!(error.to_string().ends_with(end), "{error}");
    assert_eq!(error.kind(), Kind::Unsupported);
}

/// A datagram socket that only hears the groups it joined, on any port.
fn hearer(arguments: &[&str], address: &Address) -> Socket {
    let socket = bound(&options(&[&["--multicast-all=off"], arguments].concat()), Transport::Udp, address).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Whether what is sent to the group by way of the loopback interface arrives. There a datagram is in the receiver's
/// queue before send returns.
fn hears(socket: &Socket, group: Ipv4Addr, from: Ipv4Addr, interface: &str) -> bool {
    let port = socket.local_address().unwrap().port().unwrap();
    let by = options(&[&format!("--multicast-interface={interface}")]);
    let from = Address::from_socket2(&SockAddr::from(SocketAddr::from((from, 0))));
    let sender = bound(&by, Transport::Udp, &from).unwrap();
    let to = Address::from_socket2(&SockAddr::from(SocketAddr::from((group, port))));
    sender.send_to(b"hello", &to).unwrap();
    socket.recv_from(&mut [0; 16]).is_ok()
}

#[test]
fn a_joined_group_is_heard_and_another_is_not() {
    // The sender has no address, which would decide its interface by itself.
    let any = Ipv4Addr::UNSPECIFIED;
    let group = Ipv4Addr::new(239, 255, 71, 3);
    let wildcards = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    for address in wildcards.map(|ip| Address::from_socket2(&SockAddr::from(SocketAddr::new(ip, 0)))) {
        for interface in ["lo", "1", "127.0.0.1"] {
            let join = format!("--multicast-join={group}@{interface}");
            assert!(!hears(&hearer(&[], &address), group, any, interface), "{address} hears without joining");
            assert!(hears(&hearer(&[&join], &address), group, any, interface), "{address} is deaf to {join}");
            let other = Ipv4Addr::new(239, 255, 71, 4);
            assert!(!hears(&hearer(&[&join], &address), other, any, interface), "{address} hears {other}");
        }
    }
}

#[test]
fn a_group_of_one_sender_is_heard_from_that_sender_only() {
    let group = Ipv4Addr::new(232, 255, 71, 3);
    let address = Address::from_socket2(&SockAddr::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))));
    for interface in ["127.0.0.1", "lo", "1"] {
        let join = format!("--multicast-join={group}@{interface}");
        for (source, is_heard) in [("127.0.0.1", true), ("127.0.0.9", false)] {
            let hearer = hearer(&[&join, &format!("--multicast-source={source}")], &address);
            assert_eq!(hears(&hearer, group, Ipv4Addr::LOCALHOST, "lo"), is_heard, "{join} from {source}");
        }
    }
}

#[test]
fn a_joined_group_of_ipv6_is_in_the_kernels_list() {
    let group = "ff15::4711:3";
    let listed = |interface: &str| {
        let memberships = std::fs::read_to_string("/proc/net/igmp6").unwrap();
        let group = "ff150000000000000000000047110003";
        memberships.lines().any(|line| line.contains(group) && line.split_whitespace().nth(1) == Some(interface))
    };
    assert!(!listed("lo"));
    for interface in ["lo", "1"] {
        let joined = hearer(&[&format!("--multicast-join={group}@{interface}")], &loopback(Family::V6));
        assert!(listed("lo"), "{group}@{interface}");
        drop(joined);
        assert!(!listed("lo"), "{group}@{interface} after the close");
    }
}
