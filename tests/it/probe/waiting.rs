//! Deadlines, retries, waiting and measuring.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Finished, Owned, Run, Running, SOCKKIT, Server, Signal, kill};

/// What a deadline may be late by.
const LATE: Duration = Duration::from_millis(50);

/// More than a busy machine adds to a run, and less than whatever hangs in it would take.
const PATIENCE: Duration = Duration::from_secs(25);

/// Runs it, and looks whether it ends with its deadline. A busy machine may hold up any process for longer than that, but
/// not ten times in a row.
#[track_caller]
fn ends_at(deadline: Duration, run: impl Fn() -> Run) -> Finished {
    let allowed = deadline..deadline + LATE;
    let mut took = Vec::new();
    for _ in 0..10 {
        let begun = Instant::now();
        let finished = run().finish();
        assert!(begun.elapsed() < PATIENCE, "it stays after it has said its last: {:?}", begun.elapsed());
        let elapsed = Duration::from_secs_f64(elapsed_ms(&finished.stdout) / 1e3);
        if allowed.contains(&elapsed) {
            return finished;
        }
        assert!(elapsed > deadline, "too early: {elapsed:?}");
        took.push(elapsed);
    }
    panic!("{took:?}, and never in {allowed:?}");
}

/// How long it took, by its own account.
fn elapsed_ms(stdout: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(stdout);
    let summary: Value = serde_json::from_str(text.lines().last().expect("a summary")).expect("JSON");
    summary["elapsed_ms"].as_f64().expect("a time")
}

