//! What the fingers of netcat's users do: flags and places that are not ours are translated in one line.

#[cfg(target_os = "linux")]
mod table;

use crate::harness::{Run, Server, mask};

#[test]
fn a_foreign_flag_gets_one_line_that_says_what_it_is_here() {
    for (words, message) in [
        ("connect -lkvp 80", "-l listens: that is `sockkit serve -kvp 80`"),
        ("connect --listen 80", "--listen listens: that is `sockkit serve 80`"),
        ("probe -l 80", "-l listens: that is `sockkit serve 80`"),
        (
            "connect -X 5 -x proxy:1080 host 80",
            "connect has no -X: what kind of proxy it is says the scheme of --proxy socks5h://HOST:PORT",
        ),
        (
            "connect -x proxy:1080 host 80",
            "-x is a hex dump: the way through proxy:1080 is --proxy socks5h://proxy:1080",
        ),
        (
            "connect -x proxy:1080 host:80",
            "-x is a hex dump: the way through proxy:1080 is --proxy socks5h://proxy:1080",
        ),
        ("connect -x out.hex host:80", "-x has no value, and \"out.hex\" is a word too many: the dump goes to stderr"),
        (
            "connect -F host 80",
            "-F makes a fault, and \"host\" is none; nc's -F, which hands the connection on, is -e PROGRAM",
        ),
        (
            "serve -X 5 -x proxy:1080 9000",
            "serve has no -X: it is no proxy: what comes is passed on to one place with --mode forward=HOST:PORT",
        ),
        ("serve -x proxy:1080 9000", "-x has no value, and \"proxy:1080\" is a word too many: the dump goes to stderr"),
        ("serve -lN 9000", "serve has no -N: with --stdio our half is closed at stdin's end"),
        ("probe -zN host 80", "probe has no -N: stdin is joined to a peer by `sockkit connect`"),
        ("connect -G 3 host 80", "connect has no -G: the time for connecting is -w"),
        ("connect --nodns host 80", "connect has no --nodns: names are not looked up with -n"),
        ("serve --ssl 80", "serve has no --ssl: TLS is spoken by `openssl s_client` and `openssl s_server`"),
        ("probe -zO 4096 host 80", "probe has no -O: the size of the send buffer is --send-buffer"),
    ] {
        Run::sockkit(words).stderr(&format!("sockkit: {message}\n")).code(2).check();
    }
}

#[test]
fn a_foreign_place_gets_one_line_that_says_how_it_is_written_here() {
    for (words, message) in [
        (
            "connect - TCP:localhost:80",
            "\"TCP:localhost:80\" is how socat writes it; here it is `sockkit connect localhost:80`",
        ),
        (
            "serve TCP-LISTEN:9000,fork EXEC:cat",
            "\"TCP-LISTEN:9000,fork\" is how socat writes it; here it is `sockkit serve -p 9000`",
        ),
        (
            "probe TCP6:localhost:80",
            "\"TCP6:localhost:80\" is how socat writes it; here it is `sockkit probe -6 localhost:80`",
        ),
        ("connect 127.0.0.1 20-30", "20-30 is a range of ports: that is `sockkit probe 127.0.0.1 20-30`"),
    ] {
        Run::sockkit(words).stderr(&format!("sockkit: {message}\n")).code(2).check();
    }
}

/// What is typed at nc and ncat every day, with a command of ours in the program's place, does what it did; `-l` and `-z` may
/// stay, and a server echoes.
#[test]
fn idioms_do_what_they_did() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo").to_str().unwrap().to_owned();
    let (echo, datagrams) = (Server::start("--quiet"), Server::start("-u --quiet"));
    let (port, udp_port) = (echo.port(), datagrams.port());
    for words in ["-lk 0", "-l -p 0", "-lvk 0", "-lkvp 0", "-l 127.0.0.1 0", "-lp 0 -s 127.0.0.1", "-k -l -n 0"] {
        let families = if words.contains("127") { 1 } else { 2 };
        let server = Server::start_with(words, families);
        Run::sockkit(&format!("connect 127.0.0.1 {}", server.port())).stdin("hello").stdout("hello").check();
    }
    for words in [
        format!("-N 127.0.0.1 {port}"),
        format!("-q1 127.0.0.1 {port}"),
        format!("-w3 127.0.0.1 {port}"),
        format!("-n -w 3 -q 1 127.0.0.1 {port}"),
        format!("-4 localhost {port}"),
        format!("-u -q 1 127.0.0.1 {udp_port}"),
    ] {
        Run::sockkit(&format!("connect {words}")).stdin("hello").stdout("hello").check();
    }
    Run::sockkit(&format!("connect --send-only 127.0.0.1 {port}")).stdin("hello").check();
    let open = "127.0.0.1:PORT open TIME\n";
    for words in [
        format!("-zv 127.0.0.1 {port}"),
        format!("-zv -w3 127.0.0.1 {port}-{port}"),
        format!("-z -w 1 127.0.0.1 {port}"),
    ] {
        let finished = Run::sockkit(&format!("probe {words}")).finish();
        let stdout = mask(&String::from_utf8(finished.stdout).unwrap());
        assert_eq!((finished.code, stdout.as_str()), (0, open), "{words}");
    }
    if cfg!(unix) {
        let _server = Server::start_with(&format!("-lU {path} --quiet"), 1);
        Run::sockkit(&format!("connect -U {path}")).stdin("hello").stdout("hello").check();
        Run::sockkit(&format!("connect -NU {path}")).stdin("hello").stdout("hello").check();
    }
}
