//! System calls that rustix does not have. The only file of the tests with `unsafe`.

use rustix::io::Errno;
use std::ffi::{CStr, c_long};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// `open_tree_attr(2)`, since 6.15; not in libc yet.
const SYS_OPEN_TREE_ATTR: c_long = 467;
/// `BPF_PROG_GET_NEXT_ID` of bpf(2).
const BPF_PROG_GET_NEXT_ID: c_long = 11;

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MountAttr {
    /// Attributes to set.
    pub(crate) set: u64,
    /// Attributes to clear.
    pub(crate) clear: u64,
    /// Propagation type.
    pub(crate) propagation: u64,
    /// Descriptor of a user namespace.
    pub(crate) userns_fd: u64,
}

fn check(result: c_long) -> Result<c_long, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// `mount_setattr(2)`, since 5.12.
pub(crate) fn mount_setattr(
    directory: BorrowedFd<'_>,
    path: &CStr,
    flags: libc::c_uint,
    attributes: &MountAttr,
) -> Result<(), Errno> {
    // SAFETY: the path ends with NUL, and the kernel reads `size_of::<MountAttr>()` bytes of the
    // attributes; both live until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttr>(),
        )
    };
    check(result).map(|_| ())
}

/// `open_tree_attr(2)`, since 6.15.
pub(crate) fn open_tree_attr(
    directory: BorrowedFd<'_>,
    path: &CStr,
    flags: libc::c_uint,
    attributes: &MountAttr,
) -> Result<OwnedFd, Errno> {
    // SAFETY: as for mount_setattr(2).
    let result = unsafe {
        libc::syscall(
            SYS_OPEN_TREE_ATTR,
            directory.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttr>(),
        )
    };
    let descriptor = check(result)?;
    let descriptor = i32::try_from(descriptor).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// unshare(2) with flags that rustix has no names for.
pub(crate) fn unshare(flags: libc::c_int) -> Result<(), Errno> {
    // SAFETY: of the flags used here none takes memory or descriptors away from other threads
    // (CLONE_FILES is not among them).
    check(unsafe { libc::unshare(flags) }.into()).map(|_| ())
}

/// The IDs of the BPF programs that are loaded now; an error if this is not allowed.
pub(crate) fn bpf_program_ids() -> Result<Vec<u32>, Errno> {
    let mut ids = Vec::new();
    // The three words of `union bpf_attr` for this command: start, next, flags.
    let mut attributes = [0_u32; 3];
    loop {
        // SAFETY: the kernel reads and writes `size` bytes of the array, which are all of it.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_GET_NEXT_ID,
                attributes.as_mut_ptr(),
                size_of_val(&attributes),
            )
        };
        match check(result) {
            Ok(_) => {
                ids.push(attributes[1]);
                attributes[0] = attributes[1];
            }
            Err(Errno::NOENT) => return Ok(ids),
            Err(error) => return Err(error),
        }
    }
}
