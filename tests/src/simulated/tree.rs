//! Trees of mounts: linking, unlinking, walking, counting. `fs/namespace.c`, the lower half.

use super::kernel::{
    Den, Dentry, Kernel, MNT_UMOUNT, Mnt, Mount, Namespace, Ns, Open, Path, Sb, SuperBlock, User,
};
use std::collections::{BTreeMap, BTreeSet};

impl Kernel {
    /// `alloc_vfsmnt` and `setup_mnt`: a mount that is nowhere.
    pub(super) fn setup_mnt(&mut self, root: Den, source: &[u8]) -> Mnt {
        self.key();
        let sb = self[root].d_sb;
        self[sb].active += 1;
        self.next_unique += 1;
        let this = Mnt(self.next_key);
        let mount = Mount {
            address: self.mount_slab.take(),
            mnt_id: self.mnt_ids.take(1),
            mnt_id_unique: self.next_unique,
            mnt_parent: this,
            mnt_mountpoint: root,
            mnt_root: root,
            mnt_sb: sb,
            mnt_ns: None,
            mnt_flags: 0,
            is_shared: false,
            is_unbindable: false,
            is_marked: false,
            is_candidate: false,
            mnt_group_id: 0,
            mnt_master: None,
            next_peer: this,
            previous_peer: this,
            mnt_slave_list: Vec::new(),
            mnt_mounts: Vec::new(),
            overmount: None,
            mnt_devname: source.to_vec(),
            is_idmapped: false,
            mnt_expiry_mark: false,
        };
        self.put_mount(mount)
    }

    pub(super) fn alloc_super(&mut self, fs_type: &str, user: User) -> Sb {
        self.key();
        let sb = Sb(self.next_key);
        let root = self.alloc_dentry(sb, None, b"/", true);
        let super_block = SuperBlock {
            address: self.super_slab.take(),
            fs_type: fs_type.to_owned(),
            s_dev: self.devices.take(1),
            s_flags: 0,
            s_root: root,
            s_user_ns: user,
            options: BTreeMap::new(),
            active: 0,
            is_kept: false,
        };
        self.next_key = sb.0;
        self.put_super(super_block);
        self.next_key = root.0;
        sb
    }

    pub(super) fn alloc_dentry(
        &mut self,
        sb: Sb,
        parent: Option<Den>,
        name: &[u8],
        is_dir: bool,
    ) -> Den {
        let this = Den(self.key());
        self.next_ino += 1;
        let dentry = Dentry {
            address: self.dentry_slab.take(),
            d_parent: parent.unwrap_or(this),
            d_name: name.to_vec(),
            d_sb: sb,
            is_dir,
            is_deleted: false,
            ino: self.next_ino,
            children: BTreeMap::new(),
            nsfs: None,
        };
        self.put_dentry(dentry);
        if let Some(parent) = parent {
            self[parent].children.insert(name.to_vec(), this);
        }
        this
    }

    pub(super) fn alloc_mnt_ns(&mut self, user_ns: User, is_anon: bool) -> Ns {
        self.key();
        self.next_ns_id += 1;
        let namespace = Namespace {
            address: self.namespace_slab.take(),
            inum: if is_anon { 0xefff_fff7 } else { self.inodes.take(0xf000_0000) },
            ns_id: self.next_ns_id,
            is_anon,
            seq_origin: 0,
            root: None,
            user_ns,
            mounts: BTreeMap::new(),
        };
        self.put_namespace(namespace)
    }

    pub(super) fn mnt_has_parent(&self, mnt: Mnt) -> bool {
        self[mnt].mnt_parent != mnt
    }

    /// `__lookup_mnt`: what is mounted at a place of a mount.
    pub(super) fn lookup_mnt(&self, parent: Mnt, dentry: Den) -> Option<Mnt> {
        self.hash.get(&(parent, dentry))?.last().copied()
    }

