//! The socket options: what can be asked for, and the one function that applies it.
//!
//! Owns the flags that serve, connect, probe and echo-bench share, and every setsockopt(2) of the program. Must not
//! know a command: its defaults are set by the command in these fields. Trade-off: every flag exists on every system,
//! so that a command line means the same everywhere; a system that lacks an option says so when it is asked for.

mod calls;
mod row;
mod table;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use clap::value_parser;

use self::row::{Call, Target};
use self::table::ROWS;
pub use self::values::{Group, Interface, Microseconds, Milliseconds, Seconds, Tos, Whole};
use self::values::{
    Linger, Value, parse_buffer_size, parse_device, parse_group, parse_interface, parse_switch, parse_tos, parse_whole,
};
use super::trace;
use super::{Family, Result, Socket, Transport};

/// Where in its life a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Fresh from socket(2), whether it will be bound or not.
    BeforeBind,
    /// Right before connect(2).
    BeforeConnect,
    /// Bound; right before listen(2), or before the first datagram is received.
    BeforeListen,
    /// connect(2) has succeeded.
    Connected,
    /// Fresh from accept(2).
    Accepted,
}

/// The flags. None of them is set unless it was asked for, so that a run without them shows the system's own behaviour.
// Flattened last into a command: the heading would otherwise be that of the command's own flags as well. What few people
// need is left out of `-h`, which must fit a screen.
#[derive(clap::Args, Debug, Clone, Default, PartialEq)]
#[command(next_help_heading = "Socket options")]
#[expect(clippy::doc_markdown, reason = "the doc comments are the help, where backticks would be shown")]
pub struct Options {
    /// Send small messages at once [default: on but for probe]
    ///
    /// Turns Nagle's algorithm off, which holds a small segment back while an earlier one is unacknowledged: with the
    /// peer's delayed acknowledgements that can cost 40 ms a message. TCP_NODELAY, tcp(7).
    #[arg(long, value_name = "on|off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(value_parser = parse_switch)]
    pub nodelay: Option<bool>,

    /// Probe the peer while nothing is sent [default: off]
    ///
    /// An idle TCP connection sends empty segments, and is reset when the peer does not answer them. SO_KEEPALIVE,
    /// socket(7). Any of --keepalive-idle, --keepalive-interval and --keepalive-count turns it on as well.
    #[arg(long, value_name = "on|off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(value_parser = parse_switch)]
    pub keepalive: Option<bool>,

    /// Idle time before the first keepalive probe
    ///
    /// In whole seconds, rounded up; two hours on most systems if it is not set. TCP_KEEPIDLE, tcp(7).
    #[arg(long, hide_short_help = true, value_name = "DURATION", value_parser = parse_whole::<1_000_000_000>)]
    pub keepalive_idle: Option<Seconds>,

    /// Time between keepalive probes
    ///
    /// In whole seconds, rounded up; 75 seconds on most systems if it is not set. TCP_KEEPINTVL, tcp(7).
    #[arg(long, hide_short_help = true, value_name = "DURATION", value_parser = parse_whole::<1_000_000_000>)]
    pub keepalive_interval: Option<Seconds>,

    /// Unanswered keepalive probes before the reset
    ///
    /// TCP_KEEPCNT, tcp(7).
    #[arg(long, hide_short_help = true, value_name = "N", value_parser = value_parser!(u32).range(1..=127))]
    pub keepalive_count: Option<u32>,

    /// How long a close waits for data to be sent; 0: reset
    ///
    /// In whole seconds, rounded up. With 0 a close throws away what was not sent and resets the connection: the peer
    /// sees "connection reset", and no TIME_WAIT stays behind. SO_LINGER, socket(7). This program's sockets do not
    /// block, and on such a socket most systems do not make the close itself wait.
    #[arg(long, value_name = "DURATION", value_parser = parse_whole::<1_000_000_000>)]
    pub linger: Option<Seconds>,

