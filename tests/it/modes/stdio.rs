//! `serve --stdio`: stdin and stdout joined to whoever comes.
//!
//! | what netcat's users complain of | test |
//! |---|---|
//! | a reset is silent, with status 0 | `a_reset_is_the_status_of_the_one_connection` |
//! | the tail of a file is lost, or the transfer never ends | `a_file_arrives_whole_and_both_end` |
//! | the reply to stdin's end is lost | `a_reply_that_waits_for_the_end_arrives` |
//! | the listening port is not told without -v, or is 0 | every one: they wait for it |
//! | a second client waits unseen, or lines are mixed | `lines_of_several_peers_are_told_apart` |
//! | clients that come after stdin's end are each treated otherwise | `every_peer_finds_stdins_end_alike` |
//! | a client that leaves ends the server | `one_peers_end_is_not_the_servers` |
//! | an idle timeout for all, or none | `an_idle_peer_is_given_up` |
//! | a listener waits for ever | `nobody_comes` |
//! | a datagram without bytes ends the server | `an_empty_datagram_is_no_end` |
//! | only the first datagram peer is heard | `datagrams_are_answered_to_the_last_who_sent_one` |
//! | stdin's end ends a datagram server | the same |
//! | a full or closed stdout panics or loops | `a_full_stdout_is_said_and_a_closed_one_is_not` |

use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use socket2::Socket;

use super::{ask, datagrams_to};
use crate::harness::{
    DEADLINE, Finished, Lines, Owned, Place, Run, SOCKKIT, Signal, code_of, dial, exchange, has, kill, mask, pattern,
    read_exactly, read_to_end, unread_pipe,
};

/// `serve --stdio`, listening; it tells so on stderr.
struct Joined {
    child: Owned,
    stdin: Option<ChildStdin>,
    told: Lines,
    /// What came on stdout, once it is looked at.
    blocks: Option<Receiver<Vec<u8>>>,
    printed: Vec<u8>,
    address: String,
}

impl Joined {
    #[track_caller]
    fn start(words: &str) -> Joined {
        Joined::with(words, Stdio::piped())
    }

    #[track_caller]
    fn with(words: &str, stdout: Stdio) -> Joined {
        let mut command = Command::new(SOCKKIT);
        command.args(["serve", "--stdio"]).args(words.split_whitespace()).env("LC_ALL", "C");
        let mut child: Child = command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let mut told = Lines::of(child.stderr.take().unwrap());
        let stdin = child.stdin.take();
        let child = Owned(child);
        let line = told.next();
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(" (").next());
        let address = address.unwrap_or_else(|| panic!("{line}")).trim_start_matches("unix:").to_owned();
        assert!(line.ends_with("), stdio\n"), "{line}");
        Joined { child, stdin, told, blocks: None, printed: Vec::new(), address }
    }

    /// In a place of its own.
    fn at(place: Place, words: &str) -> (Joined, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let at = match place {
            Place::Tcp => "127.0.0.1:0".to_owned(),
            Place::Unix => format!("-U {}", folder.path().join("socket").display()),
        };
        (Joined::start(&format!("{words} {at}")), folder)
    }

    fn says(&mut self, text: &str) {
        self.stdin.as_mut().expect("it is open").write_all(text.as_bytes()).unwrap();
    }

    /// What is next on its stdout.
    #[track_caller]
    fn prints(&mut self, expected: &str) {
        let stdout = &mut self.child.0.stdout;
        let blocks = self.blocks.get_or_insert_with(|| blocks_of(stdout.take().expect("it is a pipe")));
        while self.printed.len() < expected.len() {
            let block = blocks.recv_timeout(DEADLINE);
            self.printed.extend(block.unwrap_or_else(|_| panic!("no {expected:?} after {:?}", self.printed)));
        }
        let rest = self.printed.split_off(expected.len());
        assert_eq!(String::from_utf8_lossy(&std::mem::replace(&mut self.printed, rest)), expected);
    }

    /// Its end; stdin stays open until then unless it was taken.
    #[track_caller]
    fn finish(mut self) -> Finished {
        let blocks = self.child.0.stdout.take().map(blocks_of).or(self.blocks.take());
        let code = code_of(self.child.wait("serve --stdio"));
        let rest = blocks.into_iter().flatten().flatten();
        Finished { stdout: self.printed.into_iter().chain(rest).collect(), stderr: self.told.all(), code }
    }
}

/// What comes, as it comes.
fn blocks_of(mut stdout: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, blocks) = mpsc::channel();
    thread::spawn(move || {
        let mut block = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = stdout.read(&mut block) {
            // A test that has ended does not listen any more.
            let _ = sender.send(block[..count].to_vec());
        }
    });
    blocks
}

