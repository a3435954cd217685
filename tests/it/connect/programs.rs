//! `connect -e` and `-c`: programs that talk to the peer, and what becomes of them.

use std::io::{Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{DEADLINE, Peer, Place, Run, Running, Server, Signal, kill, pattern, read_exactly, read_to_end};

/// Without the first the program has the socket, with the second two pipes.
const WAYS: [&str; 2] = ["", "-W 60"];

#[test]
fn the_socket_itself_is_its_stdin_and_stdout_unless_the_bytes_are_to_be_seen() {
    if !cfg!(target_os = "linux") {
        return; // There is no /proc.
    }
    for (flags, kind) in [
        ("", "socket"),
        ("-v", "socket"),
        ("--max-time 60", "socket"),
        ("--hash sha256", "pipe"),
        ("-W 60", "pipe"),
        ("-C", "pipe"),
        ("-i 0", "pipe"),
    ] {
        let peer = Peer::start(Place::Tcp, |peer| read_to_end(&peer));
        let command = "readlink /proc/self/fd/0 /proc/self/fd/1";
        let finished = Run::sockkit(&format!("connect {flags}")).args([&peer.address, "-c", command]).finish();
        let came = String::from_utf8(peer.finish()).unwrap();
        assert_eq!((finished.code, came.lines().count()), (0, 2), "{flags}: {came}");
        assert!(came.lines().all(|line| line.starts_with(kind)), "{flags}: {came}");
    }
}

#[test]
fn every_byte_goes_through_it_and_both_ends_are_told_of_the_end() {
    for &place in Place::ALL {
        for way in WAYS {
            let sent = pattern(1_000_000);
            let expected = sent.clone();
            let peer = Peer::start(place, move |peer| crate::harness::exchange(&peer, &sent));
            Run::sockkit(&format!("connect {way} -e cat {}", peer.address)).stdin("not read").check();
            assert!(peer.finish() == expected, "{place:?} {way}");
        }
    }
}

/// What it has to say when the peer has finished is said.
#[test]
fn it_may_answer_to_the_peers_end() {
    for way in WAYS {
        let peer = Peer::start(Place::Tcp, |mut peer| {
            peer.write_all(b"12345").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            read_to_end(&peer)
        });
        let command = "count=$(wc -c); sleep 0.3; echo $count";
        Run::sockkit(&format!("connect {way} {}", peer.address)).args(["-c", command]).check();
        assert_eq!(peer.finish(), b"5\n", "{way}");
    }
}

/// Its last words come, and then an end in order, though much that was sent to it was never read.
#[test]
fn it_may_leave_while_the_peer_goes_on() {
    for way in WAYS {
        let peer = Peer::start(Place::Tcp, |peer| {
            std::thread::scope(|scope| {
                scope.spawn(|| while (&peer).write_all(&pattern(64 * 1024)).is_ok() {});
                let heard = read_to_end(&peer);
                peer.shutdown(Shutdown::Write).unwrap();
                heard
            })
        });
        let command = "head -c 1 > /dev/null; echo bye; exit 3";
        Run::sockkit(&format!("connect {way} {}", peer.address)).args(["-c", command]).code(3).check();
        assert_eq!(peer.finish(), b"bye\n", "{way}");
    }
}

#[test]
fn its_arguments_are_what_was_typed() {
    let server = |arguments: &[&str], expected: &[u8]| {
        let peer = Peer::start(Place::Tcp, |peer| read_to_end(&peer));
        Run::sockkit("connect").args([peer.address.as_str()]).args(arguments).check();
        assert_eq!(peer.finish(), expected, "{arguments:?}");
    };
    server(&["-e", "printf", "--", "%s|", "a b", "$HOME", "*", "-x", "--"], b"a b|$HOME|*|-x|--|");
    server(&["-e", "echo"], b"\n");
    server(&["-c", "echo $0 $# \"$2\"", "--", "a", "b  c"], b"sh 2 b  c\n");
    server(&["--sh-exec", "echo $((1 + 1))"], b"2\n");
}

#[test]
fn it_is_told_who_is_there_as_ucspi_has_it() {
    let command = "echo $PROTO $TCPREMOTEIP:$TCPREMOTEPORT $TCPLOCALIP:$TCPLOCALPORT ${TCPREMOTEHOST-unset}";
    for host in ["127.0.0.1", "::1"] {
        let listener = std::net::TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = std::thread::spawn(move || {
            let (mut connection, from) = listener.accept().unwrap();
            let mut heard = String::new();
            connection.read_to_string(&mut heard).unwrap();
            (heard, from.port())
        });
        Run::sockkit(&format!("connect {host} {port}"))
            .args(["-c", command])
            .env("TCPREMOTEHOST", "of.another.connection")
            .check();
        let (heard, from) = peer.join().unwrap();
        assert_eq!(heard, format!("TCP {host}:{port} {host}:{from} unset\n"));
    }
    let peer = Peer::start(Place::Unix, |peer| read_to_end(&peer));
    let command = "echo $PROTO $UNIXREMOTEPATH ${UNIXLOCALPATH-unset} ${TCPREMOTEIP-unset}";
    Run::sockkit(&format!("connect -U {}", peer.address)).args(["-c", command]).check();
    let expected = format!("UNIX {} unset unset\n", peer.address);
    assert_eq!(String::from_utf8(peer.finish()).unwrap(), expected);
}

#[test]
fn its_status_is_the_status() {
    let server = Server::start("-4 --quiet");
    let address = server.v4();
    for way in WAYS {
        for (command, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 143)] {
            Run::sockkit(&format!("connect {way} {address}")).args(["-c", command]).code(code).check();
        }
        for (program, reason, hint, code) in [
            ("/nonexistent/program", "No such file or directory", "", 127),
            ("/", "Permission denied", "", 126),
            (
                "cat -v",
                "No such file or directory",
                "         hint: a program's arguments come after --, as in -e cat -- -v; -c runs a shell's command\n",
                127,
            ),
        ] {
            Run::sockkit(&format!("connect {way} {address}"))
                .args(["-e", program])
                .stderr(&format!("sockkit: run {program} failed: {reason}\n{hint}"))
                .code(code)
                .check();
        }
    }
    Run::sockkit("connect 127.0.0.1:1 -e true")
        .stderr("sockkit: connect 127.0.0.1:1 (tcp) failed after TIME: Connection refused (ECONNREFUSED, 111)\n")
        .code(1)
        .check();
}

