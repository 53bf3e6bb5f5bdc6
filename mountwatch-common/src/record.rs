//! The records: what the kernel side puts on the ring buffer.
//!
//! A record is a *state*, not a change: the last record about an object holds its final state,
//! because a program reserves its slot first and reads afterwards. Userspace applies records in
//! the order of their slots.
//!
//! Records are small: a mount carries identities and numbers, and names only where userspace
//! cannot know them. A dentry's name, and a super block's type, are told once, in a record of
//! their own before the mount that needs them, and again only when they changed; so ten thousand
//! copies of a mount are ten thousand small records, and a rename is one.
//!
//! Pointers are identities here, never followed: a kernel address in a `u64`.

use crate::limits::{
    NAME_BYTES_MAX, NAME_BYTES_SHORT, SOURCE_BYTES_MAX, SOURCE_BYTES_SHORT, TEXT_BYTES_MAX,
    TEXT_BYTES_SHORT,
};

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! record {
    ($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy)]
        #[cfg_attr(feature = "user", derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout))]
        pub struct $name { $($body)* }
    };
}

/// Values of [`Header::kind`].
pub mod kind {
    /// [`super::MountRecord`], followed by the source.
    pub const MOUNT: u16 = 1;
    /// [`super::DentryRecord`], followed by the name.
    pub const DENTRY: u16 = 2;
    /// [`super::SuperRecord`].
    pub const SUPER: u16 = 3;
    /// [`super::GroupRecord`]: a peer group died.
    pub const GROUP_DEAD: u16 = 4;
    /// [`super::NamespaceRecord`]: a mount namespace was born.
    pub const NAMESPACE_BORN: u16 = 5;
    /// [`super::NamespaceRecord`]: a mount namespace died.
    pub const NAMESPACE_GONE: u16 = 6;
    /// [`super::CommitRecord`]: all records of this task's change are on the ring.
    pub const COMMIT: u16 = 7;
    /// [`super::CallRecord`]: a system call of the mount family.
    pub const CALL: u16 = 8;
    /// [`super::ArgumentRecord`], followed by the text: comes before the CALL that returns.
    pub const ARGUMENT: u16 = 9;
    /// [`super::GlanceRecord`]: a mount that may have changed (back end `notify`).
    pub const GLANCE: u16 = 10;
    /// [`super::NameRecord`]: one component of a path of an executable or a cgroup.
    pub const NAME: u16 = 11;
}

/// Bits of [`Header::flags`].
pub mod flag {
    /// The record was made under `namespace_sem` held for write: part of a transaction that ends
    /// with the next COMMIT that has this bit too.
    pub const TRANSACTION: u32 = 1 << 0;
    /// MOUNT: it left its namespace. The other fields may still be those from before.
    pub const GONE: u32 = 1 << 1;
    /// MOUNT, NAMESPACE: the namespace is anonymous (a detached tree), in nobody's mountinfo.
    pub const ANONYMOUS: u32 = 1 << 2;
    /// MOUNT: this is `mnt_namespace.root`.
    pub const NAMESPACE_ROOT: u32 = 1 << 3;
    /// MOUNT: the first of a walk that tells every mount below this one.
    pub const SUBTREE: u32 = 1 << 4;
    /// MOUNT: it is in a peer group (`T_SHARED`, `MNT_SHARED`).
    pub const SHARED: u32 = 1 << 5;
    /// MOUNT: it has a master (`mnt_master`), whatever `master` says.
    pub const SLAVE: u32 = 1 << 6;
    /// MOUNT: it is unbindable (`T_UNBINDABLE`, `MNT_UNBINDABLE`).
    pub const UNBINDABLE: u32 = 1 << 7;
    /// MOUNT: it has an ID mapping of its own.
    pub const IDMAPPED: u32 = 1 << 8;
    /// MOUNT: made for a line of our own read of mountinfo, under `namespace_sem` held for read.
    pub const SCAN: u32 = 1 << 9;
    /// DENTRY: unhashed and no root: mountinfo shows `//deleted`.
    pub const DELETED: u32 = 1 << 10;
    /// DENTRY: it is its own parent.
    pub const ROOT: u32 = 1 << 11;
    /// DENTRY: of nsfs; `ino` is the namespace's inode and the name is its type (`mnt`, `net`, …).
    pub const NSFS: u32 = 1 << 12;
    /// SUPER: the options may have changed.
    pub const OPTIONS_STALE: u32 = 1 << 13;
    /// CALL: the call returns; else it begins.
    pub const EXIT: u32 = 1 << 14;
    /// ARGUMENT: the caller's memory could not be read; there is no text.
    pub const UNREADABLE: u32 = 1 << 15;
    /// CALL: the caller's root directory is on a mount of another namespace than its own.
    pub const FOREIGN_ROOT: u32 = 1 << 16;
    /// CALL: the caller has 32 bits, and its number is that of its own table.
    pub const COMPAT: u32 = 1 << 18;
    /// NAME: there is no further component.
    pub const LAST: u32 = 1 << 19;
    /// NAME: of a cgroup; else of an executable.
    pub const CGROUP: u32 = 1 << 20;
    /// CALL: the glance over the caller's namespace met another number of mounts than there are.
    pub const ASTRAY: u32 = 1 << 17;
    /// COMMIT, CALL, NAMESPACE_BORN by a fork: the task descends from the process that
    /// [`crate::control::DESCENDANTS_OF`] names. That process itself does not.
    pub const DESCENDANT: u32 = 1 << 21;
    /// The same records: whether it does is not known, its chain of parents is too long.
    pub const DESCENT_UNKNOWN: u32 = 1 << 22;
}

