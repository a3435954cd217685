//! One direction of a stream under rules: bytes in, and what may pass on when.
//!
//! Owns the bytes between the two ends, in their order, and the time each may pass. Must not know sockets or clocks: its
//! driver tells the time and does what `step` says. Trade-off: every byte of a connection that has rules is copied twice,
//! into the lane and out of it; in return all of them are decided at their place in the stream, however they came. Memory is
//! bounded: `room` says how much may come.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::rule::{Action, Direction};
use super::window::{Progress, Window};
use super::{Fired, Purpose, RuleSet, Wake, lateness};

/// What passes at a time, and what waits in a lane that delays nothing: a read of the usual size.
const PIECE_BYTES: usize = 64 * 1024;
/// What waits in a lane that delays: 10 MB/s for 100 ms.
const DELAYED_BYTES: usize = 1024 * 1024;
/// Pieces that wait in a lane that delays, each with its own time: tiny ones must not cost more than their bytes.
const DELAYED_PIECES: usize = 4096;
/// With a limited rate, so often a second a piece passes: even enough for any peer, and few calls.
const PIECES_PER_SECOND: u64 = 50;
/// How far behind its time a piece may be and the next still keep time: what timers and a busy machine oversleep.
const OVERSLEPT: Duration = Duration::from_millis(100);

/// What a driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Pass on the bytes of `piece`, and say how many went with `passed`.
    Pass,
    /// Nothing until then; none is until more has been put in.
    Wait(Option<Duration>),
    /// End the connection, or this direction.
    End(Ending),
}

/// How a rule ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// In what way.
    pub kind: EndingKind,
    /// Which rule, from 0.
    pub rule: usize,
    /// Whether what has passed until then is promised to arrive.
    pub is_promised: bool,
}

/// In what way a rule ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndingKind {
    /// FIN, drain, close.
    Close,
    /// RST.
    Reset,
    /// FIN.
    HalfClose,
}

/// One direction.
#[derive(Debug)]
pub struct Lane {
    set: Arc<RuleSet>,
    ordinal: u64,
    direction: Direction,
    active: Vec<Active>,
    counts_messages: bool,
    capacity: usize,
    /// What was put in, and what has passed on.
    taken: Progress,
    passed: Progress,
    /// Bytes that wait, and how many of them at a time are due when.
    waiting: Vec<u8>,
    gone: usize,
    due: VecDeque<(Duration, usize)>,
    /// Bytes that are decided and may pass.
    piece: Vec<u8>,
    piece_gone: usize,
    fired: Vec<Fired>,
}

/// A rule on this lane.
#[derive(Debug)]
struct Active {
    rule: usize,
    window: Window,
    has_fired: bool,
    state: State,
}

/// What a rule has to remember.
#[derive(Debug)]
enum State {
    End(Option<EndingKind>),
    Delay { least: Duration, most: Duration },
    Rate { per_second: u64, free: Duration },
    Chunk { least: u64, most: u64, pause: Option<Duration>, end: u64, free: Duration },
    Corrupt { bytes: u64, among: Option<u64>, begin: u64 },
    Garbage { left: u64 },
}

impl State {
    /// None for what is no lane's business.
    fn new(action: &Action) -> Option<State> {
        Some(match *action {
            Action::Close => State::End(Some(EndingKind::Close)),
            Action::Reset => State::End(Some(EndingKind::Reset)),
            Action::HalfClose => State::End(Some(EndingKind::HalfClose)),
            Action::Stall => State::End(None),
            Action::Delay { least, most } => State::Delay { least, most },
            Action::Rate(per_second) => State::Rate { per_second, free: Duration::ZERO },
            Action::Chunk { least, most, pause } => State::Chunk { least, most, pause, end: 0, free: Duration::ZERO },
            Action::Corrupt { bytes, among } => State::Corrupt { bytes, among, begin: 0 },
            Action::Garbage(left) => State::Garbage { left },
            _ => return None,
        })
    }
}

impl Lane {
    /// The lane of a connection to which these rules, by their places, apply; none if none of them concerns the direction.
    pub fn new(set: &Arc<RuleSet>, applying: &[usize], ordinal: u64, direction: Direction) -> Option<Lane> {
        let active = |index: &usize| {
            let rule = &set.rules()[*index];
            let state = State::new(&rule.action).filter(|_| rule.concerns(direction))?;
            Some(Active { rule: *index, window: Window::new(&rule.keys), has_fired: false, state })
        };
        let active: Vec<Active> = applying.iter().filter_map(active).collect();
        if active.is_empty() {
            return None;
        }
        Some(Lane {
            set: set.clone(),
            ordinal,
            direction,
            counts_messages: active.iter().any(|active| active.window.counts_messages()),
            capacity: capacity(&active),
            active,
            taken: Progress::default(),
            passed: Progress::default(),
            waiting: Vec::new(),
            gone: 0,
            due: VecDeque::new(),
            piece: Vec::new(),
            piece_gone: 0,
            fired: Vec::new(),
        })
    }

