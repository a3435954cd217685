//! The README's table of what is typed elsewhere and what is typed here: each row is run, and where the other program is
//! installed, that as well, with the same outcome.
//!
//! Must not know why a row is there. Trade-off: the commands are run as they stand in the README, with places of the test's own
//! put in for `host 80` and the like.

use std::fs;

use regex::Regex;

use crate::harness::{Finished, Owned, Peer, Place, Run, SOCKKIT, Server, has, until};

/// A row: what is typed here, and what comes of it when a server echoes.
struct Row {
    here: &'static str,
    stdin: &'static str,
    stdout: &'static str,
    /// Whether the others print the same, and end.
    is_same_there: bool,
}

const fn row(here: &'static str, stdin: &'static str, stdout: &'static str, is_same_there: bool) -> Row {
    Row { here, stdin, stdout, is_same_there }
}

/// What the file `request` has inside.
const REQUEST: &str = "GET /\n";

const ROWS: [Row; 33] = [
    row("sockkit serve -p 9000", "hello\n", "hello\n", false),
    row("sockkit serve -lk 9000", "hello\n", "hello\n", false),
    row("sockkit serve --allow 127.0.0.0/8 9000", "hello\n", "hello\n", false),
    row("sockkit serve --mode forward=host:80 9000", "hello\n", "hello\n", false),
    row("sockkit serve --stdio --once -p 9000 > file", "hello\n", "", false),
    row("sockkit connect host 80 < request", "", REQUEST, true),
    row("sockkit connect -q 1 -w 3 host 80", "hello\n", "hello\n", true),
    row("sockkit connect --send-only host 80 < request", "", "", true),
    row("sockkit connect -d host 13", "", "the time\n", true),
    row("sockkit connect -C host 80", "hello\n", "hello\r\n", false),
    row("sockkit connect -e /bin/cat host 13", "", "", false),
    row("sockkit connect -c 'echo hello; read line' host 80", "", "", false),
    row("sockkit connect -s 127.0.0.1 host 80", "hello\n", "hello\n", true),
    row("sockkit connect --proxy http://proxy:3128 host 80", "hello\n", "hello\n", true),
    row("sockkit connect --hash sha256 host 80 < request", "", REQUEST, false),
    row("sockkit connect --progress host 80 < request", "", REQUEST, false),
    row("sockkit connect --rate-limit 1M host 80 < request", "", REQUEST, false),
    row("sockkit connect --max-time 60 host 80 < request", "", REQUEST, false),
    row("sockkit connect -o answer host 80 < request", "", REQUEST, true),
    row("sockkit connect -x host 80", "hello\n", "hello\n", true),
    row("sockkit connect -u host 9000", "hello\n", "hello\n", true),
    row("sockkit connect -u --per-line host 9000 < request", "", "GET /", false),
    row("sockkit connect -U echo.sock", "hello\n", "hello\n", true),
    row("sockkit connect @name", "hello\n", "hello\n", true),
    row("sockkit probe -zv -w 1 host 20-80", "", "127.0.0.1:PORT open TIME\n", false),
    row("sockkit connect -z -w 3 host 80", "", "127.0.0.1:PORT (tcp) open TIME\n", false),
    row("sockkit connect -z --wait 1m db 5432", "", "127.0.0.1:PORT (tcp) open TIME\n", false),
    row("sockkit probe --wait open db:5432 -- ./server", "", "127.0.0.1:PORT open TIME\nserving\n", false),
    row("sockkit connect host 80 --send 'PING\\n' --expect PING", "", "PING\n", false),
    row("sockkit connect --trace host 80", "hello\n", "hello\n", false),
    row("sockkit probe -o errno host:80", "", "0\n", false),
    row("printf hello | sockkit connect host:80", "", "hello", false),
    row("sockkit connect --nodelay=off host:80", "hello\n", "hello\n", false),
];

/// The README's rows: the commands there, and the one here.
fn rows(readme: &str) -> Vec<(Vec<String>, String)> {
    let table = readme.split_once("| there | here |\n|---|---|\n").expect("a table").1;
    let quoted = Regex::new("`([^`]+)`").expect("a pattern");
    let commands = |cell: &str| {
        let plain = cell.replace("\\|", "|");
        quoted.captures_iter(&plain).map(|found| found[1].to_owned()).collect::<Vec<_>>()
    };
    let lines = table.lines().take_while(|line| line.starts_with("| "));
    lines
        .map(|line| {
            let (there, here) = line.trim_matches(['|', ' ']).split_once(" | `").expect("two cells");
            (commands(there), commands(&format!("`{here}")).remove(0))
        })
        .collect()
}

