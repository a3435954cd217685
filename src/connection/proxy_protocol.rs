//! The PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt): a header ahead of a stream that says whose stream it
//! is, for servers behind a proxy.
//!
//! Owns what a header says, and both forms of it as they are sent; `decoder` takes them from a stream. Must not know who sends
//! or receives it. Trade-off: what a form has no words for is sent as unknown, since the connection itself is good.

mod decoder;

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

use super::{Address, Transport, UnixName};
pub use decoder::{Decoder, Malformed};

/// What a header of version 2 begins with (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// `sun_path` as the protocol has it, on every system.
const PATH_BYTES: usize = 108;

/// The form of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// A binary block.
    V2,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    /// Nothing: the connection is the sender's own (LOCAL), or of a kind that has no name (UNKNOWN).
    Unknown,
    /// Whose connection it is.
    Proxied {
        /// How the client came.
        transport: Transport,
        /// The client.
        source: Address,
        /// What the client connected to.
        destination: Address,
    },
}

impl Header {
    /// Of a connection between these two; where they are of two families, the IPv4 address is written as an IPv6 one.
    pub fn of(transport: Transport, source: Address, destination: Address) -> Header {
        let (source, destination) = match (source, destination) {
            (Address::Inet(source), Address::Inet(destination)) if source.is_ipv4() != destination.is_ipv4() => {
                (Address::Inet(as_v6(source)), Address::Inet(as_v6(destination)))
            }
            (source, destination) if source.family() == destination.family() => (source, destination),
            // A path and an IP address have no form in common.
            _ => return Header::Unknown,
        };
        Header::Proxied { transport, source, destination }
    }

    /// The header's bytes. Version 1 has no words for anything but TCP, and calls that UNKNOWN.
    pub fn encode(&self, version: Version) -> Vec<u8> {
        match version {
            Version::V1 => self.line().into_bytes(),
            Version::V2 => self.block(),
        }
    }

    fn line(&self) -> String {
        match self {
            Header::Proxied {
                transport: Transport::Tcp,
                source: Address::Inet(source),
                destination: Address::Inet(destination),
            } if source.is_ipv4() == destination.is_ipv4() => {
                let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
                let (from, to) = (source.ip(), destination.ip());
                format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
            }
            _ => "PROXY UNKNOWN\r\n".to_owned(),
        }
    }

    fn block(&self) -> Vec<u8> {
        let mut addresses = Vec::new();
        let (command, family) = match self {
            Header::Unknown => (0x20, 0x00),
            Header::Proxied { transport, source, destination } => {
                let protocol = if transport.is_stream() { 0x01 } else { 0x02 };
                (0x21, protocol | write_addresses(source, destination, &mut addresses))
            }
        };
        let length = u16::try_from(addresses.len()).unwrap_or_default();
        [&SIGNATURE[..], &[command, family], &length.to_be_bytes(), &addresses].concat()
    }
}

