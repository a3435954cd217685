//! `serve --mode broker` and `--mode chat`: what one peer sends goes to the others.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use socket2::Socket;

use super::Spot;
#[cfg(unix)]
use crate::harness::Signal;
use crate::harness::{Place, Server, dial, mask, pattern, read_exactly, read_to_end, until};

/// Returns once everybody is in the room: the first has been heard by all the others, who have nothing more to read.
#[track_caller]
fn meet(peers: &[&Socket]) {
    let (mut first, others) = (peers[0], &peers[1..]);
    for peer in others {
        peer.set_nonblocking(true).unwrap();
    }
    let mut here = vec![false; others.len()];
    until("everybody hears the first", || {
        first.write_all(b".").unwrap();
        for (mut peer, is_here) in others.iter().copied().zip(&mut here) {
            *is_here |= peer.read(&mut [0; 1]).is_ok();
        }
        here.iter().all(|is_here| *is_here)
    });
    first.write_all(b"|").unwrap();
    for peer in others {
        peer.set_nonblocking(false).unwrap();
        assert_eq!(line(peer, b'|').trim_matches('.'), "|");
    }
}

/// What comes until a byte, with it.
#[track_caller]
fn line(peer: &Socket, end: u8) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&end) {
        line.extend(read_exactly(peer, 1));
    }
    String::from_utf8(line).expect("text")
}

/// The next line of a chat.
#[track_caller]
fn said(peer: &Socket) -> String {
    mask(line(peer, b'\n').trim_end_matches('\n'))
}

/// Somebody who has come to a chat, and knows it.
#[track_caller]
fn comes(address: &str, number: u64) -> Socket {
    let peer = dial(address);
    let told = said(&peer);
    let end = format!(" is connected as <user{number}>.");
    assert!(told.starts_with("<announce> ") && told.ends_with(&end), "{told}");
    peer
}

#[test]
fn every_byte_goes_to_all_the_others_and_to_nobody_else() {
    for place in Place::ALL {
        let spot = Spot::new(*place);
        let server = spot.serve("--quiet --mode broker");
        let peers = [(); 3].map(|()| dial(&spot.of(&server)));
        meet(&[&peers[0], &peers[1], &peers[2]]);
        for (sender, start) in [(0, 0), (1, 7), (2, 3)] {
            let sent = &pattern(3_000_000)[start..];
            thread::scope(|scope| {
                for (_, peer) in peers.iter().enumerate().filter(|(number, _)| *number != sender) {
                    scope.spawn(move || assert!(read_exactly(peer, sent.len()) == sent, "{place:?}, of {sender}"));
                }
                (&peers[sender]).write_all(sent).unwrap();
            });
        }
        // Who has finished has had nothing of its own, nor anything twice.
        for peer in &peers {
            peer.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(peer), b"");
        }
    }
}

#[test]
fn listeners_of_both_families_are_one_room() {
    let server = Server::start("--quiet --mode broker");
    let (over_v4, over_v6) = (dial(&server.v4()), dial(&server.v6()));
    meet(&[&over_v4, &over_v6]);
    (&over_v6).write_all(b"over v6").unwrap();
    assert_eq!(read_exactly(&over_v4, 7), b"over v6");
}

#[test]
fn a_chat_names_who_speaks_and_announces_who_comes_and_goes() {
    for place in Place::ALL {
        let spot = Spot::new(*place);
        let server = spot.serve("--quiet --mode chat");
        let ada = comes(&spot.of(&server), 1);
        let bob = comes(&spot.of(&server), 2);
        assert!(said(&ada).ends_with(" is connected as <user2>."));
        (&bob).write_all(b"hello\r\nhow are").unwrap();
        assert_eq!(said(&ada), "<user2> hello");
        (&ada).write_all("fine, ü\n".as_bytes()).unwrap();
        assert_eq!(said(&bob), "<user1> fine, ü");
        // What is no whole line yet becomes one when nothing can follow.
        bob.shutdown(Shutdown::Write).unwrap();
        assert_eq!(said(&ada), "<user2> how are");
        assert_eq!(said(&ada), "<announce> <user2> is disconnected.");
        assert_eq!(read_to_end(&bob), b"");
    }
}

