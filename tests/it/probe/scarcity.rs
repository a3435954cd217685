//! What runs out on this side: descriptors, buffers, ports, and the window that is allowed. An attempt that fails for want of
//! them is made again; it says nothing about the port.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::harness::{Deaf, Owned, Run, SOCKKIT, Server, can_unshare, has, unshared};

/// A probe some of whose calls the system refuses; and how many were.
fn injected(inject: &str, words: &str) -> (crate::harness::Finished, usize) {
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    let finished = Run::program("strace")
        .args(["-f", "-qq", "-o", calls.to_str().unwrap(), "-e", "trace=socket,connect", "-e"])
        .args([&format!("inject={inject}"), SOCKKIT, "probe"])
        .args(words.split_whitespace())
        .finish();
    let refused = std::fs::read_to_string(calls).unwrap().matches("(INJECTED)").count();
    (finished, refused)
}

#[test]
fn what_runs_out_for_a_moment_is_tried_again() {
    if !has("strace") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap();
    for (inject, times) in [
        ("socket:error=EMFILE:when=1..3", 3),
        ("socket:error=ENFILE:when=1..3", 3),
        ("socket:error=ENOMEM:when=1..3", 3),
        ("connect:error=ENOBUFS:when=1..3", 3),
        ("connect:error=ENOMEM:when=1..3", 3),
        // Each other connect is of a datagram socket: it finds out that an address is there, and so a port is missing.
        ("connect:error=EADDRNOTAVAIL:when=1..5+2", 3),
    ] {
        let (finished, refused) = injected(inject, &format!("-o grep -w 50s {open}"));
        let text = String::from_utf8(finished.stdout).unwrap();
        assert_eq!((finished.code, refused), (0, times), "{inject}: {text}{}", finished.stderr);
        assert!(text.starts_with("open\t"), "{inject}: {text}");
    }
}

#[test]
fn a_sweep_that_meets_scarcity_is_slower_and_not_wrong() {
    if !has("strace") {
        return;
    }
    let server = Server::start("-4 --quiet");
    for inject in
        ["connect:error=ENOBUFS:when=5+7", "socket:error=EMFILE:when=3+5", "connect:error=EADDRNOTAVAIL:when=20+30"]
    {
        let (finished, refused) = injected(inject, &format!("-w 50s --open -o grep 127.0.0.1:1-200,{}", server.port()));
        let text = String::from_utf8(finished.stdout).unwrap();
        assert!(finished.code == 0 && refused >= 6, "{inject}: {refused} {text}");
        assert_eq!(text.lines().count(), 1, "{inject}: {text}");
        assert!(finished.stderr.contains(": 1 open, 200 refused\n"), "{inject}: {}", finished.stderr);
    }
}

#[test]
fn what_stays_away_is_a_local_error_and_never_closed() {
    if !has("strace") {
        return;
    }
    for (inject, errname, code) in [
        ("socket:error=EMFILE", "EMFILE", 24),
        ("socket:error=ENOBUFS", "ENOBUFS", 105),
        ("connect:error=ENOBUFS", "ENOBUFS", 105),
        ("connect:error=EADDRNOTAVAIL", "EADDRNOTAVAIL", 99),
    ] {
        for (meaning, code) in [("errno", code), ("class", 4), ("nagios", 3)] {
            let words = format!("-w 100ms -o grep --exit-code {meaning} 127.0.0.1:1");
            let (finished, _) = injected(inject, &words);
            let text = String::from_utf8(finished.stdout).unwrap();
            let line = format!("local_error\ttcp\t127.0.0.1\t1\t{errname}\t127.0.0.1:1\n");
            assert_eq!((text, finished.code), (line, code), "{inject} {meaning}");
        }
        // It is no refusal: a wait for one is not met, and ends at once.
        let (finished, _) = injected(inject, "--quiet -w 100ms --wait closed --deadline 50s 127.0.0.1:1");
        assert_eq!(finished.code, code, "{inject}");
    }
}

