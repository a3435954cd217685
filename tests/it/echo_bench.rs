//! `sockkit echo-bench`: reports, what is wrong with a server, statuses. The servers that are wrong are the tests' own.
//!
//! - `outputs`: files and lines for others, and results compared
//! - `faults`: what `serve -F` does on purpose
//! - `limits`: what runs out, or is not there

mod faults;
mod limits;
mod outputs;

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

/// A server that is slow on purpose takes this long: nothing waits for it but what is measured.
fn be_slow(time: std::time::Duration) {
    let (_keeps, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
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
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{text}");
    let head = format!("{} (tcp): 1 connection, 100 bytes a message, closed loop, ", server.v4());
    assert!(lines[0].starts_with(&head), "{text}");
    assert!(lines[1].starts_with("round trips   2 000 ("), "{text}");
    for (line, begins) in lines[2..].iter().zip(["round trip    min ", "              p50 ", "              p90 "]) {
        assert!(line.starts_with(begins), "{text}");
    }
    assert!(text.contains("p99.9            -   needs 10 000 samples, has 2 000\n"), "{text}");
    assert!(text.contains("\nerrors        none, every byte compared\n"), "{text}");
    assert!(text.contains("stalls are under-represented"), "{text}");
}

#[test]
fn the_report_for_programs() {
    let (report, status) = report("-n 2000");
    assert_eq!(status, 0);
    let of = |name: &str| report["round_trip"][name].as_f64();
    let ordered: Vec<f64> =
        ["min_us", "p50_us", "p90_us", "p99_us", "max_us"].iter().map(|name| of(name).unwrap()).collect();
    assert!(ordered.is_sorted() && ordered[0] > 0.0, "{ordered:?}");
    assert_eq!(of("p99.9_us"), None);
    let percentiles = report["round_trip"]["percentiles"].as_array().unwrap();
    for percentile in &percentiles[..3] {
        let of = |name: &str| percentile[name].as_f64().unwrap();
        assert!(of("low_us") <= of("value_us") && of("value_us") <= of("high_us"), "{percentile}");
    }
    assert_eq!((&percentiles[3]["value_us"], &percentiles[3]["needs"]), (&Value::Null, &10_000.into()));
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
    let (fixed, status) = report("-t 300ms --warm-up 100ms");
    assert_eq!((status, &fixed["warm_up"]), (0, &"fixed".into()));
    // Whole slices of 50 ms, and one that tells every thread of it.
    let warm_up_ms = fixed["warm_up_ms"].as_f64().unwrap();
    assert!((100.0..2000.0).contains(&warm_up_ms), "{warm_up_ms}");
    let elapsed_ms = fixed["elapsed_ms"].as_f64().unwrap();
    assert!((200.0..3000.0).contains(&elapsed_ms), "{elapsed_ms}");
    assert!(fixed["discarded"].as_u64().unwrap() > 0, "{fixed}");
    let (by_rule, _) = report("-t 300ms");
    assert!(matches!(by_rule["warm_up"].as_str(), Some("settled" | "not_settled")), "{by_rule}");
}

#[test]
fn a_warm_up_before_a_number_of_messages_is_not_counted_among_them() {
    let (report, status) = report("-n 100 --warm-up 50ms");
    assert_eq!((status, &report["round_trips"]), (0, &100.into()), "{report}");
    assert!(report["discarded"].as_u64().unwrap() > 0, "{report}");
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

/// The loops that a datagram may go through: blocking, by readiness, and with a window.
const DATAGRAM_LOOPS: [&str; 3] = ["", "-c 2 --threads 1", "--window 4"];

#[test]
fn one_lost_datagram_of_5000_is_counted_and_stops_nothing() {
    for words in DATAGRAM_LOOPS {
        let address = udp_server(|number, bytes| if number == 2500 { vec![] } else { vec![bytes.to_vec()] });
        let (report, status) = report(&format!("-u {address} -n 5000 -W 300ms {words}"));
        let errors = &report["errors"];
        assert_eq!((status, &report["round_trips"]), (0, &4999.into()), "{words}: {report}");
        for (name, count) in [("lost", 1), ("loss_bursts", 1), ("longest_loss_burst", 1), ("late", 0), ("duplicate", 0)]
        {
            assert_eq!(errors[name], count, "{words} {name}: {report}");
        }
    }
}

#[test]
fn a_lost_datagram_is_an_infinite_latency() {
    // One in fifty: the 98th percentile is the last that was answered.
    let address = udp_server(|number, bytes| if number % 50 == 7 { vec![] } else { vec![bytes.to_vec()] });
    let (report, status) = report(&format!("-u {address} -n 1000 --window 50 -W 300ms"));
    assert_eq!((status, &report["errors"]["lost"]), (0, &20.into()), "{report}");
    let percentiles = report["round_trip"]["percentiles"].as_array().unwrap();
    assert!(percentiles[1]["value_us"].as_f64().unwrap() > 0.0, "p90: {report}");
    assert_eq!((&percentiles[2]["value_us"], &percentiles[2]["infinite"]), (&Value::Null, &true.into()), "{report}");
    assert_eq!(report["round_trip"]["p99_us"], Value::Null);
}

#[test]
fn losses_in_a_row_are_one_burst() {
    let address = udp_server(|number, bytes| if (11..=13).contains(&number) { vec![] } else { vec![bytes.to_vec()] });
    let (report, _) = report(&format!("-u {address} -n 30 -W 100ms"));
    assert_eq!(
        (&report["errors"]["lost"], &report["errors"]["loss_bursts"], &report["errors"]["longest_loss_burst"]),
        (&3.into(), &1.into(), &3.into()),
        "{report}"
    );
}

#[test]
fn a_late_answer_is_not_a_lost_one() {
    for words in ["", "--window 4"] {
        // The fifth is held back until the next comes, which is after it was given up: nothing else is under way.
        let mut held = Vec::new();
        let address = udp_server(move |number, bytes| {
            if number == 5 {
                held = bytes.to_vec();
                return vec![];
            }
            let mut answers = vec![bytes.to_vec()];
            answers.extend((!held.is_empty()).then(|| std::mem::take(&mut held)));
            answers
        });
        let (report, status) = report(&format!("-u {address} -n 5000 -W 150ms {words}"));
        let errors = &report["errors"];
        assert_eq!((status, &report["round_trips"]), (0, &5000.into()), "{words}: {report}");
        let expected = if words.is_empty() { ("late", "reordered") } else { ("reordered", "late") };
        assert_eq!(
            (&errors[expected.0], &errors[expected.1], &errors["lost"]),
            (&1.into(), &0.into(), &0.into()),
            "{report}"
        );
    }
}

#[test]
fn doubled_swapped_and_corrupt_datagrams_are_told_apart() {
    let all_zero_but = |report: &Value, name: &str, count: u64, words: &str| {
        for other in ["lost", "late", "duplicate", "reordered", "corrupt", "truncated", "refused", "stray"] {
            let expected = if other == name { count } else { 0 };
            assert_eq!(report["errors"][other], expected, "{words} {other}: {report}");
        }
    };
    for words in DATAGRAM_LOOPS {
        let twice = udp_server(|number, bytes| vec![bytes.to_vec(); if number == 5 { 2 } else { 1 }]);
        let (doubled, status) = report(&format!("-u {twice} -n 500 {words}"));
        assert_eq!((status, &doubled["round_trips"]), (0, &500.into()), "{words}: {doubled}");
        all_zero_but(&doubled, "duplicate", 1, words);
        // A byte of the pattern, and bytes of both numbers that say which message it is.
        for offset in [20, 7, 2, 11] {
            let wrong = udp_server(move |number, bytes| {
                let mut answer = bytes.to_vec();
                answer[offset] ^= u8::from(number == 5);
                vec![answer]
            });
            let (corrupt, status) = report(&format!("-u {wrong} -n 500 {words}"));
            assert_eq!((status, &corrupt["round_trips"]), (5, &500.into()), "{words} {offset}: {corrupt}");
            all_zero_but(&corrupt, "corrupt", 1, words);
            assert_eq!(corrupt["errors"]["first_corrupt_offset"], offset);
        }
        // Nothing is left that says which.
        let headless = udp_server(|number, bytes| {
            let mut answer = bytes.to_vec();
            if number == 5 {
                answer[..16].fill(0xff);
            }
            vec![answer]
        });
        let (corrupt, status) = report(&format!("-u {headless} -n 500 {words}"));
        assert_eq!((status, &corrupt["round_trips"]), (5, &500.into()), "{words}: {corrupt}");
        all_zero_but(&corrupt, "corrupt", 1, words);
        // A datagram that is nobody's answer is wrong, and takes no message's place.
        let chatty = udp_server(|number, bytes| {
            let mut answers = vec![bytes.to_vec()];
            answers.extend((number == 5).then(|| vec![0; 64]));
            answers
        });
        let (extra, status) = report(&format!("-u {chatty} -n 500 {words}"));
        assert_eq!(
            (status, &extra["errors"]["corrupt"], &extra["errors"]["lost"]),
            (5, &1.into(), &0.into()),
            "{extra}"
        );
    }
    let mut held = Vec::new();
    let swapping = udp_server(move |number, bytes| {
        if number == 5 {
            held = bytes.to_vec();
            return vec![];
        }
        let mut answers = vec![bytes.to_vec()];
        answers.extend((number == 6).then(|| std::mem::take(&mut held)));
        answers
    });
    let (swapped, status) = report(&format!("-u {swapping} -n 500 --window 8"));
    assert_eq!((status, &swapped["round_trips"]), (0, &500.into()), "{swapped}");
    all_zero_but(&swapped, "reordered", 1, "--window 8");
}

#[test]
fn an_answer_on_the_wrong_connection_is_a_stray() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut peers = Vec::new();
        let mut message = [0; 64];
        for number in 1.. {
            let Ok((_, from)) = socket.recv_from(&mut message) else { return };
            if !peers.contains(&from) {
                peers.push(from);
            }
            socket.send_to(&message, from).unwrap();
            if number == 7 {
                socket.send_to(&message, peers.iter().copied().find(|peer| *peer != from).unwrap()).unwrap();
            }
        }
    });
    let (report, status) = report(&format!("-u {address} -n 500 -c 2 --threads 1"));
    assert_eq!(
        (status, &report["errors"]["stray"], &report["errors"]["corrupt"]),
        (0, &1.into(), &0.into()),
        "{report}"
    );
}

