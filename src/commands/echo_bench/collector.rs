//! What the threads measure, added up while they do: the warm-up's end, the intervals, the progress, the totals.
//!
//! Owns the sums. Must not know how messages are sent, nor how results are shown. Trade-off: it wakes fifty times a second
//! by itself, instead of being woken by each slice: so no thread pays for waking it.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::ProgressBar;

use super::environment::Usage;
use super::interrupt::Interrupt;
use super::load::{self, Running};
use super::plan::{Plan, Until};
use super::series::Series;
use super::tally::{Errors, Planned, SLICE, Shared, Slice};
use super::warm_up::{Outcome, WarmUp, Watch};
use crate::connection::{Conn, Error, TcpInfo};
use crate::histogram::{Histogram, Value};
use crate::output::Output;
use crate::units::{Latency, PerSecond};

const SLICE_NS: u64 = SLICE.as_nanos() as u64;

/// How often slices are collected: several times in one.
const COLLECT: Duration = Duration::from_millis(20);

/// The bar is drawn for its position and once more for its words: four times a second in all. More often would disturb what
/// is measured.
const DRAW: Duration = Duration::from_millis(500);

/// A thread that was busy hands its slice over late: so long an interval waits for it.
const STRAGGLERS_NS: u64 = 2 * SLICE_NS;

/// What was measured, in all.
#[derive(Debug, Default)]
pub struct Measured {
    /// From the intended time to the answer; in a closed loop that is the round trip.
    pub response: Histogram,
    /// Its two parts, where messages have a plan.
    pub planned: Option<Planned>,
    /// How long connections took, where they are made anew.
    pub connects: Option<Histogram>,
    /// What went wrong.
    pub errors: Errors,
    /// The run in blocks of time.
    pub series: Series,
    /// Messages sent, and those that went out late although the socket was free.
    pub sent: u64,
    /// See `sent`.
    pub sent_late: u64,
    /// Messages of the warm-up.
    pub discarded: u64,
    /// Bytes that came back.
    pub answered_bytes: u64,
    /// From the end of the warm-up to the last answer.
    pub elapsed: Duration,
    /// How long the warm-up took.
    pub warm_up: Duration,
    /// How it ended.
    pub settled: Outcome,
    /// A signal ended it.
    pub is_interrupted: bool,
    /// What ended it before its time.
    pub failure: Option<Error>,
    /// What its threads cost.
    pub usage: Option<Usage>,
    /// Datagrams that this machine dropped before we could receive them.
    pub receive_drops: Option<u64>,
    /// What the kernel knew of the first connections before the first message.
    pub tcp_at_start: Vec<TcpInfo>,
    /// And at the end.
    pub tcp: Vec<TcpInfo>,
}

/// A stretch of the run, for those who want to see it go by.
#[derive(Debug)]
pub struct Interval {
    /// From the beginning of what is counted.
    pub from: Duration,
    /// Its end.
    pub to: Duration,
    /// When it began.
    pub began: Instant,
    /// See [`Measured`].
    pub response: Histogram,
    /// See [`Measured`].
    pub errors: Errors,
    /// See [`Measured`].
    pub answered_bytes: u64,
    /// See [`Measured`].
    pub sent: u64,
    /// What the kernel knew of the first connections at its end.
    pub tcp: Vec<TcpInfo>,
}

/// Connections whose `TCP_INFO` is asked for: enough to see whether they are alike.
const TCP_INFO_MAX: usize = 64;

/// What the kernel knows of the first of these.
pub fn tcp_info<'c>(conns: impl Iterator<Item = &'c Conn>) -> Vec<TcpInfo> {
    conns.take(TCP_INFO_MAX).filter_map(Conn::info).collect()
}

/// Collects what a running load hands over, to its end.
pub struct Collector<'a> {
    plan: &'a Plan,
    running: Running,
    measured: Measured,
    watch: Watch,
    /// The slices of the warm-up that are not complete yet, by number.
    warming: VecDeque<(u64, Histogram)>,
    next_warming: u64,
    /// When the first of its messages had come to its end.
    warming_since: Option<u64>,
    /// Where what counts begins, once it is known; in slices.
    first: Option<u64>,
    /// The intervals that are not complete yet, and the number of the first of them.
    intervals: VecDeque<Interval>,
    next_interval: u64,
    interval_slices: Option<u64>,
    /// How many slices are counted, where that is known.
    slices: Option<u64>,
}

