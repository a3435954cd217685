//! `sockkit serve`: echoes, events, endings.

#[cfg(target_os = "linux")]
mod access;
mod datagrams;
mod echo;
mod ending;
mod expected;
mod limits;
mod metrics;
mod paths;
#[cfg(unix)]
mod readiness;
mod scarcity;
#[cfg(target_os = "linux")]
mod survival;
#[cfg(unix)]
pub mod telling;

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
#[cfg(unix)]
use {crate::harness::Signal, regex::Regex, std::sync::LazyLock};

use crate::harness::{Owned, Run, SOCKKIT, Server, dial, exchange, mask, read_to_end, until, until_unread};

/// The listening lines are what scripts wait for: their form is frozen.
#[test]
fn the_listening_lines_say_where_and_come_first() {
    let both = ["listening on 127.0.0.1:PORT (tcp), echo", "listening on [::1]:PORT (tcp), echo"];
    let both_udp = ["listening on 127.0.0.1:PORT (udp), echo", "listening on [::1]:PORT (udp), echo"];
    for (words, expected) in [
        ("-p 0", &both[..]),
        ("0", &both),
        (":0", &both),
        ("-p 0 --quiet", &both),
        ("-lkvp 0", &both),
        ("-l 0", &both),
        ("-4 -p 0", &both[..1]),
        ("127.0.0.1 0", &both[..1]),
        ("127.0.0.1:0", &both[..1]),
        ("-s 127.0.0.1 -p 0", &both[..1]),
        ("-s 127.0.0.1 0", &both[..1]),
        ("127.0.0.1 -p 0", &both[..1]),
        ("-p 0 -6", &both[1..]),
        ("[::1]:0", &both[1..]),
        ("::1 0", &both[1..]),
        ("-s ::1 -p 0", &both[1..]),
        ("-u -p 0", &both_udp),
        ("-ulp 0", &both_udp),
        ("-u -4 0", &both_udp[..1]),
        ("-u ::1 0", &both_udp[1..]),
    ] {
        let server = Server::start_with(words, expected.len());
        let lines: Vec<String> = server.listening.iter().map(|line| mask(line)).collect();
        assert_eq!(lines, expected, "serve {words}");
        #[cfg(unix)]
        {
            let finished = server.end(Signal::Terminate);
            assert_eq!((finished.code, String::from_utf8_lossy(&finished.stdout).as_ref()), (0, ""), "serve {words}");
        }
    }
}

#[test]
fn both_families_listen_on_one_port() {
    for words in ["-p 0", "-u -p 0"] {
        let server = Server::start_with(words, 2);
        let port = format!(":{} (", server.port());
        assert!(server.listening.iter().all(|line| line.contains(&port)), "{:?}", server.listening);
    }
}

#[test]
fn an_address_for_everybody_must_be_asked_for() {
    for (words, expected, reached) in [
        ("0.0.0.0 0", "listening on 0.0.0.0:PORT (tcp), echo", &["127.0.0.1", "127.0.0.2"][..]),
        ("[::]:0", "listening on [::]:PORT (tcp), echo", &["127.0.0.1", "[::1]"]),
        ("-6 [::]:0", "listening on [::]:PORT (tcp), echo", &["[::1]"]),
    ] {
        let server = Server::start_with(words, 1);
        let port = server.port();
        assert_eq!(server.listening[0].replace(&port.to_string(), "PORT"), expected);
        for host in reached {
            assert_eq!(exchange(&dial(&format!("{host}:{port}")), b"hello"), b"hello", "serve {words}, {host}");
        }
        let is_wide = reached.contains(&"127.0.0.1");
        assert_eq!(TcpStream::connect(("127.0.0.1", port)).is_ok(), is_wide, "serve {words}");
    }
}

