//! The end of the server: what is under way may finish, within the grace time.
//!
//! Owns the order of the end. Must not know how a connection finishes. Trade-off: a connection counts as busy for as long as
//! its peer sends; who sends for ever is reset when the grace time is over.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Ending, Server, Wishes, lock};
use crate::commands::serve::counters::Drain;
use crate::commands::serve::executed::Exec;
use crate::commands::serve::life::Asked;
use crate::commands::serve::service::Service;
use crate::units::milliseconds;

/// A drain that is over sooner needs no word; one that is not looks like a server that ignores the signal.
const NOTICE: Duration = Duration::from_millis(250);

impl Server {
    /// Lets open connections finish: what comes is served until the peer is silent, then they are closed. `once` waits for
    /// its connection as long as it takes, until somebody tells it to stop.
    pub(super) async fn drain(&self, is_told: bool, wishes: &mut Wishes) -> Ending {
        if !is_told {
            tokio::select! {
                () = self.all_ended() => return Ending::Done,
                () = self.until_over(wishes) => self.stop(),
            }
        }
        let (begun, connections) = (Instant::now(), *self.open.borrow());
        let ending = self.finish_or_cut(wishes).await;
        if connections > 0 {
            let cut = self.counters.connections_cut.get().min(connections);
            let drain = Drain {
                connections,
                finished: connections - cut,
                cut,
                grace_ms: milliseconds(self.settings.grace),
                is_cut_short: matches!(ending, Ending::Insisted(_)),
                is_announced: begun.elapsed() >= NOTICE,
            };
            self.drained.get_or_init(|| drain);
        }
        ending
    }

    async fn finish_or_cut(&self, wishes: &mut Wishes) -> Ending {
        lock(&self.live).values().for_each(|life| life.ask(Asked::ToFinish));
        let ending = tokio::select! {
            () = self.all_ended() => return Ending::Done,
            number = self.until_told(wishes) => number.map_or(Ending::Done, Ending::Insisted),
            () = tokio::time::sleep(self.settings.grace) => Ending::Done,
            never = self.tell_of_draining() => match never {},
        };
        self.cutting.store(true, Ordering::SeqCst);
        lock(&self.live).values().for_each(|life| life.ask(Asked::ToEnd));
        self.all_ended().await;
        ending
    }

    /// Says once what is being waited for.
    async fn tell_of_draining(&self) -> Infallible {
        tokio::time::sleep(NOTICE).await;
        self.events.draining(*self.open.borrow(), self.settings.grace);
        std::future::pending().await
    }

    async fn all_ended(&self) {
        // The server holds the sender: there is an end to wait for.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
        if let Service::Exec(Exec { pipes: Some(pipes), .. }) = &self.settings.service {
            // Their peers may have gone before them.
            pipes.all_ended().await;
        }
    }
}
