//! System calls that rustix does not have. With `sys_compat` the only file of the tests with
//! `unsafe`.

use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::{CStr, c_long};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// `open_tree_attr(2)`, since 6.15; not in libc yet.
const SYS_OPEN_TREE_ATTR: c_long = 467;

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

/// `LOOP_CTL_GET_FREE`, `LOOP_SET_FD` and `LOOP_SET_STATUS64` of include/uapi/linux/loop.h.
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_SET_FD: libc::c_ulong = 0x4c00;
const LOOP_SET_STATUS64: libc::c_ulong = 0x4c04;
/// `struct loop_info64` in words of 32 bits, where its flags are, and `LO_FLAGS_AUTOCLEAR`.
const LOOP_INFO_WORDS: usize = 58;
const LOOP_FLAGS_AT: usize = 13;
const LOOP_AUTOCLEAR: u32 = 4;
/// Requests of include/uapi/linux/auto_fs.h.
const AUTOFS_READY: libc::c_ulong = 0x9360;
const AUTOFS_FAIL: libc::c_ulong = 0x9361;
const AUTOFS_SET_TIMEOUT: libc::c_ulong = 0xc008_9364;
const AUTOFS_EXPIRE_MULTI: libc::c_ulong = 0x4004_9366;
/// `AUTOFS_EXP_IMMEDIATE`.
const AUTOFS_NOW: libc::c_int = 1;

/// The number of a loop device that is free.
pub(crate) fn loop_free(control: BorrowedFd<'_>) -> Result<i32, Errno> {
    // SAFETY: this request takes no memory.
    check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) }.into())
        .map(|number| i32::try_from(number).unwrap_or(0))
}

/// Attaches a file to a loop device that frees itself with its last user.
pub(crate) fn loop_attach(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: this request takes a descriptor, no memory.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_FD, file.as_raw_fd()) }.into())?;
    let mut info = [0_u32; LOOP_INFO_WORDS];
    info[LOOP_FLAGS_AT] = LOOP_AUTOCLEAR;
    // SAFETY: the kernel reads the structure, which has the size that it expects.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_STATUS64, info.as_ptr()) }.into())
        .map(|_| ())
}

/// Sets the seconds after which what nobody uses may expire.
pub(crate) fn autofs_timeout(root: BorrowedFd<'_>, seconds: u64) -> Result<(), Errno> {
    let mut seconds = seconds;
    // SAFETY: the kernel reads and writes one `unsigned long`.
    check(unsafe { libc::ioctl(root.as_raw_fd(), AUTOFS_SET_TIMEOUT, &raw mut seconds) }.into())
        .map(|_| ())
}

/// Has the automounter asked to unmount what nobody uses, now; waits for its answer.
pub(crate) fn autofs_expire(root: BorrowedFd<'_>) -> Result<(), Errno> {
    let how = AUTOFS_NOW;
    // SAFETY: the kernel reads one `int`.
    check(unsafe { libc::ioctl(root.as_raw_fd(), AUTOFS_EXPIRE_MULTI, &raw const how) }.into())
        .map(|_| ())
}

/// The automounter's answer to one packet.
pub(crate) fn autofs_answer(root: BorrowedFd<'_>, token: u32, is_done: bool) -> Result<(), Errno> {
    let request = if is_done { AUTOFS_READY } else { AUTOFS_FAIL };
    // SAFETY: these requests take a number, no memory.
    check(unsafe { libc::ioctl(root.as_raw_fd(), request, libc::c_ulong::from(token)) }.into())
        .map(|_| ())
}

/// unshare(2) with flags that rustix has no names for.
pub(crate) fn unshare(flags: libc::c_int) -> Result<(), Errno> {
    // SAFETY: of the flags used here none takes memory or descriptors away from other threads
    // (CLONE_FILES is not among them).
    check(unsafe { libc::unshare(flags) }.into()).map(|_| ())
}

/// Objects that bpf(2) gives IDs to, with the command that walks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BpfKind {
    Program = 11,
    Map = 12,
    Link = 31,
}

/// The IDs of the BPF objects of a kind that there are now; an error if this is not allowed.
pub(crate) fn bpf_ids(kind: BpfKind) -> Result<Vec<u32>, Errno> {
    let mut ids = Vec::new();
    // The three words of `union bpf_attr` for these commands: start, next, flags.
    let mut attributes = [0_u32; 3];
    loop {
        // SAFETY: the kernel reads and writes `size` bytes of the array, which are all of it.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                kind as c_long,
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

/// Requests of include/uapi/linux/nsfs.h.
const NS_GET_MNTNS_ID: libc::c_ulong = 0x8008_b705;
const NS_MNT_GET_NEXT: libc::c_ulong = 0x8010_b70b;
const NS_MNT_GET_PREV: libc::c_ulong = 0x8010_b70c;

/// The ID of a mount namespace; `None` before 6.11.
pub(crate) fn mount_namespace_id(namespace: &OwnedFd) -> Result<Option<u64>, Errno> {
    let mut id = 0_u64;
    // SAFETY: the kernel writes one number of 64 bits.
    let result = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_MNTNS_ID, &raw mut id) };
    match check(result.into()) {
        Ok(_) => Ok(Some(id)),
        Err(Errno::NOTTY) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The neighbour of a mount namespace in the kernel's list, towards later or earlier ones, with its
/// ID; `None` at the end. `ENOTTY` or `EINVAL` before 6.12.
pub(crate) fn mount_namespace_beside(
    namespace: &OwnedFd,
    later: bool,
) -> Result<Option<(OwnedFd, u64)>, Errno> {
    // `struct mnt_ns_info`: its size and the number of mounts share the first word.
    let mut info = [16_u64, 0];
    let request = if later { NS_MNT_GET_NEXT } else { NS_MNT_GET_PREV };
    // SAFETY: the kernel writes as many bytes as the first number says, which are all.
    let result = unsafe { libc::ioctl(namespace.as_raw_fd(), request, info.as_mut_ptr()) };
    match check(result.into()) {
        // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
        Ok(_) => Ok(Some((unsafe { OwnedFd::from_raw_fd(result) }, info[1]))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// clone(2) with `CLONE_NEWNS`: a child in a mount namespace of its own that waits to be killed.
pub(crate) fn clone_with_mount_namespace() -> Result<Pid, Errno> {
    let flags = c_long::from(libc::CLONE_NEWNS | libc::SIGCHLD);
    // SAFETY: a copy of the process without a stack of its own, as fork(2) makes it. The child
    // makes system calls alone, and takes no lock that another thread may have held.
    let result = unsafe {
        let result = libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0);
        if result == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            loop {
                libc::pause();
            }
        }
        result
    };
    let pid = i32::try_from(check(result)?).map_err(|_| Errno::SRCH)?;
    Pid::from_raw(pid).ok_or(Errno::SRCH)
}
