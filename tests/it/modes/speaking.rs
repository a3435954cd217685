//! The services that speak: chargen, daytime, time, send and banner; and discard, which does not.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::harness::{Place, Run, Server, dial, exchange, pattern, read_exactly, read_to_end};
#[cfg(unix)]
use crate::harness::{Signal, growth_kib, held_kib, mask, patient, plain_socket};

use super::{Spot, ask, datagrams_to};

const MIB: usize = 1024 * 1024;

/// The lines of RFC 864's "popular pattern".
fn chargen_lines(count: usize) -> String {
    let printing: Vec<u8> = (b' '..=b'~').collect();
    let line = |first: usize| {
        let characters = printing.iter().cycle().skip(first).take(72);
        characters.map(|byte| char::from(*byte)).collect::<String>() + "\r\n"
    };
    (0..count).map(|first| line(first % printing.len())).collect()
}

#[test]
fn chargen_sends_rotating_lines_until_the_peer_closes() {
    for place in Place::ALL {
        let spot = Spot::new(*place);
        let mut server = spot.serve("--mode chargen");
        let peer = dial(&spot.of(&server));
        // What comes is thrown away, and the end of it is not the end of the lines.
        (&peer).write_all(b"ignored").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let expected = chargen_lines(20_000);
        let received = read_exactly(&peer, expected.len());
        assert!(received == expected.as_bytes(), "{place:?}");
        drop(peer);
        assert!(server.line().starts_with("connected by "));
        let line = server.line();
        assert!(line.contains(" closed by peer after ") && line.contains(": 7 bytes in, "), "{line}");
    }
}

#[cfg(unix)]
#[test]
fn chargen_ends_with_the_server() {
    let server = Server::start("-4 --quiet --grace 60 --mode chargen");
    let peer = dial(&server.v4());
    read_exactly(&peer, 1000);
    let pid = server.pid();
    let rest = std::thread::spawn(move || read_to_end(&peer).len());
    crate::harness::kill(pid, Signal::Terminate);
    assert_eq!(server.finish().code, 0);
    // An orderly end, at which somebody who reads has whatever was sent.
    rest.join().unwrap();
}

/// The clock of the server is ours: what it says lies between two looks at it.
#[test]
fn time_is_a_number_of_four_bytes() {
    let since_1900_s = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 2_208_988_800;
    let check = |ask: &dyn Fn() -> Vec<u8>| {
        let before = since_1900_s();
        let said = u64::from(u32::from_be_bytes(ask().try_into().expect("four bytes")));
        assert!((before..=since_1900_s()).contains(&said), "{said}");
    };
    for place in Place::ALL {
        let spot = Spot::new(*place);
        let server = spot.serve("--mode time");
        check(&|| read_to_end(&dial(&spot.of(&server))));
    }
    let server = Server::start("-4 -u --mode time");
    let peer = datagrams_to(&server.v4());
    check(&|| ask(&peer, b""));
}

#[test]
fn daytime_is_a_line_of_words() {
    let form = regex::Regex::new(r"^[A-Z][a-z]+day, [A-Z][a-z]+ \d{1,2}, \d{4} \d\d:\d\d:\d\d-UTC\r\n$").unwrap();
    for place in Place::ALL {
        let spot = Spot::new(*place);
        let server = spot.serve("--mode daytime");
        let said = String::from_utf8(read_to_end(&dial(&spot.of(&server)))).unwrap();
        assert!(form.is_match(&said), "{said:?}");
    }
    let server = Server::start("-4 -u --mode daytime");
    let said = String::from_utf8(ask(&datagrams_to(&server.v4()), b"what time is it?")).unwrap();
    assert!(form.is_match(&said), "{said:?}");
}

