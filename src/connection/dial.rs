//! connect(2) with a deadline, in the manner of `connect_ex`: every address tried, every attempt kept with its errno; one
//! call or ten thousand under way at a time.
//!
//! Owns the race between the addresses of one name, and the window of attempts. Must not know names (resolve.rs made
//! addresses of them), what an attempt is made of (attempt.rs), or what a refusal means to anybody. Trade-off: one thread
//! and readiness instead of a thread for each attempt, so that an attempt that is decided at once never waits for
//! anything, and ten thousand that are not cost a timer each.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::attempt::{Flight, Progress, has_own_address};
use super::options::Options;
pub use super::watch::Waker;
use super::watch::Watch;
use super::{Address, Cause, Conn, Error, Kind, Op, Transport, UnixName};

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

/// Where a connection should come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// `-s`: an address of this machine.
    pub address: Option<IpAddr>,
    /// `-p`: a port, or 0 for any.
    pub port: u16,
    /// `-s` of a unix socket: our own path.
    pub path: Option<UnixName>,
}

/// How to dial.
#[derive(Debug, Clone)]
pub struct Dial<'a> {
    /// The protocol.
    pub transport: Transport,
    /// The socket options.
    pub options: &'a Options,
    /// Our own end.
    pub source: &'a Source,
    /// How long each address may take to answer.
    pub timeout: Duration,
}

/// One address that was tried.
#[derive(Debug)]
pub struct Attempt {
    /// What was dialled.
    pub address: Address,
    /// How long it took to be decided.
    pub elapsed: Duration,
    /// Why it failed; none for the one that won, and for those that lost the race undecided.
    pub error: Option<Error>,
}

/// A connection, and what it took to get it.
#[derive(Debug)]
pub struct Dialed {
    /// The connection, non-blocking.
    pub conn: Conn,
    /// Every attempt that was begun, in the order of the addresses.
    pub attempts: Vec<Attempt>,
}

impl Dialed {
    /// The attempt that became the connection. Others may have no error either: they were still undecided.
    pub fn winner(&self) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.address == *self.conn.peer())
    }
}

/// No address answered.
#[derive(Debug)]
pub struct Failed {
    /// Every attempt, in the order of the addresses, at least one.
    pub attempts: Vec<Attempt>,
}

impl Failed {
    /// The error that says most about the target.
    pub fn into_error(self) -> Error {
        Error::most_telling(self.attempts.into_iter().filter_map(|attempt| attempt.error).collect())
    }
}

/// What a call came to.
pub type Outcome = Result<Dialed, Failed>;

