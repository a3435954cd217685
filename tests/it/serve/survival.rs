//! What peers, the system and whoever reads the events may do to a server, which goes on, exact and small. On Linux, whose
//! tools make it happen.
//!
//! | what happens | where it is tested |
//! |---|---|
//! | accept(2) fails, or is interrupted; descriptors run out | `scarcity` |
//! | calls are interrupted, sends are short | here |
//! | resets at every state, ten thousand times | here |
//! | peers that never read; that send without end | here |
//! | a thousand peers that dribble | `faults/rules` |
//! | ten thousand that come at once | here |
//! | stdout closed at the start; later; full at the start | `usage`; `serve` |
//! | stdout full later | here |
//! | stdout that nobody reads | `telling` |
//! | a full disk under a record | `record` |
//! | SIGTERM with idle and busy peers | `ending` |
//! | names that would drive a terminal | here |
//! | fifty servers at once, two on one port | `scarcity` |
//! | a path that a dead server left | `paths` |

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::thread;
use std::time::Duration;

use socket2::{SockRef, Socket, Type};

use super::event;
use crate::harness::{
    DEADLINE, Run, SOCKKIT, Server, Signal, can_unshare, descriptors, dial, exchange, growth_kib, has, held_kib, mask,
    memory_kib, pattern, plain_socket, read_exactly, read_to_end, until,
};

/// A peer with a small window and a small queue, whatever the system's defaults are.
fn small_peer(address: &str) -> Socket {
    let (socket, name) = plain_socket(address, Type::STREAM);
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    socket.connect(&name).unwrap();
    crate::harness::patient(socket)
}

#[test]
fn calls_that_are_interrupted_are_made_again() {
    if !has("strace") {
        return;
    }
    let mut command = Command::new("strace");
    // -D: the server is our child, strace its companion.
    command.args(["-D", "-f", "-qqq", "-o", "/dev/null", "-e", "trace=recvfrom,sendto"]);
    command.args(["-e", "inject=recvfrom,sendto:error=EINTR:when=1+3", SOCKKIT, "serve", "-p", "0", "-4", "--quiet"]);
    let server = Server::spawn(command, 1);
    let sent = pattern(1_000_000);
    // It cannot hear a signal, which the runtime tells itself by such a call, and from a handler: there it cannot be interrupted.
    assert!(exchange(&dial(&server.v4()), &sent) == sent);
}

#[test]
fn sends_that_are_short_lose_nothing() {
    let server = Server::start("--quiet -4 --send-buffer 2Ki --receive-buffer 2Ki");
    let peer = small_peer(&server.v4());
    let sent = pattern(500_000);
    assert!(exchange(&peer, &sent) == sent);
}

/// Before it is accepted, after it has sent, and while the server is sending.
#[test]
fn ten_thousand_resets_leave_nothing_behind() {
    let server = Server::start("--quiet -4 --send-buffer 4Ki");
    let address = server.v4();
    assert_eq!(exchange(&dial(&address), b"hello"), b"hello");
    let reset = |socket: Socket| {
        SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        drop(socket);
    };
    let before = descriptors(server.pid());
    let block = pattern(30_000);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (address, block) = (&address, &block);
            scope.spawn(move || {
                for number in 0..2500 {
                    let (mut socket, name) = plain_socket(address, Type::STREAM);
                    socket.connect(&name).unwrap();
                    match (number + thread) % 4 {
                        0 => {}
                        1 => socket.write_all(b"hello").unwrap(),
                        // What it echoes finds no room: it is in the middle of sending.
                        2 => socket.write_all(block).unwrap(),
                        _ => {
                            socket.write_all(b"hello").unwrap();
                            read_exactly(&socket, 1);
                        }
                    }
                    reset(socket);
                }
            });
        }
    });
    assert_eq!(exchange(&dial(&address), b"hello"), b"hello");
    until("every descriptor is back", || descriptors(server.pid()) <= before);
    assert_eq!(server.end(Signal::Terminate).code, 0);
}

#[test]
fn peers_that_never_read_take_little_memory_and_no_time() {
    const PEERS: u64 = 100;
    let server = Server::start("--quiet -4 --send-buffer 8Ki --receive-buffer 8Ki");
    let before = held_kib(server.pid());
    let block = vec![b'x'; 64 * 1024];
    let stuck: Vec<Socket> = (0..PEERS).map(|_| small_peer(&server.v4())).collect();
    for peer in &stuck {
        peer.set_nonblocking(true).unwrap();
    }
    // Until no more goes in anywhere: the server has stopped reading.
    let mut is_stuck = 0;
    while is_stuck < 3 {
        let sent: usize = stuck.iter().map(|mut peer| peer.write(&block).unwrap_or(0)).sum();
        is_stuck = if sent == 0 { is_stuck + 1 } else { 0 };
        // Another one is served all the while.
        assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello");
    }
    let grown = growth_kib(server.pid(), before);
    assert!(grown < PEERS * 128, "{grown} KiB for {PEERS} peers");
}

