//! `sockkit probe`: verdicts and statuses.
//!
//! - `targets`: lists, ranges, networks, files, and bad ones
//! - `formats`: what each format prints
//! - `waiting`: deadlines, retries, measurements, ^C
//! - `checks`: what a connection must do to count
//! - `command`: what is run after it
//! - `datagrams`: UDP
//! - `sweep`: thousands of ports, few descriptors
//! - `names`: lookups beside each other
//! - `proxies`: what a proxy says of a target
//! - `scarcity`: what runs out on this side
//! - `terminal`: columns and progress for people
//! - `reasons`: each cause of failure, provoked in a network of its own
//!
//! What people complain of in tools of this kind, each with the test that it is not so here:
//!
//! | complaint | test |
//! |---|---|
//! | a failure exits with 0 | `an_open_and_a_closed_port` |
//! | silence and refusal look alike | `reasons::a_packet_filters_answers_are_told_apart` |
//! | at which step it failed, nobody says | `formats::ndjson_has_the_documented_fields_and_a_summary` |
//! | it hangs for minutes | `linux::silence_is_a_timeout_that_names_its_clock_and_keeps_it` |
//! | a lookup hangs, whatever the timeout | `waiting::linux::a_deadline_cuts_a_lookup_that_hangs` |
//! | each netcat has other flags | `netcats_form_probes_several_ports_of_one_host` |
//! | timeout(1) differs, and is needed | `waiting::a_deadline_is_kept_and_tells_the_last_reason` |
//! | the command runs although the wait failed | `command::a_command_is_run_only_on_success` |
//! | signals, stdin and status of the command are lost | `command::a_command_is_the_same_process_and_gets_its_signals` |
//! | localhost is `::1` first, and the server at 127.0.0.1 | `linux::of_several_addresses_the_one_that_answers_is_told` |
//! | one dead address fails the name | `linux::an_address_that_is_silent_does_not_hold_up_the_next` |
//! | no way to check each address | `targets::each_address_of_a_name_can_be_a_target` |
//! | a name that is not there yet ends the wait | `waiting::linux::a_name_that_appears_is_found_while_waiting` |
//! | any error passes for closed | `waiting::a_wait_for_closed_takes_only_a_refusal` |
//! | a wait has one target | `waiting::a_wait_is_for_all_its_targets` |
//! | no retries, no deadline over all | `waiting::a_failed_target_is_tried_as_often_as_it_is_asked_for` |
//! | a wait is a loop in the shell | `waiting::a_wait_ends_when_somebody_listens` |
//! | long timeouts are cut, short ones ignored | `linux::silence_is_a_timeout_that_names_its_clock_and_keeps_it` |
//! | open, and nobody behind it | `checks::a_port_must_stay_open_for_as_long_as_it_is_asked_to` |
//! | the server logs an error for each probe | `checks::a_server_sees_an_orderly_end_unless_it_is_told_otherwise` |
//! | probes leave TIME_WAIT behind | the same, with `--linger 0` |
//! | ports that are open only to themselves | `linux::a_connection_to_oneself_is_refused_and_gives_the_port_back` |
//! | too many open files | `sweep::few_descriptors_make_a_sweep_slow_and_never_wrong` |
//! | and it never gets faster again | `scarcity::a_window_that_shrank_grows_again` |
//! | at a high rate open ports get lost | `scarcity::a_sweep_that_meets_scarcity_is_slower_and_not_wrong` |
//! | what fails on this side is called closed | `scarcity::what_stays_away_is_a_local_error_and_never_closed` |
//! | a filtered host takes for ever | `sweep::a_thousand_silent_ports_take_one_timeout` |
//! | UDP always succeeds | `datagrams::a_port_that_answers_is_open_and_one_that_is_silent_is_not_known` |
//! | Windows calls a closed port filtered | `an_open_and_a_closed_port`, there |
//! | not in the DNS and down are one status | `linux::a_name_that_is_not_found_differs_from_a_lookup_that_failed` |
//! | no status for any of several | `targets::a_range_needs_one_open_port_and_a_list_needs_all` |
//! | JSON is partial | `each_format_says_the_same` |
//! | no statistics when all failed, or failures in the mean | `waiting::measurements_have_statistics_of_what_was_open` |
//! | a scan that was cut short looks complete | `sweep::a_deadline_counts_what_it_left_out` |
//! | and is a success if ^C cut it short | `waiting::an_interrupt_between_two_targets_leaves_the_rest_untried` |
//! | a reset after the accept is closed, two times of three | `a_port_that_accepts_and_resets_is_open_every_time` |
//! | a full unix queue is open, or hangs | `linux::a_unix_socket_with_a_full_queue_is_busy_until_the_timeout` |
//! | port 70000 is port 4464 | `targets::targets_that_cannot_be_meant_are_usage_errors` |

