//! Attributes of mounts and of super blocks, which change without `namespace_sem`.

use aya_ebpf::{helpers::generated::bpf_get_current_task, macros::fexit, programs::FExitContext};
use mountwatch_common::{counter, hook, offset, record::flag};

use crate::{
    calls::mount_namespace_of,
    emit,
    maps::{count, slot},
    pending, read,
    step::walk_run,
    superblock,
    walk::Walk,
};

/// `mnt_warn_timestamp_expiry(path, vfsmount)`: called last when one mount's attributes were set.
#[fexit]
pub fn remount(context: FExitContext) -> i32 {
    let vfsmount = read::argument(&context, 1);
    let mount = vfsmount - u64::from(read::offset(offset::MOUNT_MNT));
    let ns: u64 = read::member(mount, offset::MOUNT_NS);
    if read::is_error(ns) {
        // A new mount that is about to be attached.
        return 0;
    }
    if let Some(walk) = Walk::begin(slot::REMOUNT, hook::REMOUNT, 0, false) {
        walk.aim(mount, true);
        walk_run(slot::REMOUNT);
        emit::commit(hook::REMOUNT, false);
    }
    0
}

/// `reconfigure_super(fs_context)`, whatever it returned: a part may have been done.
#[fexit]
pub fn reconfigure(context: FExitContext) -> i32 {
    let fs_context = read::argument(&context, 0);
    let root: u64 = read::member(fs_context, offset::FS_CONTEXT_ROOT);
    let sb: u64 = read::member(root, offset::DENTRY_SB);
    if sb != 0
        && let Some(walk) = Walk::begin(slot::RECONFIGURE, hook::RECONFIGURE, 0, false)
    {
        superblock::tell_now(walk, sb, flag::OPTIONS_STALE);
        emit::commit(hook::RECONFIGURE, false);
    }
    0
}

/// `__x64_sys_mount_setattr(regs)`.
#[fexit]
pub fn setattr(context: FExitContext) -> i32 {
    if read::argument(&context, 1) == 0 {
        walk_own_namespace(slot::SETATTR, hook::SETATTR);
    }
    0
}

/// `__ia32_sys_mount_setattr(regs)`.
#[fexit]
pub fn setattr_compat(context: FExitContext) -> i32 {
    if read::argument(&context, 1) == 0 {
        walk_own_namespace(slot::SETATTR_COMPAT, hook::SETATTR);
    }
    0
}

/// `__x64_sys_open_tree_attr(regs)`, whatever it returned: it can fail after the change.
#[fexit]
pub fn open_tree_attr(_context: FExitContext) -> i32 {
    walk_own_namespace(slot::OPEN_TREE_ATTR, hook::OPEN_TREE_ATTR);
    0
}

/// `__ia32_sys_open_tree_attr(regs)`.
#[fexit]
pub fn open_tree_attr_compat(_context: FExitContext) -> i32 {
    walk_own_namespace(slot::OPEN_TREE_ATTR_COMPAT, hook::OPEN_TREE_ATTR);
    0
}

/// Walks the caller's namespace. No function of the kernel says which mounts changed, and no lock
/// is held. So first the namespace is noted: the next change of topology, which may have happened
/// meanwhile and led this walk astray, repeats the walk under the lock.
#[inline(always)]
fn walk_own_namespace(slot: u32, hook: u16) {
    // SAFETY: the helper has no precondition.
    let ns = mount_namespace_of(unsafe { bpf_get_current_task() });
    if ns == 0 {
        return;
    }
    let root: u64 = read::member(ns, offset::NAMESPACE_ROOT);
    if root == 0 {
        return;
    }
    if !pending::note(ns) {
        count(counter::WALKS_CUT);
    }
    if let Some(walk) = Walk::begin(slot, hook, 0, false) {
        walk.own_ns = ns;
        walk.aim(root, false);
        walk_run(slot);
        emit::commit(hook, false);
    }
}
