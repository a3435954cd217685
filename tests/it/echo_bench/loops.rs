//! How messages follow each other: closed and open loops, windows, warm-ups, times and numbers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::{report, tcp_server};
use crate::harness::{Run, Server, dawdle};

/// Echoes a stream to its end, and counts.
fn echo(mut stream: TcpStream) -> u64 {
    let mut copy = stream.try_clone().unwrap();
    std::io::copy(&mut stream, &mut copy).unwrap()
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
                    dawdle(Duration::from_millis(400));
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
    use super::tcp_servers;
    use crate::harness::{Signal, kill};
    for words in ["", "-r 1000", "-c 3"] {
        let (told, is_measuring) = std::sync::mpsc::channel();
        let address = tcp_servers(move |mut stream| {
            let mut message = [0; 64];
            let mut count = 0;
            while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {
                count += 1;
                if count == 300 {
                    let _ = told.send(());
                }
            }
        });
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
    let delay = Duration::from_millis(10);
    let (address, _server) = tcp_server(move |mut stream| {
        let mut message = [0; 64];
        while stream.read_exact(&mut message).is_ok() {
            dawdle(delay);
            stream.write_all(&message).unwrap();
        }
    });
    let (report, status) = report(&format!("{address} -n 50"));
    assert_eq!(status, 0, "{report}");
    // Never less; how much more is the machine's doing, and for the benches to say.
    assert!(report["round_trip"]["min_us"].as_f64().unwrap() >= 10_000.0, "{report}");
}

#[test]
fn threads_can_spin_and_be_kept_on_a_cpu() {
    for words in ["--spin", "--spin -u", "--spin -r 2000", "--spin --reconnect 7"] {
        let (report, status) = report(&format!("-n 300 {words}"));
        assert_eq!((status, &report["round_trips"]), (0, &300.into()), "{words}: {report}");
    }
    let refused = Run::sockkit("echo-bench --spin -c 1000 --threads 1000").finish();
    assert!(refused.code == 2 && refused.stderr.contains("needs as many CPUs"), "{}", refused.stderr);
    #[cfg(target_os = "linux")]
    {
        let (report, status) = report("-n 300 --cpu 0");
        assert_eq!((status, &report["round_trips"]), (0, &300.into()), "{report}");
        // Its threads are there, and not all of the program.
        let cpus = std::thread::available_parallelism().unwrap().get();
        assert_eq!(report["environment"]["cpus"], cpus, "{report}");
        let refused = Run::sockkit("echo-bench --cpu 1023").finish();
        assert!(refused.code == 2 && refused.stderr.contains("may not use that CPU"), "{}", refused.stderr);
    }
}
