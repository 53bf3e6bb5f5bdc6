//! Words of commands in the kernel's numbers.

use crate::command::{Bytes, Propagation, UmountFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// A propagation type in the numbers of mount(2).
pub(crate) fn propagation_flag(propagation: Propagation) -> MountPropagationFlags {
    match propagation {
        Propagation::Shared => MountPropagationFlags::SHARED,
        Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
        Propagation::Private => MountPropagationFlags::PRIVATE,
        Propagation::Unbindable => MountPropagationFlags::UNBINDABLE,
    }
}

/// Flags of umount2(2).
pub(crate) fn umount_flags(flags: UmountFlags) -> UnmountFlags {
    let mut found = UnmountFlags::NOFOLLOW;
    found.set(UnmountFlags::DETACH, flags.lazy);
    found.set(UnmountFlags::FORCE, flags.force);
    found.set(UnmountFlags::EXPIRE, flags.expire);
    found
}

/// The bits for `mount_setattr(2)` of a name, and the bits of the group of which it is a value.
pub(crate) fn attribute(name: &str) -> Option<(u64, u64)> {
    const ATIME: u64 = 0x70;
    Some(match name {
        "ro" => (0x01, 0),
        "nosuid" => (0x02, 0),
        "nodev" => (0x04, 0),
        "noexec" => (0x08, 0),
        "relatime" => (0, ATIME),
        "noatime" => (0x10, ATIME),
        "strictatime" => (0x20, ATIME),
        "nodiratime" => (0x80, 0),
        "nosymfollow" => (0x20_0000, 0),
        _ => return None,
    })
}

/// Splits `ro,size=1m` into the flags of mount(2) and the data for the file system.
pub(crate) fn mount_options(options: &[u8]) -> (MountFlags, Vec<Bytes>) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for option in options.split(|byte| *byte == b',').filter(|option| !option.is_empty()) {
        flags |= match option {
            b"ro" => MountFlags::RDONLY,
            b"rw" => MountFlags::empty(),
            b"nosuid" => MountFlags::NOSUID,
            b"nodev" => MountFlags::NODEV,
            b"noexec" => MountFlags::NOEXEC,
            b"noatime" => MountFlags::NOATIME,
            b"nodiratime" => MountFlags::NODIRATIME,
            b"relatime" => MountFlags::RELATIME,
            b"strictatime" => MountFlags::STRICTATIME,
            b"sync" => MountFlags::SYNCHRONOUS,
            b"dirsync" => MountFlags::DIRSYNC,
            b"lazytime" => MountFlags::LAZYTIME,
            b"nosymfollow" => MountFlags::from_bits_retain(0x100),
            option => {
                data.push(option.to_vec());
                MountFlags::empty()
            }
        };
    }
    (flags, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_flags_of_the_call_or_data_for_the_file_system() {
        let (flags, data) = mount_options(b"ro,size=1m,nosuid,,mode=700");
        assert_eq!(flags, MountFlags::RDONLY | MountFlags::NOSUID);
        assert_eq!(data, [b"size=1m".to_vec(), b"mode=700".to_vec()]);
    }

    #[test]
    fn an_access_time_replaces_the_others() {
        assert_eq!(attribute("noatime"), Some((0x10, 0x70)));
        assert_eq!(attribute("frob"), None);
    }
}
