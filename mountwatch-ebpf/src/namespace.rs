//! NAMESPACE_BORN and NAMESPACE_GONE.

use aya_ebpf::{
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use aya_log_ebpf::info;
use mountwatch_common::{
    hook, offset,
    record::{NamespaceRecord, flag, kind},
};

use crate::{
    emit::{Wake, header, reserve},
    maps::hold,
    pending, read, roots,
};

/// `CLONE_NEWNS`, also the type of a mount namespace among `struct ns_common`.
const CLONE_NEWNS: u64 = 0x20000;

/// What a record says of a mount namespace.
#[derive(Clone, Copy)]
pub struct Identity {
    pub id: u64,
    pub root: u64,
    pub inum: u32,
    pub is_anonymous: bool,
}

/// Reads what a record says of the namespace at an address, which must not be 0.
#[inline(always)]
pub fn identity(ns: u64) -> Identity {
    let common = ns + u64::from(read::offset(offset::NAMESPACE_NS));
    let inum: u32 = read::member(common, offset::NS_COMMON_INUM);
    let id: u64 = if read::offset(offset::NS_COMMON_ID) != offset::ABSENT {
        read::member(common, offset::NS_COMMON_ID)
    } else {
        read::member(ns, offset::NAMESPACE_SEQ)
    };
    let is_anonymous = if read::offset(offset::NAMESPACE_IS_ANON) != offset::ABSENT {
        read::member::<u8>(ns, offset::NAMESPACE_IS_ANON) != 0
    } else if read::offset(offset::NAMESPACE_SEQ) != offset::ABSENT
        || read::offset(offset::NS_COMMON_ID) != offset::ABSENT
    {
        id == 0
    } else {
        inum == 0
    };
    Identity { id, root: read::member(ns, offset::NAMESPACE_ROOT), inum, is_anonymous }
}

/// Tells the birth or the death of a namespace.
#[inline(always)]
pub fn tell(ns: u64, kind: u16, hook: u16, flags: u32, task: u32) {
    let Some(mut entry) = reserve::<NamespaceRecord>() else { return };
    let record = entry.as_mut_ptr();
    let identity = identity(ns);
    let flags = flags | if identity.is_anonymous { flag::ANONYMOUS } else { 0 };
    // SAFETY: the slot is ours until submitted; every field is written.
    unsafe {
        header(&raw mut (*record).header, kind, hook, flags);
        (*record).ns = ns;
        (*record).ns_id = identity.id;
        (*record).root = identity.root;
        (*record).inum = identity.inum;
        (*record).task = task;
    }
    entry.submit(Wake::Now.flags());
}

/// Until 6.17: `copy_mnt_ns(flags, ns, user_ns, new_fs)` returned. Its mounts were told under the
/// lock, by `copy_tree`'s mark.
#[fexit]
pub fn namespace_born(context: FExitContext) -> i32 {
    let flags = read::argument(&context, 0);
    let ns = read::argument(&context, 4);
    if flags & CLONE_NEWNS != 0 && !read::is_error(ns) {
        tell(ns, kind::NAMESPACE_BORN, hook::NAMESPACE_BORN, 0, 0);
        if read::kernel_log() {
            info!(&context, "mount namespace {} is born", identity(ns).inum);
        }
    }
    0
}

/// Since 6.18: `__ns_tree_add_raw(ns_common, …)`, still under `namespace_sem`. The namespace is
/// complete, and may have no process (`OPEN_TREE_NAMESPACE`): only here is its root seen.
#[fentry]
pub fn namespace_born_tree(context: FEntryContext) -> i32 {
    let Some(ns) = mount_namespace(read::argument(&context, 0)) else { return 0 };
    tell(ns, kind::NAMESPACE_BORN, hook::NAMESPACE_BORN, flag::TRANSACTION, 0);
    if read::kernel_log() {
        info!(&context, "mount namespace {} is born", identity(ns).inum);
    }
    let root: u64 = read::member(ns, offset::NAMESPACE_ROOT);
    if let Some(hold) = hold() {
        hold.dirty = 1;
        if root != 0 {
            roots::mark(hold, root);
        }
    }
    0
}

/// `free_mnt_ns(ns)` or `mnt_ns_tree_remove(ns)` begins.
#[fentry]
pub fn namespace_gone(context: FEntryContext) -> i32 {
    gone(&context, read::argument(&context, 0));
    0
}

/// `__ns_tree_remove(ns_common, …)` begins.
#[fentry]
pub fn namespace_gone_tree(context: FEntryContext) -> i32 {
    if let Some(ns) = mount_namespace(read::argument(&context, 0)) {
        gone(&context, ns);
    }
    0
}

#[inline(always)]
fn gone(context: &FEntryContext, ns: u64) {
    pending::remove(ns);
    tell(ns, kind::NAMESPACE_GONE, hook::NAMESPACE_GONE, 0, 0);
    if read::kernel_log() {
        info!(context, "mount namespace {} is gone", identity(ns).inum);
    }
}

/// The mount namespace around a `struct ns_common`, if it is one.
#[inline(always)]
fn mount_namespace(common: u64) -> Option<u64> {
    let kind: u32 = read::member(common, offset::NS_COMMON_TYPE);
    (u64::from(kind) == CLONE_NEWNS).then(|| common - u64::from(read::offset(offset::NAMESPACE_NS)))
}
