//! Lines back in the order of the command line.
//!
//! Owns what is held back. Must not know what a line says. Trade-off: a bound on what is held back instead of the perfect
//! order at any price.

use std::collections::BTreeMap;

/// As many targets may wait for one before them: a full window and then some. Their lines take a megabyte.
const HELD_MAX: usize = 8192;

/// Lines of targets, by the targets' places in the order.
#[derive(Debug, Default)]
pub struct Order {
    held: BTreeMap<u64, Held>,
}

/// One target of the command line. A name may have several addresses that are probed each.
#[derive(Debug, Default)]
struct Held {
    undecided: usize,
    lines: Vec<String>,
}

impl Order {
    /// One more verdict will come for this target.
    pub fn await_verdict(&mut self, index: u64) {
        self.held.entry(index).or_default().undecided += 1;
    }

    /// A verdict has come, with or without a line; the last, or one of several.
    pub fn decide(&mut self, index: u64, line: Option<String>, is_final: bool) {
        let held = self.held.entry(index).or_default();
        held.undecided = held.undecided.saturating_sub(usize::from(is_final));
        held.lines.extend(line);
    }

    /// Whatever lines there are, since nothing before them will come any more.
    pub fn rest(self) -> impl Iterator<Item = String> {
        self.held.into_values().flat_map(|held| held.lines)
    }

    /// The next line that can be printed. From `barrier` on there may be targets that are not expected yet.
    pub fn next(&mut self, barrier: u64) -> Option<String> {
        loop {
            let is_full = self.held.len() > HELD_MAX;
            let is_ready = |(index, held): &(&u64, &Held)| held.undecided == 0 && (is_full || **index < barrier);
            let index = match self.held.first_key_value() {
                Some(first) if is_ready(&first) => *first.0,
                Some(_) if is_full => *self.held.iter().find(is_ready)?.0,
                _ => return None,
            };
            let held = self.held.get_mut(&index)?;
            if !held.lines.is_empty() {
                let line = held.lines.remove(0);
                if held.lines.is_empty() {
                    self.held.remove(&index);
                }
                return Some(line);
            }
            self.held.remove(&index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printable(order: &mut Order, barrier: u64) -> Vec<String> {
        std::iter::from_fn(|| order.next(barrier)).collect()
    }

    #[test]
    fn lines_wait_for_those_before_them() {
        let mut order = Order::default();
        (0..4).for_each(|index| order.await_verdict(index));
        order.decide(2, Some("two".to_owned()), true);
        assert_eq!(printable(&mut order, u64::MAX), [""; 0]);
        order.decide(0, Some("zero".to_owned()), true);
        assert_eq!(printable(&mut order, u64::MAX), ["zero"]);
        order.decide(1, None, true);
        assert_eq!(printable(&mut order, u64::MAX), ["two"]);
        order.decide(3, Some("three".to_owned()), true);
        assert_eq!(printable(&mut order, 3), [""; 0], "a target before it may still come");
        assert_eq!(printable(&mut order, 4), ["three"]);
    }

    #[test]
    fn a_target_of_several_addresses_has_all_its_lines_together() {
        let mut order = Order::default();
        order.await_verdict(0);
        order.await_verdict(0);
        order.await_verdict(1);
        order.decide(1, Some("next".to_owned()), true);
        order.decide(0, Some("second".to_owned()), true);
        assert_eq!(printable(&mut order, u64::MAX), [""; 0]);
        order.decide(0, Some("first".to_owned()), true);
        assert_eq!(printable(&mut order, u64::MAX), ["second", "first", "next"]);
    }

    #[test]
    fn what_waits_for_a_target_that_was_cut_off_is_not_lost() {
        let mut order = Order::default();
        (0..3).for_each(|index| order.await_verdict(index));
        order.decide(2, Some("two".to_owned()), true);
        order.decide(1, Some("one".to_owned()), true);
        assert_eq!(printable(&mut order, u64::MAX), [""; 0]);
        assert_eq!(order.rest().collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn one_silent_target_does_not_hold_up_all() {
        let mut order = Order::default();
        order.await_verdict(0);
        let mut printed = 0;
        for index in 1..=2 * HELD_MAX as u64 {
            order.await_verdict(index);
            order.decide(index, Some(index.to_string()), true);
            printed += printable(&mut order, u64::MAX).len();
            assert!(order.held.len() <= HELD_MAX);
        }
        assert!(printed >= HELD_MAX);
    }
}