#[test]
fn short_datagrams_are_told_apart_as_well() {
    for length in [1, 3, 8] {
        let twice = udp_server(|number, bytes| vec![bytes.to_vec(); if number == 300 { 2 } else { 1 }]);
        let (doubled, status) = report(&format!("-u {twice} -n 600 -l {length}"));
        assert_eq!((status, &doubled["errors"]["duplicate"]), (0, &1.into()), "{doubled}");
        assert_eq!(doubled["errors"]["corrupt"], 0, "{doubled}");
    }
}

#[test]
fn a_truncated_datagram_is_told_with_its_end() {
    let short = udp_server(|_, bytes| vec![bytes[..30].to_vec()]);
    let (report, status) = report(&format!("-u {short} -n 3"));
    assert_eq!((status, &report["errors"]["first_corrupt_offset"]), (5, &30.into()), "{report}");
    assert_eq!((&report["errors"]["truncated"], &report["errors"]["corrupt"]), (&3.into(), &0.into()), "{report}");
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
        assert!(String::from_utf8(finished.stdout).unwrap().contains("\nerrors        ended early\n"));
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
        (
            "-l 9..0",
            2,
            "sockkit: invalid value '9..0' for '--length <SIZE>': \"9..0\" is not a range: 9 is more than 0\n",
        ),
        ("-W 0", 2, "sockkit: -W 0 waits for no answer: the shortest is 1us\n"),
        (
            "-r 0",
            2,
            "sockkit: invalid value '0' for '--rate <RATE>': \"0\" is not a rate: it sends nothing, for example 10000, 10k (a second) or 0.5\n",
        ),
        ("--reconnect 1 -c 300", 2, "sockkit: --reconnect makes at most 256 connections at a time\n"),
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

#[test]
fn an_open_loop_has_three_distributions() {
    for words in ["", "-u", "--arrival poisson", "-c 3", "-c 4 --threads 2", "-l 64..1400", "-U"] {
        let (report, status) = report(&format!("-r 5000 -n 1000 {words}"));
        // What was planned while this machine did something else goes out at once, and datagrams of it may be lost.
        let of = |field: &Value| field.as_u64().unwrap();
        let (answered, lost) = (of(&report["round_trips"]), of(&report["errors"]["lost"]));
        assert_eq!((status, answered + lost), (0, 1000), "{words}: {report}");
        assert!(lost == 0 || words == "-u", "{words}: {report}");
        let least = |name: &str| report[name]["min_us"].as_f64().unwrap();
        assert!(least("round_trip") >= least("service") && least("send_delay") > 0.0, "{words}: {report}");
        // A fifth of a second, however late this machine is.
        let elapsed_ms = report["elapsed_ms"].as_f64().unwrap();
        assert!(elapsed_ms > 150.0, "{words}: {elapsed_ms}");
        assert!(report["generator_limited"].is_boolean(), "{words}: {report}");
    }
}

#[test]
fn a_seed_repeats_what_is_sent() {
    let record = |words: &str| {
        let (address, server) = tcp_server(|mut stream| {
            let mut copy = stream.try_clone().unwrap();
            let mut bytes = Vec::new();
            let mut block = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut block) {
                bytes.extend_from_slice(&block[..count]);
                copy.write_all(&block[..count]).unwrap();
            }
            bytes
        });
        let (report, status) = report(&format!("{address} -n 50 -l 8..200 {words}"));
        assert_eq!(status, 0, "{report}");
        server.join().unwrap()
    };
    let first = record("--seed 7");
    assert!(first.len() > 50 * 50, "{}", first.len());
    assert_eq!(first, record("--seed 7"));
    assert_ne!(first, record("--seed 8"));
}

