//! `serve -e` and `-c`: a program for each connection.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use rustix::process::Pid;
use serde_json::Value;
use socket2::Socket;

use super::Spot;
use crate::harness::{
    Place, Run, Server, Signal, dial, exchange, kill, mask, pattern, read_exactly, read_to_end, until,
};

/// A server on 127.0.0.1 with these words, each as it is.
pub fn serve(words: &[&str]) -> Server {
    let mut command = std::process::Command::new(crate::harness::SOCKKIT);
    command.args(["serve", "-4", "-p", "0"]).args(words).env("LC_ALL", "C");
    Server::spawn(command, 1)
}

/// The group of a program that has said its number.
pub fn group_of(peer: &Socket) -> Pid {
    let mut number = Vec::new();
    while number.last() != Some(&b'\n') {
        number.extend(read_exactly(peer, 1));
    }
    let number: i32 = String::from_utf8(number).unwrap().trim().parse().unwrap();
    Pid::from_raw(number).expect("a pid")
}

#[test]
fn a_program_has_the_connection_and_finds_its_end() {
    let sent = pattern(4 << 20);
    for place in Place::ALL {
        let spot = Spot::new(*place);
        let mut server = spot.serve("-e cat");
        assert!(server.listening[0].ends_with(", exec"), "{:?}", server.listening);
        let came = exchange(&dial(&spot.of(&server)), &sent);
        assert!(came == sent, "{place:?}: {} bytes", came.len());
        server.line();
        assert!(server.line().contains(" closed by its program after "));
    }
}

/// Beside what the tests themselves have inherited: nothing that the server has opened.
#[cfg(target_os = "linux")]
#[test]
fn the_socket_is_its_stdin_and_stdout_and_nothing_else_of_ours() {
    let server = serve(&["--quiet", "-e", "ls", "--", "-l", "/proc/self/fd"]);
    let said = String::from_utf8(read_to_end(&dial(&server.v4()))).unwrap();
    let sockets: Vec<&str> = said.lines().filter(|line| line.contains("socket:[")).collect();
    assert!(sockets.len() == 2 && sockets[0].contains(" 0 -> ") && sockets[1].contains(" 1 -> "), "{said}");
    assert!(!said.contains("anon_inode:"), "{said}");
}

#[test]
fn it_is_told_who_is_there() {
    let server = serve(&["--quiet", "-c", "echo $PROTO $TCPREMOTEIP $TCPREMOTEPORT $TCPLOCALIP $TCPLOCALPORT"]);
    let peer = dial(&server.v4());
    let own = peer.local_addr().unwrap().as_socket().unwrap().port();
    let expected = format!("TCP 127.0.0.1 {own} 127.0.0.1 {}\n", server.port());
    assert_eq!(String::from_utf8(read_to_end(&peer)).unwrap(), expected);
}

#[test]
fn its_status_is_told() {
    let mut server = serve(&["--json", "-c", "exit 7"]);
    assert_eq!(read_to_end(&dial(&server.v4())), b"");
    server.line();
    let closed: Value = serde_json::from_str(&server.line()).unwrap();
    assert_eq!((&closed["how"], &closed["status"]), (&"program_ended".into(), &7.into()));
    let mut server = serve(&["-c", "exit 7"]);
    assert_eq!(read_to_end(&dial(&server.v4())), b"");
    server.line();
    assert!(mask(&server.line()).contains(" closed by its program with status 7 after TIME"));
}

#[test]
fn a_program_that_cannot_be_run_is_said_and_the_peer_is_reset() {
    for words in [&[][..], &["-W", "1h"]] {
        let mut server = serve(&[words, &["-e", "/no/such/program"]].concat());
        let mut peer = dial(&server.v4());
        assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{words:?}");
        server.line();
        assert!(server.line().contains(" run /no/such/program failed: No such file or directory after "), "{words:?}");
    }
}

/// A close with unread input is a reset, which could take the end of what was said.
#[test]
fn the_tail_of_what_it_says_is_not_lost() {
    let server = serve(&["--quiet", "-c", "head -c 1 > /dev/null; seq 100000"]);
    let peer = dial(&server.v4());
    (&peer).write_all(&pattern(10_000)).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let said = String::from_utf8(read_to_end(&peer)).unwrap();
    assert_eq!((said.lines().count(), said.lines().last()), (100_000, Some("100000")));
}

/// Whatever ends the server, and however little the program cares.
#[test]
fn no_child_outlives_the_server() {
    for (words, signals, code) in [
        (&["--grace", "50ms"][..], &[Signal::Terminate][..], 0),
        (&["--grace", "60"], &[Signal::Interrupt, Signal::Interrupt], 130),
        (&["--grace", "50ms", "-W", "1h"], &[Signal::Terminate], 0),
        (&["--grace", "60", "-W", "1h"], &[Signal::Interrupt, Signal::Interrupt], 130),
    ] {
        let script = ["-c", "trap '' TERM; echo $$; sleep 1000 & wait; sleep 1000"];
        let mut server = serve(&[words, &script[..]].concat());
        let peer = dial(&server.v4());
        let group = group_of(&peer);
        kill(server.pid(), signals[0]);
        if let Some(second) = signals.get(1) {
            server.until_told("draining");
            kill(server.pid(), *second);
        }
        assert_eq!(server.finish().code, code, "{words:?}");
        until("the group is gone", || rustix::process::test_kill_process_group(group).is_err());
    }
}

/// Not even one that has no time to see to it.
#[cfg(target_os = "linux")]
#[test]
fn no_program_outlives_a_server_that_is_killed() {
    for words in [&[][..], &["-W", "1h"]] {
        let script = ["-c", "trap '' TERM HUP; echo $$; exec sleep 1000"];
        let server = serve(&[words, &script[..]].concat());
        let peers: Vec<Socket> = (0..4).map(|_| dial(&server.v4())).collect();
        let programs: Vec<Pid> = peers.iter().map(group_of).collect();
        let is_there = |program: &Pid| {
            // What has ended and nobody has asked for is a zombie, Z in proc_pid_stat(5) behind the name.
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.as_raw_pid()));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        assert!(programs.iter().all(is_there), "{words:?}");
        assert_eq!(server.end(Signal::Kill).code, 128 + 9);
        until("the programs are gone", || !programs.iter().any(is_there));
    }
}

#[test]
fn what_a_program_cannot_do_is_refused() {
    let both = "says who talks to a peer, and that is the program: leave out one of them";
    for (words, message) in [
        (
            "-u -p 0 -e cat",
            "--mode exec is not for udp: a program is started for a connection, and datagrams have none",
        ),
        ("-p 0 -e cat --stdio", &format!("--stdio {both}")),
        ("-p 0 -e cat --mode chargen", &format!("--mode {both}")),
        (
            "0.0.0.0:0 -e cat",
            "exec on 0.0.0.0:0 would be open to everybody who can reach it: say to whom with --allow NETWORK, or --allow any",
        ),
    ] {
        Run::sockkit(&format!("serve {words}")).stderr(&format!("sockkit: {message}\n")).code(2).check();
    }
}
