//! What a bind mount is.
//!
//! The kernel keeps no such fact: `mount --bind` makes a mount like any other, of a directory that
//! is mounted already. So it is told from what a mount shows, and from what else shows the same in
//! its namespace. A mount is a **bind mount** if
//!
//! 1. its file system is one of kernel objects (nsfs, pidfs), which are mounted in no other way; or
//! 2. it shows a part of its file system: its root is not the root of the super block. File systems
//!    of which a part can be mounted without a bind (btrfs, NFS, CIFS, Ceph, cgroup) are judged by
//!    rule 3; or
//! 3. an older mount of its namespace, elsewhere and with the same source, shows the same directory
//!    already (or, in those file systems, a directory above it).
//!
//! All others are **real**: the first mount of a file system in its namespace, one on top of
//! another, and each copy of a real mount that the kernel made, as it copied a namespace or propagated
//! the mount to peers. Such a copy has the mountpoint of its original, and the mount on which it sits was
//! there before the original. What a recursive bind copied also has the mountpoint of its original; but
//! the mount on which it sits came with it, and it is what that one is.
//!
//! "Older" is judged by the unique mount IDs. A copy of a namespace has them in the order of the tree, not
//! of the mounts' making: so of several mounts that show the same, those at the place of the one that is
//! the oldest on the whole host are real. Before 6.8 there are no unique IDs; the reused ones are
//! taken, which may err.
//!
//! What cannot be told: a second mount(8) of the same device, or of the same instance of proc, sysfs
//! or cgroup2, gives what a bind mount of the first would be, and counts as one while the first is
//! in the same namespace. A subvolume of btrfs that lies inside another mounted one counts as bound
//! from there. A bind mount of a whole file system counts as real when what it was bound from is
//! gone. In a copy of a namespace a recursive bind whose place in the tree comes first counts as real
//! too.
//!
//! Compare: mountpoint(1), systemd and moby/sys `Mounted` say yes for each mount, bind or not
//! ([`Binds::Count`]); `IsLikelyNotMountPoint` of Kubernetes compares device numbers and misses those
//! bind mounts alone whose file system is that of the directory above; findmnt(8) shows
//! rule 2 as a root in brackets.

use crate::model::{DentryKey, Mount};
use crate::state::Tables;
use std::sync::Arc;

/// Why a mount counts as a bind mount: the rules of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bind {
    /// Rule 1: an object of the kernel.
    Object,
    /// Rule 2: a part of its file system.
    Part,
    /// Rule 3: what an older mount of the same namespace shows.
    Again,
}

impl Bind {
    /// The word for it in every output: `object`, `part` or `again`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Part => "part",
            Self::Again => "again",
        }
    }
}

/// Whether bind mounts count as mount points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Binds {
    /// Yes, as in mountpoint(1).
    #[default]
    Count,
    /// No: real mounts alone.
    Exclude,
}

/// File systems of kernel objects.
const OBJECTS: [&[u8]; 2] = [b"nsfs", b"pidfs"];

/// File systems of which a part can be mounted without a bind.
const PARTLY_MOUNTED: [&[u8]; 10] = [
    b"btrfs",
    b"bcachefs",
    b"nfs",
    b"nfs4",
    b"cifs",
    b"smb3",
    b"ceph",
    b"afs",
    b"cgroup",
    b"cgroup2",
];

/// Whether parts of file systems of this type are mounted without a bind: then mounts of directories
/// above matter too.
pub(crate) fn is_partly_mounted(fs_type: &[u8]) -> bool {
    PARTLY_MOUNTED.contains(&fs_type)
}

/// What is to be said of a mount, or of which other one the same is to be said.
enum Verdict<'a> {
    Is(Option<Bind>),
    AsIs(&'a Arc<Mount>),
}

impl Tables {
    /// Why a mount counts as a bind mount; `None` for a real one.
    ///
    /// Takes time for the namespaces that show the same directory; for all mounts that show it only
    /// where several of them have the same mountpoint, as in copies of a namespace.
    pub fn bind(&self, mount: &Mount) -> Option<Bind> {
        let mut at = mount;
        for _ in 0..=self.mount_count() {
            match self.judge(at) {
                Verdict::Is(bind) if at.key == mount.key => return bind,
                Verdict::Is(bind) => return bind.map(|_| Bind::Again),
                Verdict::AsIs(parent) => at = parent,
            }
        }
        None
    }

    fn judge(&self, mount: &Mount) -> Verdict<'_> {
        let fs_type = self.super_block(mount.super_block).map(|known| &known.fs_type[..]);
        let is_one_of = |names: &[&[u8]]| fs_type.is_some_and(|name| names.contains(&name));
        if is_one_of(&OBJECTS) {
            return Verdict::Is(Some(Bind::Object));
        }
        let is_partly_mounted = is_one_of(&PARTLY_MOUNTED);
        if !is_partly_mounted && self.dentry_above(mount.root).is_some() {
            return Verdict::Is(Some(Bind::Part));
        }
        if is_partly_mounted && self.is_shown_from_above(mount) {
            return Verdict::Is(Some(Bind::Again));
        }
        self.judge_same_directory(mount)
    }

    /// Rule 3 for the same directory.
    fn judge_same_directory(&self, mount: &Mount) -> Verdict<'_> {
        let is_rival = |other: &&Arc<Mount>| other.source == mount.source;
        let here = || self.showing(mount.root, mount.namespace).filter(is_rival);
        if here().all(|other| other.key == mount.key) {
            return Verdict::Is(None);
        }
        let is_here = |oldest: &&Arc<Mount>| {
            oldest.namespace == mount.namespace
                || self.is_shared(oldest.mountpoint)
                    && here().any(|other| other.mountpoint == oldest.mountpoint)
        };
        let oldest = self
            .oldest_showing(mount.root, is_rival)
            .min_by_key(|other| Self::order(other))
            .filter(is_here);
        let original = oldest.or_else(|| here().next());
        if original.is_none_or(|original| original.mountpoint != mount.mountpoint) {
            return Verdict::Is(Some(Bind::Again));
        }
        // A copy at the same place on another mount: of its parent's making, or after it?
        let older_here = here().take_while(|_| self.is_shared(mount.mountpoint)).filter(|other| {
            other.mountpoint == mount.mountpoint && Self::order(other) < Self::order(mount)
        });
        match (older_here.min_by_key(|other| Self::order(other)), self.mount(mount.parent)) {
            (Some(original), Some(parent))
                if parent.key != mount.key && Self::order(parent) > Self::order(original) =>
            {
                Verdict::AsIs(parent)
            }
            _ => Verdict::Is(None),
        }
    }

    /// Rule 3 for a directory above.
    fn is_shown_from_above(&self, mount: &Mount) -> bool {
        let mut at = mount.root;
        for _ in 0..=self.dentry_count() {
            let Some(above) = self.dentry_above(at) else { return false };
            let is_older = |other: &Mount| {
                other.source == mount.source && Self::order(other) < Self::order(mount)
            };
            if self.showing(above, mount.namespace).any(|other| is_older(other)) {
                return true;
            }
            at = above;
        }
        false
    }

    /// Whether more than one mount has this mountpoint, in whatever namespaces.
    fn is_shared(&self, mountpoint: DentryKey) -> bool {
        self.dentry(mountpoint).is_some_and(|known| known.mount_count() > 1)
    }

    /// The dentry above this one in its file system; `None` for a root.
    fn dentry_above(&self, dentry: DentryKey) -> Option<DentryKey> {
        let known = self.dentry(dentry)?;
        (known.is_known && known.parent != dentry).then_some(known.parent)
    }
}
