//! Changes: what a transaction did to the index.

use super::{
    Bytes, DentryKey, Mount, NamespaceInode, NamespaceKey, Operation, OperationId, Revision,
    UniqueMountId,
};
use mountwatch_common::hook::Hook;
use std::sync::Arc;

/// Who made a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Process ID in the initial PID namespace; 0 if not known.
    pub pid: u32,
    /// Thread ID in the initial PID namespace; 0 if not known.
    pub tid: u32,
    /// Real user ID in the initial user namespace.
    pub uid: u32,
    /// `comm`: up to 15 bytes, as the task had it at that moment.
    pub comm: Bytes,
    /// ID of the task's cgroup (its inode in cgroup2), 0 if not known.
    pub cgroup_id: u64,
    /// Whether it descended from the process whose descendants are told apart, at that moment.
    pub descent: Descent,
}

/// Whether a task descends from the process whose descendants are told apart
/// ([`crate::agent::Config::descendants_of`]): a child of it, a child of a child, and so on. Who lost its
/// parent has another one (prctl(2), `PR_SET_CHILD_SUBREAPER`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Descent {
    /// It does not, or nobody is told apart.
    #[default]
    No,
    /// It does.
    Yes,
    /// Nobody knows: there are too many processes between the two, or it was gone when it was
    /// looked at.
    Unknown,
}

/// One change of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// Where it was seen.
    pub hook: Hook,
    /// When, CLOCK_MONOTONIC in nanoseconds.
    pub ktime_ns: u64,
    /// Who did it; `None` for changes found by a scan.
    pub task: Option<Arc<Task>>,
    /// The operation that it is a part of, which is told when it is over ([`Transaction::operations`]).
    /// `None` where that is not known, and for renames.
    pub operation: Option<OperationId>,
}

/// The kinds of change.
#[derive(Clone, Debug, PartialEq)]
pub enum ChangeKind {
    /// A mount appeared in a namespace.
    Attach {
        /// As it is now.
        mount: Arc<Mount>,
    },
    /// A mount left its namespace.
    Detach {
        /// As it was.
        mount: Arc<Mount>,
    },
    /// A mount came or went that nobody could look at in between: what is known of it comes from
    /// its notification and from the system call that made it.
    Glimpsed {
        /// It.
        glimpsed: Arc<Glimpsed>,
        /// It came; else it went.
        is_attached: bool,
    },
    /// A mount got another parent or mountpoint.
    Move {
        /// As it was.
        before: Arc<Mount>,
        /// As it is now.
        mount: Arc<Mount>,
    },
    /// Attributes, peer group, master or another fact of a mount changed.
    Attributes {
        /// As it was.
        before: Arc<Mount>,
        /// As it is now.
        mount: Arc<Mount>,
    },
    /// Flags or options of a super block changed.
    SuperBlock {
        /// One of its mounts, by which it can be shown.
        mount: Arc<Mount>,
    },
    /// A dentry on the way to a mountpoint or a root was renamed or deleted.
    Rename {
        /// The dentry.
        dentry: DentryKey,
        /// Its name before.
        before: Bytes,
        /// Its name now.
        name: Bytes,
    },
    /// A mount namespace was born.
    NamespaceBorn {
        /// Its key.
        namespace: NamespaceKey,
        /// Its inode.
        inode: NamespaceInode,
    },
    /// A mount namespace died.
    NamespaceGone {
        /// Its key.
        namespace: NamespaceKey,
        /// Its inode.
        inode: NamespaceInode,
    },
}

impl ChangeKind {
    /// The words of all kinds.
    pub const WORDS: [&'static str; 8] = [
        "attach",
        "detach",
        "move",
        "attributes",
        "super_block",
        "rename",
        "namespace_born",
        "namespace_gone",
    ];

    /// The word for it in every output.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Attach { .. } | Self::Glimpsed { is_attached: true, .. } => "attach",
            Self::Detach { .. } | Self::Glimpsed { is_attached: false, .. } => "detach",
            Self::Move { .. } => "move",
            Self::Attributes { .. } => "attributes",
            Self::SuperBlock { .. } => "super_block",
            Self::Rename { .. } => "rename",
            Self::NamespaceBorn { .. } => "namespace_born",
            Self::NamespaceGone { .. } => "namespace_gone",
        }
    }

    /// The mount that it is about, as it is now, or as it was if it left.
    pub fn mount(&self) -> Option<&Arc<Mount>> {
        match self {
            Self::Attach { mount }
            | Self::Detach { mount }
            | Self::Move { mount, .. }
            | Self::Attributes { mount, .. }
            | Self::SuperBlock { mount } => Some(mount),
            _ => None,
        }
    }
}

/// A mount that left before it could be looked at. It was in no snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glimpsed {
    /// The ID that is never reused.
    pub unique_id: Option<UniqueMountId>,
    /// The namespace of the thread that made it; copies by propagation are in others.
    pub namespace: Option<NamespaceKey>,
    /// The mountpoint as it was given to the system call: not resolved, perhaps relative.
    pub target: Option<Bytes>,
    /// The source as it was given to the system call.
    pub source: Option<Bytes>,
    /// The type of the file system as it was given to the system call.
    pub fs_type: Option<Bytes>,
}

/// What one published step did: readers see all of it or nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// The revision that shows it first.
    pub revision: Revision,
    /// Its changes, in the order in which they were told.
    pub changes: Vec<Change>,
    /// Operations that are over. Their changes are those of this step and of earlier ones.
    pub operations: Vec<Arc<Operation>>,
}
