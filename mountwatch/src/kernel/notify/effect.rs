//! What a system call of the mount family does, by its number and its arguments.

use crate::kernel::load::call_table::{
    MOVE_MOUNT_SET_GROUP, MS_PROPAGATION, MS_REMOUNT, OPEN_TREE_CLONE, SYS_OPEN_TREE_ATTR,
};

const MS_BIND: u64 = 1 << 12;
const MS_MOVE: u64 = 1 << 13;
/// An old caller may put this into the upper half of the flags of mount(2).
const MS_MAGIC: u64 = 0xc0ed_0000;
const MS_MAGIC_MASK: u64 = 0xffff_0000;
const OPEN_TREE_NAMESPACE: u64 = 1 << 1;
const FSMOUNT_NAMESPACE: u64 = 1 << 1;
const FSCONFIG_CMD_RECONFIGURE: u64 = 7;

/// What a call that succeeds notifies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Class {
    /// Nothing.
    #[default]
    Silent,
    /// Mounts come.
    Attach,
    /// Mounts leave.
    Detach,
    /// A mount leaves its place and comes to another one.
    Move,
    /// One of the two: it depends on where the mount was.
    AttachOrMove,
}

/// What a call that succeeded did.
#[expect(clippy::struct_excessive_bools, reason = "each is an independent fact")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// What it notified.
    pub(super) class: Class,
    /// Attributes or propagation of mounts changed without a notification.
    pub(super) attributes: bool,
    /// Those may be in another namespace than the caller's: the kernel asks for the rights there,
    /// not for the place (since 6.17).
    pub(super) elsewhere: bool,
    /// Flags or options of a super block changed.
    pub(super) super_blocks: bool,
    /// It made a namespace that it is not in itself.
    pub(super) namespace: bool,
}

const NOTHING: Effect = Effect {
    class: Class::Silent,
    attributes: false,
    elsewhere: false,
    super_blocks: false,
    namespace: false,
};
const ATTRIBUTES: Effect = Effect { attributes: true, ..NOTHING };
const NAMESPACE: Effect = Effect { namespace: true, ..NOTHING };

/// What a call does if it succeeds.
pub(super) fn effect(call: u32, args: [u64; 6]) -> Effect {
    let call = i64::from(call);
    let [_, second, third, fourth, fifth, _] = args;
    match call {
        libc::SYS_mount => of_mount(fourth),
        libc::SYS_umount2 => Effect { class: Class::Detach, ..NOTHING },
        libc::SYS_pivot_root => Effect { class: Class::Move, ..NOTHING },
        libc::SYS_mount_setattr => ATTRIBUTES,
        SYS_OPEN_TREE_ATTR if third & u64::from(OPEN_TREE_CLONE) == 0 => ATTRIBUTES,
        libc::SYS_move_mount if fifth & u64::from(MOVE_MOUNT_SET_GROUP) != 0 => {
            Effect { elsewhere: true, ..ATTRIBUTES }
        }
        libc::SYS_move_mount => Effect { class: Class::AttachOrMove, ..NOTHING },
        libc::SYS_fsconfig if second == FSCONFIG_CMD_RECONFIGURE => {
            Effect { super_blocks: true, ..NOTHING }
        }
        libc::SYS_open_tree | SYS_OPEN_TREE_ATTR if third & OPEN_TREE_NAMESPACE != 0 => NAMESPACE,
        libc::SYS_fsmount if second & FSMOUNT_NAMESPACE != 0 => NAMESPACE,
        _ => NOTHING,
    }
}

/// mount(2) is five calls in one: the order of the questions is the kernel's (`path_mount`).
fn of_mount(flags: u64) -> Effect {
    let flags = if flags & MS_MAGIC_MASK == MS_MAGIC { flags & !MS_MAGIC_MASK } else { flags };
    let is_bind = flags & MS_BIND != 0;
    if flags & u64::from(MS_REMOUNT) != 0 {
        Effect { super_blocks: !is_bind, ..ATTRIBUTES }
    } else if is_bind {
        Effect { class: Class::Attach, ..NOTHING }
    } else if flags & u64::from(MS_PROPAGATION) != 0 {
        Effect { elsewhere: true, ..ATTRIBUTES }
    } else if flags & MS_MOVE != 0 {
        Effect { class: Class::Move, ..NOTHING }
    } else {
        Effect { class: Class::Attach, ..NOTHING }
    }
}

