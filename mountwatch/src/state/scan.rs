//! Scans and losses: the one way in which the index learns what it did not see happen.
//!
//! A scan is nothing but events in the same order as all others. When it is over, what it did not
//! tell and nothing told since its begin is gone.

use super::{Need, State};
use crate::model::{Coverage, NamespaceInode, NamespaceKey, Origin};
use hashbrown::HashMap;
use mountwatch_common::hook;

/// The begin of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanMark(u64);

/// When something was lost last, by the number of the event before which it was noticed.
#[derive(Debug, Default)]
pub(super) struct LastLosses {
    anywhere: u64,
    /// Not every namespace was scanned since that.
    is_unscanned: bool,
    of_namespace: HashMap<NamespaceKey, u64>,
    /// Begin of the last scan of everything.
    begun: u64,
}

impl LastLosses {
    /// A name that was lost may be told again in the next scan of everything alone, whose epoch is
    /// another one: until then no scan of one namespace can know that it has them all.
    fn since(&self, sequence: u64, key: NamespaceKey) -> bool {
        self.anywhere > self.begun
            || self.of_namespace.get(&key).is_some_and(|lost| *lost > sequence)
    }

    /// A namespace is known again, or is no more.
    pub(super) fn forget(&mut self, key: NamespaceKey) {
        self.of_namespace.remove(&key);
    }
}

impl State {
    /// A scan begins: everything applied from now on is newer.
    pub fn begin_scan(&self) -> ScanMark {
        ScanMark(self.sequence)
    }

    /// A scan of every namespace begins, in an epoch of its own: everything is told anew.
    pub fn begin_scan_of_all(&mut self) -> ScanMark {
        self.losses.begun = self.sequence;
        self.begin_scan()
    }

    /// The scan of one namespace is over and all its events were applied: what it did not tell is
    /// gone, and the namespace is known.
    pub fn end_scan(&mut self, mark: ScanMark, inode: NamespaceInode) {
        let Some(namespace) = self.tables.namespace_by_inode(inode) else { return };
        let key = namespace.key;
        if self.losses.since(mark.0, key) {
            // Perhaps of what the scan told. It stays stale, and what asked for it goes on asking.
            if !self.needs.contains(&Need::ScanAll) {
                self.ask_again(Need::Scan(inode));
            }
            return;
        }
        let gone: Vec<_> = namespace
            .keys()
            .filter(|mount| self.told.get(mount).is_none_or(|told| *told <= mark.0))
            .collect();
        for mount in gone {
            self.remove_mount(SCAN, mount);
        }
        self.losses.forget(key);
        self.set_coverage(key, self.coverage_of_new(true));
        self.needs.retain(|need| *need != Need::Scan(inode));
    }

    /// A scan of every namespace is over: a namespace that was not found and that nothing told of
    /// since its begin is gone.
    pub fn end_scan_of_all(&mut self, mark: ScanMark, found: &[NamespaceInode]) {
        let gone: Vec<_> = self
            .tables
            .namespaces()
            .filter(|known| !found.contains(&known.inode))
            .filter(|known| self.told_namespaces.get(&known.key).is_none_or(|told| *told <= mark.0))
            .map(|known| known.key)
            .collect();
        for key in gone {
            self.drop_namespace(SCAN, key);
        }
        self.seeded = true;
        if self.losses.anywhere <= mark.0 {
            self.touched.dirty |= self.losses.is_unscanned;
            self.losses.is_unscanned = false;
        }
    }

    /// A loss may have been about a namespace that is not even known.
    pub(super) fn is_unscanned(&self) -> bool {
        self.losses.is_unscanned
    }

    /// A namespace that was to be scanned is not found. One that is known stays: its death is told,
    /// and until then it may be one that nothing leads to. One that was to be scanned because it is
    /// not known is the ghost of one that died before its last record was told.
    pub fn namespace_not_found(&mut self, inode: NamespaceInode) {
        let known = self.tables.namespace_by_inode(inode);
        if known.is_some_and(|known| known.coverage == Coverage::Stale) {
            self.namespace_vanished(inode);
        }
    }

