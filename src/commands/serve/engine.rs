//! The serving: an accept loop, services on one event loop per core, draining at the end.
//!
//! Owns what all connections share, and the order of things. Must not know the command line, nor where a wish comes from: it
//! is given listeners, settings and a channel, so that `serve` hands in signals and a benchmark or a test its own. Trade-off:
//! connections are dealt evenly over single-threaded runtimes instead of being stolen between threads: none starves, and an
//! echo never crosses a core.
//!
//! | file | owns |
//! |---|---|
//! | `doorway` | the listeners that are open, and those that fault rules have shut |
//! | `door` | who comes in, and what happens when accepting fails |
//! | `connection` | one connection from beginning to end |
//! | `executed` | one that a program has for itself |
//! | `joined` | one that is joined to stdin and stdout |
//! | `conversation` | datagrams that are joined to stdin and stdout |
//! | `datagrams` | the same for datagrams |
//! | `sessions` | datagrams that are forwarded |
//! | `post` | datagrams under fault rules |
//! | `drain` | the end of the server |
//! | `workers` | the event loops |

mod connection;
mod conversation;
mod datagrams;
mod door;
mod doorway;
mod drain;
mod executed;
mod joined;
mod post;
mod sessions;
mod workers;

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::access::Access;
use super::counters::{Counters, Drain, Summary};
use super::events::Events;
use super::expected::Expected;
use super::faults::Faults;
use super::life::Alive;
use super::limits::Limits;
use super::metrics;
use super::passing::Passing;
use super::readiness::Readiness;
use super::recorded::{Peers, Recorded};
use super::service::Service;
use crate::connection::{Clock, Driven, Error, Listener, Op};
use crate::record::Recorder;
use crate::relay::Taps;
use crate::signals::Heard;
use door::Closed;
use doorway::Doorway;
pub use doorway::prepare;
use post::Post;
use sessions::Sessions;
use workers::{Workers, single_threaded};

/// What is served, and for how long.
#[derive(Debug)]
pub struct Settings {
    /// What is done with those who come.
    pub service: Service,
    /// How much, and for how long.
    pub limits: Limits,
    /// How long open connections may finish once the server is told to stop.
    pub grace: Duration,
    /// What is shown and kept of the bytes that pass.
    pub passing: Passing,
    /// How many event loops.
    pub threads: usize,
    /// What is told of everything that passes, if anything is.
    pub recorder: Option<Recorder>,
    /// Where that is written.
    pub record_file: Option<PathBuf>,
    /// Who may come in.
    pub access: Arc<Access>,
    /// Who is told of the end.
    pub readiness: Arc<Readiness>,
    /// Faults on purpose; none costs nothing.
    pub faults: Option<Arc<Faults>>,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub has_proxy_header: bool,
    /// What must come, if that is checked.
    pub expected: Option<Expected>,
    /// Where the metrics are served.
    pub metrics: Vec<Listener>,
}

/// What somebody wants of a running server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The end, by a signal of this number. The first begins the drain, the second ends it.
    Stop(u8),
    /// The end, because what it was there for is over; nothing more once the end has begun.
    Finish,
    /// Files to be read again.
    Reload,
    /// The summary so far.
    Report,
}

impl Wish {
    /// What a signal asks for.
    pub fn of(heard: Heard) -> Wish {
        match heard {
            Heard::End(number) => Wish::Stop(number),
            Heard::Reload => Wish::Reload,
            Heard::Report => Wish::Report,
        }
    }
}

/// Scrapes at one time: a collector has one under way, and a person looks beside it.
const SCRAPERS_MAX: usize = 16;
/// A pause after a scraper could not be accepted.
const SCRAPER_PAUSE: Duration = Duration::from_millis(100);

/// SIGHUP's number, the same on every system.
const HANGUP: u8 = 1;

/// Wishes, as they come. A closed channel is a wish to stop.
pub type Wishes = mpsc::UnboundedReceiver<Wish>;

/// How serving ended.
#[derive(Debug)]
pub enum Ending {
    /// As it should.
    Done,
    /// Nobody came.
    Vacant(Box<Error>),
    /// What came, or that nothing did, was not what was expected.
    Unexpected,
    /// A second signal cut it short.
    Insisted(u8),
}

