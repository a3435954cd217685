//! Places as the users of netcat and socat write them, each with the way in which it is written here.
//!
//! Owns the reading of what is no place of ours. Must not know what a place of ours is: `connection/endpoint` does. Trade-off:
//! `TCP:80` may be a host of that name, so only what nobody can have meant otherwise is refused.

use super::UsageError;
use crate::connection::{Endpoint, Role};

/// socat's keywords, and the command line for their place here; `CLIENT` is the command that connects.
const SOCAT: &[(&[&str], &str)] = &[
    (&["TCP", "TCP-CONNECT"], "CLIENT PLACE"),
    (&["TCP4", "TCP4-CONNECT"], "CLIENT -4 PLACE"),
    (&["TCP6", "TCP6-CONNECT"], "CLIENT -6 PLACE"),
    (&["TCP-LISTEN", "TCP-L"], "serve -p PLACE"),
    (&["TCP4-LISTEN", "TCP4-L"], "serve -4 -p PLACE"),
    (&["TCP6-LISTEN", "TCP6-L"], "serve -6 -p PLACE"),
    (&["UDP", "UDP-CONNECT", "UDP-SENDTO", "UDP-SEND", "UDP-DATAGRAM"], "CLIENT -u PLACE"),
    (&["UDP4", "UDP4-CONNECT", "UDP4-SENDTO", "UDP4-SEND", "UDP4-DATAGRAM"], "CLIENT -4 -u PLACE"),
    (&["UDP6", "UDP6-CONNECT", "UDP6-SENDTO", "UDP6-SEND", "UDP6-DATAGRAM"], "CLIENT -6 -u PLACE"),
    (&["UDP-LISTEN", "UDP-L", "UDP-RECVFROM", "UDP-RECV"], "serve -u -p PLACE"),
    (&["UDP4-LISTEN", "UDP4-L", "UDP4-RECVFROM", "UDP4-RECV"], "serve -4 -u -p PLACE"),
    (&["UDP6-LISTEN", "UDP6-L", "UDP6-RECVFROM", "UDP6-RECV"], "serve -6 -u -p PLACE"),
    (&["UNIX", "UNIX-CONNECT", "UNIX-CLIENT"], "CLIENT -U PLACE"),
    (&["UNIX-LISTEN", "UNIX-L"], "serve -U PLACE"),
    (&["UNIX-SENDTO", "UNIX-SEND"], "CLIENT -u -U PLACE"),
    (&["UNIX-RECVFROM", "UNIX-RECV"], "serve -u -U PLACE"),
    (&["ABSTRACT-CONNECT", "ABSTRACT-CLIENT"], "CLIENT @PLACE"),
    (&["ABSTRACT-LISTEN"], "serve @PLACE"),
    (&["SOCKS4"], "CLIENT --proxy socks4://PROXY:1080 PLACE"),
    (&["SOCKS4A"], "CLIENT --proxy socks4a://PROXY:1080 PLACE"),
    (&["PROXY", "PROXY-CONNECT"], "CLIENT --proxy http://PROXY:8080 PLACE"),
];

/// Refuses a place as others write it. `client` is the command that connects, where the place is somebody else's.
pub fn check(words: &[String], client: &str) -> Result<(), UsageError> {
    match words.iter().find_map(|word| Some((word, socat(word, client)?))) {
        Some((word, here)) => Err(UsageError(format!("{word:?} is how socat writes it; here it is `sockkit {here}`"))),
        None => Ok(()),
    }
}

/// Refuses two words that netcat would not have taken for one place: what -x is there, and several ports.
pub fn check_pair(words: &[String], has_hex: bool, command: &str) -> Result<(), UsageError> {
    let [first, second] = words else { return Ok(()) };
    if has_hex && (is_whole(first) || is_whole(second)) {
        return Err(UsageError(dump_value(first, command)));
    }
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    if command == "connect" && second.split_once('-').is_some_and(|(low, high)| is_port(low) && is_port(high)) {
        return Err(UsageError(format!("{second} is a range of ports: that is `sockkit probe {first} {second}`")));
    }
    Ok(())
}

