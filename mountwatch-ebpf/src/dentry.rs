//! DENTRY: the place of one dentry, told once and again when it changed.
//!
//! What was told is remembered as a fingerprint (parent, hash and length of the name, inode,
//! epoch). Every mount that is told takes its two chains of dentries along, each up to a dentry
//! that is its own parent; nothing is told of those that are as they were told. The chain is
//! always walked to its end: an ancestor may have been freed and its memory reused.

use mountwatch_common::{
    control, counter,
    limits::{NAME_BYTES_MAX, NAME_BYTES_SHORT},
    offset,
    record::{DentryLong, DentryRecord, DentryShort, flag, kind},
};

use crate::{
    emit::reserve,
    maps::{TOLD, WALK, control, count, hold},
    read,
    walk::Walk,
};

/// `NSFS_MAGIC`
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// Tells the dentry that slot `slot` stands at, unless it was told as it is now, and steps to its
/// parent; to 0 at the end of the chain.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn dentry_step(slot: u32) -> i32 {
    let Some(walk) = WALK.get_ptr_mut(slot) else { return 1 };
    // SAFETY: the slot is used by one program at a time (`maps::slot`).
    let walk = unsafe { &mut *walk };
    let dentry = walk.dentry;
    if dentry == 0 {
        return 0;
    }
    if walk.force == 0 && walk.seen(dentry) {
        walk.dentry = 0;
        return 0;
    }
    read::dentry(&mut walk.dentry_bytes, dentry);
    let mut now = fingerprint(walk, dentry);
    // SAFETY: a preallocated element may be reused while it is read; then the comparison fails and
    // the dentry is told once too often.
    let told = match unsafe { TOLD.get(dentry) } {
        Some(told) => *told == now,
        None => false,
    };
    if !told || walk.force != 0 {
        walk.force = 0;
        let is_told = if (now[1] >> 32) as usize <= NAME_BYTES_SHORT {
            tell::<DentryShort>(walk, dentry, NAME_BYTES_SHORT as u64)
        } else {
            tell::<DentryLong>(walk, dentry, NAME_BYTES_MAX as u64)
        };
        walk.told += 1;
        // What was read after the reservation. Should a rename have made the name longer than the
        // slot, the rename's own hook tells it again. A lost record leaves the old fingerprint, so
        // that the dentry is told again the next time.
        now = fingerprint(walk, dentry);
        if is_told && TOLD.insert(dentry, now, 0).is_err() {
            count(counter::DENTRIES_UNTRACKED);
            if let Some(hold) = hold() {
                hold.untracked = 1;
            }
        }
    }
    walk.dentry = if now[0] == dentry { 0 } else { now[0] };
    0
}

/// What is to be remembered of the dentry in `walk.dentry_bytes`.
#[inline(always)]
fn fingerprint(walk: &Walk, dentry: u64) -> [u64; 4] {
    let parent = read::word(&walk.dentry_bytes, offset::DENTRY_PARENT);
    let inode = read::word(&walk.dentry_bytes, offset::DENTRY_INODE);
    let identity = if parent == dentry && inode != 0 {
        // The name of a root of nsfs is made of this number, and the memory of both is reused.
        read::member::<u64>(inode, offset::INODE_INO)
    } else {
        inode | u64::from(is_deleted(walk, dentry, parent))
    };
    [parent, hash_and_length(walk), identity, control(control::EPOCH)]
}

/// `d_name.hash_len`: the length is the upper half.
#[inline(always)]
fn hash_and_length(walk: &Walk) -> u64 {
    nested(walk, offset::DENTRY_NAME, offset::QSTR_HASH_LEN)
}

/// `d_unlinked`: unhashed and no root.
#[inline(always)]
fn is_deleted(walk: &Walk, dentry: u64, parent: u64) -> bool {
    parent != dentry && nested(walk, offset::DENTRY_HASH, offset::HLIST_BL_NODE_PPREV) == 0
}

/// A member of a structure inside `struct dentry`.
#[inline(always)]
fn nested(walk: &Walk, outer: usize, inner: usize) -> u64 {
    let offset = read::offset(outer).wrapping_add(read::offset(inner));
    if offset > (read::DENTRY_BYTES - 8) as u32 {
        return 0;
    }
    // SAFETY: just checked.
    unsafe { walk.dentry_bytes.as_ptr().add(offset as usize).cast::<u64>().read_volatile() }
}

/// A DENTRY of one of the two sizes.
trait Slot: 'static {
    fn parts(slot: *mut Self) -> (*mut DentryRecord, *mut u8);
}

impl Slot for DentryShort {
    #[inline(always)]
    fn parts(slot: *mut Self) -> (*mut DentryRecord, *mut u8) {
        // SAFETY: two addresses inside the reserved slot.
        unsafe { (&raw mut (*slot).dentry, (&raw mut (*slot).name).cast()) }
    }
}

impl Slot for DentryLong {
    #[inline(always)]
    fn parts(slot: *mut Self) -> (*mut DentryRecord, *mut u8) {
        // SAFETY: as above.
        unsafe { (&raw mut (*slot).dentry, (&raw mut (*slot).name).cast()) }
    }
}

/// `false`: the ring was full.
#[inline(always)]
fn tell<T: Slot>(walk: &mut Walk, dentry: u64, room: u64) -> bool {
    let Some(mut entry) = reserve::<T>(walk.lost_ns) else { return false };
    let (record, name) = T::parts(entry.as_mut_ptr());
    read::dentry(&mut walk.dentry_bytes, dentry);
    let parent = read::word(&walk.dentry_bytes, offset::DENTRY_PARENT);
    let inode = read::word(&walk.dentry_bytes, offset::DENTRY_INODE);
    let mut flags = walk.flags & (flag::TRANSACTION | flag::SCAN);
    if is_deleted(walk, dentry, parent) {
        flags |= flag::DELETED;
    }
    let mut source = nested(walk, offset::DENTRY_NAME, offset::QSTR_NAME);
    let length = hash_and_length(walk) >> 32;
    let mut is_nsfs = false;
    if parent == dentry {
        flags |= flag::ROOT;
        let sb: u64 = read::member(dentry, offset::DENTRY_SB);
        let magic: u64 = read::member(sb, offset::SUPER_MAGIC);
        if magic == NSFS_MAGIC && inode != 0 {
            flags |= flag::NSFS;
            is_nsfs = true;
            let ns: u64 = read::member(inode, offset::INODE_PRIVATE);
            let operations: u64 = read::member(ns, offset::NS_COMMON_OPS);
            source = read::member(operations, offset::PROC_NS_OPERATIONS_NAME);
        }
    }
    // SAFETY: the slot is ours until submitted; every field is written.
    unsafe {
        walk.header(&raw mut (*record).header, kind::DENTRY, flags);
        (*record).dentry = dentry;
        (*record).parent = parent;
        (*record).ino = if inode == 0 { 0 } else { read::member(inode, offset::INODE_INO) };
        (*record).reserved = 0;
        if is_nsfs {
            // The type of a namespace is a C string of a few bytes.
            let copied = read::string(name, NAME_BYTES_SHORT as u32, source);
            (*record).name_bytes = copied.saturating_sub(1);
        } else {
            (*record).name_bytes = read::text(name, room, length, source);
        }
    }
    entry.submit(walk.wake());
    true
}
