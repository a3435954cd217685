//! `sockkit connect` through proxies: what is asked of them, and what their answers come to. The PROXY protocol's header.

use std::io::{Read, Write};
use std::net::Shutdown;

use serde_json::Value;

#[cfg(target_os = "linux")]
use crate::harness::{Finished, Running, Server};
use crate::harness::{Peer, Place, Run, mask, read_exactly, read_to_end};

/// What is expected of the client, and what is answered: one line of a talk.
type Line = (&'static [u8], &'static [u8]);

/// A proxy that carries out a talk, and then is the target: it hears the rest.
fn proxy(talk: &[Line]) -> Peer<Vec<u8>> {
    let talk = talk.to_vec();
    Peer::start(Place::Tcp, move |mut peer| {
        for (expected, answer) in talk {
            let came = read_exactly(&peer, expected.len());
            assert_eq!(came.escape_ascii().to_string(), expected.escape_ascii().to_string());
            peer.write_all(answer).unwrap();
        }
        let mut heard = Vec::new();
        // A client that has heard enough may have gone, or reset.
        let _ = peer.shutdown(Shutdown::Write).and_then(|()| peer.read_to_end(&mut heard));
        heard
    })
}

const REQUEST_4A: &[u8] = b"\x04\x01\0\x50\0\0\0\x01user\0example.com\0";
const REQUEST_5H: &[u8] = b"\x05\x01\0\x03\x0bexample.com\0\x50";
const REQUEST_5: &[u8] = b"\x05\x01\0\x01\x7f\0\0\x01\0\x50";
const REQUEST_HTTP: &[u8] = b"CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n";

/// The target speaks first, in the same segment as the proxy's last word, and no byte of it is lost or taken for another's.
#[test]
fn what_is_asked_of_each_proxy_and_what_comes_behind_its_answer() {
    for (scheme, words, talk) in [
        ("socks4a://user@", "example.com:80", &[(REQUEST_4A, &b"\0\x5a\0\0\0\0\0\0hello\r\n\r\n"[..])][..]),
        ("socks4://", "127.0.0.1:80", &[(b"\x04\x01\0\x50\x7f\0\0\x01\0", b"\0\x5a\x00\x50\x7f\0\0\x01hello\r\n\r\n")]),
        ("socks4://", "-n 127.0.0.1:80", &[(b"\x04\x01\0\x50\x7f\0\0\x01\0", b"\0\x5a\0\0\0\0\0\0hello\r\n\r\n")]),
        (
            "socks5h://",
            "example.com:80",
            &[(b"\x05\x01\0", b"\x05\0"), (REQUEST_5H, b"\x05\0\0\x01\0\0\0\0\0\0hello\r\n\r\n")],
        ),
        (
            "socks5h://",
            "-n example.com:80",
            &[(b"\x05\x01\0", b"\x05\0"), (REQUEST_5H, b"\x05\0\0\x03\x01a\0\0hello\r\n\r\n")],
        ),
        (
            "socks5://",
            "-4 localhost:80",
            &[(b"\x05\x01\0", b"\x05\0"), (REQUEST_5, b"\x05\0\0\x01\0\0\0\0\0\0hello\r\n\r\n")],
        ),
        (
            "socks5://",
            "::1 80",
            &[
                (b"\x05\x01\0", b"\x05\0"),
                (
                    b"\x05\x01\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50",
                    b"\x05\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50hello\r\n\r\n",
                ),
            ],
        ),
        ("http://", "example.com:80", &[(REQUEST_HTTP, b"HTTP/1.1 200 Fine\r\nA: b\r\n\r\nhello\r\n\r\n")]),
        ("http://", "example.com:http", &[(REQUEST_HTTP, b"HTTP/1.0 200 Fine\n\nhello\r\n\r\n")]),
    ] {
        let proxy = proxy(talk);
        let run = Run::sockkit(&format!("connect --proxy {scheme}{} {words}", proxy.address));
        run.stdin("to the target").stdout("hello\r\n\r\n").check();
        assert_eq!(proxy.finish(), b"to the target", "{scheme} {words}");
    }
}

