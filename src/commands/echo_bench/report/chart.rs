//! A histogram drawn in characters.
//!
//! Owns the rows and bars. Must not know what is drawn. Trade-off: the rows are equal steps of the logarithm, since
//! latencies span orders of magnitude; equal steps of time would show one row and nothing else.

use std::time::Duration;

use crate::histogram::Histogram;
use crate::units::{Count, Latency};

/// Few enough to be seen with the rest of the report on one screen.
const ROWS: usize = 12;

/// The longest bar.
const BAR: usize = 40;

/// A bar's last character, in eighths.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Fewer samples are no shape.
const SAMPLES_MIN: u64 = 100;

/// The histogram's lines; none if there is too little to draw.
pub fn histogram(histogram: &Histogram) -> Option<Vec<String>> {
    if histogram.count() < SAMPLES_MIN {
        return None;
    }
    // Each end holds a thousandth: beyond it a row would be drawn for a single sample far away.
    let end = |percent| match histogram.quantile(percent) {
        Some(crate::histogram::Value::Finite(latency)) => latency.as_nanos() as f64,
        _ => histogram.max().as_nanos() as f64,
    };
    let (low, high) = (end(0.1).max(1.0), end(99.9) + 1.0);
    let step = ((high / low).ln() / ROWS as f64).max(0.005);
    let edge = |row: usize| (low * (step * row as f64).exp()) as u64;
    let rows = ((high / low).ln() / step).ceil().max(1.0) as usize;
    let mut counts: Vec<(u64, u64)> = (0..rows).map(|row| (edge(row), 0)).collect();
    let mut beyond = 0;
    for (value, count) in histogram.buckets() {
        match ((value as f64 / low).max(1.0).ln() / step) as usize {
            row if row < rows => counts[row].1 += count,
            _ => beyond += count,
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let row = |(from, count): &(u64, u64)| {
        let from = Latency(Duration::from_nanos(*from));
        format!("{from:>12}  {:<BAR$}  {}", bar(*count, most), Count(*count))
    };
    let mut lines: Vec<String> = counts.iter().map(row).collect();
    if beyond > 0 {
        lines.push(format!("{:>12}  {:<BAR$}  {}", "longer", bar(beyond, most), Count(beyond)));
    }
    if histogram.lost() > 0 {
        lines.push(format!("{:>12}  {:<BAR$}  {}", "lost", bar(histogram.lost(), most), Count(histogram.lost())));
    }
    Some(lines)
}

fn bar(count: u64, most: u64) -> String {
    let eighths = (count as f64 / most as f64 * (BAR * 8) as f64).round() as usize;
    // What is there shows, however little it is.
    let eighths = if count > 0 { eighths.clamp(1, BAR * 8) } else { 0 };
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_in_a_row() {
        let mut recorded = Histogram::default();
        for (latency, count) in [(10_000, 500), (20_000, 300), (40_000, 199), (90_000_000, 1)] {
            recorded.record_many(latency, count);
        }
        recorded.record_lost(7);
        let lines = histogram(&recorded).unwrap();
        let sum: u64 = lines.iter().map(|line| line.rsplit("  ").next().unwrap().trim().parse::<u64>().unwrap()).sum();
        assert_eq!(sum, 1007, "{lines:#?}");
        assert!(lines[0].contains(&"█".repeat(BAR)), "{lines:#?}");
        assert!(lines.len() <= ROWS + 3, "{lines:#?}");
    }

    #[test]
    fn one_length_is_one_row_and_a_handful_is_none() {
        let mut recorded = Histogram::default();
        recorded.record_many(10_000, 99);
        assert_eq!(histogram(&recorded), None);
        recorded.record_many(10_000, 1);
        assert_eq!(histogram(&recorded).unwrap().len(), 1);
    }

    #[test]
    fn a_bar_has_eighths() {
        assert_eq!((bar(0, 10), bar(10, 10)), (String::new(), "█".repeat(BAR)));
        assert_eq!(bar(1, 1_000_000), "▏");
        assert_eq!(bar(1, 80), "▌");
    }
}
