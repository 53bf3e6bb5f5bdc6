//! A set in order: a tree of leaves with many entries each.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// Entries of a node before it is split.
const MAX: usize = 32;
/// Entries below which a node is joined with a neighbour, if they fit together.
const MIN: usize = 8;

/// A persistent set in order.
#[derive(Clone, Debug)]
pub(crate) struct Sorted<K> {
    root: Node<K>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<K> {
    /// As long as it has keys: it is written anew with each change.
    Leaf(Arc<[K]>),
    /// Its parts in order, each with a key that is not above its first.
    Inner(Arc<Vec<(K, Node<K>)>>),
}

impl<K> Default for Sorted<K> {
    fn default() -> Self {
        Self { root: Node::Leaf(Arc::default()), len: 0 }
    }
}

impl<K: Copy + Ord> Sorted<K> {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts a key in; whether it is new.
    pub(crate) fn insert(&mut self, key: K) -> bool {
        if self.contains(key) {
            return false;
        }
        if let Some((at, right)) = self.root.insert(key) {
            let left = std::mem::replace(&mut self.root, Node::Leaf(Arc::default()));
            self.root =
                Node::Inner(Arc::new(vec![(left.first().unwrap_or(at), left), (at, right)]));
        }
        self.len += 1;
        true
    }

    /// Takes a key out; whether it was there.
    pub(crate) fn remove(&mut self, key: K) -> bool {
        if !self.contains(key) {
            return false;
        }
        self.root.remove(key);
        while let Node::Inner(parts) = &self.root
            && parts.len() <= 1
        {
            self.root =
                parts.first().map_or_else(|| Node::Leaf(Arc::default()), |(_, n)| n.clone());
        }
        self.len -= 1;
        true
    }

    /// Whether the key is in it.
    pub(crate) fn contains(&self, key: K) -> bool {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(keys) => return keys.binary_search(&key).is_ok(),
                Node::Inner(parts) => match parts.get(part_of(parts, key)) {
                    Some((_, part)) => node = part,
                    None => return false,
                },
            }
        }
    }

    /// Every key, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = K> + '_ {
        self.range(..)
    }

    /// The keys of a range, in order. It takes time for the depth of the tree and for what it gives.
    pub(crate) fn range(&self, range: impl RangeBounds<K>) -> impl Iterator<Item = K> + '_ {
        let start = range.start_bound().cloned();
        let end = range.end_bound().cloned();
        Iter::new(&self.root, start).take_while(move |key| match end {
            Bound::Included(end) => *key <= end,
            Bound::Excluded(end) => *key < end,
            Bound::Unbounded => true,
        })
    }
}

/// In which part a key is, if it is there.
fn part_of<K: Copy + Ord>(parts: &[(K, Node<K>)], key: K) -> usize {
    parts.partition_point(|(first, _)| *first <= key).saturating_sub(1)
}

impl<K: Copy + Ord> Node<K> {
    fn first(&self) -> Option<K> {
        match self {
            Self::Leaf(keys) => keys.first().copied(),
            Self::Inner(parts) => parts.first().map(|(first, _)| *first),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(keys) => keys.len(),
            Self::Inner(parts) => parts.len(),
        }
    }

    /// What has to stand to the right of it, if it had to be split.
    fn insert(&mut self, key: K) -> Option<(K, Self)> {
        match self {
            Self::Leaf(keys) => {
                let at = keys.partition_point(|known| *known < key);
                let (left, right) = keys.split_at_checked(at)?;
                let mut new: Vec<_> = Vec::with_capacity(keys.len() + 1);
                new.extend_from_slice(left);
                new.push(key);
                new.extend_from_slice(right);
                let right = split(&mut new, at);
                *keys = new.into();
                let right = right?;
                Some((*right.first()?, Self::Leaf(right.into())))
            }
            Self::Inner(parts) => {
                let at = part_of(parts, key);
                let parts = Arc::make_mut(parts);
                let (first, part) = parts.get_mut(at)?;
                *first = key.min(*first);
                let right = part.insert(key)?;
                parts.insert(at + 1, right);
                let right = split(parts, at + 1)?;
                Some((right.first()?.0, Self::Inner(Arc::new(right))))
            }
        }
    }

    fn remove(&mut self, key: K) {
        match self {
            Self::Leaf(keys) => {
                let rest: Vec<_> = keys.iter().filter(|known| **known != key).copied().collect();
                *keys = rest.into();
            }
            Self::Inner(parts) => {
                let at = part_of(parts, key);
                let parts = Arc::make_mut(parts);
                let Some((_, part)) = parts.get_mut(at) else { return };
                part.remove(key);
                let len = part.len();
                if len == 0 {
                    parts.remove(at);
                } else if len < MIN {
                    join(parts, at);
                }
            }
        }
    }
}