#[test]
fn an_answer_may_come_byte_by_byte() {
    for (scheme, talk) in [
        ("socks5h", &[(&b"\x05\x01\0"[..], &b"\x05\0"[..]), (REQUEST_5H, b"\x05\0\0\x03\x04host\0\x50target")][..]),
        ("http", &[(REQUEST_HTTP, b"HTTP/1.1 200 OK\r\nA: b\r\n\r\ntarget")]),
    ] {
        let talk = talk.to_vec();
        let proxy = Peer::start(Place::Tcp, move |mut peer| {
            peer.set_tcp_nodelay(true).unwrap();
            for (expected, answer) in talk {
                read_exactly(&peer, expected.len());
                for byte in answer {
                    peer.write_all(&[*byte]).unwrap();
                }
            }
        });
        Run::sockkit(&format!("connect -d --proxy {scheme}://{} example.com:80", proxy.address))
            .stdout("target")
            .check();
        proxy.finish();
    }
}

/// Asks a proxy that carries out this talk, and compares what is said of it.
#[track_caller]
fn check_refused(scheme: &str, talk: &[Line], status: i32, said: &str) {
    let proxy = proxy(talk);
    let came = Run::sockkit(&format!("connect --proxy {scheme}{} example.com:80", proxy.address)).finish();
    let shown = format!("{}://{}", scheme.split("://").next().unwrap(), proxy.address);
    assert_eq!(mask(&came.stderr.replace(&shown, "PROXY")).lines().next(), Some(format!("sockkit: {said}").as_str()));
    assert_eq!((came.code, came.stdout.as_slice()), (status, &b""[..]), "{said}");
    proxy.finish();
}

const GREETED: Line = (b"\x05\x01\0", b"\x05\0");

/// Each code that stands for an errno, and its status.
#[cfg(target_os = "linux")]
#[test]
fn what_a_proxy_says_of_the_target_has_its_errno() {
    for (answer, status, reason, words) in [
        (&b"\x05\x02"[..], 3, "Permission denied (EACCES, 13)", "2, not allowed by its rules"),
        (b"\x05\x03", 3, "Network is unreachable (ENETUNREACH, 101)", "3, network unreachable"),
        (b"\x05\x04", 3, "No route to host (EHOSTUNREACH, 113)", "4, host unreachable"),
        (b"\x05\x05\0\x01\0\0\0\0\0\0", 1, "Connection refused (ECONNREFUSED, 111)", "5, connection refused"),
        (b"\x05\x06", 124, "Connection timed out (ETIMEDOUT, 110)", "6, TTL expired"),
    ] {
        let said = format!(
            "connect example.com:80 (tcp) through PROXY failed after TIME: {reason}; the proxy answered {words}"
        );
        check_refused("socks5h://", &[GREETED, (REQUEST_5H, answer)], status, &said);
    }
    let said = "connect example.com:80 (tcp) through PROXY failed after TIME: Permission denied (EACCES, 13); the proxy \
                answered \"403 Forbidden\"";
    check_refused("http://", &[(REQUEST_HTTP, b"HTTP/1.1 403 Forbidden\r\n\r\n")], 3, said);
}

