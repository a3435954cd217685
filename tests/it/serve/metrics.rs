//! The counts over HTTP, and the summary in its forms.
#![cfg(unix)]

use std::io::Write;

use super::event;
use crate::harness::{Run, Server, Signal, dial, exchange, mask, read_to_end};

/// The whole answer to a request.
fn ask(address: &str, request: &str) -> String {
    let mut socket = dial(address);
    socket.write_all(request.as_bytes()).unwrap();
    String::from_utf8(read_to_end(&socket)).unwrap()
}

/// A server, and where its metrics are.
fn start(words: &str) -> (Server, String) {
    let server = Server::start_with(&format!("-4 -p 0 --json --metrics 127.0.0.1:0 {words}"), 2);
    let event: serde_json::Value = serde_json::from_str(&server.listening[1]).unwrap();
    assert_eq!(event["event"], "metrics");
    let address = event["address"].as_str().unwrap().to_owned();
    (server, address)
}

#[test]
fn the_metrics_count_what_happens() {
    let (mut server, metrics) = start("");
    let open = dial(&server.v4());
    assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello");
    // Two came, and one has gone.
    (0..3).for_each(|_| drop(server.line()));
    let answer = ask(&metrics, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{head}"
    );
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    for line in [
        "sockkit_connections_total{result=\"clean\"} 1",
        "sockkit_connections_total{result=\"refused\"} 0",
        "sockkit_connections_open 1",
        "sockkit_bytes_total{direction=\"in\"} 5",
        "sockkit_bytes_total{direction=\"out\"} 5",
        "sockkit_datagrams_total{result=\"answered\"} 0",
    ] {
        assert!(body.lines().any(|found| found == line), "{line}\n{body}");
    }
    // Each metric is described once, and has a value.
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        assert_eq!(body.matches(&format!("# TYPE {name} ")).count(), 1, "{name}");
        assert!(line.rsplit_once(' ').unwrap().1.parse::<u64>().is_ok(), "{line}");
    }
    drop(open);
    assert_eq!(server.end(Signal::Terminate).code, 0);
}

#[test]
fn what_is_no_scrape_is_refused_and_the_server_goes_on() {
    let (server, metrics) = start("");
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("hello\r\n\r\n", "400 Bad Request"),
        (&"x".repeat(9000), "431 Request Header Fields Too Large"),
    ] {
        assert!(ask(&metrics, request).starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:.20}");
    }
    // Half a request, and nobody who waits for the answer.
    dial(&metrics).write_all(b"GET /met").unwrap();
    assert!(ask(&metrics, "GET /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello");
    assert_eq!(server.end(Signal::Terminate).code, 0);
    Run::sockkit("serve -p 0 --metrics nowhere")
        .stderr("sockkit: --metrics nowhere: no port in \"nowhere\": write nowhere:PORT\n")
        .code(2)
        .check();
}

#[test]
fn the_summary_has_the_form_that_was_asked_for() {
    for (words, is_event, stderr) in [
        ("", false, "text"),
        ("--json", true, ""),
        ("--quiet", false, ""),
        ("--summary none", false, ""),
        ("--summary json", false, "json"),
        ("--quiet --summary json", false, "json"),
        ("--quiet --summary text", false, "text"),
        ("--json --summary text", true, "text"),
        ("--json --summary json", true, "json"),
    ] {
        let server = Server::start(words);
        let finished = server.end(Signal::Terminate);
        let stdout = String::from_utf8(finished.stdout).unwrap();
        assert_eq!(stdout.contains("\"summary\""), is_event, "{words}: {stdout}");
        match stderr {
            "text" => assert_eq!(mask(&finished.stderr), "served 0 connections in TIME; in 0 B, out 0 B\n", "{words}"),
            "json" => assert_eq!(event(&finished.stderr)["event"], "summary", "{words}"),
            nothing => assert_eq!(finished.stderr, nothing, "{words}"),
        }
    }
}
