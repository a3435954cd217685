//! Sockets on serve's event loop, which is tokio's.
//!
//! Owns the dance of readiness: when to call, when to wait, when a short read has emptied the queue. Must not know what is
//! sent or received. Trade-off: the calls are our own, on our own sockets, and the loops only say when: that keeps them
//! traced, and costs Windows, whose readiness belongs to its own socket types, a second handle for each socket.

use std::io;
use std::task::{Context, Poll, ready};

use super::{Address, Conn, Listener, Socket};

/// What has a socket that an event loop can watch.
pub trait Watched {
    /// Its socket, non-blocking.
    fn socket(&self) -> &Socket;
}

impl Watched for Conn {
    fn socket(&self) -> &Socket {
        self.socket()
    }
}

impl Watched for Listener {
    fn socket(&self) -> &Socket {
        self.socket()
    }
}

/// A connection or listener on the tokio runtime of the thread that made it.
#[derive(Debug)]
pub struct Driven<W: Watched> {
    gate: gate::Gate<W>,
}

impl Driven<Listener> {
    /// accept(2) as soon as somebody has come.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Socket, Address)>> {
        self.gate.poll_accept(context)
    }
}

impl Driven<Conn> {
    /// Waits until the network says of a datagram that it did not arrive: on Linux that makes nothing readable. Elsewhere it
    /// does, and a call that receives is told.
    pub async fn failed(&self) -> io::Error {
        self.gate.failed().await.unwrap_or_else(|error| error)
    }
}

impl<W: Watched> Driven<W> {
    /// Registers a non-blocking socket with the current runtime.
    pub fn new(watched: W) -> io::Result<Driven<W>> {
        Ok(Driven { gate: gate::Gate::new(watched)? })
    }

    /// What is driven.
    pub fn get(&self) -> &W {
        self.gate.get()
    }

    /// What was driven: the runtime has forgotten it.
    pub fn into_inner(self) -> W {
        self.gate.into_inner()
    }

    /// Makes `call`, which receives, as soon as it will not wait. It says whether it took less than there was room for:
    /// that empties the queue, and a second call, only to be told EAGAIN, is saved.
    #[inline]
    pub fn poll_read<T>(
        &self,
        context: &mut Context<'_>,
        mut call: impl FnMut(&Socket) -> io::Result<(T, Queue)>,
    ) -> Poll<io::Result<T>> {
        loop {
            let ready = ready!(self.gate.poll_readable(context))?;
            match ready.run(&mut call) {
                Ok((value, _)) => return Poll::Ready(Ok(value)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Makes `call`, which sends, as soon as it will not wait. It is tried at once: there nearly always is room.
    #[inline]
    pub fn poll_write<T>(
        &self,
        context: &mut Context<'_>,
        mut call: impl FnMut(&Socket) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match self.gate.write(&mut call) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.gate.poll_writable(context))?,
                result => return Poll::Ready(result),
            }
        }
    }
}

/// What a receiving call found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// It took all there was.
    Emptied,
    /// There may be more.
    MayHoldMore,
}

/// On Unix any descriptor can be watched.
#[cfg(unix)]
mod gate {
    use std::io;
    use std::task::{Context, Poll, ready};

    use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
    use tokio::io::{Interest, Ready};

    use super::super::sys::{Held, watch};
    use super::super::{Address, Conn, Listener, Socket};
    use super::{Queue, Watched};

    #[derive(Debug)]
    pub(super) struct Gate<W: Watched>(AsyncFd<Held<W>>);

