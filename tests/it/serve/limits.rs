//! How much is served, to how many, and for how long.
#![cfg(unix)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::process::Command;

use socket2::Socket;

use super::{event, stops_listening};
use crate::harness::{
    DEADLINE, Run, SOCKKIT, Server, Signal, dial, exchange, has, mask, pattern, read_exactly, read_to_end,
};

/// An echo on a connection that stays open.
#[track_caller]
fn echo(mut socket: &Socket) {
    socket.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(socket, 5), b"hello");
}

#[test]
fn so_many_are_served_and_the_last_in_full() {
    let mut server = Server::start("--conns 3");
    let address = server.v4();
    let peers: Vec<Socket> = (0..3).map(|_| dial(&address)).collect();
    for _ in &peers {
        assert!(server.line().starts_with("connected by "));
    }
    stops_listening(&address);
    for peer in &peers {
        assert_eq!(exchange(peer, b"hello"), b"hello");
    }
    let finished = server.finish();
    let summary = "served 3 connections in TIME, at most 3 at once; in 15 B, out 15 B\n";
    assert_eq!((finished.code, mask(&finished.stderr).as_str()), (0, summary));
}

#[test]
fn so_many_datagrams_are_answered() {
    let server = Server::start("-u -4 --conns 3");
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer.connect(server.v4()).unwrap();
    for _ in 0..3 {
        peer.send(b"hello").unwrap();
        assert_eq!(peer.recv(&mut [0; 8]).unwrap(), 5);
    }
    let finished = server.finish();
    assert_eq!(
        (finished.code, mask(&finished.stderr).as_str()),
        (0, "served 3 datagrams in TIME; in 15 B, out 15 B\n")
    );
}

#[test]
fn when_its_time_is_over_it_drains_as_at_a_signal() {
    for words in ["--for 0.2", "-u --for 200ms"] {
        let server = Server::start(words);
        let finished = server.finish();
        assert_eq!((finished.code, finished.stdout.len()), (0, 0), "{words}");
    }
    let mut server = Server::start("--for 1");
    let peer = dial(&server.v4());
    assert!(server.line().starts_with("connected by "));
    assert_eq!(read_to_end(&peer), b"");
    assert!(server.line().contains(" closed after "));
    assert_eq!(server.finish().code, 0);
}

#[test]
fn when_nobody_comes_the_message_names_the_clock() {
    for (words, transport) in [("-4 -w 0.1", "tcp"), ("-4 --once -w 100ms", "tcp"), ("-u -4 -w 100ms", "udp")] {
        let finished = Server::start(&format!("--quiet {words}")).finish();
        let message = format!(
            "sockkit: accept 127.0.0.1:PORT ({transport}) failed after TIME: nobody came within the accept timeout \
             (ETIMEDOUT, 110)\n"
        );
        assert_eq!((finished.code, mask(&finished.stderr)), (124, message), "{words}");
    }
}

/// While somebody is there, nobody else need come; the clock starts when they go.
#[test]
fn who_is_there_keeps_it_from_giving_up() {
    let mut server = Server::start("-4 -w 1 --json");
    let peer = dial(&server.v4());
    assert_eq!(event(&server.line())["event"], "accepted");
    crate::harness::dawdle(std::time::Duration::from_millis(1200));
    assert_eq!(exchange(&peer, b"still here"), b"still here");
    assert_eq!(event(&server.line())["how"], "peer_finished");
    assert_eq!(server.finish().code, 124);
}

#[test]
fn an_idle_connection_is_closed_in_order() {
    let mut server = Server::start("-4 -W 0.1");
    let peer = dial(&server.v4());
    echo(&peer);
    assert!(server.line().starts_with("connected by "));
    assert_eq!(read_to_end(&peer), b"");
    let closed = "127.0.0.1:PORT closed as idle after TIME: 5 bytes in, 5 bytes out";
    assert_eq!(mask(&server.line()), closed);
    let finished = server.end(Signal::Terminate);
    let summary = "served 1 connection in TIME, 1 timed out; in 5 B, out 5 B\n";
    assert_eq!((finished.code, mask(&finished.stderr).as_str()), (0, summary));
}

