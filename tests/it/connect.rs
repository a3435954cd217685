//! `sockkit connect`: stdin, stdout, verdicts, statuses.
//!
//! - `programs`: a program in the user's place
//! - `scripts`, `verify`: conversations that were laid down, and echoes that are compared
//! - `patience`: connecting only, again, and until somebody is there
//! - `verdicts`: who ended it, how, and which status follows
//! - `people`, `editing`: what makes it a tool for people at a terminal
//! - `datagrams`, `proxies`: how stdin is cut, and the ways to the peer
//!
//! What people complain of in clients of this kind, each with the test that it is not so here:
//!
//! | complaint | test |
//! |---|---|
//! | a refusal is silent, or exits with 0 | `a_refusal_is_said_with_its_errno_and_no_hint` |
//! | how much is said changes the status | `a_refusal_is_said_with_its_errno_and_no_hint` |
//! | a reset is a success | `a_reset_is_a_failure_that_says_what_went_each_way` |
//! | an upload that is cut off is a success | `an_upload_that_the_peer_cuts_off_is_a_failure` |
//! | a peer that closes unread is a success | `a_peer_that_closes_without_reading_is_not_taken_for_success` |
//! | sending only ends before anything has arrived | `directions::sending_only_ends_when_all_is_acknowledged` |
//! | and is a success though nothing did | `directions::sending_only_to_a_peer_that_resets_says_what_was_not_acknowledged` |
//! | nobody says who ended it | `verdicts::it_says_who_ended_it` |
//! | it stays when the server has closed, or fails then | `the_peers_end_is_the_end_while_stdin_is_silent` |
//! | an answer to the end of the input never comes | `an_answer_that_waits_for_the_end_of_the_input_comes` |
//! | an answer that takes a second is lost | `an_answer_that_takes_its_time_is_waited_for` |
//! | a transfer never ends, and nobody knows whether it is complete | `people::the_hashes_are_those_of_what_went_each_way` |
//! | what is sent is not what arrives | `bulk_both_ways_is_exact` |
//! | a closed stdout is an error | `a_reader_that_has_gone_ends_it_quietly` |
//! | an idle timeout is silent, and a success | `clocks::a_connection_on_which_nothing_happens_is_idle` |
//! | an idle timeout fails though both sides had ended | `when_both_have_finished_it_ends_whatever_timers_say` |
//! | a timeout says that the operation is in progress | `a_connect_that_is_not_answered_times_out_by_our_clock` |
//! | there is no timeout for connecting | `connecting_has_a_clock_by_default` |
//! | `-w` is three clocks in one | `clocks::the_clock_of_connecting_stops_with_it` |
//! | nothing ends it after so long, whatever happens | `clocks::when_its_time_is_over_it_ends_whatever_happens` |
//! | `-q` is not there | `a_stream_whose_peer_stays_silent_is_left_when_that_was_asked_for` |
//! | `-i` is for each buffer, not for each line | `people::with_an_interval_the_next_line_waits_and_none_is_lost` |
//! | a name's second address is not tried | `verdicts::each_address_that_was_tried_is_told` |
//! | `host:port` and `[::1]` are no places | `every_way_to_name_a_target_reaches_it` |
//! | an error says nothing | `an_unknown_host_is_said_with_the_resolvers_words` |
//! | UDP to a closed port is a success | `datagrams::the_network_says_what_became_of_a_datagram` |
//! | a datagram that is too long is cut, and nobody says so | `datagrams::a_datagram_that_is_cut_off_is_told_of` |
//! | broadcasts go out unasked | `datagrams::a_broadcast_that_was_not_asked_for_is_refused_with_a_hint` |
//! | a unix client leaves its own path behind | `datagrams::a_path_of_its_own_is_removed_whatever_ends_it` |
//! | an address to come from does not choose the interface | `an_interface_is_chosen_by_its_name` |
//! | UDP with `-z` always succeeds | `patience::with_z_the_statuses_are_the_same` |
//! | stdin is cut into datagrams unasked | `datagrams::more_than_a_datagram_holds_is_an_error_unless_it_is_to_be_cut` |
//! | no datagram for each line, and no empty one | `datagrams::stdin_is_one_datagram_unless_it_is_to_be_cut` |
//! | a wait for a server is a loop in the shell | `patience::it_is_waited_for_until_somebody_answers` |
//! | a program is left behind, and its status lost | `programs::nothing_of_it_outlives_us` |
//! | a program's last words are lost | `programs::it_may_leave_while_the_peer_goes_on` |
//! | a proxy's failure looks like the target's | `proxies::what_a_proxy_says_or_does_itself_is_its_own_failure` |
//! | there is no line editing | `editing::a_line_is_edited_before_it_is_sent_and_comes_back` |
//! | a peer drives the terminal | `a_terminal_sees_the_peers_bytes_escaped_unless_raw` |
//! | a conversation needs expect(1) | `scripts::statements_are_carried_out_in_the_order_in_which_they_are_typed` |
//! | a capture cannot be played again, in its own time | `record::client::pauses_are_kept_unless_told_otherwise` |
//! | letters mean other things in each netcat | `fingers::idioms_do_what_they_did` |
//!
//! Some no test can answer. How fast it is depends on the machine: `benches/connect.py` measures it beside nc, ncat and socat.
//! That an antivirus takes it for a back door is why programs can be left out when it is built: `.ci/run` compiles it without.
//! A stdin that dies on Windows would have to be tested there, and TLS, whose keys others do not verify, is not spoken.

