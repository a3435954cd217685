//! The fields of the JSON lines are those that the README documents. On Linux, which has every field.
//!
//! Owns which runs make every field appear. Must not know what a field means. Trade-off: names are compared, not types; a
//! field that only a rare failure shows must be provoked here, or it counts as documented in vain.

use std::collections::BTreeSet;
use std::io::Write;

use regex::Regex;
use serde_json::Value;
use socket2::Type;

use super::readme::read;
use crate::harness::{Peer, Place, Run, Server, Signal, pattern, plain_socket, read_exactly};
use crate::serve::telling::ask_many;

/// The rows of the table below a schema's heading: the names in the first column, and those in what is said of them.
fn rows(readme: &str, schema: &str) -> Vec<[BTreeSet<String>; 2]> {
    let heading = format!("`{schema}`\n");
    let section = readme.split_once(&heading).unwrap_or_else(|| panic!("nothing is said of {schema}")).1;
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let name = Regex::new(r"`([^`]+)`").expect("a pattern");
    let names = |cell: Option<&str>| -> BTreeSet<String> {
        name.captures_iter(cell.unwrap_or_default()).map(|found| found[1].to_owned()).collect()
    };
    rows.map(|row| [1, 2].map(|cell| names(row.split('|').nth(cell)))).collect()
}

/// The fields of that table.
fn documented(readme: &str, schema: &str) -> BTreeSet<String> {
    rows(readme, schema).into_iter().flat_map(|[fields, _]| fields).collect()
}

/// The fields of records, those inside of others as `outer.inner`.
fn fields(records: &str, schema: &str) -> BTreeSet<String> {
    fn collect(prefix: &str, value: &Value, into: &mut BTreeSet<String>) {
        let Value::Object(object) = value else { return };
        for (name, value) in object {
            if value.is_object() {
                collect(&format!("{prefix}{name}."), value, into);
            } else {
                into.insert(format!("{prefix}{name}"));
            }
        }
    }
    let mut all = BTreeSet::new();
    for line in records.lines() {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(record["schema"], schema, "{line}");
        collect("", &record, &mut all);
    }
    all
}

