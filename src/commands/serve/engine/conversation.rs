//! Datagrams that are joined to stdin and stdout: what comes is printed, and what is typed goes to the last who sent something.
//!
//! Owns who that is. Must not know how lines are told apart. Trade-off: a thread reads stdin and another writes stdout, because
//! both block: a reader of stdout that hangs must keep neither stdin nor a signal waiting.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Ending, Server, Wishes};
use crate::commands::serve::stdio::{Postbox, Stdio};
use crate::connection::datagram::{DATAGRAM_BYTES_MAX, payload_limit};
use crate::connection::poll::{Interest, wait_any};
use crate::connection::ready::Queue;
use crate::connection::socket::Datagram;
use crate::connection::{Address, Driven, Error, Listener, Op};
use crate::output::bulk_stdin;
use crate::record::Direction;
use crate::relay::{Halt, Outgoing, Rules, Taps, Traffic, too_long};

/// Datagrams that wait for stdout: as many as a burst has, and few enough for the memory.
const WAITING_MAX: usize = 64;

type Socket = Arc<Driven<Listener>>;

/// A datagram for stdout, and who sent it.
type Letter = (Address, Vec<u8>);

/// What the threads and the event loop share.
struct Talk {
    rules: Rules,
    /// Only the first who sent something is heard and answered.
    once: bool,
    state: Mutex<State>,
    somebody_came: Condvar,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// The last who sent something, and where it came in.
    last: Option<(Socket, Address)>,
    heard: Option<Instant>,
    input_over: Option<Instant>,
}

impl Talk {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody has sent something: whether they are listened to.
    fn hear(&self, socket: &Socket, from: &Address) -> bool {
        let mut state = self.lock();
        if self.once && state.last.as_ref().is_some_and(|(_, peer)| peer != from) {
            return false;
        }
        state.last = Some((socket.clone(), from.clone()));
        state.heard = Some(Instant::now());
        drop(state);
        self.somebody_came.notify_all();
        self.changed.notify_one();
        true
    }

    fn wait_for_somebody(&self) -> Option<(Socket, Address)> {
        let state = self.somebody_came.wait_while(self.lock(), |state| state.last.is_none());
        state.unwrap_or_else(PoisonError::into_inner).last.clone()
    }

    fn input_is_over(&self) {
        self.lock().input_over = Some(Instant::now());
        self.changed.notify_one();
    }

    /// When it is over if nothing more comes; none is never.
    fn due(&self) -> Option<Instant> {
        let state = self.lock();
        let (heard, quit_after) = (state.heard.filter(|_| self.once)?, self.rules.quit_after);
        match self.rules.traffic {
            Traffic::SendOnly => state.input_over,
            Traffic::ReceiveOnly => Some(heard + quit_after?),
            Traffic::BothWays => Some(heard.max(state.input_over?) + quit_after?),
        }
    }

    async fn is_over(&self) {
        /// Longer than any wait, and shorter than what a clock can hold.
        const LONG: Duration = Duration::from_secs(86_400);
        loop {
            let left = self.due().map_or(LONG, |due| due.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = self.changed.notified() => {}
            }
        }
    }
}

impl Server {
    /// Prints and answers datagrams until told to stop, or until `once` has had its conversation.
    pub(super) async fn converse(
        self: &Arc<Server>,
        listeners: Vec<Driven<Listener>>,
        stdio: &Stdio,
        wishes: &mut Wishes,
    ) -> Result<Ending> {
        let talk = Arc::new(Talk {
            rules: stdio.rules(),
            once: self.settings.limits.total == Some(1),
            state: Mutex::default(),
            somebody_came: Condvar::new(),
            changed: Notify::new(),
        });
        let (letters, is_written) = self.start_writing(stdio.postbox().context("open stdout")?)?;
        if talk.rules.traffic != Traffic::ReceiveOnly {
            let (server, talk, input) = (self.clone(), talk.clone(), bulk_stdin().context("open stdin")?);
            thread::Builder::new().name("stdin".to_owned()).spawn(move || server.send_input(&talk, input))?;
        }
        let mut receiving = JoinSet::new();
        for listener in listeners {
            receiving.spawn(self.clone().overhear(Arc::new(listener), talk.clone(), letters.clone()));
        }
        drop(letters);
        let vacant = tokio::select! {
            () = self.until_over(wishes) => None,
            () = talk.is_over() => None,
            waited = self.until_vacant() => Some(waited),
        };
        self.stop();
        // With those who receive goes the last sender of letters: the writer ends when it has written them.
        receiving.shutdown().await;
        let insisted = tokio::select! {
            _ = is_written => None,
            number = self.until_told(wishes) => number,
            () = tokio::time::sleep(self.settings.grace) => None,
        };
        Ok(match (insisted, vacant) {
            (Some(number), _) => Ending::Insisted(number),
            (None, Some(waited)) => self.vacant(waited),
            (None, None) => Ending::Done,
        })
    }

