//! The serving: an accept loop, echoes on one event loop per core, draining at the end.
//!
//! Owns the life of every connection. Must not know the command line, nor where a wish to stop comes from: it is given
//! listeners, settings and a channel, so that `serve` hands in signals and a benchmark or a test its own. Trade-off:
//! connections are dealt evenly over single-threaded runtimes instead of being stolen between threads: none starves, and an
//! echo never crosses a core.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Notify, mpsc, oneshot};

use super::ending::How;
use super::events::Events;
use super::service::Service;
use super::stream::Wire;
use crate::connection::datagram::{DATAGRAM_BYTES_MAX, may_answer};
use crate::connection::listen::{AcceptAdvice, after_failed_accept};
use crate::connection::ready::Queue;
use crate::connection::{Address, Conn, Driven, Listener, Socket};
use crate::relay::Taps;

/// What is served, and for how long.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is done with those who come.
    pub service: Service,
    /// End after the first connection or datagram.
    pub once: bool,
    /// How long open connections may finish once the server is told to stop.
    pub grace: Duration,
    /// How many event loops.
    pub threads: usize,
}

/// Wishes to stop, each with the number of the signal that brought it. The first begins the drain, the second ends it; a
/// closed channel is a wish.
pub type Stops = mpsc::UnboundedReceiver<u8>;

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Done,
    /// A second signal cut it short.
    Insisted(u8),
}

/// What was served, in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Connections accepted.
    pub connections: u64,
    /// The most that were open at one time.
    pub connections_peak: u64,
    /// Those that the peer reset, or that failed otherwise.
    pub connections_failed: u64,
    /// Those that were reset when the grace period ended.
    pub connections_cut: u64,
    /// Accepts that failed for want of descriptors or memory.
    pub accepts_failed: u64,
    /// Datagrams received.
    pub datagrams: u64,
    /// Datagrams that were not answered: forged senders, senders without a name, or no room to send.
    pub datagrams_unanswered: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
}

/// The shortest pause after accept ran out of descriptors: one may be back at once.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest, and the time between two complaints: a log that fills the disk would be the next failure.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A drain that is over sooner needs no word; one that is not looks like a server that ignores the signal.
const DRAIN_NOTICE: Duration = Duration::from_millis(250);

/// What every connection and the accept loop share.
struct Server {
    settings: Settings,
    events: Events,
    /// Those that are being served, to end their input.
    live: Mutex<HashMap<u64, Arc<Driven<Conn>>>>,
    /// Those that were accepted and have not ended.
    open: AtomicU64,
    summary: Mutex<Summary>,
    /// Their input is being ended.
    stopping: AtomicBool,
    /// Their time is over: those that are left are reset.
    cutting: AtomicBool,
    /// A connection has ended: its descriptor is back, and the drain may be done.
    ended: Notify,
    /// The one datagram is answered, or stdout is gone.
    finished: Notify,
    /// Why stdout is gone.
    failure: Mutex<Option<io::Error>>,
}

/// Serves until told to stop, then drains.
pub fn serve(listeners: Vec<Listener>, settings: Settings, events: Events, stops: Stops) -> Result<(Summary, Ending)> {
    let begun = Instant::now();
    let runtime = single_threaded().context("start the event loop")?;
    let workers = Workers::start(runtime.handle().clone(), settings.threads).context("start the event loops")?;
    let server = Arc::new(Server {
        settings,
        events,
        live: Mutex::default(),
        open: AtomicU64::new(0),
        summary: Mutex::default(),
        stopping: AtomicBool::new(false),
        cutting: AtomicBool::new(false),
        ended: Notify::new(),
        finished: Notify::new(),
        failure: Mutex::new(None),
    });
    let is_stream = listeners.iter().all(|listener| listener.transport().is_stream());
    let ending = runtime.block_on(server.run(listeners, is_stream, &workers, stops))?;
    if let Some(failure) = lock(&server.failure).take() {
        return Err(failure.into());
    }
    let summary = *lock(&server.summary);
    server.events.summary(&summary, is_stream, begun.elapsed())?;
    Ok((summary, ending))
}

/// A poisoned lock means that a thread panicked while it held it; what is inside is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn single_threaded() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The event loops that connections are dealt to, in turn. The first is the accept loop's own.
struct Workers {
    handles: Vec<Handle>,
    /// Dropped to end the threads.
    running: Vec<oneshot::Sender<()>>,
}

