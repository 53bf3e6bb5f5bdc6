//! Names that change under a mount: renames and deletions of dentries that were told.

use aya_ebpf::{EbpfContext, macros::fexit, programs::FExitContext};
use mountwatch_common::{counter, hook, limits, offset};

use crate::{
    dentry::dentry_step,
    emit, lost,
    maps::{TOLD, WALK, hold, slot},
    program::{Arguments, FIRST, SPARE, arguments, at_return, is_left, mark_done},
    read,
    walk::Walk,
};

// `__d_move(dentry, target, exchange)`, under `rename_lock`.
at_return!(hook::RENAME, rename_body, 2, result 3:
    rename, rename_probe, called rename_called);

/// The target of a plain rename is unhashed, so it is told too.
#[inline(always)]
fn rename_body(_: &impl EbpfContext, [dentry, target, _]: Arguments, _: u64, _: u32) {
    let dentry_matters = matters(dentry);
    let target_matters = matters(target);
    if !dentry_matters && !target_matters {
        return;
    }
    if dentry_matters {
        tell_chain(slot::RENAME, hook::RENAME, dentry);
    }
    if target_matters {
        tell_chain(slot::RENAME, hook::RENAME, target);
    }
    emit::commit(hook::RENAME, false);
}

// `d_delete(dentry)`.
at_return!(hook::DELETE, delete_body, 1, result 1:
    delete, delete_probe, called delete_called);

/// The dentry is unhashed now, unless others use it (then it became negative).
#[inline(always)]
fn delete_body(_: &impl EbpfContext, [dentry, ..]: Arguments, _: u64, place: u32) {
    if !matters(dentry) {
        return;
    }
    // Most deletions concern nobody here, and those leave no mark.
    if place == FIRST {
        mark_done(hook::DELETE);
    } else if !is_left(hook::DELETE, false) {
        return;
    }
    let hash =
        read::offset(offset::DENTRY_HASH).wrapping_add(read::offset(offset::HLIST_BL_NODE_PPREV));
    if read::at::<u64>(dentry + u64::from(hash)) == 0 {
        tell_chain(slot::DELETE + place, hook::DELETE, dentry);
        emit::commit(hook::DELETE, false);
    }
}

/// The spare of `delete`.
#[fexit]
pub fn delete_spare(context: FExitContext) -> i32 {
    delete_body(&context, arguments(&context, 1), 0, SPARE);
    0
}

/// Whether userspace knows the dentry, or may know it because the table was full once.
#[inline(always)]
fn matters(dentry: u64) -> bool {
    TOLD.get_ptr(dentry).is_some() || hold().is_some_and(|hold| hold.untracked != 0)
}

/// Tells a dentry, and those above it that were not told as they are now.
#[inline(always)]
fn tell_chain(slot: u32, hook: u16, dentry: u64) {
    let Some(walk) = Walk::begin(slot, hook, 0, false) else { return };
    walk.dentry = dentry;
    walk.force = 1;
    chain_run(slot);
}

/// Follows a chain to its end.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn chain_run(slot: u32) -> i32 {
    let mut round = 0;
    while round < limits::CHAIN_ROUNDS {
        if chain_steps(slot) != 0 {
            return 0;
        }
        round += 1;
    }
    lost::lost(counter::WALKS_CUT, 0);
    1
}

/// The inner loop. 1 = the chain is over.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn chain_steps(slot: u32) -> i32 {
    let mut step = 0;
    while step < limits::CHAIN_ROUNDS {
        if chain_step(slot) != 0 {
            return 1;
        }
        step += 1;
    }
    0
}

/// One dentry. 1 = the chain is over.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn chain_step(slot: u32) -> i32 {
    dentry_step(slot);
    match WALK.get_ptr(slot) {
        // SAFETY: the slot of the running program.
        Some(walk) => i32::from(unsafe { (&raw const (*walk).dentry).read_volatile() } == 0),
        None => 1,
    }
}
