//! Lines that are typed at a terminal: tmux is the terminal, and tells what it shows.

use std::io::Write;
use std::process::Command;

use serde_json::Value;
use socket2::Socket;

use crate::harness::{Peer, Place, Run, SOCKKIT, Server, has, mask, pattern, read_exactly, read_to_end, until};

/// A terminal of 40 columns, in which a shell's command runs.
struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    /// `sockkit connect` with these words, and then its status, until somebody presses Enter.
    fn connect(words: &str) -> Terminal {
        Terminal::run(&format!("{SOCKKIT} connect {words}; echo \"status $?\"; read -r end"))
    }

    fn run(command: &str) -> Terminal {
        let terminal = Terminal { folder: tempfile::tempdir().unwrap() };
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "40", "-y", "12", command]);
        terminal
    }

    /// What tmux says to these words.
    fn tmux(&self, words: &[&str]) -> String {
        let socket = self.folder.path().join("tmux");
        let mut command = Command::new("tmux");
        command.arg("-S").arg(socket).args(words).env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR").env_remove("TMUX");
        let came = command.output().expect("tmux is there");
        assert!(came.status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&came.stderr));
        String::from_utf8(came.stdout).expect("text")
    }

    /// Presses keys, by tmux's names for them; other words are typed.
    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// What is shown, the ports masked, without the rows that are empty at the end.
    fn shown(&self) -> String {
        mask(&self.tmux(&["capture-pane", "-p"])).trim_end().to_owned()
    }

    /// Waits until this is shown, and nothing else.
    #[track_caller]
    fn shows(&self, expected: &str) {
        let mut shown = String::new();
        let is_it = || {
            shown = self.shown();
            shown == expected
        };
        // Told at last, so that a failure shows what there was instead.
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| until("the screen", is_it)));
        assert!(found.is_ok(), "expected\n{expected}\nshown\n{shown}");
    }

    /// Waits until its driver leaves each key to the program: until then what is typed is shown by both.
    fn takes_keys(&self) {
        until("it takes keys", || self.has_setting("-icanon"));
    }

    /// How the terminal's driver is set, as stty(1) says it.
    fn has_setting(&self, setting: &str) -> bool {
        let device = std::fs::File::open(self.tmux(&["display-message", "-p", "#{pane_tty}"]).trim_end()).unwrap();
        let came = Run::program("stty").args(["-a"]).stdin_from(device).finish();
        String::from_utf8_lossy(&came.stdout).split([' ', ';', '\n']).any(|word| word == setting)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(self.folder.path().join("tmux")).arg("kill-server").output();
    }
}

/// A peer that talks when the test wants it to.
struct Talker {
    address: String,
    socket: std::thread::JoinHandle<Socket>,
}

impl Talker {
    fn listen() -> Talker {
        let (listener, address, folder) = crate::harness::listener(Place::Tcp);
        let socket = std::thread::spawn(move || {
            let _folder = folder;
            crate::harness::patient(listener.accept().expect("somebody comes").0)
        });
        Talker { address, socket }
    }

    fn accept(self) -> Socket {
        self.socket.join().unwrap()
    }
}

/// Somebody at a terminal who talks to a peer through `connect` with these words; none without a terminal.
fn conversation(words: &str) -> Option<(Terminal, Socket)> {
    if !has("tmux") {
        return None;
    }
    let talker = Talker::listen();
    let terminal = Terminal::connect(&format!("{words} {}", talker.address));
    let peer = talker.accept();
    terminal.takes_keys();
    Some((terminal, peer))
}

#[test]
fn a_line_is_edited_before_it_is_sent_and_comes_back() {
    let Some((terminal, mut peer)) = conversation("") else { return };
    peer.write_all(b"login: ").unwrap();
    terminal.shows("login:");
    terminal.press(&["hallo", "Left", "Left", "Left", "BSpace", "e"]);
    terminal.shows("login: hello");
    assert_eq!(terminal.tmux(&["display-message", "-p", "#{cursor_x},#{cursor_y}"]).trim_end(), "9,0");
    terminal.press(&["Enter"]);
    assert_eq!(read_exactly(&peer, 6), b"hello\n");
    terminal.press(&["Up", "C-a", "Why, ", "Enter"]);
    assert_eq!(read_exactly(&peer, 11), b"Why, hello\n");
    terminal.shows("login: hello\nWhy, hello");
    // ^D is the end of the input in an empty line only.
    terminal.press(&["x", "C-a", "C-d", "C-d"]);
    assert_eq!(read_to_end(&peer), b"");
    peer.write_all(b"bye\n").unwrap();
    drop(peer);
    terminal.shows("login: hello\nWhy, hello\nbye\nstatus 0");
    assert!(terminal.has_setting("icanon"));
}

