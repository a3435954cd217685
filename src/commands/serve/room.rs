//! `--mode broker` and `--mode chat`: what one peer sends goes to all the others.
//!
//! Owns who is there, what waits for whom, and who is dropped. Must not know how bytes pass, nor which event loop a peer is on.
//! Trade-off: one lock for the whole room, held for a few pointers per peer; a block is copied once, however many it goes to.
//!
//! | what happens | then |
//! |---|---|
//! | somebody reads more slowly than others send | nobody is read from until they have caught up |
//! | they do not catch up within a second | they are reset, and the others go on |
//! | somebody finishes | they leave, and are sent what waited for them before our end |

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::service::{First, Visit};
use super::stream::{Broken, Stream, with_block};
use crate::printable::for_terminal;

/// What may wait for one peer: several reads of a bulk sender, so that a reader which is interrupted for a moment delays
/// nobody, and little enough for a thousand of them.
const QUEUE_BYTES: usize = 1024 * 1024;

/// What a piece costs beside its bytes: its counts, its place in the queue, and what the allocator adds. Without it a million
/// pieces of one byte each would count as one mebibyte.
const PIECE_BYTES: usize = 64;

/// How long a peer whose queue is full may take to empty half of it, while the others wait: a reader that is only late has
/// done so by then, and one that has stopped holds the others up only once.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest line of a chat; what is longer becomes several. As much as one read, so that a line that never ends is bounded.
const LINE_BYTES: usize = 64 * 1024;

/// Bytes for several peers.
type Piece = Arc<[u8]>;

/// What is done with what a peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It goes on as it is.
    Broker,
    /// Line by line, with a name in front.
    Chat,
}

/// A place where peers meet. Its clones are the same room.
#[derive(Debug, Clone)]
pub struct Room {
    kind: Kind,
    there: Arc<Mutex<There>>,
}

/// Who is there.
#[derive(Debug, Default)]
struct There {
    members: BTreeMap<u64, Member>,
    /// Those who have something to say, and wait until everybody has caught up.
    held: Vec<Waker>,
}

/// One who is there.
#[derive(Debug, Default)]
struct Member {
    queue: VecDeque<Piece>,
    /// What the queue and the piece that is being sent cost.
    waiting_bytes: usize,
    /// Until when it must have caught up, once its queue was full.
    due: Option<Instant>,
    waker: Option<Waker>,
}

impl Room {
    /// Every byte goes to the others.
    pub fn broker() -> Room {
        Room { kind: Kind::Broker, there: Arc::default() }
    }

    /// Every line goes to the others, with the name of who said it.
    pub fn chat() -> Room {
        Room { kind: Kind::Chat, there: Arc::default() }
    }

    /// Its name, as the listening line has it.
    pub fn word(&self) -> &'static str {
        match self.kind {
            Kind::Broker => "broker",
            Kind::Chat => "chat",
        }
    }

    /// Serves one connection.
    pub async fn serve<S: Stream>(&self, stream: &mut S, visit: &Visit<'_>) -> Result<First, Broken> {
        let mut seat = Seat::take(self, visit);
        poll_fn(|context| seat.poll(context, stream)).await?;
        seat.leave();
        poll_fn(|context| seat.poll_send(context, stream)).await?;
        poll_fn(|context| stream.poll_finish(context)).await?;
        Ok(First::Peer)
    }

    /// A poisoned lock means that a thread panicked while it held it; the queues are still good.
    fn lock(&self) -> MutexGuard<'_, There> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl There {
    /// Whether somebody's queue is full, or has been and is not half empty yet.
    fn is_behind(&self) -> bool {
        self.members.values().any(|member| member.due.is_some())
    }

    /// Has something sent to everybody but one.
    fn tell(&mut self, piece: &Piece, but: Option<u64>) {
        for (_, member) in self.members.iter_mut().filter(|(number, _)| Some(**number) != but) {
            let was_idle = member.waiting_bytes == 0;
            member.queue.push_back(piece.clone());
            member.waiting_bytes += piece.len() + PIECE_BYTES;
            let is_full_now = member.due.is_none() && member.waiting_bytes > QUEUE_BYTES;
            if is_full_now {
                member.due = Some(Instant::now() + PATIENCE);
            }
            if let Some(waker) = member.waker.as_ref().filter(|_| was_idle || is_full_now) {
                waker.wake_by_ref();
            }
        }
    }

    /// Somebody has caught up, or has gone.
    fn release(&mut self) {
        if !self.is_behind() {
            self.held.drain(..).for_each(Waker::wake);
        }
    }
}

