//! Mounts by their whole paths: what is mounted at a path is one look-up, however long the path is.
//!
//! A path is computed when it is asked for (`query/path.rs`), by a walk along its names. That is right
//! whatever was renamed, and takes a look-up for each name. Where somebody asks often, the paths of a
//! namespace's mounts are kept besides: made once, when there were so many questions that the walks took
//! about as long as to make them, and changed with each mount that comes, moves or goes.
//!
//! What changes paths in another way is not followed, it makes them void: a renamed directory with
//! something below it, a mount that hides others or lays them bare, another root. Then questions walk
//! again, until there were enough of them. So a change never costs more than its own mounts.

use super::{Dentry, Tables};
use crate::maps::{Hashed, Trie, spread};
use crate::model::{DentryKey, Mount, MountKey, NamespaceKey};
use crate::query::Viewpoint;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Paths are made after one question for so many mounts of a namespace: to make them takes two walks for each.
const MOUNTS_PER_QUESTION: u32 = 8;
/// The least number of questions.
const QUESTIONS_MIN: u32 = 64;
/// A tree with more mounts makes the paths void when it moves.
const TREE_MAX: usize = 1_024;
/// Names that are looked at for mounts that are hidden or laid bare.
const NAMES_MAX: usize = 64;
/// Counters of questions, for all namespaces: two that share one are prepared a little early.
const COUNTERS: usize = 64;

/// The hash of a path, as one that nobody foresees: both halves have seeds of their own, random ones, so
/// that two paths with the same 128 bits are not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot(u64, u64);

impl Hashed for Spot {
    #[inline]
    fn hash(self) -> u64 {
        self.0
    }
}

/// The paths of one namespace's mounts.
#[derive(Clone, Debug)]
struct Paths {
    /// From where they are seen.
    from: Viewpoint,
    /// The mount on top at each path.
    mounts: Trie<Spot, MountKey>,
}

/// What [`Tables`] has of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Spots {
    namespaces: Trie<NamespaceKey, Paths>,
    demand: Arc<Demand>,
    hashers: (foldhash::fast::RandomState, foldhash::quality::RandomState),
}

/// The paths of that namespace are not kept, or not those of that viewpoint, or not of that form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotKept;

/// Questions that had to walk. All snapshots of one index share it.
#[derive(Debug)]
struct Demand {
    counters: [AtomicU32; COUNTERS],
    /// The key of a namespace that is asked about often; 0 for none.
    wanted: AtomicU64,
}

impl Default for Demand {
    fn default() -> Self {
        Self { counters: [const { AtomicU32::new(0) }; COUNTERS], wanted: AtomicU64::new(0) }
    }
}

impl Demand {
    fn counter(&self, namespace: NamespaceKey) -> Option<&AtomicU32> {
        self.counters.get(usize::try_from(spread(namespace.0) % COUNTERS as u64).ok()?)
    }
}

impl Spots {
    /// Whether those of any namespace are: else a change has nothing to do with them.
    pub(super) fn are_kept(&self) -> bool {
        self.namespaces.len() > 0
    }

    fn spot(&self, path: &[u8]) -> Spot {
        Spot(self.hashers.0.hash_one(path), self.hashers.1.hash_one(path))
    }
}

impl Tables {
    /// What is mounted exactly at a path, by the paths that are kept: the mount on top, or nothing.
    #[inline]
    pub(crate) fn key_at_spot(
        &self,
        path: &[u8],
        from: Viewpoint,
    ) -> Result<Option<MountKey>, NotKept> {
        let paths = self.spots.namespaces.get(from.namespace).ok_or(NotKept)?;
        if paths.from != from || !is_plain(path) {
            return Err(NotKept);
        }
        Ok(paths.mounts.get(self.spots.spot(path)).copied())
    }

    /// A question about a path of a namespace had to walk.
    pub(crate) fn note_walk(&self, namespace: NamespaceKey) {
        let demand = &self.spots.demand;
        let Some(counter) = demand.counter(namespace) else { return };
        let asked = counter.fetch_add(1, Ordering::Relaxed);
        if asked >= QUESTIONS_MIN {
            let mounts = self.namespace(namespace).map_or(0, |known| known.mount_count());
            if asked >= u32::try_from(mounts).unwrap_or(u32::MAX) / MOUNTS_PER_QUESTION {
                counter.store(0, Ordering::Relaxed);
                demand.wanted.store(namespace.0, Ordering::Relaxed);
            }
        }
    }