    /// How many bytes may be put in.
    pub fn room(&self, now: Duration) -> usize {
        let held = self.waiting.len() - self.gone + self.piece().len();
        if self.is_stalled(now) || self.due.len() >= DELAYED_PIECES {
            return 0;
        }
        // Beyond the place of an ending nothing will be wanted: a peer must see that nobody reads.
        let ends = self.active.iter().filter(|active| matches!(active.state, State::End(_)));
        let wanted = ends.filter_map(|active| active.window.opens_at_byte()).min();
        let wanted = wanted.map_or(usize::MAX, |end| end.saturating_sub(self.passed.bytes) as usize);
        self.capacity.min(wanted).saturating_sub(held)
    }

    /// Takes bytes that came, at most as many as there is room for.
    pub fn put(&mut self, mut bytes: &[u8], now: Duration) {
        self.waiting.extend_from_slice(bytes);
        while !bytes.is_empty() {
            let (late, next) = self.lateness(bytes, now);
            let last = self.due.back().map_or(Duration::ZERO, |(due, _)| *due);
            // Bytes never overtake each other.
            let due = last.max(now + late);
            match self.due.back_mut() {
                Some((last, count)) if *last == due || due <= now => *count += next,
                _ => self.due.push_back((due, next)),
            }
            self.taken.pass(&bytes[..next], self.counts_messages);
            bytes = &bytes[next..];
        }
    }

    /// How late the next bytes are, and of how many that is true.
    fn lateness(&mut self, bytes: &[u8], now: Duration) -> (Duration, usize) {
        let (mut late, mut alike) = (Duration::ZERO, bytes.len());
        for active in &mut self.active {
            let State::Delay { least, most } = active.state else { continue };
            active.window.look(self.taken, now);
            alike = active.window.opens_within(self.taken, bytes).unwrap_or(bytes.len()).min(alike);
            if active.window.open_since(now).is_some() {
                // Drawn at the place of the first byte: an answer is late as a whole.
                let purpose = Purpose::Delay;
                let (direction, place) = (Some(self.direction), self.taken.bytes);
                let mut random = self.set.random(active.rule, self.ordinal, direction, purpose, place);
                late += lateness(&mut random, least, most);
                active.fire(&mut self.fired, self.direction, self.taken.bytes);
            }
        }
        (late, alike)
    }

    /// What is to be done now.
    pub fn step(&mut self, now: Duration) -> Step {
        self.look(now);
        let mut wake = Wake::default();
        if let Some(over) = self.over(now, &mut wake) {
            return over;
        }
        if !self.piece().is_empty() {
            return Step::Pass;
        }
        let available = match self.garbage_left(now, &mut wake) {
            0 => self.bytes_due(now, &mut wake),
            left => left,
        };
        let length = self.shaped(available, now, &mut wake);
        if length == 0 {
            return Step::Wait(wake.0);
        }
        self.cut_piece(length, now);
        Step::Pass
    }

    fn look(&mut self, now: Duration) {
        for active in &mut self.active {
            match &mut active.state {
                // It looks at what is put in.
                State::Delay { .. } => {}
                State::Corrupt { begin, .. } if active.window.is_to_open() => {
                    active.window.look(self.passed, now);
                    *begin = self.passed.bytes;
                }
                _ => active.window.look(self.passed, now),
            }
        }
    }

    /// What the ending wants whose time came first, if it has come: a stall, that nothing is done.
    fn over(&mut self, now: Duration, wake: &mut Wake) -> Option<Step> {
        let mut first: Option<(Duration, usize)> = None;
        for (index, active) in self.active.iter().enumerate() {
            let State::End(_) = active.state else { continue };
            wake.at(active.window.opens());
            if let Some(began) = active.window.open_since(now)
                && first.is_none_or(|(earlier, _)| began < earlier)
            {
                first = Some((began, index));
            }
        }
        let (_, index) = first?;
        let active = &mut self.active[index];
        active.fire(&mut self.fired, self.direction, self.passed.bytes);
        let State::End(Some(kind)) = active.state else {
            wake.at(active.window.closes());
            return Some(Step::Wait(wake.0));
        };
        Some(Step::End(Ending { kind, rule: active.rule, is_promised: active.window.is_by_place() }))
    }

