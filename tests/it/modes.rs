//! `sockkit serve --mode`: what a server does with those who come.

#[cfg(all(unix, feature = "exec"))]
mod exec;
mod forward;
#[cfg(all(unix, feature = "exec"))]
mod piped;
mod room;
mod speaking;
#[cfg(unix)]
mod stdio;

use std::net::UdpSocket;

use crate::harness::{DEADLINE, Place, Run, Server};

/// Somewhere to serve: the words for it, and how to reach it.
struct Spot {
    words: String,
    path: Option<String>,
    _folder: tempfile::TempDir,
}

impl Spot {
    fn new(place: Place) -> Spot {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket").to_str().expect("temporary folders have plain names").to_owned();
        match place {
            Place::Tcp => Spot { words: "-4 -p 0".to_owned(), path: None, _folder: folder },
            Place::Unix => Spot { words: format!("-U {path}"), path: Some(path), _folder: folder },
        }
    }

    /// A server there, with more words.
    #[track_caller]
    fn serve(&self, words: &str) -> Server {
        Server::start_with(&format!("{} {words}", self.words), 1)
    }

    /// As a test's own socket takes it.
    fn of(&self, server: &Server) -> String {
        self.path.clone().unwrap_or_else(|| server.v4())
    }
}

/// A plain socket that talks to a server on loopback.
fn datagrams_to(address: &str) -> UdpSocket {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.connect(address).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer
}

/// What a datagram is answered with.
#[track_caller]
fn ask(peer: &UdpSocket, datagram: &[u8]) -> Vec<u8> {
    peer.send(datagram).unwrap();
    let mut answer = vec![0; 70_000];
    let length = peer.recv(&mut answer).expect("an answer");
    answer.truncate(length);
    answer
}

#[test]
fn what_cannot_be_served_is_refused_before_anything_is_bound() {
    let ecko = Run::sockkit("serve -p 0 --mode ecko").finish();
    let beginning = "sockkit: invalid value 'ecko' for '--mode <MODE>': the modes are echo, discard, chargen, ";
    assert!(ecko.code == 2 && ecko.stderr.starts_with(beginning), "{}", ecko.stderr);
    for (words, message) in [
        ("-p 0 -q 1", "-q is for stdin and stdout, which are joined to peers by --stdio"),
        ("-p 0 --no-shutdown", "--no-shutdown is for stdin and stdout, which are joined to peers by --stdio"),
        ("-p 0 --stdio --max-bytes 1", "--max-bytes is not for --stdio: `| head -c` limits what comes out of it"),
        ("-p 0 --stdio -F close", "fault rules are not for --stdio: connect -F has them at the other end"),
        ("-p 0 --stdio --mode echo", "the argument '--stdio' cannot be used with '--mode <MODE>'"),
        ("-p 0 --mode echo=1", "invalid value 'echo=1' for '--mode <MODE>': echo has no value"),
        (
            "-p 0 --mode send=@/no/such/file",
            "invalid value 'send=@/no/such/file' for '--mode <MODE>': open /no/such/file failed: No such file or directory (ENOENT, 2)",
        ),
        (
            "-u -p 0 --mode broker",
            "--mode broker is not for udp: a sender of datagrams neither comes nor goes, so nobody is there",
        ),
        (
            "-u -p 0 --mode banner=hi",
            "--mode banner is not for udp: datagrams have no beginning: send= answers each of them",
        ),
        (
            "-uU socket --mode banner=hi",
            "--mode banner is not for unix datagram: datagrams have no beginning: send= answers each of them",
        ),
    ] {
        Run::sockkit(&format!("serve {words}")).stderr(&format!("sockkit: {message}\n")).code(2).check();
    }
}

/// The modes are in the listening lines, which scripts wait for.
#[test]
fn the_listening_line_names_the_mode() {
    for (mode, word) in [("chargen", "chargen"), ("send=hello", "send"), ("banner=220", "banner"), ("time", "time")] {
        let server = Server::start(&format!("-4 --mode {mode}"));
        assert!(server.listening[0].ends_with(&format!(" (tcp), {word}")), "{:?}", server.listening);
        let server = Server::start(&format!("-4 --json --mode {mode}"));
        assert!(server.listening[0].contains(&format!(r#""mode":"{word}""#)), "{:?}", server.listening);
    }
}
