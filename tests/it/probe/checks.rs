//! What a connection must do to count as open.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use crate::harness::{Peer, Place, Run, Server, read_to_end};

#[test]
fn an_answer_must_match_what_is_expected() {
    let server = Server::start("-4 --quiet");
    let open = server.v4();
    let failed = "127.0.0.1:PORT check failed after TIME: ";
    for (expected, line, code) in [
        ("^hello$", "127.0.0.1:PORT open TIME\n".to_owned(), 0),
        (r"h\x65l+o", "127.0.0.1:PORT open TIME\n".to_owned(), 0),
        ("bye", format!("{failed}what was expected did not come; 5 bytes came: \"hello\"\n"), 204),
    ] {
        Run::sockkit("probe -w 300ms --send hello --expect").args([expected, &open]).stdout(&line).code(code).check();
    }
    let finished = Run::sockkit("probe -w 100ms --expect . --exit-code class").args([&open]).finish();
    assert_eq!(finished.code, 5, "an echo server says nothing by itself");
}

#[test]
fn a_banner_is_shown_escaped() {
    let peer = Peer::start(Place::Tcp, |mut socket| {
        socket.write_all(b"220 \x1b[31mready\xff\r\n").unwrap();
        read_to_end(&socket)
    });
    Run::sockkit("probe --banner --send")
        .args([r"QUIT\r\n", &peer.address])
        .stdout("127.0.0.1:PORT open TIME, first byte after TIME: \"220 \\x1b[31mready\\xff\\r\\n\"\n")
        .check();
    assert_eq!(peer.finish(), b"QUIT\r\n");
}

#[test]
fn a_server_without_a_banner_is_open() {
    let server = Server::start("-4 --quiet");
    Run::sockkit("probe --banner -w 50ms").args([server.v4()]).stdout("127.0.0.1:PORT open TIME, no banner\n").check();
}

#[test]
fn a_port_must_stay_open_for_as_long_as_it_is_asked_to() {
    let server = Server::start("-4 --quiet");
    Run::sockkit("probe --stable 50ms").args([server.v4()]).stdout("127.0.0.1:PORT open TIME\n").check();
    for is_reset in [false, true] {
        let peer = Peer::start(Place::Tcp, move |socket| {
            if is_reset {
                socket.set_linger(Some(Duration::ZERO)).unwrap();
            }
        });
        let finished = Run::sockkit("probe --stable 50s").args([&peer.address]).finish();
        let text = String::from_utf8(finished.stdout).unwrap();
        assert!(finished.code == 204 && text.contains(" check failed after "), "{text}");
        peer.finish();
    }
}

#[test]
fn a_server_sees_an_orderly_end_unless_it_is_told_otherwise() {
    let peer = Peer::start(Place::Tcp, |socket| read_to_end(&socket));
    Run::sockkit("probe").args([&peer.address]).stdout("127.0.0.1:PORT open TIME\n").check();
    assert_eq!(peer.finish(), b"");
    let peer = Peer::start(Place::Tcp, |mut socket| socket.read(&mut [0; 1]).map_err(|error| error.kind()));
    Run::sockkit("probe --linger 0").args([&peer.address]).stdout("127.0.0.1:PORT open TIME\n").check();
    assert_eq!(peer.finish(), Err(std::io::ErrorKind::ConnectionReset), "and leaves no TIME_WAIT behind");
}

#[test]
fn a_reset_before_the_answer_is_a_failed_check() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    // Never joined: it would wait for connections that a failed test does not make.
    std::thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    });
    for words in ["--expect .", "--send hello --expect ."] {
        let finished = Run::sockkit(&format!("probe {words} {target}")).finish();
        let text = String::from_utf8(finished.stdout).unwrap();
        assert_eq!(finished.code, 204, "{words}: {text}");
    }
}

#[test]
fn silence_under_check_ends_with_the_deadline() {
    let server = Server::start("-4 --quiet");
    let finished = Run::sockkit("probe -w 50s --deadline 200ms --expect never").args([server.v4()]).finish();
    assert_eq!(finished.code, 110, "{}", String::from_utf8_lossy(&finished.stdout));
}

#[test]
fn what_cannot_be_sent_or_expected_is_a_usage_error() {
    for (words, message) in [
        (["--send", r"a\q"], r#"invalid value 'a\q' for '--send <TEXT>': a backslash in "a\\q" begins nothing"#),
        (
            ["--expect", "("],
            "invalid value '(' for '--expect <REGEX>': \"(\" is not a regular expression: unclosed group",
        ),
    ] {
        let finished = Run::sockkit("probe 127.0.0.1:1").args(words).finish();
        assert_eq!(finished.code, 2);
        assert!(finished.stderr.contains(message), "{}", finished.stderr);
    }
}
