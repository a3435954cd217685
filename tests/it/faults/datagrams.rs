//! Faults of datagrams, as their sender sees them: what comes back, what does not, how often, in which order, and when.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use super::{events, faulty};
use crate::harness::{DEADLINE, Run, Signal, until};

/// A client of a server on UDP.
fn client(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// Sends datagrams of one byte, 1 to `count`: those that come back, in their order.
fn echoed(rules: &[&str], count: u8) -> Vec<u8> {
    let server = faulty("-u", rules);
    let socket = client(&server.v4());
    for number in 1..=count {
        socket.send(&[number]).unwrap();
    }
    let mut came = Vec::new();
    let mut buffer = [0; 2048];
    // Rules that hold something back let go of it after a second.
    socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    while let Ok(length) = socket.recv(&mut buffer) {
        assert_eq!(length, 1);
        came.push(buffer[0]);
    }
    came
}

#[test]
fn datagrams_are_lost_doubled_and_overtaken() {
    let cases = [
        (&["drop,every=2"][..], &[1, 3, 5][..]),
        (&["drop,every=2,dir=in"], &[1, 3, 5]),
        (&["drop,after=2msg,times=1"], &[1, 2, 4, 5, 6]),
        (&["dup,every=3"], &[1, 2, 3, 3, 4, 5, 6, 6]),
        (&["reorder=1,after=2msg,times=1"], &[1, 2, 4, 3, 5, 6]),
        (&["reorder=3,times=1"], &[2, 3, 4, 1, 5, 6]),
        (&["drop,times=1", "dup=2,times=1,dir=in"], &[1, 1, 2, 3, 4, 5, 6]),
        (&["drop,chance=0%", "delay=1s,chance=0%"], &[1, 2, 3, 4, 5, 6]),
    ];
    // Each waits for what might still come.
    std::thread::scope(|scope| {
        for (rules, expected) in cases {
            scope.spawn(move || assert_eq!(echoed(rules, 6), expected, "{rules:?}"));
        }
    });
}

#[test]
fn payload_is_cut_changed_and_replaced() {
    let question: Vec<u8> = (0..100).collect();
    let answer = |rules: &[&str]| {
        let server = faulty("-u --seed 7", rules);
        let socket = client(&server.v4());
        socket.send(&question).unwrap();
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    };
    assert_eq!(answer(&["truncate=10B"]), question[..10]);
    assert_eq!(answer(&["truncate=0B"]), [0; 0]);
    let corrupt = answer(&["corrupt=3"]);
    assert_eq!(corrupt.iter().zip(&question).filter(|(came, sent)| came != sent).count(), 3);
    assert_eq!(answer(&["corrupt=3"]), corrupt);
    assert_eq!(answer(&["garbage=36B,dir=in"]).len(), 36);
}

#[test]
fn what_is_late_is_late_and_holds_nobody_up() {
    let server = faulty("-u", &["delay=300ms,times=1"]);
    let socket = client(&server.v4());
    let begun = Instant::now();
    socket.send(b"late").unwrap();
    socket.send(b"soon").unwrap();
    let mut buffer = [0; 16];
    let came: Vec<Vec<u8>> =
        (0..2).map(|_| socket.recv(&mut buffer).map(|length| buffer[..length].to_vec()).unwrap()).collect();
    assert_eq!(came, [b"soon", b"late"]);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let server = faulty("-u", &["rate=10KB/s"]);
    let (socket, begun) = (client(&server.v4()), Instant::now());
    for _ in 0..4 {
        socket.send(&[0; 1000]).unwrap();
    }
    for _ in 0..4 {
        socket.recv(&mut [0; 2048]).unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[test]
fn what_is_on_its_way_at_the_end_still_comes() {
    let server = faulty("-u", &["delay=300ms"]);
    let socket = client(&server.v4());
    socket.send(b"hello").unwrap();
    until("it has come", || {
        let inode = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
        let port = format!(":{:04X} ", server.port());
        let queues: Vec<&str> = inode.lines().filter(|line| line.contains(&port)).collect();
        queues.iter().all(|line| line.contains(":00000000 "))
    });
    server.end(Signal::Terminate);
    let mut buffer = [0; 16];
    assert_eq!(socket.recv(&mut buffer).map(|length| buffer[..length].to_vec()).unwrap(), b"hello");
}

#[test]
fn what_fired_is_told_and_counted() {
    let server = faulty("-u", &["drop,every=2", "dup,every=3,dir=in"]);
    let socket = client(&server.v4());
    for number in 1..=3 {
        socket.send(&[number]).unwrap();
    }
    // 1 comes back; 2 is lost; 3 is doubled, so its first copy is the third answer and comes, and its second is lost.
    let mut buffer = [0; 16];
    for expected in [1, 3] {
        socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[0], expected);
    }
    let finished = server.end(Signal::Terminate);
    let stdout = String::from_utf8(finished.stdout).unwrap();
    let lines: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let faults: Vec<String> = lines
        .iter()
        .filter(|line| line["event"] == "fault")
        .map(|line| format!("{} {} {}", line["rule"], line["direction"], line["datagram"]))
        .collect();
    assert_eq!(faults, ["\"drop,every=2\" \"out\" 2", "\"dup,every=3,dir=in\" \"in\" 3", "\"drop,every=2\" \"out\" 4"]);
    let summary = lines.last().unwrap();
    assert_eq!((&summary["faults"][0]["fired"], &summary["faults"][1]["fired"]), (&2.into(), &1.into()));
}

#[test]
fn nobody_hears_a_port_that_is_refused() {
    for words in ["refuse=1s", "refuse=1s,after=100ms"] {
        let mut server = faulty("-u", &[words]);
        while !server.line().contains("\"refusing\"") {}
        let socket = client(&server.v4());
        // The system tells a connected socket that nobody is there.
        let refused = socket.send(b"x").and_then(|_| socket.recv(&mut [0; 16])).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{words}");
        while !server.line().contains("\"open\"") {}
        socket.send(b"hello").unwrap();
        assert_eq!(socket.recv(&mut [0; 16]).unwrap(), 5, "{words}");
        assert_eq!(events(server, "summary").remove(0)["datagrams"], 1, "{words}");
    }
}

#[test]
fn unix_datagrams_have_them_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    let _server = faulty(&format!("-u -U {}", path.display()), &["drop,times=1", "truncate=3B,dir=in,every=2"]);
    let socket = UnixDatagram::bind(folder.path().join("client")).unwrap();
    socket.connect(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    for _ in 0..2 {
        socket.send(b"hello").unwrap();
    }
    let mut buffer = [0; 16];
    assert_eq!(socket.recv(&mut buffer).map(|length| buffer[..length].to_vec()).unwrap(), b"hel");
}

#[test]
fn echo_bench_counts_what_was_done_to_its_datagrams() {
    let rules = ["drop,after=99msg,times=1", "dup,after=200msg,times=1", "corrupt=1,after=400msg,times=1"];
    let server = faulty("-u --quiet", &rules);
    let run = Run::sockkit("echo-bench -u --json -n 1000").args([server.v4()]).finish();
    let report: serde_json::Value =
        serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    let of = |name: &str| {
        let text = report.to_string();
        let found = text.split(&format!("\"{name}\":")).nth(1).unwrap_or_else(|| panic!("no {name} in {text}"));
        found.chars().take_while(char::is_ascii_digit).collect::<String>()
    };
    assert_eq!((of("lost"), of("duplicate"), of("corrupt")), ("1".to_owned(), "1".to_owned(), "1".to_owned()));
}
