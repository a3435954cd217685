//! RFC 862: every byte comes back, in order, whoever sends it and however; and nobody disturbs anybody else.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use socket2::Socket;

#[cfg(unix)]
use {
    crate::harness::{Signal, descriptors, growth_kib, held_kib, mask, patient, plain_socket, until},
    socket2::Type,
    std::io,
    std::time::Duration,
};

use crate::harness::{Server, dial, exchange, pattern, read_exactly, read_to_end};

const MIB: usize = 1024 * 1024;

#[test]
fn every_byte_comes_back_to_a_peer_that_half_closes() {
    let server = Server::start("--quiet");
    for size in [0, 1, 2, 100, 1023, 65_535, 65_536, 65_537, MIB, 4 * MIB] {
        for address in [server.v4(), server.v6()] {
            let sent = pattern(size);
            assert!(exchange(&dial(&address), &sent) == sent, "{size} bytes to {address}");
        }
    }
}

#[test]
fn bytes_that_trickle_come_back() {
    let server = Server::start("--quiet");
    let mut peer = dial(&server.v4());
    peer.set_tcp_nodelay(true).unwrap();
    let sent = pattern(2000);
    for byte in &sent {
        peer.write_all(&[*byte]).unwrap();
    }
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&peer), sent);
}

#[test]
fn bytes_that_are_waited_for_one_by_one_come_back() {
    let server = Server::start("--quiet");
    let mut peer = dial(&server.v4());
    for byte in pattern(2000) {
        peer.write_all(&[byte]).unwrap();
        assert_eq!(read_exactly(&peer, 1), [byte]);
    }
}

/// Far more than the buffers of both kernels' sides hold: the server must stop reading instead of keeping it. Winsock does
/// not say how much it took of a send that timed out.
#[cfg(unix)]
#[test]
fn a_peer_that_does_not_read_is_kept_waiting_not_kept_in_memory() {
    let server = Server::start("--quiet --send-buffer 64Ki --receive-buffer 64Ki");
    let before = held_kib(server.pid());
    let (socket, name) = plain_socket(&server.v4(), Type::STREAM);
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.set_send_buffer_size(64 * 1024).unwrap();
    socket.connect(&name).unwrap();
    let peer = patient(socket);
    let sent = pattern(8 * MIB);
    let taken = send_until_stuck(&peer, &sent);
    assert!(taken < 4 * MIB, "{taken} bytes were taken from a peer that does not read");
    let grown = growth_kib(server.pid(), before);
    assert!(grown < 2048, "the server grew by {grown} KiB");
    assert_eq!(exchange(&dial(&server.v4()), b"another"), b"another");
    let received = thread::scope(|scope| {
        scope.spawn(|| {
            (&peer).write_all(&sent[taken..]).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
        });
        read_to_end(&peer)
    });
    assert!(received == sent, "{} of {} bytes, or others", received.len(), sent.len());
}

/// Sends until nothing has moved for a while: how much was taken.
#[cfg(unix)]
fn send_until_stuck(mut peer: &Socket, bytes: &[u8]) -> usize {
    /// On loopback a reader that reads makes room within microseconds.
    const STUCK: Duration = Duration::from_millis(300);
    let patience = peer.write_timeout().unwrap();
    peer.set_write_timeout(Some(STUCK)).unwrap();
    let mut taken = 0;
    while taken < bytes.len() {
        match peer.write(&bytes[taken..]) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    peer.set_write_timeout(patience).unwrap();
    taken
}

#[test]
fn two_hundred_peers_at_once_each_get_their_own() {
    const PEERS: usize = 200;
    let server = Server::start("-j");
    let peers: Vec<Socket> = (0..PEERS).map(|_| dial(&server.v4())).collect();
    for (number, mut peer) in peers.iter().enumerate() {
        peer.write_all(format!("peer {number:03}").as_bytes()).unwrap();
    }
    for (number, peer) in peers.iter().enumerate().rev() {
        assert_eq!(read_exactly(peer, 8), format!("peer {number:03}").as_bytes());
    }
    for peer in &peers {
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(peer), b"");
    }
    #[cfg(unix)]
    {
        let stdout = String::from_utf8(server.end(Signal::Terminate).stdout).unwrap();
        let summary = super::event(stdout.lines().last().unwrap());
        assert_eq!(
            (&summary["connections"], &summary["connections_peak"], &summary["received_bytes"]),
            (&PEERS.into(), &PEERS.into(), &(PEERS * 8).into())
        );
        for kind in ["accepted", "closed"] {
            assert_eq!(stdout.matches(&format!("\"event\":\"{kind}\"")).count(), PEERS, "{kind}");
        }
    }
}

