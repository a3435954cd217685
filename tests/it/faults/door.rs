//! The door: what those who connect see while nobody listens, nobody answers or nobody accepts.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use socket2::{Socket, Type};

use super::{events, faulty};
use crate::harness::{Place, Run, Server, Signal, dawdle, dial, exchange, patient, plain_socket, read_exactly, until};

/// Long enough that a busy machine cannot miss it.
const A_WHILE: Duration = Duration::from_millis(400);

/// A server on tcp or on a unix path, and where it is.
fn start(place: Place, rules: &[&str]) -> (Server, String, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket").to_str().unwrap().to_owned();
    if place == Place::Unix {
        return (faulty(&format!("-U {path}"), rules), path, folder);
    }
    let server = faulty("", rules);
    let address = server.v4();
    (server, address, folder)
}

/// What connect(2) says.
fn connect(address: &str) -> Result<Socket, ErrorKind> {
    let (socket, name) = plain_socket(address, Type::STREAM);
    socket.connect(&name).map(|()| patient(socket)).map_err(|error| error.kind())
}

/// The next event of the door.
fn door(server: &mut Server) -> String {
    loop {
        let line = server.line();
        assert!(!line.is_empty(), "the server has ended");
        if line.contains("\"event\":\"door\"") {
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            return event["door"].as_str().unwrap().to_owned();
        }
    }
}

#[test]
fn who_is_refused_sees_it_and_the_port_is_there_afterwards() {
    for place in [Place::Tcp, Place::Unix] {
        let (mut server, address, _folder) = start(place, &["refuse=1500ms"]);
        assert_eq!(connect(&address).unwrap_err(), ErrorKind::ConnectionRefused, "{address}");
        if let Ok(inet) = address.parse::<SocketAddr>() {
            assert!(TcpListener::bind(inet).is_err(), "nobody else can have the port");
        }
        assert_eq!((door(&mut server), door(&mut server)), ("refusing".to_owned(), "open".to_owned()));
        assert_eq!(exchange(&connect(&address).unwrap(), b"hello"), b"hello", "{address}");
        let summary = events(server, "summary").remove(0);
        assert_eq!((&summary["faults"][0]["fired"], &summary["connections"]), (&1.into(), &1.into()));
    }
}

#[test]
fn a_port_flaps_and_stays_ours() {
    for place in [Place::Tcp, Place::Unix] {
        let (mut server, address, folder) = start(place, &["flap=1s/1s,times=2"]);
        let mut kept = connect(&address).unwrap();
        kept.write_all(b"a").unwrap();
        assert_eq!(read_exactly(&kept, 1), b"a");
        for _ in 0..2 {
            assert_eq!(door(&mut server), "refusing");
            assert_eq!(connect(&address).unwrap_err(), ErrorKind::ConnectionRefused, "{address}");
            assert_eq!(door(&mut server), "open");
            assert_eq!(exchange(&connect(&address).unwrap(), b"hello"), b"hello", "{address}");
        }
        assert_eq!(exchange(&kept, b"b"), b"b", "who is connected stays so");
        server.end(Signal::Terminate);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the path goes with the server");
    }
}

#[test]
fn it_can_be_later() {
    let mut server = faulty("", &["refuse=1s,after=1s"]);
    assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello");
    assert_eq!(door(&mut server), "refusing");
    assert_eq!(connect(&server.v4()).unwrap_err(), ErrorKind::ConnectionRefused);
    assert_eq!(door(&mut server), "open");
    assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello");
}

#[cfg(target_os = "linux")]
#[test]
fn a_black_hole_answers_no_connect() {
    for words in ["blackhole=1s", "blackhole=1s,after=200ms"] {
        let mut server = faulty("", &[words]);
        assert_eq!(door(&mut server), "unanswering");
        let address: SocketAddr = server.v4().parse().unwrap();
        let error = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(door(&mut server), "open");
        assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello");
        // The one that filled the queue is no connection.
        let connections = events(server, "summary").remove(0)["connections"].clone();
        assert_eq!(connections, 1, "{words}");
    }
    // On a unix path, connect(2) of a socket that does not wait says EAGAIN.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket").to_str().unwrap().to_owned();
    let mut server = faulty(&format!("-U {path}"), &["blackhole=1s"]);
    let (socket, name) = plain_socket(&path, Type::STREAM);
    socket.set_nonblocking(true).unwrap();
    assert_eq!(socket.connect(&name).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!((door(&mut server), door(&mut server)), ("unanswering".to_owned(), "open".to_owned()));
    assert_eq!(exchange(&dial(&path), b"hello"), b"hello");
    assert_eq!(events(server, "summary").remove(0)["connections"], 1);
}

#[test]
fn probe_finds_the_black_hole_timed_out() {
    let server = faulty("", &["blackhole"]);
    let run = Run::sockkit("probe -w 0.2").args([server.v4()]).finish();
    assert_eq!(run.code, 110, "{}", run.stderr);
}

#[test]
fn who_is_not_accepted_is_connected_and_hears_nothing() {
    for place in [Place::Tcp, Place::Unix] {
        let begun = Instant::now();
        let (mut server, address, _folder) = start(place, &["no-accept=400ms"]);
        assert_eq!(door(&mut server), "unaccepting");
        let mut socket = connect(&address).unwrap();
        socket.write_all(b"hello").unwrap();
        assert_eq!(read_exactly(&socket, 5), b"hello", "{address}");
        assert!(begun.elapsed() >= Duration::from_millis(400));
    }
    // For ever: who is still in the queue when the server ends is reset.
    let mut server = faulty("", &["no-accept"]);
    assert_eq!(door(&mut server), "unaccepting");
    let socket = connect(&server.v4()).unwrap();
    dawdle(A_WHILE / 4);
    server.end(Signal::Terminate);
    assert_eq!(super::read_all(&socket), (vec![], super::End::Reset));
}

#[test]
fn what_cannot_work_at_the_door_is_refused() {
    for (words, said) in [
        (
            "-F refuse=2s --reuse-port=off",
            "a port that nobody listens on is kept by --reuse-port: it cannot be off with refuse or flap",
        ),
        (
            "-F refuse=2s,conn=1..3",
            "fault rule \"refuse=2s,conn=1..3\" cannot work here: conn= has no meaning for refuse: it comes before any connection",
        ),
        ("-u -F blackhole", "fault rule \"blackhole\" cannot work here: datagrams are not accepted; drop loses them"),
    ] {
        Run::sockkit("serve -p 0").args(words.split(' ')).stderr(&format!("sockkit: {said}\n")).code(2).check();
    }
}

#[test]
fn the_door_cannot_be_changed_by_a_file_that_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules");
    fs::write(&path, "refuse=1ms\n").unwrap();
    let mut server = faulty(&format!("--faults {}", path.display()), &[]);
    fs::write(&path, "refuse=2s\n").unwrap();
    crate::harness::kill(server.pid(), Signal::Hangup);
    server.until_told("rules of the door (refuse, blackhole, no-accept, flap), buffer and mss are for the whole run");
    until("it listens", || connect(&server.v4()).is_ok());
}
