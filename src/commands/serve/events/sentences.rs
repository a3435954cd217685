//! The summary for people: a sentence, and one more for each thing that is worth it.
//!
//! Must not know where they are printed.

use std::time::Duration;

use crate::commands::serve::counters::{Drain, Summary};
use crate::commands::serve::faults::Count as FaultCount;
use crate::commands::serve::recorded::Recorded;
use crate::printable::one_line;
use crate::units::{Count, Elapsed, Size};

/// Each sentence; of fault rules what each did, and the seed if anything followed from it.
pub fn sentences(
    summary: &Summary,
    rules: Option<(&[FaultCount], Option<u64>)>,
    is_stream: bool,
    elapsed: Duration,
) -> impl Iterator<Item = String> {
    let sentences = [
        Some(served(summary, is_stream, elapsed)),
        endings(summary),
        rules.map(|(counts, seed)| faults(counts, seed)),
        summary.drain.and_then(drain),
        summary.record.as_ref().map(record),
    ];
    sentences.into_iter().flatten()
}

/// What was served.
fn served(summary: &Summary, is_stream: bool, elapsed: Duration) -> String {
    let bytes = format!("in {}, out {}", Size(summary.received_bytes), Size(summary.sent_bytes));
    let (number, one) = if is_stream { (summary.connections, "connection") } else { (summary.datagrams, "datagram") };
    let plural = if number == 1 { "" } else { "s" };
    let mut text = format!("served {} {one}{plural} in {}", Count(number), Elapsed(elapsed));
    if summary.connections > 1 {
        text.push_str(&format!(", at most {} at once", Count(summary.connections_peak)));
    }
    for (number, what) in [
        (summary.connections_failed, "failed"),
        (summary.connections_cut, "cut off at the end"),
        (summary.connections_timed_out, "timed out"),
        (summary.connections_refused + summary.datagrams_refused, "refused"),
        (summary.unexpected, "not as expected"),
        (summary.accepts_failed, "accepts failed"),
        (summary.datagrams_unanswered, "not answered"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {} {what}", Count(number)));
        }
    }
    format!("{text}; {bytes}")
}

/// How the connections ended, if any was reset: otherwise the sentence above says it all.
fn endings(summary: &Summary) -> Option<String> {
    let (by_rule, by_peer) = (summary.connections_reset_by_rule, summary.connections_reset_by_peer);
    let by = [(by_rule, "by rule"), (by_peer, "by peer")];
    let by: Vec<String> = by
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, whom)| format!("{} {whom}", Count(*number)))
        .collect();
    let (clean, reset) = (Count(summary.connections_clean), Count(by_rule + by_peer));
    (!by.is_empty()).then(|| format!("ended: {clean} cleanly, {reset} reset ({})", by.join(", ")))
}

/// How the drain went, if it was announced or somebody was cut off.
fn drain(drain: Drain) -> Option<String> {
    let Drain { connections, finished, cut, grace_ms, is_cut_short, is_announced } = drain;
    let plural = if connections == 1 { "" } else { "s" };
    let mut text = format!("drain: {} connection{plural}, {} finished", Count(connections), Count(finished));
    if cut > 0 {
        let grace = Elapsed(Duration::from_secs_f64(grace_ms / 1e3));
        let by = if is_cut_short {
            "by a second signal".to_owned()
        } else {
            format!("at the end of the grace time ({grace})")
        };
        text.push_str(&format!(", {} cut off {by}", Count(cut)));
    }
    (cut > 0 || is_announced).then_some(text)
}

/// What has become of the record, for people.
fn record(record: &Recorded) -> String {
    let file = one_line(&record.file);
    match &record.error {
        None => format!("record: {file}, complete"),
        Some(why) => format!("record: {file}, incomplete: {why}"),
    }
}

/// What each fault rule did, for people.
fn faults(counts: &[FaultCount], seed: Option<u64>) -> String {
    let fired = |count: &FaultCount| format!("{} fired {}", count.rule, times(count.fired));
    let seed = seed.map_or(String::new(), |seed| format!("; seed {seed}"));
    format!("faults: {}{seed}", counts.iter().map(fired).collect::<Vec<_>>().join("; "))
}

fn times(number: u64) -> String {
    if number == 1 { "once".to_owned() } else { format!("{} times", Count(number)) }
}
