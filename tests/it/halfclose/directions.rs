//! One direction only, and what stays open when the other has ended.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use socket2::Socket;

use super::datagram_peer;
use crate::harness::{DEADLINE, Peer, Place, Run, Running, dawdle, pattern, read_exactly, read_to_end};

/// Longer than a stdin may be silent before it counts as that.
const A_WHILE: Duration = Duration::from_millis(400);

/// Nothing comes for a while, and no end either.
#[track_caller]
pub fn stays_quiet(mut peer: &Socket) {
    peer.set_read_timeout(Some(A_WHILE)).unwrap();
    let heard = peer.read(&mut [0; 100]);
    assert!(matches!(&heard, Err(error) if error.kind() == ErrorKind::WouldBlock), "{heard:?}");
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
}

#[test]
fn with_k_the_peers_end_leaves_a_silent_stdin_its_time() {
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            peer.write_all(b"hello\n").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            read_to_end(&peer)
        });
        let mut client = Running::sockkit(&format!("connect -k {}", peer.address));
        client.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        dawdle(A_WHILE);
        client.write(b"late");
        drop(client.stdin.take());
        let finished = client.finish();
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
        assert_eq!(peer.finish(), b"late", "{place:?}");
    }
}

/// There is nobody left to stay for.
#[test]
fn with_k_a_reset_is_the_end_all_the_same() {
    let peer = Peer::start(Place::Tcp, |peer| {
        read_exactly(&peer, 1);
        peer.set_linger(Some(Duration::ZERO)).unwrap();
    });
    let mut client = Running::sockkit(&format!("connect -k {}", peer.address));
    client.write(b"x");
    let finished = client.finish();
    assert!(finished.stderr.contains("Connection reset by peer (ECONNRESET, 104)"), "{}", finished.stderr);
    assert_eq!(finished.code, 1);
    peer.finish();
}

/// A reset that answers the last that was sent comes when nobody receives any more.
#[cfg(target_os = "linux")]
#[test]
fn what_comes_too_late_for_the_peer_is_no_success() {
    let peer = Peer::start(Place::Tcp, |mut peer| peer.write_all(b"bye\n").unwrap());
    let mut client = Running::sockkit(&format!("connect -k {}", peer.address));
    client.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
    peer.finish();
    // It sees the peer's end meanwhile.
    dawdle(A_WHILE);
    client.write(b"late\n");
    drop(client.stdin.take());
    let finished = client.finish();
    let reason = "sockkit: send 127.0.0.1:PORT (tcp) failed after TIME: Broken pipe (EPIPE, 32); 4 bytes received, 5 sent, of \
                  which 5 were not acknowledged\n";
    assert_eq!((finished.code, crate::harness::mask(&finished.stderr).as_str()), (1, reason));
}

/// What a peer that has closed its own half does not read is no reason to stay.
#[cfg(target_os = "linux")]
#[test]
fn a_peer_that_has_finished_and_never_reads_does_not_keep_it() {
    let (leave, until_left) = std::sync::mpsc::channel::<()>();
    let peer = Peer::start(Place::Tcp, move |peer| {
        peer.shutdown(Shutdown::Write).unwrap();
        // It stays, and reads nothing, until the other has gone.
        let _ = until_left.recv_timeout(DEADLINE);
    });
    Run::sockkit("connect -k").args([&peer.address]).stdin(pattern(QUEUED_BYTES)).check();
    drop(leave);
    peer.finish();
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    Run::sockkit("connect -N --no-shutdown 127.0.0.1:9")
        .stderr("sockkit: -N half-closes at stdin's end, and --no-shutdown does not: leave one out\n")
        .code(2)
        .check();
    Run::sockkit("connect -u -k 127.0.0.1:9")
        .stderr(
            "sockkit: -k stays after the peer's end, and datagrams have none: -q 1h waits an hour for their answers\n",
        )
        .code(2)
        .check();
}

#[test]
fn without_stdin_nothing_is_sent_and_our_direction_stays_open() {
    for &place in Place::ALL {
        for flag in ["-d", "--no-stdin", "--recv-only"] {
            let peer = Peer::start(place, |mut peer| {
                stays_quiet(&peer);
                peer.write_all(b"hello\n").unwrap();
            });
            Run::sockkit("connect").args([flag, &peer.address]).stdin("not read").stdout("hello\n").check();
            peer.finish();
        }
    }
}

