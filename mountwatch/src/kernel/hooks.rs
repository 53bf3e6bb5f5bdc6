//! The table of hooks, and the plan that a kernel's features make of it. Pure.

use hashbrown::HashSet;
use mountwatch_common::{
    hook::{self, Hook},
    offset,
};

use crate::wire::btf::Btf;

/// How a program is attached to a kernel function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Before its first instruction.
    Fentry,
    /// After its return, with the result.
    Fexit,
}

impl Kind {
    /// The kernel's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
        }
    }
}

/// One way to attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Name of the program in the object.
    pub program: &'static str,
    /// The kernel function.
    pub function: &'static str,
    /// Where in it.
    pub kind: Kind,
}

/// What it means when no candidate can be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// There is no index without it.
    Refuse,
    /// The index is blind to something: the sentence says to what.
    Blind(&'static str),
    /// Nothing: this kernel has no such operation, or another row sees it.
    Nothing,
}

/// One row: one fact to be seen.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Which hook it is part of.
    pub hook: Hook,
    /// In order of preference; the first that attaches is used.
    pub candidates: &'static [Candidate],
    /// What is lost without it.
    pub missing: Missing,
    /// Why this function.
    pub reason: &'static str,
}

const fn fentry(program: &'static str, function: &'static str) -> Candidate {
    Candidate { program, function, kind: Kind::Fentry }
}

const fn fexit(program: &'static str, function: &'static str) -> Candidate {
    Candidate { program, function, kind: Kind::Fexit }
}

/// Every hook, in the order of attachment. The end of a transaction comes first, so that nothing
/// is ever marked that no commit tells.
pub const HOOKS: &[Row] = &[
    Row {
        hook: hook::COMMIT,
        candidates: &[fentry("commit", "namespace_unlock")],
        missing: Missing::Refuse,
        reason: "every change of topology and propagation ends here, with namespace_sem still \
                 held for write",
    },
    Row {
        hook: hook::ATTACH,
        candidates: &[fexit("attach", "make_visible"), fexit("attach", "__attach_mnt")],
        missing: Missing::Refuse,
        reason: "the one place where a mount gets its parent; make_visible since 6.17",
    },
    Row {
        hook: hook::COPY_TREE,
        candidates: &[fexit("copy_tree", "copy_tree")],
        missing: Missing::Refuse,
        reason: "the root mount of a new namespace is attached to nothing",
    },
    Row {
        hook: hook::PROPAGATION,
        candidates: &[fexit("propagation", "change_mnt_propagation")],
        missing: Missing::Refuse,
        reason: "called for each change of type and, before 6.17, for each mount that leaves; \
                 never inlined (two files of the kernel use it)",
    },
    Row {
        hook: hook::BULK_PRIVATE,
        candidates: &[fentry("bulk_private", "bulk_make_private")],
        missing: Missing::Nothing,
        reason: "since 6.17 umount makes all its mounts private in one call",
    },
    Row {
        hook: hook::GROUP_DEAD,
        candidates: &[fentry("group_dead", "mnt_release_group_id")],
        missing: Missing::Blind(
            "the master of a slave is not corrected when the master's peer group dies",
        ),
        reason: "the slaves of a dying peer group get another master without a hook of their own",
    },
    Row {
        hook: hook::NAMESPACE_BORN,
        candidates: &[
            fentry("namespace_born_tree", "__ns_tree_add_raw"),
            fexit("namespace_born", "copy_mnt_ns"),
        ],
        missing: Missing::Blind("a new mount namespace is noticed at its first mount only"),
        reason: "since 6.18 every namespace passes here, also those made without a process",
    },
    Row {
        hook: hook::NAMESPACE_GONE,
        candidates: &[
            fentry("namespace_gone", "free_mnt_ns"),
            fentry("namespace_gone_tree", "__ns_tree_remove"),
            fentry("namespace_gone", "mnt_ns_tree_remove"),
        ],
        missing: Missing::Blind("mount namespaces that died stay in the list, empty"),
        reason: "the last reference to a mount namespace is gone",
    },
    Row {
        hook: hook::REMOUNT,
        candidates: &[fexit("remount", "mnt_warn_timestamp_expiry")],
        missing: Missing::Blind("the attributes of a mount may change unseen (mount -o remount)"),
        reason: "called last by all three ways to remount; they themselves are inlined",
    },
    Row {
        hook: hook::RECONFIGURE,
        candidates: &[fexit("reconfigure", "reconfigure_super")],
        missing: Missing::Blind("the options of a super block may change unseen"),
        reason: "remount, fsconfig(2) and emergency remount come together here",
    },
    Row {
        hook: hook::SETATTR,
        candidates: &[
            fexit("setattr", "__x64_sys_mount_setattr"),
            fexit("setattr", "__arm64_sys_mount_setattr"),
        ],
        missing: Missing::Nothing,
        reason: "mount_setattr(2), since 5.12, calls no function that says which mounts changed",
    },
    Row {
        hook: hook::SETATTR,
        candidates: &[fexit("setattr_compat", "__ia32_sys_mount_setattr")],
        missing: Missing::Nothing,
        reason: "the same for 32-bit callers",
    },
    Row {
        hook: hook::OPEN_TREE_ATTR,
        candidates: &[
            fexit("open_tree_attr", "__x64_sys_open_tree_attr"),
            fexit("open_tree_attr", "__arm64_sys_open_tree_attr"),
        ],
        missing: Missing::Nothing,
        reason: "since 6.15; without OPEN_TREE_CLONE it changes attached mounts",
    },
    Row {
        hook: hook::OPEN_TREE_ATTR,
        candidates: &[fexit("open_tree_attr_compat", "__ia32_sys_open_tree_attr")],
        missing: Missing::Nothing,
        reason: "the same for 32-bit callers",
    },
    Row {
        hook: hook::SET_GROUP,
        candidates: &[
            fexit("move_mount_end", "__x64_sys_move_mount"),
            fexit("move_mount_end", "__arm64_sys_move_mount"),
        ],
        missing: Missing::Blind("MOVE_MOUNT_SET_GROUP leaves no trace"),
        reason: "forgets what security_move_mount remembered; attached before it",
    },
    Row {
        hook: hook::SET_GROUP,
        candidates: &[fexit("move_mount_end_compat", "__ia32_sys_move_mount")],
        missing: Missing::Nothing,
        reason: "the same for 32-bit callers",
    },
    Row {
        hook: hook::SET_GROUP,
        candidates: &[fentry("set_group", "security_move_mount")],
        missing: Missing::Blind("MOVE_MOUNT_SET_GROUP leaves no trace"),
        reason: "the target of move_mount(2) under its kernel address",
    },
    Row {
        hook: hook::RENAME,
        candidates: &[fexit("rename", "__d_move")],
        missing: Missing::Blind("a renamed directory keeps its old name in paths and roots"),
        reason: "rename, exchange and splicing of directories come together here",
    },
    Row {
        hook: hook::DELETE,
        candidates: &[fexit("delete", "d_delete")],
        missing: Missing::Blind("a bind mount whose root was deleted is not marked as such"),
        reason: "rmdir and unlink unhash the dentry here",
    },
    Row {
        hook: hook::SCAN,
        candidates: &[fentry("scan", "show_mountinfo")],
        missing: Missing::Refuse,
        reason: "the records of a scan land between those of the changes around it",
    },
];

