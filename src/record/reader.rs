//! A record read back: its connections as scripts, or what is wrong with it, and in which line.
//!
//! Owns what makes a record whole. Must not know who plays it. Trade-off: all of it is read before anything is played, so
//! that a record which is cut short is found out before a peer is; it has to fit in memory. What a person who writes one by
//! hand would only copy out (times, connection 1, offsets, `open`) may be left out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::time::Duration;

use super::event::{Direction, Ending};
use super::line::{Head, Line, VERSION};
use crate::base64;
use crate::connection::Transport;

/// Longer than any line that is written: what has no ends of lines is no record, and must not fill the memory.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A whole record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The words of the command that recorded it; none if a person wrote it.
    pub command: Vec<String>,
    /// Its connections, in the order of their numbers.
    pub scripts: Vec<Script>,
}

/// What happened on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The protocol.
    pub transport: Transport,
    /// When it was opened.
    pub opened: Duration,
    /// What happened then, in order.
    pub steps: Vec<Step>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Since the record began.
    pub time: Duration,
    /// Where it stands, from 1 on.
    pub line: u64,
    /// What it was.
    pub action: Action,
}

/// What happened. Faults are not part of a script: what they did is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A run of bytes, or one datagram; what `--record-max` cut off is known by its length and hash.
    Data(Direction, Vec<u8>, Option<Cut>),
    /// A direction's FIN.
    Finished(Direction),
    /// The end.
    Closed(Ending),
}

/// Bytes that were not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// How many.
    pub bytes: u64,
    /// Their SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Why a record cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// The file cannot.
    File(io::Error),
    /// A line (from 1 on) is not what it should be.
    Line(u64, String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::File(error) => write!(f, "{error}"),
            Unreadable::Line(line, what) => write!(f, "line {line}: {what}"),
        }
    }
}

impl std::error::Error for Unreadable {}

impl Record {
    /// The direction that is this command's own when it plays the record: what it sent, or what its peer received. What a
    /// person wrote is as the player sees it.
    pub fn side_of(&self, command: &str) -> Direction {
        match self.command.first() {
            Some(recorded) if recorded != command => Direction::Received,
            _ => Direction::Sent,
        }
    }

    /// Whether everything is there that has to be sent.
    pub fn check_playable(&self, ours: Direction) -> Result<(), Unreadable> {
        if self.scripts.is_empty() {
            return Err(Unreadable::Line(1, "it has no connection that could be played".to_owned()));
        }
        for step in self.scripts.iter().flat_map(|script| &script.steps) {
            if matches!(&step.action, Action::Data(direction, _, Some(_)) if *direction == ours) {
                let what = "its data was cut by --record-max, and would have to be sent";
                return Err(Unreadable::Line(step.line, what.to_owned()));
            }
        }
        Ok(())
    }

    /// Reads all of it.
    pub fn read(mut file: impl BufRead) -> Result<Record, Unreadable> {
        let mut reader = Reader::default();
        let mut bytes = Vec::new();
        for number in 1.. {
            bytes.clear();
            file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).map_err(Unreadable::File)?;
            if bytes.is_empty() {
                break;
            }
            let read = if is_cut_short(&bytes) {
                Err(format!("it is cut short: whole lines there are {}", number - 1))
            } else {
                reader.read_line(number, &bytes)
            };
            read.map_err(|what| Unreadable::Line(number, what))?;
        }
        reader.finish()
    }
}

/// Whether a line stops in the middle. One that only lacks its line end was written by hand.
fn is_cut_short(bytes: &[u8]) -> bool {
    !bytes.ends_with(b"\n") && serde_json::from_slice::<serde_json::Value>(bytes).is_err_and(|error| error.is_eof())
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    command: Option<Vec<String>>,
    connections: BTreeMap<u64, Connection>,
    time: Duration,
    line: u64,
    has_ended: bool,
}

struct Connection {
    script: Script,
    received_bytes: u64,
    sent_bytes: u64,
    finished: Vec<Direction>,
    is_closed: bool,
}

impl Connection {
    fn new(transport: Transport, opened: Duration) -> Connection {
        Connection {
            script: Script { transport, opened, steps: Vec::new() },
            received_bytes: 0,
            sent_bytes: 0,
            finished: Vec::new(),
            is_closed: false,
        }
    }