#[test]
fn nobody_drives_the_terminal_of_another() {
    let server = Server::start("-4 --quiet --mode chat");
    let (ada, bob) = (comes(&server.v4(), 1), comes(&server.v4(), 2));
    said(&ada);
    (&bob).write_all(b"\x1b]0;title\x07\r<user1> I owe you\x9b2J\xff\n").unwrap();
    assert_eq!(said(&ada), r"<user2> \u{1b}]0;title\u{7}\r<user1> I owe you\x9b2J\xff");
}

#[test]
fn who_finishes_is_sent_what_waits_for_it() {
    let server = Server::start("-4 --quiet --mode broker");
    let (sender, reader) = (dial(&server.v4()), dial(&server.v4()));
    meet(&[&sender, &reader]);
    (&sender).write_all(&pattern(500_000)).unwrap();
    let beginning = read_exactly(&reader, 1);
    reader.shutdown(Shutdown::Write).unwrap();
    let rest = read_to_end(&reader);
    let all = [beginning, rest].concat();
    assert!(!all.is_empty() && pattern(500_000).starts_with(&all));
    // The room goes on without it.
    let next = dial(&server.v4());
    meet(&[&next, &sender]);
}

/// 100 MB go past somebody who does not read.
#[cfg(target_os = "linux")]
#[test]
fn who_does_not_read_is_dropped_and_costs_little() {
    use crate::harness::{growth_kib, held_kib, patient};
    let mut server = Server::start("-4 --json --mode broker");
    let (sender, reader, stalled) = (dial(&server.v4()), dial(&server.v4()), patient(dial(&server.v4())));
    let stalled_name = stalled.local_addr().unwrap().as_socket().unwrap().to_string();
    meet(&[&sender, &reader, &stalled]);
    let (before, mut most_kib) = (held_kib(server.pid()), 0);
    let block = pattern(1_000_000);
    thread::scope(|scope| {
        scope.spawn(|| (0..100).for_each(|_| (&sender).write_all(&block).unwrap()));
        for _ in 0..100 {
            assert!(read_exactly(&reader, block.len()) == block);
            most_kib = most_kib.max(growth_kib(server.pid(), before));
        }
    });
    // Two queues of a mebibyte, a block for each thread, and what the allocator keeps: no tenth of what has passed.
    assert!(most_kib < 10_000, "it grew by {most_kib} KiB");
    let closed = loop {
        let event: serde_json::Value = serde_json::from_str(&server.line()).expect("an event");
        if event["event"] == "closed" {
            break event;
        }
    };
    assert_eq!((&closed["how"], &closed["peer"]), (&"too_slow".into(), &stalled_name.into()));
    let mut block = vec![0; 1 << 20];
    let end = std::iter::repeat_with(|| (&stalled).read(&mut block)).find(|end| !matches!(end, Ok(1..)));
    assert_eq!(end.unwrap().unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_room() {
    for mode in ["broker", "chat"] {
        let server = Server::start(&format!("-4 --mode {mode}"));
        let peers = [(); 3].map(|()| dial(&server.v4()));
        if mode == "broker" {
            meet(&[&peers[0], &peers[1], &peers[2]]);
        }
        let ended = server.end(Signal::Terminate);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(!ended.stderr.contains("cut off"), "{}", ended.stderr);
        for peer in &peers {
            read_to_end(peer);
        }
    }
}

/// ncat's own clients, in a room as in one of its own.
#[cfg(unix)]
#[test]
fn ncats_clients_talk_to_each_other() {
    use std::process::{Command, Stdio};

    use crate::harness::{Lines, Owned, has};
    if !has("ncat") {
        return;
    }
    let server = Server::start("-4 --quiet --mode chat");
    let client = || {
        let mut command = Command::new("ncat");
        command.args(["127.0.0.1", &server.port().to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Owned(command.spawn().expect("it is installed"));
        let mut said = Lines::of(child.0.stdout.take().expect("a pipe"));
        said.wait_for(" is connected as ");
        (child, said)
    };
    let ((mut ada, mut to_ada), (_bob, mut to_bob)) = (client(), client());
    to_ada.wait_for("is connected as <user2>.\n");
    ada.0.stdin.take().expect("a pipe").write_all(b"hello\n").unwrap();
    to_bob.wait_for("<user1> hello\n<announce> <user1> is disconnected.\n");
}
