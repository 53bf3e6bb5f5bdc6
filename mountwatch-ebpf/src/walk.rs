//! The state of a walk over trees of mounts. `step` moves it on.
//!
//! Its whole state is in map memory. Under `namespace_sem` a mount's names come first and then the
//! mount, so that userspace never meets a dentry that it does not know. Without the lock the mount
//! comes first and then the names of the pointers just read: the record says what it says as of
//! its own slot, and the COMMIT at the end says that the names are there too.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns};
use mountwatch_common::{
    hook, offset,
    record::{Header, flag},
};

use crate::{
    calls::begin_ktime_ns,
    emit::{Stamp, Wake, fill_header},
    maps::WALK,
    namespace, read,
};

/// Dentries and super blocks that one walk remembers as dealt with, by a hash of their address.
const SEEN_MAX: usize = 32;
/// A silent transaction of this many records wakes the reader, lest the ring fills up asleep.
const WAKE_EVERY: u32 = 64;

/// What the next step does.
pub mod phase {
    /// Takes the next root.
    pub const ROOT: u32 = 0;
    /// Arrives at a mount.
    pub const MOUNT: u32 = 1;
    /// Follows `mnt_root`'s chain of dentries.
    pub const ROOT_CHAIN: u32 = 2;
    /// Follows `mnt_mountpoint`'s chain of dentries.
    pub const MOUNTPOINT_CHAIN: u32 = 3;
    /// Looks for the next mount of the tree.
    pub const NEXT: u32 = 4;
}

/// The state of one walk, and the memory that its reads need.
#[repr(C)]
pub struct Walk {
    /// The mount it stands at.
    pub mount: u64,
    /// The root of the tree; the walk is over when it would leave it.
    pub root: u64,
    /// The dentry it stands at; 0 at the end of a chain.
    pub dentry: u64,
    /// Index of the next one of `ROOTS`, and their number.
    pub next_root: u32,
    pub roots: u32,
    pub phase: u32,
    /// Flags and hook of the records.
    pub flags: u32,
    pub hook: u32,
    /// `namespace_sem` is held: names first, and what was dealt with need not be looked at again.
    pub is_locked: u32,
    /// Tell this mount alone.
    pub is_single: u32,
    /// Without the lock: the namespace that every mount of the walk must be in.
    pub own_ns: u64,
    /// The namespace that a lost name of this walk is about; 0 for any.
    pub lost_ns: u64,
    /// Records told in this walk.
    pub told: u32,
    /// The next dentry is to be told even if it was.
    pub force: u32,
    /// `mount_bytes` are those of `mount`, read with `namespace_sem` held.
    pub has_bytes: u32,
    /// The namespace that the last mount was in, its parent and its super block.
    pub ns_inum: u32,
    pub ns_anonymous: u32,
    last_parent_id: u32,
    last_dev: u32,
    last_parent: u64,
    last_sb: u64,
    ns: u64,
    pub ns_id: u64,
    pub ns_root: u64,
    /// When the walk began, and in which thread.
    ktime_ns: u64,
    pid_tgid: u64,
    /// When the call began that the thread is in.
    begin_ktime_ns: u64,
    seen: [u64; SEEN_MAX],
    pub mount_bytes: [u8; read::MOUNT_BYTES],
    pub dentry_bytes: [u8; read::DENTRY_BYTES],
    pub source: [u8; 56],
}