    pub(super) fn topmost_overmount(&self, mnt: Mnt) -> Mnt {
        let mut top = mnt;
        while let Some(over) = self[top].overmount {
            top = over;
        }
        top
    }

    /// Whether something is mounted on this dentry, in whatever namespace.
    pub(super) fn d_mountpoint(&self, dentry: Den) -> bool {
        self.all_mounts()
            .any(|(key, mount)| mount.mnt_mountpoint == dentry && mount.mnt_parent != key)
    }

    pub(super) fn is_subdir(&self, dentry: Den, of: Den) -> bool {
        let mut at = dentry;
        loop {
            if at == of {
                return true;
            }
            let parent = self[at].d_parent;
            if parent == at {
                return false;
            }
            at = parent;
        }
    }

    pub(super) fn is_path_reachable(&self, mnt: Mnt, dentry: Den, root: Path) -> bool {
        let (mut mnt, mut dentry) = (mnt, dentry);
        while mnt != root.mnt && self.mnt_has_parent(mnt) {
            dentry = self[mnt].mnt_mountpoint;
            mnt = self[mnt].mnt_parent;
        }
        mnt == root.mnt && self.is_subdir(dentry, root.dentry)
    }

    pub(super) fn mnt_set_mountpoint(&mut self, parent: Mnt, dentry: Den, child: Mnt) {
        let child = &mut self[child];
        child.mnt_mountpoint = dentry;
        child.mnt_parent = parent;
    }

    pub(super) fn make_visible(&mut self, mnt: Mnt) {
        let (parent, dentry) = (self[mnt].mnt_parent, self[mnt].mnt_mountpoint);
        if dentry == self[parent].mnt_root {
            self[parent].overmount = Some(mnt);
        }
        self.hash.entry((parent, dentry)).or_default().push(mnt);
        self[parent].mnt_mounts.push(mnt);
        self.hook_attach(mnt);
    }

    pub(super) fn attach_mnt(&mut self, mnt: Mnt, parent: Mnt, dentry: Den) {
        self.mnt_set_mountpoint(parent, dentry, mnt);
        self.make_visible(mnt);
    }

    fn unhash(&mut self, mnt: Mnt) {
        let place = (self[mnt].mnt_parent, self[mnt].mnt_mountpoint);
        if let Some(list) = self.hash.get_mut(&place) {
            list.retain(|other| *other != mnt);
            if list.is_empty() {
                self.hash.remove(&place);
            }
        }
    }

    /// Takes a mount off its parent's list of children.
    pub(super) fn hide(&mut self, mnt: Mnt) {
        let parent = self[mnt].mnt_parent;
        self[parent].mnt_mounts.retain(|child| *child != mnt);
    }

    pub(super) fn mnt_change_mountpoint(&mut self, parent: Mnt, dentry: Den, mnt: Mnt) {
        let old_parent = self[mnt].mnt_parent;
        if self[old_parent].overmount == Some(mnt) {
            self[old_parent].overmount = None;
        }
        self.hide(mnt);
        self.unhash(mnt);
        self.attach_mnt(mnt, parent, dentry);
    }

    pub(super) fn umount_mnt(&mut self, mnt: Mnt) {
        let parent = self[mnt].mnt_parent;
        if self[parent].overmount == Some(mnt) {
            self[parent].overmount = None;
        }
        self.hide(mnt);
        self.unhash(mnt);
        let root = self[mnt].mnt_root;
        let mount = &mut self[mnt];
        mount.mnt_parent = mnt;
        mount.mnt_mountpoint = root;
    }

    pub(super) fn mnt_add_to_ns(&mut self, ns: Ns, mnt: Mnt) {
        self[mnt].mnt_ns = Some(ns);
        let unique = self[mnt].mnt_id_unique;
        self[ns].mounts.insert(unique, mnt);
    }

