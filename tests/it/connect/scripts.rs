//! `connect --send`, `--expect` and `--script`: conversations that were laid down beforehand.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::time::Duration;

use serde_json::Value;
use socket2::Socket;

use crate::harness::{DEADLINE, Peer, Place, Run, Server, mask, read_exactly, read_to_end};
#[cfg(unix)]
use crate::harness::{Running, Signal, kill, unread_pipe};

/// `connect` to a place, with words that are not split.
fn connect(address: &str, words: &[&str]) -> Run {
    Run::sockkit("connect").args([address]).args(words)
}

/// Answers each line with what a function makes of it, until the other end finishes.
fn answer_lines(peer: &Socket, greeting: &str, answer: impl Fn(&str) -> String) {
    (&*peer).write_all(greeting.as_bytes()).unwrap();
    for line in BufReader::new(peer).lines().map_while(Result::ok) {
        (&*peer).write_all(answer(line.trim_end()).as_bytes()).unwrap();
    }
}

#[test]
fn statements_are_carried_out_in_the_order_in_which_they_are_typed() {
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            peer.write_all(b"ready\n").unwrap();
            assert_eq!(read_exactly(&peer, 4), b"one\n");
            peer.write_all(b"1\n").unwrap();
            assert_eq!(read_exactly(&peer, 3), b"\x00\xff\n");
            peer.write_all(b"bye").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            read_to_end(&peer)
        });
        let words = [
            "--expect",
            "^ready\n",
            "--send",
            "one\\n",
            "--expect-hex",
            "31 0a",
            "--send-hex",
            "00 ff 0a",
            "--expect-eof",
            "--send",
            "-last",
            "--send-eof",
        ];
        connect(&peer.address, &words).stdin("not read").stdout("ready\n1\nbye").check();
        assert_eq!(peer.finish(), b"-last", "{place:?}");
    }
}

/// Both expectations are in what came at once; the second begins where the first has ended.
#[test]
fn what_an_expectation_has_used_is_used_up() {
    let server = Server::start("-4 --quiet");
    connect(&server.v4(), &["--send", "ab ab", "--expect", "ab", "--expect", "ab"]).stdout("ab ab").check();
    let words = ["--send", "ab ab", "--expect", "ab", "--expect", "ab", "--expect", "b", "--within", "0.2"];
    connect(&server.v4(), &words)
        .stdout("ab ab")
        .stderr(
            "sockkit: receive 127.0.0.1:PORT (tcp) failed after TIME: what was expected did not come in time; --expect b; \
             nothing came\n",
        )
        .code(5)
        .check();
}

#[test]
fn of_datagrams_each_is_looked_at_for_itself() {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let address = peer.local_addr().unwrap().to_string();
    let answering = std::thread::spawn(move || {
        let mut datagram = [0; 100];
        let mut heard = Vec::new();
        for answers in [&["a", "ab", "b", "c"][..], &["d"]] {
            let (length, from) = peer.recv_from(&mut datagram).unwrap();
            heard.push(datagram[..length].to_vec());
            for answer in answers {
                peer.send_to(answer.as_bytes(), from).unwrap();
            }
        }
        heard
    });
    let words = ["-u", "--send", "first", "--expect", "^b$", "--send", "second", "--expect", "^d"];
    connect(&address, &words).stdout("aabbcd").check();
    assert_eq!(answering.join().unwrap(), [b"first".to_vec(), b"second".to_vec()]);
    // What comes after the last that was sent is printed, as after stdin's end.
    let server = Server::start("-4 -u --quiet");
    connect(&server.v4(), &["-u", "-q", "0.5", "--send", "hello\\n"]).stdout("hello\n").check();
}

#[test]
fn a_file_has_the_same_verbs_with_comments_and_variables() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chat");
    let script = "# Who is there?\n\
                  \n\
                  set greeting HELO \\x61\n\
                  send $greeting ${who}\\r\\n\n\
                  \twithin 30s\n\
                  expect ^HELO a (?<name>\\w+)\\r\n\
                  send <${name}.$name> \\$5 $\\n\n\
                  expect <$name\\.me> \\$5 \\$\n";
    std::fs::write(&file, script).unwrap();
    let file = file.to_str().unwrap();
    let server = Server::start("-4 --quiet");
    connect(&server.v4(), &["--set", "who=me", "--script", file]).stdout("HELO a me\r\n<me.me> $5 $\n").check();
    // A value is taken literally, whatever it would mean as an expression.
    let words = ["--set", "dots=a.c", "--send", "abc a.c", "--expect", "^(?<before>.*)$dots", "--expect-eof"];
    connect(&server.v4(), &words)
        .args(["--within", "0.2"])
        .stdout("abc a.c")
        .stderr(
            "sockkit: receive 127.0.0.1:PORT (tcp) failed after TIME: the peer did not finish in time; --expect-eof; nothing \
             came\n",
        )
        .code(5)
        .check();
}

