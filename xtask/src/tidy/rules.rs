//! The rules, each with its reason.

/// What of a file a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// All of it, comments too.
    Everything,
    /// Neither comments nor strings.
    Code,
    /// Neither comments nor strings nor what is under `#[cfg(test)]`.
    CodeWithoutTests,
}

/// Words that must not stand in some files.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) words: &'static [&'static str],
    pub(super) text: Text,
    /// Whether the rule holds for the file at this path from the root.
    pub(super) applies: fn(&str) -> bool,
    pub(super) reason: &'static str,
}

/// A file that cannot be read in one go has more than one subject.
pub(super) const LINES: usize = 500;

/// Folders below a crate's `src`: room, and one part of a room. Deeper ones hide things.
pub(super) const FOLDERS: usize = 2;

/// Rooms of mountwatch that compute and do nothing else.
const PURE_ROOMS: &[&str] =
    &["maps", "model", "wire", "state", "query", "leaks", "metrics", "render", "textual"];

pub(super) const RULES: &[Rule] = &[
    Rule {
        words: &["todo!", "unimplemented!"],
        text: Text::Code,
        applies: everywhere,
        reason: "what is not there yet is not called either",
    },
    Rule {
        words: &["dbg!"],
        text: Text::Code,
        applies: everywhere,
        reason: "a trace of debugging",
    },
    Rule {
        words: &[concat!("FIX", "ME")],
        text: Text::Everything,
        applies: everywhere,
        reason: "a known fault is mended or is an issue",
    },
    Rule {
        words: &["#[allow(", "#![allow("],
        text: Text::Code,
        applies: everywhere,
        reason: "write `expect`: the compiler tells when it is no longer needed",
    },
    Rule {
        words: &[
            "std::fs",
            "std::net",
            "std::env",
            "std::process",
            "std::thread",
            "Instant",
            "SystemTime",
            "tokio",
            "aya",
            "libc",
            "rustix",
            "unsafe",
        ],
        text: Text::CodeWithoutTests,
        applies: is_pure,
        reason: "the pure rooms do no I/O, read no clock and have no unsafe code, so that each of \
                 their answers can be repeated in a test",
    },
    Rule {
        words: &["unsafe"],
        text: Text::Code,
        applies: |path| {
            path.starts_with("mountwatch/src/") && !is_sys(path, "mountwatch/src/kernel/")
        },
        reason: "unsafe code stays in kernel/sys*.rs, behind safe functions",
    },
    Rule {
        words: &["unsafe"],
        text: Text::Code,
        applies: |path| path.starts_with("bench/") && !is_sys(path, "bench/src/"),
        reason: "unsafe code of the benches stays in src/sys.rs, behind safe functions",
    },
    Rule {
        words: &["unsafe"],
        text: Text::Code,
        applies: |path| {
            path.starts_with("mountwatch-mapped/src/") && !is_sys(path, "mountwatch-mapped/src/")
        },
        reason: "unsafe code of the mapped tables stays in src/sys*.rs, behind safe functions",
    },
    Rule {
        words: &["unsafe"],
        text: Text::Code,
        applies: |path| path.starts_with("tests/") && !is_sys(path, "tests/src/"),
        reason: "unsafe code of the tests stays in src/sys*.rs, behind safe functions",
    },
];

fn everywhere(_path: &str) -> bool {
    true
}

/// Whether a file belongs to a pure room. Its tests may do what they like.
fn is_pure(path: &str) -> bool {
    let Some(path) = path.strip_prefix("mountwatch/src/") else { return false };
    let room = path.split('/').next().unwrap_or_default();
    let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
    PURE_ROOMS.contains(&room.trim_end_matches(".rs")) && !is_test
}

/// Whether a file is a `sys*.rs` right in this folder.
fn is_sys(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|name| name.starts_with("sys") && !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_known_by_their_paths() {
        for pure in ["mountwatch/src/state.rs", "mountwatch/src/wire/cursor.rs"] {
            assert!(is_pure(pure), "{pure}");
        }
        for other in
            ["mountwatch/src/kernel.rs", "tests/src/state.rs", "mountwatch/src/state/tests.rs"]
        {
            assert!(!is_pure(other), "{other}");
        }
        assert!(is_sys("tests/src/sys_mount.rs", "tests/src/"));
        assert!(!is_sys("tests/src/x/sys.rs", "tests/src/"));
    }
}
