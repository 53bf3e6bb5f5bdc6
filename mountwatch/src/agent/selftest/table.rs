//! The acts of the self-test, in their order, each with the hook that it is the witness of. Pure.
//!
//! An act must be seen by that hook alone: where two hooks see it, the silence of one of them stays
//! unnoticed. So a super block is reconfigured without a remount of a mount, and the acts after
//! which the next change tells the whole namespace ([`hook::SETATTR`], [`hook::OPEN_TREE_ATTR`])
//! are the last ones, with a change of no matter after each of them.

use crate::kernel::canary::{Act, Propagation};
use mountwatch_common::hook::{self, Hook};

/// What must have been told besides what mountinfo shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing.
    Nothing,
    /// The birth of a namespace.
    Birth,
    /// The death of a namespace.
    Death,
    /// A tree in no namespace.
    Detached,
}

/// One act.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) act: Act,
    /// What it is, in a sentence: "… was not seen".
    pub(super) name: &'static str,
    /// The hook that sees it: the first one that is attached.
    pub(super) witness: &'static [Hook],
    /// Hooks without which it cannot be seen either: if the first one that is attached has failed,
    /// nothing is proved.
    pub(super) needs: &'static [Hook],
    pub(super) told: Told,
    /// The kernel that has it, where older ones answer EINVAL.
    pub(super) since: Option<&'static str>,
}

const fn row(act: Act, name: &'static str, witness: &'static [Hook]) -> Row {
    Row { act, name, witness, needs: &[], told: Told::Nothing, since: None }
}

const fn told(act: Act, name: &'static str, told: Told, witness: &'static [Hook]) -> Row {
    Row { act, name, witness, needs: &[], told, since: None }
}

/// Mounts that leave: since 6.17 all at once, before one by one.
const LEAVE: &[Hook] = &[hook::BULK_PRIVATE, hook::PROPAGATION];
const ATTACH: &[Hook] = &[hook::ATTACH];
const PROPAGATION: &[Hook] = &[hook::PROPAGATION];

/// The acts.
pub(super) const ACTS: &[Row] = &[
    // Changes nothing: the end of a change is told, before any other hook can be blamed for it.
    row(Act::Make(Propagation::Private, "/"), "a private mount made private", PROPAGATION),
    row(Act::Mount("/a"), "a new mount", ATTACH),
    row(Act::Make(Propagation::Shared, "/a"), "a mount made shared", PROPAGATION),
    row(Act::Bind("/a", "/b"), "a bind mount", ATTACH),
    row(Act::Mount("/a/x"), "a mount that propagates to a peer", ATTACH),
    row(Act::BindTree("/a", "/c"), "a recursive bind mount", ATTACH),
    row(Act::Detach("/c"), "a lazy unmount of a tree", LEAVE),
    row(Act::Mount("/a/x"), "another mount that propagates to a peer", ATTACH),
    row(Act::Umount("/a/x"), "an unmount that propagates", LEAVE),
    row(Act::Make(Propagation::Slave, "/b"), "a mount made a slave", PROPAGATION),
    row(Act::Copy, "a copy of a mount namespace", &[hook::COPY_TREE]),
    row(Act::Mount("/a/y"), "a mount that propagates to another namespace", ATTACH),
    row(Act::Umount("/a/y"), "an unmount that propagates to another namespace", LEAVE),
    row(Act::Mount("/m"), "a second mount", ATTACH),
    row(Act::Move("/m", "/n"), "a move", ATTACH),
    row(Act::Mount("/p"), "a new root", ATTACH),
    row(Act::Pivot("/p", "/p/old"), "a pivot_root", ATTACH),
    row(Act::Pivot("/old", "/old/p"), "a pivot_root back", ATTACH),
    row(Act::Remount("/n"), "a remount of one mount", &[hook::REMOUNT]),
    row(Act::Reconfigure("/n"), "a reconfigured super block", &[hook::RECONFIGURE]),
    row(Act::Bind("/a", "/g"), "another peer", ATTACH),
    row(Act::Make(Propagation::Private, "/g"), "a mount made private", PROPAGATION),
    Row {
        act: Act::SetGroup("/a", "/g"),
        name: "a peer group given to another mount",
        witness: &[hook::SET_GROUP],
        needs: &[],
        told: Told::Nothing,
        since: Some("5.15"),
    },
    row(Act::Mount("/q"), "a master", ATTACH),
    row(Act::Make(Propagation::Shared, "/q"), "a peer group of one", PROPAGATION),
    row(Act::Bind("/q", "/r"), "its peer", ATTACH),
    row(Act::Make(Propagation::Slave, "/r"), "its slave", PROPAGATION),
    Row {
        act: Act::Umount("/q"),
        name: "the death of a peer group with a slave",
        witness: &[hook::GROUP_DEAD],
        needs: LEAVE,
        told: Told::Nothing,
        since: None,
    },
    row(Act::Mount("/d/t"), "a mount in a directory", ATTACH),
    row(Act::Rename("/d", "/e"), "a rename above a mountpoint", &[hook::RENAME]),
    row(Act::Exchange("/e", "/f"), "an exchange above a mountpoint", &[hook::RENAME]),
    row(Act::Bind("/h", "/i"), "a bind mount of a directory", ATTACH),
    row(Act::Rmdir("/h"), "the deletion of the root of a bind mount", &[hook::DELETE]),
    told(Act::OpenTree("/a"), "a detached tree", Told::Detached, &[hook::COPY_TREE]),
    row(Act::Attach("/j"), "the attachment of a detached tree", ATTACH),
    told(Act::Leave, "the death of a mount namespace", Told::Death, &[hook::NAMESPACE_GONE]),
    told(Act::Copy, "the birth of a mount namespace", Told::Birth, &[hook::NAMESPACE_BORN]),
    row(Act::SetAttributes("/n"), "a mount_setattr", &[hook::SETATTR]),
    row(Act::Make(Propagation::Private, "/n"), "a mount made private again", PROPAGATION),
    row(Act::TreeAttributes("/n"), "an open_tree_attr", &[hook::OPEN_TREE_ATTR]),
    row(Act::Make(Propagation::Private, "/n"), "a mount made private at last", PROPAGATION),
];