#[test]
fn a_stall_is_in_the_response_of_an_open_loop_and_not_in_its_service() {
    // The server stops reading after its hundredth message, until as many as fit have been planned meanwhile. What it reads
    // next is long overdue by the plan, but some of it was only just sent.
    for length in [64, 8192] {
        let (address, _server) = tcp_server(move |mut stream| {
            let mut copy = stream.try_clone().unwrap();
            let mut message = vec![0; length];
            for number in 0.. {
                if stream.read_exact(&mut message).is_err() {
                    return;
                }
                if number == 100 {
                    be_slow(std::time::Duration::from_millis(400));
                }
                copy.write_all(&message).unwrap();
            }
        });
        let (report, status) = report(&format!("{address} -r 10000 -n 8000 -l {length}"));
        assert_eq!((status, &report["round_trips"]), (0, &8000.into()), "{report}");
        // Half of the messages were planned for the 400 ms of the stall: the median waited some of it, p90 nearly all.
        let p90_ms = report["round_trip"]["p90_us"].as_f64().unwrap() / 1e3;
        assert!(p90_ms > 250.0, "{length}: {p90_ms} ms, {report}");
        assert!(report["round_trip"]["max_us"].as_f64().unwrap() > 390_000.0, "{report}");
    }
}

#[test]
fn a_window_keeps_so_many_messages_under_way() {
    // A server that answers only when it has eight messages: with fewer under way nothing would ever come back.
    let (address, server) = tcp_server(|mut stream| {
        let mut eight = [0; 8 * 64];
        let mut count = 0;
        while stream.read_exact(&mut eight).is_ok() {
            stream.write_all(&eight).unwrap();
            count += 8;
        }
        count
    });
    let (report, status) = report(&format!("{address} -n 800 --window 8"));
    assert_eq!((status, &report["round_trips"], server.join().unwrap()), (0, &800.into(), 800), "{report}");
    assert_eq!(report["window"], 8);
}

