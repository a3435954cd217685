//! A conversation laid down beforehand: what to send, what to expect, and for how long, step by step.
//!
//! Owns the language; `player` carries it out. Must not know sockets, command lines or who prints. Trade-off: a verb and the
//! rest of its line, without quotes or blocks, so that the same words stand in a file and behind `--` on a command line; what
//! needs a loop is a program's work.
//!
//! | verb | what it does |
//! |---|---|
//! | `send TEXT` | sends it: `\r \n \t \0 \xHH \\` are what they are in C, `\$` is a dollar |
//! | `send-hex HEX` | sends bytes, two digits each |
//! | `send-eof` | half-closes: nothing can be sent after it |
//! | `expect REGEX` | passes over what comes until it matches; named groups become variables |
//! | `expect-hex HEX` | the same for bytes |
//! | `expect-eof`, `expect-reset` | passes over what comes until the peer finishes, or resets |
//! | `within DURATION` | how long each expectation after it may take |
//! | `set NAME VALUE` | sets a variable, which is `$NAME` or `${NAME}` from there on |

mod player;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};

use crate::escapes::{parse_hex, unescape};
use crate::units::parse_duration;
pub use player::{Done, Played, Report, Stage, Unmet, play};

/// A script that hangs helps nobody: an expectation may take this long unless it says otherwise.
const WITHIN: Duration = Duration::from_secs(10);

/// The verbs, as an error lists them.
const VERBS: &str = "send, send-hex, send-eof, expect, expect-hex, expect-eof, expect-reset, within, set";

/// What to say and what to hear, in order.
#[derive(Debug, Clone)]
pub struct Script {
    steps: Vec<Step>,
    /// The variables that have a value by now.
    names: BTreeSet<String>,
    within: Duration,
    has_ended: bool,
}

/// One statement.
#[derive(Debug, Clone)]
struct Step {
    /// As it was written, and where: `chat:3: expect ^OK`.
    written: String,
    action: Action,
}

#[derive(Debug, Clone)]
enum Action {
    Send(Template),
    SendEnd,
    Expect { wanted: Wanted, within: Duration },
    Set { name: String, value: Template },
}

#[derive(Debug, Clone)]
enum Wanted {
    Match(Template),
    End,
    Reset,
}

/// Bytes with holes.
#[derive(Debug, Clone)]
struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Bytes(Vec<u8>),
    Variable(String),
}

/// What the variables are.
type Variables = HashMap<String, Vec<u8>>;

impl Default for Script {
    fn default() -> Script {
        Script { steps: Vec::new(), names: BTreeSet::new(), within: WITHIN, has_ended: false }
    }
}

impl Script {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether it ends by expecting something; otherwise what still comes is for somebody else.
    pub fn ends_with_an_expectation(&self) -> bool {
        let last = self.steps.iter().rev().find(|step| !matches!(step.action, Action::Set { .. }));
        last.is_some_and(|step| matches!(step.action, Action::Expect { .. }))
    }

    /// Whether it says when its direction ends.
    pub fn sends_end(&self) -> bool {
        self.has_ended
    }

    /// The statements of a file, line by line; empty lines and those that begin with `#` say nothing.
    pub fn add_file(&mut self, name: &str, text: &str) -> Result<(), String> {
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = format!("{name}:{}: ", index + 1);
            let (verb, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            self.add(&place, verb, rest.trim_start()).map_err(|why| format!("{place}{why}"))?;
        }
        Ok(())
    }

    /// One statement. The place goes in front of the verb when it is told; the error tells only what is wrong.
    pub fn add(&mut self, place: &str, verb: &str, rest: &str) -> Result<(), String> {
        let action = match verb {
            "send" => Action::Send(self.template(rest, Dialect::Text)?),
            "send-hex" => Action::Send(Template(vec![Part::Bytes(parse_hex(rest)?)])),
            "send-eof" => Action::SendEnd,
            "expect" => Action::Expect { wanted: Wanted::Match(self.pattern(rest)?), within: self.within },
            "expect-hex" => {
                let bytes = parse_hex(rest)?;
                let wanted = Wanted::Match(Template(vec![Part::Bytes(literally(&bytes).into_bytes())]));
                Action::Expect { wanted, within: self.within }
            }
            "expect-eof" => Action::Expect { wanted: Wanted::End, within: self.within },
            "expect-reset" => Action::Expect { wanted: Wanted::Reset, within: self.within },
            "within" => {
                self.within = parse_duration(rest)?;
                return Ok(());
            }
            "set" => self.set(rest)?,
            _ => return Err(format!("\"{verb}\" is no verb: {VERBS}")),
        };
        self.check(verb, &action, rest)?;
        self.has_ended |= matches!(action, Action::SendEnd);
        let written = if rest.is_empty() { format!("{place}{verb}") } else { format!("{place}{verb} {rest}") };
        self.steps.push(Step { written, action });
        Ok(())
    }

