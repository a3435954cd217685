//! Places as a person types them.
//!
//! Owns the grammar of `HOST:PORT`, `HOST PORT`, `[v6]:PORT`, `:PORT`, `PORT`, `unix:PATH` and `unix:@NAME`, and the one
//! printed form of each. Must not know the resolver: whether a name exists is found out later. Trade-off: one word that
//! can be read in two ways is refused with both readings spelled out, because a guess would test the wrong port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use super::address::{ABSTRACT_NAMES, LONGEST_UNIX_NAME, UnixName};
use crate::printable::one_line;

/// What a place is for: port 0 is a place to listen at, but none to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The place of a peer.
    Connect,
    /// A place of our own.
    Listen,
}

/// The host of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// None was named: the loopback addresses.
    Unspecified,
    /// An address.
    Ip(IpAddr),
    /// An address and its zone, such as `fe80::1%eth0` (RFC 4007): the system knows which number the zone has.
    Scoped(Ipv6Addr, String),
    /// Anything else, for getaddrinfo(3) to judge.
    Name(String),
}

/// The port of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Port {
    /// A number; 0 lets the system choose.
    Number(u16),
    /// A service name (RFC 6335), for getaddrinfo(3) to look up.
    Service(String),
}

/// A place as a person types it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A host and a port.
    Inet {
        /// Where.
        host: Host,
        /// Which port there.
        port: Port,
    },
    /// A unix socket.
    Unix(UnixName),
}

impl Endpoint {
    /// Reads one word (`localhost:80`) or two (`localhost 80`). With `transport_is_unix` one word is a path or `@NAME`
    /// even without `unix:` before it. The error is one line that says what would be right.
    pub fn parse(words: &[impl AsRef<str>], role: Role, transport_is_unix: bool) -> Result<Endpoint, String> {
        match words {
            [word] => match unix_text(word.as_ref(), transport_is_unix) {
                Some(name) => parse_unix(name).map(Endpoint::Unix),
                None => parse_one_word(word.as_ref(), role),
            },
            [host, port] => {
                let (host, port) = (host.as_ref(), port.as_ref());
                if unix_text(host, transport_is_unix).is_some() {
                    return Err(format!("{host:?} names a unix socket, which has no port: leave out {port:?}"));
                }
                parse_two_words(host, port, role)
            }
            _ => Err(format!("{} words do not make one place: write HOST:PORT or HOST PORT", words.len())),
        }
    }
}

/// The path or `@NAME` in a word that names a unix socket.
fn unix_text(word: &str, transport_is_unix: bool) -> Option<&str> {
    match word.strip_prefix("unix:") {
        Some(name) => Some(name),
        None => {
            (transport_is_unix || ["/", "./", "../", "@"].iter().any(|start| word.starts_with(start))).then_some(word)
        }
    }
}

/// Reads a path or `@NAME`.
fn parse_unix(text: &str) -> Result<UnixName, String> {
    if text.is_empty() {
        return Err("the path of a unix socket is empty: write unix:PATH".to_owned());
    }
    if text.contains('\0') {
        // It would end the path early, or turn it into an abstract name.
        return Err(format!("the unix name {text:?} contains a NUL byte"));
    }
    let name = match text.strip_prefix('@') {
        Some("") => return Err("the abstract name \"@\" is empty: write unix:@NAME".to_owned()),
        Some(name) if ABSTRACT_NAMES => UnixName::Abstract(name.as_bytes().to_vec()),
        Some(_) => {
            return Err(format!("abstract unix names such as {text:?} exist on Linux only: use a path"));
        }
        None => UnixName::Path(PathBuf::from(text)),
    };
    let bytes = text.strip_prefix('@').unwrap_or(text).len();
    if bytes > LONGEST_UNIX_NAME {
        return Err(format!("the unix name {text:?} is too long: {bytes} bytes, the limit is {LONGEST_UNIX_NAME}"));
    }
    Ok(name)
}

