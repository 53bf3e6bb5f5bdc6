//! Who makes a call: facts of the task beside its IDs, and the paths of what it executes and of its
//! cgroup.
//!
//! Nothing here is a part of the index, so no read that fails is a loss. A path is told once, a
//! component a record: its names chain, from the last one up. The executable's goes on through the
//! mounts on which it lies, to the root of their namespace.

use aya_ebpf::{
    helpers::generated::{self, bpf_get_current_task},
    macros::map,
    maps::LruHashMap,
};
use mountwatch_common::{
    hook, limits, offset,
    record::{CallRecord, NameRecord, flag, kind},
};

use crate::{
    calls::kept,
    emit::{Wake, header},
    read,
    room::reserve_of_call,
};

/// Address of an executable's dentry or of a cgroup's node → what it was when it was told.
#[map]
static PATHS: LruHashMap<u64, [u64; 2]> = LruHashMap::with_max_entries(limits::PATHS_MAX, 0);

/// Subsystems of cgroups that are looked at, at most.
const SUBSYSTEMS_MAX: u32 = 16;

/// A pointer out of a structure; 0 if there is none, or this kernel does not have it.
#[inline(always)]
fn pointer(base: u64, index: usize) -> u64 {
    let offset = read::offset(index);
    if base == 0 || offset == offset::ABSENT { 0 } else { read::quietly(base + u64::from(offset)) }
}

/// The address of a member that is a structure itself.
#[inline(always)]
fn inside(base: u64, index: usize) -> u64 {
    let offset = read::offset(index);
    if base == 0 || offset == offset::ABSENT { 0 } else { base + u64::from(offset) }
}

#[inline(always)]
fn task() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_get_current_task() }
}

/// What the running task executes: the vfsmount and the dentry.
#[inline(always)]
fn executable() -> (u64, u64) {
    let file = pointer(pointer(task(), offset::TASK_MM), offset::MM_EXE_FILE);
    let path = inside(file, offset::FILE_PATH);
    (pointer(path, offset::PATH_MNT), pointer(path, offset::PATH_DENTRY))
}

/// The node of the running task's cgroup: of cgroup2 or, if that is its root, of the first other
/// hierarchy in which it is not.
#[inline(always)]
fn cgroup() -> u64 {
    let set = pointer(task(), offset::TASK_CGROUPS);
    let node = pointer(pointer(set, offset::CSS_SET_DFL_CGRP), offset::CGROUP_KN);
    if parent(node) != 0 { node } else { cgroup_of_v1(set, node) }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgroup_of_v1(set: u64, otherwise: u64) -> u64 {
    let subsystems = inside(set, offset::CSS_SET_SUBSYS);
    let end = inside(set, offset::CSS_SET_REFCOUNT);
    let mut index = 0;
    while index < SUBSYSTEMS_MAX {
        let cell = subsystems + u64::from(index) * 8;
        if subsystems == 0 || cell >= end {
            break;
        }
        let cgroup = pointer(read::quietly(cell), offset::CSS_CGROUP);
        let node = pointer(cgroup, offset::CGROUP_KN);
        if parent(node) != 0 {
            return node;
        }
        index += 1;
    }
    otherwise
}

#[inline(always)]
fn parent(node: u64) -> u64 {
    if read::offset(offset::KERNFS_NODE_PARENT) == offset::ABSENT {
        pointer(node, offset::KERNFS_NODE_RCU_PARENT)
    } else {
        pointer(node, offset::KERNFS_NODE_PARENT)
    }
}

/// Everything that a record of a call says of its task and that is no ID of it.
#[inline(always)]
pub unsafe fn fill(record: *mut CallRecord) {
    let task = task();
    let parent = pointer(task, offset::TASK_REAL_PARENT);
    let pid = pointer(task, offset::TASK_THREAD_PID);
    let (_, executable) = executable();
    let cgroup = cgroup();
    // SAFETY: the caller's slot; the field has 16 bytes, and the helper takes any address.
    unsafe {
        (*record).parent_pid = pointer(parent, offset::TASK_TGID) as u32;
        (*record).pid_ns_inum = pid_namespace(pid);
        let comm = inside(parent, offset::TASK_COMM);
        if comm != 0 {
            let to = (&raw mut (*record).parent_comm).cast();
            let _ = generated::bpf_probe_read_kernel_str(to, 16, comm as _);
        }
        (*record).executable = executable;
        (*record).cgroup = cgroup;
    }
}

/// The PID namespace that a `struct pid` was made in: the innermost.
#[inline(always)]
fn pid_namespace(pid: u64) -> u32 {
    let numbers = inside(pid, offset::PID_NUMBERS);
    if numbers == 0 {
        return 0;
    }
    let level = pointer(pid, offset::PID_LEVEL) as u32;
    // `struct upid` is a number and a pointer.
    let upid = numbers + u64::from(level) * 16;
    let namespace = pointer(upid, offset::UPID_NS);
    let common = inside(namespace, offset::PID_NAMESPACE_NS);
    pointer(common, offset::NS_COMMON_INUM) as u32
}

/// Tells the paths of the running task that were not told yet.
#[inline(always)]
pub fn paths_tell() {
    let (vfsmount, dentry) = executable();
    if dentry != 0 {
        let now = [vfsmount, pointer(inside(dentry, offset::DENTRY_NAME), offset::QSTR_HASH_LEN)];
        if is_new(dentry, now) {
            executable_tell(vfsmount, dentry);
        }
    }
    let node = cgroup();
    if node != 0 && is_new(node, [pointer(node, offset::KERNFS_NODE_ID), 0]) {
        cgroup_tell(node);
    }
}

#[inline(always)]
fn is_new(key: u64, now: [u64; 2]) -> bool {
    // SAFETY: the element may be reused while it is read: then it is told once more.
    if unsafe { PATHS.get(key) }.is_some_and(|told| *told == now) {
        return false;
    }
    // No room: told again next time.
    let _ = PATHS.insert(key, now, 0);
    true
}

/// The names of an executable, up to the root of its mount namespace.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn executable_tell(vfsmount: u64, dentry: u64) -> i32 {
    let Some(called) = kept() else { return 1 };
    // SAFETY: an element of the map, which only this very thread removes.
    unsafe { (&raw mut (*called).way).write_volatile([dentry, vfsmount, dentry, 0]) };
    let mut step = 0;
    while step < limits::COMPONENTS_MAX {
        if executable_step() != 0 {
            break;
        }
        step += 1;
    }
    // SAFETY: as above.
    let [key, _, _, index] = unsafe { (&raw const (*called).way).read_volatile() };
    name_tell(key, index as u32, 0, flag::LAST)
}

