//! Event lines for people.

use super::facts::{Facts, Happening, Scene};
use super::said::{Said, SaidChange, SaidKind, Saying};
use super::{Secrets, operation_text, rfc3339, text};
use std::fmt::Write;

/// Whether words are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// With the escape sequences of a terminal.
    On,
    /// Plain text.
    Off,
}

/// A line of `watch`, with its end: when, what, in which namespace, where, which mount, who.
pub fn event_text(
    happening: &Happening<'_>,
    before: &mut Scene<'_>,
    now: &mut Scene<'_>,
    colours: Colours,
) -> String {
    said_text(&Said::of(happening, before, now), happening.wall_ns, colours)
}

/// The same of a line that was made elsewhere. `wall_ns`: when, nanoseconds since 1970.
pub fn said_text(said: &Said, wall_ns: u64, colours: Colours) -> String {
    let mut line = rfc3339(wall_ns);
    line.push(' ');
    line.push_str(&painted(said.word(), colours));
    match &said.what {
        Saying::Present(mount) => push_mount(&mut line, mount, None),
        Saying::Synced => push(&mut line, &format!("revision {}", said.revision)),
        Saying::Lost(why) => push(&mut line, why),
        Saying::Coverage => push(&mut line, said.coverage.word()),
        Saying::Operation(done) => push(&mut line, &operation_text(done, Secrets::Shown)),
        Saying::Change(change) => {
            push_change(&mut line, &change.kind);
            push(&mut line, &who(change));
        }
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

fn push_change(line: &mut String, kind: &SaidKind) {
    match kind {
        SaidKind::Attach(mount) | SaidKind::Detach(mount) => push_mount(line, mount, None),
        SaidKind::Glimpsed { glimpsed, namespace, .. } => {
            push(line, &namespace.ns.map_or_else(|| String::from("-"), |inode| inode.to_string()));
            for text in [&glimpsed.target, &glimpsed.fs_type, &glimpsed.source] {
                push(line, &text::visible(text.as_deref().unwrap_or(b"?")));
            }
            push(line, "(as given; gone before it could be looked at)");
        }
        SaidKind::Move { before, mount } => push_mount(line, mount, Some(&where_is(before))),
        SaidKind::Attributes { before, mount } => {
            push_mount(line, mount, None);
            push(line, &differences(before, mount));
        }
        SaidKind::SuperBlock { mount, .. } => {
            push_mount(line, mount, None);
            push(line, &text::visible(mount.fs_options.as_deref().unwrap_or_default()));
        }
        SaidKind::Rename(rename) => {
            let from = rename.path_before.as_deref().unwrap_or(&rename.before);
            let to = rename.path.as_deref().unwrap_or(&rename.name);
            if from != to {
                push(line, &format!("{} ->", text::visible(from)));
            }
            push(line, &text::visible(to));
            push(line, if rename.is_deleted { "deleted" } else { "" });
        }
        SaidKind::NamespaceBorn(namespace) | SaidKind::NamespaceGone(namespace) => {
            push(line, &namespace.ns.unwrap_or_default().to_string());
        }
    }
}

fn push_mount(line: &mut String, facts: &Facts, from: Option<&str>) {
    push(line, &facts.ns.map_or_else(|| String::from("-"), |inode| inode.to_string()));
    let path = where_is(facts);
    match from {
        Some(from) => push(line, &format!("{from} -> {path}")),
        None => push(line, &path),
    }
    push(line, &text::visible(facts.fs_type.as_deref().unwrap_or_default()));
    let mut source = facts.source.clone();
    if let Some(root) = facts.root.as_deref().filter(|root| *root != b"/") {
        source.extend_from_slice(&[b"[", root, b"]"].concat());
    }
    push(line, &text::visible(&source));
    push(line, &facts.options);
    push(line, &propagation(facts));
}

/// The path, or where it is on its parent if no path leads there.
fn where_is(facts: &Facts) -> String {
    if let Some(path) = &facts.mountpoint {
        return text::visible(path);
    }
    let path = facts.mountpoint_in_parent.as_deref().unwrap_or(b"?");
    format!("({}:{})", facts.parent, text::visible(path))
}

/// The optional fields of mountinfo(5), joined; nothing for a private mount.
fn propagation(facts: &Facts) -> String {
    let words = [
        facts.shared.map(|group| format!("shared:{group}")),
        facts.master.map(|group| format!("master:{group}")),
        facts.unbindable.then(|| String::from("unbindable")),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(",")
}

fn differences(from: &Facts, to: &Facts) -> String {
    let named = |propagation: String| {
        if propagation.is_empty() { String::from("private") } else { propagation }
    };
    let pairs = [
        (from.options.clone(), to.options.clone()),
        (named(propagation(from)), named(propagation(to))),
        (text::visible(&from.source), text::visible(&to.source)),
    ];
    let mut out = String::new();
    for (from, to) in pairs.iter().filter(|(from, to)| from != to) {
        // Writing to a `String` cannot fail.
        let _ = write!(out, "{}{from} -> {to}", if out.is_empty() { "(" } else { ", " });
    }
    if !out.is_empty() {
        out.push(')');
    }
    out
}

fn who(change: &SaidChange) -> String {
    match &change.task {
        Some(task) => format!("by {}[{}]", text::visible(&task.comm), task.pid),
        None => String::from("found by a scan"),
    }
}

fn push(line: &mut String, word: &str) {
    if !word.is_empty() {
        line.push(' ');
        line.push_str(word);
    }
}

const WORD_WIDTH: usize = 14;

fn painted(word: &str, colours: Colours) -> String {
    let colour = match (colours, word) {
        (Colours::Off, _) => return format!("{word:<WORD_WIDTH$}"),
        (Colours::On, "attach" | "namespace_born") => 32,
        (Colours::On, "detach" | "namespace_gone") => 31,
        (Colours::On, "lost" | "coverage") => 35,
        (Colours::On, "present" | "synced" | "operation") => 2,
        (Colours::On, _) => 33,
    };
    format!("\x1b[{colour}m{word:<WORD_WIDTH$}\x1b[0m")
}
