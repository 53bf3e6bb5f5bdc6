//! Event lines as JSON: one object a line.

use super::facts::{Facts, Happening, Scene};
use super::json::Object;
use super::said::{Said, SaidChange, SaidKind, SaidNamespace, Saying};
use super::{Secrets, operation, rfc3339};
use crate::model::{Bytes, Glimpsed, OperationId};
use mountwatch_common::hook;

/// The keys of every line about a mount, in their order; `from` and `before` follow where there was
/// something before. Documented in README.md.
#[cfg(test)]
pub(super) const KEYS: &[&str] = &[
    "time",
    "event",
    "revision",
    "coverage",
    "ns",
    "ns_id",
    "id",
    "unique_id",
    "parent",
    "parent_unique_id",
    "mountpoint",
    "mountpoint_in_parent",
    "root",
    "fstype",
    "source",
    "options",
    "fs_options",
    "device",
    "propagation",
    "shared",
    "master",
    "unbindable",
    "pid",
    "tid",
    "uid",
    "comm",
    "cgroup_id",
    "operation",
    "hook",
    "ktime_ns",
];

/// A line of `watch -J`, with its end.
pub fn event_json(
    happening: &Happening<'_>,
    before: &mut Scene<'_>,
    now: &mut Scene<'_>,
) -> String {
    said_json(&Said::of(happening, before, now), happening.wall_ns)
}

/// The same of a line that was made elsewhere. `wall_ns`: when, nanoseconds since 1970.
pub fn said_json(said: &Said, wall_ns: u64) -> String {
    let mut line = Object::default();
    line.put("time", rfc3339(wall_ns));
    line.put("event", said.word());
    line.put("revision", said.revision.0);
    line.put("coverage", said.coverage.word());
    match &said.what {
        Saying::Present(mount) => {
            put_mount(&mut line, mount);
            put_origin(&mut line, None);
        }
        Saying::Synced => {}
        Saying::Lost(why) => line.put("why", why.as_str()),
        Saying::Coverage => line.put("blind", said.coverage.blind().to_vec()),
        Saying::Change(change) => put_change(&mut line, change),
        Saying::Operation(done) => operation::put(&mut line, done, Secrets::Shown),
    }
    line.line() + "\n"
}

fn put_change(line: &mut Object, change: &SaidChange) {
    match &change.kind {
        SaidKind::Attach(mount)
        | SaidKind::Detach(mount)
        | SaidKind::Move { mount, .. }
        | SaidKind::Attributes { mount, .. }
        | SaidKind::SuperBlock { mount, .. } => put_mount(line, mount),
        SaidKind::Glimpsed { glimpsed, namespace, .. } => put_glimpsed(line, glimpsed, *namespace),
        SaidKind::Rename(rename) => {
            line.put_bytes("name", Some(&rename.name));
            line.put_bytes("path_in_fs", rename.path.as_deref());
            line.put("deleted", rename.is_deleted);
        }
        SaidKind::NamespaceBorn(namespace) | SaidKind::NamespaceGone(namespace) => {
            put_namespace(line, *namespace);
        }
    }
    put_origin(line, Some(change));
    match &change.kind {
        SaidKind::Move { before, mount } => {
            line.put("from", place(before));
            if attributes(before) != attributes(mount) {
                line.put("before", attributes(before));
            }
        }
        SaidKind::Attributes { before, .. } => line.put("before", attributes(before)),
        SaidKind::SuperBlock { before, .. } => line.put("before", super_before(before)),
        SaidKind::Rename(rename) => {
            line.put("from", name_before(&rename.before, rename.path_before.as_deref()));
        }
        _ => {}
    }
}

fn put_namespace(line: &mut Object, namespace: SaidNamespace) {
    line.put("ns", namespace.ns.map(|inode| inode.0));
    line.put("ns_id", namespace.ns_id);
}