/// Which call each notification of one thread belongs to, as an index into `calls`: both are in
/// order, and a call that propagates is notified more than once. Of calls of one class in a row
/// nobody knows where one ends: they share their notifications evenly.
pub(super) fn pair(calls: &[Class], notified: &[Class]) -> Vec<Option<usize>> {
    let mut pairs = Vec::with_capacity(notified.len());
    let mut next = 0;
    let mut rest = notified;
    while let Some(class) = rest.first().copied() {
        let run = rest.iter().take_while(|other| **other == class).count();
        let found = calls.iter().skip(next).position(|call| does(*call, class));
        if let Some(skipped) = found {
            next += skipped;
            let same = calls.iter().skip(next).take_while(|call| does(**call, class)).count();
            // More calls than notifications: some of them moved nothing that is watched.
            let used = same.min(run);
            pairs.extend((0..run).map(|at| Some(next + at * used / run)));
            next += used;
        } else {
            pairs.extend(std::iter::repeat_n(None, run));
        }
        rest = rest.get(run..).unwrap_or_default();
    }
    pairs
}

fn does(call: Class, notified: Class) -> bool {
    call == notified
        || call == Class::AttachOrMove && matches!(notified, Class::Attach | Class::Move)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn flags_of_mount_say_what_it_does() {
        let effect = |flags| {
            let effect = effect(u32::try_from(libc::SYS_mount).unwrap(), [0, 0, 0, flags, 0, 0]);
            (effect.class, effect.attributes, effect.super_blocks)
        };
        assert_eq!(effect(0), (Class::Attach, false, false));
        assert_eq!(effect(MS_MAGIC), (Class::Attach, false, false));
        assert_eq!(effect(MS_BIND), (Class::Attach, false, false));
        assert_eq!(effect(MS_MOVE), (Class::Move, false, false));
        assert_eq!(effect(u64::from(MS_REMOUNT) | MS_BIND), (Class::Silent, true, false));
        assert_eq!(effect(u64::from(MS_REMOUNT) | MS_MAGIC), (Class::Silent, true, true));
        assert_eq!(effect(1 << 18), (Class::Silent, true, false));
    }

    #[test]
    fn notifications_find_their_calls() {
        use Class::{Attach, AttachOrMove, Detach, Move, Silent};
        // A cycle, and one more mount.
        let pairs = pair(&[Attach, Detach, Attach], &[Attach, Detach, Attach]);
        assert_eq!(pairs, [Some(0), Some(1), Some(2)]);
        // Copies by propagation.
        let pairs = pair(&[Attach, Silent, Detach], &[Attach, Attach, Attach, Detach, Detach]);
        assert_eq!(pairs, [Some(0), Some(0), Some(0), Some(2), Some(2)]);
        // Two calls in a row, each with a copy.
        let pairs = pair(&[Attach, AttachOrMove], &[Attach; 4]);
        assert_eq!(pairs, [Some(0), Some(0), Some(1), Some(1)]);
        // What no call explains: the end of a namespace, a call before we came.
        assert_eq!(pair(&[Attach], &[Detach, Move]), [None, None]);
        assert_eq!(pair(&[Detach, Move], &[Move, Detach]), [Some(1), None]);
    }

    fn class() -> impl Strategy<Value = Class> {
        use Class::{Attach, AttachOrMove, Detach, Move, Silent};
        prop_oneof![Just(Attach), Just(Detach), Just(Move), Just(AttachOrMove), Just(Silent)]
    }

    proptest! {
        #[test]
        fn pairs_are_in_order_and_of_one_class(
            calls in proptest::collection::vec(class(), 0..12),
            notified in proptest::collection::vec(class(), 0..20),
        ) {
            let pairs = pair(&calls, &notified);
            prop_assert_eq!(pairs.len(), notified.len());
            let mut last = 0;
            for (found, notified) in pairs.into_iter().zip(notified) {
                let Some(at) = found else { continue };
                prop_assert!(at >= last && does(*calls.get(at).unwrap(), notified));
                last = at;
            }
        }
    }
}
