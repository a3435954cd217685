//! `serve --record`: several connections in one record, datagrams by their peers, and a server that outlives its record.

use std::io::{ErrorKind, Read, Write};
use std::net::UdpSocket;
use std::time::Duration;

use super::{lines, place};
use crate::harness::{DEADLINE, Server, Signal, dial, exchange, pattern, read_exactly};
#[cfg(target_os = "linux")]
use crate::harness::{kill, mask};

/// The lines of one connection, without its number and addresses.
fn of_connection(lines: &[String], number: u64) -> Vec<String> {
    let begin = format!("{{\"conn\":{number},");
    let of_it = lines.iter().filter_map(|line| line.strip_prefix(&begin));
    of_it.map(|line| line.split(",\"peer\"").next().unwrap().trim_end_matches('}').to_owned()).collect()
}

#[test]
fn each_connection_has_its_lines() {
    let (record, _folder) = place("record.ndjson");
    let server = Server::start(&format!("--record {} --quiet", record.display()));
    assert_eq!(exchange(&dial(&server.v4()), b"hello\n"), b"hello\n");
    let reset = dial(&server.v6());
    (&reset).write_all(b"a").unwrap();
    read_exactly(&reset, 1);
    reset.set_linger(Some(Duration::ZERO)).unwrap();
    drop(reset);
    let idle = dial(&server.v4());
    (&idle).write_all(b"\0").unwrap();
    read_exactly(&idle, 1);
    assert_eq!(server.end(Signal::Terminate).code, 0);
    let lines = lines(&record);
    assert_eq!(
        of_connection(&lines, 1),
        [
            r#""ev":"open","transport":"tcp""#,
            r#""ev":"rx","off":0,"txt":"hello\n""#,
            r#""ev":"tx","off":0,"txt":"hello\n""#,
            r#""ev":"fin","dir":"rx","off":6"#,
            r#""ev":"fin","dir":"tx","off":6"#,
            r#""ev":"close","how":"fin","rx":6,"tx":6"#,
        ]
    );
    assert_eq!(
        of_connection(&lines, 2)[1..],
        [
            r#""ev":"rx","off":0,"txt":"a""#,
            r#""ev":"tx","off":0,"txt":"a""#,
            r#""ev":"close","how":"peer-rst","rx":1,"tx":1"#,
        ]
    );
    // The server's own end.
    assert_eq!(
        of_connection(&lines, 3)[1..],
        [
            r#""ev":"rx","off":0,"b64":"AA==""#,
            r#""ev":"tx","off":0,"b64":"AA==""#,
            r#""ev":"fin","dir":"tx","off":1"#,
            r#""ev":"close","how":"fin","rx":1,"tx":1"#,
        ]
    );
    assert_eq!(lines.last().unwrap(), r#"{"ev":"end","conns":3,"complete":true}"#);
}

#[test]
fn many_connections_at_once_are_all_whole() {
    const CONNECTIONS: usize = 40;
    let (record, _folder) = place("record.ndjson");
    let server = Server::start(&format!("--record {} --record-max 100 --quiet", record.display()));
    let address = server.v4();
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| assert!(exchange(&dial(&address), &pattern(100_000)) == pattern(100_000)));
        }
    });
    assert_eq!(server.end(Signal::Terminate).code, 0);
    let lines = lines(&record);
    let closed = lines.iter().filter(|line| line.ends_with(r#""ev":"close","how":"fin","rx":100000,"tx":100000}"#));
    assert_eq!(closed.count(), CONNECTIONS);
    assert!(std::fs::metadata(&record).unwrap().len() < 2 * 100_000 * CONNECTIONS as u64 / 2, "the data is cut");
}

/// Whoever answers them.
#[test]
fn the_datagrams_of_a_peer_are_a_connection() {
    let echo = Server::start("-4 -u --quiet");
    for mode in ["echo", &format!("forward={}", echo.v4())] {
        let (record, _folder) = place("record.ndjson");
        let server = Server::start(&format!("-u --mode {mode} --record {} --quiet", record.display()));
        let peers = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        for text in [&b"one"[..], b"", b"three"] {
            for peer in &peers {
                peer.set_read_timeout(Some(DEADLINE)).unwrap();
                peer.send_to(text, server.v4()).unwrap();
                peer.recv(&mut [0; 10]).unwrap();
            }
        }
        assert_eq!(server.end(Signal::Terminate).code, 0);
        let lines = lines(&record);
        for number in [1, 2] {
            assert_eq!(
                of_connection(&lines, number),
                [
                    r#""ev":"open","transport":"udp""#,
                    r#""ev":"rx","off":0,"txt":"one""#,
                    r#""ev":"tx","off":0,"txt":"one""#,
                    r#""ev":"rx","off":3,"txt":"""#,
                    r#""ev":"tx","off":3,"txt":"""#,
                    r#""ev":"rx","off":3,"txt":"three""#,
                    r#""ev":"tx","off":3,"txt":"three""#,
                    r#""ev":"close","how":"left","rx":8,"tx":8"#,
                ],
                "{mode}"
            );
        }
    }
}

/// What a rule did is there, before what came of it; as packets, it is a comment on the RST.
#[test]
fn a_fault_is_recorded() {
    for name in ["record.ndjson", "record.pcapng"] {
        let (record, _folder) = place(name);
        let server = Server::start(&format!("-F reset,after=4B --record {} --quiet", record.display()));
        let mut client = dial(&server.v4());
        client.write_all(b"hello").unwrap();
        assert_eq!(read_exactly(&client, 4), b"hell");
        assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(server.end(Signal::Terminate).code, 0);
        if name.ends_with("pcapng") {
            let comment = b"connection 1: rule 0: reset at 4";
            let file = std::fs::read(&record).unwrap();
            assert!(file.windows(comment.len()).any(|window| window == comment));
            continue;
        }
        assert_eq!(
            of_connection(&lines(&record), 1)[2..],
            [
                r#""ev":"tx","off":0,"txt":"hell""#,
                r#""ev":"fault","rule":0,"what":"reset","at":4"#,
                r#""ev":"close","how":"rst","rx":5,"tx":4"#,
            ]
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_once_and_the_server_goes_on() {
    const TOLD: &str = "sockkit: write /dev/full failed: No space left on device (ENOSPC, 28)";
    let server = Server::start("--record /dev/full --quiet --summary text");
    for _ in 0..3 {
        assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello");
    }
    let finished = server.end(Signal::Terminate);
    let stderr = mask(&finished.stderr);
    assert!(stderr.starts_with(&format!("{TOLD}; the record is incomplete\nserved 3 connections in TIME")), "{stderr}");
    let record = "record: /dev/full, incomplete: No space left on device (ENOSPC, 28)";
    assert_eq!((finished.code, stderr.lines().skip(2).collect::<Vec<_>>()), (4, vec![record]));
    // Strict, it ends by itself.
    let finished = Server::start("--record /dev/full --record-strict --quiet").finish();
    assert_eq!((finished.code, finished.stderr), (4, format!("{TOLD}\n")));
}

/// A server that is killed leaves a record that is whole up to its last line.
#[cfg(target_os = "linux")]
#[test]
fn what_has_happened_before_a_kill_is_there() {
    let (record, _folder) = place("record.ndjson");
    let server = Server::start(&format!("--record {} --quiet", record.display()));
    let client = dial(&server.v4());
    (&client).write_all(b"hello").unwrap();
    read_exactly(&client, 5);
    crate::harness::until("the record has the answer", || lines(&record).len() == 3);
    kill(server.pid(), Signal::Kill);
    server.finish();
    assert_eq!(lines(&record).last().unwrap(), r#"{"conn":1,"ev":"tx","off":0,"txt":"hello"}"#);
}