mod checks;
#[cfg(unix)]
mod command;
mod datagrams;
mod formats;
#[cfg(target_os = "linux")]
mod names;
mod proxies;
#[cfg(target_os = "linux")]
mod reasons;
#[cfg(target_os = "linux")]
mod scarcity;
#[cfg(target_os = "linux")]
mod sweep;
mod targets;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(unix)]
mod waiting;

use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;

#[cfg(unix)]
use crate::harness::unread_pipe;
use crate::harness::{REFUSED, Run, Server};

/// Nothing listens there: the system gives nobody a port that low, and the service of that name died out.
const CLOSED: &str = "127.0.0.1:1";

/// `sockkit probe` with these words, each as it is.
fn probe<S: AsRef<std::ffi::OsStr>>(words: impl IntoIterator<Item = S>) -> Run {
    Run::sockkit("probe").args(words)
}

/// The JSON lines of a run.
fn records(stdout: &[u8]) -> Vec<Value> {
    let text = String::from_utf8(stdout.to_vec()).expect("JSON is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

#[test]
fn an_open_and_a_closed_port() {
    let server = Server::start("--quiet");
    Run::sockkit("probe")
        .args([server.v4().as_str(), CLOSED])
        .stdout(
            "127.0.0.1:PORT open TIME\n\
             127.0.0.1:1 refused after TIME: Connection refused (ECONNREFUSED, 111)\n",
        )
        .code(111)
        .check();
}

#[test]
fn ipv6_is_probed_like_ipv4() {
    let server = Server::start("--quiet");
    let port = server.port().to_string();
    for words in [vec![server.v6()], vec!["::1".to_owned(), port.clone()], vec!["[::1]".to_owned(), port]] {
        probe(words).stdout("[::1]:PORT open TIME\n").check();
    }
    probe(["[::1]:1"]).stdout("[::1]:1 refused after TIME: Connection refused (ECONNREFUSED, 111)\n").code(111).check();
}

#[cfg(unix)]
#[test]
fn a_unix_path_is_open_only_where_a_server_listens() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let _listener = std::os::unix::net::UnixListener::bind(path("live")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(path("stale")).unwrap());
    std::fs::write(path("file"), "data").unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    let refused = "refused after TIME: Connection refused (ECONNREFUSED, 111)";
    for (name, verdict, code) in [
        ("live", "open TIME", 0),
        ("stale", refused, 111),
        ("file", refused, 111),
        ("folder", refused, 111),
        ("missing", "refused after TIME: No such file or directory (ENOENT, 2)", 2),
    ] {
        let line = format!("unix:{} {verdict}\n", path(name));
        probe([format!("unix:{}", path(name))]).stdout(&line).code(code).check();
        probe(["-U", &path(name)]).stdout(&line).code(code).check();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_name_that_nobody_has_is_refused() {
    probe(["unix:@sockkit.test.nobody"])
        .stdout("unix:@sockkit.test.nobody refused after TIME: Connection refused (ECONNREFUSED, 111)\n")
        .code(111)
        .check();
}

#[test]
fn netcats_form_probes_several_ports_of_one_host() {
    let server = Server::start("--quiet");
    let port = server.port().to_string();
    let lines = "127.0.0.1:1 refused after TIME: Connection refused (ECONNREFUSED, 111)\n127.0.0.1:PORT open TIME\n";
    probe(["127.0.0.1", "1", &port]).stdout(lines).code(111).check();
    probe(["-z", "-w1", "127.0.0.1", "1", &port]).stdout(lines).code(111).check();
    let verbose = probe(["-zv", "127.0.0.1", "1", &port]).finish();
    assert_eq!((crate::harness::mask(&String::from_utf8_lossy(&verbose.stdout)).as_str(), verbose.code), (lines, 111));
    assert!(verbose.stderr.contains("nodelay off"), "the options in force: {}", verbose.stderr);
}

#[cfg(unix)]
#[test]
fn the_first_target_that_fails_decides_and_all_are_printed() {
    let server = Server::start("--quiet");
    let open = server.v4();
    let missing = "unix:/nonexistent/socket";
    let refused = "127.0.0.1:1 refused after TIME: Connection refused (ECONNREFUSED, 111)\n";
    let absent = "unix:/nonexistent/socket refused after TIME: No such file or directory (ENOENT, 2)\n";
    let fine = "127.0.0.1:PORT open TIME\n";
    for (targets, lines, code) in [
        ([open.as_str(), CLOSED, missing], [fine, refused, absent], 111),
        ([CLOSED, missing, &open], [refused, absent, fine], 111),
        ([missing, CLOSED, &open], [absent, refused, fine], 2),
        ([missing, &open, CLOSED], [absent, fine, refused], 2),
    ] {
        probe(targets).stdout(&lines.concat()).code(code).check();
    }
}

#[test]
fn each_format_says_the_same() {
    let server = Server::start("--quiet");
    // Port 1 is refused, and the service does not exist.
    let targets = [server.v4(), CLOSED.to_owned(), "127.0.0.1:nosuchservice".to_owned()];
    let errnos = format!("0\n{REFUSED}\n-1\n");
    for (format, lines) in [("errno", errnos.as_str()), ("errname", "OK\nECONNREFUSED\nEAI_SERVICE\n")] {
        probe(["-o", format]).args(&targets).stdout(lines).code(111).check();
    }
    for flags in [&["--json"][..], &["-j"], &["-o", "json"], &["-o", "errno", "--json"]] {
        let finished = probe(flags).args(&targets).finish();
        let records = records(&finished.stdout);
        assert_eq!((finished.code, finished.stderr.as_str(), records.len()), (111, "", 3), "{flags:?}");
        for (record, (target, state, errno, errname)) in records.iter().zip([
            (targets[0].as_str(), "open", Value::from(0), "OK"),
            (CLOSED, "refused", Value::from(REFUSED), "ECONNREFUSED"),
            ("127.0.0.1:nosuchservice", "not_resolved", Value::Null, "EAI_SERVICE"),
        ]) {
            assert_eq!(record["schema"], "sockkit.probe/1");
            assert_eq!(
                (&record["target"], &record["state"], &record["errno"], &record["errname"]),
                (&target.into(), &state.into(), &errno, &errname.into())
            );
            let is_resolved = state != "not_resolved";
            assert_eq!(record["address"], if is_resolved { target.into() } else { Value::Null });
            assert_eq!(record["error"].is_null(), state == "open", "{record}");
            assert!(record["resolve_ms"].as_f64().unwrap() >= 0.0);
            assert_eq!(record["connect_ms"].as_f64().unwrap() > 0.0, is_resolved, "{record}");
        }
    }
}

#[cfg(unix)]
#[test]
fn the_exit_status_means_what_was_asked_for() {
    let server = Server::start("--quiet");
    let open = server.v4();
    let (absent, unknown, foreign) = ("unix:/nonexistent/socket", "127.0.0.1:nosuchservice", "-s192.0.2.1");
    for (words, [errno, class, simple, nagios]) in [
        (&[open.as_str()][..], [0, 0, 0, 0]),
        (&[CLOSED], [111, 1, 1, 2]),
        (&[&open, CLOSED], [111, 1, 1, 2]),
        (&[CLOSED, "127.0.0.1:2"], [111, 1, 1, 2]),
        (&[CLOSED, absent], [111, 1, 1, 2]),
        (&[absent], [2, 1, 1, 2]),
        (&[unknown], [200, 6, 1, 2]),
        (&[foreign, CLOSED], [99, 4, 1, 3]),
        (&[CLOSED, unknown], [111, 9, 1, 2]),
        (&[unknown, CLOSED], [200, 9, 1, 2]),
    ] {
        for (meaning, code) in [("errno", errno), ("class", class), ("simple", simple), ("nagios", nagios)] {
            let finished = probe(["--exit-code", meaning]).args(words).finish();
            assert_eq!(finished.code, code, "--exit-code {meaning} {words:?}");
        }
        assert_eq!(probe(words).finish().code, errno, "errno is the default");
    }
}

#[test]
fn how_much_is_said_never_changes_the_status() {
    let server = Server::start("--quiet");
    for (target, code) in [(server.v4().as_str(), 0), (CLOSED, 111), ("127.0.0.1:nosuchservice", 200)] {
        for format in ["text", "errno", "errname", "json"] {
            probe(["--quiet", "-o", format, target]).code(code).check();
            for flag in ["-v", "-vv", "--color=always", "--trace"] {
                assert_eq!(probe([flag, "-o", format, target]).finish().code, code, "{flag} -o {format} {target}");
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_does_not_change_the_status() {
    for (targets, code) in [([CLOSED, "unix:/nonexistent/socket"], 111), (["unix:/nonexistent/socket", CLOSED], 2)] {
        probe(targets).stdout_to(unread_pipe()).code(code).check();
    }
}

#[test]
fn a_failure_on_this_side_says_which_operation_failed() {
    probe(["-s", "192.0.2.1", CLOSED])
        .stdout(
            "127.0.0.1:1 local error: bind 192.0.2.1:0 (tcp) failed after TIME: \
             Cannot assign requested address (EADDRNOTAVAIL, 99)\n",
        )
        .code(99)
        .check();
}

#[test]
fn a_family_that_is_not_wanted_is_not_tried() {
    let server = Server::start("-4 --quiet");
    let port = server.port();
    let (here, there) = (server.v4(), format!("[::1]:{port}"));
    let wrong = |host: &str, version| {
        format!(
            "{host}:PORT not resolved after TIME: {} is not an IPv{version} address (EAI_NONAME, -2)\n",
            host.trim_matches(['[', ']'])
        )
    };
    probe(["-4", &here]).stdout("127.0.0.1:PORT open TIME\n").check();
    probe(["-6", &here]).stdout(&wrong("127.0.0.1", 6)).code(200).check();
    probe(["-4", &there]).stdout(&wrong("[::1]", 4)).code(200).check();
    // A port alone is this machine's, in both families.
    let any = format!(":{port}");
    for (flag, line, code) in [
        ("-n", format!(":{port} open TIME at 127.0.0.1:PORT\n"), 0),
        ("-4", format!(":{port} open TIME at 127.0.0.1:PORT\n"), 0),
        ("-6", format!(":{port} refused after TIME: Connection refused (ECONNREFUSED, 111)\n"), 111),
    ] {
        probe([flag, &any]).stdout(&line).code(code).check();
    }
}

#[test]
fn names_that_do_not_resolve_are_told_apart_from_refusals() {
    for (words, line) in [
        (
            &["-n", "localhost:80"][..],
            "localhost:80 not resolved after TIME: not an IP address, and no names are looked up (EAI_NONAME, -2)\n",
        ),
        (
            &["localhost:nosuchservice"],
            "localhost:nosuchservice not resolved after TIME: no such service over tcp (EAI_SERVICE, -8)\n",
        ),
    ] {
        probe(words).stdout(line).code(200).check();
    }
}

#[test]
fn a_port_that_accepts_and_resets_is_open_every_time() {
    /// As many as the peers were measured with; most of them fail two of three.
    const TIMES: usize = 30;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    // Never joined: it would wait for connections that a failed test does not make.
    std::thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    });
    for _ in 0..TIMES {
        probe([&target]).stdout("127.0.0.1:PORT open TIME\n").check();
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::harness::{Deaf, NAMES_FROM_FILES, Owned, SOCKKIT, can_unshare, names_from, unanswered, unshared};

    #[test]
    fn silence_is_a_timeout_that_names_its_clock_and_keeps_it() {
        let deaf = Deaf::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let target = deaf.address.to_string();
        probe(["-w", "300ms", &target])
            .stdout("127.0.0.1:PORT timed out after TIME: no answer within the connect timeout (ETIMEDOUT, 110)\n")
            .code(110)
            .check();
        let finished = probe(["-w", "0.3", "--json", "--exit-code", "class", &target]).finish();
        let record = &records(&finished.stdout)[0];
        assert_eq!((finished.code, &record["state"], &record["errno"]), (124, &"timed_out".into(), &110.into()));
        let waited_ms = record["connect_ms"].as_f64().unwrap();
        // The system's own patience is two minutes.
        assert!((300.0..20_000.0).contains(&waited_ms), "{waited_ms} ms");
    }

    #[test]
    fn a_unix_socket_with_a_full_queue_is_busy_until_the_timeout() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("full");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let _queued = UnixStream::connect(&path).unwrap();
        let target = format!("unix:{}", path.display());
        let line = format!("{target} busy after TIME: its queue was full until the connect timeout (ETIMEDOUT, 110)\n");
        probe(["-w", "50ms", &target]).stdout(&line).code(110).check();
        probe(["-w", "50ms", "--exit-code", "class", &target]).stdout(&line).code(124).check();
        let finished = probe(["-w", "50ms", "--json", &target]).finish();
        let record = &records(&finished.stdout)[0];
        assert_eq!((&record["state"], &record["errname"]), (&"busy".into(), &"ETIMEDOUT".into()));
        assert!(record["connect_ms"].as_f64().unwrap() >= 50.0, "{record}");
    }

    #[test]
    fn a_busy_unix_socket_is_open_as_soon_as_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("full");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let _queued = UnixStream::connect(&path).unwrap();
        let mut command = Command::new(SOCKKIT);
        command.args(["probe", "-w", "50s", "--trace", &format!("unix:{}", path.display())]);
        let mut child = Owned(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut calls = BufReader::new(child.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(calls.any(|call| call.contains("connect(3, unix:") && call.contains("= -1 EAGAIN")), "it was busy");
        listener.accept().unwrap();
        assert!(calls.any(|call| call.contains("connect(3, unix:") && call.contains("= 0 ")), "then it was not");
        assert!(child.wait("probe").success());
    }

    /// An address of the loopback network that nothing else uses, with a port that was free a moment ago.
    fn unused_port() -> String {
        Socket::new(Domain::IPV4, Type::STREAM, None)
            .and_then(|socket| {
                socket.bind(&"127.77.0.1:0".parse::<std::net::SocketAddr>().unwrap().into())?;
                socket.local_addr()
            })
            .map(|address| address.as_socket_ipv4().unwrap().port().to_string())
            .unwrap()
    }

    #[test]
    fn a_connection_to_oneself_is_refused_and_gives_the_port_back() {
        for (flags, protocol) in [(&[][..], ""), (&["-v"], ""), (&["-u"], "udp:")] {
            let port = unused_port();
            let target = format!("127.77.0.1:{port}");
            let line = "refused after TIME: connected to itself, nothing listens there (ECONNREFUSED, 111)";
            probe(["-s", "127.77.0.1", "-p", &port, &target])
                .args(flags)
                .stdout(&format!("{protocol}{target} {line}\n"))
                .code(111)
                .check();
            // Without SO_REUSEADDR a port in TIME_WAIT would be taken.
            let server = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            server.bind(&target.parse::<std::net::SocketAddr>().unwrap().into()).expect("the port is free at once");
        }
    }

    #[test]
    fn what_cannot_be_reached_says_why() {
        if !can_unshare() {
            return;
        }
        let routes = "ip link set lo up; ip route add unreachable 192.0.2.1; ip route add prohibit 192.0.2.2";
        for (target, verdict, code, class) in [
            ("192.0.2.1:80", "unreachable after TIME: No route to host (EHOSTUNREACH, 113)", 113, 3),
            ("192.0.2.2:80", "unreachable after TIME: Permission denied (EACCES, 13)", 13, 3),
            ("192.0.2.3:80", "unreachable after TIME: Network is unreachable (ENETUNREACH, 101)", 101, 3),
            ("[2001:db8::1]:80", "unreachable after TIME: Network is unreachable (ENETUNREACH, 101)", 101, 3),
        ] {
            let line = format!("{target} {verdict}\n");
            unshared("-rn", routes, &format!("probe {target}")).stdout(&line).code(code).check();
            unshared("-rn", routes, &format!("probe --exit-code class {target}")).stdout(&line).code(class).check();
        }
    }

    #[test]
    fn a_name_that_is_not_found_differs_from_a_lookup_that_failed() {
        if !can_unshare() {
            return;
        }
        // No server answers at 127.0.0.1:53 in there; what the machine's own files know is asked first.
        let (files, servers) = (NAMES_FROM_FILES, &*names_from("127.0.0.1"));
        for (furnish, words, verdict, code) in [
            (files, "", "Name or service not known (EAI_NONAME, -2)", 200),
            (files, "--exit-code class", "Name or service not known (EAI_NONAME, -2)", 6),
            (servers, "", "Temporary failure in name resolution (EAI_AGAIN, -3)", 201),
            (servers, "--exit-code class", "Temporary failure in name resolution (EAI_AGAIN, -3)", 6),
        ] {
            let folder = tempfile::tempdir().unwrap();
            unshared("-rmn", furnish, &format!("probe {words} nosuch.invalid:80"))
                .env("T", folder.path().to_str().unwrap())
                .stdout(&format!("nosuch.invalid:80 not resolved after TIME: {verdict}\n"))
                .code(code)
                .check();
        }
    }

    #[test]
    fn a_resolver_that_hangs_does_not_outlive_the_timeout() {
        if !can_unshare() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let finished = unanswered("probe -w 1 --json nosuch.invalid:80 127.0.0.1:1", folder.path()).finish();
        let records = records(&finished.stdout);
        assert_eq!((finished.code, finished.stderr.as_str(), records.len()), (110, "", 2), "{records:?}");
        assert_eq!((&records[0]["state"], &records[0]["errname"]), (&"timed_out".into(), &"ETIMEDOUT".into()));
        assert!(records[0]["error"].as_str().unwrap().contains("no answer within the resolve timeout"));
        assert!(records[0]["resolve_ms"].as_f64().unwrap() >= 1000.0);
        assert_eq!(records[1]["state"], "refused", "the targets after it are probed");
    }

    #[test]
    fn of_several_addresses_the_one_that_answers_is_told() {
        if !can_unshare() {
            return;
        }
        let server = Server::start("-4 --quiet");
        let port = server.port();
        let folder = tempfile::tempdir().unwrap();
        let both = "printf '127.0.0.1 both.invalid\\n::1 both.invalid\\n' > $T/hosts; mount --bind $T/hosts /etc/hosts";
        let both = format!("{both}; {NAMES_FROM_FILES}");
        let run = |words: &str| unshared("-rm", &both, words).env("T", folder.path().to_str().unwrap());
        let refused = "refused after TIME: Connection refused (ECONNREFUSED, 111)";
        for (words, line, code) in [
            ("", format!("both.invalid:{port} open TIME at 127.0.0.1:PORT\n"), 0),
            ("-4", format!("both.invalid:{port} open TIME at 127.0.0.1:PORT\n"), 0),
            ("-6", format!("both.invalid:{port} {refused}\n"), 111),
        ] {
            run(&format!("probe {words} both.invalid:{port}")).stdout(&line).code(code).check();
        }
        // With -v, what became of each.
        let verbose = run(&format!("probe -v both.invalid:{port}")).finish();
        let told = "connect [::1]:PORT (tcp) failed after TIME: Connection refused (ECONNREFUSED, 111)\n";
        assert!(crate::harness::mask(&verbose.stderr).starts_with(told), "{}", verbose.stderr);
        run("probe -v both.invalid:1")
            .stdout(&format!("both.invalid:1 {refused}\n"))
            .stderr(
                "connect [::1]:1 (tcp) failed after TIME: Connection refused (ECONNREFUSED, 111)\n\
                 connect 127.0.0.1:1 (tcp) failed after TIME: Connection refused (ECONNREFUSED, 111)\n",
            )
            .code(111)
            .check();
    }

    #[test]
    fn an_address_that_is_silent_does_not_hold_up_the_next() {
        let (silent, _listener) = Deaf::beside(TcpListener::bind);
        let port = silent.address.port();
        // The first address would take all of this time, which is longer than a test may.
        probe(["-w", "10m", &format!(":{port}")]).stdout(&format!(":{port} open TIME at [::1]:PORT\n")).check();
    }

    #[test]
    fn the_time_of_a_late_answer_is_its_own() {
        let (late, _silent) = Deaf::beside(Deaf::listen);
        let port = late.address.port();
        let mut command = Command::new(SOCKKIT);
        command.args(["probe", "-w", "50s", "--json", "--trace", "--trace-format", "text", &format!(":{port}")]);
        let mut child = Owned(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut calls = BufReader::new(child.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(calls.any(|call| call.contains("[::1]:")), "the second address is tried beside the first");
        late.hear();
        let rest = calls.count();
        let mut stdout = String::new();
        BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut stdout).unwrap();
        assert!(child.wait("probe").success() && rest > 0);
        let record = &records(stdout.as_bytes())[0];
        assert_eq!(record["address"], late.address.to_string());
        // The second began 250 ms after the first, and is not the one that answered.
        assert!(record["connect_ms"].as_f64().unwrap() >= 250.0, "{record}");
    }
}
