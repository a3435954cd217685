//! A header of the PROXY protocol, taken from the beginning of a stream.
//!
//! Owns what is a header and what is none. Must not know where the stream comes from. Trade-off: it looks at each byte as it
//! comes, so that it takes not one byte beyond the header, and so that what is no header is refused at its first wrong byte;
//! a header is read once a connection, and is short.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::{Header, PATH_BYTES, SIGNATURE};
use crate::connection::{Address, Transport, UnixName};

/// What a header of version 1 begins with.
const WORD: &[u8] = b"PROXY ";

/// The longest header of version 1, its CR LF included (section 2.1).
const LINE_BYTES_MAX: usize = 107;

/// The signature, version and command, family and protocol, and the length of what follows.
const FIXED_BYTES: usize = 16;

/// The addresses of version 2: of IPv4, of IPv6, and two unix paths.
const V4_BYTES: usize = 12;
const V6_BYTES: usize = 36;
const UNIX_BYTES: usize = 2 * PATH_BYTES;

/// Why what came is no header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn malformed<T>(why: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(why.into()))
}

/// Takes the header from the beginning of a stream.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The header so far, but for what is skipped.
    bytes: Vec<u8>,
    /// All of it so far, with what was skipped.
    seen: usize,
}

impl Decoder {
    /// Nothing has come yet.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Whether nothing has come yet.
    pub fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// Takes what has come: how many of these bytes are the header's, and what it says once it is complete. Nothing is to be
    /// given to it after that.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Header>), Malformed> {
        for (index, byte) in bytes.iter().enumerate() {
            self.seen += 1;
            if self.bytes.len() < FIXED_BYTES + UNIX_BYTES {
                self.bytes.push(*byte);
            }
            let whole = if self.bytes[0] == WORD[0] { self.text()? } else { self.binary()? };
            if whole.is_some() {
                return Ok((index + 1, whole));
            }
        }
        Ok((bytes.len(), None))
    }

    /// What a header of version 1 says, if it is complete.
    fn text(&self) -> Result<Option<Header>, Malformed> {
        let begun = self.bytes.len().min(WORD.len());
        if self.bytes[..begun] != WORD[..begun] {
            return malformed(format!("\"{}\" is not how a PROXY header begins", self.bytes.escape_ascii()));
        }
        match self.bytes.as_slice() {
            [line @ .., b'\r', b'\n'] => read_line(line).map(Some),
            [.., b'\n'] => malformed("the PROXY header's line ends without a CR"),
            line if line.len() >= LINE_BYTES_MAX => {
                malformed(format!("the PROXY header's line is longer than {LINE_BYTES_MAX} bytes"))
            }
            _ => Ok(None),
        }
    }

    /// What a header of version 2 says, if it is complete.
    fn binary(&self) -> Result<Option<Header>, Malformed> {
        let begun = self.bytes.len().min(SIGNATURE.len());
        if self.bytes[..begun] != SIGNATURE[..begun] {
            return malformed(format!("\"{}\" is not how a PROXY header begins", self.bytes[..begun].escape_ascii()));
        }
        if let Some(version) = self.bytes.get(12)
            && version & 0xf0 != 0x20
        {
            return malformed(format!("version {} of the PROXY protocol does not exist", version >> 4));
        }
        let Some((fixed, block)) = self.bytes.split_at_checked(FIXED_BYTES) else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
        if self.seen < FIXED_BYTES + length {
            return Ok(None);
        }
        match fixed[12] & 0x0f {
            0 => Ok(Some(Header::Unknown)),
            1 => read_block(fixed[13], &block[..length.min(block.len())]).map(Some),
            other => malformed(format!("the PROXY header's command is {other}: only 0 and 1 exist")),
        }
    }
}

/// Reads a line of version 1, without its end.
fn read_line(line: &[u8]) -> Result<Header, Malformed> {
    let wrong = |why: &str| malformed(format!("\"{}\" is no PROXY header: {why}", line.escape_ascii()));
    let Ok(text) = std::str::from_utf8(line) else { return wrong("it is not text") };
    let words: Vec<&str> = text.split(' ').collect();
    let is_v4 = match words.get(1) {
        // What follows is to be ignored.
        Some(&"UNKNOWN") => return Ok(Header::Unknown),
        Some(&"TCP4") => true,
        Some(&"TCP6") => false,
        _ => return wrong("the second word is none of TCP4, TCP6 and UNKNOWN"),
    };
    let [_, _, from, to, from_port, to_port] = words[..] else {
        return wrong("two addresses and two ports must follow");
    };
    let ip = |text: &str| if is_v4 { text.parse().map(IpAddr::V4) } else { text.parse().map(IpAddr::V6) };
    // No sign and no leading zero, of which `parse` lets both through.
    let port = |text: &str| text.parse::<u16>().ok().filter(|number| number.to_string() == text);
    match (ip(from), ip(to), port(from_port), port(to_port)) {
        (Ok(from), Ok(to), Some(from_port), Some(to_port)) => Ok(Header::Proxied {
            transport: Transport::Tcp,
            source: Address::Inet((from, from_port).into()),
            destination: Address::Inet((to, to_port).into()),
        }),
        (Ok(_), Ok(_), ..) => wrong("a port is not a number from 0 to 65535"),
        _ => wrong("an address is none of its family"),
    }
}

