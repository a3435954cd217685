//! Error numbers and their names, the same names on every system.
//!
//! Owns the table from the system's numbers to POSIX's names. Must not know what an error means to anybody: that is
//! error.rs. Trade-off: only the names that a socket call, open(2) or exec can give; another number prints as `errno N`'s
//! words with the name `EUNKNOWN`.

use std::io;

/// One table for `name`, one constant for each number that the code itself needs.
macro_rules! errors {
    ($($name:ident = $windows:ident),* $(,)?) => {
        #[cfg(unix)]
        const TABLE: &[(i32, &str)] = &[$((libc::$name, stringify!($name))),*];
        #[cfg(windows)]
        const TABLE: &[(i32, &str)] = &[$((windows_sys::Win32::Networking::WinSock::$windows, stringify!($name))),*];
    };
}

// What Winsock knows under another name, and what only one side has, follows in `ONLY_HERE`.
errors! {
    EACCES = WSAEACCES, EADDRINUSE = WSAEADDRINUSE, EADDRNOTAVAIL = WSAEADDRNOTAVAIL, EAFNOSUPPORT = WSAEAFNOSUPPORT,
    EAGAIN = WSAEWOULDBLOCK, EALREADY = WSAEALREADY, EBADF = WSAEBADF, ECONNABORTED = WSAECONNABORTED,
    ECONNREFUSED = WSAECONNREFUSED, ECONNRESET = WSAECONNRESET, EDESTADDRREQ = WSAEDESTADDRREQ, EDQUOT = WSAEDQUOT,
    EFAULT = WSAEFAULT, EHOSTDOWN = WSAEHOSTDOWN, EHOSTUNREACH = WSAEHOSTUNREACH, EINPROGRESS = WSAEINPROGRESS,
    EINTR = WSAEINTR, EINVAL = WSAEINVAL, EISCONN = WSAEISCONN, ELOOP = WSAELOOP, EMFILE = WSAEMFILE,
    EMSGSIZE = WSAEMSGSIZE, ENAMETOOLONG = WSAENAMETOOLONG, ENETDOWN = WSAENETDOWN, ENETRESET = WSAENETRESET,
    ENETUNREACH = WSAENETUNREACH, ENOBUFS = WSAENOBUFS, ENOPROTOOPT = WSAENOPROTOOPT, ENOTCONN = WSAENOTCONN,
    ENOTEMPTY = WSAENOTEMPTY, ENOTSOCK = WSAENOTSOCK, EOPNOTSUPP = WSAEOPNOTSUPP, EPFNOSUPPORT = WSAEPFNOSUPPORT,
    EPROTONOSUPPORT = WSAEPROTONOSUPPORT, EPROTOTYPE = WSAEPROTOTYPE, ESHUTDOWN = WSAESHUTDOWN,
    ESOCKTNOSUPPORT = WSAESOCKTNOSUPPORT, ESTALE = WSAESTALE, ETIMEDOUT = WSAETIMEDOUT, ETOOMANYREFS = WSAETOOMANYREFS,
    EUSERS = WSAEUSERS,
}

#[cfg(unix)]
const ONLY_HERE: &[(i32, &str)] = &[
    (libc::E2BIG, "E2BIG"),
    (libc::ECHILD, "ECHILD"),
    (libc::EEXIST, "EEXIST"),
    (libc::EFBIG, "EFBIG"),
    (libc::EIO, "EIO"),
    (libc::EISDIR, "EISDIR"),
    (libc::ENFILE, "ENFILE"),
    (libc::ENODEV, "ENODEV"),
    (libc::ENOENT, "ENOENT"),
    (libc::ENOEXEC, "ENOEXEC"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::ENOTDIR, "ENOTDIR"),
    (libc::ENOTTY, "ENOTTY"),
    (libc::ENXIO, "ENXIO"),
    (libc::EPERM, "EPERM"),
    (libc::EPIPE, "EPIPE"),
    (libc::EPROTO, "EPROTO"),
    (libc::ERANGE, "ERANGE"),
    (libc::EROFS, "EROFS"),
    (libc::ESPIPE, "ESPIPE"),
    (libc::ESRCH, "ESRCH"),
    (libc::ETXTBSY, "ETXTBSY"),
    (libc::EXDEV, "EXDEV"),
    #[cfg(any(target_os = "linux", target_os = "android"))]
    (libc::ENONET, "ENONET"),
];

/// Win32 codes that std reports for files, pipes and handles.
#[cfg(windows)]
const ONLY_HERE: &[(i32, &str)] = &[
    (2, "ENOENT"),   // ERROR_FILE_NOT_FOUND
    (3, "ENOENT"),   // ERROR_PATH_NOT_FOUND
    (4, "EMFILE"),   // ERROR_TOO_MANY_OPEN_FILES
    (5, "EACCES"),   // ERROR_ACCESS_DENIED
    (8, "ENOMEM"),   // ERROR_NOT_ENOUGH_MEMORY
    (109, "EPIPE"),  // ERROR_BROKEN_PIPE
    (112, "ENOSPC"), // ERROR_DISK_FULL
    (232, "EPIPE"),  // ERROR_NO_DATA: the pipe is being closed
];

/// The numbers that the code itself reports: of our own clocks, of a connection to oneself, of what a system lacks, and
/// those that a proxy's answers stand for.
#[cfg(unix)]
pub use libc::{EACCES, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EOPNOTSUPP, ETIMEDOUT};
/// The numbers that the code itself reports: of our own clocks, of a connection to oneself, of what a system lacks, and
/// those that a proxy's answers stand for.
#[cfg(windows)]
pub use windows_sys::Win32::Networking::WinSock::{
    WSAEACCES as EACCES, WSAECONNREFUSED as ECONNREFUSED, WSAEHOSTUNREACH as EHOSTUNREACH,
    WSAENETUNREACH as ENETUNREACH, WSAEOPNOTSUPP as EOPNOTSUPP, WSAETIMEDOUT as ETIMEDOUT,
};

/// The symbolic name of an error number, or `EUNKNOWN`.
pub fn name(number: i32) -> &'static str {
    let mut known = TABLE.iter().chain(ONLY_HERE);
    known.find(|(known, _)| *known == number).map_or("EUNKNOWN", |(_, name)| name)
}

/// The system's words for an error, without std's ` (os error N)` behind them.
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].trim_end_matches('.').to_owned(),
        None => text,
    }
}

/// The same error for somebody else.
pub fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// An error as messages have it: `No space left on device (ENOSPC, 28)`; one that is not the system's has only words.
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{} ({}, {number})", words(error), name(number)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_name() {
        let numbers: Vec<i32> = TABLE.iter().chain(ONLY_HERE).map(|(number, _)| *number).collect();
        for (index, number) in numbers.iter().enumerate() {
            assert!(!numbers[..index].contains(number), "{number} is listed twice");
        }
    }

    #[test]
    fn names_and_words_are_the_systems_own() {
        let refused = io::Error::from_raw_os_error(ECONNREFUSED);
        assert_eq!(name(refused.raw_os_error().unwrap()), "ECONNREFUSED");
        assert!(!words(&refused).contains("os error"), "{}", words(&refused));
        assert_eq!(name(-1), "EUNKNOWN");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_numbers_are_those_of_the_manual() {
        for (number, expected) in [(111, "ECONNREFUSED"), (110, "ETIMEDOUT"), (113, "EHOSTUNREACH"), (11, "EAGAIN")] {
            assert_eq!(name(number), expected);
        }
    }
}
