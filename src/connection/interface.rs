//! The network interface that an address is reached through: its name, its largest packet, and what queues for it.
//!
//! Owns the questions to the kernel (rtnetlink(7)). Must not know what the answers mean to a measurement. Trade-off: two
//! requests written and read by hand, each of a few dozen bytes, instead of a library for all of netlink; only Linux has it.

use std::net::IpAddr;

/// An interface, as ip-link(8) shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Interface {
    /// `lo`, `eth0`
    pub name: String,
    /// The largest packet.
    pub mtu_bytes: u32,
    /// The queueing discipline: `noqueue`, `fq_codel`.
    pub queueing: String,
}

impl Interface {
    /// The one that packets to this address leave through. None where there is no route, and where the system does not say.
    pub fn towards(address: IpAddr) -> Option<Interface> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return linux::towards(address).ok().flatten();
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            let _ = address;
            None
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::io;
    use std::net::IpAddr;
    use std::os::fd::OwnedFd;

    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

    use super::Interface;

    /// linux/rtnetlink.h: the requests, and the attributes of their answers.
    const RTM_GETLINK: u16 = 18;
    const RTM_GETROUTE: u16 = 26;
    const NLM_F_REQUEST: u16 = 1;
    const RTA_DST: u16 = 1;
    const RTA_OIF: u16 = 4;
    const IFLA_IFNAME: u16 = 3;
    const IFLA_MTU: u16 = 4;
    const IFLA_QDISC: u16 = 6;

    /// `struct nlmsghdr`: length, type, flags, sequence, port.
    const HEADER_BYTES: usize = 16;
    /// `struct rtmsg`, and `struct ifinfomsg`.
    const ROUTE_BYTES: usize = 12;
    const LINK_BYTES: usize = 16;
    /// An interface with all of its statistics takes some two thousand.
    const ANSWER_BYTES_MAX: usize = 32 * 1024;

    pub(super) fn towards(address: IpAddr) -> io::Result<Option<Interface>> {
        let netlink = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        let (family, octets) = match address {
            IpAddr::V4(v4) => (AddressFamily::INET, v4.octets().to_vec()),
            IpAddr::V6(v6) => (AddressFamily::INET6, v6.octets().to_vec()),
        };
        let mut route = vec![0; ROUTE_BYTES];
        (route[0], route[1]) = (family.as_raw() as u8, octets.len() as u8 * 8);
        route.extend(((octets.len() + 4) as u16).to_ne_bytes());
        route.extend(RTA_DST.to_ne_bytes());
        route.extend(octets);
        let answer = ask(&netlink, RTM_GETROUTE, &route)?;
        let Some(index) = number(&answer, ROUTE_BYTES, RTA_OIF) else { return Ok(None) };
        let mut link = vec![0; LINK_BYTES];
        link[4..8].copy_from_slice(&index.to_ne_bytes());
        let answer = ask(&netlink, RTM_GETLINK, &link)?;
        let text = |kind| {
            let bytes = attribute(&answer, LINK_BYTES, kind)?;
            Some(String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned())
        };
        let found = (text(IFLA_IFNAME), number(&answer, LINK_BYTES, IFLA_MTU), text(IFLA_QDISC));
        let (Some(name), Some(mtu_bytes), Some(queueing)) = found else { return Ok(None) };
        Ok(Some(Interface { name, mtu_bytes, queueing }))
    }

    /// One request and its answer, without the header. A failure is an answer of another kind, in which nothing is found.
    fn ask(netlink: &OwnedFd, kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut request = Vec::with_capacity(HEADER_BYTES + body.len());
        request.extend(((HEADER_BYTES + body.len()) as u32).to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend(NLM_F_REQUEST.to_ne_bytes());
        request.resize(HEADER_BYTES, 0);
        request.extend(body);
        send(netlink, &request, SendFlags::empty())?;
        let mut answer = vec![0; ANSWER_BYTES_MAX];
        let (length, _) = recv(netlink, &mut answer[..], RecvFlags::empty())?;
        answer.truncate(length);
        // An answer to RTM_GETx is an RTM_NEWx, two below.
        let is_expected = answer.get(4..6) == Some(&(kind - 2).to_ne_bytes()[..]);
        Ok(if is_expected { answer.split_off(HEADER_BYTES.min(length)) } else { Vec::new() })
    }

    /// An attribute of an answer whose fixed part is so long: each has its length and its kind, and begins at a multiple of 4.
    fn attribute(answer: &[u8], fixed_bytes: usize, wanted: u16) -> Option<&[u8]> {
        let mut rest = answer.get(fixed_bytes..)?;
        while let [first, second, third, fourth, ..] = *rest {
            let length = usize::from(u16::from_ne_bytes([first, second]));
            let value = rest.get(4..length)?;
            if u16::from_ne_bytes([third, fourth]) == wanted {
                return Some(value);
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
        None
    }

    fn number(answer: &[u8], fixed_bytes: usize, wanted: u16) -> Option<u32> {
        attribute(answer, fixed_bytes, wanted)?.try_into().ok().map(u32::from_ne_bytes)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_answer_is_never_read_beyond_its_end() {
            let whole: Vec<u8> =
                [&[0; 4][..], &7_u16.to_ne_bytes(), &3_u16.to_ne_bytes(), b"lo\0\xff", &[8, 0, 4, 0, 1, 0, 0, 0]]
                    .concat();
            assert_eq!(attribute(&whole, 4, 3), Some(&b"lo\0"[..]));
            for length in 0..whole.len() {
                assert_eq!(number(&whole[..length], 4, 4), None, "{length}");
            }
            assert_eq!(attribute(&[0; 8], 0, 9), None, "an attribute of no length");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_oneself_is_the_loopback_interface() {
        for address in ["127.0.0.1", "::1"] {
            let found = Interface::towards(address.parse().unwrap()).unwrap();
            let mtu = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
            assert_eq!((found.name.as_str(), found.mtu_bytes.to_string().as_str()), ("lo", mtu.trim()), "{found:?}");
            assert!(!found.queueing.is_empty());
        }
    }
}
