//! The files and lines that a result goes to, read by those who are not sockkit; and results added up and compared.

use std::collections::BTreeMap;

use serde_json::Value;

use super::report;
use crate::harness::{Run, has};

/// What a program prints that is given a script.
fn python(script: &str, arguments: &[&str]) -> String {
    let finished = Run::program("python3").args(["-c", script]).args(arguments).finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    String::from_utf8(finished.stdout).unwrap()
}

#[test]
fn intervals_of_several_runs_say_whose_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("intervals.csv");
    let words = format!("-t 300ms --warm-up 50ms --runs 3 -i 100ms --csv {}", csv.display());
    let finished = Run::sockkit(&format!("echo-bench --json {words}")).finish();
    let text = String::from_utf8(finished.stdout).unwrap();
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (report, intervals) = objects.split_last().unwrap();
    let table = std::fs::read_to_string(&csv).unwrap();
    let mut rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = rows.next().unwrap();
    let mut sums = BTreeMap::new();
    let mut ends = BTreeMap::new();
    for (interval, row) in intervals.iter().zip(rows.by_ref()) {
        let cell = |name: &str| row[names.iter().position(|other| *other == name).unwrap()];
        assert_eq!(row.len(), names.len(), "{row:?}");
        for name in ["run", "from_ms", "to_ms", "round_trips", "sent", "p50_us"] {
            let number = |text: &str| text.parse::<f64>().ok();
            assert_eq!(number(cell(name)), interval[name].as_f64(), "{name}: {interval}");
        }
        let run = interval["run"].as_u64().unwrap();
        *sums.entry(run).or_insert(0) += interval["round_trips"].as_u64().unwrap();
        // Each run has its own zero, and no gap after it.
        let end = ends.insert(run, interval["to_ms"].clone());
        assert_eq!(end.unwrap_or(0.0.into()), interval["from_ms"], "{interval}");
        #[cfg(target_os = "linux")]
        assert!(interval["tcp_info"]["rtt_us"].as_u64().is_some() && !cell("tcp_rtt_us").is_empty(), "{interval}");
    }
    assert_eq!(rows.next(), None, "as many rows as objects");
    assert_eq!(sums.keys().copied().collect::<Vec<_>>(), [1, 2, 3], "{text}");
    let runs: Vec<u64> =
        report["runs"]["runs"].as_array().unwrap().iter().map(|run| run["round_trips"].as_u64().unwrap()).collect();
    assert_eq!(sums.values().copied().collect::<Vec<_>>(), runs, "{text}");
    // People are told in the line.
    let told = Run::sockkit("echo-bench -t 100ms --warm-up 0 --runs 2 -i 100ms").finish();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.starts_with("run 1 ") && told.lines().any(|line| line.starts_with("run 2 ")), "{told}");
}

/// HdrHistogram's V2 encoding as its specification has it, and the log around it: for each interval when it began and how
/// long it was, its greatest value in milliseconds, and the number of values, their least and greatest as decoded.
const DECODER: &str = r##"
import base64, struct, sys, zlib
base = None
for line in open(sys.argv[1]):
    if line.startswith("#[BaseTime: "): base = float(line.split()[1])
    if not line[0].isdigit(): continue
    start, length, greatest, text = line.strip().split(",")
    outer = base64.b64decode(text, validate=True)
    cookie, size = struct.unpack(">ii", outer[:8])
    assert cookie == 0x1c849314 and size == len(outer) - 8, hex(cookie)
    inner = zlib.decompress(outer[8:])
    cookie, size, offset, digits, lowest, highest, ratio = struct.unpack(">iiiiqqd", inner[:40])
    assert (cookie, size, offset, digits, lowest, ratio) == (0x1c849313, len(inner) - 40, 0, 3, 1, 1.0), hex(cookie)
    at, index, values = 40, 0, {}
    while at < len(inner):
        number = shift = 0
        while True:
            byte = inner[at]; at += 1
            if shift == 56: number |= byte << 56; break
            number |= (byte & 127) << shift; shift += 7
            if byte < 128: break
        count = (number >> 1) ^ -(number & 1)
        if count < 0: index -= count; continue
        bucket, sub = (index >> 10) - 1, (index & 1023) + 1024
        if bucket < 0: bucket, sub = 0, sub - 1024
        if count: values[sub << bucket] = count
        index += 1
    print(base + float(start), length, greatest, sum(values.values()), min(values, default=0), max(values, default=0))
