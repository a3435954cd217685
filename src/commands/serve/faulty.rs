//! A connection's stream under fault rules: carries out what the lanes decide, on the event loop.
//!
//! Owns the waiting, and the order in which an ending is brought about. Must not decide anything: the lanes do. Trade-off:
//! whatever the service asks for, all that is due is done first, because only one of its calls waits at a time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::life::Life;
use super::parting::part;
use super::service::{First, Service, Visit};
use super::stream::{Broken, Stream};
use crate::connection::Op;
use crate::fault::lane::{Ending, EndingKind, Lane, Step};
use crate::fault::{Direction, Fired, RuleSet, Wake};

/// How often a queue is looked at that must be empty before a reset: nothing tells when it is.
const QUEUE_LOOK: Duration = Duration::from_millis(1);

/// The rules that apply to a connection.
#[derive(Debug)]
pub struct Chosen {
    /// All rules.
    pub set: Arc<RuleSet>,
    /// Those that apply, by their place.
    pub applying: Vec<usize>,
    /// The connection's number, from 1.
    pub ordinal: u64,
}

/// Serves a connection under its rules, to its end or to theirs. What fires is told.
pub async fn serve<S: Stream>(
    service: &Service,
    wire: &mut S,
    visit: &Visit<'_>,
    chosen: &Chosen,
    tell: impl FnMut(Fired) + Send,
) -> Result<First, Broken> {
    let mut faulty = Faulty::new(&mut *wire, visit.life, chosen, tell);
    let ended = service.serve(&mut faulty, visit).await;
    faulty.tell();
    let Err(Broken::Rule(ending)) = ended else { return ended };
    match ending.kind {
        EndingKind::Close => {
            // Whoever is gone already needs no end.
            let _ = part(wire).await;
        }
        EndingKind::Reset => {
            if ending.is_promised {
                all_acknowledged(visit.life).await?;
            }
            visit.life.conn().reset_on_close().map_err(|error| Broken::Call(Box::new(error)))?;
        }
        EndingKind::HalfClose => {}
    }
    Err(Broken::Rule(ending))
}

/// A reset throws away what is still queued: what was promised must have arrived before.
pub async fn all_acknowledged(life: &Life) -> Result<(), Broken> {
    while life.conn().unacknowledged_bytes().is_some_and(|bytes| bytes > 0) {
        if let Ok(Some(error)) = life.conn().socket().take_error() {
            return Err(Broken::Call(Box::new(life.conn().error(Op::Send, error))));
        }
        tokio::time::sleep(QUEUE_LOOK).await;
    }
    Ok(())
}

/// A stream with lanes.
struct Faulty<'a, S, T> {
    wire: &'a mut S,
    life: &'a Life,
    begun: Instant,
    incoming: Option<Lane>,
    outgoing: Option<Lane>,
    /// How much later our FIN comes, and when that is once it is due.
    delays_close: Duration,
    closes_at: Option<Duration>,
    /// The peer has finished.
    is_ended: bool,
    /// A rule has sent our FIN.
    is_finished: bool,
    /// What a rule wants, while what was promised before is still on its way.
    ending: Option<Ending>,
    timer: Option<Pin<Box<Sleep>>>,
    tell: T,
}

