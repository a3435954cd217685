//! RFC 862: every byte that comes goes back, in order, until the peer has finished; then the server finishes too.
//!
//! Owns one connection's bytes while they are here. Must not know who counts connections or prints events. Trade-off: bytes
//! are read into one buffer that the thread's connections share, so that an idle connection holds none; only what a slow
//! peer does not take at once is copied, and until it is taken nothing more is read from that peer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use crate::connection::error::kind_of;
use crate::connection::ready::Queue;
use crate::connection::{Conn, Driven, Error, Kind, Op};

/// One read: enough for a bulk sender to be served in few calls, little enough to stay in the cache.
const BLOCK_BYTES: usize = 64 * 1024;

thread_local! {
    /// Filled and emptied within one poll, so every connection of the thread can have it.
    static BLOCK: RefCell<Vec<u8>> = RefCell::new(vec![0; BLOCK_BYTES]);
}

/// Bytes each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received from the peer.
    pub received_bytes: u64,
    /// Sent to the peer: taken by the system.
    pub sent_bytes: u64,
}

/// How a connection ended.
#[derive(Debug)]
pub enum How {
    /// The peer's FIN, then ours.
    PeerFinished,
    /// Ours first: the server was told to stop.
    Stopped,
    /// Reset by us: its time to finish was over.
    Cut,
    /// A reset, or another error.
    Failed(Error),
}

impl How {
    /// The word for it in JSON.
    pub fn word(&self) -> &'static str {
        match self {
            How::PeerFinished => "peer_finished",
            How::Stopped => "stopped",
            How::Cut => "cut",
            How::Failed(error) if is_reset(error) => "peer_reset",
            How::Failed(_) => "error",
        }
    }
}

/// Whether the peer ended it abruptly. EPIPE is what a send says after the reset.
fn is_reset(error: &Error) -> bool {
    matches!(error.kind(), Kind::Reset | Kind::BrokenPipe)
}

/// Echoes until the peer has finished and has been sent everything.
pub async fn echo(driven: &Driven<Conn>) -> (Traffic, How) {
    let mut echo = Echo { driven, traffic: Traffic::default(), owed: Vec::new(), paid: 0 };
    let result = poll_fn(|context| echo.poll(context)).await;
    let how = match result {
        Err((op, error)) => How::Failed(driven.get().error(op, error)),
        Ok(()) => match driven.get().finish() {
            // The peer that has reset meanwhile is told by a send; with nothing to send it has simply gone.
            Err(error) if error.kind() != Kind::BrokenPipe => How::Failed(error),
            _ => How::PeerFinished,
        },
    };
    (echo.traffic, how)
}

struct Echo<'a> {
    driven: &'a Driven<Conn>,
    traffic: Traffic,
    /// What the peer has not taken yet; empty, and without memory, for all but slow peers.
    owed: Vec<u8>,
    /// How much of `owed` it has taken since.
    paid: usize,
}

impl Echo<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), (Op, io::Error)>> {
        loop {
            if let Err(error) = ready!(self.poll_pay(context)) {
                return Poll::Ready(Err((Op::Send, error)));
            }
            match ready!(self.poll_block(context)) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(_) => {}
                Err(failure) => return Poll::Ready(Err(failure)),
            }
        }
    }

    /// Sends what is owed, before anything more is read: back-pressure instead of memory.
    fn poll_pay(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.paid < self.owed.len() {
            let rest = &self.owed[self.paid..];
            let sent = ready!(self.driven.poll_write(context, |socket| socket.send(rest)))?;
            self.paid += sent;
            self.traffic.sent_bytes += sent as u64;
        }
        if self.paid > 0 {
            (self.owed, self.paid) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads one block and sends it straight back; what does not fit is owed.
    fn poll_block(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, (Op, io::Error)>> {
        BLOCK.with_borrow_mut(|block| {
            let received = ready!(self.driven.poll_read(context, |socket| {
                let received = socket.recv(block)?;
                // A read that does not fill the block has emptied the queue; 0 is the end and must be seen again.
                let is_short = 0 < received && received < BLOCK_BYTES;
                Ok((received, if is_short { Queue::Emptied } else { Queue::MayHoldMore }))
            }));
            let received = received.map_err(|error| (Op::Receive, error))?;
            self.traffic.received_bytes += received as u64;
            if received > 0 {
                let sent = self.send_now(&block[..received]).map_err(|error| (Op::Send, error))?;
                self.owed.extend_from_slice(&block[sent..received]);
            }
            Poll::Ready(Ok(received))
        })
    }

    /// As much as the system takes without waiting.
    fn send_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = match self.driven.get().socket().send(bytes) {
            Err(error) if kind_of(&error) == Kind::Busy => 0,
            result => result?,
        };
        self.traffic.sent_bytes += sent as u64;
        Ok(sent)
    }
}
