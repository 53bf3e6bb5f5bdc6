//! Which mounts a call changed, where no function of the kernel may be hooked (back end `notify`).
//!
//! A walk over the caller's namespace when the call returns. It compares a few numbers of each
//! mount with those that were told last, and tells those that differ: userspace looks at them.
//! A walk that a change of topology leads astray meets another number of mounts than there are, and
//! then the call's record says so.

use aya_ebpf::{
    helpers::generated::bpf_get_current_task,
    macros::{map, tracepoint},
    maps::{Array, LruHashMap},
    programs::TracePointContext,
};
use mountwatch_common::{
    counter, hook, limits, offset,
    record::{GlanceRecord, flag, kind},
};

use crate::{
    calls::{Called, GLANCED, changes_attributes, kept, mount_namespace_of},
    emit::Wake,
    lost,
    maps::{RECORDS, WALK, count, slot},
    read,
    step::next_mount,
    walk::{Walk, phase},
};

/// What was told of a mount.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Glanced {
    mnt_flags: u32,
    t_flags: u32,
    group: u32,
    master: u32,
    sb_flags: u32,
    /// The mount's cell of [`AGES`].
    age: u32,
}

/// Userspace adds one, through a mapping (see `names`), when it sees a mount of the cell change: what
/// was told of that one is old.
#[map]
static AGES: Array<u64> =
    Array::with_max_entries(limits::GLANCE_AGES, aya_ebpf::bindings::BPF_F_MMAPABLE);
/// Unique ID of a mount → what was told of it. The LRU kind: what it forgets is told once more.
#[map]
static GLANCES: LruHashMap<u64, Glanced> = LruHashMap::with_max_entries(limits::GLANCED_MAX, 0);

/// `syscalls:sys_exit_*` of the calls that change attributes, before `call_exit` of the same.
#[tracepoint]
pub fn glance_exit(context: TracePointContext) -> u32 {
    if let Some(called) = kept() {
        exit(&context, called, slot::SETATTR);
    }
    0
}

#[tracepoint]
pub fn glance_exit_spare(context: TracePointContext) -> u32 {
    if let Some(called) = kept()
        // SAFETY: an element of the map, which only this very thread removes.
        && unsafe { (&raw const (*called).flags).read_volatile() } & GLANCED == 0
    {
        count(counter::SKIPS_SPARED);
        exit(&context, called, slot::SETATTR + 1);
    }
    0
}

/// Whatever the call returned: one that failed may have changed a part.
#[inline(always)]
fn exit(context: &TracePointContext, called: *mut Called, slot: u32) {
    mark(called, GLANCED);
    if !changes_attributes(read::argument(context, 1), called) {
        return;
    }
    // SAFETY: the helper has no precondition.
    let ns = mount_namespace_of(unsafe { bpf_get_current_task() });
    let root: u64 = if ns == 0 { 0 } else { read::member(ns, offset::NAMESPACE_ROOT) };
    if root == 0 {
        return;
    }
    let Some(walk) = Walk::begin(slot, hook::CALL, 0, false) else { return };
    walk.own_ns = ns;
    walk.lost_ns = ns;
    walk.aim(root, false);
    let before: u32 = read::member(ns, offset::NAMESPACE_NR_MOUNTS);
    glance_run(slot);
    let after: u32 = read::member(ns, offset::NAMESPACE_NR_MOUNTS);
    let (met, is_cut) = match WALK.get_ptr(slot) {
        // SAFETY: the slot is used by one program at a time (`maps::slot`).
        Some(walk) => unsafe {
            let is_cut = (&raw const (*walk).force).read_volatile() != 0;
            ((&raw const (*walk).told).read_volatile(), is_cut)
        },
        None => (0, true),
    };
    if is_cut || met != before || met != after {
        mark(called, GLANCED | flag::ASTRAY);
    }
}

#[inline(always)]
fn mark(called: *mut Called, flags: u32) {
    // SAFETY: an element of the map, which only this very thread removes.
    unsafe { (&raw mut (*called).flags).write_volatile(flags) };
}

/// Walks until the end, or until the bound, which counts as a loss.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn glance_run(slot: u32) -> i32 {
    let mut round = 0;
    while round < limits::GLANCE_ROUNDS {
        if glance_rounds(slot) != 0 {
            return 0;
        }
        round += 1;
    }
    lost::lost(counter::WALKS_CUT, 0);
    1
}

/// The middle loop. 1 = the walk is over.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn glance_rounds(slot: u32) -> i32 {
    let mut round = 0;
    while round < limits::GLANCE_ROUNDS {
        if glance_steps(slot) != 0 {
            return 1;
        }
        round += 1;
    }
    0
}

/// The inner loop. 1 = the walk is over.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn glance_steps(slot: u32) -> i32 {
    let mut step = 0;
    while step < limits::GLANCE_ROUNDS {
        if glance_step(slot) != 0 {
            return 1;
        }
        step += 1;
    }
    0
}

/// One mount, or a part of the way up from one. 1 = the walk is over.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn glance_step(slot: u32) -> i32 {
    let Some(walk) = WALK.get_ptr_mut(slot) else { return 1 };
    // SAFETY: the slot is used by one program at a time (`maps::slot`).
    let walk = unsafe { &mut *walk };
    if walk.phase == phase::ROOT {
        return 1;
    }
    if walk.phase == phase::MOUNT {
        walk.told += 1;
        read::mount(&mut walk.mount_bytes, walk.mount);
        glance(walk);
    }
    next_mount(walk)
}

/// Tells the mount that the walk stands at if it is not as it was told.
#[inline(always)]
fn glance(walk: &mut Walk) {
    let unique_id = read::word(&walk.mount_bytes, offset::MOUNT_ID_UNIQUE);
    let age = match AGES.get_ptr(unique_id as u32 & (limits::GLANCE_AGES - 1)) {
        // SAFETY: a cell of the map, which userspace writes at any time.
        Some(cell) => unsafe { cell.read_volatile() as u32 },
        None => 0,
    };
    let t_flags = if read::offset(offset::MOUNT_T_FLAGS) == offset::ABSENT {
        0
    } else {
        read::half(&walk.mount_bytes, offset::MOUNT_T_FLAGS)
    };
    let master = read::word(&walk.mount_bytes, offset::MOUNT_MASTER);
    let now = Glanced {
        mnt_flags: walk.embedded(offset::VFSMOUNT_FLAGS) as u32,
        t_flags,
        group: read::half(&walk.mount_bytes, offset::MOUNT_GROUP_ID),
        master: if master == 0 { 0 } else { read::member(master, offset::MOUNT_GROUP_ID) },
        sb_flags: read::member(walk.embedded(offset::VFSMOUNT_SB), offset::SUPER_FLAGS),
        age,
    };
    // SAFETY: the element may change meanwhile: then it is told once more, or by the other one.
    if unsafe { GLANCES.get(unique_id) }.is_some_and(|told| *told == now) {
        return;
    }
    // No loss: the call's record says that there may be more.
    let Some(mut entry) = RECORDS.reserve::<GlanceRecord>(0) else {
        walk.force = 1;
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the slot is ours until submitted; every field is written.
    unsafe {
        walk.header(&raw mut (*record).header, kind::GLANCE, 0);
        (*record).unique_id = unique_id;
    }
    entry.submit(Wake::Silent.flags());
    // No room: told again next time.
    let _ = GLANCES.insert(unique_id, now, 0);
}
