//! Connecting only, connecting again, and waiting until somebody is there.

use std::time::Duration;

use serde_json::Value;
use socket2::Type;

use crate::harness::{DEADLINE, Place, Run, Server, dawdle, listener, mask, plain_socket};

#[test]
fn with_z_it_says_that_somebody_is_there_and_nothing_is_sent() {
    for &place in Place::ALL {
        let (socket, address, _folder) = listener(place);
        let shown = match place {
            Place::Tcp => "127.0.0.1:PORT (tcp)".to_owned(),
            Place::Unix => format!("unix:{address} (unix)"),
        };
        for flags in ["-z", "-zv", "-z -w3", "-z -N", "-zn"] {
            let finished = Run::sockkit(&format!("connect {flags} {address}")).stdin("not sent").finish();
            let stdout = mask(&String::from_utf8(finished.stdout).unwrap());
            assert_eq!((finished.code, stdout), (0, format!("{shown} open TIME\n")), "{flags}");
            let (connection, _) = socket.accept().unwrap();
            assert_eq!(crate::harness::read_to_end(&connection), b"", "{flags}");
        }
        Run::sockkit(&format!("connect -z --quiet {address}")).check();
    }
    let server = Server::start("-4 --quiet");
    let finished = Run::sockkit("connect -zj").args([server.v4()]).finish();
    let record: Value = serde_json::from_slice(&finished.stdout).unwrap();
    assert_eq!((&record["event"], &record["peer"]), (&"connected".into(), &server.v4().into()));
}

#[test]
fn with_z_the_statuses_are_the_same() {
    for (words, message, code) in [
        ("127.0.0.1:1", "connect 127.0.0.1:1 (tcp) failed after TIME: Connection refused (ECONNREFUSED, 111)", 1),
        (
            "-u 127.0.0.1:1",
            "-z connects, and of datagrams that proves nothing: `sockkit probe -u` sends one and waits",
            2,
        ),
        ("127.0.0.1:1 --send a", "-z sends nothing and hears nothing: leave it out, or the script", 2),
    ] {
        Run::sockkit(&format!("connect -z {words}")).stderr(&format!("sockkit: {message}\n")).code(code).check();
    }
}

#[test]
fn it_is_tried_as_often_as_was_asked_and_each_pause_is_longer() {
    Run::sockkit("connect --retry 2 --retry-pause 1ms 127.0.0.1:1")
        .stderr(
            "sockkit: connect 127.0.0.1:1 (tcp) failed after TIME: Connection refused (ECONNREFUSED, 111); 3 attempts\n",
        )
        .code(1)
        .check();
    for (flags, expected) in [("--retry 3", [50.0, 100.0, 200.0]), ("--retry 3 --retry-pause 5ms", [5.0; 3])] {
        let finished = Run::sockkit(&format!("connect -j {flags} 127.0.0.1:1")).finish();
        let records = finished.events("retry");
        let pauses: Vec<f64> = records.iter().map(|record| record["pause_ms"].as_f64().unwrap()).collect();
        assert_eq!((finished.code, pauses.as_slice()), (1, &expected[..]), "{flags}");
        for (index, record) in records.iter().enumerate() {
            assert_eq!(record["attempt"], index + 1);
        }
    }
}

/// A port that refuses until it listens, and a path that is not there until it is bound.
#[test]
fn it_is_waited_for_until_somebody_answers() {
    for &place in Place::ALL {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("late").to_str().unwrap().to_owned();
        let (socket, name) = plain_socket(if place == Place::Tcp { "127.0.0.1:0" } else { &path }, Type::STREAM);
        let mut address = path;
        if place == Place::Tcp {
            socket.bind(&name).unwrap();
            address = socket.local_addr().unwrap().as_socket().unwrap().to_string();
        }
        let client = std::thread::spawn(move || {
            Run::sockkit("connect --wait 60 --retry-pause 5ms").args([&address]).stdin("hello").check();
        });
        dawdle(Duration::from_millis(100));
        if place == Place::Unix {
            socket.bind(&name).unwrap();
        }
        socket.listen(1).unwrap();
        let (connection, _) = socket.accept().unwrap();
        connection.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(crate::harness::read_to_end(&connection), b"hello", "{place:?}");
        drop(connection);
        client.join().unwrap();
    }
}

#[test]
fn patience_has_an_end_that_tells_the_last_reason() {
    let refused = "Connection refused (ECONNREFUSED, 111)";
    for flags in ["--wait 0.3", "--wait 1h --max-time 0.3", "--wait 0.3 --retry 1000000 -z"] {
        let finished = Run::sockkit(&format!("connect --retry-pause 20ms {flags} 127.0.0.1:1")).finish();
        let stderr = mask(&finished.stderr);
        let begins = "sockkit: connect 127.0.0.1:1 (tcp) failed after TIME: the deadline passed (ETIMEDOUT, 110); ";
        assert!(stderr.starts_with(begins), "{flags}: {stderr}");
        assert!(stderr.ends_with(&format!(" attempts, the last: {refused}\n")), "{flags}: {stderr}");
        assert_eq!(finished.code, 124, "{flags}");
    }
}

#[test]
fn what_is_wrong_on_this_side_is_told_at_once() {
    for flags in ["", "--wait 1h", "--retry 1000000"] {
        Run::sockkit(&format!("connect {flags} -s 192.0.2.1 127.0.0.1:1"))
            .stderr(
                "sockkit: bind 192.0.2.1:0 (tcp) failed after TIME: Cannot assign requested address (EADDRNOTAVAIL, \
                 99)\n         hint: only an address of this machine can be bound\n",
            )
            .code(4)
            .check();
    }
}
