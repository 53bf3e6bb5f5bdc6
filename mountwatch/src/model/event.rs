//! Events: facts in domain words, decoded from records or made by a back end.
//!
//! An event is a *state* of an object, not a difference. Applying the same one twice changes
//! nothing, and the last one about an object is true.

use super::{
    Bytes, Call, DentryKey, Descent, Device, GivenText, Glimpsed, MountAttributes, MountId,
    MountKey, NamespaceId, NamespaceInode, NamespaceKey, PeerGroupId, SuperFlags, SuperKey,
    Surroundings, UniqueMountId,
};
use mountwatch_common::hook::Hook;
use std::sync::Arc;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// One of [`mountwatch_common::hook`].
    pub hook: Hook,
    /// Part of a transaction: made while `namespace_sem` was held for write.
    pub in_transaction: bool,
    /// Made by a scan, not by a change.
    pub scan: bool,
    /// CLOCK_MONOTONIC, in nanoseconds.
    pub ktime_ns: u64,
    /// Process (thread group) that made the change.
    pub pid: u32,
    /// Thread that made the change.
    pub tid: u32,
    /// When the system call of the mount family began that the thread was in, CLOCK_MONOTONIC in
    /// nanoseconds; 0 if it was in none, or if that is not known.
    pub begin_ktime_ns: u64,
    /// Whether that thread descends from the process whose descendants are told apart.
    pub descent: Descent,
}

impl Origin {
    /// Nobody, nowhere, at no time.
    pub const NOBODY: Self = Self {
        hook: 0,
        in_transaction: false,
        scan: false,
        ktime_ns: 0,
        pid: 0,
        tid: 0,
        begin_ktime_ns: 0,
        descent: Descent::No,
    };
}

/// One event with its origin.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The state of a mount.
    Mount(Origin, Box<MountEvent>),
    /// A mount left its namespace. The fields of the event may still be those from before.
    MountGone(Origin, Box<MountEvent>),
    /// The place of a dentry.
    Dentry(Origin, DentryEvent),
    /// The state of a super block.
    Super(Origin, SuperEvent),
    /// A peer group died; its slaves get its last member's master.
    GroupDead(Origin, GroupDeadEvent),
    /// A mount namespace was born, or is told for the first time.
    NamespaceBorn(Origin, NamespaceEvent),
    /// A mount namespace died.
    NamespaceGone(Origin, NamespaceEvent),
    /// A mount that left before it could be looked at came or went.
    Glimpsed(Origin, GlimpsedEvent),
    /// All events of one task's change have been given.
    Commit(Origin, CommitEvent),
    /// A system call of the mount family returned: all events of what it changed have been given.
    /// The time of the origin is that of the end.
    Call(Origin, Box<CallEvent>),
}

impl Event {
    /// Where it was seen, when, and whose it is.
    pub(crate) fn origin(&self) -> &Origin {
        match self {
            Self::Mount(origin, _)
            | Self::MountGone(origin, _)
            | Self::Dentry(origin, _)
            | Self::Super(origin, _)
            | Self::GroupDead(origin, _)
            | Self::NamespaceBorn(origin, _)
            | Self::NamespaceGone(origin, _)
            | Self::Glimpsed(origin, _)
            | Self::Commit(origin, _)
            | Self::Call(origin, _) => origin,
        }
    }
}

