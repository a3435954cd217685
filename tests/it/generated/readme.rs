//! The README says what the program does: its transcripts are run, its tables compared, its commands parsed.
//!
//! Owns how the README is read. Must not know what it says. Trade-off: with `BLESS=1` transcripts and generated tables are
//! written anew in place, so a reader of the change sees what a user will see; prose is never touched.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;

use regex::Regex;
use serde_json::Value;

use super::transcript::{masked, replay};
use super::{in_project, in_step, is_blessed, printed};
use crate::harness::{Run, Server, Signal};

/// Several tests write the file when it is blessed, each its own part.
static README: Mutex<()> = Mutex::new(());

fn read() -> String {
    fs::read_to_string(in_project("README.md")).expect("README.md")
}

/// Compares the README with what it should be: with `fresh` of what it is.
#[track_caller]
fn readme_in_step(fresh: impl FnOnce(&str) -> String) {
    let _one_at_a_time = README.lock();
    in_step("README.md", &fresh(&read()));
}

/// The insides of the README's blocks of a language.
fn blocks<'a>(readme: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let begins = readme.split(&fence).skip(1);
    begins.map(|block| block.split_once("```").expect("a block ends").0).collect()
}

// What is printed on other systems differs: the numbers of errors, and the addresses of loopback.
#[cfg(target_os = "linux")]
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

#[cfg(unix)]
#[test]
fn the_scripts_run() {
    let readme = read();
    let scripts = blocks(&readme, "bash");
    assert!(!scripts.is_empty());
    for script in scripts {
        let folder = tempfile::tempdir().expect("a folder");
        let script = format!("set -euo pipefail; cd '{}'\n{script}", folder.path().display());
        let finished = Run::program("bash").args(["-c", &script]).env("PATH", &super::transcript::path()).finish();
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{script}");
    }
}

/// Each transcript waits for its own commands and disturbs no other; but numbers that will be shown are measured alone.
#[cfg(target_os = "linux")]
fn replay_all(transcripts: &[&str]) -> Vec<String> {
    if is_blessed() {
        return transcripts.iter().map(|transcript| replay(transcript)).collect();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = transcripts.iter().map(|transcript| scope.spawn(|| replay(transcript))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a transcript can be replayed")).collect()
    })
}

/// The README with other rows in the table that begins with these headings.
fn with_table(readme: &str, headings: &str, rows: &[String]) -> String {
    let (before, table) = readme.split_once(&format!("{headings}\n")).unwrap_or_else(|| panic!("no table {headings}"));
    let mut lines = table.lines();
    let rule = lines.next().filter(|line| line.starts_with("|---")).expect("a rule below the headings");
    let rest: Vec<&str> = lines.skip_while(|line| line.starts_with('|')).collect();
    format!("{before}{headings}\n{rule}\n{}\n{}\n", rows.join("\n"), rest.join("\n"))
}

/// `  111  words` of a help's section, as rows of a table.
fn statuses(help: &str) -> Vec<String> {
    let row = Regex::new(r"(?m)^ +(\d+(?:, \d+)?)  (\S.*)$").expect("a pattern");
    let section = help.split_once("Exit status").expect("a section").1;
    row.captures_iter(section).map(|found| format!("| {} | {} |", &found[1], &found[2])).collect()
}

#[test]
fn the_exit_statuses_are_the_helps() {
    let (own, probe) = (statuses(&printed("connect -h")), statuses(&printed("probe -h")));
    assert!(own.len() > 9 && probe.len() > 6, "{own:?} {probe:?}");
    assert_eq!(statuses(&printed("serve --help")), own);
    assert_eq!(statuses(&printed("echo-bench --help")), own);
    assert_eq!(statuses(&printed("--help")), own);
    readme_in_step(|readme| {
        let readme = with_table(readme, "| status | meaning |", &own);
        with_table(&readme, "| status of `probe` | meaning |", &probe)
    });
}

#[test]
fn the_socket_options_are_the_helps() {
    let help = printed("serve --help");
    let section = help.split_once("Socket options:\n").expect("a section").1;
    let section = section.split_once("\nExamples:").expect("an end").0;
    // An option, and the first paragraph below it.
    let option = Regex::new(r"(?m)^ +(--.*)\n +(\S.*(?:\n {10}\S.*)*)").expect("a pattern");
    let rows: Vec<String> = option
        .captures_iter(section)
        .map(|found| {
            let words: Vec<&str> = found[2].split_whitespace().collect();
            format!("| `{}` | {} |", found[1].replace('|', "\\|"), words.join(" "))
        })
        .collect();
    assert!(rows.len() > 30, "{rows:?}");
    readme_in_step(|readme| with_table(readme, "| option | what it does |", &rows));
}

#[test]
fn a_table_is_replaced_and_nothing_else() {
    let readme = "before\n\n| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n\nafter\n";
    let rows = ["| 5 | 6 |".to_owned()];
    assert_eq!(with_table(readme, "| a | b |", &rows), "before\n\n| a | b |\n|---|---|\n| 5 | 6 |\n\nafter\n");
}

