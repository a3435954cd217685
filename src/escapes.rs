//! Bytes as people type them: text with escapes, or hexadecimal digits.
//!
//! Owns both forms. Must not know what the bytes are for. Trade-off: a backslash that begins no escape is refused and not
//! taken as itself, because what is sent by mistake is seen only by the peer.

/// Reads what is to be sent: `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH` are what they are in C.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, left) = match (first, after) {
            (b'\\', [b'r', left @ ..]) => (b'\r', left),
            (b'\\', [b'n', left @ ..]) => (b'\n', left),
            (b'\\', [b't', left @ ..]) => (b'\t', left),
            (b'\\', [b'0', left @ ..]) => (b'\0', left),
            (b'\\', [b'\\', left @ ..]) => (b'\\', left),
            (b'\\', [b'x', high, low, left @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default() as u8;
                (digit(*high) << 4 | digit(*low), left)
            }
            (b'\\', _) => {
                return Err(format!("a backslash in {text:?} begins nothing: write \\r \\n \\t \\0 \\xHH or \\\\"));
            }
            (other, left) => (*other, left),
        };
        bytes.push(byte);
        rest = left;
    }
    Ok(bytes)
}

/// Reads bytes of two hexadecimal digits each, with or without blanks and colons between them: `0d0a`, `0d 0a`, `0d:0a`.
pub fn parse_hex(text: &str) -> Result<Vec<u8>, String> {
    let refuse = |why: &str| format!("{text:?} is not hexadecimal: {why}, for example 0d0a or 0d 0a");
    let mut bytes = Vec::new();
    for group in text.split([' ', '\t', ':']).filter(|group| !group.is_empty()) {
        let digits: Option<Vec<u8>> =
            group.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
        let digits = digits.ok_or_else(|| refuse("the digits are 0 to 9 and a to f"))?;
        if digits.len() % 2 == 1 {
            return Err(refuse(&format!("{group:?} has an odd number of digits, and two make a byte")));
        }
        bytes.extend(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]));
    }
    if bytes.is_empty() {
        return Err(refuse("there are no digits"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_may_be_written_in_hexadecimal() {
        for (text, expected) in
            [("0d0a", &b"\r\n"[..]), ("0D 0a", b"\r\n"), ("00:ff:7F", b"\x00\xff\x7f"), (" 61  6263\t64 ", b"abcd")]
        {
            assert_eq!(parse_hex(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, why) in [
            ("0d0", "\"0d0\" has an odd number of digits"),
            ("0 d", "\"0\" has an odd number of digits"),
            ("0g", "the digits are 0 to 9 and a to f"),
            ("\u{ff11}\u{ff11}", "the digits are 0 to 9 and a to f"),
            ("0x0d", "the digits are 0 to 9 and a to f"),
            ("", "there are no digits"),
            (" : ", "there are no digits"),
        ] {
            assert!(parse_hex(text).is_err_and(|error| error.contains(why)), "{text:?}: {:?}", parse_hex(text));
        }
    }

    #[test]
    fn what_is_sent_may_have_escapes() {
        for (text, expected) in [
            ("", &b""[..]),
            ("QUIT\\r\\n", b"QUIT\r\n"),
            ("\\x00\\xfF\\0\\t\\\\n", b"\x00\xff\0\t\\n"),
            ("gr\u{fc}n", "gr\u{fc}n".as_bytes()),
        ] {
            assert_eq!(unescape(text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["\\", "a\\q", "\\x1", "\\xgg"] {
            assert!(unescape(text).unwrap_err().contains("begins nothing"), "{text}");
        }
    }
}
