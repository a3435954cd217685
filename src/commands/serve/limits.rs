//! How much is served, to how many, and for how long.
//!
//! Owns the flags and what they come to. Must not know how a limit is kept. Trade-off: connections are only limited by what
//! the system can hold, because a test server that turns clients away unasked would be found in every client's bug list; one
//! flag away is any other limit.

use std::time::Duration;

use clap::ValueEnum;

use crate::cli::UsageError;
use crate::connection::Transport;
use crate::units::{parse_duration, parse_size};

/// Descriptors that no connection may have: listeners, event loops, files, and those that are being turned away.
const RESERVED_DESCRIPTORS: u64 = 64;

/// What was typed.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LimitArgs {
    /// Serve N connections (or datagrams), then end
    #[arg(long, value_name = "N", conflicts_with = "once", value_parser = clap::value_parser!(u64).range(1..))]
    pub conns: Option<u64>,
    /// End after so long, whatever happens
    ///
    /// What is open then may finish within --grace, as at a signal; the status is 0.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub lasts: Option<Duration>,
    /// Give up when nobody has come for so long, and nobody is there [status: 124]
    #[arg(short = 'w', long, value_name = "DURATION", value_parser = parse_duration)]
    pub accept_timeout: Option<Duration>,
    /// Close a connection when nothing has come or gone for so long
    ///
    /// Datagrams have none, but with --mode forward each of their peers has a session, which ends after 2 minutes unless told
    /// otherwise.
    #[arg(short = 'W', long, value_name = "DURATION", value_parser = parse_duration)]
    pub idle_timeout: Option<Duration>,
    /// Most connections at one time [default: what the descriptor limit allows, less 64]
    #[arg(short = 'm', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_conns: Option<u64>,
    /// What becomes of connections beyond --max-conns
    #[arg(long, value_name = "HOW", default_value = "queue")]
    pub on_full: OnFull,
    /// Most connections at one time from one address; further ones are closed, or with --on-full=reset reset
    #[arg(long, hide_short_help = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_per_ip: Option<u64>,
    /// Close a connection once so many bytes have come on it
    #[arg(long, hide_short_help = true, value_name = "SIZE", value_parser = parse_size)]
    pub max_bytes: Option<u64>,
}

/// What becomes of connections that are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OnFull {
    /// They wait in the system's queue until one ends.
    #[default]
    Queue,
    /// They are accepted and closed: an end without a byte.
    Close,
    /// They are accepted and reset.
    Reset,
}

/// What it means.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// How many are served before the end.
    pub total: Option<u64>,
    /// How long the server is there.
    pub lasts: Option<Duration>,
    /// How long nobody may come while nobody is there.
    pub accept_timeout: Option<Duration>,
    /// How long a connection may be silent.
    pub idle_timeout: Option<Duration>,
    /// How many may be open at once; none is no limit.
    pub open: Option<u64>,
    /// What becomes of others.
    pub on_full: OnFull,
    /// How many of them may be of one address.
    pub open_per_address: Option<u64>,
    /// How much a connection may send us.
    pub received_bytes: Option<u64>,
}

impl LimitArgs {
    /// What it means for a protocol, on a system that lets us have so many descriptors. `once` is `--once`;
    /// sessions are what peers have whose datagrams are forwarded.
    pub fn limits(
        &self,
        once: bool,
        transport: Transport,
        has_sessions: bool,
        descriptors: Option<u64>,
    ) -> Result<Limits, UsageError> {
        let for_streams = [
            ("-W", self.idle_timeout.is_some() && !has_sessions),
            ("-m", self.max_conns.is_some()),
            ("--on-full", self.on_full != OnFull::Queue),
            ("--max-per-ip", self.max_per_ip.is_some()),
            ("--max-bytes", self.max_bytes.is_some()),
        ];
        if let Some((flag, _)) = for_streams.iter().find(|(_, is_typed)| *is_typed && !transport.is_stream()) {
            return Err(UsageError(format!("{flag} has no meaning for {transport}: datagrams have no connection")));
        }
        if self.max_per_ip.is_some() && transport.is_unix() {
            return Err(UsageError(
                "--max-per-ip has no meaning for a unix socket, whose peers have no address".to_owned(),
            ));
        }
        let room = descriptors.map(room);
        Ok(Limits {
            total: if once { Some(1) } else { self.conns },
            lasts: self.lasts,
            accept_timeout: self.accept_timeout,
            idle_timeout: self.idle_timeout,
            open: self.max_conns.into_iter().chain(room).min(),
            on_full: self.on_full,
            open_per_address: self.max_per_ip,
            received_bytes: self.max_bytes,
        })
    }

    /// What there is to say when fewer connections can be open than were asked for.
    pub fn shortfall(&self, limits: &Limits) -> Option<String> {
        let (asked, open) = (self.max_conns?, limits.open?);
        (open < asked).then(|| format!("-m {asked} is more than the descriptor limit allows: {open} (ulimit -n)"))
    }
}

/// How many connections so many descriptors are enough for. Where there are very few, most are for connections all the same.
fn room(descriptors: u64) -> u64 {
    descriptors - RESERVED_DESCRIPTORS.min(descriptors / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_connections_are_promised_than_there_are_descriptors() {
        for (asked, descriptors, open, is_short) in [
            (None, Some(1024), Some(960), false),
            (None, Some(24), Some(18), false),
            (None, None, None, false),
            (Some(10), Some(1024), Some(10), false),
            (Some(961), Some(1024), Some(960), true),
            (Some(10), None, Some(10), false),
        ] {
            let args = LimitArgs { max_conns: asked, ..LimitArgs::default() };
            let limits = args.limits(false, Transport::Tcp, false, descriptors).unwrap();
            assert_eq!(
                (limits.open, args.shortfall(&limits).is_some()),
                (open, is_short),
                "{asked:?} of {descriptors:?}"
            );
        }
    }
}