/// The words that must be there, and the two ways to give them.
#[test]
fn what_cannot_be_meant_is_refused_in_one_line() {
    for (words, message) in [
        ("", "serve needs a port; -p 0 takes any free one"),
        ("-U", "serve needs a path"),
        ("-p 1234 1235", "the port is given twice: by -p 1234 and by \"1235\""),
        ("-p 1234 localhost:http", "the port is given twice: by -p 1234 and by \"localhost:http\""),
        ("-s 127.0.0.1 ::1 1234", "the address is given twice: by -s 127.0.0.1 and by \"::1 1234\""),
        ("-s 127.0.0.1 ::1 -p 1234", "the address is given twice: by -s 127.0.0.1 and by \"::1\""),
        ("-U -p 1234", "-p 1234 has no meaning for a unix socket"),
        ("-p 1234 unix:socket", "-p 1234 has no meaning for a unix socket"),
        ("-p 1234 -U socket", "-p 1234 has no meaning for a unix socket"),
        ("-s ::1 unix:socket", "-s ::1 has no meaning for a unix socket"),
        ("-s ::1 -U socket", "-s ::1 has no meaning for a unix socket"),
    ] {
        let stderr = format!("sockkit: {message}\n");
        Run::sockkit(&format!("serve {words}")).stderr(&stderr).code(2).check();
    }
}

#[test]
fn a_connection_has_a_line_when_it_comes_and_one_when_it_goes() {
    let mut server = Server::start("");
    for (address, host) in [(server.v4(), "127.0.0.1"), (server.v6(), "[::1]")] {
        assert_eq!(exchange(&dial(&address), b"hello\n"), b"hello\n");
        assert_eq!(mask(&server.line()), format!("connected by {host}:PORT"));
        assert_eq!(mask(&server.line()), format!("{host}:PORT closed by peer after TIME: 6 bytes in, 6 bytes out"));
    }
    #[cfg(unix)]
    {
        let finished = server.end(Signal::Terminate);
        let summary = "served 2 connections in TIME, at most N at once; in 12 B, out 12 B\n";
        assert_eq!((finished.code, finished.stdout, mask_peak(&finished.stderr).as_str()), (0, Vec::new(), summary));
    }
}

/// A peer has its last byte a moment before the server counts it out: so the next may still meet it.
#[cfg(unix)]
fn mask_peak(text: &str) -> String {
    static PEAK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"at most \d+ at once").unwrap());
    PEAK.replace_all(&mask(text), "at most N at once").into_owned()
}

#[cfg(unix)]
#[test]
fn the_summary_counts_what_was_served() {
    for (words, peers, expected) in [
        ("", 0, "served 0 connections in TIME; in 0 B, out 0 B\n"),
        ("", 1, "served 1 connection in TIME; in 3 B, out 3 B\n"),
        ("-u", 0, "served 0 datagrams in TIME; in 0 B, out 0 B\n"),
    ] {
        let mut server = Server::start(words);
        for _ in 0..peers {
            assert_eq!(exchange(&dial(&server.v4()), b"abc"), b"abc");
            assert!(server.line().starts_with("connected by ") && server.line().contains(" closed by peer "));
        }
        let finished = server.end(Signal::Interrupt);
        assert_eq!((finished.code, mask(&finished.stderr).as_str()), (0, expected), "serve {words}");
    }
}

#[cfg(unix)]
#[test]
fn quiet_leaves_the_listening_lines_and_the_errors() {
    for words in ["--quiet", "--quiet --json"] {
        let server = Server::start(words);
        assert_eq!(server.listening.len(), 2);
        assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello");
        let finished = server.end(Signal::Terminate);
        assert_eq!((finished.code, finished.stdout, finished.stderr.as_str()), (0, Vec::new(), ""), "serve {words}");
    }
    let server = Server::start("-4 --quiet");
    Run::sockkit("serve --quiet")
        .args([server.v4()])
        .stderr(
            "sockkit: bind 127.0.0.1:PORT (tcp) failed after TIME: Address already in use (EADDRINUSE, 98)\n         \
             hint: -p 0 takes any free port\n",
        )
        .code(4)
        .check();
}

/// An event as JSON; its times, ports and what else differs between runs have been looked at and are gone.
fn event(line: &str) -> Value {
    let mut event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    if let Some(elapsed) = event.as_object_mut().and_then(|fields| fields.remove("elapsed_ms")) {
        assert!(elapsed.as_f64().is_some_and(|elapsed| elapsed > 0.0), "{line}");
    }
    for name in ["address", "peer", "local"] {
        if let Some(address) = event.get(name).and_then(Value::as_str).map(mask) {
            event[name] = address.into();
        }
    }
    event
}

