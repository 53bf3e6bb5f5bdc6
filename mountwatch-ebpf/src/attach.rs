//! Roots of changed subtrees: marked here, told by `commit`.

use aya_ebpf::{EbpfContext, helpers::generated::bpf_get_current_task};
use mountwatch_common::{hook, offset};

use crate::{
    maps::{hold, stash},
    program::{Arguments, at_entry, at_return},
    read,
    roots::{TAG_COPY, mark},
};

// `__attach_mnt(mnt, parent)`, since 6.17 `make_visible(mnt)`.
at_return!(hook::ATTACH, attach_body, 1, result 1:
    attach, attach_probe, called attach_called);

/// The mount has its parent now. While a tree is put together its mounts have no namespace; such a
/// tree is told from its root.
#[inline(always)]
fn attach_body(_: &impl EbpfContext, [mount, ..]: Arguments, _: u64, _: u32) {
    let parent: u64 = read::member(mount, offset::MOUNT_PARENT);
    let ns: u64 = read::member(parent, offset::MOUNT_NS);
    if ns != 0 {
        mark_mount(mount);
    }
}

// `copy_tree(src, dentry, flags)`.
at_return!(hook::COPY_TREE, copy_tree_body, 0, result 3:
    copy_tree, copy_tree_probe);

/// The root of a copy, which may stay one: the root mount of a new namespace gets no parent.
#[inline(always)]
fn copy_tree_body(_: &impl EbpfContext, _: Arguments, copy: u64, _: u32) {
    if !read::is_error(copy) {
        mark_mount(copy | TAG_COPY);
    }
}

// What follows stands in for `attach` where a compiler inlined the function or its calls.

// `copy_tree` again: there is nobody else to mark a copy that got a parent.
at_return!(hook::ATTACH, copy_body, 0, result 3:
    copy, copy_probe);

#[inline(always)]
fn copy_body(_: &impl EbpfContext, _: Arguments, copy: u64, _: u32) {
    if !read::is_error(copy) {
        mark_mount(copy);
    }
}

// `graft_tree(mnt, …)`: mounts, binds, automounts.
at_entry!(hook::ATTACH, first_body, 1: graft, graft_probe);
// `attach_recursive_mnt(source, …)`: all of those, and moves. Compilers make a clone of it that
// has lost arguments, never the first one.
at_entry!(hook::ATTACH, first_body, 1: attach_recursive, attach_recursive_probe);

#[inline(always)]
fn first_body(_: &impl EbpfContext, [mount, ..]: Arguments, _: u32) {
    mark_mount(mount);
}

// `mnt_change_mountpoint(parent, mountpoint, mnt)`: a mount gets another one tucked beneath it.
at_entry!(hook::ATTACH, third_body, 3: reparent, reparent_probe);

#[inline(always)]
fn third_body(_: &impl EbpfContext, [_, _, mount]: Arguments, _: u32) {
    mark_mount(mount);
}

// `security_sb_pivotroot(put_old, new_root)`.
at_entry!(hook::ATTACH, pivot_root_body, 2: pivot_root, pivot_root_probe);

/// The two mounts that pivot_root(2) is about to exchange, before it has the lock.
#[inline(always)]
fn pivot_root_body(_: &impl EbpfContext, [_, new_root, _]: Arguments, _: u32) {
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    let fs: u64 = read::member(task, offset::TASK_FS);
    let root = fs + u64::from(read::offset(offset::FS_STRUCT_ROOT));
    stash([mount_of(new_root), mount_of(root)]);
}

/// The mount that a `struct path` is on.
#[inline(always)]
pub fn mount_of(path: u64) -> u64 {
    let vfsmount: u64 = read::member(path, offset::PATH_MNT);
    vfsmount - u64::from(read::offset(offset::MOUNT_MNT))
}

#[inline(always)]
fn mark_mount(mount: u64) {
    if let Some(hold) = hold() {
        mark(hold, mount);
    }
}
