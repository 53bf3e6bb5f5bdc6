//! The table of hooks. To add one: a row here, a program in the kernel side, a name in
//! `mountwatch_common::hook`.

use mountwatch_common::hook;

use super::{Candidate, Missing, Row, Skipped};

/// Programs at the entry of a function.
macro_rules! entry {
    ($program:literal, $function:literal) => {
        Candidate {
            program: $program,
            spare: concat!($program, "_spare"),
            probe: concat!($program, "_probe"),
            called: None,
            function: $function,
            at_return: false,
            probe_only: false,
        }
    };
}

/// Programs at the return of a function.
macro_rules! exit {
    ($program:literal, $function:literal) => {
        Candidate {
            called: Some(concat!($program, "_called")),
            at_return: true,
            ..entry!($program, $function)
        }
    };
}

/// The same for programs that do not look at what the function was called with.
macro_rules! end {
    ($program:literal, $function:literal) => {
        Candidate { called: None, ..exit!($program, $function) }
    };
}

/// The same without a trampoline.
macro_rules! probe_end {
    ($program:literal, $function:literal) => {
        Candidate { probe_only: true, ..end!($program, $function) }
    };
}

/// Every hook, in the order of attachment. The end of a transaction comes first, so that nothing
/// is ever marked that no commit tells.
pub const HOOKS: &[Row] = &[
    Row {
        hook: hook::COMMIT,
        candidates: &[entry!("commit", "namespace_unlock")],
        skipped: Skipped::Locked,
        missing: Missing::Refuse,
        reason: "every change of topology and propagation ends here, with namespace_sem still \
                 held for write",
    },
    Row {
        hook: hook::ATTACH,
        candidates: &[exit!("attach", "make_visible"), exit!("attach", "__attach_mnt")],
        skipped: Skipped::Locked,
        missing: Missing::Refuse,
        reason: "the one place where a mount gets its parent; make_visible since 6.17",
    },
    Row {
        hook: hook::COPY_TREE,
        candidates: &[end!("copy_tree", "copy_tree")],
        skipped: Skipped::Locked,
        missing: Missing::Refuse,
        reason: "the root mount of a new namespace is attached to nothing",
    },
    Row {
        hook: hook::PROPAGATION,
        candidates: &[exit!("propagation", "change_mnt_propagation")],
        skipped: Skipped::Locked,
        missing: Missing::Refuse,
        reason: "called for each change of type and, before 6.17, for each mount that leaves; \
                 never inlined (two files of the kernel use it)",
    },
    Row {
        hook: hook::BULK_PRIVATE,
        candidates: &[entry!("bulk_private", "bulk_make_private")],
        skipped: Skipped::Locked,
        missing: Missing::Nothing,
        reason: "since 6.17 umount makes all its mounts private in one call",
    },
    Row {
        hook: hook::GROUP_DEAD,
        candidates: &[entry!("group_dead", "mnt_release_group_id")],
        skipped: Skipped::Locked,
        missing: Missing::Blind(
            "the master of a slave is not corrected when the master's peer group dies",
        ),
        reason: "the slaves of a dying peer group get another master without a hook of their own",
    },
    Row {
        hook: hook::NAMESPACE_BORN,
        candidates: &[
            entry!("namespace_born_tree", "__ns_tree_add_raw"),
            exit!("namespace_born", "copy_mnt_ns"),
        ],
        skipped: Skipped::Spared,
        missing: Missing::Blind("a new mount namespace is noticed at its first mount only"),
        reason: "since 6.18 every namespace passes here, also those made without a process",
    },
    Row {
        hook: hook::NAMESPACE_GONE,
        candidates: &[
            entry!("namespace_gone", "free_mnt_ns"),
            entry!("namespace_gone_tree", "__ns_tree_remove"),
            entry!("namespace_gone", "mnt_ns_tree_remove"),
        ],
        skipped: Skipped::Spared,
        missing: Missing::Blind("mount namespaces that died stay in the list, empty"),
        reason: "the last reference to a mount namespace is gone",
    },
    Row {
        hook: hook::REMOUNT,
        candidates: &[exit!("remount", "mnt_warn_timestamp_expiry")],
        skipped: Skipped::Spared,
        missing: Missing::Blind("the attributes of a mount may change unseen (mount -o remount)"),
        reason: "called last by all three ways to remount; they themselves are inlined",
    },
    Row {
        hook: hook::RECONFIGURE,
        candidates: &[exit!("reconfigure", "reconfigure_super")],
        skipped: Skipped::Spared,
        missing: Missing::Blind("the options of a super block may change unseen"),
        reason: "remount, fsconfig(2) and emergency remount come together here",
    },
    Row {
        hook: hook::SETATTR,
        candidates: &[
            end!("setattr", "__x64_sys_mount_setattr"),
            end!("setattr", "__arm64_sys_mount_setattr"),
        ],
        skipped: Skipped::Spared,
        missing: Missing::Nothing,
        reason: "mount_setattr(2), since 5.12, calls no function that says which mounts changed",
    },
    Row {
        hook: hook::SETATTR,
        candidates: &[probe_end!("compat", "__ia32_sys_mount_setattr")],
        skipped: Skipped::Unspared,
        missing: Missing::Nothing,
        reason: "the same for callers with 32 bits, which are rare: a probe will do",
    },
    Row {
        hook: hook::OPEN_TREE_ATTR,
        candidates: &[
            end!("open_tree_attr", "__x64_sys_open_tree_attr"),
            end!("open_tree_attr", "__arm64_sys_open_tree_attr"),
        ],
        skipped: Skipped::Spared,
        missing: Missing::Nothing,
        reason: "since 6.15; without OPEN_TREE_CLONE it changes attached mounts",
    },
    Row {
        hook: hook::OPEN_TREE_ATTR,
        candidates: &[probe_end!("compat", "__ia32_sys_open_tree_attr")],
        skipped: Skipped::Unspared,
        missing: Missing::Nothing,
        reason: "the same for callers with 32 bits, which are rare: a probe will do",
    },
    Row {
        hook: hook::SET_GROUP,
        candidates: &[
            end!("move_mount_end", "__x64_sys_move_mount"),
            end!("move_mount_end", "__arm64_sys_move_mount"),
        ],
        skipped: Skipped::Harmless,
        missing: Missing::Blind("MOVE_MOUNT_SET_GROUP leaves no trace"),
        reason: "forgets what security_move_mount remembered; attached before it",
    },
    Row {
        hook: hook::SET_GROUP,
        candidates: &[probe_end!("move_mount_end", "__ia32_sys_move_mount")],
        skipped: Skipped::Harmless,
        missing: Missing::Nothing,
        reason: "the same for callers with 32 bits, which are rare: a probe will do",
    },
    Row {
        hook: hook::SET_GROUP,
        candidates: &[entry!("set_group", "security_move_mount")],
        skipped: Skipped::Spared,
        missing: Missing::Blind("MOVE_MOUNT_SET_GROUP leaves no trace"),
        reason: "the target of move_mount(2) under its kernel address",
    },
    Row {
        hook: hook::RENAME,
        candidates: &[exit!("rename", "__d_move")],
        skipped: Skipped::Locked,
        missing: Missing::Blind("a renamed directory keeps its old name in paths and roots"),
        reason: "rename, exchange and splicing of directories come together here",
    },
    Row {
        hook: hook::DELETE,
        candidates: &[exit!("delete", "d_delete")],
        skipped: Skipped::Watched,
        missing: Missing::Blind("a bind mount whose root was deleted is not marked as such"),
        reason: "rmdir and unlink unhash the dentry here",
    },
    Row {
        hook: hook::SCAN,
        candidates: &[entry!("scan", "show_mountinfo")],
        skipped: Skipped::Scan,
        missing: Missing::Refuse,
        reason: "the records of a scan land between those of the changes around it",
    },
];

