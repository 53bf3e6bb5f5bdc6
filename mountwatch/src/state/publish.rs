//! Publication: readers see whole transactions.

use super::{Snapshot, State, Touch};
use crate::maps::Room as _;
use crate::model::{
    Change, ChangeKind, Coverage, DentryKey, GlimpsedEvent, Mount, MountKey, NamespaceInode,
    NamespaceKey, OperationId, Origin, SuperKey, Task, Transaction,
};
use hashbrown::HashMap;
use mountwatch_common::hook::Hook;
use std::sync::Arc;

/// What was touched since the last publication.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Something that readers can see is different, even if no change tells of it.
    pub(super) dirty: bool,
    /// Super blocks that are shown differently, whether or not a change tells of it.
    pub(super) supers: Vec<SuperKey>,
    /// The state was begun anew: anything may be different.
    pub(super) is_anew: bool,
    order: Vec<Item>,
    mounts: HashMap<MountKey, Touch>,
}

#[derive(Debug)]
enum Item {
    Mount(MountKey),
    Other {
        kind: Other,
        hook: Hook,
        ktime_ns: u64,
        tid: u32,
        by_scan: bool,
        operation: Option<OperationId>,
    },
}

#[derive(Debug)]
enum Other {
    Dentry(DentryKey, crate::model::Bytes),
    Super(SuperKey),
    Namespace { key: NamespaceKey, inode: NamespaceInode, born: bool },
    Glimpsed(GlimpsedEvent),
}

impl Touched {
    /// The mount as it was before the open transaction, if that touched it.
    pub(super) fn before(&self, key: MountKey) -> Option<Arc<Mount>> {
        self.mounts.get(&key)?.before.clone()
    }
}

/// A published step: what happened, and the snapshot that shows it.
#[derive(Clone, Debug)]
pub struct Published {
    /// The state after it.
    pub snapshot: Arc<Snapshot>,
    /// Its changes; none if only the coverage or something unseen changed.
    pub transaction: Arc<Transaction>,
    /// Super blocks whose type, flags or options are shown differently since the step before: also
    /// those of which no change tells, since nobody made one (options that were looked up).
    pub supers: Arc<[SuperKey]>,
    /// The state was begun anew after a panic: who keeps a copy has to begin anew too.
    pub is_anew: bool,
}

impl Published {
    /// Something of the same drain was lost: it is worth less than it says.
    #[must_use]
    pub fn was_lossy(self) -> Self {
        let snapshot = Arc::unwrap_or_clone(self.snapshot).into_stale();
        Self { snapshot: Arc::new(snapshot), ..self }
    }
}

impl State {
    pub(super) fn touch(&mut self, origin: Origin, key: MountKey, before: Option<Arc<Mount>>) {
        self.touched.dirty = true;
        let touch = Touch {
            before,
            hook: origin.hook,
            ktime_ns: origin.ktime_ns,
            tid: origin.tid,
            by_scan: origin.scan,
            operation: self.operations.of_change(origin),
        };
        if let Some(known) = self.touched.mounts.get_mut(&key) {
            // What was there first stays; who did it is who did it last, but a scan does nothing.
            if !touch.by_scan {
                *known = Touch { before: known.before.take(), ..touch };
            }
        } else {
            self.touched.mounts.insert(key, touch);
            self.touched.order.push(Item::Mount(key));
        }
    }

    pub(super) fn touch_dentry(
        &mut self,
        origin: Origin,
        key: DentryKey,
        before: &crate::model::Bytes,
    ) {
        self.touch_other(origin, Other::Dentry(key, Arc::clone(before)));
    }

    pub(super) fn touch_super(&mut self, origin: Origin, key: SuperKey) {
        self.touch_other(origin, Other::Super(key));
    }

    pub(super) fn touch_namespace(
        &mut self,
        origin: Origin,
        key: NamespaceKey,
        inode: NamespaceInode,
        born: bool,
    ) {
        self.touch_other(origin, Other::Namespace { key, inode, born });
    }

    pub(super) fn touch_glimpsed(&mut self, origin: Origin, event: GlimpsedEvent) {
        self.touch_other(origin, Other::Glimpsed(event));
    }

    fn touch_other(&mut self, origin: Origin, kind: Other) {
        self.touched.dirty = true;
        let operation = match kind {
            Other::Namespace { .. } | Other::Glimpsed(_) => self.operations.of_change(origin),
            Other::Super(_) => self.operations.of_call(origin),
            // Names are not mounts.
            Other::Dentry(..) => None,
        };
        self.touched.order.push(Item::Other {
            kind,
            hook: origin.hook,
            ktime_ns: origin.ktime_ns,
            tid: origin.tid,
            by_scan: origin.scan,
            operation,
        });
    }

    /// Gives out a new snapshot if something changed and no change is open. The first one comes
    /// after the first scan of everything, without changes: it is where they start from.
    pub fn publish(&mut self) -> Option<Published> {
        if !self.open.is_empty() || !self.seeded {
            return None;
        }
        self.check_dentries();
        self.check_supers();
        self.check_unused();
        self.give_back();
        self.touched.dirty |= self.tables.make_wanted_paths();
        self.give_out()
    }

