//! The grammar of targets: what one word of the command line names, and what an exclusion does.
//!
//! Owns the forms that only `probe` has: lists, ranges, networks, `udp:`, netcat's first word. Must not know what else was named,
//! nor how targets are expanded. Trade-off: a single port is read by the grammar of every command, for the sake of its messages;
//! so a word is tried as a network and as a list first.

use super::ports::{self, Listed, Ports};
use crate::connection::endpoint::Host;
use crate::connection::{Endpoint, Role, UnixName};
use crate::network::Network;

/// How words are read.
#[derive(Debug, Clone, Copy)]
pub struct Grammar {
    /// `-U`: every word is a path.
    pub is_unix: bool,
    /// `-u`
    pub is_datagram: bool,
}

/// Where something is probed, or is not to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Anywhere: only in exclusions.
    Everywhere,
    /// One host.
    Host(Host),
    /// Every address of it.
    Network(Network),
    /// A unix socket.
    Unix(UnixName),
}

/// What a word says.
#[derive(Debug)]
pub struct Reading {
    /// Where.
    pub place: Place,
    /// Which ports, in their order; none of a unix socket.
    pub listed: Vec<Listed>,
    /// Whether in datagrams.
    pub is_datagram: bool,
    /// Whether a range of ports is among them.
    pub has_range: bool,
}

impl Grammar {
    /// `udp:` in front of a word.
    fn protocol(self, word: &str) -> (&str, bool) {
        match word.strip_prefix("udp:") {
            Some(rest) => (rest, true),
            None => (word, self.is_datagram),
        }
    }

    /// Reads one word.
    pub fn read(self, word: &str) -> Result<Reading, String> {
        let (word, is_datagram) = self.protocol(word);
        let read = |place, (listed, has_range)| Reading { place, listed, is_datagram, has_range };
        let is_path = self.is_unix || word.starts_with(['/', '.', '@']) || word.starts_with("unix:");
        if !is_path && !word.contains("://") {
            if let Some((network, list)) = split_network(word) {
                let place = Place::Network(Network::parse(network)?);
                let list = list.ok_or_else(|| format!("no port in {word:?}: write {word}:PORT"))?;
                return Ok(read(place, ports::parse(list)?));
            }
            if let Some((host, list)) = split_list(word) {
                let host = if host.is_empty() { Place::Host(Host::Unspecified) } else { place(host)? };
                return Ok(read(host, ports::parse(list)?));
            }
        }
        match Endpoint::parse(&[word], Role::Connect, self.is_unix)? {
            Endpoint::Unix(name) => Ok(read(Place::Unix(name), (Vec::new(), false))),
            Endpoint::Inet { host, port } => Ok(read(Place::Host(host), ports::parse(&port.to_string())?)),
        }
    }

    /// The first of several words, if it is no target of its own: then the others are port lists.
    pub fn netcats_host(self, words: &[String]) -> Option<Result<(Place, bool), String>> {
        let [first, _, ..] = words else { return None };
        if self.is_unix || first == "-" || first.starts_with('@') {
            return None;
        }
        let why = self.read(first).err()?;
        let (host, is_datagram) = self.protocol(first);
        Some(place(host).map(|place| (place, is_datagram)).map_err(|_| why))
    }

    /// Reads what is to be left out: a host or a network, all of it or some ports, or ports anywhere. A unix socket has none.
    pub fn exclusion(self, word: &str) -> Result<(Place, Option<Ports>), String> {
        let numbers = |listed: Vec<Listed>| match listed.as_slice() {
            [Listed::Numbers(ports)] => Ok(ports.clone()),
            _ => Err(format!("--exclude {word:?} names a service: write its port")),
        };
        let anywhere = word.strip_prefix(':').unwrap_or(word);
        if !self.is_unix && anywhere.starts_with(|c: char| c.is_ascii_digit()) && !anywhere.contains(['.', ':', '/']) {
            return Ok((Place::Everywhere, Some(numbers(ports::parse(anywhere)?.0)?)));
        }
        match self.read(word) {
            Ok(Reading { place: place @ Place::Unix(_), .. }) => Ok((place, None)),
            Ok(Reading { place, listed, .. }) => Ok((place, Some(numbers(listed)?))),
            Err(why) => Ok((place(word).map_err(|_| why)?, None)),
        }
    }
}

