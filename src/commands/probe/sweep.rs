//! The run: targets go in, verdicts come out, and in between there is one window of connects.
//!
//! Owns what is under way: hosts that are looked up, targets whose turn it is, those that wait for another attempt, and
//! conversations. Must not know sockets or formats. Trade-off: one thread decides everything and is never told what it
//! did not ask for; lookups and conversations have threads of their own, and wake it when they end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::checks::{Checked, Conversations};
use super::names::{Located, Names, addresses};
use super::report::Report;
use super::summary::{Statistics, Summary, measure};
use super::targets::{Spot, Spots, Target};
use super::verdict::{Tally, Verdict};
use super::waiting::{After, Agenda};
use super::{Plan, Which};
use crate::connection::dial::{Dialer, Next, Outcome};
use crate::connection::{Address, Clock, Dial, Endpoint, Error, Kind, Op, Query, Resolved, Transport, Waker, resolve};
use crate::output::Output;

/// When nothing is due and an answer will wake us: any time that is far away.
const FAR: Duration = Duration::from_secs(3600);

/// As many hosts with nothing to probe are passed over at a time: a network of millions may be excluded.
const BARREN_MAX: u32 = 1000;

/// How each protocol is dialled.
pub struct Dials<'p> {
    tcp: Dial<'p>,
    udp: Dial<'p>,
    unix_stream: Dial<'p>,
    unix_datagram: Dial<'p>,
}

impl<'p> Dials<'p> {
    /// By a plan.
    pub fn new(plan: &'p Plan) -> Dials<'p> {
        let dial = |transport: Transport| Dial {
            transport,
            options: &plan.options,
            source: if transport.is_unix() { &plan.unix_source } else { &plan.source },
            timeout: plan.timeout,
        };
        Dials {
            tcp: dial(Transport::Tcp),
            udp: dial(Transport::Udp),
            unix_stream: dial(Transport::UnixStream),
            unix_datagram: dial(Transport::UnixDatagram),
        }
    }

    fn of(&self, target: &Target) -> &Dial<'p> {
        match (&target.endpoint, target.is_datagram) {
            (Endpoint::Inet { .. }, false) => &self.tcp,
            (Endpoint::Inet { .. }, true) => &self.udp,
            (Endpoint::Unix(_), false) => &self.unix_stream,
            (Endpoint::Unix(_), true) => &self.unix_datagram,
        }
    }
}

/// A target whose turn has come, or will come again.
#[derive(Debug)]
struct Task {
    target: Target,
    located: Located,
    /// Which of its addresses, where each is a target of its own.
    only: Option<Address>,
    /// Which attempt is next or under way, from 1.
    attempt: u64,
    /// When this attempt was due.
    due: Instant,
    /// When the first began.
    begun: Instant,
    /// What the last attempt failed with.
    last: Option<Arc<Error>>,
    /// Whether any attempt was as wanted.
    was_wanted: bool,
}

impl Task {
    fn verdict(&self, elapsed: Duration, error: Option<Arc<Error>>) -> Verdict {
        Verdict {
            target: self.target.clone(),
            address: None,
            local: None,
            resolve: self.resolve_time(),
            elapsed,
            first_byte: None,
            received: None,
            attempt: self.attempt,
            error,
            is_wanted: false,
        }
    }

    fn resolve_time(&self) -> Duration {
        match &self.located {
            Ok(resolved) => resolved.elapsed,
            Err(error) => error.elapsed,
        }
    }
}

/// A host whose addresses are known, and how far its targets have been begun.
#[derive(Debug)]
struct Opened {
    spot: Spot,
    located: Located,
    place: u64,
    /// Which address of the target is next, where each is a target of its own.
    address: usize,
}

/// Who waits for a lookup.
#[derive(Debug)]
enum Asker {
    Spot(Spot),
    Task(Task),
}