/// Reads the addresses of version 2; what follows them (TLVs) is skipped.
fn read_block(kind: u8, block: &[u8]) -> Result<Header, Malformed> {
    let (family, protocol) = (kind >> 4, kind & 0x0f);
    let (needed, transports) = match family {
        0 => return if protocol > 2 { no_protocol(protocol) } else { Ok(Header::Unknown) },
        1 => (V4_BYTES, [Transport::Tcp, Transport::Udp]),
        2 => (V6_BYTES, [Transport::Tcp, Transport::Udp]),
        3 => (UNIX_BYTES, [Transport::UnixStream, Transport::UnixDatagram]),
        _ => return malformed(format!("the PROXY header's address family is {family}: only 0 to 3 exist")),
    };
    let transport = match protocol {
        0 => return Ok(Header::Unknown),
        1 => transports[0],
        2 => transports[1],
        _ => return no_protocol(protocol),
    };
    let Some(block) = block.get(..needed) else {
        let length = block.len();
        return malformed(format!("the PROXY header has {length} bytes of addresses, where its family has {needed}"));
    };
    let (source, destination) = match family {
        1 => v4_addresses(block),
        2 => v6_addresses(block),
        _ => (unix_address(&block[..PATH_BYTES]), unix_address(&block[PATH_BYTES..])),
    };
    Ok(Header::Proxied { transport, source, destination })
}

fn no_protocol(protocol: u8) -> Result<Header, Malformed> {
    malformed(format!("the PROXY header's transport protocol is {protocol}: only 0 to 2 exist"))
}

fn v4_addresses(block: &[u8]) -> (Address, Address) {
    let ip = |at: usize| Ipv4Addr::new(block[at], block[at + 1], block[at + 2], block[at + 3]);
    let address = |at, port_at| Address::Inet((ip(at), port(block, port_at)).into());
    (address(0, 8), address(4, 10))
}

fn v6_addresses(block: &[u8]) -> (Address, Address) {
    let ip = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&block[at..at + 16]);
        Ipv6Addr::from(octets)
    };
    let address = |at, port_at| Address::Inet((ip(at), port(block, port_at)).into());
    (address(0, 32), address(16, 34))
}

fn port(block: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([block[at], block[at + 1]])
}

/// A path ends at its first NUL byte; with one in front it is an abstract name, which ends where only NUL bytes follow.
fn unix_address(field: &[u8]) -> Address {
    Address::Unix(match field {
        [0, name @ ..] => match name.iter().rposition(|byte| *byte != 0) {
            Some(last) => UnixName::Abstract(name[..=last].to_vec()),
            None => UnixName::Unnamed,
        },
        path => UnixName::Path(as_path(path.split(|byte| *byte == 0).next().unwrap_or_default())),
    })
}

#[cfg(unix)]
fn as_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// Paths are no bytes here, and a foreign one is only shown.
#[cfg(not(unix))]
fn as_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8]) -> Result<(usize, Option<Header>), Malformed> {
        Decoder::new().take(bytes)
    }

    #[test]
    fn the_longest_line_is_107_bytes() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(91));
        assert_eq!(longest.len(), LINE_BYTES_MAX);
        assert_eq!(decode(longest.as_bytes()), Ok((LINE_BYTES_MAX, Some(Header::Unknown))));
        let longer = format!("PROXY UNKNOWN {}\r\n", "f".repeat(92));
        let why = "the PROXY header's line is longer than 107 bytes";
        assert_eq!(decode(longer.as_bytes()), malformed(why));
    }

    #[test]
    fn what_is_no_header_is_refused_with_the_reason() {
        let second = "the second word is none of TCP4, TCP6 and UNKNOWN";
        let words = "two addresses and two ports must follow";
        let address = "an address is none of its family";
        let port = "a port is not a number from 0 to 65535";
        for (line, why) in [
            ("PROXY UDP4 1.2.3.4 1.2.3.4 1 2", second),
            ("PROXY ", second),
            ("PROXY tcp4 1.2.3.4 1.2.3.4 1 2", second),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1", words),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3", words),
            ("PROXY TCP4  1.2.3.4 1.2.3.4 1 2", words),
            ("PROXY TCP4 ::1 1.2.3.4 1 2", address),
            ("PROXY TCP6 1.2.3.4 ::1 1 2", address),
            ("PROXY TCP4 01.2.3.4 1.2.3.4 1 2", address),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 65536 2", port),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 01 2", port),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2", port),
        ] {
            let expected = malformed(format!("\"{line}\" is no PROXY header: {why}"));
            assert_eq!(decode(format!("{line}\r\n").as_bytes()), expected);
        }
        for (bytes, why) in [
            (&b"GET / HTTP/1.1\r\n"[..], "\"G\" is not how a PROXY header begins"),
            (b"PROXX", "\"PROXX\" is not how a PROXY header begins"),
            (b"PROXY UNKNOWN\n", "the PROXY header's line ends without a CR"),
            (b"\r\n\r\n\0\r\nQUIX", "\"\\r\\n\\r\\n\\x00\\r\\nQUIX\" is not how a PROXY header begins"),
            (b"\r\n\r\n\0\r\nQUIT\n\x11", "version 1 of the PROXY protocol does not exist"),
            (b"\r\n\r\n\0\r\nQUIT\n\x22\x11\0\0", "the PROXY header's command is 2: only 0 and 1 exist"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x41\0\0", "the PROXY header's address family is 4: only 0 to 3 exist"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x13\0\0", "the PROXY header's transport protocol is 3: only 0 to 2 exist"),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0babcdefghijk",
                "the PROXY header has 11 bytes of addresses, where its family has 12",
            ),
        ] {
            assert_eq!(decode(bytes), malformed(why));
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_panics(
            start in prop_oneof![Just(&b""[..]), Just(WORD), Just(&b"PROXY TCP4 "[..]), Just(&SIGNATURE[..])],
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start, &rest].concat();
            match decode(&bytes) {
                Ok((taken, header)) => prop_assert!(header.is_some() || taken == bytes.len()),
                Err(why) => prop_assert!(!why.to_string().chars().any(char::is_control)),
            }
        }
    }
}
