//! Attributes of mounts and of super blocks, which change without `namespace_sem`.

use aya_ebpf::{
    EbpfContext, helpers::generated::bpf_get_current_task, macros::kretprobe,
    programs::RetProbeContext,
};
use mountwatch_common::{counter, hook, offset, record::flag};

use crate::{
    calls::mount_namespace_of,
    emit, lost,
    maps::slot,
    pending,
    program::{Arguments, at_return},
    read,
    step::walk_run,
    superblock,
    walk::Walk,
};

// `mnt_warn_timestamp_expiry(path, vfsmount)`: called last when one mount's attributes were set.
at_return!(hook::REMOUNT, remount_body, 2, result 2:
    remount, remount_probe, called remount_called, spare remount_spare);

#[inline(always)]
fn remount_body(_: &impl EbpfContext, [_, vfsmount, _]: Arguments, _: u64, place: u32) {
    let mount = vfsmount - u64::from(read::offset(offset::MOUNT_MNT));
    let ns: u64 = read::member(mount, offset::MOUNT_NS);
    if read::is_error(ns) {
        // A new mount that is about to be attached.
        return;
    }
    let slot = slot::REMOUNT + place;
    if let Some(walk) = Walk::begin(slot, hook::REMOUNT, 0, false) {
        walk.lost_ns = ns;
        walk.aim(mount, true);
        walk_run(slot);
        emit::commit(hook::REMOUNT, false);
    }
}

// `reconfigure_super(fs_context)`.
at_return!(hook::RECONFIGURE, reconfigure_body, 1, result 1:
    reconfigure, reconfigure_probe, called reconfigure_called, spare reconfigure_spare);

/// Whatever it returned: a part may have been done.
#[inline(always)]
fn reconfigure_body(_: &impl EbpfContext, [fs_context, ..]: Arguments, _: u64, place: u32) {
    let root: u64 = read::member(fs_context, offset::FS_CONTEXT_ROOT);
    let sb: u64 = read::member(root, offset::DENTRY_SB);
    if sb != 0
        && let Some(walk) = Walk::begin(slot::RECONFIGURE + place, hook::RECONFIGURE, 0, false)
    {
        superblock::tell_now(walk, sb, flag::OPTIONS_STALE);
        emit::commit(hook::RECONFIGURE, false);
    }
}

// `__x64_sys_mount_setattr(regs)` and its like.
at_return!(hook::SETATTR, setattr_body, 0, result 1:
    setattr, setattr_probe, spare setattr_spare);

#[inline(always)]
fn setattr_body(_: &impl EbpfContext, _: Arguments, result: u64, place: u32) {
    if result == 0 {
        walk_own_namespace(slot::SETATTR + place, hook::SETATTR);
    }
}

// `__x64_sys_open_tree_attr(regs)` and its like.
at_return!(hook::OPEN_TREE_ATTR, open_tree_attr_body, 0, result 1:
    open_tree_attr, open_tree_attr_probe, spare open_tree_attr_spare);
/// Whatever it returned: it can fail after the change.
#[inline(always)]
fn open_tree_attr_body(_: &impl EbpfContext, _: Arguments, _: u64, place: u32) {
    walk_own_namespace(slot::OPEN_TREE_ATTR + place, hook::OPEN_TREE_ATTR);
}

/// The same two calls by callers with 32 bits. They are rare: one probe on both functions, whatever
/// they returned, costs less than a trampoline with a spare on each.
#[kretprobe]
pub fn compat_probe(_context: RetProbeContext) -> u32 {
    walk_own_namespace(slot::COMPAT, hook::SETATTR);
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
        lost::lost(counter::WALKS_CUT, ns);
    }
    if let Some(walk) = Walk::begin(slot, hook, 0, false) {
        walk.own_ns = ns;
        walk.lost_ns = ns;
        walk.aim(root, false);
        walk_run(slot);
        emit::commit(hook, false);
    }
}
