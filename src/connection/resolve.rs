//! From a place that a person typed to the addresses that a socket takes, within a deadline.
//!
//! Owns every call of getaddrinfo(3), the order of the addresses and the names of the `EAI_*` numbers. Must not know
//! sockets: which address answers is found out by dialling. Trade-off: getaddrinfo has no deadline, so it runs on a
//! thread that is left behind when time is up; a resolver of our own would obey a deadline and ignore nsswitch.conf.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use dns_lookup::{AddrFamily, AddrInfoHints, LookupError, LookupErrorKind, SockType};

use super::address::Address;
use super::endpoint::{Endpoint, Host, Port};
use super::error::{Cause, Clock, Error, Op, Result};
use super::{Allowed, Family, Transport};

/// The flag that forbids any lookup of a host.
#[cfg(unix)]
const AI_NUMERICHOST: i32 = libc::AI_NUMERICHOST;
#[cfg(windows)]
const AI_NUMERICHOST: i32 = windows_sys::Win32::Networking::WinSock::AI_NUMERICHOST.cast_signed();

/// `EAI_NONAME`, the number of the refusals that are our own.
#[cfg(unix)]
const EAI_NONAME: i32 = libc::EAI_NONAME;
#[cfg(windows)]
const EAI_NONAME: i32 = windows_sys::Win32::Networking::WinSock::WSAHOST_NOT_FOUND;

/// What netdb.h says where it has `EAI_ADDRFAMILY` at all: the libc crate does not list it, as POSIX does not.
const EAI_ADDRFAMILY: i32 = if cfg!(any(target_os = "linux", target_os = "openbsd")) { -9 } else { 1 };

/// What is asked of a lookup.
#[derive(Debug, Clone, Copy)]
pub struct Query {
    /// The families that may be used.
    pub allowed: Allowed,
    /// What the addresses are for: a service may have its port in TCP or in UDP alone.
    pub transport: Transport,
    /// Whether a host must be an address, so that no name is looked up (`-n`).
    pub numeric: bool,
    /// How long a lookup may take; without one, as long as the system's resolver likes.
    pub timeout: Option<Duration>,
}

/// The addresses of a place, at least one, in the order in which to try them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Each once, the families in turns (RFC 8305 section 4).
    pub addresses: Vec<Address>,
    /// How long it took.
    pub elapsed: Duration,
}

/// The addresses of a place. Addresses, `:PORT` and unix names cost neither a lookup nor a thread. The error is one of
/// `Op::Resolve`: the resolver's own, our clock's, or that nothing there has an allowed family.
pub fn resolve(endpoint: &Endpoint, query: &Query) -> Result<Resolved> {
    let started = Instant::now();
    let addresses = match endpoint {
        Endpoint::Unix(name) => Ok(vec![Address::Unix(name.clone())]),
        Endpoint::Inet { host, port } => inet_addresses(host, port, query),
    };
    let elapsed = started.elapsed();
    match addresses {
        Ok(addresses) => Ok(Resolved { addresses, elapsed }),
        Err(cause) => Err(Error::new(Op::Resolve, target(endpoint), elapsed, cause)),
    }
}

/// What was typed, quoted; without the port unless that is a name too, which may be the one at fault.
fn target(endpoint: &Endpoint) -> String {
    let text = match endpoint {
        Endpoint::Inet { host, port: Port::Number(_) } => host.to_string(),
        Endpoint::Inet { port: Port::Service(_), .. } | Endpoint::Unix(_) => endpoint.to_string(),
    };
    format!("{text:?}")
}

/// The addresses of a host and a port.
fn inet_addresses(host: &Host, port: &Port, query: &Query) -> std::result::Result<Vec<Address>, Cause> {
    if let Some(family) = literal_family(host)
        && !query.allowed.admits(family)
    {
        let words = format!("{host} is not an {} address", family_words(query.allowed));
        return Err(Cause::Lookup { code: EAI_NONAME, name: "EAI_NONAME", words, retry: false });
    }
    let found = match (known(host, query.allowed), port) {
        (Some(ips), Port::Number(number)) => with_port(&ips, *number),
        // Asked for a service alone, the system answers with some address that has the service's port.
        (Some(ips), Port::Service(_)) => match look_up(host, port, query)?.first() {
            Some(any) => with_port(&ips, any.port()),
            None => Vec::new(),
        },
        (None, _) => look_up(host, port, query)?,
    };
    Ok(interleaved(found).into_iter().map(Address::Inet).collect())
}

