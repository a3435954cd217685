//! What the server has to say by itself: a text, a file, or lines without end; and the saying of it.
//!
//! Owns where each next byte comes from. Must not know why it is said, nor what happens after it. Trade-off: a file is read
//! again at an offset for every block that goes out, on the event loop: it is in the system's cache after the first peer,
//! and a large reply to many slow peers costs no memory.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::stream::{BLOCK_BYTES, Broken, Stream, with_block};
use crate::connection::errno::reason;
use crate::connection::{Error, Op};
use crate::escapes::unescape;

/// Bytes for a peer.
#[derive(Debug, Clone)]
pub enum Content {
    /// These.
    Bytes(Arc<[u8]>),
    /// Those of a file, as it is when they are sent; its name is for messages.
    File(Arc<(String, File)>),
    /// The first `period` bytes again and again; a whole block can be taken from wherever one begins.
    Endless {
        /// The period, and as much more as a block has.
        table: Arc<[u8]>,
        /// Its length.
        period: usize,
    },
}

impl Content {
    /// Reads what `send=` has: a text with escapes, or `@FILE`, which is opened.
    pub fn parse(text: &str) -> Result<Content, String> {
        let Some(name) = text.strip_prefix('@') else { return Ok(Content::Bytes(unescape(text)?.into())) };
        let failed = |error: io::Error| format!("open {name} failed: {}", reason(&error));
        let file = File::open(name).map_err(failed)?;
        if !can_be_read_again(&file.metadata().map_err(failed)?) {
            return Err(format!("{name} is no file: what is sent to every peer must be there for each"));
        }
        Ok(Content::File(Arc::new((name.to_owned(), file))))
    }

    /// Bytes that are said again and again.
    pub fn endless(period: &[u8]) -> Content {
        let table = period.iter().copied().cycle().take(period.len() + BLOCK_BYTES).collect();
        Content::Endless { table, period: period.len() }
    }

    /// Whether it has no end.
    pub fn is_endless(&self) -> bool {
        matches!(self, Content::Endless { .. })
    }

    /// Its length, where that is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Content::Bytes(bytes) => Some(bytes.len() as u64),
            Content::File(file) => file.1.metadata().ok().filter(std::fs::Metadata::is_file).map(|data| data.len()),
            Content::Endless { .. } => None,
        }
    }

    /// The first bytes, for a datagram.
    pub fn beginning(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut block = vec![0; length.min(BLOCK_BYTES)];
        while bytes.len() < length {
            let piece = self.piece(bytes.len() as u64, &mut block)?;
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(&piece[..piece.len().min(length - bytes.len())]);
        }
        Ok(bytes)
    }

    /// What comes at an offset: none is the end.
    fn piece<'a>(&'a self, offset: u64, block: &'a mut [u8]) -> io::Result<&'a [u8]> {
        match self {
            Content::Bytes(bytes) => Ok(&bytes[bytes.len().min(offset as usize)..]),
            Content::File(file) => read_at(&file.1, block, offset).map(|count| &block[..count]),
            Content::Endless { table, period } => Ok(&table[(offset % *period as u64) as usize..][..BLOCK_BYTES]),
        }
    }

    /// Says all of it.
    pub async fn say<S: Stream>(&self, stream: &mut S) -> Result<(), Broken> {
        let mut offset = 0;
        poll_fn(|context| self.poll_say(context, stream, &mut offset)).await
    }

    /// Says all of it while what comes is thrown away; `is_enough` is asked once the peer has finished.
    pub async fn say_over<S: Stream>(&self, stream: &mut S, is_enough: impl Fn() -> bool) -> Result<(), Broken> {
        let (mut offset, mut has_finished) = (0, false);
        poll_fn(|context| {
            has_finished = has_finished || poll_throw_away(context, stream)?;
            if has_finished && is_enough() {
                return Poll::Ready(Ok(()));
            }
            self.poll_say(context, stream, &mut offset)
        })
        .await
    }

    fn poll_say<S: Stream>(
        &self,
        context: &mut Context<'_>,
        stream: &mut S,
        offset: &mut u64,
    ) -> Poll<Result<(), Broken>> {
        with_block(|block| {
            loop {
                let piece = self.piece(*offset, block).map_err(|error| self.unreadable(error))?;
                if piece.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                // A peer that takes everything at once must not keep the others of this thread waiting.
                let turn = ready!(tokio::task::coop::poll_proceed(context));
                *offset += ready!(stream.poll_send(context, piece))? as u64;
                turn.made_progress();
            }
        })
    }

    #[cold]
    fn unreadable(&self, error: io::Error) -> Broken {
        let name = if let Content::File(file) = self { &file.0 } else { "" };
        Broken::Call(Box::new(Error::system(Op::Read, name, Duration::ZERO, error)))
    }
}

/// Takes what is there, so that a peer which sends before it reads is not kept waiting: whether it has finished.
fn poll_throw_away<S: Stream>(context: &mut Context<'_>, stream: &mut S) -> Result<bool, Broken> {
    with_block(|block| {
        loop {
            match stream.poll_receive(context, block) {
                Poll::Ready(Ok(0)) => return Ok(true),
                Poll::Ready(received) => received?,
                Poll::Pending => return Ok(false),
            };
        }
    })
}

/// A pipe gives its bytes to one reader; what is in a file, or in a device such as /dev/zero, is there for everybody.
fn can_be_read_again(metadata: &std::fs::Metadata) -> bool {
    #[cfg(unix)]
    return metadata.is_file() || std::os::unix::fs::FileTypeExt::is_char_device(&metadata.file_type());
    #[cfg(not(unix))]
    return metadata.is_file();
}

#[cfg(unix)]
fn read_at(file: &File, block: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, block, offset)
}

#[cfg(windows)]
fn read_at(file: &File, block: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, block, offset)
}
