//! Names that nothing uses any more: when they may be dropped.
//!
//! The kernel side remembers what it told, does not tell it again, and by that table also knows
//! which renames matter. So a name must not be dropped here while it is remembered there, and a
//! record that relies on the memory may be on its way at any time. Hence nothing is dropped one by
//! one: unused names stay until there are [`UNUSED_MAX`]; then all of them are dropped on both
//! sides ([`Need::Trim`]), the epoch is raised, and every namespace is scanned, which tells again
//! whatever a record on its way relied on. Until that is over the index says that it is stale.

use super::{Need, State};
use crate::maps::Room as _;
use crate::model::{DentryKey, SuperKey};
use hashbrown::{HashMap, HashSet};

/// Unused names that are kept: half of what the kernel side can remember
/// ([`mountwatch_common::limits::TOLD_MAX`]).
const UNUSED_MAX: usize = mountwatch_common::limits::TOLD_MAX as usize / 2;

/// What can be retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retired {
    /// A dentry.
    Dentry(DentryKey),
    /// A super block.
    Super(SuperKey),
}

/// Counts of references: of mounts to dentries and super blocks, and of dentries to their parents.
#[derive(Debug, Default)]
pub(super) struct Retire {
    references: HashMap<Retired, u32>,
    unused: HashSet<Retired>,
}

impl Retire {
    pub(super) fn references(&self, key: Retired) -> u32 {
        self.references.get(&key).copied().unwrap_or(0)
    }

    pub(super) fn refer(&mut self, key: Retired) {
        *self.references.entry(key).or_insert(0) += 1;
        self.unused.remove(&key);
    }

    pub(super) fn release(&mut self, key: Retired) {
        let Some(count) = self.references.get_mut(&key) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.references.remove(&key);
            self.unused.insert(key);
        }
    }

    /// Room for names that are gone.
    pub(super) fn give_back(&mut self) {
        self.references.give_back();
        self.unused.give_back();
    }

    /// It was told, and perhaps nothing refers to it.
    pub(super) fn told(&mut self, key: Retired) {
        if self.references(key) == 0 {
            self.unused.insert(key);
        }
    }
}

impl State {
    /// Asks for a trim when too many names are unused. Called at publications.
    pub(super) fn check_unused(&mut self) {
        if self.retire.unused.len() > UNUSED_MAX && !self.needs.contains(&Need::Trim) {
            self.mark_all_stale();
            self.needs.push(Need::Trim);
        }
    }

    /// Drops every unused name. The kernel side has to forget those that are given, and a scan of
    /// everything in a new epoch has to follow.
    pub fn trim(&mut self) -> Vec<Retired> {
        let mut dropped = Vec::with_capacity(self.retire.unused.len());
        // Dropping a dentry may leave its parent unused.
        while !self.retire.unused.is_empty() {
            for key in std::mem::take(&mut self.retire.unused) {
                match key {
                    Retired::Dentry(key) => self.drop_dentry(key),
                    Retired::Super(key) => {
                        self.tables.take_super(key);
                        self.self_changing.remove(&key);
                        self.rereading.remove(&key);
                    }
                }
                dropped.push(key);
            }
        }
        dropped
    }
}
