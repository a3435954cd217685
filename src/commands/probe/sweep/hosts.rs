//! From hosts to targets: those that are looked up, those that are known, and the next target of theirs.
//!
//! Owns the order in which targets begin. Must not know what becomes of them. Trade-off: a host is looked up only when the
//! targets before it have begun, as far as lookups are free, so that a list of a million names takes no memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Which;
use super::super::names::{Located, Names, addresses};
use super::super::targets::{Spot, Target};
use super::Sweep;
use super::task::Task;
use crate::connection::{Address, Op, Query, Resolved, resolve};

/// As many hosts with nothing to probe are passed over at a time: a network of millions may be excluded.
const BARREN_MAX: u32 = 1000;

/// A host whose addresses are known, and how far its targets have been begun.
#[derive(Debug)]
pub(super) struct Opened {
    spot: Spot,
    located: Located,
    place: u64,
    /// Which address of the target is next, where each is a target of its own.
    address: usize,
}

/// Who waits for a lookup.
#[derive(Debug)]
pub(super) enum Asker {
    Spot(Spot),
    Task(Task),
}

impl Sweep<'_> {
    /// The next target that has not begun yet, if one is known.
    pub(super) fn fresh(&mut self) -> Option<Task> {
        let mut barren = 0;
        loop {
            if self.issued >= self.plan.limit {
                return None;
            }
            while let Some(opened) = self.opened.front_mut() {
                let Some((target, only)) = opened.next(self.plan.which) else {
                    self.opened.pop_front();
                    continue;
                };
                let located = opened.located.clone();
                self.issued += 1;
                self.report.await_verdict(target.index);
                let now = Instant::now();
                let task =
                    Task { target, located, only, attempt: 1, due: now, begun: now, last: None, was_wanted: false };
                match &task.located {
                    Ok(_) => return Some(task),
                    Err(error) => {
                        let error = error.clone();
                        self.fail(task, error, None);
                    }
                }
                if self.issued >= self.plan.limit {
                    return None;
                }
            }
            if self.names.is_busy() {
                return None;
            }
            let spot = self.spots.next()?;
            barren += 1;
            self.open(spot);
            if barren >= BARREN_MAX && self.opened.is_empty() {
                self.is_searching = true;
                return None;
            }
        }
    }

    /// Finds out where a host is.
    fn open(&mut self, spot: Spot) {
        let Some(target) = spot.target(0) else { return };
        let query = self.query(&target);
        if let Some(gateway) = &self.gateway {
            let known = match gateway.place() {
                Err(error) => Some(Err(error.clone())),
                // The proxy finds out.
                Ok(_) if gateway.proxy().looks_up(&target.endpoint) => {
                    Some(Ok(Arc::new(Resolved { addresses: Vec::new(), elapsed: Duration::ZERO })))
                }
                Ok(_) => None,
            };
            if let Some(located) = known {
                self.opened.push_back(Opened { spot, located, place: 0, address: 0 });
                return;
            }
        }
        if Names::<Asker>::is_needed(&target.endpoint, query.numeric) {
            self.names.ask(&target.endpoint, query, Asker::Spot(spot));
            return;
        }
        let located = resolve(&target.endpoint, &query).map(Arc::new).map_err(Arc::new);
        self.opened.push_back(Opened { spot, located, place: 0, address: 0 });
    }

    fn query(&self, target: &Target) -> Query {
        let end = self.plan.deadline.map(|deadline| deadline.saturating_sub(self.begun.elapsed()));
        let timeout = end.map_or(self.plan.timeout, |left| left.min(self.plan.timeout));
        Query {
            allowed: self.plan.proxy.as_ref().map_or(self.plan.allowed, |proxy| proxy.allowed(self.plan.allowed)),
            transport: self.dials.of(target).transport,
            numeric: self.plan.is_numeric,
            timeout: Some(timeout),
        }
    }

    /// A lookup has ended.
    pub(super) fn located(&mut self, located: &Located, askers: Vec<Asker>) {
        for asker in askers {
            match asker {
                Asker::Spot(spot) => {
                    let opened = Opened { spot, located: located.clone(), place: 0, address: 0 };
                    let later = self.opened.partition_point(|other| other.index() < opened.index());
                    self.opened.insert(later, opened);
                }
                Asker::Task(task) => {
                    let task = Task { located: located.clone(), ..task };
                    match located {
                        // Its date has come already.
                        Ok(_) => self.agenda.enter(task.due, task),
                        Err(error) => self.fail(task, error.clone(), None),
                    }
                }
            }
        }
    }

    /// A task whose date has come. One whose name had no address is looked up again first.
    pub(super) fn again(&mut self, mut task: Task) -> Option<Task> {
        if let Err(error) = &task.located
            && error.is_of_proxy()
        {
            // It is not looked up again.
            let error = error.clone();
            self.fail(task, error, None);
            return None;
        }
        let was_lookup = matches!(&task.located, Err(error) if error.op == Op::Resolve);
        if was_lookup {
            let (endpoint, query) = (task.target.endpoint.clone(), self.query(&task.target));
            task.due = Instant::now();
            self.names.ask(&endpoint, query, Asker::Task(task));
            return None;
        }
        Some(task)
    }
}

impl Opened {
    /// The index of its next target.
    pub(super) fn index(&self) -> u64 {
        self.spot.target(self.place).map_or(u64::MAX, |target| target.index)
    }

    /// Its next target, and which address of it if each is a target of its own.
    fn next(&mut self, which: Which) -> Option<(Target, Option<Address>)> {
        loop {
            let target = self.spot.target(self.place)?;
            let resolved: Option<&Arc<Resolved>> = self.located.as_ref().ok();
            let Some(resolved) = resolved.filter(|_| which == Which::All) else {
                self.place += 1;
                return Some((target, None));
            };
            match addresses(resolved, &target.endpoint).get(self.address) {
                Some(address) => {
                    self.address += 1;
                    return Some((target, Some(address.clone())));
                }
                None => (self.place, self.address) = (self.place + 1, 0),
            }
        }
    }
}
