//! A map by hash: a tree of sixteen-way branches over leaves of a few entries.

use std::sync::Arc;

/// Ways of a branch: four bits of the hash.
const WAYS: usize = 16;
const BITS: u32 = 4;
/// Bits of a hash: at the end of them a leaf takes whatever comes.
const BITS_MAX: u32 = u64::BITS;
/// Entries of a leaf before it is split. A search through so many is as fast as another level, and
/// smaller leaves would be mostly overhead.
const LEAF_MAX: usize = 32;

/// A key with its hash. Equal keys have equal hashes; the upper bits are used first.
pub(crate) trait Hashed: Copy + Eq {
    /// The hash.
    fn hash(self) -> u64;
}

/// Spreads a number that the kernel made (an address, an ID) over 64 bits: one multiplication, both
/// halves of its product. Nobody outside the kernel chooses such numbers, so nobody can make them
/// collide on purpose.
pub(crate) fn spread(number: u64) -> u64 {
    let product = u128::from(number ^ 0x243f_6a88_85a3_08d3) * 0x9e37_79b9_7f4a_7c15_u128;
    #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
    let halves = (product as u64, (product >> 64) as u64);
    halves.0 ^ halves.1
}

/// The same for a key of the kernel's objects, so that neighbours stay neighbours: objects in one
/// page of the kernel's memory, or sixteen numbers in a row. What was made together is asked for
/// together, the names of one path above all, and is then found in one leaf, which is one miss of
/// the cache in place of four.
#[inline]
pub(crate) fn nearby(key: u64, salt: u64) -> u64 {
    const LOW: u64 = 0xffff;
    // An address, in the upper half of the address space, or a number that a back end gave.
    let shift = if key >> 63 == 1 { 12 } else { 4 };
    spread((key >> shift) ^ salt) & !LOW | spread(key) & LOW
}

/// A persistent map by hash.
#[derive(Debug)]
pub(crate) struct Trie<K, V> {
    root: Node<K, V>,
    len: usize,
}

/// An empty leaf allocates nothing of its own.
#[derive(Debug)]
enum Node<K, V> {
    Leaf(Arc<[(K, V)]>),
    Branch(Arc<[Node<K, V>; WAYS]>),
}

impl<K, V> Clone for Node<K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(entries) => Self::Leaf(Arc::clone(entries)),
            Self::Branch(ways) => Self::Branch(Arc::clone(ways)),
        }
    }
}

impl<K, V> Clone for Trie<K, V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), len: self.len }
    }
}

impl<K, V> Default for Trie<K, V> {
    fn default() -> Self {
        Self { root: Node::Leaf(Arc::default()), len: 0 }
    }
}

fn way(hash: u64, depth: u32) -> usize {
    let shifted = hash.rotate_left(BITS * (depth + 1));
    usize::try_from(shifted & (WAYS as u64 - 1)).unwrap_or(0)
}

impl<K: Hashed, V: Clone> Trie<K, V> {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The value of a key.
    #[inline]
    pub(crate) fn get(&self, key: K) -> Option<&V> {
        self.find(key.hash(), |known, _| *known == key)
    }

    /// The first entry with a hash that is the one.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(&K, &V) -> bool) -> Option<&V> {
        let mut node = &self.root;
        let mut depth = 0;
        loop {
            match node {
                Node::Branch(ways) => {
                    node = ways.get(way(hash, depth))?;
                    depth += 1;
                }
                Node::Leaf(entries) => {
                    return entries.iter().find(|(key, value)| is_it(key, value)).map(|(_, v)| v);
                }
            }
        }
    }

    /// Whether there is such a key.
    pub(crate) fn contains(&self, key: K) -> bool {
        self.get(key).is_some()
    }

    /// Puts a value in; what was there before.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.root.insert(0, key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Changes a value in its place; whether it is there.
    pub(crate) fn change(&mut self, key: K, change: impl FnOnce(&mut V)) -> bool {
        // Without a look first a key that is not there would cost the copies all the same.
        self.contains(key) && self.root.change(0, key, change)
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        if !self.contains(key) {
            return None;
        }
        let before = self.root.remove(0, key);
        self.len -= usize::from(before.is_some());
        before
    }

    /// Every entry, in no order.
    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        Iter { pending: vec![&self.root], leaf: [].iter() }
    }

    /// Every value, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Hashed, V: Clone> Node<K, V> {
    fn insert(&mut self, depth: u32, key: K, value: V) -> Option<V> {
        match self {
            Self::Branch(ways) => {
                Arc::make_mut(ways).get_mut(way(key.hash(), depth))?.insert(depth + 1, key, value)
            }
            Self::Leaf(entries) => {
                if let Some(at) = entries.iter().position(|(known, _)| *known == key) {
                    return replace(entries, at, value);
                }
                let old = entries.iter().cloned();
                let new: Arc<[_]> = old.chain(std::iter::once((key, value))).collect();
                *self = if new.len() > LEAF_MAX && depth * BITS < BITS_MAX {
                    Self::split(&new, depth)
                } else {
                    Self::Leaf(new)
                };
                None
            }
        }
    }

    fn split(entries: &[(K, V)], depth: u32) -> Self {
        let mut sorted: [Vec<(K, V)>; WAYS] = std::array::from_fn(|_| Vec::new());
        for entry in entries {
            if let Some(part) = sorted.get_mut(way(entry.0.hash(), depth)) {
                part.push(entry.clone());
            }
        }
        let ways = sorted.map(|part| {
            if part.len() > LEAF_MAX && (depth + 1) * BITS < BITS_MAX {
                Self::split(&part, depth + 1)
            } else if part.is_empty() {
                Self::Leaf(Arc::default())
            } else {
                Self::Leaf(part.into())
            }
        });
        Self::Branch(Arc::new(ways))
    }

    fn change(&mut self, depth: u32, key: K, change: impl FnOnce(&mut V)) -> bool {
        match self {
            Self::Branch(ways) => Arc::make_mut(ways)
                .get_mut(way(key.hash(), depth))
                .is_some_and(|node| node.change(depth + 1, key, change)),
            Self::Leaf(entries) => {
                let entry = Arc::make_mut(entries).iter_mut().find(|(known, _)| *known == key);
                entry.map(|(_, value)| change(value)).is_some()
            }
        }
    }

    /// The key is there.
    fn remove(&mut self, depth: u32, key: K) -> Option<V> {
        match self {
            Self::Branch(ways) => {
                let ways = Arc::make_mut(ways);
                let before = ways.get_mut(way(key.hash(), depth))?.remove(depth + 1, key);
                if let Some(joined) = joined(ways) {
                    *self = Self::Leaf(joined);
                }
                before
            }
            Self::Leaf(entries) => {
                let before = entries.iter().find(|(known, _)| *known == key)?.1.clone();
                let rest: Vec<_> =
                    entries.iter().filter(|(known, _)| *known != key).cloned().collect();
                *entries = if rest.is_empty() { Arc::default() } else { rest.into() };
                Some(before)
            }
        }
    }
}