/// The right part of a node that is too large. Keys mostly come in order: then the left one is full.
fn split<T>(entries: &mut Vec<T>, inserted: usize) -> Option<Vec<T>> {
    if entries.len() <= MAX {
        return None;
    }
    let at = if inserted + 1 == entries.len() { inserted } else { entries.len() / 2 };
    Some(entries.split_off(at))
}

/// Joins a small part with the one beside it.
fn join<K: Copy + Ord>(parts: &mut Vec<(K, Node<K>)>, at: usize) {
    let left = if at + 1 < parts.len() { at } else { at.saturating_sub(1) };
    let together = match (parts.get(left), parts.get(left + 1)) {
        (Some((_, Node::Leaf(a))), Some((_, Node::Leaf(b)))) if a.len() + b.len() <= MAX => {
            Node::Leaf(a.iter().chain(b.iter()).copied().collect())
        }
        (Some((_, Node::Inner(a))), Some((_, Node::Inner(b)))) if a.len() + b.len() <= MAX => {
            Node::Inner(Arc::new(a.iter().chain(b.iter()).cloned().collect()))
        }
        _ => return,
    };
    parts.remove(left + 1);
    if let Some((_, part)) = parts.get_mut(left) {
        *part = together;
    }
}

/// The keys from a bound on: for each level what is left of its node.
struct Iter<'a, K> {
    inner: Vec<std::slice::Iter<'a, (K, Node<K>)>>,
    leaf: std::slice::Iter<'a, K>,
}

impl<'a, K: Copy + Ord> Iter<'a, K> {
    fn new(root: &'a Node<K>, start: Bound<K>) -> Self {
        let mut iter = Self { inner: Vec::new(), leaf: [].iter() };
        let mut node = root;
        loop {
            match node {
                Node::Leaf(keys) => {
                    let at = keys.partition_point(|key| match start {
                        Bound::Included(start) => *key < start,
                        Bound::Excluded(start) => *key <= start,
                        Bound::Unbounded => false,
                    });
                    iter.leaf = keys.get(at..).unwrap_or_default().iter();
                    return iter;
                }
                Node::Inner(parts) => {
                    let at = match start {
                        Bound::Included(start) | Bound::Excluded(start) => part_of(parts, start),
                        Bound::Unbounded => 0,
                    };
                    let Some((_, part)) = parts.get(at) else { return iter };
                    iter.inner.push(parts.get(at + 1..).unwrap_or_default().iter());
                    node = part;
                }
            }
        }
    }
}

impl<K: Copy> Iterator for Iter<'_, K> {
    type Item = K;

    fn next(&mut self) -> Option<K> {
        loop {
            if let Some(key) = self.leaf.next() {
                return Some(*key);
            }
            match self.inner.last_mut()?.next() {
                Some((_, Node::Leaf(keys))) => self.leaf = keys.iter(),
                Some((_, Node::Inner(parts))) => self.inner.push(parts.iter()),
                None => {
                    self.inner.pop();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set_and_its_clones_never_change(
            steps in prop::collection::vec((0..5_u8, 0..1_500_u32), 1..3_000),
            begin in 0..2_000_u32,
        ) {
            let mut sorted = Sorted::default();
            let mut set = BTreeSet::new();
            for key in (0..begin).rev().step_by(3) {
                prop_assert_eq!(sorted.insert(key), set.insert(key));
            }
            let kept = (sorted.clone(), set.clone());
            for (what, key) in steps {
                if what < 2 {
                    prop_assert_eq!(sorted.insert(key), set.insert(key));
                } else {
                    prop_assert_eq!(sorted.remove(key), set.remove(&key));
                }
                prop_assert_eq!(sorted.contains(key), set.contains(&key));
                prop_assert_eq!(sorted.len(), set.len());
                prop_assert_eq!(sorted.range(key..).next(), set.range(key..).next().copied());
            }
            for (sorted, set) in [(sorted, set), kept] {
                prop_assert!(sorted.iter().eq(set.iter().copied()));
                prop_assert!(sorted.range(300..=600).eq(set.range(300..=600).copied()));
                prop_assert!(sorted.range(..77).eq(set.range(..77).copied()));
            }
        }
    }

    #[test]
    fn keys_in_order_fill_their_leaves_and_leave_nothing_behind() {
        let mut sorted = Sorted::default();
        for key in 0..100_000_u32 {
            sorted.insert(key);
        }
        let mut leaves = 0;
        let mut pending = vec![&sorted.root];
        while let Some(node) = pending.pop() {
            match node {
                Node::Leaf(_) => leaves += 1,
                Node::Inner(parts) => pending.extend(parts.iter().map(|(_, part)| part)),
            }
        }
        assert!(leaves <= 100_000 / MAX + 1, "{leaves} leaves");
        for key in (0..100_000_u32).rev() {
            sorted.remove(key);
        }
        assert_eq!((sorted.len(), sorted.root.len()), (0, 0));
        assert!(matches!(sorted.root, Node::Leaf(_)));
    }
}
