//! Unix sockets: streams, datagrams, and the life of the path.
#![cfg(unix)]

use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::mask_peak;
use crate::harness::{DEADLINE, Run, Server, Signal, dial, exchange, kill, mask, pattern, read_to_end};

/// A folder of the test's own, and a path in it where nothing is yet.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    (folder, path)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

#[test]
fn a_stream_is_echoed_and_its_path_removed_at_the_end() {
    let (_folder, path) = place();
    for (words, signal) in [
        (format!("-U {}", text(&path)), Signal::Terminate),
        (format!("unix:{}", text(&path)), Signal::Interrupt),
        (text(&path).to_owned(), Signal::Terminate),
    ] {
        let mut server = Server::start_with(&words, 1);
        assert_eq!(server.listening[0], format!("listening on unix:{} (unix), echo", text(&path)));
        for size in [1, 65_537, 4 * 1024 * 1024] {
            let sent = pattern(size);
            assert!(exchange(&dial(text(&path)), &sent) == sent, "{size} bytes");
            assert_eq!(server.line(), "connected by unix:unnamed");
            let closed = format!("unix:unnamed closed by peer after TIME: {size} bytes in, {size} bytes out");
            assert_eq!(mask(&server.line()), closed);
        }
        let finished = server.end(signal);
        assert_eq!(
            (finished.code, mask_peak(&finished.stderr).as_str()),
            (0, "served 3 connections in TIME, at most N at once; in 4.1 MiB, out 4.1 MiB\n")
        );
        assert!(!path.exists(), "serve {words} leaves its path");
    }
}

#[test]
fn an_idle_stream_sees_the_end_when_the_server_is_told_to_stop() {
    let (_folder, path) = place();
    let mut server = Server::start_with(&format!("-U {}", text(&path)), 1);
    let mut peer = dial(text(&path));
    assert_eq!(server.line(), "connected by unix:unnamed");
    peer.write_all(b"hello").unwrap();
    kill(server.pid(), Signal::Terminate);
    assert_eq!(read_to_end(&peer), b"hello");
    assert_eq!(server.finish().code, 0);
    assert!(!path.exists());
}

#[test]
fn datagrams_go_back_to_whoever_has_a_name() {
    let (folder, path) = place();
    let server = Server::start_with(&format!("-u -U {}", text(&path)), 1);
    assert_eq!(server.listening[0], format!("listening on unix:{} (unix datagram), echo", text(&path)));
    let named = |name: &str| {
        let peer = UnixDatagram::bind(folder.path().join(name)).unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        peer
    };
    let nameless = UnixDatagram::unbound().unwrap();
    nameless.send_to(b"who am I", &path).unwrap();
    // Each is sent before any is read: none may get another's.
    let peers: Vec<UnixDatagram> = ["one", "two"].map(named).into();
    let sizes = [0, 1, 5000, 100_000];
    let mut buffer = vec![0; 200_000];
    for size in sizes {
        for (number, peer) in peers.iter().enumerate() {
            peer.send_to(&pattern(size + number), &path).unwrap();
        }
        for (number, peer) in peers.iter().enumerate() {
            let length = peer.recv(&mut buffer).unwrap();
            assert!(buffer[..length] == pattern(size + number), "{length} bytes for {size} and {number}");
        }
    }
    let finished = server.end(Signal::Terminate);
    assert_eq!(
        (finished.code, mask(&finished.stderr).as_str()),
        (0, "served 9 datagrams in TIME, 1 not answered; in 205.1 KiB, out 205.1 KiB\n")
    );
    assert!(!path.exists());
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_name_is_served_too() {
    let name = format!("@sockkit-test-{}", std::process::id());
    let server = Server::start_with(&name, 1);
    assert_eq!(server.listening[0], format!("listening on unix:{name} (unix), echo"));
    Run::sockkit("connect").args([&name]).stdin("hello\n").stdout("hello\n").check();
}

#[test]
fn the_path_of_a_dead_server_is_replaced() {
    let (_folder, path) = place();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "std leaves it");
    let server = Server::start_with(&format!("-U {}", text(&path)), 1);
    assert_eq!(exchange(&dial(text(&path)), b"hello"), b"hello");
    // The same with one that was killed.
    assert_eq!(server.end(Signal::Kill).code, 137);
    assert!(path.exists(), "nobody was left to remove it");
    let server = Server::start_with(&format!("-u -U {}", text(&path)), 1);
    assert_eq!(server.end(Signal::Terminate).code, 0);
    assert!(!path.exists());
}

/// A path that is taken is refused, without a hint: there is none that always holds.
#[track_caller]
fn check_refused(path: &Path) {
    let stderr = format!(
        "sockkit: bind unix:{} (unix) failed after TIME: Address already in use (EADDRINUSE, 98)\n",
        text(path)
    );
    Run::sockkit("serve -U").args([text(path)]).stderr(&stderr).code(4).check();
}

#[test]
fn what_is_not_a_dead_servers_path_is_left_alone() {
    let (folder, path) = place();
    fs::write(&path, "precious").unwrap();
    check_refused(&path);
    check_refused(folder.path());
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_path_of_a_living_server_is_refused() {
    let (_folder, path) = place();
    let server = Server::start_with(&format!("--quiet -U {}", text(&path)), 1);
    check_refused(&path);
    assert_eq!(exchange(&dial(text(&path)), b"hello"), b"hello");
    let finished = server.end(Signal::Terminate);
    assert_eq!((finished.code, path.exists()), (0, false));
}

#[test]
fn a_folder_that_is_not_there_is_a_local_failure() {
    let (folder, _) = place();
    let path = folder.path().join("missing").join("socket");
    let stderr =
        format!("sockkit: bind unix:{} (unix) failed after TIME: No such file or directory (ENOENT, 2)\n", text(&path));
    Run::sockkit("serve -U").args([text(&path)]).stderr(&stderr).code(4).check();
}

/// Somebody else has put another socket there meanwhile.
#[test]
fn a_path_that_is_no_longer_ours_is_not_removed() {
    let (_folder, path) = place();
    let server = Server::start_with(&format!("-U {}", text(&path)), 1);
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    assert_eq!(server.end(Signal::Terminate).code, 0);
    assert!(path.exists(), "it is another's");
    drop(other);
}
