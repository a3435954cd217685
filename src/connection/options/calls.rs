//! Options that take more than one call of socket2: keepalive, devices, Fast Open and multicast.
//!
//! Owns the differences between the systems behind one option. Must not know flags, phases or messages. Trade-off: a
//! name of an interface becomes a number here, at the last moment, because interfaces come and go.
// Names that only some systems need are written out in full: an import would be unused on the others.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use socket2::{InterfaceIndexOrAddress, Socket as Raw, TcpKeepalive};

use super::Options;
use super::row::{Reading, read};
use super::values::{Group, Interface, JoinOfOne, JoinV4, JoinV6, Seconds, Value, Whole};
#[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
use crate::connection::sys;
use crate::connection::{Cause, Error, errno};

/// The keepalive settings that one call makes.
#[derive(Clone)]
pub(super) struct Keepalive<T> {
    /// What the call is about.
    given: T,
    settings: TcpKeepalive,
}

impl<T: Value> Value for Keepalive<T> {
    fn shown(&self) -> String {
        self.given.shown()
    }

    fn traced(&self) -> String {
        self.given.traced()
    }
}

impl<T> Keepalive<T> {
    fn new(options: &Options, given: T, settings: TcpKeepalive) -> Keepalive<T> {
        Keepalive { given, settings: if cfg!(windows) { all_keepalive(options) } else { settings } }
    }

    /// This also turns keepalive on, which is why the switch is set after it.
    pub(super) fn set(socket: &Raw, keepalive: &Keepalive<T>) -> io::Result<()> {
        socket.set_tcp_keepalive(&keepalive.settings)
    }
}

/// Windows sets both times in one call (`SIO_KEEPALIVE_VALS`), so the one that was not asked for gets its documented
/// default.
fn all_keepalive(options: &Options) -> TcpKeepalive {
    let idle = options.keepalive_idle.unwrap_or(Whole(7200));
    let interval = options.keepalive_interval.unwrap_or(Whole(1));
    let times = TcpKeepalive::new().with_time(idle.duration()).with_interval(interval.duration());
    options.keepalive_count.map_or(times.clone(), |count| times.with_retries(count))
}

pub(super) fn keepalive_idle(options: &Options) -> Option<Keepalive<Seconds>> {
    let settings = |idle: Seconds| TcpKeepalive::new().with_time(idle.duration());
    options.keepalive_idle.map(|idle| Keepalive::new(options, idle, settings(idle)))
}

pub(super) fn keepalive_interval(options: &Options) -> Option<Keepalive<Seconds>> {
    let settings = |interval: Seconds| TcpKeepalive::new().with_interval(interval.duration());
    options.keepalive_interval.map(|interval| Keepalive::new(options, interval, settings(interval)))
}

pub(super) fn keepalive_count(options: &Options) -> Option<Keepalive<u32>> {
    let settings = |count| TcpKeepalive::new().with_retries(count);
    options.keepalive_count.map(|count| Keepalive::new(options, count, settings(count)))
}

/// The switch itself. Whoever sets a time wants it to count; `--keepalive=off` still wins.
pub(super) fn keepalive(options: &Options) -> Option<bool> {
    let times = options.keepalive_idle.is_some() || options.keepalive_interval.is_some();
    options.keepalive.or((times || options.keepalive_count.is_some()).then_some(true))
}

#[cfg(unix)]
pub(super) fn seconds(duration: io::Result<std::time::Duration>) -> io::Result<Seconds> {
    duration.map(|duration| Whole(u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)))
}

#[cfg(target_os = "linux")]
pub(super) fn set_user_timeout(socket: &Raw, timeout: super::Milliseconds) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(timeout.duration()))
}

/// 0, which is no timeout of its own, where none is set.
#[cfg(target_os = "linux")]
pub(super) fn user_timeout(socket: &Raw) -> io::Result<Reading> {
    let timeout = socket.tcp_user_timeout()?.and_then(super::Milliseconds::from_duration);
    read(Ok(timeout.unwrap_or(Whole(0))))
}

#[cfg(target_os = "linux")]
pub(super) fn busy_poll(socket: &Raw) -> io::Result<Reading> {
    read(socket.busy_poll().map(Whole::<1_000>))
}