    /// A namespace that was asked for does not exist any more.
    pub fn namespace_vanished(&mut self, inode: NamespaceInode) {
        if let Some(key) = self.tables.namespace_by_inode(inode).map(|known| known.key) {
            self.drop_namespace(SCAN, key);
        }
    }

    /// Records or notifications were lost: nothing is certain until every namespace was scanned.
    pub fn lost(&mut self) {
        self.counters.losses += 1;
        self.sequence += 1;
        self.losses.anywhere = self.sequence;
        self.losses.is_unscanned = true;
        self.touched.dirty = true;
        self.forget_options();
        self.mark_all_stale();
        self.ask_again(Need::ScanAll);
    }

    /// Something was lost of these mount namespaces alone.
    pub fn lost_in(&mut self, namespaces: &[NamespaceKey]) {
        self.sequence += 1;
        for key in namespaces {
            let Some(inode) = self.tables.namespace(*key).map(|known| known.inode) else {
                // Its birth may be among what was lost.
                self.lost();
                return;
            };
            self.losses.of_namespace.insert(*key, self.sequence);
            self.mark_stale(inode);
            self.ask_again(Need::Scan(inode));
        }
        self.counters.losses += 1;
    }

    /// The scan of one namespace may have left something out.
    pub fn lost_of_scan(&mut self, inode: NamespaceInode) {
        if let Some(key) = self.tables.namespace_by_inode(inode).map(|known| known.key) {
            self.lost_in(&[key]);
        }
    }

    /// Something that was asked for could not be done now: asks for it again.
    pub fn ask_again(&mut self, need: Need) {
        if !self.needs.contains(&need) {
            self.needs.push(need);
        }
    }

    /// Drops everything that is known, after a panic in the middle of it, and asks for a scan of
    /// everything. What was touched is kept, so that the changes since the last publication are
    /// told.
    pub fn reset(&mut self) {
        let keys: Vec<_> = self.tables.mounts().map(|mount| mount.key).collect();
        let before: Vec<_> =
            keys.iter().filter_map(|key| self.tables.mount(*key).cloned()).collect();
        let mut fresh = Self::new(std::mem::take(&mut self.blind));
        fresh.revision = self.revision;
        fresh.sequence = self.sequence;
        fresh.set_dialect(self.tables.dialect());
        fresh.counters = self.counters;
        fresh.seeded = self.seeded;
        fresh.polling = self.polling;
        fresh.operations = self.operations.renewed();
        fresh.partly_seen = std::mem::take(&mut self.partly_seen);
        fresh.settle_whole();
        fresh.touched.is_anew = true;
        for mount in before {
            fresh.dropped.insert(mount.namespace);
            fresh.touch(SCAN, mount.key, Some(mount));
        }
        *self = fresh;
        self.counters.anomalies += 1;
        self.lost();
    }

    /// The COMMIT of a change was lost and nothing else of it, or what else was lost is told apart
    /// from this: the change is over.
    pub fn end_open(&mut self) {
        if std::mem::take(&mut self.open.transaction) {
            self.settle_groups(SCAN);
        }
        self.open.threads.clear();
    }

    /// Changes that were begun are not waited for any longer: nobody knows why they do not end.
    pub fn abandon_open(&mut self) {
        self.open.transaction = false;
        self.open.threads.clear();
        self.unknown_dentries.clear();
        self.lost();
    }

    /// Whether a loss waits for its repair.
    pub fn is_lossy(&self) -> bool {
        !self.needs.is_empty()
    }

    /// Whether a first scan of everything is over.
    pub fn is_seeded(&self) -> bool {
        self.seeded
    }

    /// Everything is reread from time to time.
    pub fn set_polling(&mut self) {
        self.polling = true;
        self.settle_whole();
    }
}

const SCAN: Origin =
    Origin { hook: hook::SCAN, in_transaction: false, scan: true, ..Origin::NOBODY };
