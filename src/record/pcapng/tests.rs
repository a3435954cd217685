//! The packets as a reader sees them that knows nothing of how they were made.

use std::time::SystemTime;

use proptest::prelude::*;

use super::*;

/// A packet out of the file: checked, and taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    nanos: u64,
    from: SocketAddr,
    to: SocketAddr,
    /// TCP's flags, sequence and acknowledgment numbers; none in UDP.
    tcp: Option<(u8, u32, u32)>,
    payload: Vec<u8>,
    /// Bytes of the payload that were not kept.
    cut_bytes: usize,
    comments: Vec<String>,
    flags: u32,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn word_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The kind and the content of each block.
fn blocks(mut file: &[u8]) -> Vec<(u32, &[u8])> {
    let mut blocks = Vec::new();
    while !file.is_empty() {
        let length = word_at(file, 4) as usize;
        assert!(length.is_multiple_of(4) && length >= 12, "{length}");
        assert_eq!(word_at(file, length - 4) as usize, length, "the length is there twice");
        blocks.push((word_at(file, 0), &file[8..length - 4]));
        file = &file[length..];
    }
    blocks
}

/// The number and the value of each option.
fn options(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    loop {
        let (code, length) = (word_at(bytes, 0) as u16, (word_at(bytes, 0) >> 16) as usize);
        if code == 0 {
            assert_eq!((length, bytes.len()), (0, 4), "nothing follows the end");
            return options;
        }
        options.push((code, bytes[4..4 + length].to_vec()));
        bytes = &bytes[4 + length.next_multiple_of(4)..];
    }
}

fn comments(options: &[(u16, Vec<u8>)]) -> Vec<String> {
    let of_comment = options.iter().filter(|(code, _)| *code == 1);
    of_comment.map(|(_, value)| String::from_utf8(value.clone()).unwrap()).collect()
}

/// The sum of RFC 1071 in the plainest way: with a right checksum inside it is all ones.
fn ones_sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) * 256 + u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Takes a packet apart; checks its lengths, and its checksums where all of it is there.
fn see(content: &[u8]) -> Seen {
    let nanos = (u64::from(word_at(content, 4)) << 32) | u64::from(word_at(content, 8));
    let (kept, whole) = (word_at(content, 12) as usize, word_at(content, 16) as usize);
    let packet = &content[20..20 + kept];
    let options = options(&content[20 + kept.next_multiple_of(4)..]);
    let (header, protocol, addresses) = match packet[0] >> 4 {
        4 => {
            assert_eq!((u16_at(packet, 2) as usize, ones_sum(&packet[..20])), (whole, 0xffff));
            (20, packet[9], packet[12..20].to_vec())
        }
        6 => {
            assert_eq!(u16_at(packet, 4) as usize + 40, whole);
            (40, packet[6], packet[8..40].to_vec())
        }
        other => panic!("version {other}"),
    };
    let inner = &packet[header..];
    if kept == whole {
        let mut pseudo = addresses.clone();
        pseudo.extend((inner.len() as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, protocol]);
        pseudo.extend(inner);
        assert_eq!(ones_sum(&pseudo), 0xffff, "the checksum");
    }
    let (tcp, begin) = match protocol {
        6 => (Some((inner[13], u32_at(inner, 4), u32_at(inner, 8))), usize::from(inner[12] >> 4) * 4),
        17 => {
            assert_eq!(u16_at(inner, 4) as usize + header, whole);
            (None, 8)
        }
        other => panic!("protocol {other}"),
    };
    let address = |half: usize| {
        let octets = &addresses[half * addresses.len() / 2..(half + 1) * addresses.len() / 2];
        match <[u8; 4]>::try_from(octets) {
            Ok(octets) => std::net::IpAddr::from(octets),
            Err(_) => std::net::IpAddr::from(<[u8; 16]>::try_from(octets).unwrap()),
        }
    };
    Seen {
        nanos,
        from: SocketAddr::new(address(0), u16_at(inner, 0)),
        to: SocketAddr::new(address(1), u16_at(inner, 2)),
        tcp,
        payload: inner[begin..].to_vec(),
        cut_bytes: whole - kept,
        comments: comments(&options),
        flags: options.iter().find(|(code, _)| *code == 2).map_or(0, |(_, value)| word_at(value, 0)),
    }
}

const PEER: &str = "127.0.0.1:50001";
const LOCAL: &str = "127.0.0.1:7";

fn inet(text: &str) -> Address {
    Address::Inet(text.parse().unwrap())
}