    /// What a verb alone cannot know.
    fn check(&self, verb: &str, action: &Action, rest: &str) -> Result<(), String> {
        match action {
            Action::Send(Template(parts)) if parts.is_empty() => Err(format!("{verb} has nothing to send")),
            Action::Send(_) | Action::SendEnd if self.has_ended => {
                Err(format!("{verb} comes after send-eof, which ended what can be sent"))
            }
            Action::SendEnd | Action::Expect { wanted: Wanted::End | Wanted::Reset, .. } if !rest.is_empty() => {
                Err(format!("{verb} stands alone, without \"{rest}\""))
            }
            _ => Ok(()),
        }
    }

    fn set(&mut self, rest: &str) -> Result<Action, String> {
        let at = rest.find(|character: char| character == '=' || character.is_whitespace());
        let (name, value) = rest.split_at(at.unwrap_or(rest.len()));
        let value = value.get(1..).unwrap_or_default().trim_start();
        if name.is_empty() || name_length(name) != name.len() {
            return Err(format!("\"{name}\" is no variable's name: letters, digits and _, and no digit first"));
        }
        let value = self.template(value, Dialect::Text)?;
        self.names.insert(name.to_owned());
        Ok(Action::Set { name: name.to_owned(), value })
    }

    /// A regular expression, of bytes and not of characters: what a peer says is not always text.
    fn pattern(&mut self, text: &str) -> Result<Template, String> {
        if text.is_empty() {
            return Err("expect needs a regular expression".to_owned());
        }
        let template = self.template(text, Dialect::Regex)?;
        // Whatever the variables are, they are taken literally, as this is.
        let sample = template.0.iter().fold(String::new(), |sample, part| match part {
            Part::Bytes(bytes) => sample + &String::from_utf8_lossy(bytes),
            Part::Variable(_) => sample + "x",
        });
        let regex = parse_regex(&sample)?;
        self.names.extend(regex.capture_names().flatten().map(str::to_owned));
        Ok(template)
    }

    /// Splits text at its variables.
    fn template(&self, text: &str, dialect: Dialect) -> Result<Template, String> {
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        let flush = |literal: &mut String, parts: &mut Vec<Part>| -> Result<(), String> {
            if !literal.is_empty() {
                parts.push(Part::Bytes(dialect.read(&std::mem::take(literal))?));
            }
            Ok(())
        };
        while let Some(first) = rest.chars().next() {
            if let Some((name, length)) = variable(rest)? {
                if !self.names.contains(name) {
                    return Err(format!("${name} has no value here: set it first, or write \\$ for a dollar"));
                }
                flush(&mut literal, &mut parts)?;
                parts.push(Part::Variable(name.to_owned()));
                rest = &rest[length..];
                continue;
            }
            // What follows a backslash begins no variable.
            let length = if first == '\\' { rest.chars().take(2).map(char::len_utf8).sum() } else { first.len_utf8() };
            let (taken, left) = rest.split_at(length);
            literal.push_str(if taken == "\\$" && dialect == Dialect::Text { "$" } else { taken });
            rest = left;
        }
        flush(&mut literal, &mut parts)?;
        Ok(Template(parts))
    }
}

/// What the text between variables is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// Text with escapes.
    Text,
    /// A part of a regular expression.
    Regex,
}

impl Dialect {
    fn read(self, text: &str) -> Result<Vec<u8>, String> {
        match self {
            Dialect::Text => unescape(text),
            Dialect::Regex => Ok(text.as_bytes().to_vec()),
        }
    }
}

/// The variable at the beginning of a text: its name, and how long it is with what is around it.
fn variable(text: &str) -> Result<Option<(&str, usize)>, String> {
    let Some(after) = text.strip_prefix('$') else { return Ok(None) };
    if let Some(inside) = after.strip_prefix('{') {
        let length = name_length(inside);
        if length == 0 || !inside[length..].starts_with('}') {
            return Err(format!("\"{text}\" begins no variable: write ${{NAME}}, or \\$ for a dollar"));
        }
        return Ok(Some((&inside[..length], length + 3)));
    }
    let length = name_length(after);
    Ok((length > 0).then(|| (&after[..length], length + 1)))
}

