//! One stdin for many peers: each gets all of it, from when it came.
//!
//! Owns the thread that reads, and who is behind it. Must not know what a peer is. Trade-off: the slowest peer sets the pace,
//! because what a faster one is given the slower one must be given too, and memory is bounded; `-W` gets rid of one that hangs.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::connection::errno::again;

/// What is read at once: a few of them lie between stdin and each peer.
const BLOCK_BYTES: usize = 64 * 1024;

/// Blocks that wait for a peer: one to be sent while the next is read.
const BLOCKS_MAX: usize = 1;

type Block = Arc<Vec<u8>>;

/// Where stdin goes.
#[derive(Debug)]
pub struct Fan {
    state: Mutex<State>,
    somebody_came: Condvar,
}

#[derive(Debug, Default)]
struct State {
    feeds: HashMap<u64, SyncSender<Block>>,
    has_begun: bool,
    /// There will be no more.
    end: Option<End>,
}

/// How stdin ended.
#[derive(Debug)]
enum End {
    InOrder,
    Failed(io::Error),
}

impl Fan {
    /// Nobody is behind it yet.
    pub fn new() -> Fan {
        Fan { state: Mutex::default(), somebody_came: Condvar::new() }
    }

    /// What stdin gives from now on. The first to ask has it opened.
    pub fn feed(
        self: &Arc<Fan>,
        number: u64,
        open: impl FnOnce() -> io::Result<Box<dyn Read + Send>>,
    ) -> io::Result<Feed> {
        let (sender, blocks) = sync_channel(BLOCKS_MAX);
        let mut state = self.lock();
        if !state.has_begun {
            state.has_begun = true;
            let (fan, input) = (self.clone(), open()?);
            thread::Builder::new().name("stdin".to_owned()).spawn(move || fan.read(input))?;
        }
        // Whoever comes after the end finds it at once.
        if state.end.is_none() {
            state.feeds.insert(number, sender);
            self.somebody_came.notify_one();
        }
        drop(state);
        Ok(Feed { fan: self.clone(), blocks, block: Block::default(), taken: 0 })
    }

    /// Somebody wants no more of it.
    pub fn leave(&self, number: u64) {
        self.lock().feeds.remove(&number);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads to the end, as long as there is somebody to read for.
    fn read(&self, mut input: Box<dyn Read + Send>) {
        let end = loop {
            self.wait_for_somebody();
            let mut block = vec![0; BLOCK_BYTES];
            match input.read(&mut block) {
                Ok(0) => break End::InOrder,
                Ok(count) => {
                    block.truncate(count);
                    self.hand_out(Arc::new(block));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break End::Failed(error),
            }
        };
        let mut state = self.lock();
        state.end = Some(end);
        state.feeds.clear();
    }

    fn wait_for_somebody(&self) {
        let waited = self.somebody_came.wait_while(self.lock(), |state| state.feeds.is_empty());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// To everybody; if all have gone meanwhile, to the next who comes.
    fn hand_out(&self, block: Block) {
        loop {
            self.wait_for_somebody();
            let feeds: Vec<(u64, SyncSender<Block>)> =
                self.lock().feeds.iter().map(|(number, feed)| (*number, feed.clone())).collect();
            let mut is_taken = false;
            for (number, feed) in feeds {
                match feed.send(block.clone()) {
                    Ok(()) => is_taken = true,
                    Err(_) => self.leave(number),
                }
            }
            if is_taken {
                return;
            }
        }
    }
}

/// One peer's stdin.
#[derive(Debug)]
pub struct Feed {
    fan: Arc<Fan>,
    blocks: Receiver<Block>,
    block: Block,
    taken: usize,
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.block.len() {
            match self.blocks.recv() {
                Ok(block) => (self.block, self.taken) = (block, 0),
                Err(_) => return self.fan.ended(),
            }
        }
        let count = buffer.len().min(self.block.len() - self.taken);
        buffer[..count].copy_from_slice(&self.block[self.taken..][..count]);
        self.taken += count;
        Ok(count)
    }
}

impl Fan {
    fn ended(&self) -> io::Result<usize> {
        match &self.lock().end {
            Some(End::Failed(error)) => Err(again(error)),
            Some(End::InOrder) | None => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An input that gives what it is told to, when it is told to.
    struct Told(Receiver<&'static [u8]>);

    impl Read for Told {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Ok(bytes) = self.0.recv() else { return Ok(0) };
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }

    fn next(feed: &mut Feed) -> String {
        let mut buffer = [0; 64];
        let count = feed.read(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn everybody_gets_what_comes_while_they_are_there() {
        let (say, told) = sync_channel(0);
        let fan = Arc::new(Fan::new());
        let mut first = fan.feed(1, || Ok(Box::new(Told(told)) as Box<dyn Read + Send>)).unwrap();
        say.send(b"one").unwrap();
        assert_eq!(next(&mut first), "one");
        let mut second = fan.feed(2, || unreachable!("it is open")).unwrap();
        say.send(b"two").unwrap();
        assert_eq!((next(&mut first).as_str(), next(&mut second).as_str()), ("two", "two"));
        drop(first);
        fan.leave(1);
        say.send(b"three").unwrap();
        assert_eq!(next(&mut second), "three");
        drop(say);
        assert_eq!(next(&mut second), "");
        let mut late = fan.feed(3, || unreachable!("it is open")).unwrap();
        assert_eq!(next(&mut late), "", "who comes after the end finds it");
    }

    #[test]
    fn what_nobody_took_waits_for_the_next() {
        let (say, told) = sync_channel(0);
        let fan = Arc::new(Fan::new());
        let first = fan.feed(1, || Ok(Box::new(Told(told)) as Box<dyn Read + Send>)).unwrap();
        // Gone without a word: it is found out when it is to be given something.
        drop(first);
        say.send(b"hello").unwrap();
        let mut second = fan.feed(2, || unreachable!("it is open")).unwrap();
        assert_eq!(next(&mut second), "hello");
    }
}
