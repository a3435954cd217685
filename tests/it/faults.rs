//! Faults on purpose, as the other end sees them: the errno, the exact bytes, and the time where it matters.
//!
//! Owns the rules' effects. Must not know how they are decided: that has its own tests. Trade-off: nothing is timed but what
//! a rule must have delayed; how much later it was is the machine's business.

#[cfg(unix)]
mod client;
#[cfg(unix)]
mod datagrams;
#[cfg(unix)]
mod door;
mod rules;
#[cfg(unix)]
mod runs;
mod streams;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::process::Command;

use socket2::Socket;

use crate::harness::{SOCKKIT, Server};

/// A server with these rules on one address of its own, that says everything in JSON.
#[track_caller]
pub fn faulty(words: &str, rules: &[&str]) -> Server {
    let mut command = Command::new(SOCKKIT);
    command.args(["serve", "--json", "--grace", "1"]).args(words.split_whitespace());
    if !words.contains("-U") {
        command.args(["-4", "-p", "0"]);
    }
    command.args(rules.iter().flat_map(|rule| ["-F", rule]));
    Server::spawn(command, 1)
}

/// How a stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
}

/// All that comes, and how it ends.
#[track_caller]
pub fn read_all(mut socket: &Socket) -> (Vec<u8>, End) {
    let mut received = Vec::new();
    let mut block = [0; 4096];
    loop {
        match socket.read(&mut block) {
            Ok(0) => return (received, End::Fin),
            Ok(count) => received.extend_from_slice(&block[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return (received, End::Reset),
            Err(error) => panic!("{error} after {} bytes", received.len()),
        }
    }
}

/// The same while these bytes are sent, as far as they are taken. A reset is told to one of the two directions only.
#[track_caller]
pub fn converse(socket: &Socket, bytes: &[u8]) -> (Vec<u8>, End) {
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| (&*socket).write_all(bytes));
        let (received, end) = read_all(socket);
        // What is not taken after the end must not hold this up.
        let _ = socket.shutdown(Shutdown::Both);
        let sent = sending.join().expect("it does not panic");
        let is_reset = sent.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
        (received, if is_reset { End::Reset } else { end })
    })
}

/// The events of one kind that a server told until its end.
#[cfg(unix)]
#[track_caller]
pub fn events(server: Server, kind: &str) -> Vec<serde_json::Value> {
    let finished = server.end(crate::harness::Signal::Terminate);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let stdout = String::from_utf8(finished.stdout).expect("text");
    let events = stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line));
    events.filter(|event| event["event"] == kind).collect()
}