    /// Hops that a packet may take, 1 to 255
    ///
    /// IPv4's time to live and IPv6's hop limit; both on an IPv6 socket that also carries IPv4. IP_TTL, ip(7);
    /// IPV6_UNICAST_HOPS, ipv6(7).
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=255))]
    pub ttl: Option<u32>,

    /// Type of service: a DSCP name, or the whole byte
    ///
    /// The byte of the IP header that routers may treat packets by: ef, le, cs0 to cs7, af11 to af43, lowdelay,
    /// throughput, reliability, or a number from 0 to 255 (0xb8). A number is the whole byte, so DSCP 46 is 184. TCP
    /// keeps the two lowest bits for itself (ECN). IP_TOS, ip(7); IPV6_TCLASS, ipv6(7).
    #[arg(long, value_name = "N|NAME", value_parser = parse_tos)]
    pub tos: Option<Tos>,

    /// Size of the send buffer
    ///
    /// What may be sent and not yet acknowledged. Linux doubles the size for its own book-keeping, reads back the
    /// double, and allows no more than /proc/sys/net/core/wmem_max. SO_SNDBUF, socket(7).
    #[arg(long, value_name = "SIZE", value_parser = parse_buffer_size)]
    pub send_buffer: Option<u32>,

    /// Size of the receive buffer
    ///
    /// What may have arrived and not yet been read; for TCP the largest window that is offered to the peer, and set
    /// before connecting or listening for that reason. Linux doubles the size for its own book-keeping, reads back the
    /// double, and allows no more than /proc/sys/net/core/rmem_max. SO_RCVBUF, socket(7).
    #[arg(long, value_name = "SIZE", value_parser = parse_buffer_size)]
    pub receive_buffer: Option<u32>,

    /// Bind a port that is in TIME_WAIT [default: on to listen]
    ///
    /// TCP servers set it except on Windows, where it would let two servers share a port. SO_REUSEADDR, socket(7).
    #[arg(long, hide_short_help = true, value_name = "on|off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(value_parser = parse_switch)]
    pub reuse_address: Option<bool>,

    /// Share the port with other sockets that ask for it too
    ///
    /// Linux spreads connections and datagrams over them. SO_REUSEPORT, socket(7). Windows has none.
    #[arg(long, value_name = "on|off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(value_parser = parse_switch)]
    pub reuse_port: Option<bool>,

    /// Keep IPv4 away from IPv6 sockets
    ///
    /// Off, a socket bound to :: also takes IPv4, as ::ffff:192.0.2.1. Nothing on IPv4 sockets. IPV6_V6ONLY, ipv6(7).
    #[arg(long, hide_short_help = true, value_name = "on|off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(value_parser = parse_switch)]
    pub v6_only: Option<bool>,

    /// Use only this network interface
    ///
    /// A name or a number. Packets leave and are taken there only. SO_BINDTOIFINDEX, which is SO_BINDTODEVICE of
    /// socket(7) with the interface's number; on macOS IP_BOUND_IF.
    #[arg(long, value_name = "NAME", value_parser = parse_device)]
    pub bind_device: Option<Interface>,

    /// Mark packets for the firewall and routing
    ///
    /// Needs CAP_NET_ADMIN. SO_MARK, socket(7). Linux only.
    #[arg(long, hide_short_help = true, value_name = "N")]
    pub mark: Option<u32>,

    /// Queueing priority of packets
    ///
    /// 0 to 6; more needs CAP_NET_ADMIN. --tos changes it as well, and is applied before it. SO_PRIORITY, socket(7).
    /// Linux only.
    #[arg(long, hide_short_help = true, value_name = "N")]
    pub priority: Option<u32>,

    /// TCP congestion control, such as cubic, reno or bbr
    ///
    /// Those there are: /proc/sys/net/ipv4/tcp_available_congestion_control. TCP_CONGESTION, tcp(7). Linux and FreeBSD
    /// only.
    #[arg(long, value_name = "NAME")]
    pub congestion: Option<String>,

    /// Largest TCP segment, in bytes
    ///
    /// Announced to the peer, and not exceeded by this side. TCP_MAXSEG, tcp(7).
    #[arg(long, value_name = "N")]
    pub mss: Option<u32>,

    /// How long sent data may stay unacknowledged
    ///
    /// Then the connection ends with a timeout; 0 is the system's own time. In whole milliseconds, rounded up.
    /// TCP_USER_TIMEOUT, tcp(7), RFC 5482. Linux only.
    #[arg(long, hide_short_help = true, value_name = "DURATION", value_parser = parse_whole::<1_000_000>)]
    pub user_timeout: Option<Milliseconds>,

    /// Acknowledge at once, without the delay
    ///
    /// Set once the connection is there; the system may return to delayed acknowledgements by itself. TCP_QUICKACK,
    /// tcp(7). Linux only.
    #[arg(long, hide_short_help = true, value_name = "on|off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(value_parser = parse_switch)]
    pub quickack: Option<bool>,

    /// Hold partial segments back, for up to 200 ms
    ///
    /// TCP_CORK, tcp(7). Linux only.
    #[arg(long, hide_short_help = true, value_name = "on|off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(value_parser = parse_switch)]
    pub cork: Option<bool>,

    /// Do not double the retransmission time of thin streams
    ///
    /// For connections with fewer than four packets under way, and for up to six retransmissions.
    /// TCP_THIN_LINEAR_TIMEOUTS, Linux's Documentation/networking/tcp-thin.rst. Linux only.
    #[arg(long, hide_short_help = true, value_name = "on|off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(value_parser = parse_switch)]
    pub thin_linear_timeouts: Option<bool>,

    /// Unsent bytes at which a socket stops being writable
    ///
    /// Keeps data out of the send buffer that could not be sent yet, at no cost in throughput. TCP_NOTSENT_LOWAT,
    /// tcp(7). Linux only.
    #[arg(long, hide_short_help = true, value_name = "SIZE", value_parser = parse_buffer_size)]
    pub notsent_lowat: Option<u32>,

    /// TCP Fast Open; for a server the length of its queue
    ///
    /// Data travels in the first packet of a connection (RFC 7413). A server sets TCP_FASTOPEN to N, 128 if it is left
    /// out; a client sets TCP_FASTOPEN_CONNECT (Linux only) unless N is 0. /proc/sys/net/ipv4/tcp_fastopen must allow
    /// it: 1 for clients, 2 for servers, 3 for both.
    // 128: what SOMAXCONN was for decades; a queue that is full only costs the shortcut, not the connection.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "128")]
    #[arg(value_parser = value_parser!(u32).range(0..=65535))]
    pub fast_open: Option<u32>,

    /// Use Multipath TCP
    ///
    /// A connection may then use several paths at once (RFC 8684), and falls back to TCP if the peer has none. Linux
    /// only.
    #[arg(long, hide_short_help = true)]
    pub mptcp: bool,

    /// Bind an address that this machine does not have (yet)
    ///
    /// IP_FREEBIND, ip(7). Linux only.
    #[arg(long, hide_short_help = true, value_name = "on|off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(value_parser = parse_switch)]
    pub freebind: Option<bool>,

    /// Use addresses of other machines, as a proxy does
    ///
    /// Needs CAP_NET_ADMIN, and routing that brings the packets here. IP_TRANSPARENT, ip(7). Linux only.
    #[arg(long, hide_short_help = true, value_name = "on|off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(value_parser = parse_switch)]
    pub transparent: Option<bool>,

    /// How long a receive polls the network device
    ///
    /// Trades processor time for latency. In whole microseconds, rounded up; more than the system's own needs
    /// CAP_NET_ADMIN. SO_BUSY_POLL, socket(7). Linux only.
    #[arg(long, hide_short_help = true, value_name = "DURATION", value_parser = parse_whole::<1_000>)]
    pub busy_poll: Option<Microseconds>,

    /// Serve packets that arrive on this processor
    ///
    /// Of several sockets that share a port (--reuse-port), the one that has the processor gets the connection.
    /// SO_INCOMING_CPU, socket(7). Linux only.
    #[arg(long, hide_short_help = true, value_name = "N", value_parser = value_parser!(u32).range(0..=65535))]
    pub incoming_cpu: Option<u32>,

    /// Allow datagrams to broadcast addresses
    ///
    /// Without it, sending to one fails with EACCES. SO_BROADCAST, socket(7).
    #[arg(long, value_name = "on|off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(value_parser = parse_switch)]
    pub broadcast: Option<bool>,

    /// Receive urgent data in its place among the rest
    ///
    /// Without it, TCP's urgent byte is taken out of the stream, and lost to a program that does not ask for it.
    /// SO_OOBINLINE, socket(7).
    #[arg(long, hide_short_help = true, value_name = "on|off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(value_parser = parse_switch)]
    pub out_of_band_inline: Option<bool>,

    /// Receive datagrams to this multicast group (repeatable)
    ///
    /// 239.1.2.3 or ff15::1, and after an @ the interface: its name, its number or, for IPv4, its address; the system
    /// chooses if there is none. A group of one family is left out on sockets that cannot carry that family.
    /// IP_ADD_MEMBERSHIP, ip(7); IPV6_ADD_MEMBERSHIP, ipv6(7).
    #[arg(long, value_name = "GROUP[@INTERFACE]", value_parser = parse_group)]
    pub multicast_join: Vec<Group>,

    /// Only take a joined group's datagrams from this address
    ///
    /// Of the same family as the groups of --multicast-join (RFC 3376, RFC 3810). IP_ADD_SOURCE_MEMBERSHIP, ip(7); for IPv6
    /// groups, and where the interface is named otherwise than by its address, MCAST_JOIN_SOURCE_GROUP (RFC 3678), which
    /// Windows lacks here.
    #[arg(long, hide_short_help = true, value_name = "ADDRESS", requires = "multicast_join")]
    pub multicast_source: Option<IpAddr>,

    /// Hops that a multicast datagram may take [default: 1]
    ///
    /// 0 to 255; 0 stays on this machine. IP_MULTICAST_TTL, ip(7); IPV6_MULTICAST_HOPS, ipv6(7).
    #[arg(long, hide_short_help = true, value_name = "N", value_parser = value_parser!(u32).range(0..=255))]
    pub multicast_ttl: Option<u32>,

    /// Hear this machine's own multicasts [default: on]
    ///
    /// The sender's setting decides, on Windows the receiver's. IP_MULTICAST_LOOP, ip(7); IPV6_MULTICAST_LOOP, ipv6(7).
    #[arg(long, hide_short_help = true, value_name = "on|off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(value_parser = parse_switch)]
    pub multicast_loop: Option<bool>,

    /// Send multicasts by this network interface
    ///
    /// A name, a number or, for IPv4, one of its addresses; the routing table decides if it is not set.
    /// IP_MULTICAST_IF, ip(7); IPV6_MULTICAST_IF, ipv6(7).
    #[arg(long, hide_short_help = true, value_name = "NAME|N|ADDRESS", value_parser = parse_interface)]
    pub multicast_interface: Option<Interface>,

    /// Also hear groups that only others joined [default: on]
    ///
    /// Off, a socket gets only the groups that it joined itself. IP_MULTICAST_ALL, ip(7). Linux only.
    #[arg(long, hide_short_help = true, value_name = "on|off", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    #[arg(value_parser = parse_switch)]
    pub multicast_all: Option<bool>,
}

