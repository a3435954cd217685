//! One connection from beginning to end, on the event loop that it was dealt to.
//!
//! Owns its life and its end. Must not know who let it in. Trade-off: the service is polled, not awaited, so that it can be
//! ended in the middle of whatever it does; a layer that waits for a timer need not listen for the end of the server.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::{Server, lock};
use crate::commands::serve::ending::How;
use crate::commands::serve::expected::{Comparison, Expected};
use crate::commands::serve::faulty::{self, Chosen};
use crate::commands::serve::life::{Alive, Asked, Life};
use crate::commands::serve::proxied::introduction;
use crate::commands::serve::recorded;
use crate::commands::serve::service::Visit;
use crate::commands::serve::stream::{Wire, with_block};
use crate::connection::ready::Queue;
use crate::connection::{Conn, Driven};
use crate::fault::{Fired, Rule};
use crate::record::Track;

/// How long a peer that sends on after our FIN is listened to before the close, which to it would be a reset: each time
/// that something comes, anew.
const LINGER: Duration = Duration::from_millis(50);

/// How long in all: somebody who never stops sending sees the reset then.
const PATIENCE: Duration = Duration::from_secs(5);

impl Server {
    /// A connection's life begins, on the current event loop. Out of memory or of watches (epoll_ctl(2)) there is none: the
    /// connection is closed, the server goes on.
    pub(super) fn begin(&self, id: u64, conn: Conn) -> Option<Arc<Life>> {
        let driven = Driven::new(conn).ok()?;
        let life = Arc::new(Life::new(driven, self.settings.limits.idle_timeout.is_some()));
        lock(&self.live).insert(id, life.clone());
        // Told to stop before it was in the list of those who are told.
        if self.stopping.load(Ordering::SeqCst) {
            life.ask(Asked::ToFinish);
        }
        if self.cutting.load(Ordering::SeqCst) {
            life.ask(Asked::ToEnd);
        }
        Some(life)
    }

    /// Serves it until its end, and tells of it.
    pub(super) async fn attend(&self, id: u64, life: &Life, chosen: Option<Box<Chosen>>) {
        let has_more =
            self.settings.recorder.is_some() || self.settings.expected.is_some() || !self.settings.passing.is_off();
        let how = if has_more || self.settings.has_proxy_header || chosen.is_some() {
            // Boxed, so that a connection of which nothing more is asked is not as large as this one.
            Box::pin(self.serve_with_more(id, life, chosen)).await
        } else {
            self.serve(id, life).await
        };
        let traffic = life.traffic();
        {
            // In one step: a sum of the open ones and those that have ended never falls.
            let mut open = lock(&self.live);
            open.remove(&id);
            self.counters.ended(traffic, &how);
        }
        self.events.closed(id, life.conn(), traffic, &how);
    }

    /// Serves it with nothing in between.
    async fn serve(&self, id: u64, life: &Life) -> How {
        let mut wire = Wire::new(life, None, self.settings.limits.received_bytes);
        let how = {
            let visit = Visit { number: id, life };
            let idle = self.settings.limits.idle_timeout.map(Idle::new);
            unless_over(life, idle, pin!(self.settings.service.serve(&mut wire, &visit))).await
        };
        let how = end_of(&wire, how.map(How::of));
        conclude(life, &how).await;
        how
    }

    /// Serves it with a header ahead of it, rules over it, and those who look at it.
    async fn serve_with_more(&self, id: u64, life: &Life, chosen: Option<Box<Chosen>>) -> How {
        let mut taps = self.taps(|| format!("#{id} {} ", life.conn().peer()));
        // What the system has not taken is not shown: it may be offered again.
        taps.sent.append(&mut taps.sending);
        let recorder = self.settings.recorder.as_ref();
        let track = recorder.map(|recorder| recorded::record(recorder, id, life.conn(), &mut taps));
        let comparison = self.settings.expected.as_ref().map(Expected::begin);
        taps.received.extend(comparison.as_ref().map(Comparison::tap));
        let mut wire = Wire::new(life, Some(Box::new(taps)), self.settings.limits.received_bytes);
        let rules = chosen.map(|chosen| (chosen, track.clone()));
        let how = self.carry(id, life, &mut wire, rules).await;
        let how = end_of(&wire, how);
        if let Some(difference) = comparison.and_then(|comparison| comparison.end()) {
            self.counters.unexpected.add(1);
            self.events.unexpected(Some(id), life.conn().peer(), difference);
        }
        conclude(life, &how).await;
        if let Some(track) = track {
            track.close(recorded::ending(&how), life.traffic().sent_bytes);
        }
        how
    }

