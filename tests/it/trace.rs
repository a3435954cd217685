//! `--trace`: where it goes, in which form, and what becomes of it when nobody can take it.

#[cfg(target_os = "linux")]
mod calls;

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::harness::{Finished, Run, SOCKKIT, Server, code_of, unread_pipe};

/// Echoes one connection to its end, without sockkit.
fn echo_once() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let echo = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        std::io::copy(&mut &stream, &mut &stream).unwrap();
    });
    (address, echo)
}

/// Runs `serve --once -4 -p 0` with more words, and one client that says hello.
fn serve_once(words: &str) -> Finished {
    let server = Server::start(&format!("-4 --once --quiet {words}"));
    Run::sockkit("connect").args([server.v4()]).stdin("hello\n").stdout("hello\n").check();
    server.finish()
}

#[cfg(unix)]
#[test]
fn a_failed_call_shows_name_and_words_of_its_error() {
    let finished = Run::sockkit("probe --trace unix:/nonexistent/socket").finish();
    let line = finished.stderr.lines().find(|line| line.contains("connect(")).unwrap();
    assert!(line.contains(" connect(3, unix:/nonexistent/socket) = -1 ENOENT (No such file or directory) <"), "{line}");
}

/// Checks one JSON trace, and returns the names of its calls.
fn names_in_json(trace: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in trace.lines() {
        let call: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(call["schema"], "sockkit.trace/1");
        assert!(call["time_s"].as_f64().unwrap() >= 0.0 && call["elapsed_us"].as_f64().unwrap() >= 0.0, "{line}");
        assert!(call["arguments"].is_string(), "{line}");
        let failed = call["result"] == -1;
        assert_eq!((call["errno"].is_i64(), call["errname"].is_string()), (failed, failed), "{line}");
        names.push(call["call"].as_str().unwrap().to_owned());
    }
    names
}

#[test]
fn each_command_traces_in_json_and_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let to_file = format!("--trace={} --trace-format json", path.display());
    let traced = || names_in_json(&std::fs::read_to_string(&path).unwrap());
    let has = |names: &[String], wanted: &[&str]| {
        for name in wanted {
            assert!(names.iter().any(|known| known == name), "no {name} in {names:?}");
        }
    };

    Run::sockkit(&format!("probe {to_file} 127.0.0.1:1"))
        .stdout("127.0.0.1:1 refused after TIME: Connection refused (ECONNREFUSED, 111)\n")
        .code(111)
        .check();
    has(&traced(), &["socket", "connect", "close"]);

    let (address, echo) = echo_once();
    Run::sockkit(&format!("connect {to_file}")).args([&address]).stdin("hello\n").stdout("hello\n").check();
    echo.join().unwrap();
    has(&traced(), &["socket", "setsockopt", "connect", "getsockname", "send", "recv", "shutdown"]);

    let finished = serve_once(&to_file);
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    has(&traced(), &["socket", "setsockopt", "bind", "listen", "accept", "recv", "send", "shutdown", "close"]);

    let (address, echo) = echo_once();
    let finished = Run::sockkit(&format!("echo-bench --quiet -n 1 {to_file}")).args([&address]).finish();
    echo.join().unwrap();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    has(&traced(), &["socket", "connect", "send", "recv"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_trace_that_cannot_be_written_is_a_failure_of_its_own() {
    let full = "sockkit: write the trace failed: No space left on device (ENOSPC, 28)\n";
    let refused = "127.0.0.1:1 refused after TIME: Connection refused (ECONNREFUSED, 111)\n";
    Run::sockkit("probe --trace=/dev/full 127.0.0.1:1").stdout(refused).stderr(full).code(4).check();
    Run::sockkit("connect --trace=/dev/full 127.0.0.1:1")
        .stderr(&format!(
            "sockkit: connect 127.0.0.1:1 (tcp) failed after TIME: Connection refused (ECONNREFUSED, 111)\n{full}"
        ))
        .code(4)
        .check();
    let finished = serve_once("--trace=/dev/full");
    assert_eq!((finished.code, finished.stderr.as_str()), (4, full));
    let (address, echo) = echo_once();
    let finished = Run::sockkit("echo-bench --quiet -n 1 --trace=/dev/full").args([&address]).finish();
    echo.join().unwrap();
    assert_eq!((finished.code, finished.stderr.as_str()), (4, full));
}

#[cfg(unix)]
#[test]
fn a_trace_file_that_cannot_be_opened_is_said_before_anything_is_done() {
    for words in ["serve -p 0", "connect 127.0.0.1:1", "probe 127.0.0.1:1", "echo-bench -n 1"] {
        for (path, reason) in
            [("/nonexistent/trace", "No such file or directory (ENOENT, 2)"), ("/", "Is a directory (EISDIR, 21)")]
        {
            Run::sockkit(&format!("{words} --trace={path}"))
                .stderr(&format!("sockkit: open trace file {path} failed: {reason}\n"))
                .code(4)
                .check();
        }
    }
}

#[test]
fn a_reader_of_the_trace_that_leaves_changes_nothing() {
    let mut command = Command::new(SOCKKIT);
    let status = command.args(["probe", "--trace", "127.0.0.1:1"]).stdout(Stdio::null()).stderr(unread_pipe()).status();
    assert_eq!(code_of(status.unwrap()), 111);
}
