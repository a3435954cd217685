//! `serve --mode forward`: a proxy for one port.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use serde_json::Value;

use super::Spot;
use crate::harness::{Peer, Place, Run, Server, dial, exchange, listener, mask, pattern, read_exactly, read_to_end};

/// A proxy to an address, and what is needed to reach it.
fn proxy(place: Place, target: &str, words: &str) -> (Spot, Server) {
    let spot = Spot::new(place);
    let target = if target.starts_with('/') { format!("unix:{target}") } else { target.to_owned() };
    let server = spot.serve(&format!("{words} --mode forward={target}"));
    (spot, server)
}

#[test]
fn every_byte_goes_through_both_ways_and_so_do_both_ends() {
    let sent = pattern(4 << 20);
    for place in Place::ALL {
        for behind in Place::ALL {
            let target = Peer::start(*behind, |peer| {
                // It answers only after the end of what it is sent.
                let received = read_to_end(&peer);
                (&peer).write_all(&received).unwrap();
                received.len()
            });
            let (spot, server) = proxy(*place, &target.address, "--quiet");
            let came = exchange(&dial(&spot.of(&server)), &sent);
            assert!(came == sent, "{place:?} to {behind:?}: {} bytes", came.len());
            assert_eq!(target.finish(), sent.len());
        }
    }
}

#[test]
fn a_target_that_finishes_first_is_still_spoken_to() {
    let target = Peer::start(Place::Tcp, |mut peer| {
        peer.write_all(b"banner").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        read_to_end(&peer)
    });
    let (spot, server) = proxy(Place::Tcp, &target.address, "--quiet");
    let mut peer = dial(&spot.of(&server));
    assert_eq!(read_to_end(&peer), b"banner");
    peer.write_all(b"late").unwrap();
    drop(peer);
    assert_eq!(target.finish(), b"late");
}

#[test]
fn a_reset_of_the_target_is_the_peers_after_what_came_before() {
    let target = Peer::start(Place::Tcp, |mut peer| {
        peer.write_all(b"before").unwrap();
        assert_eq!(read_exactly(&peer, 2), b"go");
        peer.set_linger(Some(Duration::ZERO)).unwrap();
    });
    let (spot, mut server) = proxy(Place::Tcp, &target.address, "");
    let mut peer = dial(&spot.of(&server));
    assert_eq!(read_exactly(&peer, 6), b"before");
    peer.write_all(b"go").unwrap();
    target.finish();
    assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(server.line().starts_with("connected by "));
    let line = mask(&server.line());
    assert!(line.starts_with("127.0.0.1:PORT failed: Connection reset by peer (ECONNRESET, 104) after "), "{line}");
}

#[test]
fn a_reset_of_the_peer_is_the_targets() {
    let target = Peer::start(Place::Tcp, |mut peer| {
        let mut received = Vec::new();
        let ended = peer.read_to_end(&mut received);
        (received, ended.map_err(|error| error.kind()))
    });
    let (spot, server) = proxy(Place::Tcp, &target.address, "--quiet");
    let mut peer = dial(&spot.of(&server));
    peer.write_all(b"before").unwrap();
    peer.set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    let (_, ended) = target.finish();
    assert_eq!(ended, Err(ErrorKind::ConnectionReset));
    drop(server);
}

#[test]
fn a_target_that_is_not_there_is_said_and_the_peer_is_reset() {
    let (spot, mut server) = proxy(Place::Tcp, "127.0.0.1:1", "--json");
    let mut peer = dial(&spot.of(&server));
    assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    server.line();
    let closed: Value = serde_json::from_str(&server.line()).unwrap();
    assert_eq!((&closed["how"], &closed["errname"]), (&"error".into(), &"ECONNREFUSED".into()));
    let (spot, mut server) = proxy(Place::Tcp, "127.0.0.1:1", "");
    drop(dial(&spot.of(&server)));
    server.line();
    let line = mask(&server.line());
    let failed = "127.0.0.1:PORT failed (connect 127.0.0.1:1 (tcp) failed after TIME: Connection refused (ECONNREFUSED, 111)) after ";
    assert!(line.starts_with(failed), "{line}");
}

#[test]
fn a_target_that_does_not_read_holds_the_peer_back() {
    let (target, address, _folder) = listener(Place::Tcp);
    target.set_recv_buffer_size(64 * 1024).unwrap();
    let (spot, server) = proxy(Place::Tcp, &address, "--quiet --receive-buffer 64Ki");
    let peer = dial(&spot.of(&server));
    let behind = target.accept().unwrap().0;
    peer.set_nonblocking(true).unwrap();
    let sent = pattern(64 << 20);
    let mut taken = 0;
    // Sends until nothing has moved for a while.
    let mut stuck = 0;
    while stuck < 100 {
        match (&peer).write(&sent[taken..]) {
            Ok(count) => (taken, stuck) = (taken + count, 0),
            Err(_) => {
                stuck += 1;
                crate::harness::dawdle(Duration::from_millis(2));
            }
        }
    }
    assert!(taken < 32 << 20, "{taken} bytes were taken");
    drop(behind);
}

/// Faults and the rest are on the peer's side, as with any service.
#[test]
fn faults_apply_to_what_is_forwarded() {
    let target = Peer::start(Place::Tcp, |mut peer| {
        let _ = peer.write_all(&pattern(1000));
        let _ = peer.read(&mut [0; 8]);
    });
    let (spot, server) = proxy(Place::Tcp, &target.address, "--quiet -F close,after=100B");
    assert_eq!(read_to_end(&dial(&spot.of(&server))), pattern(100));
}

#[test]
fn what_cannot_be_forwarded_is_refused() {
    for (words, message) in [
        ("-u -p 0 --mode forward=127.0.0.1:1", "--mode forward is not for udp: what is forwarded is a stream"),
        (
            "-p 0 --mode forward",
            "invalid value 'forward' for '--mode <MODE>': forward= is followed by its value: ENDPOINT, to which each connection is joined: a proxy for one port",
        ),
    ] {
        Run::sockkit(&format!("serve {words}")).stderr(&format!("sockkit: {message}\n")).code(2).check();
    }
}
