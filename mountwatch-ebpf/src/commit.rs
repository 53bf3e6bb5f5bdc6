//! The end of a hold of `namespace_sem`: walks what was marked, then tells COMMIT.

use aya_ebpf::EbpfContext;
use aya_log_ebpf::info;
use mountwatch_common::{counter, hook, record::flag};

use crate::{
    attach::mount_of,
    emit,
    maps::{counted, drop_stash, hold, slot, stash, take_stash},
    pending,
    program::{Arguments, at_entry, at_return},
    read,
    roots::{TAG_SINGLE, mark},
    step::walk_run,
    walk::Walk,
};

// `namespace_unlock()`.
at_entry!(hook::COMMIT, commit_body, 0: commit, commit_probe);

/// The lock is still held for write.
#[inline(always)]
fn commit_body(context: &impl EbpfContext, _: Arguments, _: u32) {
    let Some(hold) = hold() else { return };
    // A move_mount(2) may have copied a peer group to its target, of which nothing else is seen.
    if let Some([first, second]) = take_stash() {
        mark(hold, first | TAG_SINGLE);
        if second != 0 {
            mark(hold, second | TAG_SINGLE);
        }
    }
    if hold.dirty == 0 {
        hold.number += 1;
        return;
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
            context,
            "{} roots walked; {} records lost, {} walks cut so far",
            hold.roots,
            counted(counter::RECORDS_LOST),
            counted(counter::WALKS_CUT)
        );
    }
    hold.roots = 0;
    hold.dirty = 0;
    hold.last = 0;
    hold.number += 1;
    emit::commit(hook::COMMIT, true);
}

// `security_move_mount(from, to)`.
at_entry!(hook::SET_GROUP, set_group_body, 2: set_group, set_group_probe, spare set_group_spare);

/// Remembers the mount that `to` is on.
#[inline(always)]
fn set_group_body(_: &impl EbpfContext, [_, to, _]: Arguments, _: u32) {
    stash([mount_of(to), 0]);
}

// `__x64_sys_move_mount(regs)` and its like.
at_return!(hook::SET_GROUP, move_mount_end_body, 0, result 1:
    move_mount_end, move_mount_end_probe);
/// A call that failed before it had the lock leaves nothing behind.
#[inline(always)]
fn move_mount_end_body(_: &impl EbpfContext, _: Arguments, _: u64, _: u32) {
    drop_stash();
}
