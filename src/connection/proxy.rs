//! Proxies: a connection to a target that somebody else makes for us, by SOCKS or by HTTP's CONNECT.
//!
//! Owns what a proxy is, what it is asked for, and the talk with it over a connection. Must not know who wants the
//! connection. Trade-off: each protocol is a `Dialog`, bytes in and bytes out, and one driver here carries it out with
//! blocking waits; what comes is looked at (MSG_PEEK) before it is taken, because a target may speak first, right behind
//! the proxy's last word, and what it says is not ours. That costs a call for each reply, and no byte is ever read too far.
//!
//! What a proxy says of the target is an error of the target, with the errno that it stands for. Whatever goes wrong before
//! that, or is said in words that mean no errno, is [`Cause::Proxy`], and says nothing of the target.
//!
//! | file | owns |
//! |---|---|
//! | `url`   | what a person types for a proxy, and where its password comes from |
//! | `socks` | SOCKS4, SOCKS4a and SOCKS5 |
//! | `http`  | CONNECT |

mod http;
mod socks;
mod url;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::endpoint::{Host, Port};
use super::poll::{Interest, wait_any};
use super::stream::Beyond;
use super::{
    Address, Allowed, Cause, Clock, Conn, Dial, Endpoint, Error, Op, Query, Resolved, Result, Transport, dial, resolve,
};
use crate::printable;

/// Longer than any reply that makes sense; of what is behind it, nothing is taken.
const PEEK_BYTES: usize = 4096;

/// How a proxy is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// SOCKS4: IPv4 addresses only.
    Socks4,
    /// SOCKS4a: names as well.
    Socks4a,
    /// SOCKS5 (RFC 1928), with names looked up here.
    Socks5,
    /// SOCKS5, with names looked up by the proxy.
    Socks5h,
    /// HTTP's CONNECT (RFC 9110 section 9.3.6).
    Http,
}

/// Who we are, to a proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

/// A password is shown to nobody.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    scheme: Scheme,
    endpoint: Endpoint,
    credentials: Option<Credentials>,
}

/// What a proxy is asked to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// An address.
    Address(SocketAddr),
    /// A name, which the proxy looks up, and a port.
    Name(String, u16),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Address(address) => write!(f, "{address}"),
            Destination::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// What follows a piece of a reply.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// All of it was taken, and more must come.
    More,
    /// This is to be sent.
    Send(Vec<u8>),
    /// The rest of the stream is the target's.
    Done,
}

/// A reply that ends it.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// The proxy says of the target what this errno says, in these words.
    OfTarget(i32, String),
    /// It says nothing of the target.
    OfProxy(String),
}

/// The talk with a proxy: bytes in, bytes out.
trait Dialog {
    /// What is sent first.
    fn begin(&mut self) -> Vec<u8>;

    /// Takes what has come: how many of these bytes are the proxy's, and what follows.
    fn receive(&mut self, bytes: &[u8]) -> std::result::Result<(usize, Step), Refusal>;

    /// What is being done, for an error.
    fn phase(&self) -> Op;
}

impl Proxy {
    /// Whether it can be asked for such a place at all. The error is one line that says what can be done.
    pub fn suits(
        &self,
        endpoint: &Endpoint,
        transport: Transport,
        allowed: Allowed,
    ) -> std::result::Result<(), String> {
        if transport != Transport::Tcp {
            return Err(format!("--proxy is for tcp only, and {endpoint} is {transport}"));
        }
        if let Endpoint::Inet { host: Host::Scoped(..), .. } = endpoint {
            return Err(format!("the zone of {endpoint} means nothing to a proxy"));
        }
        if allowed != Allowed::Any && self.looks_up(endpoint) {
            let other = if self.scheme == Scheme::Socks4a { "socks4" } else { "socks5" };
            return Err(format!(
                "-4 and -6 cannot be asked of a proxy that looks names up itself: {other}:// looks them up here"
            ));
        }
        if allowed == Allowed::V6 && matches!(self.scheme, Scheme::Socks4 | Scheme::Socks4a) {
            return Err(format!("-6: {} has IPv4 addresses only", self.scheme));
        }
        Ok(())
    }

    /// Whether names are looked up by the proxy.
    pub fn looks_names_up(&self) -> bool {
        matches!(self.scheme, Scheme::Socks4a | Scheme::Socks5h | Scheme::Http)
    }