    /// Room that was needed for what is over.
    fn give_back(&mut self) {
        self.told.give_back();
        self.operations.give_back();
        self.retire.give_back();
    }

    /// Gives out the change that has just ended, before the next event is applied: what is attached
    /// and detached again between two publications is a change of both. To be called between two
    /// events of one drain. It asks for nothing, and its coverage holds only if nothing turns out
    /// to be lost ([`Published::was_lossy`]).
    pub fn step(&mut self) -> Option<Published> {
        let is_whole = self.open.is_empty() && self.unknown_dentries.is_empty();
        // An operation that is over makes no step: it is told with the next change, or at the end.
        if !std::mem::take(&mut self.ended) || !is_whole || self.revision.0 == 0 {
            return None;
        }
        self.give_out()
    }

    fn give_out(&mut self) -> Option<Published> {
        self.ended = false;
        let tasks = std::mem::take(&mut self.open.tasks);
        if !self.touched.dirty && self.revision.0 > 0 && !self.operations.has_ended() {
            return None;
        }
        let touched = std::mem::take(&mut self.touched);
        let (supers, is_anew) = (touched.supers.as_slice().into(), touched.is_anew);
        let changes = if self.revision.0 == 0 { Vec::new() } else { self.changes(touched, &tasks) };
        self.dropped.clear();
        self.revision.0 += 1;
        let operations = self.end_operations(&changes, &tasks);
        let transaction = Transaction { revision: self.revision, changes, operations };
        let (snapshot, transaction) = (Arc::new(self.snapshot()), Arc::new(transaction));
        Some(Published { snapshot, transaction, supers, is_anew })
    }

    /// Whether a change has been begun and not ended.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// An immutable view of the state as it is now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.tables.clone(), self.revision, self.coverage())
    }

    /// The least that is known of any namespace.
    pub fn coverage(&self) -> Coverage {
        if !self.seeded || self.is_unscanned() || self.tables.is_stale() {
            return Coverage::Stale;
        }
        self.coverage_of_new(true)
    }

    fn changes(&self, touched: Touched, tasks: &HashMap<u32, Arc<Task>>) -> Vec<Change> {
        let mut changes = Vec::with_capacity(touched.order.len());
        let mut mounts = touched.mounts;
        for item in touched.order {
            let (kind, hook, ktime_ns, tid, by_scan, operation) = match item {
                Item::Mount(key) => {
                    let Some(touch) = mounts.remove(&key) else { continue };
                    let Some(kind) = self.mount_change(key, touch.before) else { continue };
                    (kind, touch.hook, touch.ktime_ns, touch.tid, touch.by_scan, touch.operation)
                }
                Item::Other { kind, hook, ktime_ns, tid, by_scan, operation } => {
                    let Some(kind) = self.other_change(kind) else { continue };
                    (kind, hook, ktime_ns, tid, by_scan, operation)
                }
            };
            let task = if by_scan { None } else { tasks.get(&tid).cloned() };
            changes.push(Change { kind, hook, ktime_ns, task, operation });
        }
        changes
    }

    /// The difference between a mount before and now, as far as it is in a namespace.
    fn mount_change(&self, key: MountKey, before: Option<Arc<Mount>>) -> Option<ChangeKind> {
        let now = self.tables.mount(key).filter(|now| self.tables.is_attached(now)).cloned();
        // A mount of a namespace that died was in it; one of a detached tree was nowhere.
        let before = before.filter(|before| {
            self.tables.is_attached(before) || self.dropped.contains(&before.namespace)
        });
        match (before, now) {
            (None, None) => None,
            (None, Some(mount)) => Some(ChangeKind::Attach { mount }),
            (Some(mount), None) => Some(ChangeKind::Detach { mount }),
            (Some(before), Some(mount)) if before == mount => None,
            (Some(before), Some(mount)) => {
                let place = |mount: &Mount| (mount.namespace, mount.parent, mount.mountpoint);
                Some(if place(&before) == place(&mount) {
                    ChangeKind::Attributes { before, mount }
                } else {
                    ChangeKind::Move { before, mount }
                })
            }
        }
    }

    fn other_change(&self, other: Other) -> Option<ChangeKind> {
        match other {
            Other::Dentry(dentry, before) => {
                let now = self.tables.dentry(dentry)?;
                Some(ChangeKind::Rename { dentry, before, name: Arc::clone(&now.name) })
            }
            Other::Super(key) => {
                let mount = self.attached_mount_of(self.tables.super_block(key)?)?;
                Some(ChangeKind::SuperBlock { mount: Arc::clone(mount) })
            }
            Other::Glimpsed(event) => Some(ChangeKind::Glimpsed {
                glimpsed: event.glimpsed,
                is_attached: event.is_attached,
            }),
            Other::Namespace { key, inode, born: true } => {
                Some(ChangeKind::NamespaceBorn { namespace: key, inode })
            }
            Other::Namespace { key, inode, born: false } => {
                Some(ChangeKind::NamespaceGone { namespace: key, inode })
            }
        }
    }
}