/// One name, or from the root of a mount to its mountpoint. 1 = the way is over.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn executable_step() -> i32 {
    let Some(called) = kept() else { return 1 };
    // SAFETY: an element of the map, which only this very thread removes.
    let [key, vfsmount, dentry, index] = unsafe { (&raw const (*called).way).read_volatile() };
    if dentry == pointer(vfsmount, offset::VFSMOUNT_ROOT) {
        let mount = vfsmount - u64::from(read::offset(offset::MOUNT_MNT));
        let parent = pointer(mount, offset::MOUNT_PARENT);
        if parent == mount || parent == 0 {
            return 1;
        }
        let mountpoint = pointer(mount, offset::MOUNT_MOUNTPOINT);
        let above = parent + u64::from(read::offset(offset::MOUNT_MNT));
        // SAFETY: as above.
        unsafe { (&raw mut (*called).way).write_volatile([key, above, mountpoint, index]) };
        return 0;
    }
    let name = pointer(inside(dentry, offset::DENTRY_NAME), offset::QSTR_NAME);
    name_tell(key, index as u32, name, 0);
    let above = pointer(dentry, offset::DENTRY_PARENT);
    // SAFETY: as above.
    unsafe { (&raw mut (*called).way).write_volatile([key, vfsmount, above, index + 1]) };
    // Of no directory: made by memfd_create(2), or on a mount that is nowhere.
    (above == dentry || above == 0) as i32
}

/// The names of a cgroup, up to the root of its hierarchy, which has none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgroup_tell(node: u64) -> i32 {
    let mut at = node;
    let mut index = 0;
    while index < limits::COMPONENTS_MAX {
        let above = parent(at);
        if above == 0 {
            break;
        }
        name_tell(node, index, pointer(at, offset::KERNFS_NODE_NAME), flag::CGROUP);
        at = above;
        index += 1;
    }
    name_tell(node, index, 0, flag::CGROUP | flag::LAST)
}

/// Tells one component; none if it is over.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn name_tell(key: u64, index: u32, name: u64, flags: u32) -> i32 {
    let Some(mut entry) = reserve_of_call::<NameRecord>() else {
        // It is not whole, so it is told again.
        let _ = PATHS.remove(key);
        return 1;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the slot is ours until submitted; what is behind the name is not read. The field has so
    // many bytes, and the helper takes any address.
    unsafe {
        header(&raw mut (*record).header, kind::NAME, hook::CALL, flags);
        (*record).key = key;
        (*record).index = index;
        (*record).reserved = 0;
        let mut copied = 0;
        if name != 0 {
            let to = (&raw mut (*record).name).cast();
            let room = limits::NAME_BYTES_MAX as u32 + 1;
            copied = generated::bpf_probe_read_kernel_str(to, room, name as _);
        }
        (*record).name_bytes = if copied <= 0 { 0 } else { copied as u32 - 1 };
    }
    entry.submit(Wake::Silent.flags());
    0
}
