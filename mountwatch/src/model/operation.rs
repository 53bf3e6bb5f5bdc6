//! Operations: who did what with which result, system calls that failed included.

use super::call::{ArgumentKind, Call};
use super::{Bytes, NamespaceId, NamespaceInode, Revision, Task, UniqueMountId, errno_name};
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Number of an operation, from 1. Never given twice by one tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(NonZeroU64);

impl OperationId {
    /// `None` for 0.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One operation: a system call of the mount family that returned, or something that the kernel did
/// to mounts by itself. It is told after the changes that it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its number: [`super::Change::operation`] of its changes.
    pub id: OperationId,
    /// What it was.
    pub call: Call,
    /// What the system call was given, as numbers; what it does not have is 0.
    pub arguments: [u64; 6],
    /// Those of them that are texts, as they were in the caller's memory.
    pub texts: Vec<GivenText>,
    /// What the system call returned: negative is an error number. `None` for what returns nothing:
    /// kernel-made operations, and [`Call::Clone`].
    pub result: Option<i64>,
    /// When it began, CLOCK_MONOTONIC in nanoseconds.
    pub begin_ktime_ns: u64,
    /// How long it took; `None` where nobody saw its begin.
    pub duration_ns: Option<u64>,
    /// Who did it, or in whose name the kernel did it.
    pub task: Arc<Task>,
    /// What else is known of that task.
    pub surroundings: Arc<Surroundings>,
    /// What it did.
    pub effects: Effects,
}

/// A text argument of a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenText {
    /// Which argument, from 0.
    pub index: u8,
    /// The text; `None`: the caller's memory could not be read.
    pub text: Option<Bytes>,
    /// It was longer than the kernel takes, and there is more of it.
    pub is_truncated: bool,
}

/// What is known of a task besides what a [`Task`] says. A fact that the back end does not have is
/// `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The file that it executes, as a path from the root of that file's mount namespace.
    pub executable: Option<Bytes>,
    /// Its parent process, in the initial PID namespace.
    pub parent_pid: Option<u32>,
    /// `comm` of its parent.
    pub parent_comm: Option<Bytes>,
    /// Inode of its mount namespace, at the end of the operation.
    pub mount_namespace: Option<NamespaceInode>,
    /// ID of the same.
    pub mount_namespace_id: Option<NamespaceId>,
    /// Inode of its PID namespace.
    pub pid_namespace: Option<u32>,
    /// Path of its cgroup, as seen from the root of the hierarchy: of cgroup2 where that is in use.
    pub cgroup_path: Option<Bytes>,
    /// The container that it runs in.
    pub container: Option<Container>,
}

/// A container, by the name of its cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its ID: of the innermost one, if they are nested.
    pub id: String,
    /// What runs it.
    pub runtime: Runtime,
}

/// What runs a container, as far as the names of its cgroups say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// Docker.
    Docker,
    /// containerd, for Kubernetes or `ctr`.
    Containerd,
    /// CRI-O.
    CriO,
    /// Podman.
    Podman,
    /// systemd-nspawn.
    SystemdNspawn,
    /// LXC.
    Lxc,
    /// The name says no more than the ID.
    Unknown,
}

impl Runtime {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Docker,
        Self::Containerd,
        Self::CriO,
        Self::Podman,
        Self::SystemdNspawn,
        Self::Lxc,
        Self::Unknown,
    ];

    /// The one of that word; [`Self::Unknown`] for any other word.
    pub fn from_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|known| known.word() == word).unwrap_or(Self::Unknown)
    }

    /// The word in every output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Podman => "podman",
            Self::SystemdNspawn => "systemd-nspawn",
            Self::Lxc => "lxc",
            Self::Unknown => "unknown",
        }
    }
}

/// Mounts that an operation names at most. What is more is counted.
pub const EFFECTS_MAX: usize = 16;

/// What an operation did to the index, by its changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Mounts that it attached.
    pub created: u64,
    /// Mounts that it moved or gave other attributes.
    pub changed: u64,
    /// Mounts that it detached.
    pub removed: u64,
    /// Other changes: super blocks and mount namespaces.
    pub others: u64,
    /// The first [`EFFECTS_MAX`] of those that it attached, where the kernel has unique IDs.
    pub created_ids: Vec<UniqueMountId>,
    /// The same of those that it changed.
    pub changed_ids: Vec<UniqueMountId>,
    /// The same of those that it detached.
    pub removed_ids: Vec<UniqueMountId>,
    /// The first and the last revision that shows changes of it.
    pub revisions: Option<(Revision, Revision)>,
}

impl Effects {
    /// It changed nothing that the index shows.
    pub fn is_empty(&self) -> bool {
        self.created + self.changed + self.removed + self.others == 0
    }
}

