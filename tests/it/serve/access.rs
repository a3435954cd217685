//! Who is let in, and what the others see of it. On Linux, where all of 127.0.0.0/8 is this machine.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::event;
use crate::harness::{DEADLINE, Run, SOCKKIT, Server, Signal, can_unshare, exchange, has, kill, mask, patient, until};

/// A connection from an address of the test's choice: all of 127.0.0.0/8 is this machine.
fn dial_from(source: &str, address: &str) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&format!("{source}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&address.parse::<SocketAddr>().unwrap().into()).unwrap();
    patient(socket)
}

/// Whether a connection from there is reset instead of echoing.
fn reset(address: &str, source: &str) -> bool {
    let mut socket = dial_from(source, address);
    // The reset may be there before the first byte.
    if socket.write_all(b"x").is_err() {
        return true;
    }
    match socket.read(&mut [0]) {
        Ok(length) => {
            assert_eq!(length, 1, "{source}");
            false
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{source}");
            true
        }
    }
}

#[test]
fn who_is_not_let_in_is_reset_and_told_of() {
    // To a socket of both families IPv4 peers come as IPv6.
    for bind in ["-4 -p 0", "[::]:0"] {
        let mut server = Server::start_with(&format!("{bind} --allow 127.0.0.0/30 --deny 127.0.0.2"), 1);
        let address = format!("127.0.0.1:{}", server.port());
        assert_eq!(exchange(&dial_from("127.0.0.1", &address), b"hello"), b"hello");
        assert!(server.line().starts_with("connected by "));
        assert!(server.line().contains(" closed by peer "));
        for refused in ["127.0.0.2", "127.0.0.5"] {
            assert!(reset(&address, refused), "{bind}");
            let line = server.line();
            assert!(line.starts_with("refused ") && line.contains(refused) && line.ends_with(": denied"), "{line}");
        }
        let finished = server.end(Signal::Terminate);
        let summary = "served 1 connection in TIME, 2 refused; in 5 B, out 5 B\n";
        assert_eq!((finished.code, mask(&finished.stderr).as_str()), (0, summary));
    }
}

#[test]
fn a_datagram_that_is_not_let_in_is_not_answered() {
    let server = Server::start_with("-u -4 -p 0 --json --deny 127.0.0.2", 1);
    let ask = |source: &str| {
        let peer = UdpSocket::bind(format!("{source}:0")).unwrap();
        peer.connect(server.v4()).unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        peer.send(source.as_bytes()).unwrap();
        peer
    };
    let denied = ask("127.0.0.2");
    // Answered after the other was not.
    let mut buffer = [0; 16];
    let length = ask("127.0.0.1").recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"127.0.0.1");
    denied.set_nonblocking(true).unwrap();
    assert_eq!(denied.recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    let finished = server.end(Signal::Terminate);
    let stdout = String::from_utf8(finished.stdout).unwrap();
    let events: Vec<Value> = stdout.lines().map(event).collect();
    assert_eq!((&events[0]["event"], &events[0]["reason"]), (&"refused".into(), &"denied".into()), "{stdout}");
    let summary = events.last().unwrap();
    assert_eq!((&summary["datagrams"], &summary["datagrams_refused"]), (&1.into(), &1.into()));
}

#[test]
fn the_files_are_read_again_at_a_hangup_or_stay_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let (allow, deny) = (folder.path().join("allow"), folder.path().join("deny"));
    fs::write(&allow, "# us\n127.0.0.1 127.0.0.2 # two\n\n::1\n").unwrap();
    fs::write(&deny, "").unwrap();
    let mut server = Server::start(&format!(
        "-4 --quiet --json --allow-file {} --deny-file {}",
        allow.to_str().unwrap(),
        deny.to_str().unwrap()
    ));
    let address = server.v4();
    let before = dial_from("127.0.0.2", &address);
    assert!(!reset(&address, "127.0.0.1") && !reset(&address, "127.0.0.2") && reset(&address, "127.0.0.3"));
    // A slip leaves everything as it was, and is told.
    fs::write(&deny, "127.0.0.2\n127.0.0.1/24\n").unwrap();
    kill(server.pid(), Signal::Hangup);
    server.until_told("line 2: \"127.0.0.1/24\" has bits of a host: write 127.0.0.0/24, or 127.0.0.1 alone\n");
    assert!(!reset(&address, "127.0.0.2"));
    fs::write(&deny, "127.0.0.2\n").unwrap();
    kill(server.pid(), Signal::Hangup);
    until("the new rule is in force", || reset(&address, "127.0.0.2"));
    assert!(!reset(&address, "127.0.0.1"));
    // A connection that was open before goes on.
    assert_eq!(exchange(&before, b"hello"), b"hello");
    let finished = server.end(Signal::Terminate);
    assert_eq!(finished.code, 0);
}

