//! Calls under way, one or ten thousand: the race between the addresses of each, and the window over all.
//!
//! Owns when an attempt begins, is looked at again and is given up. Must not know what an attempt is made of (attempt.rs),
//! nor what a refusal means to anybody. Trade-off: one thread and readiness instead of a thread for each attempt, so that
//! an attempt that is decided at once never waits for anything, and ten thousand that are not cost a timer each.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::super::attempt::{Flight, Progress, has_own_address};
use super::super::watch::{Waker, Watch};
use super::super::{Address, Cause, Conn, Error, Kind, Op};
use super::{Attempt, Dial, Dialed, Failed, Outcome};

/// RFC 8305 section 5: how long an attempt may be silent before the next address is tried beside it.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How long a unix socket with a full queue is left alone before it is asked again: its server needs that long to accept.
const BUSY_DELAY: Duration = Duration::from_millis(1);

/// How long a call waits that found no descriptor or no free port, when no other call will give one back.
const SCARCITY_DELAY: Duration = Duration::from_millis(10);

/// How long a call that is alone tries again: what it lacks only others can give back, and it may well be nobody.
const SCARCITY_ALONE: Duration = Duration::from_secs(1);

/// As many calls begin between two looks at those under way: calls that are decided at once must not keep the others from
/// their answers, nor from their deadlines.
const BURST: usize = 64;

/// What is to be dialled next.
#[derive(Debug)]
pub enum Next<'a, T> {
    /// These addresses, the first that answers; the tag comes back with the outcome.
    Call(T, &'a Dial<'a>, Vec<Address>),
    /// Nothing before this time, unless a call ends sooner.
    Later(Instant),
    /// Nothing more.
    Over,
}

/// Keeps a window of calls under way.
#[derive(Debug)]
pub struct Dialer<'a, T> {
    /// How long each attempt may take: one time for all, whatever their plans say.
    timeout: Duration,
    /// How long what fails for want of descriptors or ports is tried again.
    scarcity: Duration,
    /// When whatever is under way is cut off.
    end: Option<Instant>,
    /// What a datagram socket asks, to have an answer; without it, it is connected as soon as it has an address.
    question: Option<&'a [u8]>,
    watch: Watch,
    /// How many attempts may be under way: fewer when descriptors or ports run out, and more again while they do not.
    window: usize,
    /// As many as that it was made for.
    window_max: usize,
    calls: HashMap<usize, Call<'a, T>>,
    flights: HashMap<usize, Ticket>,
    /// Keys are never used again, so that a timer of what is gone does no harm.
    next_key: usize,
    /// When attempts are given up. All have the same patience: the first to begin is the first to go.
    deadlines: VecDeque<(Instant, usize)>,
    /// Calls to be looked at again: the next address is due, or a full queue is to be asked.
    wakes: Vec<(Instant, Wake)>,
}

/// One call: the addresses of one target.
#[derive(Debug)]
struct Call<'a, T> {
    tag: T,
    plan: &'a Dial<'a>,
    attempts: Vec<Attempt>,
    /// How many of the addresses have been tried or are being tried.
    started: usize,
    /// How many of them are under way.
    flying: usize,
    begun: Instant,
}

/// An attempt under way, and whose it is.
#[derive(Debug)]
struct Ticket {
    flight: Flight,
    call: usize,
    index: usize,
}

#[derive(Debug)]
enum Wake {
    /// Start the next address of this call, if the last one (by its index) is still silent.
    NextAddress { call: usize, after: usize },
    /// Ask the full queue again.
    AskAgain(Ticket),
    /// Try again what failed for want of descriptors or ports.
    TryAgain { call: usize, index: usize },
}

