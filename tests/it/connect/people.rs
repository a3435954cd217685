//! What makes `connect` a tool for people: how lines go out, and how what comes is shown and kept.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use regex::Regex;

use crate::harness::{DEADLINE, Peer, Place, Run, Server, mask, pattern, read_to_end};
#[cfg(target_os = "linux")]
use crate::harness::{SOCKKIT, has};

#[test]
fn lines_end_as_network_protocols_have_it() {
    let (stdin, expected) = ("GET / HTTP/1.0\nHost: a\r\n\n", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    for &place in Place::ALL {
        let peer = Peer::start(place, |peer| read_to_end(&peer));
        Run::sockkit("connect -C").args([&peer.address]).stdin(stdin).check();
        assert_eq!(peer.finish(), expected, "{place:?}");
    }
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    Run::sockkit(&format!("connect -Cuq0 {}", peer.local_addr().unwrap())).stdin("a\nb\n").check();
    let mut datagram = [0; 100];
    let length = peer.recv(&mut datagram).unwrap();
    assert_eq!(&datagram[..length], b"a\r\nb\r\n");
}

/// The peer has finished long before: what is held back is not silent.
#[test]
fn with_an_interval_the_next_line_waits_and_none_is_lost() {
    let interval = Duration::from_millis(250);
    for &place in Place::ALL {
        let peer = Peer::start(place, |peer| {
            peer.shutdown(Shutdown::Write).unwrap();
            read_to_end(&peer)
        });
        let begun = Instant::now();
        Run::sockkit("connect -i 0.25").args([&peer.address]).stdin("one\ntwo\nthree").check();
        assert!(begun.elapsed() >= 2 * interval, "{:?}", begun.elapsed());
        assert_eq!(peer.finish(), b"one\ntwo\nthree", "{place:?}");
    }
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let begun = Instant::now();
    Run::sockkit(&format!("connect -u -q 0 -i 0.25 {}", peer.local_addr().unwrap())).stdin("one\n\nthree\n").check();
    assert!(begun.elapsed() >= 2 * interval, "{:?}", begun.elapsed());
    let mut datagram = [0; 100];
    for line in [&b"one\n"[..], b"\n", b"three\n"] {
        let length = peer.recv(&mut datagram).unwrap();
        assert_eq!(&datagram[..length], line);
    }
}

#[test]
fn a_limited_rate_is_kept() {
    for &place in Place::ALL {
        let peer = Peer::start(place, |peer| read_to_end(&peer));
        let begun = Instant::now();
        Run::sockkit("connect --rate-limit 400K/s").args([&peer.address]).stdin(pattern(200_000)).check();
        // The first piece goes at once, and after the last nothing is waited for.
        assert!(begun.elapsed() >= Duration::from_millis(480), "{:?}", begun.elapsed());
        assert!(peer.finish() == pattern(200_000), "{place:?}");
    }
    Run::sockkit("connect --rate-limit 0 127.0.0.1:1")
        .stderr(
            "sockkit: invalid value '0' for '--rate-limit <RATE>': \"0\" is not a rate: nothing would ever go, for \
             example 500K or 1MiB/s\n",
        )
        .code(2)
        .check();
}

#[test]
fn what_came_is_saved_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("came");
    std::fs::write(&file, "what was there before, and longer").unwrap();
    let server = Server::start("--quiet");
    for _ in 0..2 {
        let finished =
            Run::sockkit("connect -o").args([file.to_str().unwrap(), &server.v4()]).stdin(pattern(1_000)).finish();
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
        assert!(finished.stdout == pattern(1_000) && std::fs::read(&file).unwrap() == pattern(1_000));
    }
    // Without a connection nothing is lost.
    assert_eq!(Run::sockkit("connect 127.0.0.1:1 -o").args([&file]).finish().code, 1);
    assert!(std::fs::read(&file).unwrap() == pattern(1_000));
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_written_is_named() {
    let server = Server::start("--quiet");
    for (file, what, reason) in [
        ("/dev/full", "write", "No space left on device (ENOSPC, 28)"),
        ("/dev/null/x", "open", "Not a directory (ENOTDIR, 20)"),
    ] {
        let finished = Run::sockkit("connect -o").args([file, &server.v4()]).stdin("hello").finish();
        let expected = format!("sockkit: {what} {file} failed: {reason}\n");
        assert_eq!((finished.code, finished.stderr.as_str()), (4, expected.as_str()));
    }
}

#[test]
fn the_hashes_are_those_of_what_went_each_way() {
    // As sha256sum prints them, of nothing and of these words.
    const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const QUESTION: &str = "5a9aed96cfa5a095c10be137d73f86ba19e87887c39b462eac82dc890238e9ce";
    const ANSWER: &str = "6959b4fff6c9960b2ebbc289573e00e9c7097597e84b3c45759f36fef9778736";
    for &place in Place::ALL {
        let peer = || {
            Peer::start(place, |mut peer| {
                assert_eq!(read_to_end(&peer), b"question\r\n");
                std::io::Write::write_all(&mut peer, b"answer\n").unwrap();
            })
        };
        let told = peer();
        Run::sockkit("connect -C --hash sha256")
            .args([&told.address])
            .stdin("question\n")
            .stdout("answer\n")
            .stderr(&format!("sent      10 bytes, sha256 {QUESTION}\nreceived  7 bytes, sha256 {ANSWER}\n"))
            .check();
        told.finish();
        let told = peer();
        let finished = Run::sockkit("connect -Cj --hash sha256").args([&told.address]).stdin("question\n").finish();
        told.finish();
        let verdict = finished.event("closed");
        assert_eq!((&verdict["sent_sha256"], &verdict["received_sha256"]), (&QUESTION.into(), &ANSWER.into()));
    }
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    Run::sockkit(&format!("connect -u -q 0 --hash sha256 {}", peer.local_addr().unwrap()))
        .stderr(&format!("sent      0 bytes, sha256 {NOTHING}\nreceived  0 bytes, sha256 {NOTHING}\n"))
        .check();
}

/// What is still on its way when a clock runs out is in all of the figures, or in none.
#[cfg(target_os = "linux")]
#[test]
fn a_transfer_that_is_cut_short_has_hashes_of_what_is_counted() {
    use sha2::{Digest, Sha256};
    let hash =
        |bytes: &[u8]| Sha256::digest(bytes).iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"));
    let peer = Peer::start(Place::Tcp, |peer| {
        let mut writer = peer.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while std::io::Write::write_all(&mut writer, &[1; 1000]).is_ok() {
                    crate::harness::dawdle(Duration::from_millis(1));
                }
            });
            // Its end is a reset where there was more to read than was read.
            let _ = std::io::copy(&mut &peer, &mut std::io::sink());
            let _ = peer.shutdown(Shutdown::Both);
        });
    });
    let zeros = std::fs::File::open("/dev/zero").unwrap();
    let finished = Run::sockkit("connect -j --hash sha256 --rate-limit 2M --max-time 0.5")
        .args([&peer.address])
        .stdin_from(zeros)
        .finish();
    peer.finish();
    let verdict = finished.event("closed");
    let sent = vec![0; usize::try_from(verdict["sent_bytes"].as_u64().unwrap()).unwrap()];
    assert_eq!(verdict["sent_sha256"], hash(&sent));
    assert_eq!(verdict["received_bytes"], finished.stdout.len());
    assert_eq!(verdict["received_sha256"], hash(&finished.stdout));
    assert_eq!(finished.code, 124);
}

