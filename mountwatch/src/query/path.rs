//! Paths: where a mount is, what is mounted at a path, what is mounted below it.

use super::Viewpoint;
use crate::model::{DentryKey, Mount, MountKey};
use crate::state::Tables;
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
pub(super) struct End<'p> {
    /// On which mount, the one on top.
    pub(super) mount: Arc<Mount>,
    /// At which directory or file of it: the last one that the index knows.
    pub(super) dentry: DentryKey,
    /// What is left of the path: nothing is mounted there or below.
    pub(super) rest: &'p [u8],
}

impl End<'_> {
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
        let mut paths = Paths { tables: self, from, known: HashMap::new() };
        paths.of(mount).map(|path| path.to_vec())
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
        let covered = if is_mountpoint { self.stack(&end.mount, from).len() - 1 } else { 0 };
        Some(Covering { mount: end.mount, is_mountpoint, covered })
    }

    /// Every mount whose mountpoint is the path or lies below it, in the kernel's order. Of mounts
    /// that are stacked at the path all are given, with what is mounted on each.
    ///
    /// Takes time for what it gives, and for what pins names below a directory that is no mountpoint.
    pub fn below(&self, path: &[u8], from: Viewpoint) -> Vec<Listed> {
        let Some(end) = self.walk(path, from) else { return Vec::new() };
        let mut pending: Vec<MountKey> = if end.is_mountpoint() {
            self.stack(&end.mount, from).last().copied().into_iter().collect()
        } else if end.is_whole() {
            self.children_below(end.mount.key, end.dentry)
        } else {
            return Vec::new();
        };
        let mut paths = Paths { tables: self, from, known: HashMap::new() };
        let mut found = Vec::new();
        while let Some(key) = pending.pop() {
            let Some(mount) = self.mount(key) else { continue };
            let Some(path) = paths.of(key) else { continue };
            found.push(Listed { mount: Arc::clone(mount), path });
            if found.len() > self.mount_count() {
                break; // a loop, which a tree does not have
            }
            pending.extend(self.children(key).map(|child| child.key));
        }
        found.sort_by_key(|listed| Self::order(&listed.mount));
        found
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
    pub(super) fn walk<'p>(&self, path: &'p [u8], from: Viewpoint) -> Option<End<'p>> {
        let mut mount = self.mount(from.mount)?;
        let mut dentry = from.dentry;
        let mut rest = path;
        loop {
            let (name, after) = first_name(rest);
            if name.is_empty() {
                return Some(End { mount: Arc::clone(mount), dentry, rest: b"" });
            }
            if name == b"." {
                rest = after;
                continue;
            }
            let Some(next) = self.dentry(dentry).and_then(|known| known.children.get(name)) else {
                return Some(End { mount: Arc::clone(mount), dentry, rest });
            };
            dentry = *next;
            rest = after;
            if let Some(above) = self.mounted_at(mount.key, dentry) {
                mount = self.top(above.key)?;
                dentry = mount.root;
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
                pending.extend(known.children.values());
            }
        }
        self.children(mount)
            .filter(|child| self.is_below(child.mountpoint, directory))
            .map(|child| child.key)
            .collect()
    }

    /// This mount and those that it covers at the same path, from the top down.
    pub(super) fn stack(&self, mount: &Mount, from: Viewpoint) -> Vec<MountKey> {
        let mut keys = vec![mount.key];
        let mut mount = mount;
        while mount.key != from.mount && keys.len() <= self.mount_count() {
            match self.mount(mount.parent) {
                Some(parent) if parent.root == mount.mountpoint && parent.key != mount.key => {
                    keys.push(parent.key);
                    mount = parent;
                }
                _ => break,
            }
        }
        keys
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
        let mut names = Vec::new();
        let mut at = dentry;
        for _ in 0..=self.dentry_count() {
            if Some(at) == stop {
                return Some(join(&names));
            }
            let known = self.dentry(at).filter(|known| known.is_known)?;
            if known.parent == at {
                return stop.is_none().then(|| join(&names));
            }
            names.push(Arc::clone(&known.name));
            at = known.parent;
        }
        None
    }
}

/// The first component of a path, and what follows it.
fn first_name(path: &[u8]) -> (&[u8], &[u8]) {
    let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    let path = path.get(start..).unwrap_or_default();
    let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
    path.split_at(end)
}

fn join(names: &[crate::model::Bytes]) -> Vec<u8> {
    if names.is_empty() {
        return b"/".to_vec();
    }
    let mut path = Vec::with_capacity(names.iter().map(|name| name.len() + 1).sum());
    for name in names.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    path
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
