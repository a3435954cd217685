//! Endings, shaping and payload, on tcp and unix streams.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use socket2::{Socket, Type};

use super::{End, converse, faulty, read_all};
use crate::harness::{Server, dial, exchange, patient, pattern, plain_socket, read_exactly, read_to_end};

/// A server on tcp, and where it is; and one on a unix path.
fn both(rules: &[&str]) -> Vec<(Server, String, Option<tempfile::TempDir>)> {
    let tcp = faulty("", rules);
    let address = tcp.v4();
    let mut servers = vec![(tcp, address, None)];
    if cfg!(unix) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket").to_str().unwrap().to_owned();
        servers.push((faulty(&format!("-U {path}"), rules), path, Some(folder)));
    }
    servers
}

#[test]
fn close_is_a_fin_after_exactly_so_many_bytes() {
    for (rules, length) in [
        (&["close"][..], 0),
        (&["close,after=1B"], 1),
        (&["close,after=1KiB"], 1024),
        (&["close,after=1KiB,dir=in"], 1024),
        (&["close,after=100KiB"], 100 * 1024),
        (&["delay=1ms", "close,after=1KiB"], 1024),
        (&["chunk=100B", "close,after=1KiB,dir=both"], 1024),
    ] {
        for (_server, address, _folder) in both(rules) {
            let socket = dial(&address);
            // What the peer sends beyond is drained: the end is no reset.
            let (received, end) = converse(&socket, &pattern(200 * 1024));
            assert_eq!((received.len(), end), (length, End::Fin), "{rules:?} {address}");
            assert_eq!(received, pattern(length), "{rules:?} {address}");
        }
    }
}

#[test]
fn reset_is_a_rst_and_what_was_promised_has_arrived() {
    for (rules, length) in [
        (&["reset"][..], 0),
        (&["reset,after=1KiB"], 1024),
        (&["reset,after=1KiB,dir=in"], 1024),
        (&["reset,after=2000000B"], 2_000_000),
        (&["rate=10MB/s", "reset,after=100KB"], 100_000),
    ] {
        let server = faulty("", rules);
        let (received, end) = converse(&dial(&server.v4()), &pattern(2_100_000));
        assert_eq!((received.len(), end), (length, End::Reset), "{rules:?}");
        assert_eq!(received, pattern(length), "{rules:?}");
    }
}

#[test]
fn a_message_of_a_stream_is_a_line() {
    let server = faulty("", &["reset,after=2msg"]);
    let mut socket = dial(&server.v4());
    socket.write_all(b"one\ntwo\nthree\nfour\n").unwrap();
    assert_eq!(read_all(&socket), (b"one\ntwo\n".to_vec(), End::Reset));
}

#[test]
fn an_ending_by_the_clock_comes_though_nothing_moves_or_all_does() {
    for rule in ["reset,after=200ms", "close,after=200ms", "reset,after=200ms,dir=in"] {
        let end = if rule.starts_with("reset") { End::Reset } else { End::Fin };
        let server = faulty("", &[rule]);
        let begun = Instant::now();
        assert_eq!(read_all(&dial(&server.v4())), (vec![], end), "{rule}");
        assert!(begun.elapsed() >= Duration::from_millis(200), "{rule}");
        // A peer that does not stop: more than passes in so short a time.
        let much = vec![b'x'; 1 << 29];
        let (received, came) = converse(&dial(&server.v4()), &much);
        assert!(!received.is_empty() && came == end, "{rule}: {} bytes, {came:?}", received.len());
    }
}

#[test]
fn half_close_ends_one_direction_and_takes_the_other() {
    for rule in ["half-close,after=5B", "half-close,after=5B,dir=in"] {
        for (mut server, address, _folder) in both(&[rule]) {
            let mut socket = dial(&address);
            socket.write_all(b"hello").unwrap();
            assert_eq!(read_to_end(&socket), b"hello");
            // It goes on taking: what it took is counted at the end.
            socket.write_all(&pattern(300_000)).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            assert!(server.line().contains("\"accepted\""));
            assert!(server.line().contains("\"fault\""), "{rule}");
            let closed = server.line();
            assert!(
                closed.contains("\"how\":\"peer_finished\"") && closed.contains("\"received_bytes\":300005"),
                "{closed}"
            );
        }
    }
}

/// Whether nothing comes, and no end: for a while, which is long for a loopback.
fn is_silent(mut socket: &Socket) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let read = socket.read(&mut [0]);
    patient(socket.try_clone().unwrap());
    read.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

