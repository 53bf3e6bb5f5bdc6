//! The machine that moves a walk on: one mount or one dentry for each step.

use mountwatch_common::{counter, limits, offset, record::flag};

use crate::{
    dentry::dentry_step,
    lost::lost_mount,
    maps::{ROOTS, WALK},
    mount::mount_tell,
    read,
    roots::{TAG_COPY, TAG_SINGLE, TAGS},
    superblock,
    walk::{Walk, phase},
};

/// Walks until the end, or until the bound, which counts as a loss.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_run(slot: u32) -> i32 {
    let mut round = 0;
    while round < limits::WALK_ROUNDS {
        if walk_rounds(slot) != 0 {
            return 0;
        }
        round += 1;
    }
    match WALK.get_ptr(slot) {
        // SAFETY: the slot of the running program.
        Some(walk) => lost_mount(counter::WALKS_CUT, unsafe { (*walk).root }),
        None => 1,
    }
}

/// The middle loop. 1 = the walk is over.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_rounds(slot: u32) -> i32 {
    let mut round = 0;
    while round < limits::WALK_ROUNDS {
        if walk_steps(slot) != 0 {
            return 1;
        }
        round += 1;
    }
    0
}

/// The inner loop. 1 = the walk is over.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_steps(slot: u32) -> i32 {
    let mut step = 0;
    while step < limits::WALK_ROUNDS {
        if walk_step(slot) != 0 {
            return 1;
        }
        step += 1;
    }
    0
}

/// One step. 1 = the walk is over.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_step(slot: u32) -> i32 {
    let Some(walk) = WALK.get_ptr_mut(slot) else { return 1 };
    // SAFETY: the slot is used by one program at a time (`maps::slot`). The global functions called
    // below take a reference of their own, so each of ours ends before such a call.
    let (phase, is_locked) = unsafe { ((*walk).phase, (*walk).is_locked != 0) };
    if phase == phase::ROOT {
        return next_root(unsafe { &mut *walk });
    }
    if phase == phase::NEXT {
        return next_mount(unsafe { &mut *walk });
    }
    if phase == phase::MOUNT {
        if !is_locked {
            mount_tell(slot);
        }
        if !arrive(unsafe { &mut *walk }) {
            return 0;
        }
    }
    dentry_step(slot);
    if !chain_end(unsafe { &mut *walk }) {
        return 0;
    }
    if is_locked {
        mount_tell(slot);
    }
    next_mount(unsafe { &mut *walk })
}

/// At a mount whose bytes are to be read (with the lock) or were just told (without it): its super
/// block, and then the first of its two chains. `false`: the mount is to be skipped.
#[inline(always)]
fn arrive(walk: &mut Walk) -> bool {
    if walk.is_locked != 0 {
        read::mount(&mut walk.mount_bytes, walk.mount);
        walk.has_bytes = 1;
        // A root that is in no namespace (any more) was told gone, or is nobody's business.
        if walk.namespace() == 0 {
            walk.phase = phase::ROOT;
            return false;
        }
        walk.lost_ns = walk.namespace();
    }
    let sb = walk.embedded(offset::VFSMOUNT_SB);
    superblock::tell(walk, sb);
    walk.dentry = walk.embedded(offset::VFSMOUNT_ROOT);
    walk.phase = phase::ROOT_CHAIN;
    true
}

/// After a step along a chain. Whether both chains are at their end.
#[inline(always)]
fn chain_end(walk: &mut Walk) -> bool {
    if walk.dentry != 0 {
        return false;
    }
    if walk.phase == phase::MOUNTPOINT_CHAIN
        || read::word(&walk.mount_bytes, offset::MOUNT_PARENT) == walk.mount
    {
        return true;
    }
    walk.dentry = read::word(&walk.mount_bytes, offset::MOUNT_MOUNTPOINT);
    walk.phase = phase::MOUNTPOINT_CHAIN;
    false
}

/// Takes the next marked root.
#[inline(always)]
fn next_root(walk: &mut Walk) -> i32 {
    let index = walk.next_root;
    if index >= walk.roots {
        return 1;
    }
    let Some(cell) = ROOTS.get_ptr_mut(index) else { return 1 };
    walk.next_root = index + 1;
    // SAFETY: a cell of the map, used under the lock alone.
    let tagged = unsafe { cell.read_volatile() };
    let mount = tagged & !TAGS;
    if tagged & TAG_COPY != 0 && read::member::<u64>(mount, offset::MOUNT_PARENT) != mount {
        return 0;
    }
    walk.aim(mount, tagged & TAG_SINGLE != 0);
    if tagged & TAG_SINGLE == 0 {
        walk.flags |= flag::SUBTREE;
    }
    0
}

/// Finds the mount after this one: its first child, else the next sibling of it or of the nearest
/// ancestor that has one. Then the next root.
#[inline(always)]
pub fn next_mount(walk: &mut Walk) -> i32 {
    walk.flags &= !flag::SUBTREE;
    walk.has_bytes = 0;
    walk.phase = phase::ROOT;
    if walk.is_single != 0 {
        return 0;
    }
    let children = read::offset(offset::MOUNT_MOUNTS);
    let child = read::offset(offset::MOUNT_CHILD);
    // `mount_bytes` are those of the mount it stands at. A list's first member is `next`.
    let first = read::word(&walk.mount_bytes, offset::MOUNT_MOUNTS);
    if first != walk.mount + u64::from(children) {
        let parent = walk.mount;
        walk.go(first - u64::from(child), parent);
        return 0;
    }
    climb(walk, u64::from(children), u64::from(child))
}

/// Levels that one step climbs at most: the kernel has no limit to the depth of mounts, but most
/// trees are shallow, and the rest is climbed in the next step.
const CLIMB_MAX: u32 = 4;

#[inline(always)]
fn climb(walk: &mut Walk, children: u64, child: u64) -> i32 {
    let mut level = 0;
    while level < CLIMB_MAX {
        let mount = walk.mount;
        if mount == walk.root {
            return 0;
        }
        let next: u64 = read::at(mount + child);
        let parent: u64 = read::member(mount, offset::MOUNT_PARENT);
        if next == mount + child || next == 0 {
            // Taken off its list during a walk without the lock.
            return 0;
        }
        if next != parent + children {
            walk.go(next - child, parent);
            return 0;
        }
        walk.mount = parent;
        level += 1;
    }
    // Go on upwards, without looking at the children again.
    walk.phase = phase::NEXT;
    // SAFETY: see below.
    forget_children(walk, children);
    0
}

/// Makes the copy of the mount look as if it had no children: they were all visited.
#[inline(always)]
fn forget_children(walk: &mut Walk, children: u64) {
    let offset = read::offset(offset::MOUNT_MOUNTS);
    if offset > (read::MOUNT_BYTES - 8) as u32 {
        return;
    }
    let empty = walk.mount + children;
    // SAFETY: just checked.
    unsafe {
        walk.mount_bytes.as_mut_ptr().add(offset as usize).cast::<u64>().write_volatile(empty);
    }
}
