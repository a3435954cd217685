//! What became of each datagram: answered, late, lost, doubled, out of order, or refused; and how losses cluster.
//!
//! Owns the book of one connection's datagrams. Must not know sockets or clocks: it is told what was sent, what came, and
//! when. Trade-off: it remembers a bounded number of finished datagrams, so that memory is constant; a copy that comes
//! after more than that many others is a stray.

use std::collections::VecDeque;
use std::ops::Range;

use super::tally::Errors;

/// A datagram in the book. Times are nanoseconds on the run's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// When it should have been sent.
    pub intended: u64,
    /// When it was.
    pub sent: u64,
    /// How many bytes.
    pub length: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its answer is due.
    Sent,
    /// Its answer is overdue, and counts as lost until it comes.
    Overdue,
    /// Answered, in time or late.
    Answered,
    /// The peer's system said that nobody listens.
    Refused,
}

/// What an answer turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The first answer, in time.
    Answered(Entry),
    /// The first answer, after it was given up.
    Late(Entry),
    /// One more answer.
    Duplicate,
    /// An answer to what is not in the book.
    Stray,
}

/// The book.
#[derive(Debug)]
pub struct Ledger {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    /// The first that may still be `Sent`.
    due: u64,
    waiting: usize,
    history: usize,
    highest_answered: u64,
    /// How many in a row were lost, up to the entry before `first`.
    burst: u64,
}

impl Ledger {
    /// An empty book that remembers `history` finished datagrams.
    pub fn new(history: usize) -> Ledger {
        Ledger { entries: VecDeque::new(), first: 1, due: 1, waiting: 0, history, highest_answered: 0, burst: 0 }
    }

    /// The number of the next datagram, from 1.
    #[inline]
    pub fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// How many answers are due.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The datagrams that are in the book.
    #[inline]
    pub fn known(&self) -> Range<u64> {
        self.first..self.next()
    }

    /// The datagrams whose answers are due, each with its length, from the oldest.
    pub fn all_waiting(&self) -> impl Iterator<Item = (u64, usize)> {
        let from = self.due.max(self.first);
        let entries = self.entries.iter().skip((from - self.first) as usize);
        (from..)
            .zip(entries)
            .filter(|(_, entry)| entry.state == State::Sent)
            .map(|(at, entry)| (at, entry.length as usize))
    }

    /// A datagram has been sent.
    #[inline]
    pub fn send(&mut self, intended: u64, sent: u64, length: usize, errors: &mut Errors) {
        self.entries.push_back(Entry { intended, sent, length: length as u32, state: State::Sent });
        self.waiting += 1;
        while self.entries.len() > self.history && self.entries[0].state != State::Sent {
            self.forget(errors);
        }
    }

    /// An answer has come.
    #[inline]
    pub fn answer(&mut self, sequence: u64, errors: &mut Errors) -> Found {
        let index = sequence.wrapping_sub(self.first) as usize;
        let Some(entry) = self.entries.get_mut(index) else { return Found::Stray };
        let before = std::mem::replace(&mut entry.state, State::Answered);
        let entry = *entry;
        match before {
            State::Answered => return Found::Duplicate,
            State::Sent => self.waiting -= 1,
            State::Overdue => {}
            State::Refused => errors.refused = errors.refused.wrapping_sub(1),
        }
        let is_overtaken = sequence < self.highest_answered;
        self.highest_answered = self.highest_answered.max(sequence);
        if before != State::Sent {
            return Found::Late(entry);
        }
        // RFC 4737: it came after one that was sent after it.
        errors.reordered += u64::from(is_overtaken);
        Found::Answered(entry)
    }

    /// Gives up, for now, what was sent before `sent_before`; says how many, and calls `given_up` with each.
    pub fn give_up(&mut self, sent_before: u64, mut given_up: impl FnMut(&Entry)) -> usize {
        let mut count = 0;
        self.due = self.due.max(self.first);
        while let Some(entry) = self.entries.get_mut((self.due - self.first) as usize) {
            if entry.state == State::Sent {
                if entry.sent >= sent_before {
                    break;
                }
                entry.state = State::Overdue;
                self.waiting -= 1;
                count += 1;
                given_up(entry);
            }
            self.due += 1;
        }
        count
    }