/// Every local port that there is, is taken; by and by they are given back.
#[test]
fn without_a_free_port_it_waits_for_one() {
    if !can_unshare() || !has("python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "set -e; ip link set lo up; echo 40000 40003 > /proc/sys/net/ipv4/ip_local_port_range; \
                  mkfifo $T/ready $T/go; python3 -c '\n\
                  import os, signal, socket\n\
                  server = socket.create_server((\"127.0.0.1\", 80))\n\
                  held = [socket.socket() for _ in range(4)]\n\
                  for number, taken in enumerate(held): taken.bind((\"0.0.0.0\", 40000 + number))\n\
                  open(os.environ[\"T\"] + \"/ready\", \"w\").write(\"\\n\")\n\
                  open(os.environ[\"T\"] + \"/go\").read()\n\
                  for taken in held: taken.close()\n\
                  signal.pause()' & read line < $T/ready; exec \"$0\" probe \"$@\"";
    for source in [&[][..], &["-s", "127.0.0.1"]] {
        let folder = folder.path().join(source.len().to_string());
        std::fs::create_dir(&folder).unwrap();
        let mut command = Command::new("unshare");
        command.args(["-rmnpf", "sh", "-c", script, SOCKKIT, "-w", "50s", "--trace", "127.0.0.1:80"]).args(source);
        command.env("T", &folder).env("LC_ALL", "C");
        let mut child = Owned(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut calls = BufReader::new(child.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        let (missing, found) = if source.is_empty() { ("EADDRNOTAVAIL", "connect(") } else { ("EADDRINUSE", "bind(") };
        assert!(calls.any(|call| call.contains(found) && call.contains(missing)), "no port is free");
        std::fs::File::options().write(true).open(folder.join("go")).unwrap().write_all(b"go").unwrap();
        calls.for_each(drop);
        assert!(child.wait("probe").success(), "{source:?}");
    }
}

#[test]
fn an_address_that_is_missing_is_not_waited_for() {
    if !can_unshare() {
        return;
    }
    let without_v6 = "ip link set lo up; echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
    // It would take these minutes, if it were taken for a port that may come back.
    unshared("-rn", without_v6, "probe -w 10m [::1]:80")
        .stdout("[::1]:80 local error after TIME: Cannot assign requested address (EADDRNOTAVAIL, 99)\n")
        .code(99)
        .check();
}

#[test]
fn no_more_are_under_way_than_is_allowed() {
    if !can_unshare() || !has("iptables") {
        return;
    }
    let silent = "ip link set lo up; iptables -A INPUT -p tcp --dport 1000:1099 -j DROP";
    for (parallel, at_least_ms) in [(5, 400.0), (20, 100.0)] {
        let words = format!("probe -w 100ms --parallel {parallel} -o ndjson --trace 127.0.0.1:1000-1019");
        let finished = unshared("-rn", silent, &words).finish();
        let text = String::from_utf8(finished.stdout).unwrap();
        let summary: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!((finished.code, &summary["counts"]["timed_out"]), (110, &20.into()), "{text}");
        // So many at a time take so many turns; and never was there a socket more.
        assert!(summary["elapsed_ms"].as_f64().unwrap() >= at_least_ms, "{summary}");
        assert_eq!(most_at_a_time(&finished.stderr), parallel, "{}", finished.stderr);
    }
}

/// How many sockets there were at a time, by a trace.
fn most_at_a_time(trace: &str) -> i32 {
    let calls = trace.lines().filter_map(|line| line.split_once(' ').map(|(_, call)| call));
    let under_way = calls.scan(0, |under_way, call| {
        *under_way += i32::from(call.starts_with("socket(")) - i32::from(call.starts_with("close("));
        Some(*under_way)
    });
    under_way.max().expect("calls")
}

#[test]
fn a_window_that_shrank_grows_again() {
    if !has("strace") {
        return;
    }
    // Silent at each address of the loopback network.
    let deaf = Deaf::listen("0.0.0.0:0".parse().unwrap()).unwrap();
    let words = format!("--trace -w 100ms 127.9.0.0/25:{}", deaf.address.port());
    let (finished, refused) = injected("socket:error=EMFILE:when=1", &words);
    assert_eq!((finished.code, refused), (110, 1), "{}", finished.stderr);
    let most = most_at_a_time(&finished.stderr);
    assert!(most >= 32, "{most} at a time of 128, where the first found no room");
}

#[test]
fn few_descriptors_are_no_reason_to_crash() {
    // What it takes to hear signals is missing somewhere among these.
    for descriptors in 6..=16 {
        let finished = Run::program("sh")
            .args(["-c", "ulimit -n $0; exec \"$@\"", &descriptors.to_string(), SOCKKIT, "probe", "-w", "50ms"])
            .args(["--wait", "open", "--deadline", "100ms", "127.0.0.1:1"])
            .finish();
        assert!([110, 24].contains(&finished.code), "{descriptors}: {} {}", finished.code, finished.stderr);
    }
}