#[test]
fn a_dump_shows_what_went_each_way_and_leaves_stdout_alone() {
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            assert_eq!(read_to_end(&peer), b"hello\n");
            std::io::Write::write_all(&mut peer, b"\x1b[2J").unwrap();
        });
        Run::sockkit("connect -x")
            .args([&peer.address])
            .stdin("hello\n")
            .stdout("\x1b[2J")
            .stderr(
                "> TIME, 6 bytes at 0\n\
                 00000000  68 65 6c 6c 6f 0a                                 |hello.|\n\
                 < TIME, 4 bytes at 0\n\
                 00000000  1b 5b 32 4a                                       |.[2J|\n",
            )
            .check();
        peer.finish();
    }
}

/// Each piece continues where the one before it ended.
#[test]
fn a_dump_counts_the_bytes_of_its_direction() {
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let finished =
        Run::sockkit(&format!("connect -uxq0 -i 0 {}", peer.local_addr().unwrap())).stdin("a\nbc\n").finish();
    let stderr = mask(&finished.stderr);
    let heads: Vec<&str> = stderr.lines().filter(|line| line.starts_with('>')).collect();
    assert_eq!(heads, ["> TIME, 2 bytes at 0", "> TIME, 3 bytes at 2"]);
    assert!(stderr.contains("\n00000002  62 63 0a "), "{stderr}");
}

#[test]
fn each_line_that_comes_has_its_time() {
    let time = Regex::new(r"(?m)^2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z ").unwrap();
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            for piece in ["one\ntw", "o\n", "\nlast"] {
                std::io::Write::write_all(&mut peer, piece.as_bytes()).unwrap();
            }
        });
        let finished = Run::sockkit("connect --timestamps").args([&peer.address]).finish();
        peer.finish();
        let stdout = String::from_utf8(finished.stdout).unwrap();
        assert_eq!(time.replace_all(&stdout, "T "), "T one\nT two\nT \nT last", "{place:?}");
    }
}

#[test]
fn progress_is_for_terminals_only() {
    let server = Server::start("--quiet");
    Run::sockkit("connect --progress").args([server.v4()]).stdin("hello\n").stdout("hello\n").check();
}

#[cfg(target_os = "linux")]
#[test]
fn progress_shows_bytes_and_rate_and_of_a_file_how_much_is_left() {
    if !has("script") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input");
    std::fs::write(&file, pattern(1 << 20)).unwrap();
    let server = Server::start("--quiet");
    for (input, shown) in [
        (format!("< {}", file.display()), &[" of 1.00 MiB, ", "/s, ", " left"][..]),
        (format!("< <(cat {})", file.display()), &["iB, ", "/s"]),
    ] {
        // A rate that leaves time for several draws.
        let line = format!("exec {SOCKKIT} connect --progress --rate-limit 1MiB {} {input} > /dev/null", server.v4());
        let (stdin, _stays_open) = std::io::pipe().unwrap();
        let finished =
            Run::program("script").args(["-qec", &format!("bash -c '{line}'"), "/dev/null"]).stdin_from(stdin).finish();
        let terminal = String::from_utf8_lossy(&finished.stdout);
        assert!(finished.code == 0 && shown.iter().all(|part| terminal.contains(part)), "{terminal:?}");
    }
}
