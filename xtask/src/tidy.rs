//! `cargo xtask tidy`: the rules of the house that neither the compiler nor clippy knows.

mod code;
mod rules;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use self::rules::{FOLDERS, LINES, RULES, Text};
use crate::workspace;

/// Prints each breach and fails if there is one.
pub(crate) fn run() -> Result<()> {
    let breaches = breaches(workspace::root())?;
    for breach in &breaches {
        eprintln!("{breach}");
    }
    ensure!(breaches.is_empty(), "{} breach(es) of the rules of the house", breaches.len());
    Ok(())
}

/// All breaches in the sources below a directory.
fn breaches(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    visit(root, root, &mut found)?;
    Ok(found)
}

fn visit(root: &Path, directory: &Path, found: &mut Vec<String>) -> Result<()> {
    let entries = fs::read_dir(directory);
    let entries = entries.with_context(|| format!("cannot read {}", directory.display()))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() {
            // What a program wrote is that program's house.
            if name != "target" && name != "generated" && !name.starts_with('.') {
                visit(root, &path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path);
            let source = source.with_context(|| format!("cannot read {}", path.display()))?;
            let relative = path.strip_prefix(root).unwrap_or(&path);
            found.extend(breaches_of_file(&relative.to_string_lossy(), &source));
        }
    }
    Ok(())
}

/// The breaches of one file at a path from the root.
fn breaches_of_file(path: &str, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = source.lines().count();
    if lines > LINES {
        found.push(format!("{path}: {lines} lines, more than {LINES}: it has two subjects"));
    }
    let folders = path.split_once("/src/").map_or(0, |(_, below)| below.matches('/').count());
    if folders > FOLDERS {
        found.push(format!("{path}: {folders} folders below src, more than {FOLDERS}"));
    }
    let code = code::only(source);
    let without_tests = code::without_tests(&code);
    for rule in RULES.iter().filter(|rule| (rule.applies)(path)) {
        let text = match rule.text {
            Text::Everything => source,
            Text::Code => &code,
            Text::CodeWithoutTests => &without_tests,
        };
        for word in rule.words {
            for line in lines_with(text, word) {
                found.push(format!("{path}:{line}: `{word}`: {}", rule.reason));
            }
        }
    }
    found
}

/// The numbers of the lines on which a word stands.
fn lines_with(text: &str, word: &str) -> Vec<usize> {
    let number = |at: usize| text[..at].matches('\n').count() + 1;
    let mut places = whole(text, word);
    // `use std::{fs, io}` names std::fs as well.
    if let Some((parent, child)) = word.split_once("::") {
        for group in whole(text, &format!("{parent}::{{")) {
            let (inside, start) = group_at(text, group + parent.len() + 3);
            places.extend(whole(inside, child).iter().map(|at| start + at));
        }
    }
    let mut lines: Vec<usize> = places.into_iter().map(number).collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

/// What stands between the brace before `start` and the one that closes it.
fn group_at(text: &str, start: usize) -> (&str, usize) {
    let mut depth = 1;
    let end = text[start..].char_indices().find(|(_, c)| {
        depth += i32::from(*c == '{') - i32::from(*c == '}');
        depth == 0
    });
    (&text[start..end.map_or(text.len(), |(at, _)| start + at)], start)
}

/// Where a word stands as a whole, not as a part of a longer name.
fn whole(text: &str, word: &str) -> Vec<usize> {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    let joins = |inner: Option<char>, outer: Option<char>| {
        inner.is_some_and(in_name) && outer.is_some_and(in_name)
    };
    let is_whole = |at: &usize| {
        let (before, after) = (&text[..*at], &text[*at + word.len()..]);
        !joins(word.chars().next(), before.chars().next_back())
            && !joins(word.chars().next_back(), after.chars().next())
    };
    text.match_indices(word).map(|(at, _)| at).filter(is_whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole house is tidy: `cargo test` says so without a verb of its own.
    #[test]
    fn the_workspace_is_tidy() {
        let breaches = breaches(workspace::root()).unwrap();
        assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
    }

    #[test]
    fn each_word_of_each_rule_is_found_where_it_holds() {
        for rule in RULES {
            let paths = [
                "mountwatch/src/state/x.rs",
                "mountwatch/src/cli.rs",
                "tests/src/x.rs",
                "bench/src/x.rs",
                "mountwatch-mapped/src/x.rs",
            ];
            let path = paths.into_iter().find(|path| (rule.applies)(path)).expect("it holds");
            for word in rule.words {
                let found = breaches_of_file(path, &format!("fn f() {{\n    {word} }}\n"));
                let expected = format!("{path}:2: `{word}`: {}", rule.reason);
                assert!(found.contains(&expected), "{word}: {found:?}");
                let longer = format!("a_{word}");
                let boundary = word.starts_with(char::is_alphabetic);
                assert_eq!(lines_with(&longer, word).is_empty(), boundary, "{longer}");
            }
        }
    }

    #[test]
    fn comments_strings_and_tests_are_no_breach() {
        let source = "// unsafe\nconst X: &str = \"std::fs\";\n#[cfg(test)]\nmod tests {\n    \
                      use std::fs;\n}\n";
        assert_eq!(breaches_of_file("mountwatch/src/state.rs", source), Vec::<String>::new());
    }

    #[test]
    fn grouped_imports_are_looked_into() {
        let source = "use std::{\n    collections::{BTreeMap},\n    fs,\n};\nfn f(fs: u8) {}\n";
        assert_eq!(lines_with(source, "std::fs"), [3]);
        assert_eq!(lines_with("use std::{io}; fs", "std::fs"), [0; 0]);
    }

    #[test]
    fn unsafe_code_has_its_places() {
        let source = "unsafe {}";
        for allowed in ["mountwatch/src/kernel/sys_bpf.rs", "tests/src/sys.rs"] {
            assert_eq!(breaches_of_file(allowed, source), Vec::<String>::new());
        }
        for path in ["mountwatch/src/kernel/load/sys.rs", "tests/src/main.rs"] {
            assert_eq!(breaches_of_file(path, source).len(), 1, "{path}");
        }
    }

    #[test]
    fn long_files_and_deep_folders_are_found() {
        assert_eq!(breaches_of_file("a/src/b.rs", &"\n".repeat(LINES)).len(), 0);
        assert_eq!(breaches_of_file("a/src/b.rs", &"\n".repeat(LINES + 1)).len(), 1);
        assert_eq!(breaches_of_file("a/src/b/c/d.rs", "").len(), 0);
        assert_eq!(breaches_of_file("a/src/b/c/d/e.rs", "").len(), 1);
    }
}
