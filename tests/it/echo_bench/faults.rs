//! The same faults by `serve -F` as by the tests' own servers: each is found, and counted as what it is.

use super::report;
use crate::harness::{Run, Server, mask};

#[test]
fn what_serve_does_on_purpose_is_counted_exactly() {
    for (rule, words, status, corrupt, offset) in [
        ("chunk=1B", "-n 20 -l 50", 0, 0, None),
        ("corrupt=1,after=640B", "-n 50 -l 64", 5, 1, Some(640)),
        ("corrupt=1,after=640B", "-n 50 -l 64 --window 8", 5, 1, Some(640)),
        ("corrupt=1,after=100B", "-n 50 -l 64 -r 1000", 5, 1, Some(100)),
        ("corrupt=1/64B", "-n 50 -l 64", 5, 50, None),
    ] {
        let server = Server::start(&format!("-4 --quiet -F {rule} --seed 1"));
        let (report, code) = report(&format!("{} {words}", server.v4()));
        assert_eq!((code, &report["errors"]["corrupt"]), (status, &corrupt.into()), "{rule} {words}: {report}");
        assert_eq!(report["round_trips"], if rule.starts_with("chunk") { 20 } else { 50 }, "{rule} {words}: {report}");
        if offset.is_some() {
            assert_eq!(report["errors"]["first_corrupt_offset"].as_u64(), offset, "{rule} {words}: {report}");
        }
    }
}

#[test]
fn a_delay_of_serve_is_in_every_round_trip() {
    let server = Server::start("-4 --quiet -F delay=10ms");
    for words in ["", "-c 2 --threads 1", "-r 50"] {
        let (report, status) = report(&format!("{} -n 20 {words}", server.v4()));
        assert_eq!(status, 0, "{words}: {report}");
        // Never less; how much more is the machine's doing, and for the benches to say.
        assert!(report["round_trip"]["min_us"].as_f64().unwrap() >= 10_000.0, "{words}: {report}");
    }
}

#[test]
fn an_end_in_the_middle_of_a_message_fails_the_run_with_its_cause() {
    for (rule, code, cause) in [
        ("close,after=100B", 1, "the server closed the connection before its answer"),
        ("reset,after=100B", 1, "Connection reset by peer (ECONNRESET, 104)"),
        ("stall,after=100B", 124, "no answer within the reply timeout (ETIMEDOUT, 110)"),
        ("garbage=64B", 5, ""),
    ] {
        for words in ["", "-c 2 --threads 1", "--window 4"] {
            let server = Server::start(&format!("-4 --quiet -F {rule} --seed 1"));
            let finished = Run::sockkit(&format!("echo-bench {} -n 500 -W 300ms {words}", server.v4())).finish();
            let told = mask(&finished.stderr);
            assert_eq!(finished.code, code, "{rule} {words}: {told}");
            assert!(told.contains(cause), "{rule} {words}: {told}");
            let report = String::from_utf8(finished.stdout).unwrap();
            assert!(report.contains("\nerrors        "), "what was measured is told all the same: {report}");
        }
    }
}

#[test]
fn what_serve_does_to_datagrams_is_counted_exactly() {
    for (rule, words, name) in [
        ("drop,every=2500,times=1", "-n 5000 -W 300ms", "lost"),
        ("drop,every=2500,times=1", "-n 5000 -W 300ms --window 4", "lost"),
        ("dup,every=250,times=1", "-n 500", "duplicate"),
        ("dup,every=250,times=1", "-n 500 --window 4", "duplicate"),
        ("reorder=1,every=250,times=1", "-n 500 --window 8", "reordered"),
        ("corrupt=1,every=250,times=1", "-n 500", "corrupt"),
        ("corrupt=1,every=250,times=1", "-n 500 --window 4", "corrupt"),
        ("truncate=30B,every=250,times=1", "-n 500 --window 4", "truncated"),
    ] {
        let server = Server::start(&format!("-4 -u --quiet -F {rule} --seed 1"));
        let (report, status) = report(&format!("-u {} {words}", server.v4()));
        for other in ["lost", "late", "duplicate", "reordered", "corrupt", "truncated", "refused", "stray"] {
            assert_eq!(report["errors"][other], u64::from(other == name), "{rule} {words} {other}: {report}");
        }
        let is_wrong = matches!(name, "corrupt" | "truncated");
        assert_eq!(status, if is_wrong { 5 } else { 0 }, "{rule} {words}: {report}");
    }
}
