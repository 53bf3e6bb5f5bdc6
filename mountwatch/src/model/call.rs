//! What makes operations: the system calls of the mount family with their arguments, and the kernel
//! by itself.

/// How one argument of a system call is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentKind {
    /// A text in the caller's memory.
    Text,
    /// A descriptor of the directory that a path begins at; `AT_FDCWD` is -100.
    Directory,
    /// Another descriptor.
    Descriptor,
    /// Flags with their names.
    Flags(&'static [(u64, &'static str)]),
    /// One of several numbers with names.
    Word(&'static [(u64, &'static str)]),
    /// A number.
    Number,
    /// An address in the caller's memory that nothing was read from.
    Address,
}

/// What makes an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// mount(2).
    Mount,
    /// umount2(2), and the older umount(2).
    Umount2,
    /// move_mount(2), since 5.2.
    MoveMount,
    /// open_tree(2), since 5.2.
    OpenTree,
    /// open_tree_attr(2), since 6.15.
    OpenTreeAttr,
    /// fsopen(2), since 5.2.
    Fsopen,
    /// fsconfig(2), since 5.2.
    Fsconfig,
    /// fsmount(2), since 5.2.
    Fsmount,
    /// fspick(2), since 5.2.
    Fspick,
    /// mount_setattr(2), since 5.12.
    MountSetattr,
    /// pivot_root(2).
    PivotRoot,
    /// unshare(2) with `CLONE_NEWNS`.
    Unshare,
    /// clone(2) or clone3(2) with `CLONE_NEWNS`. Told by what it made: without duration and result.
    Clone,
    /// setns(2), where it ended the life of a mount namespace.
    Setns,
    /// Kernel-made: a path led to an automount point (`finish_automount`).
    Automount,
    /// Kernel-made: an automount was not used for some time (`mark_mounts_for_expiry`).
    Expiry,
    /// Kernel-made: the last user of a mount namespace left it (`put_mnt_ns`).
    NamespaceDeath,
    /// Kernel-made: the name that something was mounted on was deleted, perhaps in another mount
    /// namespace, or became invalid (`__detach_mounts`).
    MountpointGone,
    /// Somebody did it by a call that was not seen, or whose end was not.
    Unseen,
}

/// The name of an argument, and how it is to be read.
pub type ArgumentName = (&'static str, ArgumentKind);

struct Row {
    call: Call,
    name: &'static str,
    arguments: &'static [ArgumentName],
}

impl Call {
    /// The kernel's name, in all outputs.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.name)
    }

    /// The call of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        CALLS.iter().find(|row| row.name == name).map(|row| row.call)
    }

    /// Every call.
    pub fn all() -> impl Iterator<Item = Self> {
        CALLS.iter().map(|row| row.call)
    }

    /// The kernel did it by itself, or for a system call that is not of the mount family: there are
    /// no arguments, no duration and no result.
    pub fn is_kernel_made(self) -> bool {
        matches!(self, Self::Automount | Self::Expiry | Self::NamespaceDeath | Self::MountpointGone)
    }

    /// Its arguments, in the order of the system call.
    pub fn arguments(self) -> &'static [ArgumentName] {
        self.row().map_or(&[], |row| row.arguments)
    }

    fn row(self) -> Option<&'static Row> {
        CALLS.iter().find(|row| row.call == self)
    }
}

use ArgumentKind::{Address, Descriptor, Directory, Flags, Number, Text, Word};

const fn row(call: Call, name: &'static str, arguments: &'static [ArgumentName]) -> Row {
    Row { call, name, arguments }
}

