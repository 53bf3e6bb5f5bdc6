//! The tables of the index: persistent maps, so that a clone is cheap and never changes.
//!
//! Only this file touches the secondary indexes; the rules call its primitives.

use crate::model::{
    Bytes, Coverage, DETACHED, DentryKey, Dialect, Mount, MountId, MountKey, Namespace,
    NamespaceInode, NamespaceKey, Operation, OperationId, PeerGroupId, SuperBlock, SuperKey,
    UniqueMountId,
};
use rpds::{HashTrieMapSync, RedBlackTreeSetSync};
use std::sync::Arc;

type Map<K, V> = HashTrieMapSync<K, V>;
type Set<K> = RedBlackTreeSetSync<K>;

/// One dentry on the way from a file system's root to a mountpoint or a mount's root.
#[derive(Clone, Debug, Default)]
pub struct Dentry {
    /// Its parent; itself for a root.
    pub parent: DentryKey,
    /// Its name; for a literal root what mountinfo shows.
    pub name: Bytes,
    /// It is unhashed: nothing is found by its name.
    pub is_deleted: bool,
    /// The name is the whole root field.
    pub is_literal: bool,
    /// It was told. Until then it is a place that something else refers to.
    pub is_known: bool,
    /// Its children that are in this table, by name, without deleted ones.
    pub children: Map<Bytes, DentryKey>,
}

/// The tables of one state of the index.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    pub(super) mounts: Map<MountKey, Arc<Mount>>,
    pub(super) dentries: Map<DentryKey, Arc<Dentry>>,
    pub(super) supers: Map<SuperKey, Arc<SuperBlock>>,
    pub(super) namespaces: Map<NamespaceKey, Arc<Namespace>>,
    by_id: Map<MountId, MountKey>,
    by_unique_id: Map<UniqueMountId, MountKey>,
    by_inode: Map<NamespaceInode, NamespaceKey>,
    /// Mounts at one mountpoint, the last one attached on top.
    at: Map<(MountKey, DentryKey), Arc<[MountKey]>>,
    children: Map<MountKey, Set<MountKey>>,
    members: Map<PeerGroupId, Set<MountKey>>,
    slaves: Map<PeerGroupId, Set<MountKey>>,
    /// By the directory that is shown; of each namespace the oldest first.
    by_root: Set<(DentryKey, NamespaceKey, u64, MountKey)>,
    /// Operations that are over and that a mount refers to.
    pub(super) operations: Map<OperationId, Arc<Operation>>,
    pub(super) dialect: Dialect,
}

impl Tables {
    /// A mount by its key.
    pub fn mount(&self, key: MountKey) -> Option<&Arc<Mount>> {
        self.mounts.get(&key)
    }

    /// A dentry by its key.
    pub fn dentry(&self, key: DentryKey) -> Option<&Arc<Dentry>> {
        self.dentries.get(&key)
    }

    /// A super block by its key.
    pub fn super_block(&self, key: SuperKey) -> Option<&Arc<SuperBlock>> {
        self.supers.get(&key)
    }

    /// A mount namespace by its key.
    pub fn namespace(&self, key: NamespaceKey) -> Option<&Arc<Namespace>> {
        self.namespaces.get(&key)
    }

    /// A mount namespace by the inode of `/proc/PID/ns/mnt`.
    pub fn namespace_by_inode(&self, inode: NamespaceInode) -> Option<&Arc<Namespace>> {
        self.namespaces.get(self.by_inode.get(&inode)?)
    }

