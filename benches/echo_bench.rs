//! What this project measures of itself for `echo-bench`: that its numbers are right, and what they cost.
//!
//! `cargo bench --bench echo_bench`: each line is a claim, what was found, and whether it holds. Run it on a quiet machine;
//! it is no test, since what else a machine does changes what is found. Owns its servers. On Linux, in half a minute.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const SOCKKIT: &str = env!("CARGO_BIN_EXE_sockkit");

/// A claim and what was found.
struct Finding {
    claim: String,
    found: String,
    holds: bool,
}

fn main() -> ExitCode {
    let mut all_hold = true;
    let mut out = std::io::stdout().lock();
    for measure in [stalls, known_delay, pacing, floor] {
        for Finding { claim, found, holds } in measure() {
            all_hold &= holds;
            let verdict = if holds { "holds" } else { "DOES NOT HOLD" };
            // A reader that has gone needs no more lines.
            let _ = writeln!(out, "{verdict:<14} {claim}: {found}");
        }
    }
    if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The report of a run.
fn report(words: &str) -> Value {
    let output = Command::new(SOCKKIT)
        .args(["echo-bench", "--json"])
        .args(words.split_whitespace())
        .stderr(Stdio::inherit())
        .output()
        .expect("sockkit runs");
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("a report")
}

fn p(report: &Value, distribution: &str, percent: f64) -> f64 {
    let all = report[distribution]["percentiles"].as_array().expect("percentiles");
    let found = all.iter().find(|one| one["percent"] == percent).expect("a percentile");
    if found["infinite"] == true { f64::INFINITY } else { found["value_us"].as_f64().unwrap_or(f64::NAN) }
}

/// A `sockkit serve` of its own process, so that it can be stopped.
struct Server {
    child: std::process::Child,
    address: String,
}

impl Server {
    fn start() -> Server {
        let mut child = Command::new(SOCKKIT)
            .args(["serve", "-4", "-p", "0", "--quiet"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("sockkit runs");
        let mut line = Vec::new();
        let stdout = child.stdout.as_mut().expect("a pipe");
        let mut byte = [0];
        while stdout.read(&mut byte).is_ok_and(|count| count == 1) && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        let line = String::from_utf8(line).expect("text");
        let address = line.split_whitespace().nth(2).expect("an address").to_owned();
        Server { child, address }
    }

    /// Stops it for so long. Where there is no such signal nothing stalls, and the claim does not hold.
    fn stop(&self, time: Duration) {
        #[cfg(unix)]
        {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, Signal::STOP).expect("our own child");
            thread::sleep(time);
            kill_process(pid, Signal::CONT).expect("our own child");
        }
        #[cfg(not(unix))]
        thread::sleep(time);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that is stopped for 1 s of 4 s, at 10,000/s: a quarter of the messages waited, on average half a second. By
/// that p90 is 0.6 s. A closed loop does not see it.
fn stalls() -> Vec<Finding> {
    let stopped = |words: &str| {
        let server = Server::start();
        let words = format!("{} -t 4s --warm-up 300ms {words}", server.address);
        thread::scope(|scope| {
            let run = scope.spawn(move || report(&words));
            // The warm-up, and a second of the measurement.
            thread::sleep(Duration::from_millis(1400));
            server.stop(Duration::from_secs(1));
            run.join().expect("a report")
        })
    };
    let open = [64, 8192].map(|length| {
        let p90_s = p(&stopped(&format!("-r 10000 -l {length}")), "round_trip", 90.0) / 1e6;
        Finding {
            claim: format!("open loop, {length} B, server stopped for 1 s of 4 s: p90 is 0.55 to 0.8 s"),
            found: format!("{p90_s:.3} s"),
            holds: (0.55..=0.8).contains(&p90_s),
        }
    });
    let closed_us = p(&stopped(""), "round_trip", 99.0);
    let closed = Finding {
        claim: "closed loop, the same: p99 does not show it (and the report says so)".to_owned(),
        found: format!("{closed_us:.1} µs"),
        holds: closed_us < 100_000.0,
    };
    open.into_iter().chain([closed]).collect()
}

/// A server of one connection that does what `serve` says.
fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        if let Ok((stream, _)) = listener.accept() {
            serve(stream);
        }
    });
    address
}

/// A relay that holds each answer back for 10 ms, to the microsecond: the p50 is that and the floor.
fn known_delay() -> Vec<Finding> {
    const DELAY: Duration = Duration::from_millis(10);
    let hold = |delay: Duration| {
        server(move |mut stream| {
            let mut message = [0; 64];
            let _ = stream.set_nodelay(true);
            while stream.read_exact(&mut message).is_ok() {
                let begun = Instant::now();
                // A sleep alone ends late, by as much as the system saves power with.
                while begun.elapsed() < delay {
                    thread::sleep(delay.saturating_sub(begun.elapsed()).saturating_sub(Duration::from_micros(500)));
                }
                if stream.write_all(&message).is_err() {
                    return;
                }
            }
        })
    };
    let floor_us = p(&report(&format!("{} -n 2000", hold(Duration::ZERO))), "round_trip", 50.0);
    let p50_us = p(&report(&format!("{} -n 200", hold(DELAY))), "round_trip", 50.0);
    let expected_us = DELAY.as_micros() as f64 + floor_us;
    vec![Finding {
        claim: "a relay that delays by 10 ms: p50 within 2 % of that and the floor".to_owned(),
        found: format!("{p50_us:.0} µs for {expected_us:.0} µs"),
        holds: (p50_us / expected_us - 1.0).abs() < 0.02,
    }]
}

/// How late messages are sent at 10,000/s.
fn pacing() -> Vec<Finding> {
    let late_us = p(&report("-t 3s -r 10000"), "send_delay", 99.0);
    vec![Finding {
        claim: "send delay at 10 000/s: p99 under 100 µs (on a quiet machine)".to_owned(),
        found: format!("{late_us:.1} µs"),
        holds: late_us < 100.0,
    }]
}

/// One connection beside the plainest client that there is, A B A B, both ends on whatever CPUs the system chooses.
fn floor() -> Vec<Finding> {
    const ROUNDS: usize = 5;
    let mut ratios: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let server = Server::start();
            let plain_us = plain_client(&server.address);
            p(&report(&format!("{} -t 1s", server.address)), "round_trip", 50.0) / plain_us
        })
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let ratio = ratios[ROUNDS / 2];
    vec![Finding {
        claim: "p50 of one connection: within 1.05 of a loop of send, receive and clock".to_owned(),
        found: format!("{ratio:.3}"),
        holds: ratio <= 1.05,
    }]
}

/// The median of a loop without verification, histogram, or anything else.
fn plain_client(address: &str) -> f64 {
    let (tell, told) = mpsc::channel();
    let mut stream = TcpStream::connect(address).expect("our own server");
    stream.set_nodelay(true).expect("a TCP socket");
    // A thread of its own, as echo-bench has: a main thread wakes no quicker, but it is not the same thing.
    thread::spawn(move || {
        let mut message = [7; 64];
        let mut times = Vec::with_capacity(1 << 20);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1400) {
            let sent = Instant::now();
            if stream.write_all(&message).and_then(|()| stream.read_exact(&mut message)).is_err() {
                break;
            }
            times.push(sent.elapsed());
        }
        let mut measured = times.split_off(times.len() / 4);
        measured.sort_unstable();
        let _ = tell.send(measured[measured.len() / 2]);
    });
    told.recv().expect("a median").as_nanos() as f64 / 1e3
}
