//! What the arguments mean.
//!
//! Owns every refusal of them together. Must not know how a plan is carried out: after it, nothing can be a usage
//! error.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::arguments::{Args, WarmUpArg};
use super::interrupt::Interrupt;
use super::length::Lengths;
use super::load::Load;
use super::report::PERCENTILES;
use super::warm_up::{self, WarmUp};
use crate::cli::{UsageError, cores};
use crate::commands::serve::Embedded;
use crate::connection::dial::{Failed, dial_unless_stopped};
use crate::connection::{Address, Conn, Dial, Endpoint, Error, Options, Role, Source, Transport, resolve};
use crate::random;

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// So long after the warm-up.
    Time(Duration),
    /// So many messages, over all connections.
    Messages(u64),
}

/// What it means.
#[derive(Debug, Clone)]
pub struct Plan {
    /// None is a server of our own.
    pub endpoint: Option<Endpoint>,
    /// The protocol.
    pub transport: Transport,
    /// The socket options.
    pub options: Options,
    /// How many connections.
    pub connections: u32,
    /// Over how many threads.
    pub threads: u32,
    /// How long messages are.
    pub lengths: Lengths,
    /// How they follow each other.
    pub load: Load,
    /// How many a connection lasts.
    pub reconnect: Option<u64>,
    /// When to stop.
    pub until: Until,
    /// What comes before.
    pub warm_up: WarmUp,
    /// The limits.
    pub connect_timeout: Duration,
    /// The limits.
    pub reply_timeout: Duration,
    /// How long an interval is, if there are to be any.
    pub interval: Option<Duration>,
    /// How many runs.
    pub runs: u32,
    /// What random choices begin with.
    pub seed: u64,
    /// Whether threads look for answers without sleeping.
    pub is_spinning: bool,
    /// The CPUs that threads are kept on, in turn; none leaves it to the system.
    pub cpus: Vec<usize>,
    /// The percentiles that are told, in order.
    pub percentiles: Vec<f64>,
}

/// More than a UDP datagram over IPv4 can carry.
const UDP_PAYLOAD_BYTES_MAX: usize = 65_507;

/// How long an interval is in a file, unless -i says otherwise.
const INTERVAL: Duration = Duration::from_secs(1);

/// Larger messages measure memory, not sockets; and a typing error should not take the machine's.
const LENGTH_BYTES_MAX: usize = 64 << 20;

/// A thread for each connection that is made anew: more of them would measure the scheduler.
const RECONNECTING_MAX: u32 = 256;

impl Plan {
    /// What these arguments mean.
    pub fn from_args(args: &Args) -> Result<Plan, UsageError> {
        let parse = |words: &[String]| Endpoint::parse(words, Role::Connect, args.transport.unix).map_err(UsageError);
        let endpoint = if args.endpoint.is_empty() { None } else { Some(parse(&args.endpoint)?) };
        let is_unix = endpoint.as_ref().map_or(args.transport.unix, |endpoint| matches!(endpoint, Endpoint::Unix(_)));
        let transport = args.transport.transport(is_unix);
        check_length(&args.length, transport)?;
        if args.faults.is_typed() && endpoint.is_some() {
            let why = "-F and --faults are for echo-bench's own server: leave out the target, or give them to `sockkit serve`";
            return Err(UsageError(why.to_owned()));
        }
        check_spinning(args.outcome.spin, threads(args))?;
        check_cpus(&args.outcome.cpu)?;
        let until = match (args.messages, args.time) {
            (Some(messages), _) => Until::Messages(messages),
            (None, Some(Duration::ZERO)) => return Err(UsageError("-t 0 measures nothing".to_owned())),
            (None, time) => {
                let is_one_of_many = !args.outcome.search.is_empty() || args.outcome.ramp.is_some();
                Until::Time(time.unwrap_or(Duration::from_secs(if is_one_of_many { 1 } else { 5 })))
            }
        };
        let reply_timeout =
            args.reply_timeout.unwrap_or(Duration::from_secs(if transport.is_stream() { 10 } else { 1 }));
        if reply_timeout.is_zero() {
            return Err(UsageError("-W 0 waits for no answer: the shortest is 1us".to_owned()));
        }
        if args.interval.is_some_and(|interval| interval.is_zero()) {
            return Err(UsageError("-i 0 tells nothing: the shortest is 50ms".to_owned()));
        }
        if args.reconnect.is_some() && args.connections > RECONNECTING_MAX {
            return Err(UsageError(format!("--reconnect makes at most {RECONNECTING_MAX} connections at a time")));
        }
        let mut options = args.options.clone();
        if transport == Transport::Tcp {
            options.nodelay.get_or_insert(true);
        }
        let load = match args.rate {
            Some(rate) => Load::Open { rate, arrival: args.arrival },
            None => Load::Closed { window: args.window },
        };
        Ok(Plan {
            endpoint,
            transport,
            options,
            connections: args.connections,
            threads: threads(args),
            lengths: args.length.clone(),
            load,
            reconnect: args.reconnect,
            until,
            warm_up: warm_up(args.warm_up, until),
            connect_timeout: args.connect_timeout,
            reply_timeout,
            interval: args.interval.or((args.outcome.csv.is_some() || args.outcome.hlog.is_some()).then_some(INTERVAL)),
            runs: args.outcome.runs.unwrap_or(if args.outcome.save.is_some() || args.outcome.baseline.is_some() {
                5
            } else {
                1
            }),
            seed: args.seed.unwrap_or_else(random::drawn_seed),
            is_spinning: args.outcome.spin,
            cpus: args.outcome.cpu.clone(),
            percentiles: percentiles(&args.outcome.percentiles),
        })
    }