#[test]
fn what_comes_does_not_wreck_the_line() {
    let Some((terminal, mut peer)) = conversation("") else { return };
    terminal.press(&["a line that is longer than one row of the terminal"]);
    terminal.shows("a line that is longer than one row of th\ne terminal");
    peer.write_all("news:\u{20ac}\x1b[2J\n> ".as_bytes()).unwrap();
    terminal.shows("news:\u{20ac}\\u{1b}[2J\n> a line that is longer than one row of\nthe terminal");
    terminal.press(&["C-a", "C-k", "C-v", "C-b", "Tab", "!", "Enter"]);
    assert_eq!(read_exactly(&peer, 4), b"\x02\t!\n");
    terminal.shows("news:\u{20ac}\\u{1b}[2J\n> ^B^I!");
}

#[test]
fn diagnostics_stand_above_the_line_too() {
    let Some((terminal, mut peer)) = conversation("-x") else { return };
    terminal.press(&["typed"]);
    terminal.shows("typed");
    peer.write_all(b"> ").unwrap();
    // The dump is wider than the terminal; what came stands behind it.
    let end = "|> |\n> typed";
    until("the dump", || terminal.shown().ends_with(end));
    terminal.press(&["Enter"]);
    assert_eq!(read_exactly(&peer, 6), b"typed\n");
    until("the other dump", || terminal.shown().ends_with("|typed.|"));
}

#[test]
fn an_interrupt_ends_it_with_the_verdict_and_gives_the_terminal_back() {
    if !has("tmux") {
        return;
    }
    let talker = Talker::listen();
    let folder = tempfile::tempdir().unwrap();
    let verdict = folder.path().join("verdict");
    // A shell that is interrupted itself would tell no status.
    let line = format!("{SOCKKIT} connect -j {} 2> {}", talker.address, verdict.display());
    let terminal = Terminal::run(&format!("trap : INT; {line}; echo \"status $?\"; read -r end"));
    let _peer = talker.accept();
    terminal.takes_keys();
    terminal.press(&["half a line"]);
    terminal.shows("half a line");
    terminal.press(&["C-c"]);
    terminal.shows("half a line\nstatus 130");
    assert!(terminal.has_setting("icanon"));
    let told = std::fs::read_to_string(verdict).unwrap();
    let verdict: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!((&verdict["how"], &verdict["sent_bytes"]), (&"signal".into(), &0.into()));
}

#[test]
fn a_job_that_was_stopped_goes_on_where_it_was() {
    if !has("tmux") || !has("bash") {
        return;
    }
    let talker = Talker::listen();
    let terminal = Terminal::run("PS1='$ ' bash --norc --noprofile");
    terminal.press(&[&format!("{SOCKKIT} connect {}", talker.address), "Enter"]);
    let peer = talker.accept();
    terminal.takes_keys();
    terminal.press(&["hel", "C-z"]);
    until("the shell is back", || terminal.shown().contains("Stopped"));
    terminal.press(&["clear", "Enter"]);
    until("the screen is empty", || !terminal.shown().contains("Stopped"));
    terminal.press(&["fg", "Enter"]);
    until("it is back", || terminal.shown().ends_with("\nhel"));
    terminal.takes_keys();
    terminal.press(&["lo", "Enter"]);
    assert_eq!(read_exactly(&peer, 6), b"hello\n");
}

#[test]
fn nothing_is_edited_where_it_was_not_wanted_or_cannot_be() {
    if !has("tmux") {
        return;
    }
    for (variable, words) in [
        ("", "--no-editing"),
        ("", "--raw"),
        ("", "--progress"),
        ("", "-d"),
        ("TERM=dumb", ""),
        ("TERM=", ""),
        ("", "< /dev/null"),
        ("", "| cat"),
    ] {
        let peer = Peer::start(Place::Tcp, |mut peer| {
            peer.write_all(b"hello\n").unwrap();
            // It stays until the other has gone.
            read_to_end(&peer)
        });
        let terminal = Terminal::run(&format!("{variable} {SOCKKIT} connect {} {words}; cat", peer.address));
        until("it came", || terminal.shown().lines().any(|line| line == "hello"));
        assert!(terminal.has_setting("icanon"), "{variable} {words}");
        drop(terminal);
        peer.finish();
    }
}

/// Whatever comes while a bar is on the screen stays there, and the bar goes.
#[test]
fn what_comes_stands_above_the_bar() {
    if !has("tmux") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, pattern(1000)).unwrap();
    let peer = Peer::start(Place::Tcp, |mut peer| {
        // A prompt has no line end. The bar is drawn several times behind it.
        peer.write_all(b"hello\nname: ").unwrap();
        read_to_end(&peer);
        peer.write_all(b"welcome\n").unwrap();
    });
    let terminal = Terminal::connect(&format!("--progress --rate-limit 1K {} < {}", peer.address, file.display()));
    peer.finish();
    terminal.shows("hello\nname:\nwelcome\nstatus 0");
}

/// Without a terminal nothing is different: no sequence is written, whatever TERM says.
#[test]
fn pipes_know_nothing_of_it() {
    let server = Server::start("--quiet");
    Run::sockkit(&format!("connect {}", server.v4())).env("TERM", "xterm").stdin("a\x7fb\n").stdout("a\x7fb\n").check();
}