const CALLS: &[Row] = &[
    row(
        Call::Mount,
        "mount",
        &[
            ("source", Text),
            ("target", Text),
            ("fstype", Text),
            ("flags", Flags(MS)),
            ("data", Text),
        ],
    ),
    row(Call::Umount2, "umount2", &[("target", Text), ("flags", Flags(UMOUNT))]),
    row(
        Call::MoveMount,
        "move_mount",
        &[
            ("from_dfd", Directory),
            ("from_path", Text),
            ("to_dfd", Directory),
            ("to_path", Text),
            ("flags", Flags(MOVE_MOUNT)),
        ],
    ),
    row(
        Call::OpenTree,
        "open_tree",
        &[("dfd", Directory), ("path", Text), ("flags", Flags(OPEN_TREE))],
    ),
    row(
        Call::OpenTreeAttr,
        "open_tree_attr",
        &[
            ("dfd", Directory),
            ("path", Text),
            ("flags", Flags(OPEN_TREE)),
            ("attr", Address),
            ("size", Number),
        ],
    ),
    row(Call::Fsopen, "fsopen", &[("fstype", Text), ("flags", Flags(FSOPEN))]),
    row(
        Call::Fsconfig,
        "fsconfig",
        &[
            ("fd", Descriptor),
            ("cmd", Word(FSCONFIG)),
            ("key", Text),
            ("value", Text),
            ("aux", Number),
        ],
    ),
    row(
        Call::Fsmount,
        "fsmount",
        &[("fs_fd", Descriptor), ("flags", Flags(FSMOUNT)), ("attr_flags", Flags(MOUNT_ATTR))],
    ),
    row(Call::Fspick, "fspick", &[("dfd", Directory), ("path", Text), ("flags", Flags(FSPICK))]),
    row(
        Call::MountSetattr,
        "mount_setattr",
        &[
            ("dfd", Directory),
            ("path", Text),
            ("flags", Flags(AT)),
            ("attr", Address),
            ("size", Number),
        ],
    ),
    row(Call::PivotRoot, "pivot_root", &[("new_root", Text), ("put_old", Text)]),
    row(Call::Unshare, "unshare", &[("flags", Flags(CLONE))]),
    row(Call::Clone, "clone", &[]),
    row(Call::Setns, "setns", &[("fd", Descriptor), ("nstype", Flags(CLONE))]),
    row(Call::Automount, "automount", &[]),
    row(Call::Expiry, "expiry", &[]),
    row(Call::NamespaceDeath, "namespace_death", &[]),
    row(Call::MountpointGone, "mountpoint_gone", &[]),
    row(Call::Unseen, "unseen", &[]),
];

// Of include/uapi/linux/mount.h, fcntl.h and sched.h.
const MS: &[(u64, &str)] = &[
    (1, "MS_RDONLY"),
    (1 << 1, "MS_NOSUID"),
    (1 << 2, "MS_NODEV"),
    (1 << 3, "MS_NOEXEC"),
    (1 << 4, "MS_SYNCHRONOUS"),
    (1 << 5, "MS_REMOUNT"),
    (1 << 6, "MS_MANDLOCK"),
    (1 << 7, "MS_DIRSYNC"),
    (1 << 8, "MS_NOSYMFOLLOW"),
    (1 << 10, "MS_NOATIME"),
    (1 << 11, "MS_NODIRATIME"),
    (1 << 12, "MS_BIND"),
    (1 << 13, "MS_MOVE"),
    (1 << 14, "MS_REC"),
    (1 << 15, "MS_SILENT"),
    (1 << 16, "MS_POSIXACL"),
    (1 << 17, "MS_UNBINDABLE"),
    (1 << 18, "MS_PRIVATE"),
    (1 << 19, "MS_SLAVE"),
    (1 << 20, "MS_SHARED"),
    (1 << 21, "MS_RELATIME"),
    (1 << 22, "MS_KERNMOUNT"),
    (1 << 23, "MS_I_VERSION"),
    (1 << 24, "MS_STRICTATIME"),
    (1 << 25, "MS_LAZYTIME"),
];
const UMOUNT: &[(u64, &str)] =
    &[(1, "MNT_FORCE"), (2, "MNT_DETACH"), (4, "MNT_EXPIRE"), (8, "UMOUNT_NOFOLLOW")];