    /// Whether a place is a name that only the proxy looks up.
    pub fn looks_up(&self, endpoint: &Endpoint) -> bool {
        self.looks_names_up() && matches!(endpoint, Endpoint::Inet { host: Host::Name(_), .. })
    }

    /// The families that it can be asked for.
    pub fn allowed(&self, wanted: Allowed) -> Allowed {
        if self.scheme == Scheme::Socks4 && wanted == Allowed::Any { Allowed::V4 } else { wanted }
    }

    /// Where it is itself. Whether it is reached by IPv4 or IPv6 is not what -4 and -6 are about.
    pub fn locate(&self, query: &Query) -> Result<Resolved> {
        let query = Query { allowed: Allowed::Any, transport: Transport::Tcp, ..*query };
        resolve(&self.endpoint, &query).map_err(|error| self.blamed(error))
    }

    /// What to ask it for: the addresses of a place, or its name.
    pub fn destinations(&self, endpoint: &Endpoint, query: &Query) -> Result<Vec<Destination>> {
        let query = Query { allowed: self.allowed(query.allowed), ..*query };
        let Endpoint::Inet { host: Host::Name(name), port } = endpoint else {
            return Ok(of_addresses(&resolve(endpoint, &query)?.addresses));
        };
        if !self.looks_names_up() {
            return Ok(of_addresses(&resolve(endpoint, &query)?.addresses));
        }
        let number = match port {
            Port::Number(number) => *number,
            Port::Service(_) => {
                // A service has the same port at any host.
                let anywhere = Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
                let service = Endpoint::Inet { host: anywhere, port: port.clone() };
                let found = resolve(&service, &Query { allowed: Allowed::Any, ..query })?;
                found.addresses.first().and_then(Address::port).unwrap_or_default()
            }
        };
        Ok(vec![Destination::Name(name.clone(), number)])
    }

    /// A connection through it to the first of the destinations that it can reach. `first` is a connection to it that was made
    /// already, and when that was begun; `told` hears of each destination that it cannot reach.
    pub fn reach(
        &self,
        addresses: &[Address],
        destinations: &[Destination],
        plan: &Dial,
        first: Option<(Conn, Instant)>,
        mut told: impl FnMut(&Error),
    ) -> Result<Conn> {
        let mut first = first;
        let mut failures = Vec::new();
        for destination in destinations {
            let (conn, begun) = match first.take() {
                Some(first) => first,
                None => {
                    let begun = Instant::now();
                    let dialed = dial(addresses, plan).map_err(|failed| self.blamed(failed.into_error()))?;
                    (dialed.conn, begun)
                }
            };
            match self.ask(conn, destination, begun, plan.timeout) {
                Err(error) if !error.is_of_proxy() => {
                    if destinations.len() > 1 {
                        told(&error);
                    }
                    failures.push(error);
                }
                decided => return decided,
            }
        }
        Err(Error::most_telling(failures))
    }

    /// An error of the way to it: it says nothing of any target.
    pub fn blamed(&self, error: Error) -> Error {
        Error { target: format!("proxy {self}").into(), cause: Cause::Proxy(Box::new(error.cause)), ..error }
    }

    /// Asks for a destination over a connection to it.
    fn ask(&self, conn: Conn, destination: &Destination, begun: Instant, timeout: Duration) -> Result<Conn> {
        let talk = Talk { proxy: self, conn: &conn, destination, begun, end: begun + timeout };
        match self.dialog(destination) {
            Ok(mut dialog) => talk.carry_out(dialog.as_mut())?,
            Err(why) => return Err(talk.failed(Op::Ask, Cause::Unsupported(why))),
        }
        Ok(conn.reaching(Beyond { destination: destination.to_string(), proxy: self.to_string() }))
    }

    fn dialog(&self, destination: &Destination) -> std::result::Result<Box<dyn Dialog>, &'static str> {
        let credentials = self.credentials.clone();
        Ok(match self.scheme {
            Scheme::Socks4 | Scheme::Socks4a => Box::new(socks::Version4::new(destination, credentials)?),
            Scheme::Socks5 | Scheme::Socks5h => Box::new(socks::Version5::new(destination, credentials)?),
            Scheme::Http => Box::new(http::Connect::new(destination, credentials.as_ref())),
        })
    }
}

