//! One direction of a socket for datagrams under rules: datagrams in, and what becomes of each.
//!
//! Owns the datagrams that are late, held back or doubled, until they may go. Must not know sockets or clocks; what belongs
//! to a datagram (its peer) is handed through. Trade-off: decided by the datagram's number in its direction, so that one seed
//! gives one fate to the third datagram, whoever sends it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::rule::{Action, Direction};
use super::window::{Progress, Window};
use super::{Fired, Purpose, RuleSet, lateness};

/// How long a datagram waits for others to overtake it: after a second nobody expects it any more.
pub const HELD_AT_MOST: Duration = Duration::from_secs(1);

/// What waits at most; more is lost, as in any queue. 1000 is what tc-netem(8) holds.
const WAITING_MAX: usize = 1000;

/// Datagrams on their way in one direction, each with what belongs to it.
#[derive(Debug)]
pub struct Datagrams<T> {
    set: Arc<RuleSet>,
    direction: Direction,
    rules: Vec<Active<T>>,
    progress: Progress,
    /// Those that may go, by their time and then in their order.
    waiting: BTreeMap<(Duration, u64), (T, Vec<u8>)>,
    put: u64,
    fired: Vec<Fired>,
}

#[derive(Debug)]
struct Active<T> {
    rule: usize,
    window: Window,
    chosen: u64,
    /// When the next may pass at a limited rate.
    free: Duration,
    held: Option<Held<T>>,
}

/// A datagram that others are to overtake.
#[derive(Debug)]
struct Held<T> {
    tag: T,
    bytes: Vec<u8>,
    copies: u32,
    /// How many still have to.
    overtakers: u32,
    until: Duration,
}

/// What rules make of one datagram.
struct Fate {
    bytes: Vec<u8>,
    copies: u32,
    due: Duration,
    /// The rule that holds it back, by its place among the active ones, and for how many others.
    held_by: Option<(usize, u32)>,
}

impl<T: Clone> Datagrams<T> {
    /// A direction that some of the rules concern; none if none does.
    pub fn new(set: &Arc<RuleSet>, direction: Direction) -> Option<Datagrams<T>> {
        let concerns = |index: &usize| {
            let rule = &set.rules()[*index];
            let acts = !matches!(rule.action.stage(), super::Stage::Door | super::Stage::Kernel);
            acts && rule.concerns(direction)
        };
        let active = |rule: usize| {
            let window = Window::new(&set.rules()[rule].keys);
            Active { rule, window, chosen: 0, free: Duration::ZERO, held: None }
        };
        let rules: Vec<Active<T>> = (0..set.rules().len()).filter(concerns).map(active).collect();
        let (set, progress, waiting) = (set.clone(), Progress::default(), BTreeMap::new());
        (!rules.is_empty()).then(|| Datagrams { set, direction, rules, progress, waiting, put: 0, fired: Vec::new() })
    }

    /// Takes a datagram of a peer, and decides on it.
    pub fn put(&mut self, tag: T, bytes: Vec<u8>, peer: Option<IpAddr>, now: Duration) {
        let fate = self.decide(bytes, peer, now);
        let Some(fate) = fate else { return };
        match fate.held_by {
            Some((index, overtakers)) => {
                let Fate { bytes, copies, .. } = fate;
                let held = Held { tag, bytes, copies, overtakers, until: now + HELD_AT_MOST };
                self.rules[index].held = Some(held);
            }
            None => {
                self.send(tag, fate.bytes, fate.copies, fate.due);
                self.overtake(fate.due);
            }
        }
    }

    /// None if it is lost.
    fn decide(&mut self, bytes: Vec<u8>, peer: Option<IpAddr>, now: Duration) -> Option<Fate> {
        let before = self.progress;
        self.progress.messages += 1;
        self.progress.bytes += bytes.len() as u64;
        let ordinal = self.progress.messages;
        let mut fate = Fate { bytes, copies: 1, due: now, held_by: None };
        for index in 0..self.rules.len() {
            let active = &mut self.rules[index];
            active.window.look(before, now);
            let rule = &self.set.rules()[active.rule];
            let is_left = rule.keys.times.is_none_or(|times| active.chosen < times);
            let is_open = is_left && active.window.open_since(now).is_some();
            let is_busy =
                active.held.is_some() || (fate.held_by.is_some() && matches!(rule.action, Action::Reorder(_)));
            let is_meant = rule.admits(peer) && self.set.selects(active.rule, ordinal, Some(self.direction));
            if !is_open || is_busy || !is_meant {
                continue;
            }
            active.chosen += 1;
            self.fired.push(Fired { rule: active.rule, direction: self.direction, at: ordinal });
            let action = rule.action;
            if !self.change(&mut fate, index, action, ordinal) {
                return None;
            }
        }
        Some(fate)
    }