/// How much of the beginning of a text is a name: letters, digits and _, and no digit first.
fn name_length(text: &str) -> usize {
    let is_first = |character: char| character.is_ascii_alphabetic() || character == '_';
    if !text.starts_with(is_first) {
        return 0;
    }
    text.find(|character: char| !is_first(character) && !character.is_ascii_digit()).unwrap_or(text.len())
}

/// Reads a regular expression, of bytes and not of characters.
pub fn parse_regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).unicode(false).build().map_err(|error| {
        let words = error.to_string();
        // The library draws a picture of several lines; its last one says what is wrong.
        let why = words.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("{text:?} is not a regular expression: {why}")
    })
}

/// A regular expression that only these bytes match.
fn literally(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |regex, byte| regex + &format!("\\x{byte:02x}"))
}

impl Template {
    /// With its variables as they are.
    fn fill(&self, variables: &Variables, quote: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let empty = Vec::new();
        let fill = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.clone(),
            Part::Variable(name) => quote(variables.get(name).unwrap_or(&empty)),
        };
        self.0.iter().flat_map(fill).collect()
    }

    /// As a regular expression, with its variables taken literally.
    fn regex(&self, variables: &Variables) -> Result<Regex, String> {
        let text = self.fill(variables, |value| literally(value).into_bytes());
        parse_regex(&String::from_utf8_lossy(&text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a statement sends, with two variables.
    fn sent(text: &str) -> Result<String, String> {
        let mut script = Script::default();
        script.add("", "set", "name value").unwrap();
        script.add("", "set", "_2=\\xff$name")?;
        script.add("", "send", text)?;
        let variables =
            Variables::from([("name".to_owned(), b"value".to_vec()), ("_2".to_owned(), b"\xffvalue".to_vec())]);
        let Some(Step { action: Action::Send(template), .. }) = script.steps.last() else { panic!("{script:?}") };
        Ok(template.fill(&variables, <[u8]>::to_vec).escape_ascii().to_string())
    }

    #[test]
    fn variables_stand_in_text() {
        for (text, expected) in [
            ("a$name.b", "avalue.b"),
            ("${name}s", "values"),
            ("$_2", "\\xffvalue"),
            ("\\$name", "$name"),
            ("\\\\$name", "\\\\value"),
            ("$5 $ $", "$5 $ $"),
            ("\\x24name \\r\\n", "$name \\r\\n"),
        ] {
            assert_eq!(sent(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, why) in [
            ("$names", "$names has no value here"),
            ("${name", "begins no variable"),
            ("${}", "begins no variable"),
            ("\\", "begins nothing"),
        ] {
            assert!(sent(text).is_err_and(|error| error.contains(why)), "{text}");
        }
    }

    #[test]
    fn a_variable_is_taken_literally_in_an_expression() {
        let mut script = Script::default();
        script.add("", "set", "name a.c").unwrap();
        for (text, heard, is_met) in [
            ("^$name$", &b"a.c"[..], true),
            ("^$name$", b"abc", false),
            ("\\$name", b"$name", true),
            ("(?<x>b+)", b"abbc", true),
            ("\\xff", b"\xff", true),
        ] {
            script.add("", "expect", text).unwrap();
            let Some(Step { action: Action::Expect { wanted: Wanted::Match(template), .. }, .. }) = script.steps.last()
            else {
                panic!("{script:?}")
            };
            let regex = template.regex(&Variables::from([("name".to_owned(), b"a.c".to_vec())])).unwrap();
            assert_eq!(regex.is_match(heard), is_met, "{text}");
        }
        // A group has a value from its expectation on.
        assert_eq!(script.add("", "send", "$x"), Ok(()));
    }

    #[test]
    fn what_stands_after_a_script_depends_on_its_last_statement() {
        for (text, is_expectation) in [
            ("send a", false),
            ("expect a", true),
            ("send a\nexpect a\nset x 1", true),
            ("expect a\nsend-eof", false),
            ("", false),
        ] {
            let mut script = Script::default();
            script.add_file("chat", text).unwrap();
            assert_eq!(script.ends_with_an_expectation(), is_expectation, "{text}");
        }
    }

    proptest! {
        /// Whatever is written, reading it ends in a script or in a reason that names the place.
        #[test]
        fn any_file_is_read_or_refused(text in "([a-z-]{0,12}[ \t]?[ -~\u{e4}]{0,20}\n){0,5}") {
            if let Err(why) = Script::default().add_file("chat", &text) {
                prop_assert!(why.starts_with("chat:"), "{why}");
            }
        }

        #[test]
        fn any_statement_is_read_or_refused(
            verb in "send|expect|set|send-hex|expect-hex|within",
            rest in "[ -~\\$\\\\{}]{0,20}",
        ) {
            let _ = Script::default().add("--", &verb, &rest);
        }
    }
}