impl Walk {
    /// Prepares a slot. `is_locked`: `namespace_sem` is held, for write or for read.
    #[inline(always)]
    pub fn begin(slot: u32, hook: u16, flags: u32, is_locked: bool) -> Option<&'static mut Walk> {
        // SAFETY: the slot is used by one program at a time (`maps::slot`), and every program
        // takes its reference once.
        let walk = unsafe { &mut *WALK.get_ptr_mut(slot)? };
        walk.hook = u32::from(hook);
        walk.flags = flags;
        walk.is_locked = u32::from(is_locked);
        walk.is_single = 0;
        walk.told = 0;
        walk.force = 0;
        walk.ns = 0;
        walk.roots = 0;
        walk.next_root = 0;
        walk.dentry = 0;
        walk.phase = phase::ROOT;
        walk.has_bytes = 0;
        walk.own_ns = 0;
        walk.lost_ns = 0;
        walk.last_parent = 0;
        walk.last_sb = 0;
        // SAFETY: the helper has no precondition.
        walk.ktime_ns = unsafe { bpf_ktime_get_ns() };
        walk.pid_tgid = bpf_get_current_pid_tgid();
        // A scan is many walks, and nobody's call.
        walk.begin_ktime_ns = if hook == hook::SCAN { 0 } else { begin_ktime_ns() };
        Some(walk)
    }

    /// Fills the header of one of this walk's records.
    #[inline(always)]
    pub fn header(&self, header: *mut Header, kind: u16, flags: u32) {
        let stamp = Stamp {
            ktime_ns: self.ktime_ns,
            pid_tgid: self.pid_tgid,
            begin_ktime_ns: self.begin_ktime_ns,
        };
        fill_header(header, kind, self.hook as u16, flags, stamp);
    }

    /// The ID of a parent: siblings have the same one.
    #[inline(always)]
    pub fn parent_id(&mut self, parent: u64) -> u32 {
        if self.last_parent != parent {
            self.last_parent_id = read::member(parent, offset::MOUNT_ID);
            self.last_parent = parent;
        }
        self.last_parent_id
    }

    /// The device of a super block, which never changes.
    #[inline(always)]
    pub fn dev(&mut self, sb: u64) -> u32 {
        if self.last_sb != sb {
            self.last_dev = read::member(sb, offset::SUPER_DEV);
            self.last_sb = sb;
        }
        self.last_dev
    }

    /// Forgets what the walk before this one dealt with.
    #[inline(always)]
    pub fn forget_seen(&mut self) {
        let mut index = 0;
        while index < SEEN_MAX {
            // Volatile: a block fill of this size is a call that the target does not have.
            // SAFETY: in bounds.
            unsafe { (&raw mut self.seen[index]).write_volatile(0) };
            index += 1;
        }
    }

    /// Aims at one tree, or at one mount alone.
    #[inline(always)]
    pub fn aim(&mut self, mount: u64, is_single: bool) {
        self.root = mount;
        self.mount = mount;
        self.is_single = u32::from(is_single);
        self.phase = phase::MOUNT;
    }

    /// Goes on to a mount that was found in its parent's list of children.
    ///
    /// Without the lock a mount that moves at this very moment leads out of the list that it was
    /// in, and then what looks like a mount may be the head of a list. Such a walk ends; it is
    /// repeated under the lock (`pending`). What passes is a mount: the walk runs inside one RCU
    /// read section, in which no mount that it can reach is freed.
    #[inline(always)]
    pub fn go(&mut self, mount: u64, parent: u64) {
        if self.is_locked == 0
            && (read::member::<u64>(mount, offset::MOUNT_PARENT) != parent
                || read::member::<u64>(mount, offset::MOUNT_NS) != self.own_ns)
        {
            return;
        }
        self.mount = mount;
        self.phase = phase::MOUNT;
    }

    /// Whether this walk dealt with an object before; from now on it did. While the lock is held
    /// the mounts that pin dentries and super blocks stay, and a rename tells itself. A walk
    /// without the lock remembers nothing.
    #[inline(always)]
    pub fn seen(&mut self, address: u64) -> bool {
        if self.flags & flag::TRANSACTION == 0 {
            return false;
        }
        let index = ((address >> 6) ^ (address >> 11)) as usize & (SEEN_MAX - 1);
        // SAFETY: masked. Volatile, so that the mask stays where the verifier sees it.
        unsafe {
            let cell = self.seen.as_mut_ptr().add(index);
            if cell.read_volatile() == address {
                return true;
            }
            cell.write_volatile(address);
        }
        false
    }

    /// How the next record of this walk wakes the reader.
    #[inline(always)]
    pub fn wake(&self) -> u64 {
        if self.flags & flag::SCAN != 0 {
            Wake::Adaptive.flags()
        } else if self.told % WAKE_EVERY == WAKE_EVERY - 1 {
            Wake::Now.flags()
        } else {
            Wake::Silent.flags()
        }
    }

    /// A member of the `struct vfsmount` inside the mount.
    #[inline(always)]
    pub fn embedded(&self, index: usize) -> u64 {
        let inner = read::offset(index);
        if inner > read::MOUNT_BYTES as u32 {
            return 0;
        }
        let offset = read::offset(offset::MOUNT_MNT).wrapping_add(inner);
        if offset > (read::MOUNT_BYTES - 8) as u32 {
            return 0;
        }
        // SAFETY: just checked.
        unsafe { self.mount_bytes.as_ptr().add(offset as usize).cast::<u64>().read_volatile() }
    }

    /// The namespace of the mount; 0 for none and for `MNT_NS_INTERNAL`.
    #[inline(always)]
    pub fn namespace(&self) -> u64 {
        let ns = read::word(&self.mount_bytes, offset::MOUNT_NS);
        if read::is_error(ns) { 0 } else { ns }
    }

    /// Loads what a record says of a namespace, unless the mount before was in the same one.
    #[inline(always)]
    pub fn load_namespace(&mut self, ns: u64) {
        if self.ns == ns {
            return;
        }
        let identity = namespace::identity(ns);
        self.ns_inum = identity.inum;
        self.ns_id = identity.id;
        self.ns_root = identity.root;
        self.ns_anonymous = u32::from(identity.is_anonymous);
        self.ns = ns;
    }
}
