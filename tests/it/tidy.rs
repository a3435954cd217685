//! The source keeps the invariants of `src/lib.rs`, and the house rules that a reader can rely on.
//!
//! Owns the rules. Must not know what the code does: it reads text. Trade-off: patterns over lines instead of a parser,
//! which a determined author could get around; but the reader sees at once what is forbidden, and each rule carries a line
//! that breaks it, so that a rule which no longer finds anything fails as well.

use std::fs;
use std::path::Path;

use regex::Regex;

/// A text of the project, by its path from the project's folder, with `/` on every system.
struct Source {
    path: String,
    text: String,
}

/// Something that code must not contain.
struct Rule {
    says: &'static str,
    pattern: &'static str,
    /// Where it is forbidden, by the file's path.
    holds_in: fn(&str) -> bool,
    /// Whether it holds in `mod tests` too, and in the tests' own files.
    holds_in_tests: bool,
    /// A file and a line in it that would break the rule.
    broken_by: (&'static str, &'static str),
}

const RULES: [Rule; 13] = [
    Rule {
        says: "socket2 appears only under connection/",
        pattern: r"\bsocket2\b",
        // The peers in the tests' own files are no part of the program.
        holds_in: |path| path.starts_with("src/") && !path.starts_with("src/connection/"),
        holds_in_tests: true,
        broken_by: ("src/relay.rs", "use socket2::Socket;"),
    },
    Rule {
        says: "socket options are set only under connection/options/",
        pattern: r"\.set_\w+\(|\bsetsockopt\b.*\(",
        holds_in: |path| !path.starts_with("src/connection/options/") && path != "src/connection/sys.rs",
        holds_in_tests: false,
        broken_by: ("src/connection/dial.rs", "socket.raw().set_tcp_nodelay(true)?;"),
    },
    Rule {
        says: "only output prints, and nothing prints with a macro",
        pattern: r"\b(e?print(ln)?|dbg)!",
        holds_in: |path| path.starts_with("src/"),
        holds_in_tests: false,
        broken_by: ("src/output.rs", r#"println!("listening");"#),
    },
    Rule {
        says: "only output has the standard streams",
        pattern: r"\b(stdout|stderr|stdin)\(\)",
        holds_in: |path| path.starts_with("src/") && path != "src/output.rs",
        holds_in_tests: false,
        broken_by: ("src/commands/serve.rs", "let mut stdout = io::stdout();"),
    },
    Rule {
        says: "only main ends the program, and it does so by returning",
        pattern: r"\bprocess::(exit|abort)\b",
        holds_in: |path| path.starts_with("src/"),
        holds_in_tests: false,
        broken_by: ("src/main.rs", "std::process::exit(1);"),
    },
    Rule {
        says: "clap appears only in cli, completions, man, commands/ and connection/options/",
        pattern: r"\bclap(_complete|_mangen)?::",
        holds_in: |path| {
            let files = ["src/cli.rs", "src/completions.rs", "src/man.rs"];
            let folders = ["src/cli/", "src/commands/", "src/connection/options/"];
            let is_in_place = files.contains(&path) || folders.iter().any(|folder| path.starts_with(folder));
            path.starts_with("src/") && !is_in_place
        },
        holds_in_tests: true,
        broken_by: ("src/units.rs", "use clap::builder::ValueParser;"),
    },
    Rule {
        says: "commands match on the kind of an error, never on a raw errno",
        pattern: r"\braw_os_error\b|\blibc::E[A-Z]|\berrno::E[A-Z]",
        holds_in: |path| path.starts_with("src/commands/"),
        holds_in_tests: true,
        broken_by: ("src/commands/probe.rs", "Some(libc::ECONNREFUSED) => Status::Refused,"),
    },
    Rule {
        says: "the connection module knows no command, and no other part but base64, printable and units",
        pattern: r"\bcrate::(cli|commands|completions|escapes|exit|fault|histogram|man|network|output|program|random|record|relay|script|signals)\b",
        holds_in: |path| path.starts_with("src/connection/"),
        holds_in_tests: true,
        broken_by: ("src/connection/trace.rs", "use crate::output::Output;"),
    },
    Rule {
        says: "the relay and the histogram know no command, and neither trace nor faults nor records",
        pattern: r"\bcrate::(cli|commands|completions|fault|man|record)\b|\btrace::",
        holds_in: |path| path.starts_with("src/relay") || path == "src/histogram.rs",
        holds_in_tests: true,
        broken_by: ("src/relay.rs", "use crate::connection::trace::call;"),
    },
    Rule {
        says: "unsafe appears only in connection/sys",
        pattern: r"\bunsafe\s*(\{|fn\b|impl\b|extern\b)",
        holds_in: |path| path != "src/connection/sys.rs",
        holds_in_tests: true,
        broken_by: ("src/connection/socket.rs", "let socket = unsafe { Socket::from_raw_fd(3) };"),
    },
    Rule {
        says: "nothing is left to do, and no test is left out",
        pattern: r"\b(todo|unimplemented)!|#\[ignore",
        holds_in: |_| true,
        holds_in_tests: true,
        broken_by: ("tests/it/serve.rs", "#[ignore]"),
    },
    Rule {
        says: "tests wait for what happens, never for a time",
        pattern: r"\bsleep\(",
        holds_in: |path| path.starts_with("tests/"),
        holds_in_tests: true,
        broken_by: ("tests/it/serve.rs", "thread::sleep(Duration::from_millis(100));"),
    },
    Rule {
        says: "nothing panics: what cannot happen is unreachable!, with its reason",
        pattern: r"\.unwrap\(\)|\.expect\(|\bpanic!",
        holds_in: |path| path.starts_with("src/"),
        holds_in_tests: false,
        broken_by: ("src/units.rs", "let seconds: u64 = text.parse().unwrap();"),
    },
];

/// Setters that are no setsockopt(2): a flag of the descriptor, a progress bar's, and a file's.
const NO_OPTIONS: &str = r"\.set_((non)?blocking|reply_timeout|message|position|style|length|len|permissions)\(";

impl Rule {
    /// The lines that break the rule, each with its place.
    fn broken_in(&self, source: &Source) -> Vec<String> {
        if !(self.holds_in)(&source.path) {
            return Vec::new();
        }
        let pattern = Regex::new(self.pattern).expect("a pattern");
        let is_no_option = Regex::new(NO_OPTIONS).expect("a pattern");
        code(source, self.holds_in_tests)
            .into_iter()
            .filter(|(_, line)| pattern.is_match(&is_no_option.replace_all(line, "")))
            .map(|(number, line)| format!("{}:{number}: {}: {}", source.path, self.says, line.trim()))
            .collect()
    }
}

/// The numbered lines of code without their comments; the tests among them, or not.
fn code(source: &Source, with_tests: bool) -> Vec<(usize, String)> {
    let is_all_tests = source.path.starts_with("tests/") || source.path.contains("/tests");
    let mut lines: Vec<&str> = source.text.lines().collect();
    if !with_tests {
        let tests_begin = lines.iter().position(|line| *line == "mod tests {").unwrap_or(lines.len());
        lines.truncate(if is_all_tests { 0 } else { tests_begin });
    }
    let without_comment = |line: &str| {
        let is_comment = line.trim_start().starts_with("//");
        if is_comment { String::new() } else { line.split(" // ").next().unwrap_or_default().to_owned() }
    };
    lines.into_iter().map(without_comment).enumerate().map(|(index, line)| (index + 1, line)).collect()
}

/// Each use of `unsafe` that has no reason above it.
fn unsafe_without_reason(source: &Source) -> Vec<String> {
    let is_unsafe = Regex::new(r"\bunsafe\s*(\{|impl\b)").expect("a pattern");
    let lines: Vec<&str> = source.text.lines().collect();
    // A reason of several lines, and the beginning of a call that the block is inside of.
    let has_reason = |number: usize| {
        let above = lines[..number - 1].iter().rev().take(6);
        above.take_while(|line| !line.trim().is_empty()).any(|line| line.contains("// SAFETY: "))
    };
    code(source, true)
        .into_iter()
        .filter(|(number, line)| is_unsafe.is_match(line) && !has_reason(*number))
        .map(|(number, _)| format!("{}:{number}: unsafe without `// SAFETY: ` and its reason", source.path))
        .collect()
}

/// More does not fit on a screen.
const FUNCTION_LINES_MAX: usize = 70;

/// The functions that are longer, as rustfmt lays them out: to the first brace in the column of the `fn` line.
fn long_functions(source: &Source) -> Vec<String> {
    let begins = Regex::new(r"^( *)(pub(\([a-z]+\))? )?(const |async |unsafe )*fn (\w+)").expect("a pattern");
    let lines: Vec<&str> = source.text.lines().collect();
    let mut long = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(found) = begins.captures(line) else { continue };
        let end = format!("{}}}", &found[1]);
        let length = lines[index..].iter().position(|line| *line == end).map_or(1, |offset| offset + 1);
        if length > FUNCTION_LINES_MAX && !line.ends_with([';', '}']) {
            long.push(format!("{}:{}: {} has {length} lines", source.path, index + 1, &found[5]));
        }
    }
    long
}

