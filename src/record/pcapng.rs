//! A record as packets, for Wireshark and tcpdump: pcapng (draft-ietf-opsawg-pcapng) with raw IP packets in it.
//!
//! Owns the blocks, and each connection's sequence numbers. Must not know where the bytes come from. Trade-off: the packets
//! are made up, since a program does not see those that went: a handshake, segments that are acknowledged at once, FIN or
//! RST. So it shows what was said, not how the network carried it. What packets cannot hold (rules, errors) is a comment on
//! the next one.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, UNIX_EPOCH};

use super::event::{Direction, Ending, Event, Header, What};
use super::line::sha256;
use super::packet::{ACK, FIN, PSH, RST, SEGMENT_BYTES_MAX, SYN, Segment, tcp, udp};
use crate::connection::{Address, Transport};

/// The kinds of blocks.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// What a section header begins with, so that a reader sees the order of the bytes.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

/// LINKTYPE_RAW: packets begin with their IP header, of either version.
const RAW: u16 = 101;

/// The options: a comment may be in any block, the others have their numbers in theirs.
const COMMENT: u16 = 1;
const SECTION_PROGRAM: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_RESOLUTION: u16 = 9;
const STATISTICS_RECEIVED: u16 = 4;
const PACKET_FLAGS: u16 = 2;

/// An option's length is two bytes; whatever is longer is cut.
const OPTION_BYTES_MAX: usize = 65_532;

/// Two connections with the same addresses must not look like one: their numbers begin this far apart.
const SEQUENCE_STEP: u32 = 0x0100_0000;

/// What there is to remember between events.
#[derive(Debug)]
pub struct Packets {
    /// Of each direction of a connection only so many bytes are kept.
    limit_bytes: Option<u64>,
    start: Duration,
    /// Whether connections are made by us.
    is_client: bool,
    flows: HashMap<u64, Flow>,
    /// What the next packet is to say.
    comments: Vec<String>,
    count: u64,
    /// When what is being added happened.
    time: Duration,
    /// What has been added and is not in the file.
    blocks: Vec<u8>,
}

#[derive(Debug)]
struct Flow {
    is_tcp: bool,
    peer: SocketAddr,
    local: SocketAddr,
    received: Half,
    sent: Half,
}

/// One direction of a TCP connection.
#[derive(Debug)]
struct Half {
    /// The number of its next byte.
    next: u32,
    has_finished: bool,
}

impl Flow {
    fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Received => &mut self.received,
            Direction::Sent => &mut self.sent,
        }
    }
}

fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Received => Direction::Sent,
        Direction::Sent => Direction::Received,
    }
}

impl Packets {
    /// With a limit of the bytes that are kept of each direction of a connection.
    pub fn new(limit_bytes: Option<u64>) -> Packets {
        Packets {
            limit_bytes,
            start: Duration::ZERO,
            is_client: false,
            flows: HashMap::new(),
            comments: Vec::new(),
            count: 0,
            time: Duration::ZERO,
            blocks: Vec::new(),
        }
    }

    /// Adds what a file begins with.
    pub fn begin(&mut self, header: &Header, file: &mut Vec<u8>) {
        self.start = header.start.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.is_client = header.command.first().is_some_and(|command| command == "connect");
        let mut section = Vec::new();
        section.extend(BYTE_ORDER.to_le_bytes());
        // Version 1.0, of unknown length.
        section.extend([1, 0, 0, 0]);
        section.extend((-1_i64).to_le_bytes());
        let seed = header.seed.map_or(String::new(), |seed| format!(" (seed {seed})"));
        option(&mut section, COMMENT, format!("sockkit {}{seed}", header.command.join(" ")).as_bytes());
        option(&mut section, SECTION_PROGRAM, concat!("sockkit ", env!("CARGO_PKG_VERSION")).as_bytes());
        block(file, SECTION_HEADER, section);
        let mut interface = Vec::new();
        interface.extend(RAW.to_le_bytes());
        // Reserved, and no limit to the length of a packet.
        interface.extend([0; 6]);
        option(&mut interface, INTERFACE_NAME, b"sockkit");
        // Times are in units of 10^-9 s.
        option(&mut interface, INTERFACE_RESOLUTION, &[9]);
        block(file, INTERFACE_DESCRIPTION, interface);
    }