record! {
    /// What every record starts with. 32 bytes.
    pub struct Header {
        /// One of [`kind`].
        pub kind: u16,
        /// One of [`crate::hook`].
        pub hook: u16,
        /// Bits of [`flag`].
        pub flags: u32,
        /// `bpf_ktime_get_ns` when the program started: nanoseconds of CLOCK_MONOTONIC. Records of
        /// one transaction's walk have one time. Their order is that of their slots.
        pub ktime_ns: u64,
        /// `bpf_get_current_pid_tgid`: process in the upper half, thread in the lower.
        pub pid_tgid: u64,
        /// When the system call of the mount family began that the thread is in; 0 if it is in none,
        /// or if nobody saw its begin.
        pub begin_ktime_ns: u64,
    }
}

record! {
    /// The state of one `struct mount`. 144 bytes, then the source: `source_bytes` bytes of a
    /// field of [`SOURCE_BYTES_SHORT`] or [`SOURCE_BYTES_MAX`] bytes.
    pub struct MountRecord {
        /// Kind MOUNT.
        pub header: Header,
        /// Address of the `struct mount`.
        pub mnt: u64,
        /// `mnt_parent`: itself for a root.
        pub parent: u64,
        /// `mnt_ns`; 0 for a mount in no namespace.
        pub ns: u64,
        /// `mnt.mnt_sb`.
        pub sb: u64,
        /// `mnt.mnt_root`.
        pub root: u64,
        /// `mnt_mountpoint`.
        pub mountpoint: u64,
        /// `mnt_id_unique`, 0 before 6.8.
        pub unique_id: u64,
        /// ID of the namespace: `ns.ns_id`, `seq` until 6.17. 0 where there is none.
        pub ns_id: u64,
        /// `mnt_id`: reused.
        pub mnt_id: u32,
        /// `mnt_parent->mnt_id`.
        pub parent_id: u32,
        /// `ns.inum`.
        pub ns_inum: u32,
        /// `mnt_group_id`.
        pub group: u32,
        /// `mnt_master->mnt_group_id`.
        pub master: u32,
        /// `mnt.mnt_flags`, as the kernel has them.
        pub mnt_flags: u32,
        /// `mnt.mnt_sb->s_dev`: major << 20 | minor.
        pub dev: u32,
        /// `mnt.mnt_sb->s_flags`, lower half.
        pub sb_flags: u32,
        /// Bytes of the source that follow, without the final zero.
        pub source_bytes: u32,
        /// Zero.
        pub reserved: u32,
        /// Address of the `struct mount` that this one is a copy of; 0 if it is none, or if that is
        /// not known. It may be freed by now.
        pub copied_from: u64,
    }
}

