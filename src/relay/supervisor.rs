//! Applies the relay's rules: hears what each direction tells, watches the clocks, and says when it is over and how.
//!
//! Owns every clock of the relay. Must not send or receive: it only asks the connection how far it has come. Trade-off: a
//! send queue that empties, and bytes that are acknowledged, are announced to nobody, so both are looked at from time to
//! time; only when a rule depends on them.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::{Ended, Event, LEAVE_TAKING, Progress, Rules, Traffic};
use crate::connection::{Clock, Conn, Kind, Op, Transport};

/// An input that has given nothing for so long when the peer finishes is silent. A pipe that flows pauses for microseconds.
const SILENCE: Duration = Duration::from_millis(100);

/// How long a send queue that is not empty is left alone. Nobody waits at a terminal for so short a time.
const QUEUE_LOOK: Duration = Duration::from_millis(10);

/// So many looks at the acknowledgements fit into an idle timeout: it is late by no more than that part of it.
const IDLE_LOOKS: u32 = 8;

/// What there is to do when a clock runs out.
#[derive(Debug, Clone, Copy)]
enum Due {
    /// The peer has finished, and the input has nothing more.
    Finish,
    /// The peer has been silent after the input's end.
    Quit,
    /// The peer has had its moment to finish.
    Leave,
    /// Look at the send queue.
    LookAtQueue,
    /// Look whether anything came or went.
    LookForIdleness,
    /// It has had all its time.
    GiveUp,
}

pub(super) struct Supervisor<'a> {
    conn: &'a Arc<Conn>,
    progress: &'a Progress,
    rules: Rules,
    /// When the input ended or failed, or could no longer be sent; the beginning, when there is none.
    input_over: Option<Instant>,
    /// Whether it was its end.
    input_ended: bool,
    peer_finished: bool,
    /// When the output took no more.
    output_over: Option<Instant>,
    /// Why what the input still gives cannot be sent.
    failed: Option<Ended>,
    /// When the send queue is to be looked at, if that decides.
    queue_look: Option<Instant>,
    /// When to look whether anything came or went, if that matters.
    idle_look: Option<Instant>,
    /// What the peer had acknowledged when that was last seen to grow, and when it was.
    acknowledged: (u64, Instant),
}

