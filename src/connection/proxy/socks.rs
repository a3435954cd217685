//! SOCKS4 and SOCKS4a (the memos of Lee and Koblas), SOCKS5 (RFC 1928) with a user and password (RFC 1929).
//!
//! Owns the bytes of both. Must not know sockets. Trade-off: a reply is refused at the byte that says so, though more of it
//! may be due: some servers close there, and what follows has nothing to say.

use std::net::{IpAddr, SocketAddr};

use super::super::{Op, errno};
use super::{Credentials, Destination, Dialog, Refusal, Step, quoted};

/// CONNECT, in both versions.
const CONNECT: u8 = 1;

/// The methods of SOCKS5: none, a user and password, and none of those that were offered.
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;

/// The kinds of address of SOCKS5.
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// What has come of a reply whose length shows as it comes.
#[derive(Debug, Default)]
struct Reply(Vec<u8>);

impl Reply {
    /// Takes what is due of it, by what `needed` makes of what there is: how many bytes, and whether it is whole.
    fn take(
        &mut self,
        bytes: &[u8],
        needed: impl Fn(&[u8]) -> Result<usize, Refusal>,
    ) -> Result<(usize, bool), Refusal> {
        for (index, byte) in bytes.iter().enumerate() {
            self.0.push(*byte);
            if needed(&self.0)? <= self.0.len() {
                return Ok((index + 1, true));
            }
        }
        Ok((bytes.len(), false))
    }
}

/// The port of a destination, as it is sent.
fn port(destination: &Destination) -> [u8; 2] {
    match destination {
        Destination::Address(address) => address.port(),
        Destination::Name(_, port) => *port,
    }
    .to_be_bytes()
}

/// SOCKS4 and SOCKS4a.
#[derive(Debug)]
pub(super) struct Version4 {
    request: Vec<u8>,
    reply: Reply,
}

impl Version4 {
    pub(super) fn new(destination: &Destination, credentials: Option<Credentials>) -> Result<Version4, &'static str> {
        let user = credentials.map_or(String::new(), |credentials| credentials.user);
        // An address that can be none says that a name follows.
        let (ip, name) = match destination {
            Destination::Address(SocketAddr::V4(address)) => (address.ip().octets(), None),
            Destination::Address(SocketAddr::V6(_)) => return Err("SOCKS4 has no IPv6 addresses: use socks5"),
            Destination::Name(name, _) => ([0, 0, 0, 1], Some(name)),
        };
        let mut request = [&[4, CONNECT][..], &port(destination), &ip, user.as_bytes(), b"\0"].concat();
        if let Some(name) = name {
            request.extend([name.as_bytes(), b"\0"].concat());
        }
        Ok(Version4 { request, reply: Reply::default() })
    }
}

impl Dialog for Version4 {
    fn begin(&mut self) -> Vec<u8> {
        self.request.clone()
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(usize, Step), Refusal> {
        /// Version, code, port and address.
        const REPLY_BYTES: usize = 8;
        let refused = |words: &str| Err(Refusal::OfProxy(words.to_owned()));
        let (taken, is_whole) = self.reply.take(bytes, |reply| match reply {
            [0] | [0, 90, ..] => Ok(REPLY_BYTES),
            // It does not say which.
            [0, 91, ..] => refused("it rejected the request, or failed (reply 91)"),
            [0, 92, ..] => refused("it could not ask this machine's identd for the user (reply 92)"),
            [0, 93, ..] => refused("this machine's identd named another user (reply 93)"),
            _ => Err(Refusal::OfProxy(format!("it answered {}, which is no SOCKS4 reply", quoted(reply)))),
        })?;
        Ok((taken, if is_whole { Step::Done } else { Step::More }))
    }

    fn phase(&self) -> Op {
        Op::Ask
    }
}

/// SOCKS5.
#[derive(Debug)]
pub(super) struct Version5 {
    request: Vec<u8>,
    credentials: Option<Credentials>,
    state: State,
    reply: Reply,
}

/// Which reply is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Method,
    Login,
    Request,
}

