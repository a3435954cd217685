//! The plan of an open loop: when each message is to be sent, whatever became of those before it.
//!
//! Owns the times. Must not know sockets. Trade-off: a plan is never moved. After a stall the messages that are due are
//! sent at once, and each is measured from the time it was planned for; anything else hides what a client would have
//! waited (coordinated omission).

use std::time::Duration;

use crate::random::Random;

/// How messages follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrival {
    /// At equal distances.
    Uniform,
    /// At random, as many independent clients would (a Poisson process).
    Poisson,
}

impl Arrival {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Arrival::Uniform => "uniform",
            Arrival::Poisson => "poisson",
        }
    }
}

/// A thread that sleeps wakes this late at worst, on a machine that is quiet: an idle CPU takes tens of microseconds to
/// come back. The rest of the wait is spent looking at the clock.
pub const WAKE: Duration = Duration::from_micros(60);

/// The times of one thread's messages, in nanoseconds on the run's clock.
#[derive(Debug)]
pub struct Schedule {
    begun: u64,
    gap_ns: f64,
    arrival: Arrival,
    random: Random,
    /// How many gaps have passed: whole ones if they are equal.
    passed: f64,
}

impl Schedule {
    /// `rate` messages a second from `begun` on, for thread `thread` of `threads` that share the plan.
    pub fn new(begun: u64, rate: f64, arrival: Arrival, seed: u64, thread: usize, threads: usize) -> Schedule {
        let mut schedule = Schedule {
            begun,
            gap_ns: 1e9 / rate * threads as f64,
            arrival,
            random: Random::new(seed, 1 + thread as u64),
            // Equal distances between the messages of all threads, not of each alone.
            passed: thread as f64 / threads as f64,
        };
        if arrival == Arrival::Poisson {
            schedule.passed = 0.0;
            schedule.advance();
        }
        schedule
    }

    /// When the next message is due.
    #[inline]
    pub fn due(&self) -> u64 {
        // Counted from the beginning, so that errors do not add up.
        self.begun + (self.passed * self.gap_ns) as u64
    }

    /// On to the message after that.
    #[inline]
    pub fn advance(&mut self) {
        self.passed += match self.arrival {
            Arrival::Uniform => 1.0,
            Arrival::Poisson => self.random.exponential(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(mut schedule: Schedule, count: usize) -> Vec<u64> {
        let next = |_| {
            let due = schedule.due();
            schedule.advance();
            due
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn equal_distances_over_all_threads() {
        let plan = |thread| times(Schedule::new(500, 1000.0, Arrival::Uniform, 1, thread, 2), 3);
        assert_eq!(plan(0), [500, 2_000_500, 4_000_500]);
        assert_eq!(plan(1), [1_000_500, 3_000_500, 5_000_500]);
    }

    #[test]
    fn a_plan_does_not_drift() {
        let last = times(Schedule::new(0, 3.0, Arrival::Uniform, 1, 0, 1), 3_000_001)[3_000_000];
        assert!(last.abs_diff(1_000_000_000_000_000) < 2, "{last}");
    }

    #[test]
    fn random_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() {
        let times = times(Schedule::new(0, 10_000.0, Arrival::Poisson, 42, 0, 1), 100_000);
        assert!(times.is_sorted());
        let seconds = times[99_999] as f64 / 1e9;
        assert!((9.8..10.2).contains(&seconds), "{seconds}");
        // The share of gaps longer than the mean is 1/e.
        let long = times.windows(2).filter(|pair| pair[1] - pair[0] > 100_000).count();
        assert!((35_500..38_000).contains(&long), "{long}");
    }
}
