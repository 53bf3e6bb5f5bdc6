//! Roots of changed subtrees, marked under `namespace_sem` held for write.

use mountwatch_common::counter;

use crate::{
    lost::lost_mount,
    maps::{Hold, ROOTS},
};

/// Tags in the low bits of a root (mounts are aligned to more).
/// It is a copy: if it got a parent, then that attachment was marked too.
pub const TAG_COPY: u64 = 1;
/// Only the mount itself is to be told, not what is below it.
pub const TAG_SINGLE: u64 = 2;
/// All of them.
pub const TAGS: u64 = TAG_COPY | TAG_SINGLE;

/// Marks the root of a changed subtree, under `namespace_sem` held for write.
#[inline(always)]
pub fn mark(hold: &mut Hold, mount: u64) {
    hold.dirty = 1;
    // A mount is often marked twice in a row, as a copy and as attached: one walk, for what both
    // marks ask.
    let is_repeated = hold.roots != 0 && (hold.last ^ mount) & !TAGS == 0;
    let (index, tagged) =
        if is_repeated { (hold.roots - 1, hold.last & mount) } else { (hold.roots, mount) };
    let Some(cell) = ROOTS.get_ptr_mut(index) else {
        lost_mount(counter::ROOTS_LOST, mount & !TAGS);
        return;
    };
    // SAFETY: a cell of the map, used under the lock alone.
    unsafe { cell.write_volatile(tagged) };
    hold.roots = index + 1;
    hold.last = tagged;
}
