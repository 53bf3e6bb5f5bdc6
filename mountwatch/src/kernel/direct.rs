//! Single questions to the kernel itself, for those who have no index: no back end, no privileges.
//!
//! They cost what the index is there to save: statx(2) walks the path and can wait for a server that is
//! gone, and mountinfo is read as a whole, under a lock that every mount operation needs.

use super::task::{MNT_ID_UNIQUE, MOUNT_ROOT};
use crate::model::{MountId, UniqueMountId};
use crate::query::SnapshotView;
use crate::textual::{Index, TextError};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use thiserror::Error;

/// A table that changes while it is read can have a mount twice.
const READS_MAX: usize = 5;

/// Why the kernel gives no answer.
#[derive(Debug, Error)]
pub enum DirectError {
    /// The path cannot be looked at.
    #[error("{0}")]
    Path(#[source] io::Error),
    /// The process is not there, or may not be looked at.
    #[error("cannot read the mounts of task {task}: {io_error}")]
    Task {
        /// The process or thread.
        task: u32,
        /// Why.
        #[source]
        io_error: io::Error,
    },
    /// What it says is not understood.
    #[error("cannot understand /proc/{task}/mountinfo: {error}")]
    Text {
        /// The process or thread.
        task: u32,
        /// Why.
        #[source]
        error: TextError,
    },
}

/// What statx(2) says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// It is the root of a mount. `None`: the kernel does not say (before 5.8).
    pub is_mount_root: Option<bool>,
    /// The mount on which it lies (kernel 5.8).
    pub mount_id: Option<MountId>,
    /// The same, never reused (kernel 6.8).
    pub unique_mount_id: Option<UniqueMountId>,
}

/// Asks statx(2) about a path of this process. Symbolic links are followed, automounts are not
/// triggered, and a network file system answers from what it knows.
pub fn stat(path: &Path) -> Result<PathStat, DirectError> {
    let at = AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let ask = |flags| statx(CWD, path, at, flags).map_err(|error| DirectError::Path(error.into()));
    let known = ask(StatxFlags::MNT_ID)?;
    let unique = ask(StatxFlags::from_bits_retain(MNT_ID_UNIQUE))?;
    let knows_roots = known.stx_attributes_mask.bits() & MOUNT_ROOT != 0;
    let has_id = known.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    Ok(PathStat {
        is_mount_root: knows_roots.then(|| known.stx_attributes.bits() & MOUNT_ROOT != 0),
        mount_id: u32::try_from(known.stx_mnt_id).ok().filter(|_| has_id).map(MountId),
        unique_mount_id: (unique.stx_mask & MNT_ID_UNIQUE != 0)
            .then_some(UniqueMountId(unique.stx_mnt_id)),
    })
}

/// What a process or thread sees, from one read of its mountinfo. Its unique mount IDs are made up.
pub fn view_of_task(task: u32) -> Result<SnapshotView, DirectError> {
    let failed = |io_error| DirectError::Task { task, io_error };
    let mut reads = 1;
    loop {
        let inode = fs::metadata(format!("/proc/{task}/ns/mnt")).map_err(failed)?.ino();
        let text = fs::read(format!("/proc/{task}/mountinfo")).map_err(failed)?;
        let inode = u32::try_from(inode).map_err(io::Error::other).map_err(failed)?;
        let view = Index::new().namespace(inode, text).and_then(|index| index.view(inode));
        match view {
            Ok(view) => return Ok(view.with_task(task)),
            Err(TextError::SameId(_)) if reads < READS_MAX => reads += 1,
            Err(error) => return Err(DirectError::Text { task, error }),
        }
    }
}

/// Whether this process may do everything, as far as its user ID says.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Binds, MountQueries};

    #[test]
    fn both_say_the_same_of_our_own_mounts() {
        let view = view_of_task(std::process::id()).unwrap();
        let list = view.list().unwrap().value;
        assert!(!list.is_empty());
        for path in ["/", "/proc", "/proc/self", "/sys", "/dev", "/etc", "/tmp"] {
            let Ok(known) = stat(Path::new(path)) else { continue };
            if path == "/proc/self" {
                continue; // a link
            }
            let answer = view.is_mount_point(Path::new(path), Binds::Count).unwrap();
            assert_eq!(known.is_mount_root, Some(answer.value), "{path}");
            if let Some(info) = view.mount_at(Path::new(path)).unwrap().value {
                assert_eq!(known.mount_id, Some(info.id), "{path}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_said_so() {
        let error = stat(Path::new("/no/such/path")).unwrap_err();
        assert_eq!(error.to_string(), "No such file or directory (os error 2)");
        assert!(view_of_task(u32::MAX).is_err());
    }
}