/// What a peer does when it has been spoken to.
type Act = fn(&mut Socket);

/// What the peer does, what is expected instead, and what is said then.
#[test]
fn an_expectation_that_is_not_met_says_what_came() {
    let long = "x".repeat(1000);
    let cases: [(Act, &[&str], &str); 8] = [
        (
            |peer| peer.write_all(b"-ERR \xff\r\n").unwrap(),
            &["--within", "1", "--expect", "^\\+PONG"],
            "what was expected did not come in time; --expect ^\\+PONG; 8 bytes came: \"-ERR \\xff\\r\\n\"",
        ),
        (
            |_| (),
            &["--expect", "x", "--within", "0.2"],
            "what was expected did not come in time; --expect x; nothing came",
        ),
        (
            |peer| {
                peer.write_all(b"?").unwrap();
                peer.shutdown(Shutdown::Write).unwrap();
            },
            &["--expect", "x"],
            "the peer closed before what was expected came; --expect x; 1 byte came: \"?\"",
        ),
        (
            |peer| peer.set_linger(Some(Duration::ZERO)).unwrap(),
            &["--expect", "x"],
            "the peer reset before what was expected came; --expect x; nothing came",
        ),
        (
            |peer| peer.set_linger(Some(Duration::ZERO)).unwrap(),
            &["--expect-eof"],
            "the peer reset instead of finishing; --expect-eof; nothing came",
        ),
        (|_| (), &["--within", "200ms", "--expect-eof"], "the peer did not finish in time; --expect-eof; nothing came"),
        (
            |peer| peer.shutdown(Shutdown::Write).unwrap(),
            &["--expect-reset"],
            "the peer finished instead of resetting; --expect-reset; nothing came",
        ),
        (
            |_| (),
            &["--within", "200ms", "--expect-reset"],
            "the peer did not reset in time; --expect-reset; nothing came",
        ),
    ];
    for (act, words, said) in cases {
        let peer = Peer::start(Place::Tcp, move |mut peer| {
            assert_eq!(read_exactly(&peer, 1), b"!");
            act(&mut peer);
            if peer.linger().unwrap().is_none() {
                let _ = peer.read_to_end(&mut Vec::new());
            }
        });
        let finished = connect(&peer.address, &["--send", "!"]).args(words).finish();
        peer.finish();
        let expected = format!("sockkit: receive 127.0.0.1:PORT (tcp) failed after TIME: {said}\n");
        assert_eq!((mask(&finished.stderr), finished.code), (expected, 5), "{words:?}");
    }
    let server = Server::start("-4 --quiet");
    let words = ["--send", &long, "--expect", "y", "--within", "1"];
    let finished = connect(&server.v4(), &words).finish();
    let shown = format!("; 1000 bytes came: \"{}\"...\n", "x".repeat(120));
    assert!(finished.code == 5 && finished.stderr.ends_with(&shown), "{}", finished.stderr);
}

#[test]
fn a_reset_may_be_what_is_wanted() {
    for &place in Place::ALL {
        let peer = Peer::start(place, |peer| {
            assert_eq!(read_exactly(&peer, 1), b"x");
            // A unix socket resets when it is closed with something unread.
            peer.set_linger(Some(Duration::ZERO)).unwrap();
        });
        connect(&peer.address, &["--send", "xy", "--expect-reset"]).check();
        peer.finish();
    }
    if cfg!(unix) {
        connect("127.0.0.1:1", &["-u", "--send", "x", "--expect-reset"]).check();
    }
}

/// After an expectation nothing more is wanted of a peer that stays; after something sent, what comes is.
#[test]
fn what_follows_the_last_statement() {
    let peer = Peer::start(Place::Tcp, |mut peer| {
        peer.write_all(b"hello\n").unwrap();
        let heard = read_to_end(&peer);
        // It would never finish by itself.
        (heard, peer)
    });
    connect(&peer.address, &["--expect", "hello"]).stdout("hello\n").check();
    peer.finish();
    for &place in Place::ALL {
        let peer = Peer::start(place, |mut peer| {
            assert_eq!(read_to_end(&peer), b"GET /\r\n");
            peer.write_all(b"all of it").unwrap();
        });
        connect(&peer.address, &["--send", "GET /\\r\\n"]).stdout("all of it").check();
        peer.finish();
    }
    let server = Server::start("-4 --quiet");
    let words = ["--send", "login\\n", "--expect", "login", "--interact"];
    connect(&server.v4(), &words).stdin("typed\n").stdout("login\ntyped\n").check();
}