/// A member's place in the room: who is dropped, for whatever reason, leaves it.
struct Seat<'a> {
    room: &'a Room,
    number: u64,
    is_there: bool,
    /// What is left of the queue after leaving.
    left: VecDeque<Piece>,
    /// What is being sent, and how much of it has gone.
    outgoing: Option<(Piece, usize)>,
    /// What was said and nobody has been told yet.
    said: Option<Piece>,
    /// The beginning of a line.
    line: Vec<u8>,
    has_ended: bool,
    /// When its time to catch up is over.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<'a> Seat<'a> {
    fn take(room: &'a Room, visit: &Visit<'_>) -> Seat<'a> {
        let number = visit.number;
        let mut there = room.lock();
        there.members.insert(number, Member::default());
        if room.kind == Kind::Chat {
            let peer = visit.life.conn().peer();
            // Whoever comes is told too, and so knows its name.
            there.tell(&announcement(&format!("{peer} is connected as <user{number}>.")), None);
        }
        let (left, line) = (VecDeque::new(), Vec::new());
        Seat { room, number, is_there: true, left, outgoing: None, said: None, line, has_ended: false, alarm: None }
    }

    /// Nothing more is for it, but what waits already.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.is_there, false) {
            return;
        }
        let mut there = self.room.lock();
        self.left = there.members.remove(&self.number).unwrap_or_default().queue;
        if self.room.kind == Kind::Chat {
            there.tell(&announcement(&format!("<user{}> is disconnected.", self.number)), None);
        }
        there.release();
    }

    /// Sends and receives until the peer has finished, and others have been told what it said.
    fn poll<S: Stream>(&mut self, context: &mut Context<'_>, stream: &mut S) -> Poll<Result<(), Broken>> {
        if self.poll_send(context, stream)?.is_pending() {
            self.poll_patience(context)?;
        }
        loop {
            ready!(self.poll_tell(context));
            if self.has_ended {
                return Poll::Ready(Ok(()));
            }
            // Whoever always has something to say must not keep the others of this thread from hearing it.
            let turn = ready!(tokio::task::coop::poll_proceed(context));
            ready!(self.poll_hear(context, stream))?;
            turn.made_progress();
        }
    }

    /// Sends what waits; ready when nothing does.
    fn poll_send<S: Stream>(&mut self, context: &mut Context<'_>, stream: &mut S) -> Poll<Result<(), Broken>> {
        while let Some((piece, sent)) = self.poll_next(context) {
            let turn = ready!(tokio::task::coop::poll_proceed(context));
            let more = ready!(stream.poll_send(context, &piece[sent..]))?;
            turn.made_progress();
            self.outgoing = Some((piece, sent + more));
        }
        Poll::Ready(Ok(()))
    }

    /// What is to be sent next, and how much of it has gone already. When there is nothing, the next piece wakes.
    fn poll_next(&mut self, context: &Context<'_>) -> Option<(Piece, usize)> {
        if let Some((piece, sent)) = self.outgoing.as_ref().filter(|(piece, sent)| *sent < piece.len()) {
            return Some((piece.clone(), *sent));
        }
        let gone = self.outgoing.take().map_or(0, |(piece, _)| piece.len() + PIECE_BYTES);
        let next = if self.is_there { self.next_in_the_room(gone, context) } else { self.left.pop_front() };
        self.outgoing = next.map(|piece| (piece, 0));
        self.outgoing.clone()
    }

    /// Takes the next piece out of the queue, which no longer has what has gone.
    fn next_in_the_room(&self, gone_bytes: usize, context: &Context<'_>) -> Option<Piece> {
        let mut there = self.room.lock();
        let member = there.members.get_mut(&self.number)?;
        if !member.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            member.waker = Some(context.waker().clone());
        }
        member.waiting_bytes -= gone_bytes;
        let next = member.queue.pop_front();
        if member.due.is_some() && member.waiting_bytes <= QUEUE_BYTES / 2 {
            member.due = None;
            there.release();
        }
        next
    }

    /// Whether it has not caught up in its time.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Result<(), Broken> {
        let due = self.room.lock().members.get(&self.number).and_then(|member| member.due);
        let Some(due) = due else {
            self.alarm = None;
            return Ok(());
        };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if alarm.deadline() != due {
            alarm.as_mut().reset(due);
        }
        if alarm.as_mut().poll(context).is_ready() { Err(Broken::TooSlow) } else { Ok(()) }
    }

    /// Tells the others what was said, once they can all take it.
    fn poll_tell(&mut self, context: &Context<'_>) -> Poll<()> {
        let Some(said) = &self.said else { return Poll::Ready(()) };
        let mut there = self.room.lock();
        if there.is_behind() {
            if !there.held.iter().any(|waker| waker.will_wake(context.waker())) {
                there.held.push(context.waker().clone());
            }
            return Poll::Pending;
        }
        there.tell(said, Some(self.number));
        self.said = None;
        Poll::Ready(())
    }

    /// Receives one block.
    fn poll_hear<S: Stream>(&mut self, context: &mut Context<'_>, stream: &mut S) -> Poll<Result<(), Broken>> {
        with_block(|block| {
            let received = ready!(stream.poll_receive(context, block))?;
            self.has_ended = received == 0;
            self.said = match self.room.kind {
                Kind::Broker => Some(block[..received].into()),
                Kind::Chat => Some(lines(self.number, &mut self.line, &block[..received]).into()),
            }
            .filter(|said: &Piece| !said.is_empty());
            Poll::Ready(Ok(()))
        })
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A line of the room's own.
fn announcement(text: &str) -> Piece {
    format!("<announce> {text}\n").into_bytes().into()
}

/// The lines that are complete with what has come, each behind its name and with nothing in it that could drive a terminal;
/// the beginning of the next one stays in `line`. Nothing more comes after nothing: then a beginning is a line too.
fn lines(number: u64, line: &mut Vec<u8>, came: &[u8]) -> Vec<u8> {
    let mut said = String::new();
    let mut say = |line: &[u8]| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        said.push_str(&format!("<user{number}> {}\n", for_terminal(line)));
    };
    if came.is_empty() && !line.is_empty() {
        say(&std::mem::take(line));
    }
    for piece in came.split_inclusive(|byte| *byte == b'\n') {
        line.extend_from_slice(piece);
        let is_complete = line.pop_if(|byte| *byte == b'\n').is_some();
        while line.len() > LINE_BYTES {
            let rest = line.split_off(boundary(line));
            say(&std::mem::replace(line, rest));
        }
        if is_complete {
            say(&std::mem::take(line));
        }
    }
    said.into_bytes()
}

