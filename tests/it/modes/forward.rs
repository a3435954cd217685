//! `serve --mode forward`: a proxy for one port.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::time::Duration;

use serde_json::Value;

use super::{Spot, ask, datagrams_to};
use crate::harness::{
    DEADLINE, Peer, Place, Run, Server, dial, exchange, listener, mask, pattern, read_exactly, read_to_end,
};

/// A proxy to an address, and what is needed to reach it.
fn proxy(place: Place, target: &str, words: &str) -> (Spot, Server) {
    let spot = Spot::new(place);
    let target = if target.starts_with('/') { format!("unix:{target}") } else { target.to_owned() };
    let server = spot.serve(&format!("{words} --mode forward={target}"));
    (spot, server)
}

#[test]
fn every_byte_goes_through_both_ways_and_so_do_both_ends() {
    let sent = pattern(4 << 20);
    for place in Place::ALL {
        for behind in Place::ALL {
            let target = Peer::start(*behind, |peer| {
                // It answers only after the end of what it is sent.
                let received = read_to_end(&peer);
                (&peer).write_all(&received).unwrap();
                received.len()
            });
            let (spot, server) = proxy(*place, &target.address, "--quiet");
            let came = exchange(&dial(&spot.of(&server)), &sent);
            assert!(came == sent, "{place:?} to {behind:?}: {} bytes", came.len());
            assert_eq!(target.finish(), sent.len());
        }
    }
}

#[test]
fn a_target_that_finishes_first_is_still_spoken_to() {
    let target = Peer::start(Place::Tcp, |mut peer| {
        peer.write_all(b"banner").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        read_to_end(&peer)
    });
    let (spot, server) = proxy(Place::Tcp, &target.address, "--quiet");
    let mut peer = dial(&spot.of(&server));
    assert_eq!(read_to_end(&peer), b"banner");
    peer.write_all(b"late").unwrap();
    drop(peer);
    assert_eq!(target.finish(), b"late");
}

#[test]
fn a_reset_of_the_target_is_the_peers_after_what_came_before() {
    let target = Peer::start(Place::Tcp, |mut peer| {
        peer.write_all(b"before").unwrap();
        assert_eq!(read_exactly(&peer, 2), b"go");
        peer.set_linger(Some(Duration::ZERO)).unwrap();
    });
    let (spot, mut server) = proxy(Place::Tcp, &target.address, "");
    let mut peer = dial(&spot.of(&server));
    assert_eq!(read_exactly(&peer, 6), b"before");
    peer.write_all(b"go").unwrap();
    target.finish();
    assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(server.line().starts_with("connected by "));
    let line = mask(&server.line());
    assert!(line.starts_with("127.0.0.1:PORT failed: Connection reset by peer (ECONNRESET, 104) after "), "{line}");
}

#[test]
fn a_reset_of_the_peer_is_the_targets() {
    let target = Peer::start(Place::Tcp, |mut peer| {
        let mut received = Vec::new();
        let ended = peer.read_to_end(&mut received);
        (received, ended.map_err(|error| error.kind()))
    });
    let (spot, server) = proxy(Place::Tcp, &target.address, "--quiet");
    let mut peer = dial(&spot.of(&server));
    peer.write_all(b"before").unwrap();
    peer.set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    let (_, ended) = target.finish();
    assert_eq!(ended, Err(ErrorKind::ConnectionReset));
    drop(server);
}

#[test]
fn a_target_that_is_not_there_is_said_and_the_peer_is_reset() {
    let (spot, mut server) = proxy(Place::Tcp, "127.0.0.1:1", "--json");
    let mut peer = dial(&spot.of(&server));
    assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    server.line();
    let closed: Value = serde_json::from_str(&server.line()).unwrap();
    assert_eq!((&closed["how"], &closed["errname"]), (&"error".into(), &"ECONNREFUSED".into()));
    let (spot, mut server) = proxy(Place::Tcp, "127.0.0.1:1", "");
    drop(dial(&spot.of(&server)));
    server.line();
    let line = mask(&server.line());
    let failed = "127.0.0.1:PORT failed (connect 127.0.0.1:1 (tcp) failed after TIME: Connection refused (ECONNREFUSED, 111)) after ";
    assert!(line.starts_with(failed), "{line}");
}