    fn so_far(&mut self, direction: Direction) -> &mut u64 {
        match direction {
            Direction::Received => &mut self.received_bytes,
            Direction::Sent => &mut self.sent_bytes,
        }
    }

    /// Where a direction is, which an offset must agree with.
    fn check_offset(&mut self, direction: Direction, offset: Option<u64>) -> Result<(), String> {
        let so_far = *self.so_far(direction);
        match offset {
            Some(offset) if offset != so_far => {
                Err(format!("\"off\" is {offset}, but {so_far} bytes of {} were before it", direction.word()))
            }
            _ => Ok(()),
        }
    }
}

impl Reader {
    fn read_line(&mut self, number: u64, bytes: &[u8]) -> Result<(), String> {
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        self.line = number;
        if self.command.is_none() {
            self.command = Some(read_head(bytes)?);
            return Ok(());
        }
        if self.has_ended {
            return Err("it comes after the end".to_owned());
        }
        let line: Line = serde_json::from_slice(bytes).map_err(|error| in_one_line(&error))?;
        if let Some(time) = line.time()? {
            if time < self.time {
                return Err(format!("\"t\" is {:?}, which is before the line above", time.as_secs_f64()));
            }
            self.time = time;
        }
        self.read_event(line)
    }

    fn read_event(&mut self, mut line: Line<'static>) -> Result<(), String> {
        let event = std::mem::take(&mut line.ev);
        if event == "end" {
            return self.read_end(line);
        }
        let id = line.conn.unwrap_or(1);
        if event == "open" {
            return self.read_open(id, line);
        }
        let time = self.time;
        let connection = self.connections.entry(id).or_insert_with(|| Connection::new(Transport::Tcp, time));
        if connection.is_closed {
            return Err(format!("connection {id} was closed before"));
        }
        let action = match event.as_ref() {
            "rx" => Some(read_data(connection, Direction::Received, &mut line)?),
            "tx" => Some(read_data(connection, Direction::Sent, &mut line)?),
            "fin" => Some(read_finished(connection, &mut line)?),
            "close" => Some(read_close(connection, &mut line)?),
            "fault" => {
                let _ = (line.rule.take(), line.what.take(), line.at.take());
                None
            }
            "" => return Err("it has no \"ev\"".to_owned()),
            _ => return Err(format!("\"ev\" is {event:?}: it is open, rx, tx, fin, fault, close or end")),
        };
        nothing_left(&event, &line)?;
        let step = |action| Step { time, line: self.line, action };
        connection.script.steps.extend(action.map(step));
        Ok(())
    }

    fn read_open(&mut self, id: u64, mut line: Line<'_>) -> Result<(), String> {
        let transport = match line.transport.take() {
            None => Transport::Tcp,
            Some(word) => Transport::ALL
                .into_iter()
                .find(|transport| transport.to_string() == word)
                .ok_or_else(|| format!("\"transport\" is {word:?}: it is tcp, udp, unix or unix datagram"))?,
        };
        let _ = (line.peer.take(), line.local.take());
        nothing_left("open", &line)?;
        match self.connections.insert(id, Connection::new(transport, self.time)) {
            None => Ok(()),
            Some(_) => Err(format!("connection {id} was opened before")),
        }
    }

