//! The ledger: what became of each datagram, by servers that lose, double, swap, corrupt and cut them.

use std::net::UdpSocket;
use std::thread;

use serde_json::Value;

use super::report;

/// A server that turns datagram number N (from 1) into those that `answer` makes of it. It ends with its test.
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

/// What a server returns that holds its datagram of this number back until the next one comes.
fn holding(held_back: u64) -> impl FnMut(u64, &[u8]) -> Vec<Vec<u8>> + Send + 'static {
    let mut held = None;
    move |number, bytes| match number {
        _ if number == held_back => {
            held = Some(bytes.to_vec());
            vec![]
        }
        _ => [bytes.to_vec()].into_iter().chain(held.take()).collect(),
    }
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
        let address = udp_server(holding(5));
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
    let swapping = udp_server(holding(5));
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
    // From three bytes on a wrong one makes no other message's number, wherever it is.
    for (length, words) in [3, 4, 7, 8, 12].into_iter().flat_map(|length| DATAGRAM_LOOPS.map(|words| (length, words))) {
        let wrong = udp_server(move |number, bytes| {
            let mut answer = bytes.to_vec();
            answer[number as usize / 100 % length] ^= u8::from(number.is_multiple_of(100));
            vec![answer]
        });
        let (corrupt, status) = report(&format!("-u {wrong} -n 1500 -l {length} --seed 1 {words}"));
        assert_eq!((status, &corrupt["round_trips"]), (5, &1500.into()), "{length} {words}: {corrupt}");
        for (name, count) in [("corrupt", 15), ("lost", 0), ("duplicate", 0), ("stray", 0), ("reordered", 0)] {
            assert_eq!(corrupt["errors"][name], count, "{length} {words} {name}: {corrupt}");
        }
    }
}

#[test]
fn a_truncated_datagram_is_told_with_its_end() {
    let short = udp_server(|_, bytes| vec![bytes[..30].to_vec()]);
    let (report, status) = report(&format!("-u {short} -n 3"));
    assert_eq!((status, &report["errors"]["first_corrupt_offset"]), (5, &30.into()), "{report}");
    assert_eq!((&report["errors"]["truncated"], &report["errors"]["corrupt"]), (&3.into(), &0.into()), "{report}");
}
