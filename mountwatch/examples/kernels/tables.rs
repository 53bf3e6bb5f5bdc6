//! Differences between kernels that are no hooks, each with its reason.

/// A member that not every kernel has.
pub(crate) struct Member {
    pub(crate) name: &'static str,
    /// The kernels that have it, in words.
    pub(crate) kernels: &'static str,
    pub(crate) without: &'static str,
}

/// A member that only facts of operations are read by.
const fn fact(name: &'static str) -> Member {
    Member {
        name,
        kernels: "all of the matrix",
        without: "the fact about who made a call that is read by it is not told",
    }
}

pub(crate) const MEMBERS: &[Member] = &[
    Member {
        name: "task_struct.fs",
        kernels: "all of the matrix",
        without: "nobody asks for it: only the fallbacks of `attach` look for the root directory",
    },
    Member { name: "fs_struct.root", kernels: "all of the matrix", without: "as `task_struct.fs`" },
    Member {
        name: "mount.mnt_id_unique",
        kernels: "since 6.8",
        without: "mounts have the reused ID only, and lists are in the order of it",
    },
    Member {
        name: "mount.mnt_list",
        kernels: "all of the matrix",
        without: "nobody asks for it: only `bulk_make_private` (since 6.17) gives such a list",
    },
    Member {
        name: "mount.mnt_t_flags",
        kernels: "since 6.17",
        without: "shared and unbindable are bits of `mnt_flags`",
    },
    Member {
        name: "vfsmount.mnt_idmap",
        kernels: "since 6.2",
        without: "`mnt_userns` says whether a mount has an ID mapping of its own",
    },
    Member {
        name: "vfsmount.mnt_userns",
        kernels: "5.12 to 6.1",
        without: "`mnt_idmap` says it, and before 5.12 no mount has one",
    },
    Member {
        name: "mnt_namespace.seq",
        kernels: "until 6.17",
        without: "`ns_common.ns_id` is the ID of a namespace; 0 means anonymous in both",
    },
    Member {
        name: "mnt_namespace.is_anon",
        kernels: "since 7.0",
        without: "an ID of 0 means anonymous",
    },
    Member {
        name: "mnt_namespace.nr_mounts",
        kernels: "since 6.8",
        without: "nobody asks for it: the back end `notify` is for 6.15 and later",
    },
    Member {
        name: "mnt_namespace.seq_origin",
        kernels: "since 6.15",
        without: "an anonymous namespace does not say where it comes from",
    },
    Member {
        name: "ns_common.ns_id",
        kernels: "since 6.18",
        without: "`mnt_namespace.seq` is the ID of a namespace",
    },
    Member {
        name: "ns_common.ns_type",
        kernels: "since 6.18",
        without: "nobody asks for it: the hooks on all kinds of namespaces are as old",
    },
    Member {
        name: "super_block.s_user_ns",
        kernels: "all of the matrix",
        without: "nobody asks for it: it matters from 5.17 to 6.1, where an unmapped mount has the \
                  same user namespace",
    },
    fact("task_struct.tgid"),
    fact("task_struct.comm"),
    fact("task_struct.real_parent"),
    fact("task_struct.thread_pid"),
    fact("task_struct.mm"),
    fact("task_struct.cgroups"),
    fact("pid.level"),
    fact("pid.numbers"),
    fact("upid.ns"),
    fact("pid_namespace.ns"),
    fact("mm_struct.exe_file"),
    fact("file.f_path"),
    fact("path.dentry"),
    fact("css_set.dfl_cgrp"),
    fact("css_set.subsys"),
    fact("css_set.refcount"),
    fact("cgroup_subsys_state.cgroup"),
    fact("cgroup.kn"),
    fact("kernfs_node.name"),
    fact("kernfs_node.id"),
    Member {
        name: "kernfs_node.parent",
        kernels: "until 6.14",
        without: "`__parent` is the parent of a cgroup",
    },
    Member {
        name: "kernfs_node.__parent",
        kernels: "since 6.15",
        without: "`parent` is the parent of a cgroup",
    },
];