/// What a kernel offers.
#[derive(Debug, Clone)]
pub struct Features {
    /// Byte offset of each of [`offset::MEMBERS`], or [`offset::ABSENT`].
    pub offsets: [u32; offset::COUNT],
    /// Those functions of the table that this kernel has.
    pub functions: HashSet<&'static str>,
}

impl Features {
    /// Looks everything up in a kernel's BTF.
    pub fn resolve(btf: &Btf) -> Self {
        let mut offsets = [offset::ABSENT; offset::COUNT];
        for (cell, (structure, member, _)) in offsets.iter_mut().zip(offset::MEMBERS) {
            *cell = btf.member(structure, member).unwrap_or(offset::ABSENT);
        }
        let functions = HOOKS
            .iter()
            .flat_map(|row| row.candidates)
            .map(|candidate| candidate.function)
            .filter(|function| btf.has_function(function))
            .collect();
        Self { offsets, functions }
    }

    /// Members that no hook can do without and that this kernel does not have.
    pub fn missing_members(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        offset::MEMBERS
            .iter()
            .zip(&self.offsets)
            .filter(|((_, _, required), found)| *required && **found == offset::ABSENT)
            .map(|((structure, member, _), _)| (*structure, *member))
    }
}

/// One row that is to be attached, with the candidates that this kernel has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which hook.
    pub hook: Hook,
    /// Not empty; in order of preference.
    pub candidates: Vec<Candidate>,
    /// What is lost if none attaches.
    pub missing: Missing,
}

/// What to attach on one kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of attachment.
    pub steps: Vec<Step>,
    /// What the index cannot see, one sentence each.
    pub blind: Vec<String>,
    /// Hooks without which there is no index and for which this kernel has no function.
    pub refused: Vec<Hook>,
}

