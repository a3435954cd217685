//! Replaying, as `serve` and `connect` have it: the flags, and the reading of a record.
//!
//! Must not know how a script is played. Trade-off: the whole record is read and judged before anybody is connected.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;

use crate::cli::UsageError;
use crate::connection::Transport;
use crate::record::{Direction, Manner, Matching, Pace, Record, Script, Unreadable};

/// How a record is played.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ReplayArgs {
    /// What must have come before a replay goes on [default: bytes in serve, exact in connect]
    #[arg(long, value_name = "WHAT")]
    pub replay_match: Option<ReplayMatch>,
    /// How fast a replay goes: 1x as it was, 2x in half the time, max without pauses [default: 1x]
    ///
    /// A pause is counted from what came before it.
    #[arg(long, value_name = "SPEED", value_parser = parse_pace)]
    pub replay_speed: Option<Pace>,
}

/// What must have come before something is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReplayMatch {
    /// As many bytes as had come then, or datagrams.
    Bytes,
    /// The same bytes; the first that differs is told, and the status is 5.
    Exact,
    /// Nothing: everything is sent at its time.
    None,
}

/// The slowest and the fastest: a day for a minute and a half, and the other way round; beyond that it is a typing error.
const TIMES: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

fn parse_pace(text: &str) -> Result<Pace, String> {
    if text == "max" {
        return Ok(Pace::Max);
    }
    let times = text.strip_suffix('x').and_then(|number| number.parse().ok()).filter(|times| TIMES.contains(times));
    times.map(Pace::Times).ok_or_else(|| format!("{text:?} is no speed: 1x, 0.5x or 20x, from 0.001x to 1000x, or max"))
}

impl ReplayArgs {
    /// Whether one was typed.
    pub fn is_typed(&self) -> bool {
        self.replay_match.is_some() || self.replay_speed.is_some()
    }

    /// What they mean to a command that compares like this unless told otherwise.
    pub fn manner(&self, unsaid: Matching) -> Manner {
        let matching = match self.replay_match {
            None => unsaid,
            Some(ReplayMatch::Bytes) => Matching::Bytes,
            Some(ReplayMatch::Exact) => Matching::Exact,
            Some(ReplayMatch::None) => Matching::Nothing,
        };
        Manner { matching, pace: self.replay_speed.unwrap_or(Pace::Times(1.0)) }
    }
}

/// The scripts of a record, and the side of them that is this command's.
pub fn read(name: &Path, command: &str, transport: Transport) -> Result<(Vec<Arc<Script>>, Direction)> {
    let open = || format!("open {}", name.display());
    let file = File::open(name).with_context(open)?;
    let refuse = |error| match error {
        Unreadable::File(error) => anyhow::Error::new(error).context(format!("read {}", name.display())),
        line @ Unreadable::Line(..) => anyhow!("read {} failed: {line}", name.display()),
    };
    let record = Record::read(BufReader::new(file)).map_err(refuse)?;
    let ours = record.side_of(command);
    record.check_playable(ours).map_err(refuse)?;
    if let Some(other) = record.scripts.iter().find(|script| script.transport.is_stream() != transport.is_stream()) {
        let words = format!("{} was recorded over {}, and this is {transport}", name.display(), other.transport);
        return Err(UsageError(words).into());
    }
    Ok((record.scripts.into_iter().map(Arc::new).collect(), ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_factor_or_max() {
        for (text, pace) in [
            ("1x", Some(Pace::Times(1.0))),
            ("0.5x", Some(Pace::Times(0.5))),
            ("20x", Some(Pace::Times(20.0))),
            ("max", Some(Pace::Max)),
            ("2", None),
            ("0x", None),
            ("-1x", None),
            ("1e300x", None),
            ("NaNx", None),
            ("infx", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(parse_pace(text).ok(), pace, "{text}");
        }
    }
}
