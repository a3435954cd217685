//! What the network said of a datagram that did not arrive, and who said it: the socket's error queue (`IP_RECVERR`, ip(7)).
//!
//! Owns the reading of one report, and its words. Must not know what becomes of the socket. Trade-off: the queue is looked at
//! only when a call has failed, so that a report costs nothing where there is none; of several the first is told.

use std::fmt;
use std::net::IpAddr;

use super::Socket;

/// Who reports, as the kernel numbers it (linux/errqueue.h).
#[cfg(any(target_os = "linux", target_os = "android"))]
mod origin {
    pub const ICMP: u8 = 2;
    pub const ICMP6: u8 = 3;
}

/// A message of ICMP (RFC 792, RFC 1812) or ICMPv6 (RFC 4443).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    is_v6: bool,
    kind: u8,
    code: u8,
    from: IpAddr,
}

impl Report {
    /// The next one of a socket, if it has one and the system tells.
    pub(super) fn next(socket: &Socket) -> Option<Report> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return Report::read(&socket.error_report().ok()?);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            let _ = socket;
            None
        }
    }

    /// Reads control messages, cmsg(3): each has its length, level and type, then data, and begins at a multiple of a word.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn read(mut control: &[u8]) -> Option<Report> {
        const WORD: usize = size_of::<usize>();
        const HEAD: usize = (WORD + 8).next_multiple_of(WORD);
        while control.len() >= HEAD {
            let length = usize::from_ne_bytes(control[..WORD].try_into().ok()?);
            let number = |at: usize| Some(i32::from_ne_bytes(control.get(at..at + 4)?.try_into().ok()?));
            let data = control.get(HEAD..length)?;
            let is_report = matches!(
                (number(WORD)?, number(WORD + 4)?),
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            );
            if is_report {
                return Report::of(data);
            }
            control = control.get(length.next_multiple_of(WORD)..)?;
        }
        None
    }

    /// `struct sock_extended_err` (errno, origin, type, code, and three fields that say nothing here), and behind it the
    /// address of whoever sent it.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn of(data: &[u8]) -> Option<Report> {
        const STRUCT_BYTES: usize = 16;
        let (error, offender) = data.split_at_checked(STRUCT_BYTES)?;
        let [_, _, _, _, origin, kind, code, ..] = *error else { return None };
        let family = i32::from(u16::from_ne_bytes(offender.get(..2)?.try_into().ok()?));
        let from = match family {
            libc::AF_INET => IpAddr::from(<[u8; 4]>::try_from(offender.get(4..8)?).ok()?),
            libc::AF_INET6 => IpAddr::from(<[u8; 16]>::try_from(offender.get(8..24)?).ok()?),
            _ => return None,
        };
        let is_v6 = match origin {
            origin::ICMP => false,
            origin::ICMP6 => true,
            // The system's own refusals have nobody else to name.
            _ => return None,
        };
        Some(Report { is_v6, kind, code, from: from.to_canonical() })
    }

    /// What the type and code say; none for those that are no error, or that nobody sends.
    fn words(self) -> Option<&'static str> {
        Some(match (self.is_v6, self.kind, self.code) {
            (false, 3, 0 | 6) | (true, 1, 0) => "network unreachable",
            (false, 3, 1 | 7) | (true, 1, 3) => "host unreachable",
            (false, 3, 2) => "protocol unreachable",
            (false, 3, 3) | (true, 1, 4) => "port unreachable",
            (false, 3, 4) | (true, 2, _) => "packet too big",
            (false, 3, 9 | 10 | 13) | (true, 1, 1) => "administratively prohibited",
            (true, 1, 5) => "source address failed policy",
            (true, 1, 6) => "route rejected",
            (false, 11, 0) | (true, 3, 0) => "time to live exceeded",
            (false, 11, 1) | (true, 3, 1) => "fragment reassembly time exceeded",
            (false, 12, _) | (true, 4, _) => "parameter problem",
            _ => return None,
        })
    }
}

/// `ICMP port unreachable from 192.0.2.1`
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_v6 { "ICMPv6 " } else { "ICMP " })?;
        match self.words() {
            Some(words) => f.write_str(words)?,
            None => write!(f, "type {} code {}", self.kind, self.code)?,
        }
        write!(f, " from {}", self.from)
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A control message as the kernel lays it out.
    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let length = size_of::<usize>() + 8 + data.len();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(length.next_multiple_of(size_of::<usize>()), 0);
        bytes
    }

    fn error(origin: u8, kind: u8, code: u8, offender: &[u8]) -> Vec<u8> {
        [&111_u32.to_ne_bytes()[..], &[origin, kind, code, 0], &[0; 8], offender].concat()
    }

    fn v4(octets: [u8; 4]) -> Vec<u8> {
        [&(libc::AF_INET as u16).to_ne_bytes()[..], &[0, 0], &octets, &[0; 8]].concat()
    }

    fn v6(octets: [u8; 16]) -> Vec<u8> {
        [&(libc::AF_INET6 as u16).to_ne_bytes()[..], &[0; 6], &octets, &[0; 4]].concat()
    }

    #[test]
    fn a_report_names_what_was_said_and_by_whom() {
        let loopback = std::net::Ipv6Addr::LOCALHOST.octets();
        let report =
            |level, kind, data: &[u8]| Report::read(&message(level, kind, data)).map(|report| report.to_string());
        for (data, expected) in [
            (error(2, 3, 3, &v4([192, 0, 2, 1])), Some("ICMP port unreachable from 192.0.2.1")),
            (error(2, 3, 13, &v4([192, 0, 2, 1])), Some("ICMP administratively prohibited from 192.0.2.1")),
            (error(2, 11, 0, &v4([192, 0, 2, 1])), Some("ICMP time to live exceeded from 192.0.2.1")),
            (error(2, 200, 7, &v4([192, 0, 2, 1])), Some("ICMP type 200 code 7 from 192.0.2.1")),
            (error(1, 0, 0, &v4([0; 4])), None),
            (error(2, 3, 3, &[0; 8]), None),
        ] {
            assert_eq!(report(libc::IPPROTO_IP, libc::IP_RECVERR, &data).as_deref(), expected);
        }
        let expected = Some("ICMPv6 port unreachable from ::1".to_owned());
        assert_eq!(report(libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &error(3, 1, 4, &v6(loopback))), expected);
        let second = [
            message(libc::SOL_SOCKET, 1, b"abc"),
            message(libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &error(3, 1, 3, &v6(loopback))),
        ];
        let told = Report::read(&second.concat()).map(|report| report.to_string());
        assert_eq!(told.as_deref(), Some("ICMPv6 host unreachable from ::1"));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), length in 0_usize..60) {
            let _ = Report::read(&bytes);
            let _ = Report::read(&[&length.to_ne_bytes()[..], &bytes].concat());
        }
    }
}