"##;

#[test]
fn a_histogram_log_is_read_by_another_decoder() {
    if !has("python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log").display().to_string();
    let began = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let (report, status) = report(&format!("-t 250ms --warm-up 50ms --runs 2 --hlog {log}"));
    assert_eq!(status, 0, "{report}");
    let text = python(DECODER, &[&log]);
    let (mut count, mut least, mut greatest, mut end) = (0, u64::MAX, 0, began - 1.0);
    for line in text.lines() {
        let fields: Vec<f64> = line.split(' ').map(|field| field.parse().unwrap()).collect();
        let [start, length, told_ms, values, low_ns, high_ns] = fields[..] else { panic!("{line}") };
        // One after the other, in the time that passed.
        assert!(start >= end - 0.002, "{start} {end}");
        end = start + length.min(0.25);
        count += values as u64;
        if values > 0.0 {
            (least, greatest) = (least.min(low_ns as u64), greatest.max(high_ns as u64));
            assert!((high_ns / 1e6 - told_ms).abs() <= told_ms * 0.002 + 0.001, "{line}");
        }
    }
    assert!(text.lines().count() >= 2, "{text}");
    assert_eq!(count, report["round_trips"].as_u64().unwrap(), "{text}");
    let us = |name: &str| report["round_trip"][name].as_f64().unwrap();
    assert!((least as f64 / 1e3 - us("min_us")).abs() < us("min_us") * 0.002, "{least} {report}");
    assert!((greatest as f64 / 1e3 - us("max_us")).abs() < us("max_us") * 0.002, "{greatest} {report}");
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
    let Some(browser) = browsers.into_iter().find(|browser| has(browser)) else { return };
    let seen = Run::program(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .args([format!("file://{}", path("page.html").display())])
        .finish();
    let seen = String::from_utf8(seen.stdout).unwrap();
    assert!(seen.contains("Latency by percentile") && seen.contains("id=\"spectrum\""), "{seen}");
}

#[test]
fn the_charts_are_well_formed() {
    if !has("python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chart.svg").display().to_string();
    for words in ["-n 2000", "-n 1 -l 9", "-r 2000 -n 400", "-u -n 500"] {
        let (report, status) = report(&format!("{words} --svg {path}"));
        assert_eq!(status, 0, "{report}");
        let script = "import sys, xml.etree.ElementTree as tree\n\
                      root = tree.parse(sys.argv[1]).getroot()\n\
                      names = [part.get('id') for part in root.iter() if part.get('id')]\n\
                      print(root.tag.split('}')[1], *names)";
        let seen = python(script, &[&path]);
        assert!(seen.starts_with("svg ") && seen.contains("spectrum"), "{words}: {seen}");
    }
}

#[test]
fn kept_results_are_compared_and_judged_without_measuring() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (_, status) = report(&format!("-n 2000 --save {}", path("then")));
    assert_eq!(status, 0);
    // The same twenty times slower: no machine is so uneven.
    let mut slower: Value = serde_json::from_str(&std::fs::read_to_string(path("then")).unwrap()).unwrap();
    for run in slower["runs"].as_array_mut().unwrap() {
        for name in ["p50_us", "p99_us"] {
            run[name] = (run[name].as_f64().unwrap() * 20.0).into();
        }
    }
    std::fs::write(path("slower"), slower.to_string()).unwrap();
    for (now, then, regression, status) in
        [("then", "then", false, 0), ("slower", "then", true, 5), ("then", "slower", false, 0)]
    {
        let words = format!("--merge {} --baseline {} --fail-on-regression 5%", path(now), path(then));
        let (merged, code) = report(&words);
        assert_eq!((&merged["regression"], code), (&regression.into(), status), "{now} {then}: {merged}");
    }
    let (judged, code) = report(&format!("--merge {} {} --slo p50<1h --slo p50<1ns", path("then"), path("slower")));
    assert_eq!((&judged["objectives"][0]["holds"], &judged["objectives"][1]["holds"]), (&true.into(), &false.into()));
    assert_eq!((&judged["round_trips"], code), (&20_000.into(), 5), "{judged}");
    let (_, status) = report(&format!("-n 100 -l 65 --save {}", path("other")));
    assert_eq!(status, 0);
    let (_, status) = report(&format!("-n 100 --hlog {}", path("log")));
    assert_eq!(status, 0);
    for (words, what) in [
        (format!("--merge {} --baseline {}", path("other"), path("then")), "length is 64, and here 65"),
        (format!("--merge {} --baseline {}", path("log"), path("then")), "has no runs to compare"),
        (format!("--merge {} --save {}", path("then"), path("sum")), "cannot be used with"),
    ] {
        let refused = Run::sockkit(&format!("echo-bench {words}")).finish();
        assert!(refused.code == 2 && refused.stderr.contains(what), "{words}: {}", refused.stderr);
    }
}

