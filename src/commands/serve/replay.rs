//! `--mode replay=FILE`: the server's half of a record, played to each connection.
//!
//! Owns which connection gets which script, and what is told of a peer that differs. Must not know the order of a script:
//! its player does. Trade-off: a connection that differs is played to its end all the same, so that the client meets what
//! it met.

use std::collections::HashMap;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use anyhow::Result;
use tokio::time::Sleep;

use super::faulty::all_acknowledged;
use super::parting::part;
use super::service::{First, Service, Visit};
use super::stream::{Broken, Stream, with_block};
use super::underway::Underway;
use crate::cli::UsageError;
use crate::commands::replaying::{self, ReplayArgs};
use crate::connection::{Address, Transport};
use crate::output::Output;
use crate::record::{Direction, Manner, Matching, Mismatch, Pace, Player, Script, Turn};

/// How a server plays a record.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServerReplayArgs {
    /// What is as in connect.
    #[command(flatten)]
    pub replay: ReplayArgs,
    /// When every connection of the record has been played, begin again with the first, not with the last
    #[arg(long)]
    pub replay_loop: bool,
}

/// The mode that was asked for; a record that it plays has been read.
pub fn read(mode: &Service, args: &ServerReplayArgs, transport: Transport, output: Output) -> Result<Service> {
    let refuse = |words: &str| Err(UsageError(words.to_owned()).into());
    match mode {
        Service::Replay(replay) => Ok(Service::Replay(Arc::new(replay.read(args, transport, output)?))),
        _ if args.replay.is_typed() || args.replay_loop => {
            refuse("--replay-match, --replay-speed and --replay-loop are for --mode replay=FILE")
        }
        other => Ok(other.clone()),
    }
}

/// So many peers of datagrams are known at a time; when there are more, all of them begin again.
const PEERS_MAX: usize = 4096;

/// A record that is played.
#[derive(Debug)]
pub struct Replay {
    name: PathBuf,
    scripts: Vec<Arc<Script>>,
    ours: Direction,
    manner: Manner,
    loops: bool,
    output: Option<Output>,
    differs: AtomicBool,
    /// Answers that wait for their time.
    pub pauses: Underway,
    /// Those who have sent datagrams, and where their scripts are.
    peers: Mutex<Peers>,
}

#[derive(Debug, Default)]
struct Peers {
    playing: HashMap<Address, Playing>,
    count: u64,
}

/// Where the script of somebody who sends datagrams is.
#[derive(Debug)]
struct Playing {
    number: u64,
    player: Player,
    /// Somebody waits until then to go on.
    pause: Option<Instant>,
}

/// What there is to do for somebody who has sent datagrams.
#[derive(Debug)]
pub enum Next {
    /// To send this.
    Send(Vec<u8>),
    /// To go on at this moment. It is said once: whoever hears it has to.
    Pause(Instant),
    /// Nothing, before another one comes.
    Nothing,
}

impl Replay {
    /// Of a file that has not been read.
    pub fn of(name: impl Into<PathBuf>) -> Replay {
        Replay {
            name: name.into(),
            scripts: Vec::new(),
            ours: Direction::Sent,
            manner: Manner { matching: Matching::Bytes, pace: Pace::Max },
            loops: false,
            output: None,
            differs: AtomicBool::new(false),
            pauses: Underway::default(),
            peers: Mutex::default(),
        }
    }

    /// The same, read.
    fn read(&self, args: &ServerReplayArgs, transport: Transport, output: Output) -> Result<Replay> {
        let (scripts, ours) = replaying::read(&self.name, "serve", transport)?;
        Ok(Replay {
            scripts,
            ours,
            manner: args.replay.manner(Matching::Bytes),
            loops: args.replay_loop,
            output: Some(output),
            ..Replay::of(self.name.clone())
        })
    }

    /// Whether a peer has sent something else than in the record.
    pub fn differs(&self) -> bool {
        self.differs.load(Ordering::SeqCst)
    }

    /// What a connection is played: its own script, and those that come after the last one the last again.
    fn player(&self, number: u64) -> Option<Player> {
        let (index, count) = (number.saturating_sub(1) as usize, self.scripts.len());
        let index = if self.loops { index.checked_rem(count)? } else { index.min(count.checked_sub(1)?) };
        Some(Player::new(self.scripts[index].clone(), self.ours, self.manner, Instant::now()))
    }

    /// Plays it to a connection.
    pub async fn play<S: Stream>(&self, stream: &mut S, visit: &Visit<'_>) -> Result<First, Broken> {
        let Some(player) = self.player(visit.number) else { return Ok(First::Peer) };
        let mut play =
            Play { replay: self, number: visit.number, player, pause: None, has_ended: false, is_told: false };
        match poll_fn(|context| play.poll(context, stream)).await {
            Ok(true) => {
                all_acknowledged(visit.life).await?;
                // It fails only on a connection that is gone already.
                let _ = visit.life.conn().reset_on_close();
                Err(Broken::Reset)
            }
            Ok(false) if play.has_ended => Ok(First::Peer),
            Ok(false) => {
                part(stream).await?;
                Ok(First::Us)
            }
            Err(broken) => Err(broken),
        }
    }