impl Options {
    /// Sets what was asked for and belongs to this phase, in the order of the table. An option that has no meaning for
    /// the transport is an error at the first call; one that has none for the family is not, since a command may use
    /// both.
    pub fn apply(&self, socket: &Socket, family: Family, transport: Transport, phase: Phase) -> Result<()> {
        /// Most runs ask for nothing, and a sweep of all ports would walk the table 131,070 times to find that out.
        static NOTHING: LazyLock<Options> = LazyLock::new(Options::default);
        if *self == *NOTHING {
            return Ok(());
        }
        let target = Target::new(socket, family, transport);
        for row in ROWS {
            (row.set)(&Call { options: self, target: &target, phase, row })?;
        }
        Ok(())
    }

    /// What is in force, read back: `("ttl", "64")`. A flag that sets two of the system's options is there twice if
    /// they differ, the second time with the system's name.
    pub fn effective(socket: &Socket, family: Family, transport: Transport) -> Vec<(&'static str, String)> {
        let target = Target::new(socket, family, transport);
        let mut effective: Vec<(&'static str, String)> = Vec::new();
        for row in ROWS {
            let Some(value) = row.read(&target) else { continue };
            match effective.iter().find(|(flag, _)| *flag == row.flag) {
                Some((_, first)) if *first == value => {}
                Some(_) => effective.push((row.flag, format!("{value} ({})", row.name()))),
                None => effective.push((row.flag, value)),
            }
        }
        effective
    }
}

/// The options in force at a socket, read back when they are shown: what nobody looks at costs nothing.
#[derive(Debug)]
pub struct Effective<'a> {
    pub(super) socket: &'a Socket,
    pub(super) family: Family,
    pub(super) transport: Transport,
}