#[test]
fn a_file_that_cannot_be_made_is_found_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no/such/folder/file").display().to_string();
    for flag in ["--html", "--svg", "--csv", "--hlog", "--save"] {
        // It would take so long.
        let refused = Run::sockkit(&format!("echo-bench -t 1h {flag} {path}")).finish();
        assert!(refused.code == 4 && refused.stderr.contains("create "), "{flag}: {}", refused.stderr);
        #[cfg(target_os = "linux")]
        {
            let full = Run::sockkit(&format!("echo-bench -n 100 {flag} /dev/full")).finish();
            let says = " failed: No space left on device (ENOSPC, 28)\n";
            assert!(full.code == 4 && full.stderr.ends_with(says), "{flag}: {}", full.stderr);
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::time::Instant;

    use regex::Regex;

    use super::*;
    use crate::harness::SOCKKIT;

    /// What a terminal shows of a run. `script` gives it one.
    fn shown(words: &str) -> String {
        let (input, _stays_open) = std::io::pipe().unwrap();
        let line = format!("{SOCKKIT} echo-bench {words}");
        let finished = Run::program("script").args(["-qec", &line, "/dev/null"]).stdin_from(input).finish();
        String::from_utf8(finished.stdout).unwrap()
    }

    #[test]
    fn a_person_sees_how_far_it_is_four_times_a_second() {
        if !has("script") {
            return;
        }
        let bar = Regex::new(r"█+░* [\d ]+/s, p99 [\d.]+ \S+").unwrap();
        for words in ["-t 1500ms --warm-up 0", "-n 20000 -r 10000"] {
            let begun = Instant::now();
            let text = shown(words);
            let seconds = begun.elapsed().as_secs_f64();
            assert!(bar.is_match(&text), "{text:?}");
            let (bars, report) = text.rsplit_once("\x1b[2K").unwrap();
            // And once at either end.
            let drawn = bars.matches(['█', '░']).count() / 24;
            assert!((drawn as f64) <= seconds * 4.0 + 2.0, "{drawn} in {seconds} s");
            assert!(report.starts_with("127.0.0.1:") && !report.contains('░'), "{report:?}");
        }
        for words in ["--quiet -t 600ms --warm-up 0", "--json -t 600ms --warm-up 0"] {
            assert!(!shown(words).contains('░'), "{words}");
        }
    }
}