const MOVE_MOUNT: &[(u64, &str)] = &[
    (1, "MOVE_MOUNT_F_SYMLINKS"),
    (2, "MOVE_MOUNT_F_AUTOMOUNTS"),
    (4, "MOVE_MOUNT_F_EMPTY_PATH"),
    (0x10, "MOVE_MOUNT_T_SYMLINKS"),
    (0x20, "MOVE_MOUNT_T_AUTOMOUNTS"),
    (0x40, "MOVE_MOUNT_T_EMPTY_PATH"),
    (0x100, "MOVE_MOUNT_SET_GROUP"),
    (0x200, "MOVE_MOUNT_BENEATH"),
];
const OPEN_TREE: &[(u64, &str)] = &[
    (1, "OPEN_TREE_CLONE"),
    (2, "OPEN_TREE_NAMESPACE"),
    (0x100, "AT_SYMLINK_NOFOLLOW"),
    (0x800, "AT_NO_AUTOMOUNT"),
    (0x1000, "AT_EMPTY_PATH"),
    (0x8000, "AT_RECURSIVE"),
    (0x8_0000, "OPEN_TREE_CLOEXEC"),
];
const AT: &[(u64, &str)] = &[
    (0x100, "AT_SYMLINK_NOFOLLOW"),
    (0x800, "AT_NO_AUTOMOUNT"),
    (0x1000, "AT_EMPTY_PATH"),
    (0x8000, "AT_RECURSIVE"),
];
const FSOPEN: &[(u64, &str)] = &[(1, "FSOPEN_CLOEXEC")];
const FSPICK: &[(u64, &str)] = &[
    (1, "FSPICK_CLOEXEC"),
    (2, "FSPICK_SYMLINK_NOFOLLOW"),
    (4, "FSPICK_NO_AUTOMOUNT"),
    (8, "FSPICK_EMPTY_PATH"),
];
const FSMOUNT: &[(u64, &str)] = &[(1, "FSMOUNT_CLOEXEC"), (2, "FSMOUNT_NAMESPACE")];
const MOUNT_ATTR: &[(u64, &str)] = &[
    (0x1, "MOUNT_ATTR_RDONLY"),
    (0x2, "MOUNT_ATTR_NOSUID"),
    (0x4, "MOUNT_ATTR_NODEV"),
    (0x8, "MOUNT_ATTR_NOEXEC"),
    (0x10, "MOUNT_ATTR_NOATIME"),
    (0x20, "MOUNT_ATTR_STRICTATIME"),
    (0x80, "MOUNT_ATTR_NODIRATIME"),
    (0x10_0000, "MOUNT_ATTR_IDMAP"),
    (0x20_0000, "MOUNT_ATTR_NOSYMFOLLOW"),
];
const FSCONFIG: &[(u64, &str)] = &[
    (0, "FSCONFIG_SET_FLAG"),
    (1, "FSCONFIG_SET_STRING"),
    (2, "FSCONFIG_SET_BINARY"),
    (3, "FSCONFIG_SET_PATH"),
    (4, "FSCONFIG_SET_PATH_EMPTY"),
    (5, "FSCONFIG_SET_FD"),
    (6, "FSCONFIG_CMD_CREATE"),
    (7, "FSCONFIG_CMD_RECONFIGURE"),
    (8, "FSCONFIG_CMD_CREATE_EXCL"),
];
const CLONE: &[(u64, &str)] = &[
    (0x80, "CLONE_NEWTIME"),
    (0x200, "CLONE_FS"),
    (0x400, "CLONE_FILES"),
    (0x2_0000, "CLONE_NEWNS"),
    (0x4_0000, "CLONE_SYSVSEM"),
    (0x200_0000, "CLONE_NEWCGROUP"),
    (0x400_0000, "CLONE_NEWUTS"),
    (0x800_0000, "CLONE_NEWIPC"),
    (0x1000_0000, "CLONE_NEWUSER"),
    (0x2000_0000, "CLONE_NEWPID"),
    (0x4000_0000, "CLONE_NEWNET"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_a_name_of_its_own() {
        for call in Call::all() {
            assert_eq!(Call::from_name(call.name()), Some(call));
            assert!(!call.name().is_empty());
            assert!(!call.is_kernel_made() || call.arguments().is_empty());
        }
        assert_eq!(Call::from_name("getppid"), None);
    }

    #[test]
    fn bits_are_named_once() {
        for call in Call::all() {
            for (name, kind) in call.arguments() {
                let Flags(names) = kind else { continue };
                let mut bits = 0;
                for (bit, word) in *names {
                    assert_eq!(bit.count_ones(), 1, "{} {name} {word}", call.name());
                    assert_eq!(bits & bit, 0, "{} {name} {word}", call.name());
                    bits |= bit;
                }
            }
        }
    }

    #[test]
    #[expect(clippy::unwrap_used, reason = "a test")]
    fn flags_are_those_of_libc() {
        let bit = |call: Call, index: usize, word: &str| {
            let (_, Flags(names)) = call.arguments().get(index).unwrap() else {
                panic!("no flags")
            };
            names.iter().find(|(_, name)| *name == word).unwrap().0
        };
        assert_eq!(bit(Call::Mount, 3, "MS_BIND"), libc::MS_BIND);
        assert_eq!(bit(Call::Mount, 3, "MS_SHARED"), libc::MS_SHARED);
        assert_eq!(bit(Call::Mount, 3, "MS_STRICTATIME"), libc::MS_STRICTATIME);
        assert_eq!(bit(Call::Umount2, 1, "MNT_DETACH"), u64::from(libc::MNT_DETACH.unsigned_abs()));
        let clone = u64::from(libc::CLONE_NEWNS.unsigned_abs());
        assert_eq!(bit(Call::Unshare, 0, "CLONE_NEWNS"), clone);
    }
}
