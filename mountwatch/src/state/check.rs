//! The invariants of the tables, as code: tests walk them after every step.

use super::{Retired, State};
use crate::model::{DETACHED, OperationId, Provenance};
use hashbrown::HashMap;

impl State {
    /// Every violated invariant, in a sentence each. Empty between any two events, except for what
    /// an open transaction explains.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.check_mounts(&mut found);
        self.check_namespaces(&mut found);
        self.check_references(&mut found);
        self.check_operations(&mut found);
        // S5: the paths that are kept are those that a walk finds.
        self.tables.wrong_paths(&mut found);
        found
    }

    /// S1: every mount is found by its place, its parent, its root, its groups and its namespace.
    fn check_mounts(&self, found: &mut Vec<String>) {
        for mount in self.tables.mounts() {
            let key = mount.key;
            if !mount.is_detached_root() {
                if self.tables.mounted_at(mount.parent, mount.mountpoint).is_none() {
                    found.push(format!("S1: mount {key} is not found at its mountpoint"));
                }
                if !self.tables.children(mount.parent).any(|child| child.key == key) {
                    found.push(format!("S1: mount {key} is not among its parent's children"));
                }
            }
            let in_group = |group| self.tables.group_members(group).any(|peer| peer.key == key);
            if mount.peer_group.is_some_and(|group| !in_group(group)) {
                found.push(format!("S1: mount {key} is not among its peers"));
            }
            let of_master = |group| self.tables.group_slaves(group).any(|slave| slave.key == key);
            if mount.master.is_some_and(|group| !of_master(group)) {
                found.push(format!("S1: mount {key} is not among its master's slaves"));
            }
            if mount.namespace != DETACHED
                && !self.tables.showing(mount.root, mount.namespace).any(|known| known.key == key)
            {
                found.push(format!("S1: mount {key} is not found by its root"));
            }
            if let Some(namespace) = self.tables.namespace(mount.namespace)
                && !namespace.keys().any(|member| member == key)
            {
                found.push(format!("S1: mount {key} is not in its namespace"));
            }
        }
    }

    /// S2: a namespace has only mounts that are there and that say so.
    fn check_namespaces(&self, found: &mut Vec<String>) {
        for namespace in self.tables.namespaces() {
            for key in namespace.keys() {
                if self.tables.mount(key).is_none_or(|mount| mount.namespace != namespace.key) {
                    found.push(format!("S2: namespace {} lists mount {key}", namespace.inode));
                }
            }
        }
    }

    /// S4: the mounts that remember an operation are counted, and no other operation is kept.
    fn check_operations(&self, found: &mut Vec<String>) {
        let mut counts: HashMap<OperationId, u32> = HashMap::new();
        for mount in self.tables.mounts() {
            let Provenance { created_by, changed_by, .. } = mount.provenance;
            for id in [created_by, changed_by].into_iter().flatten() {
                *counts.entry(id).or_insert(0) += 1;
            }
        }
        if counts != *self.operations.references() {
            found.push(String::from("S4: the mounts that remember operations are miscounted"));
        }
        for operation in self.tables.operations() {
            if !counts.contains_key(&operation.id) {
                found.push(format!("S4: nothing remembers operation {}", operation.id));
            }
        }
    }

    /// S3: references are counted: every dentry in use is there.
    fn check_references(&self, found: &mut Vec<String>) {
        for mount in self.tables.mounts().filter(|mount| mount.namespace != DETACHED) {
            for dentry in [mount.root, mount.mountpoint] {
                if self.tables.dentry(dentry).is_none() {
                    found.push(format!("S3: mount {} uses dentry {dentry}", mount.key));
                }
                if self.retire.references(Retired::Dentry(dentry)) == 0 {
                    found.push(format!("S3: dentry {dentry} is used and counted as unused"));
                }
            }
        }
    }
}
