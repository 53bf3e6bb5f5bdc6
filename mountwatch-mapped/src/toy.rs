//! A small index, for tests, measurements and examples of a writer: a file system with directories, and
//! tmpfs mounts on them.

use crate::layout::BIND_NOT;
use crate::writer::{DentryFacts, MountFacts, Source, SuperFacts};
use std::collections::HashMap;

/// The root mount.
pub const ROOT: u64 = 1;

#[derive(Clone, Debug)]
struct Dentry {
    parent: u64,
    name: Vec<u8>,
    children: HashMap<Vec<u8>, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Mount {
    parent: u64,
    mountpoint: u64,
    root: u64,
}

/// An index of one namespace. Keys count from 1.
#[derive(Clone, Debug)]
pub struct Toy {
    dentries: HashMap<u64, Dentry>,
    mounts: HashMap<u64, Mount>,
    children: HashMap<u64, Vec<u64>>,
    at: HashMap<(u64, u64), Vec<u64>>,
    next: u64,
    options: Vec<u8>,
}

impl Toy {
    /// A root mount, and nothing on it. Every mount has these options.
    pub fn new(options: &[u8]) -> Self {
        let mut toy = Self {
            dentries: HashMap::new(),
            mounts: HashMap::new(),
            children: HashMap::new(),
            at: HashMap::new(),
            next: ROOT,
            options: options.to_vec(),
        };
        let root = toy.file_system();
        toy.mounts.insert(ROOT, Mount { parent: ROOT, mountpoint: root, root });
        toy
    }

    /// Every mount.
    pub fn mounts(&self) -> Vec<u64> {
        self.mounts.keys().copied().collect()
    }

    /// The directory that a mount shows.
    pub fn root(&self, mount: u64) -> u64 {
        self.mounts.get(&mount).map_or(0, |mount| mount.root)
    }

    /// The directory below another one with this name; it is made if there is none.
    pub fn directory(&mut self, parent: u64, name: &[u8]) -> u64 {
        let known = self.dentries.get(&parent).and_then(|parent| parent.children.get(name));
        if let Some(known) = known {
            return *known;
        }
        let key = self.take_key();
        let dentry = Dentry { parent, name: name.to_vec(), children: HashMap::new() };
        self.dentries.insert(key, dentry);
        if let Some(parent) = self.dentries.get_mut(&parent) {
            parent.children.insert(name.to_vec(), key);
        }
        key
    }

    /// The directory at a path of a mount.
    pub fn path(&mut self, mount: u64, path: &str) -> u64 {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.fold(self.root(mount), |at, name| self.directory(at, name.as_bytes()))
    }

    /// Mounts a new file system on a directory of a mount.
    pub fn mount_on(&mut self, parent: u64, mountpoint: u64) -> u64 {
        let root = self.file_system();
        let key = self.take_key();
        self.mounts.insert(key, Mount { parent, mountpoint, root });
        self.join(key);
        key
    }

    /// Moves a mount, with everything on it.
    pub fn move_to(&mut self, mount: u64, parent: u64, mountpoint: u64) {
        self.leave(mount);
        if let Some(known) = self.mounts.get_mut(&mount) {
            (known.parent, known.mountpoint) = (parent, mountpoint);
        }
        self.join(mount);
    }

    /// Unmounts something that nothing is mounted on.
    pub fn unmount(&mut self, mount: u64) {
        self.leave(mount);
        self.mounts.remove(&mount);
    }

    /// Renames a directory.
    pub fn rename(&mut self, dentry: u64, name: &[u8]) {
        let Some(known) = self.dentries.get_mut(&dentry) else { return };
        let before = std::mem::replace(&mut known.name, name.to_vec());
        let parent = known.parent;
        if let Some(parent) = self.dentries.get_mut(&parent) {
            parent.children.remove(&before);
            parent.children.insert(name.to_vec(), dentry);
        }
    }

    fn file_system(&mut self) -> u64 {
        let key = self.take_key();
        let dentry = Dentry { parent: key, name: Vec::new(), children: HashMap::new() };
        self.dentries.insert(key, dentry);
        key
    }

    fn take_key(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn join(&mut self, key: u64) {
        let Some(mount) = self.mounts.get(&key).copied() else { return };
        self.children.entry(mount.parent).or_default().push(key);
        self.at.entry((mount.parent, mount.mountpoint)).or_default().push(key);
    }

    fn leave(&mut self, key: u64) {
        let Some(mount) = self.mounts.get(&key).copied() else { return };
        for list in [
            self.children.get_mut(&mount.parent),
            self.at.get_mut(&(mount.parent, mount.mountpoint)),
        ]
        .into_iter()
        .flatten()
        {
            list.retain(|other| *other != key);
        }
    }
}

impl Source for Toy {
    fn mount(&self, key: u64) -> Option<MountFacts<'_>> {
        let mount = self.mounts.get(&key)?;
        let id = u32::try_from(key).ok()?;
        Some(MountFacts {
            id,
            parent_id: u32::try_from(mount.parent).ok()?,
            unique_id: Some(key + (1 << 31)),
            parent: (mount.parent != key).then_some(mount.parent),
            root: mount.root,
            mountpoint: mount.mountpoint,
            super_block: mount.root,
            device: id,
            attributes: 0x20,
            peer_group: 0,
            master: 0,
            is_unbindable: false,
            source: b"toy",
        })
    }

    fn dentry(&self, key: u64) -> Option<DentryFacts<'_>> {
        let dentry = self.dentries.get(&key)?;
        Some(DentryFacts {
            parent: dentry.parent,
            name: &dentry.name,
            is_deleted: false,
            is_literal: false,
            is_known: true,
            is_linked: dentry.parent != key,
        })
    }

    fn super_block(&self, _key: u64) -> Option<SuperFacts<'_>> {
        Some(SuperFacts { fs_type: b"tmpfs", options: Some(&self.options), flags: 0 })
    }

    fn mounted_at(&self, mount: u64, dentry: u64) -> Vec<u64> {
        self.at.get(&(mount, dentry)).cloned().unwrap_or_default()
    }

    fn children(&self, mount: u64) -> Vec<u64> {
        self.children.get(&mount).cloned().unwrap_or_default()
    }

    fn bind(&self, _mount: u64) -> u32 {
        BIND_NOT
    }

    fn is_partly_mounted(&self, _super_block: u64) -> bool {
        false
    }
}