    /// Adds the packets of an event.
    pub fn append(&mut self, event: &Event, file: &mut Vec<u8>) {
        self.time = event.time;
        match &event.what {
            What::Open { connection, transport, peer, local } => {
                self.open(*connection, *transport, peer, local);
            }
            What::Data { connection, direction, offset, bytes } => {
                self.with(*connection, |packets, flow| packets.data(flow, *direction, *offset, bytes));
            }
            What::Finished { connection, direction, .. } => {
                self.with(*connection, |packets, flow| packets.finish(flow, *direction));
            }
            What::Fault { connection, rule, fault, at } => {
                self.comments.push(format!("connection {connection}: rule {rule}: {fault} at {at}"));
            }
            What::Close { connection, ending, .. } => {
                if let Ending::Failed(name) = ending {
                    self.comments.push(format!("connection {connection} failed: {name}"));
                }
                self.with(*connection, |packets, flow| packets.close(flow, ending));
                self.flows.remove(connection);
            }
            What::End { connections, complete } => {
                let words = if *complete { "complete" } else { "incomplete" };
                self.comments.push(format!("the end: {connections} connections, {words}"));
                self.statistics();
            }
        }
        file.append(&mut self.blocks);
    }

    fn with(&mut self, connection: u64, change: impl FnOnce(&mut Packets, &mut Flow)) {
        let Some(mut flow) = self.flows.remove(&connection) else { return };
        change(self, &mut flow);
        self.flows.insert(connection, flow);
    }

    fn open(&mut self, connection: u64, transport: Transport, peer: &Address, local: &Address) {
        let Some((peer, local)) = one_family(peer, local) else { return };
        let sequence = (connection as u32).wrapping_mul(SEQUENCE_STEP);
        let half = || Half { next: sequence, has_finished: false };
        let is_tcp = transport == Transport::Tcp;
        let mut flow = Flow { is_tcp, peer, local, received: half(), sent: half() };
        if is_tcp {
            self.shake_hands(&mut flow);
        }
        self.flows.insert(connection, flow);
    }

    fn shake_hands(&mut self, flow: &mut Flow) {
        let client = if self.is_client { Direction::Sent } else { Direction::Received };
        let server = opposite(client);
        self.segment(flow, client, SYN, &[], 0);
        flow.half(client).next = flow.half(client).next.wrapping_add(1);
        self.segment(flow, server, SYN | ACK, &[], 0);
        flow.half(server).next = flow.half(server).next.wrapping_add(1);
        self.segment(flow, client, ACK, &[], 0);
    }