    pub(super) struct Readable<'a, W: Watched>(AsyncFdReadyGuard<'a, Held<W>>);

    impl<W: Watched> Gate<W> {
        pub(super) fn new(watched: W) -> io::Result<Gate<W>> {
            watch(watched).map(Gate)
        }

        pub(super) fn get(&self) -> &W {
            self.0.get_ref().get()
        }

        pub(super) fn into_inner(self) -> W {
            self.0.into_inner().into_inner()
        }

        #[inline]
        pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<Readable<'_, W>>> {
            Poll::Ready(Ok(Readable(ready!(self.0.poll_read_ready(context))?)))
        }

        /// Waits for room: what was known of it is forgotten, since a call has just found none.
        pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            guard.clear_ready();
            Poll::Ready(Ok(()))
        }

        #[inline]
        pub(super) fn write<T>(&self, call: &mut impl FnMut(&Socket) -> io::Result<T>) -> io::Result<T> {
            call(self.get().socket())
        }
    }

    impl Gate<Conn> {
        pub(super) async fn failed(&self) -> io::Result<io::Error> {
            loop {
                let mut guard = self.0.ready(Interest::ERROR).await?;
                if let Some(error) = self.get().socket().take_error()? {
                    return Ok(error);
                }
                // Another call was told of it.
                guard.clear_ready_matching(Ready::ERROR);
            }
        }
    }

    impl Gate<Listener> {
        pub(super) fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Socket, Address)>> {
            loop {
                let ready = ready!(self.poll_readable(context))?;
                match ready.run(&mut |socket| Ok((socket.accept()?, Queue::MayHoldMore))) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return Poll::Ready(result.map(|(accepted, _)| accepted)),
                }
            }
        }
    }

    impl<W: Watched> Readable<'_, W> {
        /// The loop is edge-triggered: what was not there after the queue was emptied comes with an event of its own.
        #[inline]
        pub(super) fn run<T>(
            mut self,
            call: &mut impl FnMut(&Socket) -> io::Result<(T, Queue)>,
        ) -> io::Result<(T, Queue)> {
            let result = call(self.0.get_inner().get().socket());
            let is_empty = match &result {
                Ok((_, queue)) => *queue == Queue::Emptied,
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            };
            if is_empty {
                self.0.clear_ready();
            }
            result
        }
    }
}

/// On Windows readiness belongs to the runtime's own socket types: a second handle of the socket is one of them.
#[cfg(windows)]
mod gate {
    use std::io;
    use std::task::{Context, Poll, ready};

    use tokio::io::Interest;
    use tokio::net::{TcpListener, TcpStream, UdpSocket};

    use super::super::{Address, Conn, Listener, Socket};
    use super::{Queue, Watched};

    #[derive(Debug)]
    pub(super) struct Gate<W> {
        watched: W,
        twin: Twin,
    }

    #[derive(Debug)]
    enum Twin {
        Listener(TcpListener),
        Stream(TcpStream),
        Datagram(UdpSocket),
    }

    pub(super) struct Readable<'a, W>(&'a Gate<W>);

    impl<W: Watched> Gate<W> {
        pub(super) fn new(watched: W) -> io::Result<Gate<W>> {
            let socket = watched.socket().raw();
            let twin = socket.try_clone()?;
            let twin = if socket.r#type()? != socket2::Type::STREAM {
                Twin::Datagram(UdpSocket::from_std(twin.into())?)
            } else if rustix::net::sockopt::socket_acceptconn(socket)? {
                Twin::Listener(TcpListener::from_std(twin.into())?)
            } else {
                Twin::Stream(TcpStream::from_std(twin.into())?)
            };
            Ok(Gate { watched, twin })
        }

        pub(super) fn get(&self) -> &W {
            &self.watched
        }

        pub(super) fn into_inner(self) -> W {
            self.watched
        }

        pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<Readable<'_, W>>> {
            let polled = match &self.twin {
                Twin::Listener(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
                Twin::Stream(stream) => stream.poll_read_ready(context),
                Twin::Datagram(socket) => socket.poll_recv_ready(context),
            };
            polled.map_ok(|()| Readable(self))
        }

        pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            match &self.twin {
                Twin::Listener(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
                Twin::Stream(stream) => stream.poll_write_ready(context),
                Twin::Datagram(socket) => socket.poll_send_ready(context),
            }
        }

        pub(super) fn write<T>(&self, call: &mut impl FnMut(&Socket) -> io::Result<T>) -> io::Result<T> {
            self.run(Interest::WRITABLE, || call(self.watched.socket()))
        }

        /// The gate must see each WSAEWOULDBLOCK: it asks the system again only then.
        fn run<T>(&self, interest: Interest, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
            match &self.twin {
                Twin::Listener(_) => call(),
                Twin::Stream(stream) => stream.try_io(interest, call),
                Twin::Datagram(socket) => socket.try_io(interest, call),
            }
        }
    }

    impl Gate<Conn> {
        pub(super) async fn failed(&self) -> io::Result<io::Error> {
            std::future::pending().await
        }
    }

    impl Gate<Listener> {
        pub(super) fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Socket, Address)>> {
            let Twin::Listener(listener) = &self.twin else {
                return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
            };
            let (stream, peer) = ready!(listener.poll_accept(context))?;
            Poll::Ready(self.watched.socket().adopt(stream.into_std()?.into(), Address::Inet(peer)))
        }
    }

    impl<W: Watched> Readable<'_, W> {
        pub(super) fn run<T>(self, call: &mut impl FnMut(&Socket) -> io::Result<(T, Queue)>) -> io::Result<(T, Queue)> {
            self.0.run(Interest::READABLE, || call(self.0.watched.socket()))
        }
    }
}
