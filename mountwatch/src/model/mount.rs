//! One mount.

use super::{
    Bytes, DentryKey, Device, MountId, MountKey, NamespaceKey, OperationId, PeerGroupId, SuperKey,
    UniqueMountId,
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
#[derive(Clone, Debug)]
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
    /// How it came to be as it is. Two mounts are equal whatever this is: it is our knowledge, not a
    /// fact of the kernel.
    pub provenance: Provenance,
}

impl PartialEq for Mount {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            key,
            parent,
            namespace,
            super_block,
            root,
            mountpoint,
            id,
            parent_id,
            unique_id,
            device,
            attributes,
            peer_group,
            master,
            unbindable,
            source,
            is_namespace_root,
            provenance: _,
        } = self;
        (key, parent, namespace, super_block, root, mountpoint)
            == (
                &other.key,
                &other.parent,
                &other.namespace,
                &other.super_block,
                &other.root,
                &other.mountpoint,
            )
            && (id, parent_id, unique_id, device)
                == (&other.id, &other.parent_id, &other.unique_id, &other.device)
            && (attributes, peer_group, master, unbindable)
                == (&other.attributes, &other.peer_group, &other.master, &other.unbindable)
            && (source, is_namespace_root) == (&other.source, &other.is_namespace_root)
    }
}

impl Eq for Mount {}

/// How a mount came to be as it is: 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The operation that made it. `None`: it was there before mountwatch, or was found by a scan.
    pub created_by: Option<OperationId>,
    /// The last operation after that which changed it: its place, its attributes, its peer group.
    pub changed_by: Option<OperationId>,
    /// A unique ID, or before 6.8 one that is reused; 0 for none.
    copied_from: u64,
}

/// The least unique mount ID; greater than any reused one.
const UNIQUE_MIN: u64 = 1 << 31;

impl Provenance {
    /// Of a mount that an operation makes.
    pub fn created_by(operation: Option<OperationId>) -> Self {
        Self { created_by: operation, ..Self::default() }
    }

    /// The same mount, changed by an operation.
    #[must_use]
    pub fn with_changed_by(self, operation: Option<OperationId>) -> Self {
        let operation = operation.filter(|id| self.created_by != Some(*id));
        Self { changed_by: operation.or(self.changed_by), ..self }
    }

    /// The same, as a copy of another mount.
    #[must_use]
    pub fn with_copied_from(self, original: &Mount) -> Self {
        let id = original.unique_id.map_or(u64::from(original.id.0), |id| id.0);
        Self { copied_from: id, ..self }
    }

    /// As an agent tells it. `copied_from`: a unique ID, or before 6.8 one that is reused; 0 for none.
    pub(crate) fn new(
        created_by: Option<OperationId>,
        changed_by: Option<OperationId>,
        copied_from: u64,
    ) -> Self {
        Self { created_by, changed_by, copied_from }
    }

    /// The last of [`Self::new`].
    pub(crate) fn original(&self) -> u64 {
        self.copied_from
    }

    /// The mount that it was copied from when it was made: by its unique ID.
    pub fn copied_from(&self) -> Option<UniqueMountId> {
        (self.copied_from >= UNIQUE_MIN).then_some(UniqueMountId(self.copied_from))
    }

    /// The same by its ID that is reused, before 6.8.
    pub fn copied_from_id(&self) -> Option<MountId> {
        let id = u32::try_from(self.copied_from).ok()?;
        (id != 0 && u64::from(id) < UNIQUE_MIN).then_some(MountId(id))
    }
}

impl Mount {
    /// Whether it sits on no other mount.
    pub fn is_detached_root(&self) -> bool {
        self.parent == self.key
    }

    /// The propagation type in the words of mount_namespaces(7), derived from the three facts.
    pub fn propagation(&self) -> &'static str {
        propagation_type(self.peer_group.is_some(), self.master.is_some(), self.unbindable)
    }
}

/// The propagation type in the words of mount_namespaces(7).
pub(crate) fn propagation_type(
    is_shared: bool,
    is_slave: bool,
    is_unbindable: bool,
) -> &'static str {
    match (is_shared, is_slave, is_unbindable) {
        (true, true, false) => "shared,slave",
        (true, false, false) => "shared",
        (false, true, false) => "slave",
        (false, false, false) => "private",
        (true, true, true) => "shared,slave,unbindable",
        (true, false, true) => "shared,unbindable",
        (false, true, true) => "slave,unbindable",
        (false, false, true) => "unbindable",
    }
}
