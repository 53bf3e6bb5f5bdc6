//! The ring buffer: records in the order of their slots.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    sync::Arc,
};

use aya::maps::{MapData, RingBuf, ring_buf::RingBufItem};

use super::sys_map::{Mapped, page_bytes};

/// The consumer's end of the ring buffer.
///
/// Freshness: a record is in the ring before the system call that caused it returns. So whoever
/// takes [`Ring::produced`] and then drains until [`Ring::consumed`] has reached it has seen every
/// change that was complete when it started.
pub struct Ring {
    records: RingBuf<MapData>,
    /// The consumer's position at the beginning of the first page, the producer's of the second.
    positions: Arc<Mapped>,
    page_bytes: usize,
}

impl Ring {
    pub(super) fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        let page_bytes = page_bytes()?;
        let positions = Arc::new(Mapped::new(ring.as_fd(), 2 * page_bytes)?);
        Ok(Self { records: ring, positions, page_bytes })
    }

    /// Bytes that the kernel side has reserved since the ring was made, submitted or not.
    pub fn produced(&self) -> u64 {
        self.positions.word(self.page_bytes)
    }

    /// Bytes that [`Ring::next`] has given and that were dropped since.
    pub fn consumed(&self) -> u64 {
        self.positions.word(0)
    }

    /// Where the positions are, for others to look at.
    pub(super) fn positions(&self) -> (Arc<Mapped>, usize) {
        (Arc::clone(&self.positions), self.page_bytes)
    }

    /// The next record's bytes. `None` if there is none, or if the next slot is reserved and not
    /// yet submitted: then [`Ring::consumed`] is still below [`Ring::produced`], and a retry a
    /// microsecond later finds it.
    #[expect(clippy::should_implement_trait, reason = "each item borrows the ring")]
    pub fn next(&mut self) -> Option<RingBufItem<'_>> {
        self.records.next()
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Ring")
            .field("produced", &self.produced())
            .field("consumed", &self.consumed())
            .finish_non_exhaustive()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.records.as_fd()
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.records.as_raw_fd()
    }
}
