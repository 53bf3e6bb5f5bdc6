//! Event lines as JSON: one object a line.

use super::facts::{Facts, Happening, Scene, What};
use super::json::Object;
use super::{operation, rfc3339};
use crate::model::{Bytes, Change, ChangeKind, Glimpsed, Mount, OperationId};
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
    let mut line = Object::default();
    line.put("time", rfc3339(happening.wall_ns));
    line.put("event", happening.what.word());
    line.put("revision", happening.revision.0);
    line.put("coverage", happening.coverage.word());
    match happening.what {
        What::Present(mount) => {
            put_mount(&mut line, &Facts::of(now, mount));
            put_origin(&mut line, None);
        }
        What::Synced => {}
        What::Lost(why) => line.put("why", why),
        What::Coverage => line.put("blind", happening.coverage.blind().to_vec()),
        What::Change(change) => put_change(&mut line, change, before, now),
        What::Operation(operation) => operation::put(&mut line, operation, now.secrets()),
    }
    line.line() + "\n"
}

fn put_change(line: &mut Object, change: &Change, before: &mut Scene<'_>, now: &mut Scene<'_>) {
    match &change.kind {
        ChangeKind::Attach { mount } => {
            put_mount(line, &Facts::of(now, mount));
            put_origin(line, Some(change));
        }
        ChangeKind::Detach { mount } => {
            put_mount(line, &Facts::of(before, mount));
            put_origin(line, Some(change));
        }
        ChangeKind::Glimpsed { glimpsed, .. } => {
            put_glimpsed(line, glimpsed, now);
            put_origin(line, Some(change));
        }
        ChangeKind::Move { before: old, mount } => {
            let (from, to) = (Facts::of(before, old), Facts::of(now, mount));
            put_mount(line, &to);
            put_origin(line, Some(change));
            line.put("from", place(&from));
            if attributes(&from) != attributes(&to) {
                line.put("before", attributes(&from));
            }
        }
        ChangeKind::Attributes { before: old, mount } => {
            put_mount(line, &Facts::of(now, mount));
            put_origin(line, Some(change));
            line.put("before", attributes(&Facts::of(before, old)));
        }
        ChangeKind::SuperBlock { mount } => {
            put_mount(line, &Facts::of(now, mount));
            put_origin(line, Some(change));
            line.put("before", super_before(before, mount));
        }
        ChangeKind::Rename { dentry, before: old, name } => {
            line.put_bytes("name", Some(name));
            line.put_bytes("path_in_fs", now.path_in_fs(*dentry).as_deref());
            line.put("deleted", now.is_deleted(*dentry));
            put_origin(line, Some(change));
            line.put("from", name_before(old, before.path_in_fs(*dentry).as_deref()));
        }
        ChangeKind::NamespaceBorn { namespace, inode } => {
            line.put("ns", inode.0);
            line.put("ns_id", now.namespace_id(*namespace));
            put_origin(line, Some(change));
        }
        ChangeKind::NamespaceGone { namespace, inode } => {
            line.put("ns", inode.0);
            line.put("ns_id", before.namespace_id(*namespace));
            put_origin(line, Some(change));
        }
    }
}

/// The keys of a line about a mount, most of them unknown, and `target`.
fn put_glimpsed(line: &mut Object, glimpsed: &Glimpsed, now: &Scene<'_>) {
    let namespace = glimpsed.namespace;
    line.put("ns", namespace.and_then(|key| now.namespace_inode(key)).map(|inode| inode.0));
    line.put("ns_id", namespace.and_then(|key| now.namespace_id(key)));
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
    line.put("device", facts.device.as_str());
    put_propagation(line, facts);
}

fn put_propagation(object: &mut Object, facts: &Facts) {
    object.put("propagation", facts.propagation);
    object.put("shared", facts.shared);
    object.put("master", facts.master);
    object.put("unbindable", facts.unbindable);
}

/// Who, where in the kernel, when. All keys are there on every line.
fn put_origin(line: &mut Object, change: Option<&Change>) {
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

fn super_before(before: &mut Scene<'_>, mount: &Mount) -> Object {
    let mut object = Object::default();
    object.put_bytes("fs_options", Facts::of(before, mount).fs_options.as_deref());
    object
}

fn name_before(name: &Bytes, path: Option<&[u8]>) -> Object {
    let mut object = Object::default();
    object.put_bytes("name", Some(name));
    object.put_bytes("path_in_fs", path);
    object
}
