//! `-e` and `-c` under layers: a program between two pipes, whose bytes go through the connection's stream.
//!
//! Owns the program's part: what it hears and says, its end, and that it has one when the connection is over. Must not know
//! the layers over the peer. Trade-off: two threads carry its bytes and a third waits for it, because only some systems tell an
//! event loop of pipes; beside a process they cost little. A process that has left the program's group with its stdout keeps
//! the thread that reads there, and nothing else.
//!
//! | what happens | then |
//! |---|---|
//! | the peer finishes | the program's stdin ends, once it has everything |
//! | the program ends its stdout | the peer is told, once it has everything; its own direction goes on |
//! | the program ends | what it said is sent, and what the peer still sends is read for a while |
//! | the program does not read | the peer is not read either |
//! | the program closes its stdin | what the peer still sends is thrown away |
//! | the connection is over | the program is told to end, and is ended after the grace; at once where nobody waits any more |

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::process::{ChildStdin, ChildStdout, ExitStatus};
use std::sync::mpsc as blocking;
use std::task::{Context, Poll, ready};
use std::thread;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Sleep;

use super::discard::throw_away;
use super::forward::{Lane, Side};
use super::life::{Asked, Life};
use super::service::{First, Visit};
use super::stream::{BLOCK_BYTES, Broken, Stream};
use super::underway::Underway;
use crate::program::{GRACE, Group, Program, Running, Surroundings};
use crate::relay::LEAVE_TAKING;

/// Programs between pipes, and how many of them there are.
#[derive(Debug, Clone, Default)]
pub struct Pipes {
    open: Underway,
}

impl Pipes {
    /// Has a program serve one connection.
    pub async fn serve<S: Stream>(&self, program: &Program, peer: &mut S, visit: &Visit<'_>) -> Result<First, Broken> {
        let mut talk = match self.start(program, visit.life) {
            Ok(talk) => talk,
            Err(why) => {
                // It fails only on a connection that is gone already.
                let _ = visit.life.conn().reset_on_close();
                return Err(Broken::NotRun(why));
            }
        };
        let (mut heard, mut said) = (Lane::default(), Lane::default());
        let joined = poll_fn(|context| {
            let said = said.poll(context, &mut talk, peer, Side::Target, Side::Peer)?;
            let heard = heard.poll(context, peer, &mut talk, Side::Peer, Side::Target)?;
            let is_over = said.is_ready() && (heard.is_ready() || talk.poll_end(context).is_ready());
            if is_over { Poll::Ready(Ok(())) } else { Poll::Pending }
        });
        joined.await.map_err(|(_, broken)| broken)?;
        poll_fn(|context| talk.poll_end(context)).await;
        // A close with unread input is a reset, which could take from the peer the tail of what the program said.
        let _ = tokio::time::timeout(LEAVE_TAKING, throw_away(peer)).await;
        match talk.end.take() {
            Some(Ok(status)) => Ok(First::Program(status)),
            Some(Err(error)) => Err(Broken::NotRun(error.to_string().into())),
            None => unreachable!("its end was waited for"),
        }
    }

    /// Waits until none is left.
    pub async fn all_ended(&self) {
        self.open.all_over().await;
    }

    fn start<'a>(&self, program: &Program, life: &'a Life) -> Result<Talk<'a>, Box<str>> {
        let started = program.start_on_pipes(Surroundings::of(life.conn()));
        let (running, stdin, stdout) = started.map_err(|not_run| not_run.to_string())?;
        let group = running.group();
        let joined = self.join(life, running, stdin, stdout);
        joined.map_err(|error| {
            group.kill();
            error.to_string().into()
        })
    }

    fn join<'a>(
        &self,
        life: &'a Life,
        running: Running,
        stdin: ChildStdin,
        stdout: ChildStdout,
    ) -> io::Result<Talk<'a>> {
        let group = running.group();
        let (tell_end, ended) = oneshot::channel();
        let place = self.open.begin();
        thread::Builder::new().name("program".to_owned()).spawn(move || {
            let _until_its_end = place;
            // Nobody listens any more where the connection is over.
            let _ = tell_end.send(running.wait());
        })?;
        let (to_hear, blocks) = blocking::channel();
        let (tell_heard, heard) = mpsc::unbounded_channel();
        thread::Builder::new().name("stdin".to_owned()).spawn(move || hear(&blocks, stdin, &tell_heard))?;
        let (tell_said, said) = mpsc::channel(1);
        thread::Builder::new().name("stdout".to_owned()).spawn(move || say(stdout, &tell_said))?;
        Ok(Talk {
            life,
            group,
            ended,
            end: None,
            to_hear: Some(to_hear),
            is_hearing: false,
            heard,
            said,
            block: Vec::new(),
            block_sent_bytes: 0,
            silence: None,
        })
    }
}

