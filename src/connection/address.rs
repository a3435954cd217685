//! Places as a socket knows them.
//!
//! Owns IP addresses with their port and the names of unix sockets, the printed form of each, and their way to the
//! system's form and back. Must not know what a person types (endpoint.rs). Trade-off: the system's form is made anew at
//! each call, because ours can be compared, printed and be a key.

use std::ffi::OsStr;
use std::fmt;
use std::io;
#[cfg(unix)]
use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use socket2::SockAddr;

use super::Family;
use crate::printable::one_line;

/// A place as a socket knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Inet(SocketAddr),
    /// A unix socket.
    Unix(UnixName),
}

/// The name of a unix socket, see unix(7).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UnixName {
    /// A path in the file system.
    Path(PathBuf),
    /// A name without a file, on Linux only; without the NUL byte that starts it.
    Abstract(Vec<u8>),
    /// No name: a client that did not bind.
    Unnamed,
}

/// The bytes that fit into `sun_path` beside the NUL byte that ends a path or starts an abstract name.
#[cfg(unix)]
pub(super) const LONGEST_UNIX_NAME: usize =
    size_of::<libc::sockaddr_un>() - offset_of!(libc::sockaddr_un, sun_path) - 1;
/// The same from afunix.h, where `sun_path` has 108 bytes.
#[cfg(windows)]
pub(super) const LONGEST_UNIX_NAME: usize = 107;

/// Whether unix sockets can have names that are not files: a thing of Linux alone, see unix(7).
pub(super) const ABSTRACT_NAMES: bool = cfg!(any(target_os = "linux", target_os = "android"));

impl Address {
    /// Its family. A v4-mapped IPv6 address is one of IPv6, as for the socket.
    pub fn family(&self) -> Family {
        match self {
            Address::Inet(SocketAddr::V4(_)) => Family::V4,
            Address::Inet(SocketAddr::V6(_)) => Family::V6,
            Address::Unix(_) => Family::Unix,
        }
    }

    /// Its IP address; unix sockets have none.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Address::Inet(address) => Some(address.ip()),
            Address::Unix(_) => None,
        }
    }

    /// Its port; unix sockets have none.
    pub fn port(&self) -> Option<u16> {
        match self {
            Address::Inet(address) => Some(address.port()),
            Address::Unix(_) => None,
        }
    }

    /// Whether what is sent there stays on this machine. `::ffff:127.0.0.1` does.
    pub fn is_loopback(&self) -> bool {
        match self {
            Address::Inet(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
        }
    }

    /// The form that the system calls take. Fails on a unix name that is too long, or that this system cannot have.
    pub fn to_socket2(&self) -> io::Result<SockAddr> {
        match self {
            Address::Inet(address) => Ok(SockAddr::from(*address)),
            Address::Unix(UnixName::Path(path)) => SockAddr::unix(path),
            Address::Unix(UnixName::Abstract(name)) => abstract_address(name),
            Address::Unix(UnixName::Unnamed) => SockAddr::unix(OsStr::new("")),
        }
    }

    /// What a system call returned. An address of any other family does not come out of the sockets made here.
    pub fn from_socket2(address: &SockAddr) -> Address {
        match address.as_socket() {
            Some(address) => Address::Inet(address),
            None => Address::Unix(unix_name(address)),
        }
    }
}

/// The address of an abstract name: a NUL byte, then the name.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_address(name: &[u8]) -> io::Result<SockAddr> {
    use std::os::unix::ffi::OsStrExt as _;
    SockAddr::unix(OsStr::from_bytes(&[b"\0", name].concat()))
}

/// Abstract names exist on Linux only.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn abstract_address(_name: &[u8]) -> io::Result<SockAddr> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "abstract unix names exist on Linux only"))
}

