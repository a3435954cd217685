//! The messages: threads that send and receive them, each in the way that suits its load.
//!
//! Owns the threads of a run and what they share. Must not know how results are added up or shown. Trade-off: a thread that
//! has one connection and one message under way uses blocking calls, which is the quickest round trip there is; whatever
//! else there is to do, a loop over the readiness of sockets does.

mod blocking;
mod readiness;
mod reconnect;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;

use super::environment::{self, Usage};
use super::message::Message;
use super::pacing::Arrival;
use super::plan::{Plan, Target, Until};
use super::tally::{Clock, Shape, Shared, Slice, Tally};
use super::warm_up::WarmUp;
use crate::connection::{Address, Cause, Conn, Error, Op};
use crate::random::Random;

/// How messages follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// Each connection has so many under way, and sends the next when it has one back.
    Closed {
        /// Messages under way on each connection.
        window: u32,
    },
    /// As a plan has it, whatever came back.
    Open {
        /// Messages a second, over all connections.
        rate: f64,
        /// Their distances.
        arrival: Arrival,
    },
}

/// How many finished datagrams a ledger remembers: some hundred milliseconds of them, in 1.5 MB.
const HISTORY: usize = 65_536;

/// How long a server that refuses datagrams is left alone.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// How often a thread that waits looks whether the run has been ended, at least.
const PATIENCE: Duration = Duration::from_millis(100);

/// What one thread is to do.
#[derive(Debug)]
struct Work {
    plan: Arc<Plan>,
    addresses: Arc<Vec<Address>>,
    conns: Arc<Vec<Conn>>,
    /// Which of how many threads it is for, from 0.
    thread: usize,
    threads: usize,
    clock: Clock,
    shared: Arc<Shared>,
}

/// What a thread writes with.
struct Lane {
    message: Message,
    random: Random,
    salt: u16,
    /// How many connections there are in all.
    connections: u32,
}

impl Work {
    fn lane(&self, index: usize) -> Lane {
        Lane {
            // The pattern is the same for all threads, so that an answer on the wrong connection differs in its number only.
            message: Message::new(self.plan.lengths.min(), self.plan.lengths.max(), self.plan.seed),
            random: Random::new(self.plan.seed, 1_000_000 + self.thread as u64),
            salt: self.salt(index),
            connections: self.plan.connections,
        }
    }

    /// Which of all connections this one is.
    fn salt(&self, index: usize) -> u16 {
        (self.thread + index * self.threads) as u16
    }

    fn reply_timeout_ns(&self) -> u64 {
        self.plan.reply_timeout.as_nanos() as u64
    }

    /// A part of the reply timeout, so that so many of them are the whole, and none is long.
    fn patience(&self) -> Duration {
        let parts = self.plan.reply_timeout.as_nanos().div_ceil(PATIENCE.as_nanos()).max(1);
        (self.plan.reply_timeout / parts as u32).max(Duration::from_micros(1))
    }
}

/// How a thread ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// What ended it before its time.
    pub failure: Option<Error>,
    /// What it cost.
    pub usage: Option<Usage>,
    /// Datagrams that this machine dropped before we could receive them.
    pub receive_drops: Option<u64>,
}

/// A load under way.
#[derive(Debug)]
pub struct Running {
    /// What the threads share.
    pub shared: Arc<Shared>,
    /// The slices, as they are filled.
    pub filled: Receiver<Box<Slice>>,
    /// Where each thread wants them back.
    pub empty: Vec<Sender<Box<Slice>>>,
    /// The connections of each thread.
    pub conns: Vec<Arc<Vec<Conn>>>,
    threads: Vec<JoinHandle<Ended>>,
}

impl Running {
    /// Whether every thread has ended.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the threads.
    pub fn join(self) -> Vec<Ended> {
        self.threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    }
}

