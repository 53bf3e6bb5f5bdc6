//! Why it does not work, and what it cannot see when it does.

use super::look::LookError;
use crate::kernel::load::LoadError;
use crate::kernel::namespaces::NamespacesError;
use crate::model::NamespaceInode;
use std::io;
use thiserror::Error;

/// Why the back end `notify` does not work.
#[derive(Debug, Error)]
pub enum NotifyError {
    /// A kernel before 6.15.
    #[error(
        "this kernel has no mount notifications (fanotify says {0}); they need Linux 6.15 or later with CONFIG_FANOTIFY"
    )]
    TooOld(#[source] io::Error),
    /// Not root.
    #[error(
        "mount notifications are refused: {0}; run as root, or with CAP_SYS_ADMIN in the initial user namespace"
    )]
    NotPermitted(#[source] io::Error),
    /// Too many queues.
    #[error(
        "no queue for mount notifications is left: {0}; end another user of fanotify, or raise fs.fanotify.max_user_groups"
    )]
    Queues(#[source] io::Error),
    /// Something else about the queue.
    #[error("cannot make a queue for mount notifications: {0}")]
    Queue(#[source] io::Error),
    /// A mark.
    #[error("cannot ask for the notifications of mount namespace {inode}: {io_error}; run as root")]
    Mark {
        /// Which.
        inode: NamespaceInode,
        /// Why.
        #[source]
        io_error: io::Error,
    },
    /// A read.
    #[error("cannot read mount notifications: {0}")]
    Read(#[source] io::Error),
    /// The programs.
    #[error("the programs on system calls do not start: {0}")]
    Calls(#[from] LoadError),
    /// Namespaces.
    #[error(transparent)]
    Namespaces(#[from] NamespacesError),
    /// Looks.
    #[error(transparent)]
    Look(#[from] LookError),
}

/// What no notification and no call says.
pub(super) const BLIND: &[&str] = &[
    "a mount that is gone again before it is looked at is told by what its system call was given; \
     it is in no snapshot",
    "of several changes of one mount between two looks only the last is seen",
    "names that are renamed or deleted without a system call for it (by io_uring, a network file \
     server, or the file system itself) stay until the mount is looked at again",
    "attributes and names that a 32-bit process changes are not seen until the mount is looked at \
     again",
    "propagation that a process changes in another mount namespace, through a symbolic link that \
     leads there, is not seen until the mount is looked at again",
];

/// Said when it happened.
pub(super) const UNREACHABLE: &str = "a mount was met whose mountpoint cannot be reached from the \
     root that the kernel takes for its namespace; its path may be wrong";

/// What the answer of `fanotify_init(2)` means.
pub(super) fn explain(error: io::Error) -> NotifyError {
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS) => NotifyError::TooOld(error),
        Some(libc::EPERM) => NotifyError::NotPermitted(error),
        Some(libc::EMFILE) => NotifyError::Queues(error),
        _ => NotifyError::Queue(error),
    }
}