/// Reads `HOST:PORT`, `[v6]:PORT`, `:PORT` or `PORT`.
fn parse_one_word(word: &str, role: Role) -> Result<Endpoint, String> {
    if word.is_empty() {
        return Err("nothing is named: write HOST:PORT".to_owned());
    }
    if word.contains("://") {
        return Err(format!("{word:?} is a URL: write only HOST:PORT"));
    }
    if let Some(bracketed) = word.strip_prefix('[') {
        let Some((inside, after)) = bracketed.split_once(']') else {
            return Err(format!("no closing bracket in {word:?}: write [ADDRESS]:PORT"));
        };
        let host = parse_bracketed(inside)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok(Endpoint::Inet { host, port: parse_port(port, word, role)? }),
            None if after.is_empty() => Err(format!("no port in {word:?}: write {word}:PORT")),
            None => Err(format!("{after:?} after the bracket in {word:?}: write [{inside}]:PORT")),
        };
    }
    let Some((host, port)) = word.rsplit_once(':') else {
        return parse_lone_port(word, role);
    };
    let host = match parse_v6(host) {
        // `::1:80` is also an address of its own, so neither reading is taken.
        Some(_) => {
            let port = parse_port(port, word, role)?;
            return Err(format!("{word:?} can be read in two ways: write [{host}]:{port} or {host} {port}"));
        }
        None if parse_v6(word).is_some() => {
            return Err(format!("no port in {word:?}: write [{word}]:PORT or {word} PORT"));
        }
        None if host.is_empty() => Host::Unspecified,
        None => parse_host(host)?,
    };
    Ok(Endpoint::Inet { host, port: parse_port(port, word, role)? })
}

/// Reads a word without a colon: it can only be a port, and only as a number, since a name would rather be a host.
fn parse_lone_port(word: &str, role: Role) -> Result<Endpoint, String> {
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Endpoint::Inet { host: Host::Unspecified, port: parse_port(word, word, role)? });
    }
    parse_host(word)?;
    Err(format!("no port in {word:?}: write {word}:PORT"))
}

/// Reads a host and a port that are words of their own, so that an IPv6 address needs no brackets.
fn parse_two_words(host: &str, port: &str, role: Role) -> Result<Endpoint, String> {
    if port.is_empty() {
        return Err(format!("the port after {host:?} is empty: write HOST PORT"));
    }
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = match inside {
        Some(inside) => parse_bracketed(inside)?,
        None => match parse_v6(host) {
            Some(v6) => v6,
            None => parse_host(host)?,
        },
    };
    Ok(Endpoint::Inet { host, port: parse_port(port, port, role)? })
}

/// Reads what stands in brackets: an IPv6 address, with or without a zone.
fn parse_bracketed(inside: &str) -> Result<Host, String> {
    parse_v6(inside).ok_or_else(|| format!("{inside:?} in brackets is not an IPv6 address, such as ::1"))
}

/// An IPv6 address, with or without a zone.
fn parse_v6(text: &str) -> Option<Host> {
    let Some((address, zone)) = text.split_once('%') else {
        return Some(Host::Ip(IpAddr::V6(text.parse().ok()?)));
    };
    let harmless = |c: char| !c.is_control() && !c.is_whitespace() && !"[]%".contains(c);
    (!zone.is_empty() && zone.chars().all(harmless)).then_some(Host::Scoped(address.parse().ok()?, zone.to_owned()))
}

/// Reads an IPv4 address or a name. Which names exist is the resolver's to say, but these can be none.
fn parse_host(text: &str) -> Result<Host, String> {
    if text.is_empty() {
        return Err("the host is empty: write a name, an address, or :PORT for this machine".to_owned());
    }
    if let Some(odd) = text.chars().find(|&c| c.is_control() || c.is_whitespace() || ":/@[]".contains(c)) {
        return Err(format!("{odd:?} cannot be in a host name such as {text:?}: write HOST:PORT or [ADDRESS]:PORT"));
    }
    Ok(text.parse().map_or_else(|_| Host::Name(text.to_owned()), |v4| Host::Ip(IpAddr::V4(v4))))
}

/// Reads a port number or a service name; `within` is the whole word, for the message.
fn parse_port(text: &str, within: &str, role: Role) -> Result<Port, String> {
    if text.is_empty() {
        return Err(format!("no port in {within:?}: write {within}PORT"));
    }
    let range = if role == Role::Listen { "0 to 65535" } else { "1 to 65535" };
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match (text.parse(), role) {
            (Ok(0), Role::Connect) => Err("port 0 is only for listening: there the system chooses one".to_owned()),
            (Ok(number), _) => Ok(Port::Number(number)),
            (Err(_), _) => Err(format!("port {text:?} is out of range: {range}")),
        };
    }
    // RFC 6335 section 5.1, but for names that start with a digit: those are far more often a slip in a number.
    let is_service = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_service {
        return Err(format!("port {text:?} is neither a number ({range}) nor a service name such as http"));
    }
    Ok(Port::Service(text.to_owned()))
}

