//! Bad input, closed and full streams, exit statuses.

use std::ffi::OsString;

use crate::harness::{Finished, REFUSED, Run, Server, unread_pipe};
#[cfg(unix)]
use {
    crate::harness::{Owned, SOCKKIT},
    std::io::{BufRead, BufReader},
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

#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_is_one_line_and_status_4() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let server = Server::start("--quiet");
    let target = server.v4();
    let connect = format!("connect {target}");
    let bench = format!("echo-bench -n 1 {target}");
    let probe = format!("probe {target} 127.0.0.1:1");
    for words in [
        "serve -p 0",
        &connect,
        &probe,
        &bench,
        "--help",
        "-h",
        "help",
        "--version",
        "serve --help",
        "connect --help",
        "probe --help",
        "echo-bench -h",
        "completions bash",
        "man",
    ] {
        let run = run(words).stdin("hello").stdout_to(full());
        refused(run, "write stdout failed: No space left on device (ENOSPC, 28)", 4);
    }
    // A usage error has nothing to do with stdout.
    assert_eq!(run("nosuch").stdout_to(full()).finish().code, 2);
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let server = Server::start("--quiet");
    let target = server.v4();
    let connect = format!("connect {target}");
    let bench = format!("echo-bench -n 1 {target}");
    for words in
        ["serve -p 0", &connect, &bench, "--help", "-h", "--version", "connect --help", "completions bash", "man"]
    {
        run(words).stdin("hello").stdout_to(unread_pipe()).check();
    }
}

/// `sockkit` with these words under a shell that closes streams, as `>&-`.
#[cfg(unix)]
fn closed(streams: &str, words: &str) -> Run {
    let script = format!("exec \"$0\" \"$@\" {streams}");
    Run::program("sh").args(["-c", &script, SOCKKIT]).args(words.split_whitespace())
}

#[cfg(unix)]
#[test]
fn closed_streams_change_no_status() {
    let server = Server::start("--quiet");
    let target = server.v4();
    let line = "127.0.0.1:1 refused after TIME: Connection refused (ECONNREFUSED, 111)\n";
    let message = "sockkit: connect 127.0.0.1:1 (tcp) failed after TIME: Connection refused (ECONNREFUSED, 111)\n";
    for (streams, stdout, stderr) in
        [("<&-", true, true), (">&-", false, true), ("2>&-", true, false), ("<&- >&- 2>&-", false, false)]
    {
        let shown = |is_open, text: &'static str| if is_open { text } else { "" };
        closed(streams, "probe 127.0.0.1:1").stdout(shown(stdout, line)).code(111).check();
        closed(streams, "connect 127.0.0.1:1").stderr(shown(stderr, message)).code(1).check();
        closed(streams, "echo-bench 127.0.0.1:1").stderr(shown(stderr, message)).code(1).check();
        assert_eq!(closed(streams, &format!("echo-bench -n 1 {target}")).finish().code, 0, "{streams}");
        assert_eq!(closed(streams, "--help").finish().code, 0, "{streams}");
    }
    // Without a stdin there is nothing to send; without a stdout nothing to print to.
    closed("<&-", &format!("connect {target}")).check();
    closed(">&-", &format!("connect {target}")).stdin("hello").check();
}

