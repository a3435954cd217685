//! What the fingers of netcat's users do: flags and places that are not ours are translated in one line.

use crate::harness::Run;

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