fn as_v6(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Appends both addresses, and says which family they are of; 0 if of none in common.
fn write_addresses(source: &Address, destination: &Address, out: &mut Vec<u8>) -> u8 {
    match (source, destination) {
        (Address::Inet(SocketAddr::V4(source)), Address::Inet(SocketAddr::V4(destination))) => {
            out.extend(source.ip().octets().into_iter().chain(destination.ip().octets()));
            out.extend([source.port(), destination.port()].into_iter().flat_map(u16::to_be_bytes));
            0x10
        }
        (Address::Inet(SocketAddr::V6(source)), Address::Inet(SocketAddr::V6(destination))) => {
            out.extend(source.ip().octets().into_iter().chain(destination.ip().octets()));
            out.extend([source.port(), destination.port()].into_iter().flat_map(u16::to_be_bytes));
            0x20
        }
        (Address::Unix(source), Address::Unix(destination)) => {
            for name in [source, destination] {
                let mut path = match name {
                    UnixName::Path(path) => path.as_os_str().as_encoded_bytes().to_vec(),
                    UnixName::Abstract(name) => [b"\0", name.as_slice()].concat(),
                    UnixName::Unnamed => Vec::new(),
                };
                path.resize(PATH_BYTES, 0);
                out.extend(path);
            }
            0x30
        }
        _ => 0x00,
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Header::Unknown => f.write_str("unknown"),
            Header::Proxied { transport, source, destination } => {
                write!(f, "{source} to {destination} ({transport})")
            }
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('v').and_then(|()| f.write_char(if *self == Version::V1 { '1' } else { '2' }))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8]) -> Result<(usize, Option<Header>), Malformed> {
        Decoder::new().take(bytes)
    }

    fn inet(text: &str) -> Address {
        Address::Inet(text.parse().unwrap())
    }

    fn tcp(source: &str, destination: &str) -> Header {
        Header::Proxied { transport: Transport::Tcp, source: inet(source), destination: inet(destination) }
    }

    #[test]
    fn lines_of_version_1() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n", tcp("192.0.2.1:40000", "198.51.100.7:443")),
            ("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", tcp("0.0.0.0:0", "255.255.255.255:65535")),
            ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", tcp("[2001:db8::1]:1", "[::1]:2")),
            ("PROXY UNKNOWN\r\n", Header::Unknown),
            ("PROXY UNKNOWN what follows counts for nothing\r\n", Header::Unknown),
        ] {
            assert_eq!(decode(line.as_bytes()), Ok((line.len(), Some(expected.clone()))), "{line}");
            if !line.contains("what") {
                assert_eq!(String::from_utf8(expected.encode(Version::V1)).as_deref(), Ok(line));
            }
        }
    }

    #[test]
    fn blocks_of_version_2() {
        let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\x9c\x40\x01\xbb";
        let expected = tcp("192.0.2.1:40000", "198.51.100.7:443");
        assert_eq!(decode(header), Ok((header.len(), Some(expected.clone()))));
        assert_eq!(expected.encode(Version::V2), header);
        // LOCAL, whatever its family and block are.
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x99\0\x03abc";
        assert_eq!(decode(local), Ok((local.len(), Some(Header::Unknown))));
        assert_eq!(Header::Unknown.encode(Version::V2), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
        // The most that may follow the addresses, and then the stream.
        let mut long = header.to_vec();
        long[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        long.resize(SIGNATURE.len() + 4 + usize::from(u16::MAX), 7);
        let length = long.len();
        long.extend(b"stream");
        assert_eq!(decode(&long), Ok((length, Some(expected))));
    }

    #[test]
    fn two_families_are_written_as_ipv6_and_paths_only_with_paths() {
        let header = Header::of(Transport::Tcp, inet("192.0.2.1:1"), inet("[::1]:2"));
        assert_eq!(header.encode(Version::V1), b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n");
        let unix = Address::Unix(UnixName::Path("/a".into()));
        assert_eq!(Header::of(Transport::Tcp, unix.clone(), inet("[::1]:2")), Header::Unknown);
        let header = Header::of(Transport::UnixStream, Address::Unix(UnixName::Unnamed), unix);
        assert_eq!(header.encode(Version::V1), b"PROXY UNKNOWN\r\n");
        assert_eq!(header.to_string(), "unix:unnamed to unix:/a (unix)");
    }

    fn any_address_pair() -> impl Strategy<Value = (Address, Address)> {
        let v4 = || (any::<Ipv4Addr>(), any::<u16>()).prop_map(|pair| Address::Inet(pair.into()));
        let v6 = || (any::<Ipv6Addr>(), any::<u16>()).prop_map(|pair| Address::Inet(pair.into()));
        let unix = || {
            let path = "[a-z/.]{1,108}".prop_map(|path| UnixName::Path(path.into()));
            let name = prop::collection::vec(any::<u8>(), 0..107).prop_map(|mut name| {
                name.push(b'x');
                UnixName::Abstract(name)
            });
            prop_oneof![path, name, Just(UnixName::Unnamed)].prop_map(Address::Unix)
        };
        prop_oneof![(v4(), v4()), (v6(), v6()), (unix(), unix())]
    }

    fn any_header() -> impl Strategy<Value = Header> {
        let proxied = (any_address_pair(), any::<bool>()).prop_map(|((source, destination), is_stream)| {
            let transport = match (source.family(), is_stream) {
                (crate::connection::Family::Unix, true) => Transport::UnixStream,
                (crate::connection::Family::Unix, false) => Transport::UnixDatagram,
                (_, true) => Transport::Tcp,
                (_, false) => Transport::Udp,
            };
            Header::of(transport, source, destination)
        });
        prop_oneof![1 => Just(Header::Unknown), 9 => proxied]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_however_it_is_cut(
            header in any_header(),
            is_v1 in any::<bool>(),
            more in prop::collection::vec(any::<u8>(), 0..20),
            cut in 1_usize..40,
        ) {
            let version = if is_v1 { Version::V1 } else { Version::V2 };
            let bytes = header.encode(version);
            let is_told = !is_v1 || matches!(&header, Header::Proxied { transport: Transport::Tcp, .. });
            let expected = if is_told { header } else { Header::Unknown };
            let stream = [bytes.as_slice(), &more].concat();
            let mut decoder = Decoder::new();
            let (mut taken, mut came) = (0, None);
            for chunk in stream.chunks(cut) {
                let (consumed, header) = decoder.take(chunk).unwrap();
                taken += consumed;
                came = header;
                if came.is_some() {
                    break;
                }
            }
            prop_assert_eq!((taken, came), (bytes.len(), Some(expected)));
        }
    }
}