/// Nothing is known of the target then: the phase is named.
#[test]
fn what_a_proxy_says_or_does_itself_is_its_own_failure() {
    let asked = (REQUEST_4A, REQUEST_HTTP);
    for (scheme, talk, said) in [
        ("socks5h://", &[(GREETED.0, &b"\x05\xff"[..])][..], "greet proxy PROXY: it wants a user and a password"),
        (
            "socks5h://",
            &[(GREETED.0, b"SSH-2.0\r\n")],
            "greet proxy PROXY: it answered \"S\", which is no SOCKS5 reply",
        ),
        ("socks5h://", &[(GREETED.0, b"\x05")], "greet proxy PROXY: it closed the connection"),
        (
            "socks5h://user@",
            &[(b"\x05\x02\0\x02", b"\x05\x02"), (b"\x01\x04user\0", b"\x01\x01")],
            "log in to proxy PROXY: it refused the user and password (status 1)",
        ),
        ("socks5h://", &[GREETED, (REQUEST_5H, b"\x05\x01")], "ask: it answered 1, general failure"),
        ("socks5h://", &[GREETED, (REQUEST_5H, b"\x05\0\0")], "ask: it closed the connection"),
        ("socks4a://user@", &[(asked.0, b"\0\x5b\0\0")], "ask: it rejected the request, or failed (reply 91)"),
        ("socks4a://user@", &[(asked.0, b"")], "ask: it closed the connection"),
        ("http://", &[(asked.1, b"HTTP/1.1 407 Who?\r\n\r\n")], "ask: it wants a user and a password: \"407 Who?\""),
        ("http://", &[(asked.1, b"HTTP/1.1 504 Too late\r\n\r\n")], "ask: it answered \"504 Too late\""),
        ("http://", &[(asked.1, b"220 mail\r\n")], "ask: it answered \"220 mail\\r\\n\", which is no HTTP"),
        ("http://", &[(asked.1, b"HTTP/1.1 200 OK\r\n")], "ask: it closed the connection"),
    ] {
        let said = said.replacen("ask:", "ask proxy PROXY for example.com:80:", 1);
        check_refused(scheme, talk, 4, &said.replacen(": ", " failed after TIME: ", 1));
    }
}

/// Before it was asked, silence is the proxy's; after that it may be the target's.
#[test]
fn a_proxy_that_never_answers_runs_out_the_connect_clock() {
    for (scheme, said) in [
        ("socks5h", "greet proxy PROXY failed after TIME: no answer within the connect timeout (ETIMEDOUT, 110)\n"),
        (
            "http",
            "connect example.com:80 (tcp) through PROXY failed after TIME: no answer within the connect timeout \
             (ETIMEDOUT, 110); the proxy was asked, and said nothing\n",
        ),
    ] {
        let proxy = Peer::start(Place::Tcp, |peer| read_to_end(&peer));
        let came =
            Run::sockkit(&format!("connect -w 0.2 --proxy {scheme}://{} example.com:80", proxy.address)).finish();
        let shown = mask(&came.stderr.replace(&format!("{scheme}://{}", proxy.address), "PROXY"));
        assert_eq!(shown.split_inclusive('\n').next(), Some(format!("sockkit: {said}").as_str()));
        assert_eq!(came.code, 124);
        proxy.finish();
    }
}

#[test]
fn a_proxy_that_cannot_be_reached_says_nothing_of_the_target() {
    Run::sockkit("connect --proxy socks5://127.0.0.1:1 127.0.0.1:2")
        .stderr(
            "sockkit: connect proxy socks5://127.0.0.1:1 failed after TIME: Connection refused (ECONNREFUSED, 111)\n",
        )
        .code(4)
        .check();
    let came = Run::sockkit("connect --proxy http://nosuch.invalid:1 127.0.0.1:2").finish();
    let said = "sockkit: resolve proxy http://nosuch.invalid:1 failed after TIME: ";
    assert!(mask(&came.stderr).starts_with(said), "{}", came.stderr);
    assert_eq!(came.code, 4);
}

/// The name is looked up here, and its addresses are asked for in turn: the proxy may have one of the two families.
#[test]
fn every_address_that_was_looked_up_here_is_asked_for() {
    let (listener, address, _folder) = crate::harness::listener(Place::Tcp);
    let served = std::thread::spawn(move || {
        for code in [4, 0] {
            let (peer, _) = listener.accept().unwrap();
            let mut peer = crate::harness::patient(peer);
            read_exactly(&peer, 3);
            peer.write_all(b"\x05\0").unwrap();
            let mut request = [0; 22];
            let length = peer.read(&mut request).unwrap();
            assert_eq!(length, if code == 4 { 10 } else { 22 });
            peer.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
        }
    });
    let came = Run::sockkit(&format!("connect -v --proxy socks5://{address} :80")).finish();
    served.join().unwrap();
    let first = came.stderr.lines().next().unwrap();
    assert!(first.starts_with("connect 127.0.0.1:80 (tcp) through socks5://"), "{first}");
    assert_eq!(came.code, 0, "{}", came.stderr);
}