    /// Makes the paths that questions were waiting for; whether there were any.
    pub(super) fn make_wanted_paths(&mut self) -> bool {
        if self.spots.demand.wanted.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let wanted = NamespaceKey(self.spots.demand.wanted.swap(0, Ordering::Relaxed));
        self.make_paths(wanted)
    }

    /// Makes the paths of a namespace's mounts; whether there is such a namespace and its root is known.
    pub(super) fn make_paths(&mut self, namespace: NamespaceKey) -> bool {
        self.spots.namespaces.remove(namespace);
        if self.namespace(namespace).is_none_or(|known| known.root.is_none()) {
            return false;
        }
        let Some(from) = self.viewpoint_of_namespace(namespace) else { return false };
        if !self.is_a_tree(namespace, from) {
            return false;
        }
        let mut mounts = Trie::default();
        for listed in self.list(from) {
            if self.is_on_top(listed.mount.key, &listed.path, from) {
                mounts.insert(self.spots.spot(&listed.path), listed.mount.key);
            }
        }
        self.spots.namespaces.insert(namespace, Paths { from, mounts });
        true
    }

    /// What the kernel always has, and a state may not be while it is told one by one.
    fn is_a_tree(&self, namespace: NamespaceKey, from: Viewpoint) -> bool {
        let mut mounts = self.namespace(namespace).into_iter().flat_map(|known| known.keys());
        self.mount(from.mount).is_some_and(|mount| mount.namespace == namespace)
            && self.mounted_at(from.mount, from.dentry).is_none()
            && mounts.all(|key| self.mount(key).is_some_and(|one| self.is_in_one_namespace(one)))
    }

    fn is_on_top(&self, mount: MountKey, path: &[u8], from: Viewpoint) -> bool {
        is_plain(path) && self.mount_by_walk(path, from).is_some_and(|top| top.key == mount)
    }

    /// The paths of a namespace are not right any more, or soon.
    pub(super) fn void_paths(&mut self, namespace: NamespaceKey) {
        self.spots.namespaces.remove(namespace);
    }

    /// A name changed, on which paths of any namespace may rest.
    pub(super) fn void_all_paths(&mut self) {
        self.spots.namespaces = Trie::default();
    }

    /// A dentry changes its name, or is not there any more: paths that lead along it do not.
    pub(super) fn void_paths_along(&mut self, dentry: &Dentry) {
        if dentry.is_mountpoint() || dentry.children().next().is_some() {
            self.void_all_paths();
        }
    }

    /// Whether a mount that is put is new, or somewhere else than before. Of several at one place the last
    /// one put is on top.
    pub(super) fn is_placed_anew(&self, mount: &Mount) -> bool {
        self.all_mounted_at(mount.parent, mount.mountpoint).len() > 1
            || self.mount(mount.key).is_none_or(|known| place(known) != place(mount))
    }

    /// A mount and what sits on it are about to leave their places.
    pub(super) fn leave_paths(&mut self, mount: &Mount) {
        let Some(from) = self.followed_from(mount) else { return };
        for (key, path) in self.paths_of_tree(mount, from) {
            let spot = self.spots.spot(&path);
            self.spots.namespaces.change(mount.namespace, |paths| {
                if paths.mounts.get(spot) == Some(&key) {
                    paths.mounts.remove(spot);
                }
            });
        }
    }

    /// A mount and what sits on it have come to their places.
    pub(super) fn enter_paths(&mut self, mount: &Mount) {
        let Some(from) = self.followed_from(mount) else { return };
        for (key, path) in self.paths_of_tree(mount, from) {
            if self.is_on_top(key, &path, from) {
                let spot = self.spots.spot(&path);
                self.spots.namespaces.change(mount.namespace, |paths| {
                    paths.mounts.insert(spot, key);
                });
            }
        }
    }

    /// From where the paths of a mount's namespace are seen, if they are kept.
    fn followed_from(&mut self, mount: &Mount) -> Option<Viewpoint> {
        if !self.is_in_one_namespace(mount) {
            self.void_all_paths();
        }
        self.spots.namespaces.get(mount.namespace).map(|paths| paths.from)
    }

    /// The paths of a mount and of all on it. Those of the namespace are void if that is not all.
    fn paths_of_tree(&mut self, mount: &Mount, from: Viewpoint) -> Vec<(MountKey, Vec<u8>)> {
        let Some(tree) = self.plain_tree(mount, from) else {
            self.void_paths(mount.namespace);
            return Vec::new();
        };
        tree.into_iter().filter_map(|key| Some((key, self.path_of(key, from)?))).collect()
    }