/// The state of a mount.
#[expect(clippy::struct_excessive_bools, reason = "each is an independent fact")]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MountEvent {
    /// The mount.
    pub key: MountKey,
    /// The mount on which it sits; itself if none.
    pub parent: MountKey,
    /// Its namespace; `None` for a mount in no namespace.
    pub namespace: Option<NamespaceKey>,
    /// Its super block.
    pub super_block: SuperKey,
    /// `mnt_root`.
    pub root: DentryKey,
    /// `mnt_mountpoint`.
    pub mountpoint: DentryKey,
    /// `mnt_id`.
    pub id: MountId,
    /// The parent's `mnt_id`.
    pub parent_id: MountId,
    /// `mnt_id_unique`.
    pub unique_id: Option<UniqueMountId>,
    /// ID of the namespace.
    pub namespace_id: Option<NamespaceId>,
    /// Inode of the namespace.
    pub namespace_inode: NamespaceInode,
    /// The namespace is anonymous: a detached tree.
    pub is_anonymous: bool,
    /// It is its namespace's root mount.
    pub is_namespace_root: bool,
    /// The events that follow tell everything below it.
    pub starts_subtree: bool,
    /// Device of the super block.
    pub device: Device,
    /// Flags of the super block.
    pub super_flags: SuperFlags,
    /// Attributes.
    pub attributes: MountAttributes,
    /// Its peer group.
    pub peer_group: Option<PeerGroupId>,
    /// Its master's peer group.
    pub master: Option<PeerGroupId>,
    /// It is unbindable.
    pub unbindable: bool,
    /// `mnt_devname`.
    pub source: Bytes,
    /// The mount that it was copied from, if it is a copy and that is known.
    pub copied_from: Option<MountKey>,
}

/// The place of a dentry.
#[derive(Clone, Debug, PartialEq)]
pub struct DentryEvent {
    /// The dentry.
    pub key: DentryKey,
    /// Its parent; itself for a root.
    pub parent: DentryKey,
    /// Its name; for a root of nsfs what mountinfo shows (`mnt:[4026531841]`).
    pub name: Bytes,
    /// It is unhashed: mountinfo shows `//deleted`.
    pub is_deleted: bool,
    /// The name is the whole root field as mountinfo shows it, not a component (nsfs; a root of a
    /// file system that shows something else than a path).
    pub is_literal: bool,
}

/// The state of a super block.
#[derive(Clone, Debug, PartialEq)]
pub struct SuperEvent {
    /// The super block.
    pub key: SuperKey,
    /// `s_dev`.
    pub device: Device,
    /// `s_magic`, 0 if not known.
    pub magic: u64,
    /// `s_flags`.
    pub flags: SuperFlags,
    /// Type with its subtype.
    pub fs_type: Bytes,
    /// The options may have changed.
    pub options_stale: bool,
    /// The options, where the back end has them at hand.
    pub options: Option<Bytes>,
}

/// A peer group died.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupDeadEvent {
    /// Its last member.
    pub mount: MountKey,
    /// The group.
    pub group: PeerGroupId,
    /// The last member's master as the kernel still had it.
    pub master: Option<PeerGroupId>,
}

/// A mount namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceEvent {
    /// The namespace.
    pub key: NamespaceKey,
    /// Its ID.
    pub id: Option<NamespaceId>,
    /// Its inode.
    pub inode: NamespaceInode,
    /// It is anonymous.
    pub is_anonymous: bool,
    /// A task that is in it, if one is known (thread ID in the initial PID namespace).
    pub task: Option<u32>,
}

/// A mount that left before it could be looked at came or went.
#[derive(Clone, Debug, PartialEq)]
pub struct GlimpsedEvent {
    /// It.
    pub glimpsed: Arc<Glimpsed>,
    /// It came; else it went.
    pub is_attached: bool,
}

/// The end of one task's change.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitEvent {
    /// `comm` of the task, without the final zeros.
    pub comm: Bytes,
    /// `bpf_get_current_cgroup_id`, 0 if not known.
    pub cgroup_id: u64,
    /// Real user ID in the initial user namespace.
    pub uid: u32,
}

/// A system call of the mount family returned.
#[derive(Clone, Debug, PartialEq)]
pub struct CallEvent {
    /// Which.
    pub call: Call,
    /// What it was given, as numbers; what it does not have is 0.
    pub arguments: [u64; 6],
    /// Those of them that are texts.
    pub texts: Vec<GivenText>,
    /// What it returned: negative is an error number.
    pub result: i64,
    /// Who made it.
    pub caller: CommitEvent,
    /// What else is known of the caller.
    pub surroundings: Surroundings,
}