/// Names that say nothing of what is inside.
fn says_nothing(path: &str) -> bool {
    path.split('/').any(|part| {
        let stem = part.strip_suffix(".rs").unwrap_or(part);
        ["util", "utils", "common", "helper", "helpers", "misc", "shared"].contains(&stem)
    })
}

/// The names that a map, which is the comment at the top of a file, does not have in backticks.
fn missing_in_map(map: &Source, names: &[String]) -> Vec<String> {
    let head: String = map.text.lines().take_while(|line| line.starts_with("//!")).collect();
    let words: Vec<&str> = head.split('`').skip(1).step_by(2).flat_map(|words| words.split('/')).collect();
    let missing = names.iter().filter(|name| !words.contains(&name.as_str()));
    missing.map(|name| format!("{}: the map does not name {name}", map.path)).collect()
}

/// Where the project was written is nobody's business.
fn names_the_machine(source: &Source) -> Vec<String> {
    let place = Regex::new(r"(^|[\s(\x22'=:])/(work|root|home)/|/tmp/(target|wip)|\bdesign\.md\b|\bresearch/");
    let place = place.expect("a pattern");
    let lines = source.text.lines().enumerate().filter(|(_, line)| place.is_match(line));
    lines.map(|(index, line)| format!("{}:{}: {}", source.path, index + 1, line.trim())).collect()
}

