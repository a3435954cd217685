//! Which ports are probed: words and files of them, and their expansion.
//!
//! Owns what is excluded, and that nothing is probed twice. Must not know what a word means (grammar.rs), addresses of names,
//! nor what becomes of a target. Trade-off: what was typed is kept, and expanded host by host when its turn comes, so that a network
//! of millions takes no more memory than the word for it; whether a port was named before is asked of the words before it.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read};

use anyhow::Context;

use super::grammar::{Grammar, Place, Reading};
use super::ports::{self, Listed, Ports};
use crate::cli::UsageError;
use crate::connection::endpoint::{Host, Port};
use crate::connection::{Endpoint, UnixName};
use crate::output::bulk_stdin;

/// One thing to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its place in the order of the command line. There may be gaps.
    pub index: u64,
    /// Where it is, as it was typed.
    pub endpoint: Endpoint,
    /// Whether it is asked in datagrams.
    pub is_datagram: bool,
}

/// As it was typed: `udp:` before what would otherwise be TCP.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_datagram && matches!(self.endpoint, Endpoint::Inet { .. }) {
            f.write_str("udp:")?;
        }
        self.endpoint.fmt(f)
    }
}

/// All that was asked for.
#[derive(Debug)]
pub struct Targets {
    grammar: Grammar,
    words: Vec<Word>,
    /// The words for each single host, so that a long file need not be searched for every one of its lines.
    by_host: HashMap<(Host, bool), Vec<usize>>,
    /// The words for networks.
    networks: Vec<usize>,
    excluded: Vec<(Place, Option<Ports>)>,
    /// How many there are, at most: what is excluded or named twice is counted too.
    pub total: u64,
    /// Whether a range or a network was asked for.
    pub has_range: bool,
}

/// A place, and what is probed there.
#[derive(Debug)]
struct Word {
    place: Place,
    wanted: Wanted,
    is_datagram: bool,
    /// The index of its first target.
    base: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Ports(Ports),
    Service(String),
    /// A unix socket has no port.
    Itself,
}

/// One host, and what is probed there.
#[derive(Debug, Clone)]
pub struct Spot {
    host: Option<Host>,
    unix: Option<UnixName>,
    wanted: Wanted,
    is_datagram: bool,
    base: u64,
}

impl Spot {
    /// What is probed there, by its place in the order.
    pub fn target(&self, place: u64) -> Option<Target> {
        match &self.wanted {
            Wanted::Ports(ports) => self.target_at(place, Some(Port::Number(ports.at(place)?))),
            Wanted::Service(name) if place == 0 => self.target_at(place, Some(Port::Service(name.clone()))),
            Wanted::Itself if place == 0 => self.target_at(place, None),
            Wanted::Service(_) | Wanted::Itself => None,
        }
    }

    /// The columns that its longest target takes.
    pub fn width(&self) -> usize {
        let longest = match &self.wanted {
            Wanted::Ports(ports) => self.target_at(0, ports.highest().map(Port::Number)),
            _ => self.target(0),
        };
        longest.map_or(0, |target| target.to_string().chars().count())
    }

    fn target_at(&self, place: u64, port: Option<Port>) -> Option<Target> {
        let endpoint = match (&self.host, port, &self.unix) {
            (Some(host), Some(port), _) => Endpoint::Inet { host: host.clone(), port },
            (_, _, Some(name)) => Endpoint::Unix(name.clone()),
            _ => return None,
        };
        Some(Target { index: self.base.saturating_add(place), endpoint, is_datagram: self.is_datagram })
    }
}

impl Targets {
    /// Nothing yet.
    pub fn new(is_unix: bool, is_datagram: bool) -> Targets {
        Targets {
            grammar: Grammar { is_unix, is_datagram },
            words: Vec::new(),
            by_host: HashMap::new(),
            networks: Vec::new(),
            excluded: Vec::new(),
            total: 0,
            has_range: false,
        }
    }

    /// Adds the words of a command line: targets, files and `-`, or netcat's `HOST PORTS...`. Fails as a usage error, or
    /// because a file cannot be read.
    pub fn add_arguments(&mut self, words: &[String]) -> anyhow::Result<()> {
        if let Some(host) = self.grammar.netcats_host(words) {
            let (place, is_datagram) = host.map_err(UsageError)?;
            return Ok(self.add_ports(&place, is_datagram, words).map_err(UsageError)?);
        }
        for word in words {
            match (word.as_str(), word.strip_prefix('@').filter(|_| !self.grammar.is_unix)) {
                ("-", _) => self.add_lines(bulk_stdin().context("open stdin")?, "stdin")?,
                (_, Some(path)) => {
                    let file = std::fs::File::open(path).with_context(|| {
                        format!("open target file {path:?} (an abstract unix socket is unix:{word})")
                    })?;
                    self.add_lines(file, path)?;
                }
                _ => self.add_word(word).map_err(UsageError)?,
            }
        }
        Ok(())
    }