/// The keys of a line about a mount, most of them unknown, and `target`.
fn put_glimpsed(line: &mut Object, glimpsed: &Glimpsed, namespace: SaidNamespace) {
    put_namespace(line, namespace);
    line.put("id", None::<u32>);
    line.put("unique_id", glimpsed.unique_id.map(|id| id.0));
    for key in ["parent", "parent_unique_id", "mountpoint", "mountpoint_in_parent", "root"] {
        line.put(key, None::<u32>);
    }
    line.put_bytes("fstype", glimpsed.fs_type.as_deref());
    line.put_bytes("source", glimpsed.source.as_deref());
    for key in ["options", "fs_options", "device", "propagation", "shared", "master", "unbindable"]
    {
        line.put(key, None::<u32>);
    }
    line.put_bytes("target", glimpsed.target.as_deref());
}

fn put_mount(line: &mut Object, facts: &Facts) {
    line.put("ns", facts.ns.map(|inode| inode.0));
    line.put("ns_id", facts.ns_id);
    line.put("id", facts.id);
    line.put("unique_id", facts.unique_id);
    line.put("parent", facts.parent);
    line.put("parent_unique_id", facts.parent_unique_id);
    line.put_bytes("mountpoint", facts.mountpoint.as_deref());
    line.put_bytes("mountpoint_in_parent", facts.mountpoint_in_parent.as_deref());
    line.put_bytes("root", facts.root.as_deref());
    line.put_bytes("fstype", facts.fs_type.as_deref());
    line.put_bytes("source", Some(&facts.source));
    line.put("options", facts.options.as_str());
    line.put_bytes("fs_options", facts.fs_options.as_deref());
    line.put("device", facts.device.to_string());
    put_propagation(line, facts);
}

fn put_propagation(object: &mut Object, facts: &Facts) {
    object.put("propagation", facts.propagation);
    object.put("shared", facts.shared);
    object.put("master", facts.master);
    object.put("unbindable", facts.unbindable);
}

/// Who, where in the kernel, when. All keys are there on every line.
fn put_origin(line: &mut Object, change: Option<&SaidChange>) {
    let task = change.and_then(|change| change.task.as_deref());
    line.put("pid", task.map(|task| task.pid));
    line.put("tid", task.map(|task| task.tid));
    line.put("uid", task.map(|task| task.uid));
    line.put_bytes("comm", task.map(|task| &task.comm[..]));
    line.put("cgroup_id", task.map(|task| task.cgroup_id).filter(|id| *id != 0));
    line.put("operation", change.and_then(|change| change.operation).map(OperationId::get));
    line.put("hook", change.map(|change| hook::name(change.hook)));
    line.put("ktime_ns", change.map(|change| change.ktime_ns).filter(|ktime| *ktime != 0));
}

/// Where a mount was before it moved.
fn place(facts: &Facts) -> Object {
    let mut object = Object::default();
    object.put("ns", facts.ns.map(|inode| inode.0));
    object.put("ns_id", facts.ns_id);
    object.put("parent", facts.parent);
    object.put("parent_unique_id", facts.parent_unique_id);
    object.put_bytes("mountpoint", facts.mountpoint.as_deref());
    object.put_bytes("mountpoint_in_parent", facts.mountpoint_in_parent.as_deref());
    object
}

/// What a mount was like before it changed.
fn attributes(facts: &Facts) -> Object {
    let mut object = Object::default();
    object.put_bytes("source", Some(&facts.source));
    object.put("options", facts.options.as_str());
    put_propagation(&mut object, facts);
    object
}

fn super_before(before: &Facts) -> Object {
    let mut object = Object::default();
    object.put_bytes("fs_options", before.fs_options.as_deref());
    object
}

fn name_before(name: &Bytes, path: Option<&[u8]>) -> Object {
    let mut object = Object::default();
    object.put_bytes("name", Some(name));
    object.put_bytes("path_in_fs", path);
    object
}
