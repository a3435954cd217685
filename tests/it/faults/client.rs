//! Faults of the client, as the server sees them; and those of echo-bench's own server.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{End, read_all};
use crate::harness::{Peer, Place, Run, Server, pattern};

/// What a server sees of `connect` with these rules, which sends these bytes; and how connect ended.
fn seen(rules: &[&str], words: &str, bytes: &[u8]) -> (Vec<u8>, End, i32) {
    let peer = Peer::start(Place::Tcp, |socket| read_all(&socket));
    let rules = rules.iter().flat_map(|rule| ["-F", rule]);
    let run = Run::sockkit(&format!("connect {words}")).args(rules).args([&peer.address]).stdin(bytes);
    let code = run.finish().code;
    let (received, end) = peer.finish();
    (received, end, code)
}

#[test]
fn a_client_can_end_badly() {
    let bytes = pattern(100_000);
    for (rules, words, length, end, code) in [
        (&["reset,after=1KiB"][..], "", 1024, End::Reset, 0),
        (&["reset"], "", 0, End::Reset, 0),
        (&["close,after=1KiB"], "", 1024, End::Fin, 0),
        (&["half-close,after=50KB"], "", 50_000, End::Fin, 0),
        (&["delay=10ms..20ms", "chunk=1B..4KiB", "close,after=50KB"], "", 50_000, End::Fin, 0),
        // What has not come until then is never sent.
        (&["stall,after=1KiB"], "--max-time 0.5", 1024, End::Fin, 124),
    ] {
        let (received, came, status) = seen(rules, words, &bytes);
        assert_eq!((received.len(), came, status), (length, end, code), "{rules:?}");
        assert_eq!(received, bytes[..length], "{rules:?}");
    }
}

#[test]
fn a_clients_end_may_be_late() {
    for rules in [&["delay-close=300ms"][..], &["delay-close=100ms", "delay-close=200ms", "chunk=1B"]] {
        let begun = Instant::now();
        assert_eq!(seen(rules, "", b"hello"), (b"hello".to_vec(), End::Fin, 0));
        assert!(begun.elapsed() >= Duration::from_millis(300), "{rules:?}");
    }
}

/// What a client that has closed is told nobody hears; one that has half closed goes on.
#[test]
fn a_client_that_closes_does_not_wait_for_the_peers_end() {
    for (rule, hears) in [("close,after=1B", false), ("half-close,after=1B", true)] {
        let (gone, is_gone) = std::sync::mpsc::channel::<()>();
        let peer = Peer::start(Place::Tcp, move |mut socket| {
            let received = read_all(&socket);
            if hears {
                std::io::Write::write_all(&mut socket, b"late").unwrap();
            } else {
                // It goes when the client has gone, and not before.
                let _ = is_gone.recv();
            }
            received
        });
        let run = Run::sockkit("connect -F").args([rule, &peer.address]).stdin("hello").finish();
        drop(gone);
        assert_eq!((run.code, &run.stdout[..]), (0, if hears { &b"late"[..] } else { b"" }), "{}", run.stderr);
        assert_eq!(peer.finish(), (b"h".to_vec(), End::Fin));
    }
}

#[test]
fn a_clients_bytes_are_changed_as_the_seed_says() {
    let bytes = pattern(10_000);
    let changed = |rules: &[&str], words: &str| {
        let (received, end, code) = seen(rules, words, &bytes);
        assert_eq!((end, code, received.len()), (End::Fin, 0, bytes.len()));
        (0..bytes.len()).filter(|place| received[*place] != bytes[*place]).collect::<Vec<_>>()
    };
    assert_eq!(changed(&["corrupt=3,after=100B"], ""), [100, 101, 102]);
    let places = changed(&["corrupt=1/1KB"], "--seed 7");
    assert_eq!((places.len(), changed(&["corrupt=1/1KB"], "--seed 7")), (10, places));
    let (received, ..) = seen(&["garbage=36B", "close,after=36B"], "", &bytes);
    assert_eq!(received.len(), 36);
}

#[test]
fn a_clients_record_begins_with_the_seed_if_anything_is_drawn_from_it() {
    let head = |words: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let peer = Peer::start(Place::Tcp, |socket| read_all(&socket));
        let run = Run::sockkit(&format!("connect {words} --record")).args([path.as_os_str(), peer.address.as_ref()]);
        let finished = run.stdin("hello").finish();
        assert_eq!((finished.code, peer.finish().0.len()), (0, 5), "{words}");
        let record = fs::read_to_string(path).unwrap();
        let head: Value = serde_json::from_str(record.lines().next().unwrap()).unwrap();
        (head.get("seed").map(Value::to_string), finished.stderr)
    };
    assert_eq!(head("-F corrupt=1/1KB --seed 7"), (Some("7".to_owned()), String::new()));
    // One that is drawn itself is the one that is told.
    let (seed, told) = head("-F corrupt=1/1KB");
    assert!(told.trim_end().ends_with(&format!("repeat with --seed {}", seed.expect("a seed"))), "{told}");
    for words in ["", "-F delay=1ms"] {
        assert_eq!(head(words).0, None, "nothing is drawn: {words:?}");
    }
}

