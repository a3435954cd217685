//! `--mode forward=ENDPOINT`: a proxy for one port; what comes goes to the target, and what the target says comes back.
//!
//! Owns the connection to the target. Must not know the layers over the peer's. Trade-off: the target is looked up and
//! connected to on a thread that may block, for each connection anew: a name that moves is followed, and a lookup that hangs
//! holds up nobody else. Of datagrams each peer has a connection, and the engine's sessions carry them.
//!
//! | what happens | then |
//! |---|---|
//! | one side finishes | the other is told, once it has everything; its own direction goes on |
//! | one side resets, or fails | the other is reset, once it has everything that was sent before |
//! | the target cannot be connected to | the peer is reset, and the event says why |
//! | one side does not read | the other is not read either |

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::faulty::all_acknowledged;
use super::life::Life;
use super::service::{First, Visit};
use super::stream::{Broken, Stream, Wire, with_block};
use crate::connection::dial::Failed;
use crate::connection::{
    Allowed, Conn, Dial, Driven, Endpoint, Error, Op, Options, Query, Role, Source, Transport, dial, resolve,
};

/// How long a connection attempt may take, for each address of the target: as long as connect's.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long what was sent before a reset may take to arrive.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where to.
#[derive(Debug, Clone)]
pub struct Forward(Arc<Target>);

#[derive(Debug)]
struct Target {
    endpoint: Endpoint,
    query: Query,
    options: Options,
}

impl Forward {
    /// To an endpoint as it was typed.
    pub fn to(typed: &str) -> Result<Forward, String> {
        let endpoint = Endpoint::parse(&[typed], Role::Connect, false)?;
        let is_unix = matches!(endpoint, Endpoint::Unix(_));
        let transport = if is_unix { Transport::UnixStream } else { Transport::Tcp };
        let query = Query { allowed: Allowed::default(), transport, numeric: false, timeout: Some(CONNECT_TIMEOUT) };
        // What comes in small pieces goes on in small pieces.
        let options = Options { nodelay: (!is_unix).then_some(true), ..Options::default() };
        Ok(Forward(Arc::new(Target { endpoint, query, options })))
    }

    /// Serves one connection.
    pub async fn serve<S: Stream>(&self, peer: &mut S, visit: &Visit<'_>) -> Result<First, Broken> {
        let connected = self.connected(true).await;
        let target = match connected {
            Ok(target) => Life::new(target, false),
            Err(error) => {
                reset(visit.life);
                return Err(Broken::Call(Box::new(error)));
            }
        };
        let mut wire = Wire::new(&target, None, None);
        let joined = join(peer, &mut wire).await;
        let Err((side, broken)) = joined else { return Ok(First::Peer) };
        let other = if side == Side::Peer { &target } else { visit.life };
        // It fails where the other side has gone as well.
        let _ = tokio::time::timeout(PATIENCE, all_acknowledged(other)).await;
        reset(other);
        Err(broken)
    }

    /// Where to, as it was typed.
    pub fn target(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// Why datagrams cannot be forwarded there, if they cannot.
    pub fn why_not_datagrams(&self) -> Option<&'static str> {
        let is_unix = self.0.query.transport.is_unix();
        (is_unix && !cfg!(target_os = "linux"))
            .then_some("only Linux gives a unix socket a name of its own, without which the target could not answer it")
    }

    /// A new connection to the target, or a new socket for datagrams.
    pub async fn connected(&self, is_stream: bool) -> Result<Driven<Conn>, Error> {
        let target = self.0.clone();
        let transport = target.transport(is_stream);
        let failed = |error| {
            let name = format!("{} ({})", self.0.endpoint, transport);
            Error::system(Op::Connect, name, Duration::ZERO, error)
        };
        let connected = tokio::task::spawn_blocking(move || target.connect(transport)).await;
        let conn = connected.map_err(|ended| failed(ended.into()))??;
        Driven::new(conn).map_err(failed)
    }
}

impl Target {
    fn transport(&self, is_stream: bool) -> Transport {
        match (is_stream, self.query.transport.is_unix()) {
            (true, _) => self.query.transport,
            (false, true) => Transport::UnixDatagram,
            (false, false) => Transport::Udp,
        }
    }

    fn connect(&self, transport: Transport) -> Result<Conn, Error> {
        let resolved = resolve(&self.endpoint, &Query { transport, ..self.query })?;
        let source = Source::default();
        let none = Options::default();
        let options = if transport.is_stream() { &self.options } else { &none };
        let plan = Dial { transport, options, source: &source, timeout: CONNECT_TIMEOUT };
        dial(&resolved.addresses, &plan).map(|dialled| dialled.conn).map_err(Failed::into_error)
    }
}

/// Has its close be a reset.
fn reset(life: &Life) {
    // It fails only on a connection that is gone already.
    let _ = life.conn().reset_on_close();
}

/// Whose connection is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who has come.
    Peer,
    /// Whom the peer is joined to.
    Target,
}

/// Both directions, until both have ended.
async fn join<A: Stream, B: Stream>(peer: &mut A, target: &mut B) -> Result<(), (Side, Broken)> {
    let (mut there, mut back) = (Lane::default(), Lane::default());
    poll_fn(|context| {
        let gone = there.poll(context, peer, target, Side::Peer, Side::Target)?;
        let come = back.poll(context, target, peer, Side::Target, Side::Peer)?;
        if gone.is_ready() && come.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// One direction.
#[derive(Default)]
pub struct Lane {
    /// What was not taken yet; nothing more is received until it is.
    owed: Vec<u8>,
    paid: usize,
    has_ended: bool,
    is_finished: bool,
}

impl Lane {
    /// Ready once it is over.
    pub fn poll<F: Stream, T: Stream>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        source: Side,
        sink: Side,
    ) -> Result<Poll<()>, (Side, Broken)> {
        loop {
            while self.paid < self.owed.len() {
                match to.poll_send(context, &self.owed[self.paid..]).map_err(|broken| (sink, broken))? {
                    Poll::Ready(sent) => self.paid += sent,
                    Poll::Pending => return Ok(Poll::Pending),
                }
            }
            (self.owed, self.paid) = (Vec::new(), 0);
            if self.has_ended {
                return self.poll_finish(context, to).map_err(|broken| (sink, broken));
            }
            let received = self.poll_block(context, from, to);
            match received.map_err(|(is_source, broken)| (if is_source { source } else { sink }, broken))? {
                Poll::Ready(0) => self.has_ended = true,
                Poll::Ready(_) => {}
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
    }

    /// Receives one block and sends it straight on; what does not fit is owed. An error says whether it was the source's.
    fn poll_block<F: Stream, T: Stream>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
    ) -> Result<Poll<usize>, (bool, Broken)> {
        with_block(|block| {
            let received = match from.poll_receive(context, block).map_err(|broken| (true, broken))? {
                Poll::Ready(received) => received,
                Poll::Pending => return Ok(Poll::Pending),
            };
            let taken = if received > 0 { to.poll_send(context, &block[..received]) } else { Poll::Pending };
            let sent = match taken.map_err(|broken| (false, broken))? {
                Poll::Ready(sent) => sent,
                Poll::Pending => 0,
            };
            self.owed.extend_from_slice(&block[sent..received]);
            Ok(Poll::Ready(received))
        })
    }

    fn poll_finish<T: Stream>(&mut self, context: &mut Context<'_>, to: &mut T) -> Result<Poll<()>, Broken> {
        if !self.is_finished {
            match to.poll_finish(context)? {
                Poll::Ready(()) => self.is_finished = true,
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        Ok(Poll::Ready(()))
    }
}
