//! The fault rules of a running server: which apply to whom, how often each has fired, and rules that are read again.
//!
//! Owns the one place where rules are exchanged. Must not carry out any. Trade-off: a lock for each connection that comes,
//! which is taken in the order of their numbers: `times=N` means the first N.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::faulty::Chosen;
use crate::cli::{FaultArgs, SeedArgs, UsageError};
use crate::connection::Address;
use crate::fault::{Choice, Place, Rule, RuleSet};

/// The rules of a server.
#[derive(Debug)]
pub struct Faults {
    args: FaultArgs,
    place: Place,
    seed: u64,
    is_drawn: bool,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    set: Arc<RuleSet>,
    choice: Choice,
    /// How often each rule has fired, by its text: rules that are read again keep their count.
    fired: Vec<Count>,
}

/// How often a rule has fired.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// The rule, as it is written.
    pub rule: String,
    /// On how many connections, or on how many datagrams.
    pub fired: u64,
}

impl Faults {
    /// The rules that were typed or are in a file, if there are any.
    pub fn from_args(args: &FaultArgs, seed: &SeedArgs, place: Place) -> anyhow::Result<Option<Faults>> {
        if !args.is_typed() {
            return seed.refuse_without_rules().map(|()| None).map_err(anyhow::Error::from);
        }
        let (seed, is_drawn) = seed.seed()?;
        Faults::with_seed(args, seed, is_drawn, place).map(Some)
    }

    /// The same with a seed that is known.
    pub fn with_seed(args: &FaultArgs, seed: u64, is_drawn: bool, place: Place) -> anyhow::Result<Faults> {
        let set = args.read(seed, place)?;
        let fired = set.rules().iter().map(count_of).collect();
        let current = Current { set: Arc::new(set), choice: Choice::default(), fired };
        Ok(Faults { args: args.clone(), place, seed, is_drawn, current: Mutex::new(current) })
    }

    /// The seed, if nobody has chosen it and something is drawn from it.
    pub fn drawn_seed(&self) -> Option<u64> {
        self.seed().filter(|_| self.is_drawn)
    }

    /// The rules as they are now.
    pub fn set(&self) -> Arc<RuleSet> {
        self.lock().set.clone()
    }

    /// What their draws follow from; none if they draw nothing.
    pub fn seed(&self) -> Option<u64> {
        self.lock().set.is_random().then_some(self.seed)
    }

    /// Whether there is a file to be read again.
    pub fn has_file(&self) -> bool {
        self.args.faults.is_some()
    }

    /// Reads the file again, for those who come from now on. When it fails, the rules stay as they were.
    pub fn reload(&self) -> anyhow::Result<()> {
        let set = self.args.read(self.seed, self.place)?;
        let mut current = self.lock();
        if !set.lasting().eq(current.set.lasting()) {
            let why = "rules of the door (refuse, blackhole, no-accept, flap), buffer and mss are for the whole run";
            return Err(UsageError(why.to_owned()).into());
        }
        for rule in set.rules().iter().map(count_of) {
            if current.fired.iter().all(|count| count.rule != rule.rule) {
                current.fired.push(rule);
            }
        }
        (current.set, current.choice) = (Arc::new(set), Choice::default());
        Ok(())
    }

    /// The rules that apply to a connection; none if none does.
    pub fn choose(&self, ordinal: u64, peer: &Address) -> Option<Chosen> {
        let mut current = self.lock();
        let set = current.set.clone();
        let applying = current.choice.connection(&set, ordinal, peer.ip());
        (!applying.is_empty()).then_some(Chosen { set, applying, ordinal })
    }

    /// A rule has fired.
    pub fn count(&self, rule: &Rule) {
        let text = rule.to_string();
        let mut current = self.lock();
        if let Some(count) = current.fired.iter_mut().find(|count| count.rule == text) {
            count.fired += 1;
        }
    }

    /// How often each has fired.
    pub fn counts(&self) -> Vec<Count> {
        self.lock().fired.clone()
    }

    /// A poisoned lock means that a thread panicked while it held it; what is inside is still good.
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count_of(rule: &Rule) -> Count {
    Count { rule: rule.to_string(), fired: 0 }
}