impl Workers {
    fn start(first: Handle, threads: usize) -> io::Result<Workers> {
        let mut workers = Workers { handles: vec![first], running: Vec::new() };
        for _ in 1..threads {
            let runtime = single_threaded()?;
            let (running, until_dropped) = oneshot::channel::<()>();
            workers.handles.push(runtime.handle().clone());
            workers.running.push(running);
            std::thread::Builder::new().name("serve".to_owned()).spawn(move || runtime.block_on(until_dropped))?;
        }
        Ok(workers)
    }

    fn deal(&self, connection: u64) -> &Handle {
        &self.handles[connection as usize % self.handles.len()]
    }
}

impl Server {
    async fn run(
        self: &Arc<Server>,
        listeners: Vec<Listener>,
        is_stream: bool,
        workers: &Workers,
        mut stops: Stops,
    ) -> Result<Ending> {
        let listeners = listeners.into_iter().map(Driven::new).collect::<io::Result<Vec<_>>>()?;
        if !is_stream {
            self.answer_until(listeners, &mut stops).await;
            return Ok(Ending::Done);
        }
        let is_told = self.accept_until(&listeners, workers, &mut stops).await?;
        if is_told {
            self.stopping.store(true, Ordering::SeqCst);
            self.accept_what_is_queued(&listeners, workers);
        }
        drop(listeners);
        Ok(self.drain(is_told, &mut stops).await)
    }

    /// Accepts until told to stop (true) or until `once` has its connection (false). Only a broken listener is an error.
    async fn accept_until(
        self: &Arc<Server>,
        listeners: &[Driven<Listener>],
        workers: &Workers,
        stops: &mut Stops,
    ) -> Result<bool> {
        let mut pause = PAUSE_MIN;
        let mut complained: Option<Instant> = None;
        let mut turn = 0_usize;
        loop {
            let (listener, accepted) = tokio::select! {
                biased;
                _ = stops.recv() => return Ok(true),
                () = self.finished.notified() => return Ok(true),
                accepted = accept_any(listeners, turn) => accepted,
            };
            turn = turn.wrapping_add(1);
            let error = match accepted {
                Ok((socket, peer)) => {
                    pause = PAUSE_MIN;
                    self.welcome(listener, socket, peer, workers);
                    if self.settings.once {
                        return Ok(false);
                    }
                    continue;
                }
                Err(error) => error,
            };
            match after_failed_accept(&error) {
                AcceptAdvice::Retry => continue,
                AcceptAdvice::Stop => return Err(listener.accept_error(error).into()),
                AcceptAdvice::BackOff => lock(&self.summary).accepts_failed += 1,
            }
            if complained.is_none_or(|then| then.elapsed() >= PAUSE_MAX) {
                complained = Some(Instant::now());
                self.events.failed(&listener.accept_error(error));
            }
            tokio::select! {
                _ = stops.recv() => return Ok(true),
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                () = self.ended.notified() => pause = PAUSE_MIN,
            }
        }
    }

    /// Connections that the kernel has completed would be reset by closing the listener: they are served first.
    fn accept_what_is_queued(self: &Arc<Server>, listeners: &[Driven<Listener>], workers: &Workers) {
        for listener in listeners {
            while let Ok(Some((socket, peer))) = listener.get().accept() {
                self.welcome(listener.get(), socket, peer, workers);
            }
        }
    }

    /// A new connection is dealt to an event loop. What fails here is its own misfortune.
    fn welcome(self: &Arc<Server>, listener: &Listener, socket: Socket, peer: Address, workers: &Workers) {
        let id = {
            let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
            let mut summary = lock(&self.summary);
            summary.connections += 1;
            summary.connections_peak = summary.connections_peak.max(open);
            summary.connections
        };
        let server = self.clone();
        match listener.connection(socket, peer) {
            Ok(conn) => {
                self.emit(self.events.accepted(id, &conn));
                workers.deal(id).spawn(async move {
                    server.attend(id, conn).await;
                    server.leave();
                });
            }
            Err(error) => {
                self.events.failed(&error);
                self.leave();
            }
        }
    }

    /// One connection from beginning to end.
    async fn attend(&self, id: u64, conn: Conn) {
        // Out of memory or of watches (epoll_ctl(2)): the connection is closed, the server goes on.
        let Ok(driven) = Driven::new(conn) else { return };
        let driven = Arc::new(driven);
        lock(&self.live).insert(id, driven.clone());
        if self.stopping.load(Ordering::SeqCst) {
            driven.end_input();
        }
        if self.cutting.load(Ordering::SeqCst) {
            driven.cut();
        }
        let mut wire = Wire::new(&driven, Taps::default());
        let ended = self.settings.service.serve(&mut wire).await;
        let traffic = wire.traffic();
        let how = match How::of(ended) {
            How::PeerFinished if self.stopping.load(Ordering::SeqCst) => How::Stopped,
            How::Failed(_) if self.cutting.load(Ordering::SeqCst) => How::Cut,
            how => how,
        };
        {
            let mut summary = lock(&self.summary);
            summary.received_bytes += traffic.received_bytes;
            summary.sent_bytes += traffic.sent_bytes;
            summary.connections_failed += u64::from(matches!(how, How::Failed(_)));
            summary.connections_cut += u64::from(matches!(how, How::Cut));
        }
        lock(&self.live).remove(&id);
        self.emit(self.events.closed(id, driven.get(), traffic, &how));
    }

