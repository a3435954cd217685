//! A listener that is shut for a while, and keeps its address: nobody listens, or connects get no answer.
//!
//! Owns the kernel's part of it, and what must be undone. Must not know when or why. Trade-off: every way leaves the address
//! with us. TCP's next socket is bound before the last one is closed, which takes SO_REUSEPORT, because shutdown(2) of a
//! listener gives its port away; UDP's is free for the moment between the two.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::Listener;
use crate::connection::options::{self, Phase};
use crate::connection::poll::{Interest, wait_any};
use crate::connection::{Address, Error, Family, Op, Result, Socket, Transport, UnixName};

/// How long our own connection may take to fill the queue: on this machine it is there at once.
const FILLING: Duration = Duration::from_secs(1);

impl Listener {
    /// Nobody listens here until `open`: TCP's and unix connects are refused, and so are datagrams of connected UDP sockets
    /// (ICMP's port unreachable). Connections that wait in the queue are reset.
    pub fn refuse(&mut self) -> Result<()> {
        self.is_refusing = true;
        match (self.transport, &self.local) {
            // A path that no socket is behind refuses, and stays ours.
            (_, Address::Unix(UnixName::Path(_))) => self.socket = self.unbound()?,
            // Another socket has the port before this one leaves it.
            (Transport::Tcp, _) => {
                self.socket = self.bound()?;
                // A port that nobody listens on is anybody's who asks for SO_REUSEADDR, as all servers do.
                self.may_be_shared(false)?;
            }
            _ => {
                // Only one socket can have the address: this one leaves it, and the next one takes a port by its number, which
                // keeps it there when it is disconnected again.
                self.socket = self.unbound()?;
                self.socket = self.bound()?;
            }
        }
        if self.transport == Transport::Udp { self.mute() } else { Ok(()) }
    }

    /// A UDP socket that `refuse` has bound hears nobody until `hear`: one that is connected, here to itself, is no receiver
    /// for others.
    pub fn mute(&self) -> Result<()> {
        let begun = Instant::now();
        self.socket.connect(&self.nearest()).map_err(|error| self.failed(Op::Connect, begun, error))
    }

    /// Ends `mute`.
    pub fn hear(&self) -> Result<()> {
        let begun = Instant::now();
        self.socket.disconnect().map_err(|error| self.failed(Op::Connect, begun, error))
    }

    /// Has connects get no answer until `open`: the queue is as short as can be, and a connection of our own fills it.
    pub fn fill(&mut self) -> Result<()> {
        let begun = Instant::now();
        self.socket.listen(0).map_err(|error| self.failed(Op::Listen, begun, error))?;
        let address = self.nearest();
        let socket = Socket::new(address.family(), self.transport, false);
        let socket = socket.map_err(|error| self.failed(Op::Socket, begun, error))?;
        if cfg!(target_os = "linux") && self.transport.is_unix() {
            // Without a name it could not be told from others.
            let name = format!("sockkit-filling-{}-{}", std::process::id(), socket.id());
            let name = Address::Unix(UnixName::Abstract(name.into_bytes()));
            socket.bind(&name).map_err(|error| self.failed(Op::Bind, begun, error))?;
        }
        // It is in progress, or the queue is full already: then somebody else fills it.
        let _ = socket.connect(&address);
        let _ = wait_any(&[&socket], Interest::Writable, Some(FILLING));
        *self.filling_name.lock().unwrap_or_else(PoisonError::into_inner) = socket.local_address().ok();
        self.filling = Some(socket);
        Ok(())
    }

    /// Whether an accepted connection is the one that filled the queue.
    pub fn is_filling(&self, peer: &Address) -> bool {
        let mut name = self.filling_name.lock().unwrap_or_else(PoisonError::into_inner);
        name.take_if(|name| name == peer).is_some()
    }

    /// Listens as before.
    pub fn open(&mut self) -> Result<()> {
        let begun = Instant::now();
        self.filling = None;
        if std::mem::take(&mut self.is_refusing) {
            self.rebind().map_err(|error| self.failed(Op::Bind, begun, error))?;
            if self.transport == Transport::Tcp {
                self.may_be_shared(self.options.reuse_address == Some(true))?;
            }
        }
        if self.transport.is_stream() {
            self.socket.listen(self.backlog).map_err(|error| self.failed(Op::Listen, begun, error))?;
        }
        Ok(())
    }

    /// Has the address belong to the socket again, where it did not.
    fn rebind(&mut self) -> io::Result<()> {
        match (&self.local, &mut self.path) {
            (Address::Unix(UnixName::Path(path)), Some(own)) => {
                std::fs::remove_file(path)?;
                self.socket.bind(&self.local)?;
                own.renew()
            }
            _ if self.transport == Transport::Udp => self.socket.disconnect(),
            _ => Ok(()),
        }
    }

    fn may_be_shared(&self, reuse: bool) -> Result<()> {
        let begun = Instant::now();
        let op = || Op::SetOption(format!("reuse-address={}", if reuse { "on" } else { "off" }));
        options::set_reuse_address(&self.socket, reuse).map_err(|error| self.failed(op(), begun, error))
    }

    fn unbound(&self) -> Result<Socket> {
        let begun = Instant::now();
        let socket = Socket::new(self.local.family(), self.transport, self.options.mptcp);
        let socket = socket.map_err(|error| self.failed(Op::Socket, begun, error))?;
        self.options.apply(&socket, self.local.family(), self.transport, Phase::BeforeBind)?;
        Ok(socket)
    }

    fn bound(&self) -> Result<Socket> {
        let (begun, socket) = (Instant::now(), self.unbound()?);
        socket.bind(&self.local).map_err(|error| self.failed(Op::Bind, begun, error))?;
        self.options.apply(&socket, self.local.family(), self.transport, Phase::BeforeListen)?;
        Ok(socket)
    }

    /// Where this machine reaches it.
    fn nearest(&self) -> Address {
        match (&self.local, self.local.family()) {
            (Address::Inet(local), Family::V4) if local.ip().is_unspecified() => {
                Address::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, local.port())))
            }
            (Address::Inet(local), _) if local.ip().is_unspecified() => {
                Address::Inet(SocketAddr::from((Ipv6Addr::LOCALHOST, local.port())))
            }
            (local, _) => local.clone(),
        }
    }

    fn failed(&self, op: Op, begun: Instant, source: io::Error) -> Error {
        Error::system(op, self, begun.elapsed(), source)
    }
}
