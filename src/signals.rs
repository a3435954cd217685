//! Signals as something that is heard, instead of the end of the process: SIGINT and SIGTERM by every command, SIGHUP and
//! SIGUSR1 by those that can do something about them.
//!
//! Owns their registration and their numbers. Must not know what a signal means to anybody. Trade-off: a thread with an
//! event loop of its own, so that commands without one can hear signals too.

use std::io;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The end: SIGINT or SIGTERM, by number.
    End(u8),
    /// SIGHUP: files are to be read again.
    Reload,
    /// SIGUSR1: how it stands.
    Report,
}

/// From now on each SIGINT and SIGTERM is told to `hear` by its number, on a thread of its own, until that says `false`.
pub fn hear(mut hear: impl FnMut(u8) -> bool + Send + 'static) -> io::Result<()> {
    start(false, move |heard| match heard {
        Heard::End(number) => hear(number),
        // They were not registered.
        Heard::Reload | Heard::Report => true,
    })
}

/// The same with SIGHUP and SIGUSR1, where there are such.
pub fn hear_requests(hear: impl FnMut(Heard) -> bool + Send + 'static) -> io::Result<()> {
    start(true, hear)
}

fn start(with_requests: bool, hear: impl FnMut(Heard) -> bool + Send + 'static) -> io::Result<()> {
    can_be_told()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // Registered before this returns: a signal that comes sooner ends the process.
    let signals = {
        let _runtime = runtime.enter();
        Signals::new(with_requests)?
    };
    let listen = move || runtime.block_on(signals.tell(hear));
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen)?;
    Ok(())
}

/// Whether there are descriptors for it: six, and tokio panics where it gets four of them and not the rest.
#[cfg(unix)]
fn can_be_told() -> io::Result<()> {
    let room = [(); 3].map(|()| std::os::unix::net::UnixStream::pair());
    room.into_iter().try_for_each(|pair| pair.map(drop))
}

/// There is no such limit.
#[cfg(windows)]
fn can_be_told() -> io::Result<()> {
    Ok(())
}

/// Those that ask a program to end, and those that ask it for something else.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: Option<tokio::signal::unix::Signal>,
    user: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new(with_requests: bool) -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        let request = |kind| if with_requests { signal(kind).map(Some) } else { Ok(None) };
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: request(SignalKind::hangup())?,
            user: request(SignalKind::user_defined1())?,
        })
    }

    async fn tell(mut self, mut hear: impl FnMut(Heard) -> bool) {
        loop {
            let heard = tokio::select! {
                _ = self.interrupt.recv() => Heard::End(2),
                _ = self.terminate.recv() => Heard::End(15),
                () = came(&mut self.hangup) => Heard::Reload,
                () = came(&mut self.user) => Heard::Report,
            };
            if !hear(heard) {
                return;
            }
        }
    }
}

/// A signal, if it is listened for.
#[cfg(unix)]
async fn came(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Windows has ^C, which comes as what is SIGINT elsewhere.
#[cfg(windows)]
struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
}

#[cfg(windows)]
impl Signals {
    fn new(_with_requests: bool) -> io::Result<Signals> {
        Ok(Signals { interrupt: tokio::signal::windows::ctrl_c()? })
    }

    async fn tell(mut self, mut hear: impl FnMut(Heard) -> bool) {
        while self.interrupt.recv().await.is_some() && hear(Heard::End(2)) {}
    }
}
