//! What is run after a probe.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::harness::{Owned, Run, SOCKKIT, Server, Signal, kill};

#[test]
fn a_command_has_its_own_status_and_stdin() {
    let server = Server::start("-4 --quiet");
    let open = server.v4();
    let line = "127.0.0.1:PORT open TIME\n";
    for (script, stdout, code) in
        [("exit 7", "", 7), ("cat", "input\n", 0), ("echo \"$0\"", "sh\n", 0), ("kill $$", "", 143)]
    {
        Run::sockkit("probe")
            .args([open.as_str(), "--", "sh", "-c", script])
            .stdin("input\n")
            .stdout(&format!("{line}{stdout}"))
            .code(code)
            .check();
    }
}

#[test]
fn a_command_is_run_only_on_success() {
    Run::sockkit("probe --quiet 127.0.0.1:1 -- echo never").code(111).check();
    Run::sockkit("probe --quiet --wait open --deadline 0.1 127.0.0.1:1 -- echo never").code(110).check();
    Run::sockkit("probe --quiet --wait closed 127.0.0.1:1 -- echo closed").stdout("closed\n").check();
}

#[test]
fn a_command_that_cannot_be_run_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().to_string();
    for (command, reason, code) in [
        ("/nonexistent/command", "No such file or directory", 127),
        ("sockkit-test-no-such-command", "No such file or directory", 127),
        ("/", "Permission denied", 126),
    ] {
        Run::sockkit("probe --quiet")
            .args([open.as_str(), "--", command])
            .stderr(&format!("sockkit: run {command} failed: {reason}\n"))
            .code(code)
            .check();
    }
}

#[test]
fn a_command_is_the_same_process_and_gets_its_signals() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().to_string();
    let script = "trap 'exit 9' INT; echo $$; read line";
    let mut command = Command::new(SOCKKIT);
    command.args(["probe", "--quiet", "--wait", "open", &open, "--", "sh", "-c", script]);
    let mut child = Owned(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), child.0.id().to_string());
    kill(child.0.id(), Signal::Interrupt);
    assert_eq!(child.wait("sh").code(), Some(9));
}
