//! A snapshot put together from the facts of another index: what an agent tells its clients.

use super::names::Children;
use super::{Dentry, Snapshot, Tables};
use crate::maps::Sorted;
use crate::model::{
    Coverage, DentryKey, Dialect, Mount, MountKey, Namespace, Operation, Revision, SuperBlock,
    SuperKey,
};
use hashbrown::HashMap;
use std::sync::Arc;

/// A snapshot under construction. Namespaces are put before their mounts; of several mounts at one
/// place the one on top is put last. Any facts give a sound snapshot.
#[derive(Debug, Default)]
pub struct Assembly {
    tables: Tables,
    shown: HashMap<SuperKey, (u32, MountKey)>,
}

impl Assembly {
    /// An empty one. `dialect`: how the kernel writes whose mounts these are.
    pub fn new(dialect: Dialect) -> Self {
        let mut assembly = Self::default();
        assembly.tables.dialect = dialect;
        assembly
    }

    /// Puts a namespace in, without mounts.
    pub fn namespace(&mut self, namespace: Namespace) {
        let mounts = Sorted::default();
        self.tables.put_namespace(Namespace { mounts, root: None, ..namespace });
    }

    /// Puts a super block in. How many mounts show it is counted here.
    pub fn super_block(&mut self, super_block: SuperBlock) {
        self.tables.put_super(super_block);
    }

    /// Puts a dentry in; its children are linked by their own.
    pub fn dentry(&mut self, key: DentryKey, dentry: Dentry) {
        let children = Children::None;
        self.tables.put_dentry(key, Dentry { children, ..dentry });
    }

    /// Puts a mount in.
    pub fn mount(&mut self, mount: Mount) {
        let shown = self.shown.entry(mount.super_block).or_insert((0, mount.key));
        *shown = (shown.0.saturating_add(1), mount.key);
        self.tables.put_mount(mount);
    }

    /// Puts in an operation that made or changed a mount.
    pub fn operation(&mut self, operation: Operation) {
        self.tables.operations.insert(operation.id, Arc::new(operation));
    }

    /// The snapshot, as one of this revision.
    pub fn finish(mut self, revision: Revision, coverage: Coverage) -> Snapshot {
        for (key, (mounts, shown_by)) in std::mem::take(&mut self.shown) {
            if let Some(known) = self.tables.super_block(key).cloned() {
                let known = SuperBlock::clone(&known);
                self.tables.put_super(SuperBlock { mounts, shown_by: Some(shown_by), ..known });
            }
        }
        Snapshot::new(self.tables, revision, coverage)
    }
}
