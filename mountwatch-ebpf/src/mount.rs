//! MOUNT: the full state of one `struct mount`.

use mountwatch_common::{
    limits::{SOURCE_BYTES_MAX, SOURCE_BYTES_SHORT},
    offset,
    record::{MountLong, MountRecord, MountShort, flag, kind},
};

use crate::{clone::original_of, emit::reserve_for, maps::WALK, read, walk::Walk};

/// `MNT_SHARED` and `MNT_UNBINDABLE` of `mnt_flags`, until 6.16.
const MNT_SHARED: u32 = 0x1000;
const MNT_UNBINDABLE: u32 = 0x2000;
/// `T_SHARED` and `T_UNBINDABLE` of `mnt_t_flags`, since 6.17.
const T_SHARED: u32 = 1;
const T_UNBINDABLE: u32 = 2;
/// `MNT_UMOUNT`: on its way out.
const MNT_UMOUNT: u32 = 0x800_0000;

/// Tells the mount that slot `slot` stands at.
///
/// The source never changes, so it may be read before the slot is reserved, to choose its size.
/// Everything that can change is read afterwards: with `namespace_sem` held that is little, and the
/// walk has read the rest before (`has_bytes`).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mount_tell(slot: u32) -> i32 {
    let Some(walk) = WALK.get_ptr_mut(slot) else { return 1 };
    // SAFETY: the slot is used by one program at a time (`maps::slot`).
    let walk = unsafe { &mut *walk };
    let mount = walk.mount;
    let source = if walk.has_bytes != 0 {
        read::word(&walk.mount_bytes, offset::MOUNT_DEVNAME)
    } else {
        read::member(mount, offset::MOUNT_DEVNAME)
    };
    // One more than the short class takes, and the final zero.
    let copied = read::string(walk.source.as_mut_ptr(), SOURCE_BYTES_SHORT as u32 + 2, source);
    let length = copied.saturating_sub(1);
    walk.told += 1;
    if length <= SOURCE_BYTES_SHORT as u32 {
        let Some(mut entry) = reserve_for::<MountShort>(mount) else { return 0 };
        let record = entry.as_mut_ptr();
        // SAFETY: the slot is ours until submitted; every field is written. The source is copied
        // as words: both fields are aligned and as long.
        unsafe {
            fill(walk, &raw mut (*record).mount, mount, length);
            let from = walk.source.as_ptr().cast::<u64>();
            let to = (&raw mut (*record).source).cast::<u64>();
            let mut word = 0;
            while word < SOURCE_BYTES_SHORT / 8 {
                to.add(word).write_volatile(from.add(word).read_volatile());
                word += 1;
            }
        }
        entry.submit(walk.wake());
    } else {
        let Some(mut entry) = reserve_for::<MountLong>(mount) else { return 0 };
        let record = entry.as_mut_ptr();
        // SAFETY: as above.
        unsafe {
            let to = (&raw mut (*record).source).cast::<u8>();
            let copied = read::string(to, SOURCE_BYTES_MAX as u32, source);
            fill(walk, &raw mut (*record).mount, mount, copied.saturating_sub(1));
        }
        entry.submit(walk.wake());
    }
    0
}

