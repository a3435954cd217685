//! What becomes of those who connect, by the clock: accepted, refused, unanswered or left waiting.
//!
//! Owns the schedule. Must not know how a listener is closed or its queue filled. Trade-off: time since the start is all that
//! it knows, because a connect that is refused or unanswered is never seen: it cannot be counted.

use std::time::Duration;

use super::rule::{Action, After, Rule};
use super::{RuleSet, Stage, Wake};

/// How the door stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// Connections are accepted.
    Open,
    /// Nobody listens.
    Refusing,
    /// Connects are not answered.
    Unanswering,
    /// Connections are completed, and not accepted.
    Unaccepting,
}

impl Door {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Door::Open => "open",
            Door::Refusing => "nobody listens",
            Door::Unanswering => "connects are not answered",
            Door::Unaccepting => "nobody accepts",
        }
    }
}

/// How the door stands at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How.
    pub door: Door,
    /// Which rule has it so, from 0; none while it is open.
    pub rule: Option<usize>,
    /// When to look again; none if it stays so.
    pub until: Option<Duration>,
}

impl RuleSet {
    /// Whether any rule is about the door.
    pub fn has_door(&self) -> bool {
        self.rules.iter().any(|rule| rule.action.stage() == Stage::Door)
    }

    /// The rules of the door, and those of the kernel: they are for the whole run.
    pub fn lasting(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| matches!(rule.action.stage(), Stage::Door | Stage::Kernel))
    }

    /// Whether nobody listens at some time, so that the port must be kept by other means.
    pub fn refuses(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.action, Action::Refuse(_) | Action::Flap { .. }))
    }

    /// How the door stands so long after the start. Of several rules the first in order decides.
    pub fn door(&self, now: Duration) -> Standing {
        let mut standing = Standing { door: Door::Open, rule: None, until: None };
        let mut wake = Wake::default();
        for (index, rule) in self.rules.iter().enumerate() {
            let begins = match rule.keys.after {
                Some(After::Time(time)) => time,
                _ => Duration::ZERO,
            };
            let (door, until) = match rule.action {
                Action::Refuse(lasts) => span(Door::Refusing, begins, Some(lasts), now),
                Action::Blackhole(lasts) => span(Door::Unanswering, begins, lasts, now),
                Action::NoAccept(lasts) => span(Door::Unaccepting, begins, lasts, now),
                Action::Flap { up, down } => flap(up, down, begins, rule.keys.times, now),
                _ => continue,
            };
            if door != Door::Open && standing.door == Door::Open {
                (standing.door, standing.rule) = (door, Some(index));
            }
            wake.at(until);
        }
        Standing { until: wake.0, ..standing }
    }
}

/// A time that comes once.
fn span(door: Door, begins: Duration, lasts: Option<Duration>, now: Duration) -> (Door, Option<Duration>) {
    let ends = lasts.map(|lasts| begins + lasts);
    if now < begins {
        return (Door::Open, Some(begins));
    }
    if ends.is_some_and(|ends| now >= ends) { (Door::Open, None) } else { (door, ends) }
}

/// A time that comes again and again.
fn flap(up: Duration, down: Duration, begins: Duration, times: Option<u64>, now: Duration) -> (Door, Option<Duration>) {
    let since = now.saturating_sub(begins);
    let cycle = up + down;
    let cycles = (since.as_nanos() / cycle.as_nanos()) as u64;
    if times.is_some_and(|times| cycles >= times) {
        return (Door::Open, None);
    }
    let cycle_began = begins + Duration::from_nanos((cycle.as_nanos() * u128::from(cycles)) as u64);
    if now < cycle_began + up {
        (Door::Open, Some(cycle_began + up))
    } else {
        (Door::Refusing, Some(cycle_began + cycle))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::rules;
    use super::Door::{Open, Refusing, Unaccepting, Unanswering};
    use super::*;

    #[test]
    fn the_door_stands_as_the_clock_says() {
        let seconds = |seconds: f64| Duration::from_secs_f64(seconds);
        for (texts, now, door, until) in [
            (&["reset"][..], 0.0, Open, None),
            (&["refuse=2s"], 0.0, Refusing, Some(2.0)),
            (&["refuse=2s"], 1.999, Refusing, Some(2.0)),
            (&["refuse=2s"], 2.0, Open, None),
            (&["refuse=2s,after=5s"], 0.0, Open, Some(5.0)),
            (&["refuse=2s,after=5s"], 5.0, Refusing, Some(7.0)),
            (&["blackhole"], 100.0, Unanswering, None),
            (&["blackhole=3s"], 1.0, Unanswering, Some(3.0)),
            (&["no-accept"], 0.0, Unaccepting, None),
            (&["flap=2s/500ms"], 0.0, Open, Some(2.0)),
            (&["flap=2s/500ms"], 2.0, Refusing, Some(2.5)),
            (&["flap=2s/500ms"], 2.5, Open, Some(4.5)),
            (&["flap=2s/500ms"], 1002.1, Refusing, Some(1002.5)),
            (&["flap=2s/500ms,times=1"], 2.1, Refusing, Some(2.5)),
            (&["flap=2s/500ms,times=1"], 2.5, Open, None),
            (&["flap=2s/500ms,after=1s"], 0.5, Open, Some(3.0)),
            (&["refuse=2s", "no-accept=3s"], 1.0, Refusing, Some(2.0)),
            (&["refuse=2s", "no-accept=3s"], 2.0, Unaccepting, Some(3.0)),
            (&["refuse=2s", "no-accept=3s"], 3.0, Open, None),
        ] {
            let standing = rules(texts, 1).door(seconds(now));
            assert_eq!((standing.door, standing.until), (door, until.map(seconds)), "{texts:?} at {now}");
            assert_eq!(standing.rule.is_none(), door == Open);
        }
    }

    #[test]
    fn the_port_is_kept_where_nobody_listens() {
        for (text, has_door, refuses) in [
            ("reset", false, false),
            ("refuse=2s", true, true),
            ("flap=2s/500ms", true, true),
            ("blackhole,after=5s", true, false),
        ] {
            assert_eq!((rules(&[text], 1).has_door(), rules(&[text], 1).refuses()), (has_door, refuses), "{text}");
        }
    }
}
