//! What the server does with those who come.
//!
//! Owns the choice of the service and its name. Must not know the layers below it, nor who counts and prints. Trade-off: an
//! enum and not a trait object, so that the echo, which is measured, is compiled together with its stream.

use std::borrow::Cow;

use super::discard::discard;
use super::echo::echo;
use super::stream::{Broken, Stream};

/// A service.
#[derive(Debug, Clone)]
pub enum Service {
    /// RFC 862: everything goes back.
    Echo,
    /// RFC 863: everything is thrown away.
    Discard,
}

/// Whose direction ended first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The peer's: its FIN, then ours.
    Peer,
}

impl Service {
    /// Reads a mode's name.
    pub fn parse(text: &str) -> Result<Service, String> {
        match text {
            "echo" => Ok(Service::Echo),
            "discard" => Ok(Service::Discard),
            _ => Err("a mode is echo or discard".to_owned()),
        }
    }

    /// Its name, as the listening line has it.
    pub fn word(&self) -> &'static str {
        match self {
            Service::Echo => "echo",
            Service::Discard => "discard",
        }
    }

    /// Serves one connection to its end.
    pub async fn serve<S: Stream>(&self, stream: &mut S) -> Result<First, Broken> {
        match self {
            Service::Echo => echo(stream).await?,
            Service::Discard => discard(stream).await?,
        }
        Ok(First::Peer)
    }

    /// What a datagram is answered with, if it is.
    pub fn reply<'a>(&self, datagram: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        match self {
            Service::Echo => Some(Cow::Borrowed(datagram)),
            Service::Discard => None,
        }
    }
}