mod datagrams;
#[cfg(unix)]
mod editing;
#[cfg(target_os = "linux")]
mod handshakes;
mod patience;
mod people;
#[cfg(all(unix, feature = "exec"))]
mod programs;
mod proxies;
mod scripts;
mod verdicts;
mod verify;

use std::io::{Read, Write};

use regex::Regex;
use serde_json::json;
use socket2::Type;
#[cfg(unix)]
use {crate::harness::dawdle, std::time::Duration};
#[cfg(target_os = "linux")]
use {
    crate::harness::{has, listener},
    socket2::Socket,
    std::io::ErrorKind,
    std::time::Instant,
};

use crate::harness::{Peer, Place, Run, Running, Server, mask, pattern, plain_socket, read_exactly};

#[test]
fn every_way_to_name_a_target_reaches_it() {
    let server = Server::start("--quiet");
    let datagrams = Server::start("-u --quiet");
    let (port, udp_port) = (server.port(), datagrams.port());
    for words in [
        format!("127.0.0.1:{port}"),
        format!("127.0.0.1 {port}"),
        format!("[::1]:{port}"),
        format!("::1 {port}"),
        format!("localhost:{port}"),
        format!("-4 localhost {port}"),
        format!("-6 ::1 {port}"),
        format!(":{port}"),
        format!("{port}"),
        format!("-n 127.0.0.1:{port}"),
        format!("-N 127.0.0.1 {port}"),
        format!("-w3 -q1 127.0.0.1 {port}"),
        format!("-s 127.0.0.1 127.0.0.1 {port}"),
        format!("--quiet 127.0.0.1:{port}"),
        format!("-u 127.0.0.1:{udp_port}"),
        format!("-uq0 ::1 {udp_port}"),
        format!("-u -6 -q 0 ::1 {udp_port}"),
    ] {
        check_echo(&words);
    }
}

/// The answer is read before the input ends, so that the quit clock of a datagram socket has no part in it.
#[track_caller]
fn check_echo(words: &str) {
    let mut client = Running::sockkit(&format!("connect {words}"));
    client.write(b"hello\n");
    let mut answer = [0; 6];
    let came = client.stdout.as_mut().unwrap().read_exact(&mut answer).is_ok();
    drop(client.stdin.take());
    let finished = client.finish();
    assert_eq!((finished.code, finished.stdout, finished.stderr.as_str()), (0, Vec::new(), ""), "{words}");
    assert!(came && &answer == b"hello\n", "{words}");
}

