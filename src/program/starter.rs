//! The thread that starts programs.
//!
//! Owns that a program ends when this process is killed, where the system can see to it. Must not know what is started.
//! Trade-off: Linux ends a program with the thread that has started it and not with the process, so one thread starts them
//! all, one after another, and lives as long as the process. Only the program itself is ended, not what it has started.

use std::io;
use std::process::{Child, Command};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::{
    sync::mpsc::{Receiver, Sender, channel},
    sync::{Mutex, PoisonError},
    thread,
};

/// Starts a program that ends with this process, however that ends.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn start(mut command: Command) -> io::Result<Child> {
    static STARTER: Mutex<Option<Starter>> = Mutex::new(None);
    crate::connection::end_with_starter(&mut command);
    let mut starter = STARTER.lock().unwrap_or_else(PoisonError::into_inner);
    let Starter { commands, started } = match &mut *starter {
        Some(starter) => starter,
        none => none.insert(Starter::begin()?),
    };
    // The thread ends only where this end of it is gone.
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    commands.send(command).map_err(|_| gone())?;
    started.recv().map_err(|_| gone())?
}

/// Starts a program, which this system lets live on if this process is killed.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn start(mut command: Command) -> io::Result<Child> {
    command.spawn()
}

/// Where the thread is told what to start, and what has become of it.
#[cfg(any(target_os = "linux", target_os = "android"))]
struct Starter {
    commands: Sender<Command>,
    started: Receiver<io::Result<Child>>,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Starter {
    fn begin() -> io::Result<Starter> {
        let (commands, wanted) = channel::<Command>();
        let (tell, started) = channel();
        let start_all = move || wanted.iter().try_for_each(|mut command| tell.send(command.spawn()));
        thread::Builder::new().name("start".to_owned()).spawn(start_all)?;
        Ok(Starter { commands, started })
    }
}
