//! What cannot be meant, and what this machine cannot do: each command refuses it in the same words, with the same status.

mod nonsense;
mod streams;

use crate::harness::{Finished, Run, Server};
#[cfg(target_os = "linux")]
use {
    crate::harness::SOCKKIT,
    std::process::{Command, Stdio},
};

/// How each command is told a port.
const PORT: [&str; 4] = ["serve -p", "connect 127.0.0.1", "probe 127.0.0.1", "echo-bench 127.0.0.1"];

/// How each command is told a place.
const PLACE: [&str; 4] = ["serve", "connect", "probe", "echo-bench"];

/// The commands' short ways to succeed without anybody else.
const COMMANDS: [&str; 4] = ["serve", "connect", "probe", "echo-bench"];

/// Runs it with a backtrace asked for: nothing that a user does may show one.
fn run(words: &str) -> Run {
    Run::sockkit(words).env("RUST_BACKTRACE", "1")
}

/// That a run failed before it did anything: nothing on stdout, the message as it is on stderr.
#[track_caller]
fn refused(run: Run, message: &str, code: i32) {
    run.stderr(&format!("sockkit: {message}\n")).code(code).check();
}

#[test]
fn a_port_that_is_none_is_refused_by_every_command() {
    for (index, words) in PORT.iter().enumerate() {
        let is_server = index == 0;
        let first = i32::from(!is_server);
        for port in ["70000", "65536", "4294967376", "18446744073709551696"] {
            refused(run(words).args([port]), &format!("port \"{port}\" is out of range: {first} to 65535"), 2);
        }
        if !is_server {
            refused(run(words).args(["0"]), "port 0 is only for listening: there the system chooses one", 2);
            refused(run(words).args([""]), "the port after \"127.0.0.1\" is empty: write HOST PORT", 2);
            for port in ["8 0", "+80", "80x", "-", "1-"] {
                let reason = "is neither a number (1 to 65535) nor a service name such as http";
                // To probe, a hyphen makes a range.
                if words.starts_with("probe") && port.contains('-') {
                    continue;
                }
                // What follows two of them is another program's, but for echo-bench.
                let separator: &[&str] = if words.starts_with("echo-bench") { &["--"] } else { &[] };
                let finished = run(words).args(separator).args([port]).finish();
                assert_eq!((finished.stderr, finished.code), (format!("sockkit: port \"{port}\" {reason}\n"), 2));
            }
        }
        let negative = if is_server {
            "port \"-1\" is neither a number (0 to 65535) nor a service name such as http"
        } else {
            // A word that begins like a flag is taken for one.
            "unexpected argument '-1' found\n         hint: to pass '-1' as a value, use '-- -1'"
        };
        refused(run(words).args(["-1"]), negative, 2);
    }
}

#[test]
fn a_service_that_does_not_exist_is_not_resolved() {
    let message = "resolve \"127.0.0.1:http2\" failed after TIME: no such service over tcp (EAI_SERVICE, -8)";
    for words in ["serve 127.0.0.1", "connect 127.0.0.1", "echo-bench 127.0.0.1"] {
        refused(run(words).args(["http2"]), message, 6);
    }
    run("probe 127.0.0.1 http2")
        .stdout("127.0.0.1:http2 not resolved after TIME: no such service over tcp (EAI_SERVICE, -8)\n")
        .code(200)
        .check();
}

#[test]
fn a_place_that_cannot_be_read_is_refused_with_a_way_out() {
    for (place, message) in [
        ("", "nothing is named: write HOST:PORT"),
        ("::1:80", "\"::1:80\" can be read in two ways: write [::1]:80 or ::1 80"),
        ("localhost", "no port in \"localhost\": write localhost:PORT"),
        ("[::1", "no closing bracket in \"[::1\": write [ADDRESS]:PORT"),
        ("http://localhost/", "\"http://localhost/\" is a URL: write only HOST:PORT"),
        ("unix:", "the path of a unix socket is empty: write unix:PATH"),
    ] {
        for words in PLACE {
            refused(run(words).args([place]), message, 2);
        }
    }
}

