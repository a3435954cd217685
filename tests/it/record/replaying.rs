//! `serve --mode replay=FILE`: the server's half of a record, as the other end sees it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{lines, place, written};
use crate::harness::{DEADLINE, Finished, Run, Server, Signal, dial, exchange, pattern, read_exactly, read_to_end};

/// A server that plays it.
fn replay(record: &Path, flags: &str) -> Server {
    Server::start(&format!("--mode replay={} --replay-speed max --quiet {flags}", record.display()))
}

#[test]
fn an_answer_comes_once_as_much_has_come_as_had() {
    let (record, _folder) = written(&[
        r#""ev":"tx","txt":"220 ready\r\n""#,
        r#""ev":"rx","txt":"HELO me\r\n""#,
        r#""ev":"tx","txt":"250 hello\r\n""#,
        r#""ev":"tx","b64":"AAH/""#,
        r#""ev":"close","how":"fin""#,
    ]);
    let server = replay(&record, "");
    for _ in 0..2 {
        let mut client = dial(&server.v4());
        assert_eq!(read_exactly(&client, 11), b"220 ready\r\n");
        // By count: other bytes do as well, and a part of them does not.
        client.write_all(b"EHLO").unwrap();
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
        client.set_nonblocking(false).unwrap();
        client.write_all(b" you\r").unwrap();
        assert_eq!(read_to_end(&client), b"250 hello\r\n\x00\x01\xff");
    }
    assert_eq!(server.end(Signal::Terminate).code, 0);
}

#[test]
fn each_connection_has_its_script_and_the_rest_the_last_or_all_again() {
    let (record, _folder) = written(&[
        r#""conn":1,"ev":"tx","txt":"one""#,
        r#""conn":2,"ev":"tx","txt":"two""#,
        r#""conn":3,"ev":"tx","txt":"three""#,
    ]);
    for (flags, expected) in
        [("", ["one", "two", "three", "three", "three"]), ("--replay-loop", ["one", "two", "three", "one", "two"])]
    {
        let server = replay(&record, flags);
        for text in expected {
            assert_eq!(read_to_end(&dial(&server.v4())), text.as_bytes(), "{flags}");
        }
    }
}

