//! System calls of the peers that rustix does not have. The only file here with `unsafe`.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

const SYS_STATMOUNT: libc::c_long = 457;
const SYS_LISTMOUNT: libc::c_long = 458;

/// `LSMT_ROOT`: everything below the namespace's root.
pub(crate) const LISTMOUNT_ROOT: u64 = u64::MAX;
/// `STATMOUNT_SB_BASIC` up to `STATMOUNT_FS_TYPE`, with the options.
pub(crate) const STATMOUNT_ALL: u64 = 0xbf;
/// `STATMOUNT_MNT_BASIC`.
pub(crate) const STATMOUNT_BASIC: u64 = 0x2;
/// `STATMOUNT_MNT_POINT`.
pub(crate) const STATMOUNT_POINT: u64 = 0x10;

/// Whether an operation of the kernel that gives -1 for an error gave one.
fn check(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// statmount(2) of a mount of our own namespace.
pub(crate) fn statmount(unique_id: u64, mask: u64, buffer: &mut [u8]) -> io::Result<()> {
    // `struct mnt_id_req`: its size, a mount, what is asked.
    let request = [24_u64, unique_id, mask];
    // SAFETY: the kernel reads the 24 bytes that the request says, and writes no more than it is
    // told that the buffer has.
    check(unsafe {
        libc::syscall(SYS_STATMOUNT, request.as_ptr(), buffer.as_mut_ptr(), buffer.len(), 0_u32)
    })
    .map(|_| ())
}

/// The mountpoint in an answer of statmount(2): its text begins at an offset, after 512 bytes.
pub(crate) fn mountpoint_of(buffer: &[u8]) -> &[u8] {
    let offset = buffer.get(108..112).and_then(|bytes| bytes.try_into().ok());
    let start = 512 + offset.map_or(0, u32::from_ne_bytes) as usize;
    let text = buffer.get(start..).unwrap_or_default();
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}

/// listmount(2) of a mount of our own namespace.
pub(crate) fn listmount(unique_id: u64, ids: &mut Vec<u64>) -> io::Result<()> {
    const CHUNK: usize = 4_096;
    ids.clear();
    loop {
        let (known, last) = (ids.len(), ids.last().copied().unwrap_or(0));
        let request = [24_u64, unique_id, last];
        ids.resize(known + CHUNK, 0);
        // SAFETY: the kernel reads the request and writes no more than `CHUNK` numbers behind those
        // that are known.
        let count = check(unsafe {
            libc::syscall(
                SYS_LISTMOUNT,
                request.as_ptr(),
                ids.as_mut_ptr().add(known),
                CHUNK,
                0_u32,
            )
        })?;
        ids.truncate(known + count);
        if count < CHUNK {
            return Ok(());
        }
    }
}

/// A queue of the mount notifications of a namespace (`FAN_REPORT_MNT`, 6.15 and later).
pub(crate) fn fanotify(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const CLOEXEC_UNLIMITED_MOUNTS: libc::c_uint = 0x1 | 0x10 | 0x4000;
    const ADD_NAMESPACE: libc::c_uint = 0x1 | 0x110;
    const ATTACH_DETACH: u64 = 0x0300_0000;
    // SAFETY: no pointers.
    let queue = check(unsafe { libc::fanotify_init(CLOEXEC_UNLIMITED_MOUNTS, 0) }.into())?;
    let queue = i32::try_from(queue).map_err(io::Error::other)?;
    // SAFETY: a new descriptor that nobody else has.
    let queue = unsafe { OwnedFd::from_raw_fd(queue) };
    check(
        // SAFETY: two open descriptors and no path.
        unsafe {
            libc::fanotify_mark(
                queue.as_raw_fd(),
                ADD_NAMESPACE,
                ATTACH_DETACH,
                namespace.as_raw_fd(),
                std::ptr::null(),
            )
        }
        .into(),
    )?;
    Ok(queue)
}

/// unshare(2) of the mount namespace, of a process with one thread.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: no memory and no descriptors are taken away from anyone.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }.into()).map(|_| ())
}

/// getppid(2), the cheapest call that enters the kernel.
pub(crate) fn getppid() {
    // SAFETY: no arguments. Not through libc's own function, which may keep the answer.
    unsafe { libc::syscall(libc::SYS_getppid) };
}

/// `mi_option_purge_delay`, as the command sets it.
const PURGE_DELAY: i32 = 15;

/// Lets every thread's allocator give memory back at once, and the kernel give no huge pages, as the
/// command does.
pub(crate) fn give_back_at_once() {
    // SAFETY: it stores a number.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, 0) }
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Gives what the allocator keeps for later back to the kernel.
pub(crate) fn trim() {
    // SAFETY: it takes a flag, and works on the calling thread's own heap and on what others left.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
