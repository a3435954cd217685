//! Port lists: `80`, `80,443,8000-8010`, `http`.
//!
//! Owns their grammar and their set operations. Must not know hosts. Trade-off: a list is kept as the intervals that were
//! typed, in that order and each port once, so that all ports of a host take four bytes and are still probed in the order
//! that was asked for.

use crate::connection::endpoint::{Host, Port};
use crate::connection::{Endpoint, Role};

/// Port numbers, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ports(Vec<(u16, u16)>);

/// One item of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// Neighbouring numbers.
    Numbers(Ports),
    /// A service, for getaddrinfo(3) to look up.
    Service(String),
}

impl Ports {
    /// Every port there is to connect to.
    pub fn all() -> Ports {
        Ports(vec![(1, u16::MAX)])
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// The highest.
    pub fn highest(&self) -> Option<u16> {
        self.0.iter().map(|(_, last)| *last).max()
    }

    /// The port at a place of the order; none beyond the end.
    pub fn at(&self, mut place: u64) -> Option<u16> {
        for (first, last) in &self.0 {
            let length = u64::from(last - first) + 1;
            if place < length {
                return Some(first + place as u16);
            }
            place -= length;
        }
        None
    }

    /// These without those.
    #[must_use]
    pub fn without(&self, others: &Ports) -> Ports {
        let mut left = self.0.clone();
        for &(first, last) in &others.0 {
            left = left
                .into_iter()
                .flat_map(|(low, high)| {
                    let below = (low < first).then(|| (low, high.min(first.saturating_sub(1))));
                    let above = (high > last).then(|| (low.max(last.saturating_add(1)), high));
                    [below, above]
                })
                .flatten()
                .filter(|(low, high)| low <= high)
                .collect();
        }
        Ports(left)
    }

    /// These, and then what is new of those.
    fn and(&mut self, others: &Ports) {
        let new = others.without(self);
        self.0.extend(new.0);
    }
}

/// Reads a list. Whether there is a range in it is told too: who asks for a range expects some of it to be closed. The error
/// is one line that says what would be right.
pub fn parse(text: &str) -> Result<(Vec<Listed>, bool), String> {
    let mut listed: Vec<Listed> = Vec::new();
    let mut has_range = false;
    for item in text.split(',') {
        if item.is_empty() {
            return Err(format!("a port is missing in {text:?}: write PORT,PORT or FIRST-LAST"));
        }
        let read = match range(item) {
            Some((first, last)) => {
                has_range = true;
                Listed::Numbers(interval(item, first, last)?)
            }
            None => match one(item)? {
                Port::Number(number) => Listed::Numbers(Ports(vec![(number, number)])),
                Port::Service(name) => Listed::Service(name),
            },
        };
        match (listed.last_mut(), read) {
            (Some(Listed::Numbers(ports)), Listed::Numbers(more)) => ports.and(&more),
            (_, read) => listed.push(read),
        }
    }
    Ok((listed, has_range))
}

/// Whether a word is a list of numbers and ranges, and nothing else.
pub fn is_numeric_list(word: &str) -> bool {
    word.contains([',', '-'])
        && word.starts_with(|c: char| c.is_ascii_digit())
        && word.bytes().all(|byte| byte.is_ascii_digit() || b",-".contains(&byte))
}

/// The two ends of `FIRST-LAST`. A service's name may have a hyphen, but does not begin with a digit here.
fn range(item: &str) -> Option<(&str, &str)> {
    let (first, last) = item.split_once('-')?;
    first.bytes().all(|byte| byte.is_ascii_digit()).then_some((first, last))
}

fn interval(item: &str, first: &str, last: &str) -> Result<Ports, String> {
    if first.is_empty() || last.is_empty() {
        return Err(format!("the port range {item:?} has one end: write FIRST-LAST"));
    }
    match (one(first)?, one(last)?) {
        (Port::Number(low), Port::Number(high)) if low <= high => Ok(Ports(vec![(low, high)])),
        (Port::Number(low), Port::Number(high)) => {
            Err(format!("the port range {item:?} runs backwards: write {high}-{low}"))
        }
        _ => Err(format!("the port range {item:?} is not one of numbers: write FIRST-LAST")),
    }
}

/// One port, in the grammar and with the messages of every command.
fn one(text: &str) -> Result<Port, String> {
    match Endpoint::parse(&["a", text], Role::Connect, false)? {
        Endpoint::Inet { host: Host::Name(_), port } => Ok(port),
        other => unreachable!("a name and a port are read as these: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(text: &str) -> Vec<u16> {
        match parse(text).unwrap().0.as_slice() {
            [Listed::Numbers(ports)] => (0..ports.count()).map(|place| ports.at(place).unwrap()).collect(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_list_keeps_its_order_and_has_each_port_once() {
        for (text, expected) in [
            ("80", &[80][..]),
            ("443,80", &[443, 80]),
            ("80,443,80", &[80, 443]),
            ("8000-8003,8002-8005,7999", &[8000, 8001, 8002, 8003, 8004, 8005, 7999]),
            ("3,1-5", &[3, 1, 2, 4, 5]),
            ("65535,1", &[65535, 1]),
        ] {
            assert_eq!(numbers(text), expected, "{text}");
        }
        assert_eq!(parse("1-65535").unwrap(), (vec![Listed::Numbers(Ports::all())], true));
    }

    #[test]
    fn services_stand_in_their_place_among_the_numbers() {
        let of = |number| Listed::Numbers(Ports(vec![(number, number)]));
        let (listed, has_range) = parse("22,http,x11-1,443").unwrap();
        let service = |name: &str| Listed::Service(name.to_owned());
        assert_eq!((listed, has_range), (vec![of(22), service("http"), service("x11-1"), of(443)], false));
    }

    #[test]
    fn a_list_that_cannot_be_meant_is_refused_with_a_way_out() {
        for (text, expected) in [
            ("", "a port is missing in \"\": write PORT,PORT or FIRST-LAST"),
            ("80,", "a port is missing in \"80,\": write PORT,PORT or FIRST-LAST"),
            ("80,,443", "a port is missing in \"80,,443\": write PORT,PORT or FIRST-LAST"),
            ("80-70", "the port range \"80-70\" runs backwards: write 70-80"),
            ("80-", "the port range \"80-\" has one end: write FIRST-LAST"),
            ("-80", "the port range \"-80\" has one end: write FIRST-LAST"),
            ("80-http", "the port range \"80-http\" is not one of numbers: write FIRST-LAST"),
            ("0", "port 0 is only for listening: there the system chooses one"),
            ("0-10", "port 0 is only for listening: there the system chooses one"),
            ("70000", "port \"70000\" is out of range: 1 to 65535"),
            ("1-70000", "port \"70000\" is out of range: 1 to 65535"),
            ("1-2-3", "port \"2-3\" is neither a number (1 to 65535) nor a service name such as http"),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
        }
    }

    fn intervals() -> impl Strategy<Value = Ports> {
        prop::collection::vec((0..40_u16, 0..8_u16), 0..6).prop_map(|pairs| {
            pairs.into_iter().fold(Ports::default(), |mut ports, (first, length)| {
                ports.and(&Ports(vec![(first, first + length)]));
                ports
            })
        })
    }

    proptest! {
        #[test]
        fn without_is_the_difference_of_sets(mine in intervals(), others in intervals()) {
            let set = |ports: &Ports| (0..ports.count()).map(|place| ports.at(place).unwrap()).collect::<Vec<_>>();
            let (own, other, left) = (set(&mine), set(&others), set(&mine.without(&others)));
            let mut expected = own.clone();
            expected.retain(|port| !other.contains(port));
            let mut sorted = left.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), left.len(), "each once");
            expected.sort_unstable();
            prop_assert_eq!(sorted, expected);
        }

        #[test]
        fn no_text_panics(text in "[0-9a-z,\\-]{0,20}") {
            let _ = parse(&text);
        }
    }
}
