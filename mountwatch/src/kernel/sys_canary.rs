//! System calls of the canary that no safe wrapper has.

use std::ffi::CStr;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// `open_tree_attr(2)`, since 6.15.
const SYS_OPEN_TREE_ATTR: libc::c_long = 467;

/// `struct mount_attr` of include/uapi/linux/mount.h.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Gives this thread a copy of its mount namespace.
pub(super) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: concerns this thread's namespace and directories alone; no memory.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `mount_setattr(2)`: sets attributes of the mount at an absolute path.
pub(super) fn mount_setattr(path: &CStr, set: u64) -> io::Result<()> {
    attribute(libc::SYS_mount_setattr, path, 0, set).map(drop)
}

/// `open_tree_attr(2)` of what is attached: the same, and a descriptor.
pub(super) fn open_tree_attr(path: &CStr, set: u64) -> io::Result<OwnedFd> {
    let result = attribute(SYS_OPEN_TREE_ATTR, path, libc::O_CLOEXEC, set)?;
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

fn attribute(
    call: libc::c_long,
    path: &CStr,
    flags: libc::c_int,
    set: u64,
) -> io::Result<libc::c_int> {
    let attributes = MountAttr { set, clear: 0, propagation: 0, user_namespace: 0 };
    // SAFETY: the path ends with NUL, and the kernel reads no more of the attributes than the size
    // says; both live until the call returns.
    let result = unsafe {
        libc::syscall(
            call,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(result).map_err(io::Error::other)
}
