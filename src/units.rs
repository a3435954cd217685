//! Durations, sizes and counts: reading what people type and printing what people read.
//!
//! Owns every number with a unit that crosses the command line or a report. Must not know what the number is for: a
//! timeout of zero or a buffer of a gigabyte is the caller's to judge. Trade-off: printed values are rounded for the
//! eye and do not parse back to the same number; `--json` carries plain integers instead.

use std::fmt;
use std::time::Duration;

/// The longest duration that is accepted: one year as humantime counts it. Longer is a typing error, and a deadline
/// that far away would overflow the clocks of some systems.
const LONGEST: Duration = Duration::from_secs(31_557_600);

/// Reads a duration: a bare number is seconds (`3`, `0.5`), anything else is humantime's (`500ms`, `1m30s`, `5us`).
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse = |why: &str| Err(format!("{text:?} is no duration ({why}): write 3 for seconds, 500ms or 1m30s"));
    if text.starts_with('-') {
        return refuse("it cannot be negative");
    }
    let read = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        seconds(text)
    } else {
        with_units(text)
    };
    match read {
        Ok(duration) if duration > LONGEST => refuse("it is longer than a year"),
        Ok(duration) => Ok(duration),
        Err(why) => refuse(&why),
    }
}

/// Reads decimal seconds. The caller has seen to it that there are only digits and dots: no sign, exponent or `inf`.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "it is longer than a year".to_owned())
}

/// Reads numbers with units, one `NUMBER UNIT` at a time, because humantime's own sum panics at the end of its range.
fn with_units(text: &str) -> Result<Duration, String> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    loop {
        let unit = rest.find(char::is_alphabetic).unwrap_or(rest.len());
        let next_number = rest[unit..].find(|c: char| c.is_ascii_digit());
        let (term, after) = rest.split_at(next_number.map_or(rest.len(), |offset| unit + offset));
        if term[unit..].trim_end() == "M" {
            return Err("`M` would be a month and `m` is a minute".to_owned());
        }
        let duration = humantime::parse_duration(term).map_err(|error| match error {
            humantime::DurationError::InvalidCharacter(_) | humantime::DurationError::NumberExpected(_) => {
                "a number and a unit are needed".to_owned()
            }
            other => other.to_string(),
        })?;
        total = total.checked_add(duration).ok_or_else(|| "it is longer than a year".to_owned())?;
        rest = after;
        if rest.is_empty() {
            return Ok(total);
        }
    }
}

/// Reads a size in bytes: `512`, `64K`, `1Ki`, `4MiB`. K, M and G are powers of 1000, Ki, Mi and Gi of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let refuse = |why: &str| format!("{text:?} is not a size: {why}, for example 512, 64K (64000) or 4MiB (4194304)");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(refuse("a whole number is needed"));
    }
    let factor: u64 = match unit.strip_suffix(['B', 'b']).unwrap_or(unit).to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1000,
        "m" => 1000 * 1000,
        "g" => 1000 * 1000 * 1000,
        "ki" => 1 << 10,
        "mi" => 1 << 20,
        "gi" => 1 << 30,
        _ => return Err(refuse("the units are K, M, G, Ki, Mi and Gi")),
    };
    let value = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    value.ok_or_else(|| refuse("too large"))
}

/// Reads a rate in bytes a second: a size, with or without `/s`: `500K`, `10M/s`, `1MiB/s`.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    match parse_size(text.strip_suffix("/s").unwrap_or(text)) {
        Ok(0) => Err(format!("{text:?} is not a rate: nothing would ever go, for example 500K or 1MiB/s")),
        Ok(rate) => Ok(rate),
        Err(_) => Err(format!("{text:?} is not a rate: a size a second is needed, for example 500K or 1MiB/s")),
    }
}

/// A span of time for people: one unit and few digits, `0.04 ms`, `12 ms`, `5.0 s`, `1m 02s`, `2h 03m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed(pub Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let milliseconds = nanos as f64 / 1e6;
        // Each limit lies where rounding would add a digit: 9.95 ms is "10 ms" and never "10.0 ms".
        f.pad(&match nanos {
            0..95_000 => format!("{milliseconds:.2} ms"),
            95_000..9_950_000 => format!("{milliseconds:.1} ms"),
            9_950_000..999_500_000 => format!("{milliseconds:.0} ms"),
            999_500_000..59_950_000_000 => format!("{:.1} s", self.0.as_secs_f64()),
            _ => minutes(self.0),
        })
    }
}

/// A minute or more, rounded to the second below an hour and to the minute from there on.
fn minutes(duration: Duration) -> String {
    let seconds = (duration.as_nanos() + 500_000_000) / 1_000_000_000;
    if seconds < 3600 {
        return format!("{}m {:02}s", seconds / 60, seconds % 60);
    }
    let minutes = (seconds + 30) / 60;
    format!("{}h {:02}m", minutes / 60, minutes % 60)
}

