//! Faults on purpose, reproducible: rules, and what they decide about connections, bytes and datagrams.
//!
//! | file | owns |
//! |---|---|
//! | `rule`, `parse`, `manual` | the grammar: as data, from text, and what is told about it |
//! | `fitness` | what cannot work here, found before anything is bound |
//! | `window` | from when until when a rule applies |
//! | `lane` | one direction of a stream |
//! | `datagrams` | one direction of a socket for datagrams |
//! | `door` | what becomes of those who connect |
//! | `plan` | what would happen, in words |
//!
//! Owns every decision. Must not make a call, read a clock or wait: it is told the time, is given bytes, and says which may
//! pass, until when to wait, and what to end; drivers carry that out, blocking or not. Trade-off: each decision follows from
//! the seed, the rule, the connection's number, the direction and the place in the stream, so that nothing depends on how
//! reads and threads fell; that costs a few multiplications where a running generator would need fewer.

pub mod datagrams;
pub mod door;
mod fitness;
pub mod lane;
pub mod manual;
mod parse;
mod plan;
mod rule;
#[cfg(test)]
mod tests;
mod window;

use std::net::IpAddr;
use std::time::Duration;

pub use fitness::{Place, Side};
pub use parse::{parse, parse_file};
pub use plan::Planned;
use rule::Chance;
pub use rule::{Action, After, Direction, Rule, Stage};

use crate::random::{self, Random};

/// Rules in their order, and the seed of what they draw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSet {
    rules: Vec<Rule>,
    seed: u64,
}

/// What is drawn at a place: each purpose has numbers of its own.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Chance,
    Delay,
    Chunk,
    CorruptPlace,
    CorruptByte,
    Garbage,
}

/// A rule that did something, for the first time on a connection, or to a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fired {
    /// Which, in the order of the rules, from 0.
    pub rule: usize,
    /// Which way.
    pub direction: Direction,
    /// After so many bytes of that direction; of datagrams, to which, from 1.
    pub at: u64,
}

impl RuleSet {
    /// Rules that can work at the place; else the first that cannot, and why.
    pub fn new(rules: Vec<Rule>, seed: u64, place: Place) -> Result<RuleSet, String> {
        fitness::check(&rules, place)?;
        Ok(RuleSet { rules, seed })
    }

    /// The rules in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What is drawn follows from it.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Whether the seed decides anything.
    pub fn is_random(&self) -> bool {
        self.rules.iter().any(Rule::is_random)
    }

    /// What the kernel is to be told before the socket listens or connects: the buffers (receive, send) and the largest
    /// segment.
    pub fn socket_options(&self) -> (Option<u32>, Option<u32>, Option<u32>) {
        let (mut receive, mut send, mut mss) = (None, None, None);
        for rule in &self.rules {
            match rule.action {
                Action::Buffer(bytes) => {
                    receive = receive.or(rule.concerns(Direction::In).then_some(bytes));
                    send = send.or(rule.concerns(Direction::Out).then_some(bytes));
                }
                Action::Mss(bytes) => mss = Some(bytes),
                _ => {}
            }
        }
        (receive, send, mss)
    }

    /// The numbers of a place, in the stream of a connection or in none.
    fn random(&self, rule: usize, ordinal: u64, direction: Option<Direction>, purpose: Purpose, offset: u64) -> Random {
        let direction = direction.map_or(0, |direction| 1 + direction as u64);
        random::at(self.seed, &[rule as u64, ordinal, direction, purpose as u64, offset])
    }
}

/// Chooses the rules of each connection, in the order in which they come.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// How often each rule was chosen.
    chosen: Vec<u64>,
}

impl Choice {
    /// The rules, by their place, that apply to a connection.
    pub fn connection(&mut self, set: &RuleSet, ordinal: u64, peer: Option<IpAddr>) -> Vec<usize> {
        self.pick(set, ordinal, None, |rule| rule.admits(peer))
    }

    /// Those of what is possible that the keys select for a connection, or for a datagram of a direction.
    fn pick(
        &mut self,
        set: &RuleSet,
        ordinal: u64,
        direction: Option<Direction>,
        is_possible: impl Fn(&Rule) -> bool,
    ) -> Vec<usize> {
        self.chosen.resize(set.rules.len(), 0);
        let mut applying = Vec::new();
        for (index, rule) in set.rules.iter().enumerate() {
            let acts = !matches!(rule.action.stage(), Stage::Door | Stage::Kernel);
            let concerns = direction.is_none_or(|direction| rule.concerns(direction));
            let is_left = rule.keys.times.is_none_or(|times| self.chosen[index] < times);
            if acts && concerns && is_left && is_possible(rule) && set.selects(index, ordinal, direction) {
                self.chosen[index] += 1;
                applying.push(index);
            }
        }
        applying
    }
}

/// The earliest of the times at which there is something to do; none while there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wake(pub Option<Duration>);

impl Wake {
    /// One more of them, if there is one.
    pub fn at(&mut self, time: Option<Duration>) {
        self.0 = self.0.into_iter().chain(time).min();
    }
}

/// A time between the two.
fn lateness(random: &mut Random, least: Duration, most: Duration) -> Duration {
    let span_ns = most.saturating_sub(least).as_nanos() as u64;
    least + Duration::from_nanos(random.below(span_ns.saturating_add(1)))
}

impl RuleSet {
    /// Whether a rule's keys select a connection, or a datagram of a direction, whoever sends it.
    fn selects(&self, index: usize, ordinal: u64, direction: Option<Direction>) -> bool {
        let keys = &self.rules[index].keys;
        let has_chance = |chance: Chance| {
            let mut random = self.random(index, ordinal, direction, Purpose::Chance, 0);
            random.below(Chance::MILLIONTHS.into()) < u64::from(chance.0)
        };
        keys.connections.is_none_or(|span| span.has(ordinal))
            && keys.every.is_none_or(|every| ordinal.is_multiple_of(every))
            && keys.chance.is_none_or(has_chance)
    }
}