#[test]
fn a_reset_comes_after_everything_that_was_sent_before_it() {
    let bytes = pattern(300_000);
    let text: String = bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    let (record, _folder) =
        written(&[r#""ev":"rx","txt":"GET""#, &format!(r#""ev":"tx","txt":"{text}""#), r#""ev":"close","how":"rst""#]);
    let server = replay(&record, "");
    let mut client = dial(&server.v4());
    client.write_all(b"GET").unwrap();
    assert!(read_exactly(&client, text.len()) == text.as_bytes());
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_half_close_is_played_where_it_was() {
    let (record, _folder) = written(&[
        r#""ev":"tx","txt":"bye""#,
        r#""ev":"fin","dir":"tx""#,
        r#""ev":"rx","txt":"still there""#,
        r#""ev":"fin","dir":"rx""#,
        r#""ev":"close","how":"fin""#,
    ]);
    let server = replay(&record, "--replay-match exact");
    let mut client = dial(&server.v4());
    assert_eq!(read_to_end(&client), b"bye");
    client.write_all(b"still there").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.end(Signal::Terminate).code, 0);
}

#[test]
fn what_differs_is_told_with_its_offset_and_the_status_is_5() {
    let (record, _folder) =
        written(&[r#""ev":"rx","txt":"hello world""#, r#""ev":"tx","txt":"hi""#, r#""ev":"close","how":"fin""#]);
    let name = record.display();
    let ended = |server: Server| {
        let Finished { stderr, code, .. } = server.end(Signal::Terminate);
        (code, stderr)
    };
    let server = replay(&record, "--replay-match exact");
    assert_eq!(exchange(&dial(&server.v4()), b"hello world"), b"hi");
    assert_eq!(ended(server), (0, String::new()));
    let server = replay(&record, "--replay-match exact");
    // It is played to the end all the same.
    assert_eq!(exchange(&dial(&server.v4()), b"hello wOrld, and more"), b"hi");
    let told = "the peer differs at offset 7: in line 2 it was \"orld\", and \"Orld\" came";
    assert_eq!(ended(server), (5, format!("sockkit: replay {name}, connection 1: {told}\n")));
    let server = replay(&record, "--replay-match exact");
    assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"");
    let told = "the peer differs at offset 5: it ended, and in line 2 there was more";
    assert_eq!(ended(server), (5, format!("sockkit: replay {name}, connection 1: {told}\n")));
    // By count nothing is compared.
    let server = replay(&record, "");
    assert_eq!(exchange(&dial(&server.v4()), b"hello wOrld"), b"hi");
    assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"");
    assert_eq!(ended(server), (0, String::new()));
    // By time alone nobody is waited for.
    let server = replay(&record, "--replay-match none");
    assert_eq!(read_to_end(&dial(&server.v4())), b"hi");
    assert_eq!(ended(server), (0, String::new()));
}

#[test]
fn datagrams_are_answered_one_by_one() {
    let (record, _folder) = written(&[
        r#""ev":"open","transport":"udp""#,
        r#""ev":"rx","txt":"one""#,
        r#""ev":"tx","txt":"1""#,
        r#""ev":"tx","txt":"""#,
        r#""ev":"rx","txt":"two""#,
        r#""ev":"tx","txt":"2""#,
    ]);
    let server = Server::start(&format!("-u --mode replay={} --quiet", record.display()));
    for _ in 0..2 {
        let client = asker();
        for (sent, answers) in [("one", &["1", ""][..]), ("other", &["2"])] {
            client.send_to(sent.as_bytes(), server.v4()).unwrap();
            for expected in answers {
                assert_eq!(answer(&client), *expected);
            }
        }
    }
}

/// Somebody who sends datagrams.
fn asker() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client
}

/// The next datagram that comes back.
fn answer(client: &UdpSocket) -> String {
    let mut datagram = [0; 10];
    let length = client.recv(&mut datagram).unwrap();
    String::from_utf8(datagram[..length].to_vec()).unwrap()
}

#[test]
fn the_pauses_of_datagrams_are_kept_and_nobody_else_waits_for_them() {
    let (record, _folder) = written(&[
        r#""conn":1,"t":0,"ev":"open","transport":"udp""#,
        r#""conn":1,"t":0,"ev":"rx","txt":"?""#,
        r#""conn":2,"t":0,"ev":"open","transport":"udp""#,
        r#""conn":2,"t":0,"ev":"rx","txt":"?""#,
        r#""conn":2,"t":100,"ev":"tx","txt":"1""#,
        r#""conn":2,"t":300,"ev":"tx","txt":"2""#,
        r#""conn":2,"t":300,"ev":"rx","txt":"?""#,
        r#""conn":2,"t":300,"ev":"tx","txt":"3""#,
        r#""conn":1,"t":3600000,"ev":"tx","txt":"late""#,
    ]);
    let mut server =
        Server::start(&format!("-4 -u -v --mode replay={} --replay-speed 1000x --grace 50ms", record.display()));
    let (patient, client) = (asker(), asker());
    patient.send_to(b"?", server.v4()).unwrap();
    // So that it is the first.
    server.line();
    let begun = Instant::now();
    client.send_to(b"?", server.v4()).unwrap();
    assert_eq!(answer(&client), "1");
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert_eq!(answer(&client), "2");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    client.send_to(b"?", server.v4()).unwrap();
    assert_eq!(answer(&client), "3");
    patient.set_nonblocking(true).unwrap();
    assert_eq!(patient.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    // It would come after an hour.
    assert_eq!(server.end(Signal::Terminate).code, 0);
}

#[test]
fn a_server_of_one_datagram_waits_for_what_it_answers() {
    let (record, _folder) = written(&[
        r#""t":0,"ev":"open","transport":"udp""#,
        r#""t":0,"ev":"rx","txt":"?""#,
        r#""t":0.05,"ev":"tx","txt":"1""#,
        r#""t":0.1,"ev":"tx","txt":"2""#,
    ]);
    let server = Server::start(&format!("-4 -u --mode replay={} --quiet --once", record.display()));
    let client = asker();
    client.send_to(b"?", server.v4()).unwrap();
    assert_eq!((answer(&client).as_str(), answer(&client).as_str()), ("1", "2"));
    assert_eq!(server.finish().code, 0);
}

/// What is recorded of a server that plays a record, to the clients of that, is the record again.
#[test]
fn a_record_of_a_replay_is_the_record_again() {
    let clients = |server: Server| {
        assert_eq!(exchange(&dial(&server.v4()), b"hello\n"), b"hello\n");
        let reset = dial(&server.v4());
        (&reset).write_all(b"\0\xff").unwrap();
        assert_eq!(read_exactly(&reset, 2), b"\0\xff");
        reset.set_linger(Some(Duration::ZERO)).unwrap();
        drop(reset);
        assert!(exchange(&dial(&server.v4()), &pattern(50_000)) == pattern(50_000));
        let finished = server.end(Signal::Terminate);
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    };
    let ((first, _one), (second, _other)) = (place("first.ndjson"), place("second.ndjson"));
    clients(Server::start(&format!("--quiet --record {}", first.display())));
    clients(replay(&first, &format!("--replay-match exact --record {}", second.display())));
    assert_eq!(streams(&first), streams(&second));
}

/// What each connection carried each way, and how it ended.
fn streams(record: &Path) -> Vec<(u64, String, String)> {
    let mut streams = Vec::new();
    for line in lines(record) {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let conn = line["conn"].as_u64().unwrap_or_default();
        match text("ev").as_str() {
            "close" => {
                let ending = format!("{} {} {}", text("how"), line["rx"], line["tx"]);
                streams.push((conn, "close".to_owned(), ending));
            }
            // Where a stream is cut into runs is the network's business: the bytes of the first are enough.
            "rx" | "tx" if line["off"] == 0 && line["len"].is_null() && text("b64").len() < 100 => {
                streams.push((conn, text("ev"), format!("{}{}", text("txt"), text("b64"))));
            }
            _ => {}
        }
    }
    streams.sort();
    streams
}

#[test]
fn a_record_that_cannot_be_played_is_refused_with_its_line() {
    let (record, _folder) = written(&[r#""ev":"tx","txt":"a""#]);
    let name = record.display();
    let whole = fs::read_to_string(&record).unwrap();
    let play = |flags: &str, code: i32, told: &str| {
        Run::sockkit(&format!("serve -p 0 --mode replay={name} {flags}"))
            .stderr(&format!("sockkit: {told}\n"))
            .code(code)
            .check();
    };
    for (text, told) in [
        (&whole[..whole.len() - 5], "line 3: it is cut short: whole lines there are 2"),
        (&whole[..36], "line 2: nothing follows, and the record is cut short: a whole one ends with {\"ev\":\"end\"}"),
        (
            "{\"sockkit\":1}\n{\"ev\":\"tx\",\"len\":3,\"cut\":\"x\"}\n{\"ev\":\"end\"}",
            "line 2: its data was cut by --record-max, and would have to be sent",
        ),
        ("{\"sockkit\":1}\n{\"ev\":\"end\"}", "line 1: it has no connection that could be played"),
    ] {
        fs::write(&record, text).unwrap();
        play("", 4, &format!("read {name} failed: {told}"));
    }
    fs::write(&record, &whole).unwrap();
    play("-u", 2, &format!("{name} was recorded over tcp, and this is udp"));
    fs::remove_file(&record).unwrap();
    play("", 4, &format!("open {name} failed: No such file or directory (ENOENT, 2)"));
    Run::sockkit("serve -p 0 --replay-loop")
        .stderr("sockkit: --replay-match, --replay-speed and --replay-loop are for --mode replay=FILE\n")
        .code(2)
        .check();
}
