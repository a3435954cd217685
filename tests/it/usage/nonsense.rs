//! Words that mean nothing, by the hundred: whatever is typed, nothing panics, hangs or drives the terminal.

use std::ffi::OsString;

use super::COMMANDS;
use crate::harness::{Finished, Run};

/// Numbers that look random and are the same in every run (xorshift64*, G. Marsaglia, "Xorshift RNGs").
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.next() % all.len()]
    }

    /// A short word of characters that parsers stumble over.
    fn noise(&mut self) -> OsString {
        let characters: Vec<char> =
            "[]:%@./-+=, 0189aexKi\"'\\\n\t\u{1b}\u{7f}\u{e9}\u{202e}\u{1f600}".chars().collect();
        let length = self.next() % 12;
        let word: String = (0..length).map(|_| *self.one_of(&characters)).collect();
        #[cfg(unix)]
        if self.next().is_multiple_of(8) {
            return std::os::unix::ffi::OsStringExt::from_vec([word.as_bytes(), b"\xff\xc3"].concat());
        }
        word.into()
    }
}

/// A command with words that may mean something, and with words that cannot.
fn nonsense(numbers: &mut Numbers) -> Vec<OsString> {
    const FLAGS: &str = "-4 -6 -u -U -n -v -z -k -l -N -1 -j --json --quiet --once --raw -p -s -w -q -o -c -t -W --grace \
        --backlog --color --trace --trace=/ --linger --ttl --tos --send-buffer --mss --keepalive-idle --multicast-join \
        --exit-code --threads -- -";
    const VALUES: &str = "0 1 -1 65535 70000 99999999999999999999999 0x10 1e9 NaN inf 1ms 1K 127.0.0.1 127.0.0.1:1 \
        [::1]:1 ::1 :1 unix:/nonexistent/a @ json class ef 224.0.0.1@lo =";
    let (flags, values): (Vec<&str>, Vec<&str>) =
        (FLAGS.split_whitespace().collect(), VALUES.split_whitespace().collect());
    let command = *numbers.one_of(&COMMANDS);
    let mut words: Vec<OsString> = vec![command.into()];
    // What would do its work for long does not get that far: no socket can be bound to this device.
    words.push("--bind-device=nosuch0".into());
    if command != "serve" {
        words.push("-w1ms".into());
    }
    for _ in 0..numbers.next() % 7 {
        words.push(match numbers.next() % 5 {
            0 | 1 => numbers.one_of(&flags).into(),
            2 | 3 => numbers.one_of(&values).into(),
            _ => numbers.noise(),
        });
    }
    words
}

#[test]
fn no_nonsense_on_the_command_line_makes_it_panic_or_hang() {
    const RUNS: usize = 400;
    let mut numbers = Numbers(0x5eed);
    for number in 0..RUNS {
        let words = nonsense(&mut numbers);
        let Finished { stdout, stderr, code } = Run::sockkit("")
            .args(&words)
            .env("RUST_BACKTRACE", "1")
            .env("RES_OPTIONS", "timeout:1 attempts:1")
            .finish();
        let shown = format!("run {number}: {words:?}\nstatus {code}\n{stderr:?}");
        assert!(!stderr.contains("panicked") && !stderr.contains("backtrace"), "{shown}");
        // Rust's panic, our own word for a bug, abort, kill and a fault; probe's 101 is ENETUNREACH.
        assert!(!matches!(code, 125 | 134 | 137 | 139) && (code != 101 || words[0] == "probe"), "{shown}");
        let may_be_silent = code == 0 || words.contains(&"--quiet".into());
        assert!(may_be_silent || !stderr.is_empty() || !stdout.is_empty(), "a silent failure: {shown}");
        let text = String::from_utf8_lossy(&stdout) + stderr.as_str();
        assert!(!text.contains(['\u{1b}', '\u{7f}']), "drives the terminal: {shown}");
    }
}
