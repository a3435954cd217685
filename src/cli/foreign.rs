//! What the fingers of netcat's and socat's users type and sockkit does not have, each flag with its one-line translation.
//!
//! Owns the table of foreign flags. Must not know clap: it is asked when a command line could not be read, and only then, so
//! that it costs the others nothing. Trade-off: sentences instead of a rewritten
//! command line, because most foreign flags are a part of another flag here, and a wrong rewrite would be worse than none. A
//! test holds every flag that a sentence names against the definitions.

use std::ffi::OsString;

use super::places::dump_value;
use crate::units::parse_duration;

/// Flags of others, by the commands that do not have them.
struct Row {
    typed: &'static [&'static str],
    commands: &'static [&'static str],
    means: &'static str,
}

const ALL: &[&str] = &["serve", "connect", "probe"];
const CLIENTS: &[&str] = &["connect", "probe"];
const SERVER: &[&str] = &["serve"];
const PROBE: &[&str] = &["probe"];

const fn row(typed: &'static [&'static str], commands: &'static [&'static str], means: &'static str) -> Row {
    Row { typed, commands, means }
}

/// Those of OpenBSD's, Debian's, GNU's and busybox's nc, of ncat and of socat. What several of them use in several senses says
/// more than one of them.
const TABLE: &[Row] = &[
    row(&["-b"], &["serve", "probe"], "broadcasts are allowed with --broadcast"),
    row(&["-D"], ALL, "what SO_DEBUG would leave in the kernel's log, --trace prints"),
    row(&["-g"], ALL, "no router obeys source routes any more"),
    row(&["-G"], &["connect"], "the time for connecting is -w"),
    row(&["-G", "-W", "--idle-timeout"], PROBE, "the time for an attempt is -w"),
    row(&["-G", "--wait"], SERVER, "how long a client may take to come is -w"),
    row(&["-I"], ALL, "the size of the receive buffer is --receive-buffer"),
    row(&["-O"], ALL, "the size of the send buffer is --send-buffer"),
    row(&["-M"], ALL, "the time to live is --ttl"),
    row(&["-m"], CLIENTS, "the time to live of what goes out is --ttl; of what comes none can be asked for"),
    row(&["-S"], ALL, "TCP's MD5 signatures (RFC 2385) are not known here"),
    row(&["-T"], &["connect"], "the type of service is --tos, and socat's time for inactivity is -W"),
    row(&["-T"], &["serve", "probe"], "the type of service is --tos"),
    row(
        &["-t"],
        &["connect"],
        "telnet is not spoken here: -C ends lines as it does; socat's time after stdin's end is -q",
    ),
    row(&["-t", "--telnet"], ALL, "telnet is not spoken here"),
    row(&["-V", "--version"], ALL, "the version is `sockkit --version`"),
    row(&["-X", "--proxy-type"], CLIENTS, "what kind of proxy it is says the scheme of --proxy socks5h://HOST:PORT"),
    row(
        &["-P", "--proxy-auth"],
        CLIENTS,
        "the user is in --proxy http://USER@HOST:PORT, the password in --proxy-auth-file",
    ),
    row(&["--proxy-dns"], CLIENTS, "the proxy looks names up with --proxy socks5h://HOST:PORT"),
    row(
        &["-X", "-P", "--proxy", "--proxy-type", "--proxy-auth", "--proxy-dns"],
        SERVER,
        "it is no proxy: what comes is passed on to one place with --mode forward=HOST:PORT",
    ),
    row(&["-x"], PROBE, "the way through a proxy is --proxy socks5h://HOST:PORT"),
    row(&["-r"], SERVER, "the system chooses the port with -p 0"),
    row(&["-r"], &["connect"], "several ports are for `sockkit probe HOST PORTS`"),
    row(&["-r"], PROBE, "ports are probed in the order in which they are typed, as --parallel says"),
    row(&["-N"], SERVER, "with --stdio our half is closed at stdin's end"),
    row(
        &["-C", "-d", "-k", "-N", "-q", "--crlf", "--recv-only", "--send-only", "--no-shutdown", "--keep-open"],
        PROBE,
        "stdin is joined to a peer by `sockkit connect`",
    ),
    row(&["-F"], PROBE, "what is connected is passed on to a program by `sockkit connect -e PROGRAM`"),
    row(&["-z"], SERVER, "whether a port is open says `sockkit probe HOST:PORT`"),
    row(&["-e", "--exec", "--sh-exec"], PROBE, "a program talks to a peer with `sockkit connect --exec PROGRAM`"),
    row(&["--lua-exec"], &["connect"], "there is no Lua here: any program can talk to the peer with --exec"),
    row(&["--lua-exec"], &["serve", "probe"], "there is no Lua here"),
    row(&["-L"], SERVER, "it goes on by itself; to serve one connection is --once"),
    row(&["--broker"], SERVER, "peers are joined to each other with --mode broker"),
    row(&["--chat"], SERVER, "peers talk to each other with --mode chat"),
    row(&["--broker", "--chat"], CLIENTS, "peers are joined to each other by `sockkit serve --mode broker`, or chat"),
    row(&["--delay"], &["serve", "connect"], "the pause between lines is -i"),
    row(&["--delay"], PROBE, "the pause between attempts is -i"),
    row(&["--nodns", "--dont-resolve"], ALL, "names are not looked up with -n"),
    row(&["--unixsock"], ALL, "a unix socket is -U"),
    row(&["--hex-dump"], &["serve", "connect"], "the dump is -x, on stderr"),
    row(&["--output"], &["serve", "connect"], "the file that gets what a peer sends as well is -o"),
    row(&["--output", "--append-output"], PROBE, "what a peer sends is kept by `sockkit connect -o FILE`"),
    row(&["--hex-dump"], PROBE, "what goes each way is shown by `sockkit connect -x`"),
    row(&["--append-output"], &["serve", "connect"], "-o replaces its FILE; the shell's `>> FILE` does not"),
    row(&["--source-port", "--local-port"], SERVER, "the port to listen on is -p"),
    row(&["--local-port"], CLIENTS, "the port to connect from is --source-port"),
    row(&["--source"], SERVER, "the address to listen on is -s"),
    row(&["--allowfile"], SERVER, "the file of those who may come in is --allow-file"),
    row(&["--denyfile"], SERVER, "the file of those who may not come in is --deny-file"),
    row(&["--allow", "--allowfile"], CLIENTS, "who may come in says `sockkit serve --allow NETWORK`"),
    row(&["--deny", "--denyfile"], CLIENTS, "who may not come in says `sockkit serve --deny NETWORK`"),
    row(&["--max-conns"], CLIENTS, "how many may come says `sockkit serve --max-conns N`"),
    row(&["--sctp", "--vsock"], ALL, "the transports are TCP, UDP with -u, and unix sockets with -U"),
    row(&["-Z"], ALL, "neither DCCP nor TLS is spoken here"),
    row(&["-R", "-K", "-H", "--ssl"], ALL, "TLS is spoken by `openssl s_client` and `openssl s_server`"),
];

