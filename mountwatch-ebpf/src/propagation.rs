//! Mounts that leave, propagation types, peer groups: told at once, under `namespace_sem`.

use aya_ebpf::{
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use mountwatch_common::{
    counter, hook, limits, offset,
    record::{GroupRecord, flag, kind},
};

use crate::{
    emit::{Wake, header, reserve},
    maps::{WALK, count, hold, slot},
    mount::mount_tell,
    read,
    walk::Walk,
};

/// `change_mnt_propagation(mnt, type)`. Before 6.17 umount makes each mount private on its way out,
/// when it has no namespace any more.
#[fexit]
pub fn propagation(context: FExitContext) -> i32 {
    let mount = read::argument(&context, 0);
    let Some(walk) = Walk::begin(slot::LOCKED, hook::PROPAGATION, flag::TRANSACTION, true) else {
        return 0;
    };
    walk.mount = mount;
    mount_tell(slot::LOCKED);
    set_dirty();
    0
}

/// `bulk_make_private(list)`: everything that one umount takes away, linked by `mnt_list`. The
/// mounts still have their old fields.
#[fentry]
pub fn bulk_private(context: FEntryContext) -> i32 {
    let list = read::argument(&context, 0);
    let flags = flag::TRANSACTION | flag::GONE;
    let Some(walk) = Walk::begin(slot::LOCKED, hook::BULK_PRIVATE, flags, true) else { return 0 };
    walk.root = list;
    walk.dentry = read::at(list);
    bulk_run();
    set_dirty();
    0
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
    count(counter::WALKS_CUT);
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

/// `mnt_release_group_id(mnt)`: the last member leaves its peer group; `mnt`'s slaves are about to
/// get its own master.
#[fentry]
pub fn group_dead(context: FEntryContext) -> i32 {
    let mount = read::argument(&context, 0);
    set_dirty();
    let Some(mut entry) = reserve::<GroupRecord>() else { return 0 };
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
    0
}

#[inline(always)]
fn set_dirty() {
    if let Some(hold) = hold() {
        hold.dirty = 1;
    }
}