    /// Dials every connection, before any clock starts; fewer if it is interrupted.
    pub fn connect(&self, target: &Target, interrupt: &Interrupt) -> Result<Vec<Conn>, Error> {
        let source = Source::default();
        let how = self.dial(&source);
        let one = |_| dial_unless_stopped(&target.addresses, &how, |waker| interrupt.stops(waker));
        let outcomes = (0..self.connections).map_while(one);
        outcomes.map(|outcome| Ok(outcome.map_err(Failed::into_error)?.conn)).collect()
    }

    /// How to dial a connection.
    pub fn dial<'a>(&'a self, source: &'a Source) -> Dial<'a> {
        Dial { transport: self.transport, options: &self.options, source, timeout: self.connect_timeout }
    }
}

/// Those that were asked for, or the usual ones.
fn percentiles(asked: &[f64]) -> Vec<f64> {
    let mut percentiles = if asked.is_empty() { PERCENTILES.to_vec() } else { asked.to_vec() };
    percentiles.sort_unstable_by(f64::total_cmp);
    percentiles.dedup();
    percentiles
}

/// Spinning threads that must share a CPU wait for each other a scheduler's tick at a time: thousands of times longer than
/// what they measure.
fn check_spinning(spins: bool, threads: u32) -> Result<(), UsageError> {
    if !spins || threads as usize <= cores() {
        return Ok(());
    }
    Err(UsageError(format!(
        "--spin with {threads} threads needs as many CPUs, and there are {}: fewer --threads",
        cores()
    )))
}

/// CPUs that this process may not use are refused.
fn check_cpus(cpus: &[usize]) -> Result<(), UsageError> {
    if cpus.is_empty() {
        return Ok(());
    }
    #[cfg(target_os = "linux")]
    {
        let allowed = rustix::thread::sched_getaffinity(None).map_err(|error| UsageError(format!("--cpu: {error}")))?;
        match cpus.iter().find(|cpu| **cpu >= rustix::thread::CpuSet::MAX_CPU || !allowed.is_set(**cpu)) {
            None => Ok(()),
            Some(cpu) => Err(UsageError(format!("--cpu {cpu}: this process may not use that CPU, or there is none"))),
        }
    }
    #[cfg(not(target_os = "linux"))]
    Err(UsageError("--cpu: this system cannot keep a thread on a CPU".to_owned()))
}

fn check_length(lengths: &Lengths, transport: Transport) -> Result<(), UsageError> {
    let limit = if transport == Transport::Udp { UDP_PAYLOAD_BYTES_MAX } else { LENGTH_BYTES_MAX };
    if lengths.min() == 0 || lengths.max() > limit {
        return Err(UsageError(format!("-l {lengths} is not in 1 to {limit} bytes for {transport}")));
    }
    Ok(())
}

