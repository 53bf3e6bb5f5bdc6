//! The room that calls may take in the ring.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE},
    maps::ring_buf::RingBufEntry,
};
use mountwatch_common::{control, counter};

use crate::{
    emit::{Wake, reserve},
    maps::{RECORDS, control, count},
};

/// The index rests on the records of calls (back end `notify`), set by the loader.
#[unsafe(no_mangle)]
static CALLS_MATTER: u32 = 0;

/// A slot for a record of a call. Where the index does not rest on calls they never take the room
/// of what it rests on, however many there are.
#[inline(always)]
pub fn reserve_of_call<T: 'static>() -> Option<RingBufEntry<T>> {
    if calls_matter() {
        return reserve::<T>(0);
    }
    let entry = if is_crowded() { None } else { RECORDS.reserve::<T>(0) };
    if entry.is_none() {
        count(counter::OPERATIONS_MISSED);
    }
    entry
}

/// More of the ring is in use than calls may take.
#[inline(always)]
pub fn is_crowded() -> bool {
    is_filled(CALLS_SHARE)
}

/// One of so many parts of the ring is in use.
#[inline(always)]
pub fn is_filled(parts: u64) -> bool {
    let size = RECORDS.query(u64::from(BPF_RB_RING_SIZE));
    RECORDS.query(u64::from(BPF_RB_AVAIL_DATA)) > size / parts
}

/// The part of the ring that may be in use when a call finds room: a quarter.
const CALLS_SHARE: u64 = 4;
/// The part that may be in use when a begin finds room: a half. The other half is for the ends.
pub const BEGINS_SHARE: u64 = 2;
/// Bytes that wait for a reader before it is woken for the end of a call that nobody follows.
const CALLS_SILENT: u64 = 64 << 10;

#[inline(always)]
pub fn wake_at_end() -> Wake {
    let is_silent = !calls_matter()
        && control(control::FOLLOWED) == 0
        && RECORDS.query(u64::from(BPF_RB_AVAIL_DATA)) < CALLS_SILENT;
    if is_silent { Wake::Silent } else { Wake::Now }
}

#[inline(always)]
fn calls_matter() -> bool {
    // SAFETY: a static; volatile, since the loader sets it.
    unsafe { (&raw const CALLS_MATTER).read_volatile() != 0 }
}
