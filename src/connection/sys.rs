//! System calls that have no safe wrapper, and what of the system is linked by hand. The only `unsafe` of the program, each use
//! with the reason that it holds.
//!
//! Owns raw integers and kernel structures. Must not know what they are for: callers name, time and trace them.
//! Trade-off: `tcp_info` is declared here, field by field from the kernel's own header, because the C libraries lag
//! behind it and disagree; only the part that every kernel since 4.9 fills is declared.

#[cfg(unix)]
use std::io;
use std::mem::MaybeUninit;

use serde::Serialize;

#[cfg(unix)]
use super::ready::Watched;

// What unwinds a stack for a panic's backtrace is a part of the program, not a shared library that every start has to find,
// link and search for every name: that is a seventh of what one port costs (`benches/probe.py`). Both come with gcc. The
// declaration is unsafe by its form only, as it declares nothing.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[link(name = "gcc_eh", kind = "static", modifiers = "-bundle")]
unsafe extern "C" {}

/// The descriptor's number; on Windows the handle's.
pub(super) fn id(socket: &socket2::Socket) -> i64 {
    #[cfg(unix)]
    return i64::from(std::os::fd::AsRawFd::as_raw_fd(socket));
    #[cfg(windows)]
    return std::os::windows::io::AsRawSocket::as_raw_socket(socket).cast_signed();
}

/// A buffer as socket2 wants it for calls that also report the sender.
pub(super) fn as_uninit(buffer: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    let (pointer, length) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: `u8` and `MaybeUninit<u8>` have one layout, the borrow is exclusive and outlives the result. What could break
    // is somebody writing an uninitialised byte through it: recvmsg(2), the one receiver, only writes bytes that arrived.
    unsafe { std::slice::from_raw_parts_mut(pointer, length) }
}

/// A descriptor that was inherited, by its number; from now on it is ours, and closed on exec. One that was not inherited, or
/// was taken before, is EBADF.
#[cfg(unix)]
pub(super) fn take_descriptor(number: i32) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: F_GETFD only looks, and says EBADF if there is no such descriptor.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // The standard streams belong to std. Whatever else this program opens is closed on exec from its birth, and what came
    // through exec is not: so without that flag it is inherited, and nobody here owns it.
    if number <= libc::STDERR_FILENO || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the descriptor is open, as was just seen, and F_SETFD of it changes nothing but the flag.
    if unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and owned by nobody: it was inherited, and the flag that was just set keeps a second call from
    // taking it.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(number) })
}

/// Takes variables out of the environment. To be called before there is a second thread.
#[cfg(unix)]
pub(super) fn forget_variables(names: &[&str]) {
    for name in names {
        // SAFETY: no other thread reads the environment, because there is none yet: the commands that call this do so before
        // they start any.
        unsafe { std::env::remove_var(name) };
    }
}

/// Has what a command starts end by SIGKILL as soon as the thread that starts it is no more (`PR_SET_PDEATHSIG`, prctl(2)). What
/// it starts in turn is not reached, and a set-user-ID program is left alone.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn end_with_starter(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let starter = rustix::process::getpid();
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // If it was gone before that, nothing would be sent any more.
        let is_there = rustix::process::getppid() == Some(starter);
        if is_there { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: `ask` runs between fork(2) and execve(2), where another thread may have left a lock taken or the heap half
    // changed: only what is async-signal-safe may be done (signal-safety(7)). It makes two system calls and compares numbers;
    // it takes no lock, and allocates nothing, because an error is a number too.
    unsafe { command.pre_exec(ask) };
}

/// getsockopt(2) of an `int`.
#[cfg(unix)]
pub(super) fn get_int(socket: &socket2::Socket, level: i32, name: i32) -> io::Result<i32> {
    get_ints(socket, level, name).map(|[value]| value)
}