/// What a peer has done before it resets.
#[cfg(unix)]
#[derive(Debug, Clone, Copy)]
enum State {
    Connected,
    HasSent,
    HasReadItsEcho,
    DoesNotRead,
    HasFinished,
}

#[cfg(unix)]
#[test]
fn a_reset_is_the_fate_of_one_connection_only() {
    let mut server = Server::start("-4 --send-buffer 64Ki --receive-buffer 64Ki");
    let mut other = dial(&server.v4());
    assert!(server.line().starts_with("connected by "));
    for state in [State::Connected, State::HasSent, State::HasReadItsEcho, State::DoesNotRead, State::HasFinished] {
        let mut peer = dial(&server.v4());
        assert!(server.line().starts_with("connected by "), "{state:?}");
        match state {
            State::Connected => {}
            State::HasSent => peer.write_all(b"hello").unwrap(),
            State::HasReadItsEcho => {
                peer.write_all(b"hello").unwrap();
                assert_eq!(read_exactly(&peer, 5), b"hello");
            }
            State::DoesNotRead => assert!(send_until_stuck(&peer, &pattern(64 * MIB)) < 64 * MIB),
            State::HasFinished => {
                // The server stands in the middle of its answer.
                send_until_stuck(&peer, &pattern(64 * MIB));
                peer.shutdown(Shutdown::Write).unwrap();
            }
        }
        peer.set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        let line = mask(&server.line());
        let reason = "127.0.0.1:PORT failed: Connection reset by peer (ECONNRESET, 104) after TIME: ";
        assert!(line.starts_with(reason), "{state:?}: {line}");
        other.write_all(b"still here").unwrap();
        assert_eq!(read_exactly(&other, 10), b"still here", "{state:?}");
    }
    drop(other);
    assert!(server.line().contains(" closed by peer after "));
    let finished = server.end(Signal::Terminate);
    let stderr = super::mask_peak(&finished.stderr);
    assert_eq!(finished.code, 0);
    assert!(stderr.starts_with("served 6 connections in TIME, at most N at once, 5 failed; "), "{stderr}");
    assert!(stderr.ends_with("\nended: 1 cleanly, 5 reset (5 by peer)\n"), "{stderr}");
}

/// Reset before the server has seen it at all.
#[cfg(unix)]
#[test]
fn a_storm_of_resets_leaves_no_trace() {
    use crate::harness::kill;
    let server = Server::start("--quiet");
    for round in 0..20 {
        kill(server.pid(), Signal::Stop);
        for _ in 0..20 {
            let mut peer = dial(&server.v4());
            peer.write_all(b"hello").unwrap();
            peer.set_linger(Some(Duration::ZERO)).unwrap();
        }
        kill(server.pid(), Signal::Continue);
        assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello", "round {round}");
    }
    until("the descriptors are back", || descriptors(server.pid()) < 30);
    let finished = server.end(Signal::Terminate);
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
}

/// One that sends as fast as it can must not keep the others waiting.
#[test]
fn a_flood_does_not_starve_a_peer_that_asks_now_and_then() {
    let server = Server::start("--quiet");
    let flood = dial(&server.v4());
    thread::scope(|scope| {
        scope.spawn(|| {
            let block = pattern(64 * 1024);
            while (&flood).write_all(&block).is_ok() {}
        });
        scope.spawn(|| {
            let mut block = vec![0; 64 * 1024];
            while (&flood).read(&mut block).is_ok_and(|count| count > 0) {}
        });
        let peers: Vec<Socket> = (0..4).map(|_| dial(&server.v4())).collect();
        for _ in 0..100 {
            for mut peer in &peers {
                peer.write_all(b"hello").unwrap();
                assert_eq!(read_exactly(peer, 5), b"hello");
            }
        }
        flood.shutdown(Shutdown::Both).unwrap();
    });
}