#[test]
fn a_line_without_an_end_takes_no_memory() {
    const BYTES: usize = 1 << 30;
    let server = Server::start("-4 --mode discard");
    let peer = dial(&server.v4());
    let block = vec![b'x'; 1 << 20];
    for _ in 0..BYTES / block.len() {
        (&peer).write_all(&block).unwrap();
    }
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&peer), b"");
    let peak = memory_kib(server.pid(), "VmHWM:").expect("Linux tells");
    assert!(peak < 64 * 1024, "{peak} KiB");
    let finished = server.end(Signal::Terminate);
    assert!(finished.stderr.ends_with("; in 1.0 GiB, out 0 B\n"), "{}", finished.stderr);
}

#[test]
fn of_ten_thousand_that_come_at_once_none_is_refused_or_lost() {
    let server = Server::start("--json --quiet --summary json -4");
    let address = server.v4();
    thread::scope(|scope| {
        for _ in 0..4 {
            let address = &address;
            scope.spawn(move || {
                for _ in 0..25 {
                    let peers: Vec<Socket> = (0..100).map(|_| dial(address)).collect();
                    for mut peer in &peers {
                        peer.write_all(b"hello").unwrap();
                    }
                    for peer in &peers {
                        assert_eq!(read_exactly(peer, 5), b"hello");
                    }
                }
            });
        }
    });
    let finished = server.end(Signal::Terminate);
    let summary = event(&finished.stderr);
    let counts = ["connections", "connections_failed", "received_bytes", "sent_bytes"].map(|name| &summary[name]);
    assert_eq!(counts, [10_000, 0, 50_000, 50_000], "{summary}");
}

/// On a file system that is full soon.
#[test]
fn a_stdout_that_fills_up_ends_it_with_a_word() {
    if !can_unshare() {
        return;
    }
    let script = r#"
set -e
mount -t tmpfs -o size=8k none "$1"
ip link set lo up
"$0" serve -u -4 -p 0 --json --ready-file "$1/ready" > "$1/log" & server=$!
while ! test -s "$1/ready"; do :; done
yes hello | head -n 1000 | "$0" connect -u -i 1ms -q 0.1 127.0.0.1 "$(cat "$1/ready")" > /dev/null 2>&1 || true
wait $server
"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let finished = Run::program("unshare").args(["-rmn", "sh", "-c", script, SOCKKIT, path]).finish();
    let message = "sockkit: write stdout failed: No space left on device (ENOSPC, 28)\n";
    assert_eq!((finished.code, finished.stderr.as_str()), (4, message));
}

#[test]
fn no_name_of_a_peer_reaches_a_terminal_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    for words in ["-v", "--json"] {
        let server = Server::start_with(&format!("-u -U {} {words}", path.to_str().unwrap()), 1);
        // It would set the title, clear the screen, begin a line of its own, and turn the text around.
        let evil = folder.path().join(format!("\u{1b}]0;x\u{7}\u{1b}[2J\r\n\u{9b}\u{202e}{words}"));
        let peer = UnixDatagram::bind(&evil).unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        peer.send_to(b"\x1b[2J", &path).unwrap();
        assert_eq!(peer.recv(&mut [0; 8]).unwrap(), 4);
        let finished = server.end(Signal::Terminate);
        let stdout = String::from_utf8(finished.stdout).unwrap();
        let told = stdout.lines().next().unwrap();
        assert!(told.contains("]0;x") && told.contains("[2J"), "{told:?}");
        let drives = |character: char| character.is_control() || character == '\u{202e}';
        assert!(!stdout.lines().any(|line| line.contains(drives)), "{stdout:?}");
    }
    let mut server = Server::start("-4 --proxy-protocol");
    let mut peer = dial(&server.v4());
    peer.write_all(b"\x1b]0;x\x07\n").unwrap();
    assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(server.line().starts_with("connected by "));
    let line = mask(&server.line());
    assert!(line.contains("\\x1b") && !line.contains('\u{1b}'), "{line:?}");
}
