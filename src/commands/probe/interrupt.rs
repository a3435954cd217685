//! ^C ends a long run with its summary.
//!
//! Owns the one signal that it takes. Must not know what is stopped. Trade-off: a thread with an event loop of its own,
//! begun only for runs that take their time; a short run dies of ^C as every program does.

use std::thread;

use crate::connection::Waker;

/// From now on the first ^C stops the run. Where that cannot be arranged, ^C ends the program without a summary.
pub fn stop_on_interrupt(waker: &Waker) {
    let waker = waker.clone();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    let listen = move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            waker.stop();
        }
    };
    // Nobody waits for this thread: it ends with the process.
    let _ = thread::Builder::new().name("interrupt".to_owned()).spawn(listen);
}