#[cfg(any(target_os = "linux", target_os = "freebsd"))]
pub(super) fn set_congestion(socket: &Raw, name: &String) -> io::Result<()> {
    socket.set_tcp_congestion(name.as_bytes())
}

#[cfg(any(target_os = "linux", target_os = "freebsd"))]
pub(super) fn congestion(socket: &Raw) -> io::Result<Reading> {
    read(socket.tcp_congestion().map(|name| text(&name)))
}

/// ENOENT is what Linux says to a name it does not know; as words, "No such file or directory" would mislead.
pub(super) fn explain_congestion(error: Error) -> Error {
    const UNKNOWN: &str =
        "no such congestion control, /proc/sys/net/ipv4/tcp_available_congestion_control has the list";
    match error.errno().map(errno::name) {
        Some("ENOENT") => Error { cause: Cause::Unsupported(UNKNOWN), ..error },
        _ => error,
    }
}

/// A name that the kernel padded with zeros.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
pub(super) fn bind_device_v4(socket: &Raw, device: &Interface) -> io::Result<()> {
    socket.bind_device_by_index_v4(std::num::NonZeroU32::new(device.index()?))
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
pub(super) fn bind_device_v6(socket: &Raw, device: &Interface) -> io::Result<()> {
    socket.bind_device_by_index_v6(std::num::NonZeroU32::new(device.index()?))
}

/// The device that a socket is bound to, or nothing. The option knows its number, and a person its name.
#[cfg(target_os = "linux")]
pub(super) fn device_v4(socket: &Raw) -> io::Result<Reading> {
    let number = sys::get_int(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX)?.cast_unsigned();
    let name = (number != 0).then(|| rustix::net::netdevice::index_to_name(socket, number));
    read(Ok(name.transpose()?.map(Interface::Name)))
}

/// Linux has one option for both families.
#[cfg(target_os = "linux")]
pub(super) use device_v4 as device_v6;

#[cfg(target_os = "macos")]
pub(super) fn device_v4(socket: &Raw) -> io::Result<Reading> {
    read(socket.device_index_v4().map(|index| index.map(std::num::NonZeroU32::get)))
}

#[cfg(target_os = "macos")]
pub(super) fn device_v6(socket: &Raw) -> io::Result<Reading> {
    read(socket.device_index_v6().map(|index| index.map(std::num::NonZeroU32::get)))
}

#[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
pub(super) fn set_fast_open(socket: &Raw, queue_length: u32) -> io::Result<()> {
    sys::set_int(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, queue_length.cast_signed())
}

#[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
pub(super) fn fast_open(socket: &Raw) -> io::Result<Reading> {
    read(sys::get_int(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN).map(i32::cast_unsigned))
}

#[cfg(target_os = "linux")]
pub(super) fn set_fast_open_connect(socket: &Raw, on: bool) -> io::Result<()> {
    sys::set_int(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, i32::from(on))
}

#[cfg(target_os = "linux")]
pub(super) fn fast_open_connect(socket: &Raw) -> io::Result<Reading> {
    read(sys::get_int(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT).map(i32::cast_unsigned))
}

/// The processor; nothing where none was chosen, which the kernel says as -1.
#[cfg(target_os = "linux")]
pub(super) fn incoming_cpu(socket: &Raw) -> io::Result<Reading> {
    read(socket.cpu_affinity().map(|cpu| u32::try_from(cpu).ok()))
}

/// The IPv4 groups to join whoever sends to them.
pub(super) fn joins_v4(options: &Options) -> Vec<JoinV4> {
    let join = |group: &Group| match group.address {
        IpAddr::V4(address) => Some(JoinV4 { group: address, interface: group.interface.clone() }),
        IpAddr::V6(_) => None,
    };
    joins_of_all(options).filter_map(join).collect()
}

/// The IPv6 groups to join whoever sends to them.
pub(super) fn joins_v6(options: &Options) -> Vec<JoinV6> {
    let join = |group: &Group| match group.address {
        IpAddr::V6(address) => Some(JoinV6 { group: address, interface: group.interface.clone() }),
        IpAddr::V4(_) => None,
    };
    joins_of_all(options).filter_map(join).collect()
}

fn joins_of_all(options: &Options) -> impl Iterator<Item = &Group> {
    options.multicast_join.iter().filter(|_| options.multicast_source.is_none())
}

/// The groups to join for one sender.
pub(super) fn joins_of_one(options: &Options, suits: fn(&JoinOfOne) -> bool) -> Vec<JoinOfOne> {
    let Some(source) = options.multicast_source else { return Vec::new() };
    let groups = options.multicast_join.iter().cloned();
    groups.map(|group| JoinOfOne { group, source }).filter(suits).collect()
}

pub(super) fn join_v4(socket: &Raw, join: &JoinV4) -> io::Result<()> {
    let interface = match &join.interface {
        None => InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED),
        Some(Interface::Address(address)) => InterfaceIndexOrAddress::Address(*address),
        Some(interface) => InterfaceIndexOrAddress::Index(interface.index()?),
    };
    socket.join_multicast_v4_n(&join.group, &interface)
}

