//! What a result must fulfil: `p99<1ms`, `lost<0.1%`, `rate>=10k`.
//!
//! Owns the form of such an expression and its judgement. Must not know where the numbers come from. Trade-off: a
//! percentile that the sample does not support does not hold, whatever its value: nobody knows it.

use std::fmt;
use std::time::Duration;

use super::arguments::parse_rate;
use super::collector::Measured;
use crate::histogram::{Value, samples_needed};
use crate::units::{Count, Latency, PerSecond, parse_duration};

/// One condition, as it was typed and as it is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    text: String,
    metric: Metric,
    comparison: Comparison,
    bound: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Metric {
    Percentile(f64),
    Mean,
    Max,
    Rate,
    /// A share of all messages.
    LostShare,
    Lost,
    /// All that can be wrong with an answer, and lost ones.
    Errors,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
}

/// How a condition was judged.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// The condition, as it was typed.
    pub objective: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was found.
    pub found: String,
}

/// The comparisons, the longer before those that they begin with.
const COMPARISONS: [(&str, Comparison); 4] =
    [("<=", Comparison::AtMost), (">=", Comparison::AtLeast), ("<", Comparison::Less), (">", Comparison::More)];

impl Objective {
    /// Reads a condition.
    pub fn parse(text: &str) -> Result<Objective, String> {
        let refuse =
            |why: &str| format!("{text:?} is not an objective: {why}, for example p99<1ms, lost<0.1% or rate>=10k");
        let found =
            COMPARISONS.iter().find_map(|(sign, comparison)| text.split_once(sign).map(|both| (both, *comparison)));
        let ((metric, bound), comparison) = found.ok_or_else(|| refuse("one of < <= > >= is needed"))?;
        let (metric, bound) = (metric.trim(), bound.trim());
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        let latency = |bound: &str| {
            if bound.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
                return Err(refuse("a latency needs its unit"));
            }
            parse_duration(bound).map(|bound| bound.as_nanos() as f64)
        };
        let (metric, bound) = match metric {
            "mean" => (Metric::Mean, latency(bound)?),
            "max" => (Metric::Max, latency(bound)?),
            "rate" => (Metric::Rate, parse_rate(bound)?),
            "lost" => match bound.strip_suffix('%') {
                Some(share) => {
                    (Metric::LostShare, number(share).ok_or_else(|| refuse("a percentage is needed"))? / 100.0)
                }
                None => (Metric::Lost, number(bound).ok_or_else(|| refuse("a number or percentage is needed"))?),
            },
            "errors" => (Metric::Errors, number(bound).ok_or_else(|| refuse("a number is needed"))?),
            _ => {
                let percent =
                    metric.strip_prefix('p').and_then(number).filter(|percent| *percent > 0.0 && *percent < 100.0);
                let percent =
                    percent.ok_or_else(|| refuse("it can be about p50, p99.9, mean, max, rate, lost or errors"))?;
                (Metric::Percentile(percent), latency(bound)?)
            }
        };
        Ok(Objective { text: text.to_owned(), metric, comparison, bound })
    }

    /// Whether a result fulfils it.
    pub fn judge(&self, measured: &Measured) -> Verdict {
        let histogram = &measured.response;
        let total = histogram.total();
        let ns = |latency: Duration| latency.as_nanos() as f64;
        let shown = |latency: f64| Latency(Duration::from_nanos(latency as u64)).to_string();
        let (value, found) = match self.metric {
            _ if total == 0 => (None, "nothing was answered".to_owned()),
            Metric::Percentile(percent) => match histogram.estimate(percent).map(|estimate| estimate.value) {
                Some(Value::Finite(latency)) => (Some(ns(latency)), Latency(latency).to_string()),
                Some(Value::Infinite) => (Some(f64::INFINITY), "lost".to_owned()),
                None => (None, format!("needs {} samples, has {}", Count(samples_needed(percent)), Count(total))),
            },
            Metric::Mean => (Some(ns(histogram.mean())), shown(ns(histogram.mean()))),
            Metric::Max if histogram.lost() > 0 => (Some(f64::INFINITY), "lost".to_owned()),
            Metric::Max => (Some(ns(histogram.max())), shown(ns(histogram.max()))),
            Metric::Rate => {
                let rate = histogram.count() as f64 / measured.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
                (Some(rate), PerSecond(rate).to_string())
            }
            Metric::LostShare => {
                let share = histogram.lost() as f64 / total as f64;
                (Some(share), format!("{:.3} %", share * 100.0))
            }
            Metric::Lost => (Some(histogram.lost() as f64), Count(histogram.lost()).to_string()),
            Metric::Errors => {
                let errors = &measured.errors;
                let count = histogram.lost() + errors.corrupt + errors.truncated + errors.duplicate + errors.stray;
                (Some(count as f64), Count(count).to_string())
            }
        };
        let holds = value.is_some_and(|value| match self.comparison {
            Comparison::Less => value < self.bound,
            Comparison::AtMost => value <= self.bound,
            Comparison::More => value > self.bound,
            Comparison::AtLeast => value >= self.bound,
        });
        Verdict { objective: self.text.clone(), holds, found }
    }
}

impl Objective {
    /// How many messages it takes before anything can be said about it.
    pub fn samples_needed(&self) -> u64 {
        match self.metric {
            Metric::Percentile(percent) => samples_needed(percent),
            _ => 0,
        }
    }
}

/// As it was typed.
impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        let mut measured = Measured { elapsed: Duration::from_secs(1), ..Measured::default() };
        measured.response.record_many(100_000, 1980);
        measured.response.record_lost(20);
        measured
    }

    #[test]
    fn conditions_hold_or_not() {
        for (text, holds, found) in [
            ("p50<1ms", true, "100 µs"),
            ("p50 < 100us", false, "100 µs"),
            ("p99<=101us", true, "100 µs"),
            ("p99.9<1s", false, "needs 10 000 samples, has 2 000"),
            ("p99.4>1s", true, "lost"),
            ("max<1h", false, "lost"),
            ("mean>90us", true, "100 µs"),
            ("rate>=1k", true, "1 980/s"),
            ("rate>2k", false, "1 980/s"),
            ("lost<1%", false, "1.000 %"),
            ("lost<=1%", true, "1.000 %"),
            ("lost<=20", true, "20"),
            ("errors<1", false, "20"),
        ] {
            let verdict = Objective::parse(text).unwrap().judge(&measured());
            assert_eq!((verdict.holds, verdict.found.as_str()), (holds, found), "{text}");
        }
        assert!(!Objective::parse("p50<1ms").unwrap().judge(&Measured::default()).holds);
    }

    #[test]
    fn a_refused_objective_says_why() {
        for (text, why) in [
            ("p99", "one of < <= > >= is needed"),
            ("p100<1ms", "it can be about"),
            ("p0<1ms", "it can be about"),
            ("speed>1", "it can be about"),
            ("p99<1", "a latency needs its unit"),
            ("p99<fast", "is no duration"),
            ("lost<x", "a number or percentage"),
            ("lost<-1", "a number or percentage"),
            ("rate>0", "it sends nothing"),
        ] {
            let error = Objective::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
