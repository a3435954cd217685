//! What is refused, and what this side and the other run out of, or do not have: descriptors, receive buffers, a listener, an
//! address, time.

use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

use super::{report, tcp_server};
use crate::harness::{Run, Server, mask};

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
        assert_eq!((finished.code, mask(&finished.stderr).as_str()), (code, stderr), "{words}");
        assert!(finished.stdout.is_empty(), "{words}");
    }
    let both = Run::sockkit("echo-bench -n 1 -t 1").finish();
    assert!(both.code == 2 && both.stderr.contains("cannot be used with"), "{}", both.stderr);
    // Neither this machine nor any server is as quick: it does not take all of its memory to find out.
    let finished = Run::sockkit("echo-bench -r 100M -t 1h --warm-up 0").finish();
    assert!(finished.code == 4 && finished.stderr.contains("the rate cannot be kept"), "{}", finished.stderr);
    assert!(String::from_utf8(finished.stdout).unwrap().contains("\nerrors        ended early\n"));
}

#[test]
fn a_name_without_an_address_is_told_before_anything_else() {
    let finished = Run::sockkit("echo-bench 127.0.0.1:nosuchservice").finish();
    assert_eq!((finished.code, finished.stdout.len()), (6, 0), "{}", finished.stderr);
    assert!(finished.stderr.contains("no such service over tcp"), "{}", finished.stderr);
}