    fn leave(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
        self.ended.notify_one();
    }

    /// Lets open connections finish: their input ends where it is, what has come is answered, then they are closed.
    /// `once` waits for its connection as long as it takes, until somebody tells it to stop.
    async fn drain(&self, is_told: bool, stops: &mut Stops) -> Ending {
        if !is_told {
            tokio::select! {
                () = self.all_ended() => return Ending::Done,
                _ = stops.recv() => self.stopping.store(true, Ordering::SeqCst),
            }
        }
        lock(&self.live).values().for_each(|driven| driven.end_input());
        let ending = tokio::select! {
            () = self.all_ended() => return Ending::Done,
            number = stops.recv() => number.map_or(Ending::Done, Ending::Insisted),
            () = tokio::time::sleep(self.settings.grace) => Ending::Done,
            never = self.tell_of_draining() => match never {},
        };
        self.cutting.store(true, Ordering::SeqCst);
        lock(&self.live).values().for_each(|driven| driven.cut());
        self.all_ended().await;
        ending
    }

    /// Says once what is being waited for.
    async fn tell_of_draining(&self) -> Infallible {
        tokio::time::sleep(DRAIN_NOTICE).await;
        self.emit(self.events.draining(self.open.load(Ordering::SeqCst), self.settings.grace));
        std::future::pending().await
    }

    async fn all_ended(&self) {
        while self.open.load(Ordering::SeqCst) > 0 {
            self.ended.notified().await;
        }
    }

    /// Answers datagrams until told to stop.
    async fn answer_until(self: &Arc<Server>, listeners: Vec<Driven<Listener>>, stops: &mut Stops) {
        for listener in listeners {
            tokio::spawn(self.clone().answer(listener));
        }
        tokio::select! {
            _ = stops.recv() => {}
            () = self.finished.notified() => {}
        }
    }

    /// Each datagram goes back to whoever sent it. No error ends the loop: each concerns one peer.
    async fn answer(self: Arc<Server>, listener: Driven<Listener>) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let received = poll_fn(|context| {
                listener.poll_read(context, |socket| Ok((socket.recv_from(&mut buffer)?, Queue::MayHoldMore)))
            });
            // What recvfrom(2) reports here is the fate of an earlier answer: its receiver is gone.
            let Ok(datagram) = received.await else { continue };
            let bytes = &buffer[..datagram.length];
            self.emit(self.events.datagram(&datagram));
            let sent_bytes = self.reply(&listener, bytes, &datagram.from).await;
            let mut summary = lock(&self.summary);
            summary.datagrams += 1;
            summary.received_bytes += bytes.len() as u64;
            summary.sent_bytes += sent_bytes.unwrap_or(0) as u64;
            summary.datagrams_unanswered += u64::from(sent_bytes.is_none());
            drop(summary);
            if self.settings.once {
                return self.finished.notify_one();
            }
        }
    }

    /// How many bytes answered a datagram, if any did.
    async fn reply(&self, listener: &Driven<Listener>, datagram: &[u8], peer: &Address) -> Option<usize> {
        let reply = self.settings.service.reply(datagram).filter(|_| may_answer(listener.get(), peer))?;
        poll_fn(|context| listener.poll_write(context, |socket| socket.send_to(&reply, peer))).await.ok()
    }

    /// When stdout fails there is nobody left to serve for.
    fn emit(&self, written: io::Result<()>) {
        if let Err(failure) = written {
            lock(&self.failure).get_or_insert(failure);
            self.finished.notify_one();
        }
    }
}

/// A listener that has somebody waiting. The first to be asked is another one each `turn`: an accept storm at one must not
/// keep the others from theirs.
async fn accept_any(listeners: &[Driven<Listener>], turn: usize) -> (&Listener, io::Result<(Socket, Address)>) {
    poll_fn(|context| {
        for offset in 0..listeners.len() {
            let listener = &listeners[(turn + offset) % listeners.len()];
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                return Poll::Ready((listener.get(), accepted));
            }
        }
        Poll::Pending
    })
    .await
}
