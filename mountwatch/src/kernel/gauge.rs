//! Whether the kernel side told anything since some time: two looks at mapped memory, without a
//! system call and from any thread.

use super::sys_map::Mapped;
use mountwatch_common::counter;
use std::sync::Arc;

/// What can be read from any thread.
#[derive(Debug)]
pub(crate) struct Gauge {
    /// The positions of the ring buffer; the producer's is on the second page.
    pub(super) positions: Arc<Mapped>,
    pub(super) page_bytes: usize,
    /// The kernel side's counters.
    pub(super) counters: Arc<Mapped>,
}

/// How far the kernel side is. Two equal readings: between them no change was told, and none was
/// lost either.
///
/// A program reserves its record, or counts that it could not, before the system call returns that
/// made the change. So whoever takes a reading, then takes all records and looks at all losses,
/// knows of everything before the reading; and as long as a later one is equal that is everything.
/// On kernels that can preempt a program, and then skip another run of it, that is not so: a skip is
/// in no counter of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    produced: u64,
    counters: [u64; counter::COUNT as usize],
}

impl Gauge {
    /// How far the kernel side is now.
    pub(crate) fn read(&self) -> Reading {
        Reading { produced: self.positions.word(self.page_bytes), counters: words(&self.counters) }
    }
}

/// The kernel side's counters.
pub(super) fn words(counters: &Mapped) -> [u64; counter::COUNT as usize] {
    std::array::from_fn(|index| counters.word(index * size_of::<u64>()))
}
