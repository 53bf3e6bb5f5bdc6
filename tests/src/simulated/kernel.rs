//! The nouns of the simulated kernel: `fs/mount.h` and `include/linux/mnt_namespace.h`.
//!
//! Every object has a key of the model that is never reused, and an address that is, as the
//! kernel's allocator reuses memory: the last one freed is the next one given out.

use super::hooks::Hooks;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Index, IndexMut};

/// What a call gives that the kernel may refuse.
pub(super) type Result<T> = std::result::Result<T, Errno>;

macro_rules! key {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) struct $name(pub(super) usize);
    )*};
}

key! {
    /// A `struct mount`.
    Mnt;
    /// A `struct dentry`.
    Den;
    /// A `struct super_block`.
    Sb;
    /// A `struct mnt_namespace`.
    Ns;
    /// A `struct file`.
    FileKey;
    /// A `struct user_namespace`; 0 is the initial one.
    User;
}

pub(super) const MNT_NOSUID: u32 = 0x01;
pub(super) const MNT_NODEV: u32 = 0x02;
pub(super) const MNT_NOEXEC: u32 = 0x04;
pub(super) const MNT_NOATIME: u32 = 0x08;
pub(super) const MNT_NODIRATIME: u32 = 0x10;
pub(super) const MNT_RELATIME: u32 = 0x20;
pub(super) const MNT_READONLY: u32 = 0x40;
pub(super) const MNT_NOSYMFOLLOW: u32 = 0x80;
pub(super) const MNT_ATIME_MASK: u32 = MNT_NOATIME | MNT_NODIRATIME | MNT_RELATIME;
/// What remount and mount_setattr(2) may set.
pub(super) const MNT_USER_SETTABLE_MASK: u32 = 0xff;
pub(super) const MNT_LOCK_ATIME: u32 = 0x4_0000;
pub(super) const MNT_LOCK_NOEXEC: u32 = 0x8_0000;
pub(super) const MNT_LOCK_NOSUID: u32 = 0x10_0000;
pub(super) const MNT_LOCK_NODEV: u32 = 0x20_0000;
pub(super) const MNT_LOCK_READONLY: u32 = 0x40_0000;
pub(super) const MNT_LOCKED: u32 = 0x80_0000;
pub(super) const MNT_UMOUNT: u32 = 0x800_0000;

pub(super) const SB_RDONLY: u32 = 1;
pub(super) const SB_SYNCHRONOUS: u32 = 1 << 4;
pub(super) const SB_DIRSYNC: u32 = 1 << 7;
pub(super) const SB_LAZYTIME: u32 = 1 << 25;

/// A `struct mount`.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the kernel's")]
#[derive(Clone, Debug)]
pub(super) struct Mount {
    pub(super) address: u64,
    pub(super) mnt_id: u32,
    pub(super) mnt_id_unique: u64,
    /// Itself for a root.
    pub(super) mnt_parent: Mnt,
    pub(super) mnt_mountpoint: Den,
    pub(super) mnt_root: Den,
    pub(super) mnt_sb: Sb,
    pub(super) mnt_ns: Option<Ns>,
    pub(super) mnt_flags: u32,
    /// `T_SHARED`.
    pub(super) is_shared: bool,
    /// `T_UNBINDABLE`.
    pub(super) is_unbindable: bool,
    /// `T_MARKED`.
    pub(super) is_marked: bool,
    /// `T_UMOUNT_CANDIDATE`.
    pub(super) is_candidate: bool,
    pub(super) mnt_group_id: u32,
    pub(super) mnt_master: Option<Mnt>,
    /// `mnt_share`: the ring of peers.
    pub(super) next_peer: Mnt,
    pub(super) previous_peer: Mnt,
    pub(super) mnt_slave_list: Vec<Mnt>,
    /// Children, in the order of `mnt_mounts`.
    pub(super) mnt_mounts: Vec<Mnt>,
    pub(super) overmount: Option<Mnt>,
    pub(super) mnt_devname: Vec<u8>,
    pub(super) is_idmapped: bool,
    pub(super) mnt_expiry_mark: bool,
}

/// A `struct dentry`.
#[derive(Clone, Debug)]
pub(super) struct Dentry {
    pub(super) address: u64,
    /// Itself for a root.
    pub(super) d_parent: Den,
    pub(super) d_name: Vec<u8>,
    pub(super) d_sb: Sb,
    pub(super) is_dir: bool,
    /// Unhashed and no root.
    pub(super) is_deleted: bool,
    pub(super) ino: u64,
    pub(super) children: BTreeMap<Vec<u8>, Den>,
    /// For nsfs: the type of the namespace.
    pub(super) nsfs: Option<String>,
}

