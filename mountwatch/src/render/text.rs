//! Bytes that are not plain text, for terminals and JSON.

use std::fmt::Write;

/// Text that is safe on a terminal, as findmnt(8) writes it: control characters and bytes that are
/// not UTF-8 become `\xNN`, and so does a backslash that would look like one of those.
pub fn visible(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let mut chars = chunk.valid().chars().peekable();
        while let Some(char) = chars.next() {
            let looks_escaped = char == '\\' && chars.peek() == Some(&'x');
            if char.is_control() || is_direction(char) || looks_escaped {
                let mut buffer = [0; 4];
                for byte in char.encode_utf8(&mut buffer).bytes() {
                    push_hex_escape(&mut out, byte);
                }
            } else {
                out.push(char);
            }
        }
        for byte in chunk.invalid() {
            push_hex_escape(&mut out, *byte);
        }
    }
    out
}

/// Line separators and marks that turn the direction of writing: they make a line look like another.
fn is_direction(char: char) -> bool {
    matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn push_hex_escape(out: &mut String, byte: u8) {
    // Writing to a `String` cannot fail.
    let _ = write!(out, "\\x{byte:02x}");
}

/// Text for programs, as findmnt(8) writes it with --raw and --pairs: what is not a printable ASCII
/// character, and these ones, become `\xNN`.
pub(super) fn hex_escaped(bytes: &[u8], escaped: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        if (b' '..=b'~').contains(byte) && !escaped.contains(byte) {
            out.push(char::from(*byte));
        } else {
            push_hex_escape(&mut out, *byte);
        }
    }
    out
}

/// Lower-case hexadecimal digits, two for each byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_raw() {
        assert_eq!(visible("/größe".as_bytes()), "/größe");
        assert_eq!(visible(b"a\nb\x1b[31m\xff"), "a\\x0ab\\x1b[31m\\xff");
        assert_eq!(visible(b"a\\x0a"), "a\\x5cx0a");
        assert_eq!(visible(b"a\\b"), "a\\b");
        assert_eq!(visible("\u{202e}".as_bytes()), "\\xe2\\x80\\xae");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_safe(bytes: Vec<u8>) {
            proptest::prop_assert!(visible(&bytes).chars().all(|char| !char.is_control()));
        }
    }
}
