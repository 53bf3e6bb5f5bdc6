//! Paths: the same walks as those of the index, on the records of a table.

use super::pass::{Broken, Look, Pass};
use crate::layout::{
    D_NAME, D_PARENT, D_SIBLINGS, DENTRY_DELETED, DENTRY_LITERAL, M_COVERS, M_ID, M_PARENT, M_ROOT,
    M_SIBLINGS, M_UNIQUE_ID, high, low, name_bytes,
};

/// From where is seen: a mount and a dentry.
pub(super) type From = (u32, u32);

/// Where a path walk ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// On which mount, the one on top.
    pub(super) mount: u32,
    /// At which dentry of it: the last one that the table knows.
    pub(super) dentry: u32,
    /// The path leads to the dentry itself.
    pub(super) is_whole: bool,
    /// It is the mount's root.
    pub(super) is_mountpoint: bool,
}

/// Names that are looked at for each mount that is.
const NAMES_FOR_A_MOUNT: u32 = 16;

impl Pass<'_> {
    fn root(&self, mount: u32) -> Look<u32> {
        Ok(low(self.mount(mount, M_ROOT)?))
    }

    /// Where a path walk ends. The path is absolute; one with `..` is refused.
    pub(super) fn walk(&mut self, path: &[u8], from: From) -> Look<End> {
        let (mut mount, mut dentry) = from;
        let mut root = self.root(mount)?;
        let mut rest = path;
        while !rest.is_empty() {
            let (name, after) = rest.split_at_checked(name_bytes(rest)).ok_or(Broken)?;
            rest = after.get(1..).unwrap_or_default();
            match name {
                b"" | b"." => continue,
                b".." => return self.refuse(),
                _ => {}
            }
            let Some((next, mounted)) = self.child(dentry, name)? else {
                if rest.split(|byte| *byte == b'/').any(|name| name == b"..") {
                    return self.refuse();
                }
                return Ok(End { mount, dentry, is_whole: false, is_mountpoint: false });
            };
            dentry = next;
            if mounted > 0 {
                let mut places = mounted;
                while places > 0
                    && let Some(above) = self.mounted_at(mount, dentry)?
                {
                    self.step()?;
                    (mount, dentry) = (above, self.root(above)?);
                    places = high(self.dentry(dentry, D_NAME)?);
                }
                root = self.root(mount)?;
            }
        }
        Ok(End { mount, dentry, is_whole: true, is_mountpoint: dentry == root })
    }

    /// The mounts whose mountpoint is a path or lies below it, in the kernel's order.
    pub(super) fn below(&mut self, path: &[u8], from: From) -> Look<Vec<u32>> {
        let end = self.walk(path, from)?;
        let mut found = if end.is_mountpoint {
            vec![self.stack_bottom(end.mount, from)?]
        } else if end.is_whole {
            self.children_below(end.mount, end.dentry)?
        } else {
            return Ok(Vec::new());
        };
        let mut at = 0;
        while let Some(mount) = found.get(at).copied() {
            self.push_children(mount, &mut found)?;
            at += 1;
        }
        self.in_order(found)
    }

    /// The mounts that sit on one, in the kernel's order.
    pub(super) fn children(&mut self, mount: u32) -> Look<Vec<u32>> {
        let mut found = Vec::new();
        self.push_children(mount, &mut found)?;
        self.in_order(found)
    }

    fn push_children(&mut self, mount: u32, found: &mut Vec<u32>) -> Look<()> {
        let mut child = high(self.mount(mount, M_PARENT)?);
        while child != 0 {
            self.step()?;
            found.push(child);
            child = low(self.mount(child, M_SIBLINGS)?);
        }
        Ok(())
    }

    fn in_order(&self, mut found: Vec<u32>) -> Look<Vec<u32>> {
        let mut failed = false;
        found.sort_by_cached_key(|mount| {
            self.order(*mount).unwrap_or_else(|_| {
                failed = true;
                0
            })
        });
        if failed { Err(Broken) } else { Ok(found) }
    }

    /// What mounts are sorted by: the kernel's order of lines.
    pub(super) fn order(&self, mount: u32) -> Look<u64> {
        let unique = self.mount(mount, M_UNIQUE_ID)?;
        if unique != 0 { Ok(unique) } else { Ok(u64::from(low(self.mount(mount, M_ID)?))) }
    }

    /// The lowest of the mounts that are stacked at the mountpoint of this one.
    fn stack_bottom(&mut self, mount: u32, from: From) -> Look<u32> {
        let mut mount = mount;
        while mount != from.0 {
            self.step()?;
            let parent = low(self.mount(mount, M_PARENT)?);
            if parent == 0 || self.root(parent)? != high(self.mount(mount, M_ROOT)?) {
                break;
            }
            mount = parent;
        }
        Ok(mount)
    }

    /// The mounts that sit on one, at or below a dentry. Either the names below are walked or the
    /// mounts that sit there, in turn: whatever comes to its end first.
    fn children_below(&mut self, mount: u32, directory: u32) -> Look<Vec<u32>> {
        let (mut by_name, mut pending) = (Vec::new(), vec![directory]);
        let (mut by_mount, mut child) = (Vec::new(), high(self.mount(mount, M_PARENT)?));
        let (mut children, mut turns) = (0, 0_u32);
        loop {
            self.step()?;
            let Some(dentry) = pending.pop() else { return Ok(by_name) };
            if high(self.dentry(dentry, D_NAME)?) > 0 {
                self.all_mounted_at(mount, dentry, &mut by_name)?;
            }
            let mut below = high(self.dentry(dentry, D_PARENT)?);
            while below != 0 {
                self.step()?;
                let flags = low(self.dentry(below, D_NAME)?);
                if flags & crate::layout::DENTRY_LINKED != 0 {
                    pending.push(below);
                }
                below = low(self.dentry(below, D_SIBLINGS)?);
            }
            // To tell where a mount sits takes as long as to go to some names.
            turns += 1;
            if !turns.is_multiple_of(NAMES_FOR_A_MOUNT) {
                continue;
            }
            if child == 0 {
                return Ok(by_mount);
            }
            children += 1;
            if children > self.geometry.mounts.count {
                return Err(Broken);
            }
            if self.is_below(high(self.mount(child, M_ROOT)?), directory)? {
                by_mount.push(child);
            }
            child = low(self.mount(child, M_SIBLINGS)?);
        }
    }

    fn all_mounted_at(&mut self, mount: u32, dentry: u32, found: &mut Vec<u32>) -> Look<()> {
        let mut at = self.mounted_at(mount, dentry)?.unwrap_or(0);
        while at != 0 {
            self.step()?;
            found.push(at);
            at = low(self.mount(at, M_COVERS)?);
        }
        Ok(())
    }

    fn is_below(&mut self, dentry: u32, above: u32) -> Look<bool> {
        self.replenish();
        let mut at = dentry;
        while at != 0 {
            self.step()?;
            if at == above {
                return Ok(true);
            }
            at = low(self.dentry(at, D_PARENT)?);
        }
        Ok(false)
    }

    /// The path of a mountpoint; `None` if it cannot be reached from there.
    pub(super) fn path_of(&mut self, mount: u32, from: From) -> Look<Option<Vec<u8>>> {
        if mount == from.0 {
            return Ok((self.root(mount)? == from.1).then(|| b"/".to_vec()));
        }
        let (mut names, mut at) = (Vec::new(), mount);
        while at != from.0 {
            self.step()?;
            let parent = low(self.mount(at, M_PARENT)?);
            if parent == 0 {
                return Ok(None);
            }
            let stop = if parent == from.0 { from.1 } else { self.root(parent)? };
            if !self.names_up(high(self.mount(at, M_ROOT)?), Some(stop), &mut names)? {
                return Ok(None);
            }
            at = parent;
        }
        self.join(&names).map(Some)
    }

    /// The root field of mountinfo(5), without escapes; empty if it is not known.
    pub(super) fn root_path(&mut self, mount: u32) -> Look<Vec<u8>> {
        let root = self.root(mount)?;
        let flags = low(self.dentry(root, D_NAME)?);
        if flags & DENTRY_LITERAL != 0 {
            let mut name = Vec::new();
            self.push_name(root, &mut name)?;
            return Ok(name);
        }
        let mut names = Vec::new();
        if !self.names_up(root, None, &mut names)? {
            return Ok(Vec::new());
        }
        let mut path = self.join(&names)?;
        if flags & DENTRY_DELETED != 0 {
            path.extend_from_slice(b"//deleted");
        }
        Ok(path)
    }

    /// The dentries from one up to `stop`, without it, or to the root of the file system. Whether the
    /// way is known.
    fn names_up(&mut self, dentry: u32, stop: Option<u32>, names: &mut Vec<u32>) -> Look<bool> {
        let mut at = dentry;
        loop {
            self.step()?;
            if Some(at) == stop {
                return Ok(true);
            }
            if !self.is_known(at)? {
                return Ok(false);
            }
            let parent = low(self.dentry(at, D_PARENT)?);
            if parent == 0 {
                return Ok(stop.is_none());
            }
            names.push(at);
            at = parent;
        }
    }

    fn join(&self, names: &[u32]) -> Look<Vec<u8>> {
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            self.push_name(*name, &mut path)?;
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(path)
    }
}
