//! A connection that is joined to stdin and stdout, from beginning to end.
//!
//! Must not know the relay's rules. Trade-off: a thread waits for its relay, and the event loop for the thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use tokio::sync::oneshot;

use super::{Server, lock};
use crate::commands::serve::counters::Traffic;
use crate::commands::serve::ending::How;
use crate::commands::serve::expected::{Comparison, Expected};
use crate::commands::serve::recorded;
use crate::commands::serve::stdio::{Parted, Stdio};
use crate::connection::{Clock, Conn, Error, Op};
use crate::record::Track;
use crate::relay::Outcome;

impl Server {
    /// Relays it until its end, and tells of it.
    pub(super) async fn join(&self, id: u64, conn: Conn, stdio: &Stdio) {
        if let Err(error) = conn.set_blocking() {
            return self.events.failed(&error);
        }
        let conn = Arc::new(conn);
        let mut taps = self.taps(|| format!("#{id} {} ", conn.peer()));
        let recorder = self.settings.recorder.as_ref();
        let track = recorder.map(|recorder| recorded::record(recorder, id, &conn, &mut taps));
        let comparison = self.settings.expected.as_ref().map(Expected::begin);
        taps.received.extend(comparison.as_ref().map(Comparison::tap));
        let begun = stdio.join(id, conn.clone(), taps).and_then(|(joined, run)| {
            let (done, is_done) = oneshot::channel();
            // Whoever waited for it has gone only with the server.
            thread::Builder::new().name("join".to_owned()).spawn(move || drop(done.send(run())))?;
            Ok((joined, is_done))
        });
        let (joined, is_done) = match begun {
            Ok(begun) => begun,
            Err(error) => return self.fail(error, "open stdin and stdout"),
        };
        self.attend_to(id, joined);
        let Ok(outcome) = is_done.await else { return };
        lock(&self.live).remove(&id);
        if let Some(difference) = comparison.and_then(|comparison| comparison.end()) {
            self.counters.unexpected.add(1);
            self.events.unexpected(Some(id), conn.peer(), difference);
        }
        self.part_from(id, &conn, outcome, track);
    }

    fn part_from(&self, id: u64, conn: &Conn, outcome: Outcome, track: Option<Arc<Track>>) {
        let Outcome { received_bytes, sent_bytes, .. } = outcome;
        let traffic = Traffic { received_bytes, sent_bytes };
        let Parted { how, failure } = Parted::by(outcome.ended, conn);
        let how = match how {
            How::Stopped if self.cutting.load(Ordering::SeqCst) => How::Cut,
            How::PeerFinished | How::Finished if self.stopping.load(Ordering::SeqCst) => How::Stopped,
            how => how,
        };
        if let Some(track) = track {
            track.close(recorded::ending(&how), sent_bytes);
        }
        self.counters.ended(traffic, &how);
        self.events.closed(id, conn, traffic, &how);
        if let Some(failure) = failure {
            self.fail(failure, "write stdout");
        }
        let error = match how {
            How::Failed(error) => error,
            How::TimedOut => Error::timed_out(Op::Receive, conn, conn.age(), Clock::Idle),
            _ => return,
        };
        if self.settings.limits.total == Some(1) {
            // There was one, and it failed: so has the server.
            let told = format!("{received_bytes} bytes received, {sent_bytes} sent");
            lock(&self.verdict).get_or_insert(error.told(told));
        }
    }

    /// Something of our own failed, without which there is nothing to serve for.
    pub(super) fn fail(&self, error: std::io::Error, what: &'static str) {
        lock(&self.failure).get_or_insert(anyhow::Error::new(error).context(what));
        self.finished.notify_one();
    }
}
