//! `echo-bench`: the latency and throughput of an echo server. This file owns the order of its work.
//!
//! | file | owns |
//! |---|---|
//! | `arguments`, `plan` | what was typed, and what it means |
//! | `load` | the threads: blocking, by readiness, reconnecting |
//! | `pacing` | the times of an open loop |
//! | `length`, `message` | what is sent |
//! | `ledger` | what became of each datagram |
//! | `tally` | what one thread measures, in slices of time |
//! | `collector` | the slices, added up while they come |
//! | `warm_up` | when a run is warm |
//! | `series` | the run in blocks of time, and how sure its percentiles are |
//! | `runs`, `trials` | several runs: alike, or at several rates |
//! | `objective`, `baseline` | what a result must fulfil, and what it is compared with |
//! | `merge` | results of several machines |
//! | `environment` | the machine, and what in it spoils a measurement |
//! | `interrupt` | ^C |
//! | `report` | what is told |

mod arguments;
mod baseline;
mod collector;
mod environment;
mod interrupt;
mod ledger;
mod length;
mod load;
mod merge;
mod message;
mod objective;
mod pacing;
mod plan;
mod report;
mod runs;
mod series;
mod tally;
mod trials;
mod warm_up;

use std::fs::File;
use std::io::Write;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::connection::descriptors;
use crate::exit::Status;
use crate::output::Output;
use baseline::{Saved, SavedRun};
use collector::{Collector, Interval, Measured};
use environment::{Before, Environment};
use interrupt::Interrupt;
use plan::{Plan, Target};
use report::{Csv, HistogramLog, Line, Report, Settings, create};
use runs::{Run, Runs};
use trials::{Course, RunOnce, Trials, Tried};

pub use arguments::Args;
pub(crate) use ledger::{Found, Ledger};
pub(crate) use message::Message;
pub(crate) use tally::Errors;

/// Runs `echo-bench`.
pub fn run(args: &Args, output: Output) -> Result<Status> {
    if !args.outcome.merge.is_empty() {
        let merged = merge::merge(&args.outcome)?;
        output.product(&merged, merged.text())?;
        return Ok(merged.status());
    }
    let plan = Plan::from_args(args)?;
    let baseline = args.outcome.baseline.as_deref().map(Saved::read).transpose()?;
    if let (Some(saved), Some(path)) = (&baseline, &args.outcome.baseline) {
        saved.must_be_like(path, "this run", &Settings::of(&plan))?;
    }
    let mut save = args.outcome.save.as_deref().map(create).transpose()?;
    let warnings = environment::warnings_of_plan(&plan, descriptors::raise_limit());
    let target = Target::find(args, &plan)?;
    let interrupt = Interrupt::listen()?;
    for warning in &warnings {
        output.note(format_args!("warning: {warning}"));
    }
    let mut pages = Pages::begin(args)?;
    let mut listener = Listeners::begin(args, &plan, output)?;
    let before = Before::read(warnings);
    let mut start_at = args.outcome.start_at;
    let mut once = |plan: &Plan| measure(plan, &target, &interrupt, start_at.take(), &mut listener);
    let Outcome { plan, measured, saved, runs, trials } = carry_out(args, plan, &mut once)?;
    if let Some(signal) = interrupt.insisted() {
        return Ok(Status::Signal(signal));
    }
    let mut report = Report::new(&plan, &target, &measured);
    report.objectives = args.outcome.slo.iter().map(|objective| objective.judge(&measured)).collect();
    (report.runs, report.trials) = (runs, trials);
    report.environment = Some(Environment::read(&before, &plan, measured.usage, target.ip()));
    if let Some(baseline) = &baseline {
        report.changes = baseline::compare(&baseline.runs, &saved);
        report.regression =
            args.outcome.fail_on_regression.map(|limit| baseline::is_regression(&report.changes, limit));
    }
    if let Some(file) = &mut save {
        Saved::new(target.name(), Settings::of(&plan), saved).write(file)?;
    }
    pages.write(&report)?;
    output.product(&report, report.text())?;
    measured.failure.map_or(Ok(report.status()), |error| Err(error.into()))
}

/// What all the runs came to.
struct Outcome {
    /// Of what is told in full: with several rates, of one of them.
    plan: Plan,
    measured: Measured,
    saved: Vec<SavedRun>,
    runs: Option<Runs>,
    trials: Option<Trials>,
}

