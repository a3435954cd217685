//! `sockkit connect -u`: how stdin becomes datagrams, and what is told of those that come.

use std::io::Write;
use std::net::UdpSocket;

use regex::Regex;

use crate::harness::{DEADLINE, Run, Server, mask, pattern};
#[cfg(unix)]
use crate::harness::{Running, Signal, kill};
#[cfg(target_os = "linux")]
use crate::harness::{SOCKKIT, can_unshare};

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

/// Who said that a datagram did not arrive, and what: a port, a router on the way, and a host that does not answer.
#[cfg(target_os = "linux")]
#[test]
fn the_network_says_what_became_of_a_datagram() {
    for (target, from) in
        [("127.0.0.1:1", "ICMP port unreachable from 127.0.0.1"), ("[::1]:1", "ICMPv6 port unreachable from ::1")]
    {
        Run::sockkit(&format!("connect -u {target}"))
            .stdin("hello")
            .stderr(&format!(
                "sockkit: receive {target} (udp) failed after TIME: Connection refused (ECONNREFUSED, 111); {from}; 0 bytes \
                 received, 5 sent\n"
            ))
            .code(1)
            .check();
    }
    if !can_unshare() {
        return;
    }
    // Another namespace is the router, which knows no way further, or forbids it, or finds that the datagram is too old.
    let script = "set -e
        ip link set lo up
        unshare -n sleep 60 & router=$!
        until [ \"$(readlink /proc/$router/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do kill -0 $router; done
        ip link add here type veth peer name there netns $router
        ip addr add 192.0.2.2/24 dev here; ip link set here up; ip route add default via 192.0.2.1
        in_router() { nsenter -t $router -n \"$@\"; }
        in_router ip addr add 192.0.2.1/24 dev there
        in_router ip link set there up
        in_router sysctl -qw net.ipv4.ip_forward=1
        in_router ip route add prohibit 198.51.100.0/24
        in_router ip route add 203.0.113.0/24 via 192.0.2.2
        for words in '203.0.113.1 9' '--ttl 1 203.0.113.1 9' '198.51.100.1 9'; do
            echo hello | \"$0\" connect -u -q 5 $words 2>&1 || echo \"status $?\"
        done
        kill $router";
    let came = Run::program("unshare").args(["-rn", "sh", "-c", script, SOCKKIT]).finish();
    let text = mask(&String::from_utf8_lossy(&came.stdout));
    for said in [
        "203.0.113.1:9 (udp) failed after TIME: No route to host (EHOSTUNREACH, 113); ICMP time to live exceeded from \
         192.0.2.1; 0 bytes received, 6 sent\nstatus 3",
        "198.51.100.1:9 (udp) failed after TIME: No route to host (EHOSTUNREACH, 113); ICMP administratively prohibited from \
         192.0.2.1; 0 bytes received, 6 sent\nstatus 3",
    ] {
        assert!(text.contains(said), "{said:?} is not in {text}{}", came.stderr);
    }
}

/// Where one ends and the next begins: stdout alone does not tell.
#[test]
fn the_boundaries_of_what_comes_are_shown_with_v() {
    let server = Server::start("-4 -u --quiet");
    let came = Run::sockkit(&format!("connect -v -u --per-line --empty -q 200ms {}", server.v4()))
        .stdin("one\n\nthree\n")
        .finish();
    assert_eq!((came.code, came.stdout.as_slice()), (0, &b"onethree"[..]), "{}", came.stderr);
    let lengths = Regex::new(r"datagram from 127\.0\.0\.1:PORT: (\d+) bytes\n").unwrap();
    let stderr = mask(&came.stderr);
    let lengths: Vec<&str> = lengths.captures_iter(&stderr).map(|found| found.get(1).unwrap().as_str()).collect();
    assert_eq!(lengths, ["3", "0", "5"], "{stderr}");
}

/// The own path of a datagram socket, at which the answers arrive, is gone when the program is.
#[cfg(unix)]
#[test]
fn a_path_of_its_own_is_removed_whatever_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (server_path, own) = (path("server"), path("own"));
    let _server = Server::start_with(&format!("-u -U --quiet {server_path}"), 1);
    // What a program that was killed has left is replaced.
    drop(std::os::unix::net::UnixDatagram::bind(&own).unwrap());
    for _ in 0..2 {
        Run::sockkit(&format!("connect -u -U -q 100ms -s {own} {server_path}")).stdin("hello").stdout("hello").check();
        assert!(!std::path::Path::new(&own).exists());
    }
    let failed = Run::sockkit(&format!("connect -u -U -s {own} {}", path("nobody"))).finish();
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    assert!(!std::path::Path::new(&own).exists(), "after a refusal");
    let mut waiting = Running::sockkit(&format!("connect -u -U -s {own} {server_path}"));
    waiting.write(b"hello");
    std::io::Read::read_exact(waiting.stdout.as_mut().unwrap(), &mut [0; 5]).unwrap();
    assert!(std::path::Path::new(&own).exists());
    kill(waiting.pid(), Signal::Terminate);
    assert_eq!(waiting.finish().code, 143);
    assert!(!std::path::Path::new(&own).exists(), "after a signal");
    // A file that is no socket is nobody's to replace.
    std::fs::write(&own, "precious").unwrap();
    let failed = Run::sockkit(&format!("connect -u -U -s {own} {server_path}")).finish();
    assert_eq!((failed.code, std::fs::read(&own).unwrap().as_slice()), (4, &b"precious"[..]), "{}", failed.stderr);
}

/// One send is one receive, and each direction has an end, which datagrams have not.
#[cfg(target_os = "linux")]
#[test]
fn a_seqpacket_socket_keeps_messages_whole_and_has_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket").to_str().unwrap().to_owned();
    let server = Server::start_with(&format!("-U --seqpacket {path}"), 1);
    assert_eq!(server.listening, [format!("listening on unix:{path} (unix seqpacket), echo")]);
    let words = format!("connect -v -U --seqpacket --per-line {path}");
    let came = Run::sockkit(&words).stdin("one\n\nthree\n").finish();
    assert_eq!((came.code, came.stdout.as_slice()), (0, &b"onethree"[..]), "{}", came.stderr);
    let sizes: Vec<&str> = came.stderr.lines().filter_map(|line| line.strip_prefix("datagram from ")).collect();
    assert!(sizes.len() == 2 && sizes[0].ends_with(": 3 bytes") && sizes[1].ends_with(": 5 bytes"), "{}", came.stderr);
    assert!(came.stderr.contains("(unix seqpacket) closed by the peer"), "{}", came.stderr);
    // A thousand messages that a server reads late are a thousand still.
    let many = "x\n".repeat(1000);
    let came = Run::sockkit(&words).stdin(many).finish();
    assert_eq!((came.code, came.stdout.len()), (0, 1000));
    assert_eq!(came.stderr.matches(": 1 bytes\n").count(), 1000);
    // A stream is another kind of socket.
    let came = Run::sockkit(&format!("connect -U {path}")).finish();
    assert!(came.code == 4 && came.stderr.contains("EPROTOTYPE"), "{} {}", came.code, came.stderr);
    // Large ones go whole as well.
    let large = format!("connect -U --seqpacket --datagram-size 65000 {path}");
    let came = Run::sockkit(&large).stdin(pattern(130_000)).finish();
    assert!(came.code == 0 && came.stdout == pattern(130_000), "{}", came.stderr);
}

