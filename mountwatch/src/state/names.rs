//! Directories: dentries and their children by name.

use crate::maps::{Hashed, Trie};
use crate::model::{Bytes, DentryKey};
use std::sync::Arc;

/// One dentry on the way from a file system's root to a mountpoint or a mount's root.
#[derive(Clone, Debug, Default)]
pub struct Dentry {
    /// Its parent; itself for a root.
    pub parent: DentryKey,
    /// Its name; for a literal root what mountinfo shows.
    pub name: Bytes,
    /// It is unhashed: nothing is found by its name.
    pub is_deleted: bool,
    /// The name is the whole root field.
    pub is_literal: bool,
    /// It was told. Until then it is a place that something else refers to.
    pub is_known: bool,
    /// How many mounts of namespaces have it as their mountpoint: a walk asks for what is mounted
    /// there where it has to, as the kernel's own does (`DCACHE_MOUNTED`).
    pub(super) mounted: u32,
    /// Its children that are in the table, without deleted ones.
    pub(super) children: Children,
}

impl Dentry {
    /// Whether something is mounted on it, in some namespace.
    pub fn is_mountpoint(&self) -> bool {
        self.mounted > 0
    }

    /// How many mounts have it as their mountpoint, in all namespaces.
    pub fn mount_count(&self) -> u32 {
        self.mounted
    }

    /// Its children that are in the table, without deleted ones, in no order.
    pub fn children(&self) -> impl Iterator<Item = DentryKey> + '_ {
        self.children.iter()
    }
}

/// A child: the hash of its name, and itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) hash: u64,
    pub(super) key: DentryKey,
}

impl Hashed for Child {
    fn hash(self) -> u64 {
        self.hash
    }
}

/// Children of a directory for which a search through all of them is the fastest.
const FEW: usize = 8;

/// The children of a directory, by the hashes of their names. The names themselves are those of the
/// dentries: whoever looks for one compares it there.
#[derive(Clone, Debug, Default)]
pub(super) enum Children {
    #[default]
    None,
    /// Most directories on the way to a mount have one.
    One(Child),
    Few(Arc<[Child]>),
    Many(Arc<Trie<Child, ()>>),
}

impl From<&[Child]> for Children {
    fn from(list: &[Child]) -> Self {
        match *list {
            [] => Self::None,
            [one] => Self::One(one),
            _ if list.len() <= FEW => Self::Few(list.into()),
            _ => {
                let mut trie = Trie::default();
                for child in list {
                    trie.insert(*child, ());
                }
                Self::Many(Arc::new(trie))
            }
        }
    }
}

impl Children {
    fn list(&self) -> &[Child] {
        match self {
            Self::None | Self::Many(_) => &[],
            Self::One(child) => std::slice::from_ref(child),
            Self::Few(list) => list,
        }
    }

    /// The first child that is the one, of those whose names have this hash. An only child is looked
    /// at in any case: to look is cheaper than to hash.
    #[inline]
    pub(super) fn find<T>(
        &self,
        hash: impl FnOnce() -> u64,
        mut is_it: impl FnMut(DentryKey) -> Option<T>,
    ) -> Option<T> {
        match self {
            Self::None => None,
            Self::One(child) => is_it(child.key),
            Self::Few(list) => {
                let hash = hash();
                list.iter().filter(|child| child.hash == hash).find_map(|child| is_it(child.key))
            }
            Self::Many(trie) => {
                let (hash, mut found) = (hash(), None);
                trie.find(hash, |child, ()| {
                    if child.hash == hash {
                        found = is_it(child.key);
                    }
                    found.is_some()
                });
                found
            }
        }
    }

    /// Every child, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = DentryKey> + '_ {
        let many = if let Self::Many(trie) = self { Some(trie.iter()) } else { None };
        let many = many.into_iter().flatten().map(|(child, ())| child);
        self.list().iter().chain(many).map(|child| child.key)
    }

    pub(super) fn insert(&mut self, child: Child) {
        if let Self::Many(trie) = self {
            Arc::make_mut(trie).insert(child, ());
        } else if !self.list().contains(&child) {
            let list: Vec<_> = self.list().iter().copied().chain([child]).collect();
            *self = Self::from(&list[..]);
        }
    }

    pub(super) fn remove(&mut self, child: Child) {
        let rest: Vec<_> = if let Self::Many(trie) = self {
            let trie = Arc::make_mut(trie);
            trie.remove(child);
            if trie.len() > FEW / 2 {
                return;
            }
            trie.iter().map(|(child, ())| *child).collect()
        } else {
            self.list().iter().filter(|known| **known != child).copied().collect()
        };
        *self = Self::from(&rest[..]);
    }
}
