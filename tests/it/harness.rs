//! What every test stands on: real processes, real sockets, and waits that end.
//!
//! - `run`: one run of a program, and what is expected of it
//! - `running`: servers and clients that a test talks with
//! - `child`: a process that does not outlive its test
//! - `process`: the memory and descriptors that a process has
//! - `sockets`: the other end, in the test itself
//! - `masked`: output without what differs between runs
//! - `machine`: what a test may need that a machine may not have
//!
//! Tests name what they use by this file alone, so that it can move between the others.

use std::sync::mpsc;
use std::time::{Duration, Instant};

mod child;
mod machine;
mod masked;
#[cfg(unix)]
mod process;
mod run;
mod running;
mod sockets;

#[cfg(unix)]
pub use child::{Lines, Signal, kill};
pub use child::{Owned, code_of, unread_pipe, until_unread};
pub use machine::has;
pub use masked::{REFUSED, mask};
#[cfg(target_os = "linux")]
pub use process::memory_kib;
#[cfg(unix)]
pub use process::{descriptors, growth_kib, held_kib};
pub use run::{Finished, Run};
pub use running::{Running, Server};
pub use sockets::{Peer, Place, dial, exchange, listener, patient, plain_socket, read_exactly, read_to_end};
#[cfg(target_os = "linux")]
pub use {
    child::unswayed,
    machine::{NAMES_FROM_FILES, can_unshare, names_from, unanswered, unshared},
    sockets::Deaf,
};

/// Far beyond what anything here takes, even on a machine that is busy with something else: only a hang reaches it.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The program under test.
pub const SOCKKIT: &str = env!("CARGO_BIN_EXE_sockkit");

/// A peer that takes its time. Never a wait until something is ready: that announces itself.
pub fn dawdle(time: Duration) {
    let (_still_here, nothing) = mpsc::channel::<()>();
    let _ = nothing.recv_timeout(time);
}

/// Asks again until it is so: for states that announce themselves to nobody.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        // Whoever is being asked needs the processor too.
        dawdle(Duration::from_millis(1));
    }
}

/// Bytes that show when one is missing, doubled or out of order: their period is no power of two.
pub fn pattern(length: usize) -> Vec<u8> {
    const PERIOD: u8 = 251;
    let mut bytes = (0..PERIOD).collect::<Vec<u8>>().repeat(length / usize::from(PERIOD) + 1);
    bytes.truncate(length);
    bytes
}
