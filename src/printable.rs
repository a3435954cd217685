//! Text of strangers, as a terminal may see it.
//!
//! Owns which characters could drive a terminal, and the ways to write them. Must not know whose text it is, nor where
//! it goes. Trade-off: backslashes are left alone, because Windows paths are full of them; so what is escaped can be read,
//! but not always be read back.

/// Control characters, and the invisible ones that reorder or hide text (Unicode TR 36 section 2.10).
pub fn drives_terminal(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Text in one line: printable UTF-8 as it is, the rest escaped.
pub fn one_line(text: impl AsRef<[u8]>) -> String {
    escaped(text.as_ref(), |_| false)
}

/// Bytes of a peer: newlines and tabs as they are, printable UTF-8 as it is, the rest escaped.
pub fn for_terminal(bytes: &[u8]) -> String {
    escaped(bytes, |character| matches!(character, '\n' | '\t'))
}

/// The first bytes of what came, in quotes, every byte that is not printable ASCII escaped.
pub fn quoted(bytes: &[u8], shown_bytes_max: usize) -> String {
    let shown = &bytes[..bytes.len().min(shown_bytes_max)];
    let more = if shown.len() < bytes.len() { "..." } else { "" };
    format!("\"{}\"{more}", shown.escape_ascii())
}

fn escaped(bytes: &[u8], is_welcome: fn(char) -> bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if drives_terminal(character) && !is_welcome(character) {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        text.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_drive_the_terminal() {
        for (bytes, shown) in [
            (&b"hello\n\tworld"[..], "hello\n\tworld"),
            (b"\x1b[2J", "\\u{1b}[2J"),
            (b"\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            (b"a\rb", "a\\rb"),
            ("\u{202e}txt".as_bytes(), "\\u{202e}txt"),
            ("gr\u{fc}n".as_bytes(), "gr\u{fc}n"),
            (b"\xff\xfe", "\\xff\\xfe"),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
        ] {
            assert_eq!(for_terminal(bytes), shown);
        }
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(one_line("a\nb\t\x1b[1m"), "a\\nb\\t\\u{1b}[1m");
        assert_eq!(one_line(b"C:\\a\xff"), "C:\\a\\xff");
    }

    #[test]
    fn a_message_is_shown_in_ascii_and_cut() {
        for (bytes, shown) in [
            (&b""[..], "\"\""),
            (b"hello\n", "\"hello\\n\""),
            (b"say \"hi\"\0\xff", "\"say \\\"hi\\\"\\x00\\xff\""),
            (b"0123456789abcdef0123456789abcdef", "\"0123456789abcdef0123456789abcdef\""),
            (b"0123456789abcdef0123456789abcdefg", "\"0123456789abcdef0123456789abcdef\"..."),
        ] {
            assert_eq!(quoted(bytes, 32), shown);
        }
    }
}
