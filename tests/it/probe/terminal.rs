//! What a person sees on a terminal: columns, and how far a sweep is. `script` gives it one.

use regex::Regex;

use crate::harness::{Run, SOCKKIT, Server, has, mask};

/// What a terminal shows of a probe, colours and all.
fn shown(words: &str) -> String {
    // At the end of its own input script would type ^D, and the terminal would show that.
    let (input, _stays_open) = std::io::pipe().unwrap();
    let line = format!("{SOCKKIT} probe {words}");
    let finished = Run::program("script").args(["-qc", &line, "/dev/null"]).stdin_from(input).finish();
    String::from_utf8(finished.stdout).unwrap()
}

/// The same as text: each line as it stands at last, without colours and the bar that was drawn over.
fn lines(shown: &str) -> Vec<String> {
    let sequence = Regex::new(r"\x1b\[[0-9;]*[A-Za-z]").unwrap();
    let last = |line: &str| line.rsplit("\x1b[2K").next().unwrap_or_default().to_owned();
    shown.split("\r\n").map(|line| sequence.replace_all(&last(line), "").into_owned()).collect()
}

#[test]
fn a_person_gets_columns_however_many_targets_there_are() {
    if !has("script") {
        return;
    }
    let server = Server::start("-4 --quiet");
    let words = [format!("127.0.0.1:1 {} 127.0.0.1:10", server.v4()), format!("127.0.0.1:1-40,{}", server.port())];
    for (words, targets) in words.iter().zip([3, 41]) {
        let text = shown(words);
        let lines = lines(&text);
        let column = server.v4().len() + 1;
        let told: Vec<&str> = lines.iter().filter_map(|line| line.get(column..)).collect();
        let is_aligned = |rest: &&&str| rest.starts_with("open ") || rest.starts_with("refused ");
        assert_eq!(told.iter().filter(is_aligned).count(), targets, "{words}: {lines:#?}");
        assert!(text.contains("\x1b[32mopen\x1b[0m "), "{text:?}");
    }
    // A program gets one space.
    let finished = Run::sockkit(&format!("probe {}", words[0])).finish();
    let plain = mask(&String::from_utf8(finished.stdout).unwrap());
    assert!(plain.starts_with("127.0.0.1:1 refused after TIME: ") && !plain.contains("  "), "{plain}");
}

#[test]
fn a_sweep_shows_how_far_it_is_and_cleans_up_after_itself() {
    if !has("script") {
        return;
    }
    let server = Server::start("-4 --quiet");
    // Long enough to be drawn, whatever else the machine does: it is drawn four times a second.
    let words = format!("--open --rate 40 {},1-39", server.v4());
    let text = shown(&words);
    let bar = Regex::new(r"█+░* (\d+) of 40, \d+ a second, [\d.]+ m?s left, 1 open").unwrap();
    let positions: Vec<u64> = bar.captures_iter(&text).map(|found| found[1].parse().unwrap()).collect();
    assert!(!positions.is_empty() && positions.is_sorted(), "{text:?}");
    let lines = lines(&text);
    let expected = [format!("{} open ", server.v4()), "40 targets in ".to_owned()];
    for (line, begins) in lines.iter().zip(&expected) {
        assert!(line.starts_with(begins), "{lines:#?}");
    }
    assert_eq!(lines.last().map(String::as_str), Some(""), "{lines:#?}");
    // Neither where no person looks, nor where nothing shall be said.
    assert!(!shown(&format!("--quiet {words}")).contains('█'));
    let finished = Run::sockkit(&format!("probe {words}")).finish();
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
}