#[test]
fn both_directions_are_late_and_nothing_is_lost() {
    let server = Server::start("");
    let bytes = pattern(300_000);
    for (rules, least_ms) in [
        (&["delay=200ms,dir=both"][..], 400),
        (&["rate=1MB/s,dir=in"], 250),
        (&["chunk=1KiB..64KiB,dir=both", "delay=1ms..5ms,dir=both"], 2),
        (&["stall,dir=in,after=100KB,for=200ms"], 200),
    ] {
        let begun = Instant::now();
        let rules_typed = rules.iter().flat_map(|rule| ["-F", rule]);
        let run = Run::sockkit("connect").args(rules_typed).args([server.v4()]).stdin(bytes.clone()).finish();
        assert!(run.code == 0 && run.stdout == bytes, "{rules:?}: {} bytes, {}", run.stdout.len(), run.stderr);
        assert!(begun.elapsed() >= Duration::from_millis(least_ms), "{rules:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_reset_by_what_came_is_seen_by_the_server() {
    let peer = Peer::start(Place::Tcp, |mut socket| {
        std::io::Write::write_all(&mut socket, b"hello").unwrap();
        read_all(&socket)
    });
    let run = Run::sockkit("connect -d -F reset,after=3B,dir=in").args([&peer.address]).finish();
    assert_eq!((run.code, run.stdout), (0, b"hel".to_vec()), "{}", run.stderr);
    assert_eq!(peer.finish(), (vec![], End::Reset));
}

#[test]
fn datagrams_are_lost_and_doubled_on_their_way_out_and_in() {
    let server = Server::start("-u");
    let run = |rules: &[&str]| {
        let rules = rules.iter().flat_map(|rule| ["-F", rule]);
        let run = Run::sockkit("connect -u --per-line -q 0.5").args(rules).args([server.v4()]);
        String::from_utf8(run.stdin("1\n2\n3\n4\n").finish().stdout).unwrap().replace('\n', "")
    };
    for direction in ["out", "in"] {
        assert_eq!(run(&[&format!("drop,every=2,dir={direction}")]), "13", "{direction}");
        assert_eq!(run(&[&format!("dup,times=1,dir={direction}")]), "11234", "{direction}");
    }
}

/// Rules see what goes out as it goes out: line by line, or of a size, and no more than a datagram holds.
#[test]
fn datagrams_are_cut_before_rules_see_them() {
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    fs::write(&large, pattern(70_000)).unwrap();
    let too_long = "sockkit: read stdin failed: there is more in one piece than the 65507 bytes of a datagram: --per-line \
                    sends lines, --datagram-size cuts\n";
    let typed = folder.path().join("typed");
    fs::write(&typed, "a\n\nbc\n").unwrap();
    for (words, input, lengths, stderr, code) in [
        ("--per-line -F drop,every=2", &typed, &[1][..], "", 0),
        ("--per-line --empty -F drop,every=3", &typed, &[1, 0], "", 0),
        ("--per-line --empty -F dup,every=2", &typed, &[1, 0, 0, 2], "", 0),
        ("--datagram-size 2 -F truncate=1B,every=2", &typed, &[2, 1, 2], "", 0),
        ("--datagram-size 40000 -F delay=1ms", &large, &[40_000, 30_000], "", 0),
        ("-F delay=1ms", &large, &[], too_long, 4),
    ] {
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = peer.local_addr().unwrap();
        Run::sockkit(&format!("connect -u --send-only {words} {address}"))
            .stdin_from(fs::File::open(input).unwrap())
            .stderr(stderr)
            .code(code)
            .check();
        peer.send_to(b"the last one", address).unwrap();
        let mut buffer = vec![0; 70_000];
        let came = std::iter::from_fn(|| Some(peer.recv(&mut buffer).unwrap()).filter(|length| *length != 12));
        assert_eq!(came.collect::<Vec<_>>(), lengths, "{words}");
    }
}

#[test]
fn a_rule_that_fires_is_told_in_words_and_as_json() {
    for (flags, rule, words, field) in
        [("", "corrupt=1,after=3B", "3 bytes out", "at_bytes"), ("-u", "dup,every=3", "datagram 3 out", "datagram")]
    {
        let server = Server::start(&format!("{flags} --quiet"));
        let run = |form: &str| {
            let words = format!("connect {form} {flags} -i 0 -q 0.1 -F {rule} {}", server.v4());
            Run::sockkit(&words).stdin("a\nb\nc\n").finish()
        };
        let (told, record) = (run("-v").stderr, run("-j").event("fault"));
        assert!(told.contains(&format!("fault: {rule}, {words}\n")), "{told}");
        assert_eq!((&record["rule"], &record[field]), (&rule.into(), &3.into()), "{record}");
    }
}

#[test]
fn what_a_client_cannot_do_is_refused() {
    for (words, said) in [
        ("-F refuse=2s", "fault rule \"refuse=2s\" cannot work here: this end does not accept: serve's -F has it"),
        (
            "-F close,dir=in",
            "fault rule \"close,dir=in\" cannot work here: dir= has no meaning for close: this end finishes with what it sends",
        ),
        (
            "-F drop",
            "fault rule \"drop\" cannot work here: a stream loses, doubles and swaps no bytes: it is for datagrams (-u); close, reset and corrupt are for streams",
        ),
        ("--seed 7", "--seed 7 is for fault rules: -F RULE or --faults FILE"),
    ] {
        Run::sockkit("connect ::1 1").args(words.split(' ')).stderr(&format!("sockkit: {said}\n")).code(2).check();
    }
    Run::sockkit("connect ::1 1 -F reset,after=1KiB --plan 1").stdout("conn 1 reset@1024B\n").check();
}

#[test]
fn echo_bench_does_it_to_its_own_server() {
    let run = Run::sockkit("echo-bench -n 20 --json -F delay=20ms").finish();
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert!(report["round_trip"]["min_us"].as_f64().is_some_and(|least_us| least_us >= 20_000.0), "{report}");
    let said = "sockkit: -F and --faults are for echo-bench's own server: leave out the target, or give them to `sockkit serve`\n";
    Run::sockkit("echo-bench -F delay=20ms ::1 1").stderr(said).code(2).check();
}
