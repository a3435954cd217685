//! The README's transcripts and scripts, read and run. On Linux, whose errno numbers they show.
//!
//! Owns their form: `A$`, `B$` and `$` are prompts; in terminal A a server may be started that goes on while other
//! commands run, `A:` is what it has printed meanwhile, and `^C` interrupts it. Must not know what the README says. Trade-off:
//! a server's port is the kernel's, so the one that a transcript shows is exchanged for it, both ways.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use regex::{Captures, Regex};

use super::is_blessed;
use super::readme::{blocks, read, readme_in_step};
use crate::harness::{DEADLINE, Owned, Run, SOCKKIT, Signal, kill, mask, unswayed};

/// A prompt, what was typed there, and what was printed.
#[derive(Debug, PartialEq, Eq)]
struct Step<'a> {
    /// `A$ `, `B$ `, `$ ` or `A:`.
    prompt: &'a str,
    command: &'a str,
    printed: Vec<&'a str>,
    /// Blank lines before the prompt.
    blank: usize,
}

/// The steps of a transcript.
fn steps(text: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut blank = 0;
    for line in text.lines() {
        let prompt = ["A$ ", "B$ ", "$ "].into_iter().find(|prompt| line.starts_with(prompt));
        let prompt = prompt.or((line == "A:").then_some("A:"));
        match (prompt, steps.last_mut()) {
            (Some(prompt), _) => {
                steps.push(Step { prompt, command: &line[prompt.len()..], printed: Vec::new(), blank });
                blank = 0;
            }
            (None, _) if line.is_empty() => blank += 1,
            (None, Some(step)) => {
                step.printed.extend(std::iter::repeat_n("", blank));
                step.printed.push(line);
                blank = 0;
            }
            (None, None) => panic!("a transcript begins with a prompt: {line}"),
        }
    }
    steps
}

/// A server in terminal A, both its streams as a terminal would show them.
struct Terminal {
    child: Owned,
    lines: Receiver<String>,
    /// The port in the transcript, and the real one.
    ports: Option<(String, String)>,
}

impl Terminal {
    fn start(command: &str, folder: &Path) -> Terminal {
        static PORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[ :](\d{4,5})\b").unwrap());
        let shown = PORT.captures(command).map(|found| found[1].to_owned());
        let real = shown.as_ref().map_or(command.to_owned(), |port| command.replace(port.as_str(), "0"));
        let mut child = shell(&format!("exec 2>&1; exec {real}"), folder);
        let mut child = Owned(child.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("sh"));
        let stdout = BufReader::new(child.0.stdout.take().expect("stdout is a pipe"));
        let (line, lines) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|next| line.send(next)));
        Terminal { child, lines, ports: shown.map(|shown| (shown, String::new())) }
    }

    /// The next line; none at the end.
    fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the server prints less than the transcript shows"),
        }
    }

    /// As many lines as the transcript has; after `^C` all there are.
    fn lines_like(&mut self, expected: &[&str]) -> Vec<String> {
        let mut came = Vec::new();
        for line in expected {
            if *line == "^C" {
                kill(self.child.0.id(), Signal::Interrupt);
                came.push("^C".to_owned());
                came.extend(std::iter::from_fn(|| self.line()));
                self.child.wait("serve");
                break;
            }
            came.extend(self.line());
        }
        came
    }

    /// Finds the real port in the first listening line.
    fn learn_port(&mut self, lines: &[String]) {
        static PORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r":(\d+)[ \x22,]").unwrap());
        if let Some((_, real)) = &mut self.ports {
            let found = lines.first().and_then(|line| PORT.captures(line));
            found.unwrap_or_else(|| panic!("no port in {lines:?}"))[1].clone_into(real);
        }
    }
}

fn shell(script: &str, folder: &Path) -> Command {
    let mut command = unswayed("sh");
    command.args(["-c", script]).current_dir(folder).env("PATH", path());
    command
}

/// The folder of the program under test, then everything else.
fn path() -> String {
    let folder = Path::new(SOCKKIT).parent().expect("a folder").display().to_string();
    format!("{folder}:{}", std::env::var("PATH").unwrap_or_default())
}

/// Exchanges a port wherever it stands as a number of its own.
fn exchange(text: &str, from: &str, to: &str) -> String {
    Regex::new(&format!(r"\b{from}\b")).expect("a pattern").replace_all(text, to).into_owned()
}

/// Runs a transcript, and returns it as it should read.
fn replay(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut terminal: Option<Terminal> = None;
    let mut lines: Vec<String> = Vec::new();
    for step in steps(text) {
        lines.extend(std::iter::repeat_n(String::new(), step.blank));
        lines.push(format!("{}{}", step.prompt, step.command));
        let is_server = step.prompt == "A$ " && step.command.starts_with("sockkit serve");
        let printed = match (&mut terminal, step.prompt) {
            (Some(running), "A:") => running.lines_like(&step.printed),
            (None, "A:") => panic!("nothing runs in A"),
            _ if is_server => {
                let mut started = Terminal::start(step.command, folder.path());
                let printed = started.lines_like(&step.printed);
                started.learn_port(&printed);
                terminal = Some(started);
                printed
            }
            _ => run(step.command, terminal.as_ref(), folder.path()),
        };
        let ports = terminal.as_ref().and_then(|terminal| terminal.ports.as_ref());
        let shown = |line: &String| ports.map_or(line.clone(), |(shown, real)| exchange(line, real, shown));
        lines.extend(printed.iter().map(shown));
    }
    lines.join("\n") + "\n"
}

