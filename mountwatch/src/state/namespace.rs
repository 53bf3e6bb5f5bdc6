//! The rules about mount namespaces and about what is known of them.

use super::{Need, State};
use crate::model::{Coverage, Namespace, NamespaceEvent, NamespaceInode, NamespaceKey, Origin};
use std::sync::Arc;

impl State {
    pub(super) fn namespace_born(&mut self, origin: Origin, event: &NamespaceEvent) {
        if origin.in_transaction {
            self.open(origin);
        }
        if event.is_anonymous {
            return;
        }
        self.told_namespaces.insert(event.key, self.sequence);
        if let Some(known) = self.tables.namespace(event.key) {
            if (known.inode, known.id) == (event.inode, event.id) {
                return;
            }
            self.drop_namespace(origin, event.key);
            self.counters.anomalies += 1;
        }
        // Told under the lock, a walk from its root follows in the same transaction. Else its
        // mounts were told before, in which case it is known, or they were lost.
        // What is lost may be of it, even if the loss was noticed first.
        let is_whole = origin.in_transaction && !self.is_unscanned();
        let coverage = self.coverage_of_new(is_whole);
        self.tables.put_namespace(Namespace {
            key: event.key,
            inode: event.inode,
            id: event.id,
            root: None,
            coverage,
            mounts: crate::maps::Sorted::default(),
        });
        if !is_whole && !origin.scan {
            self.needs.push(Need::Scan(event.inode));
        }
        self.touch_namespace(origin, event.key, event.inode, true);
    }

    pub(super) fn namespace_gone(&mut self, origin: Origin, event: &NamespaceEvent) {
        if let Some(known) = self.tables.namespace(event.key)
            && known.inode == event.inode
        {
            self.drop_namespace(origin, event.key);
        }
    }

    /// Takes a namespace out with every mount that it still has.
    pub(super) fn drop_namespace(&mut self, origin: Origin, key: NamespaceKey) {
        let Some(namespace) = self.tables.namespace(key).map(Arc::clone) else { return };
        for mount in namespace.keys() {
            self.remove_mount(origin, mount);
        }
        self.tables.take_namespace(key);
        self.dropped.insert(key);
        self.needs.retain(|need| *need != Need::Scan(namespace.inode));
        self.told_namespaces.remove(&key);
        self.losses.forget(key);
        self.touch_namespace(origin, key, namespace.inode, false);
    }

    /// What a namespace that was told as a whole, or not, is worth with this back end.
    pub(super) fn coverage_of_new(&self, whole: bool) -> Coverage {
        if whole { self.whole.clone() } else { Coverage::Stale }
    }

    /// To be called whenever something that it rests on is another: each publication needs it.
    pub(super) fn settle_whole(&mut self) {
        self.whole = if self.polling {
            Coverage::Polling(self.blind.clone().into())
        } else if self.blind.is_empty() && self.partly_seen.is_empty() {
            Coverage::Complete
        } else {
            let partly = self.partly_seen.iter().map(|sentence| (*sentence).to_owned());
            Coverage::Blind(self.blind.iter().cloned().chain(partly).collect())
        };
    }

    pub(super) fn set_coverage(&mut self, key: NamespaceKey, coverage: Coverage) {
        self.touched.dirty |= self.tables.set_coverage(key, coverage);
    }

    pub(super) fn mark_stale(&mut self, inode: NamespaceInode) {
        if let Some(key) = self.tables.namespace_by_inode(inode).map(|known| known.key) {
            self.set_coverage(key, Coverage::Stale);
        }
    }

    pub(super) fn mark_all_stale(&mut self) {
        self.touched.dirty |= self.tables.mark_all_stale();
    }
}
