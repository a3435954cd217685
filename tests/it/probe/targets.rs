//! Which ports are probed.

use std::fmt::Write as _;

use crate::harness::{Run, Server};

/// A line of a port that nobody listens at.
fn refused(target: &str) -> String {
    format!("{target} refused after TIME: Connection refused (ECONNREFUSED, 111)\n")
}

#[test]
fn lists_ranges_and_networks_are_probed_in_their_order() {
    for (words, targets) in [
        ("127.0.0.1:3,1-2", &["127.0.0.1:3", "127.0.0.1:1", "127.0.0.1:2"][..]),
        ("127.0.0.1 1 2-3", &["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]),
        ("::1 1,2", &["[::1]:1", "[::1]:2"]),
        ("127.9.0.8/31 1-2", &["127.9.0.8:1", "127.9.0.8:2", "127.9.0.9:1", "127.9.0.9:2"]),
        ("127.0.0.1:1 127.0.0.1:1-2 127.0.0.1:1", &["127.0.0.1:1", "127.0.0.1:2"]),
        ("127.0.0.1:1-4 --exclude 2-3", &["127.0.0.1:1", "127.0.0.1:4"]),
        ("127.9.0.8/30:1 --exclude 127.9.0.10/31 --exclude 127.9.0.8:1", &["127.9.0.9:1"]),
        ("127.0.0.1:1-100 --limit 2", &["127.0.0.1:1", "127.0.0.1:2"]),
    ] {
        let lines: String = targets.iter().map(|target| refused(target)).collect();
        Run::sockkit(&format!("probe {words}")).stdout(&lines).code(111).check();
    }
}

#[test]
fn a_range_needs_one_open_port_and_a_list_needs_all() {
    let server = Server::start("-4 --quiet");
    let port = server.port();
    for (words, code) in [
        (format!("127.0.0.1:{port}"), 0),
        (format!("127.0.0.1:1,{port}"), 111),
        (format!("127.0.0.1:1-2,{port}"), 0),
        (format!("--require all 127.0.0.1:1-2,{port}"), 111),
        (format!("--require any 127.0.0.1:1,{port}"), 0),
        (format!("--require 1 127.0.0.1:1,{port}"), 0),
        (format!("--require 2 127.0.0.1:1,{port}"), 111),
        // What is named twice is one target.
        (format!("--require 2 127.0.0.1:{port} 127.0.0.1:{port}"), 204),
        (format!("--require 2 --exit-code class 127.0.0.1:{port} 127.0.0.1:{port}"), 5),
        (format!("--require 2 --exit-code simple 127.0.0.1:{port} 127.0.0.1:{port}"), 1),
        ("127.0.0.1:1-2".to_owned(), 111),
        (format!("127.0.0.1/32:1,{port}"), 0),
    ] {
        let finished = Run::sockkit(&format!("probe {words}")).finish();
        assert_eq!((finished.code, finished.stderr.as_str()), (code, ""), "{words}");
    }
}

#[test]
fn files_and_stdin_have_targets_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets");
    let text = "# ports\n127.0.0.1:1,2  # two\n\n127.0.0.1 3 4\n[::1]:5\n";
    let lines: String = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4", "[::1]:5"].map(refused).concat();
    std::fs::write(&path, text).unwrap();
    Run::sockkit("probe").args([format!("@{}", path.display())]).stdout(&lines).code(111).check();
    Run::sockkit("probe -").stdin(text).stdout(&lines).code(111).check();
    std::fs::write(&path, "127.0.0.1:1\n\n127.0.0.1:80-70\n").unwrap();
    let mut message = String::new();
    let _ =
        writeln!(message, "sockkit: {}, line 3: the port range \"80-70\" runs backwards: write 70-80", path.display());
    Run::sockkit("probe").args([format!("@{}", path.display())]).stderr(&message).code(2).check();
    let message = "sockkit: stdin, line 1: port \"70000\" is out of range: 1 to 65535\n";
    Run::sockkit("probe -").stdin("a:70000\n").stderr(message).code(2).check();
    Run::sockkit("probe -").stdin("# nothing\n").stderr("sockkit: no target in -\n").code(2).check();
    let missing = "sockkit: open target file \"/nonexistent/targets\" (an abstract unix socket is \
                   unix:@/nonexistent/targets) failed: No such file or directory (ENOENT, 2)\n";
    Run::sockkit("probe @/nonexistent/targets").stderr(missing).code(4).check();
}

#[test]
fn targets_that_cannot_be_meant_are_usage_errors() {
    for (words, message) in [
        ("127.0.0.1:0", "port 0 is only for listening: there the system chooses one"),
        ("127.0.0.1:70000", "port \"70000\" is out of range: 1 to 65535"),
        ("127.0.0.1:1-70000", "port \"70000\" is out of range: 1 to 65535"),
        ("127.0.0.1:80-70", "the port range \"80-70\" runs backwards: write 70-80"),
        ("127.0.0.1:80,", "a port is missing in \"80,\": write PORT,PORT or FIRST-LAST"),
        ("192.0.2.1/24:80", "\"192.0.2.1/24\" has bits of a host: write 192.0.2.0/24, or 192.0.2.1 alone"),
        ("192.0.2.0/33:80", "the length of \"192.0.2.0/33\" is out of range: 0 to 32"),
        ("192.0.2.0/24", "no port in \"192.0.2.0/24\": write 192.0.2.0/24:PORT"),
        (
            "10.0.0.0/8:1-65535",
            "that is 1 099 494 850 560 targets: --yes probes them all, --limit N the first N of them",
        ),
        ("127.0.0.1:1 127.0.0.1:2 --exclude 127.0.0.0/8", "--exclude leaves no target of 127.0.0.1:1 127.0.0.1:2"),
        ("--require 3 127.0.0.1:1-2", "--require 3 is more than there are targets: 2"),
        ("--require 2 --limit 1 127.0.0.1:1-2", "--require 2 is more than there are targets: 1"),
        ("127.0.0.1:1 --exclude 80-70", "--exclude: the port range \"80-70\" runs backwards: write 70-80"),
    ] {
        Run::sockkit(&format!("probe {words}")).stderr(&format!("sockkit: {message}\n")).code(2).check();
    }
}

#[test]
fn a_million_million_targets_take_no_memory_before_their_turn() {
    let finished = Run::sockkit("probe --limit 3 -w 1ms -o errname 127.0.0.0/8:1-65535").finish();
    assert_eq!(String::from_utf8(finished.stdout).unwrap().lines().count(), 3);
}

#[test]
fn each_address_of_a_name_can_be_a_target() {
    let server = Server::start("-4 --quiet");
    let port = server.port();
    let both = format!(
        ":{port} open TIME at 127.0.0.1:PORT\n:{port} refused after TIME at [::1]:PORT: Connection refused (ECONNREFUSED, 111)\n"
    );
    Run::sockkit(&format!("probe --addr all :{port}")).stdout(&both).code(111).check();
    Run::sockkit(&format!("probe --addr first :{port}"))
        .stdout(&format!(":{port} open TIME at 127.0.0.1:PORT\n"))
        .check();
}
