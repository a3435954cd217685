//! `--stdio`: stdin and stdout joined to whoever comes, as `nc -l` has it; the rules are those of `connect`'s relay.
//!
//! Owns which connection gets what of stdin (`fan`) and how several share stdout (`page`). Must not know how connections are
//! accepted or told of. Trade-off: each connection has threads of its own, because stdin and stdout block; nobody types to
//! ten thousand peers.

mod fan;
mod page;

use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

use super::counters::Traffic;
use super::ending::How;
use super::life::{Alive, Asked};
use crate::commands::connect::JoiningArgs;
use crate::connection::{Address, Conn, Error, Op};
use crate::output::{bulk_stdin, bulk_stdout, stamped};
use crate::relay::{Ended, Meter, Outcome, Relay, Rules, Stopper, Taps};
use fan::Fan;
use page::{Column, Page};

/// Our stdin and stdout, for peers to be joined to.
#[derive(Debug, Clone)]
pub struct Stdio {
    rules: Rules,
    /// There is one peer: it has stdin to itself.
    once: bool,
    raw: bool,
    timestamps: bool,
    ends: Arc<OnceLock<Ends>>,
}

/// What all connections share, opened when the first one comes.
#[derive(Debug, Clone)]
struct Ends {
    fan: Arc<Fan>,
    page: Page,
}

impl Stdio {
    /// As the flags say; nothing is opened yet.
    pub fn new(joining: &JoiningArgs, rules: Rules, once: bool) -> Stdio {
        let (raw, timestamps) = (joining.raw, joining.timestamps);
        Stdio { rules, once, raw, timestamps, ends: Arc::default() }
    }

    /// The relay's rules.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Stdout for datagrams.
    pub fn postbox(&self) -> io::Result<Postbox> {
        let page = self.ends()?.page.clone();
        Ok(Postbox { first: None, several: None, page })
    }

    fn ends(&self) -> io::Result<&Ends> {
        if let Some(ends) = self.ends.get() {
            return Ok(ends);
        }
        let printer = bulk_stdout(self.raw)?;
        let page = Page::new(if self.timestamps { stamped(printer) } else { printer });
        // Of two that come at once, the first one's are kept; both wrote nothing yet.
        Ok(self.ends.get_or_init(|| Ends { fan: Arc::new(Fan::new()), page }))
    }

    /// Joins a connection that blocks: what the server can ask of it, and what serves it, on a thread that may block.
    pub fn join(
        &self,
        number: u64,
        conn: Arc<Conn>,
        taps: Taps,
    ) -> io::Result<(Joined, impl FnOnce() -> Outcome + Send + use<>)> {
        let ends = self.ends()?.clone();
        let input: Box<dyn Read + Send> =
            if self.once { bulk_stdin()? } else { Box::new(ends.fan.feed(number, bulk_stdin)?) };
        let output = ends.page.column(&format!("#{number} {}", conn.peer()));
        let relay = Relay::new(conn.clone(), self.rules);
        let joined = Joined { conn: conn.clone(), stopper: relay.stopper(), meter: relay.meter() };
        let run = move || {
            let outcome = relay.run(input, output, taps);
            ends.fan.leave(number);
            if !outcome.ended.is_clean() {
                // A thread that still sends or receives is told by this.
                let _ = conn.socket().shutdown(std::net::Shutdown::Both);
            }
            outcome
        };
        Ok((joined, run))
    }
}

/// Datagrams on stdout: the exact bytes of one sender, or the lines of several with their tags.
pub struct Postbox {
    page: Page,
    first: Option<Address>,
    /// There is another one.
    several: Option<Column>,
}

impl Postbox {
    /// Writes one.
    pub fn put(&mut self, from: &Address, bytes: &[u8]) -> io::Result<()> {
        let first = self.first.get_or_insert_with(|| from.clone());
        if self.several.is_none() && first != from {
            self.several = Some(self.page.column(""));
        }
        let mut column = self.page.column(&from.to_string());
        column.write_all(bytes)?;
        column.flush()
    }
}

/// A connection that is joined.
pub struct Joined {
    conn: Arc<Conn>,
    stopper: Stopper,
    meter: Meter,
}

impl Alive for Joined {
    fn ask(&self, asked: Asked) {
        match asked {
            Asked::Nothing => {}
            // What has come is printed still. Winsock wakes nobody for it.
            Asked::ToFinish if cfg!(unix) => drop(self.conn.socket().shutdown(std::net::Shutdown::Read)),
            Asked::ToFinish => drop(self.stopper.stop(0)),
            Asked::ToEnd => {
                // It fails only on a connection that is gone already.
                let _ = self.conn.reset_on_close();
                self.stopper.stop(0);
            }
        }
    }

    fn traffic(&self) -> Traffic {
        Traffic { received_bytes: self.meter.received_bytes(), sent_bytes: self.meter.sent_bytes() }
    }
}

/// What the end of a relay means to a server.
pub struct Parted {
    /// How the connection ended.
    pub how: How,
    /// Why the server cannot go on, if it cannot.
    pub failure: Option<io::Error>,
}

impl Parted {
    /// What this end means.
    pub fn by(ended: Ended, conn: &Conn) -> Parted {
        let how = match ended {
            Ended::PeerFinished => How::PeerFinished,
            Ended::PeerSilent | Ended::Sent | Ended::EndsFinished => How::Finished,
            Ended::Stopped(_) => How::Stopped,
            Ended::TimedOut(_) => How::TimedOut,
            Ended::PeerFailed(error) => How::Failed(error),
            Ended::InputFailed(error) => How::Failed(Error::system(Op::Read, "stdin", conn.age(), error)),
            Ended::OutputFailed(error) => return Parted { how: How::Stopped, failure: Some(error) },
        };
        Parted { how, failure: None }
    }
}
