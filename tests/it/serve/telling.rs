//! What the server tells, to readers that are slow, or gone: nobody is served later or less because of them.

use std::io::Write;
use std::net::UdpSocket;

use serde_json::Value;
use socket2::Socket;

use super::event;
use crate::harness::{DEADLINE, Running, Server, Signal, dial, exchange, kill, read_exactly, read_to_end};

/// More events than find room in the queue and in a pipe.
const MANY: u64 = 8000;

/// So many datagrams, each answered before the next.
pub fn ask_many(address: &str) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer.connect(address).unwrap();
    for number in 0..MANY {
        let question = number.to_be_bytes();
        peer.send(&question).unwrap();
        let mut answer = [0; 16];
        let length = peer.recv(&mut answer).unwrap();
        assert_eq!(answer[..length], question);
    }
}

#[test]
fn a_reader_that_does_not_read_delays_nobody_and_misses_what_it_is_told_to_have_missed() {
    let server = Server::start("-u -4 --json");
    ask_many(&server.v4());
    // Nothing of it has been read until here.
    let finished = server.end(Signal::Terminate);
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    let stdout = String::from_utf8(finished.stdout).unwrap();
    let events: Vec<Value> = stdout.lines().map(event).collect();
    let count = |name: &str| events.iter().filter(|event| event["event"] == name).count() as u64;
    let dropped: u64 = events.iter().filter_map(|event| event["events"].as_u64()).sum();
    assert!(dropped > 0, "the pipe took all of it");
    assert_eq!(count("datagram") + dropped, MANY);
    let summary = events.last().unwrap();
    assert_eq!((&summary["event"], &summary["datagrams"]), (&"summary".into(), &MANY.into()));
    assert_eq!(summary["events_dropped"], dropped);
}

/// Not even the end waits for it.
#[test]
fn a_reader_that_never_reads_does_not_keep_the_server() {
    let mut server = Running::sockkit("serve -u -4 -p 0 --json");
    let mut stdout = server.stdout.take().unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut stdout, &mut byte).unwrap();
        line.extend(byte);
    }
    let address = event(std::str::from_utf8(&line).unwrap());
    assert_eq!(address["event"], "listening");
    let listening: Value = serde_json::from_slice(&line).unwrap();
    ask_many(listening["address"].as_str().unwrap());
    kill(server.pid(), Signal::Terminate);
    let finished = server.finish();
    assert_eq!(finished.code, 0);
    assert_eq!(finished.stderr, "sockkit: write stdout failed: nobody reads it; the last events are lost\n");
    drop(stdout);
}

#[test]
fn a_signal_asks_how_it_stands() {
    let mut server = Server::start("--grace 0");
    let mut open = dial(&server.v4());
    open.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(&open, 5), b"hello");
    kill(server.pid(), Signal::User1);
    server.until_told("served 1 connection in ");
    // The peer has its answer a moment before the server counts it.
    server.until_told("; in 5 B, out ");
    assert_eq!(exchange(&open, b"more"), b"more");
    assert_eq!(server.end(Signal::Terminate).code, 0);
}

/// With nothing to read again, it is what it is to every program.
#[test]
fn a_hangup_ends_it_in_order() {
    let server = Server::start("");
    let open: Socket = dial(&server.v4());
    (&open).write_all(b"hello").unwrap();
    kill(server.pid(), Signal::Hangup);
    assert_eq!(read_to_end(&open), b"hello");
    assert_eq!(server.finish().code, 0);
}