impl<'a, T> Dialer<'a, T> {
    /// A dialler that has at most `window` attempts under way, not counting further addresses of the same target.
    pub fn new(window: usize, timeout: Duration) -> Dialer<'a, T> {
        Dialer {
            timeout,
            scarcity: timeout,
            end: None,
            question: None,
            watch: Watch::new(window),
            window: window.max(1),
            window_max: window.max(1),
            calls: HashMap::new(),
            flights: HashMap::new(),
            next_key: 0,
            deadlines: VecDeque::new(),
            wakes: Vec::new(),
        }
    }

    /// A dialler of one call, which has nobody to wait for that would give back what it lacks.
    pub(super) fn alone(timeout: Duration) -> Dialer<'a, T> {
        Dialer { scarcity: timeout.min(SCARCITY_ALONE), ..Dialer::new(1, timeout) }
    }

    /// The same, which at this time cuts off whatever is under way.
    #[must_use]
    pub fn until(self, end: Option<Instant>) -> Dialer<'a, T> {
        Dialer { end, ..self }
    }

    /// The same, which lets datagram sockets send this: they are connected when there is an answer, and a peer that says
    /// nothing has timed out.
    #[must_use]
    pub fn asking(self, question: &'a [u8]) -> Dialer<'a, T> {
        Dialer { question: Some(question), ..self }
    }

    /// What makes [`Dialer::run`] ask for the next call before the time that it was given, from any thread.
    pub fn waker(&mut self) -> Waker {
        self.watch.waker()
    }

    /// Dials until there is nothing more: `next` is asked whenever there is room (it is told how many calls are under way),
    /// `done` hears of each call as it ends. Gives back the tags of those that were cut off.
    pub fn run(&mut self, mut next: impl FnMut(usize) -> Next<'a, T>, mut done: impl FnMut(T, Outcome)) -> Vec<T> {
        let mut ready = Vec::new();
        loop {
            if self.watch.is_stopped() || self.end.is_some_and(|end| end <= Instant::now()) {
                self.flights.clear();
                return self.calls.drain().map(|(_, call)| call.tag).collect();
            }
            let mut later = None;
            let mut is_over = false;
            for _ in 0..BURST {
                if self.calls.len() >= self.window || later.is_some() || is_over {
                    break;
                }
                match next(self.calls.len()) {
                    Next::Call(tag, plan, addresses) => self.start(tag, plan, addresses, &mut done),
                    Next::Later(time) => later = Some(time),
                    Next::Over => is_over = true,
                }
            }
            if self.calls.is_empty() && is_over {
                return Vec::new();
            }
            let has_room = self.calls.len() < self.window && later.is_none() && !is_over;
            if has_room && self.calls.is_empty() {
                continue;
            }
            self.wait(if has_room { Some(Instant::now()) } else { later }, &mut ready);
            for key in ready.drain(..) {
                self.decide(key, true, &mut done);
            }
            self.expire(&mut done);
        }
    }

    fn key(&mut self) -> usize {
        self.next_key += 1;
        self.next_key
    }

    /// A new call begins with its first address.
    fn start(&mut self, tag: T, plan: &'a Dial<'a>, addresses: Vec<Address>, done: &mut impl FnMut(T, Outcome)) {
        let attempt = |address| Attempt { address, elapsed: Duration::ZERO, error: None };
        let attempts = addresses.into_iter().map(attempt).collect();
        let call = self.key();
        self.calls.insert(call, Call { tag, plan, attempts, started: 0, flying: 0, begun: Instant::now() });
        self.start_next_address(call, done);
    }

    /// Starts the next address of a call; without one, and with none under way, the call has failed.
    fn start_next_address(&mut self, key: usize, done: &mut impl FnMut(T, Outcome)) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if call.started < call.attempts.len() {
            let index = call.started;
            call.started += 1;
            call.flying += 1;
            self.begin(key, index, done);
            // What was decided at once needs no reminder of the next address: in a sweep nearly all would be of no use.
            let is_silent = |call: &Call<T>| call.started == index + 1 && call.started < call.attempts.len();
            if self.calls.get(&key).is_some_and(is_silent) {
                let wake = Wake::NextAddress { call: key, after: index + 1 };
                self.wakes.push((Instant::now() + ATTEMPT_DELAY, wake));
            }
        } else if call.flying == 0
            && let Some(call) = self.calls.remove(&key)
        {
            done(call.tag, Err(Failed { attempts: call.attempts }));
        }
    }

    fn begin(&mut self, call: usize, index: usize, done: &mut impl FnMut(T, Outcome)) {
        let Some((plan, address)) = self.attempt(call, index) else { return };
        let progress = plan.begin(&address, self.question);
        self.settle(call, index, progress, done);
    }

    /// How and whither an attempt of a call goes.
    fn attempt(&self, call: usize, index: usize) -> Option<(&'a Dial<'a>, Address)> {
        self.calls.get(&call).map(|call| (call.plan, call.attempts[index].address.clone()))
    }

    /// What became of an attempt.
    fn settle(&mut self, call: usize, index: usize, progress: Progress, done: &mut impl FnMut(T, Outcome)) {
        match progress {
            Progress::Connected(conn, elapsed) => {
                self.widen();
                self.connected(call, conn, elapsed, done);
            }
            Progress::Failed(mut error) => match self.scarce_since(call, index, &error) {
                Some(begun) if begun.elapsed() < self.scarcity => {
                    // Fewer at a time: then those under way give back what is missing.
                    self.window = self.window.min(self.flights.len().max(1));
                    self.wakes.push((Instant::now() + SCARCITY_DELAY, Wake::TryAgain { call, index }));
                }
                since => {
                    if since.is_none() {
                        self.widen();
                    }
                    // Of what was tried again all the time counts, not only the last try's.
                    error.elapsed = since.map_or(error.elapsed, |begun| begun.elapsed());
                    self.failed(call, index, error, done);
                }
            },
            Progress::Busy(flight) => {
                self.wakes.push((Instant::now() + BUSY_DELAY, Wake::AskAgain(Ticket { flight, call, index })));
            }
            Progress::Undecided(flight) => {
                let key = self.key();
                if let Err(error) = self.watch.add(key, &flight) {
                    let target = format!("{} connects", self.flights.len() + 1);
                    let error = Error::system(Op::Socket, target, flight.begun.elapsed(), error);
                    return self.failed(call, index, error, done);
                }
                self.deadlines.push_back((flight.begun + self.timeout, key));
                self.flights.insert(key, Ticket { flight, call, index });
            }
        }
    }

    /// An attempt had all that it needed: what was missing is there again, for one more at least.
    fn widen(&mut self) {
        self.window = self.window_max.min(self.window + 1);
    }

    /// Where an attempt failed only because too many are under way, or for a moment: when its call began.
    fn scarce_since(&self, call: usize, index: usize, error: &Error) -> Option<Instant> {
        let call = self.calls.get(&call)?;
        let source = call.plan.source;
        let is_scarce = match (error.kind(), &error.op) {
            (Kind::Exhausted, _) => true,
            // No port was free; unless it is an address that is missing, which no waiting brings.
            (Kind::AddressNotAvailable, Op::Connect) => {
                source.address.is_none() && has_own_address(&call.attempts[index].address)
            }
            // The same, where the address was chosen and the port was not.
            (Kind::AddressInUse, Op::Bind) => source.address.is_some() && source.port == 0,
            _ => false,
        };
        is_scarce.then_some(call.begun)
    }

    /// The call has its connection. Its other attempts are closed undecided.
    fn connected(&mut self, key: usize, conn: Conn, elapsed: Duration, done: &mut impl FnMut(T, Outcome)) {
        let Some(mut call) = self.calls.remove(&key) else { return };
        if call.flying > 1 {
            self.flights.retain(|_, ticket| ticket.call != key);
        }
        if let Some(winner) = call.attempts.iter_mut().find(|attempt| attempt.address == *conn.peer()) {
            winner.elapsed = elapsed;
        }
        call.attempts.truncate(call.started);
        done(call.tag, Ok(Dialed { conn, attempts: call.attempts }));
    }

    fn failed(&mut self, key: usize, index: usize, error: Error, done: &mut impl FnMut(T, Outcome)) {
        if let Some(call) = self.calls.get_mut(&key) {
            call.flying -= 1;
            call.attempts[index].elapsed = error.elapsed;
            call.attempts[index].error = Some(error);
            self.start_next_address(key, done);
        }
    }

    /// An attempt is ready, or its time is up.
    fn decide(&mut self, key: usize, is_ready: bool, done: &mut impl FnMut(T, Outcome)) {
        let Some(Ticket { flight, call, index }) = self.flights.remove(&key) else { return };
        let Some((plan, address)) = self.attempt(call, index) else { return };
        let progress = plan.decide(flight, &address, is_ready);
        self.settle(call, index, progress, done);
    }

    /// Waits until an attempt is decided, a timer is due, or there is something new to dial.
    fn wait(&mut self, later: Option<Instant>, ready: &mut Vec<usize>) {
        while self.deadlines.front().is_some_and(|(_, key)| !self.flights.contains_key(key)) {
            self.deadlines.pop_front();
        }
        let deadline = self.deadlines.front().map(|(deadline, _)| *deadline);
        let wake = self.wakes.iter().map(|(time, _)| *time).min();
        let until = [deadline, wake, later, self.end].into_iter().flatten().min();
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let sockets = self.flights.iter().map(|(key, ticket)| (*key, &ticket.flight));
        if self.watch.wait(sockets, timeout, ready).is_err() {
            // A wait that fails (it has no reason to) leaves the decision to SO_ERROR.
            ready.extend(self.flights.keys());
        }
    }

    /// Gives up what has had its time, and does what is due.
    fn expire(&mut self, done: &mut impl FnMut(T, Outcome)) {
        let now = Instant::now();
        while let Some((deadline, key)) = self.deadlines.front().copied().filter(|(deadline, _)| *deadline <= now) {
            let _ = deadline;
            self.deadlines.pop_front();
            self.decide(key, false, done);
        }
        let due: Vec<Wake> = self.wakes.extract_if(.., |(time, _)| *time <= now).map(|(_, wake)| wake).collect();
        for wake in due {
            self.wake(wake, done);
        }
    }

    fn wake(&mut self, wake: Wake, done: &mut impl FnMut(T, Outcome)) {
        match wake {
            Wake::TryAgain { call, index } => self.begin(call, index, done),
            Wake::NextAddress { call, after } => {
                if self.calls.get(&call).is_some_and(|call| call.started == after) {
                    self.start_next_address(call, done);
                }
            }
            Wake::AskAgain(Ticket { flight, call, index }) => {
                let Some((plan, address)) = self.attempt(call, index) else { return };
                let progress = if flight.begun.elapsed() >= self.timeout {
                    plan.give_up(&flight, &address, Cause::QueueFull)
                } else {
                    plan.ask_again(flight, &address)
                };
                self.settle(call, index, progress, done);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::super::super::{Clock, Options, Transport};
    use super::super::Source;
    #[cfg(target_os = "linux")]
    use super::super::tests::silent;
    use super::super::tests::{CLOSED, PATIENCE, address};
    use super::*;

    /// What becomes of a datagram that asks a place.
    fn ask(place: Address, timeout: Duration) -> Outcome {
        let (options, source) = (Options::default(), Source::default());
        let plan = Dial { transport: Transport::Udp, options: &options, source: &source, timeout };
        let (mut next, mut came) = (Some(place), None);
        Dialer::new(1, timeout).asking(b"anybody?").run(
            |_| next.take().map_or(Next::Over, |place| Next::Call((), &plan, vec![place])),
            |(), outcome| came = Some(outcome),
        );
        came.unwrap()
    }

    #[test]
    fn a_datagram_that_asks_is_connected_only_by_an_answer() {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let place = Address::Inet(peer.local_addr().unwrap());
        let silent = ask(place.clone(), Duration::from_millis(20)).unwrap_err().into_error();
        assert!(matches!(silent.cause, Cause::TimedOut(Clock::Reply)), "{silent}");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = [0; 16];
                // The first is of the one that has given up.
                for _ in 0..2 {
                    let (length, from) = peer.recv_from(&mut buffer).unwrap();
                    let _ = peer.send_to(&buffer[..length], from);
                }
            });
            let conn = ask(place, PATIENCE).unwrap().conn;
            let mut buffer = [0; 16];
            assert_eq!(conn.recv(&mut buffer).unwrap(), b"anybody?".len(), "the answer is still there to be read");
        });
        if cfg!(target_os = "linux") {
            assert_eq!(ask(address(CLOSED), PATIENCE).unwrap_err().into_error().kind(), Kind::Refused);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_under_way_is_cut_off_at_the_end_or_by_the_waker() {
        let (silent, _listener, _queued) = silent();
        let (options, source) = (Options::default(), Source::default());
        let plan = Dial { transport: Transport::Tcp, options: &options, source: &source, timeout: PATIENCE };
        for end in [Some(Duration::from_millis(20)), None] {
            let begun = Instant::now();
            let mut next = Some(7);
            let mut dialer = Dialer::new(1, PATIENCE).until(end.map(|end| begun + end));
            let waker = dialer.waker();
            let cut = std::thread::scope(|scope| {
                if end.is_none() {
                    scope.spawn(|| waker.stop());
                }
                dialer.run(
                    |_| next.take().map_or(Next::Over, |tag| Next::Call(tag, &plan, vec![silent.clone()])),
                    |tag, outcome| panic!("{tag} was decided: {outcome:?}"),
                )
            });
            assert!(begun.elapsed() < PATIENCE);
            // Whoever is stopped early enough has begun nothing.
            assert!(cut == [7] || (end.is_none() && next == Some(7)), "{cut:?}");
        }
    }

    #[test]
    fn a_waker_ends_the_wait_for_a_later_call() {
        let (options, source) = (Options::default(), Source::default());
        let plan = Dial { transport: Transport::Tcp, options: &options, source: &source, timeout: PATIENCE };
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut dialer = Dialer::new(1, PATIENCE);
        let waker = dialer.waker();
        let mut refused = 0;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                sender.send(address(CLOSED)).unwrap();
                drop(sender);
                waker.wake();
            });
            let next = |_| match receiver.try_recv() {
                Ok(place) => Next::Call((), &plan, vec![place]),
                Err(std::sync::mpsc::TryRecvError::Empty) => Next::Later(Instant::now() + PATIENCE),
                Err(std::sync::mpsc::TryRecvError::Disconnected) => Next::Over,
            };
            dialer.run(next, |(), outcome| refused += usize::from(outcome.is_err()));
        });
        assert_eq!(refused, 1);
    }
}