/// Everything that is under way but the connects themselves.
struct Sweep<'a> {
    plan: &'a Plan,
    dials: &'a Dials<'a>,
    spots: Spots<'a>,
    /// Hosts that are known, in the order of the command line.
    opened: VecDeque<Opened>,
    names: Names<Asker>,
    agenda: Agenda<Task>,
    conversations: Conversations<(Task, Verdict)>,
    report: Report,
    tally: Tally,
    statistics: BTreeMap<u64, Statistics>,
    /// Whether the search for the next target was broken off, to look at what is under way.
    is_searching: bool,
    /// How many have been begun, for `--limit` and `--rate`.
    issued: u64,
    begun: Instant,
    output: Output,
}

/// Probes everything, and prints every verdict. The status is in the summary.
pub fn sweep(plan: &Plan, dials: &Dials, output: Output) -> std::io::Result<Summary> {
    let begun = Instant::now();
    let end = plan.deadline.map(|deadline| begun + deadline);
    let mut dialer = Dialer::new(plan.window, plan.timeout).until(end);
    if let Some(question) = &plan.question {
        dialer = dialer.asking(question);
    }
    // A single target of a known address needs nobody to wake it, and no descriptor for that.
    let waker = if plan.needs_waker() { dialer.waker() } else { Waker::default() };
    if plan.is_long() {
        super::interrupt::stop_on_interrupt(&waker);
    }
    let sweep = std::cell::RefCell::new(Sweep::new(plan, dials, &waker, output, begun));
    let cut = dialer.run(|_| sweep.borrow_mut().next(), |task, outcome| sweep.borrow_mut().decided(task, outcome));
    sweep.into_inner().finish(cut, waker.is_stopped())
}

impl<'a> Sweep<'a> {
    fn new(plan: &'a Plan, dials: &'a Dials<'a>, waker: &Waker, output: Output, begun: Instant) -> Sweep<'a> {
        let total = plan.total();
        let mut report = Report::new(plan.format, output, plan.only_open, total, plan.is_many());
        if !plan.is_many() {
            report.align(plan.width());
        }
        Sweep {
            plan,
            dials,
            spots: plan.targets.spots(),
            opened: VecDeque::new(),
            names: Names::new(waker.clone()),
            agenda: Agenda::new(),
            conversations: Conversations::new(plan.checks.clone(), waker.clone()),
            report,
            tally: Tally::new(plan.require),
            statistics: BTreeMap::new(),
            is_searching: false,
            issued: 0,
            begun,
            output,
        }
    }

    /// What is to be dialled next.
    fn next(&mut self) -> Next<'a, Task> {
        while let Some((located, askers)) = self.names.answer() {
            self.located(&located, askers);
        }
        while let Some(((task, verdict), checked)) = self.conversations.ended() {
            self.checked(task, verdict, checked);
        }
        if self.report.has_failed() {
            return Next::Over;
        }
        loop {
            let now = if self.agenda.next_time().is_some() { Instant::now() } else { self.begun };
            if let Some((_, task)) = self.agenda.due(now) {
                match self.again(task) {
                    Some(task) => return self.call(task),
                    None => continue,
                }
            }
            let pause = self.pause();
            if pause.is_none()
                && let Some(task) = self.fresh()
            {
                return self.call(task);
            }
            let has_more = self.has_more();
            let at_once = std::mem::take(&mut self.is_searching).then_some(now);
            let pause = pause.filter(|_| has_more);
            let later = [at_once, pause, self.agenda.next_time()].into_iter().flatten().min();
            return match later {
                Some(time) => Next::Later(time),
                None if !self.names.is_idle() || !self.conversations.is_idle() => Next::Later(Instant::now() + FAR),
                None => Next::Over,
            };
        }
    }

    /// Until when no new target may begin, by `--rate` or because too many connections are being talked to.
    fn pause(&self) -> Option<Instant> {
        if self.conversations.is_busy() {
            return Some(Instant::now() + FAR);
        }
        let rate = self.plan.rate?;
        let due = self.begun + Duration::try_from_secs_f64(self.issued as f64 / rate).unwrap_or(FAR);
        (due > Instant::now()).then_some(due)
    }