/// Programs that no act makes fire, with the reason.
#[cfg(test)]
pub(super) const UNPROVED: &[(&str, &str)] = &[
    ("compat", COMPAT),
    ("move_mount_end", "it forgets what is of no use any more, which changes no index"),
];
#[cfg(test)]
const COMPAT: &str = "of callers with 32 bits; a call by int $0x80 kills a process with 64 bits where \
                      the kernel was told to have no such calls";

/// Hooks that are noticed without an act of their own.
#[cfg(test)]
pub(super) const OTHERWISE: &[(Hook, &str)] = &[
    (hook::COMMIT, "every act ends with it: an act that is not seen before it fired is its fault"),
    (hook::SCAN, "the index starts with a scan, which must give what the kernel shows"),
    (
        hook::CALL,
        "each act must be told as the call that it is; a silent one leaves the index right",
    ),
    (hook::CLONE_MNT, "it says whose copy a mount is, which changes no index"),
    (hook::NOTIFY, "of the back end notify"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::hooks;

    #[test]
    fn every_hook_has_a_witness() {
        for (number, name) in hook::NAMES {
            let is_witnessed = ACTS.iter().any(|row| row.witness.contains(number));
            let is_otherwise =
                OTHERWISE.iter().any(|(other, why)| other == number && !why.is_empty());
            assert!(is_witnessed != is_otherwise, "{name}");
        }
    }

    #[test]
    fn programs_that_are_not_proved_are_some_of_several() {
        for (program, why) in UNPROVED {
            let of_it = |row: &&hooks::Row| {
                row.candidates.iter().any(|candidate| candidate.program == *program)
            };
            let row = hooks::HOOKS.iter().find(of_it).unwrap();
            let others = hooks::HOOKS.iter().filter(|other| other.hook == row.hook).count();
            assert!(others > 1 && !why.is_empty(), "{program}");
        }
    }

    #[test]
    fn what_heals_the_next_act_comes_last_and_is_healed_itself() {
        let at = |hook| ACTS.iter().position(|row| row.witness == [hook]).unwrap();
        assert_eq!(at(hook::SETATTR) + 4, ACTS.len());
        assert_eq!(at(hook::OPEN_TREE_ATTR) + 2, ACTS.len());
        assert_eq!(ACTS.last().unwrap().witness, PROPAGATION);
    }
}
