//! Words of a scenario line: bytes, because names in a file system are bytes.
//!
//! Words are separated by blanks. `"…"` keeps blanks. `\n`, `\t`, `\xHH` and `\` before any other
//! byte are what they are in C. `{TEXT*N}` is TEXT N times, for long names and deep paths.

use anyhow::{Context as _, Result, bail};

/// Splits a line into words.
pub(crate) fn split(line: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut in_quotes = false;
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' if !in_quotes => words.extend(word.take()),
            b'"' => {
                in_quotes = !in_quotes;
                word.get_or_insert_default();
            }
            b'\\' => {
                let escaped = escape(&mut bytes)?;
                word.get_or_insert_default().push(escaped);
            }
            b'{' => {
                let text: Vec<u8> = bytes.by_ref().take_while(|byte| *byte != b'}').collect();
                let repeated = repeat(&text).with_context(|| {
                    format!("{{{}}} is not {{TEXT*COUNT}}", String::from_utf8_lossy(&text))
                })?;
                word.get_or_insert_default().extend(repeated);
            }
            byte => word.get_or_insert_default().push(byte),
        }
    }
    if in_quotes {
        bail!("the quotes are not closed");
    }
    words.extend(word);
    Ok(words)
}

fn escape(bytes: &mut impl Iterator<Item = u8>) -> Result<u8> {
    Ok(match bytes.next().context("nothing follows the last backslash")? {
        b'n' => b'\n',
        b't' => b'\t',
        b'x' => {
            let digits = [bytes.next(), bytes.next()].map(|digit| digit.unwrap_or(b'?'));
            let digits = std::str::from_utf8(&digits).context("\\x needs two digits")?;
            u8::from_str_radix(digits, 16).context("\\x needs two hexadecimal digits")?
        }
        byte => byte,
    })
}

fn repeat(text: &[u8]) -> Option<Vec<u8>> {
    let star = text.iter().rposition(|byte| *byte == b'*')?;
    let count: usize = std::str::from_utf8(text.get(star + 1..)?).ok()?.parse().ok()?;
    Some(text.get(..star)?.repeat(count))
}

/// A word as it can stand in a line again; `split(quote(word))` is the word.
pub(crate) fn quote(word: &[u8]) -> String {
    use std::fmt::Write as _;
    if word.is_empty() {
        return "\"\"".to_owned();
    }
    let mut text = String::new();
    for byte in word {
        match byte {
            b' ' | b'"' | b'\\' | b'{' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            0x21..=0x7e => text.push(char::from(*byte)),
            byte => write!(text, "\\x{byte:02x}").expect("writing to a string does not fail"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        split(line.as_bytes()).unwrap()
    }

    #[test]
    fn words_are_separated_by_blanks_and_kept_by_quotes() {
        assert_eq!(words("mount  tmpfs\t/a"), [&b"mount"[..], b"tmpfs", b"/a"]);
        assert_eq!(words(r#"mkdir "/a b" "" c\ d"#), [&b"mkdir"[..], b"/a b", b"", b"c d"]);
        assert_eq!(words(r"\x0a\n\\\xff"), [b"\n\n\\\xff"]);
        assert_eq!(words("/{ab/*3}c"), [b"/ab/ab/ab/c"]);
        assert!(split(b"\"open").is_err());
        assert!(split(b"{x}").is_err());
        assert!(split(b"\\xg1").is_err());
    }

    proptest! {
        /// Any bytes: no panic.
        #[test]
        fn any_line_is_split_or_refused(line: Vec<u8>) {
            prop_assume!(!line.windows(3).any(|window| window.iter().all(u8::is_ascii_digit)));
            let _ = split(&line);
        }

        /// Any word survives being quoted.
        #[test]
        fn a_quoted_word_is_itself(word: Vec<u8>) {
            prop_assert_eq!(split(quote(&word).as_bytes()).unwrap(), vec![word]);
        }
    }
}
