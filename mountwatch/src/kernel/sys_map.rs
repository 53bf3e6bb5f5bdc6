//! The memory of a map, mapped.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering, fence},
};

/// The first pages of a map.
#[derive(Debug)]
pub(crate) struct Mapped {
    pages: NonNull<u8>,
    bytes: usize,
}

/// The first pages of a map that we write too.
#[derive(Debug)]
pub(crate) struct MappedWritable(Mapped);

// SAFETY: the mapping is shared memory, used through atomics, and not tied to a thread.
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
        Self::with(map, bytes, libc::PROT_READ)
    }

    fn with(map: BorrowedFd<'_>, bytes: usize, protection: libc::c_int) -> io::Result<Self> {
        let bytes = bytes.next_multiple_of(page_bytes()?);
        // SAFETY: a new mapping at an address that the kernel chooses; the descriptor is open.
        let pages = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
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
        self.cell(offset).map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn cell(&self, offset: usize) -> Option<&AtomicU64> {
        if !offset.is_multiple_of(size_of::<u64>()) || offset >= self.bytes {
            return None;
        }
        // SAFETY: inside the pages, which stay mapped as long as `self` lives, and aligned. The
        // kernel changes its words atomically.
        Some(unsafe { self.pages.add(offset).cast::<AtomicU64>().as_ref() })
    }
}

impl MappedWritable {
    /// Maps at least so many bytes from the beginning of what the map offers.
    pub(crate) fn new(map: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        Mapped::with(map, bytes, libc::PROT_READ | libc::PROT_WRITE).map(Self)
    }

    /// Sets or clears bits of the word at an offset, and adds to it afterwards. All that is read
    /// later is as new as that, whoever wrote it.
    pub(crate) fn change(&self, offset: usize, set: u64, clear: u64, add: u64) {
        let Some(word) = self.0.cell(offset) else { return };
        // We are the only one that writes.
        let value = (word.load(Ordering::Relaxed) | set) & !clear;
        word.store(value.wrapping_add(add), Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; no reference into it outlives a call.
        unsafe { libc::munmap(self.pages.as_ptr().cast(), self.bytes) };
    }
}
