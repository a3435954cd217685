//! A fault rule as data: what is done, to whom, and when.
//!
//! Owns the words of the grammar in both directions: the types, and how a rule is printed so that it reads back as the
//! same rule. Must not know how a fault is carried out. Trade-off: one struct of keys for all actions; which keys make
//! sense with which action is `fitness`'s business, so that a refusal can give its reason.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::network::Network;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What is done.
    pub action: Action,
    /// To whom, and when.
    pub keys: Keys,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nobody listens for so long.
    Refuse(Duration),
    /// Connects get no answer, for so long or for ever.
    Blackhole(Option<Duration>),
    /// Connections are completed by the system and not accepted, for so long or for ever.
    NoAccept(Option<Duration>),
    /// The port is there and gone in turn.
    Flap {
        /// How long it is there.
        up: Duration,
        /// How long it is gone.
        down: Duration,
    },
    /// FIN, and what still comes is drained before the close.
    Close,
    /// RST.
    Reset,
    /// FIN, and what still comes is taken.
    HalfClose,
    /// Nothing moves any more in this direction, and nothing is closed.
    Stall,
    /// The FIN that is due comes so much later.
    DelayClose(Duration),
    /// What passes is late, by as much as is drawn between the two.
    Delay {
        /// At least so much.
        least: Duration,
        /// At most so much.
        most: Duration,
    },
    /// At most so many bytes a second.
    Rate(u64),
    /// So many bytes at a time, drawn between the two, with a pause after each.
    Chunk {
        /// At least so many bytes.
        least: u64,
        /// At most so many bytes.
        most: u64,
        /// The time between two.
        pause: Option<Duration>,
    },
    /// The kernel's buffers, in bytes.
    Buffer(u32),
    /// The largest TCP segment, in bytes.
    Mss(u32),
    /// So many bytes are changed: once, or in each so many bytes.
    Corrupt {
        /// How many are changed.
        bytes: u64,
        /// In how many.
        among: Option<u64>,
    },
    /// So many bytes that nobody sent.
    Garbage(u64),
    /// A datagram is lost.
    Drop,
    /// A datagram comes so many times more.
    Duplicate(u32),
    /// A datagram is overtaken by so many others.
    Reorder(u32),
    /// A datagram keeps only so many bytes.
    Truncate(u64),
}

/// To whom a rule applies, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// From when on.
    pub after: Option<After>,
    /// Which connections.
    pub connections: Option<Span>,
    /// Only those whose number it divides.
    pub every: Option<u64>,
    /// With which probability.
    pub chance: Option<Chance>,
    /// Which way; none is the action's default.
    pub direction: Option<Way>,
    /// Only peers in this network.
    pub from: Option<Network>,
    /// At most so many connections, datagrams or cycles.
    pub times: Option<u64>,
    /// For so long.
    pub lasts: Option<Duration>,
}

/// From when on a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// So many bytes have passed.
    Bytes(u64),
    /// So much time has passed since the connection was made, or since a server of datagrams began.
    Time(Duration),
    /// So many messages have passed: lines of a stream, or datagrams.
    Messages(u64),
}

/// Connections by their numbers, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: u64,
    /// The last; none is all that follow.
    pub last: Option<u64>,
}

impl Span {
    /// Whether a connection is one of them.
    pub fn has(self, ordinal: u64) -> bool {
        ordinal >= self.first && self.last.is_none_or(|last| ordinal <= last)
    }
}

/// A probability, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chance(pub u32);

impl Chance {
    /// What always happens.
    pub const MILLIONTHS: u32 = 1_000_000;
}

/// Which way, as a person chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What this side receives.
    In,
    /// What this side sends.
    Out,
    /// Each of them for itself.
    Both,
}

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// What this side receives.
    In,
    /// What this side sends.
    Out,
}

impl Direction {
    /// Its word in a rule.
    pub fn word(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
        }
    }
}

/// Where in the life of a socket an action has its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before a connection is accepted.
    Door,
    /// It ends a connection, or one direction of it.
    Ending,
    /// It changes when bytes pass.
    Shaping,
    /// It is the kernel's: a socket option.
    Kernel,
    /// It changes which bytes pass.
    Payload,
    /// It changes which datagrams pass.
    Datagram,
}

impl Action {
    /// Where it has its place.
    pub fn stage(&self) -> Stage {
        match self {
            Action::Refuse(_) | Action::Blackhole(_) | Action::NoAccept(_) | Action::Flap { .. } => Stage::Door,
            Action::Close | Action::Reset | Action::HalfClose | Action::Stall | Action::DelayClose(_) => Stage::Ending,
            Action::Delay { .. } | Action::Rate(_) | Action::Chunk { .. } => Stage::Shaping,
            Action::Buffer(_) | Action::Mss(_) => Stage::Kernel,
            Action::Corrupt { .. } | Action::Garbage(_) => Stage::Payload,
            Action::Drop | Action::Duplicate(_) | Action::Reorder(_) | Action::Truncate(_) => Stage::Datagram,
        }
    }

    /// How much later than due it has the end come.
    pub fn delays_close(&self) -> Duration {
        if let Action::DelayClose(time) = self { *time } else { Duration::ZERO }
    }

