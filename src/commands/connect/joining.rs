//! How stdin and stdout are joined to a peer: the flags that `connect` and `serve --stdio` have in common, and what they mean.
//!
//! Must not know who has the peer. Trade-off: a flag says "stdin" and "the peer" in the words of both, so that each is
//! described once.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;

use crate::relay::{Manner, Rules, Traffic};
use crate::units::{parse_duration, parse_rate};

/// Datagrams have no end: so long after stdin's end the peer may be silent. A round trip to anywhere on Earth fits in.
const DATAGRAM_QUIT_AFTER: Duration = Duration::from_secs(1);

/// What joins stdin and stdout to a peer.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct JoiningArgs {
    /// Quit when the peer is silent this long after stdin's end
    ///
    /// Streams wait for the peer's end by default; datagrams, which have none, 1 second.
    #[arg(short = 'q', long, value_name = "DURATION", value_parser = parse_duration)]
    pub quit_after: Option<Duration>,
    /// Send nothing: stdin is not read, and there is no half-close
    ///
    /// `< /dev/null` is another thing: it has an end, and the peer is told.
    #[arg(short = 'd', long, visible_alias = "recv-only")]
    pub no_stdin: bool,
    /// Drop what the peer sends; done when everything has been acknowledged
    ///
    /// The peer's system has it then, and perhaps not yet the program. Where the system does not tell (it is SIOCOUTQ on
    /// Linux), done at the peer's end.
    #[arg(long, conflicts_with_all = ["no_stdin", "quit_after"])]
    pub send_only: bool,
    /// Do not half-close at stdin's end
    #[arg(long)]
    pub no_shutdown: bool,
    /// End the lines of stdin with CR LF
    ///
    /// Those that do already stay as they are.
    #[arg(short = 'C', long)]
    pub crlf: bool,
    /// Send line by line, and wait so long before each next line
    ///
    /// Each line is one send, or one datagram.
    #[arg(short = 'i', long, value_name = "DURATION", value_parser = parse_duration)]
    pub interval: Option<Duration>,
    /// Send at most so many bytes a second, such as 500K or 1MiB/s
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub rate_limit: Option<u64>,
    /// Begin each line on stdout with the time at which it came
    #[arg(long)]
    pub timestamps: bool,
    /// Write what the peer sends to a terminal as it is
    ///
    /// Without it, what could drive the terminal is escaped. Pipes and files always get the exact bytes.
    #[arg(long)]
    pub raw: bool,
}

/// What is shown and kept of the bytes that pass.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PassingArgs {
    /// Save what the peer sends in FILE as well
    ///
    /// The exact bytes; a file that is there is replaced.
    #[arg(short = 'o', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output_file: Option<PathBuf>,
    /// Show what goes each way on stderr, in hexadecimal and as text
    ///
    /// Each run of bytes with its direction, > sent and < received, the time since the connection was made, and where in
    /// its direction it is. Stdout has the peer's bytes all the same: `> /dev/null` leaves the dump alone.
    #[arg(short = 'x', long, conflicts_with = "json")]
    pub hex: bool,
}

impl JoiningArgs {
    /// The first flag that was typed, if any was.
    pub fn first_typed(&self) -> Option<&'static str> {
        let typed = [
            (self.quit_after.is_some(), "-q"),
            (self.no_stdin, "--no-stdin"),
            (self.send_only, "--send-only"),
            (self.no_shutdown, "--no-shutdown"),
            (self.crlf, "-C"),
            (self.interval.is_some(), "-i"),
            (self.rate_limit.is_some(), "--rate-limit"),
            (self.timestamps, "--timestamps"),
            (self.raw, "--raw"),
        ];
        typed.into_iter().find_map(|(is_typed, flag)| is_typed.then_some(flag))
    }

    /// The relay's rules, as far as these flags say them: without a clock, and a peer's end ends it.
    pub fn rules(&self, is_stream: bool) -> Rules {
        let traffic = match (self.no_stdin, self.send_only) {
            (true, _) => Traffic::ReceiveOnly,
            (_, true) => Traffic::SendOnly,
            _ => Traffic::BothWays,
        };
        let may_be_silent = (!is_stream && traffic == Traffic::BothWays).then_some(DATAGRAM_QUIT_AFTER);
        Rules {
            traffic,
            quit_after: self.quit_after.or(may_be_silent),
            outstays_peer: false,
            keeps_direction: self.no_shutdown,
            idle_timeout: None,
            deadline: None,
            manner: Manner {
                crlf: self.crlf,
                interval: self.interval,
                rate_limit: self.rate_limit,
                ..Manner::default()
            },
        }
    }
}