#[test]
fn what_a_seqpacket_socket_cannot_do_is_a_usage_error() {
    for (words, said) in [
        ("connect --seqpacket :1", "--seqpacket is for unix sockets, and this is tcp: add -U"),
        ("connect -u --seqpacket :1", "the argument '--udp' cannot be used with '--seqpacket'"),
        (
            "connect -U --seqpacket --empty a",
            "--empty: an empty message of unix seqpacket could not be told from the end",
        ),
        (
            "connect -U --seqpacket --proxy-protocol v2 a",
            "--proxy-protocol goes ahead of a stream, and this is unix seqpacket",
        ),
        ("serve --seqpacket :1", "--seqpacket is for unix sockets, and this is tcp: add -U"),
        (
            "serve -U --seqpacket -F delay=1ms a",
            "-F cuts bytes where it likes, and --seqpacket keeps messages whole: leave one out",
        ),
    ] {
        Run::sockkit(words).stderr(&format!("sockkit: {said}\n")).code(2).check();
    }
}

/// More than there is room for is shown to be cut off, whatever is asked for.
#[cfg(target_os = "linux")]
#[test]
fn a_datagram_that_is_cut_off_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peer").to_str().unwrap().to_owned();
    let (peer, name) = crate::harness::plain_socket(&path, socket2::Type::DGRAM);
    peer.bind(&name).unwrap();
    let mut client = Running::sockkit(&format!("connect -u -U {path}"));
    client.write(b"hello");
    let (_, from) = peer.recv_from(&mut [std::mem::MaybeUninit::uninit(); 16]).unwrap();
    // Twice as much fits as is asked for.
    peer.set_send_buffer_size(160 * 1024).unwrap();
    peer.send_to(&pattern(300_000), &from).unwrap();
    let mut head = vec![0; 256 * 1024];
    std::io::Read::read_exact(client.stdout.as_mut().unwrap(), &mut head).unwrap();
    assert!(head == pattern(256 * 1024));
    kill(client.pid(), Signal::Terminate);
    let came = client.finish();
    assert!(came.stderr.contains(": 262144 bytes, cut off\n"), "{}", came.stderr);
}