#[test]
fn a_target_that_does_not_read_holds_the_peer_back() {
    let (target, address, _folder) = listener(Place::Tcp);
    target.set_recv_buffer_size(64 * 1024).unwrap();
    let (spot, server) = proxy(Place::Tcp, &address, "--quiet --receive-buffer 64Ki");
    let peer = dial(&spot.of(&server));
    let behind = target.accept().unwrap().0;
    peer.set_nonblocking(true).unwrap();
    let sent = pattern(64 << 20);
    let mut taken = 0;
    // Sends until nothing has moved for a while.
    let mut stuck = 0;
    while stuck < 100 {
        match (&peer).write(&sent[taken..]) {
            Ok(count) => (taken, stuck) = (taken + count, 0),
            Err(_) => {
                stuck += 1;
                crate::harness::dawdle(Duration::from_millis(2));
            }
        }
    }
    assert!(taken < 32 << 20, "{taken} bytes were taken");
    drop(behind);
}

/// Faults and the rest are on the peer's side, as with any service.
#[test]
fn faults_apply_to_what_is_forwarded() {
    let target = Peer::start(Place::Tcp, |mut peer| {
        let _ = peer.write_all(&pattern(1000));
        let _ = peer.read(&mut [0; 8]);
    });
    let (spot, server) = proxy(Place::Tcp, &target.address, "--quiet -F close,after=100B");
    assert_eq!(read_to_end(&dial(&spot.of(&server))), pattern(100));
}

#[test]
fn what_cannot_be_forwarded_is_refused() {
    for (words, message) in [
        (
            "-u 0.0.0.0:0 --mode forward=127.0.0.1:1",
            "forward on 0.0.0.0:0 would be open to everybody who can reach it: say to whom with --allow NETWORK, or --allow any",
        ),
        (
            "-p 0 --mode forward",
            "invalid value 'forward' for '--mode <MODE>': forward= is followed by its value: ENDPOINT, to which each connection, or each peer's datagrams, is joined: a proxy for one port",
        ),
    ] {
        Run::sockkit(&format!("serve {words}")).stderr(&format!("sockkit: {message}\n")).code(2).check();
    }
}

/// A forwarder of datagrams to an address, with more words.
fn datagram_proxy(target: &str, words: &str) -> Server {
    Server::start(&format!("-4 -u --mode forward={target} {words}"))
}

#[test]
fn each_peer_of_datagrams_gets_its_own_answers() {
    let echo = Server::start("-4 -u --quiet");
    let server = datagram_proxy(&echo.v4(), "--quiet");
    let peers = [datagrams_to(&server.v4()), datagrams_to(&server.v4())];
    for round in 0..3 {
        for (index, peer) in peers.iter().enumerate() {
            peer.send(format!("{index} {round}").as_bytes()).unwrap();
        }
        for (index, peer) in peers.iter().enumerate() {
            let mut answer = [0; 16];
            let length = peer.recv(&mut answer).unwrap();
            assert_eq!(answer[..length], *format!("{index} {round}").as_bytes());
        }
    }
    assert_eq!(ask(&peers[0], b""), b"", "an empty datagram is one");
    assert_eq!(ask(&peers[1], &pattern(60_000)), pattern(60_000));
}