#[cfg(unix)]
#[test]
fn the_password_comes_from_the_environment_or_from_a_file_that_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let talk: &[Line] = &[
        (b"\x05\x02\0\x02", b"\x05\x02"),
        (b"\x01\x04user\x06secret", b"\x01\0"),
        (REQUEST_5H, b"\x05\0\0\x01\0\0\0\0\0\0"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "user:secret\nnot this\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let file = file.to_str().unwrap();
    for (user, flag, variable) in [
        ("", "", "user:secret"),
        ("user@", "", ":secret"),
        ("user@", "", "user:secret"),
        ("", &*format!("--proxy-auth-file {file}"), "other:one"),
    ] {
        let proxy = proxy(talk);
        Run::sockkit(&format!("connect {flag} --proxy socks5h://{user}{} example.com:80", proxy.address))
            .env("SOCKKIT_PROXY_AUTH", variable)
            .check();
        proxy.finish();
    }
    let basic: &[Line] = &[(
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nProxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    )];
    let http = proxy(basic);
    Run::sockkit(&format!("connect --proxy http://{} a:1", http.address))
        .env("SOCKKIT_PROXY_AUTH", "user:secret")
        .check();
    http.finish();
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o640)).unwrap();
    Run::sockkit(&format!("connect --proxy-auth-file {file} --proxy socks5h://127.0.0.1:1 a:1"))
        .stderr(&format!("sockkit: others may read {file} (mode 640), and a password is in it: chmod 600 it\n"))
        .code(4)
        .check();
    Run::sockkit("connect --proxy-auth-file /nowhere --proxy socks5h://127.0.0.1:1 a:1")
        .stderr("sockkit: open /nowhere failed: No such file or directory (ENOENT, 2)\n")
        .code(4)
        .check();
}

#[test]
fn what_no_proxy_can_do_is_a_usage_error() {
    let long = "a password on the command line can be read by everybody on this machine: put USER:PASSWORD into \
                SOCKKIT_PROXY_AUTH, or into a file for --proxy-auth-file";
    for (words, said) in [
        ("--proxy socks5://u:hidden@h:1 a:1", &*format!("--proxy: {long}")),
        (
            "--proxy h:1080 a:1",
            "--proxy: a proxy is SCHEME://HOST:PORT, with one of the schemes socks5, socks5h, socks4, socks4a, http",
        ),
        ("-u --proxy socks5://h:1 a:1", "--proxy is for tcp only, and a:1 is udp"),
        ("--proxy socks5://h:1 unix:a", "--proxy is for tcp only, and unix:a is unix"),
        ("--proxy socks5://h:1 fe80::1%lo 1", "the zone of [fe80::1%lo]:1 means nothing to a proxy"),
        (
            "-6 --proxy socks5h://h:1 a:1",
            "-4 and -6 cannot be asked of a proxy that looks names up itself: socks5:// looks them up here",
        ),
        ("-6 --proxy socks4://h:1 a:1", "-6: socks4 has IPv4 addresses only"),
        ("-u --proxy-protocol v1 a:1", "--proxy-protocol goes ahead of a stream, and this is udp"),
    ] {
        Run::sockkit(&format!("connect {words}")).stderr(&format!("sockkit: {said}\n")).code(2).check();
    }
}

/// Whoever is asked to come from an address comes to the proxy from there.
#[cfg(target_os = "linux")]
#[test]
fn the_source_is_that_of_the_connection_to_the_proxy() {
    let proxy = Peer::start(Place::Tcp, |mut peer| {
        read_exactly(&peer, REQUEST_HTTP.len());
        peer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        peer.peer_addr().unwrap().as_socket().unwrap().ip().to_string()
    });
    let came =
        Run::sockkit(&format!("connect -j -s 127.0.0.3 --proxy http://{} example.com:80", proxy.address)).finish();
    let shown = format!("http://{}", proxy.address);
    assert_eq!(proxy.finish(), "127.0.0.3");
    let verdict = came.event("closed");
    assert_eq!((&verdict["peer"], &verdict["proxy"]), (&Value::from("example.com:80"), &Value::from(shown)));
}