/// Reads a file of the project.
fn read(path: &str) -> Source {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{path}: {error}"));
    Source { path: path.to_owned(), text }
}

/// The names in a folder of the project, folders with a slash at the end, sorted.
fn names_in(folder: &str) -> Vec<String> {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&whole).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut names: Vec<String> = entries
        .map(|entry| {
            let entry = entry.expect("a folder can be read");
            let slash = if entry.path().is_dir() { "/" } else { "" };
            format!("{}{slash}", entry.file_name().to_string_lossy())
        })
        .collect();
    names.sort();
    names
}

/// Every Rust file of a folder and of those in it.
fn rust_files(folder: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for name in names_in(folder) {
        match name.strip_suffix('/') {
            Some(inner) => sources.extend(rust_files(&format!("{folder}/{inner}"))),
            None if Path::new(&name).extension() == Some("rs".as_ref()) => {
                sources.push(read(&format!("{folder}/{name}")));
            }
            None => {}
        }
    }
    sources
}

/// All Rust files but this one, which quotes what it forbids.
fn all() -> Vec<Source> {
    let sources = [rust_files("src"), rust_files("tests")].into_iter().flatten();
    sources.filter(|source| source.path != "tests/it/tidy.rs").collect()
}

#[track_caller]
fn none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

/// Modules as a map calls them: without `.rs` and slash, and without the files that only hold the map or the tests.
fn modules_in(folder: &str) -> Vec<String> {
    let stem = |name: &String| name.trim_end_matches('/').trim_end_matches(".rs").to_owned();
    let mut modules: Vec<String> = names_in(folder).iter().map(stem).collect();
    modules.dedup();
    modules.retain(|name| !["lib", "main", "mod", "tests"].contains(&name.as_str()));
    modules
}

#[test]
fn the_invariants_hold() {
    let sources = all();
    assert!(sources.len() > 40, "the source was found: {} files", sources.len());
    none(&RULES.iter().flat_map(|rule| sources.iter().flat_map(|source| rule.broken_in(source))).collect::<Vec<_>>());
}

#[test]
fn each_invariant_can_be_broken() {
    for rule in &RULES {
        let (path, line) = rule.broken_by;
        let source = |text: String| Source { path: path.to_owned(), text };
        assert_eq!(rule.broken_in(&source(line.to_owned())).len(), 1, "{}", rule.says);
        assert_eq!(rule.broken_in(&source(format!("/// Not {line}"))).len(), 0, "a comment: {}", rule.says);
        let in_tests = usize::from(rule.holds_in_tests);
        let tests = format!("mod tests {{\n    {line}\n}}\n");
        assert_eq!(rule.broken_in(&source(tests)).len(), in_tests, "in tests: {}", rule.says);
    }
}