impl Version5 {
    pub(super) fn new(destination: &Destination, credentials: Option<Credentials>) -> Result<Version5, &'static str> {
        let mut request = vec![5, CONNECT, 0];
        match destination {
            Destination::Address(address) => match address.ip() {
                IpAddr::V4(ip) => request.extend([&[IPV4][..], &ip.octets()].concat()),
                IpAddr::V6(ip) => request.extend([&[IPV6][..], &ip.octets()].concat()),
            },
            Destination::Name(name, _) => {
                let Ok(length) = u8::try_from(name.len()) else {
                    return Err("SOCKS5 has no names of more than 255 bytes");
                };
                request.extend([&[NAME, length], name.as_bytes()].concat());
            }
        }
        request.extend(port(destination));
        Ok(Version5 { request, credentials, state: State::Method, reply: Reply::default() })
    }

    /// The request is next.
    fn ask(&mut self) -> Step {
        self.state = State::Request;
        Step::Send(self.request.clone())
    }

    /// The server has chosen how to log in.
    fn chosen(&mut self, reply: &[u8]) -> Result<Step, Refusal> {
        match (reply, &self.credentials) {
            ([5, NO_LOGIN], _) => Ok(self.ask()),
            ([5, PASSWORD], Some(Credentials { user, password })) => {
                self.state = State::Login;
                // Both are at most 255 bytes long.
                let length = |text: &str| [text.len() as u8];
                let (user_length, password_length) = (length(user), length(password));
                let parts = [&[1][..], &user_length, user.as_bytes(), &password_length, password.as_bytes()];
                Ok(Step::Send(parts.concat()))
            }
            ([5, NO_METHOD], None) => Err(Refusal::OfProxy("it wants a user and a password".to_owned())),
            ([5, NO_METHOD], Some(_)) => Err(Refusal::OfProxy("it takes neither a password nor none".to_owned())),
            _ => Err(nonsense(reply)),
        }
    }

    fn logged_in(&mut self, reply: &[u8]) -> Result<Step, Refusal> {
        match reply {
            [1, 0] => Ok(self.ask()),
            [1, status] => Err(Refusal::OfProxy(format!("it refused the user and password (status {status})"))),
            _ => Err(nonsense(reply)),
        }
    }
}

fn nonsense(reply: &[u8]) -> Refusal {
    Refusal::OfProxy(format!("it answered {}, which is no SOCKS5 reply", quoted(reply)))
}

/// How long the reply to a request is, as far as it shows; or what it says, if that is no connection.
fn request_reply_length(reply: &[u8]) -> Result<usize, Refusal> {
    /// Version, code, a reserved byte, the kind of address, and the first byte of that.
    const HEAD_BYTES: usize = 5;
    let of_proxy = |words: &str, code| Err(Refusal::OfProxy(format!("it answered {code}, {words}")));
    let of_target = |number, words: &str, code| Err(Refusal::OfTarget(number, format!("{code}, {words}")));
    match *reply {
        [5] | [5, 0] | [5, 0, _] | [5, 0, _, IPV4 | IPV6 | NAME] => Ok(HEAD_BYTES),
        [5, 0, _, IPV4, ..] => Ok(4 + 4 + 2),
        [5, 0, _, IPV6, ..] => Ok(4 + 16 + 2),
        [5, 0, _, NAME, length, ..] => Ok(HEAD_BYTES + usize::from(length) + 2),
        // It does not say of what.
        [5, code @ 1, ..] => of_proxy("general failure", code),
        [5, code @ 2, ..] => of_target(errno::EACCES, "not allowed by its rules", code),
        [5, code @ 3, ..] => of_target(errno::ENETUNREACH, "network unreachable", code),
        [5, code @ 4, ..] => of_target(errno::EHOSTUNREACH, "host unreachable", code),
        [5, code @ 5, ..] => of_target(errno::ECONNREFUSED, "connection refused", code),
        [5, code @ 6, ..] => of_target(errno::ETIMEDOUT, "TTL expired", code),
        [5, code @ 7, ..] => of_proxy("command not supported", code),
        [5, code @ 8, ..] => of_proxy("address type not supported", code),
        _ => Err(nonsense(reply)),
    }
}

