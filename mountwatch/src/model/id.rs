//! Identities. Each is a type of its own, so that none is taken for another.

use std::fmt;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

id! {
    /// What a mount is known by inside the index: the address of its `struct mount` (back end
    /// `hooks`; stable until it left) or its unique mount ID (back ends without addresses).
    MountKey(u64);
    /// What a dentry is known by inside the index: its address, or a number given by the back end.
    DentryKey(u64);
    /// What a super block is known by inside the index: its address, or its device.
    SuperKey(u64);
    /// What a mount namespace is known by inside the index: its address, or its ID.
    NamespaceKey(u64);
    /// `mnt_id`: unique among living mounts, reused soon after. mountinfo(5) field 1.
    MountId(u32);
    /// `mnt_id_unique`, since 6.8: never reused in a boot, greater than 2^31.
    UniqueMountId(u64);
    /// ID of a mount namespace, never reused in a boot: `mnt_ns_id` of statmount(2), since 6.8.
    NamespaceId(u64);
    /// Inode of `/proc/PID/ns/mnt`. Reused.
    NamespaceInode(u32);
    /// `mnt_group_id`: the N of `shared:N` and `master:N`. Reused.
    PeerGroupId(u32);
    /// Number of a published state of the index, from 1. It grows with each published transaction.
    Revision(u64);
}

impl NamespaceInode {
    /// The inode in `mnt:[N]`, as the kernel names a mount namespace.
    pub fn of_name(name: &[u8]) -> Option<Self> {
        let digits = name.strip_prefix(b"mnt:[")?.strip_suffix(b"]")?;
        Some(Self(std::str::from_utf8(digits).ok()?.parse().ok()?))
    }
}

/// A device number as the kernel keeps it: `major << 20 | minor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device(pub u32);

impl Device {
    /// From the two halves that statmount(2) and mountinfo(5) give.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self((major << 20) | (minor & 0xf_ffff))
    }

    /// The upper 12 bits.
    pub const fn major(self) -> u32 {
        self.0 >> 20
    }

    /// The lower 20 bits.
    pub const fn minor(self) -> u32 {
        self.0 & 0xf_ffff
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major(), self.minor())
    }
}