#[test]
fn what_passes_is_shown_hashed_and_told_as_ever() {
    let server = Server::start("-4 --quiet");
    let finished = connect(&server.v4(), &["-x", "--send", "hello\\n", "--expect", "llo", "-C"]).finish();
    let stderr = mask(&finished.stderr);
    assert!(stderr.starts_with("> TIME, 7 bytes at 0\n00000000  68 65 6c 6c 6f 0d 0a "), "{stderr}");
    assert!(stderr.contains("\n< TIME, 7 bytes at 0\n"), "{stderr}");
    let finished = connect(&server.v4(), &["-j", "--send", "a", "--expect", "(?<x>.)", "--set", "y=$x"]).finish();
    let lines = finished.events("statement");
    let told: Vec<&Value> = lines.iter().map(|line| &line["statement"]).collect();
    assert_eq!(told, ["--send a", "--expect (?<x>.)"]);
    assert_eq!(finished.event("closed")["how"], "peer_finished");
    let finished = connect(&server.v4(), &["-j", "--send", "a", "--expect", "b", "--within", "0.1"]).finish();
    assert!(finished.stderr.contains("\"how\":\"check_failed\""), "{}", finished.stderr);
}

/// A check is not met because nobody looks at stdout.
#[cfg(unix)]
#[test]
fn a_closed_stdout_leaves_the_script_its_way() {
    let server = Server::start("-4 --quiet");
    for (expected, code) in [("b", 0), ("c", 5)] {
        let words = ["--send", "a", "--expect", "a", "--send", "b", "--expect", expected, "--within", "0.5"];
        let finished = connect(&server.v4(), &words).stdout_to(unread_pipe()).finish();
        assert_eq!(finished.code, code, "{}", finished.stderr);
    }
}

#[cfg(unix)]
#[test]
fn signals_and_clocks_end_a_script_too() {
    let server = Server::start("-4 --quiet");
    let mut client =
        Running::sockkit_with(&format!("connect {} --within 1h", server.v4()), &["--send", "a", "--expect", "b"]);
    client.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    kill(client.pid(), Signal::Terminate);
    assert_eq!(client.finish().code, 143);
    for (flags, clock) in
        [("--max-time", "the deadline passed"), ("-W", "nothing came or went within the idle timeout")]
    {
        let finished = connect(&server.v4(), &[flags, "0.3", "--send", "a", "--expect", "b"]).finish();
        assert!(finished.stderr.contains(clock), "{}", finished.stderr);
        assert_eq!(finished.code, 124);
    }
}

#[test]
fn what_cannot_be_meant_is_a_usage_error_that_names_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (typo, binary, missing) = (path("typo"), path("binary"), path("missing"));
    std::fs::write(&typo, "send a\n\nexepct b\n").unwrap();
    std::fs::write(&binary, b"send \xff\n").unwrap();
    let regex = "is not a regular expression: unclosed group";
    for (words, message) in [
        (&["--expect", "("][..], format!("--expect: \"(\" {regex}")),
        (
            &["--send-hex", "0d0"],
            "--send-hex: \"0d0\" is not hexadecimal: \"0d0\" has an odd number of digits, and two make a byte, for example \
             0d0a or 0d 0a"
                .to_owned(),
        ),
        (
            &["--send", "\\q"],
            "--send: a backslash in \"\\\\q\" begins nothing: write \\r \\n \\t \\0 \\xHH or \\\\".to_owned(),
        ),
        (&["--send", ""], "--send: send has nothing to send".to_owned()),
        (
            &["--send", "$x", "--set", "x=1"],
            "--send: $x has no value here: set it first, or write \\$ for a dollar".to_owned(),
        ),
        (
            &["--set", "1x=1"],
            "--set: \"1x\" is no variable's name: letters, digits and _, and no digit first".to_owned(),
        ),
        (
            &["--send-eof", "--send", "x"],
            "--send: send comes after send-eof, which ended what can be sent".to_owned(),
        ),
        (&["--script", &binary], format!("--script {binary} is not text: it must be UTF-8")),
        (
            &["--script", &typo],
            format!(
                "{typo}:3: \"exepct\" is no verb: send, send-hex, send-eof, expect, expect-hex, expect-eof, expect-reset, \
                 within, set"
            ),
        ),
        (&["--interact"], "--interact follows a script, and there is none: --script FILE".to_owned()),
        (
            &["--send-eof", "--interact"],
            "--interact has nothing to send after send-eof: leave one out".to_owned(),
        ),
        (
            &["-d", "--send", "x"],
            "a script decides what is sent and heard: leave -d out, or the script".to_owned(),
        ),
        (&["-u", "--send-eof"], "send-eof half-closes, and udp has no such thing".to_owned()),
    ] {
        connect("127.0.0.1:9", words).stderr(&format!("sockkit: {message}\n")).code(2).check();
    }
    // That it cannot be read is no fault of the command line.
    let unreadable = format!("sockkit: read script \"{missing}\" failed: No such file or directory (ENOENT, 2)\n");
    connect("127.0.0.1:9", &["--script", &missing]).stderr(&unreadable).code(4).check();
}