#[test]
fn the_proxy_protocols_header_goes_ahead() {
    for (words, expected) in [
        ("--proxy-protocol v1", "PROXY TCP4 127.0.0.1 127.0.0.1 LOCAL PEER\r\nhello"),
        (
            "--proxy-protocol v1 --proxy-protocol-source 192.0.2.7:1234",
            "PROXY TCP4 192.0.2.7 127.0.0.1 1234 PEER\r\nhello",
        ),
        (
            "--proxy-protocol v1 --proxy-protocol-source [2001:db8::7]:1234",
            "PROXY TCP6 2001:db8::7 ::ffff:127.0.0.1 1234 PEER\r\nhello",
        ),
    ] {
        let peer = Peer::start(Place::Tcp, |peer| (read_to_end(&peer), peer.peer_addr().unwrap()));
        let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
        let peers_port = port(&peer.address);
        // The header is in no count.
        let came = Run::sockkit(&format!("connect -j {words} {}", peer.address)).stdin("hello").finish();
        let verdict = came.event("closed");
        assert_eq!((came.code, &verdict["sent_bytes"]), (0, &Value::from(5)), "{words}");
        let (heard, from) = peer.finish();
        let local = from.as_socket().unwrap().port().to_string();
        let expected = expected.replace("LOCAL", &local).replace("PEER", &peers_port);
        assert_eq!(String::from_utf8_lossy(&heard), expected, "{words}");
    }
    let peer = Peer::start(Place::Tcp, |peer| read_to_end(&peer));
    Run::sockkit(&format!("connect --proxy-protocol v2 --proxy-protocol-source 192.0.2.7:1 {}", peer.address)).check();
    let port: u16 = peer.address.rsplit(':').next().unwrap().parse().unwrap();
    let expected = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\0\x01"[..], &port.to_be_bytes()];
    assert_eq!(peer.finish(), expected.concat());
}

/// An answer is waited for while stdin is open: most proxies end both directions when one ends.
#[cfg(target_os = "linux")]
#[track_caller]
fn echo_through(words: &str) -> Option<Finished> {
    let mut client = Running::sockkit(&format!("connect {words}"));
    client.write(b"hello\n");
    let mut answer = [0; 6];
    let came = client.stdout.as_mut().unwrap().read_exact(&mut answer);
    if came.is_err() {
        return Some(client.finish());
    }
    drop(client.stdin.take());
    assert_eq!((&answer, client.finish().code), (b"hello\n", 0), "{words}");
    None
}

/// None of these says when it listens: it is asked until it does.
#[cfg(target_os = "linux")]
#[test]
fn real_proxies_are_talked_to() {
    use crate::harness::{Owned, has, until};
    // All of 127/8 is loopback: here is an address of this test's own.
    let pid = std::process::id();
    let host = format!("127.{}.{}.{}", 1 + (pid >> 16) % 254, (pid >> 8) % 256, pid % 256);
    let server = Server::start("--quiet");
    for (program, words, url) in [
        ("ncat", format!("-lk --proxy-type http {host} 20011"), format!("http://{host}:20011")),
        ("ncat", format!("-lk --proxy-type http --proxy-auth u:p {host} 20012"), format!("http://u@{host}:20012")),
        ("microsocks", format!("-i {host} -p 20013"), format!("socks5h://{host}:20013")),
        ("microsocks", format!("-u u -P p -i {host} -p 20014"), format!("socks5://u@{host}:20014")),
    ] {
        if !has(program) {
            continue;
        }
        let mut command = std::process::Command::new(program);
        command.args(words.split_whitespace()).stderr(std::process::Stdio::null());
        let _proxy = Owned(command.spawn().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "u:p").unwrap();
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let login = if url.contains('@') { format!("--proxy-auth-file {}", secret.display()) } else { String::new() };
        for target in [server.v4(), format!("localhost:{}", server.port())] {
            until("it listens", || {
                match echo_through(&format!("-4 {login} --proxy {url} {target}").replace("-4 ", "")) {
                    Some(failed) => {
                        assert!(failed.stderr.contains("connect proxy"), "{program}: {}", failed.stderr);
                        false
                    }
                    None => true,
                }
            });
        }
    }
}