/// One argument, in words.
#[derive(Clone, Debug, PartialEq)]
pub enum Given<'a> {
    /// A text.
    Text(&'a GivenText),
    /// A null pointer where a text may be, or a text that is not told.
    Nothing,
    /// A descriptor, or `AT_FDCWD`.
    Descriptor(i32),
    /// Names of the flags that are set, and what has no name.
    Flags(Vec<&'static str>, u64),
    /// A word for a number.
    Word(&'static str),
    /// A number.
    Number(u64),
    /// An address.
    Address(u64),
}

/// Old callers put this into the upper half of the flags of mount(2).
const MS_MGC_VAL: u64 = 0xc0ed_0000;
const MS_MGC_MSK: u64 = 0xffff_0000;

impl Operation {
    /// It succeeded; `None` for what returns nothing.
    pub fn is_success(&self) -> Option<bool> {
        self.result.map(|result| result >= 0)
    }

    /// The name of the error with which it failed (`"EBUSY"`); a number without a name has none.
    pub fn errno_name(&self) -> Option<&'static str> {
        self.errno().and_then(errno_name)
    }

    /// The error number with which it failed.
    pub fn errno(&self) -> Option<i32> {
        let result = self.result.filter(|result| *result < 0)?;
        i32::try_from(result.unsigned_abs()).ok()
    }

    /// The text that it was given as this argument.
    pub fn text(&self, name: &str) -> Option<&GivenText> {
        let index = self.call.arguments().iter().position(|(known, _)| *known == name)?;
        self.texts.iter().find(|text| usize::from(text.index) == index)
    }

    /// Its arguments by name, in the order of the system call.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, Given<'_>)> + '_ {
        let arguments = self.call.arguments().iter().zip(self.arguments).enumerate();
        arguments.map(|(index, ((name, kind), word))| (*name, self.one(index, *kind, word)))
    }

    fn one(&self, index: usize, kind: ArgumentKind, word: u64) -> Given<'_> {
        match kind {
            ArgumentKind::Text => {
                let text = self.texts.iter().find(|text| usize::from(text.index) == index);
                match text {
                    Some(text) => Given::Text(text),
                    None if word == 0 => Given::Nothing,
                    None => Given::Address(word),
                }
            }
            // The upper half of the register is not looked at.
            #[expect(clippy::cast_possible_truncation, reason = "an int in a register")]
            ArgumentKind::Directory | ArgumentKind::Descriptor => Given::Descriptor(word as i32),
            ArgumentKind::Flags(names) => {
                let is_old = self.call == Call::Mount && word & MS_MGC_MSK == MS_MGC_VAL;
                let word = if is_old { word & !MS_MGC_MSK } else { word };
                let set = names.iter().filter(|(bit, _)| word & bit != 0);
                let rest = names.iter().fold(word, |rest, (bit, _)| rest & !bit);
                Given::Flags(set.map(|(_, name)| *name).collect(), rest)
            }
            ArgumentKind::Word(names) => {
                let found = names.iter().find(|(number, _)| *number == word);
                found.map_or(Given::Number(word), |(_, name)| Given::Word(name))
            }
            ArgumentKind::Number => Given::Number(word),
            ArgumentKind::Address => Given::Address(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(call: Call, arguments: [u64; 6], result: i64) -> Operation {
        Operation {
            id: OperationId::new(1).expect("not 0"),
            call,
            arguments,
            texts: vec![GivenText {
                index: 0,
                text: Some(Bytes::from(&b"/mnt"[..])),
                is_truncated: false,
            }],
            result: Some(result),
            begin_ktime_ns: 1,
            duration_ns: Some(2),
            task: Arc::default(),
            surroundings: Arc::default(),
            effects: Effects::default(),
        }
    }

    #[test]
    fn arguments_have_names() {
        let umount = operation(Call::Umount2, [7, 2 | 1 << 40, 9, 9, 9, 9], -16);
        let given: Vec<_> =
            umount.given().map(|(name, given)| format!("{name}={given:?}")).collect();
        assert_eq!(given.len(), 2);
        assert!(given.first().is_some_and(|text| text.starts_with("target=Text(")));
        assert_eq!(
            given.get(1).map(String::as_str),
            Some("flags=Flags([\"MNT_DETACH\"], 1099511627776)")
        );
    }

    #[test]
    fn an_old_caller_of_mount_means_the_same() {
        let mount = operation(Call::Mount, [1, 0, 0, 0xc0ed_1000, 0, 0], 0);
        let given: Vec<_> = mount.given().map(|(_, given)| given).collect();
        assert_eq!(given.get(1), Some(&Given::Nothing));
        assert_eq!(given.get(3), Some(&Given::Flags(vec!["MS_BIND"], 0)));
    }

    #[test]
    fn failures_have_names() {
        assert_eq!(operation(Call::Umount2, [0; 6], -16).errno_name(), Some("EBUSY"));
        assert_eq!(operation(Call::Fsopen, [0; 6], 3).errno_name(), None);
        assert_eq!(operation(Call::Fsopen, [0; 6], 3).is_success(), Some(true));
        assert_eq!(operation(Call::Umount2, [0; 6], i64::MIN).errno(), None);
    }
}