/// The family of a host that is an address already.
fn literal_family(host: &Host) -> Option<Family> {
    match host {
        Host::Ip(IpAddr::V4(_)) => Some(Family::V4),
        Host::Ip(IpAddr::V6(_)) | Host::Scoped(..) => Some(Family::V6),
        Host::Unspecified | Host::Name(_) => None,
    }
}

/// The addresses of a host that need no lookup.
fn known(host: &Host, allowed: Allowed) -> Option<Vec<IpAddr>> {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    match (host, allowed) {
        (Host::Ip(ip), _) => Some(vec![*ip]),
        (Host::Unspecified, Allowed::Any) => Some(vec![v4, v6]),
        (Host::Unspecified, Allowed::V4) => Some(vec![v4]),
        (Host::Unspecified, Allowed::V6) => Some(vec![v6]),
        (Host::Scoped(..) | Host::Name(_), _) => None,
    }
}

fn with_port(ips: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
}

/// The same addresses, each once, with the families in turns and the first one's family first (RFC 8305 section 4):
/// when one family is broken, the second attempt is already one of the other.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (mut turn, mut other) = (VecDeque::new(), VecDeque::new());
    for address in addresses {
        let family = if address.is_ipv4() == first_is_v4 { &mut turn } else { &mut other };
        if !family.contains(&address) {
            family.push_back(address);
        }
    }
    let mut ordered = Vec::with_capacity(turn.len() + other.len());
    while let Some(address) = turn.pop_front().or_else(|| other.pop_front()) {
        ordered.push(address);
        std::mem::swap(&mut turn, &mut other);
    }
    ordered
}

/// Asks getaddrinfo(3). `AI_ADDRCONFIG` stays off: with it a machine without a network might not find even its loopback.
fn look_up(host: &Host, port: &Port, query: &Query) -> std::result::Result<Vec<SocketAddr>, Cause> {
    let name = match host {
        Host::Scoped(..) | Host::Name(_) => Some(host.to_string()),
        Host::Unspecified | Host::Ip(_) => None,
    };
    let service = port.to_string();
    let hints = AddrInfoHints {
        // A zone is this machine's own affair: no server needs to hear of a misspelt one.
        flags: if query.numeric || matches!(host, Host::Scoped(..)) { AI_NUMERICHOST } else { 0 },
        address: match query.allowed {
            Allowed::Any => 0, // AF_UNSPEC, everywhere
            Allowed::V4 => AddrFamily::Inet.into(),
            Allowed::V6 => AddrFamily::Inet6.into(),
        },
        socktype: if query.transport.is_stream() { SockType::Stream.into() } else { SockType::DGram.into() },
        protocol: 0,
    };
    let answer = within(query.timeout, move || {
        let found = dns_lookup::getaddrinfo(name.as_deref(), Some(&service), Some(hints))?;
        Ok(found.flatten().map(|information| information.sockaddr).collect())
    })?;
    answer.map_err(|error| lookup_cause(error, host, query))
}

/// The number of the interface with this name: if_nametoindex(3) by way of getaddrinfo(3), which reads the zone behind an
/// address's `%` on every system.
pub(super) fn interface_number(name: &str) -> Option<u32> {
    // Any link-local address will do, and the flag keeps the name from ever being looked up as a host.
    let hints = AddrInfoHints { flags: AI_NUMERICHOST, address: 0, socktype: 0, protocol: 0 };
    let scoped = format!("fe80::1%{name}");
    match dns_lookup::getaddrinfo(Some(&scoped), None, Some(hints)).ok()?.next()?.ok()?.sockaddr {
        SocketAddr::V6(address) => Some(address.scope_id()).filter(|number| *number != 0),
        SocketAddr::V4(_) => None,
    }
}

