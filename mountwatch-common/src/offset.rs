//! Members of kernel structures that the kernel side reads.
//!
//! rustc emits no CO-RE relocations, so userspace looks each member up in the running kernel's BTF
//! and hands the byte offsets in as one array, the global `OFFSETS`, before the programs are
//! loaded. A member that a kernel does not have is [`ABSENT`], never a guess.

/// The offset of a member that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! members {
    ($($constant:ident = $structure:literal . $member:literal, $required:literal;)*) => {
        members!(@index 0usize; $($constant)*);
        /// Structure, member, and whether no hook can do without it, in the order of the indexes.
        pub const MEMBERS: &[(&str, &str, bool)] = &[$(($structure, $member, $required)),*];
    };
    (@index $index:expr; $constant:ident $($rest:ident)*) => {
        #[doc = concat!("Index of ", stringify!($constant), " in the global `OFFSETS`.")]
        pub const $constant: usize = $index;
        members!(@index $constant + 1usize; $($rest)*);
    };
    (@index $index:expr;) => {
        /// How many members there are.
        pub const COUNT: usize = $index;
    };
}

members! {
    MOUNT_MNT = "mount"."mnt", true;
    MOUNT_PARENT = "mount"."mnt_parent", true;
    MOUNT_MOUNTPOINT = "mount"."mnt_mountpoint", true;
    MOUNT_NS = "mount"."mnt_ns", true;
    MOUNT_ID = "mount"."mnt_id", true;
    MOUNT_ID_UNIQUE = "mount"."mnt_id_unique", false;  // 6.8
    MOUNT_GROUP_ID = "mount"."mnt_group_id", true;
    MOUNT_MASTER = "mount"."mnt_master", true;
    MOUNT_DEVNAME = "mount"."mnt_devname", true;
    MOUNT_MOUNTS = "mount"."mnt_mounts", true;
    MOUNT_CHILD = "mount"."mnt_child", true;
    MOUNT_LIST = "mount"."mnt_list", false;            // elements of bulk_make_private's list
    MOUNT_T_FLAGS = "mount"."mnt_t_flags", false;      // 6.17: T_SHARED, T_UNBINDABLE
    VFSMOUNT_ROOT = "vfsmount"."mnt_root", true;
    VFSMOUNT_SB = "vfsmount"."mnt_sb", true;
    VFSMOUNT_FLAGS = "vfsmount"."mnt_flags", true;
    VFSMOUNT_IDMAP = "vfsmount"."mnt_idmap", false;    // 6.2
    VFSMOUNT_USERNS = "vfsmount"."mnt_userns", false;  // 5.12 to 6.1
    NAMESPACE_NS = "mnt_namespace"."ns", true;
    NAMESPACE_ROOT = "mnt_namespace"."root", true;
    NAMESPACE_SEQ = "mnt_namespace"."seq", false;      // until 6.17; 0 = anonymous
    NAMESPACE_IS_ANON = "mnt_namespace"."is_anon", false; // 7.0
    NS_COMMON_INUM = "ns_common"."inum", true;
    NS_COMMON_ID = "ns_common"."ns_id", false;         // 6.18
    NS_COMMON_TYPE = "ns_common"."ns_type", false;     // 6.18
    NS_COMMON_OPS = "ns_common"."ops", true;
    PROC_NS_OPERATIONS_NAME = "proc_ns_operations"."name", true;
    SUPER_DEV = "super_block"."s_dev", true;
    SUPER_FLAGS = "super_block"."s_flags", true;
    SUPER_TYPE = "super_block"."s_type", true;
    SUPER_SUBTYPE = "super_block"."s_subtype", true;
    SUPER_USER_NS = "super_block"."s_user_ns", false;  // what an unmapped mount has, 5.17 to 6.1
    SUPER_MAGIC = "super_block"."s_magic", true;
    FILE_SYSTEM_TYPE_NAME = "file_system_type"."name", true;
    DENTRY_PARENT = "dentry"."d_parent", true;
    DENTRY_NAME = "dentry"."d_name", true;
    DENTRY_INODE = "dentry"."d_inode", true;
    DENTRY_HASH = "dentry"."d_hash", true;
    QSTR_HASH_LEN = "qstr"."hash_len", true;
    QSTR_NAME = "qstr"."name", true;
    HLIST_BL_NODE_PPREV = "hlist_bl_node"."pprev", true;
    INODE_INO = "inode"."i_ino", true;
    INODE_PRIVATE = "inode"."i_private", true;
    TASK_NSPROXY = "task_struct"."nsproxy", true;
    TASK_PID = "task_struct"."pid", true;
    TASK_FS = "task_struct"."fs", false;               // the root directory, for pivot_root
    FS_STRUCT_ROOT = "fs_struct"."root", false;
    NSPROXY_MNT_NS = "nsproxy"."mnt_ns", true;
    FS_CONTEXT_ROOT = "fs_context"."root", true;
    DENTRY_SB = "dentry"."d_sb", true;
    PATH_MNT = "path"."mnt", true;
    LIST_HEAD_NEXT = "list_head"."next", true;
    // Who made a call; what a kernel does not have is not told.
    TASK_TGID = "task_struct"."tgid", false;
    TASK_COMM = "task_struct"."comm", false;
    TASK_REAL_PARENT = "task_struct"."real_parent", false;
    TASK_THREAD_PID = "task_struct"."thread_pid", false;
    TASK_MM = "task_struct"."mm", false;
    TASK_CGROUPS = "task_struct"."cgroups", false;
    PID_LEVEL = "pid"."level", false;
    PID_NUMBERS = "pid"."numbers", false;
    UPID_NS = "upid"."ns", false;
    PID_NAMESPACE_NS = "pid_namespace"."ns", false;
    MM_EXE_FILE = "mm_struct"."exe_file", false;
    FILE_PATH = "file"."f_path", false;
    PATH_DENTRY = "path"."dentry", false;
    CSS_SET_DFL_CGRP = "css_set"."dfl_cgrp", false;
    CSS_SET_SUBSYS = "css_set"."subsys", false;
    CSS_SET_REFCOUNT = "css_set"."refcount", false;    // behind the array `subsys`
    CSS_CGROUP = "cgroup_subsys_state"."cgroup", false;
    CGROUP_KN = "cgroup"."kn", false;
    KERNFS_NODE_NAME = "kernfs_node"."name", false;
    KERNFS_NODE_ID = "kernfs_node"."id", false;
    KERNFS_NODE_PARENT = "kernfs_node"."parent", false;        // until 6.14
    KERNFS_NODE_RCU_PARENT = "kernfs_node"."__parent", false;  // 6.15
    NAMESPACE_NR_MOUNTS = "mnt_namespace"."nr_mounts", false;   // 6.8, `mounts` before
    NAMESPACE_SEQ_ORIGIN = "mnt_namespace"."seq_origin", false; // 6.15: of an anonymous namespace
}
