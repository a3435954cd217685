//! Every kind of stdin with every flag that decides what becomes of it: what the peer hears, and what is printed.

use std::io::Write;
use std::net::UdpSocket;
use std::thread;

use super::datagram_peer;
use super::directions::stays_quiet;
use crate::harness::{Finished, Peer, Place, Run, SOCKKIT, has, read_exactly, read_to_end};

/// What stdin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Pipe,
    File,
    Terminal,
    Null,
    Closed,
}

impl Input {
    /// Those that there are here: `script` gives a terminal.
    fn all() -> Vec<Input> {
        let mut all = vec![Input::Pipe, Input::File, Input::Null, Input::Closed];
        if cfg!(target_os = "linux") && has("script") {
            all.push(Input::Terminal);
        }
        all
    }

    /// What it gives until its end.
    fn says(self) -> &'static [u8] {
        match self {
            Input::Pipe | Input::File | Input::Terminal => b"hello\n",
            Input::Null | Input::Closed => b"",
        }
    }

    /// `connect` with these words, and with it.
    fn connect(self, words: &str) -> Finished {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("input"), self.says()).unwrap();
        let redirection = match self {
            Input::Pipe | Input::Terminal => String::new(),
            Input::File => format!("< {}", path("input").display()),
            Input::Null => "< /dev/null".to_owned(),
            Input::Closed => "<&-".to_owned(),
        };
        let (out, err) = (path("out"), path("err"));
        let line = format!("exec {SOCKKIT} connect {words} {redirection} > {} 2> {}", out.display(), err.display());
        let (run, _stays_open) = match self {
            Input::Terminal => {
                // ^D is the end of what is typed. At the end of its own input script would wait for the terminal.
                let (typed, mut keyboard) = std::io::pipe().unwrap();
                keyboard.write_all(&[self.says(), b"\x04"].concat()).unwrap();
                let run = Run::program("script").args(["-qec", &line, "/dev/null"]).stdin_from(typed);
                (run, Some(keyboard))
            }
            _ => (Run::program("sh").args(["-c", &line]).stdin(self.says()), None),
        };
        let code = run.finish().code;
        Finished { stdout: std::fs::read(out).unwrap(), stderr: std::fs::read_to_string(err).unwrap(), code }
    }
}

/// What the peer hears of it before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// All, and its end.
    WithItsEnd,
    /// All, and no end.
    WithoutItsEnd,
    Nothing,
}

#[test]
fn a_stream_has_what_stdin_gives() {
    for (flags, heard, printed) in [
        ("", Heard::WithItsEnd, "answer\n"),
        ("-N", Heard::WithItsEnd, "answer\n"),
        ("-q 60", Heard::WithItsEnd, "answer\n"),
        ("-k", Heard::WithItsEnd, "answer\n"),
        ("--no-shutdown", Heard::WithoutItsEnd, "answer\n"),
        ("-d", Heard::Nothing, "answer\n"),
        ("--recv-only", Heard::Nothing, "answer\n"),
        ("--send-only", Heard::WithItsEnd, ""),
    ] {
        let meet = |place: Place, input: Input| {
            let peer = Peer::start(place, move |mut peer| {
                match heard {
                    Heard::WithItsEnd => assert_eq!(read_to_end(&peer), input.says(), "{flags} {input:?}"),
                    Heard::WithoutItsEnd => assert_eq!(read_exactly(&peer, input.says().len()), input.says()),
                    Heard::Nothing => {}
                }
                if heard != Heard::WithItsEnd {
                    stays_quiet(&peer);
                }
                // Whoever only sends may have left.
                let _ = peer.write_all(b"answer\n");
            });
            let finished = input.connect(&format!("{flags} {}", peer.address));
            peer.finish();
            let came = (finished.code, finished.stderr.as_str(), String::from_utf8_lossy(&finished.stdout));
            assert_eq!(came, (0, "", printed.into()), "{flags} {place:?} {input:?}");
        };
        thread::scope(|scope| {
            for input in Input::all() {
                scope.spawn(move || Place::ALL.iter().for_each(|place| meet(*place, input)));
            }
        });
    }
}

/// Of nothing there is no datagram, and so no answer.
#[test]
fn datagrams_have_what_stdin_gives() {
    let meet = |flags: &str, is_heard: bool, is_answered: bool, input: Input| {
        let (peer, address) = datagram_peer();
        let is_heard = is_heard && !input.says().is_empty();
        thread::scope(|scope| {
            let client = scope.spawn(|| input.connect(&format!("-u {flags} {address}")));
            if is_heard {
                answer(&peer, input.says());
            }
            let finished = client.join().unwrap();
            let printed = if is_heard && is_answered { "answer\n" } else { "" };
            let came = (finished.code, finished.stderr.as_str(), String::from_utf8_lossy(&finished.stdout));
            assert_eq!(came, (0, "", printed.into()), "{flags} {input:?}");
        });
        peer.set_nonblocking(true).unwrap();
        assert!(peer.recv(&mut [0; 8]).is_err(), "{flags} {input:?}: no more than that");
    };
    thread::scope(|scope| {
        for (flags, is_heard, is_answered) in [
            ("-q 2", true, true),
            ("-N -q 2", true, true),
            ("--no-shutdown -q 2", true, true),
            ("-d -q 0.1", false, false),
            ("--recv-only -q 0.1", false, false),
            ("--send-only", true, false),
        ] {
            for input in Input::all() {
                scope.spawn(move || meet(flags, is_heard, is_answered, input));
            }
        }
    });
}

#[track_caller]
fn answer(peer: &UdpSocket, expected: &[u8]) {
    let mut datagram = [0; 100];
    let (length, from) = peer.recv_from(&mut datagram).unwrap();
    assert_eq!(&datagram[..length], expected);
    peer.send_to(b"answer\n", from).unwrap();
}