#[cfg(unix)]
#[test]
fn a_server_serves_without_stdin_and_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" serve --once --trace -U \"$1\" <&- >&-", SOCKKIT]).arg(&path);
    let mut child = Owned(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut calls = BufReader::new(child.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(calls.any(|call| call.contains(" listen(")), "it listens");
    // The rest must be read, or the server would wait for room.
    let rest = std::thread::spawn(move || calls.count());
    Run::sockkit("connect -U").args([&path]).stdin("hello\n").stdout("hello\n").check();
    assert_eq!(child.wait("serve").code(), Some(0));
    assert!(rest.join().unwrap() > 0);
}

#[cfg(unix)]
#[test]
fn a_stdin_that_cannot_be_read_is_a_local_failure() {
    let server = Server::start("--quiet");
    closed("< /", &format!("connect {}", server.v4()))
        .stderr("sockkit: read stdin failed: Is a directory (EISDIR, 21)\n")
        .code(4)
        .check();
}

#[test]
fn colour_is_where_it_is_wanted() {
    let plain = "127.0.0.1:1 refused after TIME: Connection refused (ECONNREFUSED, 111)\n";
    let coloured = "127.0.0.1:1 \x1b[31mrefused\x1b[0m after TIME: Connection refused (ECONNREFUSED, 111)\n";
    for (flags, variables, line) in [
        ("", &[][..], plain),
        ("--color auto", &[], plain),
        ("--color never", &[], plain),
        ("--color always", &[], coloured),
        ("", &[("CLICOLOR_FORCE", "1")], coloured),
        ("", &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], plain),
        ("", &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")], coloured),
        // What is typed beats what is set.
        ("--color always", &[("NO_COLOR", "1")], coloured),
        ("--color never", &[("CLICOLOR_FORCE", "1")], plain),
    ] {
        let mut run = run(&format!("probe {flags} 127.0.0.1:1"));
        for (name, value) in variables {
            run = run.env(name, value);
        }
        run.stdout(line).code(111).check();
    }
    let server = Server::start("--quiet");
    run("probe --color always").args([server.v4()]).stdout("127.0.0.1:PORT \x1b[32mopen\x1b[0m TIME\n").check();
    run("connect --color always 127.0.0.1:1")
        .stderr(
            "\x1b[31msockkit:\x1b[0m connect 127.0.0.1:1 (tcp) failed after TIME: Connection refused (ECONNREFUSED, 111)\n",
        )
        .code(1)
        .check();
    // What programs read has no colour in it.
    for (format, line) in [("errno", format!("{REFUSED}\n")), ("errname", "ECONNREFUSED\n".to_owned())] {
        run("probe --color always 127.0.0.1:1 -o").args([format]).stdout(&line).code(111).check();
    }
    assert!(!run("probe --color always --json 127.0.0.1:1").finish().stdout.contains(&0x1b));
}

/// Numbers that look random and are the same in every run (xorshift64*, G. Marsaglia, "Xorshift RNGs").
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.next() % all.len()]
    }

    /// A short word of characters that parsers stumble over.
    fn noise(&mut self) -> OsString {
        let characters: Vec<char> =
            "[]:%@./-+=, 0189aexKi\"'\\\n\t\u{1b}\u{7f}\u{e9}\u{202e}\u{1f600}".chars().collect();
        let length = self.next() % 12;
        let word: String = (0..length).map(|_| *self.one_of(&characters)).collect();
        #[cfg(unix)]
        if self.next().is_multiple_of(8) {
            return std::os::unix::ffi::OsStringExt::from_vec([word.as_bytes(), b"\xff\xc3"].concat());
        }
        word.into()
    }
}

/// A command with words that may mean something, and with words that cannot.
fn nonsense(numbers: &mut Numbers) -> Vec<OsString> {
    const FLAGS: &str = "-4 -6 -u -U -n -v -z -k -l -N -1 -j --json --quiet --once --raw -p -s -w -q -o -c -t -W --grace \
        --backlog --color --trace --trace=/ --linger --ttl --tos --send-buffer --mss --keepalive-idle --multicast-join \
        --exit-code --threads -- -";
    const VALUES: &str = "0 1 -1 65535 70000 99999999999999999999999 0x10 1e9 NaN inf 1ms 1K 127.0.0.1 127.0.0.1:1 \
        [::1]:1 ::1 :1 unix:/nonexistent/a @ json class ef 224.0.0.1@lo =";
    let (flags, values): (Vec<&str>, Vec<&str>) =
        (FLAGS.split_whitespace().collect(), VALUES.split_whitespace().collect());
    let command = *numbers.one_of(&COMMANDS);
    let mut words: Vec<OsString> = vec![command.into()];
    // What would do its work for long does not get that far: no socket can be bound to this device.
    words.push("--bind-device=nosuch0".into());
    if command != "serve" {
        words.push("-w1ms".into());
    }
    for _ in 0..numbers.next() % 7 {
        words.push(match numbers.next() % 5 {
            0 | 1 => numbers.one_of(&flags).into(),
            2 | 3 => numbers.one_of(&values).into(),
            _ => numbers.noise(),
        });
    }
    words
}

#[test]
fn no_nonsense_on_the_command_line_makes_it_panic_or_hang() {
    const RUNS: usize = 400;
    let mut numbers = Numbers(0x5eed);
    for number in 0..RUNS {
        let words = nonsense(&mut numbers);
        let Finished { stdout, stderr, code } = Run::sockkit("")
            .args(&words)
            .env("RUST_BACKTRACE", "1")
            .env("RES_OPTIONS", "timeout:1 attempts:1")
            .finish();
        let shown = format!("run {number}: {words:?}\nstatus {code}\n{stderr:?}");
        assert!(!stderr.contains("panicked") && !stderr.contains("backtrace"), "{shown}");
        // Rust's panic, our own word for a bug, abort, kill and a fault; probe's 101 is ENETUNREACH.
        assert!(!matches!(code, 125 | 134 | 137 | 139) && (code != 101 || words[0] == "probe"), "{shown}");
        let may_be_silent = code == 0 || words.contains(&"--quiet".into());
        assert!(may_be_silent || !stderr.is_empty() || !stdout.is_empty(), "a silent failure: {shown}");
        let text = String::from_utf8_lossy(&stdout) + stderr.as_str();
        assert!(!text.contains(['\u{1b}', '\u{7f}']), "drives the terminal: {shown}");
    }
}
