//! The end of a connection that the server ends first.
//!
//! Must not know why it is over. Trade-off: what the peer still sends is read for a while, although nobody wants it: a close
//! with unread input is a reset (RFC 2525 section 2.17), which takes from the peer what it has not read yet.

use std::future::poll_fn;
use std::time::Duration;

use super::discard::throw_away;
use super::stream::{Broken, Stream};

/// How long a peer may go on sending after our end. One that reads sees the end and finishes; five seconds bridge a lost
/// segment and its retransmissions.
const PATIENCE: Duration = Duration::from_secs(5);

/// Finishes, then takes what comes until the peer finishes too, or until it has had its time.
pub async fn part<S: Stream>(stream: &mut S) -> Result<(), Broken> {
    poll_fn(|context| stream.poll_finish(context)).await?;
    tokio::time::timeout(PATIENCE, throw_away(stream)).await.unwrap_or(Ok(()))
}