/// A `struct super_block`.
#[derive(Clone, Debug)]
pub(super) struct SuperBlock {
    pub(super) address: u64,
    pub(super) fs_type: String,
    pub(super) s_dev: u32,
    pub(super) s_flags: u32,
    pub(super) s_root: Den,
    pub(super) s_user_ns: User,
    /// What `show_options` writes, each with its value.
    pub(super) options: BTreeMap<String, String>,
    /// Mounts of it; the last one takes it along, unless the kernel keeps it.
    pub(super) active: usize,
    pub(super) is_kept: bool,
}

/// A `struct mnt_namespace`.
#[derive(Clone, Debug)]
pub(super) struct Namespace {
    pub(super) address: u64,
    pub(super) inum: u32,
    pub(super) ns_id: u64,
    pub(super) is_anon: bool,
    /// The namespace that an anonymous one was made in.
    pub(super) seq_origin: u64,
    pub(super) root: Option<Mnt>,
    pub(super) user_ns: User,
    /// By `mnt_id_unique`: the order of mountinfo.
    pub(super) mounts: BTreeMap<u64, Mnt>,
}

/// A `struct path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) mnt: Mnt,
    pub(super) dentry: Den,
}

/// What a descriptor is open on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// A path; `needs_unmount`: the last close dissolves the detached tree.
    Path { path: Path, needs_unmount: bool },
    /// A mount namespace.
    Namespace(Ns),
    /// A namespace of another kind.
    OtherNamespace,
}

impl Open {
    /// The path that it is open on, if it is one.
    pub(super) fn path(self) -> Option<Path> {
        match self {
            Self::Path { path, .. } => Some(path),
            Self::Namespace(_) | Self::OtherNamespace => None,
        }
    }
}

/// A `struct file`, shared by the descriptors on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    pub(super) open: Open,
    pub(super) count: usize,
}

/// A task: a thread with its own view of the file system.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) ns: Ns,
    pub(super) root: Path,
    pub(super) user_ns: User,
    /// What `/` of a path of a scenario stands for.
    pub(super) base: Vec<u8>,
    pub(super) held: BTreeMap<String, FileKey>,
}

/// Numbers and addresses that are given out again when they are free: the lowest first, as the
/// kernel's IDA does.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(BTreeSet<u32>);

impl Numbers {
    pub(super) fn take(&mut self, from: u32) -> u32 {
        let free = (from..=u32::MAX).find(|number| !self.0.contains(number)).unwrap_or(u32::MAX);
        self.0.insert(free);
        free
    }

    pub(super) fn give_back(&mut self, number: u32) {
        self.0.remove(&number);
    }
}

/// Addresses of one kind of object: the last one freed is the next one given out, as SLUB does.
#[derive(Clone, Debug)]
pub(super) struct Slab {
    next: u64,
    size: u64,
    free: Vec<u64>,
}

impl Slab {
    const fn new(start: u64, size: u64) -> Self {
        Self { next: start, size, free: Vec::new() }
    }

    pub(super) fn take(&mut self) -> u64 {
        self.free.pop().unwrap_or_else(|| {
            self.next += self.size;
            self.next
        })
    }

    pub(super) fn give_back(&mut self, address: u64) {
        self.free.push(address);
    }
}

/// The whole machine.
#[derive(Debug)]
pub(crate) struct Kernel {
    mounts: BTreeMap<Mnt, Mount>,
    dentries: BTreeMap<Den, Dentry>,
    supers: BTreeMap<Sb, SuperBlock>,
    namespaces: BTreeMap<Ns, Namespace>,
    pub(super) files: BTreeMap<FileKey, File>,
    pub(super) tasks: BTreeMap<String, Task>,
    /// Parents of user namespaces.
    pub(super) users: Vec<User>,
    /// `mount_hashtable`: the newest one last.
    pub(super) hash: BTreeMap<(Mnt, Den), Vec<Mnt>>,
    pub(super) next_key: usize,
    pub(super) next_tid: u32,
    pub(super) mnt_ids: Numbers,
    pub(super) group_ids: Numbers,
    pub(super) devices: Numbers,
    pub(super) inodes: Numbers,
    pub(super) next_unique: u64,
    pub(super) next_ns_id: u64,
    pub(super) next_ino: u64,
    pub(super) mount_slab: Slab,
    pub(super) dentry_slab: Slab,
    pub(super) super_slab: Slab,
    pub(super) namespace_slab: Slab,
    /// The kernel's own mounts of nsfs, by file system.
    pub(super) internal: BTreeMap<String, Mnt>,
    /// `emptied_ns`: freed at the end of the hold of `namespace_sem`.
    pub(super) emptied_ns: Option<Ns>,
    /// The eBPF side.
    pub(crate) hooks: Hooks,
    /// The task that is in the kernel.
    pub(super) current: (u32, u32),
}