record! {
    /// A MOUNT with a source of up to [`SOURCE_BYTES_SHORT`] bytes. 192 bytes.
    pub struct MountShort {
        /// The fixed part.
        pub mount: MountRecord,
        /// `mnt_devname`.
        pub source: [u8; SOURCE_BYTES_SHORT],
    }
}

record! {
    /// A MOUNT with a longer source.
    pub struct MountLong {
        /// The fixed part.
        pub mount: MountRecord,
        /// `mnt_devname`.
        pub source: [u8; SOURCE_BYTES_MAX],
    }
}

record! {
    /// The place of one dentry, told before the first mount that needs it, and after each change.
    /// 64 bytes, then the name: `name_bytes` bytes of a field of [`NAME_BYTES_SHORT`] or 256 bytes.
    pub struct DentryRecord {
        /// Kind DENTRY.
        pub header: Header,
        /// Address of the `struct dentry`.
        pub dentry: u64,
        /// `d_parent`: itself for a root.
        pub parent: u64,
        /// `d_inode->i_ino`.
        pub ino: u64,
        /// Bytes of the name that follow.
        pub name_bytes: u32,
        /// Zero.
        pub reserved: u32,
    }
}

record! {
    /// A DENTRY with a short name. 104 bytes.
    pub struct DentryShort {
        /// The fixed part.
        pub dentry: DentryRecord,
        /// `d_name.name`.
        pub name: [u8; NAME_BYTES_SHORT],
    }
}

record! {
    /// A DENTRY with a long name. 320 bytes.
    pub struct DentryLong {
        /// The fixed part.
        pub dentry: DentryRecord,
        /// `d_name.name`.
        pub name: [u8; NAME_BYTES_MAX + 1],
    }
}

record! {
    /// The state of one `struct super_block`, told before the first mount that needs it, and after
    /// each change. 160 bytes.
    pub struct SuperRecord {
        /// Kind SUPER.
        pub header: Header,
        /// Address of the `struct super_block`.
        pub sb: u64,
        /// `s_magic`.
        pub magic: u64,
        /// `s_dev`.
        pub dev: u32,
        /// `s_flags`, lower half.
        pub sb_flags: u32,
        /// `s_type->name`, ended by a zero.
        pub fs_type: [u8; 40],
        /// `s_subtype`, ended by a zero.
        pub subtype: [u8; 64],
    }
}

record! {
    /// A peer group died; its slaves now have the master of its last member. 48 bytes.
    pub struct GroupRecord {
        /// Kind GROUP_DEAD.
        pub header: Header,
        /// Address of the last member's `struct mount`.
        pub mnt: u64,
        /// The group's ID.
        pub group: u32,
        /// Group of the last member's master, 0 for none, as far as the kernel still has it.
        pub master: u32,
    }
}

record! {
    /// A mount namespace was born or died. 64 bytes.
    pub struct NamespaceRecord {
        /// Kind NAMESPACE_BORN or NAMESPACE_GONE.
        pub header: Header,
        /// Address of the `struct mnt_namespace`.
        pub ns: u64,
        /// Its ID, 0 where the kernel has none.
        pub ns_id: u64,
        /// Address of its root mount, 0 if there is none any more.
        pub root: u64,
        /// `ns.inum`.
        pub inum: u32,
        /// Thread ID (in the initial PID namespace) of a task in it where one is known, else 0.
        pub task: u32,
    }
}

record! {
    /// The end of one change, with the task that made it. 72 bytes.
    pub struct CommitRecord {
        /// Kind COMMIT.
        pub header: Header,
        /// `comm` of the task.
        pub comm: [u8; 16],
        /// `bpf_get_current_cgroup_id`.
        pub cgroup_id: u64,
        /// Real user ID in the initial user namespace (`bpf_get_current_uid_gid`).
        pub uid: u32,
        /// Zero.
        pub reserved: u32,
        /// Records lost so far, on all CPUs.
        pub records_lost: u64,
    }
}

