//! The memory of a map, mapped for reading.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

/// The first pages of a map.
#[derive(Debug)]
pub(crate) struct Mapped {
    pages: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is read-only shared memory, read through atomics, and not tied to a thread.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

/// Bytes of a page.
pub(crate) fn page_bytes() -> io::Result<usize> {
    // SAFETY: sysconf has no precondition.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).map_err(io::Error::other)
}

impl Mapped {
    /// Maps at least so many bytes from the beginning of what the map offers.
    pub(crate) fn new(map: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        let bytes = bytes.next_multiple_of(page_bytes()?);
        // SAFETY: a new mapping at an address that the kernel chooses; the descriptor is open.
        let pages = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if pages == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let pages = NonNull::new(pages.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { pages, bytes })
    }

    /// The word at an offset, a multiple of eight; 0 outside.
    pub(crate) fn word(&self, offset: usize) -> u64 {
        if !offset.is_multiple_of(size_of::<u64>()) || offset >= self.bytes {
            return 0;
        }
        // SAFETY: inside the pages, which stay mapped as long as `self` lives, and aligned. The
        // kernel changes its words atomically.
        let word = unsafe { self.pages.add(offset).cast::<AtomicU64>().as_ref() };
        word.load(Ordering::Acquire)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; no reference into it outlives a call.
        unsafe { libc::munmap(self.pages.as_ptr().cast(), self.bytes) };
    }
}