/// Does `work` on a thread of its own and waits for no longer than `timeout`. A thread whose time is up is never
/// joined: nothing can interrupt getaddrinfo, and to wait for it after all would make the deadline a lie. It ends with
/// its own answer, to which nobody listens, or with the process.
fn within<T: Send + 'static>(
    timeout: Option<Duration>,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::result::Result<T, Cause> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let answer = move || {
        // Fails only when nobody waits any more.
        let _ = sender.send(work());
    };
    thread::Builder::new().name("resolve".to_owned()).spawn(answer).map_err(Cause::System)?;
    let answered = match timeout {
        Some(timeout) => receiver.recv_timeout(timeout),
        None => receiver.recv().map_err(RecvTimeoutError::from),
    };
    answered.map_err(|error| match error {
        RecvTimeoutError::Timeout => Cause::TimedOut(Clock::Resolve),
        RecvTimeoutError::Disconnected => Cause::System(io::Error::other("the thread of the lookup ended early")),
    })
}

/// The resolver's answer as a cause. What names nothing is final; everything else may change soon.
fn lookup_cause(error: LookupError, host: &Host, query: &Query) -> Cause {
    let code = error.error_num();
    let name = match error.kind() {
        // The number is in errno, or there is none: a text with a NUL byte, which no parser lets through.
        LookupErrorKind::System => return Cause::System(error.into()),
        LookupErrorKind::IO if code == 0 => return Cause::System(error.into()),
        LookupErrorKind::Again => "EAI_AGAIN",
        LookupErrorKind::Badflags => "EAI_BADFLAGS",
        LookupErrorKind::Fail => "EAI_FAIL",
        LookupErrorKind::Family => "EAI_FAMILY",
        LookupErrorKind::Memory => "EAI_MEMORY",
        LookupErrorKind::NoData => "EAI_NODATA",
        LookupErrorKind::NoName => "EAI_NONAME",
        LookupErrorKind::Service => "EAI_SERVICE",
        LookupErrorKind::Socktype => "EAI_SOCKTYPE",
        LookupErrorKind::IO | LookupErrorKind::Unknown if code == EAI_ADDRFAMILY => "EAI_ADDRFAMILY",
        LookupErrorKind::IO | LookupErrorKind::Unknown => "EAI_UNKNOWN",
    };
    let retry = !matches!(name, "EAI_NONAME" | "EAI_NODATA" | "EAI_SERVICE" | "EAI_ADDRFAMILY");
    Cause::Lookup { code, name, words: lookup_words(name, &error.into(), host, query), retry }
}

/// The system's words, or better ones where the question tells more than the answer.
fn lookup_words(name: &str, error: &io::Error, host: &Host, query: &Query) -> String {
    let family = family_words(query.allowed);
    let text = super::errno::words(error);
    // dns-lookup puts the same words before every answer.
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    match (name, host, query.allowed) {
        ("EAI_NONAME", Host::Scoped(_, zone), _) => format!("the address has no zone {zone:?} here"),
        ("EAI_NONAME", Host::Name(_), _) if query.numeric => "not an IP address, and no names are looked up".to_owned(),
        ("EAI_NONAME", Host::Name(_), Allowed::V4 | Allowed::V6) => format!("{text}, or it has no {family} address"),
        ("EAI_SERVICE", _, _) => format!("no such service over {}", query.transport),
        ("EAI_NODATA" | "EAI_ADDRFAMILY", _, _) => format!("the name has no {family} address"),
        _ => text.to_owned(),
    }
}

