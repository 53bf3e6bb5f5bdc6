//! What is mounted at one place.

use crate::maps::{Hashed, nearby, spread};
use crate::model::{DentryKey, MountKey};
use std::sync::Arc;

/// A place where something can be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) mount: MountKey,
    pub(super) dentry: DentryKey,
}

impl Hashed for Place {
    #[inline]
    fn hash(self) -> u64 {
        nearby(self.dentry.0, spread(self.mount.0))
    }
}

/// Mounts at one place, the last one attached on top.
#[derive(Clone, Debug)]
pub(super) enum Pile {
    /// The only one, which is the rule.
    One(MountKey),
    /// Several.
    Many(Arc<[MountKey]>),
}

impl Pile {
    /// All of them.
    pub(super) fn keys(&self) -> &[MountKey] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Many(keys) => keys,
        }
    }
}
