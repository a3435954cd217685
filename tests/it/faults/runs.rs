//! What a run tells of its faults: the seed, the events, the counts, the record; and that one seed gives the same faults.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::Shutdown;

use serde_json::Value;

use super::{End, events, faulty, read_all};
use crate::harness::{DEADLINE, Server, Signal, dial, exchange, kill, mask, pattern, read_exactly};

#[test]
fn a_drawn_seed_is_told_and_repeats_the_run() {
    let mut server = faulty("", &["corrupt=1/1KiB"]);
    server.until_told("faults are drawn with seed ");
    let came = exchange(&dial(&server.v4()), &pattern(10_000));
    let said = server.end(Signal::Terminate).stderr;
    let seed = said.trim_end().rsplit(' ').next().unwrap().to_owned();
    let again = faulty(&format!("--seed {seed}"), &["corrupt=1/1KiB"]);
    assert_eq!(exchange(&dial(&again.v4()), &pattern(10_000)), came, "{said}");
    // What draws nothing needs no seed.
    let finished = faulty("", &["close,after=1B"]).end(Signal::Terminate);
    assert_eq!(finished.stderr, "");
}

/// The fault events of a run with 64 clients at once, by the number of the connection; and which bytes each was sent.
fn storm(seed: u64, rules: &[&str]) -> BTreeMap<u64, Vec<String>> {
    let server = faulty(&format!("--seed {seed}"), rules);
    let address = server.v4();
    std::thread::scope(|scope| {
        for client in 0..64_usize {
            let address = &address;
            scope.spawn(move || {
                let mut socket = dial(address);
                // Each sends in pieces of its own size.
                for piece in pattern(10_000).chunks(64 + client * 37) {
                    if socket.write_all(piece).is_err() {
                        return;
                    }
                }
                let _ = socket.shutdown(Shutdown::Write);
                read_all(&socket);
            });
        }
    });
    let mut faults: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for event in events(server, "fault") {
        let what = format!("{} {} {}", event["rule"], event["direction"], event["at_bytes"]);
        faults.entry(event["connection"].as_u64().unwrap()).or_default().push(what);
    }
    for faults in faults.values_mut() {
        faults.sort();
    }
    faults
}

#[test]
fn one_seed_gives_64_clients_in_any_order_the_same_faults() {
    let rules = [
        "corrupt=1/3KiB,chance=50%",
        "chunk=1B..1KiB,chance=30%,dir=both",
        "reset,after=5KB,chance=20%",
        "close,after=7KB,chance=50%",
        "garbage=10B,after=1KiB,every=5",
        "stall,after=6KB,for=5ms,times=10",
    ];
    let first = storm(42, &rules);
    assert!(first.len() > 32, "{first:?}");
    assert_eq!(storm(42, &rules), first);
    assert_ne!(storm(43, &rules), first);
}

#[test]
fn a_chance_of_nothing_changes_no_byte_and_no_event() {
    let run = |rules: &[&str]| {
        let server = faulty("", rules);
        let came = exchange(&dial(&server.v4()), &pattern(300_000));
        let finished = server.end(Signal::Terminate);
        let lines = String::from_utf8(finished.stdout).unwrap();
        let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let kinds: Vec<String> = events.iter().map(|event| event["event"].to_string()).collect();
        (came, kinds, mask(&finished.stderr))
    };
    let nothing =
        ["reset,chance=0%", "corrupt=1/1KiB,chance=0%", "delay=1s,chance=0%", "garbage=1KiB,chance=0%,dir=both"];
    assert_eq!(run(&nothing), run(&[]));
}