    fn is_stalled(&self, now: Duration) -> bool {
        let stalls =
            |active: &Active| matches!(active.state, State::End(None)) && active.window.open_since(now).is_some();
        self.active.iter().any(stalls)
    }

    /// How much is left of what nobody sent.
    fn garbage_left(&self, now: Duration, wake: &mut Wake) -> usize {
        let mut left = 0;
        for active in &self.active {
            let State::Garbage { left: own } = active.state else { continue };
            wake.at(active.window.opens());
            if left == 0 && active.window.open_since(now).is_some() {
                left = own as usize;
            }
        }
        left
    }

    /// How many of the bytes that wait may pass by now.
    fn bytes_due(&mut self, now: Duration, wake: &mut Wake) -> usize {
        let mut count = 0;
        for (due, bytes) in &self.due {
            if *due > now {
                wake.at((count == 0).then_some(*due));
                break;
            }
            count += bytes;
        }
        count
    }

    /// How many of the next bytes may pass together now.
    fn shaped(&mut self, available: usize, now: Duration, wake: &mut Wake) -> usize {
        let mut length = available.min(PIECE_BYTES);
        if length == 0 {
            return 0;
        }
        let is_garbage = self.garbage_left(now, &mut Wake::default()) > 0;
        let next = if is_garbage { &[][..] } else { &self.waiting[self.gone..self.gone + length] };
        for active in &mut self.active {
            if matches!(active.state, State::Delay { .. }) {
                continue;
            }
            // What comes after a place where a rule begins is another piece.
            length = length.min(active.window.opens_within(self.passed, next).unwrap_or(length));
            if let Some(left) = active.window.opens_at_byte() {
                length = length.min(left.saturating_sub(self.passed.bytes) as usize);
            }
            if active.window.open_since(now).is_none() {
                continue;
            }
            let most = active.state.limit(self.passed.bytes, |least, most, offset| {
                let purpose = Purpose::Chunk;
                let mut random = self.set.random(active.rule, self.ordinal, Some(self.direction), purpose, offset);
                least + random.below(most - least + 1)
            });
            let Some((most, free)) = most else { continue };
            active.fire(&mut self.fired, self.direction, self.passed.bytes);
            if free > now {
                wake.at(Some(free));
                return 0;
            }
            length = length.min(most);
        }
        length
    }

    /// Takes the next bytes, and changes those that rules change.
    fn cut_piece(&mut self, length: usize, now: Duration) {
        self.piece.clear();
        self.piece_gone = 0;
        if !self.give_garbage(length, now) {
            self.piece.extend_from_slice(&self.waiting[self.gone..self.gone + length]);
            self.forget(length);
        }
        for index in 0..self.active.len() {
            self.corrupt(index, now);
        }
    }

    /// Fills the piece with what nobody sent, if it is time for that.
    fn give_garbage(&mut self, length: usize, now: Duration) -> bool {
        let is_due = |active: &&mut Active| {
            matches!(active.state, State::Garbage { left: 1.. }) && active.window.open_since(now).is_some()
        };
        let Some(active) = self.active.iter_mut().find(is_due) else { return false };
        let State::Garbage { left } = &mut active.state else { return false };
        for place in (0..length as u64).map(|offset| self.passed.bytes + offset) {
            let (word, byte) = (place / 8, (place % 8) as usize);
            let purpose = Purpose::Garbage;
            let mut random = self.set.random(active.rule, self.ordinal, Some(self.direction), purpose, word);
            self.piece.push(random.next_u64().to_le_bytes()[byte]);
        }
        *left -= length as u64;
        active.fire(&mut self.fired, self.direction, self.passed.bytes);
        true
    }

    /// Drops bytes from the front of those that wait.
    fn forget(&mut self, mut length: usize) {
        self.gone += length;
        if self.gone == self.waiting.len() {
            // An idle connection holds no memory.
            (self.waiting, self.gone) = (Vec::new(), 0);
        } else if self.gone > self.capacity {
            self.waiting.drain(..self.gone);
            self.gone = 0;
        }
        while let Some((_, count)) = self.due.front_mut() {
            if *count > length {
                *count -= length;
                return;
            }
            length -= *count;
            self.due.pop_front();
        }
    }

