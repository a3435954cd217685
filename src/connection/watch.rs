//! Many sockets that connect, waited for at once.
//!
//! Owns the choice of the system call. Must not know what the sockets are for. Trade-off: poll(2) for a few, which costs
//! nothing to set up; an event queue (epoll, kqueue) for many, where poll(2) would look at each of them each time. Windows
//! has an event queue only for its own socket types, and polls.

use std::io;
use std::time::Duration;

use super::Socket;
use super::socket::{Interest, wait_any};

/// From here on setting up a queue is quicker than looking at every socket again and again.
#[cfg(unix)]
const QUEUE_FROM: usize = 16;

/// As many events as one wait takes; more are taken by the next.
#[cfg(unix)]
const EVENTS_MAX: usize = 256;

/// What waits for the sockets.
#[derive(Debug)]
pub(super) enum Watch {
    /// poll(2)
    Poll,
    /// epoll(7), kqueue(2)
    #[cfg(unix)]
    Queue(mio::Poll, mio::Events),
}

impl Watch {
    /// For so many sockets at a time. Where there can be no queue (out of descriptors), it polls.
    pub(super) fn new(sockets_max: usize) -> Watch {
        #[cfg(unix)]
        if sockets_max >= QUEUE_FROM
            && let Ok(poll) = mio::Poll::new()
        {
            return Watch::Queue(poll, mio::Events::with_capacity(EVENTS_MAX));
        }
        let _ = sockets_max;
        Watch::Poll
    }

    /// Watches one more socket, until it is closed.
    pub(super) fn add(&self, key: usize, socket: &Socket) -> io::Result<()> {
        match self {
            Watch::Poll => {
                let _ = (key, socket);
                Ok(())
            }
            #[cfg(unix)]
            Watch::Queue(poll, _) => {
                use std::os::fd::AsRawFd;
                let descriptor = socket.as_raw_fd();
                let mut source = mio::unix::SourceFd(&descriptor);
                poll.registry().register(&mut source, mio::Token(key), mio::Interest::WRITABLE)
            }
        }
    }

    /// Waits until some are decided, and adds their keys to `ready`. `sockets` are all that are watched.
    pub(super) fn wait<'a>(
        &mut self,
        sockets: impl Iterator<Item = (usize, &'a Socket)>,
        timeout: Option<Duration>,
        ready: &mut Vec<usize>,
    ) -> io::Result<()> {
        match self {
            Watch::Poll => {
                let (keys, sockets): (Vec<usize>, Vec<&Socket>) = sockets.unzip();
                let decided = wait_any(&sockets, Interest::Writable, timeout)?;
                ready.extend(keys.into_iter().zip(decided).filter_map(|(key, is_decided)| is_decided.then_some(key)));
            }
            #[cfg(unix)]
            Watch::Queue(poll, events) => {
                match poll.poll(events, timeout) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                    _ => {}
                }
                ready.extend(events.iter().map(|event| event.token().0));
            }
        }
        Ok(())
    }
}
