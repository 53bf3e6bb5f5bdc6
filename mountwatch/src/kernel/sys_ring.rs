//! The two position pages of a ring buffer, mapped for reading.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

/// The consumer's and the producer's page.
#[derive(Debug)]
pub(crate) struct Positions {
    pages: NonNull<u8>,
    page_bytes: usize,
}

// SAFETY: the mapping is read-only shared memory, read through atomics, and not tied to a thread.
unsafe impl Send for Positions {}
// SAFETY: as above.
unsafe impl Sync for Positions {}

impl Positions {
    /// Maps the pages of a ring buffer map.
    pub(crate) fn map(ring: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: sysconf has no precondition.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page_bytes = usize::try_from(page_bytes).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address that the kernel chooses; the descriptor is open. The
        // first page of a ring buffer is the consumer's, the second the producer's.
        let pages = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                2 * page_bytes,
                libc::PROT_READ,
                libc::MAP_SHARED,
                ring.as_raw_fd(),
                0,
            )
        };
        if pages == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let pages = NonNull::new(pages.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { pages, page_bytes })
    }

    /// Bytes consumed so far.
    pub(crate) fn consumer(&self) -> u64 {
        self.word(0)
    }

    /// Bytes reserved so far.
    pub(crate) fn producer(&self) -> u64 {
        self.word(self.page_bytes)
    }

    fn word(&self, offset: usize) -> u64 {
        // SAFETY: both pages stay mapped as long as `self` lives, and start with an aligned
        // unsigned long that the kernel and the consumer change atomically.
        let word = unsafe { self.pages.add(offset).cast::<AtomicU64>().as_ref() };
        word.load(Ordering::Acquire)
    }
}

impl Drop for Positions {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `map`; no reference into it outlives a call.
        unsafe { libc::munmap(self.pages.as_ptr().cast(), 2 * self.page_bytes) };
    }
}