    fn corrupt(&mut self, index: usize, now: Duration) {
        let active = &mut self.active[index];
        let State::Corrupt { bytes, among, begin } = active.state else { return };
        if active.window.open_since(now).is_none() {
            return;
        }
        let (set, ordinal, direction, rule) = (&self.set, self.ordinal, Some(self.direction), active.rule);
        let from = self.passed.bytes;
        let end = from + self.piece.len() as u64;
        let draw = |purpose, place, limit| set.random(rule, ordinal, direction, purpose, place).below(limit);
        let mut change = |place: u64| {
            if (from..end).contains(&place) {
                // Never 0, which would change nothing.
                self.piece[(place - from) as usize] ^= 1 + draw(Purpose::CorruptByte, place, 255) as u8;
                active.fire(&mut self.fired, self.direction, place);
            }
        };
        let Some(among) = among else {
            (begin.max(from)..end.min(begin + bytes)).for_each(change);
            return;
        };
        // One byte in each equal part: as random as it looks, and it takes no list of places.
        let begins = |part: u64| (u128::from(part) * u128::from(among) / u128::from(bytes)) as u64;
        let first = (u128::from(from) * u128::from(bytes) / u128::from(among)) as u64;
        for part in first.saturating_sub(1).. {
            if begins(part) >= end {
                break;
            }
            change(begins(part) + draw(Purpose::CorruptPlace, part, begins(part + 1) - begins(part)));
        }
    }

    /// The bytes that may pass.
    pub fn piece(&self) -> &[u8] {
        &self.piece[self.piece_gone..]
    }

    /// So many bytes of the piece have passed.
    pub fn passed(&mut self, count: usize, now: Duration) {
        let gone = self.piece_gone..self.piece_gone + count;
        self.passed.pass(&self.piece[gone.clone()], self.counts_messages);
        self.piece_gone = gone.end;
        if self.piece().is_empty() {
            (self.piece, self.piece_gone) = (Vec::new(), 0);
        }
        for active in &mut self.active {
            if active.window.open_since(now).is_some() {
                active.state.passed(count as u64, self.passed.bytes, now);
            }
        }
    }

    /// Whether all that was put in has passed, and nothing holds back an end.
    pub fn is_done(&self, now: Duration) -> bool {
        self.due.is_empty() && self.piece().is_empty() && !self.is_stalled(now)
    }

    /// Has a rule decide nothing more.
    pub fn dismiss(&mut self, rule: usize) {
        self.active.retain(|active| active.rule != rule);
    }

    /// When time alone brings an ending, if it does.
    pub fn ends_at(&self) -> Option<Duration> {
        let ends = self.active.iter().filter(|active| matches!(active.state, State::End(_)));
        ends.filter_map(|active| active.window.opens()).min()
    }

    /// What has fired since it was last asked.
    pub fn take_fired(&mut self) -> Vec<Fired> {
        std::mem::take(&mut self.fired)
    }
}

/// How much may wait: little where it goes slowly, so that whoever sends it is held back as well.
fn capacity(active: &[Active]) -> usize {
    let mut capacity = PIECE_BYTES as u64;
    for active in active {
        match active.state {
            State::Delay { .. } => return DELAYED_BYTES,
            State::Rate { per_second, .. } => capacity = capacity.min(per_second / 4),
            State::Chunk { most, pause: Some(_), .. } => capacity = capacity.min(most),
            _ => {}
        }
    }
    capacity.max(1) as usize
}

impl Active {
    /// It is told once for each connection.
    fn fire(&mut self, fired: &mut Vec<Fired>, direction: Direction, at: u64) {
        if !std::mem::replace(&mut self.has_fired, true) {
            fired.push(Fired { rule: self.rule, direction, at });
        }
    }
}

impl State {
    /// How many bytes may pass, and from when on; none if it does not care.
    fn limit(&mut self, offset: u64, draw: impl Fn(u64, u64, u64) -> u64) -> Option<(usize, Duration)> {
        match self {
            State::Rate { per_second, free } => Some(((*per_second / PIECES_PER_SECOND).max(1) as usize, *free)),
            State::Chunk { least, most, end, free, .. } => {
                if *end <= offset {
                    *end = offset + draw(*least, *most, offset);
                }
                Some(((*end - offset) as usize, *free))
            }
            _ => None,
        }
    }

    fn passed(&mut self, count: u64, offset: u64, now: Duration) {
        match self {
            State::Rate { per_second, free } => {
                let begun = if now.saturating_sub(*free) < OVERSLEPT { *free } else { now };
                *free = begun + Duration::from_secs_f64(count as f64 / *per_second as f64);
            }
            State::Chunk { pause: Some(pause), end, free, .. } if offset >= *end => *free = now + *pause,
            _ => {}
        }
    }
}
