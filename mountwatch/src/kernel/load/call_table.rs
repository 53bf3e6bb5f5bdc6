//! The system calls that are followed, and what the kernel side does about each.

use crate::model::Call as Model;
use mountwatch_common::record::{CallRecord, flag};

/// Calls that the kernel side has room for: its `RULES`, [`WORDS`] words each.
const RULES: usize = 512;
const WORDS: usize = 8;
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
    /// What it is an operation of; `None` for calls about names.
    model: Option<Model>,
    /// Arguments that are texts if the second argument is one of some numbers, as bits.
    texts_some: &'static [u32],
    texts_when: u32,
    /// It concerns us if one of these bits is set in the first argument (0: always).
    concerns: u32,
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
    Call {
        name,
        number,
        texts,
        attributes: None,
        model: None,
        texts_some: &[],
        texts_when: 0,
        concerns: 0,
    }
}

const fn of(model: Model, name: &'static str, number: i64, texts: &'static [u32]) -> Call {
    Call { model: Some(model), ..call(name, number, texts) }
}

impl Call {
    const fn changes(self, flags_index: u32, any: u32, none: u32) -> Self {
        Self { attributes: Some(Attributes { flags_index, any, none }), ..self }
    }
}

/// `FSCONFIG_SET_STRING`, `FSCONFIG_SET_PATH` and `FSCONFIG_SET_PATH_EMPTY`, as bits.
const FSCONFIG_TEXTS: u32 = 1 << 1 | 1 << 3 | 1 << 4;
/// `CLONE_NEWNS`.
const NEWNS: u32 = 1 << 17;

/// The calls of the mount family. Clone is not among them: births by clone come from
/// `sched_process_fork`, or from the kernel's own function for them.
pub(super) const MOUNT_CALLS: &[Call] = &[
    of(Model::Mount, "mount", libc::SYS_mount, &[0, 1, 2, 4]).changes(
        3,
        MS_REMOUNT | MS_PROPAGATION,
        0,
    ),
    of(Model::Umount2, "umount", libc::SYS_umount2, &[0]),
    of(Model::MoveMount, "move_mount", libc::SYS_move_mount, &[1, 3]).changes(
        4,
        MOVE_MOUNT_SET_GROUP,
        0,
    ),
    of(Model::OpenTree, "open_tree", libc::SYS_open_tree, &[1]),
    of(Model::OpenTreeAttr, "open_tree_attr", SYS_OPEN_TREE_ATTR, &[1]).changes(
        2,
        0,
        OPEN_TREE_CLONE,
    ),
    of(Model::Fsopen, "fsopen", libc::SYS_fsopen, &[0]),
    Call {
        texts_some: &[3],
        texts_when: FSCONFIG_TEXTS,
        ..of(Model::Fsconfig, "fsconfig", libc::SYS_fsconfig, &[2])
    },
    of(Model::Fsmount, "fsmount", libc::SYS_fsmount, &[]),
    of(Model::Fspick, "fspick", libc::SYS_fspick, &[1]),
    of(Model::MountSetattr, "mount_setattr", libc::SYS_mount_setattr, &[1]).changes(2, 0, 0),
    of(Model::PivotRoot, "pivot_root", libc::SYS_pivot_root, &[0, 1]),
    Call { concerns: NEWNS, ..of(Model::Unshare, "unshare", libc::SYS_unshare, &[]) },
    of(Model::Setns, "setns", libc::SYS_setns, &[]),
];

