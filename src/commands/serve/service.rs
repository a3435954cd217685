//! What the server does with those who come.
//!
//! Owns the choice of the service and its name. Must not know the layers below it, nor who counts and prints. Trade-off: an
//! enum and not a trait object, so that the echo, which is measured, is compiled together with its stream; all others are
//! boxed, so that an idle echo is not as large as they are.

use std::borrow::Cow;
use std::process::ExitStatus;
use std::sync::Arc;

use super::content::Content;
use super::discard::discard;
use super::echo::echo;
use super::executed::Exec;
use super::forward::Forward;
use super::inetd::{self, Chargen};
use super::life::{Asked, Life};
use super::parting::part;
use super::replay::Replay;
use super::room::Room;
use super::stdio::Stdio;
use super::stream::{Broken, Stream};
use crate::connection::{Kind, Op};

/// A service.
#[derive(Debug, Clone)]
pub enum Service {
    /// RFC 862: everything goes back.
    Echo,
    /// RFC 863: everything is thrown away.
    Discard,
    /// RFC 864: lines without end.
    Chargen(Chargen),
    /// RFC 867: the time in words.
    Daytime,
    /// RFC 868: the time as a number.
    Time,
    /// Something is said, and that is all.
    Send(Content),
    /// Something is said, then everything goes back.
    Banner(Content),
    /// A record is played.
    Replay(Arc<Replay>),
    /// Our stdin and stdout.
    Stdio(Stdio),
    /// Another server.
    Forward(Forward),
    /// The other peers.
    Room(Room),
    /// A program.
    Exec(Exec),
}

/// Whose direction ended first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The peer's: its FIN, then ours.
    Peer,
    /// Ours: everything was said.
    Us,
    /// A program's, which has ended so.
    Program(ExitStatus),
}

/// One connection as its service knows it, beside the bytes.
pub struct Visit<'a> {
    /// The connection's number, from 1.
    pub number: u64,
    /// The connection.
    pub life: &'a Life,
}

impl Visit<'_> {
    /// Whether it is to finish. Then a peer that is silent counts as one that has finished.
    pub fn is_stopping(&self) -> bool {
        self.life.asked() != Asked::Nothing
    }
}

impl Service {
    /// Its name, as the listening line has it.
    pub fn word(&self) -> &'static str {
        match self {
            Service::Echo => "echo",
            Service::Discard => "discard",
            Service::Chargen(_) => "chargen",
            Service::Daytime => "daytime",
            Service::Time => "time",
            Service::Send(_) => "send",
            Service::Banner(_) => "banner",
            Service::Replay(_) => "replay",
            Service::Stdio(_) => "stdio",
            Service::Forward(_) => "forward",
            Service::Room(room) => room.word(),
            Service::Exec(_) => "exec",
        }
    }

    /// Why it cannot be offered for datagrams of at most so many bytes, if it cannot.
    pub fn why_not_datagrams(&self, bytes_max: usize) -> Option<String> {
        match self {
            Service::Exec(_) => Some("a program is started for a connection, and datagrams have none".to_owned()),
            Service::Forward(forward) => forward.why_not_datagrams().map(str::to_owned),
            Service::Room(_) => Some("a sender of datagrams neither comes nor goes, so nobody is there".to_owned()),
            Service::Banner(_) => Some("datagrams have no beginning: send= answers each of them".to_owned()),
            Service::Send(content) if content.length().is_none_or(|length| length > bytes_max as u64) => {
                Some(format!("what send= has must fit into a datagram, which is at most {bytes_max} bytes long"))
            }
            _ => None,
        }
    }

    /// Whether whoever can reach it could make it work against others: then it is for those who are allowed to.
    pub fn needs_allow(&self, is_stream: bool) -> bool {
        matches!(self, Service::Forward(_) | Service::Exec(_)) || matches!(self, Service::Chargen(_)) && !is_stream
    }

    /// Serves one connection to its end.
    pub async fn serve<S: Stream>(&self, stream: &mut S, visit: &Visit<'_>) -> Result<First, Broken> {
        match self {
            Service::Echo => echo(stream).await?,
            Service::Discard => discard(stream).await?,
            _ => return Box::pin(self.speak(stream, visit)).await,
        }
        Ok(First::Peer)
    }

    /// The services that speak first.
    async fn speak<S: Stream>(&self, stream: &mut S, visit: &Visit<'_>) -> Result<First, Broken> {
        match self {
            // These are served without it.
            Service::Echo | Service::Discard | Service::Stdio(_) => return Ok(First::Peer),
            Service::Chargen(chargen) => {
                let said = chargen.lines.say_over(stream, || visit.is_stopping()).await;
                // Nobody can end it but by closing, which is a reset for what is under way.
                if said.as_ref().is_err_and(is_gone) {
                    return Ok(First::Peer);
                }
                said?;
            }
            Service::Replay(replay) => return replay.play(stream, visit).await,
            Service::Forward(forward) => return forward.serve(stream, visit).await,
            Service::Exec(exec) => return exec.serve(stream, visit).await,
            Service::Room(room) => return room.serve(stream, visit).await,
            Service::Daytime => Content::Bytes(inetd::daytime().into()).say(stream).await?,
            Service::Time => Content::Bytes(inetd::time().into()).say(stream).await?,
            Service::Send(content) => content.say_over(stream, || false).await?,
            Service::Banner(content) => {
                content.say(stream).await?;
                echo(stream).await?;
                return Ok(First::Peer);
            }
        }
        part(stream).await?;
        Ok(First::Us)
    }

    /// Whether a peer has done otherwise than it was to.
    pub fn differs(&self) -> bool {
        matches!(self, Service::Replay(replay) if replay.differs())
    }

    /// Whether it answers datagrams at all.
    pub fn answers(&self) -> bool {
        !matches!(self, Service::Discard | Service::Stdio(_))
    }

    /// What a datagram is answered with, if there is anything of at most `limit` bytes.
    pub fn reply<'a>(&self, datagram: &'a [u8], limit: usize) -> Option<Cow<'a, [u8]>> {
        let reply = match self {
            Service::Echo => return Some(Cow::Borrowed(datagram)),
            Service::Discard
            | Service::Banner(_)
            | Service::Replay(_)
            | Service::Stdio(_)
            | Service::Forward(_)
            | Service::Room(_)
            | Service::Exec(_) => {
                return None;
            }
            Service::Chargen(chargen) => chargen.lines.beginning(chargen.datagram_length().min(limit)).ok()?,
            Service::Daytime => inetd::daytime(),
            Service::Time => inetd::time(),
            Service::Send(content) => content.beginning(usize::MAX).ok()?,
        };
        (reply.len() <= limit).then_some(Cow::Owned(reply))
    }
}

/// Whether a peer has closed while it was being sent something.
fn is_gone(broken: &Broken) -> bool {
    let Broken::Call(error) = broken else { return false };
    matches!(error.op, Op::Send | Op::Receive | Op::Shutdown) && matches!(error.kind(), Kind::Reset | Kind::BrokenPipe)
}
