//! The only file with unsafe code: memory that is shared with other processes.

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU64;

const WORD_BYTES: usize = size_of::<u64>();

/// A mapped file as words. Other processes may change them at any time, which is why each is atomic.
#[derive(Debug)]
pub(crate) struct Memory {
    address: *mut AtomicU64,
    words: usize,
}

// SAFETY: the mapping belongs to this value alone until it is dropped, and is reached by atomics only.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Memory for a writer, all zeros: it takes room as it is touched. Whoever gets the descriptor can
    /// read it, and neither write nor change its size.
    pub(crate) fn create(words: usize) -> io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("mountwatch", flags)?;
        rustix::fs::ftruncate(&file, (words * WORD_BYTES) as u64)?;
        let memory = Self::map(&file, words, ProtFlags::READ | ProtFlags::WRITE)?;
        // After the writer's own mapping: no other one can be made that writes.
        rustix::fs::fcntl_add_seals(
            &file,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL,
        )?;
        Ok((memory, file))
    }

    /// Memory of somebody else, to read. Refused unless it is sealed against shrinking: else a load
    /// could end this process.
    pub(crate) fn open(file: impl AsFd) -> io::Result<Self> {
        let seals = rustix::fs::fcntl_get_seals(&file)?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(io::Error::other("the memory is not sealed against shrinking"));
        }
        let bytes = usize::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
        Self::map(&file, bytes / WORD_BYTES, ProtFlags::READ)
    }

    fn map(file: impl AsFd, words: usize, protection: ProtFlags) -> io::Result<Self> {
        if words == 0 {
            return Err(io::Error::other("the memory is empty"));
        }
        let (none, bytes) = (std::ptr::null_mut(), words * WORD_BYTES);
        // SAFETY: a new mapping at an address that the kernel chooses touches nothing that exists.
        let address =
            unsafe { rustix::mm::mmap(none, bytes, protection, MapFlags::SHARED, file, 0)? };
        Ok(Self { address: address.cast(), words })
    }

    /// All words.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has so many words, is aligned to a page, lives as long as `self`, and
        // any bits are an `AtomicU64`. The file cannot shrink: the seal was set or looked at.
        unsafe { std::slice::from_raw_parts(self.address, self.words) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: nobody borrows the words any more, and nothing else is in this range.
        let _ = unsafe { rustix::mm::munmap(self.address.cast(), self.words * WORD_BYTES) };
    }
}

/// CLOCK_MONOTONIC_COARSE in nanoseconds, without a system call: late by a timer tick (4 ms) at most.
pub fn coarse_ns() -> u64 {
    nanoseconds(rustix::time::ClockId::MonotonicCoarse)
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn monotonic_ns() -> u64 {
    nanoseconds(rustix::time::ClockId::Monotonic)
}

fn nanoseconds(clock: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    let (seconds, rest) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0) * 1_000_000_000 + rest.unwrap_or(0)
}