/// Numbers that callers with 32 bits give on x86, arch/x86/entry/syscalls/syscall_32.tbl.
const COMPAT_NUMBERS: &[(Model, usize)] = &[
    (Model::Mount, 21),
    (Model::Umount2, 52),
    (Model::PivotRoot, 217),
    (Model::Unshare, 310),
    (Model::Setns, 346),
    (Model::OpenTree, 428),
    (Model::MoveMount, 429),
    (Model::Fsopen, 430),
    (Model::Fsconfig, 431),
    (Model::Fsmount, 432),
    (Model::Fspick, 433),
    (Model::MountSetattr, 442),
    (Model::OpenTreeAttr, 467),
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

/// The operation that the call of a number is; `None` if it is none that is followed.
pub(crate) fn call_of(number: u32, is_compat: bool) -> Option<Model> {
    if is_compat {
        let number = usize::try_from(number).ok();
        let found = COMPAT_NUMBERS.iter().find(|(_, other)| Some(*other) == number);
        return found.map(|(call, _)| *call);
    }
    MOUNT_CALLS.iter().find(|call| call.number == i64::from(number)).and_then(|call| call.model)
}

/// The operation that a record tells of; `None` if it is none.
pub(crate) fn operation_of(record: &CallRecord) -> Option<Model> {
    let is_compat = record.header.flags & flag::COMPAT != 0;
    let call = call_of(record.call, is_compat)?;
    let [first, ..] = record.args;
    let concerns = call != Model::Unshare || first & u64::from(NEWNS) != 0;
    concerns.then_some(call)
}

/// The table as the kernel side takes it (`RULES`), by numbers of this architecture.
pub(super) fn rules() -> Vec<u32> {
    let mut rules = vec![0; RULES * WORDS];
    for call in MOUNT_CALLS.iter().chain(NAME_CALLS) {
        put(&mut rules, usize::try_from(call.number).unwrap_or(RULES), call);
    }
    rules
}

/// The same by the numbers that callers with 32 bits give (`RULES_COMPAT`).
pub(super) fn rules_compat() -> Vec<u32> {
    let mut rules = vec![0; RULES * WORDS];
    for (model, number) in COMPAT_NUMBERS {
        for call in MOUNT_CALLS.iter().filter(|call| call.model == Some(*model)) {
            put(&mut rules, *number, call);
        }
    }
    rules
}

fn put(rules: &mut [u32], number: usize, call: &Call) {
    let bits = |indexes: &[u32]| indexes.iter().fold(0, |bits, index| bits | 1 << index);
    // What never changes attributes is never asked.
    let Attributes { flags_index, any, none } =
        call.attributes.unwrap_or(Attributes { flags_index: 0, any: 0, none: 0 });
    let (texts, texts_some) = (bits(call.texts), bits(call.texts_some));
    let words = [texts, flags_index, any, none, texts_some, call.texts_when, call.concerns, 0];
    if let Some(rule) = rules.get_mut(number * WORDS..(number + 1) * WORDS) {
        rule.copy_from_slice(&words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ArgumentKind;

    #[test]
    fn texts_are_those_of_the_operation() {
        for call in MOUNT_CALLS {
            let model = call.model.unwrap();
            let texts = call.texts.iter().chain(call.texts_some);
            let mut told: Vec<_> = texts.map(|index| usize::try_from(*index).unwrap()).collect();
            told.sort_unstable();
            let named = model.arguments().iter().enumerate();
            let named = named.filter(|(_, (_, kind))| *kind == ArgumentKind::Text);
            assert_eq!(told, named.map(|(index, _)| index).collect::<Vec<_>>(), "{}", call.name);
            let compat = COMPAT_NUMBERS.iter().filter(|(other, _)| *other == model).count();
            assert_eq!(compat, 1, "{}", call.name);
        }
    }

    #[test]
    fn every_call_has_its_own_rule() {
        let rules = rules();
        let rule = |number: i64| {
            let at = usize::try_from(number).unwrap() * WORDS;
            rules.get(at..at + WORDS).unwrap()
        };
        assert_eq!(
            rule(libc::SYS_mount),
            [0b1_0111, 3, MS_REMOUNT | MS_PROPAGATION, 0, 0, 0, 0, 0]
        );
        assert_eq!(rule(libc::SYS_renameat2), [0b1010, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(rule(libc::SYS_mount_setattr), [0b10, 2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(rule(libc::SYS_getppid), [0; WORDS]);
        assert_eq!(rule(libc::SYS_fsconfig), [0b100, 0, 0, 0, 0b1000, FSCONFIG_TEXTS, 0, 0]);
        assert_eq!(rule(libc::SYS_unshare), [0, 0, 0, 0, 0, 0, NEWNS, 0]);
        let compat = rules_compat();
        assert_eq!(compat.get(21 * WORDS), Some(&0b1_0111));
        assert_eq!(call_of(21, true), Some(Model::Mount));
        assert_eq!(call_of(u32::try_from(libc::SYS_mount).unwrap(), false), Some(Model::Mount));
        assert_eq!(call_of(u32::try_from(libc::SYS_rename).unwrap(), false), None);
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
