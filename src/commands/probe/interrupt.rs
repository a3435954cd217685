//! ^C ends a long run with its summary.
//!
//! Owns the one signal that it takes. Must not know what is stopped. Trade-off: a thread with an event loop of its own,
//! begun only for runs that take their time; a short run dies of ^C as every program does.

use std::io;
use std::thread;

use crate::connection::Waker;

/// From now on the first ^C stops the run. Where that cannot be arranged, ^C ends the program without a summary.
pub fn stop_on_interrupt(waker: &Waker) {
    // A failure leaves the system's own way with ^C, which ends the program too.
    let _ = listen(waker.clone());
}

fn listen(waker: Waker) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // Registered here and not on the thread: a signal that came before that would end the program.
    let mut interrupts = {
        let _inside = runtime.enter();
        #[cfg(unix)]
        let interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
        #[cfg(not(unix))]
        let interrupts = tokio::signal::windows::ctrl_c()?;
        interrupts
    };
    let wait = move || {
        if runtime.block_on(interrupts.recv()).is_some() {
            waker.stop();
        }
    };
    // Nobody waits for this thread: it ends with the process.
    thread::Builder::new().name("interrupt".to_owned()).spawn(wait).map(|_| ())
}
