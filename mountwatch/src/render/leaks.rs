//! What a command left behind, for people.

use super::facts::{Facts, Scene};
use super::operation::call_text;
use super::{Clock, Secrets, rfc3339, text};
use crate::leaks::{Left, LeftMount, LeftNamespace, Maker, Owner, Release, Unmount};
use crate::model::{Bytes, Mount};
use crate::state::Snapshot;
use std::fmt::Write;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this exit status.
    Status(u8),
    /// By the signal with this number.
    Signal(u8),
}

/// What `exec` says of a command.
#[derive(Debug)]
pub struct Judgement<'a> {
    /// The command with its arguments.
    pub command: &'a [Vec<u8>],
    /// How it ended.
    pub exit: Exit,
    /// The exit status of `exec` itself.
    pub status: u8,
    /// From its start to its end, in nanoseconds.
    pub duration_ns: u64,
    /// It ran in a private mount namespace of its own.
    pub is_private: bool,
    /// The back end.
    pub backend: &'a str,
    /// The index at the end.
    pub snapshot: &'a Snapshot,
    /// What was left behind.
    pub left: &'a Left,
    /// Processes below it that had not ended then, by ID and `comm`.
    pub processes: &'a [(u32, Bytes)],
    /// What may be wrong with all of this, one sentence each.
    pub notes: &'a [String],
    /// Both clocks, now.
    pub clock: Clock,
    /// Whether values that hold secrets are shown.
    pub secrets: Secrets,
}

/// Processes that are named; the others are counted.
pub(super) const PROCESSES_MAX: usize = 16;

impl Judgement<'_> {
    /// The words of the command, as they can be pasted into a shell.
    pub(super) fn command_line(&self) -> String {
        let words: Vec<_> = self.command.iter().map(|word| crate::leaks::quoted(word)).collect();
        words.join(" ")
    }

    /// `2 mounts and 1 mount namespace`.
    pub(super) fn counts(&self) -> String {
        let one = |count: usize, word: &str| match count {
            0 => None,
            1 => Some(format!("1 {word}")),
            count => Some(format!("{count} {word}s")),
        };
        let both = [
            one(self.left.mounts.len(), "mount"),
            one(self.left.namespaces.len(), "mount namespace"),
        ];
        both.into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }
}

/// The report: nothing if there is nothing to say.
pub fn leaks_text(judgement: &Judgement<'_>) -> String {
    let mut out = String::new();
    for note in judgement.notes {
        push(&mut out, &format!("mountwatch: note: {note}"));
    }
    push_processes(&mut out, judgement);
    if judgement.left.is_empty() {
        return out;
    }
    push(
        &mut out,
        &format!("mountwatch: {} left behind by {}", judgement.counts(), judgement.command_line()),
    );
    let mut scene = Scene::new(judgement.snapshot, judgement.secrets);
    for left in &judgement.left.mounts {
        push_mount(&mut out, left, &mut scene, judgement);
    }
    for left in &judgement.left.namespaces {
        push_namespace(&mut out, left, judgement);
    }
    push_commands(&mut out, judgement.left);
    out
}

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

fn push_processes(out: &mut String, judgement: &Judgement<'_>) {
    let count = judgement.processes.len();
    if count == 0 {
        return;
    }
    let shown = judgement.processes.iter().take(PROCESSES_MAX);
    let mut names: Vec<_> =
        shown.map(|(pid, comm)| format!("{}[{pid}]", text::visible(comm))).collect();
    if count > PROCESSES_MAX {
        names.push(format!("{} more", count - PROCESSES_MAX));
    }
    let (noun, verb) = if count == 1 { ("process", "runs") } else { ("processes", "run") };
    push(
        out,
        &format!(
            "mountwatch: note: {count} {noun} that it started still {verb}, and may clean up later: {}; \
             --wait SECONDS waits for that",
            names.join(", ")
        ),
    );
}