impl fmt::Display for Host {
    /// The bare host, an IPv6 address without its brackets; nothing for an unspecified one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Unspecified => Ok(()),
            Host::Ip(address) => write!(f, "{address}"),
            Host::Scoped(address, zone) => write!(f, "{address}%{zone}"),
            Host::Name(name) => f.write_str(&one_line(name)),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Port::Number(number) => write!(f, "{number}"),
            Port::Service(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Endpoint {
    /// One form for each place, which reads back as the same place (but for a host named `unix`, and escapes).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Inet { host: host @ (Host::Ip(IpAddr::V6(_)) | Host::Scoped(..)), port } => {
                write!(f, "[{host}]:{port}")
            }
            Endpoint::Inet { host, port } => write!(f, "{host}:{port}"),
            Endpoint::Unix(name) => write!(f, "{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Address;
    use super::*;

    fn read(words: &[&str]) -> Result<String, String> {
        Endpoint::parse(words, Role::Connect, false).map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn every_way_to_write_a_place_has_one_printed_form() {
        for (words, expected) in [
            (&["127.0.0.1:80"][..], "127.0.0.1:80"),
            (&["127.0.0.1", "80"], "127.0.0.1:80"),
            (&["localhost:0080"], "localhost:80"),
            (&["localhost", "http"], "localhost:http"),
            (&["localhost:http-alt"], "localhost:http-alt"),
            (&["[::1]:80"], "[::1]:80"),
            (&["[::1]", "80"], "[::1]:80"),
            (&["::1", "80"], "[::1]:80"),
            (&["0:0:0:0:0:0:0:1", "80"], "[::1]:80"),
            (&["[::ffff:127.0.0.1]:80"], "[::ffff:127.0.0.1]:80"),
            (&["[fe80::1%lo]:80"], "[fe80::1%lo]:80"),
            (&["fe80::1%lo", "80"], "[fe80::1%lo]:80"),
            (&[":80"], ":80"),
            (&["80"], ":80"),
            (&[":http"], ":http"),
            // What getaddrinfo(3) may make of these is its own affair.
            (&["1.2.3:80"], "1.2.3:80"),
            (&["256.1.1.1:80"], "256.1.1.1:80"),
            (&["b\u{fc}cher.example:80"], "b\u{fc}cher.example:80"),
            (&["unix:/run/a b"], "unix:/run/a b"),
            (&["unix:a"], "unix:a"),
            (&["unix:./@a"], "unix:./@a"),
            (&["/run/a:80"], "unix:/run/a:80"),
            (&["./a"], "unix:./a"),
            (&["../a"], "unix:../a"),
        ] {
            assert_eq!(read(words).as_deref(), Ok(expected), "{words:?}");
        }
    }

    #[test]
    fn a_place_without_a_usable_host_is_refused_with_a_way_out() {
        for (words, expected) in [
            (&[""][..], "nothing is named: write HOST:PORT"),
            (&["::1:80"], "\"::1:80\" can be read in two ways: write [::1]:80 or ::1 80"),
            (&["fe80::1%lo:80"], "\"fe80::1%lo:80\" can be read in two ways: write [fe80::1%lo]:80 or fe80::1%lo 80"),
            (&["[::1"], "no closing bracket in \"[::1\": write [ADDRESS]:PORT"),
            (&["[::1]80"], "\"80\" after the bracket in \"[::1]80\": write [::1]:PORT"),
            (&["[]:80"], "\"\" in brackets is not an IPv6 address, such as ::1"),
            (&["[]", "80"], "\"\" in brackets is not an IPv6 address, such as ::1"),
            (&["[127.0.0.1]:80"], "\"127.0.0.1\" in brackets is not an IPv6 address, such as ::1"),
            (&["[::1%]:80"], "\"::1%\" in brackets is not an IPv6 address, such as ::1"),
            (&["", "80"], "the host is empty: write a name, an address, or :PORT for this machine"),
            (&["a b:80"], "' ' cannot be in a host name such as \"a b\": write HOST:PORT or [ADDRESS]:PORT"),
            (
                &["a\u{1b}:80"],
                "'\\u{1b}' cannot be in a host name such as \"a\\u{1b}\": write HOST:PORT or [ADDRESS]:PORT",
            ),
            (&["a:b:80"], "':' cannot be in a host name such as \"a:b\": write HOST:PORT or [ADDRESS]:PORT"),
            (&["a:80", "80"], "':' cannot be in a host name such as \"a:80\": write HOST:PORT or [ADDRESS]:PORT"),
            (&["http://a:80/"], "\"http://a:80/\" is a URL: write only HOST:PORT"),
            (&["http://a"], "\"http://a\" is a URL: write only HOST:PORT"),
            (&["unix:\0a"], "the unix name \"\\0a\" contains a NUL byte"),
            (&["unix:"], "the path of a unix socket is empty: write unix:PATH"),
            (&["/run/a", "80"], "\"/run/a\" names a unix socket, which has no port: leave out \"80\""),
            (&["a", "80", "81"], "3 words do not make one place: write HOST:PORT or HOST PORT"),
            (&[], "0 words do not make one place: write HOST:PORT or HOST PORT"),
        ] {
            assert_eq!(read(words), Err(expected.to_owned()), "{words:?}");
        }
    }

    #[test]
    fn a_place_without_a_usable_port_is_refused_with_a_way_out() {
        for (words, expected) in [
            (&[":"][..], "no port in \":\": write :PORT"),
            (&["localhost"], "no port in \"localhost\": write localhost:PORT"),
            (&["localhost:"], "no port in \"localhost:\": write localhost:PORT"),
            (&["127.0.0.1"], "no port in \"127.0.0.1\": write 127.0.0.1:PORT"),
            (&["::1"], "no port in \"::1\": write [::1]:PORT or ::1 PORT"),
            (&["[::1]"], "no port in \"[::1]\": write [::1]:PORT"),
            (&["[::1]:"], "no port in \"[::1]:\": write [::1]:PORT"),
            (&["127.0.0.1:70000"], "port \"70000\" is out of range: 1 to 65535"),
            (&["127.0.0.1:65536"], "port \"65536\" is out of range: 1 to 65535"),
            (&["a:99999999999999999999"], "port \"99999999999999999999\" is out of range: 1 to 65535"),
            (&[":-1"], "port \"-1\" is neither a number (1 to 65535) nor a service name such as http"),
            (&["-1"], "port \"-1\" is neither a number (1 to 65535) nor a service name such as http"),
            (&["a:+80"], "port \"+80\" is neither a number (1 to 65535) nor a service name such as http"),
            (&["a:80x"], "port \"80x\" is neither a number (1 to 65535) nor a service name such as http"),
            (&["a:ht tp"], "port \"ht tp\" is neither a number (1 to 65535) nor a service name such as http"),
            (&["a", ""], "the port after \"a\" is empty: write HOST PORT"),
            (&["a:0"], "port 0 is only for listening: there the system chooses one"),
        ] {
            assert_eq!(read(words), Err(expected.to_owned()), "{words:?}");
        }
    }

    #[test]
    fn port_zero_is_a_place_to_listen_at() {
        let endpoint = Endpoint::parse(&[":0"], Role::Listen, false);
        assert_eq!(endpoint, Ok(Endpoint::Inet { host: Host::Unspecified, port: Port::Number(0) }));
        let error = Endpoint::parse(&[":65536"], Role::Listen, false).unwrap_err();
        assert_eq!(error, "port \"65536\" is out of range: 0 to 65535");
    }

    #[test]
    fn with_a_unix_transport_any_word_is_a_path() {
        for (word, expected) in [("a", "unix:a"), ("a:80", "unix:a:80"), ("unix:a", "unix:a"), ("80", "unix:80")] {
            let endpoint = Endpoint::parse(&[word], Role::Connect, true).unwrap();
            assert_eq!(endpoint.to_string(), expected);
        }
        assert!(Endpoint::parse(&[""], Role::Connect, true).unwrap_err().contains("empty"));
        assert!(Endpoint::parse(&["a", "80"], Role::Connect, true).unwrap_err().contains("has no port"));
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn an_abstract_name_needs_no_file() {
        for word in ["@a", "unix:@a"] {
            let endpoint = Endpoint::parse(&[word], Role::Connect, false).unwrap();
            assert_eq!(endpoint, Endpoint::Unix(UnixName::Abstract(b"a".to_vec())));
            assert_eq!(endpoint.to_string(), "unix:@a");
        }
        assert!(read(&["@"]).unwrap_err().contains("is empty"));
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    #[test]
    fn an_abstract_name_is_refused_where_there_are_none() {
        assert!(read(&["@a"]).unwrap_err().contains("on Linux only"));
    }

    #[test]
    fn the_longest_unix_name_is_what_the_system_takes() {
        let longest = "a".repeat(LONGEST_UNIX_NAME);
        for prefix in ["unix:", "unix:@"] {
            if prefix.ends_with('@') && !ABSTRACT_NAMES {
                continue;
            }
            match Endpoint::parse(&[format!("{prefix}{longest}")], Role::Listen, false) {
                Ok(Endpoint::Unix(name)) => assert!(Address::Unix(name).to_socket2().is_ok()),
                other => panic!("{other:?}"),
            }
            let error = Endpoint::parse(&[format!("{prefix}{longest}a")], Role::Listen, false).unwrap_err();
            assert!(error.ends_with(&format!("{} bytes, the limit is {LONGEST_UNIX_NAME}", LONGEST_UNIX_NAME + 1)));
        }
        assert!(Address::Unix(UnixName::Path(format!("{longest}a").into())).to_socket2().is_err());
    }

    fn named_host() -> impl Strategy<Value = Host> {
        prop_oneof![
            any::<IpAddr>().prop_map(Host::Ip),
            (any::<Ipv6Addr>(), "[a-z][a-z0-9.-]{0,9}").prop_map(|(address, zone)| Host::Scoped(address, zone)),
            "[a-zA-Z0-9_-]{1,9}(\\.[a-z0-9\u{e0}-\u{ff}]{1,9}){0,3}"
                .prop_filter("an address, or the one name that reads as a path", |name| {
                    name != "unix" && name.parse::<IpAddr>().is_err()
                })
                .prop_map(Host::Name),
        ]
    }

    fn any_endpoint() -> impl Strategy<Value = Endpoint> {
        let host = prop_oneof![Just(Host::Unspecified), named_host()];
        let port = prop_oneof![any::<u16>().prop_map(Port::Number), "[a-z][a-z0-9-]{0,14}".prop_map(Port::Service)];
        let path = "[^\\p{C}@]\\P{C}{0,20}".prop_map(|path| UnixName::Path(path.into()));
        let name = "\\P{C}{1,20}".prop_map(|name| UnixName::Abstract(name.into_bytes()));
        let unix = (any::<bool>(), path, name);
        prop_oneof![
            (host, port).prop_map(|(host, port)| Endpoint::Inet { host, port }),
            unix.prop_map(|(files, path, name)| Endpoint::Unix(if files || !ABSTRACT_NAMES { path } else { name })),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_as_the_same_place(endpoint in any_endpoint()) {
            let printed = endpoint.to_string();
            prop_assert_eq!(Endpoint::parse(&[&printed], Role::Listen, false), Ok(endpoint), "{}", printed);
        }

        #[test]
        fn host_and_port_may_be_two_words(host in named_host(), port in any::<u16>()) {
            let words = [host.to_string(), port.to_string()];
            let expected = Endpoint::Inet { host, port: Port::Number(port) };
            prop_assert_eq!(Endpoint::parse(&words, Role::Listen, false), Ok(expected));
        }

        #[test]
        fn no_text_panics_or_reaches_the_terminal_raw(
            words in prop::collection::vec(prop_oneof![any::<String>(), "[\\[\\]:%@./0-9a-f\u{1b} -]{0,20}"], 0..3),
            unix in any::<bool>(),
        ) {
            let text = match Endpoint::parse(&words, Role::Connect, unix) {
                Ok(endpoint) => endpoint.to_string(),
                Err(error) => error,
            };
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        }

        #[test]
        fn a_number_beyond_the_ports_is_never_wrapped(number in 65_536u64..) {
            let (port, place) = (number.to_string(), format!("localhost:{number}"));
            for words in [&[port.as_str()][..], &[place.as_str()], &["localhost", port.as_str()]] {
                prop_assert!(read(words).is_err(), "{:?}", words);
            }
        }
    }
}