    /// Adds the lines of a file: each as the words of a command line, and `#` begins a comment.
    fn add_lines(&mut self, file: impl Read, name: &str) -> anyhow::Result<()> {
        for (index, line) in BufReader::new(file).lines().enumerate() {
            let line = line.with_context(|| format!("read targets from {name}"))?;
            let words: Vec<String> =
                line.split('#').next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
            self.add_line(&words).map_err(|why| UsageError(format!("{name}, line {}: {why}", index + 1)))?;
        }
        Ok(())
    }

    fn add_line(&mut self, words: &[String]) -> Result<(), String> {
        if let Some(host) = self.grammar.netcats_host(words) {
            let (place, is_datagram) = host?;
            return self.add_ports(&place, is_datagram, words);
        }
        words.iter().try_for_each(|word| self.add_word(word))
    }

    fn add_ports(&mut self, place: &Place, is_datagram: bool, words: &[String]) -> Result<(), String> {
        let [host, lists @ ..] = words else { return Ok(()) };
        for list in lists {
            if list.is_empty() {
                return Err(format!("the port after {host:?} is empty: write HOST PORT"));
            }
            let (listed, has_range) = ports::parse(list)?;
            self.has_range |= has_range;
            self.add_listed(place, is_datagram, listed);
        }
        Ok(())
    }

    fn add_word(&mut self, word: &str) -> Result<(), String> {
        let Reading { place, listed, is_datagram, has_range } = self.grammar.read(word)?;
        self.has_range |= has_range;
        self.add_listed(&place, is_datagram, listed);
        Ok(())
    }

    fn add_listed(&mut self, place: &Place, is_datagram: bool, listed: Vec<Listed>) {
        self.has_range |= matches!(place, Place::Network(_));
        if matches!(place, Place::Unix(_)) {
            self.add(place.clone(), Wanted::Itself, is_datagram);
        }
        for item in listed {
            let wanted = match item {
                Listed::Numbers(ports) => Wanted::Ports(ports),
                Listed::Service(name) => Wanted::Service(name),
            };
            self.add(place.clone(), wanted, is_datagram);
        }
    }

    fn add(&mut self, place: Place, wanted: Wanted, is_datagram: bool) {
        let index = self.words.len();
        match &place {
            Place::Host(host) => self.by_host.entry((host.clone(), is_datagram)).or_default().push(index),
            Place::Network(_) => self.networks.push(index),
            Place::Unix(_) | Place::Everywhere => {}
        }
        let word = Word { place, wanted, is_datagram, base: self.total };
        self.total = self.total.saturating_add(word.count());
        self.words.push(word);
    }

    /// Takes what this names out.
    pub fn exclude(&mut self, word: &str) -> Result<(), String> {
        self.excluded.push(self.grammar.exclusion(word)?);
        Ok(())
    }

    /// Whether any of them takes a lookup to find.
    pub fn has_names(&self, is_numeric: bool) -> bool {
        let takes_lookup = |word: &Word| match (&word.place, &word.wanted) {
            (Place::Unix(_), _) => false,
            (_, Wanted::Service(_)) => true,
            (Place::Host(host), _) => matches!(host, Host::Name(_)) && !is_numeric,
            _ => false,
        };
        self.words.iter().any(takes_lookup)
    }

    /// Whether there are unix sockets among them, and others.
    pub fn families(&self) -> (bool, bool) {
        let is_unix = |word: &Word| matches!(word.place, Place::Unix(_));
        (self.words.iter().any(is_unix), !self.words.iter().all(is_unix))
    }

    /// One target for each word: of what kind it is, so are the others.
    pub fn samples(&self) -> impl Iterator<Item = Target> + '_ {
        (0..self.words.len()).filter_map(|word| Spots { targets: self, word, offset: 0 }.next()?.target(0))
    }

    /// Host by host, in the order of the words.
    pub fn spots(&self) -> Spots<'_> {
        Spots { targets: self, word: 0, offset: 0 }
    }

    /// What of a word's ports is left at one host.
    fn left(&self, index: usize, host: &Host, ports: &Ports) -> Ports {
        let mut left = ports.clone();
        let is_datagram = self.words[index].is_datagram;
        let mut subtract = |earlier: usize| {
            let word = &self.words[earlier];
            if let (true, Wanted::Ports(named)) = (word.is_datagram == is_datagram, &word.wanted) {
                left = left.without(named);
            }
        };
        let same_host = self.by_host.get(&(host.clone(), is_datagram)).into_iter().flatten();
        same_host.take_while(|earlier| **earlier < index).for_each(|earlier| subtract(*earlier));
        for earlier in self.networks.iter().take_while(|earlier| **earlier < index) {
            if self.words[*earlier].place.has(host) {
                subtract(*earlier);
            }
        }
        for (place, ports) in &self.excluded {
            if place.has(host) {
                left = left.without(ports.as_ref().unwrap_or(&Ports::all()));
            }
        }
        left
    }

    /// Whether a word that names one thing only names what was named before, or what is excluded.
    fn is_repeated(&self, index: usize) -> bool {
        let word = &self.words[index];
        let is_same = |earlier: &Word| {
            (&earlier.place, &earlier.wanted, earlier.is_datagram) == (&word.place, &word.wanted, word.is_datagram)
        };
        let is_excluded = self.excluded.iter().any(|(place, ports)| match &word.place {
            Place::Host(host) => ports.is_none() && place.has(host),
            other => place == other,
        });
        is_excluded
            || match &word.place {
                Place::Host(host) => {
                    let same_host = self.by_host.get(&(host.clone(), word.is_datagram)).into_iter().flatten();
                    same_host.take_while(|earlier| **earlier < index).any(|earlier| is_same(&self.words[*earlier]))
                }
                _ => self.words[..index].iter().any(is_same),
            }
    }
}

