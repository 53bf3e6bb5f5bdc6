//! Changes.

use super::mount::text;
use super::operation::{operation_of, to_operation};
use super::{Malformed, v1};
use crate::model::{
    Bytes, Coverage, Device, Glimpsed, MountAttributes, NamespaceInode, OperationId, Revision,
    Task, UniqueMountId, propagation_type,
};
use crate::render::{Facts, Said, SaidChange, SaidKind, SaidNamespace, SaidRename, Saying};
use mountwatch_common::hook;
use std::sync::Arc;
use v1::event::Kind;
use v1::watch_response::What;

/// What a message says of a line. `wall_ns`: when, by the wall clock.
pub(crate) fn to_what(said: &Said, wall_ns: u64) -> What {
    match &said.what {
        Saying::Present(facts) => What::Present(to_mount(facts)),
        Saying::Synced => What::Synced(v1::watch_response::Synced {}),
        Saying::Lost(why) => What::Lost(v1::watch_response::Lost { why: why.clone() }),
        Saying::Coverage => What::CoverageChanged(v1::watch_response::CoverageChanged {}),
        Saying::Change(change) => What::Event(to_event(change, wall_ns)),
        Saying::Operation(done) => What::Operation(to_operation(done, wall_ns)),
    }
}

/// The line that a message says; `None` for one that says nothing about mounts.
pub(crate) fn said_of(
    revision: Revision,
    coverage: Coverage,
    what: What,
) -> Result<Option<Said>, Malformed> {
    let what = match what {
        What::Present(mount) => Saying::Present(Box::new(facts_of(mount))),
        What::Synced(_) => Saying::Synced,
        What::CoverageChanged(_) => Saying::Coverage,
        What::Event(event) => Saying::Change(Box::new(change_of(event)?)),
        What::Operation(done) => Saying::Operation(Arc::new(operation_of(done)?)),
        What::Started(_) | What::Bookmark(_) | What::Lost(_) | What::Compacted(_) => {
            return Ok(None);
        }
    };
    Ok(Some(Said { revision, coverage, what }))
}

/// The kind of a change.
pub(crate) fn kind_of(kind: &SaidKind) -> Kind {
    match kind {
        SaidKind::Attach(_) | SaidKind::Glimpsed { is_attached: true, .. } => Kind::Attach,
        SaidKind::Detach(_) | SaidKind::Glimpsed { is_attached: false, .. } => Kind::Detach,
        SaidKind::Move { .. } => Kind::Move,
        SaidKind::Attributes { .. } => Kind::Attributes,
        SaidKind::SuperBlock { .. } => Kind::SuperBlock,
        SaidKind::Rename(_) => Kind::Rename,
        SaidKind::NamespaceBorn(_) => Kind::NamespaceBorn,
        SaidKind::NamespaceGone(_) => Kind::NamespaceGone,
    }
}

fn to_event(change: &SaidChange, wall_ns: u64) -> v1::Event {
    let mut event = v1::Event {
        kind: kind_of(&change.kind).into(),
        task: change.task.as_deref().map(to_task),
        hook: hook::name(change.hook).to_owned(),
        ktime_ns: change.ktime_ns,
        wall_ns,
        operation: change.operation.map_or(0, OperationId::get),
        ..v1::Event::default()
    };
    match &change.kind {
        SaidKind::Attach(mount) | SaidKind::Detach(mount) => event.mount = Some(to_mount(mount)),
        SaidKind::Move { before, mount }
        | SaidKind::Attributes { before, mount }
        | SaidKind::SuperBlock { before, mount } => {
            event.mount = Some(to_mount(mount));
            event.before = Some(to_mount(before));
        }
        SaidKind::Glimpsed { glimpsed, namespace, .. } => {
            event.glimpsed = Some(v1::Glimpsed {
                unique_id: glimpsed.unique_id.map(|id| id.0),
                namespace: namespace.ns.map(|inode| inode.0),
                namespace_id: namespace.ns_id,
                target: glimpsed.target.as_deref().map(<[u8]>::to_vec),
                source: glimpsed.source.as_deref().map(<[u8]>::to_vec),
                fs_type: glimpsed.fs_type.as_deref().map(<[u8]>::to_vec),
            });
        }
        SaidKind::Rename(rename) => {
            event.rename = Some(v1::Rename {
                name_before: rename.before.to_vec(),
                name: rename.name.to_vec(),
                path_in_fs_before: rename.path_before.clone(),
                path_in_fs: rename.path.clone(),
                is_deleted: rename.is_deleted,
            });
        }
        SaidKind::NamespaceBorn(namespace) | SaidKind::NamespaceGone(namespace) => {
            event.namespace = namespace.ns.map(|inode| inode.0);
            event.namespace_id = namespace.ns_id;
        }
    }
    event
}

