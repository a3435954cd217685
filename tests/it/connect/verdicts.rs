//! The verdict of `connect -v` and `--json`: who ended it, how, and which status follows.

#[cfg(unix)]
use std::io::{Read, Write};
use std::time::Duration;

use socket2::Socket;

use crate::harness::{Finished, Peer, Place, Run, mask, read_exactly, read_to_end};
#[cfg(target_os = "linux")]
use crate::harness::{NAMES_FROM_FILES, can_unshare, pattern, unshared};
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
    let record = json.event("closed");
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
        // It is told unasked, and -v makes no difference.
        let (unasked, text, json) = (run(""), run("-v"), run("-j"));
        let words = format!("closed by us at signal {number}");
        check(&text, &json, "signal", &words);
        assert!(unasked.stderr.lines().count() == 1 && unasked.stderr.contains(&words), "{}", unasked.stderr);
        assert_eq!((run("--quiet").stderr.as_str(), unasked.code), ("", text.code));
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

/// A program that reads JSON learns of every address, of a connection and of its failing.
#[cfg(target_os = "linux")]
#[test]
fn each_address_that_was_tried_is_told() {
    if !can_unshare() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hosts"), "::1 two.invalid\n127.0.0.1 two.invalid\n").unwrap();
    let hosts = format!("ip link set lo up; cd $T; mount --bind hosts /etc/hosts; {NAMES_FROM_FILES}");
    // It does not outlive a client that never comes.
    let serving =
        "\"$0\" serve -4 -p 9000 --once -w 30 --ready-file ready > /dev/null 2>&1 & until [ -s ready ]; do :; done
        rm ready";
    let path = folder.path().to_str().unwrap();
    let run = |furnish: &str, words: &str| unshared("-rmn", furnish, words).env("T", path).finish();
    let tried = |record: &serde_json::Value| {
        let list = record["attempts"].as_array().unwrap();
        list.iter().map(|one| (one["address"].clone(), one["errname"].clone())).collect::<Vec<_>>()
    };
    let refused = |address: &str| (address.into(), "ECONNREFUSED".into());
    let came = run(&hosts, "connect -j -d two.invalid 1");
    let failed = came.event("failed");
    assert_eq!(tried(&failed), [refused("[::1]:1"), refused("127.0.0.1:1")]);
    let came_to = (&failed["errname"], &failed["status"], came.code);
    assert_eq!(came_to, (&"ECONNREFUSED".into(), &1.into(), 1));
    for flags in ["-j", "-j -z"] {
        let mut came = run(&format!("{hosts}\n{serving}"), &format!("connect {flags} two.invalid 9000"));
        came.stderr += &String::from_utf8(std::mem::take(&mut came.stdout)).unwrap();
        let connected = came.event("connected");
        assert_eq!(tried(&connected), [refused("[::1]:9000"), ("127.0.0.1:9000".into(), serde_json::Value::Null)]);
        assert_eq!((connected["peer"].as_str(), came.code), (Some("127.0.0.1:9000"), 0), "{}", came.stderr);
    }
}
