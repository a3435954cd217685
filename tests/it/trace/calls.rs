//! The calls that were made, in the words of the manual pages, and the same that strace(1) sees. On Linux: elsewhere other
//! calls are made, on other descriptors.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Command;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

use super::{echo_once, names_in_json, serve_once};
use crate::harness::{Run, SOCKKIT, Server, Signal, mask};

/// A traced call without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    name: String,
    arguments: String,
    /// A number, or the name of an error.
    result: String,
}

impl Call {
    fn shown(&self) -> String {
        format!("{}({}) = {}", self.name, self.arguments, self.result)
    }

    /// The descriptor that it was about.
    fn descriptor(&self) -> &str {
        if self.name == "socket" { &self.result } else { self.arguments.split(',').next().unwrap_or_default() }
    }
}

/// The calls of a trace in text form; a line that has another form fails the test.
fn calls(trace: &str) -> Vec<Call> {
    static LINE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^\d+\.\d{6} (\w+)\((.*)\) = (-1 (E\w+) \([A-Z][\w ]*\)|\d+) <\d+\.\d{6}>$").unwrap()
    });
    let call = |line: &str| {
        let parts: Captures = LINE.captures(line).unwrap_or_else(|| panic!("not a traced call: {line}"));
        let result = parts.get(4).or(parts.get(3)).expect("a result");
        Call { name: parts[1].to_owned(), arguments: mask(&parts[2]), result: result.as_str().to_owned() }
    };
    settled(trace.lines().map(call).collect())
}

/// The same calls without those that only say that it is too early, which depends on how busy the machine is; a connect
/// that was decided late has its outcome from `SO_ERROR`.
fn settled(calls: Vec<Call>) -> Vec<Call> {
    let mut settled: Vec<Call> = Vec::new();
    let mut early: Option<Call> = None;
    for call in calls {
        match (call.name.as_str(), call.result.as_str()) {
            (_, "EAGAIN") | ("poll", _) => {}
            ("connect", "EALREADY") => early = Some(call),
            ("getsockopt", _) if call.arguments.contains("SO_ERROR") => {
                let error = call.arguments.rsplit(['[', ']']).nth(1).expect("[error]");
                settled.push(Call { result: error.to_owned(), ..early.take().expect("a connect") });
            }
            _ => settled.push(call),
        }
    }
    settled
}

fn shown(calls: &[Call]) -> Vec<String> {
    calls.iter().map(Call::shown).collect()
}

#[test]
fn a_probe_shows_each_call_in_its_order() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().to_string();
    let finished = Run::sockkit("probe --trace").args([open.as_str(), "127.0.0.1:1"]).finish();
    assert_eq!(finished.code, 111);
    assert_eq!(
        shown(&calls(&finished.stderr)),
        [
            "socket(AF_INET, SOCK_STREAM) = 3",
            "connect(3, 127.0.0.1:PORT) = EINPROGRESS",
            "connect(3, 127.0.0.1:PORT) = 0",
            "getsockname(3, 127.0.0.1:PORT) = 0",
            "close(3) = 0",
            "socket(AF_INET, SOCK_STREAM) = 3",
            "connect(3, 127.0.0.1:1) = EINPROGRESS",
            "connect(3, 127.0.0.1:1) = ECONNREFUSED",
            "close(3) = 0",
        ]
    );
}

#[test]
fn a_client_shows_what_it_sends_and_receives() {
    let (address, echo) = echo_once();
    let finished = Run::sockkit("connect --trace").args([&address]).stdin("hello\n").finish();
    echo.join().unwrap();
    assert_eq!((finished.code, finished.stdout.as_slice()), (0, &b"hello\n"[..]));
    let calls = calls(&finished.stderr);
    // Two threads share the connection, each with its own order.
    let (sending, rest): (Vec<Call>, Vec<Call>) =
        calls.into_iter().partition(|call| matches!(call.name.as_str(), "send" | "shutdown"));
    assert_eq!(shown(&sending), ["send(3, \"hello\\n\", 6) = 6", "shutdown(3, SHUT_WR) = 0"]);
    // Its end may be the program's: then the system closes it.
    let matters = |call: &Call| !matches!(call.name.as_str(), "getsockopt" | "ioctl" | "close");
    let rest: Vec<Call> = rest.into_iter().filter(matters).collect();
    assert_eq!(
        shown(&rest),
        [
            "socket(AF_INET, SOCK_STREAM) = 3",
            "setsockopt(3, IPPROTO_TCP, TCP_NODELAY, [1]) = 0",
            "connect(3, 127.0.0.1:PORT) = EINPROGRESS",
            "connect(3, 127.0.0.1:PORT) = 0",
            "getsockname(3, 127.0.0.1:PORT) = 0",
            "recv(3, \"hello\\n\", 262144) = 6",
            "recv(3, \"\", 262144) = 0",
        ]
    );
}