macro_rules! tables {
    ($($key:ident, $value:ident, $table:ident;)*) => {$(
        impl Index<$key> for Kernel {
            type Output = $value;

            fn index(&self, key: $key) -> &$value {
                &self.$table[&key]
            }
        }

        impl IndexMut<$key> for Kernel {
            fn index_mut(&mut self, key: $key) -> &mut $value {
                self.$table.get_mut(&key).expect("a key of a living object")
            }
        }
    )*};
}

tables! {
    Mnt, Mount, mounts;
    Den, Dentry, dentries;
    Sb, SuperBlock, supers;
    Ns, Namespace, namespaces;
}

impl Kernel {
    /// A machine with nothing in it, not even a root.
    pub(super) fn empty() -> Self {
        Self {
            mounts: BTreeMap::new(),
            dentries: BTreeMap::new(),
            supers: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            files: BTreeMap::new(),
            tasks: BTreeMap::new(),
            users: vec![User(0)],
            hash: BTreeMap::new(),
            next_key: 1,
            next_tid: 1_000,
            mnt_ids: Numbers::default(),
            group_ids: Numbers::default(),
            devices: Numbers::default(),
            inodes: Numbers::default(),
            next_unique: 1 << 31,
            next_ns_id: 0,
            next_ino: 1,
            mount_slab: Slab::new(0xffff_8880_0100_0000, 0x180),
            dentry_slab: Slab::new(0xffff_8880_0200_0000, 0xc0),
            super_slab: Slab::new(0xffff_8880_0300_0000, 0x800),
            namespace_slab: Slab::new(0xffff_8880_0400_0000, 0x100),
            internal: BTreeMap::new(),
            emptied_ns: None,
            hooks: Hooks::default(),
            current: (1, 1),
        }
    }

    pub(super) fn key(&mut self) -> usize {
        self.next_key += 1;
        self.next_key
    }

    pub(super) fn put_mount(&mut self, mount: Mount) -> Mnt {
        let key = Mnt(self.next_key);
        self.mounts.insert(key, mount);
        key
    }

    pub(super) fn put_dentry(&mut self, dentry: Dentry) -> Den {
        let key = Den(self.next_key);
        self.dentries.insert(key, dentry);
        key
    }

    pub(super) fn put_super(&mut self, super_block: SuperBlock) -> Sb {
        let key = Sb(self.next_key);
        self.supers.insert(key, super_block);
        key
    }

    pub(super) fn put_namespace(&mut self, namespace: Namespace) -> Ns {
        let key = Ns(self.next_key);
        self.namespaces.insert(key, namespace);
        key
    }

    pub(super) fn remove_mount(&mut self, key: Mnt) {
        self.mounts.remove(&key);
    }

    pub(super) fn remove_dentry(&mut self, key: Den) {
        self.dentries.remove(&key);
    }

    pub(super) fn remove_super(&mut self, key: Sb) {
        self.supers.remove(&key);
    }

    pub(super) fn remove_namespace(&mut self, key: Ns) {
        self.namespaces.remove(&key);
    }

    pub(super) fn all_mounts(&self) -> impl Iterator<Item = (Mnt, &Mount)> {
        self.mounts.iter().map(|(key, mount)| (*key, mount))
    }

    pub(super) fn all_dentries(&self) -> impl Iterator<Item = (Den, &Dentry)> {
        self.dentries.iter().map(|(key, dentry)| (*key, dentry))
    }

    pub(super) fn all_supers(&self) -> impl Iterator<Item = (Sb, &SuperBlock)> {
        self.supers.iter().map(|(key, super_block)| (*key, super_block))
    }

    pub(super) fn all_namespaces(&self) -> impl Iterator<Item = (Ns, &Namespace)> {
        self.namespaces.iter().map(|(key, namespace)| (*key, namespace))
    }

    /// Whether a mount's memory still is one.
    pub(super) fn is_mount(&self, mnt: Mnt) -> bool {
        self.mounts.contains_key(&mnt)
    }

    pub(super) fn task(&self, name: &str) -> &Task {
        &self.tasks[name]
    }

    pub(super) fn task_mut(&mut self, name: &str) -> &mut Task {
        self.tasks.get_mut(name).expect("a living task")
    }
}
