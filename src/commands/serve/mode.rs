//! `--mode`: what may be typed, and what the shells and the help say of it.
//!
//! Owns the names. Must not know how any of it is done. Trade-off: a list and a match beside it instead of clap's derive,
//! because some modes have a value behind an equals sign; a test holds the two together.

use std::ffi::OsStr;
use std::sync::Arc;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command};

use super::content::Content;
use super::inetd::Chargen;
use super::replay::Replay;
use super::service::Service;

/// The modes, each with what it does; those with a value end with an equals sign.
const MODES: [(&str, &str); 8] = [
    ("echo", "every byte goes back (RFC 862)"),
    ("discard", "every byte is thrown away (RFC 863)"),
    ("chargen", "lines without end, until the peer closes (RFC 864)"),
    ("daytime", "the date and time in words, in UTC, then close (RFC 867)"),
    ("time", "the seconds since 1900 as four bytes, then close (RFC 868)"),
    ("send=", "TEXT, which may have escapes (\\r \\n \\t \\0 \\xHH \\\\), or @FILE, then close"),
    ("banner=", "the same, then echo"),
    ("replay=", "FILE, a record that serve or connect has made: the server's half of it"),
];

/// Reads a mode; clap's parser, which tells the shells of the values as well.
#[derive(Debug, Clone, Copy)]
pub struct ModeParser;

impl TypedValueParser for ModeParser {
    type Value = Service;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Service, clap::Error> {
        StringValueParser::new().try_map(|text| parse(&text)).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(MODES.iter().map(|(name, what)| PossibleValue::new(*name).help(*what))))
    }
}

fn parse(text: &str) -> Result<Service, String> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    match (name, value) {
        ("echo", None) => Ok(Service::Echo),
        ("discard", None) => Ok(Service::Discard),
        ("chargen", None) => Ok(Service::Chargen(Chargen::new())),
        ("daytime", None) => Ok(Service::Daytime),
        ("time", None) => Ok(Service::Time),
        ("send", Some(value)) => Content::parse(value).map(Service::Send),
        ("banner", Some(value)) => Content::parse(value).map(Service::Banner),
        ("replay", Some(value)) => Ok(Service::Replay(Arc::new(Replay::of(value)))),
        _ => Err(why_not(name, value.is_some())),
    }
}

fn why_not(name: &str, has_value: bool) -> String {
    let known = |(mode, _): &&(&str, &str)| mode.trim_end_matches('=') == name;
    match MODES.iter().find(known) {
        Some(_) if has_value => format!("{name} has no value"),
        Some((mode, what)) => format!("{mode} is followed by its value: {what}"),
        None => {
            let names: Vec<&str> = MODES.iter().map(|(mode, _)| *mode).collect();
            format!("the modes are {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_that_is_offered_can_be_typed() {
        for (name, _) in MODES {
            let typed = if name.ends_with('=') { format!("{name}value") } else { name.to_owned() };
            let service = parse(&typed).unwrap_or_else(|why| panic!("{typed}: {why}"));
            assert_eq!(service.word(), name.trim_end_matches('='));
        }
    }

    #[test]
    fn a_mode_that_is_wrong_says_why() {
        for (typed, why) in [
            ("", "the modes are echo, discard, chargen, "),
            ("ecko", "the modes are "),
            ("Echo", "the modes are "),
            ("echo=1", "echo has no value"),
            ("send", "send= is followed by its value: TEXT"),
            ("send=\\q", "a backslash in \"\\\\q\" begins nothing"),
            ("send=@/no/such/file", "open /no/such/file failed: No such file"),
            ("banner=@.", " is no file: "),
        ] {
            let said = parse(typed).unwrap_err();
            assert!(said.contains(why), "{typed}: {said}");
        }
    }
}