/// The packets of these events, which happen a microsecond after one another.
fn packets(command: &str, limit_bytes: Option<u64>, whats: Vec<What>) -> (Vec<Seen>, Vec<String>) {
    let mut form = Packets::new(limit_bytes);
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut file = Vec::new();
    form.begin(&Header { start, command: vec![command.to_owned()], seed: Some(7) }, &mut file);
    for (number, what) in whats.into_iter().enumerate() {
        form.append(&Event { time: Duration::from_micros(number as u64), what }, &mut file);
    }
    let blocks = blocks(&file);
    assert_eq!((blocks[0].0, word_at(blocks[0].1, 0)), (0x0a0d_0d0a, 0x1a2b_3c4d));
    assert_eq!(comments(&options(&blocks[0].1[16..])), [format!("sockkit {command} (seed 7)")]);
    assert_eq!((blocks[1].0, word_at(blocks[1].1, 0), word_at(blocks[1].1, 4)), (1, 101, 0));
    assert!(options(&blocks[1].1[8..]).contains(&(9, vec![9])), "nanoseconds");
    let of_packets = blocks.iter().filter(|(kind, _)| *kind == 6);
    let seen: Vec<Seen> = of_packets.map(|(_, content)| see(content)).collect();
    let statistics = blocks.iter().find(|(kind, _)| *kind == 5).expect("the end");
    let told = options(&statistics.1[12..]);
    assert!(told.contains(&(4, (seen.len() as u64).to_le_bytes().to_vec())), "{told:?}");
    (seen, comments(&told))
}

fn open(transport: Transport, peer: &str, local: &str) -> What {
    What::Open { connection: 1, transport, peer: inet(peer), local: inet(local) }
}

fn data(direction: Direction, offset: u64, bytes: &[u8]) -> What {
    What::Data { connection: 1, direction, offset, bytes: bytes.to_vec() }
}

fn close(ending: Ending) -> What {
    What::Close { connection: 1, ending, received_bytes: 0, sent_bytes: 0 }
}

const END: What = What::End { connections: 1, complete: true };

/// Who sent which flags, relative sequence and acknowledgment numbers, and how much.
fn told(seen: &[Seen]) -> Vec<String> {
    let first = |port: u16| seen.iter().find(|packet| packet.from.port() == port).unwrap().tcp.unwrap().1;
    seen.iter()
        .map(|packet| {
            let (flags, sequence, acknowledgment) = packet.tcp.unwrap();
            let names: String =
                "FSRPA".chars().enumerate().filter(|(bit, _)| flags & (1 << bit) != 0).map(|(_, name)| name).collect();
            let acknowledged = if flags & ACK == 0 { 0 } else { acknowledgment.wrapping_sub(first(packet.to.port())) };
            let sequence = sequence.wrapping_sub(first(packet.from.port()));
            format!("{} {names} {sequence} {acknowledged} {}", packet.from.port(), packet.payload.len())
        })
        .collect()
}

#[test]
fn a_connection_is_a_handshake_data_that_is_acknowledged_and_an_end() {
    let (received, sent) = (Direction::Received, Direction::Sent);
    let events = |ending: Vec<What>| {
        let mut events = vec![open(Transport::Tcp, PEER, LOCAL), data(received, 0, b"hello"), data(sent, 0, b"hey")];
        events.extend(ending);
        events.push(END);
        events
    };
    let begin = ["50001 S 0 0 0", "7 SA 0 1 0", "50001 A 1 1 0", "50001 PA 1 1 5", "7 A 1 6 0", "7 PA 1 6 3"];
    let fin = |direction| What::Finished { connection: 1, direction, offset: 0 };
    for (ending, packets_of_it) in [
        (
            vec![fin(received), fin(sent), close(Ending::Finished)],
            &["50001 FA 6 4 0", "7 A 4 7 0", "7 FA 4 7 0", "50001 A 7 5 0"][..],
        ),
        (vec![close(Ending::Finished)], &["7 FA 4 6 0", "50001 A 6 5 0"]),
        (vec![close(Ending::Reset)], &["7 RA 4 6 0"]),
        (vec![fin(sent), close(Ending::PeerReset)], &["7 FA 4 6 0", "50001 A 6 5 0", "50001 RA 6 5 0"]),
        (vec![close(Ending::Failed("ETIMEDOUT".to_owned()))], &[]),
    ] {
        let (seen, _) = packets("serve", None, events(ending));
        let expected: Vec<&str> = begin.iter().chain(&["50001 A 6 4 0"]).chain(packets_of_it).copied().collect();
        assert_eq!(told(&seen), expected);
        assert_eq!(seen[3].nanos, 1_800_000_000_000_001_000);
        assert_eq!(seen.iter().map(|packet| packet.flags).take(4).collect::<Vec<_>>(), [1, 2, 1, 1]);
    }
    // A client's own end is the one that connects.
    let (seen, _) = packets("connect", None, events(vec![]));
    assert_eq!(told(&seen)[..3], ["7 S 0 0 0", "50001 SA 0 1 0", "7 A 1 1 0"]);
}

