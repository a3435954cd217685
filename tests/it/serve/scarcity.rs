//! Ports that are taken, descriptors that run out, accepts that fail.

#[cfg(unix)]
use crate::harness::Signal;
use crate::harness::{Run, Server, dial, exchange};

#[test]
fn a_second_server_on_a_port_is_refused_and_the_first_goes_on() {
    for (words, family) in [("-4", "127.0.0.1"), ("-6", "[::1]"), ("", "127.0.0.1")] {
        let server = Server::start(words);
        let stderr = format!(
            "sockkit: bind {family}:PORT (tcp) failed after TIME: Address already in use (EADDRINUSE, 98)\n         \
             hint: -p 0 takes any free port\n"
        );
        Run::sockkit(&format!("serve {words} -p {}", server.port())).stderr(&stderr).code(4).check();
        assert_eq!(exchange(&dial(&format!("{family}:{}", server.port())), b"hello"), b"hello");
    }
}

#[cfg(unix)]
#[test]
fn a_port_is_free_again_at_once() {
    let server = Server::start("-4");
    let port = server.port();
    let mut peer = dial(&server.v4());
    // The server ends it, so that its side is in TIME_WAIT.
    std::io::Write::write_all(&mut peer, b"hello").unwrap();
    assert_eq!(server.end(Signal::Terminate).code, 0);
    let server = Server::start_with(&format!("-4 -p {port}"), 1);
    assert_eq!(server.port(), port);
    assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello");
}

#[test]
fn fifty_servers_start_at_once_on_ports_of_their_own() {
    let starting: Vec<_> = (0..50).map(|_| std::thread::spawn(|| Server::start("--quiet"))).collect();
    let servers: Vec<Server> = starting.into_iter().map(|server| server.join().unwrap()).collect();
    for server in &servers {
        for address in [server.v4(), server.v6()] {
            assert_eq!(exchange(&dial(&address), address.as_bytes()), address.as_bytes());
        }
    }
    let mut ports: Vec<u16> = servers.iter().map(Server::port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), servers.len());
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{Read, Write};
    use std::process::Command;
    use std::time::Duration;

    use socket2::Socket;

    use super::*;
    use crate::harness::{DEADLINE, SOCKKIT, has, mask, read_exactly};

    /// The processor time that a process has used, in the kernel's ticks of 10 ms: fields 14 and 15 of proc_pid_stat(5).
    fn ticks(pid: u32) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum()
    }

    /// Whether a peer is being served: it gets its echo, or hears nothing for a second.
    fn is_served(mut peer: &Socket) -> bool {
        peer.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let served = peer.read_exact(&mut [0; 5]).is_ok();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        served
    }

    #[test]
    fn without_descriptors_it_waits_and_serves_again_when_they_are_back() {
        if !has("prlimit") {
            return;
        }
        let mut command = Command::new("prlimit");
        command.args(["--nofile=24:24", SOCKKIT, "serve", "-p", "0", "-4", "--json"]);
        let server = Server::spawn(command, 1);
        let mut peers: Vec<Socket> = (0..40).map(|_| dial(&server.v4())).collect();
        for mut peer in &peers {
            peer.write_all(b"hello").unwrap();
        }
        let served_count = peers.iter().take_while(|peer| is_served(peer)).count();
        assert!((1..30).contains(&served_count), "{served_count} of 40 peers are served with 24 descriptors");
        let before = ticks(server.pid());
        assert!(!is_served(&peers[39]), "the last in the queue waits");
        let used = ticks(server.pid()) - before;
        assert!(used < 20, "waiting took {} ms of a second's processor time", used * 10);
        // Descriptors come back one by one, and with each the next in the queue is served.
        while let Some(first) = (!peers.is_empty()).then(|| peers.remove(0)) {
            drop(first);
            if let Some(last_served) = served_count.checked_sub(1).and_then(|index| peers.get(index)) {
                assert_eq!(read_exactly(last_served, 5), b"hello");
            }
        }
        let finished = server.end(Signal::Terminate);
        assert_eq!(finished.code, 0);
        check_complaints(&mask(&finished.stderr), &finished.stdout);
    }

    /// One line a second at most, each the same; and hardly more tries than there were reasons to try.
    fn check_complaints(stderr: &str, stdout: &[u8]) {
        let complaint = "sockkit: accept 127.0.0.1:PORT (tcp) failed after TIME: Too many open files (EMFILE, 24)";
        assert!(stderr.lines().all(|line| line == complaint), "{stderr}");
        assert!((1..10).contains(&stderr.lines().count()), "{stderr}");
        let stdout = String::from_utf8_lossy(stdout);
        let summary = super::super::event(stdout.lines().last().unwrap());
        assert_eq!((&summary["connections"], &summary["sent_bytes"]), (&40.into(), &200.into()));
        let failed = summary["accepts_failed"].as_u64().unwrap();
        assert!((1..200).contains(&failed), "{failed} accepts failed");
    }

    /// What accept(2) says is wrong is wrong with one connection, or passes. strace makes it say so.
    #[test]
    fn accept_errors_pass() {
        if !has("strace") {
            return;
        }
        let failed = "sockkit: accept 127.0.0.1:PORT (tcp) failed after TIME: ";
        for (errno, complaint) in [
            ("ECONNABORTED", None),
            ("EINTR", None),
            ("EPROTO", None),
            ("EPERM", None),
            ("ENETDOWN", None),
            ("EHOSTUNREACH", None),
            ("EMFILE", Some("Too many open files (EMFILE, 24)")),
            ("ENFILE", Some("Too many open files in system (ENFILE, 23)")),
            ("ENOBUFS", Some("No buffer space available (ENOBUFS, 105)")),
            ("ENOMEM", Some("Cannot allocate memory (ENOMEM, 12)")),
        ] {
            let mut command = Command::new("strace");
            // -D: the server is our child, strace its companion.
            command.args(["-D", "-f", "-qqq", "-o", "/dev/null", "-e", "trace=accept4", "-e"]);
            command.arg(format!("inject=accept4:error={errno}:when=1..3"));
            command.args([SOCKKIT, "serve", "-p", "0", "-4"]);
            let server = Server::spawn(command, 1);
            for _ in 0..3 {
                assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello", "{errno}");
            }
            let finished = server.end(Signal::Terminate);
            let stderr = super::super::mask_peak(&finished.stderr);
            let lines: Vec<&str> = stderr.lines().collect();
            let (summary, complaints) = lines.split_last().expect("a summary");
            let counted = if complaint.is_some() { ", 3 accepts failed" } else { "" };
            let expected = format!("served 3 connections in TIME, at most N at once{counted}; in 15 B, out 15 B");
            assert_eq!((finished.code, *summary), (0, expected.as_str()), "{errno}");
            let expected: Vec<String> = complaint.iter().map(|reason| format!("{failed}{reason}")).collect();
            assert_eq!(complaints, expected, "{errno}");
        }
    }
}
