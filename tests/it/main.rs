//! The tests that run sockkit as a user does. One binary, a file for each subject:
//!
//! - `harness`: runs, servers, peers, masks
//! - `record`: what is recorded, and played again
//! - `serve`, `connect`, `probe`, `echo_bench`: each command's behaviour
//! - `halfclose`: who ends a connection, and what is lost: nothing
//! - `modes`: what a server does with those who come
//! - `faults`: what the other end sees of faults on purpose
//! - `peers`: nc, ncat, socat and Python on the other end
//! - `fingers`: what the fingers of netcat's users do
//! - `trace`: the calls that were made, compared with strace's
//! - `usage`: what cannot be meant, nonsense, closed and full streams
//! - `generated`: completions, man pages and the README are what the program says
//! - `tidy`: the source keeps its invariants

mod connect;
mod echo_bench;
mod faults;
mod fingers;
mod generated;
mod halfclose;
mod harness;
mod modes;
#[cfg(unix)]
mod peers;
mod probe;
mod record;
mod serve;
mod tidy;
mod trace;
mod usage;
