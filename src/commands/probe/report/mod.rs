//! How verdicts are printed, and in which order.
//!
//! Owns the formats and the order: the command line's, although targets are decided in another. Must not know how a verdict
//! came about. Trade-off: lines that came too early are held back until those before them are there, but only so many; then
//! they are printed as they are, since a target that is silent must not hold up ten thousand that are not.

mod monitoring;
mod order;
mod records;
mod table;
mod text;

use std::io;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::ProgressBar;

use self::monitoring::{Nagios, Prometheus};
use self::order::Order;
use super::summary::Summary;
use super::verdict::{State, Tally, Verdict};
use crate::output::{Output, Verbosity};
use crate::units::{Count, Elapsed};

/// How often the progress is drawn anew: often enough to look alive.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// What is printed for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for people
    Text,
    /// The number that connect_ex returns: 0, or the errno (-1 where a name was not found)
    Errno,
    /// Its name, the same on every system: OK, ECONNREFUSED, EAI_NONAME
    Errname,
    /// A JSON object (as --json), in the order of the targets
    Json,
    /// A JSON object as soon as it is known, and one that sums up
    Ndjson,
    /// Comma-separated values with a heading (RFC 4180)
    Csv,
    /// Tab-separated: state, protocol, address, port, errname, target
    Grep,
    /// The text format of Prometheus, for its textfile collector
    Prometheus,
    /// One line with performance data, as monitoring plugins print it
    Nagios,
}

/// Prints verdicts as they come.
pub struct Report {
    format: Format,
    output: Output,
    only_open: bool,
    order: Order,
    prometheus: Prometheus,
    nagios: Nagios,
    bar: Option<ProgressBar>,
    drawn: Instant,
    begun: Instant,
    /// How many targets there are, at most.
    total: u64,
    done: u64,
    /// Columns of the longest target, where lines are aligned.
    width: usize,
    failure: Option<io::Error>,
}

impl Report {
    /// Nothing printed yet but the heading. A sweep shows its progress where a person is looking.
    pub fn new(format: Format, output: Output, only_open: bool, total: u64, has_progress: bool) -> Report {
        let bar = if has_progress { output.progress_of(total) } else { None };
        let mut report = Report {
            format,
            output,
            only_open,
            order: Order::default(),
            prometheus: Prometheus::default(),
            nagios: Nagios::default(),
            bar,
            drawn: Instant::now(),
            begun: Instant::now(),
            total,
            done: 0,
            width: 0,
            failure: None,
        };
        if format == Format::Csv {
            report.print(&table::csv_heading());
        }
        report
    }

    /// Whether lines are worth aligning: a person reads them, no program does.
    pub fn align(&mut self, width: impl FnOnce() -> usize) {
        if self.format == Format::Text && self.output.is_read_by_a_person() {
            self.width = width();
        }
    }

    /// A target is being probed: lines of those after it wait for it.
    pub fn await_verdict(&mut self, index: u64) {
        self.order.await_verdict(index);
    }

    /// One measurement of several, or the last word on a target. `barrier` is the index from which on more targets may
    /// still come.
    pub fn tell(&mut self, verdict: &Verdict, is_final: bool, barrier: u64) {
        let line = self.line(verdict);
        if is_final {
            self.done += 1;
        }
        if self.format == Format::Nagios {
            self.nagios.add(verdict);
        }
        // Streams are read as they come; so are repeated measurements.
        let is_immediate = self.format == Format::Ndjson || !is_final || verdict.attempt > 1;
        match line {
            Some(line) if is_immediate => {
                self.print(&line);
                self.order.decide(verdict.target.index, None, is_final);
            }
            line => self.order.decide(verdict.target.index, line, is_final),
        }
        while let Some(line) = self.order.next(barrier) {
            self.print(&line);
        }
    }

    fn line(&mut self, verdict: &Verdict) -> Option<String> {
        if self.output.verbosity == Verbosity::Quiet || (self.only_open && verdict.state() != State::Open) {
            return None;
        }
        match self.format {
            Format::Text => Some(text::line(verdict, self.width)),
            Format::Errno => Some(verdict.errno().unwrap_or(-1).to_string()),
            Format::Errname => Some(verdict.errname().to_owned()),
            Format::Json => Some(records::json(verdict)),
            Format::Ndjson => Some(records::ndjson(verdict)),
            Format::Csv => Some(table::csv(verdict)),
            Format::Grep => Some(table::grep(verdict)),
            Format::Prometheus => {
                self.prometheus.add(verdict);
                None
            }
            Format::Nagios => None,
        }
    }

    /// Shows how far it has come.
    pub fn progress(&mut self, tally: &Tally) {
        let Some(bar) = &self.bar else { return };
        if self.drawn.elapsed() < PROGRESS_EVERY {
            return;
        }
        self.drawn = Instant::now();
        let seconds = self.begun.elapsed().as_secs_f64();
        let rate = self.done as f64 / seconds.max(f64::MIN_POSITIVE);
        let left =
            Duration::try_from_secs_f64(self.total.saturating_sub(self.done) as f64 / rate.max(f64::MIN_POSITIVE));
        bar.set_position(self.done);
        bar.set_message(format!(
            "{} of {}, {} a second, {} left, {} open",
            Count(self.done),
            Count(self.total),
            Count(rate as u64),
            Elapsed(left.unwrap_or(Duration::MAX)),
            Count(tally.open()),
        ));
    }

    /// No more verdicts will come: what was held back, and what sums up.
    pub fn finish(mut self, summary: &Summary) -> io::Result<()> {
        for line in std::mem::take(&mut self.order).rest() {
            self.print(&line);
        }
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if self.output.verbosity > Verbosity::Quiet {
            match self.format {
                Format::Ndjson => self.print(&records::summary(summary)),
                Format::Prometheus => self.print(&self.prometheus.text()),
                Format::Nagios => self.print(&self.nagios.line(summary)),
                Format::Text => text::statistics(summary).iter().for_each(|line| self.print(line)),
                _ => {}
            }
            if summary.is_worth_telling() && self.format != Format::Nagios {
                self.output.note(text::summary(summary));
            }
        }
        self.failure.map_or(Ok(()), Err)
    }

    /// Whether it is no use to go on: nothing can be printed any more, and not because the reader has left.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    fn print(&mut self, line: &str) {
        if self.failure.is_some() || self.output.verbosity == Verbosity::Quiet {
            return;
        }
        match self.output.print(line) {
            // Whoever read the lines has left, but the status is an answer too, and must not become a wrong one.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.output.verbosity = Verbosity::Quiet,
            Err(error) => self.failure = Some(error),
            Ok(()) => {}
        }
    }
}
