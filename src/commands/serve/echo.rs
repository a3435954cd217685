//! RFC 862: every byte that comes goes back, in order, until the peer has finished; then the server finishes too.
//!
//! Owns what is owed to a peer. Must not know who counts connections or prints events, nor what layers are below. Trade-off:
//! an idle connection holds no buffer; only what a slow peer does not take at once is copied, and until it is taken nothing
//! more is read from that peer.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use super::stream::{Broken, Stream, with_block};

/// Echoes until the peer has finished and has been sent everything.
pub async fn echo<S: Stream>(stream: &mut S) -> Result<(), Broken> {
    let mut echo = Echo { stream, owed: Vec::new(), paid: 0 };
    poll_fn(|context| echo.poll(context)).await?;
    poll_fn(|context| stream.poll_finish(context)).await
}

struct Echo<'a, S> {
    stream: &'a mut S,
    /// What the peer has not taken yet; empty, and without memory, for all but slow peers.
    owed: Vec<u8>,
    /// How much of `owed` it has taken since.
    paid: usize,
}

impl<S: Stream> Echo<'_, S> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            ready!(self.poll_pay(context))?;
            if ready!(self.poll_block(context))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Sends what is owed, before anything more is read: back-pressure instead of memory.
    fn poll_pay(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while self.paid < self.owed.len() {
            self.paid += ready!(self.stream.poll_send(context, &self.owed[self.paid..]))?;
        }
        if self.paid > 0 {
            (self.owed, self.paid) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads one block and sends it straight back; what does not fit is owed.
    fn poll_block(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        with_block(|block| {
            let received = ready!(self.stream.poll_receive(context, block))?;
            if received > 0 {
                let sent = match self.stream.poll_send(context, &block[..received]) {
                    Poll::Ready(sent) => sent?,
                    Poll::Pending => 0,
                };
                self.owed.extend_from_slice(&block[sent..received]);
            }
            Poll::Ready(Ok(received))
        })
    }
}
