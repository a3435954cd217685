//! RFC 863: every byte that comes is thrown away, until the peer has finished; then the server finishes too.

use std::future::poll_fn;
use std::task::{Poll, ready};

use super::stream::{Broken, Stream, with_block};

/// Throws away what comes until the peer has finished.
pub async fn discard<S: Stream>(stream: &mut S) -> Result<(), Broken> {
    throw_away(stream).await?;
    poll_fn(|context| stream.poll_finish(context)).await
}

/// The same without an end of our own.
pub async fn throw_away<S: Stream>(stream: &mut S) -> Result<(), Broken> {
    poll_fn(|context| {
        with_block(|block| {
            while ready!(stream.poll_receive(context, block))? > 0 {}
            Poll::Ready(Ok(()))
        })
    })
    .await
}