/// A conversation with a mail server, whose answers have a code and may have several lines.
#[test]
fn a_mail_is_handed_over() {
    let peer = Peer::start(Place::Tcp, |peer| {
        let (letter, is_letter) = (RefCell::new(String::new()), Cell::new(false));
        answer_lines(&peer, "220 mail.example ESMTP\r\n", |line| {
            if is_letter.get() && line != "." {
                letter.borrow_mut().push_str(line);
                return String::new();
            }
            let answer = match line.split(' ').next().unwrap() {
                "EHLO" => "250-mail.example\r\n250-SIZE 1000000\r\n250 HELP\r\n",
                "MAIL" | "RCPT" => "250 Ok\r\n",
                "DATA" => "354 End data with <CR><LF>.<CR><LF>\r\n",
                "." => "250 Ok: queued as 4711\r\n",
                "QUIT" => "221 Bye\r\n",
                _ => "500 what?\r\n",
            };
            is_letter.set(line == "DATA");
            answer.to_owned()
        });
        letter.into_inner()
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mail");
    let script = "expect ^220 .*\\r\\n\n\
                  send EHLO client.example\\r\\n\n\
                  expect (?m)^250 .*\\r\\n\n\
                  send MAIL FROM:<$from>\\r\\n\n\
                  expect ^250 .*\\r\\n\n\
                  send RCPT TO:<b@example.com>\\r\\n\n\
                  expect 250 .*\\r\\n\n\
                  send DATA\\r\\n\n\
                  expect ^354 .*\\r\\n\n\
                  send Subject: test\\r\\n.\\r\\n\n\
                  expect queued as (?<id>\\d+)\\r\\n\n\
                  send QUIT\\r\\n\n\
                  expect ^221\n";
    std::fs::write(&file, script).unwrap();
    let finished =
        connect(&peer.address, &["--set", "from=a@example.com", "--script", file.to_str().unwrap()]).finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    assert_eq!(peer.finish(), "Subject: test");
}

#[test]
fn a_page_is_asked_for() {
    let peer = Peer::start(Place::Tcp, |mut peer| {
        let request: Vec<String> =
            BufReader::new(&peer).lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        peer.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nyes").unwrap();
        request
    });
    let words = [
        "--send",
        "GET /there HTTP/1.0\\r\\nHost: a.example\\r\\n\\r\\n",
        "--expect",
        "^HTTP/1\\.[01] 200 ",
        "--expect",
        "\\r\\n\\r\\n(?s).*yes",
        "--expect-eof",
    ];
    connect(&peer.address, &words).stdout("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nyes").check();
    assert_eq!(peer.finish(), ["GET /there HTTP/1.0", "Host: a.example"]);
}

#[cfg(unix)]
#[test]
fn redis_is_talked_to() {
    use crate::harness::{Owned, has, until};
    if !has("redis-server") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redis.sock");
    let path = path.to_str().unwrap();
    let mut command = std::process::Command::new("redis-server");
    command.args(["--port", "0", "--unixsocket", path, "--save", "", "--dir", folder.path().to_str().unwrap()]);
    let _redis = Owned(command.stdout(std::process::Stdio::null()).spawn().unwrap());
    until("redis listens", || std::os::unix::net::UnixStream::connect(path).is_ok());
    let words = [
        "-U",
        "--send",
        "SET n 41\\r\\n",
        "--expect",
        "^\\+OK\\r\\n",
        "--send",
        "INCR n\\r\\n",
        "--expect",
        ":(?<n>\\d+)\\r\\n",
        "--send",
        "ECHO <$n>\\r\\n",
        "--expect",
        "<42>\\r\\n",
        "--send",
        "NONSENSE\\r\\n",
        "--expect",
        "^-ERR",
    ];
    let finished = connect(path, &words).finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    assert!(finished.stdout.starts_with(b"+OK\r\n:42\r\n$4\r\n<42>\r\n-ERR unknown command"), "{:?}", finished.stdout);
}
