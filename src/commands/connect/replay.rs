//! `connect --replay`: the client's half of a record, in the user's place.
//!
//! Owns what the peer's differing means. Must not know the order of a script, which its player does, nor how bytes get to the
//! peer: to the relay it is an input. Trade-off: it waits inside the relay's read of it, and what comes wakes it; so all that
//! the relay can do (-o, -x, --record, the clocks) is there in a replay as well.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Result;
use clap::ValueHint;

use super::Args;
use crate::cli::UsageError;
use crate::commands::replaying::{self, ReplayArgs};
use crate::connection::{Cause, Conn, Error, Kind, Op, Transport};
use crate::record::{Direction, Manner, Matching, Mismatch, Player, Script, Track, Turn};
use crate::relay::{Ended, Stopper, Taps};

/// How a client plays a record.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ClientReplayArgs {
    /// Play the client's half of a record that serve or connect has made; stdin is not read
    ///
    /// Each thing is sent once what came before it has come again, after as long a pause. What comes is printed, and compared
    /// with the record: the first difference ends it, and the status is 5. -W bounds the waiting for a peer that is silent.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub replay: Option<PathBuf>,
    /// Which connection of the record [default: 1]
    #[arg(long, value_name = "N", requires = "replay", value_parser = clap::value_parser!(u64).range(1..))]
    pub replay_connection: Option<u64>,
    /// What is as in serve.
    #[command(flatten)]
    pub manner: ReplayArgs,
}

/// What is to be played.
#[derive(Debug, Clone)]
pub struct Replay {
    script: Arc<Script>,
    ours: Direction,
    manner: Manner,
}

/// What a command line wants to be played, if anything.
pub fn replay_of(args: &Args, transport: Transport) -> Result<Option<Replay>> {
    let refuse = |words: String| Err(UsageError(words).into());
    let Some(name) = &args.replay.replay else {
        if args.replay.manner.is_typed() {
            return refuse("--replay-match and --replay-speed are for a record: --replay FILE".to_owned());
        }
        return Ok(None);
    };
    let flags = [
        ("-d", args.joining.no_stdin),
        ("-z", args.connect_only),
        ("-C", args.joining.crlf),
        ("-i", args.joining.interval.is_some()),
        ("--send-only", args.joining.send_only),
        ("-e or -c", args.program.is_any()),
        ("--send, --expect and --script", args.script.is_any()),
        ("--verify", args.verify.verify.is_some()),
    ];
    if let Some((flag, _)) = flags.iter().find(|(_, is_set)| *is_set) {
        return refuse(format!("a replay decides what is sent, and when: leave out {flag}, or --replay"));
    }
    let (scripts, ours) = replaying::read(name, "connect", transport)?;
    let number = args.replay.replay_connection.unwrap_or(1);
    let Some(script) = scripts.get(number as usize - 1) else {
        let count = scripts.len();
        return refuse(format!("--replay-connection {number}: {} has {count}, counted from 1", name.display()));
    };
    Ok(Some(Replay { script: script.clone(), ours, manner: args.replay.manner.manner(Matching::Exact) }))
}

/// A replay that goes on.
#[derive(Clone)]
pub struct Replaying(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Something came, or the peer has finished.
    changed: Condvar,
    conn: Arc<Conn>,
    stopper: Stopper,
    /// For what the relay does not see.
    track: Option<Arc<Track>>,
    has_reset: AtomicBool,
}

struct State {
    player: Player,
    mismatch: Option<Mismatch>,
}