    fn data(&mut self, flow: &mut Flow, direction: Direction, offset: u64, bytes: &[u8]) {
        let kept_of = |limit: u64| bytes.len().min(usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX));
        let kept_bytes = self.limit_bytes.map_or(bytes.len(), kept_of);
        if kept_bytes < bytes.len() {
            let (length, hash) = (bytes.len() - kept_bytes, sha256(&bytes[kept_bytes..]));
            self.comments.push(format!("{length} bytes cut, sha256 {hash}"));
        }
        if !flow.is_tcp {
            let (from, to) = ends(flow, direction);
            self.packet(direction, &udp(from, to, bytes), bytes.len() - kept_bytes);
            return;
        }
        let count = bytes.len().div_ceil(SEGMENT_BYTES_MAX);
        for (number, payload) in bytes.chunks(SEGMENT_BYTES_MAX).enumerate() {
            let flags = if number + 1 == count { PSH | ACK } else { ACK };
            let end = number * SEGMENT_BYTES_MAX + payload.len();
            let cut_bytes = end.saturating_sub(kept_bytes).min(payload.len());
            self.segment(flow, direction, flags, payload, cut_bytes);
            let half = flow.half(direction);
            half.next = half.next.wrapping_add(payload.len() as u32);
            self.segment(flow, opposite(direction), ACK, &[], 0);
        }
    }

    fn finish(&mut self, flow: &mut Flow, direction: Direction) {
        if !flow.is_tcp || flow.half(direction).has_finished {
            return;
        }
        self.segment(flow, direction, FIN | ACK, &[], 0);
        let half = flow.half(direction);
        half.has_finished = true;
        half.next = half.next.wrapping_add(1);
        self.segment(flow, opposite(direction), ACK, &[], 0);
    }

    fn close(&mut self, flow: &mut Flow, ending: &Ending) {
        if !flow.is_tcp {
            return;
        }
        match ending {
            Ending::Finished | Ending::Left => self.finish(flow, Direction::Sent),
            Ending::Reset => self.segment(flow, Direction::Sent, RST | ACK, &[], 0),
            Ending::PeerReset => self.segment(flow, Direction::Received, RST | ACK, &[], 0),
            Ending::Failed(_) => {}
        }
    }

    /// A segment, of whose end so many bytes are not kept.
    fn segment(&mut self, flow: &mut Flow, direction: Direction, flags: u8, payload: &[u8], cut_bytes: usize) {
        let (from, to) = ends(flow, direction);
        let sequence = flow.half(direction).next;
        // The first segment of all acknowledges nothing.
        let acknowledgment = if flags & ACK == 0 { 0 } else { flow.half(opposite(direction)).next };
        let packet = tcp(from, to, &Segment { sequence, acknowledgment, flags, payload });
        self.packet(direction, &packet, cut_bytes);
    }

    /// A packet, of whose end so many bytes are not kept.
    fn packet(&mut self, direction: Direction, packet: &[u8], cut_bytes: usize) {
        let kept = &packet[..packet.len() - cut_bytes];
        let mut content = Vec::with_capacity(kept.len() + 64);
        // The first interface.
        content.extend([0; 4]);
        content.extend(self.timestamp());
        content.extend((kept.len() as u32).to_le_bytes());
        content.extend((packet.len() as u32).to_le_bytes());
        content.extend_from_slice(kept);
        pad(&mut content);
        for comment in self.comments.drain(..) {
            option(&mut content, COMMENT, comment.as_bytes());
        }
        let inbound_or_outbound: u32 = if direction == Direction::Received { 1 } else { 2 };
        option(&mut content, PACKET_FLAGS, &inbound_or_outbound.to_le_bytes());
        block(&mut self.blocks, ENHANCED_PACKET, content);
        self.count += 1;
    }

    fn statistics(&mut self) {
        let mut content = vec![0; 4];
        content.extend(self.timestamp());
        for comment in self.comments.drain(..) {
            option(&mut content, COMMENT, comment.as_bytes());
        }
        option(&mut content, STATISTICS_RECEIVED, &self.count.to_le_bytes());
        block(&mut self.blocks, INTERFACE_STATISTICS, content);
    }

    /// Nanoseconds since 1970, the upper half first.
    fn timestamp(&self) -> [u8; 8] {
        let nanos = (self.start + self.time).as_nanos() as u64;
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&((nanos >> 32) as u32).to_le_bytes());
        bytes[4..].copy_from_slice(&(nanos as u32).to_le_bytes());
        bytes
    }
}

/// From whom and to whom.
fn ends(flow: &Flow, direction: Direction) -> (SocketAddr, SocketAddr) {
    match direction {
        Direction::Received => (flow.peer, flow.local),
        Direction::Sent => (flow.local, flow.peer),
    }
}

/// Both ends as a packet can have them: an IPv4 peer of a socket of both families is one of IPv4, and the address that the
/// socket does not know is then IPv4's.
fn one_family(peer: &Address, local: &Address) -> Option<(SocketAddr, SocketAddr)> {
    let (Address::Inet(peer), Address::Inet(local)) = (peer, local) else { return None };
    let plain = |address: &SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (peer, mut local) = (plain(peer), plain(local));
    if peer.is_ipv4() && local.is_ipv6() && local.ip().is_unspecified() {
        local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, local.port()));
    }
    Some((peer, local))
}

/// Adds a block: its kind, its length before and after, and its content with the end of its options.
fn block(file: &mut Vec<u8>, kind: u32, mut content: Vec<u8>) {
    // The end of the options.
    content.extend([0; 4]);
    let length = (content.len() + 12) as u32;
    file.extend(kind.to_le_bytes());
    file.extend(length.to_le_bytes());
    file.extend_from_slice(&content);
    file.extend(length.to_le_bytes());
}

fn option(content: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(OPTION_BYTES_MAX)];
    content.extend(code.to_le_bytes());
    content.extend((value.len() as u16).to_le_bytes());
    content.extend_from_slice(value);
    pad(content);
}

/// To a whole number of words.
fn pad(content: &mut Vec<u8>) {
    content.resize(content.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests;
