//! System calls of the mount world that no safe wrapper has: statmount(2), listmount(2),
//! fanotify(7) on mount namespaces, `ioctl_nsfs(2)`, setns(2).
//!
//! Thin: arguments in, bytes and numbers out. What a mount that is gone answers (`ENOENT`) is a
//! value, not an error.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// statmount(2) and listmount(2) have the same numbers on all architectures that we support.
const SYS_STATMOUNT: libc::c_long = 457;
const SYS_LISTMOUNT: libc::c_long = 458;
/// First room for an answer of statmount(2): nearly all of them fit.
const STATMOUNT_BYTES: usize = 4 << 10;
/// Largest room for one: three paths of a page each, a source and options of a page each, and the
/// fixed part fit many times.
const STATMOUNT_BYTES_MAX: usize = 1 << 20;
/// IDs that one listmount(2) may give; the kernel takes no more than a million.
const LISTMOUNT_IDS: usize = 8 << 10;

/// `LSMT_ROOT` of listmount(2): everything that can be reached from the root of the namespace.
pub(crate) const LISTMOUNT_ROOT: u64 = u64::MAX;

/// `struct mnt_id_req` of include/uapi/linux/mount.h, its version of 6.11.
#[repr(C)]
struct MountIdRequest {
    size: u32,
    spare: u32,
    mount_id: u64,
    param: u64,
    namespace_id: u64,
}

impl MountIdRequest {
    #[expect(clippy::cast_possible_truncation, reason = "32 bytes")]
    fn new(mount_id: u64, param: u64, namespace_id: u64) -> Self {
        Self { size: size_of::<Self>() as u32, spare: 0, mount_id, param, namespace_id }
    }
}

/// statmount(2) of one mount of one namespace (0: our own). `None` if there is no such mount, or
/// no such namespace. The answer is the whole of `buffer`.
pub(crate) fn statmount(
    unique_id: u64,
    namespace_id: u64,
    mask: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<()>> {
    let request = MountIdRequest::new(unique_id, mask, namespace_id);
    buffer.resize(buffer.len().max(STATMOUNT_BYTES), 0);
    loop {
        // SAFETY: the request is a live structure of the size that it says, and the kernel writes
        // no more than `buffer.len()` bytes into the buffer.
        let result = unsafe {
            libc::syscall(
                SYS_STATMOUNT,
                &raw const request,
                buffer.as_mut_ptr(),
                buffer.len(),
                0u32,
            )
        };
        if result >= 0 {
            return Ok(Some(()));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOENT) => return Ok(None),
            Some(libc::EOVERFLOW) if buffer.len() < STATMOUNT_BYTES_MAX => {
                buffer.resize(buffer.len() * 2, 0);
            }
            Some(libc::EINTR) => {}
            _ => return Err(error),
        }
    }
}

/// listmount(2): the unique IDs of all mounts below one mount, or [`LISTMOUNT_ROOT`], in the order
/// of the IDs. `None` if there is no such mount or namespace.
pub(crate) fn listmount(unique_id: u64, namespace_id: u64) -> io::Result<Option<Vec<u64>>> {
    let mut ids = Vec::new();
    let mut last = 0;
    loop {
        let request = MountIdRequest::new(unique_id, last, namespace_id);
        let known = ids.len();
        ids.resize(known + LISTMOUNT_IDS, 0u64);
        let room = ids.get_mut(known..).unwrap_or_default();
        // SAFETY: the request is a live structure of the size that it says, and the kernel writes
        // no more than `room.len()` numbers.
        let result = unsafe {
            libc::syscall(SYS_LISTMOUNT, &raw const request, room.as_mut_ptr(), room.len(), 0u32)
        };
        let Ok(count) = usize::try_from(result) else {
            let error = io::Error::last_os_error();
            ids.truncate(known);
            match error.raw_os_error() {
                Some(libc::ENOENT) if known == 0 => return Ok(None),
                Some(libc::ENOENT) => return Ok(Some(ids)),
                Some(libc::EINTR) => continue,
                _ => return Err(error),
            }
        };
        ids.truncate(known + count);
        match ids.last() {
            Some(newest) if count == LISTMOUNT_IDS => last = *newest,
            _ => return Ok(Some(ids)),
        }
    }
}

const FAN_CLOEXEC: u32 = 0x1;
const FAN_NONBLOCK: u32 = 0x2;
const FAN_UNLIMITED_QUEUE: u32 = 0x10;
const FAN_UNLIMITED_MARKS: u32 = 0x20;
const FAN_REPORT_TID: u32 = 0x100;
const FAN_REPORT_MNT: u32 = 0x4000;
const FAN_MARK_ADD: u32 = 0x1;
const FAN_MARK_MNTNS: u32 = 0x110;
/// A mount was attached.
pub(crate) const FAN_MNT_ATTACH: u64 = 0x0100_0000;
/// A mount was detached. With [`FAN_MNT_ATTACH`]: it was moved.
pub(crate) const FAN_MNT_DETACH: u64 = 0x0200_0000;
/// The queue was full.
pub(crate) const FAN_Q_OVERFLOW: u64 = 0x4000;

