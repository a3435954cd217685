//! The table of the socket options: one row for each option of the system.
//!
//! Owns what each flag means to the system: its level and name, the sockets it has a meaning for, when it is set,
//! whether an accepted socket has it from its listener, and which systems lack it. Must not know clap, or how a row is
//! applied. Trade-off: what the system calls by two names for IPv4 and IPv6 is two rows, so that a trace shows what was
//! really set.

use std::io;

use socket2::Socket as Raw;

use super::Phase;
use super::calls::{self, Keepalive};
use super::row::{Accepted, Call, Here, Reach, Row, read};
use super::values::{JoinOfOne, Linger, Seconds, Tos};
use crate::connection::{Result, Transport};

/// A function of only some systems. The others get the reason instead.
macro_rules! only {
    (linux, $name:literal, $function:expr) => {
        only!([target_os = "linux"], $name, $function)
    };
    (numbered, $name:literal, $function:expr) => {
        only!([any(target_os = "linux", target_os = "macos", target_os = "freebsd")], $name, $function)
    };
    (unix, $name:literal, $function:expr) => {
        only!([unix], $name, $function)
    };
    ([$systems:meta], $name:literal, $function:expr) => {{
        #[cfg($systems)]
        {
            Ok($function)
        }
        #[cfg(not($systems))]
        {
            Err(concat!("this system has no ", $name))
        }
    }};
}

const ANY: Row = Row {
    flag: "",
    constant: "",
    transports: &Transport::ALL,
    otherwise: "",
    reach: Reach::Any,
    phases: &[Phase::BeforeBind],
    accepted: Accepted::Inherited,
    set: |_| Ok(()),
    get: Err(""),
};

const IP: Row =
    Row { transports: &[Transport::Tcp, Transport::Udp], otherwise: "unix sockets have no such option", ..ANY };

const TCP: Row = Row { transports: &[Transport::Tcp], otherwise: "only tcp sockets have it", ..ANY };

const UDP: Row = Row { transports: &[Transport::Udp], otherwise: "only udp sockets have it", ..ANY };

/// Joins the groups that suit for one sender.
fn join_of_one(
    call: &Call,
    suits: fn(&JoinOfOne) -> bool,
    join: Here<fn(&Raw, &JoinOfOne) -> io::Result<()>>,
) -> Result<()> {
    let (mixed, joins): (Vec<_>, Vec<_>) =
        calls::joins_of_one(call.options, suits).into_iter().partition(JoinOfOne::is_mixed);
    call.each(&mixed, Err("--multicast-source must be an address of the group's family"))?;
    call.each(&joins, join)
}

