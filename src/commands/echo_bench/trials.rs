//! Runs at several rates: a ramp through them, or the search for the highest that holds an objective.
//!
//! Owns the order of the rates. Must not know how a run is made: it is handed a function that makes one. Trade-off: the
//! search doubles until a rate fails and halves the distance from there, so that it takes about ten runs whatever the
//! machine; it assumes that what fails at one rate fails at every higher one.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::arguments::parse_rate;
use super::collector::Measured;
use super::load::Load;
use super::objective::Objective;
use super::pacing::Arrival;
use super::plan::{Plan, Until};
use super::runs::Run;

/// A ramp's steps, at equal ratios.
const STEPS: u32 = 10;

/// The search ends when the rates that held and failed are this close.
const CLOSE: f64 = 0.05;

/// Where a search begins, unless a rate is given.
const FIRST_RATE: f64 = 1000.0;

/// A search that has not ended by then, never will.
const TRIALS_MAX: usize = 40;

/// A rate that was not reached was not tried.
const REACHED: f64 = 0.95;

/// A rate is tried for as long as the objectives' percentiles need messages, and a little more, since some arrive late; but
/// nobody waits longer than this for one rate.
const TRIAL_MAX: Duration = Duration::from_secs(60);
const MORE_SAMPLES: f64 = 1.1;

/// From a rate to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    from: f64,
    to: f64,
}

impl Ramp {
    /// Reads `1000..20000`.
    pub fn parse(text: &str) -> Result<Ramp, String> {
        let refuse = |why: String| format!("{text:?} is not a ramp: {why}, for example 1000..20k");
        let (from, to) = text.split_once("..").ok_or_else(|| refuse("two rates are needed".to_owned()))?;
        let (from, to) = (parse_rate(from)?, parse_rate(to)?);
        if from < to { Ok(Ramp { from, to }) } else { Err(refuse(format!("{from} is not less than {to}"))) }
    }

    fn rates(self) -> impl Iterator<Item = f64> {
        let ratio = (self.to / self.from).powf(1.0 / f64::from(STEPS - 1));
        let below = (0..STEPS - 1).map(move |step| self.from * ratio.powi(step.cast_signed()));
        // As it was typed, and not what rounding makes of it.
        below.chain([self.to])
    }
}

/// One rate that was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Trial {
    /// What was asked for.
    pub rate_per_s: f64,
    /// What came of it.
    #[serde(flatten)]
    pub run: Run,
    /// This side was too slow for it.
    pub generator_limited: bool,
    /// Whether the objectives held; null in a ramp without any, and where it was interrupted.
    pub holds: Option<bool>,
}

/// Rates that were tried.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Trials {
    /// In the order in which they were.
    pub trials: Vec<Trial>,
    /// With a search: the highest that held.
    pub highest_rate_per_s: Option<f64>,
}

impl Trials {
    /// Whether a rate held, where one was looked for.
    pub fn has_found(&self) -> bool {
        self.highest_rate_per_s.is_some() || self.trials.iter().all(|trial| trial.holds.is_none())
    }
}

/// A rate that was tried, in full.
pub struct Tried {
    /// What was asked for.
    pub plan: Plan,
    /// What came of it.
    pub measured: Measured,
}

impl Tried {
    /// Whether no other rate is to be tried: it was interrupted, or something failed.
    fn is_last(&self) -> bool {
        self.measured.is_interrupted || self.measured.failure.is_some()
    }
}

/// Makes one run.
pub type RunOnce<'a> = dyn FnMut(&Plan) -> Result<Measured> + 'a;

/// What all the rates have in common.
pub struct Course<'a> {
    /// Everything but the rate.
    pub plan: &'a Plan,
    /// How messages follow each other.
    pub arrival: Arrival,
    /// What must hold.
    pub objectives: &'a [Objective],
}

