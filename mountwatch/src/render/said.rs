//! A line of `watch` with all that it says, apart from the index: what an agent sends to others.

use super::Secrets;
use super::facts::{Facts, Happening, Scene, What};
use super::operation::redacted;
use crate::model::{
    Bytes, Change, ChangeKind, Coverage, Glimpsed, NamespaceInode, NamespaceKey, Operation,
    OperationId, Revision, Task,
};
use mountwatch_common::hook::Hook;
use std::sync::Arc;

/// One line of `watch`.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The revision that shows it first.
    pub revision: Revision,
    /// What that revision is worth.
    pub coverage: Coverage,
    /// What.
    pub what: Saying,
}

/// What a line is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Saying {
    /// A mount that is there at the start.
    Present(Box<Facts>),
    /// Everything that is there at the start was said.
    Synced,
    /// Changes were lost; why.
    Lost(String),
    /// The coverage is another one.
    Coverage,
    /// A change.
    Change(Box<SaidChange>),
    /// An operation is over. Its secrets are hidden already.
    Operation(Arc<Operation>),
}

/// A change, and who made it.
#[derive(Clone, Debug, PartialEq)]
pub struct SaidChange {
    /// What changed.
    pub kind: SaidKind,
    /// Where it was seen.
    pub hook: Hook,
    /// When, CLOCK_MONOTONIC in nanoseconds; 0: not known.
    pub ktime_ns: u64,
    /// Who did it; `None` for what a scan found.
    pub task: Option<Arc<Task>>,
    /// The operation that it is a part of.
    pub operation: Option<OperationId>,
}

/// A mount namespace by its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaidNamespace {
    /// Its inode.
    pub ns: Option<NamespaceInode>,
    /// Its ID.
    pub ns_id: Option<u64>,
}

/// The kinds of change, with what each says: see [`ChangeKind`].
#[derive(Clone, Debug, PartialEq)]
pub enum SaidKind {
    /// A mount appeared.
    Attach(Facts),
    /// A mount left: as it was.
    Detach(Facts),
    /// A mount came or went that nobody could look at.
    Glimpsed {
        /// What is known of it.
        glimpsed: Arc<Glimpsed>,
        /// Where.
        namespace: SaidNamespace,
        /// It came; else it went.
        is_attached: bool,
    },
    /// Another parent or mountpoint.
    Move {
        /// As it was.
        before: Facts,
        /// As it is.
        mount: Facts,
    },
    /// Another attribute.
    Attributes {
        /// As it was.
        before: Facts,
        /// As it is.
        mount: Facts,
    },
    /// Another flag or option of a super block.
    SuperBlock {
        /// One of its mounts, as it was.
        before: Facts,
        /// As it is.
        mount: Facts,
    },
    /// Another name on the way to a mountpoint or a root.
    Rename(SaidRename),
    /// A namespace was born.
    NamespaceBorn(SaidNamespace),
    /// A namespace died.
    NamespaceGone(SaidNamespace),
}

/// A dentry that was renamed or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaidRename {
    /// Its name before.
    pub before: Bytes,
    /// Its name now.
    pub name: Bytes,
    /// Its path in its file system before.
    pub path_before: Option<Vec<u8>>,
    /// Its path in its file system now.
    pub path: Option<Vec<u8>>,
    /// It is deleted.
    pub is_deleted: bool,
}

impl Said {
    /// What is to be said of a happening. `before` is the state that the last line stands on, `now` the
    /// one that shows the happening.
    pub fn of(happening: &Happening<'_>, before: &mut Scene<'_>, now: &mut Scene<'_>) -> Self {
        let what = match happening.what {
            What::Present(mount) => Saying::Present(Box::new(Facts::of(now, mount))),
            What::Synced => Saying::Synced,
            What::Lost(why) => Saying::Lost(why.to_owned()),
            What::Coverage => Saying::Coverage,
            What::Change(change) => Saying::Change(Box::new(SaidChange::of(change, before, now))),
            What::Operation(done) => Saying::Operation(redacted(done, now.secrets())),
        };
        Self { revision: happening.revision, coverage: happening.coverage.clone(), what }
    }