/// What the places of the README are in this test.
struct World {
    tcp: Server,
    udp: Server,
    _unix: Server,
    _abstract: Server,
    folder: tempfile::TempDir,
    name: String,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("request"), REQUEST).unwrap();
        fs::write(folder.path().join("server"), "#!/bin/sh\necho serving\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path().join("server"), mode).unwrap();
        // Abstract names belong to the whole machine.
        let name = format!("sockkit-test-{}", std::process::id());
        let (tcp, udp) = (Server::start("--quiet"), Server::start("-u --quiet"));
        let unix = Server::start_with(&format!("--quiet -U {}", folder.path().join("echo.sock").display()), 1);
        let named = Server::start_with(&format!("--quiet -U @{name}"), 1);
        World { tcp, udp, _unix: unix, _abstract: named, folder, name }
    }

    /// A command with places that are there.
    fn placed(&self, command: &str, time_port: &str, proxy_port: &str) -> String {
        let (port, udp_port) = (self.tcp.port(), self.udp.port());
        command
            .replace("proxy:3128", &format!("127.0.0.1:{proxy_port}"))
            .replace("PROXY:proxy:", "PROXY:127.0.0.1:")
            .replace("proxyport=3128", &format!("proxyport={proxy_port}"))
            .replace("host 20-80", &format!("127.0.0.1 {port}-{port}"))
            .replace("host 13", &format!("127.0.0.1 {time_port}"))
            .replace("host:13", &format!("127.0.0.1:{time_port}"))
            .replace("host 9000", &format!("127.0.0.1 {udp_port}"))
            .replace("host 80", &format!("127.0.0.1 {port}"))
            .replace("host:80", &format!("127.0.0.1:{port}"))
            .replace("db:5432", &format!("127.0.0.1:{port}"))
            .replace("db 5432", &format!("127.0.0.1 {port}"))
            .replace("@name", &format!("@{}", self.name))
            .replace("ABSTRACT-CONNECT:name", &format!("ABSTRACT-CONNECT:{}", self.name))
    }

    /// What a server that writes into `file` has there, when somebody has sent it something.
    fn taken(&self, command: &str, sent: &str) -> String {
        let folder = self.folder.path();
        let command = command.replace("sockkit", SOCKKIT).replace("9000", "0");
        let line = format!("cd '{}'; exec {command} --quiet --ready-file ready", folder.display());
        let mut child = std::process::Command::new("sh");
        child.args(["-c", &line]).stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut server = Owned(child.spawn().unwrap());
        let is_ready = || fs::read_to_string(folder.join("ready")).is_ok_and(|port| port.ends_with('\n'));
        until("the server is ready", is_ready);
        let port = fs::read_to_string(folder.join("ready")).unwrap();
        Run::sockkit(&format!("connect 127.0.0.1 {}", port.trim())).stdin(sent).check();
        server.wait(&command);
        fs::read_to_string(folder.join("file")).unwrap()
    }

    fn run(&self, command: &str, stdin: &str) -> Finished {
        let clock = Peer::start(Place::Tcp, |peer| drop(std::io::Write::write_all(&mut &peer, b"the time\n")));
        let proxy = Peer::start(Place::Tcp, stand_between);
        let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
        let (time_port, proxy_port) = (port(&clock.address), port(&proxy.address));
        let folder = std::path::Path::new(SOCKKIT).parent().unwrap().display().to_string();
        let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
        let line = format!("cd '{}'; {}", self.folder.path().display(), self.placed(command, &time_port, &proxy_port));
        let finished = Run::program("sh").args(["-c", &line]).env("PATH", &path).stdin(stdin).finish();
        // Whoever did not want to know the time, or no proxy, has not come.
        drop(std::net::TcpStream::connect(&clock.address));
        drop(std::net::TcpStream::connect(&proxy.address));
        finished
    }
}

/// A proxy that takes a CONNECT, and is the target as well: that echoes.
fn stand_between(mut peer: socket2::Socket) {
    use std::io::{Read, Write};
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if peer.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    peer.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
    let said = crate::harness::read_to_end(&peer);
    peer.write_all(&said).unwrap();
}

/// The programs that a command needs; none where it is more than a command.
fn programs(command: &str) -> Option<Vec<&str>> {
    let first = |part: &str| part.split_whitespace().next().map(str::to_owned);
    let known = ["nc", "ncat", "socat", "tee"];
    let names: Option<Vec<String>> = command.split('|').map(first).collect();
    let names = names?;
    names.iter().map(|name| known.iter().find(|known| *known == name).copied()).collect()
}

#[test]
fn each_row_of_the_readme_is_one_of_these() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let here: Vec<String> = rows(&readme).into_iter().map(|(_, here)| here).collect();
    assert_eq!(here, ROWS.map(|row| row.here));
}

#[test]
fn each_row_does_what_it_says() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let world = World::new();
    for ((there, here), row) in rows(&readme).into_iter().zip(&ROWS) {
        if here.contains("--stdio") {
            assert_eq!(world.taken(&here, row.stdin), row.stdin, "{here}");
            continue;
        }
        if here.starts_with("sockkit serve") {
            let words = world.placed(&here.trim_start_matches("sockkit serve ").replace("9000", "0"), "", "");
            let server = Server::start_with(&words, 2);
            Run::sockkit(&format!("connect {}", server.v4())).stdin(row.stdin).stdout(row.stdout).check();
            continue;
        }
        let finished = world.run(&here, row.stdin);
        let stdout = crate::harness::mask(&String::from_utf8_lossy(&finished.stdout));
        assert_eq!((finished.code, stdout.as_str()), (0, row.stdout), "{here}: {}", finished.stderr);
        for command in there.iter().filter(|_| row.is_same_there) {
            if !programs(command).expect("a command").into_iter().all(has) {
                continue;
            }
            let finished = world.run(command, row.stdin);
            assert_eq!(String::from_utf8_lossy(&finished.stdout), row.stdout, "{command}: {}", finished.stderr);
        }
    }
}
