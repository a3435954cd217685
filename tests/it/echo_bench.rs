//! `sockkit echo-bench`: reports, what is wrong with a server, statuses. The servers that are wrong are the tests' own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::harness::{Run, Server};

/// A server of one connection that does what `serve` says with it. Its address, and what `serve` returned.
fn tcp_server<T: Send + 'static>(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> (String, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (address, thread::spawn(move || serve(listener.accept().unwrap().0)))
}

/// A UDP server that turns datagram number N (from 1) into those that `answer` makes of it. It ends with its test.
fn udp_server(mut answer: impl FnMut(u64, &[u8]) -> Vec<Vec<u8>> + Send + 'static) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        for number in 1.. {
            let Ok((count, from)) = socket.recv_from(&mut buffer) else { return };
            for datagram in answer(number, &buffer[..count]) {
                socket.send_to(&datagram, from).unwrap();
            }
        }
    });
    address
}

/// Echoes a stream to its end, and counts.
fn echo(mut stream: TcpStream) -> u64 {
    let mut copy = stream.try_clone().unwrap();
    std::io::copy(&mut stream, &mut copy).unwrap()
}

/// The report as JSON, and the status.
#[track_caller]
fn report(words: &str) -> (Value, i32) {
    let finished = Run::sockkit(&format!("echo-bench --json {words}")).finish();
    let text = String::from_utf8(finished.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{words}: {text}{}", finished.stderr);
    (serde_json::from_str(&text).unwrap(), finished.code)
}

#[test]
fn without_a_target_it_measures_a_server_of_its_own() {
    for words in ["", "-6", "-u", "-c 3", "-c 3 -u", "-c 5 --threads 2", "-l 1", "-l 200Ki", "-u -l 65507"] {
        let (report, status) = report(&format!("-n 300 {words}"));
        assert_eq!(status, 0, "{words}: {report}");
        assert_eq!(report["schema"], "sockkit.echo-bench/1");
        assert_eq!((&report["round_trips"], &report["own_server"]), (&300.into(), &true.into()), "{words}: {report}");
        assert_eq!(report["errors"]["corrupt"], 0, "{words}: {report}");
    }
}

#[cfg(unix)]
#[test]
fn unix_sockets_are_measured_too() {
    for words in ["-U", "-U -u", "-U -c 3", "-U -u -c 3"] {
        let (report, status) = report(&format!("-n 300 {words}"));
        assert_eq!((status, &report["round_trips"]), (0, &300.into()), "{words}: {report}");
    }
}

#[test]
fn the_report_for_people() {
    let server = Server::start("--quiet");
    let finished = Run::sockkit("echo-bench").args([server.v4().as_str(), "-n", "2000", "-l", "100"]).finish();
    let text = String::from_utf8(finished.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((finished.code, finished.stderr.as_str(), lines.len()), (0, "", 4), "{text}");
    assert!(lines[0].starts_with(&format!("{} (tcp): 1 connection, 100 bytes a message, closed loop, ", server.v4())));
    assert!(lines[1].starts_with("round trips   2 000 ("), "{text}");
    // 2000 samples have 20 beyond the 99th percentile, and only 2 beyond the 99.9th.
    for word in ["min ", "p50 ", "p90 ", "p99 ", "(p99.9 needs 10 000 round trips)", "max "] {
        assert!(lines[2].contains(word), "no {word:?} in {text}");
    }
    assert_eq!(lines[3], "errors        none, every byte compared");
}

#[test]
fn percentiles_are_in_order_and_null_where_the_sample_is_too_small() {
    let (report, _) = report("-n 1000");
    let of = |name: &str| report["round_trip"][name].as_f64();
    let ordered: Vec<f64> =
        ["min_us", "p50_us", "p90_us", "p99_us", "max_us"].iter().map(|name| of(name).unwrap()).collect();
    assert!(ordered.is_sorted() && ordered[0] > 0.0, "{ordered:?}");
    assert_eq!(of("p99.9_us"), None);
}

#[test]
fn exactly_so_many_messages_are_sent() {
    for (words, bytes) in [("-n 1 -l 7", 7), ("-n 37 -l 1000", 37_000)] {
        let (address, server) = tcp_server(echo);
        let (report, status) = report(&format!("{address} {words}"));
        assert_eq!(status, 0, "{report}");
        assert_eq!(server.join().unwrap(), bytes, "{words}");
    }
}

#[test]
fn a_time_is_measured_after_a_warm_up() {
    let (report, status) = report("-t 300ms");
    assert_eq!(status, 0);
    assert_eq!(report["warm_up_ms"], 30.0);
    let elapsed_ms = report["elapsed_ms"].as_f64().unwrap();
    assert!((200.0..2000.0).contains(&elapsed_ms), "{elapsed_ms}");
}

#[test]
fn fragments_of_any_size_are_a_whole_answer() {
    let (address, server) = tcp_server(|mut stream| {
        stream.set_nodelay(true).unwrap();
        let mut byte = [0];
        let mut count = 0;
        while stream.read(&mut byte).unwrap() == 1 {
            stream.write_all(&byte).unwrap();
            count += 1;
        }
        count
    });
    let (report, status) = report(&format!("{address} -n 20 -l 50"));
    assert_eq!((status, &report["round_trips"]), (0, &20.into()), "{report}");
    assert_eq!(server.join().unwrap(), 1000);
}

#[test]
fn the_first_wrong_byte_of_a_stream_is_told() {
    // The third message of 100 bytes, its 41st byte.
    let (address, server) = tcp_server(|mut stream| {
        let mut message = [0; 100];
        for number in 0.. {
            if stream.read_exact(&mut message).is_err() {
                return number;
            }
            message[40] ^= u8::from(number == 2);
            stream.write_all(&message).unwrap();
        }
        unreachable!()
    });
    let (report, status) = report(&format!("{address} -n 10 -l 100"));
    assert_eq!(status, 5, "{report}");
    assert_eq!((&report["errors"]["corrupt"], &report["errors"]["first_corrupt_offset"]), (&1.into(), &240.into()));
    assert_eq!((&report["verified"], &report["round_trips"]), (&false.into(), &10.into()));
    assert_eq!(server.join().unwrap(), 10, "one wrong byte does not end the run");
}

#[test]
fn many_connections_find_a_wrong_byte_as_well() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            thread::spawn(move || {
                let mut message = [0; 64];
                while stream.read_exact(&mut message).is_ok() {
                    message[63] ^= 1;
                    stream.write_all(&message).unwrap();
                }
            });
        }
    });
    let (report, status) = report(&format!("{address} -n 40 -c 4 --threads 1"));
    assert_eq!((status, &report["errors"]["corrupt"]), (5, &40.into()), "{report}");
}

