//! What connections or datagrams would meet, in words: `--plan`.
//!
//! Owns the form of a plan's lines. Must not decide anything: it asks what the run would ask. Trade-off: what a clock or a
//! peer's address decides is named, not foretold.

use std::fmt;

use super::rule::{After, Direction, Keys, Rule, Stage};
use super::{Choice, RuleSet};

/// The name and version of the JSON lines.
const SCHEMA: &str = "sockkit.plan/1";

/// One connection, or one datagram, and what it meets.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Planned {
    /// The form of the line in JSON, and its version.
    pub schema: &'static str,
    /// `connection` or `datagram`.
    pub of: &'static str,
    /// Its number, from 1.
    pub number: u64,
    /// What it meets, such as `reset@1024B`; empty for nothing.
    pub faults: Vec<String>,
}

/// `conn 3 reset@1024B`, `conn 4 -`.
impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.of == "connection" { "conn" } else { self.of };
        let faults = if self.faults.is_empty() { "-".to_owned() } else { self.faults.join(" ") };
        write!(f, "{of} {} {faults}", self.number)
    }
}

impl RuleSet {
    /// What the connections 1 to `count` meet; or the datagrams, each as it comes and as one that goes.
    pub fn plan(&self, count: u64, is_stream: bool) -> impl Iterator<Item = Planned> {
        let directions: &[Option<Direction>] =
            if is_stream { &[None] } else { &[Some(Direction::In), Some(Direction::Out)] };
        let mut choices = [Choice::default(), Choice::default()];
        let doors = |rule: &&Rule| matches!(rule.action.stage(), Stage::Door | Stage::Kernel);
        let of_all: Vec<String> = self.rules.iter().filter(doors).map(words).collect();
        (1..=count).map(move |number| {
            let mut faults = of_all.clone();
            for (choice, direction) in choices.iter_mut().zip(directions) {
                let is_possible = |rule: &Rule| match (direction, rule.keys.after) {
                    // Datagrams are messages: it is known which come before.
                    (Some(_), Some(After::Messages(messages))) => number > messages,
                    _ => true,
                };
                let chosen = choice.pick(self, number, *direction, is_possible);
                faults.extend(chosen.into_iter().map(|rule| words(&self.rules[rule])));
            }
            let of = if is_stream { "connection" } else { "datagram" };
            Planned { schema: SCHEMA, of, number, faults }
        })
    }
}

/// A rule without what has been decided: what is done, and what only the run can tell.
fn words(rule: &Rule) -> String {
    let action = rule.action.to_string();
    let after = match rule.keys.after {
        // Places are counted, not rounded.
        Some(After::Bytes(bytes)) => format!("@{bytes}B"),
        Some(after) => format!("@{after}"),
        None => String::new(),
    };
    let undecided =
        Keys { direction: rule.keys.direction, from: rule.keys.from, lasts: rule.keys.lasts, ..Keys::default() };
    let undecided = Rule { action: rule.action, keys: undecided }.to_string();
    format!("{action}{after}{}", &undecided[action.len()..])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{rules, rules_on};
    use super::*;
    use crate::connection::Transport;

    fn lines(set: &RuleSet, count: u64, is_stream: bool) -> Vec<String> {
        set.plan(count, is_stream).map(|planned| planned.faults.join(" ")).collect()
    }

    #[test]
    fn a_plan_says_what_each_connection_meets() {
        for (texts, expected) in [
            (&["reset,after=1KiB,conn=3"][..], ["", "", "reset@1024B", ""]),
            (
                &["delay=30ms..70ms", "close,every=2,after=2s"],
                ["delay=30ms..70ms", "delay=30ms..70ms close@2s", "delay=30ms..70ms", "delay=30ms..70ms close@2s"],
            ),
            (&["stall,dir=in,for=2s,times=1"], ["stall,dir=in,for=2s", "", "", ""]),
            (&["close,from=127.0.0.0/8,chance=100%,conn=4.."], ["", "", "", "close,from=127.0.0.0/8"]),
            (&["refuse=2s", "reset,conn=2"], ["refuse=2s", "refuse=2s reset", "refuse=2s", "refuse=2s"]),
        ] {
            assert_eq!(lines(&rules(texts, 1), 4, true), expected, "{texts:?}");
        }
        let datagrams = rules_on(Transport::Udp, &["drop,after=2msg,times=1", "dup,dir=in,every=2"], 1);
        assert_eq!(lines(&datagrams, 4, false), ["", "dup,dir=in", "drop@2msg", "dup,dir=in"]);
    }

    #[test]
    fn a_plan_is_what_happens() {
        let set = rules(&["reset,chance=30%", "close,chance=30%,times=4"], 42);
        let mut choice = Choice::default();
        for planned in set.plan(100, true) {
            let met = choice.connection(&set, planned.number, None);
            let met: Vec<String> = met.iter().map(|rule| words(&set.rules()[*rule])).collect();
            assert_eq!(planned.faults, met, "connection {}", planned.number);
        }
    }
}
