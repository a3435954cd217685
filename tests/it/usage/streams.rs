//! Standard streams that are full, closed, or read by somebody who leaves; and what is coloured on them.

#[cfg(target_os = "linux")]
use super::refused;
use super::run;
use crate::harness::{REFUSED, Server, unread_pipe};
#[cfg(unix)]
use {
    crate::harness::{Owned, Run, SOCKKIT},
    std::io::{BufRead, BufReader},
    std::process::{Command, Stdio},
};

#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_is_one_line_and_status_4() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let server = Server::start("--quiet");
    let target = server.v4();
    let connect = format!("connect {target}");
    let bench = format!("echo-bench -n 1 {target}");
    let probe = format!("probe {target} 127.0.0.1:1");
    for words in [
        "serve -p 0",
        &connect,
        &probe,
        &bench,
        "--help",
        "-h",
        "help",
        "--version",
        "serve --help",
        "connect --help",
        "probe --help",
        "echo-bench -h",
        "completions bash",
        "man",
    ] {
        let run = run(words).stdin("hello").stdout_to(full());
        refused(run, "write stdout failed: No space left on device (ENOSPC, 28)", 4);
    }
    // A usage error has nothing to do with stdout.
    assert_eq!(run("nosuch").stdout_to(full()).finish().code, 2);
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let server = Server::start("--quiet");
    let target = server.v4();
    let connect = format!("connect {target}");
    let bench = format!("echo-bench -n 1 {target}");
    for words in
        ["serve -p 0", &connect, &bench, "--help", "-h", "--version", "connect --help", "completions bash", "man"]
    {
        run(words).stdin("hello").stdout_to(unread_pipe()).check();
    }
}

/// `sockkit` with these words under a shell that closes streams, as `>&-`.
#[cfg(unix)]
fn closed(streams: &str, words: &str) -> Run {
    let script = format!("exec \"$0\" \"$@\" {streams}");
    Run::program("sh").args(["-c", &script, SOCKKIT]).args(words.split_whitespace())
}

#[cfg(unix)]
#[test]
fn closed_streams_change_no_status() {
    let server = Server::start("--quiet");
    let target = server.v4();
    let line = "127.0.0.1:1 refused after TIME: Connection refused (ECONNREFUSED, 111)\n";
    let message = "sockkit: connect 127.0.0.1:1 (tcp) failed after TIME: Connection refused (ECONNREFUSED, 111)\n";
    for (streams, stdout, stderr) in
        [("<&-", true, true), (">&-", false, true), ("2>&-", true, false), ("<&- >&- 2>&-", false, false)]
    {
        let shown = |is_open, text: &'static str| if is_open { text } else { "" };
        closed(streams, "probe 127.0.0.1:1").stdout(shown(stdout, line)).code(111).check();
        closed(streams, "connect 127.0.0.1:1").stderr(shown(stderr, message)).code(1).check();
        closed(streams, "echo-bench 127.0.0.1:1").stderr(shown(stderr, message)).code(1).check();
        assert_eq!(closed(streams, &format!("echo-bench -n 1 {target}")).finish().code, 0, "{streams}");
        assert_eq!(closed(streams, "--help").finish().code, 0, "{streams}");
    }
    // Without a stdin there is nothing to send; without a stdout nothing to print to.
    closed("<&-", &format!("connect {target}")).check();
    closed(">&-", &format!("connect {target}")).stdin("hello").check();
}

#[cfg(unix)]
#[test]
fn a_server_serves_without_stdin_and_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" serve --once --trace -U \"$1\" <&- >&-", SOCKKIT]).arg(&path);
    let mut child = Owned(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut calls = BufReader::new(child.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(calls.any(|call| call.contains(" listen(")), "it listens");
    // The rest must be read, or the server would wait for room.
    let rest = std::thread::spawn(move || calls.count());
    Run::sockkit("connect -U").args([&path]).stdin("hello\n").stdout("hello\n").check();
    assert_eq!(child.wait("serve").code(), Some(0));
    assert!(rest.join().unwrap() > 0);
}

#[cfg(unix)]
#[test]
fn a_stdin_that_cannot_be_read_is_a_local_failure() {
    let server = Server::start("--quiet");
    closed("< /", &format!("connect {}", server.v4()))
        .stderr("sockkit: read stdin failed: Is a directory (EISDIR, 21)\n")
        .code(4)
        .check();
}

#[test]
fn colour_is_where_it_is_wanted() {
    let plain = "127.0.0.1:1 refused after TIME: Connection refused (ECONNREFUSED, 111)\n";
    let coloured = "127.0.0.1:1 \x1b[31mrefused\x1b[0m after TIME: Connection refused (ECONNREFUSED, 111)\n";
    for (flags, variables, line) in [
        ("", &[][..], plain),
        ("--color auto", &[], plain),
        ("--color never", &[], plain),
        ("--color always", &[], coloured),
        ("", &[("CLICOLOR_FORCE", "1")], coloured),
        ("", &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], plain),
        ("", &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")], coloured),
        // What is typed beats what is set.
        ("--color always", &[("NO_COLOR", "1")], coloured),
        ("--color never", &[("CLICOLOR_FORCE", "1")], plain),
    ] {
        let mut run = run(&format!("probe {flags} 127.0.0.1:1"));
        for (name, value) in variables {
            run = run.env(name, value);
        }
        run.stdout(line).code(111).check();
    }
    let server = Server::start("--quiet");
    run("probe --color always").args([server.v4()]).stdout("127.0.0.1:PORT \x1b[32mopen\x1b[0m TIME\n").check();
    run("connect --color always 127.0.0.1:1")
        .stderr(
            "\x1b[31msockkit:\x1b[0m connect 127.0.0.1:1 (tcp) failed after TIME: Connection refused (ECONNREFUSED, 111)\n",
        )
        .code(1)
        .check();
    // What programs read has no colour in it.
    for (format, line) in [("errno", format!("{REFUSED}\n")), ("errname", "ECONNREFUSED\n".to_owned())] {
        run("probe --color always 127.0.0.1:1 -o").args([format]).stdout(&line).code(111).check();
    }
    assert!(!run("probe --color always --json 127.0.0.1:1").finish().stdout.contains(&0x1b));
}