    /// The peer's system refused a datagram: the oldest that waits, for want of a better guess.
    pub fn refuse(&mut self) -> Option<Entry> {
        let entry = self.entries.iter_mut().find(|entry| entry.state == State::Sent)?;
        entry.state = State::Refused;
        self.waiting -= 1;
        Some(*entry)
    }

    /// The end: counts the bursts of what is still in the book.
    pub fn close(&mut self, errors: &mut Errors) {
        while !self.entries.is_empty() {
            self.forget(errors);
        }
        self.end_burst(errors);
    }

    fn forget(&mut self, errors: &mut Errors) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.first += 1;
        if entry.state == State::Overdue {
            self.burst += 1;
        } else {
            self.end_burst(errors);
        }
    }

    fn end_burst(&mut self, errors: &mut Errors) {
        if self.burst > 0 {
            errors.loss_bursts += 1;
            errors.longest_loss_burst = errors.longest_loss_burst.max(self.burst);
            self.burst = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A book in which so many datagrams have been sent, number N at time N.
    fn book(count: u64, errors: &mut Errors) -> Ledger {
        let mut ledger = Ledger::new(100);
        (1..=count).for_each(|time| ledger.send(time, time, 64, errors));
        ledger
    }

    #[test]
    fn each_datagram_has_one_end() {
        let mut errors = Errors::default();
        let mut ledger = book(6, &mut errors);
        assert!(matches!(ledger.answer(1, &mut errors), Found::Answered(Entry { sent: 1, .. })));
        assert!(matches!(ledger.answer(3, &mut errors), Found::Answered(_)));
        assert!(matches!(ledger.answer(2, &mut errors), Found::Answered(_)));
        assert_eq!(errors.reordered, 1);
        assert_eq!(ledger.answer(3, &mut errors), Found::Duplicate);
        assert_eq!(ledger.answer(7, &mut errors), Found::Stray);
        assert_eq!(ledger.answer(0, &mut errors), Found::Stray);
        assert_eq!(ledger.give_up(6, |_| ()), 2);
        assert!(matches!(ledger.answer(4, &mut errors), Found::Late(_)));
        assert_eq!(ledger.answer(4, &mut errors), Found::Duplicate);
        assert_eq!((ledger.waiting(), ledger.all_waiting().next()), (1, Some((6, 64))));
        assert_eq!(ledger.refuse().map(|entry| entry.sent), Some(6));
        assert_eq!((ledger.waiting(), ledger.refuse()), (0, None));
        ledger.close(&mut errors);
        assert_eq!((errors.loss_bursts, errors.longest_loss_burst), (1, 1));
    }

    #[test]
    fn losses_in_a_row_are_one_burst() {
        let mut errors = Errors::default();
        let mut ledger = book(10, &mut errors);
        for answered in [1, 5, 6, 8, 9, 10] {
            ledger.answer(answered, &mut errors);
        }
        ledger.give_up(u64::MAX, |_| ());
        ledger.close(&mut errors);
        assert_eq!((errors.loss_bursts, errors.longest_loss_burst), (2, 3));
    }

    #[test]
    fn memory_is_bounded_by_the_history_but_never_forgets_what_waits() {
        let mut errors = Errors::default();
        let mut ledger = Ledger::new(10);
        for time in 1..=1000 {
            ledger.send(time, time, 64, &mut errors);
            if time != 500 {
                ledger.answer(time, &mut errors);
            }
        }
        assert_eq!((ledger.entries.len(), ledger.waiting()), (501, 1));
        assert_eq!(ledger.all_waiting().next(), Some((500, 64)), "which is not where the book begins");
        ledger.give_up(u64::MAX, |_| ());
        ledger.send(1001, 1001, 64, &mut errors);
        assert_eq!((ledger.entries.len(), ledger.next()), (10, 1002));
        assert_eq!(ledger.answer(3, &mut errors), Found::Stray);
    }
}