#[test]
fn connections_are_made_anew() {
    let server = Server::start("");
    let (report, status) = report(&format!("{} -n 100 --reconnect 7 -c 2", server.v4()));
    assert_eq!((status, &report["round_trips"]), (0, &100.into()), "{report}");
    // Two lanes share 100 messages, seven to a connection.
    let connects = report["connect"]["count"].as_u64().unwrap();
    assert!((15..=18).contains(&connects), "{connects}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_gives_a_full_report() {
    use crate::harness::{Signal, kill};
    for words in ["", "-r 1000", "-c 3"] {
        let (told, is_measuring) = std::sync::mpsc::channel();
        let (address, _server) = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = thread::spawn(move || {
                for stream in listener.incoming() {
                    let (mut stream, told) = (stream.unwrap(), told.clone());
                    thread::spawn(move || {
                        let mut message = [0; 64];
                        let mut count = 0;
                        while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {
                            count += 1;
                            if count == 300 {
                                let _ = told.send(());
                            }
                        }
                    });
                }
            });
            (address, server)
        };
        let mut command = std::process::Command::new(crate::harness::SOCKKIT);
        command.args(["echo-bench", "--json", "-t", "60s", "--warm-up", "0", &address]).args(words.split_whitespace());
        let mut child = crate::harness::Owned(command.stdout(std::process::Stdio::piped()).spawn().unwrap());
        is_measuring.recv().unwrap();
        kill(child.0.id(), Signal::Interrupt);
        let mut text = String::new();
        child.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(child.wait("echo-bench").code(), Some(0), "{text}");
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&report["interrupted"], &report["failure"]), (&true.into(), &Value::Null), "{words}: {report}");
        // What is under way at that moment is neither answered nor lost; by a plan that is as much as this machine is behind.
        let least = if words.starts_with("-r") { 1 } else { 297 };
        assert!(report["round_trips"].as_u64().unwrap() >= least, "{words}: {report}");
        assert_eq!(report["errors"]["lost"], 0, "{words}: {report}");
    }
}

