//! The event loops that connections are dealt to, in turn. The first is the accept loop's own.

use std::io;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;

/// Event loops, each with a thread of its own, but for the first.
pub struct Workers {
    handles: Vec<Handle>,
    /// Dropped to end the threads.
    running: Vec<oneshot::Sender<()>>,
}

/// An event loop for one thread.
pub fn single_threaded() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

impl Workers {
    /// So many, the first among them.
    pub fn start(first: Handle, threads: usize) -> io::Result<Workers> {
        let mut workers = Workers { handles: vec![first], running: Vec::new() };
        for _ in 1..threads {
            let runtime = single_threaded()?;
            let (running, until_dropped) = oneshot::channel::<()>();
            workers.handles.push(runtime.handle().clone());
            workers.running.push(running);
            std::thread::Builder::new().name("serve".to_owned()).spawn(move || runtime.block_on(until_dropped))?;
        }
        Ok(workers)
    }

    /// Whose turn it is.
    pub fn deal(&self, connection: u64) -> &Handle {
        &self.handles[connection as usize % self.handles.len()]
    }
}