/// A difference that is found out while it runs.
pub(crate) struct Probe {
    pub(crate) what: &'static str,
    pub(crate) kernels: &'static str,
    /// How it is found out.
    pub(crate) how: &'static str,
    pub(crate) without: &'static str,
    /// The file that does it, from the workspace's root.
    pub(crate) file: &'static str,
}

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        what: "options of one mount (statmount(2), `STATMOUNT_MNT_OPTS`)",
        kernels: "since 6.11",
        how: "ENOSYS, EINVAL or E2BIG, or the answer's mask lacks them",
        without: "one read of the mountinfo of a namespace for each new or reconfigured super \
                  block, counted as `rereads`",
        file: "mountwatch/src/agent/options.rs",
    },
    Probe {
        what: "unique mount ID of a root directory (`STATX_MNT_ID_UNIQUE`)",
        kernels: "since 6.8",
        how: "the answer's mask lacks it",
        without: "the reused ID, of a snapshot taken at the same time",
        file: "mountwatch/src/kernel/task.rs",
    },
    Probe {
        what: "ID of a mount namespace (`NS_GET_MNTNS_ID`)",
        kernels: "since 6.11",
        how: "ENOTTY",
        without: "the inode alone",
        file: "mountwatch/src/kernel/sys.rs",
    },
    Probe {
        what: "list of all mount namespaces (`NS_MNT_GET_NEXT`)",
        kernels: "since 6.12",
        how: "ENOTTY or EINVAL",
        without: "namespaces are found through tasks, descriptors and bind mounts; one that only a \
                  descriptor in flight keeps is not found",
        file: "mountwatch/src/kernel/sys.rs",
    },
    Probe {
        what: "mount notifications (fanotify, `FAN_REPORT_MNT`)",
        kernels: "since 6.15",
        how: "EINVAL from fanotify_init(2)",
        without: "no back end `notify`",
        file: "mountwatch/src/kernel/notify/limits.rs",
    },
    Probe {
        what: "skipped programs (`recursion_misses` of `struct bpf_prog_info`)",
        kernels: "since 5.12",
        how: "the kernel fills a shorter structure",
        without: "0: no program is skipped there, the protection from recursion is as old",
        file: "mountwatch/src/kernel/sys_bpf.rs",
    },
    Probe {
        what: "programs on system calls that can be preempted (`trace_call_bpf_faultable`)",
        kernels: "since 7.2",
        how: "/proc/kallsyms",
        without: "no spares for the programs of `notify`; where symbols are hidden a skip makes it \
                  look at every mount",
        file: "mountwatch/src/kernel/load/calls.rs",
    },
    Probe {
        what: "a namespace with nothing on its root mount (`UNSHARE_EMPTY_MNTNS`)",
        kernels: "since 7.1",
        how: "statmount(2) and listmount(2) answer ENOENT",
        without: "`notify` enters it and asks from inside",
        file: "mountwatch/src/kernel/notify/births.rs",
    },
    Probe {
        what: "address of the ID mapping that changes nothing",
        kernels: "`nop_mnt_idmap` since 6.2, `init_user_ns` before",
        how: "/proc/kallsyms",
        without: "no mount counts as idmapped",
        file: "mountwatch/src/kernel/hooks.rs",
    },
    Probe {
        what: "`#` in types and sources of mountinfo",
        kernels: "as `\\043` since some 5.x after 5.10, as it is on 5.10",
        how: "a mount with such a source in a namespace of its own, where there is no statmount(2)",
        without: "`\\043`",
        file: "mountwatch/src/kernel/host.rs",
    },
    Probe {
        what: "system calls of the self-test",
        kernels: "mount_setattr(2) since 5.12, `MOVE_MOUNT_SET_GROUP` since 5.15, \
                  open_tree_attr(2) since 6.15",
        how: "ENOSYS where its hook has no function either, EINVAL where it is a flag",
        without: "the act is skipped, and `status` says so",
        file: "mountwatch/src/agent/selftest/judge.rs",
    },
];

/// Differences that the kernel side is written around, without asking which kernel it is.
pub(crate) const RULES: &[(&str, &str)] = &[
    (
        "5.10 has no `bpf_loop`, and its verifier follows every round of a loop",
        "loops run over global functions, which are verified once (`mountwatch-ebpf/src/step.rs`)",
    ),
    (
        "6.1 verifies the callback of `bpf_loop` once, with the values that it starts with",
        "what a loop carries on lives in a map, never on the stack (`mountwatch-ebpf/src/walk.rs`)",
    ),
    (
        "preemptible kernels (7.x) skip a program that is interrupted by itself",
        "hooks without a lock have a spare there (`mountwatch-ebpf/src/program.rs`)",
    ),
    (
        "until 7.1 the kernel skips all programs on the tracepoints of a CPU while bpf(2) works on a \
         map there",
        "what changes while `notify` runs is mapped memory (`mountwatch/src/kernel/sys_map.rs`)",
    ),
    (
        "since 7.2 programs on system calls can be preempted, and the kernel skips a program that is",
        "each has a spare, and memory of its own (`mountwatch-ebpf/src/calls.rs`)",
    ),
    (
        "until 6.16 umount makes its mounts private one by one, when they have no namespace any \
         more; since 6.17 all at once, when they still have their old fields",
        "both hooks tell `GONE` (`mountwatch-ebpf/src/propagation.rs`)",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use mountwatch_common::offset;

    #[test]
    fn every_member_that_may_be_absent_is_explained() {
        let optional: Vec<_> = offset::MEMBERS
            .iter()
            .filter(|(_, _, required)| !required)
            .map(|(structure, member, _)| format!("{structure}.{member}"))
            .collect();
        for name in &optional {
            assert!(MEMBERS.iter().any(|member| member.name == name), "{name} is not explained");
        }
        for member in MEMBERS {
            assert!(
                optional.iter().any(|name| name == member.name),
                "{} is no member",
                member.name
            );
        }
    }

    #[test]
    fn files_that_are_named_exist() {
        let root = crate::root();
        for probe in PROBES {
            assert!(root.join(probe.file).is_file(), "{}", probe.file);
        }
        for (_, answer) in RULES {
            let file = answer.split('`').find(|word| word.contains('/')).unwrap();
            assert!(root.join(file).is_file(), "{file}");
        }
    }
}
