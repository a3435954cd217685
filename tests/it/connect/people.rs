//! What makes `connect` a tool for people: how lines go out, and how what comes is shown and kept.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::harness::{DEADLINE, Peer, Place, Run, pattern, read_to_end};

#[test]
fn lines_end_as_network_protocols_have_it() {
    let (stdin, expected) = ("GET / HTTP/1.0\nHost: a\r\n\n", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    for &place in Place::ALL {
        let peer = Peer::start(place, |peer| read_to_end(&peer));
        Run::sockkit("connect -C").args([&peer.address]).stdin(stdin).check();
        assert_eq!(peer.finish(), expected, "{place:?}");
    }
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    Run::sockkit(&format!("connect -Cuq0 {}", peer.local_addr().unwrap())).stdin("a\nb\n").check();
    let mut datagram = [0; 100];
    let length = peer.recv(&mut datagram).unwrap();
    assert_eq!(&datagram[..length], b"a\r\nb\r\n");
}

/// The peer has finished long before: what is held back is not silent.
#[test]
fn with_an_interval_the_next_line_waits_and_none_is_lost() {
    let interval = Duration::from_millis(250);
    for &place in Place::ALL {
        let peer = Peer::start(place, |peer| {
            peer.shutdown(Shutdown::Write).unwrap();
            read_to_end(&peer)
        });
        let begun = Instant::now();
        Run::sockkit("connect -i 0.25").args([&peer.address]).stdin("one\ntwo\nthree").check();
        assert!(begun.elapsed() >= 2 * interval, "{:?}", begun.elapsed());
        assert_eq!(peer.finish(), b"one\ntwo\nthree", "{place:?}");
    }
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let begun = Instant::now();
    Run::sockkit(&format!("connect -u -q 0 -i 0.25 {}", peer.local_addr().unwrap())).stdin("one\n\nthree\n").check();
    assert!(begun.elapsed() >= 2 * interval, "{:?}", begun.elapsed());
    let mut datagram = [0; 100];
    for line in [&b"one\n"[..], b"\n", b"three\n"] {
        let length = peer.recv(&mut datagram).unwrap();
        assert_eq!(&datagram[..length], line);
    }
}

#[test]
fn a_limited_rate_is_kept() {
    for &place in Place::ALL {
        let peer = Peer::start(place, |peer| read_to_end(&peer));
        let begun = Instant::now();
        Run::sockkit("connect --rate-limit 400K/s").args([&peer.address]).stdin(pattern(200_000)).check();
        // The first piece goes at once, and after the last nothing is waited for.
        assert!(begun.elapsed() >= Duration::from_millis(480), "{:?}", begun.elapsed());
        assert!(peer.finish() == pattern(200_000), "{place:?}");
    }
    Run::sockkit("connect --rate-limit 0 127.0.0.1:1")
        .stderr(
            "sockkit: invalid value '0' for '--rate-limit <RATE>': \"0\" is not a rate: nothing would ever go, for \
             example 500K or 1MiB/s\n",
        )
        .code(2)
        .check();
}