    /// What one rule makes of it; whether it is still there.
    fn change(&mut self, fate: &mut Fate, index: usize, action: Action, ordinal: u64) -> bool {
        let active = &mut self.rules[index];
        let draw = |purpose, place| self.set.random(active.rule, ordinal, Some(self.direction), purpose, place);
        match action {
            Action::Drop => return false,
            Action::Duplicate(times) => fate.copies = fate.copies.saturating_add(times),
            Action::Truncate(size) => fate.bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX)),
            Action::Garbage(size) => {
                let words = (0..size.div_ceil(8)).map(|word| draw(Purpose::Garbage, word).next_u64().to_le_bytes());
                fate.bytes = words.flatten().take(size as usize).collect();
            }
            Action::Corrupt { bytes, .. } => {
                let (length, parts) = (fate.bytes.len() as u64, bytes.min(fate.bytes.len() as u64));
                // One byte in each equal part of it.
                for part in 0..parts {
                    let (begin, end) = (part * length / parts, (part + 1) * length / parts);
                    let place = begin + draw(Purpose::CorruptPlace, part).below(end - begin);
                    fate.bytes[place as usize] ^= 1 + draw(Purpose::CorruptByte, place).below(255) as u8;
                }
            }
            Action::Delay { least, most } => {
                fate.due += lateness(&mut draw(Purpose::Delay, 0), least, most);
            }
            Action::Rate(per_second) => {
                let begun = active.free.max(fate.due);
                active.free = begun + Duration::from_secs_f64(fate.bytes.len() as f64 / per_second as f64);
                fate.due = begun;
            }
            Action::Reorder(depth) => fate.held_by = Some((index, depth)),
            // What has no meaning for datagrams was refused at the start.
            _ => {}
        }
        true
    }

    fn send(&mut self, tag: T, bytes: Vec<u8>, copies: u32, due: Duration) {
        for _ in 0..copies {
            if self.waiting.len() >= WAITING_MAX {
                return;
            }
            self.put += 1;
            self.waiting.insert((due, self.put), (tag.clone(), bytes.clone()));
        }
    }

    /// One has gone ahead of those that are held back.
    fn overtake(&mut self, due: Duration) {
        for index in 0..self.rules.len() {
            let held = &mut self.rules[index].held;
            let is_last = |held: &mut Held<T>| {
                held.overtakers -= 1;
                held.overtakers == 0
            };
            if let Some(held) = held.take_if(is_last) {
                self.send(held.tag, held.bytes, held.copies, due);
            }
        }
    }

    /// The next that may go by now.
    pub fn pop(&mut self, now: Duration) -> Option<(T, Vec<u8>)> {
        for index in 0..self.rules.len() {
            if let Some(held) = self.rules[index].held.take_if(|held| held.until <= now) {
                self.send(held.tag, held.bytes, held.copies, held.until);
            }
        }
        let entry = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }

    /// When the next may go, if any waits.
    pub fn wake(&self) -> Option<Duration> {
        let held = self.rules.iter().filter_map(|active| active.held.as_ref()).map(|held| held.until);
        held.chain(self.waiting.keys().next().map(|(due, _)| *due)).min()
    }

    /// What has fired since it was last asked.
    pub fn take_fired(&mut self) -> Vec<Fired> {
        std::mem::take(&mut self.fired)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::rules_on;
    use super::*;
    use crate::connection::Transport;

    const STEP: Duration = Duration::from_millis(10);

    /// Datagrams of these rules.
    fn datagrams(texts: &[&str], seed: u64) -> Datagrams<u32> {
        Datagrams::new(&Arc::new(rules_on(Transport::Udp, texts, seed)), Direction::Out).unwrap()
    }

    /// Which of the datagrams 1 to `count` come, in their order; one is put in every 10 ms, and at the end all that wait
    /// come.
    fn order(texts: &[&str], seed: u64, count: u32) -> Vec<u32> {
        let mut datagrams = datagrams(texts, seed);
        let mut order = Vec::new();
        for number in 1..=count {
            let now = STEP * number;
            datagrams.put(number, vec![0; 100], None, now);
            order.extend(std::iter::from_fn(|| datagrams.pop(now)).map(|(tag, _)| tag));
        }
        while let Some(now) = datagrams.wake() {
            order.extend(std::iter::from_fn(|| datagrams.pop(now)).map(|(tag, _)| tag));
        }
        order
    }

    #[test]
    fn datagrams_are_lost_doubled_and_overtaken() {
        for (texts, expected) in [
            (&["drop"][..], &[][..]),
            (&["drop,every=2"], &[1, 3, 5]),
            (&["drop,after=2msg,times=1"], &[1, 2, 4, 5, 6]),
            (&["drop,after=400B"], &[1, 2, 3, 4]),
            (&["drop,after=35ms"], &[1, 2, 3]),
            (&["drop,after=15ms,for=20ms"], &[1, 4, 5, 6]),
            (&["drop,chance=0%", "dup,chance=0%", "reorder=3,chance=0%"], &[1, 2, 3, 4, 5, 6]),
            (&["dup,every=3"], &[1, 2, 3, 3, 4, 5, 6, 6]),
            (&["dup=2,times=1"], &[1, 1, 1, 2, 3, 4, 5, 6]),
            (&["reorder=1"], &[2, 1, 4, 3, 6, 5]),
            (&["reorder=3,times=1"], &[2, 3, 4, 1, 5, 6]),
            (&["reorder=1,after=2msg,times=1"], &[1, 2, 4, 3, 5, 6]),
            // The last is not overtaken any more, and comes all the same.
            (&["reorder=3,after=4msg,times=1"], &[1, 2, 3, 4, 6, 5]),
            (&["reorder=1,times=1", "dup,times=1"], &[2, 1, 1, 3, 4, 5, 6]),
            (&["drop,times=1", "dup,times=1"], &[2, 2, 3, 4, 5, 6]),
            (&["delay=25ms,times=1"], &[2, 3, 1, 4, 5, 6]),
        ] {
            assert_eq!(order(texts, 1, 6), expected, "{texts:?}");
        }
    }

    #[test]
    fn a_chance_is_drawn_for_each_datagram_and_repeats_with_the_seed() {
        let lost = |seed| 2000 - order(&["drop,chance=10%"], seed, 2000).len();
        assert!((160..240).contains(&lost(1)), "{}", lost(1));
        assert_eq!(order(&["drop,chance=10%"], 1, 200), order(&["drop,chance=10%"], 1, 200));
        assert_ne!(order(&["drop,chance=10%"], 1, 200), order(&["drop,chance=10%"], 2, 200));
        let jitter = ["delay=0s..100ms"];
        assert_eq!(order(&jitter, 1, 50), order(&jitter, 1, 50));
        assert_ne!(order(&jitter, 1, 50), (1..=50).collect::<Vec<_>>());
    }

    #[test]
    fn the_payload_is_changed_as_the_rules_say() {
        let payload: Vec<u8> = (0..100).collect();
        let came = |texts: &[&str]| {
            let mut datagrams = datagrams(texts, 1);
            datagrams.put(1, payload.clone(), None, STEP);
            datagrams.pop(STEP).expect("a datagram").1
        };
        assert_eq!(came(&["truncate=10B"]), payload[..10]);
        assert_eq!(came(&["truncate=0B"]), payload[..0]);
        assert_eq!(came(&["truncate=200B"]), payload);
        let changed = |texts: &[&str]| came(texts).iter().zip(&payload).filter(|(new, old)| new != old).count();
        assert_eq!(changed(&["corrupt=1"]), 1);
        assert_eq!(changed(&["corrupt=7"]), 7);
        assert_eq!(changed(&["corrupt=500"]), 100);
        let garbage = came(&["garbage=36B"]);
        assert!(garbage.len() == 36 && garbage != payload[..36], "{garbage:?}");
        assert_eq!(came(&["truncate=0B", "corrupt=1"]), [0; 0]);
    }

    #[test]
    fn a_rate_spreads_them_and_the_queue_is_bounded() {
        let mut datagrams = datagrams(&["rate=10KB/s"], 1);
        for number in 0..5000 {
            datagrams.put(number, vec![0; 100], None, STEP);
        }
        let mut times = Vec::new();
        while let Some(now) = datagrams.wake() {
            times.extend(datagrams.pop(now).map(|_| now));
        }
        assert_eq!(times.len(), WAITING_MAX);
        assert_eq!(times[100], times[0] + Duration::from_secs(1));
        assert_eq!(order(&["dup=4294967295", "dup"], 1, 1), [1; WAITING_MAX]);
    }

    #[test]
    fn only_what_fired_is_told() {
        let mut datagrams = datagrams(&["drop,every=2", "dup,every=3"], 1);
        (1..=6).for_each(|number| datagrams.put(number, vec![0], None, STEP));
        let fired: Vec<(usize, u64)> = datagrams.take_fired().iter().map(|fired| (fired.rule, fired.at)).collect();
        assert_eq!(fired, [(0, 2), (1, 3), (0, 4), (0, 6)]);
        assert_eq!(datagrams.take_fired(), []);
    }

    #[test]
    fn peers_are_told_apart_by_their_address() {
        let mut datagrams = datagrams(&["drop,from=192.0.2.0/24"], 1);
        datagrams.put(1, vec![0], Some(IpAddr::from([192, 0, 2, 7])), STEP);
        datagrams.put(2, vec![0], Some(IpAddr::from([192, 0, 3, 7])), STEP);
        assert_eq!(datagrams.pop(STEP).map(|(tag, _)| tag), Some(2));
        assert_eq!(datagrams.pop(STEP), None);
    }
}