    /// Every mount namespace, in no order.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.namespaces.values()
    }

    /// Every mount, those of detached trees included, in no order.
    pub fn mounts(&self) -> impl Iterator<Item = &Arc<Mount>> {
        self.mounts.values()
    }

    /// An operation that made or changed one of the mounts in these tables, if it is over.
    pub fn operation(&self, id: OperationId) -> Option<&Arc<Operation>> {
        self.operations.get(&id)
    }

    /// Every operation that made or changed one of these mounts and is over, in no order.
    pub fn operations(&self) -> impl Iterator<Item = &Arc<Operation>> {
        self.operations.values()
    }

    /// Every super block, in no order.
    pub fn super_blocks(&self) -> impl Iterator<Item = &Arc<SuperBlock>> {
        self.supers.values()
    }

    /// A mount by its reused ID.
    pub fn mount_by_id(&self, id: MountId) -> Option<&Arc<Mount>> {
        self.mounts.get(self.by_id.get(&id)?)
    }

    /// A mount by the ID that is never reused.
    pub fn mount_by_unique_id(&self, id: UniqueMountId) -> Option<&Arc<Mount>> {
        self.mounts.get(self.by_unique_id.get(&id)?)
    }

    /// The mount on top at this place of a mount, if something is mounted there.
    pub fn mounted_at(&self, mount: MountKey, dentry: DentryKey) -> Option<&Arc<Mount>> {
        self.mounts.get(self.at.get(&(mount, dentry))?.last()?)
    }

    /// The mounts at this place of a mount, the one on top last.
    pub(crate) fn all_mounted_at(&self, mount: MountKey, dentry: DentryKey) -> &[MountKey] {
        self.at.get(&(mount, dentry)).map_or(&[], |list| &**list)
    }

    /// How many mounts sit on this one.
    pub fn child_count(&self, mount: MountKey) -> usize {
        self.children.get(&mount).map_or(0, Set::size)
    }

    /// The mounts that sit on this one, in no meaningful order.
    pub fn children(&self, mount: MountKey) -> impl Iterator<Item = &Arc<Mount>> {
        self.children
            .get(&mount)
            .into_iter()
            .flat_map(|set| set.iter())
            .filter_map(|key| self.mounts.get(key))
    }

    /// The mounts of a namespace that show this directory (or file) of a file system, in the
    /// kernel's order: since 6.8 the oldest first.
    pub fn showing(
        &self,
        root: DentryKey,
        namespace: NamespaceKey,
    ) -> impl Iterator<Item = &Arc<Mount>> {
        let range =
            (root, namespace, 0, MountKey(0))..=(root, namespace, u64::MAX, MountKey(u64::MAX));
        self.by_root.range(range).filter_map(|(.., key)| self.mounts.get(key))
    }

    /// The mounts of every namespace that show this directory (or file), those of a namespace
    /// together.
    pub fn showing_anywhere(&self, root: DentryKey) -> impl Iterator<Item = &Arc<Mount>> {
        let last = (root, NamespaceKey(u64::MAX), u64::MAX, MountKey(u64::MAX));
        let range = (root, NamespaceKey(0), 0, MountKey(0))..=last;
        self.by_root.range(range).filter_map(|(.., key)| self.mounts.get(key))
    }

    /// The members of a peer group.
    pub fn group_members(&self, group: PeerGroupId) -> impl Iterator<Item = &Arc<Mount>> {
        self.members
            .get(&group)
            .into_iter()
            .flat_map(|set| set.iter())
            .filter_map(|key| self.mounts.get(key))
    }

    /// The mounts whose master is this peer group.
    pub fn group_slaves(&self, group: PeerGroupId) -> impl Iterator<Item = &Arc<Mount>> {
        self.slaves
            .get(&group)
            .into_iter()
            .flat_map(|set| set.iter())
            .filter_map(|key| self.mounts.get(key))
    }

    /// The master of a peer group: peers share one.
    pub fn group_master(&self, group: PeerGroupId) -> Option<PeerGroupId> {
        self.group_members(group).next()?.master
    }

    /// How the kernel whose mounts these are writes mountinfo(5).
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// How many mounts there are, those of detached trees included.
    pub fn mount_count(&self) -> usize {
        self.mounts.size()
    }

    /// How many dentries there are.
    pub fn dentry_count(&self) -> usize {
        self.dentries.size()
    }

    /// How many mounts are in namespaces that tasks can have (without detached trees).
    pub fn attached_mounts(&self) -> usize {
        self.namespaces.values().map(|namespace| namespace.mounts.size()).sum()
    }

    /// Whether a mount is in a namespace that a task can have, not in a detached tree.
    pub fn is_attached(&self, mount: &Mount) -> bool {
        self.namespaces.contains_key(&mount.namespace)
    }

    /// The sort key of a mount in its namespace: the kernel's order of lines.
    pub(crate) fn order(mount: &Mount) -> (u64, MountKey) {
        (mount.unique_id.map_or(u64::from(mount.id.0), |id| id.0), mount.key)
    }

    fn shown(mount: &Mount) -> (DentryKey, NamespaceKey, u64, MountKey) {
        let (age, key) = Self::order(mount);
        (mount.root, mount.namespace, age, key)
    }

    /// Puts a mount in, or replaces it. Gives what was there before.
    pub(super) fn put_mount(&mut self, mount: Mount) -> Option<Arc<Mount>> {
        let before = self.take_mount(mount.key);
        let mount = Arc::new(mount);
        let key = mount.key;
        self.by_id.insert_mut(mount.id, key);
        if let Some(id) = mount.unique_id {
            self.by_unique_id.insert_mut(id, key);
        }
        if !mount.is_detached_root() {
            self.put_at(&mount);
            insert(&mut self.children, mount.parent, key);
        }
        if let Some(group) = mount.peer_group {
            insert(&mut self.members, group, key);
        }
        if let Some(group) = mount.master {
            insert(&mut self.slaves, group, key);
        }
        if mount.namespace != DETACHED {
            self.by_root.insert_mut(Self::shown(&mount));
        }
        if let Some(namespace) = self.namespaces.get(&mount.namespace) {
            let mut namespace = Namespace::clone(namespace);
            namespace.mounts.insert_mut(Self::order(&mount), ());
            if mount.is_namespace_root {
                namespace.root = Some(key);
            }
            self.namespaces.insert_mut(namespace.key, Arc::new(namespace));
        }
        self.mounts.insert_mut(key, mount);
        before
    }

    /// Takes a mount out of every index.
    pub(super) fn take_mount(&mut self, key: MountKey) -> Option<Arc<Mount>> {
        let mount = Arc::clone(self.mounts.get(&key)?);
        self.mounts.remove_mut(&key);
        if self.by_id.get(&mount.id) == Some(&key) {
            self.by_id.remove_mut(&mount.id);
        }
        if let Some(id) = mount.unique_id {
            self.by_unique_id.remove_mut(&id);
        }
        if !mount.is_detached_root() {
            self.take_at(&mount);
            remove(&mut self.children, mount.parent, key);
        }
        if let Some(group) = mount.peer_group {
            remove(&mut self.members, group, key);
        }
        if let Some(group) = mount.master {
            remove(&mut self.slaves, group, key);
        }
        self.by_root.remove_mut(&Self::shown(&mount));
        if let Some(namespace) = self.namespaces.get(&mount.namespace) {
            let mut namespace = Namespace::clone(namespace);
            namespace.mounts.remove_mut(&Self::order(&mount));
            if namespace.root == Some(key) {
                namespace.root = None;
            }
            self.namespaces.insert_mut(namespace.key, Arc::new(namespace));
        }
        Some(mount)
    }

    fn put_at(&mut self, mount: &Mount) {
        let place = (mount.parent, mount.mountpoint);
        let mut list = self.at.get(&place).map_or_else(Vec::new, |list| list.to_vec());
        list.push(mount.key);
        self.at.insert_mut(place, list.into());
    }

    fn take_at(&mut self, mount: &Mount) {
        let place = (mount.parent, mount.mountpoint);
        let Some(list) = self.at.get(&place) else { return };
        let list: Vec<_> = list.iter().copied().filter(|key| *key != mount.key).collect();
        if list.is_empty() {
            self.at.remove_mut(&place);
        } else {
            self.at.insert_mut(place, list.into());
        }
    }

    /// Puts a namespace in, or replaces it.
    pub(super) fn put_namespace(&mut self, namespace: Namespace) {
        self.by_inode.insert_mut(namespace.inode, namespace.key);
        self.namespaces.insert_mut(namespace.key, Arc::new(namespace));
    }

    /// Says how much is known of a namespace; whether that is something else than before.
    pub(super) fn set_coverage(&mut self, key: NamespaceKey, coverage: Coverage) -> bool {
        let Some(known) = self.namespace(key).filter(|known| known.coverage != coverage) else {
            return false;
        };
        self.put_namespace(Namespace { coverage, ..Namespace::clone(known) });
        true
    }

    /// Says of every namespace that what is known of it may be old.
    pub(super) fn mark_all_stale(&mut self) -> bool {
        let keys: Vec<_> = self.namespaces().map(|known| known.key).collect();
        let mut is_new = false;
        for key in keys {
            is_new |= self.set_coverage(key, Coverage::Stale);
        }
        is_new
    }

    /// Takes a namespace out; its mounts stay in the table of mounts.
    pub(super) fn take_namespace(&mut self, key: NamespaceKey) -> Option<Arc<Namespace>> {
        let namespace = Arc::clone(self.namespaces.get(&key)?);
        self.namespaces.remove_mut(&key);
        if self.by_inode.get(&namespace.inode) == Some(&key) {
            self.by_inode.remove_mut(&namespace.inode);
        }
        Some(namespace)
    }

    /// Puts a super block in, or replaces it.
    pub(super) fn put_super(&mut self, super_block: SuperBlock) {
        self.supers.insert_mut(super_block.key, Arc::new(super_block));
    }

    /// Takes a super block out.
    pub(super) fn take_super(&mut self, key: SuperKey) {
        self.supers.remove_mut(&key);
    }

    /// Puts a dentry in, or replaces it, and links it to its parent by name.
    pub(super) fn put_dentry(&mut self, key: DentryKey, mut dentry: Dentry) {
        if let Some(before) = self.dentries.get(&key).map(Arc::clone) {
            dentry.children = before.children.clone();
            self.unlink(key, &before);
        }
        let link = (!dentry.is_deleted && dentry.parent != key)
            .then(|| (dentry.parent, Arc::clone(&dentry.name)));
        self.dentries.insert_mut(key, Arc::new(dentry));
        if let Some((parent, name)) = link {
            let mut parent_dentry =
                self.dentries.get(&parent).map_or_else(Dentry::default, |known| (**known).clone());
            parent_dentry.children.insert_mut(name, key);
            self.dentries.insert_mut(parent, Arc::new(parent_dentry));
        }
    }

    /// Takes a dentry out.
    pub(super) fn take_dentry(&mut self, key: DentryKey) -> Option<Arc<Dentry>> {
        let dentry = Arc::clone(self.dentries.get(&key)?);
        self.unlink(key, &dentry);
        self.dentries.remove_mut(&key);
        Some(dentry)
    }

    fn unlink(&mut self, key: DentryKey, dentry: &Dentry) {
        if dentry.parent == key {
            return;
        }
        let Some(parent) = self.dentries.get(&dentry.parent) else { return };
        if parent.children.get(&dentry.name) == Some(&key) {
            let mut parent = (**parent).clone();
            parent.children.remove_mut(&dentry.name);
            self.dentries.insert_mut(dentry.parent, Arc::new(parent));
        }
    }
}

fn insert<K: Copy + Eq + std::hash::Hash>(
    map: &mut Map<K, Set<MountKey>>,
    key: K,
    member: MountKey,
) {
    if let Some(set) = map.get_mut(&key) {
        set.insert_mut(member);
    } else {
        let mut set = Set::new_sync();
        set.insert_mut(member);
        map.insert_mut(key, set);
    }
}

fn remove<K: Copy + Eq + std::hash::Hash>(
    map: &mut Map<K, Set<MountKey>>,
    key: K,
    member: MountKey,
) {
    let Some(set) = map.get_mut(&key) else { return };
    set.remove_mut(&member);
    if set.is_empty() {
        map.remove_mut(&key);
    }
}