/// Starts the threads on these connections.
pub fn start(plan: &Plan, target: &Target, conns: Vec<Conn>) -> Result<Running> {
    let clock = Clock::start();
    let (count_from, end) = match (plan.warm_up, plan.until) {
        (WarmUp::None, Until::Messages(_)) => (0, u64::MAX),
        (WarmUp::None, Until::Time(time)) => (0, time.as_nanos() as u64),
        _ => (u64::MAX, u64::MAX),
    };
    let shared = Arc::new(Shared {
        clock,
        left: match plan.until {
            Until::Messages(messages) => Some(AtomicU64::new(messages)),
            Until::Time(_) => None,
        },
        stop: AtomicBool::new(false),
        count_from: AtomicU64::new(count_from),
        end: AtomicU64::new(end),
    });
    let plan = Arc::new(plan.clone());
    let hands = deal(conns, plan.threads as usize, plan.reconnect.is_some());
    let (filling, filled) = mpsc::channel();
    let mut running =
        Running { shared: shared.clone(), filled, empty: Vec::new(), conns: Vec::new(), threads: Vec::new() };
    let threads = hands.len();
    for (thread, conns) in hands.into_iter().enumerate() {
        let conns = Arc::new(conns);
        let (emptied, empty) = mpsc::channel();
        let shape =
            Shape { thread, is_planned: matches!(plan.load, Load::Open { .. }), reconnects: plan.reconnect.is_some() };
        // One is being filled while the other is being read.
        let _ = emptied.send(Box::new(Slice::new(shape)));
        running.empty.push(emptied);
        running.conns.push(conns.clone());
        let work = Work {
            plan: plan.clone(),
            addresses: target.addresses.clone(),
            conns,
            thread,
            threads,
            clock,
            shared: shared.clone(),
        };
        let tally = Tally::new(shared.clone(), shape, filling.clone(), empty);
        running.threads.push(thread::Builder::new().name("load".to_owned()).spawn(move || drive(&work, tally))?);
    }
    Ok(running)
}

/// The connections, evenly over the threads. Where connections are made anew, each has a thread that makes its own.
fn deal(conns: Vec<Conn>, threads: usize, reconnects: bool) -> Vec<Vec<Conn>> {
    let mut hands: Vec<Vec<Conn>> = (0..threads).map(|_| Vec::new()).collect();
    if !reconnects {
        for (index, conn) in conns.into_iter().enumerate() {
            hands[index % threads].push(conn);
        }
    }
    hands
}

fn drive(work: &Work, mut tally: Tally) -> Ended {
    prepare_thread(&work.plan.cpus, work.thread);
    let before = environment::thread_usage();
    let is_simple = work.plan.load == Load::Closed { window: 1 } && work.conns.len() == 1;
    let result = if let Some(messages) = work.plan.reconnect {
        reconnect::drive(work, messages, &mut tally)
    } else if is_simple {
        blocking::drive(work, &mut tally)
    } else {
        readiness::drive(work, &mut tally)
    };
    let usage = environment::thread_usage().zip(before).map(|(after, before)| after.since(before));
    let drops = work.conns.iter().map(Conn::receive_drops).sum();
    if let Err(failure) = result {
        tally.fail(failure);
    }
    Ended { failure: tally.finish(), usage, receive_drops: drops }
}

/// Puts the thread where it was asked to be, and has its timers kept to the nanosecond: by default the system may be 50 µs
/// late to save power. Elsewhere the plan has refused CPUs, and the timers are as they are.
fn prepare_thread(cpus: &[usize], thread: usize) {
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        if !cpus.is_empty() {
            // The plan has seen that this processor may be used.
            let _ = environment::pin(cpus[thread % cpus.len()]);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (cpus, thread);
}

/// The server closed the connection although an answer was due.
fn ended_early(conn: &Conn) -> Error {
    Error::new(Op::Receive, conn, conn.age(), Cause::EndedEarly("the server closed the connection before its answer"))
}

/// Tells the threads that the warm-up ends at `from`, and so when the run ends, if it has a time.
pub fn count_from(shared: &Shared, from: u64, time: Option<Duration>) {
    let end = time.map_or(u64::MAX, |time| from + time.as_nanos() as u64);
    shared.end.store(end, Ordering::Release);
    shared.count_from.store(from, Ordering::Release);
}