#[test]
fn who_is_too_many_is_closed_or_reset_until_there_is_room() {
    for (how, expected) in [("close", None), ("reset", Some(ErrorKind::ConnectionReset))] {
        let mut server = Server::start(&format!("-4 --json -m 2 --on-full {how}"));
        let mut peers: Vec<Socket> = (0..2).map(|_| dial(&server.v4())).collect();
        peers.iter().for_each(echo);
        let mut third = dial(&server.v4());
        let heard = third.read(&mut [0; 8]);
        assert_eq!(
            (heard.as_ref().ok(), heard.as_ref().err().map(std::io::Error::kind)),
            match expected {
                None => (Some(&0), None),
                some => (None, some),
            }
        );
        drop(peers.remove(0));
        // Two have come, one was refused, and one has gone: then there is room.
        let events: Vec<_> = (0..4).map(|_| event(&server.line())).collect();
        assert_eq!((&events[2]["event"], &events[2]["reason"]), (&"refused".into(), &"full".into()));
        assert_eq!(events[3]["event"], "closed");
        echo(&dial(&server.v4()));
        let finished = server.end(Signal::Terminate);
        assert_eq!(finished.code, 0);
        let stdout = String::from_utf8(finished.stdout).unwrap();
        let summary = event(stdout.lines().last().unwrap());
        assert_eq!((&summary["connections"], &summary["connections_refused"]), (&3.into(), &1.into()), "{stdout}");
        assert_eq!(summary["connections_peak"], 2);
    }
}

#[test]
fn who_is_too_many_waits_until_there_is_room() {
    let mut server = Server::start("-4 -m 2");
    let mut peers: Vec<Socket> = (0..4).map(|_| dial(&server.v4())).collect();
    for mut peer in &peers {
        peer.write_all(b"hello").unwrap();
    }
    server.until_told("2 connections are open, as many as may be: others wait\n");
    while !peers.is_empty() {
        // Only the first two are being served: each that goes lets the next one in.
        let first = peers.remove(0);
        assert_eq!(read_exactly(&first, 5), b"hello");
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&first), b"");
    }
    let finished = server.end(Signal::Terminate);
    let summary = mask(&finished.stderr);
    assert!(summary.ends_with("\nserved 4 connections in TIME, at most 2 at once; in 20 B, out 20 B\n"), "{summary}");
    assert_eq!(finished.code, 0);
}

#[test]
fn one_address_may_have_only_so_many() {
    let mut server = Server::start("--json --max-per-ip 1");
    let first = dial(&server.v4());
    echo(&first);
    assert_eq!(read_to_end(&dial(&server.v4())), b"");
    let events: Vec<_> = (0..2).map(|_| event(&server.line())).collect();
    assert_eq!(events[1]["reason"], "full_for_address");
    // Another address is another matter.
    echo(&dial(&server.v6()));
    drop(first);
    while event(&server.line())["peer"] != "127.0.0.1:PORT" {}
    echo(&dial(&server.v4()));
    assert_eq!(server.end(Signal::Terminate).code, 0);
}

#[test]
fn a_connection_is_closed_once_so_many_bytes_have_come() {
    let mut server = Server::start("-4 --json --max-bytes 1000");
    let sent = pattern(1000);
    for (size, how) in [(999, "peer_finished"), (1001, "max_bytes"), (1_000_000, "max_bytes")] {
        let peer = dial(&server.v4());
        let all = pattern(size);
        let received = std::thread::scope(|scope| {
            // What is too much may find nobody any more.
            scope.spawn(|| {
                let _ = (&peer).write_all(&all);
                let _ = peer.shutdown(Shutdown::Write);
            });
            read_to_end(&peer)
        });
        assert!(received == sent[..size.min(1000)], "{} bytes of {size}", received.len());
        assert_eq!(event(&server.line())["event"], "accepted");
        let closed = event(&server.line());
        assert_eq!((&closed["how"], &closed["received_bytes"]), (&how.into(), &size.min(1000).into()));
    }
}

#[test]
fn what_the_system_cannot_hold_is_not_promised() {
    if !has("prlimit") {
        return;
    }
    let mut command = Command::new("prlimit");
    command.args(["--nofile=100:100", SOCKKIT, "serve", "-p", "0", "-4", "-m", "500"]);
    let server = Server::spawn(command, 1);
    let finished = server.end(Signal::Terminate);
    let expected = "-m 500 is more than the descriptor limit allows: 75 (ulimit -n)\n";
    assert!(finished.stderr.starts_with(expected), "{}", finished.stderr);
}

#[test]
fn limits_that_have_no_meaning_are_refused() {
    for (words, message) in [
        ("-u -p 0 -m 10", "-m has no meaning for udp: datagrams have no connection"),
        ("-u -p 0 -W 10", "-W has no meaning for udp: datagrams have no connection"),
        ("-u -p 0 --max-bytes 10", "--max-bytes has no meaning for udp: datagrams have no connection"),
        ("-U socket --max-per-ip 1", "--max-per-ip has no meaning for a unix socket, whose peers have no address"),
        ("-p 0 --conns 0", "invalid value '0' for '--conns <N>': 0 is not in 1..18446744073709551615"),
        ("-p 0 --once --conns 2", "the argument '--once' cannot be used with '--conns <N>'"),
    ] {
        Run::sockkit(&format!("serve {words}")).stderr(&format!("sockkit: {message}\n")).code(2).check();
    }
}