#[test]
fn one_lost_datagram_is_counted_and_stops_nothing() {
    for words in ["", "-c 2 --threads 1"] {
        let address = udp_server(|number, bytes| if number == 5 { vec![] } else { vec![bytes.to_vec()] });
        let (report, status) = report(&format!("-u {address} -n 50 -W 200ms {words}"));
        assert_eq!((status, &report["errors"]["lost"]), (0, &1.into()), "{words}: {report}");
        assert_eq!(report["round_trips"], 49, "{words}: {report}");
    }
}

#[test]
fn doubled_and_corrupt_datagrams_are_told_apart() {
    let twice = udp_server(|number, bytes| vec![bytes.to_vec(); if number == 5 { 2 } else { 1 }]);
    let (doubled, status) = report(&format!("-u {twice} -n 50"));
    assert_eq!(
        (status, &doubled["errors"]["late"], &doubled["errors"]["corrupt"]),
        (0, &1.into(), &0.into()),
        "{doubled}"
    );
    let wrong = udp_server(|number, bytes| {
        let mut answer = bytes.to_vec();
        answer[20] ^= u8::from(number == 5);
        vec![answer]
    });
    let (corrupt, status) = report(&format!("-u {wrong} -n 50"));
    assert_eq!((status, &corrupt["errors"]["corrupt"]), (5, &1.into()), "{corrupt}");
    assert_eq!(corrupt["errors"]["first_corrupt_offset"], 20);
}

