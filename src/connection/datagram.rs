//! Datagrams of a server: received from anybody, answered to whoever sent them.
//!
//! Owns the rule of what may be answered. Must not know what the answer is. Trade-off: the socket is never connected, so
//! that it serves every peer; the cost is the peer's address in each call.

use super::{Address, Listener};

/// The largest UDP payload is 65,507 bytes over IPv4 and 65,527 over IPv6; a unix datagram may be as large as its sender's
/// buffer, 208 KiB by default on Linux. Larger ones are reported as truncated.
pub const DATAGRAM_BYTES_MAX: usize = 256 * 1024;

/// Ports below this one belong to services (RFC 6335 section 6), among them the echo and chargen servers that a forged
/// datagram would set to answering each other without end.
const FIRST_CLIENT_PORT: u16 = 1024;

/// Whether a datagram may be answered: on this machine always, elsewhere only what a client may have sent.
///
/// A sender's address can be forged; answering a service's port, or our own on another host, is how loops begin
/// (CVE-2024-2169).
pub fn may_answer(listener: &Listener, sender: &Address) -> bool {
    match sender.port() {
        // A unix socket that has no name cannot be answered at all.
        None => !matches!(sender, Address::Unix(super::UnixName::Unnamed)),
        Some(_) if sender.is_loopback() => true,
        Some(port) => port >= FIRST_CLIENT_PORT && Some(port) != listener.local().port(),
    }
}
