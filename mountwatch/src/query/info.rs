//! Everything about one mount, in a form that needs no index to be read.

use super::{Bind, Viewpoint};
use crate::model::{
    Bytes, Device, Mount, MountAttributes, MountId, NamespaceId, NamespaceInode, Operation,
    OperationId, PeerGroupId, Provenance, SuperFlags, UniqueMountId,
};
use crate::state::Tables;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

/// One mount as a viewpoint sees it: what a line of mountinfo(5) says, and more. Nothing is escaped,
/// and names need not be UTF-8. Options can hold secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountInfo {
    /// Mount ID, reused by the kernel. Field 1.
    pub id: MountId,
    /// Unique mount ID (kernel 6.8).
    pub unique_id: Option<UniqueMountId>,
    /// Mount ID of the mount on which it sits. Field 2.
    pub parent_id: MountId,
    /// Unique mount ID of that, if it is in the index.
    pub parent_unique_id: Option<UniqueMountId>,
    /// Inode of the mount namespace: `/proc/PID/ns/mnt`.
    pub namespace: NamespaceInode,
    /// ID of the mount namespace, never reused (kernel 6.11).
    pub namespace_id: Option<NamespaceId>,
    /// Device of the super block. Field 3.
    pub device: Device,
    /// The directory or file of the file system that is shown. Field 4. For nsfs and pidfs a name
    /// such as `net:[4026531840]`.
    pub root: PathBuf,
    /// Where, as a path of the viewpoint. Field 5.
    pub mountpoint: PathBuf,
    /// Attributes of the mount; as text they are field 6.
    pub attributes: MountAttributes,
    /// Peer group: `shared:N`.
    pub peer_group: Option<PeerGroupId>,
    /// Peer group from which it receives: `master:N`.
    pub master: Option<PeerGroupId>,
    /// The nearest peer group above the master's that the viewpoint sees: `propagate_from:N`.
    pub propagate_from: Option<PeerGroupId>,
    /// `unbindable`.
    pub unbindable: bool,
    /// File system type with its subtype. Field 9.
    pub fs_type: Bytes,
    /// What was mounted. Field 10; empty is possible.
    pub source: Bytes,
    /// Flags of the super block; as text they stand at the front of field 11.
    pub super_flags: SuperFlags,
    /// Options as the file system shows them, with the kernel's escapes: the rest of field 11.
    /// `None`: it was not asked yet.
    pub fs_options: Option<Bytes>,
    /// Why it is a bind mount; `None` for a real one.
    pub bind: Option<Bind>,
    /// Another mount hides it: a walk along its path ends elsewhere.
    pub is_covered: bool,
    /// The numbers of the operations that made and changed it, and which mount it was copied from.
    pub provenance: Provenance,
    /// The operation that made it, if it is over.
    pub created_by: Option<Arc<Operation>>,
    /// The last one that changed it, if it is over.
    pub changed_by: Option<Arc<Operation>>,
}

impl MountInfo {
    /// Whether it counts as a mount point.
    pub fn counts(&self, binds: super::Binds) -> bool {
        binds == super::Binds::Count || self.bind.is_none()
    }

    /// Read-only, for whatever reason: the mount's or the super block's.
    pub fn is_readonly(&self) -> bool {
        self.attributes.contains(MountAttributes::READONLY)
            || self.super_flags.contains(SuperFlags::RDONLY)
    }
}

impl Tables {
    /// Everything about a mount, seen from a viewpoint; `None` if it is not reachable from there.
    pub fn info(&self, mount: &Mount, from: Viewpoint) -> Option<MountInfo> {
        let path = self.path_of(mount.key, from)?;
        self.info_at(mount, &path, from)
    }

    fn operation_of(&self, id: Option<OperationId>) -> Option<Arc<Operation>> {
        self.operation(id?).cloned()
    }

    /// The same for a mount whose path is known already.
    pub(super) fn info_at(&self, mount: &Mount, path: &[u8], from: Viewpoint) -> Option<MountInfo> {
        let namespace = self.namespace(mount.namespace)?;
        let super_block = self.super_block(mount.super_block);
        let top = self.walk(path, from);
        Some(MountInfo {
            id: mount.id,
            unique_id: mount.unique_id,
            parent_id: mount.parent_id,
            parent_unique_id: self.mount(mount.parent).and_then(|parent| parent.unique_id),
            namespace: namespace.inode,
            namespace_id: namespace.id,
            device: mount.device,
            root: path_buf(self.root_of(mount).unwrap_or_default()),
            mountpoint: path_buf(path.to_vec()),
            attributes: mount.attributes,
            peer_group: mount.peer_group,
            master: mount.master,
            propagate_from: self.propagate_from(mount, from),
            unbindable: mount.unbindable,
            fs_type: super_block.map(|known| known.fs_type.clone()).unwrap_or_default(),
            source: mount.source.clone(),
            super_flags: super_block.map(|known| known.flags).unwrap_or_default(),
            fs_options: super_block.and_then(|known| known.options.clone()),
            bind: self.bind(mount),
            is_covered: top.is_none_or(|top| top.mount.key != mount.key),
            provenance: mount.provenance,
            created_by: self.operation_of(mount.provenance.created_by),
            changed_by: self.operation_of(mount.provenance.changed_by),
        })
    }
}

pub(crate) fn path_buf(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}
