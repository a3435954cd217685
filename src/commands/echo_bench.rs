//! `echo-bench`: the latency and throughput of an echo server. This file owns the order of its work.
//!
//! | file | owns |
//! |---|---|
//! | `plan` | what was typed, and what it means |
//! | `load` | the threads: blocking, by readiness, reconnecting |
//! | `pacing` | the times of an open loop |
//! | `length`, `message`, `random` | what is sent |
//! | `ledger` | what became of each datagram |
//! | `tally` | what one thread measures, in slices of time |
//! | `collector` | the slices, added up while they come |
//! | `warm_up` | when a run is warm |
//! | `series` | the run in blocks of time, and how sure its percentiles are |
//! | `environment` | the machine, and what in it spoils a measurement |
//! | `interrupt` | ^C |
//! | `report` | what is told |

mod collector;
mod environment;
mod interrupt;
mod ledger;
mod length;
mod load;
mod message;
mod pacing;
mod plan;
mod random;
mod report;
mod series;
mod tally;
mod warm_up;

use anyhow::Result;

use crate::connection::socket::raise_descriptor_limit;
use crate::exit::Status;
use crate::output::Output;
use collector::{Collector, Measured};
use interrupt::Interrupt;
use plan::{Plan, Target};
use report::{Line, Report};

pub use plan::Args;

/// Runs `echo-bench`.
pub fn run(args: &Args, output: Output) -> Result<Status> {
    let plan = Plan::from_args(args)?;
    raise_descriptor_limit();
    let target = Target::find(args, &plan)?;
    let interrupt = Interrupt::listen()?;
    let measured = measure(&plan, &target, &interrupt, output)?;
    if let Some(signal) = interrupt.insisted() {
        return Ok(Status::Signal(signal));
    }
    let report = Report::new(&plan, &target, &measured);
    output.product(&report, report.text())?;
    measured.failure.map_or(Ok(report.status()), |error| Err(error.into()))
}

/// One run: connections of its own, a warm-up, the measurement.
fn measure(plan: &Plan, target: &Target, interrupt: &Interrupt, output: Output) -> Result<Measured> {
    let conns = if plan.reconnect.is_some() { Vec::new() } else { plan.connect(target)? };
    if let Some(conn) = conns.first() {
        output.detail(format_args!("{}: {}", conn.peer(), conn.effective_options()));
    }
    let running = load::start(plan, target, conns)?;
    Collector::new(plan, running).collect(interrupt, output, &mut |interval| {
        let line = Line::of(interval);
        Ok(output.product(&line, line.text())?)
    })
}