impl Word {
    fn count(&self) -> u64 {
        let ports = match &self.wanted {
            Wanted::Ports(ports) => ports.count(),
            Wanted::Service(_) | Wanted::Itself => 1,
        };
        ports.saturating_mul(self.place.hosts())
    }
}

/// The hosts of the targets, one after the other.
#[derive(Debug, Clone)]
pub struct Spots<'t> {
    targets: &'t Targets,
    word: usize,
    /// Which host of the word is next.
    offset: u64,
}

impl Iterator for Spots<'_> {
    type Item = Spot;

    fn next(&mut self) -> Option<Spot> {
        loop {
            let word = self.targets.words.get(self.word)?;
            let (index, offset) = (self.word, self.offset);
            let host = match &word.place {
                Place::Host(host) if offset == 0 => Some(host.clone()),
                Place::Network(network) => network.at(offset).map(Host::Ip),
                _ => None,
            };
            let unix = match &word.place {
                Place::Unix(name) if offset == 0 => Some(name.clone()),
                _ => None,
            };
            if host.is_none() && unix.is_none() {
                (self.word, self.offset) = (self.word + 1, 0);
                continue;
            }
            self.offset += 1;
            let wanted = match (&word.wanted, &host) {
                (Wanted::Ports(ports), Some(host)) => Wanted::Ports(self.targets.left(index, host, ports)),
                _ if self.targets.is_repeated(index) => continue,
                (other, _) => other.clone(),
            };
            let ports = if let Wanted::Ports(ports) = &word.wanted { ports.count() } else { 1 };
            let base = word.base.saturating_add(offset.saturating_mul(ports));
            return Some(Spot { host, unix, wanted, is_datagram: word.is_datagram, base });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn targets(words: &[&str]) -> Result<Targets, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut targets = Targets::new(false, false);
        targets.add_arguments(&words).map_err(|error| error.to_string())?;
        Ok(targets)
    }

    fn expand(targets: &Targets) -> Vec<String> {
        let places = |spot: Spot| (0..).map_while(move |place| spot.target(place));
        targets.spots().flat_map(places).map(|target| target.to_string()).collect()
    }

    fn expanded(words: &[&str]) -> Vec<String> {
        expand(&targets(words).unwrap())
    }

    #[test]
    fn each_form_names_its_targets_in_order() {
        for (words, expected) in [
            (&["db:80"][..], &["db:80"][..]),
            (&["db:443,80"], &["db:443", "db:80"]),
            (&["db:80,8000-8002,http"], &["db:80", "db:8000", "db:8001", "db:8002", "db:http"]),
            (&["db", "80", "443-444"], &["db:80", "db:443", "db:444"]),
            (&["db", "80,443"], &["db:80", "db:443"]),
            (&["::1", "80,443"], &["[::1]:80", "[::1]:443"]),
            (&["[::1]:80,443"], &["[::1]:80", "[::1]:443"]),
            (&["a:80", "b:80"], &["a:80", "b:80"]),
            (&["80-81"], &[":80", ":81"]),
            (&["80", "443"], &[":80", ":443"]),
            (&[":80,443"], &[":80", ":443"]),
            (&["192.0.2.0/30:80"], &["192.0.2.0:80", "192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"]),
            (&["192.0.2.8/31:1-2"], &["192.0.2.8:1", "192.0.2.8:2", "192.0.2.9:1", "192.0.2.9:2"]),
            (&["192.0.2.8/31", "7"], &["192.0.2.8:7", "192.0.2.9:7"]),
            (&["[2001:db8::/127]:80"], &["[2001:db8::]:80", "[2001:db8::1]:80"]),
            (&["2001:db8::/127:80"], &["[2001:db8::]:80", "[2001:db8::1]:80"]),
            (&["2001:db8::/127", "80"], &["[2001:db8::]:80", "[2001:db8::1]:80"]),
            (&["udp:db:53", "db:53"], &["udp:db:53", "db:53"]),
            (&["udp:db", "53-54"], &["udp:db:53", "udp:db:54"]),
            (&["unix:/a", "./b", "/c"], &["unix:/a", "unix:./b", "unix:/c"]),
        ] {
            assert_eq!(expanded(words), expected, "{words:?}");
        }
    }

    #[test]
    fn what_was_named_before_is_not_probed_again() {
        for (words, expected) in [
            (&["a:80", "a:80"][..], &["a:80"][..]),
            (&["a:80", "a:79-81"], &["a:80", "a:79", "a:81"]),
            (&["192.0.2.1:80", "192.0.2.0/31:80"], &["192.0.2.1:80", "192.0.2.0:80"]),
            (&["192.0.2.0/31:80", "192.0.2.1:80,81"], &["192.0.2.0:80", "192.0.2.1:80", "192.0.2.1:81"]),
            (
                &["192.0.2.0/31:80", "192.0.2.0/30:80"],
                &["192.0.2.0:80", "192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"],
            ),
            (&["a:http", "a:http"], &["a:http"]),
            (&["unix:/a", "/a"], &["unix:/a"]),
            (&["a:53", "udp:a:53"], &["a:53", "udp:a:53"]),
        ] {
            assert_eq!(expanded(words), expected, "{words:?}");
        }
    }

    #[test]
    fn what_is_excluded_is_not_probed() {
        let words = ["192.0.2.0/30:22,80", "db:80", "db:http", "unix:/a"];
        for (excluded, missing) in [
            (&["192.0.2.1"][..], &["192.0.2.1:22", "192.0.2.1:80"][..]),
            (&["192.0.2.2/31"], &["192.0.2.2:22", "192.0.2.2:80", "192.0.2.3:22", "192.0.2.3:80"]),
            (&["192.0.2.1:22", "192.0.2.2:80"], &["192.0.2.1:22", "192.0.2.2:80"]),
            (&["22"], &["192.0.2.0:22", "192.0.2.1:22", "192.0.2.2:22", "192.0.2.3:22"]),
            (&[":1-79"], &["192.0.2.0:22", "192.0.2.1:22", "192.0.2.2:22", "192.0.2.3:22"]),
            (&["db"], &["db:80", "db:http"]),
            (&["unix:/a"], &["unix:/a"]),
        ] {
            let mut targets = targets(&words).unwrap();
            for word in excluded {
                targets.exclude(word).unwrap();
            }
            let mut expected = expanded(&words);
            expected.retain(|target| !missing.contains(&target.as_str()));
            assert_eq!(expand(&targets), expected, "{excluded:?}");
        }
    }

    #[test]
    fn several_words_that_cannot_be_meant_are_refused() {
        for (words, expected) in [
            (&["db", "80", "0"][..], "port 0 is only for listening: there the system chooses one"),
            (&["db:99999", "b:80"], "port \"99999\" is out of range: 1 to 65535"),
        ] {
            assert_eq!(targets(words).map(|_| ()), Err(expected.to_owned()), "{words:?}");
        }
    }

    #[test]
    fn a_file_has_targets_comments_and_the_number_of_its_bad_line() {
        let mut targets = Targets::new(false, false);
        targets.add_lines(&b"# hosts\n\na:80,443 # web\n  b 22 23\nunix:/c\nd:1 e:2\n"[..], "hosts.txt").unwrap();
        assert_eq!(expand(&targets), ["a:80", "a:443", "b:22", "b:23", "unix:/c", "d:1", "e:2"]);
        let error = targets.add_lines(&b"a:80\n\nb:0\n"[..], "hosts.txt").unwrap_err();
        let expected = "hosts.txt, line 3: port 0 is only for listening: there the system chooses one";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn millions_are_counted_without_being_made() {
        for (word, total) in [
            ("10.0.0.0/8:1-65535", (1 << 24) * 65_535),
            ("0.0.0.0/0:80", 1 << 32),
            ("[::/0]:80", u64::MAX),
            ("db:1-65535", 65_535),
        ] {
            let targets = targets(&[word]).unwrap();
            assert_eq!((targets.total, targets.has_range), (total, true), "{word}");
            assert!(targets.spots().next().unwrap().target(0).is_some());
        }
    }

    proptest! {
        #[test]
        fn no_word_panics(words in prop::collection::vec("[a-z0-9:./,\\[\\]-]{0,16}", 1..3)) {
            let mut targets = Targets::new(false, false);
            if targets.add_line(&words).is_ok() {
                for spot in targets.spots().take(10) {
                    let _ = spot.target(0);
                }
            }
        }
    }
}
