//! One connection from beginning to end, on the event loop that it was dealt to.
//!
//! Owns its life and its end. Must not know who let it in. Trade-off: the service is polled, not awaited, so that it can be
//! ended in the middle of whatever it does; a layer that waits for a timer need not listen for the end of the server.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Server, lock};
use crate::commands::serve::ending::How;
use crate::commands::serve::life::{Asked, Life};
use crate::commands::serve::service::Visit;
use crate::commands::serve::stream::{Wire, with_block};
use crate::connection::ready::Queue;
use crate::connection::{Conn, Driven};
use crate::relay::Taps;

/// How long a peer that sends on after our FIN is listened to before the close, which to it would be a reset: each time
/// that something comes, anew.
const LINGER: Duration = Duration::from_millis(50);

impl Server {
    /// Serves it until its end, and tells of it.
    pub(super) async fn attend(&self, id: u64, conn: Conn) {
        // Out of memory or of watches (epoll_ctl(2)): the connection is closed, the server goes on.
        let Ok(driven) = Driven::new(conn) else { return };
        let life = Arc::new(Life::new(driven));
        lock(&self.live).insert(id, life.clone());
        // Told to stop before it was in the list of those who are told.
        if self.stopping.load(Ordering::SeqCst) {
            life.ask(Asked::ToFinish);
        }
        if self.cutting.load(Ordering::SeqCst) {
            life.ask(Asked::ToEnd);
        }
        let how = self.serve(id, &life).await;
        let traffic = life.traffic();
        lock(&self.live).remove(&id);
        self.counters.ended(traffic, &how);
        self.events.closed(id, life.conn(), traffic, &how);
    }

    async fn serve(&self, id: u64, life: &Life) -> How {
        let mut wire = Wire::new(life, Taps::default());
        let visit = Visit { number: id, life };
        let ended = {
            let mut service = pin!(self.settings.service.serve(&mut wire, &visit));
            poll_fn(|context| match life.listen(context) {
                Asked::ToEnd => Poll::Ready(None),
                Asked::Nothing | Asked::ToFinish => service.as_mut().poll(context).map(Some),
            })
            .await
        };
        let how = match ended {
            // It fails only on a connection that is gone already.
            None => life.conn().reset_on_close().map_or(How::Cut, |()| How::Cut),
            Some(ended) => How::of(ended),
        };
        if matches!(how, How::PeerFinished | How::Finished) && wire.is_ended_here() {
            Box::pin(linger(life)).await;
            return How::Stopped;
        }
        how
    }
}

/// Reads and drops what still comes after our FIN, until the peer has finished too or is silent.
async fn linger(life: &Life) {
    loop {
        let mut silence = pin!(tokio::time::sleep(LINGER));
        let received = poll_fn(|context| {
            if life.listen(context) == Asked::ToEnd || silence.as_mut().poll(context).is_ready() {
                return Poll::Ready(0);
            }
            poll_drop(life, context)
        });
        if received.await == 0 {
            return;
        }
    }
}

/// How many bytes came and were dropped; none at the end, in order or not.
fn poll_drop(life: &Life, context: &mut Context<'_>) -> Poll<usize> {
    let received =
        with_block(|block| life.driven().poll_read(context, |socket| Ok((socket.recv(block)?, Queue::MayHoldMore))));
    received.map(|received| received.unwrap_or(0))
}
