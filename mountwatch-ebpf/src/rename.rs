//! Names that change under a mount: renames and deletions of dentries that were told.

use aya_ebpf::{macros::fexit, programs::FExitContext};
use mountwatch_common::{counter, hook, limits, offset};

use crate::{
    dentry::dentry_step,
    emit,
    maps::{TOLD, WALK, count, hold, slot},
    read,
    walk::Walk,
};

/// `__d_move(dentry, target, exchange)`. The target of a plain rename is unhashed, so it is told
/// too.
#[fexit]
pub fn rename(context: FExitContext) -> i32 {
    let dentry = read::argument(&context, 0);
    let target = read::argument(&context, 1);
    let dentry_matters = matters(dentry);
    let target_matters = matters(target);
    if !dentry_matters && !target_matters {
        return 0;
    }
    if dentry_matters {
        tell_chain(slot::RENAME, hook::RENAME, dentry);
    }
    if target_matters {
        tell_chain(slot::RENAME, hook::RENAME, target);
    }
    emit::commit(hook::RENAME, false);
    0
}

/// `d_delete(dentry)`: the dentry is unhashed now, unless others use it (then it became negative).
#[fexit]
pub fn delete(context: FExitContext) -> i32 {
    let dentry = read::argument(&context, 0);
    if !matters(dentry) {
        return 0;
    }
    let hash =
        read::offset(offset::DENTRY_HASH).wrapping_add(read::offset(offset::HLIST_BL_NODE_PPREV));
    if read::at::<u64>(dentry + u64::from(hash)) == 0 {
        tell_chain(slot::DELETE, hook::DELETE, dentry);
        emit::commit(hook::DELETE, false);
    }
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
    count(counter::WALKS_CUT);
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
