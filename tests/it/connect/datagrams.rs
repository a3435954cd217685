//! `sockkit connect -u`: how stdin becomes datagrams, and what is told of those that come.

use std::io::Write;
use std::net::UdpSocket;

use crate::harness::{DEADLINE, Run, pattern};

/// A peer that only listens.
fn peer() -> (UdpSocket, String) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let address = peer.local_addr().unwrap().to_string();
    (peer, address)
}

/// What has come, up to the one that says that it is the last.
fn heard(peer: &UdpSocket) -> Vec<Vec<u8>> {
    peer.send_to(b"last", peer.local_addr().unwrap()).unwrap();
    let mut datagrams = Vec::new();
    let mut buffer = vec![0; 70_000];
    loop {
        let length = peer.recv(&mut buffer).unwrap();
        if &buffer[..length] == b"last" {
            return datagrams;
        }
        datagrams.push(buffer[..length].to_vec());
    }
}

#[test]
fn stdin_is_one_datagram_unless_it_is_to_be_cut() {
    for (flags, stdin, expected) in [
        ("", "a\nb\n", &["a\nb\n"][..]),
        ("", "", &[]),
        ("--empty", "", &[""]),
        ("--empty", "a", &["a"]),
        ("--per-line", "a\n\nb", &["a", "b"]),
        ("--per-line --empty", "a\n\nb\n", &["a", "", "b"]),
        ("--per-line -C", "a\nb\n", &["a\r\n", "b\r\n"]),
        ("--per-line -i 0", "a\nb\n", &["a", "b"]),
        ("--datagram-size 3", "abcdefgh", &["abc", "def", "gh"]),
        ("--datagram-size 3 --rate-limit 1M", "abcd", &["abc", "d"]),
        ("--datagram-size 3 --empty", "", &[""]),
    ] {
        let (peer, address) = peer();
        Run::sockkit(&format!("connect -u --send-only {flags} {address}")).stdin(stdin).check();
        let came: Vec<String> = heard(&peer).into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
        assert_eq!(came, expected, "{flags} {stdin:?}");
    }
}

/// Whoever receives datagrams takes each for a message: none is cut behind the user's back.
#[test]
fn more_than_a_datagram_holds_is_an_error_unless_it_is_to_be_cut() {
    let folder = tempfile::tempdir().unwrap();
    let (large, lines) = (folder.path().join("large"), folder.path().join("lines"));
    std::fs::write(&large, pattern(65_507 + 1000)).unwrap();
    let mut file = std::fs::File::create(&lines).unwrap();
    file.write_all(b"short\n").unwrap();
    file.write_all(&vec![b'x'; 65_508]).unwrap();
    let failed = "sockkit: read stdin failed: there is more in one piece than the 65507 bytes of a datagram: --per-line \
                  sends lines, --datagram-size cuts\n";
    for (flags, input, stderr, code, expected) in [
        ("", &large, failed, 4, &[][..]),
        ("--per-line", &lines, failed, 4, &[5]),
        ("--datagram-size 65507", &large, "", 0, &[65_507, 1000]),
        ("--datagram-size 60000", &large, "", 0, &[60_000, 6507]),
    ] {
        let (peer, address) = peer();
        Run::sockkit(&format!("connect -u --send-only {flags} {address}"))
            .stdin_from(std::fs::File::open(input).unwrap())
            .stderr(stderr)
            .code(code)
            .check();
        let lengths: Vec<usize> = heard(&peer).iter().map(Vec::len).collect();
        assert_eq!(lengths, expected, "{flags}");
    }
    // What one datagram holds goes in one, though it is more than a pipe's page.
    for length in [20_000, 65_507] {
        std::fs::write(&large, pattern(length)).unwrap();
        let (peer, address) = peer();
        let stdin = std::fs::File::open(&large).unwrap();
        Run::sockkit(&format!("connect -u --send-only {address}")).stdin_from(stdin).check();
        assert!(heard(&peer) == [pattern(length)], "{length}");
    }
}

#[test]
fn what_has_no_meaning_for_a_stream_is_a_usage_error() {
    for (words, said) in [
        ("--per-line :1", "--per-line is for datagrams, and this is tcp: add -u"),
        ("--datagram-size 5 unix:a", "--datagram-size is for datagrams, and this is unix: add -u"),
        ("--empty :1", "--empty is for datagrams, and this is tcp: add -u"),
        (
            "-u --datagram-size 0 :1",
            "invalid value '0' for '--datagram-size <SIZE>': \"0\" is no datagram's size: 1 to 65527",
        ),
        (
            "-u --datagram-size 1M :1",
            "invalid value '1M' for '--datagram-size <SIZE>': \"1M\" is no datagram's size: 1 to 65527",
        ),
    ] {
        Run::sockkit(&format!("connect {words}")).stderr(&format!("sockkit: {said}\n")).code(2).check();
    }
}
