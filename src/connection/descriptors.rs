//! How many descriptors, and with them sockets, this process may have open.
//!
//! Owns the limit. Must not know who needs how many. Trade-off: a limit that cannot be raised is no failure here; who runs
//! into it says so (EMFILE).

/// Raises the soft limit of open descriptors to the hard one (getrlimit(2), `RLIMIT_NOFILE`), and says what it is now;
/// none where there is no such limit.
pub fn raise_limit() -> Option<u64> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        let soft = limit.current;
        limit.current = limit.maximum;
        // A refusal leaves the soft limit as it was.
        if setrlimit(Resource::Nofile, limit).is_ok() { limit.maximum } else { soft }
    }
    #[cfg(not(unix))]
    None
}

/// The soft limit of open descriptors as it is; none where there is no such limit.
pub fn limit() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    None
}