#[test]
fn send_says_its_text_and_closes() {
    for place in Place::ALL {
        let spot = Spot::new(*place);
        let mut server = spot.serve(r"--json --mode send=220\x20ready\r\n");
        assert_eq!(read_to_end(&dial(&spot.of(&server))), b"220 ready\r\n");
        assert!(server.line().contains(r#""event":"accepted""#));
        let closed: Value = serde_json::from_str(&server.line()).unwrap();
        assert_eq!((&closed["how"], &closed["sent_bytes"]), (&"finished".into(), &11.into()));
    }
    let server = Server::start("-4 -u --mode send=pong");
    let peer = datagrams_to(&server.v4());
    assert_eq!(ask(&peer, b"ping"), b"pong");
    assert_eq!(ask(&peer, b""), b"pong");
}

/// The reply is larger than every buffer on the way, and the peer sends as much before it reads any of it. A server that
/// did not read would wait for ever; one that closed with unread input would reset, and take the reply's end with it.
#[test]
fn a_large_file_reaches_a_peer_that_sends_first() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let content = pattern(8 * MIB);
    std::fs::write(file.path(), &content).unwrap();
    for place in Place::ALL {
        let spot = Spot::new(*place);
        let server = spot.serve(&format!("--quiet --mode send=@{}", file.path().display()));
        let peers: Vec<_> = (0..2).map(|_| dial(&spot.of(&server))).collect();
        for peer in &peers {
            (&*peer).write_all(&content).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
        }
        for peer in &peers {
            assert!(read_to_end(peer) == content, "{place:?}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_file_without_end_waits_for_its_reader_in_constant_memory() {
    let server = Server::start("-4 --quiet --mode send=@/dev/zero --send-buffer 64Ki");
    read_exactly(&dial(&server.v4()), MIB);
    let before = held_kib(server.pid());
    let peers: Vec<_> = (0..50)
        .map(|_| {
            let (socket, name) = plain_socket(&server.v4(), socket2::Type::STREAM);
            socket.set_recv_buffer_size(64 * 1024).unwrap();
            socket.connect(&name).unwrap();
            patient(socket)
        })
        .collect();
    // Each has been sent all that it has room for when it has something to read.
    for peer in &peers {
        assert_eq!(peer.peek(&mut [std::mem::MaybeUninit::uninit()]).unwrap(), 1);
    }
    let grown = growth_kib(server.pid(), before);
    assert!(grown < 2048, "the server grew by {grown} KiB");
    // Nobody is kept waiting by those who do not read.
    read_exactly(&dial(&server.v4()), MIB);
}

#[test]
fn a_banner_comes_first_and_then_the_echo() {
    for place in Place::ALL {
        let spot = Spot::new(*place);
        let server = spot.serve(r"--quiet --mode banner=220\n");
        assert_eq!(exchange(&dial(&spot.of(&server)), b"hello\n"), b"220\nhello\n");
        let mut waiting = dial(&spot.of(&server));
        let mut banner = [0; 4];
        waiting.read_exact(&mut banner).unwrap();
        assert_eq!(exchange(&waiting, b"hello\n"), b"hello\n");
    }
}

#[test]
fn discard_answers_nothing_and_counts() {
    for place in Place::ALL {
        let spot = Spot::new(*place);
        let mut server = spot.serve("--mode discard");
        assert_eq!(exchange(&dial(&spot.of(&server)), &pattern(MIB)), b"");
        assert!(server.line().starts_with("connected by "));
        let line = server.line();
        assert!(line.ends_with(": 1048576 bytes in, 0 bytes out"), "{line}");
    }
}

/// A datagram that is thrown away is served, and not one that could not be answered.
#[cfg(unix)]
#[test]
fn a_discarded_datagram_is_not_unanswered() {
    let mut server = Server::start("-4 -u -v --mode discard");
    let peer = datagrams_to(&server.v4());
    peer.send(b"hello").unwrap();
    peer.send(b"").unwrap();
    assert!(server.line().ends_with(": 5 bytes") && server.line().ends_with(": 0 bytes"));
    let finished = server.end(Signal::Terminate);
    assert_eq!(mask(&finished.stderr).lines().last(), Some("served 2 datagrams in TIME; in 5 B, out 0 B"));
}

#[cfg(unix)]
#[test]
fn unix_datagrams_are_answered_to_their_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let server = Server::start_with(&format!("-uU {} --mode send=pong", path("server").display()), 1);
    let peer = std::os::unix::net::UnixDatagram::bind(path("peer")).unwrap();
    peer.set_read_timeout(Some(crate::harness::DEADLINE)).unwrap();
    peer.send_to(b"ping", path("server")).unwrap();
    let mut answer = [0; 8];
    let length = peer.recv(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"pong");
    drop(server);
}

#[test]
fn chargen_answers_a_datagram_with_a_random_number_of_characters() {
    let server = Server::start("-4 -u --mode chargen");
    let peer = datagrams_to(&server.v4());
    let lines = chargen_lines(8);
    let mut lengths = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let answer = ask(&peer, b"?");
        assert!(answer.len() <= 512 && lines.as_bytes().starts_with(&answer), "{answer:?}");
        lengths.insert(answer.len());
    }
    assert!(lengths.len() > 10, "{lengths:?}");
}

#[test]
fn what_does_not_fit_into_a_datagram_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![0; 65_508]).unwrap();
    Run::sockkit(&format!("serve -u -p 0 --mode send=@{}", file.path().display()))
        .stderr(
            "sockkit: --mode send is not for udp: what send= has must fit into a datagram, which is at most 65507 bytes \
             long\n",
        )
        .code(2)
        .check();
}

/// An address can be forged: outside of this machine nobody is sent more than what came in the name of it.
#[cfg(target_os = "linux")]
#[test]
fn nobody_else_is_sent_more_than_came() {
    use crate::harness::{can_unshare, unshared};
    if !can_unshare() {
        return;
    }
    for (mode, sent, answered) in [
        ("send=pong", "longer than that", "pong"),
        ("send=pong", "ping", "pong"),
        ("send=pong", "hi", ""),
        ("echo", "hi", "hi"),
        ("time", "hi", ""),
        ("daytime", "hi", ""),
    ] {
        // A bridge has an address that is not loopback's, and nobody else is on it.
        let furnish = format!(
            "ip link set lo up; ip link add br0 type bridge; ip addr add 192.0.2.1/24 dev br0; ip link set br0 up\n\
             \"$0\" serve -u --quiet --mode {mode} 192.0.2.1:9000 > lines & while ! test -s lines; do :; done"
        );
        let folder = tempfile::tempdir().unwrap();
        let furnish = format!("cd {}; {furnish}", folder.path().display());
        let finished = unshared("-rmnpf", &furnish, "connect -u -q 300ms 192.0.2.1:9000").stdin(sent).finish();
        let came = (finished.code, String::from_utf8_lossy(&finished.stdout).into_owned(), finished.stderr);
        assert_eq!(came, (0, answered.to_owned(), String::new()), "{mode}, {sent:?}");
    }
}
