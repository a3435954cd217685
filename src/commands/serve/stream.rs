//! A connection's bytes as a service sees them: a stream, made of the connection and the layers over it.
//!
//! Owns what passes on the wire: the calls, the count of the bytes, and those who look at them. Must not know which service
//! it carries, nor the layers above it. Trade-off: polled instead of awaited, because an idle connection that awaits a read
//! would hold its buffer; so it is given one, for as long as one poll takes, that its thread's connections share.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::life::{Asked, Life};
use crate::connection::ready::Queue;
use crate::connection::{Error, Op};
use crate::fault::lane::Ending;
use crate::relay::Taps;

/// One read: enough for a bulk sender to be served in few calls, little enough to stay in the cache.
pub const BLOCK_BYTES: usize = 64 * 1024;

thread_local! {
    /// Filled and emptied within one poll, so every connection of the thread can have it.
    static BLOCK: RefCell<Vec<u8>> = RefCell::new(vec![0; BLOCK_BYTES]);
}

/// Lends the thread's block for one poll. A layer must not ask for it: the service that polls it has it already.
#[inline]
pub fn with_block<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    BLOCK.with_borrow_mut(|block| use_it(block))
}

/// Why a stream is over before its time.
#[derive(Debug)]
pub enum Broken {
    /// A call failed.
    Call(Box<Error>),
    /// A fault rule ends it.
    Rule(Ending),
    /// The service has seen to it that the close is a reset.
    Reset,
    /// The same, because a program could not be run, for this reason.
    NotRun(Box<str>),
    /// The peer has not read what was for it in the time that it had.
    TooSlow,
}

/// A byte stream on the event loop.
pub trait Stream {
    /// What came, once something has: 0 when the peer's direction has ended.
    fn poll_receive(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, Broken>>;

    /// How many of the bytes were taken, once there is room for any.
    fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Broken>>;

    /// Ends our direction, once everything that was taken has gone.
    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>>;
}

/// How long a peer must be silent for its connection to be idle, once the server is told to stop and nothing has come since.
/// What was on its way then has arrived, and nobody waits for the server's end longer.
const QUIET: Duration = Duration::from_millis(50);

/// The same for a peer that has sent something since: it is at work, and may be slow, or on a machine that is busy.
const PAUSE: Duration = Duration::from_secs(1);

/// The connection itself, under all layers.
pub struct Wire<'a> {
    life: &'a Life,
    /// None for nearly everybody, and then no larger than that.
    taps: Option<Box<Taps>>,
    /// Set while the peer is silent and the server wants to stop.
    quiet: Option<Pin<Box<Sleep>>>,
    /// What had come with something else, and is received first.
    early: VecDeque<u8>,
    /// How many more bytes may come.
    left_bytes: u64,
    /// Its input was ended on this side.
    is_ended: bool,
    /// When something came last since the server was told to stop.
    at_work: Option<Instant>,
}

impl<'a> Wire<'a> {
    /// Over a connection whose bytes the taps see; its input ends after so many bytes.
    pub fn new(life: &'a Life, taps: Option<Box<Taps>>, received_bytes_max: Option<u64>) -> Wire<'a> {
        let left_bytes = received_bytes_max.unwrap_or(u64::MAX);
        Wire { life, taps, quiet: None, early: VecDeque::new(), left_bytes, is_ended: false, at_work: None }
    }

    /// Has these bytes received first: they came with something that was not the service's.
    pub fn receive_first(&mut self, early: Vec<u8>) {
        self.early = early.into();
    }

    /// As much of what had come as fits.
    #[cold]
    fn take_early(&mut self, buffer: &mut [u8]) -> usize {
        let length = self.early.len().min(buffer.len());
        self.early.drain(..length).zip(buffer).for_each(|(byte, place)| *place = byte);
        length
    }

    /// Whether as many bytes came as may.
    pub fn is_full(&self) -> bool {
        self.left_bytes == 0
    }

    /// Whether its input ended on this side, and not with the peer's FIN.
    pub fn is_ended_here(&self) -> bool {
        self.is_ended
    }

    #[inline]
    fn poll_socket(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let keeps_boundaries = self.life.conn().transport().keeps_boundaries();
        self.life.driven().poll_read(context, |socket| {
            if keeps_boundaries {
                // However short it is, there may be another behind it.
                let message = socket.recv_from(buffer)?;
                let cut =
                    || io::Error::new(io::ErrorKind::InvalidData, "a message was longer than what is read at once");
                return if message.truncated { Err(cut()) } else { Ok((message.length, Queue::MayHoldMore)) };
            }
            let received = socket.recv(buffer)?;
            // A read that does not fill the block has emptied the queue; 0 is the end and must be seen again.
            let is_short = 0 < received && received < buffer.len();
            Ok((received, if is_short { Queue::Emptied } else { Queue::MayHoldMore }))
        })
    }

    /// Nothing is there to be received. That is the end of the input once the connection is to finish and the peer has been
    /// silent for a while.
    #[cold]
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let at_work = self.at_work;
        let quiet = self.quiet.get_or_insert_with(|| {
            // What it has sent may have taken a while to be served: its pause began before that.
            let pause = at_work.map_or(Duration::ZERO, |last| PAUSE.saturating_sub(last.elapsed()));
            Box::pin(tokio::time::sleep(pause.max(QUIET)))
        });
        ready!(quiet.as_mut().poll(context));
        self.is_ended = true;
        Poll::Ready(())
    }

    #[cold]
    fn broken(&self, op: Op, error: io::Error) -> Broken {
        Broken::Call(Box::new(self.life.conn().error(op, error)))
    }
}

impl Stream for Wire<'_> {
    #[inline]
    fn poll_receive(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, Broken>> {
        if self.is_ended || self.is_full() {
            self.is_ended = true;
            return Poll::Ready(Ok(0));
        }
        let room = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..room];
        let received = if self.early.is_empty() {
            self.poll_socket(context, buffer)
        } else {
            Poll::Ready(Ok(self.take_early(buffer)))
        };
        let Poll::Ready(received) = received else {
            return if self.life.asked() == Asked::Nothing {
                Poll::Pending
            } else {
                self.poll_silence(context).map(|()| Ok(0))
            };
        };
        let received = received.map_err(|error| self.broken(Op::Receive, error))?;
        self.quiet = None;
        if self.life.asked() != Asked::Nothing {
            self.at_work = Some(Instant::now());
        }
        self.left_bytes -= received as u64;
        self.life.received(received);
        match &mut self.taps {
            Some(taps) if received == 0 => taps.finished.drain(..).for_each(|tap| tap()),
            Some(taps) => taps.received.iter_mut().for_each(|tap| tap(&buffer[..received])),
            None => {}
        }
        Poll::Ready(Ok(received))
    }

    #[inline]
    fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Broken>> {
        let sent = ready!(self.life.driven().poll_write(context, |socket| socket.send(bytes)));
        let sent = sent.map_err(|error| self.broken(Op::Send, error))?;
        self.life.sent(sent);
        if let Some(taps) = &mut self.taps {
            taps.sent.iter_mut().for_each(|tap| tap(&bytes[..sent]));
        }
        Poll::Ready(Ok(sent))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if let Some(taps) = &mut self.taps {
            taps.finishing.drain(..).for_each(|tap| tap());
        }
        Poll::Ready(self.life.conn().finish().map_err(|error| Broken::Call(Box::new(error))))
    }
}