impl<'a> Collector<'a> {
    /// Collects from this load.
    pub fn new(plan: &'a Plan, running: Running) -> Collector<'a> {
        let from = running.shared.count_from.load(Ordering::Relaxed);
        Collector {
            plan,
            first: (from != u64::MAX).then_some(from / SLICE_NS),
            measured: Measured::default(),
            watch: Watch::default(),
            warming: VecDeque::new(),
            next_warming: 0,
            warming_since: None,
            intervals: VecDeque::new(),
            next_interval: 0,
            interval_slices: plan.interval.map(|interval| (interval.as_nanos() as u64).div_ceil(SLICE_NS).max(1)),
            slices: match plan.until {
                Until::Time(time) => Some((time.as_nanos() as u64).div_ceil(SLICE_NS)),
                Until::Messages(_) => None,
            },
            running,
        }
    }

    /// Collects to the end. `tell` is given each interval as soon as it is complete.
    pub fn collect(
        mut self,
        interrupt: &Interrupt,
        output: Output,
        tell: &mut dyn FnMut(&Interval) -> Result<()>,
    ) -> Result<Measured> {
        let mut bar = Bar::new(self.plan, output);
        loop {
            let is_over = self.running.is_over();
            self.take_all();
            self.warm_up();
            if interrupt.is_asked() {
                self.measured.is_interrupted = true;
                self.running.shared.stop();
            }
            if let Err(error) = self.tell_complete(is_over, tell) {
                self.running.shared.stop();
                self.running.join();
                return Err(error);
            }
            if let Some(bar) = &mut bar {
                bar.show(&self.measured, &self.running.shared);
            }
            if is_over || interrupt.insisted().is_some() {
                break;
            }
            thread::sleep(COLLECT);
        }
        if let Some(bar) = bar {
            bar.bar.finish_and_clear();
        }
        // Whoever insists does not wait for a thread that may be connecting.
        Ok(if interrupt.insisted().is_some() { self.measured } else { self.finish() })
    }

    fn take_all(&mut self) {
        while let Ok(mut slice) = self.running.filled.try_recv() {
            self.take(&slice);
            slice.clear();
            // Its thread may have ended.
            let _ = self.running.empty[slice.thread].send(slice);
        }
    }

    fn take(&mut self, slice: &Slice) {
        let measured = &mut self.measured;
        // What is wrong is wrong in the warm-up as well.
        measured.errors.add(&slice.errors);
        measured.discarded += slice.discarded;
        if slice.discarded > 0 {
            self.warming_since.get_or_insert(slice.number * SLICE_NS);
        }
        let Some(number) = self.first.and_then(|first| slice.number.checked_sub(first)) else {
            self.take_warming(slice);
            return;
        };
        measured.sent += slice.sent;
        measured.sent_late += slice.sent_late;
        measured.response.merge(&slice.response);
        measured.answered_bytes += slice.answered_bytes;
        if let Some(planned) = &slice.planned {
            let sum = measured.planned.get_or_insert_default();
            sum.service.merge(&planned.service);
            sum.send_delay.merge(&planned.send_delay);
        }
        if let Some(connects) = &slice.connects {
            measured.connects.get_or_insert_default().merge(connects);
        }
        let begun = self.first.unwrap_or(0) * SLICE_NS;
        measured.elapsed = measured.elapsed.max(Duration::from_nanos(slice.last_answer.saturating_sub(begun)));
        measured.series.add(number, slice);
        self.take_interval(number, slice);
    }

    fn take_interval(&mut self, number: u64, slice: &Slice) {
        let Some(slices) = self.interval_slices else { return };
        // The answer to the last message comes just after the end: it makes no interval of its own.
        let number = if Some(number) == self.slices { number.saturating_sub(1) } else { number };
        // A straggler whose interval has been told belongs to the next.
        let index = (number / slices).saturating_sub(self.next_interval) as usize;
        while self.intervals.len() <= index {
            let interval = self.interval(self.next_interval + self.intervals.len() as u64, slices);
            self.intervals.push_back(interval);
        }
        let interval = &mut self.intervals[index];
        interval.response.merge(&slice.response);
        interval.errors.add(&slice.errors);
        interval.answered_bytes += slice.answered_bytes;
        interval.sent += slice.sent;
    }

    fn tell_complete(&mut self, is_over: bool, tell: &mut dyn FnMut(&Interval) -> Result<()>) -> Result<()> {
        let (Some(slices), Some(first)) = (self.interval_slices, self.first) else { return Ok(()) };
        loop {
            let ends = (first + (self.next_interval + 1) * slices) * SLICE_NS;
            let is_late_enough = self.running.shared.clock.now() >= ends + STRAGGLERS_NS;
            // At the end, all that there is; before it, one in which nothing came is told as well.
            if is_over && self.intervals.is_empty() || !is_over && !is_late_enough {
                return Ok(());
            }
            let front = self.intervals.pop_front();
            let mut interval = front.unwrap_or_else(|| self.interval(self.next_interval, slices));
            interval.tcp = self.tcp_info();
            self.next_interval += 1;
            tell(&interval)?;
        }
    }

    /// The interval of this number, in which nothing has come yet.
    fn interval(&self, number: u64, slices: u64) -> Interval {
        let from_slice = number * slices;
        Interval {
            from: SLICE * from_slice as u32,
            to: SLICE * (from_slice + slices) as u32,
            began: self.running.shared.clock.instant((self.first.unwrap_or(0) + from_slice) * SLICE_NS),
            response: Histogram::default(),
            errors: Errors::default(),
            answered_bytes: 0,
            sent: 0,
            tcp: Vec::new(),
        }
    }

    fn take_warming(&mut self, slice: &Slice) {
        if slice.number < self.next_warming || self.first.is_some() {
            return;
        }
        match self.warming.iter_mut().find(|(number, _)| *number == slice.number) {
            Some((_, histogram)) => histogram.merge(&slice.response),
            None => self.warming.push_back((slice.number, slice.response.clone())),
        }
    }

    /// Ends the warm-up once it is time.
    fn warm_up(&mut self) {
        let (max, is_auto) = match self.plan.warm_up {
            WarmUp::None => return,
            WarmUp::Fixed(time) => (time, false),
            WarmUp::Auto(time) => (time, true),
        };
        if self.first.is_some() {
            return;
        }
        let now = self.running.shared.clock.now();
        // The slice before this one may still be on its way.
        while self.next_warming + 2 <= now / SLICE_NS {
            let place = self.warming.iter().position(|(number, _)| *number == self.next_warming);
            let histogram = place.and_then(|place| self.warming.remove(place)).map(|(_, histogram)| histogram);
            let median = histogram.as_ref().and_then(|histogram| match histogram.quantile(50.0) {
                Some(Value::Finite(median)) => Some(median.as_nanos() as f64),
                _ => None,
            });
            self.watch.add(median, histogram.map_or(0, |histogram| histogram.count()));
            self.next_warming += 1;
        }
        let is_settled = is_auto && self.watch.is_settled(SLICE);
        // On a busy machine the threads may come late; until then nothing gets warm.
        let has_lasted = |since: u64| now.saturating_sub(since) + SLICE_NS >= max.as_nanos() as u64;
        if is_settled || self.warming_since.is_some_and(has_lasted) {
            self.measured.settled = match (is_auto, is_settled) {
                (false, _) => Outcome::Fixed,
                (true, true) => Outcome::Settled,
                (true, false) => Outcome::NotSettled,
            };
            // A whole slice ahead, so that every thread hears of it before it comes.
            let first = now / SLICE_NS + 2;
            self.first = Some(first);
            self.measured.warm_up = SLICE * first as u32;
            let time = match self.plan.until {
                Until::Time(time) => Some(time),
                Until::Messages(_) => None,
            };
            load::count_from(&self.running.shared, first * SLICE_NS, time);
        }
    }

    fn tcp_info(&self) -> Vec<TcpInfo> {
        tcp_info(self.running.conns.iter().flat_map(|conns| conns.iter()))
    }

    fn finish(mut self) -> Measured {
        self.measured.tcp = self.tcp_info();
        for ended in self.running.join() {
            self.measured.failure = self.measured.failure.or(ended.failure);
            if let Some(usage) = ended.usage {
                self.measured.usage.get_or_insert_default().add(&usage);
            }
            if let Some(drops) = ended.receive_drops {
                *self.measured.receive_drops.get_or_insert(0) += drops;
            }
        }
        self.measured
    }
}

/// The bar on a terminal. How far the run is, it reads from what the threads share anyway; nobody does anything for it.
struct Bar {
    bar: ProgressBar,
    drawn: u64,
}

impl Bar {
    /// It fills with milliseconds, or with messages.
    fn new(plan: &Plan, output: Output) -> Option<Bar> {
        let steps = match plan.until {
            Until::Time(time) => time.as_millis() as u64,
            Until::Messages(messages) => messages,
        };
        Some(Bar { bar: output.progress_of(steps)?, drawn: 0 })
    }

    fn show(&mut self, measured: &Measured, shared: &Shared) {
        let now = shared.clock.now();
        if now - self.drawn < DRAW.as_nanos() as u64 {
            return;
        }
        self.drawn = now;
        let begun = shared.count_from.load(Ordering::Relaxed);
        if now < begun {
            self.bar.set_message("warming up");
            return;
        }
        let steps = self.bar.length().unwrap_or(0);
        let position = match &shared.left {
            Some(left) => steps - left.load(Ordering::Relaxed).min(steps),
            None => (now - begun) / 1_000_000,
        };
        self.bar.set_position(position.min(steps));
        let rate = measured.response.count() as f64 / ((now - begun) as f64 / 1e9);
        let p99 = match measured.response.quantile(99.0) {
            Some(Value::Finite(latency)) => Latency(latency).to_string(),
            Some(Value::Infinite) => "lost".to_owned(),
            None => "-".to_owned(),
        };
        self.bar.set_message(format!("{}, p99 {p99}", PerSecond(rate)));
    }
}