    /// Has the service do its work, with the rules that apply, if any do, and with who writes down what fires. An error is an
    /// end that was not the service's.
    async fn carry(
        &self,
        id: u64,
        life: &Life,
        wire: &mut Wire<'_>,
        rules: Option<(Box<Chosen>, Option<Arc<Track>>)>,
    ) -> Result<How, How> {
        if self.settings.has_proxy_header {
            let (header, early) = Box::pin(introduction(life)).await?;
            self.events.proxied(id, life.conn(), &header);
            wire.receive_first(early);
        }
        let visit = Visit { number: id, life };
        let idle = self.settings.limits.idle_timeout.map(Idle::new);
        let Some((chosen, track)) = rules else {
            return unless_over(life, idle, pin!(self.settings.service.serve(wire, &visit))).await.map(How::of);
        };
        // Boxed, so that a connection without rules is not as large as one that has some.
        let mut service: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async {
            let tell = |fired: Fired| {
                let rule = &chosen.set.rules()[fired.rule];
                if let Some(track) = &track {
                    track.fault(fired.rule as u64, rule.action.word(), fired.at);
                }
                self.tell_fault(id, life, rule, fired);
            };
            faulty::serve(&self.settings.service, wire, &visit, &chosen, tell).await
        });
        unless_over(life, idle, service.as_mut()).await.map(How::of)
    }

    /// A rule has fired for the first time on a connection.
    fn tell_fault(&self, id: u64, life: &Life, rule: &Rule, fired: Fired) {
        if let Some(faults) = &self.settings.faults {
            faults.count(rule);
        }
        self.events.fault(id, life.conn(), rule, fired);
    }
}

/// How it ended, when it may have been the server that ended the peer's direction.
fn end_of(wire: &Wire<'_>, how: Result<How, How>) -> How {
    match how {
        Ok(How::PeerFinished | How::Finished) if wire.is_full() => How::Full,
        Ok(How::PeerFinished | How::Finished) if wire.is_ended_here() => How::Stopped,
        Ok(how) | Err(how) => how,
    }
}

/// Ends it where neither the peer nor a rule has. These calls fail only on a connection that is gone already.
async fn conclude(life: &Life, how: &How) {
    match how {
        How::Cut | How::TooSlow | How::BadHeader(_) => {
            let _ = life.conn().reset_on_close();
        }
        // A program may end before its peer does.
        How::TimedOut | How::Stopped | How::Full | How::Program(_) => {
            let _ = life.conn().finish();
            Box::pin(linger(life)).await;
        }
        How::NotRun(_) | How::PeerFinished | How::Finished | How::Reset | How::Failed(_) | How::Fault(_) => {}
    }
}

/// What a service comes to, unless its connection is over before.
async fn unless_over<F: Future + ?Sized>(
    life: &Life,
    mut idle: Option<Idle>,
    mut service: Pin<&mut F>,
) -> Result<F::Output, How> {
    poll_fn(|context| {
        if life.listen(context) == Asked::ToEnd {
            return Poll::Ready(Err(How::Cut));
        }
        if idle.as_mut().is_some_and(|idle| idle.poll(life, context).is_ready()) {
            return Poll::Ready(Err(How::TimedOut));
        }
        service.as_mut().poll(context).map(Ok)
    })
    .await
}

/// The clock of a connection that may be idle for only so long. It is set when it runs out, and not whenever something comes.
struct Idle {
    timeout: Duration,
    alarm: Pin<Box<Sleep>>,
}

impl Idle {
    fn new(timeout: Duration) -> Idle {
        Idle { timeout, alarm: Box::pin(tokio::time::sleep(timeout)) }
    }

    /// Ready when it has been idle for too long.
    fn poll(&mut self, life: &Life, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.alarm.as_mut().poll(context));
            let left = self.timeout.saturating_sub(life.idle());
            if left.is_zero() {
                return Poll::Ready(());
            }
            self.alarm.as_mut().reset(Instant::now() + left);
        }
    }
}

/// Reads and drops what still comes after our FIN, until the peer has finished too, is silent, or has had its time.
async fn linger(life: &Life) {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let mut silence = pin!(tokio::time::sleep(LINGER));
        let received = poll_fn(|context| {
            if life.listen(context) == Asked::ToEnd || silence.as_mut().poll(context).is_ready() {
                return Poll::Ready(0);
            }
            poll_drop(life, context)
        });
        if received.await == 0 {
            return;
        }
    }
}

/// How many bytes came and were dropped; none at the end, in order or not.
fn poll_drop(life: &Life, context: &mut Context<'_>) -> Poll<usize> {
    let received =
        with_block(|block| life.driven().poll_read(context, |socket| Ok((socket.recv(block)?, Queue::MayHoldMore))));
    received.map(|received| received.unwrap_or(0))
}