/// Makes the plan. `without`: names of hooks to leave out, for tests.
pub fn plan(features: &Features, without: &[String]) -> Plan {
    let mut plan = Plan::default();
    for row in HOOKS {
        let name = hook::name(row.hook);
        if without.iter().any(|left_out| left_out == name) {
            let sentence = format!("hook {name} was left out by request");
            if !plan.blind.contains(&sentence) {
                plan.blind.push(sentence);
            }
            continue;
        }
        let candidates: Vec<_> = row
            .candidates
            .iter()
            .filter(|candidate| features.functions.contains(candidate.function))
            .copied()
            .collect();
        if candidates.is_empty() {
            match row.missing {
                Missing::Refuse => plan.refused.push(row.hook),
                Missing::Blind(sentence) => plan.blind.push(sentence.to_owned()),
                Missing::Nothing => {}
            }
        } else {
            plan.steps.push(Step { hook: row.hook, candidates, missing: row.missing });
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Functions that only some kernels have; every other one of the table exists on all.
    const PARTIAL: &[(&str, &[&str])] = &[
        ("5.10", &["__attach_mnt"]),
        ("6.1", &["__attach_mnt", "__x64_sys_mount_setattr", "__ia32_sys_mount_setattr"]),
        (
            "7.3",
            &[
                "make_visible",
                "bulk_make_private",
                "__ns_tree_add_raw",
                "__ns_tree_remove",
                "__x64_sys_mount_setattr",
                "__ia32_sys_mount_setattr",
                "__x64_sys_open_tree_attr",
                "__ia32_sys_open_tree_attr",
            ],
        ),
    ];
    const EVERYWHERE: &[&str] = &[
        "namespace_unlock",
        "copy_tree",
        "change_mnt_propagation",
        "mnt_release_group_id",
        "copy_mnt_ns",
        "free_mnt_ns",
        "mnt_warn_timestamp_expiry",
        "reconfigure_super",
        "__x64_sys_move_mount",
        "__ia32_sys_move_mount",
        "security_move_mount",
        "__d_move",
        "d_delete",
        "show_mountinfo",
    ];

    fn features(kernel: &str) -> Features {
        let partial = PARTIAL.iter().find(|(name, _)| *name == kernel).unwrap().1;
        let functions = EVERYWHERE.iter().chain(partial).copied().collect();
        Features { offsets: [0; offset::COUNT], functions }
    }

    fn functions(plan: &Plan, hook: Hook) -> Vec<&'static str> {
        plan.steps
            .iter()
            .filter(|step| step.hook == hook)
            .flat_map(|step| &step.candidates)
            .map(|candidate| candidate.function)
            .collect()
    }

    #[test]
    fn every_kernel_has_a_plan_without_holes() {
        for (kernel, _) in PARTIAL {
            let plan = plan(&features(kernel), &[]);
            assert!(plan.refused.is_empty(), "{kernel}: {:?}", plan.refused);
            assert_eq!(plan.blind, Vec::<String>::new(), "{kernel}");
        }
    }

    #[test]
    fn the_newest_function_is_preferred() {
        let old = plan(&features("6.1"), &[]);
        assert_eq!(functions(&old, hook::ATTACH), ["__attach_mnt"]);
        assert_eq!(functions(&old, hook::NAMESPACE_BORN), ["copy_mnt_ns"]);
        assert_eq!(functions(&old, hook::BULK_PRIVATE), [""; 0]);
        let new = plan(&features("7.3"), &[]);
        assert_eq!(functions(&new, hook::ATTACH), ["make_visible"]);
        assert_eq!(functions(&new, hook::NAMESPACE_BORN), ["__ns_tree_add_raw", "copy_mnt_ns"]);
        assert_eq!(functions(&new, hook::BULK_PRIVATE), ["bulk_make_private"]);
    }

    #[test]
    fn a_missing_function_is_a_refusal_a_sentence_or_nothing() {
        let mut features = features("5.10");
        for function in ["__attach_mnt", "__d_move", "__ia32_sys_move_mount"] {
            features.functions.remove(function);
        }
        let plan = plan(&features, &[]);
        assert_eq!(plan.refused, [hook::ATTACH]);
        assert_eq!(plan.blind, ["a renamed directory keeps its old name in paths and roots"]);
    }

    #[test]
    fn a_hook_left_out_is_left_out_whole_and_said_once() {
        let plan = plan(&features("7.3"), &["set_group".to_owned(), "commit".to_owned()]);
        assert_eq!(functions(&plan, hook::SET_GROUP), [""; 0]);
        assert_eq!(
            plan.blind,
            ["hook commit was left out by request", "hook set_group was left out by request"]
        );
        assert!(plan.refused.is_empty(), "{:?}", plan.refused);
    }

    #[test]
    fn the_end_of_a_transaction_is_attached_before_what_it_ends() {
        let position = |hook| HOOKS.iter().position(|row| row.hook == hook);
        assert_eq!(position(hook::COMMIT), Some(0));
        for row in HOOKS {
            assert!(!row.candidates.is_empty() && !row.reason.is_empty());
        }
    }
}
