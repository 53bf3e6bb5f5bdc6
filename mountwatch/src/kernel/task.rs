//! Where a process stands: its mount namespace and its root directory.

use super::sys;
use crate::model::{MountId, NamespaceId, NamespaceInode, UniqueMountId};
use rustix::fs::{AtFlags, Mode, OFlags, Statx, StatxFlags};
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::{fmt, io};
use thiserror::Error;

/// `STATX_MNT_ID_UNIQUE`, since 6.8.
pub(super) const MNT_ID_UNIQUE: u32 = 0x4000;
/// `STATX_ATTR_MOUNT_ROOT`.
pub(super) const MOUNT_ROOT: u64 = 0x2000;

/// Why the root directory of a process is not known.
#[derive(Debug, Error)]
pub enum TaskError {
    /// No such process.
    #[error("there is no process {0}")]
    Gone(u32),
    /// Not allowed.
    #[error("cannot look into process {0}: permission denied; run as root, or with CAP_SYS_PTRACE")]
    NotPermitted(u32),
    /// Something else.
    #[error("cannot {call} of process {pid}: {io_error}")]
    Call {
        /// What.
        call: &'static str,
        /// Which process.
        pid: u32,
        /// Why.
        #[source]
        io_error: io::Error,
    },
    /// A kernel before 5.8.
    #[error(
        "the kernel does not say on which mount the root directory of process {0} is; mountwatch needs 5.8 or later for this"
    )]
    NoMountId(u32),
}

/// The root directory of a process.
#[derive(Clone, PartialEq, Eq)]
pub struct TaskRoot {
    /// Inode of its mount namespace.
    pub namespace: NamespaceInode,
    /// ID of its mount namespace, where the kernel has one (6.11).
    pub namespace_id: Option<NamespaceId>,
    /// The mount on which its root directory is.
    pub mount_id: MountId,
    /// The same, where the kernel has it (6.8).
    pub unique_mount_id: Option<UniqueMountId>,
    /// Whether its root directory is the root of that mount.
    pub is_mount_root: bool,
    /// The path of its root directory as the kernel gives it: seen from the root of its own
    /// namespace or, in our namespace, from our root.
    pub path: Vec<u8>,
}

impl fmt::Debug for TaskRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskRoot")
            .field("namespace", &self.namespace)
            .field("mount_id", &self.mount_id)
            .field("is_mount_root", &self.is_mount_root)
            .field("path", &self.path.escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}

/// The root directory of a process or thread.
pub fn root_of(pid: u32) -> Result<TaskRoot, TaskError> {
    let fail = |call| move |error: io::Error| explain(pid, call, error);
    let namespace =
        File::open(format!("/proc/{pid}/ns/mnt")).map_err(fail("open the mount namespace"))?;
    let inode = namespace.metadata().map_err(fail("open the mount namespace"))?.ino();
    let root = rustix::fs::open(
        format!("/proc/{pid}/root"),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| explain(pid, "open the root directory", error.into()))?;
    let known = stat(&root, StatxFlags::MNT_ID).map_err(fail("ask for the root directory"))?;
    if known.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return Err(TaskError::NoMountId(pid));
    }
    let unique = stat(&root, StatxFlags::from_bits_retain(MNT_ID_UNIQUE))
        .map_err(fail("ask for the root directory"))?;
    let path = fs::read_link(format!("/proc/self/fd/{}", root.as_raw_fd()))
        .map_err(fail("read the path of the root directory"))?;
    Ok(TaskRoot {
        namespace: NamespaceInode(
            u32::try_from(inode)
                .map_err(io::Error::other)
                .map_err(fail("open the mount namespace"))?,
        ),
        namespace_id: sys::namespace_id(namespace.as_fd())
            .map_err(fail("ask for the mount namespace"))?
            .map(NamespaceId),
        mount_id: MountId(
            u32::try_from(known.stx_mnt_id)
                .map_err(io::Error::other)
                .map_err(fail("ask for the root directory"))?,
        ),
        unique_mount_id: (unique.stx_mask & MNT_ID_UNIQUE != 0)
            .then_some(UniqueMountId(unique.stx_mnt_id)),
        is_mount_root: known.stx_attributes.bits() & MOUNT_ROOT != 0,
        path: path.as_os_str().as_bytes().to_vec(),
    })
}

/// Asks something inside of a mount namespace, in a thread of its own. `ask` gets the mount at the
/// root as whoever enters has it.
pub(super) fn inside<T: Send>(
    namespace: BorrowedFd<'_>,
    ask: impl FnOnce(UniqueMountId) -> T + Send,
) -> io::Result<T> {
    let enter_and_ask = || {
        sys::unshare_fs()?;
        sys::enter(namespace)?;
        let flags = StatxFlags::from_bits_retain(MNT_ID_UNIQUE);
        let root = rustix::fs::statx(rustix::fs::CWD, "/", AtFlags::STATX_DONT_SYNC, flags)?;
        if root.stx_mask & MNT_ID_UNIQUE == 0 {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        Ok(ask(UniqueMountId(root.stx_mnt_id)))
    };
    std::thread::scope(|scope| {
        let died = |_| Err(io::Error::other("a thread died"));
        scope.spawn(enter_and_ask).join().unwrap_or_else(died)
    })
}

/// `AT_STATX_DONT_SYNC`: a network file system is not asked, and cannot hold us up.
fn stat(file: &OwnedFd, flags: StatxFlags) -> io::Result<Statx> {
    let at = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    Ok(rustix::fs::statx(file, c"", at, flags)?)
}

fn explain(pid: u32, call: &'static str, io_error: io::Error) -> TaskError {
    match io_error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => TaskError::Gone(pid),
        Some(libc::EACCES | libc::EPERM) => TaskError::NotPermitted(pid),
        _ => TaskError::Call { call, pid, io_error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_root_is_found() {
        let root = root_of(std::process::id()).unwrap();
        assert_ne!(root.namespace, NamespaceInode(0));
        assert_eq!(root.path, b"/");
    }

    #[test]
    fn the_root_of_our_namespace_is_found() {
        let namespace = File::open("/proc/self/ns/mnt").unwrap();
        // To enter a namespace takes rights that a test may not have.
        match inside(namespace.as_fd(), |root| root) {
            Ok(root) => {
                assert_eq!(Some(root), root_of(std::process::id()).unwrap().unique_mount_id);
            }
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM)),
        }
    }

    #[test]
    fn no_process_is_said_so() {
        let error = root_of(u32::MAX).unwrap_err();
        assert_eq!(error.to_string(), format!("there is no process {}", u32::MAX));
    }
}
