//! `--proxy-protocol`: a header comes first and says whose connection it is.
//!
//! Owns the wait for it. Must not know its form. Trade-off: it must come, and nothing else may come before it: a server that
//! guesses whether there is a header lets every client pretend to be another (proxy-protocol.txt, section 2).

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::ending::How;
use super::life::{Asked, Life};
use super::stream::with_block;
use crate::connection::proxy_protocol::{Decoder, Header};
use crate::connection::ready::Queue;

/// How long the header may take: the protocol asks for three seconds at least, one lost segment's retransmission.
const PATIENCE: Duration = Duration::from_secs(3);

/// What came first: the header, and what came with it that is the client's.
pub type Introduction = (Header, Vec<u8>);

/// Waits for the header. Without one it is over, one way or another.
pub async fn introduction(life: &Life) -> Result<Introduction, How> {
    let mut decoder = Decoder::new();
    let read = async {
        loop {
            if let Some(introduction) = poll_fn(|context| poll_piece(life, &mut decoder, context)).await? {
                return Ok(introduction);
            }
        }
    };
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(read) => read,
        Err(_) => Err(How::BadHeader(format!("no PROXY header came within {} s", PATIENCE.as_secs()))),
    }
}

/// Takes what has come: none if it is not all of the header.
fn poll_piece(
    life: &Life,
    decoder: &mut Decoder,
    context: &mut std::task::Context<'_>,
) -> Poll<Result<Option<Introduction>, How>> {
    match life.listen(context) {
        Asked::ToEnd => return Poll::Ready(Err(How::Cut)),
        Asked::ToFinish if decoder.is_empty() => return Poll::Ready(Err(How::Stopped)),
        _ => {}
    }
    with_block(|block| {
        let received = life.driven().poll_read(context, |socket| Ok((socket.recv(block)?, Queue::MayHoldMore)));
        received.map(|received| match received {
            Err(error) => Err(How::Failed(life.conn().error(crate::connection::Op::Receive, error))),
            // Whoever only looks whether the port is open has nothing to introduce.
            Ok(0) if decoder.is_empty() => Err(How::PeerFinished),
            Ok(0) => Err(How::BadHeader("the PROXY header was cut short by the connection's end".to_owned())),
            Ok(length) => match decoder.take(&block[..length]) {
                Ok((used, Some(header))) => Ok(Some((header, block[used..length].to_vec()))),
                Ok((_, None)) => Ok(None),
                Err(malformed) => Err(How::BadHeader(malformed.to_string())),
            },
        })
    })
}