/// As the peer knows itself.
fn name_of(peer: &Socket) -> String {
    peer.local_addr().unwrap().as_socket().unwrap().to_string()
}

#[test]
fn what_is_typed_goes_to_the_peer_and_what_it_says_is_printed() {
    for place in Place::ALL {
        let (mut joined, _folder) = Joined::at(*place, "--once");
        let mut peer = dial(&joined.address);
        joined.says("question\n");
        assert_eq!(read_exactly(&peer, 9), b"question\n");
        // A prompt has no line end.
        peer.write_all(b"answer> ").unwrap();
        joined.prints("answer> ");
        drop(joined.stdin.take());
        assert_eq!(read_to_end(&peer), b"", "stdin's end is the stream's");
        peer.write_all(b"more").unwrap();
        drop(peer);
        let finished = joined.finish();
        assert_eq!((finished.code, finished.stdout.as_slice()), (0, &b"more"[..]));
        assert!(finished.stderr.contains(" closed by peer after "), "{}", finished.stderr);
        assert!(
            mask(&finished.stderr).contains("served 1 connection in TIME; in 12 B, out 9 B"),
            "{}",
            finished.stderr
        );
    }
}

#[test]
fn a_file_arrives_whole_and_both_end() {
    let sent = pattern(20 << 20);
    for place in Place::ALL {
        let (mut joined, _folder) = Joined::at(*place, "--once --quiet");
        let stdout = joined.child.0.stdout.take().unwrap();
        let mut printed = Vec::new();
        let received = thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut stdout = stdout;
                stdout.read_to_end(&mut printed).unwrap();
            });
            let mut stdin = joined.stdin.take().unwrap();
            scope.spawn(|| {
                stdin.write_all(&sent).unwrap();
                drop(stdin);
            });
            let received = exchange(&dial(&joined.address), &sent);
            reading.join().unwrap();
            received
        });
        assert!(received == sent && printed == sent, "{place:?}: {} and {}", received.len(), printed.len());
        assert_eq!(joined.finish().code, 0);
    }
}

#[test]
fn a_reply_that_waits_for_the_end_arrives() {
    let mut joined = Joined::start("--once --quiet 127.0.0.1:0");
    let mut peer = dial(&joined.address);
    joined.says("request");
    drop(joined.stdin.take());
    assert_eq!(read_to_end(&peer), b"request");
    peer.write_all(b"reply").unwrap();
    drop(peer);
    assert_eq!(joined.finish().stdout, b"reply");
}

#[test]
fn a_reset_is_the_status_of_the_one_connection() {
    let joined = Joined::start("--once 127.0.0.1:0");
    let mut peer = dial(&joined.address);
    peer.write_all(b"hello").unwrap();
    peer.set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    let finished = joined.finish();
    let last = mask(finished.stderr.lines().last().unwrap());
    let beginning =
        "sockkit: receive 127.0.0.1:PORT (tcp) failed after TIME: Connection reset by peer (ECONNRESET, 104); ";
    assert!(last.starts_with(beginning), "{last}");
    assert_eq!(finished.code, 1);
}

#[test]
fn one_peers_end_is_not_the_servers() {
    let mut joined = Joined::start("127.0.0.1:0");
    for round in 0..3 {
        let mut peer = dial(&joined.address);
        if round == 1 {
            peer.set_linger(Some(Duration::ZERO)).unwrap();
        }
        peer.write_all(b"hello\n").unwrap();
        joined.prints("hello\n");
        let name = name_of(&peer);
        drop(peer);
        joined.told.wait_for(&format!("{name} "));
    }
    // What is typed meanwhile is for the next who comes.
    joined.says("who is there?\n");
    let peer = dial(&joined.address);
    assert_eq!(read_exactly(&peer, 14), b"who is there?\n");
    kill(joined.child.0.id(), Signal::Terminate);
    assert_eq!(read_to_end(&peer), b"");
    assert_eq!(joined.finish().code, 0);
}

#[test]
fn lines_of_several_peers_are_told_apart() {
    let mut joined = Joined::start("127.0.0.1:0");
    let mut first = dial(&joined.address);
    first.write_all(b"alone\n").unwrap();
    joined.prints("alone\n");
    let mut second = dial(&joined.address);
    second.write_all(b"here\nhel").unwrap();
    joined.prints(&format!("[#2 {}] here\n", name_of(&second)));
    first.write_all(b"one\ntwo\n").unwrap();
    let name = name_of(&first);
    joined.prints(&format!("[#1 {name}] one\n[#1 {name}] two\n"));
    second.write_all(b"lo\n").unwrap();
    joined.prints(&format!("[#2 {}] hello\n", name_of(&second)));
    joined.says("to all\n");
    for peer in [&first, &second] {
        assert_eq!(read_exactly(peer, 7), b"to all\n");
    }
}

