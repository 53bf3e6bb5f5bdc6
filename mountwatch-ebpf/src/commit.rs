//! The end of a hold of `namespace_sem`: walks what was marked, then tells COMMIT.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use aya_log_ebpf::info;
use mountwatch_common::{counter, hook, offset, record::flag};

use crate::{
    emit,
    maps::{STASH, counted, hold, slot},
    pending, read,
    roots::{TAG_SINGLE, mark},
    step::walk_run,
    walk::Walk,
};

/// `namespace_unlock()` begins: the lock is still held for write.
#[fentry]
pub fn commit(context: FEntryContext) -> i32 {
    let Some(hold) = hold() else { return 0 };
    // A move_mount(2) may have copied a peer group to its target, of which nothing else is seen.
    // SAFETY: only this very thread removes its element.
    if let Some(target) = unsafe { STASH.get(bpf_get_current_pid_tgid()) } {
        mark(hold, *target | TAG_SINGLE);
    }
    if hold.dirty == 0 {
        return 0;
    }
    pending::mark_all(hold);
    if hold.roots != 0
        && let Some(walk) = Walk::begin(slot::LOCKED, hook::COMMIT, flag::TRANSACTION, true)
    {
        walk.forget_seen();
        walk.roots = hold.roots;
        walk_run(slot::LOCKED);
    }
    if read::kernel_log() && hold.roots != 0 {
        info!(
            &context,
            "{} roots walked; {} records lost, {} walks cut so far",
            hold.roots,
            counted(counter::RECORDS_LOST),
            counted(counter::WALKS_CUT)
        );
    }
    hold.roots = 0;
    hold.dirty = 0;
    hold.last = 0;
    emit::commit(hook::COMMIT, true);
    0
}

/// `security_move_mount(from, to)`: remembers the mount that `to` is on.
#[fentry]
pub fn set_group(context: FEntryContext) -> i32 {
    let to = read::argument(&context, 1);
    let vfsmount: u64 = read::member(to, offset::PATH_MNT);
    let mount = vfsmount - u64::from(read::offset(offset::MOUNT_MNT));
    let _ = STASH.insert(bpf_get_current_pid_tgid(), mount, 0);
    0
}

/// `__x64_sys_move_mount` and its like return.
#[fexit]
pub fn move_mount_end(_context: FExitContext) -> i32 {
    let _ = STASH.remove(bpf_get_current_pid_tgid());
    0
}

/// The same for 32-bit callers.
#[fexit]
pub fn move_mount_end_compat(_context: FExitContext) -> i32 {
    let _ = STASH.remove(bpf_get_current_pid_tgid());
    0
}
