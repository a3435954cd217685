//! Signals, draining, `--once`: what has come is answered, then everybody sees an orderly end.
#![cfg(unix)]

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;

use serde_json::Value;
use socket2::{Socket, Type};

use super::stops_listening;
use crate::harness::{
    DEADLINE, Server, Signal, dial, exchange, kill, mask, patient, pattern, plain_socket, read_exactly, read_to_end,
};

/// A peer whose kernel takes little, so that what it does not read piles up at the server.
fn narrow_peer(address: &str) -> Socket {
    let (socket, name) = plain_socket(address, Type::STREAM);
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&name).unwrap();
    patient(socket)
}

#[test]
fn a_signal_ends_it_with_a_summary_and_status_0() {
    for (signal, words, expected) in [
        (Signal::Interrupt, "", "served 1 connection in TIME; in 5 B, out 5 B\n"),
        (Signal::Terminate, "", "served 1 connection in TIME; in 5 B, out 5 B\n"),
        (Signal::Terminate, "--grace 0", "served 1 connection in TIME; in 5 B, out 5 B\n"),
        (Signal::Terminate, "--once", "served 0 connections in TIME; in 0 B, out 0 B\n"),
        (Signal::Interrupt, "-u", "served 0 datagrams in TIME; in 0 B, out 0 B\n"),
        (Signal::Terminate, "-u --once", "served 0 datagrams in TIME; in 0 B, out 0 B\n"),
    ] {
        let mut server = Server::start(words);
        if expected.contains("5 B") {
            assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello");
            assert!(server.line().starts_with("connected by ") && server.line().contains(" closed by peer "));
        }
        let finished = server.end(signal);
        assert_eq!((finished.code, mask(&finished.stderr).as_str()), (0, expected), "serve {words}, {signal:?}");
    }
}

#[test]
fn an_idle_connection_sees_an_orderly_end() {
    let mut server = Server::start("");
    let mut peers: Vec<Socket> = (0..5).map(|_| dial(&server.v4())).collect();
    for peer in &mut peers {
        peer.write_all(b"hello").unwrap();
        assert_eq!(read_exactly(peer, 5), b"hello");
        assert!(server.line().starts_with("connected by "));
    }
    let finished = server.end(Signal::Terminate);
    assert!(peers.iter().all(|peer| read_to_end(peer).is_empty()));
    let stdout = mask(&String::from_utf8(finished.stdout).unwrap());
    assert_eq!(stdout, "127.0.0.1:PORT closed after TIME: 5 bytes in, 5 bytes out\n".repeat(5));
    let summary = "served 5 connections in TIME, at most 5 at once; in 25 B, out 25 B\n";
    assert_eq!((finished.code, mask(&finished.stderr).as_str()), (0, summary));
}

#[test]
fn what_is_queued_at_the_signal_is_answered_before_the_end() {
    let server = Server::start("--quiet --send-buffer 4Ki");
    let address = server.v4();
    let peers: Vec<Socket> = (0..5).map(|_| narrow_peer(&address)).collect();
    // Little enough to be in the server's queue at once, far more than can come back unread.
    let sent = pattern(50_000);
    for mut peer in &peers {
        peer.write_all(&sent).unwrap();
    }
    kill(server.pid(), Signal::Terminate);
    stops_listening(&address);
    for peer in &peers {
        assert!(read_to_end(peer) == sent);
    }
    let finished = server.finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
}

/// Those that the kernel has accepted for a server that is busy: closing the listener would reset them.
#[test]
fn connections_in_the_queue_are_served_before_the_end() {
    let server = Server::start("-j");
    kill(server.pid(), Signal::Stop);
    let peers: Vec<Socket> = [server.v4(), server.v6()].iter().cycle().take(10).map(|address| dial(address)).collect();
    for mut peer in &peers {
        peer.write_all(b"hello").unwrap();
    }
    kill(server.pid(), Signal::Terminate);
    kill(server.pid(), Signal::Continue);
    for peer in &peers {
        assert_eq!(read_to_end(peer), b"hello");
    }
    let finished = server.finish();
    assert_eq!(finished.code, 0);
    let stdout = String::from_utf8(finished.stdout).unwrap();
    let summary = super::event(stdout.lines().last().unwrap());
    assert_eq!((&summary["connections"], &summary["sent_bytes"]), (&10.into(), &50.into()), "{stdout}");
}