fn replace<K: Hashed, V: Clone>(entries: &mut Arc<[(K, V)]>, at: usize, value: V) -> Option<V> {
    let entry = Arc::make_mut(entries).get_mut(at)?;
    Some(std::mem::replace(&mut entry.1, value))
}

/// The entries of a branch in one leaf, if they are so few that it would not be split again soon.
fn joined<K: Hashed, V: Clone>(ways: &[Node<K, V>; WAYS]) -> Option<Arc<[(K, V)]>> {
    let mut count = 0;
    for node in ways {
        match node {
            Node::Leaf(entries) => count += entries.len(),
            Node::Branch(_) => return None,
        }
        if count > LEAF_MAX / 2 {
            return None;
        }
    }
    let leaves = ways.iter().filter_map(|node| match node {
        Node::Leaf(entries) => Some(entries.iter().cloned()),
        Node::Branch(_) => None,
    });
    Some(leaves.flatten().collect())
}

/// What [`Trie::iter`] gives.
pub(crate) struct Iter<'a, K, V> {
    pending: Vec<&'a Node<K, V>>,
    leaf: std::slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = &'a (K, V);

    fn next(&mut self) -> Option<&'a (K, V)> {
        loop {
            if let Some(entry) = self.leaf.next() {
                return Some(entry);
            }
            match self.pending.pop()? {
                Node::Leaf(entries) => self.leaf = entries.iter(),
                Node::Branch(ways) => self.pending.extend(ways.iter()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// A key whose hashes collide as often as wanted.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    struct Key(u16, u64);

    impl Hashed for Key {
        fn hash(self) -> u64 {
            self.1
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map_and_its_clones_never_change(
            steps in prop::collection::vec((0..3_u8, 0..400_u16, any::<u32>()), 1..1_500),
            mask in prop::sample::select(vec![0, 3, 0xf000_0000_0000_000f, u64::MAX]),
        ) {
            let mut trie = Trie::default();
            let mut map = HashMap::new();
            let mut kept: Vec<(Trie<Key, u32>, HashMap<Key, u32>)> = Vec::new();
            for (at, (what, number, value)) in steps.into_iter().enumerate() {
                let key = Key(number, spread(u64::from(number)) & mask);
                match what {
                    0 => prop_assert_eq!(trie.insert(key, value), map.insert(key, value)),
                    1 => prop_assert_eq!(trie.remove(key), map.remove(&key)),
                    _ => {
                        let known = map.get_mut(&key).map(|known| *known = value);
                        prop_assert_eq!(trie.change(key, |known| *known = value), known.is_some());
                    }
                }
                prop_assert_eq!(trie.get(key), map.get(&key));
                prop_assert_eq!(trie.len(), map.len());
                if at % 300 == 0 {
                    kept.push((trie.clone(), map.clone()));
                }
            }
            kept.push((trie, map));
            for (trie, map) in kept {
                prop_assert_eq!(trie.iter().copied().collect::<HashMap<_, _>>(), map.clone());
                prop_assert_eq!(trie.iter().count(), map.len());
                for (key, value) in &map {
                    prop_assert_eq!(trie.get(*key), Some(value));
                }
            }
        }
    }

    #[test]
    fn a_map_that_was_emptied_is_one_leaf_again() {
        let mut trie = Trie::default();
        let keys: Vec<_> = (0..5_000_u16).map(|n| Key(n, spread(n.into()))).collect();
        for key in &keys {
            trie.insert(*key, ());
        }
        assert!(matches!(trie.root, Node::Branch(_)));
        for key in &keys {
            trie.remove(*key);
        }
        assert!(matches!(&trie.root, Node::Leaf(entries) if entries.is_empty()));
        assert_eq!(size_of::<Node<u64, u64>>(), 16, "a way of a branch is two words");
    }
}