#[test]
fn a_known_delay_is_measured() {
    let delay = std::time::Duration::from_millis(10);
    let (address, _server) = tcp_server(move |mut stream| {
        let mut message = [0; 64];
        while stream.read_exact(&mut message).is_ok() {
            be_slow(delay);
            stream.write_all(&message).unwrap();
        }
    });
    let (report, status) = report(&format!("{address} -n 50"));
    assert_eq!(status, 0, "{report}");
    // Never less; how much more is the machine's doing, and for the benches to say.
    assert!(report["round_trip"]["min_us"].as_f64().unwrap() >= 10_000.0, "{report}");
}

#[test]
fn intervals_come_before_the_report_and_add_up_to_it() {
    let finished = Run::sockkit("echo-bench --json -n 1000 -i 100ms -r 2000").finish();
    let text = String::from_utf8(finished.stdout).unwrap();
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (report, intervals) = objects.split_last().unwrap();
    assert!(intervals.len() >= 5, "{text}");
    assert!(intervals.iter().all(|interval| interval["schema"] == "sockkit.echo-bench.interval/1"), "{text}");
    let sum: u64 = intervals.iter().map(|interval| interval["round_trips"].as_u64().unwrap()).sum();
    assert_eq!((sum, report["round_trips"].as_u64().unwrap()), (1000, 1000), "{text}");
    for pair in intervals.windows(2) {
        assert_eq!(pair[0]["to_ms"], pair[1]["from_ms"], "{text}");
    }
    let steps = report["time_series"].as_array().unwrap().iter();
    assert_eq!(steps.map(|step| step["round_trips"].as_u64().unwrap()).sum::<u64>(), 1000, "{report}");
}