/// The command lines of sockkit that the README shows outside of transcripts: in its blocks for a shell, and in backticks.
fn command_lines(readme: &str) -> Vec<String> {
    let quoted = Regex::new(r"`(sockkit [^`]+)`").expect("a pattern");
    let mut lines: Vec<String> = quoted.captures_iter(readme).map(|found| found[1].to_owned()).collect();
    for block in blocks(readme, "sh") {
        let sockkit = block.lines().filter_map(|line| line.find("sockkit ").map(|at| line[at..].to_owned()));
        lines.extend(sockkit);
    }
    lines
}

#[test]
fn every_command_line_is_one() {
    let ends = Regex::new(r"[|<>&;)#].*").expect("a pattern");
    let lines = command_lines(&read());
    assert!(lines.len() > 15, "{lines:?}");
    for line in lines {
        let words = ends.replace(line.trim_start_matches("sockkit "), "").replace('\\', "");
        if words.contains("HOST") || words.contains("COMMAND") || words.starts_with(['0', ':']) {
            continue;
        }
        // The help is printed when everything before it could be parsed.
        let finished = Run::sockkit(&format!("{words} --help")).finish();
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{line}");
    }
}

#[test]
fn every_option_that_is_named_is_one() {
    /// Those of other programs.
    const OTHERS: [&str; 3] = ["--locked", "--release", "--path"];
    let helps: String = ["serve", "connect", "probe", "echo-bench"]
        .into_iter()
        .map(|command| printed(&format!("{command} --help")))
        .collect::<Vec<_>>()
        .join("\n");
    let option = Regex::new(r"--[a-z][a-z0-9-]*").expect("a pattern");
    let known: BTreeSet<&str> = option.find_iter(&helps).map(|found| found.as_str()).collect();
    let readme = read();
    let unknown = option.find_iter(&readme).map(|found| found.as_str());
    let unknown: Vec<&str> = unknown.filter(|name| !known.contains(name) && !OTHERS.contains(name)).collect();
    assert_eq!(unknown, [""; 0]);
}

/// The fields of the table below a schema's heading.
fn documented(readme: &str, schema: &str) -> BTreeSet<String> {
    let heading = format!("`{schema}`\n");
    let section = readme.split_once(&heading).unwrap_or_else(|| panic!("nothing is said of {schema}")).1;
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let field = Regex::new(r"`([^`]+)`").expect("a pattern");
    let fields = |row: &str| {
        let first = row.split('|').nth(1).unwrap_or_default().to_owned();
        field.captures_iter(&first).map(|found| found[1].to_owned()).collect::<Vec<_>>()
    };
    rows.flat_map(fields).collect()
}

/// The fields of records, those inside of others as `outer.inner`.
fn fields(records: &str, schema: &str) -> BTreeSet<String> {
    fn collect(prefix: &str, value: &Value, into: &mut BTreeSet<String>) {
        let Value::Object(object) = value else { return };
        for (name, value) in object {
            if value.is_object() {
                collect(&format!("{prefix}{name}."), value, into);
            } else {
                into.insert(format!("{prefix}{name}"));
            }
        }
    }
    let mut all = BTreeSet::new();
    for line in records.lines() {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(record["schema"], schema, "{line}");
        collect("", &record, &mut all);
    }
    all
}

/// Records of each form, with every field that there is.
fn records() -> [(&'static str, String); 5] {
    let server = Server::start("--json");
    let listening = server.listening.join("\n");
    let target = server.v4();
    let connect = Run::sockkit("connect --json").args([&target]).stdin("hello\n").finish().stderr;
    let probe = Run::sockkit("probe --json 127.0.0.1:1").args([&target]).finish().stdout;
    let trace = Run::sockkit("probe --quiet --trace --trace-format=json 127.0.0.1:1").finish().stderr;
    // A close that is a reset is a failure to the server, and has a name.
    Run::sockkit("probe --quiet --linger=0").args([&target]).check();
    let bench = Run::sockkit("echo-bench --json -n 1000").args([&target]).finish().stdout;
    let events = server.end(Signal::Interrupt).stdout;
    let datagrams = Server::start("--udp --json");
    Run::sockkit("connect -u -q 100ms").args([&datagrams.v4()]).stdin("hello\n").stdout("hello\n").check();
    let datagrams = datagrams.end(Signal::Interrupt).stdout;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    [
        ("sockkit.serve/1", format!("{listening}\n{}{}", text(events), text(datagrams))),
        ("sockkit.connect/1", connect),
        ("sockkit.probe/1", text(probe)),
        ("sockkit.echo-bench/1", text(bench)),
        ("sockkit.trace/1", trace),
    ]
}

// Other systems have no TCP_INFO, or another.
#[cfg(target_os = "linux")]
#[test]
fn the_json_fields_are_documented() {
    let readme = read();
    for (schema, records) in records() {
        assert_eq!(documented(&readme, schema), fields(&records, schema), "{schema}: documented, and found");
    }
}
