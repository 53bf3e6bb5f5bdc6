//! Rust source with everything blanked out that is not code. Lines keep their numbers.

/// The source with comments and the insides of strings and characters as blanks.
pub(super) fn only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_other(&chars, at);
        if end > at {
            let blanked = chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' });
            code.extend(blanked);
            at = end;
        } else {
            code.push(chars[at]);
            at += 1;
        }
    }
    code
}

/// The end of the comment, string or character that begins at `at`; `at` itself if none does.
fn end_of_other(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let length = match rest {
        ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => string(rest),
        ['r', '"' | '#', ..] if !is_word_before(chars, at) => raw_string(rest),
        ['\'', '\\', ..] => 3 + rest.iter().skip(3).take_while(|c| **c != '\'').count() + 1,
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    };
    chars.len().min(at + length)
}

/// Whether a name ends just before: `for"` is no raw string. `br"` and `cr"` are.
fn is_word_before(chars: &[char], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|index| chars[index]);
    let in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match before(1) {
        Some('b' | 'c') => in_word(before(2)),
        other => in_word(other),
    }
}

/// Block comments nest.
fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => depth += 1,
            ['*', '/', ..] => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// `r"…"`, `r#"…"#`; 0 for a raw name such as `r#type`.
fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let mut at = 2 + hashes;
    while at < rest.len() {
        let closes = rest[at] == '"' && rest[at + 1..].iter().take(hashes).all(|c| *c == '#');
        at += 1;
        if closes {
            return at + hashes;
        }
    }
    at
}

/// Code without the items under `#[cfg(test)]`.
pub(super) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, item) = rest.split_at(at);
        let end = end_of_item(item);
        kept.push_str(before);
        kept.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    kept + rest
}

/// An item ends with the brace that closes its first one, or with a semicolon before any.
fn end_of_item(item: &str) -> usize {
    let mut depth = 0;
    for (at, c) in item.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(c, '}' | ';') {
            return at + 1;
        }
    }
    item.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blanked() {
        for (source, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x \" y") g"#, "f(        ) g"),
            (r##"r#"a"b"# c"##, "         c"),
            ("r#type br\"x\" for", "r#type b     for"),
            ("'a' 'b: '\\n' '\\'' x", "    'b:           x"),
            ("\"never closed", "             "),
        ] {
            assert_eq!(only(source), code, "{source}");
        }
    }

    #[test]
    fn test_items_are_left_out_and_lines_stay() {
        let code = "a\n#[cfg(test)]\nmod t {\n  fn f() -> [u8; 2] { x }\n}\nb\n\
                    #[cfg(test)]\n#[cfg(x)]\nmod u;\nc\n";
        assert_eq!(without_tests(code), "a\n\n\n\n\nb\n\n\n\nc\n");
        assert_eq!(without_tests(code).lines().count(), code.lines().count());
    }
}
