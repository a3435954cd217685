//! Names: looked up beside each other, each once, in time.

use serde_json::Value;

use crate::harness::{Run, can_unshare, has, names_from, unshared};

/// A name server that says nothing until it has been asked for so many names: `name0.invalid`, `name1.invalid` and so on,
/// which are all at 127.0.0.1. What it was asked first is what it answers last.
const PATIENT_SERVER: &str = r#"mkfifo $T/ready; python3 -c '
import os, socket
names, waiting = int(os.environ["NAMES"]), {}
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
asked = open(os.environ["T"] + "/asked", "w")
print(flush=True)
while True:
    query, sender = server.recvfrom(512)
    end = query.index(0, 12) + 5
    print(query[13:13 + query[12]].decode(), query[end - 3], file=asked, flush=True)
    waiting[(query[12:end - 4], query[end - 3], sender)] = query
    if len({name for name, _, _ in waiting}) < names: continue
    for (name, kind, sender), query in reversed(waiting.items()):
        address = b"\xc0\x0c\x00\x01\x00\x01" + bytes(4) + b"\x00\x04\x7f\x00\x00\x01" if kind == 1 else b""
        head = query[:2] + b"\x81\x80\x00\x01" + bytes([0, kind == 1]) + bytes(4)
        server.sendto(head + query[12:end] + address, sender)
    waiting.clear() if names == 1 else None
' > $T/ready & read line < $T/ready"#;

/// A probe in a network with that server; and how many questions came for addresses of version 4.
fn among(names: usize, words: &str) -> (Vec<Value>, i32, usize) {
    let folder = tempfile::tempdir().unwrap();
    let server = format!("{}; {PATIENT_SERVER}", names_from("127.0.0.1"));
    let finished = unshared("-rmnpf", &server, &format!("probe -o ndjson {words}"))
        .env("T", folder.path().to_str().unwrap())
        .env("NAMES", &names.to_string())
        .finish();
    let text = String::from_utf8(finished.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let asked = std::fs::read_to_string(folder.path().join("asked")).unwrap();
    (lines, finished.code, asked.lines().filter(|line| line.ends_with(" 1")).count())
}

#[test]
fn names_are_looked_up_side_by_side() {
    if !can_unshare() || !has("python3") {
        return;
    }
    // One after the other, the first would never be answered.
    let words: Vec<String> = (0..12).map(|number| format!("name{number}.invalid:1")).collect();
    let (lines, code, _) = among(12, &format!("-w 50s {}", words.join(" ")));
    let [results @ .., summary] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((code, &summary["counts"]["refused"]), (111, &12.into()), "{summary}");
    for result in results {
        // Its time is apart from that of the connect.
        let (lookup, connect) = (result["dns_ms"].as_f64().unwrap(), result["connect_ms"].as_f64().unwrap());
        assert!(lookup > 0.0 && connect > 0.0 && result["addr"] == "127.0.0.1", "{result}");
    }
}

#[test]
fn a_name_is_looked_up_once_for_all_its_ports_and_again_for_none() {
    if !can_unshare() || !has("python3") {
        return;
    }
    let (lines, code, asked) = among(1, "-w 50s name0.invalid:1-500 name0.invalid:600");
    assert_eq!((code, asked), (111, 1), "{:?}", lines.last());
    assert_eq!(lines.last().unwrap()["total"], 501);
}

#[test]
fn a_name_that_hangs_holds_up_no_other_target() {
    if !can_unshare() || !has("python3") {
        return;
    }
    // It waits for a second name that nobody asks for.
    let (lines, code, _) = among(2, "-w 50s --deadline 500ms name0.invalid:1 127.0.0.1:1-200");
    let [results @ .., late, summary] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((code, results.len()), (110, 200), "{summary}");
    assert!(results.iter().all(|result| result["state"] == "refused"));
    assert_eq!((&late["target"], &late["step"]), (&"name0.invalid:1".into(), &"resolve".into()));
    assert!(late["error"].as_str().unwrap().contains("the deadline passed"), "{late}");
}

#[test]
fn numbers_ask_nobody() {
    if !can_unshare() || !has("python3") {
        return;
    }
    let (_, code, asked) = among(2, "127.0.0.1:1-3 [::1]:1");
    assert_eq!((code, asked), (111, 0));
    Run::sockkit("probe -n localhost:1")
        .stdout("localhost:1 not resolved after TIME: not an IP address, and no names are looked up (EAI_NONAME, -2)\n")
        .code(200)
        .check();
}