#[test]
fn conditions_are_judged() {
    let words = "-n 2000 --slo p50<1s --slo errors<1";
    let (held, status) = report(words);
    assert_eq!((status, &held["objectives"][1]["holds"]), (0, &true.into()), "{held}");
    let (failed, status) = report(&format!("{words} --slo p99<1ns"));
    assert_eq!((status, &failed["objectives"][2]["holds"]), (5, &false.into()), "{failed}");
    let (unknown, status) = report("-n 100 --slo p99<1s");
    assert_eq!((status, &unknown["objectives"][0]["found"]), (5, &"needs 1 000 samples, has 100".into()), "{unknown}");
    let refused = Run::sockkit("echo-bench --slo p99").finish();
    assert!(refused.code == 2 && refused.stderr.contains("one of < <= > >= is needed"), "{}", refused.stderr);
}

#[test]
fn a_result_is_kept_compared_and_merged() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (saved, status) = report(&format!("-n 1000 --save {}", path("then")));
    assert_eq!((status, saved["runs"]["runs"].as_array().unwrap().len()), (0, 5), "{saved}");
    let (compared, status) = report(&format!("-n 1000 --baseline {}", path("then")));
    assert_eq!((status, compared["changes"][0]["metric"].as_str()), (0, Some("p50")), "{compared}");
    assert!(compared["changes"][0]["change"].is_number(), "{compared}");
    for (words, what) in
        [("-l 65", "length is 64, and here 65"), ("-c 2", "connections is 1"), ("-u", "protocol is tcp")]
    {
        let refused = Run::sockkit(&format!("echo-bench -n 1000 {words} --baseline {}", path("then"))).finish();
        assert!(refused.code == 2 && refused.stderr.contains(what), "{words}: {}", refused.stderr);
    }
    // The same result ten times quicker: what was measured now is surely worse.
    let mut quicker: Value = serde_json::from_str(&std::fs::read_to_string(path("then")).unwrap()).unwrap();
    for run in quicker["runs"].as_array_mut().unwrap() {
        for name in ["p50_us", "p99_us"] {
            run[name] = (run[name].as_f64().unwrap() / 10.0).into();
        }
    }
    std::fs::write(path("quicker"), quicker.to_string()).unwrap();
    let (worse, status) = report(&format!("-n 1000 --baseline {} --fail-on-regression 5%", path("quicker")));
    assert_eq!((status, &worse["regression"], &worse["changes"][0]["verdict"]), (5, &true.into(), &"worse".into()));
    let (_, status) = report(&format!("-n 1000 --hlog {}", path("log")));
    assert_eq!(status, 0);
    let (merged, status) = report(&format!("--merge {} {}", path("then"), path("log")));
    assert_eq!((status, &merged["round_trips"]), (0, &6000.into()), "{merged}");
    std::fs::write(path("other"), "{}").unwrap();
    for (words, code, what) in [
        (format!("--baseline {}", path("none")), 4, "No such file or directory (ENOENT, 2)"),
        (format!("--baseline {}", path("other")), 2, "was not written by echo-bench --save"),
        (format!("--merge {}", path("other")), 2, "was not written by echo-bench --save"),
        (format!("--save {}", path("no/folder")), 4, "create "),
        (format!("--csv {}", path("no/folder")), 4, "create "),
    ] {
        let refused = Run::sockkit(&format!("echo-bench -n 10 {words}")).finish();
        let told = crate::harness::mask(&refused.stderr);
        assert!(refused.code == code && told.contains(what), "{words}: {} {told}", refused.code);
        assert!(refused.stdout.is_empty(), "{words}: it was found before the run");
    }
}

