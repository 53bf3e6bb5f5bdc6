//! One match, a line for each kind of event; the rules about mounts.

use super::{Need, State};
use crate::model::{
    CommitEvent, DETACHED, Event, Mount, MountEvent, MountKey, Namespace, NamespaceKey, Origin,
    Provenance, Task,
};
use std::sync::Arc;

impl State {
    /// Applies one event. Total: any event in any state leaves a state whose invariants hold.
    pub fn apply(&mut self, event: Event) {
        self.sequence += 1;
        self.counters.events += 1;
        match event {
            Event::Mount(origin, mount) => self.mount(origin, &mount),
            Event::MountGone(origin, mount) => self.mount_gone(origin, &mount),
            Event::Dentry(origin, dentry) => self.dentry(origin, dentry),
            Event::Super(origin, super_block) => self.super_block(origin, super_block),
            Event::GroupDead(origin, group) => self.group_dead(origin, &group),
            Event::NamespaceBorn(origin, namespace) => self.namespace_born(origin, &namespace),
            Event::NamespaceGone(origin, namespace) => self.namespace_gone(origin, &namespace),
            Event::Glimpsed(origin, event) => {
                self.open(origin);
                self.touch_glimpsed(origin, event);
            }
            Event::Commit(origin, commit) => self.commit(origin, commit),
            Event::Call(origin, call) => self.operations.returned(origin, *call),
        }
    }

    /// The first record of a change opens it; what a scan tells opens nothing.
    pub(super) fn open(&mut self, origin: Origin) {
        if origin.scan {
            return;
        }
        if origin.in_transaction {
            self.open.transaction = true;
        } else {
            self.open.threads.insert(origin.tid);
        }
    }

    fn commit(&mut self, origin: Origin, commit: CommitEvent) {
        if origin.in_transaction {
            self.open.transaction = false;
            self.settle_groups(origin);
        }
        self.open.threads.remove(&origin.tid);
        self.ended = true;
        self.open.tasks.insert(origin.tid, Arc::new(task_of(origin, commit)));
    }

    fn mount(&mut self, origin: Origin, event: &MountEvent) {
        self.open(origin);
        let Some(namespace) = event.namespace else {
            self.remove_mount(origin, event.key);
            return;
        };
        let namespace = if event.is_anonymous {
            DETACHED
        } else {
            self.meet_namespace(origin, namespace, event);
            namespace
        };
        self.told.insert(event.key, self.sequence);
        self.refresh_super_flags(event);
        let mut mount = mount_of(namespace, event);
        let known = self.tables.mount(event.key);
        if known.is_some_and(|known| **known == mount) {
            return;
        }
        // All copies of a mount have one source, and most mounts are copies.
        if let Some(other) = self.tables.showing_super(mount.super_block).next()
            && other.source == mount.source
        {
            mount.source = Arc::clone(&other.source);
        }
        let provenance = self.provenance(origin, event);
        // Nobody sees paths or options of a detached tree: what it needs is told with its attachment.
        if namespace != DETACHED {
            self.refer_dentry(event.root);
            self.refer_dentry(event.mountpoint);
            self.refer_super(event.super_block, event.key);
        }
        self.refer_operations(provenance);
        let before = self.tables.put_mount(Mount { provenance, ..mount });
        if let Some(before) = &before {
            self.release(before);
        }
        self.touch(origin, event.key, before);
    }

    fn mount_gone(&mut self, origin: Origin, event: &MountEvent) {
        self.open(origin);
        if origin.in_transaction {
            self.groups.leaving(event.key, event.master);
        }
        self.remove_mount(origin, event.key);
    }

    /// A mount that nobody told of may leave too: attaching it failed before it was in a namespace.
    pub(super) fn remove_mount(&mut self, origin: Origin, key: MountKey) {
        self.told.remove(&key);
        if let Some(before) = self.tables.take_mount(key) {
            self.release(&before);
            self.touch(origin, key, Some(before));
        }
    }

    fn release(&mut self, mount: &Mount) {
        self.release_operations(mount.provenance);
        if mount.namespace == DETACHED {
            return;
        }
        self.release_dentry(mount.root);
        self.release_dentry(mount.mountpoint);
        self.release_super(mount.super_block);
    }

    /// A mount in a namespace that is not in the table: told from its root on it is complete, else
    /// it existed before us and was not found, or its birth was lost.
    fn meet_namespace(&mut self, origin: Origin, key: NamespaceKey, event: &MountEvent) {
        let whole = event.is_namespace_root && event.starts_subtree && origin.in_transaction;
        let known = self.tables.namespace(key).map(|known| (known.inode, known.id));
        if known == Some((event.namespace_inode, event.namespace_id)) {
            return;
        }
        if known.is_some() {
            // Another namespace at the same address: the end of the first was lost.
            self.drop_namespace(origin, key);
            self.counters.anomalies += 1;
        }
        let coverage = self.coverage_of_new(whole);
        self.tables.put_namespace(Namespace {
            key,
            inode: event.namespace_inode,
            id: event.namespace_id,
            root: None,
            coverage,
            mounts: crate::maps::Sorted::default(),
        });
        self.told_namespaces.insert(key, self.sequence);
        if whole {
            self.touch_namespace(origin, key, event.namespace_inode, true);
        } else if !origin.scan {
            self.needs.push(Need::Scan(event.namespace_inode));
        }
    }
}

fn mount_of(namespace: NamespaceKey, event: &MountEvent) -> Mount {
    Mount {
        key: event.key,
        parent: event.parent,
        namespace,
        super_block: event.super_block,
        root: event.root,
        mountpoint: event.mountpoint,
        id: event.id,
        parent_id: event.parent_id,
        unique_id: event.unique_id,
        device: event.device,
        attributes: event.attributes,
        peer_group: event.peer_group,
        master: event.master,
        unbindable: event.unbindable,
        source: Arc::clone(&event.source),
        is_namespace_root: event.is_namespace_root,
        provenance: Provenance::default(),
    }
}

/// Who made a change, by its end.
pub(super) fn task_of(origin: Origin, commit: CommitEvent) -> Task {
    Task {
        pid: origin.pid,
        tid: origin.tid,
        uid: commit.uid,
        comm: commit.comm,
        cgroup_id: commit.cgroup_id,
        descent: origin.descent,
    }
}