    /// No mount sits on one of another namespace.
    fn is_in_one_namespace(&self, mount: &Mount) -> bool {
        let is_here = |other: &Arc<Mount>| other.namespace == mount.namespace;
        self.mount(mount.parent).is_none_or(is_here) && self.children(mount.key).all(is_here)
    }

    /// A mount and all on it, if its coming and going is nothing to the paths of others.
    fn plain_tree(&self, mount: &Mount, from: Viewpoint) -> Option<Vec<MountKey>> {
        if mount.is_namespace_root || mount.is_detached_root() {
            return None;
        }
        // Without its parent it has no path: that left before it, with all paths on it, or comes later.
        let Some(parent) = self.mount(mount.parent) else { return Some(Vec::new()) };
        let is_odd = parent.root == mount.mountpoint
            || self.all_mounted_at(parent.key, mount.mountpoint) != [mount.key]
            || self.may_hide_others(parent.key, mount.mountpoint);
        if is_odd {
            return None;
        }
        let mut tree = vec![mount.key];
        let mut at = 0;
        while let Some(key) = tree.get(at).copied() {
            if self.child_count(key) > 0 {
                tree.extend(self.children(key).map(|child| child.key));
            }
            at += 1;
            if key == from.mount || tree.len() > TREE_MAX {
                return None;
            }
        }
        Some(tree)
    }

    /// Whether something sits on the same mount below this directory, or may.
    fn may_hide_others(&self, mount: MountKey, directory: DentryKey) -> bool {
        if self.child_count(mount) <= 1 {
            return false;
        }
        let mut pending = vec![directory];
        for _ in 0..NAMES_MAX {
            let Some(dentry) = pending.pop().and_then(|key| self.dentry(key)) else {
                return !pending.is_empty();
            };
            for child in dentry.children() {
                if !self.all_mounted_at(mount, child).is_empty() {
                    return true;
                }
                pending.push(child);
            }
        }
        true
    }

    /// What is wrong with the paths that are kept, in a sentence each.
    pub(super) fn wrong_paths(&self, found: &mut Vec<String>) {
        for (namespace, paths) in self.spots.namespaces.iter() {
            let expected = self.viewpoint_of_namespace(*namespace);
            if expected != Some(paths.from) {
                found.push(format!("S5: the paths of {namespace} are seen from elsewhere"));
                continue;
            }
            let mut count = 0;
            for listed in self.list(paths.from) {
                let Ok(kept) = self.key_at_spot(&listed.path, paths.from) else { continue };
                let walked = self.mount_by_walk(&listed.path, paths.from).map(|top| top.key);
                count += usize::from(walked == Some(listed.mount.key));
                if walked != kept {
                    let path = listed.path.escape_ascii();
                    found.push(format!("S5: {walked:?} is at {path}, kept is {kept:?}"));
                }
            }
            if count != paths.mounts.len() {
                let kept = paths.mounts.len();
                found
                    .push(format!("S5: {count} mounts are on top in {namespace}, kept are {kept}"));
            }
        }
    }
}

/// What the paths of a mount and of those on it rest on.
fn place(mount: &Mount) -> impl PartialEq + use<> {
    let is_root = mount.is_namespace_root;
    (mount.namespace, mount.parent, mount.mountpoint, mount.root, is_root)
}