#[test]
fn a_search_finds_a_rate_and_a_ramp_goes_through_ten() {
    // The server's pace is its own doing, 1 ms a message: 4000 a second on four connections, and not much less.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            thread::spawn(move || {
                let mut message = [0; 64];
                while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {
                    be_slow(std::time::Duration::from_millis(1));
                }
            });
        }
    });
    let (found, status) = report(&format!("{address} -c 4 -t 200ms --warm-up 0 --search p50<20ms"));
    // How close it comes depends on what else this machine does; beyond the server's pace nothing can hold.
    let rate = found["trials"]["highest_rate_per_s"].as_f64();
    assert_eq!(status, if rate.is_some() { 0 } else { 5 }, "{found}");
    assert!(rate.is_none_or(|rate| rate < 4200.0), "{found}");
    let (none, status) = report(&format!("{address} -t 50ms --warm-up 0 --search max<1ns -r 10"));
    assert_eq!((status, &none["trials"]["highest_rate_per_s"]), (5, &Value::Null), "{none}");
    let (ramp, status) = report("-t 50ms --warm-up 0 --ramp 100..2000");
    assert_eq!((status, ramp["trials"]["trials"].as_array().unwrap().len()), (0, 10), "{ramp}");
}

#[test]
fn a_page_holds_everything_and_opens_in_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let words = format!("-r 5000 -n 2000 --html {} --svg {}", path("page.html").display(), path("chart.svg").display());
    let (report, status) = report(&words);
    assert_eq!(status, 0, "{report}");
    let page = std::fs::read_to_string(path("page.html")).unwrap();
    for id in ["report", "spectrum", "time-series", "histogram", "environment", "data"] {
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
    }
    let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(data).unwrap()["round_trips"], 2000);
    // It must need nothing else: no address is fetched.
    let addresses: Vec<&str> = page.match_indices("://").map(|(at, _)| &page[at.saturating_sub(5)..at + 20]).collect();
    assert!(addresses.iter().all(|address| address.contains("www.w3.org")), "{addresses:?}");
    assert!(std::fs::read_to_string(path("chart.svg")).unwrap().starts_with("<svg "));
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let Some(browser) = browsers.into_iter().find(|browser| crate::harness::has(browser)) else { return };
    let seen = Run::program(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .args([format!("file://{}", path("page.html").display())])
        .finish();
    let seen = String::from_utf8(seen.stdout).unwrap();
    assert!(seen.contains("Latency by percentile") && seen.contains("id=\"spectrum\""), "{seen}");
}

#[test]
fn threads_can_spin_and_be_kept_on_a_cpu() {
    for words in ["--spin", "--spin -u", "--spin -r 2000"] {
        let (report, status) = report(&format!("-n 300 {words}"));
        assert_eq!((status, &report["round_trips"]), (0, &300.into()), "{words}: {report}");
    }
    let refused = Run::sockkit("echo-bench --spin -c 1000 --threads 1000").finish();
    assert!(refused.code == 2 && refused.stderr.contains("needs as many CPUs"), "{}", refused.stderr);
    #[cfg(target_os = "linux")]
    {
        let (report, status) = report("-n 300 --cpu 0");
        assert_eq!((status, &report["round_trips"]), (0, &300.into()), "{report}");
        let refused = Run::sockkit("echo-bench --cpu 1023").finish();
        assert!(refused.code == 2 && refused.stderr.contains("may not use that CPU"), "{}", refused.stderr);
    }
}

#[test]
fn the_percentiles_that_are_told_can_be_chosen() {
    let (report, _) = report("-n 2000 --percentiles 99,50,75");
    let percents: Vec<f64> = report["round_trip"]["percentiles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|percentile| percentile["percent"].as_f64().unwrap())
        .collect();
    assert_eq!(percents, [50.0, 75.0, 99.0]);
}
