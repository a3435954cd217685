//! Records: what `--record` writes, of which connection, and what becomes of it when it cannot be written.

mod client;
mod packets;
#[cfg(unix)]
mod replaying;
#[cfg(unix)]
mod serving;

use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use crate::harness::{Peer, Place, Run, Running, mask, read_exactly, read_to_end};

/// A file that is not there, in a folder of its own.
pub fn place(name: &str) -> (PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (folder.path().join(name), folder)
}

/// A record of these events, written by hand.
pub fn written(events: &[&str]) -> (PathBuf, tempfile::TempDir) {
    let (record, folder) = place("record.ndjson");
    let mut text = "{\"sockkit\":1}\n".to_owned();
    for event in events {
        text += &format!("{{{event}}}\n");
    }
    fs::write(&record, text + "{\"ev\":\"end\"}\n").unwrap();
    (record, folder)
}

/// The lines of a record without its first, their times and ports masked.
pub fn lines(record: &Path) -> Vec<String> {
    static TIMES: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""t":[0-9.e-]+,"#).unwrap());
    let text = fs::read_to_string(record).unwrap();
    text.lines().skip(1).map(|line| TIMES.replace(&mask(line), "").into_owned()).collect()
}

#[test]
fn a_conversation_is_a_line_for_each_thing_that_happened() {
    for &kind in Place::ALL {
        let (record, _folder) = place("record.ndjson");
        let peer = Peer::start(kind, |mut peer| {
            assert_eq!(read_to_end(&peer), b"hello\n");
            peer.write_all(b"\x00\x01\x02\x03").unwrap();
        });
        Run::sockkit("connect --record")
            .args([record.as_path(), peer.address.as_ref()])
            .stdin("hello\n")
            .stdout("\0\x01\x02\x03")
            .check();
        let (transport, address) =
            if kind == Place::Tcp { ("tcp", mask(&peer.address)) } else { ("unix", peer.address.clone()) };
        peer.finish();
        let lines = lines(&record);
        let open = format!("{{\"conn\":1,\"ev\":\"open\",\"transport\":\"{transport}\",\"peer\":\"{address}\",");
        assert!(lines[0].replace("unix:", "").starts_with(&open), "{lines:?} {open}");
        assert_eq!(
            lines[1..],
            [
                r#"{"conn":1,"ev":"tx","off":0,"txt":"hello\n"}"#,
                r#"{"conn":1,"ev":"fin","dir":"tx","off":6}"#,
                r#"{"conn":1,"ev":"rx","off":0,"b64":"AAECAw=="}"#,
                r#"{"conn":1,"ev":"fin","dir":"rx","off":4}"#,
                r#"{"conn":1,"ev":"close","how":"fin","rx":4,"tx":6}"#,
                r#"{"ev":"end","conns":1,"complete":true}"#,
            ]
        );
        let head = fs::read_to_string(&record).unwrap().lines().next().unwrap().to_owned();
        let head: Value = serde_json::from_str(&head).unwrap();
        assert_eq!((&head["sockkit"], &head["cmd"][0]), (&1.into(), &"connect".into()));
    }
}

#[test]
fn datagrams_keep_their_boundaries() {
    let (record, _folder) = place("record.ndjson");
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let answer = peer.try_clone().unwrap();
    let answering = std::thread::spawn(move || {
        let mut datagram = [0; 100];
        for _ in 0..2 {
            let (length, from) = answer.recv_from(&mut datagram).unwrap();
            answer.send_to(b"", from).unwrap();
            answer.send_to(&datagram[..length], from).unwrap();
        }
    });
    let address = peer.local_addr().unwrap();
    let mut running = Running::sockkit(&format!("connect -u -q 2 {address} --record {}", record.display()));
    let mut stdout = running.stdout.take().unwrap();
    for line in ["one\n", "two\n"] {
        running.write(line.as_bytes());
        let mut came = [0; 4];
        std::io::Read::read_exact(&mut stdout, &mut came).unwrap();
        assert_eq!(came, line.as_bytes());
    }
    running.stdin = None;
    assert_eq!(running.finish().code, 0);
    answering.join().unwrap();
    assert_eq!(
        lines(&record)[1..],
        [
            r#"{"conn":1,"ev":"tx","off":0,"txt":"one\n"}"#,
            r#"{"conn":1,"ev":"rx","off":0,"txt":""}"#,
            r#"{"conn":1,"ev":"rx","off":0,"txt":"one\n"}"#,
            r#"{"conn":1,"ev":"tx","off":4,"txt":"two\n"}"#,
            r#"{"conn":1,"ev":"rx","off":4,"txt":""}"#,
            r#"{"conn":1,"ev":"rx","off":4,"txt":"two\n"}"#,
            r#"{"conn":1,"ev":"close","how":"left","rx":8,"tx":8}"#,
            r#"{"ev":"end","conns":1,"complete":true}"#,
        ]
    );
}