/// Whether a word is a host and a port.
fn is_whole(word: &str) -> bool {
    word.contains(':') && matches!(Endpoint::parse(&[word], Role::Connect, false), Ok(Endpoint::Inet { .. }))
}

/// What to say where -x has a value: netcat's has a proxy, and ncat's a file.
pub fn dump_value(value: &str, command: &str) -> String {
    if is_whole(value) && command == "connect" {
        return format!("-x is a hex dump: the way through {value} is --proxy socks5h://{value}");
    }
    format!("-x has no value, and {value:?} is a word too many: the dump goes to stderr")
}

/// How socat's address is written here; nothing where it may be a place of ours.
fn socat(word: &str, client: &str) -> Option<String> {
    let (keyword, rest) = word.split_once(':')?;
    let (place, has_options) = rest.split_once(',').map_or((rest, false), |(place, _)| (place, true));
    // A host may be called tcp; `unix:` and `udp:` are ours; `tcp://` begins a URL.
    let is_distinct = keyword.contains('-') || has_options || place.contains([':', '/']);
    if !is_distinct || place.starts_with("//") || place.is_empty() || ["unix", "udp"].contains(&keyword) {
        return None;
    }
    let (_, line) = SOCAT.iter().find(|(names, _)| names.iter().any(|name| name.eq_ignore_ascii_case(keyword)))?;
    let (proxy, place) = if line.contains("PROXY") { place.split_once(':')? } else { ("", place) };
    Some(line.replace("CLIENT", client).replace("PROXY", proxy).replace("PLACE", place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_socat_writes_is_written_otherwise_here() {
        for (word, here) in [
            ("TCP:localhost:80", Some("connect localhost:80")),
            ("tcp4:localhost:80,crnl", Some("connect -4 localhost:80")),
            ("TCP:[::1]:80", Some("connect [::1]:80")),
            ("TCP-LISTEN:9000,fork,reuseaddr", Some("serve -p 9000")),
            ("tcp-listen:9000", Some("serve -p 9000")),
            ("UDP6-RECVFROM:514", Some("serve -6 -u -p 514")),
            ("UDP:localhost:514", Some("connect -u localhost:514")),
            ("UNIX-CONNECT:/tmp/a", Some("connect -U /tmp/a")),
            ("UNIX:/tmp/a", Some("connect -U /tmp/a")),
            ("ABSTRACT-LISTEN:name", Some("serve @name")),
            (
                "SOCKS4A:proxy:example.com:80,socksport=9050",
                Some("connect --proxy socks4a://proxy:1080 example.com:80"),
            ),
            ("TCP:80", None),
            ("tcp:http", None),
            ("unix:/tmp/a", None),
            ("udp:localhost:514", None),
            ("localhost:80", None),
            ("tcp://localhost:80", None),
            ("EXEC:cat -v", None),
            ("[::1]:80", None),
            ("::1", None),
            ("TCP-LISTEN:", None),
        ] {
            assert_eq!(socat(word, "connect").as_deref(), here, "{word}");
        }
    }

    #[test]
    fn what_is_told_can_be_typed() {
        for (names, line) in SOCAT {
            let place = match *line {
                _ if line.contains("-p PLACE") => "80",
                _ if line.contains("PROXY") => "proxy:localhost:80",
                _ if line.contains("-U") || line.contains('@') => "/tmp/a",
                _ => "localhost:80",
            };
            let word = format!("{}:{place},fork", names[0]);
            let here = socat(&word, "connect").expect("it is known");
            let line = std::iter::once("sockkit").chain(here.split(' ')).map(Into::into);
            assert!(crate::cli::read(line).is_ok(), "{word}: {here}");
        }
    }
}