#[test]
fn a_truncated_datagram_is_corrupt_where_it_ends() {
    let short = udp_server(|_, bytes| vec![bytes[..30].to_vec()]);
    let (report, status) = report(&format!("-u {short} -n 3"));
    assert_eq!((status, &report["errors"]["first_corrupt_offset"]), (5, &30.into()), "{report}");
}

#[test]
fn a_server_that_ends_a_stream_early_fails_the_run() {
    for words in ["", "-c 2 --threads 1"] {
        let (address, _server) = tcp_server(|mut stream| {
            let mut message = [0; 64];
            stream.read_exact(&mut message).unwrap();
            stream.write_all(&message[..10]).unwrap();
        });
        let finished = Run::sockkit(&format!("echo-bench {address} -n 5 {words}")).finish();
        assert_eq!(finished.code, 1, "{}", finished.stderr);
        // The second connection is reset when the listener goes, and may be the first to notice.
        assert!(finished.stderr.contains(&format!(" {address} (tcp) failed after ")), "{}", finished.stderr);
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
        assert!(String::from_utf8(finished.stdout).unwrap().ends_with("ended early\n"));
    }
}

#[test]
fn a_server_that_says_more_than_it_was_told_is_no_echo_server() {
    let (address, _server) = tcp_server(|mut stream| {
        let mut message = [0; 64];
        stream.read_exact(&mut message).unwrap();
        stream.write_all(&message).unwrap();
        // Not what the second message says, in whatever pieces it comes.
        stream.write_all(&[0xff; 64]).unwrap();
        let _ = stream.read(&mut message);
    });
    let finished = Run::sockkit(&format!("echo-bench {address} -n 2")).finish();
    assert_eq!(finished.code, 5, "{}", finished.stderr);
}

#[test]
fn a_server_that_never_answers_ends_by_the_reply_clock() {
    for words in ["", "-c 2 --threads 1"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let finished = Run::sockkit(&format!("echo-bench {address} -n 5 -W 200ms {words}")).finish();
        assert_eq!(finished.code, 124, "{}", finished.stderr);
        assert!(finished.stderr.contains("no answer within the reply timeout (ETIMEDOUT, "), "{}", finished.stderr);
    }
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (report, status) = report(&format!("-u {} -n 3 -W 100ms", silent.local_addr().unwrap()));
    assert_eq!((status, &report["errors"]["lost"], &report["round_trips"]), (124, &3.into(), &0.into()), "{report}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    for (words, code, stderr) in [
        (
            "127.0.0.1:1",
            1,
            "sockkit: connect 127.0.0.1:1 (tcp) failed after TIME: Connection refused (ECONNREFUSED, 111)\n",
        ),
        ("-l 0", 2, "sockkit: -l 0 is not in 1 to 67108864 bytes for tcp\n"),
        ("-u -l 65508", 2, "sockkit: -l 65508 is not in 1 to 65507 bytes for udp\n"),
        ("-t 0", 2, "sockkit: -t 0 measures nothing\n"),
        ("127.0.0.1:0", 2, "sockkit: port 0 is only for listening: there the system chooses one\n"),
    ] {
        let finished = Run::sockkit(&format!("echo-bench {words}")).finish();
        assert_eq!((finished.code, crate::harness::mask(&finished.stderr).as_str()), (code, stderr), "{words}");
        assert!(finished.stdout.is_empty(), "{words}");
    }
    let both = Run::sockkit("echo-bench -n 1 -t 1").finish();
    assert!(both.code == 2 && both.stderr.contains("cannot be used with"), "{}", both.stderr);
}