#[test]
fn a_reset_is_no_success_of_the_program() {
    let peer = Peer::start(Place::Tcp, |peer| {
        read_exactly(&peer, 1);
        peer.set_linger(Some(Duration::ZERO)).unwrap();
    });
    let finished = Run::sockkit("connect -W 60").args([&peer.address, "-c", "echo x; cat"]).finish();
    peer.finish();
    assert!(finished.stderr.contains("Connection reset by peer (ECONNRESET, 104)"), "{}", finished.stderr);
    assert_eq!(finished.code, 1);
}

/// The numbers of the processes that a command says it has.
fn numbers(peer: &socket2::Socket) -> Vec<u32> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.extend(read_exactly(peer, 1));
    }
    String::from_utf8(line).unwrap().split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// An ended process that nobody has asked about is still listed; it runs no more.
fn runs(pid: u32) -> bool {
    let asked = std::process::Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output();
    let state = String::from_utf8(asked.expect("ps(1)").stdout).unwrap();
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

#[test]
fn nothing_of_it_outlives_us() {
    let (tell, pids) = std::sync::mpsc::channel();
    // The second one does not mind being told.
    for (way, command) in [
        ("", "sleep 600 & echo $$ $!; sleep 600"),
        ("-W 60", "sleep 600 & echo $$ $!; sleep 600"),
        ("", "trap '' TERM; sleep 600 & echo $$ $!; sleep 600"),
        ("-W 60", "trap '' TERM; sleep 600 & echo $$ $!; sleep 600"),
    ] {
        let tell = tell.clone();
        let peer = Peer::start(Place::Tcp, move |peer| {
            tell.send(numbers(&peer)).unwrap();
            read_to_end(&peer);
        });
        let client = Running::sockkit_with(&format!("connect {way} {} -c", peer.address), &[command]);
        let pids = pids.recv_timeout(DEADLINE).unwrap();
        assert!(pids.len() == 2 && pids.iter().all(|pid| runs(*pid)), "{pids:?}");
        kill(client.pid(), Signal::Interrupt);
        let finished = client.finish();
        assert_eq!((finished.code, finished.stderr.as_str()), (130, ""), "{way} {command}");
        assert!(!pids.iter().any(|pid| runs(*pid)), "{way} {command}");
        peer.finish();
    }
}

#[test]
fn what_it_left_running_is_ended_after_a_moment() {
    let (tell, pids) = std::sync::mpsc::channel();
    for way in WAYS {
        let tell = tell.clone();
        let peer = Peer::start(Place::Tcp, move |peer| {
            tell.send(numbers(&peer)).unwrap();
            read_to_end(&peer);
        });
        Run::sockkit(&format!("connect {way} {}", peer.address))
            .args(["-c", "sleep 600 & echo $$ $!; exit 4"])
            .code(4)
            .check();
        let pids = pids.recv_timeout(DEADLINE).unwrap();
        assert!(!pids.iter().any(|pid| runs(*pid)), "{way}");
        peer.finish();
    }
}

#[test]
fn the_clocks_end_it_too() {
    for (flags, clock) in [
        ("--max-time 0.3", "the deadline passed"),
        ("--max-time 0.3 -W 60", "the deadline passed"),
        ("-W 0.3", "nothing came or went within the idle timeout"),
    ] {
        let peer = Peer::start(Place::Tcp, |peer| read_to_end(&peer));
        let finished = Run::sockkit(&format!("connect {flags} {} -e sleep -- 600", peer.address)).finish();
        peer.finish();
        assert!(finished.stderr.contains(clock), "{flags}: {}", finished.stderr);
        assert_eq!(finished.code, 124, "{flags}");
    }
}

#[test]
fn it_may_talk_in_datagrams() {
    for way in WAYS {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        let address = peer.local_addr().unwrap();
        let answering = std::thread::spawn(move || {
            let mut datagram = [0; 100];
            let (length, from) = peer.recv_from(&mut datagram).unwrap();
            peer.send_to(b"answer\n", from).unwrap();
            datagram[..length].to_vec()
        });
        let command = "echo question; dd count=1 status=none >&2";
        Run::sockkit(&format!("connect -u {way} {address}")).args(["-c", command]).stderr("answer\n").check();
        assert_eq!(answering.join().unwrap(), b"question\n", "{way}");
    }
}

#[test]
fn the_verdict_tells_its_status() {
    let server = Server::start("-4 --quiet");
    for (flags, sent_bytes) in [("", Value::Null), ("-W 60", 6.into())] {
        let finished =
            Run::sockkit(&format!("connect -j {flags} {}", server.v4())).args(["-c", "echo hello; exit 7"]).finish();
        let verdict = finished.event("closed");
        assert_eq!((finished.code, &verdict["program_status"]), (7, &7.into()), "{verdict}");
        assert_eq!((&verdict["event"], &verdict["sent_bytes"]), (&"closed".into(), &sent_bytes), "{verdict}");
    }
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    for (words, message) in [
        ("-e cat -c cat", "the argument '--exec <PROGRAM>' cannot be used with '--sh-exec <COMMAND>'"),
        ("-- -v", "the following required arguments were not provided: <--exec <PROGRAM>|--sh-exec <COMMAND>>"),
        ("-d -e cat", "-d is about stdin and stdout, which with a program are the program's"),
        ("--send-only -e cat", "--send-only is about stdin and stdout, which with a program are the program's"),
    ] {
        Run::sockkit(&format!("connect 127.0.0.1:9 {words}")).stderr(&format!("sockkit: {message}\n")).code(2).check();
    }
}