/// Only a peer that knows our path can send something to whom it has heard nothing from.
#[cfg(unix)]
#[test]
fn without_stdin_datagrams_are_heard_until_they_stop_for_so_long_as_was_asked() {
    use std::os::unix::net::UnixDatagram;
    let folder = tempfile::tempdir().unwrap();
    let (path, own) = (folder.path().join("peer"), folder.path().join("own"));
    let peer = UnixDatagram::bind(&path).unwrap();
    peer.set_nonblocking(true).unwrap();
    let (own, path) = (own.to_str().unwrap(), path.to_str().unwrap());
    let client = Running::sockkit(&format!("connect -u -U -d -q 2 -s {own} {path}"));
    crate::harness::until("it is there", || peer.send_to(b"hello\n", own).is_ok());
    let finished = client.finish();
    assert_eq!((finished.code, finished.stdout.as_slice(), finished.stderr.as_str()), (0, &b"hello\n"[..], ""));
    assert_eq!(peer.recv(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn without_the_half_close_the_peer_is_not_told_that_stdin_has_ended() {
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            assert_eq!(read_exactly(&peer, 7), b"request");
            stays_quiet(&peer);
            peer.write_all(b"answer\n").unwrap();
        });
        Run::sockkit("connect --no-shutdown").args([&peer.address]).stdin("request").stdout("answer\n").check();
        peer.finish();
    }
}

#[test]
fn sending_only_drops_what_comes_and_waits_for_no_end_of_the_peer() {
    for &place in Place::ALL {
        let sent = pattern(3_000_000);
        let expected = sent.clone();
        let peer = Peer::start(place, move |mut peer| {
            peer.write_all(b"nobody reads this").unwrap();
            assert!(read_to_end(&peer) == expected, "every byte came");
            peer
        });
        Run::sockkit("connect --send-only").args([&peer.address]).stdin(sent).check();
        peer.finish();
    }
}

#[test]
fn a_datagram_that_is_only_sent_is_not_waited_for() {
    let (peer, address) = datagram_peer();
    Run::sockkit(&format!("connect -u --send-only {address}")).stdin("hello").check();
    let mut datagram = [0; 100];
    assert_eq!(peer.recv(&mut datagram).unwrap(), 5);
    drop(peer);
    // Linux tells who said so as well.
    let who = if cfg!(target_os = "linux") { "ICMP port unreachable from 127.0.0.1; " } else { "" };
    Run::sockkit(&format!("connect -u --send-only {address}"))
        .stdin("hello")
        .stderr(&format!(
            "sockkit: send 127.0.0.1:PORT (udp) failed after TIME: Connection refused (ECONNREFUSED, 111); {who}0 bytes \
             received, 5 sent\n"
        ))
        .code(1)
        .check();
}

/// More than the peer's queue holds, and less than ours.
#[cfg(target_os = "linux")]
const QUEUED_BYTES: usize = 400_000;

#[cfg(target_os = "linux")]
#[test]
fn sending_only_ends_when_all_is_acknowledged() {
    let peer = Peer::start(Place::Tcp, |peer| {
        dawdle(A_WHILE);
        let begun = std::time::Instant::now();
        (begun, read_exactly(&peer, QUEUED_BYTES), peer)
    });
    let sent = pattern(QUEUED_BYTES);
    Run::sockkit("connect --send-only").args([&peer.address]).stdin(sent.clone()).check();
    let ended = std::time::Instant::now();
    let (reading_begun, received, _open) = peer.finish();
    assert!(received == sent && ended > reading_begun, "{:?}", ended.checked_duration_since(reading_begun));
}

#[cfg(target_os = "linux")]
#[test]
fn sending_only_to_a_peer_that_resets_says_what_was_not_acknowledged() {
    let peer = Peer::start(Place::Tcp, |peer| {
        dawdle(A_WHILE);
        peer.set_linger(Some(Duration::ZERO)).unwrap();
    });
    let finished = Run::sockkit("connect --send-only").args([&peer.address]).stdin(pattern(QUEUED_BYTES)).finish();
    peer.finish();
    let stderr = crate::harness::mask(&finished.stderr);
    let reason = "127.0.0.1:PORT (tcp) failed after TIME: Connection reset by peer (ECONNRESET, 104); 0 bytes received, \
                  400000 sent, of which ";
    assert!(stderr.contains(reason) && stderr.ends_with(" were not acknowledged\n"), "{stderr}");
    assert_eq!(finished.code, 1);
}