/// `nodelay on, ttl 64`
impl fmt::Display for Effective<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = Options::effective(self.socket, self.family, self.transport);
        let words: Vec<String> = pairs.iter().map(|(name, value)| format!("{name} {value}")).collect();
        f.write_str(&words.join(", "))
    }
}

/// How long a receiving call may wait (`SO_RCVTIMEO`, socket(7)).
pub(super) fn set_receive_timeout(socket: &Socket, timeout: Duration) -> io::Result<()> {
    trace::call(
        "setsockopt",
        |_| format!("{}, SOL_SOCKET, SO_RCVTIMEO, {} ms", socket.id(), timeout.as_millis()),
        || socket.raw().set_read_timeout(Some(timeout)),
    )
}

/// Makes a connected datagram socket hear of hosts and networks that cannot be reached, not only of closed ports
/// (`IP_RECVERR`, ip(7)). Other systems than Linux tell what they tell.
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    expect(clippy::unnecessary_wraps, reason = "only a system that has the option can refuse it")
)]
pub(super) fn report_errors(socket: &Socket, family: Family) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let (level, option, shown) = match family {
            Family::V4 => (libc::IPPROTO_IP, libc::IP_RECVERR, "IPPROTO_IP, IP_RECVERR"),
            Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR, "IPPROTO_IPV6, IPV6_RECVERR"),
            Family::Unix => return Ok(()),
        };
        trace::call(
            "setsockopt",
            |_| format!("{}, {shown}, [1]", socket.id()),
            || super::sys::set_int(socket.raw(), level, option, 1),
        )
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (socket, family);
        Ok(())
    }
}

/// Whether somebody else who asks for it too may bind the port of a socket that does not listen (`SO_REUSEADDR`, socket(7)).
pub(super) fn set_reuse_address(socket: &Socket, reuse: bool) -> io::Result<()> {
    trace::call(
        "setsockopt",
        |_| format!("{}, SOL_SOCKET, SO_REUSEADDR, {}", socket.id(), i32::from(reuse)),
        || socket.raw().set_reuse_address(reuse),
    )
}

/// Makes the next close a reset: what was not sent is thrown away and the peer is told so at once.
pub(super) fn reset_on_close(socket: &Socket) -> io::Result<()> {
    let linger = Linger(Some(Whole(0)));
    let shown = |_: Option<&()>| format!("{}, SOL_SOCKET, SO_LINGER, {}", socket.id(), linger.traced());
    trace::call("setsockopt", shown, || socket.raw().set_linger(Some(Duration::ZERO)))
}
