//! What each format prints.

use std::net::TcpListener;

use serde_json::Value;

use crate::harness::{REFUSED, Run, Server, mask};

const CLOSED: &str = "127.0.0.1:1";

fn printed(words: &str, code: i32) -> String {
    let finished = Run::sockkit(words).finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (code, ""), "{words}");
    String::from_utf8(finished.stdout).expect("text")
}

#[test]
fn ndjson_has_the_documented_fields_and_a_summary() {
    let server = Server::start("-4 --quiet");
    let text = printed(&format!("probe -o ndjson {} {CLOSED}", server.v4()), 111);
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // As soon as it is known, whichever that is first.
    lines.sort_by_key(|line| (line["type"] == "summary", line["errno"] != 0));
    let [open, refused, summary] = lines.as_slice() else { panic!("{text}") };
    let fields = [
        "schema",
        "type",
        "target",
        "host",
        "addr",
        "port",
        "proto",
        "state",
        "class",
        "errno",
        "errname",
        "error",
        "step",
        "dns_ms",
        "connect_ms",
        "tls_ms",
        "first_byte_ms",
        "received",
        "local",
        "attempt",
        "ts",
    ];
    for record in [open, refused] {
        let names: Vec<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = fields.to_vec();
        expected.sort_unstable();
        assert_eq!(names, expected);
        assert_eq!((&record["schema"], &record["type"]), (&"sockkit.probe.ndjson/1".into(), &"result".into()));
    }
    assert_eq!((&open["state"], &open["class"], &open["step"]), (&"open".into(), &"open".into(), &"open".into()));
    assert_eq!((&open["addr"], &open["port"]), (&"127.0.0.1".into(), &server.port().into()));
    assert!(open["local"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!((&refused["errno"], &refused["errname"]), (&REFUSED.into(), &"ECONNREFUSED".into()));
    assert_eq!((&refused["class"], &refused["step"]), (&"refused".into(), &"connect".into()));
    assert_eq!((&summary["type"], &summary["total"], &summary["wanted"]), (&"summary".into(), &2.into(), &1.into()));
    assert_eq!((&summary["counts"]["open"], &summary["complete"]), (&1.into(), &true.into()));
}

#[test]
fn csv_has_a_heading_and_quotes_what_must_be() {
    let text = printed(&format!("probe -o csv {CLOSED}"), 111);
    let (heading, row) = text.trim_end().split_once('\n').unwrap();
    let columns: Vec<&str> = heading.split(',').collect();
    assert_eq!(columns.len(), 14);
    let begins = format!("127.0.0.1:1,127.0.0.1:1,1,tcp,refused,refused,{REFUSED},ECONNREFUSED,\"connect 127.0.0.1:1");
    assert!(row.starts_with(&begins), "{row}");
}

#[test]
fn grep_has_six_columns() {
    let server = Server::start("-4 --quiet");
    let (open, port) = (server.v4(), server.port());
    assert_eq!(
        printed(&format!("probe -o grep {open} {CLOSED}"), 111),
        format!("open\ttcp\t127.0.0.1\t{port}\tOK\t{open}\nrefused\ttcp\t127.0.0.1\t1\tECONNREFUSED\t{CLOSED}\n")
    );
}

#[test]
fn prometheus_has_each_metric_once_with_its_samples() {
    let server = Server::start("-4 --quiet");
    let text = printed(&format!("probe -o prometheus {} {CLOSED}", server.v4()), 111);
    for metric in ["open", "resolve_seconds", "connect_seconds"] {
        assert_eq!(text.matches(&format!("# TYPE sockkit_probe_{metric} gauge\n")).count(), 1);
        assert_eq!(text.matches(&format!("\nsockkit_probe_{metric}{{")).count(), 2, "{text}");
    }
    let refused = "sockkit_probe_open{target=\"127.0.0.1:1\",protocol=\"tcp\",address=\"127.0.0.1:1\",state=\"refused\",\
                   reason=\"ECONNREFUSED\",step=\"connect\"} 0";
    assert!(text.lines().any(|line| line == refused), "{text}");
}

#[test]
fn of_several_measurements_the_last_is_told_where_there_is_room_for_one() {
    let server = Server::start("-4 --quiet");
    let (open, port) = (server.v4(), server.port());
    for words in [format!("-c 3 -i 1ms {open}"), format!("-c 3 -i 1ms --addr all :{port}")] {
        let text = String::from_utf8(Run::sockkit(&format!("probe -o prometheus {words}")).finish().stdout).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let mut series: Vec<&str> = samples.map(|line| line.rsplit_once(' ').unwrap().0).collect();
        let addresses = if words.contains("all") { 2 } else { 1 };
        assert_eq!(series.len(), 3 * addresses, "{text}");
        series.dedup();
        assert_eq!(series.len(), 3 * addresses, "no series twice: {text}");
    }
    let text = printed(&format!("probe -o nagios -c 3 -i 1ms {open}"), 0);
    assert_eq!(text.matches("s;;;0").count(), 1, "{text}");
}

#[test]
fn each_address_of_a_name_has_its_own_statistics() {
    let server = Server::start("-4 --quiet");
    let port = server.port();
    let text =
        String::from_utf8(Run::sockkit(&format!("probe -c 3 -i 1ms --addr all :{port}")).finish().stdout).unwrap();
    let told = format!(":{port} at [::1]:{port}: 3 attempts, 0 open, 100 % lost\n");
    assert!(text.contains(&format!(":{port} at 127.0.0.1:{port}: 3 attempts, 3 open, 0 % lost; ")), "{text}");
    assert!(text.ends_with(&told), "{text}");
}

#[test]
fn nagios_is_one_line_with_its_own_status() {
    let server = Server::start("-4 --quiet");
    let open = server.v4();
    let refused = "127.0.0.1:1 refused after TIME: Connection refused (ECONNREFUSED, 111)";
    for (words, line, code) in [
        (open.clone(), "TCP OK - TIME on 127.0.0.1:PORT|time=".to_owned(), 0),
        (CLOSED.to_owned(), format!("TCP CRITICAL - {refused}\n"), 2),
        (format!("{open} {CLOSED}"), format!("TCP CRITICAL - {refused}, 1 of 2 as wanted|time="), 2),
        ("-s 192.0.2.1 127.0.0.1:1".to_owned(), "TCP UNKNOWN - 127.0.0.1:1 local error: bind".to_owned(), 3),
    ] {
        let text = mask(&printed(&format!("probe -o nagios {words}"), code));
        assert!(text.starts_with(&line) && text.lines().count() == 1, "{text}");
    }
    printed(&format!("probe -o nagios --exit-code errno {CLOSED}"), 111);
}

#[test]
fn only_what_is_open_is_printed_on_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    Run::sockkit(&format!("probe --open 127.0.0.1:1-3,{port}")).stdout("127.0.0.1:PORT open TIME\n").check();
    // Of many a person wants the counts.
    Run::sockkit(&format!("probe --open 127.0.0.1:1-30,{port}"))
        .stdout("127.0.0.1:PORT open TIME\n")
        .stderr("31 targets in TIME: 1 open, 30 refused\n")
        .check();
    Run::sockkit("probe --quiet 127.0.0.1:1-30").code(111).check();
}

#[cfg(target_os = "linux")]
#[test]
fn lines_keep_the_order_of_the_command_line() {
    use crate::harness::Deaf;
    let deaf = Deaf::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let words = format!("probe -w 300ms -o errname {} {CLOSED} localhost:2", deaf.address);
    assert_eq!(printed(&words, 110), "ETIMEDOUT\nECONNREFUSED\nECONNREFUSED\n");
    // A stream has each as soon as it is known.
    let text = printed(&words.replace("errname", "ndjson"), 110);
    assert!(text.lines().nth(2).unwrap().contains("ETIMEDOUT"), "{text}");
}
