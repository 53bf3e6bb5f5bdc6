//! The tables of the index: persistent maps, so that a clone is cheap and never changes.
//!
//! Only this file touches the secondary indexes; the rules call its primitives.

use super::names::{Child, Dentry};
use super::pile::{Pile, Place};
use super::spots::Spots;
use crate::maps::{Hashed, Sorted, Trie, nearby};
use crate::model::{
    Coverage, DETACHED, DentryKey, Dialect, Mount, MountId, MountKey, Namespace, NamespaceInode,
    NamespaceKey, Operation, OperationId, PeerGroupId, SuperBlock, SuperKey, UniqueMountId,
};
use std::hash::BuildHasher as _;
use std::sync::Arc;

macro_rules! hashed {
    ($($name:ident)*) => {$(
        impl Hashed for $name {
            #[inline]
            fn hash(self) -> u64 {
                nearby(u64::from(self.0), 0)
            }
        }
    )*};
}

hashed!(MountKey DentryKey SuperKey NamespaceKey MountId UniqueMountId NamespaceInode);

impl Hashed for OperationId {
    #[inline]
    fn hash(self) -> u64 {
        nearby(self.get(), 0)
    }
}

/// A mount and how many sit on it.
#[derive(Clone, Debug)]
struct Known {
    mount: Arc<Mount>,
    children: u32,
}

/// The tables of one state of the index.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    mounts: Trie<MountKey, Known>,
    dentries: Trie<DentryKey, Arc<Dentry>>,
    supers: Trie<SuperKey, Arc<SuperBlock>>,
    namespaces: Trie<NamespaceKey, Arc<Namespace>>,
    by_id: Trie<MountId, MountKey>,
    by_unique_id: Trie<UniqueMountId, MountKey>,
    by_inode: Trie<NamespaceInode, NamespaceKey>,
    at: Trie<Place, Pile>,
    children: Sorted<(MountKey, MountKey)>,
    members: Sorted<(PeerGroupId, MountKey)>,
    slaves: Sorted<(PeerGroupId, MountKey)>,
    /// By the directory that is shown; of each namespace the oldest first.
    by_root: Sorted<(DentryKey, NamespaceKey, u64, MountKey)>,
    /// Operations that are over and that a mount refers to.
    pub(super) operations: Trie<OperationId, Arc<Operation>>,
    /// By the file system that is shown; without detached trees.
    by_super: Sorted<(SuperKey, MountKey)>,
    /// Namespaces of which something is not known.
    stale: usize,
    /// Hashes of names. Whoever makes directories chooses their names: so each process has a seed of
    /// its own, and nobody can make them collide on purpose.
    hasher: foldhash::fast::RandomState,
    pub(super) spots: Spots,
    pub(super) dialect: Dialect,
}

impl Tables {
    /// A mount by its key.
    pub fn mount(&self, key: MountKey) -> Option<&Arc<Mount>> {
        self.mounts.get(key).map(|known| &known.mount)
    }

    /// A dentry by its key.
    pub fn dentry(&self, key: DentryKey) -> Option<&Arc<Dentry>> {
        self.dentries.get(key)
    }

    /// A super block by its key.
    pub fn super_block(&self, key: SuperKey) -> Option<&Arc<SuperBlock>> {
        self.supers.get(key)
    }

    /// A mount namespace by its key.
    pub fn namespace(&self, key: NamespaceKey) -> Option<&Arc<Namespace>> {
        self.namespaces.get(key)
    }

    /// A mount namespace by the inode of `/proc/PID/ns/mnt`.
    pub fn namespace_by_inode(&self, inode: NamespaceInode) -> Option<&Arc<Namespace>> {
        self.namespaces.get(*self.by_inode.get(inode)?)
    }

