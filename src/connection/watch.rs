//! Many sockets that connect, waited for at once, and a way to end the wait from another thread.
//!
//! Owns the choice of the system call. Must not know what the sockets are for. Trade-off: poll(2) for a few, which costs
//! nothing to set up; an event queue (epoll, kqueue) for many, where poll(2) would look at each of them each time, and
//! for whoever wants to be woken. Windows has an event queue only for its own socket types, and polls: there a wait that
//! can be ended is cut into short ones.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::attempt::Flight;
#[cfg(unix)]
use super::poll::Interest;
use super::poll::wait_each;

/// From here on setting up a queue is quicker than looking at every socket again and again.
#[cfg(unix)]
const QUEUE_FROM: usize = 16;

/// As many events as one wait takes; more are taken by the next.
#[cfg(unix)]
const EVENTS_MAX: usize = 256;

/// The key of the waker: sockets count up from 1.
#[cfg(unix)]
const WAKER: usize = usize::MAX;

/// How often a wait looks up that nothing can wake: seldom enough to cost nothing, too often for a person to notice.
const TICK: Duration = Duration::from_millis(10);

/// What waits for the sockets.
#[derive(Debug)]
pub(super) struct Watch {
    queue: Queue,
    /// There is one as soon as somebody asked for it.
    waker: Option<Waker>,
}

#[derive(Debug)]
enum Queue {
    /// poll(2)
    None,
    /// epoll(7), kqueue(2)
    #[cfg(unix)]
    Events(mio::Poll, mio::Events),
}

/// Ends a wait, from any thread.
#[derive(Debug, Clone, Default)]
pub struct Waker {
    is_stopped: Arc<AtomicBool>,
    #[cfg(unix)]
    event: Option<Arc<mio::Waker>>,
}

impl Waker {
    /// Ends the wait: there is something new.
    pub fn wake(&self) {
        #[cfg(unix)]
        if let Some(event) = &self.event {
            // It fails only where the queue is full of wakes already.
            let _ = event.wake();
        }
    }

    /// Ends the wait and the run: what is under way is cut off.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether somebody stopped it.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Whether a wait would notice.
    fn is_heard(&self) -> bool {
        #[cfg(unix)]
        return self.event.is_some();
        #[cfg(not(unix))]
        {
            let _ = self;
            false
        }
    }
}

impl Watch {
    /// For so many sockets at a time. Where there can be no queue (out of descriptors), it polls.
    pub(super) fn new(sockets_max: usize) -> Watch {
        #[cfg(unix)]
        let queue = if sockets_max >= QUEUE_FROM { Queue::events() } else { Queue::None };
        #[cfg(not(unix))]
        let (queue, _) = (Queue::None, sockets_max);
        Watch { queue, waker: None }
    }

    /// What ends its waits.
    pub(super) fn waker(&mut self) -> Waker {
        self.waker.get_or_insert_with(|| self.queue.waker()).clone()
    }

    /// Whether its waker stopped it.
    pub(super) fn is_stopped(&self) -> bool {
        self.waker.as_ref().is_some_and(Waker::is_stopped)
    }

    /// Watches one more socket, until it is closed.
    #[cfg_attr(windows, expect(clippy::unnecessary_wraps, reason = "only an event queue can refuse"))]
    pub(super) fn add(&self, key: usize, flight: &Flight) -> io::Result<()> {
        match &self.queue {
            Queue::None => {
                let _ = (key, flight);
                Ok(())
            }
            #[cfg(unix)]
            Queue::Events(poll, _) => {
                use std::os::fd::AsRawFd;
                let descriptor = flight.socket.as_raw_fd();
                let mut source = mio::unix::SourceFd(&descriptor);
                let interest = match flight.until {
                    Interest::Readable => mio::Interest::READABLE,
                    Interest::Writable => mio::Interest::WRITABLE,
                };
                poll.registry().register(&mut source, mio::Token(key), interest)
            }
        }
    }

    /// Waits until some are decided, and adds their keys to `ready`. `flights` are all that are watched.
    pub(super) fn wait<'a>(
        &mut self,
        flights: impl Iterator<Item = (usize, &'a Flight)>,
        timeout: Option<Duration>,
        ready: &mut Vec<usize>,
    ) -> io::Result<()> {
        let is_deaf = self.waker.as_ref().is_some_and(|waker| !waker.is_heard());
        let timeout = if is_deaf { Some(timeout.map_or(TICK, |timeout| timeout.min(TICK))) } else { timeout };
        match &mut self.queue {
            Queue::None => {
                let (keys, sockets): (Vec<usize>, Vec<_>) =
                    flights.map(|(key, flight)| (key, (&flight.socket, flight.until))).unzip();
                let decided = wait_each(sockets.into_iter(), timeout)?;
                ready.extend(keys.into_iter().zip(decided).filter_map(|(key, is_decided)| is_decided.then_some(key)));
            }
            #[cfg(unix)]
            Queue::Events(poll, events) => {
                match poll.poll(events, timeout) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                    _ => {}
                }
                ready.extend(events.iter().map(|event| event.token().0).filter(|key| *key != WAKER));
            }
        }
        Ok(())
    }
}

impl Queue {
    #[cfg(unix)]
    fn events() -> Queue {
        mio::Poll::new().map_or(Queue::None, |poll| Queue::Events(poll, mio::Events::with_capacity(EVENTS_MAX)))
    }

    /// Its waker. A queue is set up for it, while there is no socket yet that would have to be in it.
    fn waker(&mut self) -> Waker {
        #[cfg(unix)]
        {
            if matches!(self, Queue::None) {
                *self = Queue::events();
            }
            let event = match self {
                Queue::None => None,
                Queue::Events(poll, _) => mio::Waker::new(poll.registry(), mio::Token(WAKER)).ok().map(Arc::new),
            };
            Waker { event, ..Waker::default() }
        }
        #[cfg(not(unix))]
        {
            let _ = self;
            Waker::default()
        }
    }
}