    /// The same with secrets hidden, wherever it comes from.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Secrets) -> Self {
        let hide = |facts: &mut Facts| {
            facts.source = secrets.source(&facts.source);
            facts.fs_options = facts.fs_options.take().map(|options| secrets.options(&options));
        };
        match &mut self.what {
            Saying::Present(facts) => hide(facts),
            Saying::Change(change) => match &mut change.kind {
                SaidKind::Attach(mount) | SaidKind::Detach(mount) => hide(mount),
                SaidKind::Move { before, mount }
                | SaidKind::Attributes { before, mount }
                | SaidKind::SuperBlock { before, mount } => {
                    hide(before);
                    hide(mount);
                }
                SaidKind::Glimpsed { .. }
                | SaidKind::Rename(_)
                | SaidKind::NamespaceBorn(_)
                | SaidKind::NamespaceGone(_) => {}
            },
            Saying::Operation(done) => *done = redacted(done, secrets),
            Saying::Synced | Saying::Lost(_) | Saying::Coverage => {}
        }
        self
    }

    /// The word for it in every output.
    pub fn word(&self) -> &'static str {
        match &self.what {
            Saying::Present(_) => "present",
            Saying::Synced => "synced",
            Saying::Lost(_) => "lost",
            Saying::Coverage => "coverage",
            Saying::Change(change) => change.kind.word(),
            Saying::Operation(_) => "operation",
        }
    }

    /// When, CLOCK_MONOTONIC in nanoseconds; 0: not known.
    pub fn ktime_ns(&self) -> u64 {
        match &self.what {
            Saying::Change(change) => change.ktime_ns,
            Saying::Operation(done) => done.begin_ktime_ns,
            _ => 0,
        }
    }
}

impl SaidChange {
    fn of(change: &Change, before: &mut Scene<'_>, now: &mut Scene<'_>) -> Self {
        let kind = match &change.kind {
            ChangeKind::Attach { mount } => SaidKind::Attach(Facts::of(now, mount)),
            ChangeKind::Detach { mount } => SaidKind::Detach(Facts::of(before, mount)),
            ChangeKind::Glimpsed { glimpsed, is_attached } => SaidKind::Glimpsed {
                glimpsed: Arc::clone(glimpsed),
                namespace: glimpsed
                    .namespace
                    .map(|key| namespace(now, key, now.namespace_inode(key)))
                    .unwrap_or_default(),
                is_attached: *is_attached,
            },
            ChangeKind::Move { before: old, mount } => {
                SaidKind::Move { before: Facts::of(before, old), mount: Facts::of(now, mount) }
            }
            ChangeKind::Attributes { before: old, mount } => SaidKind::Attributes {
                before: Facts::of(before, old),
                mount: Facts::of(now, mount),
            },
            ChangeKind::SuperBlock { mount } => SaidKind::SuperBlock {
                before: Facts::of(before, mount),
                mount: Facts::of(now, mount),
            },
            ChangeKind::Rename { dentry, before: old, name } => SaidKind::Rename(SaidRename {
                before: Arc::clone(old),
                name: Arc::clone(name),
                path_before: before.path_in_fs(*dentry),
                path: now.path_in_fs(*dentry),
                is_deleted: now.is_deleted(*dentry),
            }),
            ChangeKind::NamespaceBorn { namespace: key, inode } => {
                SaidKind::NamespaceBorn(namespace(now, *key, Some(*inode)))
            }
            ChangeKind::NamespaceGone { namespace: key, inode } => {
                SaidKind::NamespaceGone(namespace(before, *key, Some(*inode)))
            }
        };
        let Change { hook, ktime_ns, operation, .. } = *change;
        Self { kind, hook, ktime_ns, task: change.task.clone(), operation }
    }
}

impl SaidKind {
    /// The word for it in every output.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Attach(_) | Self::Glimpsed { is_attached: true, .. } => "attach",
            Self::Detach(_) | Self::Glimpsed { is_attached: false, .. } => "detach",
            Self::Move { .. } => "move",
            Self::Attributes { .. } => "attributes",
            Self::SuperBlock { .. } => "super_block",
            Self::Rename(_) => "rename",
            Self::NamespaceBorn(_) => "namespace_born",
            Self::NamespaceGone(_) => "namespace_gone",
        }
    }
}

fn namespace(scene: &Scene<'_>, key: NamespaceKey, ns: Option<NamespaceInode>) -> SaidNamespace {
    SaidNamespace { ns, ns_id: scene.namespace_id(key) }
}
