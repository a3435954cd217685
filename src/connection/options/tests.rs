//! What holds on every system. Whether each option is really set is tested where all of them are: in `linux`.

#[cfg(target_os = "linux")]
mod linux;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::{Args, Parser};
use socket2::SockAddr;

use super::*;
use crate::connection::{Address, Kind};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn parse(arguments: &[&str]) -> std::result::Result<Options, String> {
    let line = Line::try_parse_from(["sockkit"].iter().chain(arguments));
    line.map(|line| line.options).map_err(|error| error.to_string())
}

fn options(arguments: &[&str]) -> Options {
    parse(arguments).unwrap()
}

fn loopback(family: Family) -> Address {
    let ip = if family == Family::V4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    Address::from_socket2(&SockAddr::from(SocketAddr::new(ip, 0)))
}

fn bound(options: &Options, transport: Transport, address: &Address) -> Result<Socket> {
    let family = address.family();
    let socket = Socket::new(family, transport, false).unwrap();
    options.apply(&socket, family, transport, Phase::BeforeBind)?;
    socket.bind(address).unwrap();
    options.apply(&socket, family, transport, Phase::BeforeListen)?;
    if transport.is_stream() {
        socket.listen(8).unwrap();
    }
    Ok(socket)
}

/// What `effective` says about each of the system's options behind a flag.
fn readings(flag: &str, socket: &Socket, family: Family, transport: Transport) -> Vec<String> {
    let effective = Options::effective(socket, family, transport);
    effective.into_iter().filter(|(name, _)| *name == flag).map(|(_, value)| value).collect()
}

#[test]
fn every_flag_has_a_row_and_every_row_a_flag() {
    let command = Options::augment_args(clap::Command::new("sockkit"));
    let flags: BTreeSet<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
    // Multipath TCP is the socket's protocol, and a source is part of joining a group.
    let without_row = ["mptcp", "multicast-source"];
    let rows: BTreeSet<&str> = ROWS.iter().map(|row| row.flag).chain(without_row).collect();
    assert_eq!(flags, rows);
}

#[test]
fn help_is_short_in_short_and_long_in_long() {
    let command = Options::augment_args(clap::Command::new("sockkit"));
    for argument in command.get_arguments() {
        let (flag, heading) = (argument.get_long().unwrap(), argument.get_help_heading());
        let short = argument.get_help().unwrap().to_string();
        let long = argument.get_long_help().unwrap().to_string();
        assert!(short.chars().count() <= 60, "--{flag}: {short:?} has {} characters", short.chars().count());
        assert!(long.len() > short.len() && long.ends_with('.'), "--{flag}: {long:?}");
        assert_eq!(heading, Some("Socket options"), "--{flag}");
    }
}

#[test]
fn nothing_is_asked_for_unless_it_is_typed() {
    assert_eq!(format!("{:?}", options(&[])), format!("{:?}", Options::default()));
    let mut options = options(&["--nodelay=off"]);
    assert!(!*options.nodelay.get_or_insert(true), "a command's default must not win over what was typed");
}

#[test]
fn a_switch_takes_its_value_only_after_an_equals_sign() {
    for (argument, expected) in [("--cork", true), ("--cork=on", true), ("--cork=No", false), ("--cork=0", false)] {
        assert_eq!(options(&[argument]).cork, Some(expected), "{argument}");
    }
    assert!(parse(&["--cork", "on"]).is_err(), "`on` would be the host");
    assert_eq!(options(&["--fast-open"]).fast_open, Some(128));
}

#[test]
fn a_keepalive_time_turns_keepalive_on_unless_it_is_off() {
    // Windows has had a count since 2017, Wine has none.
    let count = cfg!(unix).then_some("--keepalive-count=9");
    for argument in ["--keepalive-idle=9", "--keepalive-interval=9"].into_iter().chain(count) {
        let on = bound(&options(&[argument]), Transport::Tcp, &loopback(Family::V4)).unwrap();
        assert!(on.raw().keepalive().unwrap(), "{argument}");
        let off = bound(&options(&[argument, "--keepalive=off"]), Transport::Tcp, &loopback(Family::V4)).unwrap();
        assert!(!off.raw().keepalive().unwrap(), "{argument} --keepalive=off");
    }
}

#[test]
fn a_value_that_only_one_of_two_options_has_is_named() {
    let socket = Socket::new(Family::V6, Transport::Udp, false).unwrap();
    socket.raw().set_only_v6(false).unwrap();
    socket.raw().set_unicast_hops_v6(9).unwrap();
    let ttl = readings("ttl", &socket, Family::V6, Transport::Udp);
    if cfg!(target_os = "linux") {
        assert_eq!(ttl, ["9", "64 (IP_TTL)"]);
    } else {
        assert_eq!(ttl[0], "9");
    }
}

#[test]
fn a_reset_on_close_lingers_for_no_time() {
    let socket = Socket::new(Family::V4, Transport::Tcp, false).unwrap();
    assert_eq!(socket.raw().linger().unwrap(), None);
    reset_on_close(&socket).unwrap();
    assert_eq!(socket.raw().linger().unwrap(), Some(Duration::ZERO));
}

/// The first error of the phases that a listener, or a bound datagram socket, goes through.
fn refusal(arguments: &[&str], family: Family, transport: Transport) -> Option<crate::connection::Error> {
    let socket = Socket::new(family, transport, false).unwrap();
    let options = options(arguments);
    let phases = [Phase::BeforeBind, Phase::BeforeListen];
    phases.iter().find_map(|phase| options.apply(&socket, family, transport, *phase).err())
}