#[test]
fn json_has_the_same_events_with_their_fields() {
    let schema = "sockkit.serve/1";
    let peer = "127.0.0.1:PORT";
    let mut server = Server::start("-4 --json");
    let listening = json!({
        "schema": schema, "event": "listening", "address": peer, "transport": "tcp", "mode": "echo",
    });
    assert_eq!(event(&server.listening[0]), listening);
    assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello");
    let accepted = json!({ "schema": schema, "event": "accepted", "connection": 1, "peer": peer, "local": peer });
    assert_eq!(event(&server.line()), accepted);
    let closed = json!({
        "schema": schema, "event": "closed", "connection": 1, "peer": peer, "how": "peer_finished",
        "received_bytes": 5, "sent_bytes": 5,
    });
    let mut told = event(&server.line());
    let tcp_info = told.as_object_mut().and_then(|fields| fields.remove("tcp_info")).expect("what the kernel knows");
    assert_eq!(told, closed);
    if cfg!(target_os = "linux") {
        // The peer's FIN counts as a byte.
        assert_eq!(tcp_info["received_bytes"], 6);
    }
    #[cfg(unix)]
    {
        let finished = server.end(Signal::Terminate);
        let summary = json!({
            "schema": schema, "event": "summary", "connections": 1, "connections_peak": 1, "connections_clean": 1,
            "connections_reset_by_rule": 0, "connections_failed": 0, "connections_reset_by_peer": 0, "connections_cut": 0,
            "connections_timed_out": 0, "connections_refused": 0, "unexpected": 0, "accepts_failed": 0, "datagrams": 0, "datagrams_unanswered": 0,
            "datagrams_refused": 0, "received_bytes": 5, "sent_bytes": 5, "events_dropped": 0,
        });
        let stdout = String::from_utf8(finished.stdout).unwrap();
        assert_eq!((stdout.lines().count(), event(&stdout)), (1, summary));
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    }
}

#[test]
fn once_ends_it_after_one_connection() {
    let mut server = Server::start("--once");
    let address = server.v6();
    let first = dial(&address);
    assert!(server.line().starts_with("connected by [::1]:"));
    // The second is not taken: it is refused, or reset if the kernel had queued it.
    stops_listening(&address);
    assert_eq!(exchange(&first, b"hello"), b"hello");
    let finished = server.finish();
    assert_eq!(
        (finished.code, mask(&String::from_utf8(finished.stdout).unwrap()).as_str(), mask(&finished.stderr).as_str()),
        (
            0,
            "[::1]:PORT closed by peer after TIME: 5 bytes in, 5 bytes out\n",
            "served 1 connection in TIME; in 5 B, out 5 B\n"
        )
    );
}

/// Waits until a server has closed its listener.
fn stops_listening(address: &str) {
    until("a new connection is refused", || {
        TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
}

/// `serve | head -2`: who read the listening lines has gone.
#[test]
fn a_closed_stdout_ends_it_quietly() {
    let mut command = Command::new(SOCKKIT);
    let (reader, writer) = std::io::pipe().unwrap();
    let stdout = writer.try_clone().unwrap();
    command.args(["serve", "-p", "0", "-4"]).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
    let mut server = Owned(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).unwrap();
    until_unread(&writer);
    let address = line.split(' ').nth(2).expect("an address");
    // That somebody has come is the first thing that cannot be told.
    let peer = dial(address);
    assert_eq!(server.wait("serve").code(), Some(0));
    assert_eq!(read_to_end(&peer), b"", "the peer sees an orderly end");
    let mut stderr = String::new();
    BufReader::new(server.0.stderr.take().unwrap()).read_line(&mut stderr).unwrap();
    assert_eq!(stderr, "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_is_said_in_one_line() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    Run::sockkit("serve -p 0")
        .stdout_to(full)
        .stderr("sockkit: write stdout failed: No space left on device (ENOSPC, 28)\n")
        .code(4)
        .check();
}
