//! The listeners behind a door that fault rules shut and open by the clock.
//!
//! Owns which of them are on the event loop. Must not accept, nor know the rules: it is told how the door stands. Trade-off: a
//! listener that is shut leaves the event loop, because one that does not listen is always ready there.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::commands::serve::events::Events;
use crate::commands::serve::faults::Faults;
use crate::connection::{Driven, Listener, Transport};
use crate::fault::door::{Door, Standing};

/// The listeners, and how the door stands.
pub struct Doorway {
    open: Vec<Driven<Listener>>,
    shut: Vec<Listener>,
    standing: Standing,
    faults: Option<Arc<Faults>>,
    begun: Instant,
}

/// Shuts listeners that nobody knows of yet, if the door is shut at first.
pub fn prepare(listeners: &mut [Listener], faults: &Faults) -> Result<()> {
    let set = faults.set();
    let door = set.door(Duration::ZERO).door;
    for listener in listeners {
        if listener.transport() == Transport::Udp && set.refuses() {
            // A UDP socket must be bound by its port's number, to be shut and opened again while it is in use.
            listener.refuse()?;
            if door == Door::Open {
                listener.open()?;
            }
        } else {
            shut(listener, door)?;
        }
    }
    Ok(())
}

/// Makes of an open listener what the door is.
fn shut(listener: &mut Listener, door: Door) -> Result<()> {
    match door {
        Door::Open | Door::Unaccepting => {}
        Door::Refusing => listener.refuse()?,
        Door::Unanswering => listener.fill()?,
    }
    Ok(())
}

impl Doorway {
    /// Of listeners that were prepared; from now on the clock counts.
    pub fn new(listeners: Vec<Listener>, faults: Option<Arc<Faults>>, events: &Events) -> Result<Doorway> {
        let set = faults.as_ref().map(|faults| faults.set()).filter(|set| set.has_door());
        let standing = match &set {
            Some(set) => set.door(Duration::ZERO),
            None => Standing { door: Door::Open, rule: None, until: None },
        };
        let faults = faults.filter(|_| set.is_some());
        let mut doorway = Doorway { open: Vec::new(), shut: listeners, standing, faults, begun: Instant::now() };
        doorway.drive()?;
        if standing.door != Door::Open {
            doorway.tell(events);
        }
        Ok(doorway)
    }

    /// Has the event loop watch listeners that can accept.
    fn drive(&mut self) -> io::Result<()> {
        if self.standing.door == Door::Open {
            for listener in self.shut.drain(..) {
                self.open.push(Driven::new(listener)?);
            }
        }
        Ok(())
    }

    /// Those that may accept now.
    pub fn listeners(&self) -> &[Driven<Listener>] {
        &self.open
    }

    /// Waits until the door stands otherwise.
    pub fn changes(&self) -> impl Future<Output = ()> + use<> {
        let until = self.standing.until.map(|until| self.begun + until);
        async move {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Shuts or opens it, as the rules have it now.
    pub fn adjust(&mut self, events: &Events) -> Result<()> {
        let Some(faults) = &self.faults else { return Ok(()) };
        let before = std::mem::replace(&mut self.standing, faults.set().door(self.begun.elapsed()));
        if (before.door, before.rule) == (self.standing.door, self.standing.rule) {
            return Ok(());
        }
        self.shut.extend(self.open.drain(..).map(Driven::into_inner));
        for listener in &mut self.shut {
            if matches!(before.door, Door::Refusing | Door::Unanswering) {
                listener.open()?;
            }
            shut(listener, self.standing.door)?;
        }
        self.drive()?;
        self.tell(events);
        Ok(())
    }

    fn tell(&self, events: &Events) {
        let set = self.faults.as_ref().map(|faults| faults.set());
        let rule = set.as_ref().zip(self.standing.rule).map(|(set, rule)| &set.rules()[rule]);
        if let Some((faults, rule)) = self.faults.as_ref().zip(rule) {
            faults.count(rule);
        }
        events.door(self.standing.door, rule);
    }
}
