//! Dentries by their paths.
//!
//! The kernel gives this back end paths and no addresses. A dentry is therefore known by its
//! super block and its path in it: equal places have equal keys, and a key is never used again.
//! It is told once, before the first mount that needs it, until the index forgets it.
//!
//! A rename or a deletion is told by a hash of the name. What may be concerned is every dentry of
//! that name and all below it: the mounts that rest on those are looked at again, and so get new
//! keys for their new places.

use crate::maps::{Sorted, Trie};
use crate::model::{Bytes, DentryEvent, DentryKey, Device};
use hashbrown::{HashMap, HashTable};
use mountwatch_common::name;
use std::hash::BuildHasher as _;

/// What the kernel appends to the path of a dentry that was deleted.
const DELETED: &[u8] = b"//deleted";

/// The keys given out. A mount rests on some four of them: its memory is mostly theirs.
#[derive(Debug, Default)]
pub(in crate::kernel) struct Dentries {
    last: u64,
    places: Trie<DentryKey, Place>,
    /// Keys by the hashes of their places, which are in the other table.
    keys: HashTable<DentryKey>,
    hasher: hashbrown::DefaultHashBuilder,
    /// Dentries by their parents.
    children: Sorted<(DentryKey, DentryKey)>,
    /// Dentries by the hashes of their names.
    names: Sorted<(u64, DentryKey)>,
    /// Dentries by the bits of their names: how many.
    bits: HashMap<u32, u32>,
    /// Hashes of the names that are new since [`Self::take_fresh`].
    fresh: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Root(Device),
    Name(DentryKey, Bytes),
    Deleted(DentryKey, Bytes),
    /// A root field that is no path.
    Literal(Device, Bytes),
}

impl Dentries {
    /// The dentry of a root field: a path in the file system, or a text of its own.
    pub(in crate::kernel) fn root(
        &mut self,
        device: Device,
        field: &[u8],
        told: &mut impl FnMut(DentryEvent),
    ) -> DentryKey {
        if !is_path(field) {
            // Shown as it is: with the escapes that the kernel would write.
            let text = crate::wire::mountinfo::escape_path(field);
            return self.key(Place::Literal(device, text.into()), told);
        }
        let (path, is_deleted) =
            field.strip_suffix(DELETED).map_or((field, false), |path| (path, true));
        let root = self.key(Place::Root(device), told);
        let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        let last = if is_deleted { names.next_back() } else { None };
        let at = names.fold(root, |at, name| self.key(Place::Name(at, name.into()), told));
        last.map_or(at, |name| self.key(Place::Deleted(at, name.into()), told))
    }

    /// The dentry at a path below another one, in the same file system.
    pub(in crate::kernel) fn below(
        &mut self,
        start: DentryKey,
        path: &[u8],
        told: &mut impl FnMut(DentryEvent),
    ) -> DentryKey {
        path.split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .fold(start, |at, name| self.key(Place::Name(at, name.into()), told))
    }

    /// The index does not need it any more. Gives the bit of its name if no other one has that.
    pub(in crate::kernel) fn forget(&mut self, key: DentryKey) -> Option<u32> {
        let place = self.places.remove(key)?;
        if let Ok(entry) = self.keys.find_entry(self.hasher.hash_one(&place), |known| *known == key)
        {
            entry.remove();
        }
        if let Place::Name(parent, _) | Place::Deleted(parent, _) = &place {
            self.children.remove((*parent, key));
        }
        let hash = hash_of(&place)?;
        self.names.remove((hash, key));
        let bit = name::bit(hash);
        let count = self.bits.get_mut(&bit)?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        self.bits.remove(&bit);
        Some(bit)
    }

