//! The README says what the program does: its tables are compared, its commands parsed.
//!
//! Owns how the README is read and written. Must not know what it says. Trade-off: with `BLESS=1` transcripts and generated
//! tables are written anew in place, so a reader of the change sees what a user will see; prose is never touched.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;

use regex::Regex;

use super::{in_project, in_step, printed};
use crate::harness::Run;

/// Several tests write the file when it is blessed, each its own part.
static README: Mutex<()> = Mutex::new(());

/// The README as it is.
pub fn read() -> String {
    fs::read_to_string(in_project("README.md")).expect("README.md")
}

/// Compares the README with what it should be: with `fresh` of what it is.
#[track_caller]
pub fn readme_in_step(fresh: impl FnOnce(&str) -> String) {
    let _one_at_a_time = README.lock();
    in_step("README.md", &fresh(&read()));
}

/// The insides of the README's blocks of a language.
pub fn blocks<'a>(readme: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let begins = readme.split(&fence).skip(1);
    begins.map(|block| block.split_once("```").expect("a block ends").0).collect()
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
        // What comes after -- is another program's.
        let words = words.split(" -- ").next().unwrap_or_default();
        // The help is printed when everything before it could be parsed.
        let finished = Run::sockkit(&format!("{words} --help")).finish();
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{line}");
    }
}

#[test]
fn every_option_that_is_named_is_one() {
    /// Those of other programs.
    const OTHERS: [&str; 4] = ["--locked", "--release", "--path", "--no-default-features"];
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