#[test]
fn new_connections_are_refused_while_old_ones_finish() {
    let server = Server::start("--quiet");
    let address = server.v4();
    let peer = dial(&address);
    let sent = pattern(16 * 1024 * 1024);
    let received = thread::scope(|scope| {
        scope.spawn(|| {
            // The end of the input may come before all is sent.
            let _ = (&peer).write_all(&sent);
        });
        // Some of it has come back: the connection is in the middle of its work.
        let mut received = read_exactly(&peer, 1024 * 1024);
        kill(server.pid(), Signal::Terminate);
        stops_listening(&address);
        let _ = (&peer).read_to_end(&mut received);
        received
    });
    assert!(received.len() >= 1024 * 1024 && sent.starts_with(&received), "{} bytes, or others", received.len());
    assert_eq!(server.finish().code, 0);
}

#[test]
fn a_peer_that_reads_nothing_is_cut_off_after_the_grace_time() {
    let mut server = Server::start("-j --grace 1 --send-buffer 4Ki");
    let mut peer = narrow_peer(&server.v4());
    peer.write_all(&pattern(50_000)).unwrap();
    assert_eq!(super::event(&server.line())["event"], "accepted");
    let finished = server.end(Signal::Terminate);
    assert_eq!(finished.code, 0);
    let stdout = String::from_utf8(finished.stdout).unwrap();
    let events: Vec<Value> = stdout.lines().map(super::event).collect();
    let [draining, closed, summary] = &events[..] else { panic!("{stdout}") };
    assert_eq!((&draining["connections"], &draining["grace_ms"]), (&1.into(), &1000.0.into()));
    assert_eq!((&closed["event"], &closed["how"]), (&"closed".into(), &"cut".into()));
    assert_eq!((&summary["connections_cut"], &summary["connections_failed"]), (&1.into(), &0.into()));
    let drain = serde_json::json!({ "connections": 1, "finished": 0, "cut": 1, "grace_ms": 1000.0 });
    assert_eq!(summary["drain"], drain);
    // What it was sent is counted, though it never finished.
    assert_eq!(
        (&closed["sent_bytes"], &closed["received_bytes"]),
        (&summary["sent_bytes"], &summary["received_bytes"])
    );
    assert!(
        0 < summary["sent_bytes"].as_u64().unwrap() && summary["sent_bytes"].as_u64().unwrap() < 50_000,
        "{stdout}"
    );
    let mut received = Vec::new();
    let reset = peer.read_to_end(&mut received).unwrap_err();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset, "after {} bytes", received.len());
}

#[test]
fn the_summary_tells_who_was_cut_off_and_who_finished() {
    let mut server = Server::start("--grace 400ms --send-buffer 4Ki");
    let address = server.v4();
    let idle = [dial(&address), dial(&address)];
    let mut stalled = narrow_peer(&address);
    stalled.write_all(&pattern(50_000)).unwrap();
    for _ in 0..3 {
        assert!(server.line().starts_with("connected by "));
    }
    let finished = server.end(Signal::Terminate);
    // Not masked: the grace time is as it was typed.
    let drain = "\ndrain: 3 connections, 2 finished, 1 cut off at the end of the grace time (400 ms)\n";
    assert!(finished.stderr.ends_with(drain), "{}", finished.stderr);
    drop((idle, stalled));
}

