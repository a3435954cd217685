//! UDP: every datagram goes back to whoever sent it.

use std::net::UdpSocket;

#[cfg(unix)]
use crate::harness::Signal;
use crate::harness::{DEADLINE, Server, mask, pattern};

/// A plain socket that talks to one of a server's addresses.
fn peer_of(address: &str) -> UdpSocket {
    let own = if address.starts_with('[') { "[::1]:0" } else { "127.0.0.1:0" };
    let peer = UdpSocket::bind(own).unwrap();
    peer.connect(address).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer
}

/// The next datagram.
#[track_caller]
fn receive(peer: &UdpSocket) -> Vec<u8> {
    let mut datagram = vec![0; 70_000];
    let length = peer.recv(&mut datagram).expect("an answer");
    datagram.truncate(length);
    datagram
}

#[test]
fn datagrams_of_every_size_come_back_whole() {
    let server = Server::start("-u");
    let mut total = 0;
    for address in [server.v4(), server.v6()] {
        let peer = peer_of(&address);
        for size in [0, 1, 1472, 1473, 9000, 65_507] {
            let sent = pattern(size);
            peer.send(&sent).unwrap();
            assert!(receive(&peer) == sent, "{size} bytes to {address}");
            total += size;
        }
    }
    assert_eq!(total, 2 * 77_453, "what the summary below counts");
    #[cfg(unix)]
    {
        let finished = server.end(Signal::Terminate);
        assert_eq!(
            (finished.code, finished.stdout, mask(&finished.stderr).as_str()),
            (0, Vec::new(), "served 12 datagrams in TIME; in 151.3 KiB, out 151.3 KiB\n")
        );
    }
}

#[test]
fn many_peers_get_their_own_answers() {
    let server = Server::start("-u --quiet");
    let peers: Vec<UdpSocket> =
        (0..20).map(|number| peer_of(&if number % 2 == 0 { server.v4() } else { server.v6() })).collect();
    for round in 0..20 {
        for (number, peer) in peers.iter().enumerate() {
            peer.send(format!("{number} in {round}").as_bytes()).unwrap();
        }
        for (number, peer) in peers.iter().enumerate().rev() {
            assert_eq!(receive(peer), format!("{number} in {round}").as_bytes());
        }
    }
}

/// The answer to a peer that has gone comes back as an ICMP error; with the next receive a naive server dies of it.
#[cfg(unix)]
#[test]
fn a_peer_that_has_gone_does_not_end_it() {
    use crate::harness::kill;
    let server = Server::start("-u");
    let staying = peer_of(&server.v4());
    for _ in 0..20 {
        kill(server.pid(), Signal::Stop);
        let going = peer_of(&server.v4());
        going.send(b"one").unwrap();
        going.send(b"two").unwrap();
        drop(going);
        kill(server.pid(), Signal::Continue);
        staying.send(b"hello").unwrap();
        assert_eq!(receive(&staying), b"hello");
    }
    let finished = server.end(Signal::Terminate);
    assert_eq!(finished.code, 0);
    let stderr = mask(&finished.stderr);
    assert!(stderr.starts_with("served 60 datagrams in TIME; in 220 B, out "), "{stderr}");
}

#[test]
fn datagrams_are_said_with_v_and_in_json_only() {
    for (words, expected) in [
        ("-u -4 -v", "datagram from 127.0.0.1:PORT: 5 bytes"),
        (
            "-u -4 --json",
            r#"{"schema":"sockkit.serve/1","event":"datagram","peer":"127.0.0.1:PORT","received_bytes":5,"truncated":false}"#,
        ),
    ] {
        let mut server = Server::start(words);
        let peer = peer_of(&server.v4());
        peer.send(b"hello").unwrap();
        assert_eq!(receive(&peer), b"hello");
        assert_eq!(mask(&server.line()), expected, "serve {words}");
    }
}

#[test]
fn once_ends_it_after_one_datagram() {
    let server = Server::start("-u --once");
    let peer = peer_of(&server.v6());
    peer.send(b"hello").unwrap();
    assert_eq!(receive(&peer), b"hello");
    let finished = server.finish();
    assert_eq!(
        (finished.code, finished.stdout, mask(&finished.stderr).as_str()),
        (0, Vec::new(), "served 1 datagram in TIME; in 5 B, out 5 B\n")
    );
}