#[test]
fn what_fired_is_told_and_counted() {
    let mut server = Server::start_with("-4 -p 0 -F close,after=5B,conn=2..3 -F delay=1ms,conn=3 -F reset,conn=9", 1);
    for expected in ["hello, world", "hello", "hello"] {
        let mut socket = dial(&server.v4());
        socket.write_all(b"hello, world").unwrap();
        assert_eq!(String::from_utf8(read_exactly(&socket, expected.len())).unwrap(), expected);
        socket.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&socket).1, End::Fin);
        drop(socket);
        let mut lines = vec![server.line()];
        while !lines.last().unwrap().contains(" closed ") {
            lines.push(server.line());
        }
        let faults: Vec<String> =
            lines.iter().filter(|line| line.starts_with("fault")).map(|line| mask(line)).collect();
        let close = "fault on 127.0.0.1:PORT: close,after=5B,conn=2..3, 5 bytes out";
        match faults.len() {
            0 => assert_eq!(expected, "hello, world"),
            1 => assert_eq!(faults, [close]),
            _ => assert_eq!(faults, ["fault on 127.0.0.1:PORT: delay=1ms,conn=3, 0 bytes out", close]),
        }
    }
    let said = mask(&server.end(Signal::Terminate).stderr);
    let counts =
        "faults: close,after=5B,conn=2..3 fired 2 times; delay=1ms,conn=3 fired once; reset,conn=9 fired 0 times\n";
    assert!(said.ends_with(counts), "{said}");
}

#[test]
fn rules_are_read_again_at_sighup_for_those_who_come_then() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules");
    fs::write(&path, "").unwrap();
    let mut server = faulty(&format!("--faults {}", path.display()), &[]);
    let mut before = dial(&server.v4());
    before.write_all(b"a").unwrap();
    assert_eq!(read_exactly(&before, 1), b"a");
    let reload = |server: &mut Server, text: &str| {
        fs::write(&path, text).unwrap();
        kill(server.pid(), Signal::Hangup);
    };
    reload(&mut server, "reset,after=3B");
    while !server.line().contains("\"reloaded\"") {}
    let mut socket = dial(&server.v4());
    socket.write_all(b"hello").unwrap();
    assert_eq!(read_all(&socket), (b"hel".to_vec(), End::Reset));
    assert_eq!(exchange(&before, b"hello"), b"hello", "who was there before keeps the rules of then");
    // What is wrong changes nothing.
    reload(&mut server, "reset,after=3");
    server.until_told("reload failed, the rules are as they were: ");
    let mut socket = dial(&server.v4());
    socket.write_all(b"hello").unwrap();
    assert_eq!(read_all(&socket), (b"hel".to_vec(), End::Reset));
    let summary = events(server, "summary").remove(0);
    assert_eq!(summary["faults"].to_string(), "[{\"fired\":2,\"rule\":\"reset,after=3B\"}]");
}

#[test]
fn one_among_a_thousand_that_dribble_is_served() {
    let server = faulty("--quiet", &["chunk=1B/1s,conn=1..1000"]);
    let dribbling: Vec<_> = (0..1000)
        .map(|_| {
            let mut socket = dial(&server.v4());
            socket.write_all(b"hello").unwrap();
            socket
        })
        .collect();
    let mut healthy = dial(&server.v4());
    let begun = std::time::Instant::now();
    for _ in 0..1000 {
        healthy.write_all(b"x").unwrap();
        read_exactly(&healthy, 1);
    }
    // Not a measurement: had it to wait for the others, it would be a thousand seconds.
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    drop(dribbling);
}

#[test]
fn a_record_has_the_faults_and_the_seed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record");
    let words = format!("--seed 7 --summary json --record {}", path.display());
    let server = faulty(&words, &["corrupt=1/64KiB,chance=0%", "reset,after=3B"]);
    let mut socket = dial(&server.v4());
    socket.write_all(b"hello").unwrap();
    assert_eq!(read_all(&socket), (b"hel".to_vec(), End::Reset));
    let summary = server.end(Signal::Terminate).stderr;
    let summary: Value = serde_json::from_str(summary.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&summary["connections_reset_by_rule"], &summary["connections_clean"]),
        (&1.into(), &0.into()),
        "{summary}"
    );
    let complete = serde_json::json!({ "file": path, "complete": true, "error": null });
    assert_eq!(summary["record"], complete);
    let record = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = record.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of =
        |name: &str| lines.iter().find(|line| line["ev"] == name).unwrap_or_else(|| panic!("no {name} in {record}"));
    assert_eq!(
        (&of("fault")["rule"], &of("fault")["what"], &of("fault")["at"]),
        (&1.into(), &"reset".into(), &3.into())
    );
    assert_eq!(of("close")["how"], "rst");
    // Nothing is drawn from it: the chance is none.
    assert_eq!(lines[0].get("seed"), None, "{record}");
}
