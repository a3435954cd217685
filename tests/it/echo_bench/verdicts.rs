//! What a result must fulfil, what it is compared with, and the rate that is looked for.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::Value;

use super::{report, tcp_servers};
use crate::harness::{Run, dawdle, mask};

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
        let told = mask(&refused.stderr);
        assert!(refused.code == code && told.contains(what), "{words}: {} {told}", refused.code);
        assert!(refused.stdout.is_empty(), "{words}: it was found before the run");
    }
}

#[test]
fn a_search_finds_a_rate_and_a_ramp_goes_through_ten() {
    // The server's pace is its own doing, 1 ms a message: 4000 a second on four connections, and not much less.
    let address = tcp_servers(|mut stream| {
        let mut message = [0; 64];
        while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {
            dawdle(Duration::from_millis(1));
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
    // The rest of the report is the last rate's.
    assert_eq!((&ramp["loop"], &ramp["rate_per_s"]), (&"open".into(), &2000.0.into()), "{ramp}");
}
