//! From the text of a rule, or of a file of rules, to rules.
//!
//! Owns the grammar and what is said about a text that is not in it. Must not know what a rule does. Trade-off: a value
//! needs its unit even where only one is possible, because `after=5` could mean three things.

use std::time::Duration;

use super::manual::{self, ACTIONS, KEYS};
use super::rule::{Action, After, Chance, Keys, Rule, Span, Way};
use crate::network::Network;
use crate::units::{parse_duration, parse_size};

/// Reads `ACTION[=VALUE][,KEY=VALUE...]`. What is wrong is told with the place in it.
pub fn parse(text: &str) -> Result<Rule, String> {
    let mut items = text.split(',');
    let first = items.next().unwrap_or_default();
    let (word, value) = cut(first);
    let action = action(word, value).map_err(|why| place(first, &why))?;
    let mut keys = Keys::default();
    for item in items {
        set(&mut keys, item).map_err(|why| place(item, &why))?;
    }
    Ok(Rule { action, keys })
}

/// Reads a file's text: a rule in each line. What is wrong is told with the number of the line, from 1.
pub fn parse_file(text: &str) -> Result<Vec<Rule>, (usize, String)> {
    let mut rules = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let rule = line.split('#').next().unwrap_or_default().trim();
        if !rule.is_empty() {
            let read = parse(rule).map_err(|why| format!("rule {rule:?}: {why}"));
            rules.push(read.map_err(|why| (index + 1, why))?);
        }
    }
    Ok(rules)
}

/// What is wrong, and where: the item that it is wrong in.
fn place(item: &str, why: &str) -> String {
    if item.is_empty() { format!("nothing between two commas, or after one: {why}") } else { format!("{item}: {why}") }
}

fn cut(item: &str) -> (&str, Option<&str>) {
    match item.split_once('=') {
        Some((word, value)) => (word, Some(value)),
        None => (item, None),
    }
}

fn action(word: &str, value: Option<&str>) -> Result<Action, String> {
    let Some(known) = manual::action(word) else { return Err(unknown_action(word)) };
    let wanted = || format!("{word} needs a value, such as {word}={}", known.example);
    let value = match value {
        Some(_) if known.value.is_empty() => return Err(format!("{word} has no value")),
        Some("") => return Err(wanted()),
        None if known.value.starts_with('=') => return Err(wanted()),
        value => value,
    };
    let given = value.unwrap_or_default();
    Ok(match word {
        "refuse" => Action::Refuse(time(given)?),
        "blackhole" => Action::Blackhole(value.map(time).transpose()?),
        "no-accept" => Action::NoAccept(value.map(time).transpose()?),
        "flap" => {
            let (up, down) = given.split_once('/').ok_or_else(wanted)?;
            Action::Flap { up: time(up)?, down: time(down)? }
        }
        "close" => Action::Close,
        "reset" => Action::Reset,
        "half-close" => Action::HalfClose,
        "stall" => Action::Stall,
        "delay-close" => Action::DelayClose(time(given)?),
        "delay" => {
            let (least, most) = range(given, with_unit)?;
            Action::Delay { least, most }
        }
        "rate" => Action::Rate(rate(given)?),
        "chunk" => chunk(given)?,
        "buffer" => Action::Buffer(u32::try_from(size(given)?).map_err(|_| "it is too large".to_owned())?),
        "mss" => Action::Mss(number(given)?),
        "corrupt" => corrupt(given)?,
        "garbage" => Action::Garbage(size(given)?),
        "drop" => Action::Drop,
        "dup" => Action::Duplicate(value.map_or(Ok(1), number)?),
        "reorder" => Action::Reorder(number(given)?),
        "truncate" => Action::Truncate(size_or_none(given)?),
        _ => unreachable!("the table of actions has no other"),
    })
}

fn unknown_action(word: &str) -> String {
    let names: Vec<&str> = ACTIONS.iter().flat_map(|family| family.words).map(|word| word.name).collect();
    if KEYS.iter().any(|key| key.name == word) {
        return format!("{word} is a key; an action comes first: {}", names.join(", "));
    }
    format!("no such action: the actions are {}", names.join(", "))
}