#[test]
fn a_server_shows_listener_and_connection() {
    let finished = serve_once("--trace");
    assert_eq!(finished.code, 0);
    let calls = calls(&finished.stderr);
    let accepted = calls.iter().find(|call| call.name == "accept").unwrap().result.clone();
    let (connection, listener): (Vec<Call>, Vec<Call>) =
        calls.into_iter().partition(|call| call.descriptor() == accepted);
    assert_eq!(
        shown(&listener),
        [
            "socket(AF_INET, SOCK_STREAM) = 3",
            "setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1]) = 0",
            "setsockopt(3, IPPROTO_TCP, TCP_NODELAY, [1]) = 0",
            "bind(3, 127.0.0.1:0) = 0",
            "listen(3, 4096) = 0",
            "getsockname(3, 127.0.0.1:PORT) = 0",
            &format!("accept(3, 127.0.0.1:PORT) = {accepted}"),
            "close(3) = 0",
        ]
    );
    assert_eq!(
        shown(&connection),
        [
            format!("recv({accepted}, \"hello\\n\", 65536) = 6"),
            format!("send({accepted}, \"hello\\n\", 6) = 6"),
            format!("recv({accepted}, \"\", 65536) = 0"),
            format!("shutdown({accepted}, SHUT_WR) = 0"),
            format!("close({accepted}) = 0"),
        ]
    );
}

#[test]
fn a_benchmark_shows_its_round_trips() {
    let (address, echo) = echo_once();
    let finished = Run::sockkit("echo-bench --trace --quiet -n 2 -l 5").args([&address]).finish();
    echo.join().unwrap();
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let calls = calls(&finished.stderr);
    let of = |name: &str| calls.iter().filter(|call| call.name == name).map(|call| call.result.as_str()).collect();
    let (sent, received): (Vec<&str>, Vec<&str>) = (of("send"), of("recv"));
    assert_eq!((sent, &received[..2]), (vec!["5", "5"], &["5", "5"][..]));
}

#[test]
fn a_datagram_server_shows_from_whom_and_to_whom() {
    let server = Server::start("-u -4 --quiet --trace");
    Run::sockkit("connect -u -q 0.2").args([server.v4()]).stdin("hello").stdout("hello").check();
    let finished = server.end(Signal::Terminate);
    let shown = shown(&calls(&finished.stderr));
    for call in ["recvfrom(3, 5 bytes, 262144, 127.0.0.1:PORT) = 5", "sendto(3, \"hello\", 5, 127.0.0.1:PORT) = 5"] {
        assert!(shown.iter().any(|shown| shown == call), "{call} is not in {shown:#?}");
    }
}

#[test]
fn a_trace_counts_from_its_start_on_and_tells_what_failed() {
    let finished = Run::sockkit("probe --json --trace 127.0.0.1:1,2").finish();
    assert!(names_in_json(&finished.stderr).len() >= 8, "json is what --json traces in");
    let calls: Vec<Value> = finished.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let times: Vec<f64> = calls.iter().map(|call| call["time_s"].as_f64().unwrap()).collect();
    assert!(times.is_sorted_by(|earlier, later| earlier < later), "{times:?}");
    let second = &calls[1];
    assert_eq!(
        (&second["call"], &second["arguments"], &second["result"], &second["errno"], &second["errname"]),
        (&"connect".into(), &"3, 127.0.0.1:1".into(), &(-1).into(), &115.into(), &"EINPROGRESS".into())
    );
    let text = Run::sockkit("probe --json --trace --trace-format text 127.0.0.1:1").finish();
    assert!(!calls_are_json(&text.stderr), "{}", text.stderr);
}

fn calls_are_json(trace: &str) -> bool {
    trace.lines().all(|line| line.starts_with('{'))
}

mod strace {
    use super::*;
    use crate::harness::has;