/// A span of time for a table of measurements: three significant digits, `312 ns`, `14.8 µs`, `1.07 s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency(pub Duration);

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        // As above: the limits are where three digits would round up to four.
        f.pad(&match nanos {
            0..1_000 => format!("{nanos} ns"),
            1_000..999_500 => three_digits(nanos, 1_000, "µs"),
            999_500..999_500_000 => three_digits(nanos, 1_000_000, "ms"),
            _ => three_digits(nanos, 1_000_000_000, "s"),
        })
    }
}

/// `nanos` in a unit of `unit_nanos`, with as many decimals as make three digits.
fn three_digits(nanos: u128, unit_nanos: u128, unit: &str) -> String {
    let value = nanos as f64 / unit_nanos as f64;
    let decimals = match nanos * 1000 / unit_nanos {
        0..9_995 => 2,
        9_995..99_950 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// A span of time for JSON, in milliseconds. Divided from whole nanoseconds: then it has no more digits than the clock.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

/// The same in microseconds.
pub fn microseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// A number of bytes for people, in powers of 1024: `512 B`, `4.2 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].into_iter();
        let mut unit = units.next().unwrap_or_default();
        // From 1023.95 on, one decimal would round up to 1024.0.
        while value >= 1023.95
            && let Some(next) = units.next()
        {
            value /= 1024.0;
            unit = next;
        }
        f.pad(&format!("{value:.1} {unit}"))
    }
}

/// How many a second, for people: a whole number, and below ten, where that would say little, two decimals: `10 000/s`,
/// `0.50/s`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PerSecond(pub f64);

impl fmt::Display for PerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // From 9.995 on, two decimals would round up to 10.00.
        let is_small = self.0 > 0.0 && self.0 < 9.995;
        let number = if is_small { format!("{:.2}", self.0) } else { Count(self.0.round() as u64).to_string() };
        f.pad(&format!("{number}/s"))
    }
}