#[cfg(unix)]
#[test]
fn unix_sockets_are_reached_by_path_with_and_without_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let (stream, datagram) = (folder.path().join("stream"), folder.path().join("datagram"));
    let (stream, datagram) = (stream.to_str().unwrap(), datagram.to_str().unwrap());
    let _streams = Server::start_with(&format!("-U {stream}"), 1);
    let _datagrams = Server::start_with(&format!("-u -U {datagram}"), 1);
    for words in [
        format!("-U {stream}"),
        format!("unix:{stream}"),
        stream.to_owned(),
        format!("-u -U -q 0 {datagram}"),
        format!("-uq 0 unix:{datagram}"),
        format!("-u -U -q 0 -s {datagram}.own {datagram}"),
    ] {
        // An abstract address of its own is Linux's gift to a datagram socket; elsewhere only a named one is answered.
        if cfg!(target_os = "linux") || !words.starts_with("-u") || words.contains(" -s ") {
            check_echo(&words);
        }
    }
}

/// A name has addresses of both families, and only one of them has a server.
#[cfg(unix)]
#[test]
fn every_address_of_a_name_is_tried() {
    for flag in ["-4", "-6"] {
        let server = Server::start(&format!("{flag} --quiet"));
        let finished = Run::sockkit(&format!("connect localhost:{}", server.port())).stdin("hello").finish();
        // Where the name has no address of that family, there is nothing to try.
        if flag == "-4" || finished.code == 0 {
            assert_eq!((finished.code, finished.stdout.as_slice()), (0, &b"hello"[..]), "{flag}: {}", finished.stderr);
        }
    }
}

/// Waiting for it would take that long.
#[test]
fn connecting_has_a_clock_by_default() {
    let help = Run::sockkit("connect -h").finish();
    let help = String::from_utf8(help.stdout).unwrap();
    let clock = help.split("--connect-timeout").nth(1).unwrap().split("\n  -").next().unwrap();
    assert!(clock.contains("[default: 10s]"), "{clock}");
}

#[test]
fn it_comes_from_the_address_and_port_that_were_asked_for() {
    let server = Server::start("-j");
    // Bound but never connected or listening: nobody else is given the port, and who asks may share it.
    let (keeper, name) = plain_socket("127.0.0.1:0", Type::STREAM);
    keeper.set_reuse_address(true).unwrap();
    keeper.bind(&name).unwrap();
    let port = keeper.local_addr().unwrap().as_socket().unwrap().port();
    for (words, peer) in [
        (format!("-s 127.0.0.1 -p {port} --reuse-address"), format!("127.0.0.1:{port}")),
        ("-s 127.0.0.2".to_owned(), "127.0.0.2:".to_owned()),
    ] {
        if cfg!(target_os = "macos") && words.contains("127.0.0.2") {
            continue; // Only 127.0.0.1 is there.
        }
        Run::sockkit(&format!("connect {words} {}", server.v4())).stdin("hello").stdout("hello").check();
        let came = Run::sockkit(&format!("connect -j {words} {}", server.v4())).stdin("x").finish();
        let verdict = came.event("closed");
        assert!(verdict["local"].as_str().is_some_and(|local| local.starts_with(&peer)), "{words}: {verdict}");
    }
}

/// An address alone leaves the choice to the routes.
#[cfg(target_os = "linux")]
#[test]
fn an_interface_is_chosen_by_its_name() {
    if !crate::harness::can_unshare() {
        return;
    }
    let furnish = "ip link set lo up; ip link add here type veth peer name there; ip addr add 192.0.2.1/24 dev here
        ip link set here up; ip link set there up";
    // This machine answers for its own addresses on one interface, and is silent on the other.
    for (device, target, code) in
        [("lo", "127.0.0.1:1", 1), ("here", "127.0.0.1:1", 124), ("here", "192.0.2.1:1", 1), ("lo", "192.0.2.1:1", 124)]
    {
        let words = format!("connect -w 0.3 --bind-device {device} {target}");
        let finished = crate::harness::unshared("-rn", furnish, &words).finish();
        assert_eq!(finished.code, code, "{words}: {}", finished.stderr);
    }
}