    /// Whether strace works here: it may be installed and not be allowed.
    #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
    fn can_strace() -> bool {
        let works = has("strace")
            && Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success());
        if !works {
            eprintln!("skipped: strace does not work here");
        }
        works
    }

    /// `strace sockkit WORDS`, with both traces in a folder.
    fn command(folder: &std::path::Path, words: &str) -> Command {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=network,close", "-e", "signal=none", "-o"]);
        command.arg(folder.join("strace")).arg(SOCKKIT).args(words.split_whitespace());
        command.arg(format!("--trace={}", folder.join("ours").display()));
        command
    }

    /// What strace saw of the sockets that were made by socket(2) for IP, and by accept(2).
    fn seen(folder: &std::path::Path) -> Vec<Call> {
        static LINE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^(\w+)\((.*)\) += (-1 (E\w+) .*|\d+)$").unwrap());
        let text = std::fs::read_to_string(folder.join("strace")).unwrap();
        let mut unfinished: BTreeMap<&str, &str> = BTreeMap::new();
        let mut open: Vec<String> = Vec::new();
        let mut calls = Vec::new();
        for line in text.lines() {
            let (thread, line) = line.split_once(' ').expect("a thread");
            let line = line.trim_start();
            // A call that another thread's interrupts is written in two parts.
            if let Some(first) = line.strip_suffix(" <unfinished ...>") {
                unfinished.insert(thread, first);
                continue;
            }
            let line = match line.strip_prefix("<... ").and_then(|line| line.split_once(" resumed>")) {
                Some((_, second)) => format!("{}{second}", unfinished.remove(thread).expect("the first part")),
                None => line.to_owned(),
            };
            let Some(parts) = LINE.captures(&line) else { continue };
            let name = match &parts[1] {
                "recvfrom" => "recv",
                "sendto" => "send",
                "accept4" => "accept",
                name => name,
            };
            let result = parts.get(4).or(parts.get(3)).expect("a result").as_str().to_owned();
            let call = Call { name: name.to_owned(), arguments: parts[2].to_owned(), result };
            let is_new = name == "socket" && call.arguments.starts_with("AF_INET");
            if is_new || (name == "accept" && open.iter().any(|known| known == call.descriptor())) {
                open.push(call.result.clone());
            }
            if open.iter().any(|known| known == call.descriptor()) {
                if name == "close" {
                    let closed = call.descriptor().to_owned();
                    open.retain(|known| *known != closed);
                }
                calls.push(call);
            }
        }
        calls
    }

    /// What the trace says, without what strace was not asked for.
    fn told(folder: &std::path::Path) -> Vec<Call> {
        let text = std::fs::read_to_string(folder.join("ours")).unwrap();
        let calls = text.lines().map(|line| {
            let (call, result) = line.rsplit_once(" = ").unwrap();
            let (name, arguments) = call.split_once(' ').unwrap().1.split_once('(').unwrap();
            let result = result.strip_prefix("-1 ").unwrap_or(result).split(' ').next().unwrap();
            let arguments = arguments.trim_end_matches(')');
            Call { name: name.to_owned(), arguments: arguments.to_owned(), result: result.to_owned() }
        });
        calls.filter(|call| call.name != "poll" && call.name != "ioctl").collect()
    }

    /// The calls on each descriptor, with the option that was meant; what two threads do at once, `connect` does on one
    /// descriptor, is in a row of its own.
    fn rows(calls: Vec<Call>) -> BTreeMap<(String, bool), Vec<String>> {
        let mut rows: BTreeMap<(String, bool), Vec<String>> = BTreeMap::new();
        for call in calls {
            let option = if call.name.ends_with("sockopt") { call.arguments.split(", ").nth(2) } else { None };
            let sends = matches!(call.name.as_str(), "send" | "shutdown");
            let row = rows.entry((call.descriptor().to_owned(), sends)).or_default();
            row.push(format!("{} {} = {}", call.name, option.unwrap_or_default(), call.result));
        }
        rows
    }

    /// Both saw the same; a close at the very end may be seen by one alone, the program ending in between.
    #[track_caller]
    fn compare(folder: &std::path::Path, wanted: &[&str]) {
        let is_last_close = |calls: &[Call]| calls.last().is_some_and(|call| call.name == "close");
        let (mut seen, mut told) = (seen(folder), told(folder));
        if is_last_close(&seen) != is_last_close(&told) {
            for calls in [&mut seen, &mut told] {
                calls.pop_if(|call| call.name == "close");
            }
        }
        for name in wanted {
            assert!(seen.iter().any(|call| call.name == *name), "strace saw no {name}");
        }
        let (seen, told) = (rows(seen), rows(told));
        assert!(seen == told, "strace saw {seen:#?}\nthe trace says {told:#?}");
    }

    #[test]
    fn strace_sees_the_calls_of_a_probe() {
        if !can_strace() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let words = format!("probe {} 127.0.0.1:1 [::1]:1", listener.local_addr().unwrap());
        let output = command(folder.path(), &words).output().unwrap();
        assert_eq!(output.status.code(), Some(111));
        compare(folder.path(), &["socket", "connect", "getsockname", "close"]);
    }

    #[test]
    fn strace_sees_the_calls_of_a_client() {
        if !can_strace() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (address, echo) = echo_once();
        // With -v every option is read back.
        let mut command = command(folder.path(), &format!("connect -v --nodelay --bind-device lo {address}"));
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut writer, b"hello\n").unwrap();
        drop(writer);
        let output = command.stdin(reader).output().unwrap();
        echo.join().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"hello\n"[..]));
        compare(folder.path(), &["socket", "setsockopt", "getsockopt", "connect", "send", "recv", "shutdown"]);
    }

    #[test]
    fn strace_sees_the_calls_of_a_server() {
        if !can_strace() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let server = Server::spawn(command(folder.path(), "serve -4 -p 0 --once --quiet"), 1);
        Run::sockkit("connect").args([server.v4()]).stdin("hello\n").stdout("hello\n").check();
        assert_eq!(server.finish().code, 0);
        compare(
            folder.path(),
            &["socket", "setsockopt", "bind", "listen", "accept", "recv", "send", "shutdown", "close"],
        );
    }
}
