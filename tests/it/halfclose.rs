//! The half-close rules of the relay, one row each: who ends a connection, and what is lost: nothing.

#[cfg(unix)]
mod clocks;
mod directions;
#[cfg(unix)]
mod inputs;

use std::io::{Read, Seek, Write};
use std::net::{Shutdown, UdpSocket};
use std::time::Duration;

#[cfg(unix)]
use crate::harness::mask;
use crate::harness::{DEADLINE, Peer, Place, Run, Running, dawdle, pattern, read_exactly, read_to_end};

#[test]
fn an_answer_that_waits_for_the_end_of_the_input_comes() {
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            let request = read_to_end(&peer);
            peer.write_all(b"answer\n").unwrap();
            request
        });
        Run::sockkit("connect").args([&peer.address]).stdin("request").stdout("answer\n").check();
        assert_eq!(peer.finish(), b"request", "{place:?}");
    }
}

#[test]
fn an_answer_that_takes_its_time_is_waited_for() {
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            assert_eq!(read_exactly(&peer, 7), b"request");
            dawdle(Duration::from_millis(1200));
            peer.write_all(b"answer\n").unwrap();
        });
        Run::sockkit("connect").args([&peer.address]).stdin("request").stdout("answer\n").check();
        peer.finish();
    }
}

#[test]
fn the_peers_end_is_the_end_while_stdin_is_silent() {
    for &place in Place::ALL {
        for greeting in ["", "hello\n"] {
            let peer = Peer::start(place, move |mut peer| peer.write_all(greeting.as_bytes()).unwrap());
            let client = Running::sockkit(&format!("connect -j {}", peer.address));
            peer.finish();
            // Its stdin stays open until it has ended.
            let finished = client.finish();
            assert_eq!((finished.code, finished.stdout.as_slice()), (0, greeting.as_bytes()), "{place:?}");
            assert!(finished.stderr.contains(r#""how":"peer_finished""#), "{}", finished.stderr);
            assert!(finished.stderr.contains(r#""input_ended":false"#), "{}", finished.stderr);
        }
    }
}

#[test]
fn a_line_that_was_typed_and_answered_does_not_keep_it() {
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            let request = read_exactly(&peer, 8);
            peer.write_all(&request).unwrap();
        });
        let mut client = Running::sockkit(&format!("connect {}", peer.address));
        client.write(b"request\n");
        peer.finish();
        let finished = client.finish();
        assert_eq!(
            (finished.code, finished.stdout.as_slice(), finished.stderr.as_str()),
            (0, &b"request\n"[..], ""),
            "{place:?}"
        );
    }
}

/// A peer that has closed its half only: what flows through stdin must reach it to the last byte.
#[test]
fn input_that_flows_is_sent_to_its_end_though_the_peer_has_finished() {
    let sent = pattern(64 * 1024 * 1024);
    // A file is never silent; whoever writes to a pipe may be kept from it on a busy machine.
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&sent).unwrap();
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            peer.write_all(b"go on\n").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            read_to_end(&peer)
        });
        file.rewind().unwrap();
        let input = file.try_clone().unwrap();
        Run::sockkit("connect").args([&peer.address]).stdin_from(input).stdout("go on\n").check();
        let received = peer.finish();
        assert!(received == sent, "{} bytes, or others, over {place:?}", received.len());
    }
}

/// The same through a pipe, and the peer stops reading for longer than a silent stdin would be given.
#[test]
fn a_peer_that_has_finished_and_reads_slowly_gets_everything() {
    let sent = pattern(16 * 1024 * 1024);
    for &place in Place::ALL {
        let peer = Peer::start(place, |peer| {
            let mut received = read_exactly(&peer, 1);
            peer.shutdown(Shutdown::Write).unwrap();
            dawdle(Duration::from_millis(500));
            received.extend(read_to_end(&peer));
            received
        });
        Run::sockkit("connect").args([&peer.address]).stdin(sent.clone()).check();
        assert!(peer.finish() == sent, "{place:?}");
    }
}

#[test]
fn when_both_have_finished_it_ends_whatever_timers_say() {
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            let request = read_to_end(&peer);
            peer.write_all(&request).unwrap();
        });
        Run::sockkit("connect -q 1h -w 1h -W 1h --max-time 1h")
            .args([&peer.address])
            .stdin("all\n")
            .stdout("all\n")
            .check();
        peer.finish();
    }
}

/// Both streams of 8 MB at the same time, through a peer that echoes.
#[test]
fn bulk_both_ways_is_exact() {
    let sent = pattern(8 * 1024 * 1024);
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            let mut block = vec![0; 10_000];
            loop {
                match peer.read(&mut block).unwrap() {
                    0 => return,
                    count => peer.write_all(&block[..count]).unwrap(),
                }
            }
        });
        let finished = Run::sockkit("connect").args([&peer.address]).stdin(sent.clone()).finish();
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
        assert!(finished.stdout == sent, "{} bytes over {place:?}", finished.stdout.len());
        peer.finish();
    }
}

