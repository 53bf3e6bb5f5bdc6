//! Nouns: plain values in the kernel's words.
//!
//! | our name | meaning | mountinfo(5), statmount(2) | fs/mount.h |
//! |---|---|---|---|
//! | [`Mount`] | a super block's subtree attached at a mountpoint | a line, a struct | `struct mount` |
//! | [`MountId`] | ID that is reused | field 1, `mnt_id_old` | `mnt_id` |
//! | [`UniqueMountId`] | ID that is never reused in a boot | `mnt_id` | `mnt_id_unique` (6.8) |
//! | `parent` | the mount on which it sits | field 2, `mnt_parent_id` | `mnt_parent` |
//! | `mountpoint` | where on the parent | field 5, `mnt_point` | `mnt_mountpoint` |
//! | `root` | the directory of the super block that it shows | field 4, `mnt_root` | `mnt.mnt_root` |
//! | [`MountAttributes`] | ro, nosuid, nodev, noexec, atime mode | field 6, `mnt_attr` | `mnt.mnt_flags` |
//! | [`SuperBlock`] | the file system instance | fields 3, 9, 11 | `mnt.mnt_sb` |
//! | [`PeerGroupId`] | mounts that send propagation to each other | `shared:N` | `mnt_group_id` |
//! | `master` | peer group from which a slave receives | `master:N` | `mnt_master` |
//! | [`Namespace`] | the set of mounts that a process sees | `mnt_ns_id` | `struct mnt_namespace` |

mod call;
mod change;
mod cost;
mod coverage;
mod dialect;
mod errno;
mod event;
mod holder;
mod id;
mod mount;
mod namespace;
mod operation;
mod super_block;

pub use call::{ArgumentKind, ArgumentName, Call};
pub use change::{Change, ChangeKind, Descent, Glimpsed, Task, Transaction};
pub use cost::SyscallCost;
pub use coverage::Coverage;
pub use dialect::Dialect;
pub use errno::errno_name;
pub use event::{
    CallEvent, CommitEvent, DentryEvent, Event, GlimpsedEvent, GroupDeadEvent, MountEvent,
    NamespaceEvent, Origin, SuperEvent,
};
pub use holder::{Holder, Holders};
pub use id::{
    DentryKey, Device, MountId, MountKey, NamespaceId, NamespaceInode, NamespaceKey, PeerGroupId,
    Revision, SuperKey, UniqueMountId,
};
pub(crate) use mount::propagation_type;
pub use mount::{Mount, MountAttributes, Provenance};
pub use namespace::{DETACHED, Namespace};
pub use operation::{
    Container, EFFECTS_MAX, Effects, Given, GivenText, Operation, OperationId, Runtime,
    Surroundings,
};
pub use super_block::{SuperBlock, SuperFlags};

/// Bytes that are shared and never change: names, sources, option texts. Not necessarily UTF-8.
pub type Bytes = std::sync::Arc<[u8]>;