    /// Every mount namespace, in no order.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.namespaces.values()
    }

    /// Every mount, those of detached trees included, in no order.
    pub fn mounts(&self) -> impl Iterator<Item = &Arc<Mount>> {
        self.mounts.values().map(|known| &known.mount)
    }

    /// An operation that made or changed one of the mounts in these tables, if it is over.
    pub fn operation(&self, id: OperationId) -> Option<&Arc<Operation>> {
        self.operations.get(id)
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
        self.mount(*self.by_id.get(id)?)
    }

    /// A mount by the ID that is never reused.
    pub fn mount_by_unique_id(&self, id: UniqueMountId) -> Option<&Arc<Mount>> {
        self.mount(*self.by_unique_id.get(id)?)
    }

    /// The mount on top at this place of a mount, if something is mounted there.
    pub fn mounted_at(&self, mount: MountKey, dentry: DentryKey) -> Option<&Arc<Mount>> {
        self.mount(*self.at.get(Place { mount, dentry })?.keys().last()?)
    }

    /// The mounts at this place of a mount, the one on top last.
    pub(crate) fn all_mounted_at(&self, mount: MountKey, dentry: DentryKey) -> &[MountKey] {
        self.at.get(Place { mount, dentry }).map_or(&[], Pile::keys)
    }

    /// How many mounts sit on this one.
    pub fn child_count(&self, mount: MountKey) -> usize {
        self.mounts.get(mount).map_or(0, |known| known.children as usize)
    }

    /// The mounts that sit on this one, in no meaningful order.
    pub fn children(&self, mount: MountKey) -> impl Iterator<Item = &Arc<Mount>> {
        members(&self.children, mount).filter_map(|key| self.mount(key))
    }

    /// The child of a dentry with this name, if it is not deleted.
    #[inline]
    pub(crate) fn child(&self, parent: &Dentry, name: &[u8]) -> Option<(DentryKey, &Arc<Dentry>)> {
        parent.children.find(
            || self.hasher.hash_one(name),
            |key| self.dentry(key).filter(|child| &*child.name == name).map(|child| (key, child)),
        )
    }

    /// The mounts of namespaces that show this super block, in no meaningful order.
    pub(super) fn showing_super(&self, key: SuperKey) -> impl Iterator<Item = &Arc<Mount>> {
        members(&self.by_super, key).filter_map(|key| self.mount(key))
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
        self.by_root.range(range).filter_map(|(.., key)| self.mount(key))
    }

    /// Of each namespace in which such mounts show this directory (or file) the oldest one.
    pub(crate) fn oldest_showing(
        &self,
        root: DentryKey,
        is_one: impl Fn(&&Arc<Mount>) -> bool,
    ) -> impl Iterator<Item = &Arc<Mount>> {
        let mut from = Some(NamespaceKey(0));
        std::iter::from_fn(move || {
            let start = (root, from?, 0, MountKey(0));
            let (found, namespace, ..) = self.by_root.range(start..).next()?;
            from = namespace.0.checked_add(1).map(NamespaceKey);
            (found == root).then(|| self.showing(root, namespace).find(&is_one))
        })
        .flatten()
    }

    /// The members of a peer group.
    pub fn group_members(&self, group: PeerGroupId) -> impl Iterator<Item = &Arc<Mount>> {
        members(&self.members, group).filter_map(|key| self.mount(key))
    }

    /// The mounts whose master is this peer group.
    pub fn group_slaves(&self, group: PeerGroupId) -> impl Iterator<Item = &Arc<Mount>> {
        members(&self.slaves, group).filter_map(|key| self.mount(key))
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
        self.mounts.len()
    }

    /// How many dentries there are.
    pub fn dentry_count(&self) -> usize {
        self.dentries.len()
    }

    /// How many mounts are in namespaces that tasks can have (without detached trees).
    pub fn attached_mounts(&self) -> usize {
        self.namespaces.values().map(|namespace| namespace.mount_count()).sum()
    }

    /// Whether a mount is in a namespace that a task can have, not in a detached tree.
    pub fn is_attached(&self, mount: &Mount) -> bool {
        self.namespaces.contains(mount.namespace)
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
        let is_placed = self.spots.are_kept() && self.is_placed_anew(&mount);
        if is_placed && let Some(known) = self.mount(mount.key).map(Arc::clone) {
            self.leave_paths(&known);
        }
        let before = self.take_known(mount.key);
        let key = mount.key;
        // Those that were told before it are counted once, at its own first telling.
        let children = before.as_ref().map_or_else(
            || u32::try_from(members(&self.children, key).count()).unwrap_or(u32::MAX),
            |known| known.children,
        );
        self.by_id.insert(mount.id, key);
        if let Some(id) = mount.unique_id {
            self.by_unique_id.insert(id, key);
        }
        if !mount.is_detached_root() {
            self.put_at(&mount);
            self.children.insert((mount.parent, key));
            self.mounts.change(mount.parent, |parent| parent.children += 1);
        }
        if let Some(group) = mount.peer_group {
            self.members.insert((group, key));
        }
        if let Some(group) = mount.master {
            self.slaves.insert((group, key));
        }
        if mount.namespace != DETACHED {
            self.by_root.insert(Self::shown(&mount));
            self.by_super.insert((mount.super_block, key));
        }
        if let Some(namespace) = self.namespaces.get(mount.namespace) {
            let mut namespace = Namespace::clone(namespace);
            namespace.mounts.insert(Self::order(&mount));
            if mount.is_namespace_root {
                namespace.root = Some(key);
                self.void_paths(namespace.key);
            }
            self.namespaces.insert(namespace.key, Arc::new(namespace));
        }
        let mount = Arc::new(mount);
        self.mounts.insert(key, Known { mount: Arc::clone(&mount), children });
        if is_placed {
            self.enter_paths(&mount);
        }
        before.map(|known| known.mount)
    }

    /// Takes a mount out of every index.
    pub(super) fn take_mount(&mut self, key: MountKey) -> Option<Arc<Mount>> {
        if self.spots.are_kept() {
            let known = self.mount(key).map(Arc::clone)?;
            self.leave_paths(&known);
        }
        self.take_known(key).map(|known| known.mount)
    }

    fn take_known(&mut self, key: MountKey) -> Option<Known> {
        let known = self.mounts.remove(key)?;
        let mount = &known.mount;
        if self.by_id.get(mount.id) == Some(&key) {
            self.by_id.remove(mount.id);
        }
        if let Some(id) = mount.unique_id {
            self.by_unique_id.remove(id);
        }
        if !mount.is_detached_root() {
            self.take_at(mount);
            self.children.remove((mount.parent, key));
            self.mounts
                .change(mount.parent, |parent| parent.children = parent.children.saturating_sub(1));
        }
        if let Some(group) = mount.peer_group {
            self.members.remove((group, key));
        }
        if let Some(group) = mount.master {
            self.slaves.remove((group, key));
        }
        self.by_root.remove(Self::shown(mount));
        self.by_super.remove((mount.super_block, key));
        if let Some(namespace) = self.namespaces.get(mount.namespace) {
            let mut namespace = Namespace::clone(namespace);
            namespace.mounts.remove(Self::order(mount));
            if namespace.root == Some(key) {
                namespace.root = None;
            }
            self.namespaces.insert(namespace.key, Arc::new(namespace));
        }
        Some(known)
    }

    fn put_at(&mut self, mount: &Mount) {
        let place = Place { mount: mount.parent, dentry: mount.mountpoint };
        let pile = match self.at.get(place) {
            None => Pile::One(mount.key),
            Some(pile) => Pile::Many(pile.keys().iter().copied().chain([mount.key]).collect()),
        };
        self.at.insert(place, pile);
        self.count_mounted(mount, 1);
    }

    fn take_at(&mut self, mount: &Mount) {
        let place = Place { mount: mount.parent, dentry: mount.mountpoint };
        let Some(pile) = self.at.get(place) else { return };
        let rest: Vec<_> = pile.keys().iter().copied().filter(|key| *key != mount.key).collect();
        match rest[..] {
            [] => self.at.remove(place),
            [one] => self.at.insert(place, Pile::One(one)),
            _ => self.at.insert(place, Pile::Many(rest.into())),
        };
        self.count_mounted(mount, -1);
    }

    /// Counts a mount at its mountpoint. The dentries of detached trees need not be there, and
    /// nobody walks along them.
    fn count_mounted(&mut self, mount: &Mount, by: i32) {
        if mount.namespace != DETACHED {
            self.dentries.change(mount.mountpoint, |dentry| {
                let dentry = Arc::make_mut(dentry);
                dentry.mounted = dentry.mounted.saturating_add_signed(by);
            });
        }
    }

    /// Puts a namespace in, or replaces it.
    pub(super) fn put_namespace(&mut self, namespace: Namespace) {
        if self.namespace(namespace.key).is_none_or(|known| known.root != namespace.root) {
            self.void_paths(namespace.key);
        }
        self.by_inode.insert(namespace.inode, namespace.key);
        self.stale += usize::from(namespace.coverage == Coverage::Stale);
        if let Some(before) = self.namespaces.insert(namespace.key, Arc::new(namespace)) {
            self.stale -= usize::from(before.coverage == Coverage::Stale);
        }
    }

    /// Whether something of some namespace is not known.
    pub(super) fn is_stale(&self) -> bool {
        self.stale > 0
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
        self.void_paths(key);
        let namespace = self.namespaces.remove(key)?;
        self.stale -= usize::from(namespace.coverage == Coverage::Stale);
        if self.by_inode.get(namespace.inode) == Some(&key) {
            self.by_inode.remove(namespace.inode);
        }
        Some(namespace)
    }

    /// Puts a super block in, or replaces it.
    pub(super) fn put_super(&mut self, super_block: SuperBlock) {
        self.supers.insert(super_block.key, Arc::new(super_block));
    }

    /// Takes a super block out.
    pub(super) fn take_super(&mut self, key: SuperKey) {
        self.supers.remove(key);
    }

    /// Puts a dentry in, or replaces it, and links it to its parent by name.
    pub(super) fn put_dentry(&mut self, key: DentryKey, mut dentry: Dentry) {
        if let Some(before) = self.dentries.get(key).map(Arc::clone) {
            dentry.children = before.children.clone();
            dentry.mounted = before.mounted;
            self.unlink(key, &before);
            self.void_paths_along(&before);
        }
        let link = (!dentry.is_deleted && dentry.parent != key)
            .then(|| (dentry.parent, Arc::clone(&dentry.name)));
        self.dentries.insert(key, Arc::new(dentry));
        if let Some((parent, name)) = link {
            self.link(parent, &name, key);
        }
    }

    /// Takes a dentry out.
    pub(super) fn take_dentry(&mut self, key: DentryKey) -> Option<Arc<Dentry>> {
        let dentry = Arc::clone(self.dentries.get(key)?);
        self.void_paths_along(&dentry);
        self.unlink(key, &dentry);
        self.dentries.remove(key)
    }

    /// Two living children never have the same name: of two that say so the last one is right.
    fn link(&mut self, parent: DentryKey, name: &[u8], key: DentryKey) {
        let hash = self.hasher.hash_one(name);
        let known = self.dentries.get(parent).map_or_else(Arc::default, Arc::clone);
        let before = self.child(&known, name).map(|(key, before)| (key, Arc::clone(before)));
        let mut known = Arc::unwrap_or_clone(known);
        if let Some((before, dentry)) = before {
            known.children.remove(Child { hash, key: before });
            self.void_paths_along(&dentry);
        }
        known.children.insert(Child { hash, key });
        self.dentries.insert(parent, Arc::new(known));
    }

    fn unlink(&mut self, key: DentryKey, dentry: &Dentry) {
        if dentry.parent == key {
            return;
        }
        let child = Child { hash: self.hasher.hash_one(&*dentry.name), key };
        self.dentries.change(dentry.parent, |parent| Arc::make_mut(parent).children.remove(child));
    }
}

/// The second halves of the pairs with this first half.
fn members<K: Copy + Ord>(
    pairs: &Sorted<(K, MountKey)>,
    key: K,
) -> impl Iterator<Item = MountKey> + '_ {
    pairs.range((key, MountKey(0))..=(key, MountKey(u64::MAX))).map(|(_, member)| member)
}
