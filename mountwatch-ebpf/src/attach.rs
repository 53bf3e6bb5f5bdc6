//! Roots of changed subtrees: marked here, told by `commit`.

use aya_ebpf::{macros::fexit, programs::FExitContext};
use mountwatch_common::offset;

use crate::{
    maps::hold,
    read,
    roots::{TAG_COPY, mark},
};

/// `__attach_mnt(mnt, parent)`, since 6.17 `make_visible(mnt)`: the mount has its parent now. While
/// a tree is put together its mounts have no namespace; such a tree is told from its root.
#[fexit]
pub fn attach(context: FExitContext) -> i32 {
    let mount = read::argument(&context, 0);
    let parent: u64 = read::member(mount, offset::MOUNT_PARENT);
    let ns: u64 = read::member(parent, offset::MOUNT_NS);
    if ns != 0
        && let Some(hold) = hold()
    {
        mark(hold, mount);
    }
    0
}

/// `copy_tree(src, dentry, flags)` returned the root of a copy, which may stay one: the root mount
/// of a new namespace gets no parent.
#[fexit]
pub fn copy_tree(context: FExitContext) -> i32 {
    let copy = read::argument(&context, 3);
    if !read::is_error(copy)
        && let Some(hold) = hold()
    {
        mark(hold, copy | TAG_COPY);
    }
    0
}