record! {
    /// A system call of the mount family begins (back end `notify`) or returns. 176 bytes.
    pub struct CallRecord {
        /// Kind CALL.
        pub header: Header,
        /// The call's arguments as given, those that it does not have undefined. Of a call that
        /// renames or deletes names: [`crate::name::hash`] of the last component of each path that
        /// it was given, 0 for one that could not be read.
        pub args: [u64; 6],
        /// Its result; 0 when it begins.
        pub ret: i64,
        /// ID of the caller's mount namespace, 0 where the kernel has none.
        pub ns_id: u64,
        /// Inode of the caller's mount namespace.
        pub ns_inum: u32,
        /// Real user ID in the initial user namespace.
        pub uid: u32,
        /// Number of the call on this architecture.
        pub call: u32,
        /// Zero.
        pub reserved: u32,
        /// `comm` of the task.
        pub comm: [u8; 16],
        /// `bpf_get_current_cgroup_id`.
        pub cgroup_id: u64,
        /// What follows is 0 when the call begins, and what the kernel does not tell is 0 too.
        /// `real_parent->tgid`, in the initial PID namespace.
        pub parent_pid: u32,
        /// `ns.inum` of the task's PID namespace.
        pub pid_ns_inum: u32,
        /// `real_parent->comm`.
        pub parent_comm: [u8; 16],
        /// What the task executes: [`NameRecord::key`] of its path.
        pub executable: u64,
        /// Its cgroup: [`NameRecord::key`] of its path.
        pub cgroup: u64,
    }
}

record! {
    /// One component of a path, the last one first; told once, before the first CALL that needs it,
    /// and again when it changed. 312 bytes.
    pub struct NameRecord {
        /// Kind NAME.
        pub header: Header,
        /// What the path is of: an address.
        pub key: u64,
        /// Which component, from 0.
        pub index: u32,
        /// Bytes of the component.
        pub name_bytes: u32,
        /// The component; none for the root alone.
        pub name: [u8; NAME_BYTES_MAX + 1],
        /// Zero.
        pub reserved: u64,
    }
}

record! {
    /// A text argument of a system call. 48 bytes, then the text:
    /// `text_bytes` bytes of a field of [`TEXT_BYTES_SHORT`] or [`TEXT_BYTES_MAX`] bytes.
    pub struct ArgumentRecord {
        /// Kind ARGUMENT.
        pub header: Header,
        /// Number of the call on this architecture.
        pub call: u32,
        /// Which argument, from 0.
        pub index: u32,
        /// Bytes of the text that follow, without the final zero.
        pub text_bytes: u32,
        /// Zero.
        pub reserved: u32,
    }
}

record! {
    /// An ARGUMENT with a short text. 112 bytes.
    pub struct ArgumentShort {
        /// The fixed part.
        pub argument: ArgumentRecord,
        /// The text.
        pub text: [u8; TEXT_BYTES_SHORT],
    }
}

record! {
    /// An ARGUMENT with a longer text.
    pub struct ArgumentLong {
        /// The fixed part.
        pub argument: ArgumentRecord,
        /// The text.
        pub text: [u8; TEXT_BYTES_MAX],
    }
}

record! {
    /// A mount may have changed without a notification: when a call returned that changes such
    /// things it was not as it was when it was told last. Userspace looks at it. 40 bytes.
    pub struct GlanceRecord {
        /// Kind GLANCE.
        pub header: Header,
        /// `mnt_id_unique`.
        pub unique_id: u64,
    }
}

/// Bytes of the largest record.
pub const RECORD_BYTES_MAX: usize = size_of::<MountLong>();

// The sizes are part of the contract with the committed object: a change here is a change there.
const _: () = {
    assert!(size_of::<Header>() == 32);
    assert!(size_of::<MountRecord>() == 144);
    assert!(size_of::<MountShort>() == 192);
    assert!(size_of::<DentryRecord>() == 64);
    assert!(size_of::<DentryShort>() == 104);
    assert!(size_of::<DentryLong>() == 320);
    assert!(size_of::<SuperRecord>() == 160);
    assert!(size_of::<GroupRecord>() == 48);
    assert!(size_of::<NamespaceRecord>() == 64);
    assert!(size_of::<CommitRecord>() == 72);
    assert!(size_of::<CallRecord>() == 176);
    assert!(size_of::<ArgumentRecord>() == 48);
    assert!(size_of::<ArgumentShort>() == 112);
    assert!(size_of::<GlanceRecord>() == 40);
    assert!(size_of::<NameRecord>() == 312);
};
