//! One mount.

use super::{
    Bytes, DentryKey, Device, MountId, MountKey, NamespaceKey, PeerGroupId, SuperKey, UniqueMountId,
};
use bitflags::bitflags;

bitflags! {
    /// Attributes of one mount: the bits of the kernel's `mnt_flags` that mountinfo(5) shows in
    /// field 6, in the kernel's own numbers (include/linux/mount.h).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MountAttributes: u32 {
        /// Set-user-ID bits are ignored.
        const NOSUID = 0x01;
        /// Device files are not opened.
        const NODEV = 0x02;
        /// Programs are not run.
        const NOEXEC = 0x04;
        /// Access times are not kept.
        const NOATIME = 0x08;
        /// Access times of directories are not kept.
        const NODIRATIME = 0x10;
        /// Access times are kept relative to modification times.
        const RELATIME = 0x20;
        /// Read-only for this mount, whatever the super block allows.
        const READONLY = 0x40;
        /// Symbolic links are not followed (since 5.10).
        const NOSYMFOLLOW = 0x80;
        /// Ours, not the kernel's number: the mount has an ID mapping of its own (since 5.12).
        const IDMAPPED = 1 << 31;
    }
}

/// One mount, as the kernel has it. Where it is (`parent`, `mountpoint`) and what it shows (`root`)
/// are dentries, not texts: an absolute path is computed when it is asked for, so that a rename or
/// a move above it costs nothing and never leaves a wrong text behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What it is known by in this index.
    pub key: MountKey,
    /// The mount on which it sits; itself if it sits on none.
    pub parent: MountKey,
    /// The namespace that it is in; [`super::DETACHED`] for one of a detached tree.
    pub namespace: NamespaceKey,
    /// The file system instance.
    pub super_block: SuperKey,
    /// The directory (or file) of the file system that it shows.
    pub root: DentryKey,
    /// Where on the parent: a dentry of the parent's file system.
    pub mountpoint: DentryKey,
    /// The reused ID.
    pub id: MountId,
    /// The parent's reused ID, as the kernel gave it. A root of a namespace may have a parent that
    /// is in no table.
    pub parent_id: MountId,
    /// The ID that is never reused, where the kernel has one.
    pub unique_id: Option<UniqueMountId>,
    /// Device of the super block.
    pub device: Device,
    /// Attributes of this mount.
    pub attributes: MountAttributes,
    /// `shared:N`.
    pub peer_group: Option<PeerGroupId>,
    /// `master:N`.
    pub master: Option<PeerGroupId>,
    /// `unbindable`. The three facts are independent: a mount can be a slave and unbindable.
    pub unbindable: bool,
    /// `mnt_devname`, without a change by the file system; empty is possible.
    pub source: Bytes,
    /// It is the root mount of its namespace (`mnt_namespace.root`), below everything else there.
    pub is_namespace_root: bool,
}

impl Mount {
    /// Whether it sits on no other mount.
    pub fn is_detached_root(&self) -> bool {
        self.parent == self.key
    }

    /// The propagation type in the words of mount_namespaces(7), derived from the three facts.
    pub fn propagation(&self) -> &'static str {
        match (self.peer_group, self.master, self.unbindable) {
            (Some(_), Some(_), false) => "shared,slave",
            (Some(_), None, false) => "shared",
            (None, Some(_), false) => "slave",
            (None, None, false) => "private",
            (Some(_), Some(_), true) => "shared,slave,unbindable",
            (Some(_), None, true) => "shared,unbindable",
            (None, Some(_), true) => "slave,unbindable",
            (None, None, true) => "unbindable",
        }
    }
}
