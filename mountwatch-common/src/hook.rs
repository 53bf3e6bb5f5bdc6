//! One name for each hook, in all places: program, record, event, scenario, metric, `status`.

/// What a record says about where it was made: an index into [`NAMES`].
pub type Hook = u16;

macro_rules! hooks {
    ($($(#[$doc:meta])* $constant:ident = $number:literal, $name:literal;)*) => {
        $($(#[$doc])* pub const $constant: Hook = $number;)*
        /// Every hook and its name, in the order of their numbers, starting at 1.
        pub const NAMES: &[(Hook, &str)] = &[$(($constant, $name)),*];
    };
}

hooks! {
    /// A mount was linked below a parent: `__attach_mnt`, `make_visible` since 6.17.
    ATTACH = 1, "attach";
    /// A tree was copied: `copy_tree`.
    COPY_TREE = 2, "copy_tree";
    /// The propagation type changed, or (before 6.17) the mount leaves: `change_mnt_propagation`.
    PROPAGATION = 3, "propagation";
    /// All mounts of one umount leave: `bulk_make_private`, since 6.17.
    BULK_PRIVATE = 4, "bulk_private";
    /// A peer group lost its last member: `mnt_release_group_id`.
    GROUP_DEAD = 5, "group_dead";
    /// The end of a hold of `namespace_sem` for write: `namespace_unlock`.
    COMMIT = 6, "commit";
    /// A mount namespace was born: `copy_mnt_ns`, `mnt_ns_tree_add`, `__ns_tree_add_raw`.
    NAMESPACE_BORN = 7, "namespace_born";
    /// A mount namespace died: `free_mnt_ns`.
    NAMESPACE_GONE = 8, "namespace_gone";
    /// The attributes of one mount were set: `mnt_warn_timestamp_expiry`.
    REMOUNT = 9, "remount";
    /// A super block's flags or options changed: `reconfigure_super`.
    RECONFIGURE = 10, "reconfigure";
    /// `mount_setattr`(2), since 5.12: the walk over the caller's namespace.
    SETATTR = 11, "setattr";
    /// `open_tree_attr`(2), since 6.15: changes attached mounts too.
    OPEN_TREE_ATTR = 12, "open_tree_attr";
    /// `move_mount`(2) with `MOVE_MOUNT_SET_GROUP`, since 5.15: `security_move_mount`.
    SET_GROUP = 13, "set_group";
    /// A directory, or a dentry that we told of, moved: `__d_move`.
    RENAME = 14, "rename";
    /// A dentry that we told of was unhashed: `d_delete`.
    DELETE = 15, "delete";
    /// A line of our own read of mountinfo: `show_mountinfo`.
    SCAN = 16, "scan";
    /// A system call of the mount family, by the kernel's functions for it or its tracepoints.
    CALL = 17, "call";
    /// A mount notification of fanotify (back end `notify`); never on the ring.
    NOTIFY = 18, "notify";
    /// A mount is copied: `clone_mnt`. It makes no records, only tells of others whose copies they are.
    CLONE_MNT = 19, "clone_mnt";
}

/// The name of a hook, `"unknown"` for a number that no table has.
pub fn name(hook: Hook) -> &'static str {
    NAMES.iter().find(|(number, _)| *number == hook).map_or("unknown", |(_, name)| name)
}