/// What stands in for a hook: all of these rows together see what its own row sees. For kernels
/// whose compiler inlined the function, or a part of its calls.
pub const FALLBACKS: &[Row] = &[
    Row {
        hook: hook::ATTACH,
        candidates: &[end!("copy", "copy_tree")],
        skipped: Skipped::Locked,
        missing: Missing::Refuse,
        reason: "copies by propagation, which are attached where nothing else is called",
    },
    Row {
        hook: hook::ATTACH,
        candidates: &[
            entry!("attach_recursive", "attach_recursive_mnt"),
            entry!("attach_recursive", "attach_recursive_mnt.isra.0"),
        ],
        skipped: Skipped::Locked,
        missing: Missing::Nothing,
        reason: "mounts, binds and moves; a clone made by the compiler keeps the first argument",
    },
    Row {
        hook: hook::ATTACH,
        candidates: &[entry!("graft", "graft_tree")],
        skipped: Skipped::Locked,
        missing: Missing::Nothing,
        reason: "mounts and binds",
    },
    Row {
        hook: hook::ATTACH,
        candidates: &[entry!("reparent", "mnt_change_mountpoint")],
        skipped: Skipped::Locked,
        missing: Missing::Blind(
            "a mount that is tucked beneath another one leaves that one's parent as it was",
        ),
        reason: "a mount gets another one beneath it; never inlined (two files of the kernel use it)",
    },
    Row {
        hook: hook::ATTACH,
        candidates: &[entry!("pivot_root", "security_sb_pivotroot")],
        skipped: Skipped::Harmless,
        missing: Missing::Blind("pivot_root(2) leaves no trace"),
        reason: "the two mounts that change places",
    },
];