/// The flags that listen.
const LISTENS: [&str; 3] = ["-l", "-L", "--listen"];

/// What to say of a command line that has a flag which the command does not have; nothing where it is nobody's.
///
/// `is_one` says of a command line whether it can be read.
pub fn flag(arguments: &[OsString], flag: &str, is_one: impl Fn(&[OsString]) -> bool) -> Option<String> {
    let command = arguments.get(1)?.to_str()?;
    if CLIENTS.contains(&command) && LISTENS.contains(&flag) {
        let line = serving(&arguments[2..], flag).filter(|line| is_one(line));
        let words: Vec<_> = line.iter().flatten().map(|word| word.to_string_lossy()).collect();
        let shown = if words.is_empty() { "sockkit serve".to_owned() } else { words.join(" ") };
        return Some(format!("{flag} listens: that is `{shown}`"));
    }
    let is_meant = |typed: &&str| *typed == flag || (*typed == "--ssl" && flag.starts_with("--ssl-"));
    let row = TABLE.iter().find(|row| row.commands.contains(&command) && row.typed.iter().any(is_meant))?;
    Some(format!("{command} has no {flag}: {}", row.means))
}

/// The command line of `serve` with the same words, but for the flag that it does not need; nothing where a shell would not
/// read them as they stand.
fn serving(words: &[OsString], flag: &str) -> Option<Vec<OsString>> {
    let is_plain = |text: &&str| text.chars().all(|one| one.is_ascii_alphanumeric() || "-_./:=[]@%+,".contains(one));
    let mut line: Vec<OsString> = vec!["sockkit".into(), "serve".into()];
    let mut is_found = false;
    for word in words {
        let text = word.to_str().filter(is_plain)?;
        let is_among_letters =
            flag.len() == 2 && !text.starts_with("--") && text.starts_with('-') && text.contains(&flag[1..]);
        match is_found {
            false if text == flag => is_found = true,
            false if is_among_letters => {
                is_found = true;
                line.push(text.replacen(&flag[1..], "", 1).into());
            }
            _ => line.push(word.clone()),
        }
    }
    Some(line)
}

