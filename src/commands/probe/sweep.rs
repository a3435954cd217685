//! The run: targets go in, verdicts come out, and in between there is one window of connects.
//!
//! Owns what is under way: hosts that are looked up, targets whose turn it is, those that wait for another attempt, and
//! conversations. Must not know sockets or formats. Trade-off: one thread decides everything and is never told what it
//! did not ask for; lookups and conversations have threads of their own, and wake it when they end.
//!
//! | file | owns |
//! |---|---|
//! | `task` | a target whose turn has come |
//! | `hosts` | lookups, and the next target of what is known |
//! | `ending` | what a deadline or a signal cut off |

mod ending;
mod hosts;
mod task;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::checks::{Checked, Conversations};
use super::gateway::{Errand, Gateway};
use super::interrupt::Interrupt;
use super::names::{Names, addresses};
use super::report::Report;
use super::summary::{Statistics, Summary, measure};
use super::targets::{Spots, Target};
use super::verdict::{Series, Tally, Verdict};
use super::waiting::{After, Agenda};
use super::{Plan, Which};
use crate::connection::dial::{Dialer, Next, Outcome};
use crate::connection::{Address, Dial, Endpoint, Error, Kind, Op, Transport, Waker};
use crate::output::Output;
use hosts::{Asker, Opened};
use task::Task;

/// When nothing is due and an answer will wake us: any time that is far away.
const FAR: Duration = Duration::from_secs(3600);

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

/// Everything that is under way but the connects themselves.
struct Sweep<'a> {
    plan: &'a Plan,
    dials: &'a Dials<'a>,
    spots: Spots<'a>,
    /// Hosts that are known, in the order of the command line.
    opened: VecDeque<Opened>,
    names: Names<Asker>,
    /// The proxy that makes the connections, if there is one.
    gateway: Option<Arc<Gateway>>,
    agenda: Agenda<Task>,
    conversations: Conversations<(Task, Verdict)>,
    report: Report,
    tally: Tally,
    statistics: BTreeMap<Series, Statistics>,
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
    let interrupt = if plan.is_long() { Interrupt::stops(&waker) } else { Interrupt::default() };
    let sweep = std::cell::RefCell::new(Sweep::new(plan, dials, &waker, output, begun));
    let cut = dialer.run(|_| sweep.borrow_mut().next(), |task, outcome| sweep.borrow_mut().decided(task, outcome));
    sweep.into_inner().finish(cut, interrupt.signal())
}

impl<'a> Sweep<'a> {
    fn new(plan: &'a Plan, dials: &'a Dials<'a>, waker: &Waker, output: Output, begun: Instant) -> Sweep<'a> {
        let total = plan.total();
        let mut report = Report::new(plan.format, output, plan.only_open, total, plan.is_many());
        report.align(|| plan.width());
        let gateway = Gateway::of(plan);
        Sweep {
            plan,
            dials,
            spots: plan.targets.spots(),
            opened: VecDeque::new(),
            names: Names::new(waker.clone()),
            agenda: Agenda::new(),
            conversations: Conversations::new(plan.checks.clone(), gateway.clone(), waker.clone()),
            gateway,
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

    fn call(&mut self, task: Task) -> Next<'a, Task> {
        let places = match &self.gateway {
            Some(gateway) => gateway.place().unwrap_or_default().to_vec(),
            None => self.places(&task),
        };
        let dial = self.dials.of(&task.target);
        Next::Call(task, dial, places)
    }

    /// The addresses that one is enough of.
    fn places(&self, task: &Task) -> Vec<Address> {
        match (&task.only, &task.located) {
            (Some(only), _) => vec![only.clone()],
            (None, Ok(resolved)) => {
                let mut places = addresses(resolved, &task.target.endpoint);
                places.truncate(if self.plan.which == Which::First { 1 } else { usize::MAX });
                places
            }
            (None, Err(_)) => Vec::new(),
        }
    }

    /// What a proxy is to be asked for.
    fn errand(&self, task: &Task) -> Option<Errand> {
        let proxy = self.gateway.as_ref()?.proxy();
        let endpoint = &task.target.endpoint;
        Some(if proxy.looks_up(endpoint) {
            Errand::Name(endpoint.clone())
        } else {
            Errand::Addresses(self.places(task))
        })
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
                let errand = self.errand(&task);
                if errand.is_some() || self.plan.checks.is_any() {
                    self.conversations.begin((task, verdict), conn, elapsed, errand);
                } else {
                    self.conclude(task, verdict);
                }
            }
            Err(failed) => {
                crate::commands::connect::tell_attempts(&failed.attempts, self.output);
                let only = failed.attempts.first().filter(|_| failed.attempts.len() == 1);
                let address = only.map(|attempt| attempt.address.clone());
                let error = failed.into_error();
                if let Some(gateway) = &self.gateway {
                    let error = gateway.proxy().blamed(error);
                    return self.fail(task, Arc::new(error), None);
                }
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
        if let Some((elapsed, address)) = checked.passed {
            (verdict.elapsed, verdict.address) = (elapsed, address);
        }
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
}
