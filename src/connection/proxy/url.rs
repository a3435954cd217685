//! A proxy as a person types it: `socks5://[USER@]HOST:PORT`, and its password, which is never typed there.
//!
//! Owns that grammar. Must not know where the password was read. Trade-off: a user's name is taken as it is, without the
//! percent signs of other URLs, because nothing but the last `@` ends it.

use std::fmt;

use super::super::{Endpoint, Role};
use super::{Credentials, Proxy, Scheme};

/// What RFC 1929 has room for; HTTP sets no limit, and nobody needs one that is larger.
const FIELD_BYTES_MAX: usize = 255;

/// The schemes, as they are typed.
const SCHEMES: [(&str, Scheme); 5] = [
    ("socks5", Scheme::Socks5),
    ("socks5h", Scheme::Socks5h),
    ("socks4", Scheme::Socks4),
    ("socks4a", Scheme::Socks4a),
    ("http", Scheme::Http),
];

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, _) = SCHEMES.iter().find(|(_, scheme)| scheme == self).unwrap_or(&SCHEMES[0]);
        f.write_str(word)
    }
}

impl Proxy {
    /// Reads a URL. `secret` is `USER:PASSWORD`, or `:PASSWORD` of the URL's user. The error is one line, and never repeats a
    /// password.
    pub fn parse(url: &str, secret: Option<&str>) -> Result<Proxy, String> {
        let known = || SCHEMES.map(|(word, _)| word).join(", ");
        let Some((word, rest)) = url.split_once("://") else {
            return Err(format!("a proxy is SCHEME://HOST:PORT, with one of the schemes {}", known()));
        };
        let Some((_, scheme)) = SCHEMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) else {
            return Err(format!("there is no proxy scheme {word:?}, but {}", known()));
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
        if user.is_some_and(|user| user.contains(':')) {
            return Err(
                "a password on the command line can be read by everybody on this machine: put USER:PASSWORD into \
                        SOCKKIT_PROXY_AUTH, or into a file for --proxy-auth-file"
                    .to_owned(),
            );
        }
        let endpoint = Endpoint::parse(&[place], Role::Connect, false)?;
        if matches!(endpoint, Endpoint::Unix(_)) {
            return Err(format!("a proxy is at HOST:PORT, and {place:?} is a path"));
        }
        let credentials = credentials(user, secret)?;
        let has_password = credentials.as_ref().is_some_and(|credentials| !credentials.password.is_empty());
        if has_password && matches!(scheme, Scheme::Socks4 | Scheme::Socks4a) {
            return Err(format!("{word} has users without passwords: leave the password out, or use socks5"));
        }
        Ok(Proxy { scheme: *scheme, endpoint, credentials })
    }
}

/// The user of the URL, or of the secret; if of both, they must be one.
fn credentials(user: Option<&str>, secret: Option<&str>) -> Result<Option<Credentials>, String> {
    let parts = match secret {
        None => None,
        Some(secret) => match secret.split_once(':') {
            Some(parts) => Some(parts),
            None => return Err("the proxy's secret has no colon: it is USER:PASSWORD".to_owned()),
        },
    };
    let (user, password) = match (user, parts) {
        (None, None) => return Ok(None),
        (Some(user), None) => (user, ""),
        (None, Some((user, password))) => (user, password),
        (Some(user), Some((other, password))) if other.is_empty() || user == other => (user, password),
        (Some(user), Some((other, _))) => {
            return Err(format!("the proxy's user is {user:?} in its URL, and {other:?} in its secret: leave one out"));
        }
    };
    if user.is_empty() {
        return Err("the proxy's user is empty".to_owned());
    }
    for (what, field) in [("user", user), ("password", password)] {
        if field.len() > FIELD_BYTES_MAX {
            return Err(format!("the proxy's {what} is {} bytes long, the limit is {FIELD_BYTES_MAX}", field.len()));
        }
        if field.chars().any(char::is_control) {
            return Err(format!("there is a control character in the proxy's {what}"));
        }
    }
    Ok(Some(Credentials { user: user.to_owned(), password: password.to_owned() }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_proxy_has_one_printed_form() {
        for (url, expected) in [
            ("socks5://127.0.0.1:1080", "socks5://127.0.0.1:1080"),
            ("socks5h://[::1]:1080/", "socks5h://[::1]:1080"),
            ("SOCKS4A://proxy:socks", "socks4a://proxy:socks"),
            ("socks4://user@proxy:1080", "socks4://proxy:1080"),
            ("http://user@example.com@proxy:3128", "http://proxy:3128"),
            ("http://:3128", "http://:3128"),
        ] {
            assert_eq!(Proxy::parse(url, None).unwrap().to_string(), expected, "{url}");
        }
    }

    #[test]
    fn the_user_and_the_password_come_together() {
        for (url, secret, user, password) in [
            ("http://h:1", Some("u:p"), "u", "p"),
            ("http://u@h:1", Some("u:p:q"), "u", "p:q"),
            ("http://u@h:1", Some(":p"), "u", "p"),
            ("http://u@h:1", None, "u", ""),
            ("http://u@x@h:1", None, "u@x", ""),
        ] {
            let credentials = Proxy::parse(url, secret).unwrap().credentials.unwrap();
            assert_eq!((credentials.user.as_str(), credentials.password.as_str()), (user, password), "{url}");
            assert!(!format!("{credentials:?}").contains("password"), "{credentials:?}");
        }
        assert_eq!(Proxy::parse("http://h:1", None).unwrap().credentials, None);
    }

    #[test]
    fn what_is_no_proxy_is_refused_with_a_way_out() {
        let long = format!("u:{}", "p".repeat(256));
        for (url, secret, expected) in [
            (
                "proxy:1080",
                None,
                "a proxy is SCHEME://HOST:PORT, with one of the schemes socks5, socks5h, socks4, socks4a, http",
            ),
            ("https://h:1", None, "there is no proxy scheme \"https\", but socks5, socks5h, socks4, socks4a, http"),
            ("socks5://h", None, "no port in \"h\": write h:PORT"),
            ("socks5://", None, "nothing is named: write HOST:PORT"),
            ("socks5:///run/a", None, "a proxy is at HOST:PORT, and \"/run/a\" is a path"),
            (
                "socks5://u:hidden@h:1",
                None,
                "a password on the command line can be read by everybody on this machine: put USER:PASSWORD into \
                 SOCKKIT_PROXY_AUTH, or into a file for --proxy-auth-file",
            ),
            ("http://h:1", Some("hidden"), "the proxy's secret has no colon: it is USER:PASSWORD"),
            (
                "http://u@h:1",
                Some("v:hidden"),
                "the proxy's user is \"u\" in its URL, and \"v\" in its secret: leave one out",
            ),
            ("http://h:1", Some(":hidden"), "the proxy's user is empty"),
            ("http://h:1", Some(&long), "the proxy's password is 256 bytes long, the limit is 255"),
            ("http://h:1", Some("u:hid\nden"), "there is a control character in the proxy's password"),
            (
                "socks4://h:1",
                Some("u:hidden"),
                "socks4 has users without passwords: leave the password out, or use socks5",
            ),
        ] {
            assert_eq!(Proxy::parse(url, secret), Err(expected.to_owned()));
            assert!(!expected.contains("hidden"));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_or_brings_control_characters(url in prop_oneof![
            any::<String>(),
            "(socks5|http)://[a-z:@\u{1b}./0-9\\[\\]]{0,20}",
        ]) {
            let text = match Proxy::parse(&url, None) {
                Ok(proxy) => proxy.to_string(),
                Err(why) => why,
            };
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
}