/// A count for people, its digits in groups of three: `12 345 678`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                grouped.push(' ');
            }
            grouped.push(digit);
        }
        f.pad(&grouped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bare_number_is_seconds_and_the_rest_is_humantimes() {
        for (text, expected_nanos) in [
            ("0", 0),
            ("3", 3_000_000_000),
            ("0.5", 500_000_000),
            (".25", 250_000_000),
            ("007", 7_000_000_000),
            ("500ms", 500_000_000),
            ("5us", 5_000),
            ("5µs", 5_000),
            ("1.5s", 1_500_000_000),
            ("1m30s", 90_000_000_000),
            ("1m 30s", 90_000_000_000),
            ("2 hours 5 min", 7_500_000_000_000),
            ("1y", 31_557_600_000_000_000),
        ] {
            let expected = Duration::from_nanos(expected_nanos);
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_refused_duration_says_why_and_shows_an_example() {
        for (text, why) in [
            ("", "value was empty"),
            (" ", "value was empty"),
            ("-1", "it cannot be negative"),
            ("-0.5s", "it cannot be negative"),
            ("NaN", "a number and a unit are needed"),
            ("inf", "a number and a unit are needed"),
            (".", "not a number of seconds"),
            ("1.2.3", "not a number of seconds"),
            ("1e9", "unknown time unit \"e\""),
            ("5 parsecs", "unknown time unit \"parsecs\""),
            ("1m30", "time unit needed"),
            ("366d", "it is longer than a year"),
            ("31557601", "it is longer than a year"),
            (&"9".repeat(400), "it is longer than a year"),
            ("18446744073709551615s1000000000ns", "it is longer than a year"),
            ("1M", "`M` would be a month"),
            ("1h 2M", "`M` would be a month"),
            ("2M 3s", "`M` would be a month"),
        ] {
            let error = parse_duration(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
            assert!(error.starts_with(&format!("{text:?} is no duration (")), "{text}: {error}");
            assert!(error.ends_with("): write 3 for seconds, 500ms or 1m30s"), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_decimal_or_binary_by_their_unit() {
        for (text, expected) in [
            ("0", 0),
            ("512", 512),
            ("10B", 10),
            ("64K", 64_000),
            ("64k", 64_000),
            ("64kB", 64_000),
            ("1Ki", 1_024),
            ("4MiB", 4 << 20),
            ("2GB", 2_000_000_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(expected), "{text}");
        }
        for (text, why) in [
            ("", "a whole number is needed"),
            ("K", "a whole number is needed"),
            ("-1", "a whole number is needed"),
            ("+1", "a whole number is needed"),
            ("1.5M", "the units are"),
            ("1 K", "the units are"),
            ("1BB", "the units are"),
            ("1T", "the units are"),
            ("18446744073709551616", "too large"),
            ("18446744073709551615K", "too large"),
        ] {
            let error = parse_size(text).expect_err(text);
            assert!(error.contains(why) && error.contains("for example"), "{text}: {error}");
        }
    }

    #[test]
    fn a_rate_is_a_size_a_second() {
        for (text, expected) in [("1", 1), ("500K", 500_000), ("10M/s", 10_000_000), ("1MiB/s", 1 << 20)] {
            assert_eq!(parse_rate(text), Ok(expected), "{text}");
        }
        for (text, why) in
            [("0", "nothing would ever go"), ("0/s", "nothing would ever go"), ("/s", "a size"), ("1M/m", "a size")]
        {
            let error = parse_rate(text).expect_err(text);
            assert!(error.starts_with(&format!("{text:?} is not a rate: {why}")), "{text}: {error}");
        }
    }

    #[test]
    fn elapsed_has_one_unit_and_never_rounds_into_the_next() {
        for (nanos, expected) in [
            (0, "0.00 ms"),
            (40_000, "0.04 ms"),
            (94_999, "0.09 ms"),
            (95_000, "0.1 ms"),
            (100_000, "0.1 ms"),
            (1_240_000, "1.2 ms"),
            (9_949_999, "9.9 ms"),
            (9_950_000, "10 ms"),
            (12_000_000, "12 ms"),
            (250_000_000, "250 ms"),
            (999_499_999, "999 ms"),
            (999_500_000, "1.0 s"),
            (5_000_000_000, "5.0 s"),
            (59_949_999_999, "59.9 s"),
            (59_950_000_000, "1m 00s"),
            (62_000_000_000, "1m 02s"),
            (3_599_499_999_999, "59m 59s"),
            (3_599_500_000_000, "1h 00m"),
            (7_380_000_000_000, "2h 03m"),
        ] {
            assert_eq!(Elapsed(Duration::from_nanos(nanos)).to_string(), expected, "{nanos} ns");
        }
        assert_eq!(format!("{:>9}|", Elapsed(Duration::from_millis(12))), "    12 ms|");
    }

    #[test]
    fn latency_has_three_significant_digits() {
        for (nanos, expected) in [
            (0, "0 ns"),
            (312, "312 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (9_994, "9.99 µs"),
            (9_995, "10.0 µs"),
            (14_800, "14.8 µs"),
            (99_950, "100 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (1_070_000_000, "1.07 s"),
            (1_234_000_000_000, "1234 s"),
        ] {
            assert_eq!(Latency(Duration::from_nanos(nanos)).to_string(), expected, "{nanos} ns");
        }
        assert_eq!(format!("{:>9}|", Latency(Duration::from_micros(15))), "  15.0 µs|");
    }

    #[test]
    fn printed_sizes_and_counts_are_grouped_for_the_eye() {
        for (bytes, expected) in [
            (0, "0 B"),
            (512, "512 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_048_524, "1023.9 KiB"),
            (1_048_525, "1.0 MiB"),
            (4_404_019, "4.2 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), expected);
        }
        for (count, expected) in
            [(0, "0"), (999, "999"), (1_000, "1 000"), (64_466, "64 466"), (12_345_678, "12 345 678")]
        {
            assert_eq!(Count(count).to_string(), expected);
        }
        for (rate, expected) in [
            (0.0, "0/s"),
            (0.5, "0.50/s"),
            (9.994, "9.99/s"),
            (9.995, "10/s"),
            (1999.9, "2 000/s"),
            (12_345.4, "12 345/s"),
        ] {
            assert_eq!(PerSecond(rate).to_string(), expected, "{rate}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in any::<String>(), numbers in "[0-9 .]{0,24}[a-zA-Zµ]{0,3}[0-9]{0,24}[smhdwMy]?") {
            for text in [text, numbers] {
                let _ = parse_size(&text);
                if let Ok(duration) = parse_duration(&text) {
                    prop_assert!(duration <= LONGEST, "{text}");
                }
            }
        }

        #[test]
        fn bare_numbers_are_seconds(seconds in 0u32..31_557_600, milliseconds in 0u32..1000) {
            prop_assert_eq!(parse_duration(&seconds.to_string()), Ok(Duration::from_secs(seconds.into())));
            let expected = Duration::new(seconds.into(), milliseconds * 1_000_000);
            let read = parse_duration(&format!("{seconds}.{milliseconds:03}")).unwrap();
            prop_assert!(read.abs_diff(expected) < Duration::from_nanos(10), "{read:?} {expected:?}");
        }

        #[test]
        fn what_humantime_prints_is_read_back(nanos in 0u64..31_557_600_000_000_000) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&humantime::format_duration(duration).to_string()), Ok(duration));
        }

        #[test]
        fn a_printed_elapsed_time_is_close_to_the_truth(nanos in 1_000_000u64..59_949_999_999) {
            let read = parse_duration(&Elapsed(Duration::from_nanos(nanos)).to_string()).unwrap();
            prop_assert!(read.abs_diff(Duration::from_nanos(nanos)).as_nanos() <= u128::from(nanos / 19), "{read:?}");
        }

        #[test]
        fn every_unit_multiplies(number in 0u64..1_000_000_000, unit in 0usize..7) {
            let units = [("", 1), ("k", 1000), ("M", 1_000_000), ("G", 1_000_000_000), ("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)];
            let (suffix, factor) = units[unit];
            prop_assert_eq!(parse_size(&format!("{number}{suffix}")), Ok(number * factor));
            prop_assert_eq!(parse_size(&format!("{number}{suffix}B")), Ok(number * factor));
        }

        #[test]
        fn a_count_is_its_digits_and_spaces(count in any::<u64>()) {
            prop_assert_eq!(Count(count).to_string().replace(' ', ""), count.to_string());
        }
    }
}