#[test]
fn an_option_without_meaning_is_refused_by_name() {
    use Transport::{Tcp, Udp};
    let mut rows = vec![
        ("--mss=1000", Family::V4, Udp, "set mss=1000 on udp/IPv4 socket", "only tcp sockets have it"),
        ("--nodelay=off", Family::V6, Udp, "set nodelay=off on udp/IPv6 socket", "only tcp sockets have it"),
        ("--fast-open", Family::V4, Udp, "set fast-open=128 on udp/IPv4 socket", "only tcp sockets have it"),
        (
            "--keepalive-idle=1m",
            Family::V4,
            Udp,
            "set keepalive-idle=1m on udp/IPv4 socket",
            "only tcp sockets have it",
        ),
        ("--broadcast", Family::V4, Tcp, "set broadcast=on on tcp/IPv4 socket", "only udp sockets have it"),
        (
            "--multicast-join=239.1.1.1",
            Family::V4,
            Tcp,
            "set multicast-join=239.1.1.1 on tcp/IPv4 socket",
            "only udp sockets have it",
        ),
        (
            "--multicast-join=ff15::1",
            Family::V4,
            Tcp,
            "set multicast-join=ff15::1 on tcp/IPv4 socket",
            "only udp sockets have it",
        ),
    ];
    if cfg!(unix) {
        let (stream, datagram) = (Transport::UnixStream, Transport::UnixDatagram);
        rows.push(("--ttl=33", Family::Unix, stream, "set ttl=33 on unix socket", "unix sockets have no such option"));
        rows.push((
            "--tos=8",
            Family::Unix,
            datagram,
            "set tos=0x08 on unix datagram socket",
            "unix sockets have no such option",
        ));
    }
    for (argument, family, transport, begin, end) in rows {
        let error = refusal(&[argument], family, transport).unwrap();
        let message = error.to_string();
        assert!(message.starts_with(&format!("{begin} failed after ")) && message.ends_with(end), "{message}");
        assert_eq!(error.kind(), Kind::Unsupported, "{message}");
    }
}

#[cfg(unix)]
#[test]
fn a_unix_socket_has_buffers_and_little_else() {
    for transport in [Transport::UnixStream, Transport::UnixDatagram] {
        let socket = Socket::new(Family::Unix, transport, false).unwrap();
        let before = readings("send-buffer", &socket, Family::Unix, transport);
        options(&["--send-buffer=20000"]).apply(&socket, Family::Unix, transport, Phase::BeforeBind).unwrap();
        assert_ne!(readings("send-buffer", &socket, Family::Unix, transport), before);
        let flags: Vec<_> =
            Options::effective(&socket, Family::Unix, transport).into_iter().map(|(flag, _)| flag).collect();
        assert_eq!(flags, ["send-buffer", "receive-buffer"]);
    }
}

#[test]
fn an_option_of_the_other_family_is_left_to_the_other_socket() {
    assert!(refusal(&["--v6-only"], Family::V4, Transport::Tcp).is_none());
    assert!(refusal(&["--multicast-join=ff15::1"], Family::V4, Transport::Udp).is_none());
    assert!(refusal(&["--multicast-interface=127.0.0.1"], Family::V6, Transport::Udp).is_none());
}

#[test]
fn a_missing_option_is_named_as_the_system_names_it() {
    let message = refusal(&["--mark=1"], Family::V4, Transport::Tcp).map(|error| error.to_string());
    if cfg!(target_os = "linux") {
        assert!(message.is_none_or(|message| message.contains("EPERM")), "marks are there on Linux");
    } else {
        assert!(message.unwrap().ends_with("this system has no SO_MARK"));
    }
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
#[test]
fn an_unknown_interface_is_one_clear_line() {
    let rows = [
        ("--bind-device=nosuch0", Family::V4),
        ("--bind-device=nosuch0", Family::V6),
        ("--multicast-interface=nosuch0", Family::V4),
        ("--multicast-interface=nosuch0", Family::V6),
        ("--multicast-join=239.1.1.1@nosuch0", Family::V4),
        ("--multicast-join=ff15::1@nosuch0", Family::V6),
    ];
    for (argument, family) in rows {
        let error = refusal(&[argument], family, Transport::Udp).unwrap();
        let (option, message) = (argument.trim_start_matches("--"), error.to_string());
        let begin =
            format!("set {option} on udp/{} socket failed after ", if family == Family::V4 { "IPv4" } else { "IPv6" });
        assert!(message.starts_with(&begin), "{message}");
        assert!(message.contains("(ENODEV, ") && !message.contains('\n'), "{message}");
    }
}

#[test]
fn a_group_of_one_sender_is_of_the_senders_family() {
    for (join, source) in [("ff15::1", "127.0.0.1"), ("239.1.1.1", "::1"), ("239.1.1.1@1", "::1")] {
        let arguments = [&format!("--multicast-join={join}"), &format!("--multicast-source={source}")];
        let family = if join.contains(':') { Family::V6 } else { Family::V4 };
        let error = refusal(&arguments.map(String::as_str), family, Transport::Udp).unwrap();
        let end = "--multicast-source must be an address of the group's family";
        assert!(error.to_string().ends_with(end) && error.kind() == Kind::Unsupported, "{error}");
    }
    assert!(parse(&["--multicast-source=127.0.0.1"]).is_err(), "there is no group");
}
