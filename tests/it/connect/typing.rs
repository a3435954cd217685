//! Lines that are typed at a terminal: edited there, while the peer talks. `script` gives it a terminal.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use socket2::Socket;

use crate::harness::{Owned, Peer, Place, SOCKKIT, has, read_exactly, read_to_end};

/// `sockkit connect` with more words at a terminal, and then what the terminal's modes are.
struct AtTerminal {
    child: Owned,
    keyboard: ChildStdin,
    screen: ChildStdout,
    /// What has been shown so far.
    shown: String,
}

impl AtTerminal {
    fn start(words: &str) -> AtTerminal {
        let modes = "stty -a | tr ' ' '\\n' | grep -x -e '-\\?icanon' -e '-\\?echo'";
        let line = format!("trap '' INT; {SOCKKIT} connect {words}; echo status $? $({modes})");
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env("LC_ALL", "C");
        let mut child: Child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keyboard, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        AtTerminal { child: Owned(child), keyboard, screen, shown: String::new() }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the terminal has been sent this, after what was waited for before.
    #[track_caller]
    fn sees(&mut self, text: &str) {
        let mut block = [0; 1000];
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return;
            }
            let count = self.screen.read(&mut block).unwrap();
            assert!(count > 0, "no {text:?} in {:?}", self.shown);
            self.shown += &String::from_utf8_lossy(&block[..count]);
        }
    }

    /// Its end: the status, and a terminal that is as it was.
    #[track_caller]
    fn ends_with(mut self, status: i32) {
        self.sees(&format!("status {status} icanon echo\r\n"));
        self.child.wait("script");
    }
}

/// One that sends a prompt and then echoes.
fn echo_after_prompt(peer: Socket) -> Vec<u8> {
    (&peer).write_all(b"login: ").unwrap();
    read_to_end(&peer)
}

#[test]
fn a_line_can_be_edited_before_it_is_sent() {
    if !has("script") {
        return;
    }
    let peer = Peer::start(Place::Tcp, echo_after_prompt);
    let mut terminal = AtTerminal::start(&peer.address);
    terminal.sees("login: ");
    terminal.press("helo");
    terminal.sees("\rlogin: helo\x1b[K\r\x1b[11C");
    terminal.press("\x1b[Dl\r");
    terminal.sees("\rlogin: hello\x1b[K\r\n");
    // The last line again, and something in front of it.
    terminal.press("\x1b[A\x01oh \n");
    terminal.sees("\roh hello\x1b[K\r\n");
    terminal.press("\x04");
    terminal.ends_with(0);
    assert_eq!(peer.finish(), b"hello\noh hello\n");
}

#[test]
fn what_the_peer_says_meanwhile_is_put_before_the_line() {
    if !has("script") {
        return;
    }
    let peer = Peer::start(Place::Tcp, |mut peer| {
        peer.write_all(b"> ").unwrap();
        assert_eq!(read_exactly(&peer, 2), b"?\n");
        // It speaks only when the next line has been begun, which the test says by closing this.
        peer
    });
    let mut terminal = AtTerminal::start(&peer.address);
    terminal.sees("> ");
    terminal.press("?\n");
    terminal.sees("\r> ?\x1b[K\r\n");
    let mut peer = peer.finish();
    terminal.press("half");
    terminal.sees("\rhalf\x1b[K\r\x1b[4C");
    peer.write_all(b"news\x07\n# ").unwrap();
    terminal.sees("\r\x1b[Knews\\u{7}\r\n# \r# half\x1b[K\r\x1b[6C");
    terminal.press(" way\n");
    terminal.sees("\r# half way\x1b[K\r\n");
    assert_eq!(read_exactly(&peer, 9), b"half way\n");
    // A line that was begun stays to be seen when the peer ends it.
    terminal.press("late");
    terminal.sees("\rlate\x1b[K\r\x1b[4C");
    drop(peer);
    terminal.sees("\n");
    terminal.ends_with(0);
}

#[test]
fn an_interrupt_gives_the_terminal_back() {
    if !has("script") {
        return;
    }
    let peer = Peer::start(Place::Tcp, echo_after_prompt);
    let mut terminal = AtTerminal::start(&format!("-v {}", peer.address));
    terminal.sees("login: ");
    terminal.press("ro");
    terminal.sees("\rlogin: ro\x1b[K");
    terminal.press("\x03");
    terminal.sees("closed by us at signal 2 ");
    terminal.ends_with(130);
    assert_eq!(peer.finish(), b"");
}

/// The terminal's own echo and line.
#[test]
fn with_raw_the_terminal_is_left_alone() {
    if !has("script") {
        return;
    }
    let peer = Peer::start(Place::Tcp, echo_after_prompt);
    let mut terminal = AtTerminal::start(&format!("--raw {}", peer.address));
    terminal.sees("login: ");
    terminal.press("root\n");
    terminal.sees("root\r\n");
    terminal.press("\x04");
    terminal.ends_with(0);
    assert_eq!(peer.finish(), b"root\n");
}