/// Whether it is the one way to write a path: absolute, no component empty or `.`, none at its end.
fn is_plain(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        return false;
    }
    let is_named = |after: usize| match path.get(after + 1) {
        None | Some(b'/') => false,
        Some(b'.') => !matches!(path.get(after + 2), None | Some(b'/')),
        Some(_) => true,
    };
    path.len() == 1 || memchr::memchr_iter(b'/', path).all(is_named)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::tests::{attach, commit, dentry, in_transaction, locked, mount, seeded};
    use super::*;
    use crate::model::Event;
    use mountwatch_common::hook;

    /// The key of the namespace that `seeded` makes.
    const NS: NamespaceKey = NamespaceKey(0x1000);

    /// What is at a path by the paths that are kept.
    fn kept(state: &State, path: &str) -> Result<Option<u64>, NotKept> {
        assert_eq!(state.violations(), Vec::<String>::new());
        let tables = state.tables();
        let from = tables.viewpoint_of_namespace(NS).unwrap();
        Ok(tables.key_at_spot(path.as_bytes(), from)?.map(|key| key.0))
    }

    fn detach(state: &mut State, key: u64) {
        let event = Box::new(mount(key, 1, 100, 101));
        state.apply(Event::MountGone(locked(hook::COMMIT), event));
        state.apply(commit(locked(hook::COMMIT)));
        state.publish().expect("a change");
    }

    #[test]
    fn paths_are_kept_as_mounts_come_move_and_go() {
        let mut state = seeded();
        assert_eq!(kept(&state, "/a"), Err(NotKept));
        state.keep_paths(NS);
        assert_eq!(kept(&state, "/"), Ok(Some(1)));
        assert_eq!(kept(&state, "/a/b"), Ok(None));
        attach(&mut state, 2, 102);
        assert_eq!(kept(&state, "/a/b"), Ok(Some(2)));
        // On the root of the other mount, at the directory `a` of the same file system.
        state.apply(in_transaction(mount(3, 2, 100, 101)));
        state.apply(commit(locked(hook::COMMIT)));
        assert_eq!(kept(&state, "/a/b/a"), Ok(Some(3)));
        state.apply(in_transaction(mount(3, 1, 100, 101)));
        assert_eq!(kept(&state, "/a"), Err(NotKept), "it hides the one below");
        state.keep_paths(NS);
        assert_eq!((kept(&state, "/a"), kept(&state, "/a/b")), (Ok(Some(3)), Ok(None)));
        detach(&mut state, 3);
        assert_eq!(kept(&state, "/a/b"), Err(NotKept), "it lays the other one bare");
        state.keep_paths(NS);
        detach(&mut state, 2);
        assert_eq!(kept(&state, "/a/b"), Ok(None));
    }

    #[test]
    fn a_tree_that_goes_from_its_top_down_takes_its_own_paths_alone() {
        let mut state = seeded();
        attach(&mut state, 2, 101);
        state.apply(in_transaction(mount(3, 2, 100, 102)));
        state.apply(commit(locked(hook::COMMIT)));
        state.keep_paths(NS);
        assert_eq!(kept(&state, "/a/a/b"), Ok(Some(3)));
        for key in [2, 3] {
            let event = Box::new(mount(key, 1, 100, 101));
            state.apply(Event::MountGone(locked(hook::COMMIT), event));
            assert_eq!(kept(&state, "/a/a/b"), Ok(None));
        }
        assert_eq!((kept(&state, "/a"), kept(&state, "/")), (Ok(None), Ok(Some(1))));
    }

    #[test]
    fn a_name_on_the_way_makes_paths_void_and_no_other_name_does() {
        let mut state = seeded();
        attach(&mut state, 2, 102);
        state.keep_paths(NS);
        let renamed =
            |key, parent, name| Event::Dentry(locked(hook::RENAME), dentry(key, parent, name));
        state.apply(renamed(103, 100, "new"));
        state.apply(renamed(103, 100, "newer"));
        assert_eq!(kept(&state, "/a/b"), Ok(Some(2)));
        state.apply(renamed(101, 100, "c"));
        assert_eq!(kept(&state, "/a/b"), Err(NotKept));
        state.keep_paths(NS);
        assert_eq!((kept(&state, "/a/b"), kept(&state, "/c/b")), (Ok(None), Ok(Some(2))));
    }

    #[test]
    fn what_is_mounted_on_the_root_makes_paths_void() {
        let mut state = seeded();
        state.keep_paths(NS);
        attach(&mut state, 2, 100);
        assert_eq!(kept(&state, "/"), Err(NotKept));
        state.keep_paths(NS);
        assert_eq!(kept(&state, "/"), Ok(Some(2)));
    }

    #[test]
    fn who_asks_often_has_paths_kept() {
        let mut state = seeded();
        let from = state.tables().viewpoint_of_namespace(NS).unwrap();
        for _ in 0..=QUESTIONS_MIN {
            assert!(state.publish().is_none(), "nothing happened");
            state.snapshot().note_walk(from.namespace);
        }
        assert!(state.publish().is_some(), "a snapshot with paths");
        assert_eq!(kept(&state, "/"), Ok(Some(1)));
        assert!(state.publish().is_none(), "once");
    }

    #[test]
    fn a_path_is_plain_if_there_is_no_shorter_way_to_write_it() {
        for plain in ["/", "/a", "/a/b", "/.a/b.", "/a/..b", "/...", "/a/.b/c"] {
            assert!(is_plain(plain.as_bytes()), "{plain}");
        }
        for other in ["", "a", "//", "/a/", "//a", "/a//b", "/.", "/a/.", "/./a", "/a/./b"] {
            assert!(!is_plain(other.as_bytes()), "{other}");
        }
    }
}
