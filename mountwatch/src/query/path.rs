//! Paths: where a mount is, what is mounted at a path, what is mounted below it.

use super::Viewpoint;
use crate::model::{DentryKey, Mount, MountKey};
use crate::state::{NotKept, Tables};
use hashbrown::HashMap;
use std::sync::Arc;

/// The mount on which a path lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Covering {
    /// The mount, the one on top if several are stacked.
    pub mount: Arc<Mount>,
    /// The path is this mount's mountpoint itself.
    pub is_mountpoint: bool,
    /// How many mounts are stacked at that mountpoint below the one on top.
    pub covered: usize,
}

/// Where a path walk ends.
#[derive(Clone, Debug)]
pub(super) struct End<'t, 'p> {
    /// On which mount, the one on top.
    pub(super) mount: &'t Arc<Mount>,
    /// At which directory or file of it: the last one that the index knows.
    pub(super) dentry: DentryKey,
    /// What is left of the path: nothing is mounted there or below.
    pub(super) rest: &'p [u8],
}

impl End<'_, '_> {
    /// The path leads to the dentry itself.
    fn is_whole(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn is_mountpoint(&self) -> bool {
        self.is_whole() && self.dentry == self.mount.root
    }
}

/// A mount with its path.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The mount.
    pub mount: Arc<Mount>,
    /// Its mountpoint as an absolute path from the viewpoint: bytes, not necessarily UTF-8.
    pub path: Arc<[u8]>,
}

impl Tables {
    /// The absolute path of a mount's mountpoint, seen from a viewpoint; `None` if it is not
    /// reachable from there. As mountinfo(5) field 5, without escapes.
    pub fn path_of(&self, mount: MountKey, from: Viewpoint) -> Option<Vec<u8>> {
        let mut up = Up::new();
        let mut mount = self.mount(mount)?;
        for _ in 0..self.namespaces_depth_max() {
            if mount.key == from.mount {
                // Else the root directory lies inside this mount: the mount is out of reach.
                return (mount.root == from.dentry).then(|| up.path());
            }
            if mount.is_detached_root() {
                return None;
            }
            let parent = self.mount(mount.parent)?;
            if parent.key == from.mount {
                self.climb(mount.mountpoint, Some(from.dentry), &mut up)?;
                return Some(up.path());
            }
            self.climb(mount.mountpoint, Some(parent.root), &mut up)?;
            mount = parent;
        }
        None
    }

    /// The mounts of the viewpoint's namespace that are reachable from its root, in the kernel's
    /// order, each with its path: what the lines of mountinfo(5) are.
    pub fn list(&self, from: Viewpoint) -> Vec<Listed> {
        let Some(namespace) = self.namespace(from.namespace) else { return Vec::new() };
        let mut paths = Paths { tables: self, from, known: HashMap::new() };
        namespace
            .keys()
            .filter_map(|key| {
                let path = paths.of(key)?;
                Some(Listed { mount: Arc::clone(self.mount(key)?), path })
            })
            .collect()
    }

    /// The mount on which an absolute path lies, as a path walk from the viewpoint's root would
    /// find it. Symbolic links are not followed and `..` is not interpreted: give a path as
    /// realpath(3) gives it.
    pub fn covering(&self, path: &[u8], from: Viewpoint) -> Option<Covering> {
        let end = self.walk(path, from)?;
        let is_mountpoint = end.is_mountpoint();
        let covered = if is_mountpoint { self.covered_by(end.mount, from).count() } else { 0 };
        Some(Covering { mount: Arc::clone(end.mount), is_mountpoint, covered })
    }

    /// The mount whose mountpoint is the path, the one on top.
    pub(super) fn mount_at(&self, path: &[u8], from: Viewpoint) -> Option<&Arc<Mount>> {
        if let Ok(key) = self.key_at_spot(path, from) {
            return self.mount(key?);
        }
        self.note_walk(from.namespace);
        self.mount_by_walk(path, from)
    }

    /// Whether there is one. Where paths are kept it is not even looked at.
    pub(super) fn is_mounted_at(&self, path: &[u8], from: Viewpoint) -> bool {
        let key = self.key_at_spot(path, from);
        key.map_or_else(|NotKept| self.mount_at(path, from).is_some(), |key| key.is_some())
    }

    /// The mount whose mountpoint is the path, found along its names.
    pub(crate) fn mount_by_walk(&self, path: &[u8], from: Viewpoint) -> Option<&Arc<Mount>> {
        self.walk(path, from).filter(End::is_mountpoint).map(|end| end.mount)
    }