impl Supervisor<'_> {
    pub(super) fn new<'a>(conn: &'a Arc<Conn>, progress: &'a Progress, rules: Rules) -> Supervisor<'a> {
        let begun = Instant::now();
        Supervisor {
            conn,
            progress,
            rules,
            input_over: (rules.traffic == Traffic::ReceiveOnly).then_some(begun),
            input_ended: false,
            peer_finished: false,
            output_over: None,
            failed: None,
            queue_look: None,
            idle_look: rules.idle_timeout.map(|timeout| begun + timeout / IDLE_LOOKS),
            acknowledged: (0, begun),
        }
    }

    /// Whether the input was read to its end, and all of it sent.
    pub(super) fn input_ended(&self) -> bool {
        self.input_ended
    }

    /// Waits until it is over.
    pub(super) fn watch(&mut self, happened: &Receiver<Event>) -> Ended {
        loop {
            let event = match self.next_clock() {
                Some((left, _)) => happened.recv_timeout(left).ok(),
                None => happened.recv().ok(),
            };
            let ended = match event {
                Some(Event::Stopped(signal)) => return Ended::Stopped(signal),
                Some(event) => self.judge(event),
                // Time may have been given since: then there is patience again.
                None => match self.next_clock() {
                    Some((Duration::ZERO, due)) => self.carry_out(due),
                    _ => None,
                },
            };
            if let Some(ended) = ended {
                return self.failed.take().unwrap_or(ended);
            }
        }
    }

    fn judge(&mut self, event: Event) -> Option<Ended> {
        if matches!(event, Event::InputEnded | Event::InputFailed(_) | Event::SendFailed(_)) {
            self.input_over = Some(Instant::now());
        }
        match event {
            Event::InputEnded => {
                self.input_ended = true;
                return self.all_was_given();
            }
            Event::InputFailed(error) => {
                self.failed = Some(Ended::InputFailed(error));
                return self.all_was_given();
            }
            Event::SendFailed(error) => {
                let is_final = error.kind() == Kind::Refused;
                self.failed.get_or_insert(Ended::PeerFailed(error));
                // An ICMP refusal of a datagram; on a stream the receiving side comes to its end by itself.
                if is_final || !self.is_heard() {
                    return Some(Ended::PeerFinished);
                }
            }
            Event::PeerFinished => self.peer_finished = true,
            Event::PeerFailed(error) => {
                // The sending side is told only EPIPE, and only when it sends: what it has sent until then is counted still.
                self.failed.take_if(|failed| matches!(failed, Ended::PeerFailed(_)));
                self.failed.get_or_insert(Ended::PeerFailed(error));
                self.peer_finished = true;
                self.queue_look = None;
            }
            Event::OutputEnded => self.output_over = Some(Instant::now()),
            Event::OutputFailed(error) => return Some(Ended::OutputFailed(error)),
            Event::Abandoned => return Some(Ended::EndsFinished),
            Event::Stopped(signal) => return Some(Ended::Stopped(signal)),
        }
        self.both_are_over()
    }

    /// Whether somebody receives, and will tell of the peer's end.
    fn is_heard(&self) -> bool {
        self.rules.traffic != Traffic::SendOnly || self.conn.transport().is_stream()
    }

    /// The system has taken all of the input, which may be all that was wanted.
    fn all_was_given(&mut self) -> Option<Ended> {
        if self.rules.traffic == Traffic::SendOnly { self.look_at_queue() } else { self.both_are_over() }
    }

    fn both_are_over(&mut self) -> Option<Ended> {
        let is_over = self.peer_finished && self.input_over.is_some() && self.queue_look.is_none();
        if is_over { self.part() } else { None }
    }

    /// The peer has finished, and there is nothing more for it. Has it refused what was sent since? Whoever receives is told of
    /// no reset that comes after the peer's end.
    fn part(&mut self) -> Option<Ended> {
        let left_bytes = self.progress.unacknowledged_bytes(self.conn);
        if self.failed.is_some() || left_bytes == Some(0) {
            return Some(Ended::PeerFinished);
        }
        if let Some(failed) = self.refused() {
            return Some(failed);
        }
        let is_undecided = left_bytes.is_some() && self.progress.sent.lasts() < LEAVE_TAKING;
        self.queue_look = is_undecided.then(|| Instant::now() + QUEUE_LOOK);
        (!is_undecided).then_some(Ended::PeerFinished)
    }

    /// Why what was sent was not taken, if nobody has been told of it yet.
    fn refused(&self) -> Option<Ended> {
        let error = self.conn.socket().take_error().ok()??;
        Some(Ended::PeerFailed(self.conn.error(Op::Send, error)))
    }

    /// Sending only: has the peer's system everything?
    fn look_at_queue(&mut self) -> Option<Ended> {
        // After a reset nothing leaves the queue any more, and a datagram may have been refused.
        if let Some(failed) = self.refused() {
            return Some(failed);
        }
        match self.conn.unacknowledged_bytes() {
            Some(0) => Some(Ended::Sent),
            Some(_) => {
                self.queue_look = Some(Instant::now() + QUEUE_LOOK);
                None
            }
            // A system that cannot tell leaves only the peer's end for a proof. What has no acknowledgements needs none.
            None if self.conn.transport() == Transport::Tcp => self.peer_finished.then_some(Ended::PeerFinished),
            None => Some(Ended::Sent),
        }
    }

    /// The clock that runs out first, with what is left of it; none is for ever.
    fn next_clock(&self) -> Option<(Duration, Due)> {
        let now = Instant::now();
        let until = |time: Option<Instant>| time.map(|time| time.saturating_duration_since(now));
        let clocks = [
            (self.until_finish(), Due::Finish),
            (self.until_quit(), Due::Quit),
            (self.until_leave(), Due::Leave),
            (until(self.queue_look), Due::LookAtQueue),
            (until(self.idle_look), Due::LookForIdleness),
            (until(self.rules.deadline), Due::GiveUp),
        ];
        clocks.into_iter().filter_map(|(left, due)| Some((left?, due))).min_by_key(|(left, _)| *left)
    }

    /// Has anything come or gone? A send that waits for a slow peer is told by the acknowledgements that it is not idle.
    fn look_for_idleness(&mut self) -> Option<Ended> {
        let timeout = self.rules.idle_timeout?;
        if let Some(info) = self.conn.info().filter(|info| info.acknowledged_bytes > self.acknowledged.0) {
            self.acknowledged = (info.acknowledged_bytes, Instant::now());
        }
        let Progress { peer, sent, .. } = self.progress;
        let quiet = peer.lasts().min(sent.lasts()).min(self.acknowledged.1.elapsed());
        let left = timeout.saturating_sub(quiet);
        self.idle_look = Some(Instant::now() + left.min(timeout / IDLE_LOOKS));
        left.is_zero().then_some(Ended::TimedOut(Clock::Idle))
    }

    fn carry_out(&mut self, due: Due) -> Option<Ended> {
        match due {
            Due::Finish | Due::LookAtQueue if self.rules.traffic == Traffic::SendOnly => self.look_at_queue(),
            Due::Finish | Due::LookAtQueue => self.part(),
            Due::Quit => Some(Ended::PeerSilent),
            Due::Leave => Some(Ended::EndsFinished),
            Due::LookForIdleness => self.look_for_idleness(),
            Due::GiveUp => Some(Ended::TimedOut(Clock::Total)),
        }
    }

    /// How long the input may still be silent, now that the peer has finished.
    fn until_finish(&self) -> Option<Duration> {
        // After a reset there is nothing to stay for.
        let is_left = self.peer_finished && (!self.rules.outstays_peer || self.failed.is_some());
        let is_queue_empty = self.queue_look.is_none();
        (is_left && is_queue_empty).then(|| SILENCE.saturating_sub(self.progress.input.lasts()))
    }

    /// How long the peer may still be silent, now that the input has ended.
    fn until_quit(&self) -> Option<Duration> {
        let (quit_after, input_over) = self.rules.quit_after.zip(self.input_over)?;
        if self.peer_finished {
            return None;
        }
        // An answer to the last of the input cannot have come before it was sent.
        Some(quit_after.saturating_sub(self.progress.peer.lasts().min(input_over.elapsed())))
    }

    /// How long the peer may still take to finish, now that nobody on this side has or wants anything.
    fn until_leave(&self) -> Option<Duration> {
        let (output_over, input_over) = self.output_over.zip(self.input_over)?;
        if !self.conn.transport().is_stream() {
            return Some(Duration::ZERO);
        }
        Some(LEAVE_TAKING.saturating_sub(output_over.max(input_over).elapsed()))
    }
}
