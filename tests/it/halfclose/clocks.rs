//! What ends a connection before its peers do: clocks, each by its name, and signals.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::datagram_peer;
use crate::harness::{Peer, Place, Running, Signal, dawdle, kill, mask, read_exactly};

/// What is said when a clock has run out.
fn given_up(place: &str, reason: &str, went: &str) -> String {
    format!("sockkit: receive {place} failed after TIME: {reason} (ETIMEDOUT, 110); {went}\n")
}

/// How it is called in a message.
fn shown(place: Place, address: &str) -> String {
    match place {
        Place::Tcp => "127.0.0.1:PORT (tcp)".to_owned(),
        Place::Unix => format!("unix:{address} (unix)"),
    }
}

#[test]
fn a_connection_on_which_nothing_happens_is_idle() {
    let reason = "nothing came or went within the idle timeout";
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            peer.write_all(b"hello\n").unwrap();
            // It stays until the other has gone.
            let _ = peer.read(&mut [0]);
        });
        let begun = Instant::now();
        let client = Running::sockkit(&format!("connect -W 0.3 {}", peer.address));
        let address = peer.address.clone();
        let finished = client.finish();
        assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
        let expected = given_up(&shown(place, &address), reason, "6 bytes received, 0 sent");
        assert_eq!((finished.code, mask(&finished.stderr)), (124, expected));
        assert_eq!(finished.stdout, b"hello\n");
        peer.finish();
    }
    let (_peer, address) = datagram_peer();
    let mut client = Running::sockkit(&format!("connect -u -W 0.3 {address}"));
    client.write(b"hello");
    let finished = client.finish();
    let expected = given_up("127.0.0.1:PORT (udp)", reason, "0 bytes received, 5 sent");
    assert_eq!((finished.code, mask(&finished.stderr)), (124, expected));
}

#[test]
fn a_peer_that_talks_slowly_is_not_idle() {
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            for _ in 0..5 {
                dawdle(Duration::from_millis(400));
                peer.write_all(b".").unwrap();
            }
        });
        let finished = Running::sockkit(&format!("connect -W 1.5 {}", peer.address)).finish();
        let came = (finished.code, finished.stdout.as_slice(), finished.stderr.as_str());
        assert_eq!(came, (0, &b"....."[..], ""), "{place:?}");
        peer.finish();
    }
}

#[test]
fn the_clock_of_connecting_stops_with_it() {
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            dawdle(Duration::from_millis(1500));
            peer.write_all(b"late\n").unwrap();
        });
        let finished = Running::sockkit(&format!("connect -w 1 {}", peer.address)).finish();
        assert_eq!((finished.code, finished.stdout.as_slice()), (0, &b"late\n"[..]), "{place:?}: {}", finished.stderr);
        peer.finish();
    }
}

/// One call of send(2) waits for all of its bytes; the acknowledgements tell that they move.
#[cfg(target_os = "linux")]
#[test]
fn a_peer_that_reads_slowly_is_not_idle() {
    let peer = Peer::start(Place::Tcp, |peer| {
        for _ in 0..10 {
            dawdle(Duration::from_millis(200));
            read_exactly(&peer, 100_000);
        }
        crate::harness::read_to_end(&peer).len()
    });
    let finished = crate::harness::Run::sockkit("connect -W 1")
        .args([&peer.address])
        .stdin(crate::harness::pattern(8_000_000))
        .finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    assert_eq!(peer.finish(), 7_000_000);
}

#[test]
fn when_its_time_is_over_it_ends_whatever_happens() {
    let reason = "the deadline passed";
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            while peer.write_all(b".").is_ok() {
                dawdle(Duration::from_millis(10));
            }
        });
        let finished = Running::sockkit(&format!("connect --max-time 0.5 {}", peer.address)).finish();
        let went = format!("{} bytes received, 0 sent", finished.stdout.len());
        let expected = given_up(&shown(place, &peer.address), reason, &went);
        assert_eq!((finished.code, mask(&finished.stderr)), (124, expected));
        assert!(finished.stdout.starts_with(b"."), "it came to talk");
        peer.finish();
    }
    let (_peer, address) = datagram_peer();
    let finished = Running::sockkit(&format!("connect -u --max-time 0.3 {address}")).finish();
    let expected = given_up("127.0.0.1:PORT (udp)", reason, "0 bytes received, 0 sent");
    assert_eq!((finished.code, mask(&finished.stderr)), (124, expected));
}

#[cfg(target_os = "linux")]
#[test]
fn the_connecting_is_part_of_its_time() {
    let deaf = crate::harness::Deaf::listen(([127, 0, 0, 1], 0).into()).unwrap();
    crate::harness::Run::sockkit(&format!("connect --max-time 0.3 {}", deaf.address))
        .stderr(
            "sockkit: connect 127.0.0.1:PORT (tcp) failed after TIME: the deadline passed \
             (ETIMEDOUT, 110)\n         hint: a closed port refuses at once; silence is a firewall or a dead host\n",
        )
        .code(124)
        .check();
}

/// Ends a client by a signal when it has printed an answer: what is counted before it is passed on is in the verdict.
#[cfg(unix)]
#[track_caller]
fn ended_by_a_signal(words: &str, answer: impl FnOnce(), signal: Signal, code: i32) {
    let mut client = Running::sockkit(&format!("connect -j {words}"));
    client.write(b"x");
    answer();
    client.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    kill(client.pid(), signal);
    let finished = client.finish();
    let verdict = finished.event("closed");
    let told = (&verdict["how"], &verdict["received_bytes"], &verdict["input_ended"]);
    assert_eq!((finished.code, told), (code, (&"signal".into(), &6.into(), &false.into())));
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_with_the_verdict() {
    for (signal, code) in [(Signal::Interrupt, 130), (Signal::Terminate, 143)] {
        for &place in Place::ALL {
            let peer = Peer::start(place, |mut peer| {
                read_exactly(&peer, 1);
                peer.write_all(b"hello\n").unwrap();
                peer
            });
            ended_by_a_signal(&peer.address, || (), signal, code);
            peer.finish();
        }
        let (peer, address) = datagram_peer();
        let answer = || {
            let (_, client) = peer.recv_from(&mut [0; 8]).unwrap();
            peer.send_to(b"hello\n", client).unwrap();
        };
        ended_by_a_signal(&format!("-u {address}"), answer, signal, code);
    }
}