/// In the order in which they are set: the keepalive switch after the times that turn it on, the priority after the
/// type of service that changes it.
pub(super) const ROWS: &[Row] = &[
    Row {
        flag: "v6-only",
        constant: "IPPROTO_IPV6, IPV6_V6ONLY",
        reach: Reach::V6,
        accepted: Accepted::Untouched,
        set: |call| call.each(call.options.v6_only, Ok(Raw::set_only_v6)),
        get: Ok(|socket| read(socket.only_v6())),
        ..IP
    },
    Row {
        flag: "reuse-address",
        constant: "SOL_SOCKET, SO_REUSEADDR",
        accepted: Accepted::Untouched,
        set: |call| call.each(call.options.reuse_address, Ok(Raw::set_reuse_address)),
        get: Ok(|socket| read(socket.reuse_address())),
        ..IP
    },
    Row {
        flag: "reuse-port",
        constant: "SOL_SOCKET, SO_REUSEPORT",
        accepted: Accepted::Untouched,
        set: |call| call.each(call.options.reuse_port, only!(unix, "SO_REUSEPORT", Raw::set_reuse_port)),
        get: only!(unix, "SO_REUSEPORT", |socket| read(socket.reuse_port())),
        ..IP
    },
    Row {
        flag: "bind-device",
        constant: if cfg!(target_os = "macos") { "IPPROTO_IP, IP_BOUND_IF" } else { "SOL_SOCKET, SO_BINDTOIFINDEX" },
        reach: Reach::V4,
        accepted: Accepted::Untouched,
        set: |call| {
            call.each(
                &call.options.bind_device,
                only!([any(target_os = "linux", target_os = "macos")], "SO_BINDTOIFINDEX", calls::bind_device_v4),
            )
        },
        get: only!([any(target_os = "linux", target_os = "macos")], "SO_BINDTOIFINDEX", calls::device_v4),
        ..IP
    },
    Row {
        flag: "bind-device",
        constant: if cfg!(target_os = "macos") {
            "IPPROTO_IPV6, IPV6_BOUND_IF"
        } else {
            "SOL_SOCKET, SO_BINDTOIFINDEX"
        },
        reach: Reach::V6,
        accepted: Accepted::Untouched,
        set: |call| {
            call.each(
                &call.options.bind_device,
                only!([any(target_os = "linux", target_os = "macos")], "SO_BINDTOIFINDEX", calls::bind_device_v6),
            )
        },
        get: only!([any(target_os = "linux", target_os = "macos")], "SO_BINDTOIFINDEX", calls::device_v6),
        ..IP
    },
    Row {
        flag: "freebind",
        constant: "IPPROTO_IP, IP_FREEBIND",
        reach: Reach::V4,
        accepted: Accepted::Untouched,
        set: |call| call.each(call.options.freebind, only!(linux, "IP_FREEBIND", Raw::set_freebind_v4)),
        get: only!(linux, "IP_FREEBIND", |socket| read(socket.freebind_v4())),
        ..IP
    },
    Row {
        flag: "freebind",
        constant: "IPPROTO_IPV6, IPV6_FREEBIND",
        reach: Reach::V6,
        accepted: Accepted::Untouched,
        set: |call| call.each(call.options.freebind, only!(linux, "IPV6_FREEBIND", Raw::set_freebind_v6)),
        get: only!(linux, "IPV6_FREEBIND", |socket| read(socket.freebind_v6())),
        ..IP
    },
    Row {
        flag: "transparent",
        constant: "IPPROTO_IP, IP_TRANSPARENT",
        reach: Reach::V4,
        accepted: Accepted::Untouched,
        set: |call| call.each(call.options.transparent, only!(linux, "IP_TRANSPARENT", Raw::set_ip_transparent_v4)),
        get: only!(linux, "IP_TRANSPARENT", |socket| read(socket.ip_transparent_v4())),
        ..IP
    },
    Row {
        flag: "transparent",
        constant: "IPPROTO_IPV6, IPV6_TRANSPARENT",
        reach: Reach::V6,
        accepted: Accepted::Untouched,
        set: |call| call.each(call.options.transparent, only!(linux, "IPV6_TRANSPARENT", Raw::set_ip_transparent_v6)),
        get: only!(linux, "IPV6_TRANSPARENT", |socket| read(socket.ip_transparent_v6())),
        ..IP
    },
    Row {
        flag: "send-buffer",
        constant: "SOL_SOCKET, SO_SNDBUF",
        set: |call| {
            call.each(call.options.send_buffer, Ok(|socket, bytes| socket.set_send_buffer_size(bytes as usize)))
        },
        get: Ok(|socket| read(socket.send_buffer_size().map(|bytes| bytes as u32))),
        ..ANY
    },
    Row {
        flag: "receive-buffer",
        constant: "SOL_SOCKET, SO_RCVBUF",
        set: |call| {
            call.each(call.options.receive_buffer, Ok(|socket, bytes| socket.set_recv_buffer_size(bytes as usize)))
        },
        get: Ok(|socket| read(socket.recv_buffer_size().map(|bytes| bytes as u32))),
        ..ANY
    },
    Row {
        flag: "ttl",
        constant: "IPPROTO_IPV6, IPV6_UNICAST_HOPS",
        reach: Reach::V6,
        set: |call| call.each(call.options.ttl, Ok(Raw::set_unicast_hops_v6)),
        get: Ok(|socket| read(socket.unicast_hops_v6())),
        ..IP
    },
    Row {
        flag: "ttl",
        constant: "IPPROTO_IP, IP_TTL",
        reach: Reach::V4Traffic,
        set: |call| call.each(call.options.ttl, Ok(Raw::set_ttl_v4)),
        get: Ok(|socket| read(socket.ttl_v4())),
        ..IP
    },
    Row {
        flag: "tos",
        constant: "IPPROTO_IPV6, IPV6_TCLASS",
        reach: Reach::V6,
        set: |call| {
            call.each(call.options.tos, only!(unix, "IPV6_TCLASS", |socket, tos| socket.set_tclass_v6(tos.0.into())))
        },
        get: only!(unix, "IPV6_TCLASS", |socket| read(socket.tclass_v6().map(|tos| Tos(tos as u8)))),
        ..IP
    },
    Row {
        flag: "tos",
        constant: "IPPROTO_IP, IP_TOS",
        reach: Reach::V4Traffic,
        set: |call| call.each(call.options.tos, Ok(|socket, tos| socket.set_tos_v4(tos.0.into()))),
        get: Ok(|socket| read(socket.tos_v4().map(|tos| Tos(tos as u8)))),
        ..IP
    },
    Row {
        flag: "priority",
        constant: "SOL_SOCKET, SO_PRIORITY",
        accepted: Accepted::SetAgain,
        set: |call| call.each(call.options.priority, only!(linux, "SO_PRIORITY", Raw::set_priority)),
        get: only!(linux, "SO_PRIORITY", |socket| read(socket.priority())),
        ..IP
    },
    Row {
        flag: "mark",
        constant: "SOL_SOCKET, SO_MARK",
        set: |call| call.each(call.options.mark, only!(linux, "SO_MARK", Raw::set_mark)),
        get: only!(linux, "SO_MARK", |socket| read(socket.mark())),
        ..IP
    },
    Row {
        flag: "busy-poll",
        constant: "SOL_SOCKET, SO_BUSY_POLL",
        set: |call| {
            call.each(call.options.busy_poll, only!(linux, "SO_BUSY_POLL", |socket, poll| socket.set_busy_poll(poll.0)))
        },
        get: only!(linux, "SO_BUSY_POLL", calls::busy_poll),
        ..IP
    },
    Row {
        flag: "incoming-cpu",
        constant: "SOL_SOCKET, SO_INCOMING_CPU",
        accepted: Accepted::Untouched,
        set: |call| {
            call.each(
                call.options.incoming_cpu,
                only!(linux, "SO_INCOMING_CPU", |socket, cpu| socket.set_cpu_affinity(cpu as usize)),
            )
        },
        get: only!(linux, "SO_INCOMING_CPU", calls::incoming_cpu),
        ..IP
    },
    Row {
        flag: "nodelay",
        constant: "IPPROTO_TCP, TCP_NODELAY",
        set: |call| call.each(call.options.nodelay, Ok(Raw::set_tcp_nodelay)),
        get: Ok(|socket| read(socket.tcp_nodelay())),
        ..TCP
    },
    Row {
        flag: "keepalive-idle",
        constant: "IPPROTO_TCP, TCP_KEEPIDLE",
        set: |call| call.each(&calls::keepalive_idle(call.options), Ok(Keepalive::set)),
        get: only!(unix, "TCP_KEEPIDLE", |socket| read(calls::seconds(socket.tcp_keepalive_time()))),
        ..TCP
    },
    Row {
        flag: "keepalive-interval",
        constant: "IPPROTO_TCP, TCP_KEEPINTVL",
        set: |call| call.each(&calls::keepalive_interval(call.options), Ok(Keepalive::set)),
        get: only!(unix, "TCP_KEEPINTVL", |socket| read(calls::seconds(socket.tcp_keepalive_interval()))),
        ..TCP
    },
    Row {
        flag: "keepalive-count",
        constant: "IPPROTO_TCP, TCP_KEEPCNT",
        set: |call| call.each(&calls::keepalive_count(call.options), Ok(Keepalive::set)),
        get: Ok(|socket| read(socket.tcp_keepalive_retries())),
        ..TCP
    },
    Row {
        flag: "keepalive",
        constant: "SOL_SOCKET, SO_KEEPALIVE",
        set: |call| call.each(calls::keepalive(call.options), Ok(Raw::set_keepalive)),
        get: Ok(|socket| read(socket.keepalive())),
        ..TCP
    },
    Row {
        flag: "linger",
        constant: "SOL_SOCKET, SO_LINGER",
        set: |call| {
            call.each(
                call.options.linger.map(|time| Linger(Some(time))),
                Ok(|socket, Linger(time)| socket.set_linger(time.map(Seconds::duration))),
            )
        },
        get: Ok(|socket| read(socket.linger().map(|linger| Linger(linger.and_then(Seconds::from_duration))))),
        ..TCP
    },
    Row {
        flag: "out-of-band-inline",
        constant: "SOL_SOCKET, SO_OOBINLINE",
        set: |call| call.each(call.options.out_of_band_inline, Ok(Raw::set_out_of_band_inline)),
        get: Ok(|socket| read(socket.out_of_band_inline())),
        ..TCP
    },
    Row {
        flag: "mss",
        constant: "IPPROTO_TCP, TCP_MAXSEG",
        set: |call| call.each(call.options.mss, only!(unix, "TCP_MAXSEG", Raw::set_tcp_mss)),
        get: only!(unix, "TCP_MAXSEG", |socket| read(socket.tcp_mss())),
        ..TCP
    },
    Row {
        flag: "congestion",
        constant: "IPPROTO_TCP, TCP_CONGESTION",
        set: |call| {
            let name = &call.options.congestion;
            call.each(
                name,
                only!([any(target_os = "linux", target_os = "freebsd")], "TCP_CONGESTION", calls::set_congestion),
            )
            .map_err(calls::explain_congestion)
        },
        get: only!([any(target_os = "linux", target_os = "freebsd")], "TCP_CONGESTION", calls::congestion),
        ..TCP
    },
    Row {
        flag: "user-timeout",
        constant: "IPPROTO_TCP, TCP_USER_TIMEOUT",
        set: |call| call.each(call.options.user_timeout, only!(linux, "TCP_USER_TIMEOUT", calls::set_user_timeout)),
        get: only!(linux, "TCP_USER_TIMEOUT", calls::user_timeout),
        ..TCP
    },
    Row {
        flag: "thin-linear-timeouts",
        constant: "IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS",
        set: |call| {
            call.each(
                call.options.thin_linear_timeouts,
                only!(linux, "TCP_THIN_LINEAR_TIMEOUTS", Raw::set_tcp_thin_linear_timeouts),
            )
        },
        get: only!(linux, "TCP_THIN_LINEAR_TIMEOUTS", |socket| read(socket.tcp_thin_linear_timeouts())),
        ..TCP
    },
    Row {
        flag: "notsent-lowat",
        constant: "IPPROTO_TCP, TCP_NOTSENT_LOWAT",
        set: |call| {
            call.each(call.options.notsent_lowat, only!(linux, "TCP_NOTSENT_LOWAT", Raw::set_tcp_notsent_lowat))
        },
        get: only!(linux, "TCP_NOTSENT_LOWAT", |socket| read(socket.tcp_notsent_lowat())),
        ..TCP
    },
    Row {
        flag: "cork",
        constant: "IPPROTO_TCP, TCP_CORK",
        set: |call| call.each(call.options.cork, only!(linux, "TCP_CORK", Raw::set_tcp_cork)),
        get: only!(linux, "TCP_CORK", |socket| read(socket.tcp_cork())),
        ..TCP
    },
    Row {
        flag: "quickack",
        constant: "IPPROTO_TCP, TCP_QUICKACK",
        phases: &[Phase::Connected],
        accepted: Accepted::SetAgain,
        set: |call| call.each(call.options.quickack, only!(linux, "TCP_QUICKACK", Raw::set_tcp_quickack)),
        get: only!(linux, "TCP_QUICKACK", |socket| read(socket.tcp_quickack())),
        ..TCP
    },
    Row {
        flag: "fast-open",
        constant: "IPPROTO_TCP, TCP_FASTOPEN",
        phases: &[Phase::BeforeListen],
        accepted: Accepted::Untouched,
        set: |call| {
            call.each(
                call.options.fast_open,
                only!(
                    [any(target_os = "linux", target_os = "macos", target_os = "freebsd")],
                    "TCP_FASTOPEN",
                    calls::set_fast_open
                ),
            )
        },
        get: only!(
            [any(target_os = "linux", target_os = "macos", target_os = "freebsd")],
            "TCP_FASTOPEN",
            calls::fast_open
        ),
        ..TCP
    },
    Row {
        flag: "fast-open",
        constant: "IPPROTO_TCP, TCP_FASTOPEN_CONNECT",
        phases: &[Phase::BeforeConnect],
        accepted: Accepted::Untouched,
        set: |call| {
            let switch = call.options.fast_open.map(|queue_length| queue_length > 0);
            call.each(switch, only!(linux, "TCP_FASTOPEN_CONNECT", calls::set_fast_open_connect))
        },
        get: only!(linux, "TCP_FASTOPEN_CONNECT", calls::fast_open_connect),
        ..TCP
    },
    Row {
        flag: "broadcast",
        constant: "SOL_SOCKET, SO_BROADCAST",
        set: |call| call.each(call.options.broadcast, Ok(Raw::set_broadcast)),
        get: Ok(|socket| read(socket.broadcast())),
        ..UDP
    },
    Row {
        flag: "multicast-ttl",
        constant: "IPPROTO_IPV6, IPV6_MULTICAST_HOPS",
        reach: Reach::V6,
        set: |call| call.each(call.options.multicast_ttl, Ok(Raw::set_multicast_hops_v6)),
        get: Ok(|socket| read(socket.multicast_hops_v6())),
        ..UDP
    },
    Row {
        flag: "multicast-ttl",
        constant: "IPPROTO_IP, IP_MULTICAST_TTL",
        reach: Reach::V4Traffic,
        set: |call| call.each(call.options.multicast_ttl, Ok(Raw::set_multicast_ttl_v4)),
        get: Ok(|socket| read(socket.multicast_ttl_v4())),
        ..UDP
    },
    Row {
        flag: "multicast-loop",
        constant: "IPPROTO_IPV6, IPV6_MULTICAST_LOOP",
        reach: Reach::V6,
        set: |call| call.each(call.options.multicast_loop, Ok(Raw::set_multicast_loop_v6)),
        get: Ok(|socket| read(socket.multicast_loop_v6())),
        ..UDP
    },
    Row {
        flag: "multicast-loop",
        constant: "IPPROTO_IP, IP_MULTICAST_LOOP",
        reach: Reach::V4Traffic,
        set: |call| call.each(call.options.multicast_loop, Ok(Raw::set_multicast_loop_v4)),
        get: Ok(|socket| read(socket.multicast_loop_v4())),
        ..UDP
    },
    Row {
        flag: "multicast-interface",
        constant: "IPPROTO_IPV6, IPV6_MULTICAST_IF",
        reach: Reach::V6,
        set: |call| call.each(calls::interface_v6(call.options), Ok(calls::set_multicast_interface_v6)),
        get: Ok(calls::multicast_interface_v6),
        ..UDP
    },
    Row {
        flag: "multicast-interface",
        constant: "IPPROTO_IP, IP_MULTICAST_IF",
        reach: Reach::V4Traffic,
        set: |call| call.each(&call.options.multicast_interface, Ok(calls::set_multicast_interface_v4)),
        get: Ok(calls::multicast_interface_v4),
        ..UDP
    },
    Row {
        flag: "multicast-all",
        constant: "IPPROTO_IPV6, IPV6_MULTICAST_ALL",
        reach: Reach::V6,
        set: |call| {
            call.each(call.options.multicast_all, only!(linux, "IPV6_MULTICAST_ALL", Raw::set_multicast_all_v6))
        },
        get: only!(linux, "IPV6_MULTICAST_ALL", |socket| read(socket.multicast_all_v6())),
        ..UDP
    },
    Row {
        flag: "multicast-all",
        constant: "IPPROTO_IP, IP_MULTICAST_ALL",
        reach: Reach::V4Traffic,
        set: |call| call.each(call.options.multicast_all, only!(linux, "IP_MULTICAST_ALL", Raw::set_multicast_all_v4)),
        get: only!(linux, "IP_MULTICAST_ALL", |socket| read(socket.multicast_all_v4())),
        ..UDP
    },
    Row {
        flag: "multicast-join",
        constant: "IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP",
        reach: Reach::V6,
        phases: &[Phase::BeforeListen, Phase::Connected],
        accepted: Accepted::Untouched,
        set: |call| call.each(&calls::joins_v6(call.options), Ok(calls::join_v6)),
        get: Err("a membership cannot be read back"),
        ..UDP
    },
    Row {
        flag: "multicast-join",
        constant: "IPPROTO_IPV6, MCAST_JOIN_SOURCE_GROUP",
        reach: Reach::V6,
        phases: &[Phase::BeforeListen, Phase::Connected],
        accepted: Accepted::Untouched,
        set: |call| {
            let is_meant = |join: &JoinOfOne| join.group.address.is_ipv6();
            join_of_one(call, is_meant, only!(numbered, "MCAST_JOIN_SOURCE_GROUP", calls::join_of_one))
        },
        get: Err("a membership cannot be read back"),
        ..UDP
    },
    Row {
        flag: "multicast-join",
        constant: "IPPROTO_IP, IP_ADD_MEMBERSHIP",
        reach: Reach::V4Traffic,
        phases: &[Phase::BeforeListen, Phase::Connected],
        accepted: Accepted::Untouched,
        set: |call| call.each(&calls::joins_v4(call.options), Ok(calls::join_v4)),
        get: Err("a membership cannot be read back"),
        ..UDP
    },
    Row {
        flag: "multicast-join",
        constant: "IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP",
        reach: Reach::V4Traffic,
        phases: &[Phase::BeforeListen, Phase::Connected],
        accepted: Accepted::Untouched,
        set: |call| join_of_one(call, JoinOfOne::is_by_address, Ok(calls::join_of_one_by_address)),
        get: Err("a membership cannot be read back"),
        ..UDP
    },
    Row {
        flag: "multicast-join",
        constant: "IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP",
        reach: Reach::V4Traffic,
        phases: &[Phase::BeforeListen, Phase::Connected],
        accepted: Accepted::Untouched,
        set: |call| {
            let is_meant = |join: &JoinOfOne| join.group.address.is_ipv4() && !join.is_by_address();
            join_of_one(
                call,
                is_meant,
                only!(numbered, "MCAST_JOIN_SOURCE_GROUP: name the interface by its address", calls::join_of_one),
            )
        },
        get: Err("a membership cannot be read back"),
        ..UDP
    },
];