/// The name of the allowed family.
fn family_words(allowed: Allowed) -> &'static str {
    match allowed {
        Allowed::Any => "IP",
        Allowed::V4 => "IPv4",
        Allowed::V6 => "IPv6",
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::Kind;
    use super::*;
    use crate::connection::Role;
    use proptest::prelude::*;

    const QUERY: Query = Query {
        allowed: Allowed::Any,
        transport: Transport::Tcp,
        numeric: false,
        timeout: Some(Duration::from_secs(10)),
    };

    fn ask(text: &str, query: Query) -> Result<Resolved> {
        resolve(&Endpoint::parse(&[text], Role::Listen, query.transport.is_unix()).unwrap(), &query)
    }

    fn addresses(text: &str, query: Query) -> Vec<String> {
        ask(text, query).unwrap().addresses.iter().map(Address::to_string).collect()
    }

    #[test]
    fn what_is_an_address_already_stays_as_it_is() {
        for (text, allowed, expected) in [
            ("127.0.0.1:80", Allowed::Any, &["127.0.0.1:80"][..]),
            ("192.0.2.1:80", Allowed::V4, &["192.0.2.1:80"]),
            ("[2001:db8::1]:80", Allowed::V6, &["[2001:db8::1]:80"]),
            (":80", Allowed::Any, &["127.0.0.1:80", "[::1]:80"]),
            ("80", Allowed::V4, &["127.0.0.1:80"]),
            (":0", Allowed::V6, &["[::1]:0"]),
            ("unix:/run/a", Allowed::V4, &["unix:/run/a"]),
        ] {
            assert_eq!(addresses(text, Query { allowed, ..QUERY }), expected, "{text}");
        }
    }

    #[test]
    fn an_address_needs_no_time_at_all() {
        // A lookup of any kind would run into this clock.
        assert_eq!(addresses("[::1]:80", Query { timeout: Some(Duration::ZERO), ..QUERY }), ["[::1]:80"]);
    }

    #[test]
    fn an_address_of_the_other_family_is_refused_by_name() {
        for (text, allowed, expected) in [
            ("[::1]:80", Allowed::V4, "resolve \"::1\" failed after 0.00 ms: ::1 is not an IPv4 address (EAI_NONAME, "),
            ("[fe80::1%x]:80", Allowed::V4, "resolve \"fe80::1%x\" failed after 0.00 ms: fe80::1%x is not an IPv4"),
            ("127.0.0.1:80", Allowed::V6, "resolve \"127.0.0.1\" failed after 0.00 ms: 127.0.0.1 is not an IPv6"),
        ] {
            let mut error = ask(text, Query { allowed, ..QUERY }).unwrap_err();
            error.elapsed = Duration::ZERO;
            assert_eq!(error.kind(), Kind::NameNotFound);
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }

    #[test]
    fn localhost_is_this_machine() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let found = ask("localhost:80", Query { transport, ..QUERY }).unwrap().addresses;
            assert!(!found.is_empty());
            for address in found {
                assert!(address.is_loopback() && address.port() == Some(80), "{address}");
            }
        }
        assert_eq!(addresses("localhost:80", Query { allowed: Allowed::V4, ..QUERY }), ["127.0.0.1:80"]);
    }

    #[test]
    fn a_service_has_the_port_that_the_system_says() {
        for (text, expected) in [
            ("127.0.0.1:http", &["127.0.0.1:80"][..]),
            (":http", &["127.0.0.1:80", "[::1]:80"]),
            ("[2001:db8::1]:http", &["[2001:db8::1]:80"]),
        ] {
            match ask(text, QUERY) {
                Ok(resolved) => {
                    let found: Vec<String> = resolved.addresses.iter().map(Address::to_string).collect();
                    assert_eq!(found, expected, "{text}");
                }
                // A machine without /etc/services knows no service; it must say that, and nothing else.
                Err(error) => assert_eq!(error.errname(), "EAI_SERVICE", "{error}"),
            }
        }
    }

    #[test]
    fn an_unknown_service_is_not_found() {
        for text in ["localhost:http2", "127.0.0.1:http2", ":http2"] {
            let error = ask(text, QUERY).unwrap_err();
            assert_eq!(error.kind(), Kind::NameNotFound, "{error}");
            assert!(error.to_string().starts_with(&format!("resolve {text:?} failed after ")), "{error}");
            #[cfg(target_os = "linux")]
            assert!(error.to_string().ends_with(" (EAI_SERVICE, -8)"), "{error}");
        }
    }

    #[test]
    fn without_lookups_a_name_is_not_found() {
        let error = ask("localhost:80", Query { numeric: true, ..QUERY }).unwrap_err();
        assert_eq!((error.kind(), error.errname()), (Kind::NameNotFound, "EAI_NONAME"));
        assert_eq!(error.words(), "not an IP address, and no names are looked up");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_zone_becomes_its_number_or_is_reported() {
        assert_eq!(addresses("[fe80::1%lo]:80", QUERY), ["[fe80::1%1]:80"]);
        let error = ask("[fe80::1%nosuch]:80", QUERY).unwrap_err();
        assert_eq!(error.reason(), "the address has no zone \"nosuch\" here (EAI_NONAME, -2)");
    }

    #[test]
    fn work_that_takes_too_long_is_left_behind() {
        let (release, held) = mpsc::channel::<()>();
        let answer = within(Some(Duration::from_millis(1)), move || held.recv().is_ok());
        assert!(matches!(answer, Err(Cause::TimedOut(Clock::Resolve))), "{answer:?}");
        drop(release);
        assert_eq!(within(None, || 7).unwrap(), 7);
    }

    #[cfg(unix)]
    #[test]
    fn each_answer_has_its_name_and_says_whether_to_ask_again() {
        let name = Host::Name("example".to_owned());
        for (code, expected_name, expected_kind) in [
            (libc::EAI_AGAIN, "EAI_AGAIN", Kind::LookupFailed),
            (libc::EAI_FAIL, "EAI_FAIL", Kind::LookupFailed),
            (libc::EAI_MEMORY, "EAI_MEMORY", Kind::LookupFailed),
            (libc::EAI_NONAME, "EAI_NONAME", Kind::NameNotFound),
            (libc::EAI_SERVICE, "EAI_SERVICE", Kind::NameNotFound),
            (EAI_ADDRFAMILY, "EAI_ADDRFAMILY", Kind::NameNotFound),
        ] {
            let cause = lookup_cause(LookupError::new(code), &name, &QUERY);
            let error = Error::new(Op::Resolve, "", Duration::ZERO, cause);
            assert_eq!((error.errname(), error.kind()), (expected_name, expected_kind));
            assert!(error.reason().ends_with(&format!(" ({expected_name}, {code})")), "{}", error.reason());
            assert!(!error.reason().contains("failed to lookup"), "{}", error.reason());
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_words_name_the_family_that_was_asked_for() {
        let name = Host::Name("example".to_owned());
        let only_v6 = Query { allowed: Allowed::V6, ..QUERY };
        for (code, expected) in
            [(libc::EAI_NONAME, ", or it has no IPv6 address"), (EAI_ADDRFAMILY, "the name has no IPv6 address")]
        {
            match lookup_cause(LookupError::new(code), &name, &only_v6) {
                Cause::Lookup { words, .. } => assert!(words.ends_with(expected), "{words}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn families_take_turns_and_doubles_go() {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        for (given, expected) in [
            (&[][..], &[][..]),
            (&["[::1]:1", "[::2]:1", "1.1.1.1:1"], &["[::1]:1", "1.1.1.1:1", "[::2]:1"]),
            (&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"], &["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]),
            (&["1.1.1.1:1", "1.1.1.1:1", "2.2.2.2:1"], &["1.1.1.1:1", "2.2.2.2:1"]),
            // A double does not cost its family a turn.
            (
                &["1.1.1.1:1", "1.1.1.1:1", "2.2.2.2:1", "[::1]:1", "[::2]:1"],
                &["1.1.1.1:1", "[::1]:1", "2.2.2.2:1", "[::2]:1"],
            ),
        ] {
            assert_eq!(interleaved(parse(given)), parse(expected), "{given:?}");
        }
    }

    proptest! {
        #[test]
        fn interleaving_keeps_each_address_once_and_each_family_in_order(
            given in prop::collection::vec((any::<bool>(), 0u16..6), 0..12)
        ) {
            let given: Vec<SocketAddr> = given
                .into_iter()
                .map(|(v4, port)| with_port(&known(&Host::Unspecified, Allowed::Any).unwrap()[usize::from(v4)..], port)[0])
                .collect();
            let ordered = interleaved(given.clone());
            prop_assert_eq!(ordered.first(), given.first());
            for v4 in [true, false] {
                let mut unique: Vec<_> = given.iter().filter(|address| address.is_ipv4() == v4).collect();
                let mut seen = Vec::new();
                unique.retain(|address| !seen.contains(address) && { seen.push(*address); true });
                let kept: Vec<_> = ordered.iter().filter(|address| address.is_ipv4() == v4).collect();
                prop_assert_eq!(kept, unique);
            }
        }
    }
}