/// Connects to the first address that answers.
pub fn dial(addresses: &[Address], plan: &Dial) -> Outcome {
    let mut next = Some(addresses.to_vec());
    let mut outcome = Err(Failed { attempts: Vec::new() });
    let mut dialer = Dialer::new(1, plan.timeout);
    dialer.scarcity = plan.timeout.min(SCARCITY_ALONE);
    dialer.run(
        |_| next.take().map_or(Next::Over, |addresses| Next::Call((), plan, addresses)),
        |(), result| outcome = result,
    );
    outcome
}

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
    /// How many attempts may be under way; it shrinks when descriptors or ports run out.
    window: usize,
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
            calls: HashMap::new(),
            flights: HashMap::new(),
            next_key: 0,
            deadlines: VecDeque::new(),
            wakes: Vec::new(),
        }
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
            if call.started < call.attempts.len() {
                self.wakes.push((Instant::now() + ATTEMPT_DELAY, Wake::NextAddress { call: key, after: call.started }));
            }
            self.begin(key, index, done);
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
            Progress::Connected(conn, elapsed) => self.connected(call, conn, elapsed, done),
            Progress::Failed(mut error) => match self.scarce_since(call, index, &error) {
                Some(begun) if begun.elapsed() < self.scarcity => {
                    // Fewer at a time: then those under way give back what is missing.
                    self.window = self.window.min(self.flights.len().max(1));
                    self.wakes.push((Instant::now() + SCARCITY_DELAY, Wake::TryAgain { call, index }));
                }
                since => {
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
    use std::net::{TcpListener, UdpSocket};

    use std::io;

    use super::super::Clock;
    #[cfg(target_os = "linux")]
    use super::super::{
        Socket,
        socket::{Interest, wait_any},
    };
    use super::*;

    /// Longer than any test: what waits for it hangs.
    const PATIENCE: Duration = Duration::from_secs(600);

    /// Nothing listens there: the system gives nobody a port that low.
    const CLOSED: &str = "127.0.0.1:1";

    fn address(text: &str) -> Address {
        Address::Inet(text.parse().unwrap())
    }

    fn local(listener: &TcpListener) -> Address {
        Address::Inet(listener.local_addr().unwrap())
    }

    fn dial_from(source: &Source, addresses: &[Address], timeout: Duration, transport: Transport) -> Outcome {
        dial(addresses, &Dial { transport, options: &Options::default(), source, timeout })
    }

    fn dial_tcp(addresses: &[Address], timeout: Duration) -> Outcome {
        dial_from(&Source::default(), addresses, timeout, Transport::Tcp)
    }

    /// A listener whose queue is full: Linux drops what else would connect. The second socket is what fills it.
    #[cfg(target_os = "linux")]
    fn silent() -> (Address, Socket, std::net::TcpStream) {
        let listener = Socket::new(super::super::Family::V4, Transport::Tcp, false).unwrap();
        listener.bind(&address("127.0.0.1:0")).unwrap();
        // A queue of length 0 has room for one.
        listener.listen(0).unwrap();
        let place = listener.local_address().unwrap();
        let Address::Inet(inet) = &place else { panic!("{place}") };
        let queued = std::net::TcpStream::connect(inet).unwrap();
        // The one that connects may know of it before the queue does.
        assert_eq!(wait_any(&[&listener], Interest::Readable, None).unwrap(), [true]);
        (place, listener, queued)
    }

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

    #[test]
    fn refused_addresses_are_kept_in_their_order_and_the_next_one_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [address(CLOSED), address("[::1]:1"), local(&listener), address("192.0.2.1:1")];
        let dialled = dial_tcp(&addresses, PATIENCE).unwrap();
        let tried: Vec<_> = dialled.attempts.iter().map(|attempt| &attempt.address).collect();
        assert_eq!(tried, addresses[..3].iter().collect::<Vec<_>>(), "the fourth is not needed");
        let outcomes: Vec<_> =
            dialled.attempts.iter().map(|attempt| attempt.error.as_ref().map(Error::errname)).collect();
        assert_eq!(outcomes, [Some("ECONNREFUSED"), Some("ECONNREFUSED"), None]);
        assert!(dialled.attempts.iter().all(|attempt| attempt.elapsed > Duration::ZERO), "{:?}", dialled.attempts);
        assert_eq!(dialled.winner().unwrap().address, local(&listener));
        assert_eq!(dialled.conn.peer(), &local(&listener));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_silent_address_is_joined_by_the_next_and_stays_undecided() {
        let (place, _listener, _queued) = silent();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dialled = dial_tcp(&[place.clone(), local(&listener), address(CLOSED)], PATIENCE).unwrap();
        assert_eq!(dialled.conn.peer(), &local(&listener));
        assert_eq!(dialled.attempts.len(), 2, "the third was not begun: {:?}", dialled.attempts);
        assert!(dialled.attempts[0].error.is_none() && dialled.attempts[0].address == place);
        assert_eq!(dialled.winner().unwrap().address, local(&listener));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn addresses_that_stay_silent_each_time_out_by_the_connect_clock() {
        let timeout = Duration::from_millis(50);
        let (first, second) = (silent(), silent());
        let failed = dial_tcp(&[first.0.clone(), second.0.clone()], timeout).unwrap_err();
        for (attempt, place) in failed.attempts.iter().zip([&first.0, &second.0]) {
            let error = attempt.error.as_ref().unwrap();
            assert!(matches!(error.cause, Cause::TimedOut(Clock::Connect)), "{error}");
            assert_eq!((&attempt.address, error.errname()), (place, "ETIMEDOUT"));
            assert!(attempt.elapsed >= timeout, "{:?}", attempt.elapsed);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_refusal_tells_more_than_silence_whatever_the_order() {
        let (place, _listener, _queued) = silent();
        for addresses in [[place.clone(), address(CLOSED)], [address(CLOSED), place]] {
            let error = dial_tcp(&addresses, Duration::from_millis(20)).unwrap_err().into_error();
            assert_eq!(error.kind(), Kind::Refused);
            let expected = "connect 127.0.0.1:1 (tcp), the most telling of 2 addresses, failed after ";
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }

    #[test]
    fn the_most_telling_error_is_the_one_nearest_to_the_peer() {
        let causes: [fn() -> Cause; 4] = [
            || Cause::System(io::ErrorKind::Unsupported.into()),
            || Cause::TimedOut(Clock::Connect),
            || Cause::QueueFull,
            || Cause::SelfConnect,
        ];
        let attempt = |cause: Cause| Attempt {
            address: address(CLOSED),
            elapsed: Duration::ZERO,
            error: Some(Error::new(Op::Connect, CLOSED, Duration::ZERO, cause)),
        };
        for (more, telling) in causes.iter().enumerate().skip(1) {
            for less in &causes[..more] {
                for attempts in [vec![attempt(less()), attempt(telling())], vec![attempt(telling()), attempt(less())]] {
                    assert_eq!(Failed { attempts }.into_error().words(), attempt(telling()).error.unwrap().words());
                }
            }
        }
    }

    #[test]
    fn a_failed_dial_of_one_address_names_only_that() {
        let error = dial_tcp(&[address(CLOSED)], PATIENCE).unwrap_err().into_error();
        assert!(error.to_string().starts_with("connect 127.0.0.1:1 (tcp) failed after "), "{error}");
        assert_eq!(dial_tcp(&[], PATIENCE).unwrap_err().into_error().kind(), Kind::Unsupported);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peer_sees_the_source_that_was_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // An address that no other test uses, and a port of it that was free a moment ago.
        let port = TcpListener::bind("127.77.0.2:0").unwrap().local_addr().unwrap().port();
        let address = Some("127.77.0.2".parse().unwrap());
        for (source, expected_port) in [
            (Source { address, ..Source::default() }, None),
            (Source { address, port, ..Source::default() }, Some(port)),
        ] {
            let dialled = dial_from(&source, &[local(&listener)], PATIENCE, Transport::Tcp).unwrap();
            let (_, seen) = listener.accept().unwrap();
            assert_eq!(dialled.conn.local(), &Address::Inet(seen));
            assert_eq!(Some(seen.ip()), address);
            assert!(expected_port.is_none_or(|port| port == seen.port()), "{seen}");
            // Whoever closes second leaves no TIME_WAIT behind, and the next turn may have the port.
            dialled.conn.abort().unwrap();
        }
    }

    #[test]
    fn a_source_that_is_not_ours_fails_at_the_bind() {
        let source = Source { address: Some("192.0.2.1".parse().unwrap()), ..Source::default() };
        let error = dial_from(&source, &[address(CLOSED)], PATIENCE, Transport::Tcp).unwrap_err().into_error();
        assert_eq!((&error.op, error.kind()), (&Op::Bind, Kind::AddressNotAvailable));
    }

    #[test]
    fn a_datagram_socket_needs_nobody_to_be_there() {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer_address = Address::Inet(peer.local_addr().unwrap());
        let dialled = dial_from(&Source::default(), &[peer_address], PATIENCE, Transport::Udp).unwrap();
        dialled.conn.send_all(b"here").unwrap();
        let mut buffer = [0; 8];
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], &Address::Inet(from)), (&b"here"[..], dialled.conn.local()));
        assert!(dial_from(&Source::default(), &[address(CLOSED)], PATIENCE, Transport::Udp).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_unix_name_is_refused_by_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let place = Address::Unix(UnixName::Path(path.clone()));
        let dial_unix = || dial_from(&Source::default(), std::slice::from_ref(&place), PATIENCE, Transport::UnixStream);
        assert_eq!(dial_unix().unwrap_err().into_error().errname(), "ENOENT");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(dial_unix().unwrap().conn.peer(), &place);
        drop(listener);
        assert_eq!(dial_unix().unwrap_err().into_error().errname(), "ECONNREFUSED");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_unix_datagram_socket_has_a_name_that_can_be_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peer");
        let peer = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let place = [Address::Unix(UnixName::Path(path))];
        let own = UnixName::Path(folder.path().join("own"));
        for path in [None, Some(own)] {
            let source = Source { path, ..Source::default() };
            let conn = dial_from(&source, &place, PATIENCE, Transport::UnixDatagram).unwrap().conn;
            conn.send_all(b"question").unwrap();
            let mut buffer = [0; 16];
            let (_, from) = peer.recv_from(&mut buffer).unwrap();
            assert!(!from.is_unnamed(), "{source:?}");
            peer.send_to_addr(b"answer", &from).unwrap();
            assert_eq!(conn.recv(&mut buffer).unwrap(), b"answer".len());
        }
    }
}