/// What to say where a word too many was typed, because a flag has a value elsewhere and none here.
pub fn value(arguments: &[OsString]) -> Option<String> {
    let words: Vec<&str> = arguments.iter().map_while(|word| word.to_str()).collect();
    let command = *words.get(1).filter(|command| ["serve", "connect"].contains(command))?;
    if let Some(value) = after(&words, 'x') {
        return Some(dump_value(value, command));
    }
    let value = after(&words, 'd').filter(|value| parse_duration(value).is_ok())?;
    Some(format!("-d has no value, and {value:?} is a word too many: the pause between lines is -i {value}"))
}

/// What to say where a fault rule is none, if it is a place: netcat's -F has no value.
pub fn rule(arguments: &[OsString], rule: &str) -> Option<String> {
    let words: Vec<&str> = arguments.iter().map_while(|word| word.to_str()).collect();
    let follows = after(&words, 'F') == Some(rule) && words.get(1) == Some(&"connect");
    let next = words.iter().skip_while(|word| **word != rule).nth(1);
    // A rule that is misspelt may have a value, which no host has.
    let is_host = !rule.contains('=') && next.is_some_and(|port| port.parse::<u16>().is_ok());
    let is_place = is_host || rule.parse::<u16>().is_ok() || rule.contains([':', '/']);
    (follows && is_place).then(|| {
        format!("-F makes a fault, and {rule:?} is none; nc's -F, which hands the connection on, is -e PROGRAM")
    })
}

