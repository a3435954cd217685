//! `connect --verify`: every byte of an echo compared.

use std::io::{Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::time::Duration;

use regex::Regex;
use socket2::Socket;

use crate::harness::{DEADLINE, Peer, Place, Run, Server, mask, read_exactly, read_to_end};

#[test]
fn an_echo_that_is_right_is_told_with_its_seed() {
    let (streams, datagrams) = (Server::start("--quiet"), Server::start("-u --quiet"));
    let (tcp, udp) = (streams.v4(), datagrams.v6());
    for (words, stderr) in [
        (format!("--verify --verify-seed 7 {tcp}"), "1048576 bytes came back as they were sent; seed 7\n"),
        (format!("--verify=3 --verify-seed 7 {tcp}"), "3 bytes came back as they were sent; seed 7\n"),
        (format!("--verify=9MB --verify-seed 1 {tcp}"), "9000000 bytes came back as they were sent; seed 1\n"),
        (
            format!("-u --verify=100K --verify-seed 7 {udp}"),
            "196 of 196 datagrams came back as they were sent; seed 7\n",
        ),
        (
            format!("-u --verify=3 --verify-length 1 --verify-seed 7 {udp}"),
            "3 of 3 datagrams came back as they were sent; seed 7\n",
        ),
        (
            format!("-u --verify=200000 --verify-length 65507 --verify-seed 7 {udp}"),
            "4 of 4 datagrams came back as they were sent; seed 7\n",
        ),
        (format!("--quiet --verify=3 {tcp}"), ""),
    ] {
        Run::sockkit(&format!("connect {words}")).stdin("not read").stderr(stderr).check();
    }
    let drawn = Run::sockkit(&format!("connect --verify=1K {tcp}")).finish();
    assert!(Regex::new(r"^1000 bytes came back as they were sent; seed \d+\n$").unwrap().is_match(&drawn.stderr));
}

#[cfg(unix)]
#[test]
fn unix_sockets_are_verified_too() {
    let folder = tempfile::tempdir().unwrap();
    let (stream, datagram) = (folder.path().join("stream"), folder.path().join("datagram"));
    let (stream, datagram) = (stream.to_str().unwrap(), datagram.to_str().unwrap());
    let _streams = Server::start_with(&format!("-U {stream} --quiet"), 1);
    let _datagrams = Server::start_with(&format!("-u -U {datagram} --quiet"), 1);
    Run::sockkit(&format!("connect --verify=2M --verify-seed 7 -U {stream}"))
        .stderr("2000000 bytes came back as they were sent; seed 7\n")
        .check();
    Run::sockkit(&format!("connect --verify=20K --verify-seed 7 -uU -s {datagram}.own {datagram}"))
        .stderr("40 of 40 datagrams came back as they were sent; seed 7\n")
        .check();
}

/// What is sent with a seed.
fn sent(words: &str) -> Vec<u8> {
    let peer = Peer::start(Place::Tcp, |mut peer| {
        let mut came = Vec::new();
        let mut block = [0; 1000];
        while let Ok(count @ 1..) = peer.read(&mut block) {
            came.extend_from_slice(&block[..count]);
            peer.write_all(&block[..count]).unwrap();
        }
        came
    });
    assert_eq!(Run::sockkit(&format!("connect --quiet --verify={words} {}", peer.address)).finish().code, 0);
    peer.finish()
}

#[test]
fn the_same_seed_makes_the_same_data() {
    let first = sent("5000 --verify-seed 7");
    assert_eq!(first.len(), 5000);
    assert!(first == sent("5000 --verify-seed 7") && first[..100] == sent("100 --verify-seed 7"));
    assert_ne!(first, sent("5000 --verify-seed 8"));
}

/// What a server makes of an echo.
type Spoil = fn(&mut Socket, Vec<u8>);

#[test]
fn the_first_wrong_byte_is_told_with_its_offset_and_where_it_belongs() {
    let cases: [(Spoil, &str); 5] = [
        (
            |peer, mut came| {
                came[5000] ^= 0xff;
                peer.write_all(&came).unwrap();
            },
            r"what came back is not what was sent; at offset 5000 is 0x([0-9a-f]{2}) instead of 0x[0-9a-f]{2}; seed 7",
        ),
        (
            |peer, mut came| {
                came.drain(1000..1100);
                peer.write_all(&came).unwrap();
            },
            "what came back is not what was sent; at offset 1000 is 0x[0-9a-f]{2} instead of 0x[0-9a-f]{2}, which belongs \
             to offset 1100; seed 7",
        ),
        (
            |peer, came| {
                peer.write_all(&came[..2000]).unwrap();
                peer.write_all(&came[1000..]).unwrap();
            },
            "what came back is not what was sent; at offset 2000 is 0x[0-9a-f]{2} instead of 0x[0-9a-f]{2}, which belongs \
             to offset 1000; seed 7",
        ),
        (
            |peer, came| {
                peer.write_all(&came).unwrap();
                peer.write_all(b"!").unwrap();
            },
            "more came back than was sent; at offset 10000 is 0x21; seed 7",
        ),
        (
            |peer, came| {
                peer.write_all(&came[..100]).unwrap();
                peer.shutdown(Shutdown::Write).unwrap();
            },
            "the peer closed before everything came back; 100 of 10000 bytes came; seed 7",
        ),
    ];
    for (spoil, said) in cases {
        let peer = Peer::start(Place::Tcp, move |mut peer| {
            let came = read_exactly(&peer, 10_000);
            spoil(&mut peer, came);
            let _ = peer.read_to_end(&mut Vec::new());
        });
        let finished = Run::sockkit(&format!("connect --verify=10000 --verify-seed 7 {}", peer.address)).finish();
        peer.finish();
        let expected = format!("^sockkit: receive 127\\.0\\.0\\.1:PORT \\(tcp\\) failed after TIME: {said}\n$");
        let stderr = mask(&finished.stderr);
        assert!(Regex::new(&expected).unwrap().is_match(&stderr), "{said}: {stderr}");
        assert_eq!((finished.code, finished.stdout), (5, Vec::new()), "{said}");
    }
}

#[test]
fn a_peer_that_resets_or_says_nothing_is_told_as_such() {
    let peer = Peer::start(Place::Tcp, |peer| {
        read_exactly(&peer, 10);
        peer.set_linger(Some(Duration::ZERO)).unwrap();
    });
    let finished = Run::sockkit(&format!("connect --verify {}", peer.address)).finish();
    peer.finish();
    assert!(
        finished.stderr.contains("Connection reset by peer (ECONNRESET, 104); 0 bytes received"),
        "{}",
        finished.stderr
    );
    assert_eq!(finished.code, 1);
    let peer = Peer::start(Place::Tcp, |peer| (read_to_end(&peer), peer));
    let finished = Run::sockkit(&format!("connect --verify=1K -W 0.3 {}", peer.address)).finish();
    peer.finish();
    assert!(finished.stderr.contains("nothing came or went within the idle timeout"), "{}", finished.stderr);
    assert_eq!(finished.code, 124);
}

/// An echo that loses the third datagram, doubles the fifth, swaps the seventh and eighth, spoils the tenth, cuts the
/// eleventh, and adds one of its own.
#[test]
fn of_datagrams_there_is_a_book() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let address = socket.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let mut held = Vec::new();
        for number in 1..=20 {
            let mut datagram = vec![0; 100];
            let (length, from) = socket.recv_from(&mut datagram).unwrap();
            assert_eq!(length, 64);
            datagram.truncate(length);
            let answers = match number {
                3 => vec![],
                5 => vec![datagram.clone(), datagram],
                7 => {
                    held = datagram;
                    vec![]
                }
                8 => vec![datagram, std::mem::take(&mut held)],
                10 => {
                    datagram[20] ^= 1;
                    vec![datagram]
                }
                11 => vec![datagram[..40].to_vec()],
                20 => vec![datagram, vec![0xff; 64]],
                _ => vec![datagram],
            };
            for answer in answers {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    let words = format!("connect -j -u --verify=1280 --verify-length 64 --verify-seed 7 {address}");
    let finished = Run::sockkit(&words).finish();
    server.join().unwrap();
    let record = finished.event("verified");
    let expected = serde_json::json!({
        "sent": 20, "right": 17, "lost": 1, "late": 0, "duplicate": 1, "reordered": 1, "corrupt": 1, "truncated": 1,
        "stray": 1,
    });
    assert_eq!((&record["event"], &record["datagrams"]), (&"verified".into(), &expected));
    let said = "not every datagram came back once, in order and as it was sent; 17 of 20 datagrams came back as they were \
                sent, 1 lost, 1 doubled, 1 out of order, 1 wrong, 1 cut short, 1 never sent; seed 7\n";
    assert!(finished.stderr.ends_with(said), "{}", finished.stderr);
    assert_eq!(finished.code, 5);
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    for (words, message) in [
        ("--verify=0", "--verify=0 sends nothing: a size is needed, such as 1MiB"),
        ("--verify -C", "--verify decides what is sent and heard: leave -C out"),
        ("--verify -d", "--verify decides what is sent and heard: leave -d out"),
        ("--verify --send a", "--verify decides what is sent and heard: leave the script out"),
        ("--verify --verify-length 9", "--verify-length is for datagrams, and tcp is a stream"),
        ("-u --verify --verify-length 65508", "--verify-length 65508 is no datagram's: 1 to 65507"),
        ("--verify-seed 1", "the following required arguments were not provided: --verify[=<SIZE>]"),
    ] {
        Run::sockkit(&format!("connect 127.0.0.1:9 {words}")).stderr(&format!("sockkit: {message}\n")).code(2).check();
    }
}
