//! Packets made up around a connection's bytes: IPv4 and IPv6, TCP and UDP, as RFC 791, 8200, 9293 and 768 lay them out.
//!
//! Owns the headers and their checksums. Must not know in which order packets go. Trade-off: what a record does not know
//! (windows, options, the time to live) is what a plain system would send, and never changes.

use std::net::{IpAddr, SocketAddr};

/// TCP's flags (RFC 9293 section 3.1).
pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// What an IPv4 packet with the shortest headers has room for: 65,535 less 20 for IP and 20 for TCP.
pub const SEGMENT_BYTES_MAX: usize = 65_495;

/// The numbers of the protocols.
const TCP: u8 = 6;
const UDP: u8 = 17;

const TCP_HEADER_BYTES: usize = 20;
const UDP_HEADER_BYTES: usize = 8;

/// As most systems begin with (RFC 1700).
const TIME_TO_LIVE: u8 = 64;

/// The largest window without scaling: more is never unacknowledged here.
const WINDOW: u16 = u16::MAX;

/// A TCP segment.
pub struct Segment<'a> {
    /// The number of its first byte.
    pub sequence: u32,
    /// The number of the byte that is expected next.
    pub acknowledgment: u32,
    pub flags: u8,
    pub payload: &'a [u8],
}

/// The packet of a segment.
pub fn tcp(from: SocketAddr, to: SocketAddr, segment: &Segment<'_>) -> Vec<u8> {
    let mut header = Vec::with_capacity(TCP_HEADER_BYTES);
    header.extend(from.port().to_be_bytes());
    header.extend(to.port().to_be_bytes());
    header.extend(segment.sequence.to_be_bytes());
    header.extend(segment.acknowledgment.to_be_bytes());
    // Its own length in words of four bytes, in the upper half.
    header.extend([(TCP_HEADER_BYTES as u8 / 4) << 4, segment.flags]);
    header.extend(WINDOW.to_be_bytes());
    // The checksum, and no urgent data.
    header.extend([0; 4]);
    let checksum = transport_checksum(from, to, TCP, &header, segment.payload);
    header[16..18].copy_from_slice(&checksum.to_be_bytes());
    packet(from, to, TCP, &header, segment.payload)
}

/// The packet of a datagram.
pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut header = Vec::with_capacity(UDP_HEADER_BYTES);
    header.extend(from.port().to_be_bytes());
    header.extend(to.port().to_be_bytes());
    header.extend(length_of(UDP_HEADER_BYTES + payload.len()).to_be_bytes());
    header.extend([0; 2]);
    // Zero would say that there is none.
    let checksum = match transport_checksum(from, to, UDP, &header, payload) {
        0 => u16::MAX,
        sum => sum,
    };
    header[6..8].copy_from_slice(&checksum.to_be_bytes());
    packet(from, to, UDP, &header, payload)
}

/// What is longer than a packet can be was never one.
fn length_of(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

fn packet(from: SocketAddr, to: SocketAddr, protocol: u8, header: &[u8], payload: &[u8]) -> Vec<u8> {
    let inner_bytes = header.len() + payload.len();
    let mut packet = Vec::with_capacity(40 + inner_bytes);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            // Version 4, five words of header; no service class.
            packet.extend([0x45, 0]);
            packet.extend(length_of(20 + inner_bytes).to_be_bytes());
            // No identification: it is not to be fragmented.
            packet.extend([0, 0, 0x40, 0, TIME_TO_LIVE, protocol, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let checksum = !fold(sum(&packet));
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        (from, to) => {
            // Version 6, no traffic class, no flow label.
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length_of(inner_bytes).to_be_bytes());
            packet.extend([protocol, TIME_TO_LIVE]);
            packet.extend(octets(from));
            packet.extend(octets(to));
        }
    }
    packet.extend_from_slice(header);
    packet.extend_from_slice(payload);
    packet
}

/// As IPv6 writes it, where an IPv4 address is mapped (RFC 4291 section 2.5.5.2).
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Over the addresses, the protocol and the length as well: the pseudo-header.
fn transport_checksum(from: SocketAddr, to: SocketAddr, protocol: u8, header: &[u8], payload: &[u8]) -> u16 {
    let addresses = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum(&from.octets()) + sum(&to.octets()),
        (from, to) => sum(&octets(from)) + sum(&octets(to)),
    };
    let length = (header.len() + payload.len()) as u64;
    !fold(addresses + u64::from(protocol) + length + sum(header) + sum(payload))
}

/// The words of two bytes, added up (RFC 1071); an odd byte at the end is the upper half of one.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let words: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    words + rest.first().map_or(0, |byte| u64::from(*byte) << 8)
}

/// With the carries added in, until there are none.
fn fold(mut sum: u64) -> u16 {
    while sum > u64::from(u16::MAX) {
        sum = (sum >> 16) + (sum & u64::from(u16::MAX));
    }
    sum as u16
}