    /// Every mount whose mountpoint is the path or lies below it, in the kernel's order. Of mounts
    /// that are stacked at the path all are given, with what is mounted on each.
    ///
    /// Takes time for what it gives, and for what pins names below a directory that is no mountpoint.
    pub fn below(&self, path: &[u8], from: Viewpoint) -> Vec<Listed> {
        let Some(end) = self.walk(path, from) else { return Vec::new() };
        let mut found = Vec::new();
        if end.is_mountpoint() {
            let lowest = self.covered_by(end.mount, from).last().unwrap_or(end.mount);
            self.list_with(lowest, from, &mut found);
        } else if end.is_whole() {
            for key in self.children_below(end.mount.key, end.dentry) {
                if let Some(mount) = self.mount(key) {
                    self.list_with(mount, from, &mut found);
                }
            }
        }
        found.sort_unstable_by_key(|listed| Self::order(&listed.mount));
        found
    }

    /// A mount and everything on it. The path of each is that of its parent and a few names more.
    fn list_with(&self, mount: &Arc<Mount>, from: Viewpoint, found: &mut Vec<Listed>) {
        let Some(path) = self.path_of(mount.key, from) else { return };
        let mut next = found.len();
        found.push(Listed { mount: Arc::clone(mount), path: path.into() });
        while let Some(Listed { mount, path }) = found.get(next).cloned() {
            next += 1;
            // A loop is something that a tree does not have.
            if self.child_count(mount.key) == 0 || found.len() > self.mount_count() {
                continue;
            }
            for child in self.children(mount.key) {
                // Where the viewpoint's root lies inside the mount, what is beside it is not seen.
                let stop = if mount.key == from.mount { from.dentry } else { mount.root };
                let mut up = Up::new();
                if self.climb(child.mountpoint, Some(stop), &mut up).is_some() {
                    let path = up.path_below(&path).into();
                    found.push(Listed { mount: Arc::clone(child), path });
                }
            }
        }
    }

    /// The root field of mountinfo(5), without escapes: the path of the mount's root in its file
    /// system. `None` if a dentry on the way is not known.
    pub fn root_of(&self, mount: &Mount) -> Option<Vec<u8>> {
        let dentry = self.dentry(mount.root)?;
        if dentry.is_literal {
            return Some(dentry.name.to_vec());
        }
        let mut path = self.names_up(mount.root, None)?;
        if dentry.is_deleted {
            path.extend_from_slice(b"//deleted");
        }
        Some(path)
    }

    /// Where a path walk from the viewpoint's root ends.
    pub(super) fn walk<'p>(&self, path: &'p [u8], from: Viewpoint) -> Option<End<'_, 'p>> {
        let mut mount = self.mount(from.mount)?;
        let mut dentry = from.dentry;
        let mut known = self.dentry(dentry);
        let mut rest = path;
        loop {
            let (name, after) = first_name(rest);
            if name.is_empty() {
                return Some(End { mount, dentry, rest: b"" });
            }
            if name == b"." {
                rest = after;
                continue;
            }
            let Some((key, next)) = known.and_then(|known| self.child(known, name)) else {
                return Some(End { mount, dentry, rest });
            };
            (dentry, known) = (key, Some(next));
            rest = after;
            if next.is_mountpoint()
                && let Some(above) = self.mounted_at(mount.key, dentry)
            {
                mount = self.top(above.key)?;
                dentry = mount.root;
                known = self.dentry(dentry);
            }
        }
    }

    /// The mounts that sit on one, at or below a directory of it. Either the names below the
    /// directory are walked or the mounts that sit there, whatever comes to its end first.
    fn children_below(&self, mount: MountKey, directory: DentryKey) -> Vec<MountKey> {
        let mut found = Vec::new();
        let mut pending = vec![directory];
        for _ in 0..self.child_count(mount) {
            let Some(dentry) = pending.pop() else { return found };
            found.extend(self.all_mounted_at(mount, dentry));
            if let Some(known) = self.dentry(dentry) {
                pending.extend(known.children());
            }
        }
        self.children(mount)
            .filter(|child| self.is_below(child.mountpoint, directory))
            .map(|child| child.key)
            .collect()
    }

    /// The mounts that this one covers at the same path, from the top down.
    pub(super) fn covered_by(
        &self,
        mount: &Mount,
        from: Viewpoint,
    ) -> impl Iterator<Item = &Arc<Mount>> {
        let below = move |key, parent, mountpoint| {
            let parent = self.mount(parent).filter(|_| key != from.mount)?;
            (parent.root == mountpoint && parent.key != key).then_some(parent)
        };
        let first = below(mount.key, mount.parent, mount.mountpoint);
        std::iter::successors(first, move |at| below(at.key, at.parent, at.mountpoint))
            .take(self.mount_count())
    }

    fn is_below(&self, dentry: DentryKey, above: DentryKey) -> bool {
        let mut at = dentry;
        for _ in 0..=self.dentry_count() {
            if at == above {
                return true;
            }
            match self.dentry(at) {
                Some(known) if known.parent != at => at = known.parent,
                _ => return false,
            }
        }
        false
    }

    /// `/name/name` from a dentry up to `stop`, or to the file system's root if `stop` is `None`;
    /// `/` for no names at all. `None` if something on the way is not known, or `stop` is not there.
    pub(super) fn names_up(&self, dentry: DentryKey, stop: Option<DentryKey>) -> Option<Vec<u8>> {
        let mut up = Up::new();
        self.climb(dentry, stop, &mut up)?;
        Some(up.path())
    }

    /// Notes the names from a dentry up to `stop`, which has to be there.
    fn climb<'t>(
        &'t self,
        dentry: DentryKey,
        stop: Option<DentryKey>,
        up: &mut Up<'t>,
    ) -> Option<()> {
        let mut at = dentry;
        for _ in 0..=self.dentry_count() {
            if Some(at) == stop {
                return Some(());
            }
            let known = self.dentry(at).filter(|known| known.is_known)?;
            if known.parent == at {
                return stop.is_none().then_some(());
            }
            up.push(&known.name);
            at = known.parent;
        }
        None
    }
}

