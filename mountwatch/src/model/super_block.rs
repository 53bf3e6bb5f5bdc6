//! File system instances.

use super::{Bytes, Device, MountKey, SuperKey};
use bitflags::bitflags;

bitflags! {
    /// Flags of a super block that mountinfo(5) shows before its options, in the kernel's own
    /// numbers (include/linux/fs.h).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SuperFlags: u32 {
        /// `ro`.
        const RDONLY = 1;
        /// `sync`.
        const SYNCHRONOUS = 1 << 4;
        /// `mand` (gone since 5.15).
        const MANDLOCK = 1 << 6;
        /// `dirsync`.
        const DIRSYNC = 1 << 7;
        /// `lazytime`.
        const LAZYTIME = 1 << 25;
    }
}

/// One file system instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuperBlock {
    /// What it is known by in this index.
    pub key: SuperKey,
    /// `s_dev`.
    pub device: Device,
    /// `s_magic`; 0 where the back end does not know it.
    pub magic: u64,
    /// The flags that mountinfo shows.
    pub flags: SuperFlags,
    /// Type with its subtype: `ext4`, `fuse.sshfs`.
    pub fs_type: Bytes,
    /// Options as the file system shows them, without `rw`/`ro` and the flags above, escaped as the
    /// kernel writes them. `None`: not asked yet, or changed since.
    pub options: Option<Bytes>,
    /// How many mounts of the index show it.
    pub mounts: u32,
    /// The mount that was told last among them: one to ask the kernel about, while it is there.
    pub shown_by: Option<MountKey>,
}

/// File systems without a device of their own that change flags or options by themselves: on an
/// error, when a connection comes back, or when their own daemon asks for it (autofs: the timeout).
const CHANGE_BY_THEMSELVES: [&[u8]; 7] =
    [b"autofs", b"btrfs", b"nfs", b"nfs4", b"cifs", b"smb3", b"ceph"];

/// What mountinfo(5) shows of some file systems and nothing but their own code knows, as a sentence
/// about what the index may say instead.
const PARTLY_SEEN: [(&[u8], &str); 4] = [
    (b"btrfs", "options of btrfs mounts may name another subvolume of the same file system"),
    (b"nfs", "sources of nfs mounts are those that they were mounted with"),
    (b"nfs4", "sources of nfs mounts are those that they were mounted with"),
    (b"afs", "sources of afs mounts are those that they were mounted with"),
];

impl SuperBlock {
    /// What the index may show differently from the kernel, because only the file system knows it.
    pub fn partly_seen(&self) -> Option<&'static str> {
        let row = PARTLY_SEEN.iter().find(|(fs_type, _)| *fs_type == &self.fs_type[..]);
        row.map(|(_, sentence)| *sentence)
    }

    /// Whether its flags and options may change without a call that reconfigures it: that of a disk
    /// on an error, and some others. No hook tells of that.
    pub fn changes_by_itself(&self) -> bool {
        self.device.major() != 0 || CHANGE_BY_THEMSELVES.contains(&&self.fs_type[..])
    }
}
