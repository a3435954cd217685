//! What there is to say about each action and key: for the help page, the error texts and the shells' completion.
//!
//! Owns the descriptions and the examples. Must not know how a rule is read: a test holds each example against the
//! grammar. Trade-off: one table for people and for shells, so that none of the texts can lag behind.

/// A word of the grammar.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    /// As it is typed, before an equals sign.
    pub name: &'static str,
    /// As the shells complete it.
    pub typed: &'static str,
    /// What may follow the name, as the help has it.
    pub value: &'static str,
    /// A value that may be typed, for completion and for error texts; empty when it needs none.
    pub example: &'static str,
    /// What it does, in one line.
    pub says: &'static str,
}

/// Actions that belong together.
#[derive(Debug)]
pub struct Family {
    /// What they have in common.
    pub title: &'static str,
    /// Each of them.
    pub words: &'static [Word],
}

/// A word with its value, or one that can do without.
macro_rules! word {
    ($name:literal, "", $says:literal $(,)?) => {
        Word { name: $name, typed: $name, value: "", example: "", says: $says }
    };
    ($name:literal, [$value:literal], $example:literal, $says:literal $(,)?) => {
        Word { name: $name, typed: $name, value: concat!("[", $value, "]"), example: $example, says: $says }
    };
    ($name:literal, $value:literal, $example:literal, $says:literal $(,)?) => {
        Word { name: $name, typed: concat!($name, "="), value: $value, example: $example, says: $says }
    };
}

/// Every action.
pub const ACTIONS: [Family; 5] = [
    Family {
        title: "Before a connection is accepted (serve)",
        words: &[
            word!("refuse", "=DUR", "2s", "nobody listens for so long: connection refused"),
            word!("blackhole", ["=DUR"], "5s", "connects get no answer: they time out"),
            word!("no-accept", ["=DUR"], "3s", "connects succeed as far as the backlog goes, and nobody accepts"),
            word!("flap", "=UP/DOWN", "2s/500ms", "the port is there and gone in turn"),
        ],
    },
    Family {
        title: "Endings (streams); the first whose time comes wins",
        words: &[
            word!("close", "", "FIN; what still comes is drained, then closed"),
            word!("reset", "", "RST: connection reset by peer (tcp)"),
            word!("half-close", "", "FIN, and what still comes is taken"),
            word!("stall", "", "nothing moves any more, and nothing is closed"),
            word!("delay-close", "=DUR", "2s", "the FIN that is due comes so much later"),
        ],
    },
    Family {
        title: "Shaping; several add up",
        words: &[
            word!("delay", "=DUR[..DUR]", "30ms..70ms", "what passes is late"),
            word!("rate", "=SIZE/s", "64KiB/s", "so many bytes a second"),
            word!(
                "chunk",
                "=SIZE[..SIZE][/DUR]",
                "16B/100ms",
                "so many bytes at a time, with a pause after each (streams)",
            ),
            word!("buffer", "=SIZE", "4KiB", "the kernel's buffers, both unless dir= chooses one"),
            word!("mss", "=N", "536", "the largest segment (tcp)"),
        ],
    },
    Family {
        title: "Payload",
        words: &[
            word!("corrupt", "=N|N/SIZE", "1/64KiB", "so many bytes are changed: the next N, or N in each SIZE"),
            word!(
                "garbage",
                "=SIZE",
                "36B",
                "so many random bytes: put in (streams), or instead of what was sent (datagrams)",
            ),
        ],
    },
    Family {
        title: "Datagrams",
        words: &[
            word!("drop", "", "a datagram is lost"),
            word!("dup", ["=N"], "2", "a datagram comes N times more [default: 1]"),
            word!("reorder", "=DEPTH", "3", "a datagram is overtaken by so many others, for a second at most"),
            word!("truncate", "=SIZE", "10B", "a datagram keeps only so many bytes"),
        ],
    },
];