/// Makes the runs that were asked for: one, several alike, or at several rates.
fn carry_out(args: &Args, plan: Plan, once: &mut RunOnce<'_>) -> Result<Outcome> {
    let course = |objectives| Course { plan: &plan, arrival: args.arrival, objectives };
    let of_trials = |(trials, Tried { plan, measured }): (Trials, Tried)| {
        Ok(Outcome { plan, measured, saved: Vec::new(), runs: None, trials: Some(trials) })
    };
    if let Some(ramp) = args.outcome.ramp {
        return of_trials(course(&args.outcome.slo[..]).ramp(ramp, once)?);
    }
    if !args.outcome.search.is_empty() {
        return of_trials(course(&args.outcome.search[..]).search(args.rate, once)?);
    }
    let mut all = Vec::new();
    for _ in 0..plan.runs {
        all.push(once(&plan)?);
        if all.last().is_some_and(|run| run.is_interrupted || run.failure.is_some()) {
            break;
        }
    }
    let saved = if args.outcome.save.is_some() || args.outcome.baseline.is_some() {
        all.iter().map(SavedRun::of).collect::<Result<_>>()?
    } else {
        Vec::new()
    };
    let runs = (all.len() > 1).then(|| Runs::of(all.iter().map(Run::of).collect()));
    Ok(Outcome { plan, measured: runs::together(all), saved, runs, trials: None })
}

/// Waits for the time that several machines were given.
fn wait_for(start: SystemTime, interrupt: &Interrupt) {
    /// So often ^C is looked for.
    const STEP: Duration = Duration::from_millis(20);
    while let Ok(left) = start.duration_since(SystemTime::now())
        && !interrupt.is_asked()
    {
        std::thread::sleep(left.min(STEP));
    }
}

/// The files that the report goes to.
struct Pages {
    html: Option<File>,
    svg: Option<File>,
}

impl Pages {
    /// Makes them.
    fn begin(args: &Args) -> Result<Pages> {
        let html = args.outcome.html.as_deref().map(create).transpose()?;
        let svg = args.outcome.svg.as_deref().map(create).transpose()?;
        Ok(Pages { html, svg })
    }

    fn write(&mut self, report: &Report) -> Result<()> {
        if let Some(file) = &mut self.html {
            file.write_all(report::html(report)?.as_bytes()).context("write the HTML page")?;
        }
        if let Some(file) = &mut self.svg {
            file.write_all(report::svg(report).as_bytes()).context("write the SVG file")?;
        }
        Ok(())
    }
}

/// Who is told of each interval.
struct Listeners {
    output: Output,
    is_shown: bool,
    csv: Option<Csv>,
    log: Option<HistogramLog>,
    /// Which run is told of, from 1, and whether there are more.
    run: u32,
    has_runs: bool,
}

impl Listeners {
    /// Makes the files.
    fn begin(args: &Args, plan: &Plan, output: Output) -> Result<Listeners> {
        let csv = args.outcome.csv.as_deref().map(|path| Csv::begin(create(path)?)).transpose()?;
        let log = args.outcome.hlog.as_deref().map(|path| HistogramLog::begin(create(path)?)).transpose()?;
        let has_runs = plan.runs > 1 || args.outcome.ramp.is_some() || !args.outcome.search.is_empty();
        Ok(Listeners { output, is_shown: args.interval.is_some(), csv, log, run: 0, has_runs })
    }

    fn tell(&mut self, interval: &Interval) -> Result<()> {
        let line = Line::of(interval, self.run);
        if let Some(csv) = &mut self.csv {
            csv.add(&line)?;
        }
        if let Some(log) = &mut self.log {
            log.add(interval)?;
        }
        if self.is_shown { Ok(self.output.product(&line, line.text(self.has_runs))?) } else { Ok(()) }
    }
}

/// One run: connections of its own, a warm-up, the measurement.
fn measure(
    plan: &Plan,
    target: &Target,
    interrupt: &Interrupt,
    start_at: Option<SystemTime>,
    listeners: &mut Listeners,
) -> Result<Measured> {
    listeners.run += 1;
    let conns = if plan.reconnect.is_some() { Vec::new() } else { plan.connect(target, interrupt)? };
    let output = listeners.output;
    if let Some(conn) = conns.first() {
        output.detail(format_args!("{}: {}", conn.peer(), conn.effective_options()));
    }
    if let Some(start) = start_at {
        wait_for(start, interrupt);
    }
    if interrupt.is_asked() {
        return Ok(Measured { is_interrupted: true, ..Measured::default() });
    }
    let tcp_at_start = collector::tcp_info(conns.iter());
    let running = load::start(plan, target, conns)?;
    let measured =
        Collector::new(plan, running).collect(interrupt, output, &mut |interval| listeners.tell(interval))?;
    Ok(Measured { tcp_at_start, ..measured })
}