/// The first component of a path, and what follows it.
#[inline]
fn first_name(path: &[u8]) -> (&[u8], &[u8]) {
    let mut path = path;
    while let [b'/', after @ ..] = path {
        path = after;
    }
    path.split_at(memchr::memchr(b'/', path).unwrap_or(path.len()))
}

/// The names of a path from its end on.
struct Up<'t> {
    names: Vec<&'t [u8]>,
    bytes: usize,
}

impl<'t> Up<'t> {
    fn new() -> Self {
        Self { names: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, name: &'t [u8]) {
        self.names.push(name);
        self.bytes += name.len() + 1;
    }

    /// The path; `/` for no names at all.
    fn path(&self) -> Vec<u8> {
        self.path_below(b"/")
    }

    /// The path below another one.
    fn path_below(&self, above: &[u8]) -> Vec<u8> {
        let above = if above == b"/" && !self.names.is_empty() { b"" } else { above };
        let mut path = Vec::with_capacity(above.len() + self.bytes);
        path.extend_from_slice(above);
        for name in self.names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        path
    }
}

/// Paths of many mounts from one viewpoint: each parent's path is computed once.
struct Paths<'a> {
    tables: &'a Tables,
    from: Viewpoint,
    known: HashMap<MountKey, Option<Arc<[u8]>>>,
}

impl Paths<'_> {
    fn of(&mut self, key: MountKey) -> Option<Arc<[u8]>> {
        if let Some(path) = self.known.get(&key) {
            return path.clone();
        }
        // Up to the first mount whose path is known, then down again.
        let mut chain = Vec::new();
        let mut at = key;
        let mut above = loop {
            if let Some(path) = self.known.get(&at) {
                break path.clone();
            }
            if chain.len() > self.tables.namespaces_depth_max() {
                break None;
            }
            chain.push(at);
            let Some(mount) = self.tables.mount(at) else { break None };
            if at == self.from.mount || mount.is_detached_root() {
                break None;
            }
            at = mount.parent;
        };
        while let Some(key) = chain.pop() {
            above = self.place(key, above.as_deref());
            self.known.insert(key, above.clone());
        }
        above
    }

    /// The path of a mount's root, given the path of its parent's root.
    fn place(&self, key: MountKey, parent: Option<&[u8]>) -> Option<Arc<[u8]>> {
        let mount = self.tables.mount(key)?;
        if key == self.from.mount && mount.root == self.from.dentry {
            return Some(Arc::from(&b"/"[..]));
        }
        if key == self.from.mount {
            // The root directory lies inside this mount: the mount itself is out of reach.
            return None;
        }
        let up = self.tables.mount(mount.parent)?;
        if up.key == self.from.mount {
            let path = self.tables.names_up(mount.mountpoint, Some(self.from.dentry))?;
            return Some(path.into());
        }
        let parent = parent?;
        let below = self.tables.names_up(mount.mountpoint, Some(up.root))?;
        Some(match (parent, &below[..]) {
            (b"/", below) => Arc::from(below),
            (parent, b"/") => Arc::from(parent),
            (parent, below) => [parent, below].concat().into(),
        })
    }
}

/// Whether a path is another one, or lies below it, component by component. Both are taken as they are:
/// nothing is looked up.
pub fn is_at_or_below(path: &[u8], above: &[u8]) -> bool {
    let above = above.strip_suffix(b"/").unwrap_or(above);
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
