//! Who is told that the server listens, who hands it sockets that listen already, and what runs beside it.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{DEADLINE, Run, Running, SOCKKIT, Server, Signal, dial, exchange, has, kill, mask, until};

/// A folder of the test's own.
fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

#[test]
fn the_ready_file_has_the_port_for_as_long_as_the_server_is_there() {
    let folder = folder();
    let file = folder.path().join("ready");
    fs::write(&file, "1\n").unwrap();
    let server = Running::sockkit(&format!("serve -p 0 --quiet --ready-file {}", text(&file)));
    // Whoever sees it sees all of it; what was left behind is gone before.
    let mut port = String::new();
    until("the file is there", || {
        port = fs::read_to_string(&file).unwrap_or_default();
        !port.is_empty() && port != "1\n"
    });
    let port = port.strip_suffix('\n').expect("one line").parse::<u16>().expect("a port and nothing else");
    assert_eq!(exchange(&dial(&format!("127.0.0.1:{port}")), b"hello"), b"hello");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    kill(server.pid(), Signal::Terminate);
    assert_eq!(server.finish().code, 0);
    assert!(!file.exists());
}

#[test]
fn the_ready_file_of_a_unix_socket_has_its_path() {
    let folder = folder();
    let (file, path) = (folder.path().join("ready"), folder.path().join("socket"));
    let server = Server::start_with(&format!("-U {} --ready-file {}", text(&path), text(&file)), 1);
    until("the file is there", || fs::read_to_string(&file).is_ok_and(|read| read == format!("{}\n", text(&path))));
    assert_eq!(server.end(Signal::Terminate).code, 0);
}

#[test]
fn a_server_that_cannot_listen_is_not_ready() {
    let folder = folder();
    let file = folder.path().join("ready");
    fs::write(&file, "1\n").unwrap();
    let server = Server::start("-4 --quiet");
    Run::sockkit(&format!("serve --quiet {} --ready-file {}", server.v4(), text(&file)))
        .stderr(
            "sockkit: bind 127.0.0.1:PORT (tcp) failed after TIME: Address already in use (EADDRINUSE, 98)\n         \
             hint: -p 0 takes any free port\n",
        )
        .code(4)
        .check();
    assert!(!file.exists());
    let missing = folder.path().join("missing").join("ready");
    let finished = Run::sockkit(&format!("serve -4 -p 0 --ready-file {}", text(&missing))).finish();
    let message =
        format!("sockkit: write ready file \"{}\" failed: No such file or directory (ENOENT, 2)\n", missing.display());
    assert_eq!((finished.code, finished.stderr), (4, message));
}

#[test]
fn a_descriptor_is_told_too_and_closed() {
    let folder = folder();
    let pipe = folder.path().join("pipe");
    // A reader that waits for the end gets it, while the server goes on.
    let script = "mkfifo \"$1\"; (cat \"$1\"; echo closed) & exec \"$0\" serve -4 -p 0 --ready-fd 7 7> \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, SOCKKIT, text(&pipe)]);
    let mut server = Server::spawn(command, 1);
    assert_eq!((server.line(), server.line().as_str()), (server.port().to_string(), "closed"));
    assert_eq!(server.end(Signal::Terminate).code, 0);
    for (number, message) in [
        ("999", "--ready-fd 999 is no descriptor that was handed over: Bad file descriptor"),
        ("1", "invalid value '1' for '--ready-fd <NUMBER>': 1 is not in 3..=2147483647"),
    ] {
        let stderr = format!("sockkit: {message}\n");
        Run::sockkit(&format!("serve -p 0 --ready-fd {number}")).stderr(&stderr).code(2).check();
    }
}

/// What systemd does: a socket that listens, from descriptor 3 on, and three variables.
const HAND_OVER: &str = r"
import os, socket, sys
kind = socket.SOCK_DGRAM if sys.argv[1] == 'udp' else socket.SOCK_STREAM
listener = socket.socket(socket.AF_INET, kind)
listener.bind(('127.0.0.1', 0))
if sys.argv[1] == 'tcp':
    listener.listen()
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='front')
os.execv(sys.argv[2], sys.argv[2:])
";

fn handed_over(kind: &str, words: &str) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", HAND_OVER, kind, SOCKKIT, "serve"]).args(words.split_whitespace());
    command
}

#[test]
fn sockets_that_are_handed_over_are_served() {
    if !has("python3") {
        return;
    }
    let mut server = Server::spawn(handed_over("tcp", "-v"), 1);
    assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello");
    server.until_told(": handed over as \"front\"\n");
    assert_eq!(server.end(Signal::Terminate).code, 0);
    let server = Server::spawn(handed_over("udp", ""), 1);
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer.send_to(b"hello", server.v4()).unwrap();
    assert_eq!(peer.recv(&mut [0; 8]).unwrap(), 5);
    assert_eq!(server.end(Signal::Terminate).code, 0);
}

