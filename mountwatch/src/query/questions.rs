//! The questions, in one trait: code that asks need not know who answers.

use super::{Answer, Binds, HostPath, MountInfo};
use crate::model::{MountId, UniqueMountId};
use std::error::Error;
use std::fmt;
use std::path::Path;

/// A mount by one of its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhichMount {
    /// The mount ID of mountinfo(5), which the kernel reuses.
    Id(MountId),
    /// The unique mount ID, which is never reused (kernel 6.8).
    UniqueId(UniqueMountId),
}

impl fmt::Display for WhichMount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::UniqueId(id) => write!(f, "{id}"),
        }
    }
}

/// Questions about the mounts that somebody sees: a process, or whoever enters a namespace.
///
/// Paths are absolute and those of the viewpoint. Symbolic links are not followed and `..` is
/// refused: give a path as realpath(3) gives it. No question touches the path, so none waits for a
/// server that is gone.
///
/// | call elsewhere | here |
/// |---|---|
/// | moby/sys `mountinfo.Mounted(path)` | [`is_mount_point`](Self::is_mount_point) with [`Binds::Count`] |
/// | moby/sys `GetMounts(PrefixFilter(path))`, k8s `List` of a directory | [`below`](Self::below) |
/// | moby/sys `GetMounts(ParentsFilter(path))`, containerd `Lookup` | [`covering`](Self::covering) |
/// | moby/sys `GetMounts(SingleEntryFilter(path))` | [`mount_at`](Self::mount_at) |
/// | k8s `IsMountPoint` | [`is_mount_point`](Self::is_mount_point) |
/// | libmount `mnt_table_find_uniq_id` | [`mount`](Self::mount) |
pub trait MountQueries {
    /// Why there is no answer: a path that is none, or whoever answers is gone.
    type Error: Error + Send + Sync + 'static;

    /// Whether something is mounted exactly at a path.
    fn is_mount_point(&self, path: &Path, binds: Binds) -> Result<Answer<bool>, Self::Error>;

    /// What is mounted exactly at a path: the mount on top, if several are stacked.
    fn mount_at(&self, path: &Path) -> Result<Answer<Option<MountInfo>>, Self::Error>;

    /// The mount on which a path lies, whether or not there is such a file. `None` if the root of
    /// that mount is out of reach: the viewpoint is a directory inside of it (chroot(2)).
    fn covering(&self, path: &Path) -> Result<Answer<Option<MountInfo>>, Self::Error>;

    /// What is mounted at a path and below it, covered mounts included, in the kernel's order.
    fn below(&self, path: &Path) -> Result<Answer<Vec<MountInfo>>, Self::Error>;

    /// Every mount that is seen, in the kernel's order: the lines of mountinfo(5).
    fn list(&self) -> Result<Answer<Vec<MountInfo>>, Self::Error>;

    /// One mount by its number; `None` if it is not there or not seen.
    fn mount(&self, which: WhichMount) -> Result<Answer<Option<MountInfo>>, Self::Error>;

    /// The mounts that sit on one, in the kernel's order; empty if that is not there.
    fn children(&self, which: WhichMount) -> Result<Answer<Vec<MountInfo>>, Self::Error>;

    /// How the host reaches a path of the viewpoint; `None` if it does not.
    fn host_path(&self, path: &Path) -> Result<Answer<Option<HostPath>>, Self::Error>;
}