#[test]
fn every_peer_finds_stdins_end_alike() {
    let mut joined = Joined::start("127.0.0.1:0");
    drop(joined.stdin.take());
    for _ in 0..3 {
        let mut peer = dial(&joined.address);
        assert_eq!(read_to_end(&peer), b"");
        peer.write_all(b"hello").unwrap();
        joined.prints("hello");
        let name = name_of(&peer);
        drop(peer);
        // Two that are there at once are told apart.
        joined.told.wait_for(&format!("{name} closed"));
    }
    kill(joined.child.0.id(), Signal::Interrupt);
    assert_eq!(joined.finish().code, 0);
}

#[test]
fn without_a_half_close_the_peer_is_not_told_of_stdins_end() {
    let mut joined = Joined::start("--once --no-shutdown --quiet 127.0.0.1:0");
    let mut peer = dial(&joined.address);
    joined.says("hello");
    drop(joined.stdin.take());
    assert_eq!(read_exactly(&peer, 5), b"hello");
    peer.write_all(b"still here?").unwrap();
    joined.prints("still here?");
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&peer), b"");
    assert_eq!(joined.finish().code, 0);
}

/// Each with what comes out at either end when the peer says "abc" and stdin has "one\ntwo\n".
#[test]
fn the_relays_options_are_connects() {
    for (words, peer_gets, printed) in [
        ("-C", "one\r\ntwo\r\n", "abc"),
        ("--recv-only", "", "abc"),
        ("--send-only", "one\ntwo\n", ""),
        ("-i 10ms", "one\ntwo\n", "abc"),
        ("--rate-limit 10K", "one\ntwo\n", "abc"),
        ("-q 60", "one\ntwo\n", "abc"),
    ] {
        let mut joined = Joined::start(&format!("--once --quiet {words} 127.0.0.1:0"));
        joined.says("one\ntwo\n");
        drop(joined.stdin.take());
        let came = exchange(&dial(&joined.address), b"abc");
        assert_eq!(String::from_utf8_lossy(&came), peer_gets, "{words}");
        let finished = joined.finish();
        let came = String::from_utf8_lossy(&finished.stdout).into_owned();
        assert_eq!(
            (finished.code, came.as_str(), finished.stderr.as_str()),
            (0, printed, finished.stderr.as_str()),
            "{words}"
        );
    }
}

#[test]
fn a_silent_peer_is_left_after_a_while_if_so_wished() {
    let mut joined = Joined::start("--once -q 50ms 127.0.0.1:0");
    let peer = dial(&joined.address);
    drop(joined.stdin.take());
    let finished = joined.finish();
    assert_eq!(finished.code, 0);
    assert!(finished.stderr.contains(" closed after "), "{}", finished.stderr);
    assert_eq!(read_to_end(&peer), b"");
}

#[test]
fn an_idle_peer_is_given_up() {
    let joined = Joined::start("--once -W 50ms 127.0.0.1:0");
    let peer = dial(&joined.address);
    let finished = joined.finish();
    assert_eq!(finished.code, 124, "{}", finished.stderr);
    let last = mask(finished.stderr.lines().last().unwrap());
    let expected = "sockkit: receive 127.0.0.1:PORT (tcp) failed after TIME: nothing came or went within the idle timeout \
                    (ETIMEDOUT, 110); 0 bytes received, 0 sent";
    assert_eq!(last, expected);
    drop(peer);
    // Where there may be others, one that is idle is no failure.
    let mut joined = Joined::start("-W 50ms 127.0.0.1:0");
    assert_eq!(read_to_end(&dial(&joined.address)), b"");
    joined.told.wait_for(" after ");
    kill(joined.child.0.id(), Signal::Terminate);
    assert_eq!(joined.finish().code, 0);
}

#[test]
fn nobody_comes() {
    for transport in ["", "-u"] {
        let finished = Joined::start(&format!("--once -w 50ms {transport} 127.0.0.1:0")).finish();
        assert_eq!(finished.code, 124, "{}", finished.stderr);
    }
}

