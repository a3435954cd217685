//! Other programs on the other end: nc, ncat, socat, Python.

use std::io::{BufRead, BufReader};
#[cfg(target_os = "linux")]
use std::io::{Seek, Write};
use std::process::{Command, Stdio};

use crate::harness::{Finished, Owned, Run, Server, Signal, has, mask, pattern};

/// The client of the tutorial that the tool grew from: it sends, and expects the same in one piece.
const PYTHON_CLIENT: &str = r#"
import socket, sys

HOST = "127.0.0.1"
PORT = int(sys.argv[1])

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
    s.connect((HOST, PORT))
    s.sendall(b"Hello, world")
    data = s.recv(1024)

print(f"Received {data!r}")
"#;

/// Its server, which says where it listens, because the system chooses.
const PYTHON_SERVER: &str = r#"
import socket

HOST = "127.0.0.1"

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
    s.bind((HOST, 0))
    s.listen()
    print(s.getsockname()[1], flush=True)
    conn, addr = s.accept()
    with conn:
        print(f"Connected by {addr}", flush=True)
        while True:
            data = conn.recv(1024)
            if not data:
                break
            conn.sendall(data)
"#;

#[test]
fn pythons_tutorial_client_gets_its_echo() {
    if !has("python3") {
        return;
    }
    let mut server = Server::start("");
    Run::program("python3")
        .args(["-c", PYTHON_CLIENT, &server.port().to_string()])
        .stdout("Received b'Hello, world'\n")
        .check();
    assert_eq!(mask(&server.line()), "connected by 127.0.0.1:PORT");
    assert_eq!(mask(&server.line()), "127.0.0.1:PORT closed by peer after TIME: 12 bytes in, 12 bytes out");
    assert_eq!(server.end(Signal::Interrupt).code, 0);
}

#[test]
fn pythons_tutorial_server_is_talked_to() {
    if !has("python3") {
        return;
    }
    for size in [10, 1024, 100_000] {
        let mut command = Command::new("python3");
        command.args(["-c", PYTHON_SERVER]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut server = Owned(command.spawn().unwrap());
        let mut stdout = BufReader::new(server.0.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let sent = pattern(size);
        let finished = Run::sockkit("connect 127.0.0.1").args([line.trim_end()]).stdin(sent.clone()).finish();
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
        assert!(finished.stdout == sent, "{} of {size} bytes", finished.stdout.len());
        assert_eq!(server.wait("python3").code(), Some(0));
    }
}

/// Clients that half-close when their input ends, and leave when the server has finished.
#[test]
fn other_clients_get_every_byte_back() {
    let server = Server::start("--quiet");
    let port = server.port();
    for (program, words) in [
        ("nc", format!("-N 127.0.0.1 {port}")),
        ("nc", format!("-N ::1 {port}")),
        ("ncat", format!("127.0.0.1 {port}")),
        ("ncat", format!("::1 {port}")),
        ("socat", format!("-t 30 - TCP:127.0.0.1:{port}")),
        ("socat", format!("-t 30 - TCP6:[::1]:{port}")),
    ] {
        if !has(program) {
            continue;
        }
        for size in [10, 100_000] {
            let finished = Run::program(program).args(words.split_whitespace()).stdin(pattern(size)).finish();
            check_echo(&format!("{program} {words}"), &finished, size);
        }
    }
}

#[test]
fn other_clients_of_a_unix_socket_get_every_byte_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let path = path.to_str().unwrap();
    let _server = Server::start_with(&format!("--quiet -U {path}"), 1);
    for (program, words) in
        [("nc", format!("-N -U {path}")), ("ncat", format!("-U {path}")), ("socat", format!("-t 30 - UNIX:{path}"))]
    {
        if !has(program) {
            continue;
        }
        for size in [10, 100_000] {
            let finished = Run::program(program).args(words.split_whitespace()).stdin(pattern(size)).finish();
            check_echo(&format!("{program} {words}"), &finished, size);
        }
    }
}

#[track_caller]
fn check_echo(shown: &str, finished: &Finished, size: usize) {
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{shown}");
    assert!(finished.stdout == pattern(size), "{shown}: {} of {size} bytes came back", finished.stdout.len());
}

/// Servers that send what they have and finish, or that echo. None of them says when it listens, but a refusal of `connect`
/// is an answer too: it is asked again until there is another.
#[cfg(target_os = "linux")]
#[test]
fn other_servers_are_talked_to() {
    // They cannot say which port the system chose. All of 127/8 is loopback: here is an address of this test's own.
    let pid = std::process::id();
    let host = format!("127.{}.{}.{}", 1 + (pid >> 16) % 254, (pid >> 8) % 256, pid % 256);
    for (port, program, words, answer) in [
        (20001, "nc", format!("-N -l {host} 20001"), "from the server\n"),
        (20002, "ncat", format!("-l {host} 20002"), "from the server\n"),
        (20003, "socat", format!("-t 30 - TCP-LISTEN:20003,bind={host}"), "from the server\n"),
        (20004, "socat", format!("TCP-LISTEN:20004,bind={host} PIPE"), "from the client\n"),
    ] {
        if !has(program) {
            continue;
        }
        let shown = format!("{program} {words}");
        // A file is there before the program is: one that hears the client's end first would not look for what comes later.
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(b"from the server\n").unwrap();
        input.rewind().unwrap();
        let server =
            std::thread::spawn(move || Run::program(program).args(words.split_whitespace()).stdin_from(input).finish());
        let mut client = None;
        crate::harness::until("it listens", || {
            let came = Run::sockkit(&format!("connect {host} {port}")).stdin("from the client\n").finish();
            let is_refused = came.code == 1 && came.stderr.contains("ECONNREFUSED");
            client = Some(came);
            !is_refused
        });
        let client = client.expect("it was run");
        let server = server.join().unwrap();
        let text = String::from_utf8_lossy;
        assert_eq!((client.code, text(&client.stdout).as_ref(), client.stderr.as_str()), (0, answer, ""), "{shown}");
        let took = if answer.contains("client") { "" } else { "from the client\n" };
        assert_eq!((server.code, text(&server.stdout).as_ref()), (0, took), "{shown}");
    }
}