/// Writes to a program's stdin, block after block, until there are no more or it takes no more.
fn hear(blocks: &blocking::Receiver<Vec<u8>>, mut stdin: ChildStdin, heard: &mpsc::UnboundedSender<()>) {
    while let Ok(block) = blocks.recv() {
        if stdin.write_all(&block).is_err() || heard.send(()).is_err() {
            return;
        }
    }
}

/// Reads a program's stdout to its end, or until nobody wants to know.
fn say(mut stdout: ChildStdout, said: &mpsc::Sender<Vec<u8>>) {
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match stdout.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(length) if said.blocking_send(block[..length].to_vec()).is_err() => return,
            Ok(_) => {}
        }
    }
}

/// A program that talks to a peer, as a stream: what it says is received from it. None of its calls fails.
struct Talk<'a> {
    life: &'a Life,
    group: Group,
    ended: oneshot::Receiver<io::Result<ExitStatus>>,
    /// How it ended, once that is known.
    end: Option<io::Result<ExitStatus>>,
    /// None once its stdin is closed, by it or by us.
    to_hear: Option<blocking::Sender<Vec<u8>>>,
    /// A block is on its way into its stdin: the next waits for it.
    is_hearing: bool,
    heard: mpsc::UnboundedReceiver<()>,
    said: mpsc::Receiver<Vec<u8>>,
    /// What it has said and nobody has received yet.
    block: Vec<u8>,
    block_sent_bytes: usize,
    /// Set while it has ended and its stdout has not.
    silence: Option<Pin<Box<Sleep>>>,
}

impl Talk<'_> {
    /// Ready once it has ended.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.end.is_none() {
            let ended = ready!(Pin::new(&mut self.ended).poll(context));
            self.end = Some(ended.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())));
        }
        Poll::Ready(())
    }

    /// It says nothing. That is the end once it has ended: whoever has its stdout now has left its group.
    #[cold]
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        ready!(self.poll_end(context));
        self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(GRACE))).as_mut().poll(context)
    }
}

impl Stream for Talk<'_> {
    fn poll_receive(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, Broken>> {
        if self.block_sent_bytes == self.block.len() {
            match self.said.poll_recv(context) {
                Poll::Ready(Some(block)) => (self.block, self.block_sent_bytes, self.silence) = (block, 0, None),
                Poll::Ready(None) => return Poll::Ready(Ok(0)),
                Poll::Pending => return self.poll_silence(context).map(|()| Ok(0)),
            }
        }
        let left = &self.block[self.block_sent_bytes..];
        let length = left.len().min(buffer.len());
        buffer[..length].copy_from_slice(&left[..length]);
        self.block_sent_bytes += length;
        Poll::Ready(Ok(length))
    }

    fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Broken>> {
        if self.is_hearing && self.to_hear.is_some() {
            match ready!(self.heard.poll_recv(context)) {
                Some(()) => self.is_hearing = false,
                None => self.to_hear = None,
            }
        }
        if let Some(to_hear) = &self.to_hear {
            // It fails where the program takes no more, which is its good right.
            self.is_hearing = true;
            let _ = to_hear.send(bytes.to_vec());
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.to_hear = None;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Talk<'_> {
    /// The connection is over, and perhaps the program is not.
    fn drop(&mut self) {
        if self.end.is_some() {
            return;
        }
        let group = self.group.clone();
        let is_urgent = self.life.asked() == Asked::ToEnd;
        if is_urgent || thread::Builder::new().name("end".to_owned()).spawn(move || group.end()).is_err() {
            self.group.kill();
        }
    }
}