    fn named(&self, hash: u64) -> impl Iterator<Item = DentryKey> + '_ {
        let all = (hash, DentryKey(0))..=(hash, DentryKey(u64::MAX));
        self.names.range(all).map(|(_, key)| key)
    }

    /// Hashes of names that are new since the last call.
    pub(in crate::kernel) fn take_fresh(&mut self) -> Vec<u64> {
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.sort_unstable();
        fresh.dedup();
        fresh
    }

    /// Dentries whose name has one of these hashes, and all below them. 0: any name.
    pub(super) fn at_and_below(&self, hashes: &[u64]) -> Vec<DentryKey> {
        let mut found: Vec<DentryKey> = if hashes.contains(&0) {
            self.names.iter().map(|(_, key)| key).collect()
        } else {
            hashes.iter().flat_map(|hash| self.named(*hash)).collect()
        };
        let mut at = 0;
        while let Some(key) = found.get(at).copied() {
            let below = (key, DentryKey(0))..=(key, DentryKey(u64::MAX));
            found.extend(self.children.range(below).map(|(_, child)| child));
            at += 1;
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Tells all of them anew: whoever scans everything may have lost everything.
    pub(in crate::kernel) fn tell_all(&self, told: &mut impl FnMut(DentryEvent)) {
        let mut places: Vec<_> = self.places.iter().collect();
        // A parent has a lower key than its children.
        places.sort_unstable_by_key(|(key, _)| *key);
        for (key, place) in places {
            told(event(*key, place));
        }
    }

    fn key(&mut self, place: Place, told: &mut impl FnMut(DentryEvent)) -> DentryKey {
        let hash_of_place = self.hasher.hash_one(&place);
        let is_it = |key: &DentryKey| self.places.get(*key) == Some(&place);
        if let Some(key) = self.keys.find(hash_of_place, is_it) {
            return *key;
        }
        self.last += 1;
        let key = DentryKey(self.last);
        told(event(key, &place));
        if let Place::Name(parent, _) | Place::Deleted(parent, _) = &place {
            self.children.insert((*parent, key));
        }
        if let Some(hash) = hash_of(&place) {
            self.names.insert((hash, key));
            *self.bits.entry(name::bit(hash)).or_default() += 1;
            self.fresh.push(hash);
        }
        self.places.insert(key, place);
        let hash = |key: &DentryKey| self.places.get(*key).map_or(0, |it| self.hasher.hash_one(it));
        self.keys.insert_unique(hash_of_place, key, hash);
        key
    }
}

/// The hash of a name that can be renamed or deleted.
fn hash_of(place: &Place) -> Option<u64> {
    match place {
        Place::Name(_, name) => Some(name::hash(name)),
        Place::Root(_) | Place::Deleted(..) | Place::Literal(..) => None,
    }
}

fn event(key: DentryKey, place: &Place) -> DentryEvent {
    let (parent, name) = match place {
        Place::Root(_) => (key, Bytes::from(&b""[..])),
        Place::Name(parent, name) | Place::Deleted(parent, name) => (*parent, name.clone()),
        Place::Literal(_, name) => (key, name.clone()),
    };
    DentryEvent {
        key,
        parent,
        name,
        is_deleted: matches!(place, Place::Deleted(..)),
        is_literal: matches!(place, Place::Literal(..)),
    }
}

/// Whether a root field is a path in the file system: not of nsfs (`mnt:[N]`), not of a cgroup
/// outside of the reader's cgroup namespace (`/../..`).
fn is_path(field: &[u8]) -> bool {
    field.starts_with(b"/") && !field.split(|byte| *byte == b'/').any(|name| name == b"..")
}

/// The part of a mountpoint's path that lies in the parent mount. `None`: the two were not read
/// from the same state.
pub(in crate::kernel) fn relative<'a>(parent: &[u8], mountpoint: &'a [u8]) -> Option<&'a [u8]> {
    if parent == b"/" {
        return mountpoint.strip_prefix(b"/");
    }
    match mountpoint.strip_prefix(parent)? {
        b"" => Some(b""),
        rest => rest.strip_prefix(b"/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEVICE: Device = Device::new(8, 1);

    fn silent() -> impl FnMut(DentryEvent) {
        |_| {}
    }

    #[test]
    fn equal_places_have_equal_keys_and_are_told_once() {
        let mut dentries = Dentries::default();
        let mut told = Vec::new();
        let whole = dentries.root(DEVICE, b"/a/b", &mut |event| told.push(event));
        let a = dentries.root(DEVICE, b"/a", &mut |event| told.push(event));
        let b = dentries.below(a, b"b", &mut |event| told.push(event));
        assert_eq!(whole, b);
        let names: Vec<_> = told.iter().map(|event| &event.name[..]).collect();
        assert_eq!(names, [&b""[..], b"a", b"b"]);
        assert_ne!(dentries.root(Device::new(8, 2), b"/a", &mut silent()), a);
    }

    #[test]
    fn a_deleted_root_is_another_place() {
        let mut dentries = Dentries::default();
        let living = dentries.root(DEVICE, b"/a", &mut silent());
        let mut told = Vec::new();
        let deleted = dentries.root(DEVICE, b"/a//deleted", &mut |event| told.push(event));
        assert_ne!(living, deleted);
        assert_eq!(told.len(), 1);
        assert!(told.iter().all(|event| event.is_deleted && &event.name[..] == b"a"));
    }

    #[test]
    fn what_is_no_path_is_literal() {
        let mut dentries = Dentries::default();
        for field in [&b"mnt:[4026531841]"[..], b"/../..", b""] {
            let mut told = Vec::new();
            dentries.root(DEVICE, field, &mut |event| told.push(event));
            assert!(told.iter().all(|event| event.is_literal && &event.name[..] == field));
            assert_eq!(told.len(), 1);
        }
    }

    #[test]
    fn what_is_forgotten_is_told_again_by_another_key() {
        let mut dentries = Dentries::default();
        let key = dentries.root(DEVICE, b"/a", &mut silent());
        dentries.forget(key);
        let mut told = Vec::new();
        assert_ne!(dentries.root(DEVICE, b"/a", &mut |event| told.push(event)), key);
        assert_eq!(told.len(), 1);
    }

    #[test]
    fn a_name_stands_for_all_below_it() {
        let mut dentries = Dentries::default();
        let b = dentries.root(DEVICE, b"/a/b", &mut silent());
        let c = dentries.root(DEVICE, b"/a/c//deleted", &mut silent());
        let other = dentries.root(Device::new(8, 2), b"/a", &mut silent());
        assert_eq!(dentries.take_fresh().len(), 2, "what is deleted has no name to look out for");
        let found = dentries.at_and_below(&[name::hash(b"a")]);
        assert!([b, c, other].iter().all(|key| found.contains(key)) && found.len() == 4);
        assert_eq!(dentries.at_and_below(&[name::hash(b"b")]), [b]);
        assert!(dentries.at_and_below(&[name::hash(b"c")]).is_empty());
        assert_eq!(dentries.at_and_below(&[0]).len(), 4);
        assert_eq!(dentries.forget(other), None, "another one has that name");
        assert_eq!(dentries.forget(b), Some(name::bit(name::hash(b"b"))));
        assert!(dentries.at_and_below(&[name::hash(b"b")]).is_empty());
    }

    #[test]
    fn paths_are_relative_to_the_parent() {
        assert_eq!(relative(b"/", b"/a/b"), Some(&b"a/b"[..]));
        assert_eq!(relative(b"/", b"/"), Some(&b""[..]));
        assert_eq!(relative(b"/a", b"/a"), Some(&b""[..]));
        assert_eq!(relative(b"/a", b"/a/b"), Some(&b"b"[..]));
        assert_eq!(relative(b"/a", b"/ab"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_place(
            fields in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..20),
        ) {
            let mut dentries = Dentries::default();
            let mut told = Vec::new();
            for field in &fields {
                let key = dentries.root(DEVICE, field, &mut |event| told.push(event));
                dentries.below(key, field, &mut |event| told.push(event));
            }
            prop_assert_eq!(told.len(), dentries.keys.len());
            // A parent is told before its children.
            for (index, event) in told.iter().enumerate() {
                prop_assert!(told.iter().take(index + 1).any(|before| before.key == event.parent));
            }
        }
    }
}