/// getsockopt(2) of so many numbers of an `int`'s size; a kernel that knows fewer is an error.
#[cfg(unix)]
fn get_ints<const COUNT: usize>(socket: &socket2::Socket, level: i32, name: i32) -> io::Result<[i32; COUNT]> {
    let mut values = [0; COUNT];
    let mut length = size_of_val(&values) as libc::socklen_t;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(socket);
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; `values` and `length` are live locals, and `length`
    // says how much of `values` the kernel may write.
    let result = unsafe { libc::getsockopt(descriptor, level, name, values.as_mut_ptr().cast(), &raw mut length) };
    match result {
        0 if length as usize == size_of_val(&values) => Ok(values),
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// setsockopt(2) of an `int`.
#[cfg(unix)]
pub(super) fn set_int(socket: &socket2::Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    set(socket, level, name, &value)
}

#[cfg(unix)]
fn set<T>(socket: &socket2::Socket, level: i32, name: i32, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(socket);
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; the kernel reads the `length` bytes of `value`, which
    // is borrowed as well.
    let result = unsafe { libc::setsockopt(descriptor, level, name, std::ptr::from_ref(value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// setsockopt(2) of `MCAST_JOIN_SOURCE_GROUP` (RFC 3678): joins a group for the datagrams of one sender, on the interface of that
/// number; 0 is the system's choice.
#[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
pub(super) fn join_source_group(
    socket: &socket2::Socket,
    interface: u32,
    group: std::net::IpAddr,
    source: std::net::IpAddr,
) -> io::Result<()> {
    let storage = |address: std::net::IpAddr| {
        let mut storage = socket2::SockAddr::from(std::net::SocketAddr::new(address, 0)).as_storage();
        // SAFETY: `sockaddr_storage` is one of the system's socket addresses, and the one that this was made as.
        *unsafe { storage.view_as::<libc::sockaddr_storage>() }
    };
    let request =
        libc::group_source_req { gsr_interface: interface, gsr_group: storage(group), gsr_source: storage(source) };
    let level = if group.is_ipv6() { libc::IPPROTO_IPV6 } else { libc::IPPROTO_IP };
    set(socket, level, libc::MCAST_JOIN_SOURCE_GROUP, &request)
}

/// Bytes in the send queue that the peer has not acknowledged (`SIOCOUTQ`, tcp(7)); none where the system cannot tell.
pub(super) fn unacknowledged_bytes(socket: &socket2::Socket) -> Option<u64> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let mut queued: libc::c_int = 0;
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(socket);
        // SAFETY: the descriptor is open for as long as `socket` is borrowed; TIOCOUTQ (SIOCOUTQ's number) writes one int.
        let result = unsafe { libc::ioctl(descriptor, libc::TIOCOUTQ, &raw mut queued) };
        (result == 0).then(|| u64::try_from(queued).unwrap_or(0))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = socket;
        None
    }
}

/// Datagrams that the kernel dropped for want of room in this socket's receive buffer (`SO_MEMINFO`, the same counter as
/// `SO_RXQ_OVFL`); none where the system does not tell.
pub(super) fn receive_drops(socket: &socket2::Socket) -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        /// `SK_MEMINFO_VARS` of linux/sock_diag.h, and in it `SK_MEMINFO_DROPS`.
        const VARIABLES: usize = 9;
        const DROPS: usize = 8;
        let values = get_ints::<VARIABLES>(socket, libc::SOL_SOCKET, libc::SO_MEMINFO).ok()?;
        Some(u64::from(values[DROPS].cast_unsigned()))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        None
    }
}

/// Lends an event loop the descriptor of what it holds.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct Held<W>(W);

#[cfg(unix)]
impl<W> Held<W> {
    /// What it holds.
    pub(super) fn get(&self) -> &W {
        &self.0
    }

    /// What it held, once nothing is registered any more.
    pub(super) fn into_inner(self) -> W {
        self.0
    }
}

#[cfg(unix)]
impl<W: Watched> std::os::fd::AsRawFd for Held<W> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.socket().as_raw_fd()
    }
}

/// Registers a socket with the tokio runtime of this thread.
#[cfg(unix)]
pub(super) fn watch<W: Watched>(watched: W) -> io::Result<tokio::io::unix::AsyncFd<Held<W>>> {
    // SAFETY: the descriptor must stay open, and be the same, for as long as it is registered. The two types that are
    // `Watched` own their `Socket`, and replace it only through a `&mut` of theirs; a `Socket` closes its descriptor only when
    // it is dropped; and `Held` lends them only shared, and gives them back only as a whole: `AsyncFd` lets go of it then.
    Ok(unsafe { tokio::io::unix::AsyncFd::register(Held(watched))? })
}

/// What the kernel knows of a TCP connection (`TCP_INFO`, tcp(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TcpInfo {
    /// Smoothed round-trip time.
    pub rtt_us: u32,
    /// Its mean deviation.
    pub rttvar_us: u32,
    /// The smallest round-trip time seen.
    pub min_rtt_us: u32,
    /// Segments sent again, in all.
    pub retransmitted_segments: u32,
    /// The congestion window.
    pub congestion_window_segments: u32,
    /// The largest segment sent.
    pub send_mss_bytes: u32,
    /// The path's largest packet.
    pub path_mtu_bytes: u32,
    /// What the peer has acknowledged.
    pub acknowledged_bytes: u64,
    /// What has arrived.
    pub received_bytes: u64,
    /// The rate at which data was delivered lately.
    pub delivery_rate_bytes_per_s: u64,
}

/// `struct tcp_info` of linux/tcp.h up to `tcpi_delivery_rate`, which Linux 4.9 added.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[repr(C)]
#[derive(Clone, Copy)]
struct KernelTcpInfo {
    /// state, `ca_state`, retransmits, probes, backoff, options, window scales, flags.
    states: [u8; 8],
    rto: u32,
    ato: u32,
    snd_mss: u32,
    rcv_mss: u32,
    unacked: u32,
    sacked: u32,
    lost: u32,
    retrans: u32,
    fackets: u32,
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    pmtu: u32,
    rcv_ssthresh: u32,
    rtt: u32,
    rttvar: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt: u32,
    rcv_space: u32,
    total_retrans: u32,
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt: u32,
    data_segs_in: u32,
    data_segs_out: u32,
    delivery_rate: u64,
}

/// Asks the kernel about a TCP connection; none on other sockets, and on systems that have no `TCP_INFO`.
pub(super) fn tcp_info(socket: &socket2::Socket) -> Option<TcpInfo> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let mut info = MaybeUninit::<KernelTcpInfo>::zeroed();
        let mut length = size_of::<KernelTcpInfo>() as libc::socklen_t;
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(socket);
        // SAFETY: the descriptor is open for as long as `socket` is borrowed; the kernel writes at most `length` bytes into
        // `info`, which is that large.
        let result = unsafe {
            libc::getsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut length)
        };
        if result != 0 {
            return None;
        }
        // SAFETY: it was zeroed, and every bit pattern is a value of a struct of integers; an older kernel writes less.
        let info = unsafe { info.assume_init() };
        Some(TcpInfo {
            rtt_us: info.rtt,
            rttvar_us: info.rttvar,
            min_rtt_us: info.min_rtt,
            retransmitted_segments: info.total_retrans,
            congestion_window_segments: info.snd_cwnd,
            send_mss_bytes: info.snd_mss,
            path_mtu_bytes: info.pmtu,
            acknowledged_bytes: info.bytes_acked,
            received_bytes: info.bytes_received,
            delivery_rate_bytes_per_s: info.delivery_rate,
        })
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = socket;
        None
    }
}