    /// Whether there may be targets that have not begun.
    fn has_more(&self) -> bool {
        self.issued < self.plan.limit && (!self.opened.is_empty() || self.spots.clone().next().is_some())
    }

    /// The next target that has not begun yet, if one is known.
    fn fresh(&mut self) -> Option<Task> {
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
            allowed: self.plan.allowed,
            transport: self.dials.of(target).transport,
            numeric: self.plan.is_numeric,
            timeout: Some(timeout),
        }
    }

    /// A lookup has ended.
    fn located(&mut self, located: &Located, askers: Vec<Asker>) {
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
    fn again(&mut self, mut task: Task) -> Option<Task> {
        let was_lookup = matches!(&task.located, Err(error) if error.op == Op::Resolve);
        if was_lookup {
            let (endpoint, query) = (task.target.endpoint.clone(), self.query(&task.target));
            task.due = Instant::now();
            self.names.ask(&endpoint, query, Asker::Task(task));
            return None;
        }
        Some(task)
    }

    fn call(&mut self, task: Task) -> Next<'a, Task> {
        let places = match (&task.only, &task.located) {
            (Some(only), _) => vec![only.clone()],
            (None, Ok(resolved)) => {
                let mut places = addresses(resolved, &task.target.endpoint);
                places.truncate(if self.plan.which == Which::First { 1 } else { usize::MAX });
                places
            }
            (None, Err(_)) => Vec::new(),
        };
        let dial = self.dials.of(&task.target);
        Next::Call(task, dial, places)
    }

    /// A connect has ended.
    fn decided(&mut self, task: Task, outcome: Outcome) {
        match outcome {
            Ok(dialed) => {
                crate::commands::connect::tell_attempts(&dialed.attempts, self.output);
                let elapsed = dialed.winner().map_or(Duration::ZERO, |attempt| attempt.elapsed);
                let mut verdict = task.verdict(elapsed, None);
                let conn = dialed.conn;
                let resolved = task.resolve_time();
                self.output.detail(format_args!(
                    "{conn} from {}: lookup {}, connect {}; {}",
                    conn.local(),
                    crate::units::Elapsed(resolved),
                    crate::units::Elapsed(elapsed),
                    conn.effective_options()
                ));
                verdict.address = Some(conn.peer().clone());
                verdict.local = Some(conn.local().clone());
                if self.plan.checks.is_any() {
                    self.conversations.begin((task, verdict), conn);
                } else {
                    self.conclude(task, verdict);
                }
            }
            Err(failed) => {
                crate::commands::connect::tell_attempts(&failed.attempts, self.output);
                let only = failed.attempts.first().filter(|_| failed.attempts.len() == 1);
                let address = only.map(|attempt| attempt.address.clone());
                let error = failed.into_error();
                // Only an established connection can be reset: somebody listens there, and does not like us.
                if error.kind() == Kind::Reset {
                    let mut verdict = task.verdict(error.elapsed, None);
                    verdict.address = address;
                    self.reset(task, verdict, error);
                } else {
                    self.fail(task, Arc::new(error), address);
                }
            }
        }
    }

    /// A port that resets at once is open, unless it was to say something or to stay.
    fn reset(&mut self, task: Task, mut verdict: Verdict, error: Error) {
        if self.plan.checks.is_any() {
            let cause = crate::connection::Cause::Misbehaved("the peer reset the connection at once");
            verdict.error = Some(Arc::new(Error { op: Op::Receive, cause, ..error }));
        }
        self.conclude(task, verdict);
    }

    /// A conversation has ended.
    fn checked(&mut self, task: Task, mut verdict: Verdict, checked: Checked) {
        verdict.first_byte = checked.first_byte;
        verdict.received = checked.received;
        verdict.error = checked.error.map(Arc::new);
        self.conclude(task, verdict);
    }

    fn fail(&mut self, task: Task, error: Arc<Error>, address: Option<Address>) {
        let elapsed = if error.op == Op::Resolve { Duration::ZERO } else { error.elapsed };
        let mut verdict = task.verdict(elapsed, Some(error));
        verdict.address = address;
        self.conclude(task, verdict);
    }

    /// An attempt has its verdict: it is the last word, or the target is probed again.
    fn conclude(&mut self, mut task: Task, mut verdict: Verdict) {
        let rules = &self.plan.rules;
        verdict.is_wanted = rules.is_wanted(&verdict);
        let after = rules.after(&verdict, task.due);
        if rules.count.is_some() {
            measure(&mut self.statistics, &verdict);
        }
        task.was_wanted |= verdict.is_wanted;
        let next = match after {
            After::Final => return self.last_word(&task, verdict),
            After::Next(time) => {
                let barrier = self.barrier();
                self.report.tell(&verdict, false, barrier);
                time
            }
            After::Again(time) => {
                if let Some(error) = &verdict.error {
                    self.output.detail(error);
                }
                time
            }
        };
        task.last = verdict.error;
        task.attempt += 1;
        task.due = next;
        self.agenda.enter(next, task);
    }

    fn last_word(&mut self, task: &Task, mut verdict: Verdict) {
        let barrier = self.barrier();
        self.report.tell(&verdict, true, barrier);
        // Of several measurements one that was as wanted is enough, as with ping.
        verdict.is_wanted |= task.was_wanted;
        self.tally.add(&verdict);
        self.report.progress(&self.tally);
    }

    /// The index from which on there may be targets that have not begun.
    fn barrier(&self) -> u64 {
        let opened = self.opened.front().map(Opened::index);
        let waiting = self.names.waiting().filter_map(|asker| match asker {
            Asker::Spot(spot) => spot.target(0).map(|target| target.index),
            Asker::Task(_) => None,
        });
        opened.into_iter().chain(waiting).min().unwrap_or(u64::MAX)
    }

    /// The end: what the deadline or a signal cut off has its verdict or is counted as unfinished.
    fn finish(mut self, cut: Vec<Task>, is_stopped: bool) -> std::io::Result<Summary> {
        let mut unfinished = 0;
        let mut tasks = cut;
        tasks.extend(self.agenda.abandon());
        tasks.extend(self.conversations.abandon().into_iter().map(|(task, _)| task));
        let mut spots: Vec<Spot> = Vec::new();
        for asker in self.names.abandon() {
            match asker {
                Asker::Task(task) => tasks.push(task),
                Asker::Spot(spot) => spots.push(spot),
            }
        }
        tasks.sort_by_key(|task| task.target.index);
        if is_stopped {
            unfinished = tasks.len() as u64 + spots.len() as u64;
            // Measurements without end are ended so: what was measured counts.
            if self.plan.rules.count.is_some() {
                for task in &tasks {
                    self.tally.close(task.target.index, task.was_wanted, task.last.as_deref());
                }
                unfinished = 0;
            }
        } else {
            for task in tasks {
                self.too_late(task);
            }
            spots.sort_by_key(|spot| spot.target(0).map(|target| target.index));
            for spot in spots {
                self.never_located(&spot);
            }
            self.leave_out();
        }
        let summary = Summary {
            tally: self.tally,
            statistics: self.statistics,
            unfinished,
            elapsed: self.begun.elapsed(),
            is_worth_telling: self.plan.is_many() || unfinished > 0,
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
    fn leave_out(&mut self) {
        let (_, told) = self.tally.wanted();
        let limit = self.plan.total().min(self.plan.limit);
        let ended_early = self.plan.deadline.is_some_and(|deadline| self.begun.elapsed() >= deadline);
        if ended_early && self.has_more() {
            let index = self.barrier();
            let error = Error::timed_out(Op::Connect, "the rest", self.begun.elapsed(), Clock::Total);
            self.tally.leave_out(index, limit.saturating_sub(told).max(1), &error);
        }
    }
}

impl Opened {
    /// The index of its next target.
    fn index(&self) -> u64 {
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
