//! How many of something are under way, for whoever waits until none is.
//!
//! Must not know what they are.

use tokio::sync::watch;

/// Those that have begun and are not over.
#[derive(Debug, Clone, Default)]
pub struct Underway(watch::Sender<u64>);

/// One of them: it is over when this is dropped.
#[derive(Debug)]
pub struct Place(watch::Sender<u64>);

impl Underway {
    /// One more.
    pub fn begin(&self) -> Place {
        self.0.send_modify(|count| *count += 1);
        Place(self.0.clone())
    }

    /// Waits until all are over.
    pub async fn all_over(&self) {
        // We hold the sender: there is an end to wait for.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
