//! Mounts that leave, propagation types, peer groups: told at once, under `namespace_sem`.

use aya_ebpf::EbpfContext;
use mountwatch_common::{
    counter, hook, limits, offset,
    record::{GroupRecord, flag, kind},
};

use crate::{
    emit::{Wake, header, reserve},
    lost,
    maps::{WALK, hold, slot},
    mount::mount_tell,
    program::{Arguments, at_entry, at_return},
    read,
    walk::Walk,
};

// `change_mnt_propagation(mnt, type)`.
at_return!(hook::PROPAGATION, propagation_body, 1, result 2:
    propagation, propagation_probe, called propagation_called);

/// Before 6.17 umount makes each mount private on its way out, when it has no namespace any more.
#[inline(always)]
fn propagation_body(_: &impl EbpfContext, [mount, ..]: Arguments, _: u64, _: u32) {
    let Some(walk) = Walk::begin(slot::LOCKED, hook::PROPAGATION, flag::TRANSACTION, true) else {
        return;
    };
    walk.mount = mount;
    mount_tell(slot::LOCKED);
    set_dirty();
}

// `bulk_make_private(list)`.
at_entry!(hook::BULK_PRIVATE, bulk_private_body, 1: bulk_private, bulk_private_probe);

/// Everything that one umount takes away, linked by `mnt_list`. The mounts still have their old
/// fields.
#[inline(always)]
fn bulk_private_body(_: &impl EbpfContext, [list, ..]: Arguments, _: u32) {
    let flags = flag::TRANSACTION | flag::GONE;
    let Some(walk) = Walk::begin(slot::LOCKED, hook::BULK_PRIVATE, flags, true) else { return };
    walk.root = list;
    walk.dentry = read::at(list);
    bulk_run();
    set_dirty();
}

/// Follows the list to its end; three nested loops, as in `step`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bulk_run() -> i32 {
    let mut round = 0;
    while round < limits::WALK_ROUNDS {
        if bulk_rounds() != 0 {
            return 0;
        }
        round += 1;
    }
    lost::lost(counter::WALKS_CUT, 0);
    1
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bulk_rounds() -> i32 {
    let mut round = 0;
    while round < limits::WALK_ROUNDS {
        if bulk_steps() != 0 {
            return 1;
        }
        round += 1;
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bulk_steps() -> i32 {
    let mut step = 0;
    while step < limits::WALK_ROUNDS {
        if bulk_step() != 0 {
            return 1;
        }
        step += 1;
    }
    0
}

/// Tells the mount around the list element in `walk.dentry`; `walk.root` is the list's head.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bulk_step() -> i32 {
    let Some(walk) = WALK.get_ptr_mut(slot::LOCKED) else { return 1 };
    // SAFETY: the slot of those that hold namespace_sem for write.
    let walk = unsafe { &mut *walk };
    let element = walk.dentry;
    if element == walk.root || element == 0 {
        return 1;
    }
    walk.mount = element - u64::from(read::offset(offset::MOUNT_LIST));
    walk.dentry = read::at(element);
    mount_tell(slot::LOCKED);
    0
}

// `mnt_release_group_id(mnt)`.
at_entry!(hook::GROUP_DEAD, group_dead_body, 1: group_dead, group_dead_probe);

/// The last member leaves its peer group; its slaves are about to get its own master. Those may be
/// in any namespace.
#[inline(always)]
fn group_dead_body(_: &impl EbpfContext, [mount, ..]: Arguments, _: u32) {
    set_dirty();
    let Some(mut entry) = reserve::<GroupRecord>(0) else { return };
    let record = entry.as_mut_ptr();
    let master: u64 = read::member(mount, offset::MOUNT_MASTER);
    // SAFETY: the slot is ours until submitted; every field is written.
    unsafe {
        header(&raw mut (*record).header, kind::GROUP_DEAD, hook::GROUP_DEAD, flag::TRANSACTION);
        (*record).mnt = mount;
        (*record).group = read::member(mount, offset::MOUNT_GROUP_ID);
        (*record).master =
            if master == 0 { 0 } else { read::member(master, offset::MOUNT_GROUP_ID) };
    }
    entry.submit(Wake::Silent.flags());
}

#[inline(always)]
fn set_dirty() {
    if let Some(hold) = hold() {
        hold.dirty = 1;
    }
}