/// Every key.
pub const KEYS: [Word; 8] = [
    word!(
        "after",
        "=SIZE|DUR|Nmsg",
        "1KiB",
        "once so many bytes, so much time, or so many lines or datagrams have passed",
    ),
    word!("conn", "=N|A..B|A..", "1..3", "only these connections; the first accepted is 1"),
    word!("every", "=N", "10", "only every Nth connection, or datagram"),
    word!("chance", "=PCT", "10%", "with this probability; drawn once for each connection, or datagram"),
    word!("dir", "=in|out|both", "in", "what this side receives, or sends [default: out]"),
    word!("from", "=CIDR", "127.0.0.1", "only peers of this network"),
    word!("times", "=N", "3", "at most so many connections, datagrams, or cycles of flap"),
    word!("for", "=DUR", "5s", "only for so long (stall, shaping, payload, datagrams)"),
];

/// An action by its name.
pub fn action(name: &str) -> Option<&'static Word> {
    ACTIONS.iter().flat_map(|family| family.words).find(|word| word.name == name)
}

/// The page of `--help faults`.
pub fn page() -> String {
    let mut page = String::from(
        "Faults on purpose: -F RULE, as often as needed, or --faults FILE with a rule in each line.\n\n\
         A rule is ACTION[=VALUE][,KEY=VALUE...]. All rules that match apply, in their order.\n",
    );
    for family in &ACTIONS {
        page += &table(family.title, family.words);
    }
    page += &table("Keys", &KEYS);
    page + NOTES
}

/// Words in lines, each with what it does.
fn table(title: &str, words: &[Word]) -> String {
    let line = |word: &Word| format!("  {:27} {}\n", format!("{}{}", word.name, word.value), word.says);
    format!("\n{title}:\n{}", words.iter().map(line).collect::<String>())
}

const NOTES: &str = "
Values: durations and sizes have a unit (500ms, 2s, 1m30s; 16B, 4KiB, 64KB); K is 1000 and Ki is 1024.

Seed: whatever is drawn follows from --seed N (or SOCKKIT_SEED), the rule's place among the rules, the connection's
number and the place in its stream, and from nothing else: one seed, the same faults. Connections are numbered as they
are accepted, datagrams as they come. Without a seed one is drawn, and told. --plan N prints what connections 1 to N
would meet, and ends. Times (after=2s) are as exact as the scheduler.

Files: # begins a comment. serve reads the file again at SIGHUP, for the connections that come then.

Examples:
  sockkit serve -p 65432 -F delay=30ms..70ms                 50 ms more or less
  sockkit serve -p 65432 -F reset,after=1KiB,chance=10%      every tenth is reset after 1024 bytes
  sockkit serve -p 65432 -F refuse=2s                        does the client try again?
  sockkit serve -p 65432 -F blackhole                        connects time out, without root
  sockkit serve -p 65432 -F garbage=36B -F close,after=36B   nonsense, then the end
  sockkit serve -p 65432 -F buffer=4KiB -F stall,dir=in      a server that does not read
  sockkit serve -u -p 65432 -F drop,chance=5% -F dup,every=7 --seed 42

What a program cannot do: delay the SYN-ACK, change the round-trip time or the acknowledgements, lose a TCP segment,
mark ECN, send ICMP. For these there is tc-netem(8); in a namespace of your own, without root: unshare -Urn.
";

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    #[test]
    fn every_example_is_a_rule() {
        for word in ACTIONS.iter().flat_map(|family| family.words) {
            let with_value = format!("{}={}", word.name, word.example);
            let text = if word.example.is_empty() { word.name } else { &with_value };
            let rule = parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(rule.action.word(), word.name);
            assert_eq!(parse(word.name).is_ok(), !word.value.starts_with('='), "{}", word.name);
        }
        for key in &KEYS {
            let text = format!("stall,{}={}", key.name, key.example);
            parse(&text).unwrap_or_else(|why| panic!("{text}: {why}"));
        }
    }

    #[test]
    fn every_rule_of_the_page_can_be_read() {
        let page = page();
        let words: Vec<&str> = page.split_whitespace().collect();
        let rules: Vec<&str> = words.windows(2).filter(|pair| pair[0] == "-F").map(|pair| pair[1]).collect();
        assert!(rules.len() > 10);
        for text in rules.into_iter().filter(|text| *text != "RULE,") {
            parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        }
    }
}