/// The word after a flag that is a letter, alone or the last of several.
fn after<'a>(words: &[&'a str], letter: char) -> Option<&'a str> {
    let is_it = |word: &str| word.starts_with('-') && !word.starts_with("--") && word.ends_with(letter);
    words.windows(2).find(|pair| is_it(pair[0])).map(|pair| pair[1])
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    /// Whether a command has a flag, a hidden one too.
    fn has(command: &str, flag: &str) -> bool {
        let program = crate::cli::command();
        let command = program.find_subcommand(command).expect("one of the four");
        let is_it = |name: &str| command.get_arguments().any(|argument| argument.get_long() == Some(name));
        match flag.strip_prefix("--") {
            Some(name) => is_it(name),
            None => command
                .get_arguments()
                .any(|argument| argument.get_short().is_some_and(|letter| flag[1..] == letter.to_string())),
        }
    }

    #[test]
    fn what_is_foreign_is_not_defined_and_what_is_named_is() {
        let quoted = Regex::new("`([^`]+)`").unwrap();
        let named = Regex::new(r"(?:^|[ `])(--?[a-zA-Z0-9][a-z0-9-]*)").unwrap();
        for row in TABLE {
            for &command in row.commands {
                for flag in row.typed {
                    assert!(!has(command, flag), "{command} has {flag}: the translation is out of date");
                }
                for found in quoted.captures_iter(row.means).filter(|found| found[1].starts_with("sockkit ")) {
                    let words: Vec<&str> = found[1].split(' ').collect();
                    let flags = words[2..].iter().filter(|word| word.starts_with('-'));
                    flags.for_each(|flag| assert!(has(words[1], flag), "{}: no {flag}", row.means));
                }
                let plain = quoted.replace_all(row.means, "");
                for flag in named.captures_iter(&plain) {
                    assert!(has(command, &flag[1]), "{command} has no {}: {}", &flag[1], row.means);
                }
            }
        }
    }

    fn told(words: &str) -> Option<String> {
        let arguments: Vec<OsString> = words.split(' ').map(Into::into).collect();
        match crate::cli::read(arguments).expect_err("it cannot be read") {
            crate::cli::Said::Clap { translation, .. } => translation,
            crate::cli::Said::Page(page) => panic!("{page}"),
        }
    }

    #[test]
    fn who_wants_to_listen_is_shown_how() {
        for (words, line) in [
            ("sockkit connect -l 80", "sockkit serve 80"),
            ("sockkit connect -lp 80", "sockkit serve -p 80"),
            ("sockkit connect -lkvp 80", "sockkit serve -kvp 80"),
            ("sockkit connect -l -p 80 -v", "sockkit serve -p 80 -v"),
            ("sockkit probe --listen -u 80", "sockkit serve -u 80"),
            ("sockkit connect -U -l /tmp/a", "sockkit serve -U /tmp/a"),
            ("sockkit connect -l", "sockkit serve"),
            // What would not be understood, or not be the same in a shell, is not shown.
            ("sockkit connect -l -N 80", "sockkit serve"),
            ("sockkit connect -l $(reboot)", "sockkit serve"),
        ] {
            let told = told(words).unwrap_or_default();
            assert!(told.ends_with(&format!(" listens: that is `{line}`")), "{words}: {told}");
        }
    }

    #[test]
    fn a_foreign_flag_has_its_translation() {
        for (words, expected) in [
            ("sockkit connect -vX 5 h 80", Some("connect has no -X: ")),
            ("sockkit connect -G1 h 80", Some("connect has no -G: the time for connecting is -w")),
            ("sockkit probe -zT ef h 80", Some("probe has no -T: the type of service is --tos")),
            ("sockkit connect --ssl-verify h 443", Some("connect has no --ssl-verify: TLS is spoken by ")),
            ("sockkit connect --ssl=1 h 443", Some("connect has no --ssl: TLS is spoken by ")),
            ("sockkit serve --source-port 80", Some("serve has no --source-port: the port to listen on is -p")),
            ("sockkit connect -x proxy:3128 h 80", Some("-x is a hex dump: the way through proxy:3128 is --proxy ")),
            ("sockkit connect -vx out.hex h 80", Some("-x has no value, and \"out.hex\" is a word too many: ")),
            ("sockkit serve -vx out.hex h 80", Some("-x has no value, and \"out.hex\" is a word too many: ")),
            ("sockkit serve -lX 5 9000", Some("serve has no -X: it is no proxy: ")),
            ("sockkit connect -NF h 80", Some("-F makes a fault, and \"h\" is none; nc's -F, which ")),
            ("sockkit connect -F h:80", Some("-F makes a fault, and \"h:80\" is none; ")),
            ("sockkit connect -F rset h 80", None),
            ("sockkit connect -F dealy=5ms 80", None),
            ("sockkit serve -F 9000", None),
            ("sockkit connect -d 2 h 80", Some("-d has no value, and \"2\" is a word too many: the pause between")),
            ("sockkit connect -d h 80 81", None),
            ("sockkit connect h 80 81", None),
            ("sockkit echo-bench -X h 80", None),
            ("sockkit connect --nosuch", None),
            ("sockkit nosuch -X", None),
        ] {
            let came = told(words);
            assert_eq!(came.is_some(), expected.is_some(), "{words}: {came:?}");
            let (came, expected) = (came.unwrap_or_default(), expected.unwrap_or_default());
            assert!(came.starts_with(expected), "{words}: {came}");
        }
    }
}
