//! Questions to a snapshot: no I/O, no kernel lock, no wait.
//!
//! A mount table has no paths of its own: each process sees the tree from its own root, in its own
//! namespace. So every question about paths starts from a [`Viewpoint`], and every path in an
//! answer is one that a process there would use. [`SnapshotView`] joins a snapshot with a viewpoint
//! and answers what [`MountQueries`] asks.

mod bind;
mod host;
mod info;
mod path;
mod portrait;
mod propagation;
mod questions;
#[cfg(test)]
mod tests;
mod view;
mod viewpoint;

pub(crate) use bind::is_partly_mounted;
pub use bind::{Bind, Binds};
pub use host::{HostPath, HostWay};
pub use info::MountInfo;
pub(crate) use info::path_buf;
pub use path::{Covering, Listed, is_at_or_below};
pub use portrait::{Neighbour, Portrait};
pub use questions::{MountQueries, WhichMount};
pub use view::{PathError, SnapshotView};
pub use viewpoint::Viewpoint;

use crate::model::{Coverage, Revision};

/// An answer with what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// The state of the index that it was taken from.
    pub revision: Revision,
    /// How much of the truth that state is.
    pub coverage: Coverage,
}
