//! What came out of a run, without what differs between runs and between systems.
//!
//! Owns which words and numbers stand for the others. Must not know any command's text. Trade-off: expectations are
//! Linux's, and what other systems say is translated, so that a test is written once.

use std::sync::LazyLock;

use regex::Regex;

/// Replaces what differs between runs: times by `TIME`, ports that the system chose by `PORT`. Where errors have other
/// numbers and words than on Linux, they get Linux's.
pub fn mask(text: &str) -> String {
    static TIME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(\d+(\.\d+)? (ns|µs|ms|s)\b|\d+m \d\ds|\d+h \d\dm)").unwrap());
    // Chosen ports lie above the services'; the ports that tests name are below.
    static PORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(127\.0\.0\.1|\[::1\]|localhost):\d{4,5}\b").unwrap());
    #[cfg(not(target_os = "linux"))]
    let text = &foreign::as_on_linux(text);
    let text = TIME.replace_all(text, "TIME");
    PORT.replace_all(&text, "$1:PORT").into_owned()
}

/// The system's own number for a refused connection.
pub const REFUSED: i32 = if cfg!(target_os = "linux") {
    111
} else if cfg!(windows) {
    10061
} else {
    61
};

/// What other systems call what Linux calls otherwise.
#[cfg(not(target_os = "linux"))]
pub mod foreign {
    use std::sync::LazyLock;

    use regex::Regex;

    /// An error as expectations have it, that is as on Linux.
    pub struct Error {
        name: &'static str,
        pub number: i32,
        words: &'static str,
        /// `probe`'s exit status for it: BSD's number, which Winsock's is as well without the 10000 in front.
        pub status: Option<i32>,
    }

    const fn error(name: &'static str, number: i32, words: &'static str, status: Option<i32>) -> Error {
        Error { name, number, words, status }
    }

    pub const ERRORS: [Error; 8] = [
        error("EADDRINUSE", 98, "Address already in use", Some(48)),
        error("EADDRNOTAVAIL", 99, "Cannot assign requested address", Some(49)),
        error("ECONNRESET", 104, "Connection reset by peer", Some(54)),
        error("ETIMEDOUT", 110, "Connection timed out", Some(60)),
        error("ECONNREFUSED", 111, "Connection refused", Some(61)),
        error("ENOENT", 2, "No such file or directory", None),
        error("EAI_NONAME", -2, "Name or service not known", None),
        error("EAI_SERVICE", -8, "Servname not supported for ai_socktype", None),
    ];

    /// Numbers always; words only where they are the system's, and not our own.
    pub fn as_on_linux(text: &str) -> String {
        static NAMED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\((E[A-Z_]+), (\d+)\)").unwrap());
        let mut told = text.to_owned();
        for found in NAMED.captures_iter(text) {
            let Some(error) = ERRORS.iter().find(|error| error.name == &found[1]) else { continue };
            let ours = format!("({}, {})", error.name, error.number);
            let system = std::io::Error::from_raw_os_error(found[2].parse().expect("a number")).to_string();
            let (words, _) = system.rsplit_once(" (os error ").expect("std's form");
            let whole = format!("{} {}", words.trim_end_matches('.'), &found[0]);
            told = told.replace(&whole, &format!("{} {ours}", error.words)).replace(&found[0], &ours);
        }
        told
    }
}