#[test]
fn unsafe_has_its_reason() {
    none(&all().iter().flat_map(unsafe_without_reason).collect::<Vec<_>>());
    let source = |text: &str| Source { path: "src/connection/sys.rs".to_owned(), text: text.to_owned() };
    assert_eq!(unsafe_without_reason(&source("    // SAFETY: the pointer is ours.\n    unsafe { f() }")), [""; 0]);
    assert_eq!(unsafe_without_reason(&source("    // It is quick.\n    unsafe { f() }")).len(), 1);
}

#[test]
fn a_function_fits_on_a_screen() {
    none(&all().iter().flat_map(long_functions).collect::<Vec<_>>());
    let of_lines = |lines: usize| Source {
        path: "src/relay.rs".to_owned(),
        text: format!("pub fn relay() {{\n{}}}\n", "    step();\n".repeat(lines - 2)),
    };
    assert_eq!(long_functions(&of_lines(FUNCTION_LINES_MAX)), [""; 0]);
    assert_eq!(long_functions(&of_lines(FUNCTION_LINES_MAX + 1)).len(), 1);
}

#[test]
fn a_file_begins_with_what_it_is_for() {
    let begins = |source: &Source| source.text.starts_with("//! ");
    assert!(!begins(&Source { path: "src/relay.rs".to_owned(), text: "use std::io;\n".to_owned() }));
    none(&all().into_iter().filter(|source| !begins(source)).map(|source| source.path).collect::<Vec<_>>());
}

#[test]
fn names_say_what_is_inside() {
    for (path, nothing) in
        [("src/util.rs", true), ("src/common/mod.rs", true), ("tests/helpers.rs", true), ("src/units.rs", false)]
    {
        assert_eq!(says_nothing(path), nothing, "{path}");
    }
    none(&all().into_iter().map(|source| source.path).filter(|path| says_nothing(path)).collect::<Vec<_>>());
}

#[test]
fn the_maps_name_every_file() {
    let mut missing = Vec::new();
    for (map, folders) in [
        ("src/lib.rs", &["src", "src/commands"][..]),
        ("src/connection/mod.rs", &["src/connection"]),
        ("tests/it/main.rs", &["tests/it"]),
    ] {
        let map = read(map);
        missing.extend(folders.iter().flat_map(|folder| missing_in_map(&map, &modules_in(folder))));
    }
    none(&missing);
    let map = Source { path: "src/lib.rs".to_owned(), text: "//! `cli`, `commands/serve`\nuse units;\n".to_owned() };
    let names = ["cli", "serve", "units"].map(str::to_owned);
    assert_eq!(missing_in_map(&map, &names), ["src/lib.rs: the map does not name units"]);
}

/// The tests that a table of complaints names, in the comment at the top of a file, without their modules.
fn answers(map: &Source) -> Vec<String> {
    let rows = map.text.lines().filter_map(|line| line.strip_prefix("//! | ")?.split(" | `").nth(1));
    let name =
        |cell: &str| cell.split('`').next().unwrap_or_default().rsplit("::").next().unwrap_or_default().to_owned();
    rows.map(name).collect()
}

#[test]
fn the_tables_of_complaints_name_tests_that_are_there() {
    let tests: String = rust_files("tests").into_iter().map(|source| source.text).collect();
    for map in ["tests/it/probe.rs", "tests/it/connect.rs"] {
        let answers = answers(&read(map));
        assert!(answers.len() > 30, "{map}: {answers:?}");
        let missing = answers.iter().filter(|name| !tests.contains(&format!("fn {name}() {{")));
        none(&missing.map(|name| format!("{map}: there is no test {name}")).collect::<Vec<_>>());
    }
}

#[test]
fn the_changelog_has_this_version_once() {
    let headings =
        |text: &str| text.lines().filter(|line| line.starts_with(concat!("## ", env!("CARGO_PKG_VERSION")))).count();
    assert_eq!(headings(&read("CHANGELOG.md").text), 1);
    assert_eq!(headings("## 999.0.0\n"), 0);
}

#[test]
fn no_file_tells_where_it_was_written() {
    let mut sources = all();
    sources.extend(["README.md", "CHANGELOG.md", "Cargo.toml", ".ci/run"].map(read));
    let generated = names_in("completions");
    sources.extend(generated.iter().map(|name| read(&format!("completions/{name}"))));
    none(&sources.iter().flat_map(names_the_machine).collect::<Vec<_>>());
    for (text, found) in [("see /root/x", 1), ("in /tmp/echo.sock", 0), ("https://example.com/root/x", 0)] {
        let source = Source { path: "README.md".to_owned(), text: text.to_owned() };
        assert_eq!(names_the_machine(&source).len(), found, "{text}");
    }
}