fn set(keys: &mut Keys, item: &str) -> Result<(), String> {
    let (word, value) = cut(item);
    let Some(known) = KEYS.iter().find(|key| key.name == word) else {
        if manual::action(word).is_some() {
            return Err(format!("{word} is an action: give it a rule of its own, -F {item}"));
        }
        let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        return Err(format!("no such key: the keys are {}", names.join(", ")));
    };
    let value = value.filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| format!("{word} needs a value, such as {word}={}", known.example))?;
    match word {
        "after" => once(&mut keys.after, after(value)?),
        "conn" => once(&mut keys.connections, span(value)?),
        "every" => once(&mut keys.every, number(value)?.into()),
        "chance" => once(&mut keys.chance, chance(value)?),
        "dir" => once(&mut keys.direction, way(value)?),
        "from" => once(&mut keys.from, Network::parse_or_address(value)?),
        "times" => once(&mut keys.times, number(value)?.into()),
        "for" => once(&mut keys.lasts, time(value)?),
        _ => unreachable!("the table of keys has no other"),
    }
}

fn once<T>(key: &mut Option<T>, value: T) -> Result<(), String> {
    match key.replace(value) {
        Some(_) => Err("it is given twice".to_owned()),
        None => Ok(()),
    }
}

/// A duration that has a unit and is longer than nothing.
fn time(text: &str) -> Result<Duration, String> {
    match with_unit(text)? {
        Duration::ZERO => Err(format!("{text} is no time at all")),
        time => Ok(time),
    }
}

fn with_unit(text: &str) -> Result<Duration, String> {
    if is_bare(text) {
        return Err(format!("{text} needs a unit: {text}s or {text}ms"));
    }
    parse_duration(text).map_err(|_| format!("{text:?} is no duration: write 500ms, 2s or 1m30s"))
}

/// A size that has a unit and is more than nothing.
fn size(text: &str) -> Result<u64, String> {
    match size_or_none(text)? {
        0 => Err(format!("{text} is no size at all")),
        size => Ok(size),
    }
}

fn size_or_none(text: &str) -> Result<u64, String> {
    if is_bare(text) {
        return Err(format!("{text} needs a unit: {text}B or {text}KiB"));
    }
    parse_size(text).map_err(|_| format!("{text:?} is no size: write 16B, 4KiB (4096) or 64K (64000)"))
}

fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn number(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| *number > 0 && !text.starts_with('+'));
    number.ok_or_else(|| format!("{text:?} is no whole number from 1"))
}

/// `LEAST..MOST`, or one value for both.
fn range<T: PartialOrd + Copy>(text: &str, read: fn(&str) -> Result<T, String>) -> Result<(T, T), String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let (least, most) = (read(least)?, read(most)?);
    if least > most { Err("the range begins with the larger value".to_owned()) } else { Ok((least, most)) }
}

fn rate(text: &str) -> Result<u64, String> {
    let Some(amount) = text.strip_suffix("/s") else {
        let unit = if is_bare(text) { "B" } else { "" };
        return Err(format!("{text} needs a time: {text}{unit}/s"));
    };
    match amount {
        _ if is_bare(amount) => Err(format!("{text} needs a unit: {amount}B/s or {amount}KiB/s")),
        _ => size(amount),
    }
}

fn chunk(text: &str) -> Result<Action, String> {
    let (sizes, pause) = match text.split_once('/') {
        Some((sizes, pause)) => (sizes, Some(time(pause)?)),
        None => (text, None),
    };
    let (least, most) = range(sizes, size)?;
    Ok(Action::Chunk { least, most, pause })
}

fn corrupt(text: &str) -> Result<Action, String> {
    let Some((bytes, among)) = text.split_once('/') else {
        return Ok(Action::Corrupt { bytes: number(text)?.into(), among: None });
    };
    let (bytes, among) = (number(bytes)?.into(), size(among)?);
    if bytes > among {
        return Err(format!("{among} bytes have not {bytes} to change"));
    }
    Ok(Action::Corrupt { bytes, among: Some(among) })
}

