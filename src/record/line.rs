//! An event as a line of JSON, and back.
//!
//! Owns the names of the fields. Must not know what an event means to those before and after it. Trade-off: one flat
//! structure for every event instead of one each, so that a line that mixes them up can be told exactly what it lacks or has
//! too much of.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::event::{Event, Header, What};
use crate::base64;
use crate::printable::drives_terminal;

/// The version of the form, which the first line tells.
pub const VERSION: u32 = 1;

/// A century: no record is longer, and the clocks can still add to it.
const LONGEST: Duration = Duration::from_secs(100 * 31_557_600);

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The form's version.
    pub sockkit: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// Any other line.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    pub ev: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txt: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub len: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errname: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete: Option<bool>,
}

/// Adds the first line.
pub fn write_head(header: &Header, lines: &mut Vec<u8>) {
    let head = Head {
        sockkit: VERSION,
        start: Some(humantime::format_rfc3339_micros(header.start).to_string()),
        cmd: header.command.clone(),
        seed: header.seed,
    };
    write(&head, lines);
}

/// Adds the line of an event. Of each direction of a connection only the first `limit_bytes` are kept.
pub fn write_event(event: &Event, limit_bytes: Option<u64>, lines: &mut Vec<u8>) {
    let mut line = fill(&event.what, limit_bytes);
    // Divided from whole nanoseconds: then the number has no more digits than the clock.
    line.t = Some(event.time.as_nanos() as f64 / 1e9);
    write(&line, lines);
}

fn write(line: &impl Serialize, lines: &mut Vec<u8>) {
    // Neither a map whose keys are no text nor a writer that fails: serde_json has nothing to object to.
    let _ = serde_json::to_writer(&mut *lines, line);
    lines.push(b'\n');
}

fn fill(what: &What, limit_bytes: Option<u64>) -> Line<'_> {
    match what {
        What::Open { connection, transport, peer, local } => Line {
            transport: Some(transport.to_string()),
            peer: Some(peer.to_string()),
            local: Some(local.to_string()),
            ..Line::of(*connection, "open")
        },
        What::Data { connection, direction, offset, bytes } => {
            let line = Line { off: Some(*offset), ..Line::of(*connection, direction.word()) };
            line.with_data(bytes, limit_bytes.map(|limit| limit.saturating_sub(*offset)))
        }
        What::Finished { connection, direction, offset } => {
            Line { dir: Some(direction.word().into()), off: Some(*offset), ..Line::of(*connection, "fin") }
        }
        What::Fault { connection, rule, fault, at } => {
            Line { rule: Some(*rule), what: Some(fault.into()), at: Some(*at), ..Line::of(*connection, "fault") }
        }
        What::Close { connection, ending, received_bytes, sent_bytes } => Line {
            how: Some(ending.word().into()),
            errname: ending.errname().map(Cow::from),
            rx: Some(*received_bytes),
            tx: Some(*sent_bytes),
            ..Line::of(*connection, "close")
        },
        What::End { connections, complete } => {
            Line { ev: "end".into(), conns: Some(*connections), complete: Some(*complete), ..Line::default() }
        }
    }
}

impl<'a> Line<'a> {
    fn of(connection: u64, event: &'static str) -> Line<'a> {
        Line { conn: Some(connection), ev: event.into(), ..Line::default() }
    }

    /// With these bytes, or as many of them as are kept.
    fn with_data(mut self, bytes: &'a [u8], kept_bytes_max: Option<u64>) -> Line<'a> {
        let kept_bytes =
            kept_bytes_max.map_or(bytes.len(), |max| bytes.len().min(usize::try_from(max).unwrap_or(usize::MAX)));
        let (kept, cut) = bytes.split_at(kept_bytes);
        if !cut.is_empty() {
            self.len = Some(bytes.len() as u64);
            self.cut = Some(sha256(cut));
        }
        if kept.is_empty() && !cut.is_empty() {
            return self;
        }
        match std::str::from_utf8(kept) {
            Ok(text) if text.chars().all(is_plain) => self.txt = Some(text.into()),
            _ => self.b64 = Some(base64::encode(kept)),
        }
        self
    }

    /// A field that is still there, once those that the event has were taken.
    pub fn unused(&self) -> Option<&'static str> {
        [
            ("transport", self.transport.is_some()),
            ("peer", self.peer.is_some()),
            ("local", self.local.is_some()),
            ("dir", self.dir.is_some()),
            ("off", self.off.is_some()),
            ("txt", self.txt.is_some()),
            ("b64", self.b64.is_some()),
            ("len", self.len.is_some()),
            ("cut", self.cut.is_some()),
            ("rule", self.rule.is_some()),
            ("what", self.what.is_some()),
            ("at", self.at.is_some()),
            ("how", self.how.is_some()),
            ("errname", self.errname.is_some()),
            ("rx", self.rx.is_some()),
            ("tx", self.tx.is_some()),
            ("conns", self.conns.is_some()),
            ("complete", self.complete.is_some()),
        ]
        .into_iter()
        .find_map(|(name, is_there)| is_there.then_some(name))
    }

    /// Its time, if it has one that a clock can show.
    pub fn time(&self) -> Result<Option<Duration>, String> {
        let Some(seconds) = self.t else { return Ok(None) };
        let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= LONGEST);
        time.map(Some).ok_or_else(|| format!("\"t\" is {seconds}: it is seconds since the start"))
    }
}

