//! Mount namespaces.

use super::{Coverage, MountKey, NamespaceId, NamespaceInode, NamespaceKey};
use crate::maps::Sorted;

/// What a mount of a detached tree says of its namespace: that one is anonymous, in nobody's
/// mountinfo, and in no table.
pub const DETACHED: NamespaceKey = NamespaceKey(0);

/// One mount namespace with its mounts.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// What it is known by in this index.
    pub key: NamespaceKey,
    /// Inode of `/proc/PID/ns/mnt`; reused after its death.
    pub inode: NamespaceInode,
    /// The ID that is never reused, where the kernel has one.
    pub id: Option<NamespaceId>,
    /// Its root mount, if we know it.
    pub root: Option<MountKey>,
    /// How much of it we know.
    pub coverage: Coverage,
    /// Its mounts in the order in which the kernel lists them since 6.8: by unique ID, and by
    /// `mnt_id` before.
    pub(crate) mounts: Sorted<(u64, MountKey)>,
}

impl Namespace {
    /// The keys of its mounts, in the kernel's order.
    pub fn keys(&self) -> impl Iterator<Item = MountKey> + '_ {
        self.mounts.iter().map(|(_, key)| key)
    }

    /// How many mounts are in it.
    pub fn mount_count(&self) -> usize {
        self.mounts.len()
    }
}