#[test]
fn a_second_signal_ends_it_at_once_with_its_status() {
    for (first, second, code) in [
        (Signal::Terminate, Signal::Terminate, 143),
        (Signal::Interrupt, Signal::Interrupt, 130),
        (Signal::Interrupt, Signal::Terminate, 143),
    ] {
        // Only the second signal can end this one.
        let mut server = Server::start("--send-buffer 4Ki --grace 1h");
        let address = server.v4();
        let mut peer = narrow_peer(&address);
        peer.write_all(&pattern(50_000)).unwrap();
        assert!(server.line().starts_with("connected by "));
        kill(server.pid(), first);
        server.until_told("draining 1 connection for at most 1h 00m; a second signal ends at once\n");
        let finished = server.end(second);
        assert_eq!(finished.code, code, "{first:?}, then {second:?}");
        let stdout = mask(&String::from_utf8(finished.stdout).unwrap());
        assert!(stdout.contains("127.0.0.1:PORT cut off after TIME: "), "{stdout}");
        let summary = mask(&finished.stderr);
        assert!(summary.contains("\nserved 1 connection in TIME, 1 cut off at the end; in "), "{summary}");
        assert!(summary.ends_with("\ndrain: 1 connection, 0 finished, 1 cut off by a second signal\n"), "{summary}");
    }
}

#[test]
fn once_waits_for_its_connection_until_told_to_stop() {
    let mut server = Server::start("--once --grace 1h");
    let mut peer = dial(&server.v4());
    assert!(server.line().starts_with("connected by "));
    peer.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(&peer, 5), b"hello");
    kill(server.pid(), Signal::Terminate);
    assert_eq!(read_to_end(&peer), b"");
    assert_eq!(server.finish().code, 0);
}

#[test]
fn a_peer_that_half_closed_long_ago_is_answered_in_full_after_the_signal() {
    let server = Server::start("--quiet --send-buffer 4Ki");
    let address = server.v4();
    let peer = narrow_peer(&address);
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let sent = pattern(50_000);
    (&peer).write_all(&sent).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    kill(server.pid(), Signal::Interrupt);
    stops_listening(&address);
    assert!(read_to_end(&peer) == sent);
    assert_eq!(server.finish().code, 0);
}

/// Who is in the middle of sending is served to the end, and sees no reset.
#[test]
fn a_peer_that_is_still_sending_is_served_until_it_is_done() {
    let server = Server::start("--quiet --grace 1h");
    let address = server.v4();
    let peer = dial(&address);
    let sent = pattern(32 * 1024 * 1024);
    let received = thread::scope(|scope| {
        scope.spawn(|| {
            (&peer).write_all(&sent).unwrap();
        });
        let mut received = read_exactly(&peer, 1024 * 1024);
        kill(server.pid(), Signal::Terminate);
        stops_listening(&address);
        (&peer).read_to_end(&mut received).unwrap();
        received
    });
    assert!(received == sent, "{} bytes, or others", received.len());
    assert_eq!(server.finish().code, 0);
}

/// Its peer has closed neither direction: the server ends the connection first, and listens a little longer.
#[test]
fn what_comes_right_after_the_servers_end_is_no_reason_for_a_reset() {
    let server = Server::start("--quiet");
    let mut peer = dial(&server.v4());
    peer.write_all(b"hello").unwrap();
    kill(server.pid(), Signal::Terminate);
    assert_eq!(read_to_end(&peer), b"hello");
    peer.write_all(b"too late").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0, "still the end, and no reset");
    assert_eq!(server.finish().code, 0);
}

#[test]
fn datagrams_in_the_queue_are_answered_before_the_end() {
    let server = Server::start("-u -4 --quiet");
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer.connect(server.v4()).unwrap();
    kill(server.pid(), Signal::Stop);
    for number in 0..50_u8 {
        peer.send(&[number]).unwrap();
    }
    kill(server.pid(), Signal::Terminate);
    kill(server.pid(), Signal::Continue);
    for number in 0..50_u8 {
        let mut answer = [0; 2];
        assert_eq!((peer.recv(&mut answer).unwrap(), answer[0]), (1, number));
    }
    assert_eq!(server.finish().code, 0);
}