/// Text that stays on one line and does nothing to a terminal; JSON writes the ends of lines as `\n`.
fn is_plain(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\t') || !drives_terminal(character)
}

/// In hexadecimal, as sha256sum(1) prints it.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Two digits each.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::event::{Direction, Ending};

    fn written(what: What, limit_bytes: Option<u64>) -> String {
        let mut lines = Vec::new();
        write_event(&Event { time: Duration::from_nanos(10_204_112), what }, limit_bytes, &mut lines);
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn an_event_is_a_line() {
        let inet = |text: &str| crate::connection::Address::Inet(text.parse().unwrap());
        let data = |direction, bytes: &[u8]| What::Data { connection: 1, direction, offset: 6, bytes: bytes.to_vec() };
        let close = |ending| What::Close { connection: 2, ending, received_bytes: 6, sent_bytes: 4 };
        let transport = crate::connection::Transport::Tcp;
        for (what, line) in [
            (
                What::Open { connection: 1, transport, peer: inet("127.0.0.1:50001"), local: inet("[::1]:7") },
                r#""conn":1,"ev":"open","transport":"tcp","peer":"127.0.0.1:50001","local":"[::1]:7""#,
            ),
            (data(Direction::Received, b"hello\n"), r#""conn":1,"ev":"rx","off":6,"txt":"hello\n""#),
            (data(Direction::Sent, b"\0\x01\x02\x03"), r#""conn":1,"ev":"tx","off":6,"b64":"AAECAw==""#),
            (data(Direction::Sent, b""), r#""conn":1,"ev":"tx","off":6,"txt":"""#),
            (data(Direction::Sent, b"\x1b[2J"), r#""conn":1,"ev":"tx","off":6,"b64":"G1sySg==""#),
            (data(Direction::Sent, "\u{202e}".as_bytes()), r#""conn":1,"ev":"tx","off":6,"b64":"4oCu""#),
            (data(Direction::Sent, "gr\u{fc}n\t\"".as_bytes()), r#""conn":1,"ev":"tx","off":6,"txt":"grün\t\"""#),
            (
                What::Finished { connection: 1, direction: Direction::Received, offset: 6 },
                r#""conn":1,"ev":"fin","dir":"rx","off":6"#,
            ),
            (
                What::Fault { connection: 1, rule: 0, fault: "reset".to_owned(), at: 1024 },
                r#""conn":1,"ev":"fault","rule":0,"what":"reset","at":1024"#,
            ),
            (close(Ending::Reset), r#""conn":2,"ev":"close","how":"rst","rx":6,"tx":4"#),
            (
                close(Ending::Failed("ETIMEDOUT".to_owned())),
                r#""conn":2,"ev":"close","how":"error","errname":"ETIMEDOUT","rx":6,"tx":4"#,
            ),
            (What::End { connections: 2, complete: true }, r#""ev":"end","conns":2,"complete":true"#),
        ] {
            assert_eq!(written(what, None), format!("{{\"t\":0.010204112,{line}}}\n"));
        }
    }

    #[test]
    fn what_is_over_the_limit_is_cut_and_its_length_and_hash_are_kept() {
        let data = What::Data { connection: 1, direction: Direction::Sent, offset: 6, bytes: b"hello\n".to_vec() };
        for (limit, kept, cut) in [(12, r#""txt":"hello\n""#, ""), (11, r#""txt":"hello""#, "\n"), (0, "", "hello\n")] {
            let line = written(data.clone(), Some(limit));
            let comma = if kept.is_empty() { "" } else { "," };
            let tail = if cut.is_empty() {
                format!("\"off\":6,{kept}}}\n")
            } else {
                format!("\"off\":6{comma}{kept},\"len\":6,\"cut\":\"{}\"}}\n", sha256(cut.as_bytes()))
            };
            assert!(line.ends_with(&tail), "{line} {tail}");
        }
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