fn change_of(event: v1::Event) -> Result<SaidChange, Malformed> {
    let kind = Kind::try_from(event.kind).map_err(|_| Malformed("event.kind"))?;
    let mount = |mount: Option<v1::Mount>| mount.map(facts_of).ok_or(Malformed("event.mount"));
    let namespace =
        SaidNamespace { ns: event.namespace.map(NamespaceInode), ns_id: event.namespace_id };
    let kind = match (kind, event.glimpsed) {
        (Kind::Attach | Kind::Detach, Some(found)) => SaidKind::Glimpsed {
            namespace: SaidNamespace {
                ns: found.namespace.map(NamespaceInode),
                ns_id: found.namespace_id,
            },
            glimpsed: Arc::new(Glimpsed {
                unique_id: found.unique_id.map(UniqueMountId),
                namespace: None,
                target: found.target.map(Bytes::from),
                source: found.source.map(Bytes::from),
                fs_type: found.fs_type.map(Bytes::from),
            }),
            is_attached: kind == Kind::Attach,
        },
        (Kind::Attach, None) => SaidKind::Attach(mount(event.mount)?),
        (Kind::Detach, None) => SaidKind::Detach(mount(event.mount)?),
        (Kind::Move, _) => {
            SaidKind::Move { before: mount(event.before)?, mount: mount(event.mount)? }
        }
        (Kind::Attributes, _) => {
            SaidKind::Attributes { before: mount(event.before)?, mount: mount(event.mount)? }
        }
        (Kind::SuperBlock, _) => {
            SaidKind::SuperBlock { before: mount(event.before)?, mount: mount(event.mount)? }
        }
        (Kind::Rename, _) => {
            let rename = event.rename.ok_or(Malformed("event.rename"))?;
            SaidKind::Rename(SaidRename {
                before: rename.name_before.into(),
                name: rename.name.into(),
                path_before: rename.path_in_fs_before,
                path: rename.path_in_fs,
                is_deleted: rename.is_deleted,
            })
        }
        (Kind::NamespaceBorn, _) => SaidKind::NamespaceBorn(namespace),
        (Kind::NamespaceGone, _) => SaidKind::NamespaceGone(namespace),
        (Kind::Unspecified, _) => return Err(Malformed("event.kind")),
    };
    // A newer agent may have hooks that this program does not know: 0 is no hook's number.
    let hook = hook::NAMES.iter().find(|(_, name)| *name == event.hook).map_or(0, |row| row.0);
    let task = event.task.map(task_of).map(Arc::new);
    let operation = OperationId::new(event.operation);
    Ok(SaidChange { kind, hook, ktime_ns: event.ktime_ns, task, operation })
}

pub(super) fn to_task(task: &Task) -> v1::Task {
    v1::Task {
        pid: task.pid,
        tid: task.tid,
        uid: task.uid,
        comm: task.comm.to_vec(),
        comm_text: text(&task.comm),
        cgroup_id: task.cgroup_id,
    }
}

pub(super) fn task_of(task: v1::Task) -> Task {
    Task {
        pid: task.pid,
        tid: task.tid,
        uid: task.uid,
        comm: task.comm.into(),
        cgroup_id: task.cgroup_id,
        ..Task::default()
    }
}

/// A mount of a line.
fn to_mount(facts: &Facts) -> v1::Mount {
    let optional_text = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(text).unwrap_or_default();
    v1::Mount {
        id: facts.id,
        unique_id: facts.unique_id,
        parent_id: facts.parent,
        parent_unique_id: facts.parent_unique_id,
        namespace: facts.ns.map(|inode| inode.0),
        namespace_id: facts.ns_id,
        device_major: facts.device.major(),
        device_minor: facts.device.minor(),
        root_text: optional_text(&facts.root),
        root: facts.root.clone(),
        mountpoint_text: optional_text(&facts.mountpoint),
        mountpoint: facts.mountpoint.clone(),
        mountpoint_in_parent: facts.mountpoint_in_parent.clone(),
        attributes: facts.attributes.bits(),
        options: facts.options.clone(),
        peer_group: facts.shared,
        master: facts.master,
        unbindable: facts.unbindable,
        propagation: facts.propagation.to_owned(),
        fs_type_text: optional_text(&facts.fs_type),
        fs_type: facts.fs_type.clone(),
        source_text: text(&facts.source),
        source: facts.source.clone(),
        super_flags: facts.super_flags.bits(),
        super_options: facts.fs_options.clone(),
        ..v1::Mount::default()
    }
}

fn facts_of(mount: v1::Mount) -> Facts {
    let (shared, master, unbindable) = (mount.peer_group, mount.master, mount.unbindable);
    Facts {
        ns: mount.namespace.map(NamespaceInode),
        ns_id: mount.namespace_id,
        id: mount.id,
        unique_id: mount.unique_id,
        parent: mount.parent_id,
        parent_unique_id: mount.parent_unique_id,
        mountpoint: mount.mountpoint,
        mountpoint_in_parent: mount.mountpoint_in_parent,
        root: mount.root,
        fs_type: mount.fs_type,
        source: mount.source,
        attributes: MountAttributes::from_bits_retain(mount.attributes),
        options: mount.options,
        super_flags: crate::model::SuperFlags::from_bits_retain(mount.super_flags),
        fs_options: mount.super_options,
        device: Device::new(mount.device_major, mount.device_minor),
        propagation: propagation_type(shared.is_some(), master.is_some(), unbindable),
        shared,
        master,
        unbindable,
    }
}
