//! `connect --replay`: the client's half of a record, as the peer sees it, and what becomes of a peer that differs.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{lines, place, written};
use crate::harness::{Peer, Place, Run, mask, read_exactly, read_to_end};

fn replay(record: &Path, address: &str, flags: &str) -> Run {
    Run::sockkit(&format!("connect {flags} --replay")).args([record.as_os_str(), address.as_ref()])
}

#[test]
fn the_client_says_what_it_said_and_hears_what_it_heard() {
    let (record, _folder) = written(&[
        r#""t":0,"ev":"tx","txt":"PING\r\n""#,
        r#""t":0,"ev":"rx","txt":"+PONG\r\n""#,
        r#""t":0,"ev":"tx","txt":"QUIT\r\n""#,
        r#""t":0,"ev":"fin","dir":"tx""#,
        r#""t":0,"ev":"rx","txt":"+OK\r\n""#,
        r#""t":0,"ev":"fin","dir":"rx""#,
    ]);
    for &kind in Place::ALL {
        let peer = Peer::start(kind, |mut peer| {
            assert_eq!(read_exactly(&peer, 6), b"PING\r\n");
            // Nothing more comes before the whole answer has.
            peer.write_all(b"+PO").unwrap();
            peer.set_nonblocking(true).unwrap();
            assert_eq!(peer.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
            peer.set_nonblocking(false).unwrap();
            peer.write_all(b"NG\r\n").unwrap();
            assert_eq!(read_to_end(&peer), b"QUIT\r\n");
            peer.write_all(b"+OK\r\n").unwrap();
        });
        replay(&record, &peer.address, "").stdout("+PONG\r\n+OK\r\n").check();
        peer.finish();
    }
}

#[test]
fn a_difference_is_status_5_with_its_offset_and_the_record_is_kept() {
    let (record, _folder) =
        written(&[r#""ev":"tx","txt":"PING\r\n""#, r#""ev":"rx","txt":"+PONG\r\n""#, r#""ev":"fin","dir":"rx""#]);
    let (again, _other) = place("again.ndjson");
    for (answer, told) in [
        ("-ERR\r\n", "at offset 0: in line 3 it was \"+PONG\\r\\n\", and \"-ERR\\r\\n\" came"),
        ("+PONG\r\n+PONG\r\n", "at offset 7: nothing more was there, and \"+PONG\\r\\n\" came"),
        ("+PON", "at offset 4: it ended, and in line 3 there was more"),
    ] {
        let peer = Peer::start(Place::Tcp, move |mut peer| {
            read_exactly(&peer, 6);
            peer.write_all(answer.as_bytes()).unwrap();
        });
        let finished = replay(&record, &peer.address, &format!("--force --record {}", again.display())).finish();
        peer.finish();
        let head = "sockkit: receive 127.0.0.1:PORT (tcp) failed after TIME: the peer differs from the record";
        assert_eq!((finished.code, mask(&finished.stderr)), (5, format!("{head}; {told}\n")));
        assert_eq!(lines(&again).last().unwrap(), r#"{"ev":"end","conns":1,"complete":true}"#);
    }
    // By count alone other bytes will do.
    let peer = Peer::start(Place::Tcp, |mut peer| {
        read_exactly(&peer, 6);
        peer.write_all(b"-ERROR!").unwrap();
    });
    replay(&record, &peer.address, "--replay-match bytes").stdout("-ERROR!").check();
    peer.finish();
}

/// A pause is as long as it was, or shorter by the factor, or none.
#[test]
fn pauses_are_kept_unless_told_otherwise() {
    let (record, _folder) = written(&[
        r#""t":0,"ev":"tx","txt":"a""#,
        r#""t":0.4,"ev":"tx","txt":"b""#,
        r#""t":0.4,"ev":"fin","dir":"tx""#,
    ]);
    for (speed, at_least) in [("1x", 400), ("2x", 200), ("max", 0)] {
        let peer = Peer::start(Place::Tcp, |peer| assert_eq!(read_to_end(&peer), b"ab"));
        let begun = Instant::now();
        replay(&record, &peer.address, &format!("--replay-speed {speed}")).check();
        peer.finish();
        assert!(begun.elapsed() >= Duration::from_millis(at_least), "{speed}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_reset_is_played_and_one_that_was_met_is_no_failure() {
    let (record, _folder) = written(&[r#""ev":"tx","txt":"bye""#, r#""ev":"close","how":"rst""#]);
    let (again, _other) = place("again.ndjson");
    let peer = Peer::start(Place::Tcp, |mut peer| {
        assert_eq!(read_exactly(&peer, 3), b"bye");
        assert_eq!(peer.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
    replay(&record, &peer.address, &format!("--record {}", again.display())).check();
    peer.finish();
    assert_eq!(lines(&again)[2], r#"{"conn":1,"ev":"close","how":"rst","rx":0,"tx":3}"#);
    let (record, _folder) = written(&[r#""ev":"tx","txt":"bye""#, r#""ev":"close","how":"peer-rst""#]);
    let peer = Peer::start(Place::Tcp, |peer| {
        read_exactly(&peer, 3);
        peer.set_linger(Some(Duration::ZERO)).unwrap();
    });
    replay(&record, &peer.address, "").check();
    peer.finish();
}

/// A record that a server has made has the client's half as well, of each of its clients.
#[test]
fn the_side_that_did_not_record_can_be_played() {
    let (record, _folder) = place("record.ndjson");
    fs::write(
        &record,
        "{\"sockkit\":1,\"cmd\":[\"serve\",\"-p\",\"7\"]}\n\
         {\"conn\":1,\"ev\":\"rx\",\"txt\":\"one\"}\n\
         {\"conn\":2,\"ev\":\"rx\",\"txt\":\"two\"}\n\
         {\"conn\":2,\"ev\":\"tx\",\"txt\":\"TWO\"}\n\
         {\"ev\":\"end\"}\n",
    )
    .unwrap();
    let peer = Peer::start(Place::Tcp, |mut peer| {
        assert_eq!(read_exactly(&peer, 3), b"two");
        peer.write_all(b"TWO").unwrap();
        // It finishes without waiting for our end, which the record does not have.
        assert_eq!(read_to_end(&peer), b"");
    });
    replay(&record, &peer.address, "--replay-connection 2").stdout("TWO").check();
    peer.finish();
    replay(&record, "127.0.0.1:1", "--replay-connection 3")
        .stderr(&format!("sockkit: --replay-connection 3: {} has 2, counted from 1\n", record.display()))
        .code(2)
        .check();
}

#[test]
fn datagrams_are_sent_as_they_were_even_empty_ones() {
    let (record, _folder) = written(&[
        r#""ev":"open","transport":"udp""#,
        r#""ev":"tx","txt":"one""#,
        r#""ev":"tx","txt":"""#,
        r#""ev":"rx","txt":"answer""#,
        r#""ev":"tx","txt":"two""#,
    ]);
    for (answer, code) in [("answer", 0), ("another", 5)] {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(crate::harness::DEADLINE)).unwrap();
        let address = peer.local_addr().unwrap().to_string();
        let serving = std::thread::spawn(move || {
            let mut datagram = [0; 10];
            let mut receive = |expected: &[u8]| {
                let (length, from) = peer.recv_from(&mut datagram).unwrap();
                assert_eq!(&datagram[..length], expected);
                from
            };
            receive(b"one");
            let from = receive(b"");
            peer.send_to(answer.as_bytes(), from).unwrap();
            if code == 0 {
                receive(b"two");
            }
        });
        let finished = replay(&record, &address, "-u -q 0.2").finish();
        serving.join().unwrap();
        assert_eq!((finished.code, finished.stderr.contains("at offset 2")), (code, code == 5), "{}", finished.stderr);
    }
}

#[test]
fn a_record_that_cannot_be_played_costs_no_connection() {
    let (record, _folder) = written(&[r#""ev":"tx","txt":"a""#]);
    let name = record.display();
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, &text[..text.len() - 4]).unwrap();
    let (precious, _other) = place("precious.ndjson");
    fs::write(&precious, "precious").unwrap();
    replay(&record, "127.0.0.1:1", &format!("--force --record {}", precious.display()))
        .stderr(&format!("sockkit: read {name} failed: line 3: it is cut short: whole lines there are 2\n"))
        .code(4)
        .check();
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    fs::write(&record, text).unwrap();
    for (flags, told) in [
        ("-z", "a replay decides what is sent, and when: leave out -z, or --replay"),
        ("-u", &format!("{name} was recorded over tcp, and this is udp")),
        (
            "--replay-speed 3",
            "invalid value '3' for '--replay-speed <SPEED>': \"3\" is no speed: 1x, 0.5x or 20x, from 0.001x to 1000x, or max",
        ),
    ] {
        replay(&record, "127.0.0.1:1", flags).stderr(&format!("sockkit: {told}\n")).code(2).check();
    }
}