impl Place {
    /// How many hosts there are.
    pub fn hosts(&self) -> u64 {
        match self {
            Place::Network(network) => network.count(),
            _ => 1,
        }
    }

    /// Whether a host is meant by it.
    pub fn has(&self, host: &Host) -> bool {
        match (self, host) {
            (Place::Everywhere, _) => true,
            (Place::Host(mine), host) => mine == host,
            (Place::Network(network), Host::Ip(ip)) => network.has(*ip),
            _ => false,
        }
    }
}

/// Reads a host or a network that stands alone.
fn place(text: &str) -> Result<Place, String> {
    if let Some((network, None)) = split_network(text) {
        return Network::parse(network).map(Place::Network);
    }
    match Endpoint::parse(&[text, "1"], Role::Connect, false)? {
        Endpoint::Inet { host, .. } => Ok(Place::Host(host)),
        Endpoint::Unix(_) => Err(format!("{text:?} is a unix socket, which has no port")),
    }
}

/// `ADDRESS/LENGTH`, in brackets or not, and the ports after it.
fn split_network(word: &str) -> Option<(&str, Option<&str>)> {
    let slash = word.find('/').filter(|slash| *slash > 0)?;
    let after = slash + word[slash..].find([':', ']']).unwrap_or(word.len() - slash);
    let network = word[..after].strip_prefix('[').unwrap_or(&word[..after]);
    let rest = word[after..].strip_prefix(']').unwrap_or(&word[after..]);
    Some((network, rest.strip_prefix(':')))
}

/// A host and a list of ports, where it is one. One port alone is every command's grammar, with its messages.
fn split_list(word: &str) -> Option<(&str, &str)> {
    if ports::is_numeric_list(word) {
        return Some(("", word));
    }
    let (host, list) = word.rsplit_once(':')?;
    let is_one_host = !host.contains(':') || host.starts_with('[');
    let is_list = list.contains(',') || ports::is_numeric_list(list);
    (is_one_host && is_list).then_some((host, list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_cannot_be_meant_are_refused_with_a_way_out() {
        let grammar = Grammar { is_unix: false, is_datagram: false };
        for (word, expected) in [
            ("db:0", "port 0 is only for listening: there the system chooses one"),
            ("db:70000", "port \"70000\" is out of range: 1 to 65535"),
            ("db:80-70", "the port range \"80-70\" runs backwards: write 70-80"),
            ("db:80,", "a port is missing in \"80,\": write PORT,PORT or FIRST-LAST"),
            ("192.0.2.1/24:80", "\"192.0.2.1/24\" has bits of a host: write 192.0.2.0/24, or 192.0.2.1 alone"),
            ("192.0.2.0/33:80", "the length of \"192.0.2.0/33\" is out of range: 0 to 32"),
            ("192.0.2.0/x:80", "\"192.0.2.0/x\" is not a network: write ADDRESS/LENGTH, such as 192.0.2.0/24"),
            ("db/24:80", "\"db/24\" is not a network: write ADDRESS/LENGTH, such as 192.0.2.0/24"),
            ("192.0.2.0/24", "no port in \"192.0.2.0/24\": write 192.0.2.0/24:PORT"),
            ("http://a:80/", "\"http://a:80/\" is a URL: write only HOST:PORT"),
            ("db", "no port in \"db\": write db:PORT"),
        ] {
            assert_eq!(grammar.read(word).map(|_| ()), Err(expected.to_owned()), "{word}");
        }
    }
}
