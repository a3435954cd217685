//! How stdin becomes datagrams.
//!
//! Must not know how they are sent. Trade-off: without a word from the user nothing is cut, because whoever receives
//! datagrams takes each for a message of its own.

use crate::cli::UsageError;
use crate::connection::Transport;
use crate::relay::{Manner, Pieces};
use crate::units::parse_size;

/// The largest UDP payload there is, over IPv6.
const SIZE_BYTES_MAX: u64 = 65_527;

/// How stdin is cut.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DatagramArgs {
    /// Send each line of stdin as one datagram, without its end
    ///
    /// With -C it ends with CR LF. An empty line sends nothing, unless --empty is there too. Without --per-line each read of
    /// stdin is one datagram, and it is an error if there is more than a datagram holds.
    #[arg(long, conflicts_with = "datagram_size")]
    pub per_line: bool,
    /// Cut stdin into datagrams of SIZE bytes
    ///
    /// The last one has what is left.
    #[arg(long, value_name = "SIZE", value_parser = parse_datagram_size)]
    pub datagram_size: Option<u64>,
    /// Send an empty datagram for an empty stdin, and with --per-line for an empty line
    #[arg(long)]
    pub empty: bool,
    /// Send to a broadcast address, as --broadcast (netcat's flag)
    #[arg(short = 'b', hide = true)]
    pub broadcasts: bool,
}

fn parse_datagram_size(text: &str) -> Result<u64, String> {
    let size = parse_size(text)?;
    if (1..=SIZE_BYTES_MAX).contains(&size) {
        return Ok(size);
    }
    Err(format!("{text:?} is no datagram's size: 1 to {SIZE_BYTES_MAX}"))
}

impl DatagramArgs {
    /// The same manner, with the pieces that these flags say.
    pub fn manner(&self, manner: Manner, transport: Transport) -> Result<Manner, UsageError> {
        let typed = [
            (self.per_line, "--per-line"),
            (self.datagram_size.is_some(), "--datagram-size"),
            (self.empty, "--empty"),
            (self.broadcasts, "-b"),
        ];
        if let Some((_, flag)) = typed.iter().find(|(is_typed, _)| *is_typed && !transport.keeps_boundaries()) {
            return Err(UsageError(format!("{flag} is for datagrams, and this is {transport}: add -u")));
        }
        if self.empty && transport.is_stream() {
            let why = format!("--empty: an empty message of {transport} could not be told from the end");
            return Err(UsageError(why));
        }
        let pieces = match (self.per_line, self.datagram_size) {
            (true, _) => Pieces::Lines,
            (_, Some(size)) => Pieces::Of(size as usize),
            _ => Pieces::AsRead,
        };
        Ok(Manner { pieces, sends_empty: self.empty, ..manner })
    }
}
