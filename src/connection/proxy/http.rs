//! HTTP's CONNECT (RFC 9110 section 9.3.6), with Basic credentials (RFC 7617).
//!
//! Owns the request and the reading of the reply's head. Must not know sockets. Trade-off: of the head only the status line is
//! read; what the fields say changes nothing, since a reply to CONNECT has no body when it is granted, and is not followed
//! when it is not.

use super::super::{Op, errno};
use super::{Credentials, Destination, Dialog, Refusal, Step, quoted};
use crate::base64;

/// What every reply begins with: HTTP/1.0 and 1.1 are read alike.
const BEGINNING: &[u8] = b"HTTP/1.";

/// A head that is longer is no answer, but somebody who talks without end.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// CONNECT.
#[derive(Debug)]
pub(super) struct Connect {
    request: Vec<u8>,
    has_credentials: bool,
    head: Vec<u8>,
}

impl Connect {
    pub(super) fn new(destination: &Destination, credentials: Option<&Credentials>) -> Connect {
        let login = credentials.map_or(String::new(), |Credentials { user, password }| {
            let secret = base64::encode(format!("{user}:{password}").as_bytes());
            format!("Proxy-Authorization: Basic {secret}\r\n")
        });
        let request = format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n{login}\r\n").into_bytes();
        Connect { request, has_credentials: credentials.is_some(), head: Vec::new() }
    }

    /// What a whole head says.
    fn judge(&mut self) -> Result<Step, Refusal> {
        let head = std::mem::take(&mut self.head);
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
        // `HTTP/1.1 200 OK`; the words may be missing.
        let status = line.get(BEGINNING.len() + 1..).and_then(|rest| match rest {
            [b' ', digits @ ..] => digits.get(..3).filter(|_| matches!(digits.get(3), None | Some(b' '))),
            _ => None,
        });
        let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
        let said = || quoted(line.get(BEGINNING.len() + 2..).unwrap_or_default());
        match status {
            // More follows (RFC 9110 section 15.2).
            Some(100..=199) => Ok(Step::More),
            Some(200..=299) => Ok(Step::Done),
            Some(403) => Err(Refusal::OfTarget(errno::EACCES, said())),
            Some(407) if self.has_credentials => {
                Err(Refusal::OfProxy(format!("it refused the user and password: {}", said())))
            }
            Some(407) => Err(Refusal::OfProxy(format!("it wants a user and a password: {}", said()))),
            // A target that refuses, one that is silent, a name that is none and a fault of the proxy's own: each proxy has
            // its own numbers for them, and ncat's says 504 to all.
            Some(300..=599) => Err(Refusal::OfProxy(format!("it answered {}", said()))),
            _ => Err(nonsense(line)),
        }
    }
}

fn nonsense(head: &[u8]) -> Refusal {
    Refusal::OfProxy(format!("it answered {}, which is no HTTP", quoted(head)))
}

