//! Namespaces that were walked without the lock, and that wait for a walk under it.
//!
//! A walk without `namespace_sem` can be led astray by a change of topology at the same time. So
//! the namespace is noted before such a walk, and the next change of topology (the one at the same
//! time, or a later one) walks it again under the lock.

use mountwatch_common::offset;

use crate::{
    maps::{Hold, PENDING_MAX, hold},
    read,
    roots::mark,
};

/// Notes a namespace. `false`: there is no room.
#[inline(always)]
pub fn note(ns: u64) -> bool {
    let Some(hold) = hold() else { return false };
    let mut index = 0;
    while index < PENDING_MAX {
        let cell = &raw mut hold.pending[index];
        // SAFETY: a word of the map, stored and loaded whole.
        let other = unsafe { cell.read_volatile() };
        if other == 0 || other == ns {
            // SAFETY: as above.
            unsafe { cell.write_volatile(ns) };
            // Two CPUs may choose one free cell. The one that lost looks for another.
            // SAFETY: as above.
            if unsafe { cell.read_volatile() } == ns {
                return true;
            }
        }
        index += 1;
    }
    false
}

/// Strikes a namespace that dies.
#[inline(always)]
pub fn remove(ns: u64) {
    let Some(hold) = hold() else { return };
    let mut index = 0;
    while index < PENDING_MAX {
        let cell = &raw mut hold.pending[index];
        // SAFETY: as in `note`. Nobody notes this namespace any more: it has no task.
        unsafe {
            if cell.read_volatile() == ns {
                cell.write_volatile(0);
            }
        }
        index += 1;
    }
}

/// Marks the root of each namespace noted, under `namespace_sem` held for write.
#[inline(always)]
pub fn mark_all(hold: &mut Hold) {
    let mut index = 0;
    while index < PENDING_MAX {
        let cell = &raw mut hold.pending[index];
        // SAFETY: as in `note`. Struck before the walk: a namespace noted meanwhile stays.
        let ns = unsafe { cell.read_volatile() };
        if ns != 0 {
            // SAFETY: as above.
            unsafe { cell.write_volatile(0) };
            let root: u64 = read::member(ns, offset::NAMESPACE_ROOT);
            if root != 0 {
                mark(hold, root);
            }
        }
        index += 1;
    }
}