    fn read_end(&mut self, mut line: Line<'_>) -> Result<(), String> {
        self.has_ended = true;
        let (connections, complete) = (line.conns.take(), line.complete.take());
        nothing_left("end", &line)?;
        if complete == Some(false) {
            return Err("the record is incomplete, as its writer says".to_owned());
        }
        match connections {
            Some(told) if told != self.connections.len() as u64 => {
                Err(format!("\"conns\" is {told}, but there are {} connections", self.connections.len()))
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<Record, Unreadable> {
        let Some(command) = self.command else {
            return Err(Unreadable::Line(1, "it is missing: the file is empty".to_owned()));
        };
        if !self.has_ended {
            let what = "nothing follows, and the record is cut short: a whole one ends with {\"ev\":\"end\"}";
            return Err(Unreadable::Line(self.line, what.to_owned()));
        }
        let scripts = self.connections.into_values().map(|connection| connection.script).collect();
        Ok(Record { command, scripts })
    }
}

fn read_head(bytes: &[u8]) -> Result<Vec<String>, String> {
    let refuse = |why: &str| format!("this is no record ({why}): its first line would be {{\"sockkit\":{VERSION}}}");
    let head: Head = serde_json::from_slice(bytes).map_err(|error| refuse(&in_one_line(&error)))?;
    if head.sockkit != VERSION {
        return Err(format!("\"sockkit\" is {}: this program reads version {VERSION} only", head.sockkit));
    }
    Ok(head.cmd)
}

fn read_data(connection: &mut Connection, direction: Direction, line: &mut Line<'_>) -> Result<Action, String> {
    connection.check_offset(direction, line.off.take())?;
    if connection.finished.contains(&direction) {
        return Err(format!("{} had its fin before", direction.word()));
    }
    let cut = line.cut.take();
    let bytes = match (line.txt.take(), line.b64.take()) {
        (Some(text), None) => text.as_bytes().to_vec(),
        (None, Some(text)) => base64::decode(&text).ok_or_else(|| "\"b64\" is no base64 (RFC 4648)".to_owned())?,
        (None, None) if cut.is_some() => Vec::new(),
        (None, None) => return Err(format!("{} needs \"txt\" or \"b64\"", direction.word())),
        (Some(_), Some(_)) => return Err(format!("{} has both \"txt\" and \"b64\"", direction.word())),
    };
    let kept_bytes = bytes.len() as u64;
    let cut = match (cut, line.len.take()) {
        (None, None) => None,
        (None, Some(length)) if length == kept_bytes => None,
        (Some(sha256), Some(length)) if length > kept_bytes => Some(Cut { bytes: length - kept_bytes, sha256 }),
        _ => return Err("\"len\" is the whole length, and \"cut\" the hash of what is missing".to_owned()),
    };
    let bytes_in_all = kept_bytes.checked_add(cut.as_ref().map_or(0, |cut| cut.bytes));
    let so_far = connection.so_far(direction);
    let sum = bytes_in_all.and_then(|bytes| so_far.checked_add(bytes));
    *so_far = sum.ok_or_else(|| "\"len\" is more than anybody could send".to_owned())?;
    Ok(Action::Data(direction, bytes, cut))
}

fn read_finished(connection: &mut Connection, line: &mut Line<'_>) -> Result<Action, String> {
    let word = line.dir.take().unwrap_or_default();
    let direction = Direction::read(&word).ok_or_else(|| format!("\"dir\" is {word:?}: it is rx or tx"))?;
    connection.check_offset(direction, line.off.take())?;
    if connection.finished.contains(&direction) {
        return Err(format!("{word} had its fin before"));
    }
    connection.finished.push(direction);
    Ok(Action::Finished(direction))
}

fn read_close(connection: &mut Connection, line: &mut Line<'_>) -> Result<Action, String> {
    let (word, errname) = (line.how.take().unwrap_or_default(), line.errname.take());
    let ending = Ending::read(&word, errname.map(Cow::into_owned))
        .ok_or_else(|| format!("\"how\" is {word:?}: it is fin, rst, peer-rst, left or error"))?;
    let disagrees = |name: &str, told: u64, so_far: u64| {
        Err(format!("\"{name}\" is {told}, but {so_far} bytes of {name} were before it"))
    };
    let (received_bytes, sent_bytes) = (connection.received_bytes, connection.sent_bytes);
    if let Some(told) = line.rx.take().filter(|told| *told != received_bytes) {
        return disagrees("rx", told, received_bytes);
    }
    // What was being sent when the connection failed was written down before it failed.
    if let Some(told) = line.tx.take().filter(|told| *told > sent_bytes) {
        return disagrees("tx", told, sent_bytes);
    }
    connection.is_closed = true;
    Ok(Action::Closed(ending))
}

fn nothing_left(event: &str, line: &Line<'_>) -> Result<(), String> {
    line.unused().map_or(Ok(()), |name| Err(format!("{event} has no \"{name}\"")))
}

/// serde's words without its line number, which would always be 1.
fn in_one_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((words, _)) => format!("{words} at column {}", error.column()),
        None => text,
    }
}

#[cfg(test)]
mod tests;