    /// A thread that writes what comes; it says when it has written the last.
    fn start_writing(
        self: &Arc<Server>,
        mut postbox: Postbox,
    ) -> io::Result<(mpsc::Sender<Letter>, oneshot::Receiver<()>)> {
        let (letters, mut come) = mpsc::channel::<Letter>(WAITING_MAX);
        let (written, is_written) = oneshot::channel();
        let server = self.clone();
        thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            while let Some((from, bytes)) = come.blocking_recv() {
                if let Err(error) = postbox.put(&from, &bytes) {
                    return server.fail(error, "write stdout");
                }
            }
            // Whoever waited may have lost patience.
            let _ = written.send(());
        })?;
        Ok((letters, is_written))
    }

    /// Each datagram is shown, and its sender is who will be answered.
    async fn overhear(self: Arc<Server>, socket: Socket, talk: Arc<Talk>, letters: mpsc::Sender<Letter>) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut taps = self.taps(String::new);
        loop {
            let received = poll_fn(|context| {
                socket.poll_read(context, |socket| Ok((socket.recv_from(&mut buffer)?, Queue::MayHoldMore)))
            });
            // What recvfrom(2) reports here is the fate of an earlier answer: its receiver is gone.
            let Ok(datagram) = received.await else { continue };
            if !self.admits(&datagram, socket.get()) {
                continue;
            }
            let Datagram { length, from, .. } = &datagram;
            if !talk.hear(&socket, from) {
                self.counters.datagrams_unanswered.add(1);
                continue;
            }
            let bytes = &buffer[..*length];
            if let Some(peers) = &self.peers {
                peers.track(from, socket.get()).data(Direction::Received, bytes);
            }
            for tap in &mut taps.received {
                tap(bytes);
            }
            if talk.rules.traffic != Traffic::SendOnly && letters.send((from.clone(), bytes.to_vec())).await.is_err() {
                return;
            }
        }
    }

    /// What is read goes to the last who sent something, each piece as a datagram; the first waits for somebody to come.
    fn send_input(&self, talk: &Talk, mut input: Box<dyn io::Read + Send>) {
        let Some((socket, _)) = talk.wait_for_somebody() else { return };
        let limit = payload_limit(socket.get().local().family());
        // One byte more shows that there was more.
        let mut block = vec![0; limit + 1];
        let mut outgoing = Outgoing::new(talk.rules.manner, Some(limit));
        let mut taps = self.taps(String::new);
        let mut send = |piece: &[u8]| -> Result<(), std::convert::Infallible> {
            self.send_to_last(talk, piece, &mut taps);
            Ok(())
        };
        loop {
            match input.read(&mut block) {
                Ok(0) => break,
                Ok(count) => {
                    if let Err(Halt::TooLong(limit)) = outgoing.pass(&block[..count], &mut send) {
                        return self.fail(too_long(limit), "read stdin");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.fail(error, "read stdin");
                    break;
                }
            }
        }
        // What is left is no longer than what was taken.
        let _ = outgoing.finish(&mut send);
        talk.input_is_over();
    }

    fn send_to_last(&self, talk: &Talk, piece: &[u8], taps: &mut Taps) {
        let Some((listener, peer)) = talk.wait_for_somebody() else { return };
        for tap in &mut taps.sending {
            tap(piece);
        }
        let socket = listener.get().socket();
        let begun = Instant::now();
        loop {
            match socket.send_to(piece, &peer) {
                Ok(count) => {
                    self.counters.sent_bytes.add(count as u64);
                    if let Some(peers) = &self.peers {
                        peers.track(&peer, listener.get()).data(Direction::Sent, piece);
                    }
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // It fails only where sending will say why.
                    let _ = wait_any(&[socket], Interest::Writable, None);
                }
                Err(error) => {
                    let target = format!("{peer} ({})", listener.get().transport());
                    return self.events.failed(&Error::system(Op::Send, target, begun.elapsed(), error));
                }
            }
        }
    }
}