/// A queue of mount notifications that says which thread caused each. 6.15 and later. `bounded`:
/// one that can be full.
pub(crate) fn fanotify_mounts(bounded: bool) -> io::Result<File> {
    let flags = FAN_CLOEXEC
        | FAN_NONBLOCK
        | if bounded { 0 } else { FAN_UNLIMITED_QUEUE }
        | FAN_UNLIMITED_MARKS
        | FAN_REPORT_TID
        | FAN_REPORT_MNT;
    // SAFETY: no pointers.
    let result = unsafe { libc::fanotify_init(flags, 0) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { File::from_raw_fd(result) })
}

/// Asks for the attachments and detachments in a mount namespace. Does not keep it alive.
pub(crate) fn fanotify_mark(queue: &File, namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: two open descriptors, and no path.
    let result = unsafe {
        libc::fanotify_mark(
            queue.as_raw_fd(),
            FAN_MARK_ADD | FAN_MARK_MNTNS,
            FAN_MNT_ATTACH | FAN_MNT_DETACH,
            namespace.as_raw_fd(),
            std::ptr::null(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

// `ioctl_nsfs(2)`: `_IOR(0xb7, 5, __u64)`, and `_IOR(0xb7, 11 and 12, struct mnt_ns_info)`.
const NS_GET_MNTNS_ID: u32 = 0x8008_b705;
const NS_MNT_GET_NEXT: u32 = 0x8010_b70b;
const NS_MNT_GET_PREV: u32 = 0x8010_b70c;

/// `struct mnt_ns_info` of include/uapi/linux/nsfs.h.
#[repr(C)]
struct NamespaceInfo {
    size: u32,
    mounts: u32,
    id: u64,
}

/// The ID of a mount namespace; `None` before 6.11.
pub(crate) fn namespace_id(namespace: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let mut id = 0u64;
    // SAFETY: the kernel writes one number of 64 bits.
    let result = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_MNTNS_ID.into(), &raw mut id) };
    if result >= 0 {
        return Ok(Some(id));
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOTTY) { Ok(None) } else { Err(error) }
}

/// Direction in the kernel's list of all mount namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Towards {
    /// Later IDs.
    Next,
    /// Earlier IDs.
    Previous,
}

/// A step in the kernel's list of mount namespaces.
#[derive(Debug)]
pub(crate) enum Step {
    /// The neighbour, with its ID.
    To(OwnedFd, u64),
    /// There is none.
    End,
    /// The kernel has no such list for us (before 6.12).
    Unknown,
}

/// The neighbour of a mount namespace: it need not have a process.
pub(crate) fn neighbour(namespace: BorrowedFd<'_>, towards: Towards) -> io::Result<Step> {
    let request = match towards {
        Towards::Next => NS_MNT_GET_NEXT,
        Towards::Previous => NS_MNT_GET_PREV,
    };
    #[expect(clippy::cast_possible_truncation, reason = "16 bytes")]
    let mut info = NamespaceInfo { size: size_of::<NamespaceInfo>() as u32, mounts: 0, id: 0 };
    // SAFETY: the kernel writes one `struct mnt_ns_info`.
    let result = unsafe { libc::ioctl(namespace.as_raw_fd(), request.into(), &raw mut info) };
    if result >= 0 {
        // SAFETY: a new descriptor (close-on-exec) that nobody else has.
        return Ok(Step::To(unsafe { OwnedFd::from_raw_fd(result) }, info.id));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOENT) => Ok(Step::End),
        Some(libc::ENOTTY | libc::EINVAL) => Ok(Step::Unknown),
        _ => Err(error),
    }
}

/// Gives this thread a root and a working directory of its own, as setns(2) wants it.
pub(crate) fn unshare_fs() -> io::Result<()> {
    // SAFETY: concerns this thread's directories alone; no memory.
    let result = unsafe { libc::unshare(libc::CLONE_FS) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Puts this thread into a copy of its mount namespace, with directories of its own.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: concerns this thread's directories and namespace alone; no memory.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether the kernel has statmount(2).
pub(crate) fn has_statmount() -> bool {
    // No mount has this ID: such a kernel answers that there is none.
    statmount(u64::MAX, 0, 0, &mut Vec::new()).is_ok()
}

/// Moves this thread into a mount namespace.
pub(crate) fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an open descriptor; no memory.
    let result = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
