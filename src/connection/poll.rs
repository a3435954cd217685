//! Sockets waited for until some of them are ready: poll(2).
//!
//! Owns that call, traced, and never longer than it may take however many signals come. Must not know what the sockets are
//! for. Trade-off: it looks at each socket each time, which is the quickest for a few; who has many uses watch.rs or
//! crowd.rs.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::socket::uninterrupted;
use super::{Socket, trace};

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to receive, or to accept.
    Readable,
    /// Room to send, or the end of a connect.
    Writable,
}

impl Interest {
    /// As poll(2) calls it.
    fn name(self) -> &'static str {
        match self {
            Interest::Readable => "POLLIN",
            Interest::Writable => "POLLOUT",
        }
    }
}

/// poll(2): waits until some of the sockets are ready, and says which; none when `timeout` has passed.
pub fn wait_any(sockets: &[&Socket], interest: Interest, timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    wait_each(sockets.iter().map(|socket| (*socket, interest)), timeout)
}

/// poll(2), each socket for what it waits for.
pub(super) fn wait_each<'a>(
    sockets: impl Iterator<Item = (&'a Socket, Interest)>,
    timeout: Option<Duration>,
) -> io::Result<Vec<bool>> {
    let sockets: Vec<(&Socket, Interest)> = sockets.collect();
    let entry = |(socket, interest): &(&'a Socket, Interest)| match interest {
        Interest::Readable => PollFd::new(*socket, PollFlags::IN),
        Interest::Writable => PollFd::new(*socket, PollFlags::OUT),
    };
    let mut entries: Vec<PollFd> = sockets.iter().map(entry).collect();
    let begun = Instant::now();
    let shown = |_: Option<&usize>| {
        let ids: Vec<String> = sockets.iter().map(|(socket, _)| socket.id().to_string()).collect();
        let names = sockets.iter().map(|(_, interest)| interest.name());
        let mut names: Vec<&str> = names.collect();
        names.dedup();
        let limit = timeout.map_or("-1".to_owned(), |timeout| format!("{} ms", timeout.as_millis()));
        format!("{}, {}, {limit}", ids.join(" "), names.join(" "))
    };
    trace::call("poll", shown, || {
        uninterrupted(|| {
            // Interrupted or not, the whole wait is no longer than `timeout`.
            let left = timeout.map(|timeout| timeout.saturating_sub(begun.elapsed()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            Ok(poll(&mut entries, left.as_ref())?)
        })
    })?;
    Ok(entries.iter().map(|entry| !entry.revents().is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{Address, Family, Transport};
    use super::*;

    fn bound() -> (Socket, Address) {
        let socket = Socket::new(Family::V4, Transport::Udp, false).unwrap();
        socket.bind(&Address::Inet(([127, 0, 0, 1], 0).into())).unwrap();
        let address = socket.local_address().unwrap();
        (socket, address)
    }

    #[test]
    fn waiting_tells_which_sockets_are_ready_and_ends_in_time() {
        let ((quiet, _), (spoken_to, address)) = (bound(), bound());
        let both = [&quiet, &spoken_to];
        let begun = Instant::now();
        let timeout = Duration::from_millis(20);
        assert_eq!(wait_any(&both, Interest::Readable, Some(timeout)).unwrap(), [false, false]);
        assert!(begun.elapsed() >= timeout);
        quiet.send_to(b"a", &address).unwrap();
        assert_eq!(wait_any(&both, Interest::Readable, None).unwrap(), [false, true]);
        assert_eq!(wait_any(&both, Interest::Writable, None).unwrap(), [true, true]);
    }
}
