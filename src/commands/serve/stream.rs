//! A connection's bytes as a service sees them: a stream, made of the connection and the layers over it.
//!
//! Owns what passes on the wire: the calls, the count of the bytes, and those who look at them. Must not know which service
//! it carries, nor the layers above it. Trade-off: polled instead of awaited, because an idle connection that awaits a read
//! would hold its buffer; so it is given one, for as long as one poll takes, that its thread's connections share.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};

use crate::connection::ready::Queue;
use crate::connection::{Conn, Driven, Error, Op};
use crate::relay::Taps;

/// One read: enough for a bulk sender to be served in few calls, little enough to stay in the cache.
pub const BLOCK_BYTES: usize = 64 * 1024;

thread_local! {
    /// Filled and emptied within one poll, so every connection of the thread can have it.
    static BLOCK: RefCell<Vec<u8>> = RefCell::new(vec![0; BLOCK_BYTES]);
}

/// Lends the thread's block for one poll. A layer must not ask for it: the service that polls it has it already.
#[inline]
pub fn with_block<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    BLOCK.with_borrow_mut(|block| use_it(block))
}

/// Bytes each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received from the peer.
    pub received_bytes: u64,
    /// Sent to the peer: taken by the system.
    pub sent_bytes: u64,
}

/// Why a stream is over before its time.
#[derive(Debug)]
pub enum Broken {
    /// A call failed.
    Call(Box<Error>),
}

/// A byte stream on the event loop.
pub trait Stream {
    /// What came, once something has: 0 when the peer's direction has ended.
    fn poll_receive(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, Broken>>;

    /// How many of the bytes were taken, once there is room for any.
    fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Broken>>;

    /// Ends our direction, once everything that was taken has gone.
    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>>;
}

/// The connection itself, under all layers.
pub struct Wire<'a> {
    driven: &'a Driven<Conn>,
    traffic: Traffic,
    taps: Taps,
}

impl<'a> Wire<'a> {
    /// Over a connection whose bytes the taps see.
    pub fn new(driven: &'a Driven<Conn>, taps: Taps) -> Wire<'a> {
        Wire { driven, traffic: Traffic::default(), taps }
    }

    /// What has passed.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    #[cold]
    fn broken(&self, op: Op, error: io::Error) -> Broken {
        Broken::Call(Box::new(self.driven.get().error(op, error)))
    }
}

impl Stream for Wire<'_> {
    #[inline]
    fn poll_receive(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, Broken>> {
        let received = ready!(self.driven.poll_read(context, |socket| {
            let received = socket.recv(buffer)?;
            // A read that does not fill the block has emptied the queue; 0 is the end and must be seen again.
            let is_short = 0 < received && received < buffer.len();
            Ok((received, if is_short { Queue::Emptied } else { Queue::MayHoldMore }))
        }));
        let received = received.map_err(|error| self.broken(Op::Receive, error))?;
        self.traffic.received_bytes += received as u64;
        for tap in &mut self.taps.received {
            tap(&buffer[..received]);
        }
        Poll::Ready(Ok(received))
    }

    #[inline]
    fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Broken>> {
        let sent = ready!(self.driven.poll_write(context, |socket| socket.send(bytes)));
        let sent = sent.map_err(|error| self.broken(Op::Send, error))?;
        self.traffic.sent_bytes += sent as u64;
        for tap in &mut self.taps.sent {
            tap(&bytes[..sent]);
        }
        Poll::Ready(Ok(sent))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(self.driven.get().finish().map_err(|error| Broken::Call(Box::new(error))))
    }
}