    /// Its word in a rule.
    pub fn word(&self) -> &'static str {
        match self {
            Action::Refuse(_) => "refuse",
            Action::Blackhole(_) => "blackhole",
            Action::NoAccept(_) => "no-accept",
            Action::Flap { .. } => "flap",
            Action::Close => "close",
            Action::Reset => "reset",
            Action::HalfClose => "half-close",
            Action::Stall => "stall",
            Action::DelayClose(_) => "delay-close",
            Action::Delay { .. } => "delay",
            Action::Rate(_) => "rate",
            Action::Chunk { .. } => "chunk",
            Action::Buffer(_) => "buffer",
            Action::Mss(_) => "mss",
            Action::Corrupt { .. } => "corrupt",
            Action::Garbage(_) => "garbage",
            Action::Drop => "drop",
            Action::Duplicate(_) => "dup",
            Action::Reorder(_) => "reorder",
            Action::Truncate(_) => "truncate",
        }
    }
}

impl Rule {
    /// Whether it concerns this direction. The kernel's buffers are set both ways unless one was named.
    pub fn concerns(&self, direction: Direction) -> bool {
        let unsaid = if self.action.stage() == Stage::Kernel { Way::Both } else { Way::Out };
        match self.keys.direction.unwrap_or(unsaid) {
            Way::Both => true,
            Way::In => direction == Direction::In,
            Way::Out => direction == Direction::Out,
        }
    }

    /// Whether a peer with this address is meant.
    pub fn admits(&self, peer: Option<IpAddr>) -> bool {
        self.keys.from.is_none_or(|network| peer.is_some_and(|peer| network.has_peer(peer)))
    }

    /// Whether a seed decides anything in it.
    pub fn is_random(&self) -> bool {
        let is_drawn = match self.action {
            Action::Delay { least, most } => least != most,
            Action::Chunk { least, most, .. } => least != most,
            Action::Corrupt { .. } | Action::Garbage(_) => true,
            _ => false,
        };
        let is_chosen = |chance: Chance| chance.0 > 0 && chance.0 < Chance::MILLIONTHS;
        self.keys.chance.map_or(is_drawn, |chance| is_chosen(chance) || (is_drawn && chance.0 > 0))
    }
}

/// A size in the largest unit that says it exactly.
pub(super) struct Exactly(pub u64);

impl fmt::Display for Exactly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1_000_000_000, "GB"), (1_000_000, "MB")];
        let fits = |(factor, _): &&(u64, &str)| self.0 > 0 && self.0.is_multiple_of(*factor);
        match units.iter().find(fits) {
            Some((factor, unit)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// A duration without the spaces that humantime puts between its parts.
pub(super) struct Lasting(pub Duration);

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&humantime::format_duration(self.0).to_string().replace(' ', ""))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match *self {
            Action::Refuse(time)
            | Action::DelayClose(time)
            | Action::Blackhole(Some(time))
            | Action::NoAccept(Some(time)) => write!(f, "={}", Lasting(time)),
            Action::Flap { up, down } => write!(f, "={}/{}", Lasting(up), Lasting(down)),
            Action::Delay { least, most } if least == most => write!(f, "={}", Lasting(least)),
            Action::Delay { least, most } => write!(f, "={}..{}", Lasting(least), Lasting(most)),
            Action::Rate(rate) => write!(f, "={}/s", Exactly(rate)),
            Action::Chunk { least, most, pause } => {
                write!(f, "={}", Exactly(least))?;
                if least != most {
                    write!(f, "..{}", Exactly(most))?;
                }
                pause.map_or(Ok(()), |pause| write!(f, "/{}", Lasting(pause)))
            }
            Action::Buffer(size) => write!(f, "={}", Exactly(size.into())),
            Action::Garbage(size) | Action::Truncate(size) => write!(f, "={}", Exactly(size)),
            Action::Corrupt { bytes, among: None } => write!(f, "={bytes}"),
            Action::Corrupt { bytes, among: Some(among) } => write!(f, "={bytes}/{}", Exactly(among)),
            Action::Mss(number) | Action::Reorder(number) => write!(f, "={number}"),
            Action::Duplicate(number) if number != 1 => write!(f, "={number}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            After::Bytes(size) => Exactly(*size).fmt(f),
            After::Time(time) => Lasting(*time).fmt(f),
            After::Messages(number) => write!(f, "{number}msg"),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(last) if last == self.first => write!(f, "{last}"),
            Some(last) => write!(f, "{}..{last}", self.first),
            None => write!(f, "{}..", self.first),
        }
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredth = Chance::MILLIONTHS / 100;
        let decimals = format!("{:04}", self.0 % hundredth);
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{}%", self.0 / hundredth),
            decimals => write!(f, "{}.{decimals}%", self.0 / hundredth),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::In => Direction::In.word(),
            Way::Out => Direction::Out.word(),
            Way::Both => "both",
        })
    }
}

/// As it is written, the keys in the grammar's order.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.action.fmt(f)?;
        let Keys { after, connections, every, chance, direction, from, times, lasts } = &self.keys;
        let mut key = |name: &str, value: Option<&dyn fmt::Display>| match value {
            Some(value) => write!(f, ",{name}={value}"),
            None => Ok(()),
        };
        key("after", after.as_ref().map(|value| value as &dyn fmt::Display))?;
        key("conn", connections.as_ref().map(|value| value as &dyn fmt::Display))?;
        key("every", every.as_ref().map(|value| value as &dyn fmt::Display))?;
        key("chance", chance.as_ref().map(|value| value as &dyn fmt::Display))?;
        key("dir", direction.as_ref().map(|value| value as &dyn fmt::Display))?;
        key("from", from.as_ref().map(|value| value as &dyn fmt::Display))?;
        key("times", times.as_ref().map(|value| value as &dyn fmt::Display))?;
        key("for", lasts.map(Lasting).as_ref().map(|value| value as &dyn fmt::Display))
    }
}
