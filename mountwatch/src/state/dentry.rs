//! The rules about dentries: a mirror of the part of the kernel's dcache that mounts pin.

use super::{Dentry, Need, Retired, State};
use crate::model::{DentryEvent, DentryKey, Origin};
use mountwatch_common::hook;
use std::sync::Arc;

impl State {
    pub(super) fn dentry(&mut self, origin: Origin, event: DentryEvent) {
        if origin.in_transaction || matches!(origin.hook, hook::RENAME | hook::DELETE) {
            self.open(origin);
        }
        self.retire.told(Retired::Dentry(event.key));
        let before = self.tables.dentry(event.key).map(Arc::clone);
        let is_root = event.parent == event.key;
        let dentry = Dentry {
            parent: event.parent,
            name: event.name,
            is_deleted: event.is_deleted,
            is_literal: event.is_literal,
            is_known: true,
            ..Dentry::default()
        };
        if before.as_ref().is_some_and(|before| same_place(before, &dentry)) {
            return;
        }
        if !is_root {
            self.refer_dentry(event.parent);
        }
        self.tables.put_dentry(event.key, dentry);
        self.unknown_dentries.remove(&event.key);
        if let Some(before) = before.filter(|before| before.is_known) {
            if before.parent != event.key {
                self.release_dentry(before.parent);
            }
            if self.retire.references(Retired::Dentry(event.key)) > 0 {
                self.touch_dentry(origin, event.key, &before.name);
            }
        }
    }

    /// Something refers to a dentry: a mount's root, its mountpoint, or a child.
    pub(super) fn refer_dentry(&mut self, key: DentryKey) {
        self.retire.refer(Retired::Dentry(key));
        if self.tables.dentry(key).is_none() {
            self.tables.put_dentry(key, Dentry { parent: key, ..Dentry::default() });
            self.unknown_dentries.insert(key);
        }
    }

    pub(super) fn release_dentry(&mut self, key: DentryKey) {
        self.retire.release(Retired::Dentry(key));
    }

    /// Drops a dentry that nothing refers to.
    pub(super) fn drop_dentry(&mut self, key: DentryKey) {
        self.unknown_dentries.remove(&key);
        if let Some(dentry) = self.tables.take_dentry(key)
            && dentry.parent != key
        {
            self.release_dentry(dentry.parent);
        }
    }

    /// At a publication everything that is referred to must have been told.
    pub(super) fn check_dentries(&mut self) {
        let retire = &self.retire;
        self.unknown_dentries.retain(|key| retire.references(Retired::Dentry(*key)) > 0);
        if !self.unknown_dentries.is_empty() && self.seeded {
            self.unknown_dentries.clear();
            self.anomaly(Need::ScanAll);
        }
    }
}

fn same_place(before: &Dentry, dentry: &Dentry) -> bool {
    before.is_known
        && before.parent == dentry.parent
        && before.name == dentry.name
        && before.is_deleted == dentry.is_deleted
        && before.is_literal == dentry.is_literal
}
