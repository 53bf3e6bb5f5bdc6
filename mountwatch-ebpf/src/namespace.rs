//! NAMESPACE_BORN and NAMESPACE_GONE.

use aya_ebpf::EbpfContext;
use aya_log_ebpf::info;
use mountwatch_common::{
    hook, offset,
    record::{NamespaceRecord, flag, kind},
};

use crate::{
    emit::{Wake, header, reserve},
    maps::hold,
    pending,
    program::{Arguments, at_entry, at_return},
    read, roots,
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
    let Some(mut entry) = reserve::<NamespaceRecord>(0) else { return };
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

// Until 6.17: `copy_mnt_ns(flags, ns, user_ns, new_fs)`.
at_return!(hook::NAMESPACE_BORN, born_body, 1, result 4:
    namespace_born, namespace_born_probe, called namespace_born_called, spare namespace_born_spare);

/// Its mounts were told under the lock, by `copy_tree`'s mark.
#[inline(always)]
fn born_body(context: &impl EbpfContext, [flags, ..]: Arguments, ns: u64, _: u32) {
    if flags & CLONE_NEWNS != 0 && !read::is_error(ns) {
        tell(ns, kind::NAMESPACE_BORN, hook::NAMESPACE_BORN, 0, 0);
        if read::kernel_log() {
            info!(context, "mount namespace {} is born", identity(ns).inum);
        }
    }
}

// Since 6.18: `__ns_tree_add_raw(ns_common, …)`, for namespaces of all types.
at_entry!(hook::NAMESPACE_BORN, born_tree_body, 1:
    namespace_born_tree, namespace_born_tree_probe, spare namespace_born_tree_spare);

/// Still under `namespace_sem`. The namespace is complete, and may have no process
/// (`OPEN_TREE_NAMESPACE`): only here is its root seen.
#[inline(always)]
fn born_tree_body(context: &impl EbpfContext, [common, ..]: Arguments, _: u32) {
    let Some(ns) = mount_namespace(common) else { return };
    tell(ns, kind::NAMESPACE_BORN, hook::NAMESPACE_BORN, flag::TRANSACTION, 0);
    if read::kernel_log() {
        info!(context, "mount namespace {} is born", identity(ns).inum);
    }
    let root: u64 = read::member(ns, offset::NAMESPACE_ROOT);
    if let Some(hold) = hold() {
        hold.dirty = 1;
        if root != 0 {
            roots::mark(hold, root);
        }
    }
}

// `free_mnt_ns(ns)` or `mnt_ns_tree_remove(ns)`.
at_entry!(hook::NAMESPACE_GONE, gone_body, 1:
    namespace_gone, namespace_gone_probe, spare namespace_gone_spare);
// `__ns_tree_remove(ns_common, …)`, for namespaces of all types.
at_entry!(hook::NAMESPACE_GONE, gone_tree_body, 1:
    namespace_gone_tree, namespace_gone_tree_probe, spare namespace_gone_tree_spare);

#[inline(always)]
fn gone_tree_body(context: &impl EbpfContext, [common, ..]: Arguments, place: u32) {
    if let Some(ns) = mount_namespace(common) {
        gone_body(context, [ns, 0, 0], place);
    }
}

#[inline(always)]
fn gone_body(context: &impl EbpfContext, [ns, ..]: Arguments, _: u32) {
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