#[test]
fn a_refusal_is_said_with_its_errno_and_no_hint() {
    for (target, shown) in [("127.0.0.1:1", "127.0.0.1:1"), ("127.0.0.1 1", "127.0.0.1:1"), ("::1 1", "[::1]:1")] {
        for quiet in ["", "--quiet", "-v"] {
            Run::sockkit(&format!("connect {quiet} {target}"))
                .stderr(&format!(
                    "sockkit: connect {shown} (tcp) failed after TIME: Connection refused (ECONNREFUSED, 111)\n"
                ))
                .code(1)
                .check();
        }
    }
}

#[cfg(unix)]
#[test]
fn a_unix_path_without_a_server_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nothing");
    let dead = folder.path().join("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    for (path, reason) in
        [(&path, "No such file or directory (ENOENT, 2)"), (&dead, "Connection refused (ECONNREFUSED, 111)")]
    {
        let path = path.to_str().unwrap();
        Run::sockkit("connect -U")
            .args([path])
            .stderr(&format!("sockkit: connect unix:{path} (unix) failed after TIME: {reason}\n"))
            .code(1)
            .check();
    }
}

/// A listener that accepts nothing, whose queue has been filled: the next must wait.
#[cfg(target_os = "linux")]
fn full_listener(place: Place) -> (Vec<Socket>, String, tempfile::TempDir) {
    let (socket, address, folder) = listener(place);
    // listen(2) again: the queue holds one more than this.
    socket.listen(0).unwrap();
    let mut queued = vec![socket];
    loop {
        let (next, name) = plain_socket(&address, Type::STREAM);
        // TCP leaves the next one without an answer; a unix socket says EAGAIN at once.
        let connected = match place {
            Place::Tcp => next.connect_timeout(&name, Duration::from_millis(200)),
            Place::Unix => next.set_nonblocking(true).and_then(|()| next.connect(&name)),
        };
        queued.push(next);
        if let Err(error) = connected {
            assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock), "{error}");
            return (queued, address, folder);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_connect_that_is_not_answered_times_out_by_our_clock() {
    let (_queued, address, _folder) = full_listener(Place::Tcp);
    let begun = Instant::now();
    Run::sockkit("connect -w 0.3")
        .args([&address])
        .stderr(
            "sockkit: connect 127.0.0.1:PORT (tcp) failed after TIME: no answer within the connect timeout (ETIMEDOUT, \
             110)\n         hint: a closed port refuses at once; silence is a firewall or a dead host\n",
        )
        .code(124)
        .check();
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[cfg(target_os = "linux")]
#[test]
fn a_unix_server_that_accepts_nobody_times_out_too() {
    let (_queued, address, _folder) = full_listener(Place::Unix);
    let finished = Run::sockkit("connect -w 0.3").args([&address]).finish();
    let stderr = mask(&finished.stderr).replace(&address, "PATH");
    let failed = "sockkit: connect unix:PATH (unix) failed after TIME: its queue was full until the connect timeout \
                  (ETIMEDOUT, 110)";
    assert_eq!((finished.code, stderr.lines().next()), (124, Some(failed)));
}

/// Where no resolver can be asked, the answer is another than where one knows that there is no such name.
#[test]
fn an_unknown_host_is_said_with_the_resolvers_words() {
    let finished = Run::sockkit("connect nosuch.invalid 80").finish();
    let grammar =
        Regex::new(r#"^sockkit: resolve "nosuch\.invalid" failed after TIME: [^()]+ \((EAI_[A-Z]+), -?\d+\)\n$"#);
    let stderr = mask(&finished.stderr);
    assert!(grammar.unwrap().is_match(&stderr), "{stderr}");
    assert_eq!(finished.code, 6);
}

#[test]
fn listening_is_translated() {
    for (words, translation) in [("-l 9000", "9000"), ("-lp 9000 127.0.0.1", "-p 9000 127.0.0.1")] {
        Run::sockkit(&format!("connect {words}"))
            .stderr(&format!("sockkit: -l listens: that is `sockkit serve {translation}`\n"))
            .code(2)
            .check();
    }
}

#[test]
fn the_verdict_says_who_ended_it_and_how() {
    let server = Server::start("--quiet");
    let finished = Run::sockkit("connect -v").args([server.v4()]).stdin("hello\n").finish();
    assert_eq!((finished.code, finished.stdout.as_slice()), (0, &b"hello\n"[..]));
    let stderr = mask(&finished.stderr);
    let lines: Vec<&str> = stderr.lines().collect();
    let [connected, verdict] = lines[..] else { panic!("{stderr}") };
    assert!(connected.starts_with("connected to 127.0.0.1:PORT (tcp) from 127.0.0.1:PORT: "), "{connected}");
    assert!(connected.contains(" nodelay on"), "{connected}");
    let said = "127.0.0.1:PORT (tcp) closed by the peer after TIME: 6 bytes sent, 6 received";
    assert!(verdict.starts_with(said), "{verdict}");
    if cfg!(target_os = "linux") {
        let grammar = r"received, [\d.]+ [KM]?i?B/s in all; rtt TIME, 0 segments sent again, a window of \d+, [\d.]+ [KMG]?i?B/s delivered; status 0$";
        assert!(Regex::new(grammar).unwrap().is_match(verdict), "{verdict}");
    }
}

#[test]
fn the_verdict_as_json_has_its_fields() {
    let server = Server::start("--quiet");
    let finished = Run::sockkit("connect --json").args([server.v4()]).stdin("hello\n").finish();
    assert_eq!((finished.code, finished.stdout.as_slice()), (0, &b"hello\n"[..]));
    let mut verdict = finished.event("closed");
    let fields = verdict.as_object_mut().unwrap();
    assert!(fields.remove("elapsed_ms").unwrap().as_f64().unwrap() > 0.0);
    let information = fields.remove("tcp_info").unwrap();
    let unacknowledged = fields.remove("unacknowledged_bytes").unwrap();
    let unread = fields.remove("unread_bytes").unwrap();
    for rate in ["received_bytes_per_s", "sent_bytes_per_s"] {
        assert!(fields.remove(rate).unwrap().as_f64().unwrap() > 0.0, "{rate}");
    }
    if cfg!(target_os = "linux") {
        assert!(information["rtt_us"].as_u64().unwrap() > 0, "{information}");
        assert_eq!((unacknowledged, unread), (0.into(), 0.into()));
    }
    assert!(fields.remove("local").unwrap().as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(
        verdict,
        json!({
            "schema": "sockkit.connect/1", "event": "closed", "peer": server.v4(), "how": "peer_finished",
            "received_bytes": 6, "sent_bytes": 6, "input_ended": true, "status": 0,
        })
    );
}

/// NUL, control characters, and what is no UTF-8: to a pipe everything is exact.
#[test]
fn stdout_has_the_peers_bytes_as_they_are() {
    let every_byte: Vec<u8> = (0..=255).chain([0xff, 0xc3, 0x28, 0xe2, 0x82, 0]).collect();
    let server = Server::start("--quiet");
    for bytes in [every_byte, b"\0".to_vec(), b"no newline".to_vec(), pattern(1_000_000)] {
        let finished = Run::sockkit("connect").args([server.v4()]).stdin(bytes.clone()).finish();
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
        assert!(finished.stdout == bytes, "{} bytes", bytes.len());
    }
}

/// `script` gives it a terminal; what a peer sends must not drive that.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_sees_the_peers_bytes_escaped_unless_raw() {
    // It ends in the middle of a character.
    const SENT: &[u8] = b"\x1b[2J\x07gr\xc3\xbcn\xff\n\xe2\x82";
    if !has("script") {
        return;
    }
    for (raw, shown) in [
        ("", &b"\\u{1b}[2J\\u{7}gr\xc3\xbcn\\xff\r\n\\xe2\\x82"[..]),
        (" --raw", b"\x1b[2J\x07gr\xc3\xbcn\xff\r\n\xe2\x82"),
    ] {
        let peer = Peer::start(Place::Tcp, |mut peer| peer.write_all(SENT).unwrap());
        let line = format!("{} connect{raw} {}", crate::harness::SOCKKIT, peer.address);
        // At the end of its own input script would type ^D, and the terminal would show that.
        let (input, _stays_open) = std::io::pipe().unwrap();
        let finished = Run::program("script").args(["-qec", &line, "/dev/null"]).stdin_from(input).finish();
        peer.finish();
        assert_eq!(finished.stdout.escape_ascii().to_string(), shown.escape_ascii().to_string());
        assert_eq!(finished.code, 0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_is_a_failure_in_one_line() {
    let server = Server::start("--quiet");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    Run::sockkit("connect")
        .args([server.v4()])
        .stdin("hello")
        .stdout_to(full)
        .stderr("sockkit: write stdout failed: No space left on device (ENOSPC, 28)\n")
        .code(4)
        .check();
}

/// `connect | head -1`: whoever read our stdout has had enough, and the peer and stdin would go on for ever.
#[test]
fn a_reader_that_has_gone_ends_it_quietly() {
    let peer = Peer::start(Place::Tcp, |mut peer| {
        let block = pattern(64 * 1024);
        while peer.write_all(&block).is_ok() {}
    });
    let mut client = Running::sockkit(&format!("connect {}", peer.address));
    let mut stdout = client.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    drop(stdout);
    let finished = client.finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    peer.finish();
}

#[cfg(unix)]
#[test]
fn a_stdin_that_is_closed_or_unreadable() {
    let server = Server::start("--quiet");
    for (redirection, stderr, code) in [
        ("<&-", "", 0),
        ("< /dev/null", "", 0),
        ("< /", "sockkit: read stdin failed: Is a directory (EISDIR, 21)\n", 4),
    ] {
        let line = format!("exec {} connect {} {redirection}", crate::harness::SOCKKIT, server.v4());
        Run::program("sh").args(["-c", &line]).stderr(stderr).code(code).check();
    }
}

#[cfg(unix)]
#[test]
fn a_stdout_that_is_closed_takes_the_answer_nowhere() {
    let server = Server::start("--quiet");
    let line = format!("exec {} connect {} >&-", crate::harness::SOCKKIT, server.v4());
    Run::program("sh").args(["-c", &line]).stdin("hello").check();
}

/// What a peer does before it resets, and what is said then. Wine sends a FIN before a RST.
#[cfg(unix)]
#[test]
fn a_reset_is_a_failure_that_says_what_went_each_way() {
    let peer = Peer::start(Place::Tcp, |mut peer| {
        assert_eq!(read_exactly(&peer, 5), b"hello");
        peer.write_all(b"bye").unwrap();
        // A reset throws away what the other has not read yet.
        dawdle(Duration::from_millis(100));
        peer.set_linger(Some(Duration::ZERO)).unwrap();
    });
    Run::sockkit("connect")
        .args([&peer.address])
        .stdin("hello")
        .stdout("bye")
        .stderr(
            "sockkit: receive 127.0.0.1:PORT (tcp) failed after TIME: Connection reset by peer (ECONNRESET, 104); 3 bytes \
             received, 5 sent\n",
        )
        .code(1)
        .check();
    peer.finish();
}

#[cfg(unix)]
#[test]
fn an_upload_that_the_peer_cuts_off_is_a_failure() {
    let peer = Peer::start(Place::Tcp, |peer| {
        read_exactly(&peer, 10);
        peer.set_linger(Some(Duration::ZERO)).unwrap();
    });
    let finished = Run::sockkit("connect").args([&peer.address]).stdin(pattern(5_000_000)).finish();
    peer.finish();
    let stderr = mask(&finished.stderr);
    let grammar = Regex::new(concat!(
        r"^sockkit: (?:send|receive) 127\.0\.0\.1:PORT \(tcp\) failed after TIME: Connection reset by peer ",
        r"\(ECONNRESET, 104\); 0 bytes received, (\d+) sent(?:, of which (\d+) were not acknowledged)?\n$",
    ));
    let said = grammar.unwrap().captures(&stderr).unwrap_or_else(|| panic!("{stderr}"));
    let number = |index: usize| said.get(index).map_or(0, |digits| digits.as_str().parse::<u64>().unwrap());
    assert!(number(1) >= 10, "the peer has read 10 bytes: {stderr}");
    assert!(number(1) < 5_000_000 && number(2) < number(1), "{stderr}");
    assert_eq!((finished.code, finished.stdout), (1, Vec::new()));
}

/// A plain close with unread input is a reset as well.
#[test]
fn a_peer_that_closes_without_reading_is_not_taken_for_success() {
    for _ in 0..10 {
        let peer = Peer::start(Place::Tcp, |peer| {
            read_exactly(&peer, 10);
            drop(peer);
        });
        let finished = Run::sockkit("connect").args([&peer.address]).stdin(pattern(5_000_000)).finish();
        peer.finish();
        assert_eq!(finished.code, 1, "{}", finished.stderr);
    }
}

#[cfg(unix)]
#[test]
fn a_verdict_of_a_reset_names_it() {
    // A reset before the first byte may come so early that there is no connection to tell of.
    let peer = Peer::start(Place::Tcp, |peer| {
        read_exactly(&peer, 1);
        peer.set_linger(Some(Duration::ZERO)).unwrap();
    });
    let finished = Run::sockkit("connect -j").args([&peer.address]).stdin("x").finish();
    peer.finish();
    let verdict = finished.event("closed");
    assert_eq!((&verdict["how"], &verdict["status"]), (&"peer_reset".into(), &1.into()));
    let message = finished.stderr.lines().last().unwrap();
    assert!(mask(message).contains("Connection reset by peer (ECONNRESET, 104)"), "{message}");
    assert_eq!(finished.code, 1);
}

/// An echo while stdin is open: line by line, as it is typed.
#[test]
fn what_is_typed_goes_out_at_once_and_answers_come_at_once() {
    let server = Server::start("--quiet");
    let mut client = Running::sockkit(&format!("connect {}", server.v4()));
    let mut stdout = client.stdout.take().unwrap();
    for number in 0..100 {
        let line = format!("line {number:02}\n");
        client.write(line.as_bytes());
        let mut answer = vec![0; line.len()];
        stdout.read_exact(&mut answer).unwrap();
        assert_eq!(answer, line.as_bytes());
    }
    drop(client.stdin.take());
    let finished = client.finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
}

#[test]
fn a_prompt_is_shown_though_its_line_has_no_end_yet() {
    let peer = Peer::start(Place::Tcp, |mut peer| {
        peer.write_all(b"login: ").unwrap();
        read_exactly(&peer, 5)
    });
    let mut client = Running::sockkit(&format!("connect {}", peer.address));
    let mut prompt = [0; 7];
    client.stdout.as_mut().unwrap().read_exact(&mut prompt).unwrap();
    assert_eq!(&prompt, b"login: ");
    client.write(b"root\n");
    assert_eq!(peer.finish(), b"root\n");
    assert_eq!(client.finish().code, 0);
}