// Its address is one that no other test uses, so that nobody else gets the port.
#[cfg(target_os = "linux")]
#[test]
fn a_target_of_datagrams_that_is_not_there_is_said_and_found_when_it_is_back() {
    let gone = UdpSocket::bind("127.78.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let mut server = datagram_proxy(&address.to_string(), "--quiet");
    let peer = datagrams_to(&server.v4());
    peer.send(b"nobody").unwrap();
    server.until_told("Connection refused (ECONNREFUSED, 111)");
    let back = UdpSocket::bind(address).unwrap();
    back.set_read_timeout(Some(DEADLINE)).unwrap();
    peer.send(b"somebody").unwrap();
    let mut question = [0; 16];
    let (length, from) = back.recv_from(&mut question).unwrap();
    assert_eq!(question[..length], *b"somebody");
    back.send_to(b"here", from).unwrap();
    let length = peer.recv(&mut question).unwrap();
    assert_eq!(question[..length], *b"here");
}

#[test]
fn faults_apply_to_datagrams_that_are_forwarded() {
    let echo = Server::start("-4 -u --quiet");
    for rule in ["drop,every=2", "drop,every=2,dir=in"] {
        let server = datagram_proxy(&echo.v4(), &format!("--quiet -F {rule}"));
        let peer = datagrams_to(&server.v4());
        for question in [b"1", b"2", b"3", b"4", b"5"] {
            peer.send(question).unwrap();
        }
        let answers = [(); 3].map(|()| {
            let mut answer = [0; 8];
            let length = peer.recv(&mut answer).unwrap();
            answer[..length].to_vec()
        });
        assert_eq!(answers, [b"1", b"3", b"5"], "{rule}");
    }
}

#[test]
fn an_idle_session_ends_and_the_next_datagram_has_another() {
    let target = UdpSocket::bind("127.0.0.1:0").unwrap();
    target.set_read_timeout(Some(DEADLINE)).unwrap();
    let server = datagram_proxy(&target.local_addr().unwrap().to_string(), "--quiet -W 50ms");
    let peer = datagrams_to(&server.v4());
    let from = || {
        peer.send(b"question").unwrap();
        target.recv_from(&mut [0; 16]).unwrap().1
    };
    let first = from();
    // Each turn is a longer silence than the one before may have been.
    crate::harness::until("the session is another", || {
        crate::harness::dawdle(Duration::from_millis(60));
        from() != first
    });
}

/// Each peer has an address of its own, so that a port that is free again makes nobody another.
#[cfg(target_os = "linux")]
#[test]
fn of_as_many_sessions_as_there_may_be_the_longest_idle_makes_room() {
    use std::net::Ipv4Addr;

    /// What README says.
    const SESSIONS: u32 = 1024;
    let target = UdpSocket::bind("127.0.0.1:0").unwrap();
    target.set_read_timeout(Some(DEADLINE)).unwrap();
    let server = datagram_proxy(&target.local_addr().unwrap().to_string(), "--quiet");
    let peer = |number: u32| UdpSocket::bind((Ipv4Addr::from_bits(0x7f4f_0000 + number), 0)).unwrap();
    // Each has its question taken before the next one asks: nothing is lost, and who is idle is known.
    let ask = |peer: &UdpSocket| {
        peer.send_to(b"question", server.v4()).unwrap();
        target.recv_from(&mut [0; 16]).unwrap().1
    };
    let (first, second, third) = (peer(1), peer(2), peer(3));
    let sessions = [&first, &second, &third].map(ask);
    for number in 4..=SESSIONS {
        ask(&peer(number));
    }
    assert_eq!(ask(&first), sessions[0], "there is room for all of them");
    ask(&peer(SESSIONS + 1));
    assert_eq!(ask(&third), sessions[2]);
    assert_eq!(ask(&first), sessions[0]);
    assert_ne!(ask(&second), sessions[1], "it was the one that had been silent longest");
}

#[test]
fn once_waits_for_the_answer_of_its_datagram() {
    let echo = Server::start("-4 -u --quiet");
    let server = datagram_proxy(&echo.v4(), "--once --summary json");
    assert_eq!(ask(&datagrams_to(&server.v4()), b"once"), b"once");
    let finished = server.finish();
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert!(finished.stderr.contains("\"received_bytes\":4,\"sent_bytes\":4,"), "{}", finished.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn datagrams_do_not_go_round_where_the_target_is_the_server_itself() {
    let free = UdpSocket::bind("127.78.0.2:0").unwrap().local_addr().unwrap();
    let mut server = Server::start_with(&format!("-u {free} --mode forward={free} --quiet"), 1);
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"round", free).unwrap();
    server.until_told("the target is this server itself");
}

#[cfg(target_os = "linux")]
#[test]
fn datagrams_go_between_udp_and_unix_sockets() {
    use std::os::unix::net::UnixDatagram;

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let echo = Server::start_with(&format!("-u -U {} --quiet", path("echo")), 1);
    let to_unix = datagram_proxy(&format!("unix:{}", path("echo")), "--quiet");
    let mut from_unix =
        Server::start_with(&format!("-u -U {} --json --mode forward={}", path("front"), to_unix.v4()), 1);
    let peer = UnixDatagram::bind(path("peer")).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer.connect(path("front")).unwrap();
    for question in [&b"question"[..], b""] {
        peer.send(question).unwrap();
        let mut answer = [0; 16];
        let length = peer.recv(&mut answer).unwrap();
        assert_eq!(answer[..length], *question);
        from_unix.line();
    }
    UnixDatagram::unbound().unwrap().send_to(b"whose?", path("front")).unwrap();
    let refused: Value = serde_json::from_str(&from_unix.line()).unwrap();
    assert_eq!((&refused["event"], &refused["reason"]), (&"refused".into(), &"unnamed".into()));
    drop(echo);
}
