//! The maps, and what is kept in them between two programs.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::bpf_get_current_pid_tgid,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use core::arch::asm;
use mountwatch_common::{control, counter, limits};

use crate::walk::Walk;

/// Slots of [`WALK`]: one for all programs that run with `namespace_sem` held for write (they
/// exclude one another), and one for each other program (the kernel never runs one program inside
/// itself on one CPU, but it does run another one there).
pub mod slot {
    pub const LOCKED: u32 = 0;
    pub const RENAME: u32 = 1;
    pub const COMPAT: u32 = 14;
    // Each of these is followed by the one of its spare.
    pub const REMOUNT: u32 = 2;
    pub const RECONFIGURE: u32 = 4;
    pub const SETATTR: u32 = 6;
    pub const OPEN_TREE_ATTR: u32 = 8;
    pub const DELETE: u32 = 10;
    pub const SCAN: u32 = 12;
    pub const COUNT: u32 = 15;
}

/// Namespaces whose walk without the lock is to be repeated under it.
pub const PENDING_MAX: usize = 16;

/// What one hold of `namespace_sem` for write has gathered so far.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Hold {
    /// How many of [`ROOTS`] are in use.
    pub roots: u32,
    /// Something was told or marked: the hold ends with a COMMIT.
    pub dirty: u32,
    /// The table of told dentries was full once. Set from any program, never cleared.
    pub untracked: u32,
    pub reserved: u32,
    /// Its number: how many there were.
    pub number: u64,
    /// The last root marked, so that the same one twice in a row is kept once.
    pub last: u64,
    /// Addresses of namespaces that were walked without the lock; 0 is a free cell.
    pub pending: [u64; PENDING_MAX],
}

#[map]
pub static RECORDS: RingBuf = RingBuf::with_byte_size(limits::RING_BYTES, 0);
/// Mapped by userspace, which looks at it after each drain.
#[map]
pub static COUNTERS: Array<u64> = Array::with_max_entries(counter::COUNT, BPF_F_MMAPABLE);
#[map]
pub static CONTROL: Array<u64> = Array::with_max_entries(control::COUNT, 0);
#[map]
pub static ROOTS: Array<u64> = Array::with_max_entries(limits::ROOTS_MAX, 0);
#[map]
pub static HOLD: Array<Hold> = Array::with_max_entries(1, 0);
/// Address of a dentry or a super block → what was told of it. Not the LRU kind: that one forgets
/// by itself, and then a rename of the forgotten dentry goes untold.
#[map]
pub static TOLD: HashMap<u64, [u64; 4]> = HashMap::with_max_entries(limits::TOLD_MAX, 0);
/// Thread inside move_mount(2) or pivot_root(2) → mounts that its change is about.
#[map]
static STASH: HashMap<u64, [u64; 2]> = HashMap::with_max_entries(limits::STASH_MAX, 0);
#[map]
pub static WALK: PerCpuArray<Walk> = PerCpuArray::with_max_entries(slot::COUNT, 0);

/// Remembers, for this thread, mounts to be told at the end of its hold.
#[inline(always)]
pub fn stash(mounts: [u64; 2]) {
    let _ = STASH.insert(bpf_get_current_pid_tgid(), mounts, 0);
}

/// Takes what this thread remembered.
#[inline(always)]
pub fn take_stash() -> Option<[u64; 2]> {
    // SAFETY: only this very thread removes its element.
    let mounts = unsafe { STASH.get(bpf_get_current_pid_tgid()) }.copied()?;
    drop_stash();
    Some(mounts)
}

/// Forgets what this thread remembered.
#[inline(always)]
pub fn drop_stash() {
    let _ = STASH.remove(bpf_get_current_pid_tgid());
}

/// Adds one to a counter.
#[inline(always)]
pub fn count(counter: u32) {
    if let Some(cell) = COUNTERS.get_ptr_mut(counter) {
        // The target has no read-modify-write of `core::sync::atomic`, but BPF_XADD is as old as
        // BPF itself.
        // SAFETY: a cell of an array map is aligned to 8 bytes and lives as long as the program.
        unsafe {
            asm!("lock *(u64 *)({cell} + 0) += {one}", cell = in(reg) cell, one = in(reg) 1u64);
        }
    }
}

/// A counter's value so far.
#[inline(always)]
pub fn counted(counter: u32) -> u64 {
    COUNTERS.get(counter).copied().unwrap_or(0)
}

/// A value that userspace controls, 0 for one that does not exist.
#[inline(always)]
pub fn control(index: u32) -> u64 {
    match CONTROL.get_ptr(index) {
        // SAFETY: the cell lives as long as the program; userspace writes it at any time.
        Some(cell) => unsafe { cell.read_volatile() },
        None => 0,
    }
}

/// The one cell of [`HOLD`].
#[inline(always)]
pub fn hold() -> Option<&'static mut Hold> {
    // SAFETY: an array's cell never moves. All members but `untracked` and `pending` are used under
    // namespace_sem held for write alone; those two are single words, stored and loaded whole.
    HOLD.get_ptr_mut(0).map(|hold| unsafe { &mut *hold })
}