fn threads(args: &Args) -> u32 {
    if args.reconnect.is_some() {
        return args.connections;
    }
    // A planned load waits for its next message by looking at the clock: more threads would take the server's CPU.
    let usual = if args.rate.is_some() || !args.outcome.search.is_empty() || args.outcome.ramp.is_some() {
        1
    } else {
        cores() as u32
    };
    // Where there is no wait for many sockets, each connection has a thread.
    args.threads.unwrap_or(usual).min(args.connections)
}

fn warm_up(asked: Option<WarmUpArg>, until: Until) -> WarmUp {
    /// The rule cannot come to an end sooner.
    const AUTO_MIN: Duration = Duration::from_millis(400);
    match (asked, until) {
        (None, Until::Messages(_)) | (Some(WarmUpArg::Time(Duration::ZERO)), _) => WarmUp::None,
        (Some(WarmUpArg::Time(time)), _) => WarmUp::Fixed(time),
        // No longer than what is measured: a short run is meant to be short.
        (_, Until::Time(time)) => WarmUp::Auto(time.clamp(AUTO_MIN, warm_up::TIME_MAX)),
        (_, Until::Messages(_)) => WarmUp::Auto(warm_up::TIME_MAX),
    }
}

/// What is measured: a server, ours or somebody's.
#[derive(Debug)]
pub struct Target {
    /// Where it is.
    pub addresses: Arc<Vec<Address>>,
    /// Ended with the measurement.
    pub own: Option<Embedded>,
}

impl Target {
    /// Finds the server, or starts one.
    pub fn find(args: &Args, plan: &Plan) -> Result<Target> {
        let (own, addresses) = match &plan.endpoint {
            Some(endpoint) => (
                None,
                resolve(endpoint, &args.transport.query(plan.transport, false, Some(plan.connect_timeout)))?.addresses,
            ),
            None => {
                let server = start_server(args, plan)?;
                let address = server.address().clone();
                (Some(server), vec![address])
            }
        };
        Ok(Target { addresses: Arc::new(addresses), own })
    }

    /// Where it is, unless it is a unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.addresses.first().and_then(Address::ip)
    }

    /// As a person reads it.
    pub fn name(&self) -> String {
        self.addresses.first().map(ToString::to_string).unwrap_or_default()
    }
}

/// Starts a server of our own, on the last of the plan's CPUs.
fn start_server(args: &Args, plan: &Plan) -> Result<Embedded> {
    let start = || {
        #[cfg(target_os = "linux")]
        if let Some(cpu) = plan.cpus.last() {
            super::environment::pin(*cpu).with_context(|| format!("keep the server on CPU {cpu}"))?;
        }
        Embedded::start(plan.transport, args.transport.allowed(), &args.options, (&args.faults, plan.seed))
            .context("start a server")
    };
    // A server's threads inherit the place of the one that starts them; this one, which reads the slices, stays free.
    let joined = std::thread::scope(|scope| scope.spawn(start).join());
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The plan of a command line, for the tests of others.
#[cfg(test)]
pub use tests::typed;

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches};

    use super::*;

    /// The plan of a command line.
    pub fn typed(words: &str) -> Plan {
        let command = Args::augment_args(clap::Command::new("echo-bench")).no_binary_name(true);
        let matches = command.try_get_matches_from(words.split_whitespace()).unwrap();
        Plan::from_args(&Args::from_arg_matches(&matches).unwrap()).unwrap()
    }

    #[test]
    fn a_warm_up_is_never_longer_than_its_limits() {
        let seconds = Duration::from_secs;
        for (asked, until, expected) in [
            (None, Until::Messages(5), WarmUp::None),
            (None, Until::Time(seconds(2)), WarmUp::Auto(seconds(2))),
            (None, Until::Time(seconds(60)), WarmUp::Auto(seconds(5))),
            (Some(WarmUpArg::Auto), Until::Messages(5), WarmUp::Auto(seconds(5))),
            (Some(WarmUpArg::Time(seconds(1))), Until::Messages(5), WarmUp::Fixed(seconds(1))),
            (Some(WarmUpArg::Time(seconds(0))), Until::Time(seconds(9)), WarmUp::None),
        ] {
            assert_eq!(warm_up(asked, until), expected, "{asked:?} {until:?}");
        }
    }
}