impl<'a, S: Stream, T: FnMut(Fired)> Faulty<'a, S, T> {
    fn new(wire: &'a mut S, life: &'a Life, chosen: &Chosen, tell: T) -> Faulty<'a, S, T> {
        let lane = |direction| Lane::new(&chosen.set, &chosen.applying, chosen.ordinal, direction);
        let delay = |index: &usize| chosen.set.rules()[*index].action.delays_close();
        Faulty {
            wire,
            life,
            begun: Instant::now(),
            incoming: lane(Direction::In),
            outgoing: lane(Direction::Out),
            delays_close: chosen.applying.iter().map(delay).sum(),
            closes_at: None,
            is_ended: false,
            is_finished: false,
            ending: None,
            timer: None,
            tell,
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Tells what has fired.
    fn tell(&mut self) {
        for lane in [&mut self.incoming, &mut self.outgoing].into_iter().flatten() {
            lane.take_fired().into_iter().for_each(&mut self.tell);
        }
    }

    /// Does all that is due. What is to be done at a later time is added to `wake`.
    fn drive(&mut self, context: &mut Context<'_>, wake: &mut Wake) -> Result<(), Broken> {
        if let Some(incoming) = &mut self.incoming {
            wake.at(incoming.ends_at());
            // What a place in the stream brings about waits until the service has had what came before.
            if let Step::End(ending) = incoming.step(self.begun.elapsed())
                && !ending.is_promised
            {
                self.ending.get_or_insert(ending);
            }
        }
        match self.ending {
            // What was to be sent is of no interest any more.
            Some(ending) if !ending.is_promised => return self.end(context, ending),
            _ => {}
        }
        let is_flushed = self.send_what_is_due(context, wake)?;
        match self.ending {
            Some(ending) if is_flushed => self.end(context, ending),
            _ => Ok(()),
        }
    }

    /// Sends as much as may go and is taken; whether nothing is left.
    fn send_what_is_due(&mut self, context: &mut Context<'_>, wake: &mut Wake) -> Result<bool, Broken> {
        loop {
            let now = self.now();
            let Some(lane) = &mut self.outgoing else { return Ok(true) };
            wake.at(lane.ends_at());
            match lane.step(now) {
                Step::Wait(until) => {
                    wake.at(until);
                    return Ok(lane.is_done(now));
                }
                Step::End(ending) => {
                    self.ending.get_or_insert(ending);
                    return Ok(true);
                }
                Step::Pass => match self.wire.poll_send(context, lane.piece()) {
                    Poll::Ready(sent) => lane.passed(sent?, now),
                    Poll::Pending => return Ok(false),
                },
            }
        }
    }

    /// All that was promised has been sent: brings the ending about, as far as it is a stream's business.
    fn end(&mut self, context: &mut Context<'_>, ending: Ending) -> Result<(), Broken> {
        if ending.kind != EndingKind::HalfClose {
            return Err(Broken::Rule(ending));
        }
        (self.ending, self.is_finished) = (None, true);
        // Its other rules have nothing more to decide.
        self.tell();
        self.outgoing = None;
        if let Some(incoming) = &mut self.incoming {
            incoming.dismiss(ending.rule);
        }
        match self.wire.poll_finish(context) {
            Poll::Ready(finished) => finished,
            Poll::Pending => Ok(()),
        }
    }

    /// What has come and may pass on.
    fn poll_incoming(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        wake: &mut Wake,
    ) -> Poll<Result<usize, Broken>> {
        loop {
            let now = self.now();
            let Some(lane) = &mut self.incoming else { return self.wire.poll_receive(context, buffer) };
            match lane.step(now) {
                Step::Pass => {
                    let count = lane.piece().len().min(buffer.len());
                    buffer[..count].copy_from_slice(&lane.piece()[..count]);
                    lane.passed(count, now);
                    return Poll::Ready(Ok(count));
                }
                Step::End(ending) => {
                    self.ending.get_or_insert(ending);
                    return Poll::Pending;
                }
                Step::Wait(until) => wake.at(until),
            }
            if self.is_ended && lane.is_done(now) {
                return Poll::Ready(Ok(0));
            }
            let room = lane.room(now).min(buffer.len());
            if room == 0 || self.is_ended {
                return self.poll_gone(context);
            }
            match ready!(self.wire.poll_receive(context, &mut buffer[..room]))? {
                0 => self.is_ended = true,
                count => lane.put(&buffer[..count], now),
            }
        }
    }

    /// Nobody reads from a connection that is held back: an empty send notices whether the peer has reset it.
    fn poll_gone<V>(&self, context: &mut Context<'_>) -> Poll<Result<V, Broken>> {
        let gone = self.life.driven().poll_write(context, |socket| match socket.send(&[]) {
            Ok(_) => Err(std::io::ErrorKind::WouldBlock.into()),
            Err(error) => Err::<(), _>(error),
        });
        match ready!(gone) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(Broken::Call(Box::new(self.life.conn().error(Op::Send, error))))),
        }
    }

    /// Whether the time has come for which there is something to do.
    fn poll_time(&mut self, context: &mut Context<'_>, wake: &Wake) -> Poll<()> {
        let Some(until) = wake.0 else { return Poll::Pending };
        let until = tokio::time::Instant::from_std(self.begun + until);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if timer.deadline() != until || timer.is_elapsed() {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(context)
    }

    /// Polls in turn all that is due and what the service asks for, until that is there or there is nothing to do but wait.
    fn poll_with<V>(
        &mut self,
        context: &mut Context<'_>,
        mut asked: impl FnMut(&mut Self, &mut Context<'_>, &mut Wake) -> Poll<Result<V, Broken>>,
    ) -> Poll<Result<V, Broken>> {
        loop {
            let mut wake = Wake::default();
            let driven = self.drive(context, &mut wake);
            self.tell();
            driven?;
            let is_over = self.ending.is_some();
            let polled = if is_over { self.poll_gone(context) } else { asked(self, context, &mut wake) };
            if polled.is_ready() {
                self.tell();
                return polled;
            }
            if self.ending.is_some() && !is_over {
                continue;
            }
            ready!(self.poll_time(context, &wake));
        }
    }
}

impl<S: Stream, T: FnMut(Fired)> Stream for Faulty<'_, S, T> {
    fn poll_receive(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, Broken>> {
        self.poll_with(context, |faulty, context, wake| faulty.poll_incoming(context, buffer, wake))
    }

    fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Broken>> {
        self.poll_with(context, |faulty, context, wake| {
            if faulty.is_finished {
                return Poll::Ready(Ok(bytes.len()));
            }
            let now = faulty.now();
            let Some(lane) = &mut faulty.outgoing else { return faulty.wire.poll_send(context, bytes) };
            match lane.room(now).min(bytes.len()) {
                0 => faulty.poll_gone(context),
                room => {
                    lane.put(&bytes[..room], now);
                    // What may go goes now: the service may have nothing else to ask for.
                    let is_flushed = faulty.send_what_is_due(context, wake);
                    Poll::Ready(is_flushed.map(|_| room))
                }
            }
        })
    }

    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.poll_with(context, |faulty, context, wake| {
            let now = faulty.now();
            if faulty.is_finished {
                return Poll::Ready(Ok(()));
            }
            if faulty.outgoing.as_ref().is_some_and(|lane| !lane.is_done(now)) {
                return faulty.poll_gone(context);
            }
            let closes_at = *faulty.closes_at.get_or_insert(now + faulty.delays_close);
            if now < closes_at {
                wake.at(Some(closes_at));
                return faulty.poll_gone(context);
            }
            faulty.wire.poll_finish(context)
        })
    }
}