#[test]
fn a_wait_ends_when_somebody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut command = Command::new(SOCKKIT);
    command.args(["probe", "-v", "--wait", "open", "-i", "10ms", "--deadline", "50s", &address.to_string()]);
    let mut child = Owned(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut attempts = BufReader::new(child.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(attempts.any(|line| line.contains("ECONNREFUSED")), "nobody listens yet");
    // SO_REUSEADDR is what servers set.
    let _listener = TcpListener::bind(address).unwrap();
    assert!(child.wait("probe").success());
}

#[test]
fn a_wait_is_for_all_its_targets() {
    let [first, second] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let (here, absent) = (first.local_addr().unwrap().to_string(), second.local_addr().unwrap());
    drop(second);
    let mut command = Command::new(SOCKKIT);
    command.args(["probe", "-v", "--wait", "open", "-i", "10ms", "--deadline", "50s", &here, &absent.to_string()]);
    let mut child = Owned(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut attempts = BufReader::new(child.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(attempts.by_ref().filter(|line| line.contains("ECONNREFUSED")).nth(2).is_some(), "one is not enough");
    let _second = TcpListener::bind(absent).unwrap();
    assert!(child.wait("probe").success());
    Run::sockkit(&format!("probe --quiet --wait open --deadline 200ms {here} 127.0.0.1:1")).code(110).check();
    Run::sockkit(&format!("probe --quiet --wait open --deadline 200ms --require any {here} 127.0.0.1:1")).check();
}

#[test]
fn a_wait_for_closed_takes_only_a_refusal() {
    let server = Server::start("-4 --quiet");
    let open = server.v4();
    Run::sockkit("probe --wait closed 127.0.0.1:1")
        .stdout("127.0.0.1:1 refused after TIME: Connection refused (ECONNREFUSED, 111)\n")
        .check();
    for (words, last) in [
        (format!("--wait closed --deadline 0.2 {open}"), "last: it was open"),
        ("--wait closed --deadline 0.2 127.0.0.1:nosuchservice".to_owned(), "no such service"),
        (format!("--wait down --deadline 0.2 {open}"), "last: it was open"),
    ] {
        let finished = Run::sockkit(&format!("probe {words}")).finish();
        let text = String::from_utf8(finished.stdout).unwrap();
        assert!(finished.code == 110 && text.contains(" timed out after ") && text.contains(last), "{words}: {text}");
    }
    let mut running = Running::sockkit(&format!("probe --wait closed --deadline 50s -i 10ms {open}"));
    drop(running.stdin.take());
    server.end(Signal::Terminate);
    assert_eq!(running.finish().code, 0);
}

#[test]
fn what_is_wrong_on_this_side_ends_a_wait_at_once() {
    let finished = Run::sockkit("probe --wait open --deadline 50s -s 192.0.2.1 127.0.0.1:1").finish();
    assert_eq!(finished.code, 99);
}

#[test]
fn a_deadline_is_kept_and_tells_the_last_reason() {
    for deadline_ms in [100, 300] {
        let words = format!("probe --wait open -i 7ms --deadline {deadline_ms}ms -o ndjson 127.0.0.1:1");
        let finished = ends_at(Duration::from_millis(deadline_ms), || Run::sockkit(&words));
        assert_eq!(finished.code, 110);
        let text = String::from_utf8(finished.stdout).unwrap();
        assert!(text.contains("last: Connection refused (ECONNREFUSED, 111)"), "{text}");
    }
}

#[test]
fn a_failed_target_is_tried_as_often_as_it_is_asked_for() {
    for (words, attempts) in [("", 1), ("--retries 2 -i 1ms", 3), ("--retries 3 -i 1ms --backoff 2", 4)] {
        let finished = Run::sockkit(&format!("probe {words} -o ndjson 127.0.0.1:1")).finish();
        let text = String::from_utf8(finished.stdout).unwrap();
        let record: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((finished.code, &record["attempt"]), (111, &attempts.into()), "{text}");
        assert_eq!(text.lines().count(), 2, "one verdict, and the summary");
    }
    // Two pauses, the second of them twice as long.
    let begun = Instant::now();
    Run::sockkit("probe --quiet --retries 2 -i 50ms --backoff 2 127.0.0.1:1").code(111).check();
    assert!(begun.elapsed() >= Duration::from_millis(150));
}

#[test]
fn measurements_have_statistics_of_what_was_open() {
    let server = Server::start("-4 --quiet");
    let finished = Run::sockkit(&format!("probe -c 20 -i 1ms {} 127.0.0.1:1", server.v4())).finish();
    let text = String::from_utf8(finished.stdout).unwrap();
    let count = |word: &str| text.lines().filter(|line| line.contains(word)).count();
    assert_eq!((finished.code, count(" open "), count(" refused ")), (111, 20, 20), "{text}");
    let [.., open, refused] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    let form = regex::Regex::new(
        r"^127\.0\.0\.1:\d+: 20 attempts, 20 open, 0 % lost; connect min/avg/p50/p99/max ([\d.]+/){3}-/[\d.]+ ms, jitter [\d.]+ ms$",
    );
    assert!(form.unwrap().is_match(open), "{open}");
    assert_eq!(refused, "127.0.0.1:1: 20 attempts, 0 open, 100 % lost");
}

/// A probe that gets a signal as soon as it has printed so many lines: what it said after that on both streams, and its status.
fn signalled(words: &str, lines: usize, signal: Signal) -> (String, String, i32) {
    let mut command = Command::new(SOCKKIT);
    command.arg("probe").args(words.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Owned(command.spawn().unwrap());
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    assert_eq!(stdout.by_ref().lines().take(lines).map(Result::unwrap).count(), lines, "{words}");
    kill(child.0.id(), signal);
    let (mut rest, mut told) = (String::new(), String::new());
    stdout.read_to_string(&mut rest).unwrap();
    child.0.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    (rest, told, child.wait("probe").code().expect("a status"))
}

#[test]
fn an_interrupt_ends_a_watch_with_its_summary() {
    let server = Server::start("-4 --quiet");
    for (target, signal, code) in [
        (server.v4(), Signal::Interrupt, 0),
        (server.v4(), Signal::Terminate, 0),
        ("127.0.0.1:1".to_owned(), Signal::Interrupt, 111),
    ] {
        let (rest, _, status) = signalled(&format!("--watch -i 10ms {target}"), 3, signal);
        let last = rest.lines().last().unwrap();
        assert!(status == code && last.contains(" attempts, "), "{status} {last}");
    }
}

#[test]
fn a_deadline_between_two_measurements_is_no_loss() {
    let server = Server::start("-4 --quiet");
    for words in ["--watch", "-c 1000"] {
        let finished = Run::sockkit(&format!("probe {words} -i 40ms --deadline 100ms {}", server.v4())).finish();
        let text = String::from_utf8(finished.stdout).unwrap();
        assert!(finished.code == 0 && text.contains(", 0 % lost; "), "{words}: {text}");
        assert!(!text.contains("timed out"), "{words}: {text}");
    }
}

#[test]
fn a_deadline_that_leaves_no_time_is_told() {
    Run::sockkit("probe --deadline 0 127.0.0.1:1").stderr("1 target in TIME: 1 not tried\n").code(110).check();
}

#[test]
fn an_interrupt_between_two_targets_leaves_the_rest_untried() {
    let server = Server::start("-4 --quiet");
    // The second would begin after minutes.
    let words = format!("--rate 0.01 127.0.0.1:{},1-100", server.port());
    let (_, told, code) = signalled(&words, 1, Signal::Interrupt);
    assert_eq!(code, 130, "{told}");
    assert!(told.ends_with(": 1 open, 100 not tried\n"), "{told}");
}

#[test]
fn an_interrupt_is_not_the_way_to_a_command() {
    let server = Server::start("-4 --quiet");
    let (rest, _, code) = signalled(&format!("--watch -i 10ms {} -- echo never", server.v4()), 2, Signal::Interrupt);
    assert!(code == 130 && !rest.contains("never"), "{code} {rest}");
}

#[test]
fn what_an_interrupt_ends_is_counted_as_what_it_was_last() {
    let (rest, _, code) = signalled("--watch -i 10ms -o ndjson 127.0.0.1:1", 2, Signal::Interrupt);
    let summary: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!((code, &summary["counts"]["refused"], &summary["total"]), (111, &1.into(), &1.into()));
}

#[test]
fn a_signal_ends_a_wait_with_its_number() {
    for (signal, code) in [(Signal::Interrupt, 130), (Signal::Terminate, 143)] {
        let mut command = Command::new(SOCKKIT);
        command.args(["probe", "-v", "--wait", "open", "-i", "10ms", "127.0.0.1:1"]);
        let mut child = Owned(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.next().is_some());
        kill(child.0.id(), signal);
        assert!(lines.last().unwrap().contains("1 not finished"));
        assert_eq!(child.wait("probe").code(), Some(code), "{signal:?}");
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use crate::harness::{Deaf, NAMES_FROM_FILES, can_unshare, unanswered};

    #[test]
    fn an_interrupt_loses_no_verdict_that_waits_for_a_silent_target() {
        let deaf = Deaf::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut command = Command::new(SOCKKIT);
        command.args(["probe", "--trace", "-w", "50s", &deaf.address.to_string(), "127.0.0.1:1-20"]);
        let mut child = Owned(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut told = BufReader::new(child.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(told.any(|call| call.contains("127.0.0.1:20)") && call.contains("ECONNREFUSED")), "it is the last");
        kill(child.0.id(), Signal::Interrupt);
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.filter(|line| line.contains(" refused after ")).count(), 20);
        assert!(told.any(|line| line.ends_with("20 refused, 1 not finished")));
        assert_eq!(child.wait("probe").code(), Some(130));
    }

    #[test]
    fn a_deadline_cuts_silence() {
        let deaf = Deaf::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let words = format!("probe -w 50s --deadline 200ms -o ndjson {}", deaf.address);
        let finished = ends_at(Duration::from_millis(200), || Run::sockkit(&words));
        assert_eq!(finished.code, 110);
    }

    #[test]
    fn a_deadline_cuts_a_lookup_that_hangs() {
        if !can_unshare() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        for words in ["", "--wait open", "--wait closed", "-c 3"] {
            let finished = ends_at(Duration::from_millis(200), || {
                let words = format!("probe {words} --deadline 200ms -o ndjson nosuch.invalid:80");
                unanswered(&words, folder.path())
            });
            assert_eq!(finished.code, 110, "{words}");
        }
    }

    #[test]
    fn a_name_that_appears_is_found_while_waiting() {
        if !can_unshare() {
            return;
        }
        let server = Server::start("-4 --quiet");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hosts"), "").unwrap();
        let files = format!("mount --bind $T/hosts /etc/hosts; {NAMES_FROM_FILES}");
        let words = format!("probe -v --wait open --deadline 50s -i 10ms late.invalid:{}", server.port());
        let script = format!("set -e; {files}\nexec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", &script, SOCKKIT]).args(words.split(' ')).env("T", folder.path());
        let mut child = Owned(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut attempts = BufReader::new(child.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(attempts.any(|line| line.contains("EAI_NONAME")), "it has no address yet");
        std::fs::write(folder.path().join("hosts"), "127.0.0.1 late.invalid\n").unwrap();
        assert!(child.wait("probe").success());
    }
}