impl Course<'_> {
    /// Goes through a ramp. The last rate is told in full.
    pub fn ramp(&self, ramp: Ramp, run: &mut RunOnce<'_>) -> Result<(Trials, Tried)> {
        let mut trials = Trials::default();
        let mut last = None;
        for rate in ramp.rates() {
            let tried = last.insert(self.attempt(rate, &mut trials, run)?);
            if tried.is_last() {
                break;
            }
        }
        Ok((trials, last.unwrap_or_else(|| self.nothing())))
    }

    /// Looks for the highest rate that holds. It is told in full, or the lowest where none does.
    pub fn search(&self, first: Option<f64>, run: &mut RunOnce<'_>) -> Result<(Trials, Tried)> {
        let mut trials = Trials::default();
        let mut held: Option<(f64, Tried)> = None;
        let mut failed: Option<(f64, Tried)> = None;
        let mut rate = first.unwrap_or(FIRST_RATE);
        while trials.trials.len() < TRIALS_MAX {
            let tried = self.attempt(rate, &mut trials, run)?;
            let is_over = tried.is_last();
            if trials.trials.last().is_some_and(|trial| trial.holds == Some(true)) {
                held = Some((rate, tried));
            } else {
                failed = Some((rate, tried));
            }
            rate = match (&held, &failed) {
                (Some((held, _)), None) => held * 2.0,
                (None, Some((failed, _))) => failed / 2.0,
                (Some((held, _)), Some((failed, _))) => f64::midpoint(*held, *failed),
                (None, None) => rate,
            };
            let is_close =
                held.as_ref().zip(failed.as_ref()).is_some_and(|((held, _), (failed, _))| failed / held < 1.0 + CLOSE);
            if is_over || is_close || rate < 1.0 || self.time_needed(rate) > TRIAL_MAX {
                break;
            }
        }
        trials.highest_rate_per_s = held.as_ref().map(|(rate, _)| *rate);
        let shown = held.or(failed).map(|(_, tried)| tried);
        Ok((trials, shown.unwrap_or_else(|| self.nothing())))
    }

    /// What there is to tell where no rate was tried.
    fn nothing(&self) -> Tried {
        Tried { plan: self.plan.clone(), measured: Measured::default() }
    }

    /// How long a rate must be measured before all objectives can be judged.
    fn time_needed(&self, rate: f64) -> Duration {
        let samples = self.objectives.iter().map(Objective::samples_needed).max().unwrap_or(0);
        Duration::try_from_secs_f64(samples as f64 * MORE_SAMPLES / rate).unwrap_or(Duration::MAX)
    }

    fn attempt(&self, rate: f64, trials: &mut Trials, run: &mut RunOnce<'_>) -> Result<Tried> {
        let until = match self.plan.until {
            Until::Time(time) => Until::Time(time.max(self.time_needed(rate).min(TRIAL_MAX))),
            messages @ Until::Messages(_) => messages,
        };
        let plan = Plan { load: Load::Open { rate, arrival: self.arrival }, until, ..self.plan.clone() };
        let measured = run(&plan)?;
        let short = Run::of(&measured);
        let generator_limited = super::report::is_generator_limited(&measured);
        let is_reached = short.round_trips_per_s >= rate * REACHED;
        let holds = (!self.objectives.is_empty() && !measured.is_interrupted).then(|| {
            let all = self.objectives.iter().all(|objective| objective.judge(&measured).holds);
            all && is_reached && !generator_limited && measured.failure.is_none()
        });
        trials.trials.push(Trial { rate_per_s: rate, run: short, generator_limited, holds });
        Ok(Tried { plan, measured })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::echo_bench::plan;

    /// A server that answers in 100 µs up to this rate, and in 10 ms beyond.
    fn server(knee: f64) -> impl FnMut(&Plan) -> Result<Measured> {
        move |plan| {
            let Load::Open { rate, .. } = plan.load else { panic!("a course has rates") };
            let Until::Time(elapsed) = plan.until else { panic!("a course has a time") };
            let mut measured = Measured { elapsed, ..Measured::default() };
            let count = (rate * elapsed.as_secs_f64()) as u64;
            measured.response.record_many(if rate <= knee { 100_000 } else { 10_000_000 }, count);
            Ok(measured)
        }
    }

    #[test]
    fn the_knee_is_found() {
        let plan = plan::typed("");
        let objectives = [Objective::parse("p50<1ms").unwrap()];
        let course = Course { plan: &plan, arrival: Arrival::Uniform, objectives: &objectives };
        for (first, knee) in [(None, 37_000.0), (Some(100_000.0), 37_000.0), (None, 300.0)] {
            let (trials, shown) = course.search(first, &mut server(knee)).unwrap();
            let found = trials.highest_rate_per_s.unwrap();
            assert_eq!(shown.plan.load, Load::Open { rate: found, arrival: Arrival::Uniform }, "it is told in full");
            assert!(found <= knee && found > knee / (1.0 + CLOSE), "{found}");
            assert!(trials.trials.len() < 20);
        }
        let (trials, _) = course.search(None, &mut server(0.0)).unwrap();
        assert!(trials.highest_rate_per_s.is_none() && !trials.has_found());
        let mut interrupted = |_: &Plan| Ok(Measured { is_interrupted: true, ..Measured::default() });
        let (trials, _) = course.search(None, &mut interrupted).unwrap();
        assert!(trials.trials.len() == 1 && trials.has_found(), "nothing is known that does not hold: {trials:?}");
        // Where a second is too short for the percentile, a rate is tried for longer; but not for ever.
        let objectives = [Objective::parse("p99<1ms").unwrap()];
        let course = Course { plan: &plan, arrival: Arrival::Uniform, objectives: &objectives };
        let found = course.search(None, &mut server(50.0)).unwrap().0.highest_rate_per_s.unwrap();
        assert!(found <= 50.0 && found > 50.0 / (1.0 + CLOSE), "{found}");
        let (trials, _) = course.search(None, &mut server(5.0)).unwrap();
        assert!(trials.highest_rate_per_s.is_none() && trials.trials.len() < 10, "{trials:?}");
    }

    #[test]
    fn a_ramp_has_ten_steps_at_equal_ratios() {
        let plan = plan::typed("");
        let course = Course { plan: &plan, arrival: Arrival::Uniform, objectives: &[] };
        let (trials, _) = course.ramp(Ramp::parse("100..51200").unwrap(), &mut server(1e9)).unwrap();
        let rates: Vec<f64> = trials.trials.iter().map(|trial| trial.rate_per_s.round()).collect();
        assert_eq!(rates, [100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0, 12800.0, 25600.0, 51200.0]);
        assert!(trials.trials.iter().all(|trial| trial.holds.is_none()));
        let (trials, _) = course.ramp(Ramp::parse("500..2k").unwrap(), &mut server(1e9)).unwrap();
        assert_eq!(trials.trials[9].rate_per_s.to_bits(), 2000_f64.to_bits(), "as it was typed");
    }

    #[test]
    fn a_refused_ramp_says_why() {
        for (text, why) in [("5", "two rates"), ("5..5", "5 is not less than 5"), ("0..5", "it sends nothing")] {
            let error = Ramp::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