#[test]
fn what_does_not_fit_into_a_packet_goes_in_several() {
    let bytes = vec![b'x'; 2 * SEGMENT_BYTES_MAX + 1];
    for (peer, local) in [(PEER, LOCAL), ("[::1]:50001", "[::1]:7")] {
        let events = vec![open(Transport::Tcp, peer, local), data(Direction::Sent, 0, &bytes), END];
        let (seen, _) = packets("serve", None, events);
        let expected =
            ["7 A 1 1 65495", "50001 A 1 65496 0", "7 A 65496 1 65495", "50001 A 1 130991 0", "7 PA 130991 1 1"];
        assert_eq!(told(&seen)[3..8], expected);
        assert_eq!(seen[3].from, local.parse().unwrap());
    }
}

#[test]
fn a_datagram_is_one_packet_however_long_or_empty() {
    for (peer, local, from) in [
        (PEER, LOCAL, PEER),
        ("[::1]:50001", "[::1]:7", "[::1]:50001"),
        // A socket of both families.
        ("[::ffff:127.0.0.1]:50001", "[::]:7", PEER),
    ] {
        let largest = vec![0xff; 65_507];
        let mut events = vec![open(Transport::Udp, peer, local)];
        events.extend([&b""[..], b"a", b"ab", &largest].map(|bytes| data(Direction::Received, 0, bytes)));
        events.push(close(Ending::Left));
        events.push(END);
        let (seen, _) = packets("serve", None, events);
        assert_eq!(seen.iter().map(|packet| packet.payload.len()).collect::<Vec<_>>(), [0, 1, 2, 65_507]);
        assert!(seen.iter().all(|packet| packet.from == from.parse().unwrap() && packet.tcp.is_none()), "{seen:?}");
    }
}

#[test]
fn what_packets_cannot_hold_is_a_comment_on_the_next_one() {
    let fault = |at| What::Fault { connection: 1, rule: 0, fault: "reset".to_owned(), at };
    let mut events = vec![open(Transport::Tcp, PEER, LOCAL), fault(4), close(Ending::Reset), fault(5)];
    events.push(What::End { connections: 1, complete: false });
    let (seen, at_end) = packets("serve", None, events);
    assert_eq!(seen[3].comments, ["connection 1: rule 0: reset at 4"]);
    assert_eq!(at_end, ["connection 1: rule 0: reset at 5", "the end: 1 connections, incomplete"]);
}

#[test]
fn what_is_cut_keeps_its_length_and_its_hash() {
    let bytes = vec![b'x'; SEGMENT_BYTES_MAX + 4];
    let events = vec![open(Transport::Tcp, PEER, LOCAL), data(Direction::Sent, 2, &bytes), END];
    let (seen, _) = packets("serve", Some(12), events);
    let of_server = seen.iter().filter(|packet| packet.from.port() == 7).skip(1);
    let lengths: Vec<_> = of_server.map(|packet| (packet.payload.len(), packet.cut_bytes)).collect();
    assert_eq!(lengths, [(10, SEGMENT_BYTES_MAX - 10), (0, 4)]);
    assert_eq!(seen[3].comments, [format!("65489 bytes cut, sha256 {}", sha256(&bytes[10..]))]);
}

proptest! {
    #[test]
    fn every_checksum_is_right_and_every_byte_is_there(
        runs in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..300)), 0..20),
        is_tcp: bool,
        is_v6: bool,
        ports: (u16, u16),
    ) {
        let host = if is_v6 { "[2001:db8::ffff:1]" } else { "192.0.2.255" };
        let transport = if is_tcp { Transport::Tcp } else { Transport::Udp };
        let mut events = vec![open(transport, &format!("{host}:{}", ports.0), &format!("{host}:{}", ports.1))];
        let mut offsets = [0; 2];
        let mut streams = [const { Vec::new() }; 2];
        for (is_sent, bytes) in runs {
            let direction = if is_sent { Direction::Sent } else { Direction::Received };
            events.push(data(direction, offsets[usize::from(is_sent)], &bytes));
            offsets[usize::from(is_sent)] += bytes.len() as u64;
            streams[usize::from(is_sent)].extend(bytes);
        }
        events.push(END);
        let (seen, _) = packets("serve", None, events);
        for (stream, inbound_or_outbound) in streams.iter().zip(1..) {
            let packets = seen.iter().filter(|packet| packet.flags == inbound_or_outbound);
            prop_assert_eq!(&packets.flat_map(|packet| packet.payload.clone()).collect::<Vec<u8>>(), stream);
        }
    }
}