/// Records of each form, with every field that there is.
fn records() -> [(&'static str, String); 8] {
    let server = Server::start(
        "--json --grace 1 --send-buffer 4Ki --deny 127.0.0.2 -F delay=0s..1ms,conn=1 -F no-accept=1ms --record /dev/null",
    );
    let listening = server.listening.join("\n");
    let target = server.v4();
    let connect = Run::sockkit("connect --json --hash sha256 -e echo").args([&target]).finish().stderr;
    let connect = connect + &through_a_proxy();
    let script = Run::sockkit("connect --json --send a --expect a").args([&target]).finish().stderr;
    let only = Run::sockkit("connect --json -z").args([&target]).finish().stdout;
    let again = Run::sockkit("connect --json -z --retry 1 127.0.0.1:1").finish().stderr;
    let again = again.split("sockkit: ").next().expect("records").to_owned();
    let faulty = Run::sockkit("connect --json -F delay=1ms --send a --expect a").args([&target]).finish().stderr;
    let probe = Run::sockkit("probe --json --banner --send hello 127.0.0.1:1").args([&target]).finish().stdout;
    let stream = Run::sockkit("probe -o ndjson 127.0.0.1:1").args([&target]).finish().stdout;
    let trace = Run::sockkit("probe --quiet --trace --trace-format=json 127.0.0.1:1").finish().stderr;
    // A close that is a reset is a failure to the server, and has a name.
    Run::sockkit("probe --quiet --linger=0").args([&target]).check();
    let bench = Run::sockkit("echo-bench --json -n 1000").args([&target]).finish().stdout;
    let intervals = Run::sockkit("echo-bench --json -n 100 -i 50ms").args([&target]).finish().stdout;
    let intervals = String::from_utf8(intervals).expect("text").lines().next().expect("an interval").to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept").display().to_string();
    Run::sockkit(&format!("echo-bench --json -n 100 --runs 1 --save {kept}")).args([&target]).finish();
    let merged = Run::sockkit(&format!("echo-bench --json --merge {kept}")).finish().stdout;
    // One that is not let in.
    Run::sockkit("probe --quiet -s 127.0.0.2").args([&target]).check();
    // A peer that sends and never reads keeps the server draining for as long as it may.
    let (stalled, name) = plain_socket(&target, Type::STREAM);
    stalled.set_recv_buffer_size(4096).expect("a small window");
    stalled.connect(&name).expect("it listens");
    (&stalled).write_all(&pattern(50_000)).expect("all is taken");
    let events = server.end(Signal::Interrupt).stdout;
    let datagrams = Server::start("--udp --json -F delay=0s,times=1");
    // Nobody reads so many events.
    ask_many(&datagrams.v4());
    // The verdict that follows is of datagrams, which have no TCP_INFO.
    let of_datagrams = |words: &str| {
        let told =
            Run::sockkit(&format!("connect --json -u {words}")).args([&datagrams.v4()]).stdin("a").finish().stderr;
        told.split_inclusive('\n').filter(|line| !line.contains("\"closed\"")).collect::<String>()
    };
    let verified = of_datagrams("--verify=1K") + &of_datagrams("-q 0.5 -F delay=1ms");
    let datagrams = datagrams.end(Signal::Interrupt).stdout;
    // A connection that a proxy introduces, and that brings something else than was expected.
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let checked = Server::start_with(&format!("-4 -p 0 --json --proxy-protocol --metrics :0 --expect {readme}"), 2);
    let about = checked.listening.join("\n");
    Run::sockkit("connect --proxy-protocol=v1").args([&checked.v4()]).stdin("#").stdout("#").check();
    let checked = format!("{about}\n{}", String::from_utf8_lossy(&checked.end(Signal::Interrupt).stdout));
    // A connection that a program had.
    let program = Server::start("--json -4 -e true");
    Run::sockkit("connect -d").args([&program.v4()]).check();
    let program = String::from_utf8(program.end(Signal::Interrupt).stdout).expect("text");
    let checked = format!("{program}{checked}");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    [
        ("sockkit.serve/1", format!("{listening}\n{}{}{checked}", text(events), text(datagrams))),
        ("sockkit.connect/1", connect + &script + &text(only) + &again + &faulty + &verified),
        ("sockkit.probe/1", text(probe)),
        ("sockkit.probe.ndjson/1", text(stream)),
        ("sockkit.echo-bench.interval/1", intervals),
        ("sockkit.echo-bench/1", text(bench)),
        ("sockkit.echo-bench.merged/1", text(merged)),
        ("sockkit.trace/1", trace),
    ]
}

/// The record of a connection through a proxy, which has a field more.
fn through_a_proxy() -> String {
    let proxy = Peer::start(Place::Tcp, |mut peer| {
        let asked = b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n";
        assert_eq!(read_exactly(&peer, asked.len()), asked);
        peer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("somebody reads");
    });
    Run::sockkit(&format!("connect --json --proxy http://{} a:1", proxy.address)).finish().stderr
}

#[test]
fn the_json_fields_are_documented() {
    let readme = read();
    for (schema, records) in records() {
        assert_eq!(documented(&readme, schema), fields(&records, schema), "{schema}: documented, and found");
    }
}

/// The names of everything inside of a value.
fn inside(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Object(object) => {
            object.iter().flat_map(|(name, value)| [name.clone()].into_iter().chain(inside(value))).collect()
        }
        Value::Array(values) => values.iter().flat_map(inside).collect(),
        _ => BTreeSet::new(),
    }
}

#[test]
fn what_the_lists_of_a_measurement_hold_is_documented() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept").display().to_string();
    let record = |words: &str| -> Value {
        let stdout = Run::sockkit(&format!("echo-bench --json {words}")).finish().stdout;
        serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{words}: {error}"))
    };
    let whole = record(&format!("-n 100 --runs 2 --slo p50<1h --save {kept}"));
    let compared = record(&format!("-n 100 --runs 1 --baseline {kept}"));
    let rates = record("-t 50ms --warm-up 0 --ramp 100..200");
    let planned = record("-n 100 -r 1000");
    let reconnected = record("-n 100 --reconnect 10");
    let merged = record(&format!("--merge {kept}"));
    let readme = read();
    let of_runs = inside(&whole["runs"]);
    for (schema, record, list) in [
        ("sockkit.echo-bench/1", &whole, "runs"),
        ("sockkit.echo-bench/1", &whole, "objectives"),
        ("sockkit.echo-bench/1", &whole, "time_series"),
        ("sockkit.echo-bench/1", &compared, "changes"),
        ("sockkit.echo-bench/1", &rates, "trials"),
        ("sockkit.echo-bench.merged/1", &merged, "files"),
    ] {
        let rows = rows(&readme, schema);
        let [_, said] = rows.iter().find(|[fields, _]| fields.contains(list)).expect("a row");
        let mut held = inside(&record[list]);
        assert!(!held.is_empty(), "{list}: {record}");
        // Each rate has what a run has.
        if said.contains("runs") {
            held.retain(|name| !of_runs.contains(name));
        }
        assert_eq!(held.difference(said).collect::<Vec<_>>(), [""; 0], "{schema}: not said of {list}");
    }
    let form = inside(&whole["round_trip"]);
    for (record, like_it) in [(&planned, "service"), (&planned, "send_delay"), (&reconnected, "connect")] {
        assert_eq!(inside(&record[like_it]), form, "{like_it} is like round_trip");
    }
}
