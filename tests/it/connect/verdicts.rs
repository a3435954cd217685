//! The verdict of `connect -v` and `--json`: who ended it, how, and which status follows.

#[cfg(unix)]
use std::io::{Read, Write};
use std::time::Duration;

use serde_json::Value;
use socket2::Socket;

#[cfg(target_os = "linux")]
use crate::harness::pattern;
use crate::harness::{Finished, Peer, Place, Run, mask, read_exactly, read_to_end};
#[cfg(unix)]
use crate::harness::{Running, Signal, kill};

/// What is said of a run in text, and as JSON, that has the status that it ended with.
#[track_caller]
fn check(text: &Finished, json: &Finished, how: &str, words: &str) {
    let stderr = mask(&text.stderr);
    let verdict = stderr.lines().find(|line| line.contains("; status ")).unwrap_or_else(|| panic!("{stderr}"));
    let expected = format!("127.0.0.1:PORT (tcp) {words} after TIME: ");
    assert!(verdict.starts_with(&expected), "{verdict}");
    assert!(verdict.ends_with(&format!("; status {}", text.code)), "{verdict}");
    let record = json
        .stderr
        .lines()
        .find(|line| line.contains("\"event\":\"closed\""))
        .unwrap_or_else(|| panic!("{}", json.stderr));
    let record: Value = serde_json::from_str(record).unwrap();
    assert_eq!((&record["how"], &record["status"]), (&how.into(), &json.code.into()), "{record}");
}

/// What a peer does; what it returns stays open until the other has ended.
type Act = fn(Socket) -> Option<Socket>;

#[test]
fn it_says_who_ended_it() {
    let stays: Act = Some;
    let ends: Act = |peer| {
        read_to_end(&peer);
        None
    };
    let resets: Act = |peer| {
        read_exactly(&peer, 1);
        peer.set_linger(Some(Duration::ZERO)).unwrap();
        None
    };
    for (flags, act, how, words) in [
        ("", ends, "peer_finished", "closed by the peer"),
        ("", resets, "peer_reset", "reset by the peer"),
        ("-q 0.1", stays, "peer_silent", "closed by us, the peer being silent,"),
        ("--send-only", stays, "sent", "closed by us, everything being sent,"),
        ("-W 0.2", stays, "timed_out", "closed by us at the idle timeout"),
        ("--max-time 0.2", stays, "timed_out", "closed by us at the total timeout"),
        ("--send x --expect never --within 0.1", stays, "check_failed", "closed by us, a check having failed,"),
    ] {
        let run = |form: &str| {
            let peer = Peer::start(Place::Tcp, act);
            let finished = Run::sockkit(&format!("connect {form} {flags} {}", peer.address)).stdin("hello").finish();
            peer.finish();
            finished
        };
        check(&run("-v"), &run("-j"), how, words);
    }
}

#[cfg(unix)]
#[test]
fn a_signal_is_told_with_its_number_and_that_stdin_was_open() {
    for (signal, number) in [(Signal::Interrupt, 2), (Signal::Terminate, 15)] {
        let run = |form: &str| {
            let peer = Peer::start(Place::Tcp, |mut peer| {
                peer.write_all(b"!").unwrap();
                read_to_end(&peer);
            });
            let mut client = Running::sockkit(&format!("connect {form} {}", peer.address));
            client.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            kill(client.pid(), signal);
            let finished = client.finish();
            peer.finish();
            finished
        };
        let (text, json) = (run("-v"), run("-j"));
        check(&text, &json, "signal", &format!("closed by us at signal {number}"));
        assert!(text.stderr.contains("; stdin was still open; "), "{}", text.stderr);
        assert_eq!(text.code, 128 + number);
    }
}

/// What the peer sent and nobody read is thrown away, which is told.
#[cfg(target_os = "linux")]
#[test]
fn what_arrived_unread_is_told() {
    let peer = Peer::start(Place::Tcp, |mut peer| {
        // More than one read takes, and less than a receive queue holds.
        while peer.write_all(&pattern(64 * 1024)).is_ok() {}
    });
    let mut client = Running::sockkit(&format!("connect -v {}", peer.address));
    let mut stdout = client.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    drop(stdout);
    let finished = client.finish();
    peer.finish();
    let told =
        regex::Regex::new(r"closed by us, stdout being closed, after .*; [1-9]\d* arrived unread; .*; status 0\n$");
    assert!(told.unwrap().is_match(&finished.stderr), "{}", finished.stderr);
}