#[test]
fn what_was_handed_over_is_for_us_alone() {
    if !has("python3") {
        return;
    }
    let mut command = handed_over("tcp", "--quiet");
    command.args(["--then", "env | grep -c LISTEN; ls -l /proc/self/fd | grep -c socket:"]);
    let mut server = Server::spawn(command, 1);
    assert_eq!(server.line(), "0", "variables that the command has");
    if cfg!(target_os = "linux") {
        assert_eq!(server.line(), "0", "sockets that the command has");
    }
    // grep's, which has found nothing.
    assert_eq!(server.finish().code, 1);
}

#[test]
fn what_cannot_be_served_of_what_is_handed_over_is_refused() {
    if !has("python3") {
        return;
    }
    for (kind, words, code, message) in [
        ("tcp", "-p 0", 2, "LISTEN_FDS has handed over sockets: leave out where to listen"),
        (
            "deaf",
            "",
            4,
            "listen LISTEN_FDS' descriptor 3 failed after TIME: the socket is connected, or was never told to listen",
        ),
    ] {
        let mut run = Run::program("python3").args(["-c", HAND_OVER, kind, SOCKKIT, "serve"]);
        run = run.args(words.split_whitespace());
        run.stderr(&format!("sockkit: {message}\n")).code(code).check();
    }
    // Another process' sockets are not ours.
    Run::sockkit("serve")
        .env("LISTEN_PID", "1")
        .env("LISTEN_FDS", "1")
        .stderr("sockkit: serve needs a port; -p 0 takes any free one\n")
        .code(2)
        .check();
}

#[test]
fn the_service_manager_is_told() {
    let folder = folder();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let heard = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let mut command = Command::new(SOCKKIT);
    command.args(["serve", "-4", "-p", "0"]).env("NOTIFY_SOCKET", &path);
    let server = Server::spawn(command, 1);
    assert_eq!(mask(&heard()), "READY=1\nSTATUS=listening on 127.0.0.1:PORT (tcp)");
    kill(server.pid(), Signal::Terminate);
    assert!(heard().starts_with("STOPPING=1\n"));
    assert_eq!(server.finish().code, 0);
}

#[test]
fn a_command_runs_once_it_listens_and_the_server_ends_with_it() {
    let shown = "printf '%s %s\\n' \"$SOCKKIT_ADDRESS\" $SOCKKIT_PORT";
    for (command, code, stdout) in [
        ("printf hello | \"$SOCKKIT\" connect 127.0.0.1 $SOCKKIT_PORT; exit 3", 3, "hello"),
        (&format!("{shown} | sed s/$SOCKKIT_PORT/PORT/g"), 0, "127.0.0.1:PORT PORT\n"),
        ("no-such-program 2>&1 | sed 's/.*: //'", 0, "not found\n"),
        ("no-such-program 2> /dev/null", 127, ""),
        ("kill -9 $$", 137, ""),
        ("cat", 0, "from stdin"),
    ] {
        let finished = Run::sockkit("serve -4 -p 0 --quiet --then")
            .args([command])
            .env("SOCKKIT", SOCKKIT)
            .stdin("from stdin")
            .finish();
        let stdout_came = String::from_utf8(finished.stdout).unwrap();
        let (listening, rest) = stdout_came.split_once('\n').expect("a listening line");
        assert!(listening.starts_with("listening on "));
        assert_eq!((finished.code, rest, finished.stderr.as_str()), (code, stdout, ""), "{command}");
    }
}

#[test]
fn a_command_does_not_outlive_the_server() {
    // It ignores what asks it to end, and has a child of its own.
    let stubborn = "trap '' TERM; sleep 1000 & echo $!; wait; sleep 1000";
    for (command, words, signal, code) in [
        ("sleep 1000 & echo $!; wait", "", Some(Signal::Terminate), 143),
        (stubborn, "", Some(Signal::Interrupt), 137),
        ("sleep 1000 & echo $!; wait", "--for 0.5", None, 143),
    ] {
        let mut arguments = Command::new(SOCKKIT);
        arguments.args(["serve", "-4", "-p", "0", "--quiet"]).args(words.split_whitespace()).args(["--then", command]);
        let mut server = Server::spawn(arguments, 1);
        let child: u32 = server.line().parse().expect("a number");
        let finished = match signal {
            Some(signal) => server.end(signal),
            None => server.finish(),
        };
        assert_eq!(finished.code, code, "{command}");
        let pid = rustix::process::Pid::from_raw(child.cast_signed()).unwrap();
        until("the command's child is gone", || rustix::process::test_kill_process(pid).is_err());
    }
}
