//! The server as an oracle: what comes is compared with a file; and headers that say whose connection it is.
#![cfg(unix)]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, UdpSocket};

use socket2::Socket;

use super::event;
use crate::harness::{DEADLINE, Run, Server, Signal, dial, exchange, mask, pattern, read_exactly, read_to_end};

#[test]
fn what_differs_is_told_with_its_offset_and_the_status_is_5() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("expected");
    let expected = pattern(300_000);
    fs::write(&file, &expected).unwrap();
    let words = format!("-4 --quiet --conns 1 --expect {}", file.to_str().unwrap());
    let mut other = expected.clone();
    other[200_000] ^= 0xff;
    let wrong =
        format!("differs at byte 200000: {:#04x} came, {:#04x} was expected", other[200_000], expected[200_000]);
    for (sent, code, difference) in [
        (&expected[..], 0, None),
        (&other, 5, Some(wrong.as_str())),
        (&expected[..299_999], 5, Some("differs at byte 299999: the end came, 300000 bytes were expected")),
        (&[&expected[..], b"x"].concat(), 5, Some("differs at byte 300000: more came, the end was expected")),
    ] {
        let server = Server::start(&words);
        assert!(exchange(&dial(&server.v4()), sent) == sent, "it is echoed all the same");
        let finished = server.finish();
        let message = difference.map(|what| format!("sockkit: --expect: connection 1 of 127.0.0.1:PORT {what}\n"));
        assert_eq!((finished.code, mask(&finished.stderr)), (code, message.unwrap_or_default()));
    }
    let server = Server::start(&words);
    let finished = server.end(Signal::Terminate);
    assert_eq!((finished.code, finished.stderr.as_str()), (5, "sockkit: --expect: nobody came\n"));
    Run::sockkit("serve -p 0 --expect missing")
        .stderr("sockkit: read expected file \"missing\" failed: No such file or directory (ENOENT, 2)\n")
        .code(4)
        .check();
}

#[test]
fn each_datagram_is_compared_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("expected");
    fs::write(&file, "hello").unwrap();
    let mut server = Server::start(&format!("-u -4 --json --expect {}", file.to_str().unwrap()));
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    for sent in ["hello", "help", ""] {
        peer.send_to(sent.as_bytes(), server.v4()).unwrap();
        assert_eq!(peer.recv(&mut [0; 8]).unwrap(), sent.len());
    }
    let events: Vec<_> = (0..5).map(|_| event(&server.line())).collect();
    let offsets: Vec<_> =
        events.iter().filter(|event| event["event"] == "unexpected").map(|event| &event["offset"]).collect();
    assert_eq!(offsets, [3, 0]);
    assert_eq!(server.end(Signal::Terminate).code, 5);
}

/// A header and what follows it, in one piece and byte by byte.
fn introduced(address: &str, header: &[u8], is_in_pieces: bool) -> Socket {
    let mut socket = dial(address);
    socket.set_tcp_nodelay(true).unwrap();
    let all = [header, b"hello"].concat();
    for piece in all.chunks(if is_in_pieces { 1 } else { all.len() }) {
        socket.write_all(piece).unwrap();
    }
    socket
}

#[test]
fn a_header_says_whose_connection_it_is_and_is_no_part_of_it() {
    let mut server = Server::start("-4 --json --proxy-protocol");
    let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 1234 80\r\n".to_vec();
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let v2 = [&signature[..], &[0x21, 0x11, 0, 12], &[192, 0, 2, 7, 198, 51, 100, 1, 4, 210, 0, 80]].concat();
    let local = [&signature[..], &[0x20, 0, 0, 0]].concat();
    for (header, source) in
        [(&v1, "192.0.2.7:1234".into()), (&v2, "192.0.2.7:1234".into()), (&local, serde_json::Value::Null)]
    {
        for is_in_pieces in [false, true] {
            let socket = introduced(&server.v4(), header, is_in_pieces);
            assert_eq!(read_exactly(&socket, 5), b"hello");
            socket.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&socket), b"");
            let events: Vec<_> = (0..3).map(|_| event(&server.line())).collect();
            assert_eq!((&events[1]["event"], &events[1]["source"]), (&"proxied".into(), &source));
            assert_eq!((&events[2]["how"], &events[2]["received_bytes"]), (&"peer_finished".into(), &5.into()));
        }
    }
    assert_eq!(server.end(Signal::Terminate).code, 0);
}

#[test]
fn without_a_header_it_is_reset() {
    let mut server = Server::start("-4 --proxy-protocol");
    for (sent, why) in [
        ("GET / HTTP/1.1\r\n", "\"G\" is not how a PROXY header begins"),
        ("PROXY TCP4 192.0.2.7", "the PROXY header was cut short by the connection's end"),
        ("", "no PROXY header came within 3 s"),
    ] {
        let mut socket = dial(&server.v4());
        socket.write_all(sent.as_bytes()).unwrap();
        if sent.ends_with('7') {
            socket.shutdown(Shutdown::Write).unwrap();
        }
        let heard = socket.read(&mut [0; 8]);
        assert_eq!(heard.unwrap_err().kind(), ErrorKind::ConnectionReset, "{sent:?}");
        assert!(server.line().starts_with("connected by "));
        let closed = mask(&server.line());
        assert_eq!(closed, format!("127.0.0.1:PORT reset ({}) after TIME: 0 bytes in, 0 bytes out", mask(why)));
    }
    // Who only looks whether the port is open is no failure.
    drop(dial(&server.v4()));
    assert!(server.line().starts_with("connected by ") && server.line().contains(" closed by peer "));
    let finished = server.end(Signal::Terminate);
    assert!(finished.stderr.contains(", 3 failed"), "{}", finished.stderr);
    Run::sockkit("serve -u -p 0 --proxy-protocol")
        .stderr("sockkit: --proxy-protocol has no meaning for datagrams: the header begins a stream\n")
        .code(2)
        .check();
}