#[test]
fn what_cannot_be_understood_is_refused_before_anything_is_bound() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deny");
    fs::write(&file, "127.0.0.1\n\nlocalhost # a name\n").unwrap();
    let file = file.to_str().unwrap();
    let network = "is no address and no network: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32";
    for (words, message) in [
        ("--allow localhost", format!("invalid value 'localhost' for '--allow <NETWORK>': \"localhost\" {network}")),
        (&format!("--deny-file {file}"), format!("{file}, line 3: \"localhost\" {network}")),
        (
            "-U socket --deny any",
            "--allow and --deny have no meaning for a unix socket, whose path has permissions".to_owned(),
        ),
    ] {
        let port = if words.starts_with("-U") { "" } else { "-p 0" };
        Run::sockkit(&format!("serve {port} {words}")).stderr(&format!("sockkit: {message}\n")).code(2).check();
    }
    Run::sockkit("serve -p 0 --allow-file missing")
        .stderr("sockkit: read access file \"missing\" failed: No such file or directory (ENOENT, 2)\n")
        .code(4)
        .check();
}

#[test]
fn what_could_be_turned_against_others_is_offered_to_those_who_are_named() {
    let message = "sockkit: chargen on 0.0.0.0:0 would be open to everybody who can reach it: say to whom with --allow \
                   NETWORK, or --allow any\n";
    Run::sockkit("serve -u --mode chargen 0.0.0.0 0").stderr(message).code(2).check();
    Run::sockkit("serve -u --mode chargen 0.0.0.0 0 --deny 192.0.2.0/24").stderr(message).code(2).check();
    for words in
        ["-u --mode chargen 0.0.0.0 0 --allow any", "-u --mode chargen 127.0.0.1 0", "--mode chargen 0.0.0.0 0"]
    {
        assert_eq!(Server::start_with(words, 1).end(Signal::Terminate).code, 0, "{words}");
    }
}

/// Two servers on one port of two hosts, and a datagram that one seems to have sent to the other.
#[test]
fn two_servers_cannot_be_set_to_answering_each_other() {
    if !can_unshare() || !has("python3") {
        return;
    }
    let script = r#"
set -e
ip link set lo up
ip address add 192.0.2.1/32 dev lo
ip address add 192.0.2.2/32 dev lo
mkfifo one two
"$0" serve -u 192.0.2.1:7000 > one & first=$!
"$0" serve -u 192.0.2.2:7000 > two & second=$!
read line < one
read line < two
python3 - <<END
import socket, struct
def packet(source, destination, port, payload):
    udp = struct.pack("!HHHH", port, 7000, 8 + len(payload), 0) + payload
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(destination)) + udp
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.sendto(packet("192.0.2.2", "192.0.2.1", 7000, b"loop"), ("192.0.2.1", 0))
raw.sendto(packet("192.0.2.2", "192.0.2.1", 7, b"echo"), ("192.0.2.1", 0))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(60)
client.bind(("192.0.2.2", 40000))
client.sendto(b"honest", ("192.0.2.1", 7000))
assert client.recv(100) == b"honest"
END
kill $first; wait $first
kill $second; wait $second
"#;
    let folder = tempfile::tempdir().unwrap();
    let script = format!("cd {}\n{script}", folder.path().to_str().unwrap());
    let finished = Run::program("unshare").args(["-rmn", "sh", "-c", &script, SOCKKIT]).finish();
    let summaries =
        "served 3 datagrams in TIME, 2 not answered; in 14 B, out 6 B\nserved 0 datagrams in TIME; in 0 B, out 0 B\n";
    assert_eq!((finished.code, mask(&finished.stderr).as_str()), (0, summaries));
}