#[test]
fn several_machines_begin_at_the_time_that_they_were_given() {
    for words in ["", "-c 2 --threads 1", "-r 1000"] {
        let (address, server) = {
            let server = Server::start("-4 --quiet");
            (server.v4(), server)
        };
        let start = SystemTime::now() + Duration::from_millis(700);
        let stamp = humantime::format_rfc3339_millis(start);
        let (report, status) = report(&format!("{address} -n 10 --start-at {stamp} {words}"));
        assert_eq!((status, &report["round_trips"]), (0, &10.into()), "{report}");
        // The clock is the system's own: to a millisecond, as it was typed.
        assert!(SystemTime::now() >= start - Duration::from_millis(1), "{words}: it did not wait");
        drop(server);
    }
    // What is connected has not been sent anything before.
    let start = SystemTime::now() + Duration::from_millis(700);
    let (address, server) = tcp_server(|mut stream| {
        let mut message = [0; 64];
        stream.read_exact(&mut message).unwrap();
        let came = SystemTime::now();
        stream.write_all(&message).unwrap();
        came
    });
    let (_, status) = report(&format!("{address} -n 1 --start-at {}", humantime::format_rfc3339_millis(start)));
    assert!(status == 0 && server.join().unwrap() >= start - Duration::from_millis(1));
    // A time that has passed is no reason to wait.
    let (_, status) = report("-n 1 --start-at 2001-01-31T12:00:00Z");
    assert_eq!(status, 0);
    let refused = Run::sockkit("echo-bench --start-at noon").finish();
    assert!(refused.code == 2 && refused.stderr.contains("is not a time, for example"), "{}", refused.stderr);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::net::UdpSocket;
    use std::process::{Command, Stdio};
    use std::thread;

    use serde_json::Value;

    use super::*;
    use crate::harness::{
        DEADLINE, Deaf, Lines, NAMES_FROM_FILES, Owned, SOCKKIT, Signal, can_unshare, code_of, kill, unshared, until,
    };

    #[test]
    fn datagrams_that_are_refused_are_counted_apart_from_the_lost() {
        // It answers five, takes the sixth with it, and is gone.
        for words in ["", "-c 1 -r 200"] {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            let address = socket.local_addr().unwrap();
            let server = thread::spawn(move || {
                let mut buffer = [0; 100];
                for number in 1..=6 {
                    let (count, from) = socket.recv_from(&mut buffer).unwrap();
                    if number <= 5 {
                        socket.send_to(&buffer[..count], from).unwrap();
                    }
                }
            });
            let (report, status) = report(&format!("-u {address} -n 20 -W 200ms {words}"));
            server.join().unwrap();
            let errors = &report["errors"];
            let (lost, refused) = (errors["lost"].as_u64().unwrap(), errors["refused"].as_u64().unwrap());
            assert_eq!((status, &report["round_trips"], lost + refused), (0, &5.into(), 15), "{words}: {report}");
            // The one that it took is lost; with a plan, what had been sent before it was gone is as well.
            assert!(if words.is_empty() { lost == 1 } else { lost >= 1 && refused >= 1 }, "{words}: {report}");
        }
        // Where nobody ever answered, it is no server.
        let finished = Run::sockkit("echo-bench -u 127.0.0.1:1 -n 5").finish();
        assert_eq!(finished.code, 1, "{}", finished.stderr);
        assert!(mask(&finished.stderr).contains("Connection refused (ECONNREFUSED, 111)"), "{}", finished.stderr);
    }

    /// One signal ends what has not begun to measure; where threads of their own connect, the second does.
    #[test]
    fn an_interrupt_ends_it_while_nobody_answers_its_connects() {
        for (words, is_twice) in [("-c 3", false), ("--reconnect 1", true)] {
            let deaf = Deaf::listen("127.0.0.1:0".parse().unwrap()).unwrap();
            let mut command = Command::new(SOCKKIT);
            command.args(["echo-bench", "--trace", "-w", "600", "-t", "600", &deaf.address.to_string()]);
            command.args(words.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = Owned(command.spawn().unwrap());
            let mut calls = Lines::of(child.0.stderr.take().unwrap());
            calls.wait_for("EINPROGRESS");
            kill(child.0.id(), Signal::Interrupt);
            if is_twice {
                // Another one: two of a kind may come as one.
                kill(child.0.id(), Signal::Terminate);
            }
            let found = code_of(child.wait("echo-bench"));
            let mut report = String::new();
            child.0.stdout.take().unwrap().read_to_string(&mut report).unwrap();
            // Of two that come at once either may be heard first.
            assert!(found == 130 || is_twice && found == 143, "{words}: {found} {report}");
            assert_eq!(report.contains("partial: interrupted"), !is_twice, "{words}: {report}");
        }
    }

    #[test]
    fn a_name_that_nobody_knows_is_not_resolved() {
        if !can_unshare() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        unshared("-rmn", NAMES_FROM_FILES, "echo-bench nosuch.invalid:7")
            .env("T", folder.path().to_str().unwrap())
            .stderr(
                "sockkit: resolve \"nosuch.invalid\" failed after TIME: Name or service not known (EAI_NONAME, -2)\n",
            )
            .code(6)
            .check();
    }

    #[test]
    fn too_few_descriptors_are_told_before_they_are_missing() {
        let server = Server::start("-4 --quiet");
        let line = format!("ulimit -n 64; exec \"$0\" echo-bench -c 100 -n 100 {}", server.v4());
        let finished = Run::program("sh").args(["-c", &line, SOCKKIT]).finish();
        let lines: Vec<&str> = finished.stderr.lines().collect();
        assert_eq!((finished.code, lines.len()), (4, 2), "{}", finished.stderr);
        let told =
            "warning: 100 connections take some 132 descriptors, and there may be 64: ulimit -Hn 132, or a smaller -c";
        assert_eq!(lines[0], told);
        assert!(lines[1].contains("Too many open files (EMFILE, 24)"), "{}", lines[1]);
        // With as many as it says, it goes.
        let line = line.replace("-n 64", "-n 132");
        assert_eq!(Run::program("sh").args(["-c", &line, SOCKKIT]).finish().code, 0);
    }

    #[test]
    fn a_window_beyond_the_receive_buffer_is_told_before_the_run_and_with_the_result() {
        let words = "--window 50 -l 1000 --receive-buffer 4096 -n 50 -W 200ms";
        let finished = Run::sockkit(&format!("echo-bench -u --json {words}")).finish();
        let report: Value = serde_json::from_slice(&finished.stdout).unwrap();
        let told = "--window 50 takes up to 75 600 bytes, and the receive buffer holds 8 192: what does not fit is lost; \
                    --receive-buffer 37801";
        assert_eq!(finished.stderr, format!("warning: {told}\n"));
        assert!(report["environment"]["warnings"].as_array().unwrap().contains(&told.into()), "{report}");
        let quiet = Run::sockkit(&format!("echo-bench -u --quiet {words}")).finish();
        assert_eq!(quiet.stderr, "");
    }

    /// While the one that asks is stopped, more answers come than its buffer holds: the kernel drops them, and says so.
    #[test]
    fn what_the_kernel_drops_here_is_told_apart_from_what_is_lost_elsewhere() {
        /// As many as any server's own buffer holds.
        const MESSAGES: usize = 40;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let mut command = Command::new(SOCKKIT);
        command.args(["echo-bench", "--json", "-u", &address, "-l", "1000", "-W", "2s"]);
        command.args(["--window", &MESSAGES.to_string(), "-n", &MESSAGES.to_string(), "--receive-buffer", "4096"]);
        let mut child = Owned(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let mut waiting = Vec::new();
        while waiting.len() < MESSAGES {
            let mut buffer = vec![0; 2000];
            let (count, from) = socket.recv_from(&mut buffer).unwrap();
            buffer.truncate(count);
            waiting.push((buffer, from));
        }
        let pid = child.0.id();
        kill(pid, Signal::Stop);
        until("every thread is stopped", || {
            let state = |path: std::path::PathBuf| {
                let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
                stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 't']))
            };
            std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().all(|task| state(task.path()))
        });
        // The first of them never arrives: that is nobody's buffer.
        for (answer, from) in &waiting[1..] {
            socket.send_to(answer, from).unwrap();
        }
        kill(pid, Signal::Continue);
        let mut text = String::new();
        child.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(child.wait("echo-bench").success(), "{text}");
        let report: Value = serde_json::from_str(&text).unwrap();
        let of = |value: &Value| value.as_u64().unwrap();
        let (answered, lost) = (of(&report["round_trips"]), of(&report["errors"]["lost"]));
        assert_eq!(answered + lost, MESSAGES as u64, "{report}");
        assert!(answered > 0 && of(&report["dropped_here"]) == lost - 1 && lost > 10, "{report}");
    }

    #[test]
    fn what_lies_between_goes_with_the_result() {
        let (report, status) = report("-n 2000");
        let environment = &report["environment"];
        assert_eq!((status, &environment["interface"]["name"]), (0, &"lo".into()), "{report}");
        let mtu = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
        assert_eq!(environment["interface"]["mtu_bytes"].to_string(), mtu.trim());
        assert!(environment["interface"]["queueing"].is_string());
        for usage in ["load_threads", "own_server"] {
            for field in ["cpu_ns", "voluntary_switches", "involuntary_switches"] {
                assert!(environment[usage][field].is_u64(), "{usage} {field}: {environment}");
            }
            // Only kernels with CONFIG_SCHED_DEBUG know.
            let knows = std::path::Path::new("/proc/self/sched").exists();
            assert_eq!(environment[usage]["migrations"].is_u64(), knows, "{environment}");
        }
        for end in ["tcp_info_at_start", "tcp_info"] {
            assert_eq!(report[end]["connections"], 1, "{report}");
            assert!(report[end]["rtt_us"].as_u64().unwrap() > 0, "{report}");
        }
        let text = String::from_utf8(Run::sockkit("echo-bench -n 2000").finish().stdout).unwrap();
        for begins in ["tcp           rtt ", "path          lo, packets up to ", "cpu           "] {
            assert!(text.lines().any(|line| line.starts_with(begins)), "{begins}: {text}");
        }
        let unix = Run::sockkit("echo-bench -U --json -n 100").finish();
        let unix: Value = serde_json::from_slice(&unix.stdout).unwrap();
        assert_eq!((&unix["environment"]["interface"], &unix["tcp_info"]), (&Value::Null, &Value::Null));
    }
}