#[test]
fn what_passes_is_shown_and_saved() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("came");
    let mut joined = Joined::start(&format!("--once -x -o {} 127.0.0.1:0", file.display()));
    let mut peer = dial(&joined.address);
    joined.says("ping\n");
    assert_eq!(read_exactly(&peer, 5), b"ping\n");
    peer.write_all(b"pong\n").unwrap();
    joined.prints("pong\n");
    drop(peer);
    let finished = joined.finish();
    assert_eq!(std::fs::read(&file).unwrap(), b"pong\n");
    let told = mask(&finished.stderr);
    for line in [
        "#1 127.0.0.1:PORT > TIME, 5 bytes at 0\n00000000  70 69 6e 67 0a ",
        "#1 127.0.0.1:PORT < TIME, 5 bytes at 0\n00000000  70 6f 6e 67 0a ",
    ] {
        assert!(told.contains(line), "{told}");
    }
}

#[test]
fn datagrams_are_answered_to_the_last_who_sent_one() {
    let mut joined = Joined::start("-u 127.0.0.1:0");
    // It waits for somebody.
    joined.says("first\n");
    let (one, two) = (datagrams_to(&joined.address), datagrams_to(&joined.address));
    assert_eq!(ask(&one, b"hello\n"), b"first\n");
    joined.prints("hello\n");
    two.send(b"and\nI").unwrap();
    let name = two.local_addr().unwrap();
    joined.prints(&format!("[{name}] and\n[{name}] I\n"));
    joined.says("second\n");
    assert_eq!(ask(&two, b""), b"second\n");
    drop(joined.stdin.take());
    one.send(b"still there?\n").unwrap();
    joined.prints(&format!("[{}] still there?\n", one.local_addr().unwrap()));
    kill(joined.child.0.id(), Signal::Terminate);
    let finished = joined.finish();
    let summary = "served 4 datagrams in TIME; in 24 B, out 13 B";
    assert_eq!((finished.code, mask(&finished.stderr).lines().last()), (0, Some(summary)));
}

#[test]
fn an_empty_datagram_is_no_end() {
    let mut joined = Joined::start("-u -v 127.0.0.1:0");
    let peer = datagrams_to(&joined.address);
    peer.send(b"").unwrap();
    joined.told.wait_for(": 0 bytes");
    peer.send(b"hello").unwrap();
    joined.prints("hello");
}

#[test]
fn one_datagram_conversation_ends_in_silence() {
    for (words, datagram_is_printed) in [("-q 100ms", true), ("--send-only", false), ("--recv-only -q 100ms", true)] {
        let mut joined = Joined::start(&format!("-u --once {words} 127.0.0.1:0"));
        joined.says("hi");
        drop(joined.stdin.take());
        let peer = datagrams_to(&joined.address);
        peer.send(b"hello").unwrap();
        let finished = joined.finish();
        let printed = if datagram_is_printed { &b"hello"[..] } else { b"" };
        assert_eq!((finished.code, finished.stdout.as_slice()), (0, printed), "{words}: {}", finished.stderr);
    }
}

#[test]
fn a_full_stdout_is_said_and_a_closed_one_is_not() {
    let ended_with = |stdout: Stdio| {
        let joined = Joined::with("127.0.0.1:0", stdout);
        dial(&joined.address).write_all(b"hello").unwrap();
        joined.finish()
    };
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    if let Ok(full) = full {
        let finished = ended_with(full.into());
        let last = finished.stderr.lines().last().unwrap().to_owned();
        assert_eq!(
            (finished.code, last.as_str()),
            (4, "sockkit: write stdout failed: No space left on device (ENOSPC, 28)")
        );
    }
    let finished = ended_with(unread_pipe().into());
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert!(!finished.stderr.contains("sockkit: "), "{}", finished.stderr);
}

/// netcat's idioms, with `serve --stdio` in nc's place: `-l` and all.
#[test]
fn netcats_clients_meet_it_as_they_meet_nc() {
    for (program, flags) in [("nc", &["-N"][..]), ("ncat", &[]), ("socat", &["-", "TCP"])] {
        if !has(program) {
            continue;
        }
        for words in ["-l --once -p 0 -s 127.0.0.1", "-lv1 127.0.0.1 0"] {
            let mut joined = Joined::start(words);
            joined.says("from the server\n");
            drop(joined.stdin.take());
            let target = joined.address.clone();
            let (host, port) = target.rsplit_once(':').unwrap();
            let run = Run::program(program).stdin("from the client\n");
            let run = match flags {
                ["-", "TCP"] => run.args(["-t60", "-", &format!("TCP:{target}")]),
                flags => run.args(flags).args([host, port]),
            };
            run.stdout("from the server\n").check();
            let finished = joined.finish();
            assert_eq!((finished.code, finished.stdout.as_slice()), (0, &b"from the client\n"[..]), "{program}");
        }
    }
}
