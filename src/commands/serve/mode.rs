//! `--mode`: what may be typed, and what the shells and the help say of it.
//!
//! Owns the names. Must not know how any of it is done. Trade-off: a list and a match beside it instead of clap's derive,
//! because some modes have a value behind an equals sign; a test holds the two together.

use std::ffi::OsStr;
use std::sync::Arc;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command};

use super::content::Content;
use super::forward::Forward;
use super::inetd::Chargen;
use super::replay::Replay;
use super::room::Room;
use super::service::Service;

/// The modes, each with what it does; those with a value end with an equals sign.
const MODES: [(&str, &str); 12] = [
    ("echo", "every byte goes back (RFC 862)"),
    ("discard", "every byte is thrown away (RFC 863)"),
    ("chargen", "lines without end, until the peer closes (RFC 864)"),
    ("daytime", "the date and time in words, in UTC, then close (RFC 867)"),
    ("time", "the seconds since 1900 as four bytes, then close (RFC 868)"),
    ("send=", "TEXT, which may have escapes (\\r \\n \\t \\0 \\xHH \\\\), or @FILE, then close"),
    ("banner=", "the same, then echo"),
    ("replay=", "FILE, a record that serve or connect has made: the server's half of it"),
    ("forward=", "ENDPOINT, to which each connection, or each peer's datagrams, is joined: a proxy for one port"),
    ("broker", "what one peer sends goes to all the others, byte for byte"),
    ("chat", "the same line by line, behind <userN>; who comes and goes is announced"),
    ("stdio", "our stdin and stdout are joined to whoever comes, as nc -l does (--stdio)"),
];

/// What was typed.
#[derive(Debug, Clone)]
pub enum Mode {
    /// A service that needs to know nothing else.
    Of(Service),
    /// Stdin and stdout, joined as other flags say.
    Stdio,
}

/// Reads a mode; clap's parser, which tells the shells of the values as well.
#[derive(Debug, Clone, Copy)]
pub struct ModeParser;

impl TypedValueParser for ModeParser {
    type Value = Mode;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Mode, clap::Error> {
        StringValueParser::new().try_map(|text| parse(&text)).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(MODES.iter().map(|(name, what)| PossibleValue::new(*name).help(*what))))
    }
}

fn parse(text: &str) -> Result<Mode, String> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let service = match (name, value) {
        ("echo", None) => Service::Echo,
        ("discard", None) => Service::Discard,
        ("chargen", None) => Service::Chargen(Chargen::new()),
        ("daytime", None) => Service::Daytime,
        ("time", None) => Service::Time,
        ("send", Some(value)) => Service::Send(Content::parse(value)?),
        ("banner", Some(value)) => Service::Banner(Content::parse(value)?),
        ("replay", Some(value)) => Service::Replay(Arc::new(Replay::of(value))),
        ("forward", Some(value)) => Service::Forward(Forward::to(value)?),
        ("broker", None) => Service::Room(Room::broker()),
        ("chat", None) => Service::Room(Room::chat()),
        ("stdio", None) => return Ok(Mode::Stdio),
        _ => return Err(why_not(name, value.is_some())),
    };
    Ok(Mode::Of(service))
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
            let typed = if name.ends_with('=') { format!("{name}value:1") } else { name.to_owned() };
            let mode = parse(&typed).unwrap_or_else(|why| panic!("{typed}: {why}"));
            if let Mode::Of(service) = mode {
                assert_eq!(service.word(), name.trim_end_matches('='));
            }
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
