//! The end of a run: what a deadline or a signal cut off, and what was never begun.
//!
//! Owns the last words on them. Must not know how a run goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::summary::{Summary, measure};
use super::super::targets::Spot;
use super::super::verdict::Verdict;
use super::Sweep;
use super::hosts::Asker;
use super::task::Task;
use crate::connection::{Clock, Error, Op};

impl Sweep<'_> {
    /// The end: what the deadline or a signal cut off has its verdict or is counted as unfinished.
    pub(super) fn finish(mut self, cut: Vec<Task>, stopped_by: Option<u8>) -> std::io::Result<Summary> {
        // Measurements without end are ended so: what was measured counts, and between two nothing is cut off.
        let is_measured = |task: &Task| self.plan.rules.count.is_some() && task.attempt > 1;
        let (mut measured, mut tasks): (Vec<Task>, Vec<Task>) =
            self.agenda.abandon().into_iter().partition(is_measured);
        tasks.extend(cut);
        tasks.extend(self.conversations.abandon().into_iter().map(|(task, _)| task));
        let mut spots: Vec<Spot> = Vec::new();
        for asker in self.names.abandon() {
            match asker {
                Asker::Task(task) => tasks.push(task),
                Asker::Spot(spot) => spots.push(spot),
            }
        }
        let mut unfinished = 0;
        if stopped_by.is_some() {
            measured.extend(tasks.extract_if(.., |task| is_measured(task)));
            unfinished = tasks.len() as u64 + spots.len() as u64;
        } else {
            tasks.sort_by_key(|task| task.target.index);
            for task in tasks {
                self.too_late(task);
            }
            spots.sort_by_key(|spot| spot.target(0).map(|target| target.index));
            for spot in spots {
                self.never_located(&spot);
            }
        }
        for task in measured {
            self.tally.close(task.target.index, task.was_wanted, task.last.as_deref());
        }
        let is_late = self.plan.deadline.is_some_and(|deadline| self.begun.elapsed() >= deadline);
        if is_late || stopped_by.is_some() {
            self.leave_out(unfinished);
        }
        let summary = Summary {
            tally: self.tally,
            statistics: self.statistics,
            unfinished,
            stopped_by,
            elapsed: self.begun.elapsed(),
            is_many: self.plan.is_many(),
        };
        self.report.finish(&summary).map(|()| summary)
    }

    /// The deadline came before an answer did.
    fn too_late(&mut self, task: Task) {
        let place = format!("{} ({})", task.target.endpoint, self.dials.of(&task.target).transport);
        let mut error = Error::timed_out(Op::Connect, place, task.begun.elapsed(), Clock::Total);
        if let Some(last) = &task.last {
            error = error.told(format!("last: {}", last.reason()));
        } else if task.attempt > 1 {
            error = error.told("last: it was open");
        }
        let verdict = Verdict { address: task.only.clone(), ..task.verdict(error.elapsed, Some(Arc::new(error))) };
        if self.plan.rules.count.is_some() {
            measure(&mut self.statistics, &verdict);
        }
        self.last_word(&task, verdict);
    }

    /// The deadline came before the name server did.
    fn never_located(&mut self, spot: &Spot) {
        let now = Instant::now();
        for place in 0.. {
            let Some(target) = spot.target(place) else { return };
            let host = format!("{:?}", target.endpoint.to_string());
            let error = Error::timed_out(Op::Resolve, host, self.begun.elapsed(), Clock::Total);
            let located = Err(Arc::new(error));
            self.report.await_verdict(target.index);
            let task = Task {
                target,
                located,
                only: None,
                attempt: 1,
                due: now,
                begun: self.begun,
                last: None,
                was_wanted: false,
            };
            if let Err(error) = task.located.clone() {
                let verdict = task.verdict(Duration::ZERO, Some(error));
                self.last_word(&task, verdict);
            }
        }
    }

    /// What was not begun is counted, but has no line of its own.
    fn leave_out(&mut self, unfinished: u64) {
        if self.has_more() {
            let (_, told) = self.tally.wanted();
            let left = self.plan.total().saturating_sub(told + unfinished).max(1);
            let index = self.barrier();
            let error = Error::timed_out(Op::Connect, "the rest", self.begun.elapsed(), Clock::Total);
            self.tally.leave_out(index, left, &error);
        }
    }
}