#[test]
fn a_host_that_is_no_address_is_not_looked_up_with_n() {
    let message = "resolve \"nosuch.invalid\" failed after TIME: \
                   not an IP address, and no names are looked up (EAI_NONAME, -2)";
    for words in ["serve -n", "connect -n"] {
        refused(run(words).args(["nosuch.invalid:80"]), message, 6);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_host_that_is_unknown_is_not_resolved() {
    if !crate::harness::can_unshare() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for words in PLACE.into_iter().filter(|words| *words != "probe") {
        let run =
            crate::harness::unshared("-rm", crate::harness::NAMES_FROM_FILES, &format!("{words} nosuch.invalid:80"));
        refused(
            run.env("T", folder.path().to_str().unwrap()),
            "resolve \"nosuch.invalid\" failed after TIME: Name or service not known (EAI_NONAME, -2)",
            6,
        );
    }
}

#[test]
fn an_argument_that_means_nothing_is_a_usage_error() {
    for (words, message) in [
        ("nosuch", "unrecognized subcommand 'nosuch'"),
        ("--nosuch", "unexpected argument '--nosuch' found"),
        ("probe", "the following required arguments were not provided: <TARGET>..."),
        ("connect", "the following required arguments were not provided: <ENDPOINT>..."),
        ("probe --json=1 :1", "unexpected value '1' for '--json' found; no more were expected"),
        ("probe -4 -6 :1", "the argument '--ipv4' cannot be used with '--ipv6'"),
        ("probe --quiet -v :1", "the argument '--quiet' cannot be used with '--verbose...'"),
        (
            "probe --exit-code nosuch :1",
            "invalid value 'nosuch' for '--exit-code <MEANING>' [possible values: errno, class, simple, nagios]",
        ),
        (
            "probe -o nosuch :1",
            "invalid value 'nosuch' for '--output-format <FORMAT>' [possible values: text, errno, errname, json, ndjson, csv, grep, prometheus, nagios]",
        ),
        ("probe -p 0 :1", "invalid value '0' for '--source-port <PORT>': \"0\" is no port: 1 to 65535"),
        ("probe -p 70000 :1", "invalid value '70000' for '--source-port <PORT>': \"70000\" is no port: 1 to 65535"),
        ("connect -p 70000 :1", "invalid value '70000' for '--source-port <PORT>': \"70000\" is no port: 1 to 65535"),
        ("probe --trace-format json :1", "the following required arguments were not provided: --trace[=<FILE>]"),
        ("echo-bench -n 0", "invalid value '0' for '--messages <N>': 0 is not in 1..18446744073709551615"),
        ("echo-bench -n 1 -t 1", "the argument '--messages <N>' cannot be used with '--time <DURATION>'"),
        ("serve a b c", "unexpected value 'c' for '[ENDPOINT]...' found; no more were expected"),
        ("connect a b c", "unexpected value 'c' for '<ENDPOINT>...' found; no more were expected"),
        ("echo-bench a b c", "unexpected value 'c' for '[ENDPOINT]...' found; no more were expected"),
    ] {
        refused(run(words), message, 2);
    }
    refused(
        run("probe --nosuch"),
        "unexpected argument '--nosuch' found\n         hint: to pass '--nosuch' as a value, use '-- --nosuch'",
        2,
    );
}

#[test]
fn a_combination_that_makes_no_sense_is_refused_with_a_way_out() {
    for (words, message) in [
        ("serve", "serve needs a port; -p 0 takes any free one"),
        ("serve -U", "serve needs a path"),
        ("connect -l 80", "-l listens: that is `sockkit serve 80`"),
        ("probe -l 80", "-l listens: that is `sockkit serve 80`"),
        (
            "probe --fast-open 127.0.0.1:1",
            "with --fast-open a connect ends before the peer has answered: it proves nothing about the port",
        ),
        ("connect -p 1 -U a", "-p 1 has no meaning for a unix socket"),
        ("probe -p 1 unix:a", "-p 1 has no meaning for a unix socket"),
        ("probe -s localhost 127.0.0.1:1", "-s \"localhost\" is not an IP address"),
        ("echo-bench -t 0", "-t 0 measures nothing"),
        ("echo-bench -u -l 70000", "-l 70000 is not in 1 to 65507 bytes for udp"),
    ] {
        refused(run(words), message, 2);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_this_machine_does_not_have_is_a_local_failure() {
    let foreign = "bind 192.0.2.1:0 (tcp) failed after TIME: Cannot assign requested address (EADDRNOTAVAIL, 99)\n         \
                   hint: only an address of this machine can be bound";
    let device = "set bind-device=nosuch0 on tcp/IPv4 socket failed after TIME: No such device (ENODEV, 19)";
    let option = "set mss=500 on udp/IPv4 socket failed after TIME: only tcp sockets have it";
    for (words, message) in [
        ("serve -s 192.0.2.1 -p 0", foreign),
        ("connect -s 192.0.2.1 127.0.0.1:1", foreign),
        ("serve -p 0 --bind-device nosuch0", device),
        ("connect --bind-device nosuch0 127.0.0.1:1", device),
        ("echo-bench --bind-device nosuch0 127.0.0.1:1", device),
        ("serve -4 -u -p 0 --mss 500", option),
        ("connect -u --mss 500 127.0.0.1:1", option),
        ("echo-bench -u --mss 500 127.0.0.1:1", option),
    ] {
        refused(run(words), message, 4);
    }
    for (words, message, code) in
        [("-s 192.0.2.1", foreign.lines().next().unwrap(), 99), ("--bind-device nosuch0", device, 19)]
    {
        run(&format!("probe {words} 127.0.0.1:1"))
            .stdout(&format!("127.0.0.1:1 local error: {message}\n"))
            .code(code)
            .check();
    }
}

#[cfg(unix)]
#[test]
fn a_folder_is_no_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let bound = format!("bind unix:{path} (unix) failed after TIME: Address already in use (EADDRINUSE, 98)");
    refused(run("serve -U").args([path]), &bound, 4);
    let dialled = format!("connect unix:{path} (unix) failed after TIME: Connection refused (ECONNREFUSED, 111)");
    for words in ["connect -U", "echo-bench -U"] {
        refused(run(words).args([path]), &dialled, 1);
    }
}

#[test]
fn a_busy_port_is_a_local_failure_with_a_way_out() {
    for (words, transport) in [("", "tcp"), ("-u", "udp")] {
        let server = Server::start(&format!("{words} --quiet"));
        let message = format!(
            "bind 127.0.0.1:PORT ({transport}) failed after TIME: Address already in use (EADDRINUSE, 98)\n         \
             hint: -p 0 takes any free port"
        );
        refused(run(&format!("serve {words} -4 -p")).args([server.port().to_string()]), &message, 4);
    }
}

#[cfg(target_os = "linux")]
#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn a_privileged_port_without_privilege_is_a_local_failure_with_its_reason() {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    let is_privileged = first.trim().parse::<u16>().is_ok_and(|first| first > 1);
    // A user without a name in a namespace of its own has no privilege outside of it.
    let can_drop = Command::new("unshare").args(["-U", "true"]).stderr(Stdio::null()).status();
    if !is_privileged || !can_drop.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no port is privileged here, or no user namespace to lose the privilege in");
        return;
    }
    refused(
        Run::program("unshare").args(["-U", SOCKKIT, "serve", "-4", "-p", "1"]),
        "bind 127.0.0.1:1 (tcp) failed after TIME: Permission denied (EACCES, 13)\n         \
         hint: ports below 1024 need root or CAP_NET_BIND_SERVICE",
        4,
    );
}

#[test]
fn without_a_command_the_help_is_on_stderr() {
    let finished = run("").finish();
    assert_eq!((finished.code, finished.stdout.as_slice()), (2, &b""[..]));
    for command in COMMANDS {
        assert!(finished.stderr.contains(&format!("\n  {command} ")), "{}", finished.stderr);
    }
}

#[test]
fn every_help_succeeds_and_has_its_sections() {
    let has = |words: &str, sections: &[&str]| {
        let Finished { stdout, stderr, code } = run(words).finish();
        let text = String::from_utf8(stdout).unwrap();
        assert_eq!((code, stderr.as_str()), (0, ""), "{words}");
        for section in sections {
            assert!(text.contains(section), "{words} has no {section:?}: {text}");
        }
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 100, "{words}: {widest} columns");
    };
    let program = format!("sockkit{}", std::env::consts::EXE_SUFFIX);
    for words in ["-h", "--help", "help"] {
        has(words, &[&format!("Usage: {program} <COMMAND>"), "Commands:", "Options:", "Exit status:", "timed out"]);
    }
    for command in COMMANDS {
        let usage = format!("Usage: {program} {command} [OPTIONS]");
        let sections =
            [usage.as_str(), "Arguments:", "Options:", "Output:", "Socket options:", "Exit status", "--trace"];
        has(&format!("{command} -h"), &sections);
        for words in [format!("{command} --help"), format!("help {command}")] {
            has(&words, &sections);
            has(&words, &["Examples:\n", &format!("\n  sockkit {command} ")]);
        }
    }
    has("probe --help", &["ECONNREFUSED", "EHOSTUNREACH", "--exit-code class", "connect_ex"]);
    assert_eq!(run("--version").finish().stdout, format!("sockkit {}\n", env!("CARGO_PKG_VERSION")).into_bytes());
}