impl Replay {
    /// Begins to play; the taps tell it what comes.
    pub fn start(
        &self,
        conn: &Arc<Conn>,
        stopper: Stopper,
        track: Option<Arc<Track>>,
        taps: &mut Taps,
    ) -> (Replaying, Box<dyn Read + Send>) {
        let player = Player::new(self.script.clone(), self.ours, self.manner, Instant::now());
        let replaying = Replaying(Arc::new(Shared {
            state: Mutex::new(State { player, mismatch: None }),
            changed: Condvar::new(),
            conn: conn.clone(),
            stopper,
            track,
            has_reset: AtomicBool::new(false),
        }));
        let hears = replaying.clone();
        taps.received.push(Box::new(move |bytes| hears.0.learn(|player| player.received(bytes))));
        let hears = replaying.clone();
        taps.finished.push(Box::new(move || hears.0.learn(Player::peer_finished)));
        let input = Box::new(Says(replaying.0.clone()));
        (replaying, input)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer has done something. That it differs ends the replay.
    fn learn(&self, tell: impl FnOnce(&mut Player) -> Result<(), Mismatch>) {
        let mut state = self.lock();
        if let Err(mismatch) = tell(&mut state.player)
            && state.mismatch.is_none()
        {
            state.mismatch = Some(mismatch);
            self.stopper.abandon();
        }
        self.leave_if_over(&mut state);
        drop(state);
        self.changed.notify_all();
    }

    /// Once nothing more is to come, the peer has a moment to finish too.
    fn leave_if_over(&self, state: &mut State) {
        // What has come moves it on.
        state.player.turn(Instant::now());
        if state.player.is_over() {
            self.stopper.end_output();
        }
    }

    /// Resets the connection, once everything that was sent has arrived, and lets the relay end. The reset itself is the
    /// close.
    fn reset(&self) {
        // It fails only on a connection that is gone already.
        let _ = self.conn.reset_once_acknowledged();
        self.has_reset.store(true, Ordering::SeqCst);
        self.stopper.abandon();
    }
}

/// What is sent, as the relay reads it.
struct Says(Arc<Shared>);

impl Read for Says {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let shared = &self.0;
        let mut state = shared.lock();
        loop {
            let now = Instant::now();
            let wait = match state.player.turn(now) {
                Turn::Send(bytes) => {
                    let count = bytes.len().min(buffer.len());
                    buffer[..count].copy_from_slice(&bytes[..count]);
                    state.player.sent(count);
                    if count > 0 {
                        return Ok(count);
                    }
                    // To the relay that would be the end.
                    if let Some(track) = &shared.track {
                        track.data(Direction::Sent, &[]);
                    }
                    shared.conn.socket().send(&[])?;
                    continue;
                }
                Turn::Wait(until) => Some(until - now),
                Turn::Finish | Turn::Over => {
                    state.player.finished();
                    shared.leave_if_over(&mut state);
                    return Ok(0);
                }
                Turn::Reset if !shared.has_reset.load(Ordering::SeqCst) => {
                    drop(state);
                    shared.reset();
                    state = shared.lock();
                    continue;
                }
                // After the reset the relay is over; an end of the input would be a FIN.
                Turn::Receive | Turn::Reset => None,
            };
            state = match wait {
                Some(wait) => shared.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Replaying {
    /// Whether it has ended with a reset of ours.
    pub fn has_reset(&self) -> bool {
        self.0.has_reset.load(Ordering::SeqCst)
    }

    /// What the end of the relay means, now that it is known what came.
    pub fn conclude(&self, ended: Ended, conn: &Conn) -> Ended {
        let mut state = self.0.lock();
        if !ended.is_clean() && !matches!(ended, Ended::PeerFailed(_)) {
            // A clock, a signal or a full disk has cut it short.
            return ended;
        }
        if !conn.transport().is_stream() && state.mismatch.is_none() {
            // The silence that ended it was the peer's end.
            state.mismatch = state.player.peer_finished().err();
        }
        let is_reset = |error: &Error| matches!(error.kind(), Kind::Reset | Kind::BrokenPipe);
        match (ended, state.mismatch.take()) {
            (_, Some(mismatch)) => {
                let cause = Cause::Misbehaved("the peer differs from the record");
                let error = Error::new(Op::Receive, conn, conn.age(), cause);
                Ended::PeerFailed(error.told(mismatch.to_string()))
            }
            (Ended::PeerFailed(error), None) if is_reset(&error) && state.player.expects_reset() => Ended::EndsFinished,
            (ended, None) => ended,
        }
    }
}
