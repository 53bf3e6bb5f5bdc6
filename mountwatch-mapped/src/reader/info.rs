//! What is told of a mount.

use super::pass::{Look, Pass};
use super::walk::From;
use crate::layout::{
    BIND_AGAIN, BIND_OBJECT, BIND_PART, M_ATTRIBUTES, M_COVERS, M_GROUPS, M_ID, M_PARENT, M_SOURCE,
    M_SUPER, M_UNIQUE_ID, MOUNT_LIVE, MOUNT_UNBINDABLE, S_FLAGS, S_OPTIONS, S_TYPE,
    SUPER_OPTIONS_KNOWN, high, low,
};

/// Whether bind mounts count as mount points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Binds {
    /// Yes, as in mountpoint(1).
    #[default]
    Count,
    /// No: real mounts alone.
    Exclude,
}

/// Why a mount counts as a bind mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bind {
    /// An object of the kernel.
    Object,
    /// A part of its file system.
    Part,
    /// What an older mount of the same namespace shows.
    Again,
}

/// The three facts that make the propagation type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Propagation {
    /// `shared:N`.
    pub peer_group: Option<u32>,
    /// `master:N`.
    pub master: Option<u32>,
    /// `unbindable`.
    pub unbindable: bool,
}

/// One mount as the view sees it. Nothing is escaped, and names need not be UTF-8. Options can hold
/// secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountInfo {
    /// Mount ID, reused by the kernel.
    pub id: u32,
    /// Unique mount ID (kernel 6.8).
    pub unique_id: Option<u64>,
    /// Mount ID of the mount on which it sits.
    pub parent_id: u32,
    /// Unique mount ID of that, if it is in the namespace.
    pub parent_unique_id: Option<u64>,
    /// Device, `major << 20 | minor`.
    pub device: u32,
    /// The directory or file of the file system that is shown.
    pub root: Vec<u8>,
    /// Where, as a path of the view.
    pub mountpoint: Vec<u8>,
    /// Attributes of the mount, as `mnt_flags` of the kernel; 1 << 31: it has an ID mapping.
    pub attributes: u32,
    /// Its propagation.
    pub propagation: Propagation,
    /// File system type with its subtype.
    pub fs_type: Vec<u8>,
    /// What was mounted; empty is possible.
    pub source: Vec<u8>,
    /// Flags of the super block, as `s_flags` of the kernel.
    pub super_flags: u32,
    /// Options as the file system shows them, with the kernel's escapes. `None`: not known yet.
    pub fs_options: Option<Vec<u8>>,
    /// Why it is a bind mount; `None` for a real one.
    pub bind: Option<Bind>,
    /// Another mount hides it: a walk along its path ends elsewhere.
    pub is_covered: bool,
}

pub(super) fn bind_of(code: u32) -> Option<Bind> {
    match code {
        BIND_OBJECT => Some(Bind::Object),
        BIND_PART => Some(Bind::Part),
        BIND_AGAIN => Some(Bind::Again),
        _ => None,
    }
}

impl Pass<'_> {
    pub(super) fn bind(&self, mount: u32) -> Look<Option<Bind>> {
        Ok(bind_of(high(self.mount(mount, M_SUPER)?)))
    }

    pub(super) fn is_live(&self, mount: u32) -> Look<bool> {
        Ok(high(self.mount(mount, M_ATTRIBUTES)?) & MOUNT_LIVE != 0)
    }

    pub(super) fn unique_id(&self, mount: u32) -> Look<Option<u64>> {
        Ok(Some(self.mount(mount, M_UNIQUE_ID)?).filter(|id| *id != 0))
    }

    /// Everything about a mount; `None` if it cannot be reached from there.
    pub(super) fn info(&mut self, mount: u32, from: From) -> Look<Option<MountInfo>> {
        self.replenish();
        let Some(mountpoint) = self.path_of(mount, from)? else { return Ok(None) };
        let ids = self.mount(mount, M_ID)?;
        let parent = low(self.mount(mount, M_PARENT)?);
        let attributes = self.mount(mount, M_ATTRIBUTES)?;
        let groups = self.mount(mount, M_GROUPS)?;
        let super_block = low(self.mount(mount, M_SUPER)?);
        let flags = self.super_block(super_block, S_FLAGS)?;
        let group = |id: u32| (id != 0).then_some(id);
        let top = self.walk(&mountpoint, from)?;
        Ok(Some(MountInfo {
            id: low(ids),
            unique_id: self.unique_id(mount)?,
            parent_id: high(ids),
            parent_unique_id: match parent {
                // The root of everything is its own parent.
                0 if low(ids) == high(ids) => self.unique_id(mount)?,
                0 => None,
                parent => self.unique_id(parent)?,
            },
            device: high(self.mount(mount, M_COVERS)?),
            root: self.root_path(mount)?,
            is_covered: top.mount != mount,
            mountpoint,
            attributes: low(attributes),
            propagation: Propagation {
                peer_group: group(low(groups)),
                master: group(high(groups)),
                unbindable: high(attributes) & MOUNT_UNBINDABLE != 0,
            },
            fs_type: self.text(self.super_block(super_block, S_TYPE)?)?,
            source: self.text(self.mount(mount, M_SOURCE)?)?,
            super_flags: low(flags),
            fs_options: if high(flags) & SUPER_OPTIONS_KNOWN == 0 {
                None
            } else {
                Some(self.text(self.super_block(super_block, S_OPTIONS)?)?)
            },
            bind: self.bind(mount)?,
        }))
    }
}