fn push_mount(
    out: &mut String,
    left: &LeftMount,
    scene: &mut Scene<'_>,
    judgement: &Judgement<'_>,
) {
    let facts = Facts::of(scene, &left.mount);
    let mut source = facts.source.clone();
    if let Some(root) = facts.root.as_deref().filter(|root| *root != b"/") {
        source.extend_from_slice(&[b"[", root, b"]"].concat());
    }
    push(
        out,
        &format!(
            "  {} {} {} {}, {}",
            place(left, &facts),
            text::visible(facts.fs_type.as_deref().unwrap_or_default()),
            text::visible(&source),
            facts.options,
            name_of(&left.mount, &facts),
        ),
    );
    push(out, &format!("    {}", made(&left.maker, judgement)));
    let why = match (&left.unmount, left.foreign_children) {
        (Unmount::Unreachable, _) => {
            String::from("no path leads to it: something that it did not make covers it")
        }
        (Unmount::NoEntrance, _) => {
            String::from("nobody is known who holds its namespace: it cannot be entered")
        }
        (_, 0) => return,
        (_, 1) => String::from("busy: a mount is on it that it did not make"),
        (_, count) => format!("busy: {count} mounts are on it that it did not make"),
    };
    push(out, &format!("    {why}"));
}

/// Where it is.
fn place(left: &LeftMount, facts: &Facts) -> String {
    match (&left.path, &facts.mountpoint_in_parent) {
        (Some(path), _) => text::visible(path),
        (None, Some(path)) => format!("({}:{})", facts.parent, text::visible(path)),
        (None, None) => String::from("?"),
    }
}

fn name_of(mount: &Mount, facts: &Facts) -> String {
    let mut name = format!("mount {}", mount.id);
    if let Some(id) = mount.unique_id {
        // Writing to a `String` cannot fail.
        let _ = write!(name, " (unique ID {id})");
    }
    if let Some(inode) = facts.ns {
        let _ = write!(name, " of namespace {inode}");
    }
    name
}

/// Who made it, when, how.
fn made(maker: &Maker, judgement: &Judgement<'_>) -> String {
    let mut line = match &maker.task {
        Some(task) => {
            format!("made by {}[{}] (uid {})", text::visible(&task.comm), task.pid, task.uid)
        }
        None => String::from("made by somebody who is not known"),
    };
    if maker.ktime_ns != 0 {
        let _ = write!(line, " at {}", rfc3339(judgement.clock.wall_ns(maker.ktime_ns)));
    }
    if maker.owner == Owner::Unknown && maker.task.is_some() {
        line.push_str(", perhaps not below the command");
    }
    if let Some(operation) = &maker.operation {
        let _ = write!(line, ": {}", call_text(operation, judgement.secrets));
    }
    line
}

fn push_namespace(out: &mut String, left: &LeftNamespace, judgement: &Judgement<'_>) {
    let namespace = &left.namespace;
    let mut line = format!("  mount namespace {}", namespace.inode);
    if let Some(id) = namespace.id {
        let _ = write!(line, " (ID {id})");
    }
    let _ = write!(line, " with {} mounts", namespace.mount_count());
    push(out, &line);
    push(out, &format!("    {}", made(&left.maker, judgement)));
}

/// How all of it goes away.
fn push_commands(out: &mut String, left: &Left) {
    push(out, "To remove them, in this order:");
    for (number, one) in left.mounts.iter().enumerate() {
        match (&one.unmount, one.unmount.command()) {
            (_, Some(command)) => push(out, &format!("  {command}")),
            (Unmount::With(key), _) => {
                let with = left.mounts.iter().find(|other| other.mount.key == *key);
                let with = with.map_or_else(String::new, |with| with.mount.id.to_string());
                push(out, &format!("  # mount {} goes with mount {with}", one.mount.id));
            }
            _ => push(out, &format!("  # mount {} (number {} above)", one.mount.id, number + 1)),
        }
    }
    for one in &left.namespaces {
        push(out, &format!("  # namespace {}: {}", one.namespace.inode, release(&one.release)));
    }
}

/// What ends a namespace.
pub(super) fn release(release: &Release) -> String {
    match release {
        Release::Processes { pid, comm, count: 1 } => {
            format!("end process {pid} ({})", text::visible(comm))
        }
        Release::Processes { pid, comm, count } => {
            format!(
                "end the {count} processes that are in it, {pid} ({}) first",
                text::visible(comm)
            )
        }
        Release::Descriptor { pid, fd: Some(fd) } => {
            format!("end process {pid}, or let it close descriptor {fd}")
        }
        Release::Descriptor { pid, fd: None } => {
            format!("end process {pid}, which has a descriptor of it")
        }
        Release::Mount(path) => format!("unmount {}", text::visible(path)),
        Release::Unknown => String::from(
            "nothing that keeps it is known: perhaps a descriptor in flight, or one that may not be seen",
        ),
    }
}