#[test]
fn a_reset_is_recorded_and_so_is_that_nobody_was_there() {
    let (record, _folder) = place("record.ndjson");
    let peer = Peer::start(Place::Tcp, |peer| {
        read_exactly(&peer, 1);
        peer.set_linger(Some(Duration::ZERO)).unwrap();
    });
    let mut running = Running::sockkit(&format!("connect {} --record {}", peer.address, record.display()));
    running.write(b"a");
    assert_eq!(running.finish().code, 1);
    peer.finish();
    assert_eq!(lines(&record)[2], r#"{"conn":1,"ev":"close","how":"peer-rst","rx":0,"tx":1}"#);
    let peer = Peer::start(Place::Tcp, |peer| read_to_end(&peer));
    assert_eq!(
        Run::sockkit("connect -z --force --record").args([record.as_path(), peer.address.as_ref()]).finish().code,
        0
    );
    peer.finish();
    assert_eq!(lines(&record)[1], r#"{"conn":1,"ev":"close","how":"left","rx":0,"tx":0}"#);
    let finished = Run::sockkit("connect 127.0.0.1:1 --force --record").args([&record]).finish();
    assert_eq!(finished.code, 1);
    assert_eq!(lines(&record), [r#"{"ev":"end","conns":0,"complete":true}"#]);
}

#[test]
fn a_record_that_is_there_is_replaced_only_with_force() {
    let (record, _folder) = place("record.ndjson");
    fs::write(&record, "precious").unwrap();
    Run::sockkit("connect 127.0.0.1:1 --record")
        .args([&record])
        .stderr(&format!("sockkit: open {} failed: it is there already, and --force replaces it\n", record.display()))
        .code(4)
        .check();
    assert_eq!(fs::read(&record).unwrap(), b"precious");
    assert_eq!(Run::sockkit("connect 127.0.0.1:1 --force --record").args([&record]).finish().code, 1);
    assert_eq!(lines(&record).len(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(record.metadata().unwrap().permissions().mode() & 0o777, 0o600, "it holds payloads");
    }
}

#[test]
fn what_cannot_be_recorded_is_said_before_anything_is_done() {
    #[cfg(unix)]
    Run::sockkit("connect -U /nowhere --record x.pcapng")
        .stderr(
            "sockkit: --record x.pcapng is for packets, and a unix socket has none: with another name it is lines of JSON\n",
        )
        .code(2)
        .check();
    Run::sockkit("connect 127.0.0.1:1 --record-max 10")
        .stderr("sockkit: the following required arguments were not provided: --record <FILE>\n")
        .code(2)
        .check();
}

#[cfg(target_os = "linux")]
mod full {
    use super::*;
    use crate::harness::{SOCKKIT, can_unshare};

    const TOLD: &str = "sockkit: write /dev/full failed: No space left on device (ENOSPC, 28)";

    #[test]
    fn a_full_disk_is_told_once_and_the_conversation_goes_on() {
        for (flags, told) in
            [("", format!("{TOLD}; the record is incomplete\n")), ("--record-strict", format!("{TOLD}\n"))]
        {
            let peer = Peer::start(Place::Tcp, |peer| read_to_end(&peer));
            let mut running = Running::sockkit(&format!("connect {flags} {} --record /dev/full", peer.address));
            if flags.is_empty() {
                // Strict, it ends although its stdin does not.
                running.write(b"hello");
                running.stdin = None;
            }
            let finished = running.finish();
            assert_eq!((finished.code, finished.stderr), (4, told));
            assert_eq!(peer.finish(), if flags.is_empty() { &b"hello"[..] } else { b"" });
        }
    }

    /// A file system that has room for a part of it: what is there is whole lines, and the last says that it is not all.
    #[test]
    fn what_fits_of_a_record_is_whole() {
        if !can_unshare() {
            return;
        }
        let peer = Peer::start(Place::Unix, |peer| read_to_end(&peer));
        let script = format!(
            "mount -t tmpfs -o size=128k none /mnt && {SOCKKIT} connect -i 0 {} --record /mnt/record.ndjson; echo $?; \
             tail -n 1 /mnt/record.ndjson",
            peer.address
        );
        let line = [b'x'; 999];
        let input: Vec<u8> = (0..1000).flat_map(|_| line.into_iter().chain([b'\n'])).collect();
        let finished = Run::program("unshare").args(["-rm", "sh", "-c", &script]).stdin(input.clone()).finish();
        assert!(peer.finish() == input, "the peer has everything");
        let stdout = String::from_utf8(finished.stdout).unwrap();
        let (end, told) =
            (stdout.lines().nth(1).unwrap_or_default(), finished.stderr.lines().next().unwrap_or_default());
        assert!(
            stdout.starts_with("4\n{\"t\":") && end.ends_with("\"ev\":\"end\",\"conns\":1,\"complete\":false}"),
            "{stdout}"
        );
        assert_eq!(
            told,
            "sockkit: write /mnt/record.ndjson failed: No space left on device (ENOSPC, 28); the record is incomplete"
        );
    }
}
