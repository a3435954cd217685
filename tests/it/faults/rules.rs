//! Rules as they are typed and read: errors, plans, seeds, files; and that one seed gives the same faults.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::Shutdown;

use serde_json::Value;

use super::{End, faulty, read_all};
use crate::harness::{Run, Server, dial, exchange, pattern, read_exactly};

#[test]
fn a_malformed_rule_is_refused_before_anything_is_bound() {
    for (rule, why) in [
        ("reset,after=5", "after=5: 5 needs a unit: 5B, 5s or 5msg"),
        ("delay=50", "delay=50: 50 needs a unit: 50s or 50ms"),
        ("delay", "delay: delay needs a value, such as delay=30ms..70ms"),
        ("reset,chance=10", "chance=10: 10 needs a unit, 10%: 0% to 100%, with at most four decimals"),
        ("reset,delay=2s", "delay=2s: delay is an action: give it a rule of its own, -F delay=2s"),
        ("reset,dir=up", "dir=up: a direction is in, out or both"),
    ] {
        let said = format!("sockkit: invalid value '{rule}' for '--fault <RULE>': {why}\n");
        Run::sockkit("serve -p 0").args(["-F", rule]).stderr(&said).code(2).check();
    }
    for (words, said) in [
        (
            "-F drop",
            "fault rule \"drop\" cannot work here: a stream loses, doubles and swaps no bytes: it is for datagrams (-u); \
             close, reset and corrupt are for streams",
        ),
        (
            "-u -F reset",
            "fault rule \"reset\" cannot work here: datagrams have no connection that could end; drop,after=... loses them",
        ),
        ("-u -F mss=536", "fault rule \"mss=536\" cannot work here: segments are TCP's"),
        ("-F mss=536 --mss 600", "--mss and a fault rule set the same thing: leave one out"),
        ("-F close -F reset", "fault rule \"reset\" cannot work here: \"close\" ends every connection before it"),
        ("--seed 7", "--seed 7 is for fault rules: -F RULE or --faults FILE"),
        ("--plan 7", "--plan 7 is for fault rules: -F RULE or --faults FILE"),
    ] {
        Run::sockkit("serve -p 0").args(words.split(' ')).stderr(&format!("sockkit: {said}\n")).code(2).check();
    }
    Run::sockkit("serve -p 0 -F reset")
        .env("SOCKKIT_SEED", "many")
        .stderr("sockkit: SOCKKIT_SEED=many is no whole number\n")
        .code(2)
        .check();
}

#[test]
fn a_file_of_rules_is_read_and_its_errors_name_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules");
    let name = path.to_str().unwrap();
    fs::write(&path, "# a comment\n\nclose,after=5B # five\n").unwrap();
    let server = faulty(&format!("--faults {name}"), &[]);
    let mut socket = dial(&server.v4());
    socket.write_all(b"hello, world").unwrap();
    assert_eq!(read_all(&socket), (b"hello".to_vec(), End::Fin));
    for (text, said) in [
        ("delay=1ms\nreset,after=5\n", "line 2: rule \"reset,after=5\": after=5: 5 needs a unit: 5B, 5s or 5msg"),
        (
            "reset,",
            "line 1: rule \"reset,\": nothing between two commas, or after one: no such key: the keys are after, conn, every, chance, dir, from, times, for",
        ),
    ] {
        fs::write(&path, text).unwrap();
        let finished = Run::sockkit("serve -p 0 --faults").args([name]).finish();
        assert_eq!((finished.code, finished.stderr), (2, format!("sockkit: {name}, {said}\n")));
    }
    let missing = format!("{name}.not");
    let finished = Run::sockkit("serve -p 0 --faults").args([&missing]).finish();
    let said = format!("sockkit: read fault file \"{missing}\" failed: No such file or directory (ENOENT, 2)\n");
    assert_eq!((finished.code, finished.stderr), (4, said));
}

#[test]
fn a_plan_says_what_will_happen_and_binds_nothing() {
    Run::sockkit("serve -p 0 -F reset,after=1KiB,conn=3 -F delay=5ms,every=2 --plan 4")
        .stdout("conn 1 -\nconn 2 delay=5ms\nconn 3 reset@1024B\nconn 4 delay=5ms\n")
        .check();
    Run::sockkit("serve -u -p 0 -F drop,every=2 --plan 2").stdout("datagram 1 -\ndatagram 2 drop\n").check();
    Run::sockkit("serve -p 0 -F close,conn=1 --plan 1 --json")
        .stdout("{\"schema\":\"sockkit.plan/1\",\"of\":\"connection\",\"number\":1,\"faults\":[\"close\"]}\n")
        .check();
    let plan = |words: &str, seed: &str| {
        let run = Run::sockkit("serve -p 0 -F reset,chance=50% --plan 64").args(words.split_whitespace());
        String::from_utf8(run.env("SOCKKIT_SEED", seed).finish().stdout).unwrap()
    };
    assert_eq!(plan("", "7"), plan("--seed 7", "8"));
    assert_ne!(plan("", "7"), plan("", "8"));
}

#[test]
fn the_page_of_faults_is_the_same_wherever_it_is_asked_for() {
    let page = Run::sockkit("help faults").finish();
    assert!(page.code == 0 && page.stdout.starts_with(b"Faults on purpose: -F RULE"), "{page:?}");
    for words in ["--help faults", "serve --help faults", "connect --help faults"] {
        assert_eq!(Run::sockkit(words).finish().stdout, page.stdout, "{words}");
    }
}

#[cfg(unix)]
#[test]
fn a_drawn_seed_is_told_and_repeats_the_run() {
    use crate::harness::Signal;
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
#[cfg(unix)]
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
    for event in super::events(server, "fault") {
        let what = format!("{} {} {}", event["rule"], event["direction"], event["at_bytes"]);
        faults.entry(event["connection"].as_u64().unwrap()).or_default().push(what);
    }
    for faults in faults.values_mut() {
        faults.sort();
    }
    faults
}

#[cfg(unix)]
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

#[cfg(unix)]
#[test]
fn a_chance_of_nothing_changes_no_byte_and_no_event() {
    use crate::harness::{Signal, mask};
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

#[cfg(unix)]
#[test]
fn what_fired_is_told_and_counted() {
    use crate::harness::{Signal, mask};
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

#[cfg(unix)]
#[test]
fn rules_are_read_again_at_sighup_for_those_who_come_then() {
    use crate::harness::{Signal, kill};
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
    let summary = super::events(server, "summary").remove(0);
    assert_eq!(summary["faults"].to_string(), "[{\"fired\":2,\"rule\":\"reset,after=3B\"}]");
}

#[test]
fn peers_are_chosen_by_their_address() {
    let server = faulty("", &["close,from=127.0.0.2"]);
    assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello");
    let server = faulty("", &["close,from=127.0.0.0/8"]);
    assert_eq!(read_all(&dial(&server.v4())), (vec![], End::Fin));
}

#[cfg(unix)]
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
    assert!(begun.elapsed() < crate::harness::DEADLINE, "{:?}", begun.elapsed());
    drop(dribbling);
}

#[cfg(unix)]
#[test]
fn a_record_has_the_faults_and_the_seed() {
    use crate::harness::Signal;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record");
    let server =
        faulty(&format!("--seed 7 --record {}", path.display()), &["corrupt=1/64KiB,chance=0%", "reset,after=3B"]);
    let mut socket = dial(&server.v4());
    socket.write_all(b"hello").unwrap();
    assert_eq!(read_all(&socket), (b"hel".to_vec(), End::Reset));
    server.end(Signal::Terminate);
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