fn after(text: &str) -> Result<After, String> {
    if is_bare(text) {
        return Err(format!("{text} needs a unit: {text}B, {text}s or {text}msg"));
    }
    if let Some(messages) = text.strip_suffix("msg") {
        return Ok(After::Messages(number(messages)?.into()));
    }
    // `5m` is five minutes; `5M`, which is no duration, is five megabytes.
    match (parse_duration(text), parse_size(text)) {
        (Ok(time), _) => Ok(After::Time(time)),
        (_, Ok(size)) => Ok(After::Bytes(size)),
        _ => Err(format!("{text:?} is no size (1KiB), duration (2s) or number of messages (3msg)")),
    }
}

fn span(text: &str) -> Result<Span, String> {
    let ordinal = |text: &str| number(text).map(u64::from);
    let span = match text.split_once("..") {
        Some(("", "")) => return Err("a connection's number is needed, such as 1..3".to_owned()),
        Some(("", last)) => Span { first: 1, last: Some(ordinal(last)?) },
        Some((first, "")) => Span { first: ordinal(first)?, last: None },
        Some((first, last)) => Span { first: ordinal(first)?, last: Some(ordinal(last)?) },
        None => Span { first: ordinal(text)?, last: Some(ordinal(text)?) },
    };
    if span.last.is_some_and(|last| last < span.first) {
        return Err("the range begins with the larger number".to_owned());
    }
    Ok(span)
}