/// Where a line that is too long is cut: in no character of UTF-8, the longest of which has four bytes.
fn boundary(line: &[u8]) -> usize {
    let begins_character = |place: &usize| line[*place] & 0xc0 != 0x80;
    (LINE_BYTES - 3..=LINE_BYTES).rev().find(begins_character).unwrap_or(LINE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_complete_named_and_harmless() {
        for (came, said, left) in [
            (&["hello\nyou"][..], "<user7> hello\n", "you"),
            (&["hel", "lo\r\n", "\n"], "<user7> hello\n<user7> \n", ""),
            (&["last", ""], "<user7> last\n", ""),
            (&["", ""], "", ""),
            (&["\x1b[2J\rfake\u{202e}\u{9b}\tü\n"], "<user7> \\u{1b}[2J\\rfake\\u{202e}\\u{9b}\tü\n", ""),
        ] {
            let mut line = Vec::new();
            let all: Vec<u8> = came.iter().flat_map(|came| lines(7, &mut line, came.as_bytes())).collect();
            assert_eq!((String::from_utf8_lossy(&all).as_ref(), line.as_slice()), (said, left.as_bytes()), "{came:?}");
        }
        assert_eq!(lines(1, &mut Vec::new(), b"\xff\n"), b"<user1> \\xff\n");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters() {
        let (mut line, text) = (Vec::new(), format!("x{}", "ü".repeat(LINE_BYTES)));
        let mut said = Vec::new();
        for block in text.as_bytes().chunks(LINE_BYTES) {
            said.extend(lines(1, &mut line, block));
            assert!(line.len() <= LINE_BYTES);
        }
        said.extend(lines(1, &mut line, b""));
        let said = String::from_utf8(said).unwrap();
        assert!(said.lines().all(|line| line.len() <= LINE_BYTES + "<user1> ".len()));
        assert_eq!(said.replace("<user1> ", "").replace('\n', ""), text);
    }
}