#[test]
fn a_datagram_is_told_to_programs_as_well() {
    let server = Server::start("-u --quiet");
    let came = Run::sockkit("connect -j -u --per-line -q 1").args([server.v4()]).stdin("a\nbcd\n").finish();
    let told: Vec<_> = came.events("datagram").into_iter().map(|one| one["received_bytes"].as_u64()).collect();
    assert_eq!(told, [Some(1), Some(3)], "{}", came.stderr);
}

/// Everybody in a group hears, whoever answers is heard, and it is said who that was.
#[cfg(target_os = "linux")]
#[test]
fn a_group_is_asked_and_everybody_may_answer() {
    if !can_unshare() {
        return;
    }
    let furnish = "ip link set lo up; ip link add d0 type veth peer name d1; ip link set d1 up
        ip addr add 192.0.2.1/24 brd + dev d0; ip link set d0 up; ip route add default dev d0
        ip addr add 2001:db8::1/64 dev d0 nodad; ip route add 224.0.0.0/4 dev d0; ip route add ff15::/16 dev d0 table local
        ask() { echo hello | \"$0\" connect -v -q 300ms \"$@\" 2>&1 | grep -v '^connected to' || true; }
        serve() { \"$0\" serve --once --quiet \"$@\" --ready-file ready > /dev/null & server=$!
        trap 'kill $server 2> /dev/null || true' EXIT; until [ -s ready ]; do kill -0 $server; done; rm ready; }";
    let folder = tempfile::tempdir().unwrap();
    for (server, client, heard) in [
        ("-u --multicast-join 239.1.2.3@d0 0.0.0.0:9000", "-u 239.1.2.3 9000", Some("192.0.2.1:9000")),
        (
            "-u --multicast-join 239.1.2.3@192.0.2.1 0.0.0.0:9000",
            "-u --multicast-interface d0 239.1.2.3:9000",
            Some("192.0.2.1:9000"),
        ),
        (
            "-u 239.1.2.3:9000 --multicast-join 239.1.2.3@d0",
            "-u --multicast-ttl 4 239.1.2.3 9000",
            Some("192.0.2.1:9000"),
        ),
        (
            "-u --multicast-join 239.1.2.3@192.0.2.1 --multicast-source 192.0.2.1 0.0.0.0:9000",
            "-u 239.1.2.3 9000",
            Some("192.0.2.1:9000"),
        ),
        (
            "-u --multicast-join 239.1.2.3@192.0.2.1 --multicast-source 192.0.2.9 0.0.0.0:9000",
            "-u 239.1.2.3 9000",
            None,
        ),
        (
            "-u --multicast-join 239.1.2.3@d0 --multicast-source 192.0.2.1 0.0.0.0:9000",
            "-u 239.1.2.3 9000",
            Some("192.0.2.1:9000"),
        ),
        ("-u --multicast-join 239.1.2.3@d0 0.0.0.0:9000", "-u --multicast-loop=off 239.1.2.3 9000", None),
        (
            "-u --multicast-join ff15::9@d0 [::]:9000",
            "-u --multicast-interface d0 ff15::9 9000",
            Some("[2001:db8::1]:9000"),
        ),
        (
            "-u --multicast-join ff15::9@d0 --multicast-source 2001:db8::1 [::]:9000",
            "-u -s 2001:db8::1 --multicast-interface d0 ff15::9 9000",
            Some("[2001:db8::1]:9000"),
        ),
        (
            "-u --multicast-join ff15::9@d0 --multicast-source 2001:db8::9 [::]:9000",
            "-u -s 2001:db8::1 --multicast-interface d0 ff15::9 9000",
            None,
        ),
        ("-u 0.0.0.0:9000", "-u -b 192.0.2.255 9000", Some("192.0.2.1:9000")),
        ("-u 0.0.0.0:9000", "-u --broadcast 255.255.255.255 9000", Some("192.0.2.1:9000")),
    ] {
        let script = format!("set -e; cd {}; {furnish}\nserve {server}\nask {client}", folder.path().display());
        let came = Run::program("unshare").args(["-rn", "sh", "-c", &script, SOCKKIT]).finish();
        let text = String::from_utf8_lossy(&came.stdout);
        let told = text.contains("datagram from").then(|| {
            let from = text.split("datagram from ").nth(1).unwrap();
            from.split(": 6 bytes").next().unwrap()
        });
        assert_eq!(told, heard, "{server}, {client}: {text}{}", came.stderr);
        assert_eq!(text.contains("hello\n"), heard.is_some(), "{text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_broadcast_that_was_not_asked_for_is_refused_with_a_hint() {
    Run::sockkit("connect -u 255.255.255.255 9")
        .stderr(
            "sockkit: connect 255.255.255.255:9 (udp) failed after TIME: Permission denied (EACCES, 13)\n         hint: a \
             broadcast address needs --broadcast\n",
        )
        .code(3)
        .check();
}
