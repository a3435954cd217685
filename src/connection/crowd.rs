//! Many sockets watched by one thread, with a wait that is exact to the nanosecond where the system's is.
//!
//! Owns the event queue. Must not know what is sent or received. Trade-off: on Linux edges of epoll(7), whose wait takes
//! nanoseconds as a load that follows a plan needs it; elsewhere poll(2) over all of them, which is the same everywhere and
//! slow from hundreds of sockets on.

use std::io;
use std::time::Duration;

use rustix::event::Timespec;

use super::Conn;

/// A connection that can go on, by its place in the crowd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Its place.
    pub index: usize,
    /// Something has come: bytes, the end, or an error.
    pub readable: bool,
    /// There is room to send again.
    pub writable: bool,
    /// The peer has ended it, behind whatever else has come: there will be no other event for that.
    pub ended: bool,
}

/// As many events as one wait takes: all that a busy thread's connections have between two waits.
const EVENTS_MAX: usize = 1024;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod queue {
    use std::os::fd::OwnedFd;

    use rustix::buffer::spare_capacity;
    use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
    use rustix::event::{PollFd, PollFlags, poll};

    use super::{Conn, EVENTS_MAX, Ready, Timeout, Timespec, io};

    pub(super) struct Queue {
        epoll: OwnedFd,
        events: Vec<Event>,
    }

    /// An event has no `Debug` of its own.
    impl std::fmt::Debug for Queue {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_tuple("Queue").field(&self.epoll).finish()
        }
    }

    impl Queue {
        pub(super) fn new(conns: &[Conn]) -> io::Result<Queue> {
            let epoll = epoll::create(CreateFlags::CLOEXEC)?;
            for (index, conn) in conns.iter().enumerate() {
                let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
                epoll::add(&epoll, conn.socket(), EventData::new_u64(index as u64), interest)?;
            }
            Ok(Queue { epoll, events: Vec::with_capacity(EVENTS_MAX) })
        }

        /// Edges need no wishes: `_wants_room` is for poll(2).
        pub(super) fn wait(
            &mut self,
            _conns: &[Conn],
            _wants_room: impl Fn(usize) -> bool,
            timeout: Timeout,
            ready: &mut Vec<Ready>,
        ) -> io::Result<()> {
            self.events.clear();
            let mut timeout = timeout;
            if timeout.is_exact && timeout.length != Timespec::default() {
                // epoll_wait(2) knows milliseconds, epoll_pwait2(2) not every kernel; ppoll(2) of the queue itself does it.
                poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&timeout.length))?;
                timeout.length = Timespec::default();
            }
            epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout.length))?;
            ready.extend(self.events.iter().map(|event| {
                let (flags, data) = (event.flags, event.data);
                Ready {
                    index: data.u64() as usize,
                    readable: flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::ERR | EventFlags::HUP),
                    writable: flags.contains(EventFlags::OUT),
                    ended: flags.intersects(EventFlags::RDHUP | EventFlags::ERR | EventFlags::HUP),
                }
            }));
            Ok(())
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod queue {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::{Conn, EVENTS_MAX, Ready, Timeout, io};

    #[derive(Debug)]
    pub(super) struct Queue;

    impl Queue {
        pub(super) fn new(_conns: &[Conn]) -> io::Result<Queue> {
            Ok(Queue)
        }

        pub(super) fn wait(
            &mut self,
            conns: &[Conn],
            wants_room: impl Fn(usize) -> bool,
            timeout: Timeout,
            ready: &mut Vec<Ready>,
        ) -> io::Result<()> {
            let mut entries: Vec<PollFd> = Vec::with_capacity(conns.len());
            for (index, conn) in conns.iter().enumerate() {
                let room = if wants_room(index) { PollFlags::OUT } else { PollFlags::empty() };
                entries.push(PollFd::new(conn.socket(), PollFlags::IN | room));
            }
            let mut length = timeout.length;
            if timeout.is_exact {
                // poll(2) would round up to milliseconds, and be late; the caller looks at its clock for the rest.
                length.tv_nsec -= length.tv_nsec % 1_000_000;
            }
            poll(&mut entries, Some(&length))?;
            let found = entries.iter().enumerate().filter(|(_, entry)| !entry.revents().is_empty());
            ready.extend(found.take(EVENTS_MAX).map(|(index, entry)| Ready {
                index,
                readable: entry.revents() != PollFlags::OUT,
                writable: entry.revents().contains(PollFlags::OUT),
                // poll(2) tells of it again.
                ended: false,
            }));
            Ok(())
        }
    }
}

/// How long to wait.
#[derive(Clone, Copy)]
struct Timeout {
    length: Timespec,
    is_exact: bool,
}

/// The sockets of one thread, watched.
#[derive(Debug)]
pub struct Crowd {
    queue: queue::Queue,
    ready: Vec<Ready>,
}

impl Crowd {
    /// Watches these connections. Each wait must be given the same ones in the same order.
    pub fn new(conns: &[Conn]) -> io::Result<Crowd> {
        Ok(Crowd { queue: queue::Queue::new(conns)?, ready: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Waits until some can go on, at most `timeout` long, and says which. A connection is told of once for each change:
    /// read until nothing is left, to the end if it has ended; send until there is no room. A signal ends the wait early. An
    /// exact wait is not rounded up to milliseconds, and costs one more system call.
    pub fn wait(
        &mut self,
        conns: &[Conn],
        wants_room: impl Fn(usize) -> bool,
        timeout: Duration,
        is_exact: bool,
    ) -> io::Result<&[Ready]> {
        self.ready.clear();
        let length = Timespec::try_from(timeout).unwrap_or_default();
        match self.queue.wait(conns, wants_room, Timeout { length, is_exact }, &mut self.ready) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
            Err(error) => Err(error),
            Ok(()) => Ok(&self.ready),
        }
    }
}
