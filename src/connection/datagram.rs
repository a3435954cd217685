//! Datagrams: how large one can be, and which a server may answer.
//!
//! Owns both rules. Must not know what is in a datagram, nor the calls that receive and send it (socket.rs). Trade-off: what a
//! forged sender could be hit with is bounded by what came, which costs a client far away any longer answer.

use super::{Address, Family, Listener};

/// The largest UDP payload is 65,507 bytes over IPv4 and 65,527 over IPv6; a unix datagram may be as large as its sender's
/// buffer, 208 KiB by default on Linux. Larger ones are reported as truncated.
pub const DATAGRAM_BYTES_MAX: usize = 256 * 1024;

/// Ports below this one belong to services (RFC 6335 section 6), among them the echo and chargen servers that a forged
/// datagram would set to answering each other without end.
const FIRST_CLIENT_PORT: u16 = 1024;

/// The largest UDP payload over IPv4: more cannot be put into one datagram everywhere.
pub const PAYLOAD_BYTES_MAX: usize = 65_507;

/// How many bytes one datagram can hold; what the socket's own buffer does not hold the system refuses.
pub fn payload_limit(family: Family) -> usize {
    match family {
        Family::V4 => PAYLOAD_BYTES_MAX,
        // Its header is not counted in a packet's 65,535 bytes; UDP's of 8 bytes is.
        Family::V6 => 65_527,
        Family::Unix => DATAGRAM_BYTES_MAX,
    }
}

/// With how many bytes a datagram of so many may be answered, if at all: a forged sender must not be hit with more than it
/// cost to forge it. On this machine there is nobody else to hit.
pub fn answer_limit(listener: &Listener, sender: &Address, received_bytes: usize) -> Option<usize> {
    let is_ours = sender.port().is_none() || sender.is_loopback();
    may_answer(listener, sender).then_some(if is_ours { usize::MAX } else { received_bytes })
}

/// Whether a datagram may be answered: on this machine always, elsewhere only what a client may have sent.
///
/// A sender's address can be forged; answering a service's port, or our own on another host, is how loops begin
/// (CVE-2024-2169).
fn may_answer(listener: &Listener, sender: &Address) -> bool {
    match sender.port() {
        // A unix socket that has no name cannot be answered at all.
        None => !matches!(sender, Address::Unix(super::UnixName::Unnamed)),
        Some(_) if sender.is_loopback() => true,
        Some(port) => port >= FIRST_CLIENT_PORT && Some(port) != listener.local().port(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Options, Transport, UnixName, listen};

    #[test]
    fn what_a_service_or_our_twin_may_have_sent_is_not_answered() {
        let anywhere = Address::Inet(([127, 0, 0, 1], 0).into());
        let listener = listen(&[anywhere], Transport::Udp, &Options::default(), 1).unwrap().remove(0);
        let own_port = listener.local().port().unwrap();
        // Not our own, and a client's.
        let other_port = if own_port == 65_535 { 65_534 } else { 65_535 };
        for (host, port, expected) in [
            ("192.0.2.1", other_port, true),
            ("192.0.2.1", own_port, false),
            ("192.0.2.1", 1023, false),
            ("192.0.2.1", 7, false),
            ("2001:db8::1", 7, false),
            ("127.0.0.1", own_port, true),
            ("127.0.0.1", 7, true),
            ("::1", 7, true),
        ] {
            let sender = Address::Inet((host.parse::<std::net::IpAddr>().unwrap(), port).into());
            assert_eq!(may_answer(&listener, &sender), expected, "{sender}");
        }
        for (name, expected) in [(UnixName::Path("a".into()), true), (UnixName::Unnamed, false)] {
            assert_eq!(may_answer(&listener, &Address::Unix(name)), expected);
        }
    }
}
