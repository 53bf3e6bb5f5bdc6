//! Which mount a copy was made from.

use aya_ebpf::{EbpfContext, macros::map, maps::Array};
use mountwatch_common::{hook, limits};

use crate::{
    maps::hold,
    program::{Arguments, at_return},
    read,
};

/// A copy and its original, in the hold of `namespace_sem` in which it was made.
#[repr(C)]
#[derive(Clone, Copy)]
struct Copied {
    copy: u64,
    original: u64,
    hold: u64,
}

/// By the hash of the copy's address. One that finds no free cell beside its own takes the place of
/// another, whose original is then not told.
#[map]
static COPIES: Array<Copied> = Array::with_max_entries(limits::COPIES, 0);

/// Cells beside one another in which a copy may be.
const WAYS: u32 = 4;

// `clone_mnt(old, root, flags)`.
at_return!(hook::CLONE_MNT, clone_body, 1, result 3:
    clone_mnt, clone_mnt_probe, called clone_mnt_called);

/// It is in no namespace yet, and may never be in one (`clone_private_mount`).
#[inline(always)]
fn clone_body(_: &impl EbpfContext, [original, ..]: Arguments, copy: u64, _: u32) {
    if read::is_error(copy) {
        return;
    }
    let Some(hold) = hold() else { return };
    let now = hold.number;
    let first = cell(copy);
    let mut place = first;
    let mut way = 0;
    while way < WAYS {
        // SAFETY: a cell of the map. Writers without the lock may spoil it, which costs one original.
        let is_free = COPIES
            .get_ptr(first ^ way)
            .is_none_or(|cell| unsafe { (&raw const (*cell).hold).read_volatile() } != now);
        if is_free {
            place = first ^ way;
            break;
        }
        way += 1;
    }
    if let Some(cell) = COPIES.get_ptr_mut(place) {
        // SAFETY: as above.
        unsafe { cell.write_volatile(Copied { copy, original, hold: now }) };
    }
}

/// The original of a copy that was made in this hold of `namespace_sem`; 0 if it is none, or if that is
/// not known.
#[inline(always)]
pub fn original_of(mount: u64) -> u64 {
    let Some(hold) = hold() else { return 0 };
    let first = cell(mount);
    let mut way = 0;
    while way < WAYS {
        if let Some(cell) = COPIES.get_ptr(first ^ way) {
            // SAFETY: a cell of the map.
            let found = unsafe { cell.read_volatile() };
            if found.copy == mount && found.hold == hold.number {
                return found.original;
            }
        }
        way += 1;
    }
    0
}

/// Mounts are aligned to a cache line.
#[inline(always)]
fn cell(mount: u64) -> u32 {
    ((mount >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 & (limits::COPIES - 1)
}
