//! What the machine that the tests run on has and allows, and namespaces on it.
//!
//! Owns the reasons for which a test is skipped: each is said. Must not know the tests.

#[cfg(target_os = "linux")]
use std::path::Path;
#[cfg(target_os = "linux")]
use std::process::{Command, Stdio};
#[cfg(target_os = "linux")]
use std::sync::LazyLock;

#[cfg(target_os = "linux")]
use super::{SOCKKIT, run::Run};

/// Whether a program is installed. A test that needs one that is not says so, and is skipped.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).exists()));
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Whether this user may have namespaces of their own. A test that needs them and cannot says so, and is skipped.
#[cfg(target_os = "linux")]
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub fn can_unshare() -> bool {
    static CAN: LazyLock<bool> = LazyLock::new(|| {
        let tried =
            Command::new("unshare").args(["-rmn", "ip", "link", "set", "lo", "up"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    });
    if !*CAN {
        eprintln!("skipped: no namespaces here (unshare -rmn), or no ip(8)");
    }
    *CAN
}

/// `sockkit` with these words in namespaces of its own, made by `unshare` with these flags and furnished by a shell script.
#[cfg(target_os = "linux")]
pub fn unshared(flags: &str, furnish: &str, words: &str) -> Run {
    let script = format!("set -e; {furnish}\nexec \"$0\" \"$@\"");
    Run::program("unshare").args([flags, "sh", "-c", &script, SOCKKIT]).args(words.split_whitespace())
}

/// Furnishes mount and user namespaces in which names come only from /etc/hosts, by a file in `$T`.
#[cfg(target_os = "linux")]
pub const NAMES_FROM_FILES: &str = "printf 'hosts: files\\n' > $T/nss; mount --bind $T/nss /etc/nsswitch.conf";

/// The same where they come only from the name server at an address. The loopback interface is up then.
#[cfg(target_os = "linux")]
pub fn names_from(server: &str) -> String {
    format!(
        "ip link set lo up; printf 'nameserver {server}\\n' > $T/resolv; mount --bind $T/resolv /etc/resolv.conf; \
         printf 'hosts: dns\\n' > $T/nss; mount --bind $T/nss /etc/nsswitch.conf"
    )
}

/// The same with a server that says nothing: what is sent to an address that lo carries but this host does not have is lost.
/// The resolver's own patience, in `RES_OPTIONS`, is longer than a test may take.
#[cfg(target_os = "linux")]
pub fn unanswered(words: &str, folder: &Path) -> Run {
    let silence = format!("{}; ip route add 192.0.2.0/24 dev lo src 127.0.0.1", names_from("192.0.2.1"));
    unshared("-rmn", &silence, words)
        .env("T", folder.to_str().expect("a path in UTF-8"))
        .env("RES_OPTIONS", "timeout:30 attempts:5")
}