/// The pipes hold as much as they may, unless the user's other pipes have used that up: then ours cannot be widened either.
#[cfg(target_os = "linux")]
#[test]
fn pipes_for_bulk_are_widened() {
    use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
    const WIDE_BYTES: usize = 1 << 20;
    let peer = Peer::start(Place::Tcp, |peer| {
        read_exactly(&peer, 5);
        peer
    });
    let mut client = Running::sockkit(&format!("connect {}", peer.address));
    client.write(b"hello");
    let _peer = peer.finish();
    let (stdin, stdout) = (client.stdin.as_ref().unwrap(), client.stdout.as_ref().unwrap());
    let sizes = [fcntl_getpipe_size(stdin).unwrap(), fcntl_getpipe_size(stdout).unwrap()];
    assert!(sizes == [WIDE_BYTES; 2] || fcntl_setpipe_size(stdin, WIDE_BYTES).is_err(), "{sizes:?}");
    drop(client.stdin.take());
}

#[test]
fn a_stream_whose_peer_stays_silent_is_left_when_that_was_asked_for() {
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            assert_eq!(read_to_end(&peer), b"hello");
            peer.write_all(b"and now silence\n").unwrap();
            // It stays until the other has gone.
            let _ = peer.read(&mut [0]);
            peer
        });
        Run::sockkit("connect -q 0.2").args([&peer.address]).stdin("hello").stdout("and now silence\n").check();
        peer.finish();
    }
}

/// Whoever reads our stdout may be slow: a peer that waits for that is not silent.
#[test]
fn a_slow_reader_of_stdout_loses_nothing_to_the_quit_clock() {
    for &place in Place::ALL {
        let sent = pattern(4 * 1024 * 1024);
        let expected = sent.clone();
        let peer = Peer::start(place, move |mut peer| peer.write_all(&sent).unwrap());
        let mut client = Running::sockkit(&format!("connect -q 1 {}", peer.address));
        drop(client.stdin.take());
        dawdle(Duration::from_secs(2));
        let finished = client.finish();
        assert!(finished.stdout == expected, "{} bytes over {place:?}", finished.stdout.len());
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
        peer.finish();
    }
}

/// A unix peer can stop reading and go on talking; the input is lost, and that is said.
#[cfg(unix)]
#[test]
fn when_a_send_fails_what_still_comes_is_taken() {
    let peer = Peer::start(Place::Unix, |mut peer| {
        peer.shutdown(Shutdown::Read).unwrap();
        // What came before is taken: a close with unread input would be a reset.
        read_to_end(&peer);
        dawdle(Duration::from_millis(200));
        peer.write_all(b"the last words\n").unwrap();
    });
    let finished = Run::sockkit("connect").args([&peer.address]).stdin(pattern(8 * 1024 * 1024)).finish();
    let stderr = mask(&finished.stderr).replace(&peer.address, "PATH");
    assert_eq!((finished.code, finished.stdout.as_slice()), (1, &b"the last words\n"[..]), "{stderr}");
    let reason = "sockkit: send unix:PATH (unix) failed after TIME: Broken pipe (EPIPE, 32); 15 bytes received, ";
    assert!(stderr.starts_with(reason) && stderr.ends_with(" sent\n"), "{stderr}");
    peer.finish();
}

/// A UDP socket of the test's own, and where it is.
fn datagram_peer() -> (UdpSocket, String) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let address = peer.local_addr().unwrap().to_string();
    (peer, address)
}

#[test]
fn a_datagrams_answer_is_printed_after_the_end_of_the_input_and_then_it_quits() {
    let (peer, address) = datagram_peer();
    let client = Running::sockkit(&format!("connect -u -q 2 {address}"));
    answer_late(client, &peer, "answer\n");
}

/// The clock runs from the end of the input, not from the last that was heard: the answer to the last line must have time.
#[test]
fn the_quit_clock_starts_when_the_input_ends() {
    let (peer, address) = datagram_peer();
    let client = Running::sockkit(&format!("connect -u -q 2 {address}"));
    dawdle(Duration::from_millis(2100));
    answer_late(client, &peer, "answer\n");
}

/// Sends a request as the whole input, and answers it when the input has long ended.
#[track_caller]
fn answer_late(mut client: Running, peer: &UdpSocket, answer: &str) {
    client.write(b"request");
    drop(client.stdin.take());
    let mut datagram = [0; 100];
    let (length, from) = peer.recv_from(&mut datagram).unwrap();
    assert_eq!(&datagram[..length], b"request");
    dawdle(Duration::from_millis(100));
    peer.send_to(answer.as_bytes(), from).unwrap();
    let finished = client.finish();
    assert_eq!((finished.code, finished.stdout.as_slice(), finished.stderr.as_str()), (0, answer.as_bytes(), ""));
}

#[cfg(unix)]
#[test]
fn a_unix_datagrams_answer_is_printed_too() {
    use std::os::unix::net::UnixDatagram;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peer");
    let peer = UnixDatagram::bind(&path).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let own = folder.path().join("own");
    let mut client =
        Running::sockkit(&format!("connect -u -U -q 2 -s {} {}", own.to_str().unwrap(), path.to_str().unwrap()));
    client.write(b"request");
    drop(client.stdin.take());
    let mut datagram = [0; 100];
    let (length, from) = peer.recv_from(&mut datagram).unwrap();
    assert_eq!((&datagram[..length], from.as_pathname()), (&b"request"[..], Some(own.as_path())));
    peer.send_to(b"answer\n", &own).unwrap();
    let finished = client.finish();
    assert_eq!((finished.code, finished.stdout.as_slice(), finished.stderr.as_str()), (0, &b"answer\n"[..], ""));
}