#[test]
fn a_stall_says_nothing_and_does_not_end() {
    for (server, address, _folder) in both(&["stall,after=5B"]) {
        let mut socket = dial(&address);
        socket.write_all(b"hello and more").unwrap();
        assert_eq!(read_exactly(&socket, 5), b"hello");
        assert!(is_silent(&socket));
        // Not even to a peer that finishes.
        socket.shutdown(Shutdown::Write).unwrap();
        assert!(is_silent(&socket));
        drop(server);
    }
    // A stall that has its time goes on as if nothing had been.
    let server = faulty("", &["stall,for=200ms"]);
    let begun = Instant::now();
    assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello");
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

/// What a peer can send before nobody takes any more.
fn taken(address: &str) -> usize {
    let (mut socket, name) = plain_socket(address, Type::STREAM);
    socket.set_send_buffer_size(4096).unwrap();
    socket.connect(&name).unwrap();
    socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut sent = 0;
    while sent < 10_000_000 {
        match socket.write(&[b'x'; 1000]) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    sent
}

#[test]
fn a_server_that_does_not_read_makes_its_peer_wait() {
    for rule in ["stall,dir=in", "stall,dir=in,after=4KiB", "stall", "rate=1KiB/s,dir=in"] {
        for (_server, address, _folder) in both(&["buffer=4KiB", rule]) {
            let sent = taken(&address);
            assert!((1..1_000_000).contains(&sent), "{rule} {address}: {sent} bytes");
        }
    }
}

#[test]
fn a_stalled_peer_that_resets_is_let_go() {
    let mut server = faulty("", &["stall,after=1B"]);
    let socket = dial(&server.v4());
    (&socket).write_all(b"hello").unwrap();
    read_exactly(&socket, 1);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(socket);
    assert!(server.line().contains("\"accepted\"") && server.line().contains("\"fault\""));
    let closed = server.line();
    assert!(closed.contains("\"closed\"") && closed.contains("peer_reset"), "{closed}");
}

#[test]
fn shaping_loses_nothing_and_takes_its_time() {
    for (rules, length, least_ms) in [
        (&["delay=150ms"][..], 5, 150),
        (&["delay=150ms,dir=both"], 5, 300),
        (&["delay=50ms", "delay=100ms..200ms"], 5, 150),
        (&["delay=100ms..200ms,dir=in"], 300_000, 100),
        (&["rate=100KB/s"], 30_000, 250),
        (&["rate=100KB/s,dir=in"], 30_000, 250),
        (&["chunk=16B/20ms"], 100, 120),
        (&["chunk=1B..16B"], 10_000, 0),
        (&["chunk=1B..16B,dir=both", "delay=10ms..20ms,dir=both", "rate=1MB/s"], 30_000, 20),
        (&["mss=536", "buffer=8KiB"], 300_000, 0),
        (&["delay-close=150ms"], 5, 150),
    ] {
        let (server, begun) = (faulty("", rules), Instant::now());
        let bytes = pattern(length);
        assert!(exchange(&dial(&server.v4()), &bytes) == bytes, "{rules:?}");
        assert!(begun.elapsed() >= Duration::from_millis(least_ms), "{rules:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn the_end_alone_is_late() {
    let server = faulty("", &["delay-close=300ms"]);
    let mut socket = dial(&server.v4());
    let begun = Instant::now();
    socket.write_all(b"hello").unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_exactly(&socket, 5), b"hello");
    assert!(is_silent(&socket));
    assert_eq!(read_to_end(&socket), b"");
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_the_kernels_is_told_to_the_kernel() {
    let server = faulty("", &["mss=536"]);
    let socket = dial(&server.v4());
    assert!(socket.tcp_mss().unwrap() <= 536, "{:?}", socket.tcp_mss());
    // Each byte is a segment of its own.
    let server = faulty("", &["chunk=1B/5ms"]);
    let mut socket = dial(&server.v4());
    socket.write_all(b"hello").unwrap();
    let mut reads = Vec::new();
    while reads.iter().sum::<usize>() < 5 {
        reads.push(socket.read(&mut [0; 64]).unwrap());
    }
    assert!(reads.len() >= 3, "a busy machine may see two at once, not all: {reads:?}");
}

#[test]
fn payload_is_changed_where_the_seed_says() {
    let sent = pattern(64 * 1024);
    let came = |seed: &str, rules: &[&str]| exchange(&dial(&faulty(seed, rules).v4()), &sent);
    let changed = |came: &[u8]| (0..sent.len()).filter(|place| came[*place] != sent[*place]).collect::<Vec<_>>();
    assert_eq!(changed(&came("--seed 1", &["corrupt=3,after=100B"])), [100, 101, 102]);
    let first = came("--seed 1", &["corrupt=1/4KiB"]);
    assert_eq!(changed(&first).iter().map(|place| place / 4096).collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
    assert_eq!(came("--seed 1", &["corrupt=1/4KiB"]), first);
    assert_ne!(came("--seed 2", &["corrupt=1/4KiB"]), first);
    assert_eq!(changed(&came("--seed 1", &["corrupt=3,dir=in"])), [0, 1, 2]);
}

#[test]
fn garbage_comes_unasked_and_the_rest_after_it() {
    let garbage = |words: &str| {
        let server = faulty(words, &["garbage=36B"]);
        let came = exchange(&dial(&server.v4()), b"hello");
        assert_eq!((came.len(), &came[36..]), (41, &b"hello"[..]));
        came[..36].to_vec()
    };
    let first = garbage("--seed 1");
    assert_eq!(garbage("--seed 1"), first);
    assert_ne!(garbage("--seed 2"), first);
    let server = faulty("--seed 1", &["garbage=36B", "close,after=36B"]);
    assert_eq!(read_all(&dial(&server.v4())), (first, End::Fin));
}

#[test]
fn rules_are_for_the_services_that_speak_first_too() {
    let server = faulty("--mode send=hello", &["delay=1ms", "close,after=3B"]);
    assert_eq!(read_all(&dial(&server.v4())), (b"hel".to_vec(), End::Fin));
    let server = faulty("--mode chargen", &["chunk=16B..600B", "reset,after=64KiB"]);
    let (received, end) = read_all(&dial(&server.v4()));
    assert_eq!((received.len(), end), (64 * 1024, End::Reset));
}