impl Dialog for Version5 {
    fn begin(&mut self) -> Vec<u8> {
        if self.credentials.is_some() { vec![5, 2, NO_LOGIN, PASSWORD] } else { vec![5, 1, NO_LOGIN] }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(usize, Step), Refusal> {
        let state = self.state;
        let (taken, is_whole) = self.reply.take(bytes, |reply| match (state, reply) {
            (State::Request, _) => request_reply_length(reply),
            // Each begins with a version, and then comes the answer.
            (State::Method, [5, ..]) | (State::Login, [1, ..]) => Ok(2),
            _ => Err(nonsense(reply)),
        })?;
        if !is_whole {
            return Ok((taken, Step::More));
        }
        let reply = std::mem::take(&mut self.reply.0);
        let step = match state {
            State::Method => self.chosen(&reply)?,
            State::Login => self.logged_in(&reply)?,
            State::Request => Step::Done,
        };
        Ok((taken, step))
    }

    fn phase(&self) -> Op {
        match self.state {
            State::Method => Op::Greet,
            State::Login => Op::LogIn,
            State::Request => Op::Ask,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name() -> Destination {
        Destination::Name("example.com".to_owned(), 443)
    }

    fn address(text: &str) -> Destination {
        Destination::Address(text.parse().unwrap())
    }

    fn known() -> Credentials {
        Credentials { user: "user".to_owned(), password: "secret".to_owned() }
    }

    #[test]
    fn requests_of_version_4() {
        let request = |destination: &Destination, who| Version4::new(destination, who).map(|mut talk| talk.begin());
        assert_eq!(request(&address("192.0.2.1:80"), None).unwrap(), b"\x04\x01\0\x50\xc0\0\x02\x01\0");
        assert_eq!(request(&name(), Some(known())).unwrap(), b"\x04\x01\x01\xbb\0\0\0\x01user\0example.com\0");
        assert_eq!(request(&address("[::1]:80"), None), Err("SOCKS4 has no IPv6 addresses: use socks5"));
    }

    #[test]
    fn replies_of_version_4() {
        let reply = |bytes: &[u8]| Version4::new(&name(), None).unwrap().receive(bytes);
        assert_eq!(reply(b"\0\x5a\0\x50\x7f\0\0\x01"), Ok((8, Step::Done)));
        assert_eq!(reply(b"\0\x5a\0\x50\x7f\0\0\x01SSH-2.0"), Ok((8, Step::Done)));
        assert_eq!(reply(b"\0\x5a\0"), Ok((3, Step::More)));
        for (bytes, words) in [
            (&b"\0\x5b"[..], "it rejected the request, or failed (reply 91)"),
            (b"\0\x5c", "it could not ask this machine's identd for the user (reply 92)"),
            (b"\0\x5d", "this machine's identd named another user (reply 93)"),
            (b"HTTP/1.1 400", "it answered \"H\", which is no SOCKS4 reply"),
            (b"\0\x07", "it answered \"\\x00\\x07\", which is no SOCKS4 reply"),
        ] {
            assert_eq!(reply(bytes), Err(Refusal::OfProxy(words.to_owned())));
        }
    }

    #[test]
    fn a_talk_of_version_5_without_and_with_a_login() {
        let mut talk = Version5::new(&name(), None).unwrap();
        assert_eq!((talk.begin(), talk.phase()), (b"\x05\x01\0".to_vec(), Op::Greet));
        let request = b"\x05\x01\0\x03\x0bexample.com\x01\xbb".to_vec();
        assert_eq!(talk.receive(b"\x05\0"), Ok((2, Step::Send(request.clone()))));
        assert_eq!(talk.phase(), Op::Ask);
        assert_eq!(talk.receive(b"\x05\0\0\x01\x7f\0\0\x01\x04\x38hello"), Ok((10, Step::Done)));
        let mut talk = Version5::new(&name(), Some(known())).unwrap();
        assert_eq!(talk.begin(), b"\x05\x02\0\x02");
        assert_eq!(talk.receive(b"\x05\x02"), Ok((2, Step::Send(b"\x01\x04user\x06secret".to_vec()))));
        assert_eq!(talk.phase(), Op::LogIn);
        assert_eq!(talk.receive(b"\x01\0"), Ok((2, Step::Send(request))));
        assert_eq!(talk.receive(b"\x05\0\0\x03\x03a.b\0\x01hello"), Ok((10, Step::Done)));
    }

    #[test]
    fn addresses_of_version_5() {
        for (destination, expected) in [
            (address("192.0.2.1:80"), &b"\x05\x01\0\x01\xc0\0\x02\x01\0\x50"[..]),
            (address("[::1]:80"), b"\x05\x01\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50"),
        ] {
            let mut talk = Version5::new(&destination, None).unwrap();
            assert_eq!(talk.receive(b"\x05\0"), Ok((2, Step::Send(expected.to_vec()))));
        }
        assert!(Version5::new(&Destination::Name("a".repeat(256), 1), None).is_err());
    }

    #[test]
    fn logins_that_fail() {
        for (credentials, replies, words) in [
            (None, &[&b"\x05\xff"[..]][..], "it wants a user and a password"),
            (Some(known()), &[b"\x05\xff"], "it takes neither a password nor none"),
            (None, &[b"\x05\x02"], "it answered \"\\x05\\x02\", which is no SOCKS5 reply"),
            (None, &[b"SSH-2.0-x"], "it answered \"S\", which is no SOCKS5 reply"),
            (Some(known()), &[b"\x05\x02", b"\x01\x01"], "it refused the user and password (status 1)"),
            (Some(known()), &[b"\x05\x02", b"\x05\x00"], "it answered \"\\x05\", which is no SOCKS5 reply"),
        ] {
            let mut talk = Version5::new(&name(), credentials).unwrap();
            let mut last = Ok((0, Step::More));
            for reply in replies {
                last = talk.receive(reply);
            }
            assert_eq!(last, Err(Refusal::OfProxy(words.to_owned())));
        }
    }

    #[test]
    fn each_code_says_something_of_the_target_or_of_the_proxy() {
        let reply = |code: u8| {
            let mut talk = Version5::new(&name(), None).unwrap();
            talk.receive(b"\x05\0").unwrap();
            talk.receive(&[5, code, 0, 1]).unwrap_err()
        };
        for (code, name, words) in [
            (2, "EACCES", "2, not allowed by its rules"),
            (3, "ENETUNREACH", "3, network unreachable"),
            (4, "EHOSTUNREACH", "4, host unreachable"),
            (5, "ECONNREFUSED", "5, connection refused"),
            (6, "ETIMEDOUT", "6, TTL expired"),
        ] {
            match reply(code) {
                Refusal::OfTarget(number, said) => assert_eq!((errno::name(number), said.as_str()), (name, words)),
                Refusal::OfProxy(said) => panic!("{code}: {said}"),
            }
        }
        for (code, words) in [
            (1, "it answered 1, general failure"),
            (7, "it answered 7, command not supported"),
            (8, "it answered 8, address type not supported"),
            (9, "it answered \"\\x05\\t\", which is no SOCKS5 reply"),
        ] {
            assert_eq!(reply(code), Refusal::OfProxy(words.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn a_reply_ends_at_its_last_byte_however_it_is_cut(
            kind in prop_oneof![Just(IPV4), Just(IPV6), Just(NAME)],
            length in any::<u8>(),
            rest in prop::collection::vec(any::<u8>(), 0..30),
            cut in 1_usize..30,
        ) {
            let address = match kind {
                IPV4 => vec![9; 4],
                IPV6 => vec![9; 16],
                _ => [vec![length], vec![9; usize::from(length)]].concat(),
            };
            let reply = [&[5, 0, 0, kind][..], &address, &[1, 2]].concat();
            let stream = [reply.as_slice(), &rest].concat();
            let mut talk = Version5::new(&name(), None).unwrap();
            talk.receive(b"\x05\0").unwrap();
            let mut taken = 0;
            for chunk in stream.chunks(cut) {
                let (count, step) = talk.receive(chunk).unwrap();
                taken += count;
                if step == Step::Done {
                    break;
                }
                prop_assert_eq!((count, step), (chunk.len(), Step::More));
            }
            prop_assert_eq!(taken, reply.len());
        }

        #[test]
        fn nothing_that_comes_panics(replies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..6)) {
            let mut talks: [Box<dyn Dialog>; 2] =
                [Box::new(Version4::new(&name(), None).unwrap()), Box::new(Version5::new(&name(), Some(known())).unwrap())];
            for talk in &mut talks {
                for reply in &replies {
                    match talk.receive(reply) {
                        Ok((taken, Step::More)) => prop_assert_eq!(taken, reply.len()),
                        Ok((taken, _)) => prop_assert!(taken <= reply.len()),
                        Err(_) => break,
                    }
                }
            }
        }
    }
}
