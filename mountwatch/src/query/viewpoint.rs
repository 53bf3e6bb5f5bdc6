//! From where a question is asked.

use crate::model::{DentryKey, Mount, MountKey, NamespaceInode, NamespaceKey};
use crate::state::Tables;
use hashbrown::HashSet;

/// A namespace and a root directory in it: what `/` means to whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewpoint {
    /// The mount namespace.
    pub namespace: NamespaceKey,
    /// The mount of the root directory.
    pub mount: MountKey,
    /// The root directory in that mount.
    pub dentry: DentryKey,
}

impl Viewpoint {
    /// A root directory from which nothing of the namespace can be reached: on a mount that left,
    /// or a directory at and below which nothing is mounted.
    pub const fn nowhere(namespace: NamespaceKey) -> Self {
        Self { namespace, mount: MountKey(u64::MAX), dentry: DentryKey(u64::MAX) }
    }
}

impl Tables {
    /// What a process sees that enters a namespace by setns(2): the mount on top at its root.
    /// `None` if the namespace is not known, or nothing is mounted in it.
    pub fn viewpoint_of_namespace(&self, key: NamespaceKey) -> Option<Viewpoint> {
        let namespace = self.namespace(key)?;
        let root = namespace.root.or_else(|| self.rootless(key))?;
        let mount = self.top(self.mount(root)?.key)?;
        Some(Viewpoint { namespace: key, mount: mount.key, dentry: mount.root })
    }

    /// What a process sees whose root directory is the given path below a mount's root (`""` or
    /// `b"/"` for the root itself).
    pub fn viewpoint_of_root(&self, mount: MountKey, below: &[u8]) -> Option<Viewpoint> {
        let mount = self.mount(mount)?;
        let mut dentry = mount.root;
        for name in below.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            dentry = self.child(self.dentry(dentry)?, name)?.0;
        }
        Some(Viewpoint { namespace: mount.namespace, mount: mount.key, dentry })
    }

    /// What a process sees whose root directory lies on this mount: its root, or the directory with
    /// this path as seen from the root of the mount's namespace.
    pub fn viewpoint_at(&self, mount: &Mount, is_root: bool, path: &[u8]) -> Option<Viewpoint> {
        if is_root {
            return self.viewpoint_of_root(mount.key, b"");
        }
        let whole = self.viewpoint_of_namespace(mount.namespace)?;
        let up = self.path_of(mount.key, whole)?;
        let below = path.strip_prefix(if up == b"/" { &b""[..] } else { &up[..] })?;
        // A directory that leads to no mount is in no table: nothing is mounted at or below it, so
        // it sees no mount at all, which is what the kernel shows too.
        let seen = self.viewpoint_of_root(mount.key, below);
        Some(seen.unwrap_or(Viewpoint::nowhere(mount.namespace)))
    }

    /// Whether somebody who enters a mount's namespace sees the mount. One that lies below the
    /// namespace's root directory is seen by those alone who have it as their root.
    pub fn is_seen(&self, mount: &Mount) -> bool {
        self.viewpoint_of_namespace(mount.namespace)
            .is_some_and(|whole| self.path_of(mount.key, whole).is_some())
    }

    /// The mount namespace that a mount of nsfs shows, and keeps alive.
    pub fn shown_namespace(&self, mount: &Mount) -> Option<NamespaceInode> {
        let root = self.dentry(mount.root).filter(|root| root.is_literal)?;
        NamespaceInode::of_name(&root.name)
    }

    /// All that are kept alive by mounts of nsfs. Takes time for every mount.
    pub fn bound_namespaces(&self) -> HashSet<NamespaceInode> {
        let mounts = self.mounts().filter(|mount| self.is_attached(mount));
        mounts.filter_map(|mount| self.shown_namespace(mount)).collect()
    }

    /// A back end that cannot see `mnt_namespace.root` tells of the mounts below it only: the one
    /// whose parent is not in the namespace is the root of what it shows.
    fn rootless(&self, key: NamespaceKey) -> Option<MountKey> {
        let namespace = self.namespace(key)?;
        namespace.keys().find(|key| {
            self.mount(*key).is_some_and(|mount| {
                mount.is_detached_root()
                    || self.mount(mount.parent).is_none_or(|up| up.namespace != mount.namespace)
            })
        })
    }

    /// The mount that a path walk ends on when it reaches the root of this one.
    pub(super) fn top(&self, key: MountKey) -> Option<&std::sync::Arc<Mount>> {
        let mut mount = self.mount(key)?;
        // Each step goes to a child; a tree has no loops, and the count guards a broken one.
        for _ in 0..self.namespaces_depth_max() {
            if self.child_count(mount.key) == 0 {
                break;
            }
            match self.mounted_at(mount.key, mount.root) {
                Some(above) if above.key != mount.key => mount = above,
                _ => break,
            }
        }
        Some(mount)
    }

    /// More levels than a tree of mounts can have: one for each mount.
    pub(super) fn namespaces_depth_max(&self) -> usize {
        self.mount_count() + 1
    }
}