/// What every connection and the accept loop share.
struct Server {
    settings: Settings,
    events: Events,
    counters: Counters,
    begun: Instant,
    /// Where the first listener is, for messages.
    place: String,
    is_stream: bool,
    /// Who has sent datagrams, if that is recorded.
    peers: Option<Peers>,
    /// Datagrams under fault rules.
    post: Option<Mutex<Post>>,
    /// Who has datagrams forwarded.
    sessions: Sessions,
    /// Those that are being served, to be told of the end.
    live: Mutex<HashMap<u64, Arc<dyn Alive>>>,
    /// How many were accepted and have not ended.
    open: watch::Sender<u64>,
    /// The same for each address, where that is limited.
    open_by_address: Mutex<HashMap<IpAddr, u64>>,
    /// Told to stop.
    stopping: AtomicBool,
    /// The time of those that are left is over.
    cutting: AtomicBool,
    /// How the drain went, once it is over.
    drained: OnceLock<Drain>,
    /// What has become of the record, once it has ended.
    recorded: OnceLock<Recorded>,
    /// There is nothing more to wait for: the one datagram is answered, or stdout is gone.
    finished: Arc<Notify>,
    /// Why stdout is gone, or what else it cannot do without.
    failure: Arc<Mutex<Option<anyhow::Error>>>,
    /// Why the one connection failed whose end is the server's.
    verdict: Mutex<Option<Error>>,
}

/// Serves until told to stop, then drains.
pub fn serve(
    listeners: Vec<Listener>,
    mut settings: Settings,
    mut events: Events,
    wishes: Wishes,
) -> Result<(Summary, Ending)> {
    let runtime = single_threaded().context("start the event loop")?;
    let workers = Workers::start(runtime.handle().clone(), settings.threads).context("start the event loops")?;
    let (finished, failure) = (Arc::new(Notify::new()), Arc::new(Mutex::new(None)));
    let (ends, reason) = (finished.clone(), failure.clone());
    // When stdout fails there is nobody left to serve for.
    let stdout_failed = move |failure: io::Error| {
        *lock(&reason) = Some(failure.into());
        ends.notify_one();
    };
    events.begin(stdout_failed).context("start the thread that tells")?;
    let is_stream = listeners.iter().all(|listener| listener.transport().is_stream());
    let metrics = std::mem::take(&mut settings.metrics);
    let server = Arc::new(Server {
        post: settings.faults.clone().filter(|_| !is_stream).map(|faults| Mutex::new(Post::new(faults))),
        sessions: Sessions::new(),
        peers: settings.recorder.clone().filter(|_| !is_stream).map(Peers::new),
        settings,
        events,
        counters: Counters::default(),
        begun: Instant::now(),
        place: listeners.first().map(Listener::to_string).unwrap_or_default(),
        is_stream,
        live: Mutex::default(),
        open: watch::Sender::new(0),
        open_by_address: Mutex::default(),
        stopping: AtomicBool::new(false),
        cutting: AtomicBool::new(false),
        drained: OnceLock::new(),
        recorded: OnceLock::new(),
        finished,
        failure,
        verdict: Mutex::default(),
    });
    let ended = runtime.block_on(server.run(listeners, metrics, &workers, wishes));
    if let Some(peers) = &server.peers {
        peers.finish();
    }
    server.end_record();
    let is_as_expected = server.is_as_expected();
    if ended.is_ok() && lock(&server.failure).is_none() {
        server.report(true);
    }
    server.events.finish();
    if let Some(failure) = lock(&server.failure).take() {
        return Err(failure);
    }
    if let Some(error) = lock(&server.verdict).take() {
        return Err(error.into());
    }
    match ended? {
        Ending::Done if !is_as_expected => Ok((server.summary(), Ending::Unexpected)),
        ending => Ok((server.summary(), ending)),
    }
}