pub(super) fn join_v6(socket: &Raw, join: &JoinV6) -> io::Result<()> {
    socket.join_multicast_v6(&join.group, index_of(join.interface.as_ref())?)
}

/// `IP_ADD_SOURCE_MEMBERSHIP`, which takes an interface by its address.
pub(super) fn join_of_one_by_address(socket: &Raw, join: &JoinOfOne) -> io::Result<()> {
    let interface = match &join.group.interface {
        Some(Interface::Address(address)) => *address,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    match (join.source, join.group.address) {
        (IpAddr::V4(source), IpAddr::V4(group)) => socket.join_ssm_v4(&source, &group, &interface),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// `MCAST_JOIN_SOURCE_GROUP`, which takes an interface by its number.
#[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
pub(super) fn join_of_one(socket: &Raw, join: &JoinOfOne) -> io::Result<()> {
    let index = index_of(join.group.interface.as_ref())?;
    sys::join_source_group(socket, index, join.group.address, join.source)
}

/// An interface's number, or 0, which lets the system choose.
fn index_of(interface: Option<&Interface>) -> io::Result<u32> {
    interface.map_or(Ok(0), Interface::index)
}

pub(super) fn set_multicast_interface_v4(socket: &Raw, interface: &Interface) -> io::Result<()> {
    match interface {
        Interface::Address(address) => socket.set_multicast_if_v4(address),
        interface => set_multicast_index_v4(socket, interface.index()?),
    }
}

/// `IP_MULTICAST_IF` with a `struct ip_mreqn`.
#[cfg(unix)]
pub(super) fn set_multicast_index_v4(socket: &Raw, index: u32) -> io::Result<()> {
    let unspecified = Ipv4Addr::UNSPECIFIED;
    Ok(rustix::net::sockopt::set_ip_multicast_if_with_ifindex(socket, &unspecified, &unspecified, index)?)
}

/// Winsock takes an address of 0.0.0.0/8 for an interface's number.
#[cfg(windows)]
pub(super) fn set_multicast_index_v4(socket: &Raw, index: u32) -> io::Result<()> {
    socket.set_multicast_if_v4(&Ipv4Addr::from(index))
}

/// An interface that is named by an IPv4 address says nothing to IPv6, and is left to the IPv4 sockets of the same run.
pub(super) fn interface_v6(options: &Options) -> Option<&Interface> {
    options.multicast_interface.as_ref().filter(|interface| !matches!(interface, Interface::Address(_)))
}

pub(super) fn set_multicast_interface_v6(socket: &Raw, interface: &Interface) -> io::Result<()> {
    socket.set_multicast_if_v6(interface.index()?)
}

/// The interface's address; nothing where the routing table decides, and where the interface was chosen by its number.
pub(super) fn multicast_interface_v4(socket: &Raw) -> io::Result<Reading> {
    let chosen = |address: Ipv4Addr| (!address.is_unspecified()).then_some(Interface::Address(address));
    read(socket.multicast_if_v4().map(chosen))
}

/// The interface's number; nothing where the routing table decides.
pub(super) fn multicast_interface_v6(socket: &Raw) -> io::Result<Reading> {
    read(socket.multicast_if_v6().map(|index| (index != 0).then_some(Interface::Index(index))))
}