/// Runs a command of another terminal to its end.
fn run(command: &str, terminal: Option<&Terminal>, folder: &Path) -> Vec<String> {
    let ports = terminal.and_then(|terminal| terminal.ports.as_ref());
    let command = ports.map_or(command.to_owned(), |(shown, real)| exchange(command, shown, real));
    let script = format!("cd '{}'; exec 2>&1; {command}", folder.display());
    let finished = Run::program("sh").args(["-c", &script]).env("PATH", &path()).finish();
    let text = String::from_utf8_lossy(&finished.stdout).into_owned();
    text.lines().map(str::to_owned).collect()
}

/// A transcript without what differs between runs: times, ports, a benchmark's numbers, a trace's times and descriptors.
fn masked(text: &str) -> String {
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(p[\d.]+)|\d[\d .]*\b( ?(ns|µs|ms|s|B|KiB|MiB|GiB)\b)?").unwrap());
    static CALL: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^\d+\.\d{6} (\w+)\((?:\d+(?:, )?)?(.*) = (\d+|-1 .*) <\d+\.\d{6}>$").unwrap());
    static DECIMAL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b\d+\.\d+(e-\d+)?\b").unwrap());
    let number = |found: &Captures| found.get(1).map_or("N".to_owned(), |name| name.as_str().to_owned());
    let line = |line: &str| {
        // A benchmark's line, or the end of connect's verdict.
        if line.starts_with("round trip") || line.contains("; rtt ") {
            return NUMBER.replace_all(line, number).into_owned();
        }
        if let Some(call) = CALL.captures(line) {
            // The one number that is not a count or a verdict is a new descriptor.
            let result = if &call[1] == "socket" { "FD" } else { &call[3] };
            return mask(&format!("TIME {}(FD, {} = {result} <TIME>", &call[1], &call[2]));
        }
        if line.starts_with("{\"schema\"") {
            return DECIMAL.replace_all(&mask(line), "N").into_owned();
        }
        mask(line)
    };
    // A busy machine may look once more whether a connection is there: that is no difference.
    let is_told = |line: &&str| !line.contains(" EALREADY ");
    text.lines().filter(is_told).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn the_transcripts_are_true() {
    let readme = read();
    let transcripts = blocks(&readme, "console");
    assert!(transcripts.len() > 5, "the transcripts are found: {}", transcripts.len());
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: this machine has no ::1, which the transcripts show");
        return;
    }
    let replayed = replay_all(&transcripts);
    let differs = transcripts.iter().zip(&replayed).filter(|(shown, came)| masked(shown) != masked(came));
    let stale: Vec<(&str, &str)> = differs.map(|(shown, came)| (*shown, came.as_str())).collect();
    if is_blessed() {
        let renew = |readme: String, (shown, came): &(&str, &str)| readme.replacen(shown, came, 1);
        readme_in_step(|readme| stale.iter().fold(readme.to_owned(), renew));
        return;
    }
    let told: Vec<String> =
        stale.iter().map(|(shown, came)| format!("README.md shows\n{shown}\nand it is\n{came}")).collect();
    assert!(stale.is_empty(), "{}", told.join("\n"));
}

#[test]
fn the_scripts_run() {
    let readme = read();
    let scripts = blocks(&readme, "bash");
    assert!(!scripts.is_empty());
    for script in scripts {
        let folder = tempfile::tempdir().expect("a folder");
        let script = format!("set -euo pipefail; cd '{}'\n{script}", folder.path().display());
        let finished = Run::program("bash").args(["-c", &script]).env("PATH", &path()).finish();
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{script}");
    }
}

/// Each transcript waits for its own commands and disturbs no other; but numbers that will be shown are measured alone.
fn replay_all(transcripts: &[&str]) -> Vec<String> {
    if is_blessed() {
        return transcripts.iter().map(|transcript| replay(transcript)).collect();
    }
    thread::scope(|scope| {
        let threads: Vec<_> = transcripts.iter().map(|transcript| scope.spawn(|| replay(transcript))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a transcript can be replayed")).collect()
    })
}

#[test]
fn a_transcript_is_read_as_it_stands() {
    let text = "A$ sockkit serve -p 65432\nlistening\n\nB$ echo a\na\n\nb\nA:\n^C\n";
    let read = steps(text);
    let step =
        |prompt, command, printed: &[&'static str], blank| Step { prompt, command, printed: printed.to_vec(), blank };
    assert_eq!(
        read,
        [
            step("A$ ", "sockkit serve -p 65432", &["listening"], 0),
            step("B$ ", "echo a", &["a", "", "b"], 1),
            step("A:", "", &["^C"], 0),
        ]
    );
}

#[test]
fn a_transcript_that_lies_is_found() {
    let truth = "$ echo hello; echo $?\nhello\n0\n";
    assert_eq!(replay(truth), truth);
    assert_eq!(replay("$ echo hello; echo $?\nhallo\n1\n"), truth);
}

#[test]
fn only_what_differs_between_runs_is_masked() {
    for (one, other) in [
        ("round trip    min 9.1 µs   p99.9 1.22 ms", "round trip    min 21.6 µs   p99.9 222 µs"),
        ("round trips   16 155 (16 154/s, 1009.7 KiB/s each way)", "round trips   2 (2/s, 1.0 MiB/s each way)"),
        ("0.000039 close(3) = 0 <0.000007>", "0.100039 close(4) = 0 <0.000008>"),
    ] {
        assert_eq!(masked(one), masked(other));
    }
    for (one, other) in [
        ("round trip    min 9.1 µs   p99.9 1.22 ms", "round trip    min 9.1 µs   p99 1.22 ms"),
        ("127.0.0.1:1 refused after 0.1 ms", "127.0.0.1:1 open 0.1 ms"),
        ("0.000039 close(3) = 0 <0.000007>", "0.000039 close(3) = -1 EBADF (Bad file descriptor) <0.000007>"),
        ("111", "110"),
    ] {
        assert_ne!(masked(one), masked(other));
    }
}