/// A poisoned lock means that a thread panicked while it held it; what is inside is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    async fn run(
        self: &Arc<Server>,
        listeners: Vec<Listener>,
        metrics: Vec<Listener>,
        workers: &Workers,
        mut wishes: Wishes,
    ) -> Result<Ending> {
        for listener in metrics {
            tokio::spawn(self.clone().tell_metrics(Driven::new(listener)?));
        }
        if !self.is_stream {
            let listeners = listeners.into_iter().map(Driven::new).collect::<io::Result<Vec<_>>>()?;
            if let Service::Stdio(stdio) = &self.settings.service {
                return self.converse(listeners, stdio, &mut wishes).await;
            }
            return Ok(self.answer_until(listeners, &mut wishes).await);
        }
        let mut doorway = Doorway::new(listeners, self.settings.faults.clone(), &self.events)?;
        let closed = self.accept_until(&mut doorway, workers, &mut wishes).await?;
        if !matches!(closed, Closed::Enough) {
            self.stop();
            self.accept_what_is_queued(doorway.listeners(), workers);
        }
        drop(doorway);
        self.settings.readiness.retire();
        let ending = self.drain(!matches!(closed, Closed::Enough), &mut wishes).await;
        Ok(match (closed, ending) {
            (Closed::Vacant(waited), Ending::Done) => self.vacant(waited),
            (_, ending) => ending,
        })
    }

    /// Waits for the end of serving: somebody wants it, its time has passed, or nobody reads what it says.
    async fn until_over(&self, wishes: &mut Wishes) {
        let lasts = async {
            match self.settings.limits.lasts {
                Some(lasts) => tokio::time::sleep_until((self.begun + lasts).into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.until_told(wishes) => {}
            () = self.finished.notified() => {}
            () = lasts => {}
        }
    }

    /// From now on what is under way is finished, and nothing else is begun.
    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.settings.readiness.tell_of_the_end();
    }

    /// Waits until nobody has come for as long as somebody was to be waited for, while nobody was there.
    async fn until_vacant(&self) -> Duration {
        let Some(timeout) = self.settings.limits.accept_timeout else { return std::future::pending().await };
        let mut open = self.open.subscribe();
        let mut datagrams = self.counters.datagrams.get();
        loop {
            // The server holds the sender: there is always something to wait for.
            let _ = open.wait_for(|open| *open == 0).await;
            tokio::select! {
                () = tokio::time::sleep(timeout) => {
                    let before = std::mem::replace(&mut datagrams, self.counters.datagrams.get());
                    if before == datagrams {
                        return timeout;
                    }
                }
                _ = open.changed() => {}
            }
        }
    }

    /// What there is to say when nobody has come.
    fn vacant(&self, waited: Duration) -> Ending {
        Ending::Vacant(Box::new(Error::timed_out(Op::Accept, &self.place, waited, Clock::Accept)))
    }

    /// Fulfils wishes until one is to stop, and says by which signal it came, if by one.
    async fn until_told(&self, wishes: &mut Wishes) -> Option<u8> {
        loop {
            match wishes.recv().await? {
                Wish::Stop(number) => return Some(number),
                Wish::Finish if !self.stopping.load(Ordering::SeqCst) => return None,
                Wish::Finish => {}
                Wish::Reload if self.has_files() => self.reload(),
                // With nothing to read again, a hangup is what it is to every program: the end.
                Wish::Reload => return Some(HANGUP),
                Wish::Report => self.report(false),
            }
        }
    }

    fn has_files(&self) -> bool {
        let faults_have = self.settings.faults.as_ref().is_some_and(|faults| faults.has_file());
        self.settings.access.has_files() || faults_have
    }

    /// Reads again what comes from files. What is wrong with them is told, and changes nothing.
    fn reload(&self) {
        let Settings { access, faults, .. } = &self.settings;
        let reloaded = access.reload().and_then(|()| faults.as_ref().map_or(Ok(()), |faults| faults.reload()));
        match reloaded {
            Ok(()) => self.events.reloaded(),
            Err(error) => self.events.not_reloaded(&error),
        }
    }

    /// Whether all that came was what was expected. That nobody came is not.
    fn is_as_expected(&self) -> bool {
        if self.settings.expected.is_none() {
            return true;
        }
        let has_come = self.counters.connections.get() + self.counters.datagrams.get() > 0;
        if !has_come {
            self.events.nothing_came();
        }
        has_come && self.counters.unexpected.get() == 0
    }

    /// Answers those who want the metrics, until the end.
    async fn tell_metrics(self: Arc<Server>, listener: Driven<Listener>) {
        let room = Arc::new(Semaphore::new(SCRAPERS_MAX));
        loop {
            let Ok((socket, peer)) = poll_fn(|context| listener.poll_accept(context)).await else {
                // For want of descriptors, most likely: one may be back soon.
                tokio::time::sleep(SCRAPER_PAUSE).await;
                continue;
            };
            let conn = listener.get().connection(socket, peer);
            let (Ok(conn), Ok(place)) = (conn, room.clone().try_acquire_owned()) else { continue };
            let server = self.clone();
            tokio::spawn(async move {
                let faults = || server.settings.faults.as_ref().map(|faults| faults.counts()).unwrap_or_default();
                let text =
                    || metrics::text(&server.summary(), &faults(), *server.open.borrow(), server.begun.elapsed());
                metrics::answer(conn, text).await;
                drop(place);
            });
        }
    }

    fn summary(&self) -> Summary {
        let mut summary = self.counters.summary(lock(&self.live).values().map(|life| life.traffic()));
        summary.events_dropped = self.events.left_out();
        summary.drain = self.drained.get().copied();
        summary.record = self.recorded.get().cloned();
        summary
    }

    /// Nothing more will happen: before the summary, which tells whether all of it is written.
    fn end_record(&self) {
        let Settings { recorder: Some(recorder), record_file: Some(file), .. } = &self.settings else { return };
        // What it means to the command is for whoever has started the record.
        self.recorded.get_or_init(|| Recorded::of(file, recorder.finish()));
    }

    /// Those who look at what passes, behind a label that tells it from the rest.
    fn taps(&self, label: impl FnOnce() -> String) -> Taps {
        if self.settings.passing.is_off() {
            return Taps::default();
        }
        let (ends, reason) = (self.finished.clone(), self.failure.clone());
        self.settings.passing.taps(&label(), move |error, what| {
            lock(&reason).get_or_insert(anyhow::Error::new(error).context(what));
            ends.notify_one();
        })
    }

    fn report(&self, is_last: bool) {
        let faults = self.settings.faults.as_deref();
        self.events.summary(&self.summary(), faults, self.is_stream, self.begun.elapsed(), is_last);
    }
}