/// Reads the state of `mount` into the walk and the record.
#[inline(always)]
unsafe fn fill(walk: &mut Walk, record: *mut MountRecord, mount: u64, source_bytes: u32) {
    if walk.has_bytes == 0 {
        read::mount(&mut walk.mount_bytes, mount);
    }
    let (mnt_flags, map) = attributes(walk, mount);
    let parent = read::word(&walk.mount_bytes, offset::MOUNT_PARENT);
    let sb = walk.embedded(offset::VFSMOUNT_SB);
    let master = read::word(&walk.mount_bytes, offset::MOUNT_MASTER);
    let ns = walk.namespace();
    let mut flags = walk.flags;
    if ns == 0 || mnt_flags & MNT_UMOUNT != 0 {
        flags |= flag::GONE;
    }
    if ns != 0 {
        walk.load_namespace(ns);
        if walk.ns_root == mount {
            flags |= flag::NAMESPACE_ROOT;
        }
        if walk.ns_anonymous != 0 {
            flags |= flag::ANONYMOUS;
        }
    }
    if read::offset(offset::MOUNT_T_FLAGS) == offset::ABSENT {
        if mnt_flags & MNT_SHARED != 0 {
            flags |= flag::SHARED;
        }
        if mnt_flags & MNT_UNBINDABLE != 0 {
            flags |= flag::UNBINDABLE;
        }
    } else {
        let t_flags = read::half(&walk.mount_bytes, offset::MOUNT_T_FLAGS);
        if t_flags & T_SHARED != 0 {
            flags |= flag::SHARED;
        }
        if t_flags & T_UNBINDABLE != 0 {
            flags |= flag::UNBINDABLE;
        }
    }
    if master != 0 {
        flags |= flag::SLAVE;
    }
    if is_idmapped(map, sb) {
        flags |= flag::IDMAPPED;
    }
    // SAFETY: the caller's slot.
    unsafe {
        walk.header(&raw mut (*record).header, kind::MOUNT, flags);
        (*record).mnt = mount;
        (*record).parent = parent;
        (*record).ns = ns;
        (*record).sb = sb;
        (*record).root = walk.embedded(offset::VFSMOUNT_ROOT);
        (*record).mountpoint = read::word(&walk.mount_bytes, offset::MOUNT_MOUNTPOINT);
        (*record).unique_id = read::word(&walk.mount_bytes, offset::MOUNT_ID_UNIQUE);
        (*record).mnt_id = read::half(&walk.mount_bytes, offset::MOUNT_ID);
        (*record).group = read::half(&walk.mount_bytes, offset::MOUNT_GROUP_ID);
        (*record).mnt_flags = mnt_flags;
        (*record).source_bytes = source_bytes;
        (*record).reserved = 0;
        // Only the walk at the end of a hold tells of mounts that were made in it.
        (*record).copied_from =
            if walk.flags & flag::TRANSACTION == 0 { 0 } else { original_of(mount) };
        (*record).parent_id = walk.parent_id(parent);
        (*record).master =
            if master == 0 { 0 } else { read::member(master, offset::MOUNT_GROUP_ID) };
        (*record).dev = walk.dev(sb);
        (*record).sb_flags = read::member(sb, offset::SUPER_FLAGS);
        if ns == 0 {
            (*record).ns_id = 0;
            (*record).ns_inum = 0;
        } else {
            (*record).ns_id = walk.ns_id;
            (*record).ns_inum = walk.ns_inum;
        }
    }
}

/// `mnt_flags` and the ID mapping: they change under `mount_lock` alone, so with bytes from before
/// the reservation they are read again.
#[inline(always)]
fn attributes(walk: &Walk, mount: u64) -> (u32, u64) {
    let map_index = if read::offset(offset::VFSMOUNT_IDMAP) == offset::ABSENT {
        offset::VFSMOUNT_USERNS
    } else {
        offset::VFSMOUNT_IDMAP
    };
    if walk.has_bytes == 0 {
        return (walk.embedded(offset::VFSMOUNT_FLAGS) as u32, walk.embedded(map_index));
    }
    let vfsmount = mount + u64::from(read::offset(offset::MOUNT_MNT));
    (read::member(vfsmount, offset::VFSMOUNT_FLAGS), read::member(vfsmount, map_index))
}

/// Whether an ID mapping is one of the mount's own. From 5.17 to 6.1 a mount without one has the
/// user namespace of its super block there.
#[inline(always)]
fn is_idmapped(map: u64, sb: u64) -> bool {
    let nop = read::nop_idmap();
    nop != 0
        && map != 0
        && map != nop
        && (read::offset(offset::VFSMOUNT_IDMAP) != offset::ABSENT
            || map != read::member::<u64>(sb, offset::SUPER_USER_NS))
}