fn chance(text: &str) -> Result<Chance, String> {
    let refuse = |why: String| Err(format!("{why}: 0% to 100%, with at most four decimals"));
    let Some(percent) = text.strip_suffix('%') else {
        return if is_bare(text) {
            refuse(format!("{text} needs a unit, {text}%"))
        } else {
            refuse(format!("{text:?}"))
        };
    };
    let (whole, decimals) = percent.split_once('.').unwrap_or((percent, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(decimals) || decimals.len() > 4 {
        return refuse(format!("{text:?} is no percentage"));
    }
    let millionths = format!("{whole}{decimals:0<4}").parse::<u32>().ok();
    match millionths.filter(|millionths| *millionths <= Chance::MILLIONTHS) {
        Some(millionths) => Ok(Chance(millionths)),
        None => refuse(format!("{text:?} is more than always")),
    }
}

fn way(text: &str) -> Result<Way, String> {
    match text {
        "in" => Ok(Way::In),
        "out" => Ok(Way::Out),
        "both" => Ok(Way::Both),
        _ => Err("a direction is in, out or both".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules_are_read_and_printed() {
        for (text, printed) in [
            ("reset", "reset"),
            ("close,after=1KiB", "close,after=1KiB"),
            ("close,after=1024B", "close,after=1KiB"),
            ("close,after=1K", "close,after=1000B"),
            ("close,after=5M", "close,after=5MB"),
            ("close,after=5m", "close,after=5m"),
            ("close,after=1500ms", "close,after=1s500ms"),
            ("close,after=3msg", "close,after=3msg"),
            ("reset,chance=10%,after=2s", "reset,after=2s,chance=10%"),
            ("reset,chance=0.0001%", "reset,chance=0.0001%"),
            ("reset,chance=12.50%", "reset,chance=12.5%"),
            ("reset,conn=3..3", "reset,conn=3"),
            ("reset,conn=..3", "reset,conn=1..3"),
            ("delay=50ms..50ms", "delay=50ms"),
            ("delay=0s..70ms,every=10,from=127.0.0.1", "delay=0s..70ms,every=10,from=127.0.0.1/32"),
            ("chunk=1B..16B/100ms,dir=both", "chunk=1B..16B/100ms,dir=both"),
            ("dup=1", "dup"),
            ("truncate=0B", "truncate=0B"),
            ("flap=2s/500ms,times=3", "flap=2s/500ms,times=3"),
            ("stall,dir=in,for=5s", "stall,dir=in,for=5s"),
        ] {
            let rule = parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(rule.to_string(), printed);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_a_way_out() {
        const ACTIONS: &str = "refuse, blackhole, no-accept, flap, close, reset, half-close, stall, delay-close, delay, \
                               rate, chunk, buffer, mss, corrupt, garbage, drop, dup, reorder, truncate";
        const KEYS: &str = "after, conn, every, chance, dir, from, times, for";
        let actions = |before: &str| format!("{before}{ACTIONS}");
        for (text, expected) in [
            ("", actions("nothing between two commas, or after one: no such action: the actions are ")),
            ("rst", actions("rst: no such action: the actions are ")),
            ("Reset", actions("Reset: no such action: the actions are ")),
            ("after=2s", actions("after=2s: after is a key; an action comes first: ")),
            ("reset=1", "reset=1: reset has no value".to_owned()),
            ("refuse", "refuse: refuse needs a value, such as refuse=2s".to_owned()),
            ("refuse=", "refuse=: refuse needs a value, such as refuse=2s".to_owned()),
            ("refuse=2", "refuse=2: 2 needs a unit: 2s or 2ms".to_owned()),
            ("refuse=0s", "refuse=0s: 0s is no time at all".to_owned()),
            ("refuse=2M", "refuse=2M: \"2M\" is no duration: write 500ms, 2s or 1m30s".to_owned()),
            ("garbage=many", "garbage=many: \"many\" is no size: write 16B, 4KiB (4096) or 64K (64000)".to_owned()),
            ("flap=2s", "flap=2s: flap needs a value, such as flap=2s/500ms".to_owned()),
            ("delay=70ms..30ms", "delay=70ms..30ms: the range begins with the larger value".to_owned()),
            ("delay=30..70ms", "delay=30..70ms: 30 needs a unit: 30s or 30ms".to_owned()),
            ("rate=5", "rate=5: 5 needs a time: 5B/s".to_owned()),
            ("rate=5/s", "rate=5/s: 5/s needs a unit: 5B/s or 5KiB/s".to_owned()),
            ("rate=5KiB", "rate=5KiB: 5KiB needs a time: 5KiB/s".to_owned()),
            ("rate=0B/s", "rate=0B/s: 0B is no size at all".to_owned()),
            ("chunk=16", "chunk=16: 16 needs a unit: 16B or 16KiB".to_owned()),
            ("buffer=5GiB", "buffer=5GiB: it is too large".to_owned()),
            ("mss=1KiB", "mss=1KiB: \"1KiB\" is no whole number from 1".to_owned()),
            ("corrupt=3/2B", "corrupt=3/2B: 2 bytes have not 3 to change".to_owned()),
            ("dup=0", "dup=0: \"0\" is no whole number from 1".to_owned()),
            ("tls=expired", actions("tls=expired: no such action: the actions are ")),
            ("reset,", format!("nothing between two commas, or after one: no such key: the keys are {KEYS}")),
            ("reset,when=2s", format!("when=2s: no such key: the keys are {KEYS}")),
            ("reset,delay=2s", "delay=2s: delay is an action: give it a rule of its own, -F delay=2s".to_owned()),
            ("reset,after", "after: after needs a value, such as after=1KiB".to_owned()),
            ("reset,after=5", "after=5: 5 needs a unit: 5B, 5s or 5msg".to_owned()),
            (
                "reset,after=x",
                "after=x: \"x\" is no size (1KiB), duration (2s) or number of messages (3msg)".to_owned(),
            ),
            ("reset,after=0msg", "after=0msg: \"0\" is no whole number from 1".to_owned()),
            ("reset,after=1s,after=2s", "after=2s: it is given twice".to_owned()),
            ("reset,conn=0", "conn=0: \"0\" is no whole number from 1".to_owned()),
            ("reset,conn=3..1", "conn=3..1: the range begins with the larger number".to_owned()),
            ("reset,conn=..", "conn=..: a connection's number is needed, such as 1..3".to_owned()),
            ("reset,chance=10", "chance=10: 10 needs a unit, 10%: 0% to 100%, with at most four decimals".to_owned()),
            (
                "reset,chance=101%",
                "chance=101%: \"101%\" is more than always: 0% to 100%, with at most four decimals".to_owned(),
            ),
            (
                "reset,chance=.5%",
                "chance=.5%: \".5%\" is no percentage: 0% to 100%, with at most four decimals".to_owned(),
            ),
            ("reset,dir=up", "dir=up: a direction is in, out or both".to_owned()),
            (
                "reset,from=here",
                "from=here: \"here\" is no address and no network: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"
                    .to_owned(),
            ),
            ("reset,times=-1", "times=-1: \"-1\" is no whole number from 1".to_owned()),
            ("reset, after=2s", format!(" after=2s: no such key: the keys are {KEYS}")),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_file_has_a_rule_in_each_line() {
        let rules = parse_file("# who comes first\nreset,conn=1..3   # is gone\n\n\tdelay=50ms\r\n").unwrap();
        assert_eq!(rules, [parse("reset,conn=1..3").unwrap(), parse("delay=50ms").unwrap()]);
        let (line, why) = parse_file("reset\n\nreset,after=5\n").unwrap_err();
        assert_eq!((line, why.as_str()), (3, "rule \"reset,after=5\": after=5: 5 needs a unit: 5B, 5s or 5msg"));
    }

    /// Any value of a kind, as it may be typed.
    fn value(kind: &str) -> BoxedStrategy<String> {
        let time =
            (1_u64..100_000, prop::sample::select(vec!["us", "ms", "s"])).prop_map(|(n, unit)| format!("{n}{unit}"));
        let size = (1_u64..4000, prop::sample::select(vec!["B", "K", "KiB", "MB", "MiB"]))
            .prop_map(|(n, unit)| format!("{n}{unit}"));
        let number = (1_u32..1000).prop_map(|n| n.to_string());
        match kind {
            "time" => time.boxed(),
            "size" => size.boxed(),
            "after" => prop_oneof![time, size, number.prop_map(|n| n + "msg")].boxed(),
            "chance" => (0_u32..=1_000_000).prop_map(|millionths| Chance(millionths).to_string()).boxed(),
            "span" => prop_oneof![number, (1_u32..9, 9_u32..99).prop_map(|(a, b)| format!("{a}..{b}"))].boxed(),
            _ => number.boxed(),
        }
    }

    /// Any rule, as it may be typed.
    fn rule() -> impl Strategy<Value = String> {
        let action = prop_oneof![
            prop::sample::select(vec!["close", "reset", "stall", "half-close", "drop", "dup"]).prop_map(str::to_owned),
            value("time").prop_map(|time| format!("delay={time}")),
            value("size").prop_map(|size| format!("rate={size}/s")),
            (value("size"), value("time")).prop_map(|(size, time)| format!("chunk={size}/{time}")),
            (value("number"), value("size")).prop_map(|(number, size)| format!("corrupt={number}/{size}")),
            value("size").prop_map(|size| format!("garbage={size}")),
            (value("time"), value("time")).prop_map(|(up, down)| format!("flap={up}/{down}")),
        ];
        let key = |name: &'static str, kind: &'static str| {
            prop::option::of(value(kind))
                .prop_map(move |value| value.map_or(String::new(), |value| format!(",{name}={value}")))
        };
        let keys = (
            key("after", "after"),
            key("conn", "span"),
            key("every", "number"),
            key("chance", "chance"),
            key("times", "number"),
            key("for", "time"),
        );
        (action, keys).prop_map(|(action, (a, b, c, d, e, f))| [action, a, b, c, d, e, f].concat())
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(text in rule()) {
            if let Ok(rule) = parse(&text) {
                prop_assert_eq!(parse(&rule.to_string()), Ok(rule));
            } else {
                prop_assert!(text.starts_with("corrupt"), "{}", text);
            }
        }

        #[test]
        fn no_text_panics(text in "[a-z=,0-9.%/ -]{0,40}", any in any::<String>()) {
            let _ = parse(&text);
            let _ = parse(&any);
            let _ = parse_file(&any);
        }
    }
}
