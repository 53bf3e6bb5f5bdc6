//! The system calls that the back end `notify` follows, and what the kernel side does about each.

/// Calls that the kernel side has room for: its `RULES`, four words each.
const RULES: usize = 512;
/// `open_tree_attr(2)`, since 6.15, on all architectures.
pub(crate) const SYS_OPEN_TREE_ATTR: i64 = 467;

pub(crate) const MS_REMOUNT: u32 = 1 << 5;
pub(crate) const MS_PROPAGATION: u32 = 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20;
pub(crate) const MOVE_MOUNT_SET_GROUP: u32 = 0x100;
pub(crate) const OPEN_TREE_CLONE: u32 = 1;

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// The name in its tracepoints, `sys_enter_…` and `sys_exit_…`.
    pub(super) name: &'static str,
    number: i64,
    /// Which arguments are texts.
    texts: &'static [u32],
    /// When it changes attributes of mounts.
    pub(super) attributes: Option<Attributes>,
}

/// When a call changes attributes: by the bits of one argument.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    flags_index: u32,
    /// One of these is set; 0: whatever is set.
    any: u32,
    /// None of these is.
    none: u32,
}

const fn call(name: &'static str, number: i64, texts: &'static [u32]) -> Call {
    Call { name, number, texts, attributes: None }
}

impl Call {
    const fn changes(self, flags_index: u32, any: u32, none: u32) -> Self {
        Self { attributes: Some(Attributes { flags_index, any, none }), ..self }
    }
}

/// The calls of the mount family. Clone is not among them: births by clone come from
/// `sched_process_fork`. What fsconfig(2) is given may be a secret.
pub(super) const MOUNT_CALLS: &[Call] = &[
    call("mount", libc::SYS_mount, &[0, 1, 2]).changes(3, MS_REMOUNT | MS_PROPAGATION, 0),
    call("umount", libc::SYS_umount2, &[0]),
    call("move_mount", libc::SYS_move_mount, &[1, 3]).changes(4, MOVE_MOUNT_SET_GROUP, 0),
    call("open_tree", libc::SYS_open_tree, &[1]),
    call("open_tree_attr", SYS_OPEN_TREE_ATTR, &[1]).changes(2, 0, OPEN_TREE_CLONE),
    call("fsopen", libc::SYS_fsopen, &[0]),
    call("fsconfig", libc::SYS_fsconfig, &[]),
    call("fsmount", libc::SYS_fsmount, &[]),
    call("fspick", libc::SYS_fspick, &[1]),
    call("mount_setattr", libc::SYS_mount_setattr, &[1]).changes(2, 0, 0),
    call("pivot_root", libc::SYS_pivot_root, &[0, 1]),
    call("unshare", libc::SYS_unshare, &[]),
    call("setns", libc::SYS_setns, &[]),
];

/// The calls that rename or delete names.
pub(super) const NAME_CALLS: &[Call] = &[
    #[cfg(target_arch = "x86_64")]
    call("rename", libc::SYS_rename, &[0, 1]),
    call("renameat", libc::SYS_renameat, &[1, 3]),
    call("renameat2", libc::SYS_renameat2, &[1, 3]),
    #[cfg(target_arch = "x86_64")]
    call("unlink", libc::SYS_unlink, &[0]),
    call("unlinkat", libc::SYS_unlinkat, &[1]),
    #[cfg(target_arch = "x86_64")]
    call("rmdir", libc::SYS_rmdir, &[0]),
];

/// How many names a call renames or deletes; `None` if it is not about names.
pub(crate) fn names_of(number: i64) -> Option<usize> {
    NAME_CALLS.iter().find(|call| call.number == number).map(|call| call.texts.len())
}

/// The table as the kernel side takes it (`RULES`): for each number its text arguments as bits, the
/// argument that decides whether it changes attributes, and the two masks of that.
pub(super) fn rules() -> Vec<u32> {
    let mut rules = vec![0; RULES * 4];
    for call in MOUNT_CALLS.iter().chain(NAME_CALLS) {
        let texts = call.texts.iter().fold(0, |texts, index| texts | 1 << index);
        // What never changes attributes is never asked.
        let Attributes { flags_index, any, none } =
            call.attributes.unwrap_or(Attributes { flags_index: 0, any: 0, none: 0 });
        let at = usize::try_from(call.number).unwrap_or(RULES) * 4;
        if let Some(rule) = rules.get_mut(at..at + 4) {
            rule.copy_from_slice(&[texts, flags_index, any, none]);
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_its_own_rule() {
        let rules = rules();
        let rule = |number: i64| {
            let at = usize::try_from(number).unwrap() * 4;
            rules.get(at..at + 4).unwrap()
        };
        assert_eq!(rule(libc::SYS_mount), [7, 3, MS_REMOUNT | MS_PROPAGATION, 0]);
        assert_eq!(rule(libc::SYS_renameat2), [0b1010, 0, 0, 0]);
        assert_eq!(rule(libc::SYS_mount_setattr), [0b10, 2, 0, 0]);
        assert_eq!(rule(libc::SYS_getppid), [0; 4]);
        assert_eq!(names_of(libc::SYS_renameat2), Some(2));
        assert_eq!(names_of(libc::SYS_unlinkat), Some(1));
        assert_eq!(names_of(libc::SYS_mount), None);
        let mut numbers: Vec<_> =
            MOUNT_CALLS.iter().chain(NAME_CALLS).map(|call| call.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), MOUNT_CALLS.len() + NAME_CALLS.len());
        assert!(numbers.iter().all(|number| usize::try_from(*number).is_ok_and(|at| at < RULES)));
    }
}
