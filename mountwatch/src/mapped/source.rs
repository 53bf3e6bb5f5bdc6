//! The index as a table wants it: that of one mount namespace.

use crate::model::{Bytes, Coverage, DentryKey, MountKey, NamespaceKey, SuperKey};
use crate::query::Bind;
use crate::state::Tables;
use mountwatch_mapped::layout;
use mountwatch_mapped::writer::{DentryFacts, MountFacts, Source, SuperFacts};
use std::sync::Arc;

/// One mount namespace of a state of the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfNamespace<'a> {
    pub(super) tables: &'a Tables,
    pub(super) namespace: NamespaceKey,
}

impl Source for OfNamespace<'_> {
    fn mount(&self, key: u64) -> Option<MountFacts<'_>> {
        let mount = self.tables.mount(MountKey(key))?;
        let is_here = mount.namespace == self.namespace && self.tables.is_attached(mount);
        is_here.then(|| MountFacts {
            id: mount.id.0,
            parent_id: mount.parent_id.0,
            unique_id: mount.unique_id.map(|id| id.0),
            parent: (!mount.is_detached_root()).then_some(mount.parent.0),
            root: mount.root.0,
            mountpoint: mount.mountpoint.0,
            super_block: mount.super_block.0,
            device: mount.device.0,
            attributes: mount.attributes.bits(),
            peer_group: mount.peer_group.map_or(0, |group| group.0),
            master: mount.master.map_or(0, |group| group.0),
            is_unbindable: mount.unbindable,
            source: &mount.source,
        })
    }

    fn dentry(&self, key: u64) -> Option<DentryFacts<'_>> {
        let key = DentryKey(key);
        let dentry = self.tables.dentry(key)?;
        let found = |name: &Bytes| {
            let parent = self.tables.dentry(dentry.parent)?;
            self.tables.child(parent, name).map(|(key, _)| key)
        };
        Some(DentryFacts {
            parent: dentry.parent.0,
            name: &dentry.name,
            is_deleted: dentry.is_deleted,
            is_literal: dentry.is_literal,
            is_known: dentry.is_known,
            is_linked: dentry.parent != key && found(&dentry.name) == Some(key),
        })
    }

    fn super_block(&self, key: u64) -> Option<SuperFacts<'_>> {
        let known = self.tables.super_block(SuperKey(key))?;
        Some(SuperFacts {
            fs_type: &known.fs_type,
            options: known.options.as_deref(),
            flags: known.flags.bits(),
        })
    }

    fn mounted_at(&self, mount: u64, dentry: u64) -> Vec<u64> {
        let here = self.tables.all_mounted_at(MountKey(mount), DentryKey(dentry));
        here.iter().map(|key| key.0).collect()
    }

    fn children(&self, mount: u64) -> Vec<u64> {
        self.tables.children(MountKey(mount)).map(|child| child.key.0).collect()
    }

    fn bind(&self, mount: u64) -> u32 {
        let mount = self.tables.mount(MountKey(mount)).map(Arc::as_ref);
        match mount.and_then(|mount| self.tables.bind(mount)) {
            None => layout::BIND_NOT,
            Some(Bind::Object) => layout::BIND_OBJECT,
            Some(Bind::Part) => layout::BIND_PART,
            Some(Bind::Again) => layout::BIND_AGAIN,
        }
    }

    fn is_partly_mounted(&self, super_block: u64) -> bool {
        let known = self.tables.super_block(SuperKey(super_block));
        known.is_some_and(|known| crate::query::is_partly_mounted(&known.fs_type))
    }
}

pub(super) fn code_of(coverage: &Coverage) -> u32 {
    match coverage {
        Coverage::Complete => layout::COVERAGE_COMPLETE,
        Coverage::Stale => layout::COVERAGE_STALE,
        Coverage::Blind(_) => layout::COVERAGE_BLIND,
        Coverage::Polling(_) => layout::COVERAGE_POLLING,
    }
}