/// The same, as a proxy is asked for them.
pub fn of_addresses(addresses: &[Address]) -> Vec<Destination> {
    let inet = addresses.iter().filter_map(|address| match address {
        Address::Inet(inet) => Some(Destination::Address(*inet)),
        Address::Unix(_) => None,
    });
    inet.collect()
}

/// As messages name it; without the user, who is nobody's business.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.endpoint)
    }
}

/// A dialog under way.
struct Talk<'a> {
    proxy: &'a Proxy,
    conn: &'a Conn,
    destination: &'a Destination,
    begun: Instant,
    end: Instant,
}

impl Talk<'_> {
    fn carry_out(&self, dialog: &mut dyn Dialog) -> Result<()> {
        let mut outgoing = dialog.begin();
        let mut came = [0; PEEK_BYTES];
        loop {
            self.send(&outgoing, dialog)?;
            outgoing = loop {
                self.wait(Interest::Readable, dialog)?;
                let length = match self.conn.socket().peek(&mut came) {
                    Ok(0) => return Err(self.failed(dialog.phase(), Cause::EndedEarly("it closed the connection"))),
                    Ok(length) => length,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(self.failed(dialog.phase(), Cause::System(error))),
                };
                let received = dialog.receive(&came[..length]);
                // After a refusal nothing is the target's, and a close with unread input would be a reset.
                let taken = received.as_ref().map_or(length, |(taken, _)| *taken);
                let phase = dialog.phase();
                // What was looked at is there: it comes in one piece.
                self.conn
                    .socket()
                    .recv(&mut came[..taken])
                    .map_err(|error| self.failed(phase, Cause::System(error)))?;
                match received.map_err(|refusal| self.refused(refusal, dialog))?.1 {
                    Step::More => {}
                    Step::Send(bytes) => break bytes,
                    Step::Done => return Ok(()),
                }
            };
        }
    }

    fn send(&self, mut bytes: &[u8], dialog: &dyn Dialog) -> Result<()> {
        let has_secret = self.proxy.credentials.is_some();
        while !bytes.is_empty() {
            let socket = self.conn.socket();
            match if has_secret { socket.send_secret(bytes) } else { socket.send(bytes) } {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(Interest::Writable, dialog)?,
                Err(error) => return Err(self.failed(dialog.phase(), Cause::System(error))),
            }
        }
        Ok(())
    }

    /// Until it is ready, or until the time is up.
    fn wait(&self, interest: Interest, dialog: &dyn Dialog) -> Result<()> {
        let left = self.end.saturating_duration_since(Instant::now());
        let phase = dialog.phase();
        match wait_any(&[self.conn.socket()], interest, Some(left)) {
            Ok(ready) if ready == [true] => Ok(()),
            // It was asked, and may be waiting for the target itself.
            Ok(_) if phase == Op::Ask => {
                Err(self.of_target(Cause::TimedOut(Clock::Connect)).told("the proxy was asked, and said nothing"))
            }
            Ok(_) => Err(self.failed(phase, Cause::TimedOut(Clock::Connect))),
            Err(error) => Err(self.failed(phase, Cause::System(error))),
        }
    }

    fn refused(&self, refusal: Refusal, dialog: &dyn Dialog) -> Error {
        match refusal {
            Refusal::OfTarget(number, words) => {
                let error = self.of_target(Cause::System(io::Error::from_raw_os_error(number)));
                error.told(format!("the proxy answered {words}"))
            }
            Refusal::OfProxy(words) => self.failed(dialog.phase(), Cause::Said(words)),
        }
    }

    fn of_target(&self, cause: Cause) -> Error {
        let target = format!("{} ({}) through {}", self.destination, self.conn.transport(), self.proxy);
        Error::new(Op::Connect, target, self.begun.elapsed(), cause)
    }

    /// The proxy failed, in this phase.
    fn failed(&self, phase: Op, cause: Cause) -> Error {
        let target = match phase {
            Op::Ask => format!("proxy {} for {}", self.proxy, self.destination),
            _ => format!("proxy {}", self.proxy),
        };
        Error::new(phase, target, self.begun.elapsed(), Cause::Proxy(Box::new(cause)))
    }
}

/// What came, for a message: a beginning is enough to see what it is instead.
fn quoted(bytes: &[u8]) -> String {
    /// A status line fits.
    const SHOWN_BYTES_MAX: usize = 60;
    printable::quoted(bytes, SHOWN_BYTES_MAX)
}