/// The unix name in an address; an address without one, or of length 0 as recvfrom(2) may give, is unnamed.
#[cfg(unix)]
fn unix_name(address: &SockAddr) -> UnixName {
    match (address.as_pathname(), address.as_abstract_namespace()) {
        (Some(path), _) => UnixName::Path(path.to_owned()),
        (None, Some(name)) => UnixName::Abstract(name.to_owned()),
        (None, None) => UnixName::Unnamed,
    }
}

/// On Windows socket2 does not tell the path of an address, so each unix peer is unnamed.
#[cfg(not(unix))]
fn unix_name(_address: &SockAddr) -> UnixName {
    UnixName::Unnamed
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(address) => write!(f, "{address}"),
            Address::Unix(name) => write!(f, "{name}"),
        }
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnixName::Path(path) => {
                let bytes = path.as_os_str().as_encoded_bytes();
                // A file whose name starts with `@` must not look like an abstract name.
                f.write_str(if bytes.starts_with(b"@") { "unix:./" } else { "unix:" })?;
                f.write_str(&one_line(bytes))
            }
            UnixName::Abstract(name) => {
                f.write_str("unix:@")?;
                f.write_str(&one_line(name))
            }
            UnixName::Unnamed => f.write_str("unix:unnamed"),
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn an_address_knows_its_family_port_and_whether_it_is_here() {
        for (text, family, loopback) in [
            ("127.9.9.9:1", Family::V4, true),
            ("[::1]:1", Family::V6, true),
            ("[::ffff:127.0.0.1]:1", Family::V6, true),
            ("192.0.2.1:1", Family::V4, false),
            ("[::ffff:192.0.2.1]:1", Family::V6, false),
            ("[fe80::1%2]:1", Family::V6, false),
            ("0.0.0.0:1", Family::V4, false),
        ] {
            let address = Address::Inet(text.parse().unwrap());
            assert_eq!(
                (address.family(), address.is_loopback(), address.port()),
                (family, loopback, Some(1)),
                "{text}"
            );
            assert_eq!(address.to_string(), text);
            assert_eq!(Address::from_socket2(&address.to_socket2().unwrap()), address);
        }
        let unix = Address::Unix(UnixName::Path("a".into()));
        assert_eq!((unix.family(), unix.is_loopback(), unix.port()), (Family::Unix, true, None));
    }

    #[test]
    fn no_name_brings_control_characters_to_a_terminal() {
        for (name, expected) in [
            (UnixName::Path("/a\u{1b}[2J\n\u{9b}".into()), "unix:/a\\u{1b}[2J\\n\\u{9b}"),
            (UnixName::Path("a\u{202e}b\u{200b}".into()), "unix:a\\u{202e}b\\u{200b}"),
            (UnixName::Path("C:\\a".into()), "unix:C:\\a"),
            (UnixName::Path("@a".into()), "unix:./@a"),
            (UnixName::Abstract(b"\0a\xff\xc3\xa9".to_vec()), "unix:@\\u{0}a\\xff\u{e9}"),
            (UnixName::Unnamed, "unix:unnamed"),
        ] {
            assert_eq!(Address::Unix(name).to_string(), expected);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_bound_unix_socket_tells_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix(UnixName::Path(folder.path().join("socket")));
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        assert_eq!(Address::from_socket2(&socket.local_addr().unwrap()), Address::Unix(UnixName::Unnamed));
        socket.bind(&address.to_socket2().unwrap()).unwrap();
        assert_eq!(Address::from_socket2(&socket.local_addr().unwrap()), address);
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_bound_abstract_socket_tells_its_name() {
        // The system chooses an abstract name for a socket that is bound to none, see unix(7).
        let chosen = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        chosen.bind(&Address::Unix(UnixName::Unnamed).to_socket2().unwrap()).unwrap();
        let address = Address::from_socket2(&chosen.local_addr().unwrap());
        assert!(matches!(&address, Address::Unix(UnixName::Abstract(name)) if name.len() == 5), "{address}");
        let taken = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        let error = taken.bind(&address.to_socket2().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