impl Dialog for Connect {
    fn begin(&mut self) -> Vec<u8> {
        self.request.clone()
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(usize, Step), Refusal> {
        for (index, byte) in bytes.iter().enumerate() {
            self.head.push(*byte);
            let begun = self.head.len().min(BEGINNING.len());
            if self.head[..begun] != BEGINNING[..begun] {
                // With what else has come: that tells more of who is there.
                return Err(nonsense(&[&self.head[..], &bytes[index + 1..]].concat()));
            }
            // A lone LF ends a line as well (RFC 9112 section 2.2).
            if self.head.ends_with(b"\n\r\n") || self.head.ends_with(b"\n\n") {
                match self.judge()? {
                    Step::More => {}
                    step => return Ok((index + 1, step)),
                }
            } else if self.head.len() >= HEAD_BYTES_MAX {
                return Err(Refusal::OfProxy(format!("its answer has no end within {HEAD_BYTES_MAX} bytes")));
            }
        }
        Ok((bytes.len(), Step::More))
    }

    fn phase(&self) -> Op {
        Op::Ask
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name() -> Destination {
        Destination::Name("example.com".to_owned(), 443)
    }

    fn reply(bytes: &[u8]) -> Result<(usize, Step), Refusal> {
        Connect::new(&name(), None).receive(bytes)
    }

    #[test]
    fn requests_name_the_target_twice() {
        assert_eq!(
            Connect::new(&name(), None).begin(),
            b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"
        );
        let credentials = Credentials { user: "Aladdin".to_owned(), password: "open sesame".to_owned() };
        assert_eq!(
            Connect::new(&Destination::Address("[::1]:80".parse().unwrap()), Some(&credentials)).begin(),
            b"CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n\
              Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
        );
    }

    #[test]
    fn granted_is_any_status_of_the_two_hundreds() {
        for head in [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 200 OK\r\nVia: a\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 204\r\n\r\n",
            "HTTP/1.1 200 \n\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            let whole = format!("{head}SSH-2.0\r\n\r\n");
            assert_eq!(reply(whole.as_bytes()), Ok((head.len(), Step::Done)), "{head}");
            assert_eq!(reply(&head.as_bytes()[..head.len() - 1]), Ok((head.len() - 1, Step::More)), "{head}");
        }
    }

    #[test]
    fn only_what_is_certain_is_said_of_the_target() {
        for (status, expected) in [
            ("403 Forbidden", Refusal::OfTarget(errno::EACCES, "\"403 Forbidden\"".to_owned())),
            ("504 Gateway Timeout", Refusal::OfProxy("it answered \"504 Gateway Timeout\"".to_owned())),
            ("502 Bad Gateway", Refusal::OfProxy("it answered \"502 Bad Gateway\"".to_owned())),
            ("503 a\u{1b}b", Refusal::OfProxy("it answered \"503 a\\x1bb\"".to_owned())),
            ("400", Refusal::OfProxy("it answered \"400\"".to_owned())),
            (
                "407 Proxy Authentication Required",
                Refusal::OfProxy("it wants a user and a password: \"407 Proxy Authentication Required\"".to_owned()),
            ),
        ] {
            assert_eq!(reply(format!("HTTP/1.1 {status}\r\nA: b\r\n\r\n").as_bytes()), Err(expected));
        }
        let credentials = Credentials { user: "u".to_owned(), password: "p".to_owned() };
        let refused = Connect::new(&name(), Some(&credentials)).receive(b"HTTP/1.1 407 No\r\n\r\n");
        assert_eq!(refused, Err(Refusal::OfProxy("it refused the user and password: \"407 No\"".to_owned())));
    }

    #[test]
    fn what_is_no_http_is_refused_at_its_first_wrong_byte() {
        for (bytes, shown) in [
            (&b"SSH-2.0-OpenSSH"[..], "\"SSH-2.0-OpenSSH\""),
            (b"\x05\0", "\"\\x05\\x00\""),
            (b"HTTP/2.0 200 OK\r\n\r\n", "\"HTTP/2.0 200 OK\\r\\n\\r\\n\""),
            (b"HTTP/1.1 20 OK\r\n\r\n", "\"HTTP/1.1 20 OK\""),
            (b"HTTP/1.1 2000 OK\r\n\r\n", "\"HTTP/1.1 2000 OK\""),
            (b"HTTP/1.1\r\n\r\n", "\"HTTP/1.1\""),
            (b"HTTP/1.1 +20 OK\r\n\r\n", "\"HTTP/1.1 +20 OK\""),
        ] {
            assert_eq!(reply(bytes), Err(Refusal::OfProxy(format!("it answered {shown}, which is no HTTP"))));
        }
        let endless = [b"HTTP/1.1 200 OK\r\n", vec![b'a'; HEAD_BYTES_MAX].as_slice()].concat();
        assert_eq!(reply(&endless), Err(Refusal::OfProxy("its answer has no end within 65536 bytes".to_owned())));
    }

    proptest! {
        #[test]
        fn a_head_ends_at_its_empty_line_however_it_is_cut(
            fields in prop::collection::vec("[A-Za-z-]{1,8}: [ -~]{0,20}", 0..4),
            rest in prop::collection::vec(any::<u8>(), 0..30),
            cut in 1_usize..30,
        ) {
            let head = [&["HTTP/1.1 200 OK".to_owned()], fields.as_slice(), &[String::new(), String::new()]];
            let head = head.concat().join("\r\n");
            let stream = [head.as_bytes(), &rest].concat();
            let mut talk = Connect::new(&name(), None);
            let mut taken = 0;
            for chunk in stream.chunks(cut) {
                let (count, step) = talk.receive(chunk).unwrap();
                taken += count;
                if step == Step::Done {
                    break;
                }
            }
            prop_assert_eq!(taken, head.len());
        }

        #[test]
        fn nothing_that_comes_panics(start in prop_oneof![Just(&b""[..]), Just(BEGINNING), Just(&b"HTTP/1.1 "[..])],
            rest in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'2')], 0..60)) {
            match reply(&[start, &rest].concat()) {
                Ok((taken, _)) => prop_assert!(taken <= start.len() + rest.len()),
                Err(Refusal::OfProxy(words) | Refusal::OfTarget(_, words)) => {
                    prop_assert!(!words.chars().any(char::is_control));
                }
            }
        }
    }
}
