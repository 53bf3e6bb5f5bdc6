//! What a process and its descendants left behind: mounts that they made and that are still there,
//! and mount namespaces.
//!
//! A [`Ledger`] takes the published steps while they run, and [`Ledger::left`] compares what it noted
//! with the index at the end. [`Left::mounts`] are in an order in which they can be unmounted. Pure: who holds a namespace, and which processes live, is given.
//!
//! What counts:
//!
//! * A mount that a descendant attached in any namespace, and each copy that the kernel propagated
//!   of it, wherever it moved to since.
//! * A mount namespace that a descendant made, with all that was copied into it as one thing. What
//!   was mounted in it later counts by itself.
//! * What came with nobody known who made it (found by a scan after a loss, or with a back end that
//!   only reads) counts too, as [`Owner::Unknown`]: it may be somebody else's.
//!
//! What does not: mounts that were there before and were moved or changed, and whatever is gone.

mod ledger;
mod order;
#[cfg(test)]
mod tests;
mod unmount;

pub use ledger::Ledger;
pub use unmount::{Entrance, Release, Unmount, quoted};

use crate::model::{Mount, MountKey, Namespace, Operation, Task};
use std::sync::Arc;

/// Whose something is that came since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A descendant made it.
    Descendant,
    /// Nobody knows who made it.
    Unknown,
}

impl Owner {
    /// The word for it in every output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Descendant => "descendant",
            Self::Unknown => "unknown",
        }
    }
}

/// Who made something, and when.
#[derive(Clone, Debug)]
pub struct Maker {
    /// Whose it is.
    pub owner: Owner,
    /// Who attached it last; `None` if nobody knows.
    pub task: Option<Arc<Task>>,
    /// When, CLOCK_MONOTONIC in nanoseconds; 0 if nobody knows.
    pub ktime_ns: u64,
    /// The system call that made it, where that is known.
    pub operation: Option<Arc<Operation>>,
}

/// A mount that was left behind.
#[derive(Clone, Debug)]
pub struct LeftMount {
    /// It.
    pub mount: Arc<Mount>,
    /// Who made it.
    pub maker: Maker,
    /// Its mountpoint: seen from the root directory of whoever asks if it is in that namespace, else
    /// from the root of its own. `None` if no path leads there.
    pub path: Option<Vec<u8>>,
    /// How it is unmounted when its turn comes.
    pub unmount: Unmount,
    /// How many mounts are on it that are not among those left behind: the unmount fails with EBUSY
    /// until they are gone.
    pub foreign_children: usize,
}

/// A mount namespace that was left behind.
#[derive(Clone, Debug)]
pub struct LeftNamespace {
    /// It, with its mounts.
    pub namespace: Arc<Namespace>,
    /// Who made it.
    pub maker: Maker,
    /// What keeps it alive, and so what ends it.
    pub release: Release,
}

/// Everything that was left behind.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// The mounts, in an order in which they can be unmounted.
    pub mounts: Vec<LeftMount>,
    /// The namespaces, by age.
    pub namespaces: Vec<LeftNamespace>,
}

impl Left {
    /// Nothing was left behind.
    pub fn is_empty(&self) -> bool {
        self.mounts.is_empty() && self.namespaces.is_empty()
    }

    /// Whether nobody knows who made some of it.
    pub fn has_unknown(&self) -> bool {
        let mounts = self.mounts.iter().map(|left| left.maker.owner);
        let mut owners = mounts.chain(self.namespaces.iter().map(|left| left.maker.owner));
        owners.any(|owner| owner == Owner::Unknown)
    }

    /// The place of a mount in [`Self::mounts`].
    pub fn position(&self, key: MountKey) -> Option<usize> {
        self.mounts.iter().position(|left| left.mount.key == key)
    }
}