    /// A datagram has come.
    pub fn hear(&self, peer: &Address, datagram: &[u8]) {
        let mut peers = self.lock();
        if peers.playing.len() == PEERS_MAX {
            peers.playing.clear();
        }
        if !peers.playing.contains_key(peer) {
            peers.count += 1;
            let number = peers.count;
            let Some(player) = self.player(number) else { return };
            peers.playing.insert(peer.clone(), Playing { number, player, pause: None });
        }
        let Some(playing) = peers.playing.get_mut(peer) else { return };
        if let Err(mismatch) = playing.player.received(datagram) {
            self.tell(playing.number, &mismatch);
        }
    }

    /// What there is to do now: as many datagrams are sent as there were before the next one came.
    pub fn next(&self, peer: &Address) -> Next {
        let mut peers = self.lock();
        let Some(Playing { player, pause, .. }) = peers.playing.get_mut(peer) else { return Next::Nothing };
        match player.turn(Instant::now()) {
            Turn::Send(bytes) => {
                let answer = bytes.to_vec();
                player.sent(answer.len());
                Next::Send(answer)
            }
            Turn::Wait(until) if pause.replace(until) != Some(until) => Next::Pause(until),
            _ => Next::Nothing,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, number: u64, mismatch: &Mismatch) {
        self.differs.store(true, Ordering::SeqCst);
        if let Some(output) = self.output {
            output.error(
                format_args!("replay {}, connection {number}: the peer differs {mismatch}", self.name.display()),
                None,
            );
        }
    }
}

/// A connection that a script is being played to.
struct Play<'a> {
    replay: &'a Replay,
    number: u64,
    player: Player,
    pause: Option<(Instant, Pin<Box<Sleep>>)>,
    /// The peer's direction.
    has_ended: bool,
    is_told: bool,
}

impl Play<'_> {
    /// To the end of the script: whether that is a reset.
    fn poll<S: Stream>(&mut self, context: &mut Context<'_>, stream: &mut S) -> Poll<Result<bool, Broken>> {
        loop {
            // A peer that takes everything at once must not keep the others of this thread waiting.
            ready!(tokio::task::coop::poll_proceed(context)).made_progress();
            let has_come = self.take(context, stream)?;
            match self.player.turn(Instant::now()) {
                Turn::Send(bytes) => match stream.poll_send(context, bytes) {
                    Poll::Ready(sent) => self.player.sent(sent?),
                    Poll::Pending if has_come => {}
                    Poll::Pending => return Poll::Pending,
                },
                Turn::Wait(until) => {
                    if self.poll_pause(context, until).is_pending() && !has_come {
                        return Poll::Pending;
                    }
                }
                Turn::Receive if has_come => {}
                Turn::Receive => return Poll::Pending,
                Turn::Finish => {
                    ready!(stream.poll_finish(context))?;
                    self.player.finished();
                }
                Turn::Reset => return Poll::Ready(Ok(true)),
                Turn::Over => return Poll::Ready(Ok(false)),
            }
        }
    }

    /// Takes what has come, if anything has.
    fn take<S: Stream>(&mut self, context: &mut Context<'_>, stream: &mut S) -> Result<bool, Broken> {
        if self.has_ended {
            return Ok(false);
        }
        with_block(|block| match stream.poll_receive(context, block) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => {
                self.has_ended = true;
                // By count alone, a peer that leaves early has only left.
                let result = self.player.peer_finished();
                self.judge(if self.replay.manner.matching == Matching::Exact { result } else { Ok(()) });
                Ok(true)
            }
            Poll::Ready(received) => {
                let result = self.player.received(&block[..received?]);
                self.judge(result);
                Ok(true)
            }
        })
    }

    /// What is different is told once: what comes after it is bound to be so.
    fn judge(&mut self, result: Result<(), Mismatch>) {
        if let Err(mismatch) = result
            && !self.is_told
        {
            self.is_told = true;
            self.replay.tell(self.number, &mismatch);
        }
    }

    fn poll_pause(&mut self, context: &mut Context<'_>, until: Instant) -> Poll<()> {
        if self.pause.as_ref().is_none_or(|(end, _)| *end != until) {
            self.pause = Some((until, Box::pin(tokio::time::sleep_until(until.into()))));
        }
        match &mut self.pause {
            Some((_, sleep)) => pin!(sleep).poll(context),
            None => Poll::Ready(()),
        }
    }
}