    /// `move_from_ns`: out of the namespace's tree of mounts; `mnt_ns` stays as it is.
    pub(super) fn move_from_ns(&mut self, mnt: Mnt) {
        let unique = self[mnt].mnt_id_unique;
        if let Some(ns) = self[mnt].mnt_ns {
            self[ns].mounts.remove(&unique);
        }
    }

    pub(super) fn is_in_ns_tree(&self, mnt: Mnt) -> bool {
        let unique = self[mnt].mnt_id_unique;
        self[mnt].mnt_ns.is_some_and(|ns| self[ns].mounts.contains_key(&unique))
    }

    /// A tree, parents before children: what `next_mnt` walks.
    pub(super) fn tree(&self, root: Mnt) -> Vec<Mnt> {
        let mut found = vec![root];
        let mut stack: Vec<Mnt> = self[root].mnt_mounts.iter().rev().copied().collect();
        while let Some(mnt) = stack.pop() {
            found.push(mnt);
            stack.extend(self[mnt].mnt_mounts.iter().rev());
        }
        found
    }

    /// References to a mount from outside its tree: root directories, descriptors.
    pub(super) fn references(&self, mnt: Mnt) -> usize {
        let roots = self.tasks.values().filter(|task| task.root.mnt == mnt).count();
        let files = self
            .files
            .values()
            .filter(|file| matches!(file.open, Open::Path { path, .. } if path.mnt == mnt))
            .count();
        roots + files
    }

    /// Frees what nothing refers to any more: mounts that left, then dentries and super blocks,
    /// and namespaces that only such a mount kept.
    pub(super) fn reap(&mut self) {
        loop {
            let dead: Vec<Mnt> = self
                .all_mounts()
                .filter(|(key, mount)| {
                    mount.mnt_flags & MNT_UMOUNT != 0 && mount.mnt_parent == *key
                })
                .map(|(key, _)| key)
                .filter(|key| self.references(*key) == 0)
                .collect();
            for mnt in &dead {
                self.cleanup_mnt(*mnt);
            }
            if dead.is_empty() && !self.put_unused_namespace() {
                break;
            }
        }
        self.reap_dentries();
    }

    pub(super) fn cleanup_mnt(&mut self, mnt: Mnt) {
        for child in self[mnt].mnt_mounts.clone() {
            self.umount_mnt(child);
        }
        let (address, id, sb) = (self[mnt].address, self[mnt].mnt_id, self[mnt].mnt_sb);
        self.remove_mount(mnt);
        self.mount_slab.give_back(address);
        self.mnt_ids.give_back(id);
        self[sb].active -= 1;
        if self[sb].active == 0 && !self[sb].is_kept {
            let (address, dev) = (self[sb].address, self[sb].s_dev);
            self.remove_super(sb);
            self.super_slab.give_back(address);
            self.devices.give_back(dev);
        }
    }

    fn reap_dentries(&mut self) {
        let supers: BTreeSet<Sb> = self.all_supers().map(|(key, _)| key).collect();
        let mut used: BTreeSet<Den> = BTreeSet::new();
        for (_, mount) in self.all_mounts() {
            used.extend([mount.mnt_root, mount.mnt_mountpoint]);
        }
        used.extend(self.tasks.values().map(|task| task.root.dentry));
        for file in self.files.values() {
            if let Open::Path { path, .. } = file.open {
                used.insert(path.dentry);
            }
        }
        // A deleted directory that is used pins those above it, deleted as well or not.
        for dentry in used.clone() {
            let mut at = dentry;
            while self[at].d_parent != at {
                at = self[at].d_parent;
                used.insert(at);
            }
        }
        let dead: Vec<Den> = self
            .all_dentries()
            .filter(|(key, dentry)| {
                !supers.contains(&dentry.d_sb)
                    || ((dentry.is_deleted || dentry.nsfs.is_some()) && !used.contains(key))
            })
            .map(|(key, _)| key)
            .collect();
        for dentry in dead {
            let address = self[dentry].address;
            self.remove_dentry(dentry);
            self.dentry_slab.give_back(address);
        }
    }
}
