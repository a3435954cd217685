//! Names looked up while others are looked up and probed.
//!
//! Owns the lookups under way, and who waits for each. Must not know what is probed at an address. Trade-off: a thread for
//! each lookup, as getaddrinfo(3) wants it, and a bound on their number; whoever asks for what is being asked already waits
//! for the same answer.

use std::collections::HashMap;
use std::net::{SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::connection::endpoint::{Host, Port};
use crate::connection::{Address, Cause, Endpoint, Error, Op, Query, Resolved, Transport, Waker, resolve};

/// As many lookups at a time: enough that a few silent servers do not hold up the rest, few enough for any resolver.
const LOOKUPS_MAX: usize = 32;

/// Where a host is, or why that is not known.
pub type Located = Result<Arc<Resolved>, Arc<Error>>;

/// A place without its port, unless that is a name, and the protocol, which may have its own.
type Question = (Endpoint, Transport);

/// Lookups under way.
#[derive(Debug)]
pub struct Names<W> {
    waiting: HashMap<Question, Vec<W>>,
    sender: Sender<(Question, Located)>,
    receiver: Receiver<(Question, Located)>,
    waker: Waker,
}

impl<W> Names<W> {
    /// None yet. The waker hears of answers.
    pub fn new(waker: Waker) -> Names<W> {
        let (sender, receiver) = channel();
        Names { waiting: HashMap::new(), sender, receiver, waker }
    }

    /// Whether it takes a lookup to know where this is.
    pub fn is_needed(endpoint: &Endpoint, is_numeric: bool) -> bool {
        match endpoint {
            Endpoint::Unix(_) => false,
            Endpoint::Inet { port: Port::Service(_), .. } => true,
            Endpoint::Inet { host, .. } => matches!(host, Host::Name(_)) && !is_numeric,
        }
    }

    /// Whether it is better to wait for an answer before the next question.
    pub fn is_busy(&self) -> bool {
        self.waiting.len() >= LOOKUPS_MAX
    }

    /// Whether no answer is due.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Who waits, in no order.
    pub fn waiting(&self) -> impl Iterator<Item = &W> {
        self.waiting.values().flatten()
    }

    /// Gives up every lookup: who waited.
    pub fn abandon(&mut self) -> Vec<W> {
        self.waiting.drain().flat_map(|(_, waiting)| waiting).collect()
    }

    /// Asks where this is.
    pub fn ask(&mut self, endpoint: &Endpoint, query: Query, asker: W) {
        let question = question(endpoint, query.transport);
        if let Some(others) = self.waiting.get_mut(&question) {
            others.push(asker);
            return;
        }
        self.waiting.insert(question.clone(), vec![asker]);
        let (sender, waker) = (self.sender.clone(), self.waker.clone());
        let subject = question.clone();
        let answer = move || {
            let located = resolve(&subject.0, &query).map(Arc::new).map_err(Arc::new);
            // Nobody listens any more once the run is over.
            let _ = sender.send((subject, located));
            waker.wake();
        };
        if let Err(error) = thread::Builder::new().name("names".to_owned()).spawn(answer) {
            let error = Error::new(Op::Resolve, &question.0, Duration::ZERO, Cause::System(error));
            let _ = self.sender.send((question, Err(Arc::new(error))));
        }
    }

    /// An answer that has come, and who waited for it.
    pub fn answer(&mut self) -> Option<(Located, Vec<W>)> {
        if self.waiting.is_empty() {
            return None;
        }
        let (question, located) = self.receiver.try_recv().ok()?;
        Some((located, self.waiting.remove(&question).unwrap_or_default()))
    }
}

/// What all ports of a host have in common.
fn question(endpoint: &Endpoint, transport: Transport) -> Question {
    let common = match endpoint {
        // Any number will do: the caller puts its own in.
        Endpoint::Inet { host, port: Port::Number(_) } => Endpoint::Inet { host: host.clone(), port: Port::Number(1) },
        other => other.clone(),
    };
    (common, transport)
}

/// Where something is at a host that has been located.
pub fn addresses(resolved: &Resolved, endpoint: &Endpoint) -> Vec<Address> {
    let Endpoint::Inet { port: Port::Number(port), .. } = endpoint else { return resolved.addresses.clone() };
    let with_port = |address: &Address| match address {
        Address::Inet(SocketAddr::V4(v4)) => Address::Inet((*v4.ip(), *port).into()),
        // The zone stays as it is.
        Address::Inet(SocketAddr::V6(v6)) => {
            Address::Inet(SocketAddrV6::new(*v6.ip(), *port, v6.flowinfo(), v6.scope_id()).into())
        }
        unix @ Address::Unix(_) => unix.clone(),
    };
    resolved.addresses.iter().map(with_port).collect()
}
