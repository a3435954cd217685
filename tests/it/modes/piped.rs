//! `serve -e` and `-c` where something must see the bytes: the program is between pipes.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use serde_json::Value;

use super::Spot;
use super::exec::{group_of, serve};
use crate::harness::{Place, Run, Server, Signal, dial, exchange, pattern, read_exactly, read_to_end, until};
use crate::record;

/// Its next event: who came, or how they went.
fn event(server: &mut Server) -> Value {
    serde_json::from_str(&server.line()).expect("an event")
}

/// What was counted, and how it ended.
fn closed(server: &mut Server) -> (u64, u64, String, Value) {
    let mut event = std::iter::repeat_with(|| event(server)).find(|event| event["event"] == "closed").unwrap();
    let bytes = |field: &str| event[field].as_u64().unwrap();
    (bytes("received_bytes"), bytes("sent_bytes"), event["how"].as_str().unwrap().to_owned(), event["status"].take())
}

#[test]
fn every_byte_goes_through_is_counted_and_so_are_both_ends() {
    let sent = pattern(4 << 20);
    for place in Place::ALL {
        let spot = Spot::new(*place);
        let mut server = spot.serve("--json -W 1h -e cat");
        let came = exchange(&dial(&spot.of(&server)), &sent);
        assert!(came == sent, "{place:?}: {} bytes", came.len());
        let length = sent.len() as u64;
        assert_eq!(closed(&mut server), (length, length, "program_ended".to_owned(), 0.into()), "{place:?}");
    }
}

/// It answers only after the end of what it is sent, and it ends at once then.
#[test]
fn a_half_close_reaches_it_and_the_tail_of_what_it_says_is_not_lost() {
    let mut lines: Vec<String> = (0..20_000).map(|number| format!("{number:05}\n")).collect();
    let sent = lines.concat();
    lines.reverse();
    let mut server = serve(&["--json", "-W", "1h", "-c", "sort -r; exit 7"]);
    let came = exchange(&dial(&server.v4()), sent.as_bytes());
    assert!(came == lines.concat().as_bytes(), "{} bytes", came.len());
    assert_eq!(closed(&mut server), (120_000, 120_000, "program_ended".to_owned(), 7.into()));
}

/// A close with unread input is a reset, which could take the end of what was said.
#[test]
fn a_program_that_does_not_listen_loses_nothing_of_what_it_says() {
    let server = serve(&["--quiet", "-W", "1h", "-c", "exec < /dev/null; seq 100000"]);
    let peer = dial(&server.v4());
    (&peer).write_all(&pattern(300_000)).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let said = String::from_utf8(read_to_end(&peer)).unwrap();
    assert_eq!((said.lines().count(), said.lines().last()), (100_000, Some("100000")));
}

/// Whoever does not read is not read from: nothing piles up in between.
#[test]
fn a_program_that_does_not_read_is_back_pressure() {
    let server = serve(&["--quiet", "--grace", "50ms", "-W", "1h", "-e", "sleep", "--", "1000"]);
    let peer = dial(&server.v4());
    peer.set_nonblocking(true).unwrap();
    peer.set_send_buffer_size(64 << 10).unwrap();
    let block = pattern(64 << 10);
    let mut taken = 0;
    until("nothing more is taken", || match (&peer).write(&block) {
        Ok(count) => {
            taken += count;
            assert!(taken < 64 << 20, "it is read and kept");
            false
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    });
    assert_eq!(server.end(Signal::Terminate).code, 0);
}

#[test]
fn faults_are_the_same_as_without_a_program() {
    let rule = "-F reset,after=1KiB,chance=50% --seed 7";
    let plan = Run::sockkit(&format!("serve -p 0 {rule} --plan 8")).finish().stdout;
    let server = Server::start(&format!("-4 --quiet {rule} -e cat"));
    let mut resets = 0;
    for line in String::from_utf8_lossy(plan.as_ref()).lines() {
        let mut peer = dial(&server.v4());
        let sent = pattern(4096);
        peer.write_all(&sent).unwrap();
        if line.ends_with(" -") {
            peer.shutdown(Shutdown::Write).unwrap();
            assert!(read_to_end(&peer) == sent, "{line}");
        } else {
            assert!(read_exactly(&peer, 1024) == sent[..1024], "{line}");
            assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{line}");
            resets += 1;
        }
    }
    assert!(0 < resets && resets < 8, "{resets}");
}

#[test]
fn a_record_has_both_directions_and_a_dump_too() {
    let (file, _folder) = record::place("record.ndjson");
    let server = serve(&["-x", "--record", file.to_str().unwrap(), "-c", "read -r word; echo \"<$word>\""]);
    assert_eq!(exchange(&dial(&server.v4()), b"hello\n"), b"<hello>\n");
    let finished = server.end(Signal::Terminate);
    assert_eq!(finished.code, 0);
    assert!(finished.stderr.contains("|hello.|") && finished.stderr.contains("|<hello>.|"), "{}", finished.stderr);
    let lines = record::lines(&file).join("\n");
    for expected in [
        r#""ev":"rx","off":0,"txt":"hello\n""#,
        r#""ev":"tx","off":0,"txt":"<hello>\n""#,
        r#""ev":"fin","dir":"tx","off":8"#,
        r#""ev":"close","how":"fin","rx":6,"tx":8"#,
    ] {
        assert!(lines.contains(expected), "{expected} is not in\n{lines}");
    }
}

/// The program does not care, and is gone all the same.
#[test]
fn one_that_is_idle_is_ended_with_its_connection() {
    let mut server = serve(&["--json", "-W", "100ms", "-c", "trap '' TERM; echo $$; sleep 1000"]);
    let peer = dial(&server.v4());
    let group = group_of(&peer);
    assert_eq!(read_to_end(&peer), b"");
    assert_eq!(closed(&mut server).2, "timed_out");
    until("the group is gone", || rustix::process::test_kill_process_group(group).is_err());
}

#[test]
fn a_limit_of_bytes_is_the_end_of_its_input() {
    let mut server = serve(&["--json", "--max-bytes", "10", "-c", "wc -c"]);
    let peer = dial(&server.v4());
    (&peer).write_all(&pattern(1000)).unwrap();
    assert_eq!(read_to_end(&peer), b"10\n");
    drop(peer);
    assert_eq!(closed(&mut server), (10, 3, "program_ended".to_owned(), 0.into()));
}

#[test]
fn a_header_is_not_the_programs_and_what_comes_is_compared() {
    let (file, _folder) = record::place("expected");
    std::fs::write(&file, "hello\n").unwrap();
    let server = serve(&["--quiet", "--proxy-protocol", "--expect", file.to_str().unwrap(), "-e", "cat"]);
    let peer = dial(&server.v4());
    assert_eq!(exchange(&peer, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nhello\n"), b"hello\n");
    assert_eq!(server.end(Signal::Terminate).code, 0);
}

/// With --once the server ends with its connection: what ignores SIGTERM must not be left then.
#[test]
fn a_program_whose_peer_resets_does_not_outlive_the_server() {
    let server =
        serve(&["--quiet", "--once", "-W", "1h", "-c", "trap '' TERM; echo $$; sleep 1000 & wait; sleep 1000"]);
    let peer = dial(&server.v4());
    let group = group_of(&peer);
    peer.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(peer);
    server.finish();
    assert!(rustix::process::test_kill_process_group(group).is_err(), "it is still there");
}
