//! What is told of a run: the report for people and for programs, and what comes before it.

use serde_json::Value;

use super::report;
use crate::harness::{Run, Server};

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
