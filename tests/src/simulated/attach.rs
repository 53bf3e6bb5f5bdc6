//! Attaching: `attach_recursive_mnt` and the calls that end there.

use super::copy::CL_COPY_MNT_NS_FILE;
use super::kernel::{Den, Kernel, MNT_LOCKED, Mnt, Path, Result, SB_RDONLY, Sb};
use super::umount::{UMOUNT_SYNC, Umount};
use crate::command::Propagation;
use rustix::io::Errno;

impl Kernel {
    /// `get_mountpoint`: whether a dentry may be mounted on.
    fn get_mountpoint(&self, dentry: Den) -> Result<()> {
        let mut at = dentry;
        loop {
            if self[at].is_deleted {
                return Err(Errno::NOENT);
            }
            let parent = self[at].d_parent;
            if parent == at {
                return Ok(());
            }
            at = parent;
        }
    }

    fn where_to_mount(&self, path: Path, beneath: bool) -> Path {
        if beneath {
            let top = self.topmost_overmount(path.mnt);
            return Path { mnt: self[top].mnt_parent, dentry: self[top].mnt_mountpoint };
        }
        match self.lookup_mnt(path.mnt, path.dentry) {
            Some(mnt) => {
                let top = self.topmost_overmount(mnt);
                Path { mnt: top, dentry: self[top].mnt_root }
            }
            None => path,
        }
    }

    /// `do_lock_mount`: the mount and the dentry to attach to.
    pub(super) fn lock_mount(&self, path: Path, beneath: bool) -> Result<Path> {
        if beneath && path.dentry != self[path.mnt].mnt_root {
            return Err(Errno::INVAL);
        }
        let place = self.where_to_mount(path, beneath);
        if self[place.dentry].is_deleted || self[path.mnt].mnt_ns.is_none() {
            return Err(Errno::NOENT);
        }
        if beneath && place.mnt == path.mnt && self[place.mnt].overmount.is_none() {
            return Err(Errno::INVAL);
        }
        self.get_mountpoint(place.dentry)?;
        Ok(place)
    }

    fn graft_tree(&mut self, task: &str, mnt: Mnt, place: Path) -> Result<()> {
        let root = self[mnt].mnt_root;
        if self[place.dentry].is_dir != self[root].is_dir {
            return Err(Errno::NOTDIR);
        }
        self.attach_recursive_mnt(task, mnt, place)
    }

    fn attach_recursive_mnt(&mut self, task: &str, source: Mnt, place: Path) -> Result<()> {
        let current = self.task(task).ns;
        let user_ns = self[current].user_ns;
        let is_moving = self.mnt_has_parent(source);
        let top = self.topmost_overmount(source);
        let mut shorter = None;
        let mut at = source;
        while let Some(over) = self[at].overmount {
            let root = self[at].mnt_root;
            if shorter.is_none() && self[root].nsfs.as_deref() == Some("mnt") {
                shorter = Some(root);
            }
            at = over;
        }
        let covered = self[top].mnt_root;
        self.get_mountpoint(covered)?;
        let mut copies = Vec::new();
        if self[place.mnt].is_shared {
            self.invent_group_ids(source, true);
            let (made, result) = self.propagate_mnt(place.mnt, place.dentry, source);
            if let Err(error) = result {
                for copy in made {
                    self.umount_tree(copy, Umount { sync: UMOUNT_SYNC, ..Umount::default() });
                }
                self.cleanup_group_ids(source);
                return Err(error);
            }
            copies = made;
            for mnt in self.tree(source) {
                self.set_mnt_shared(mnt);
            }
        }
        if is_moving {
            self.umount_mnt(source);
        } else if let Some(ns) = self[source].mnt_ns {
            self.emptied_ns = Some(ns);
            for mnt in self.tree(source) {
                self.move_from_ns(mnt);
                self[mnt].mnt_ns = None;
            }
        }
        self.mnt_set_mountpoint(place.mnt, place.dentry, source);
        copies.insert(0, source);
        for child in copies {
            let (parent, dentry) = (self[child].mnt_parent, self[child].mnt_mountpoint);
            let ns = self[parent].mnt_ns.expect("it receives, so it is in a namespace");
            if self[ns].user_ns != user_ns {
                self.lock_mnt_tree(child);
            }
            let covering = self.lookup_mnt(parent, dentry);
            self.commit_tree(child);
            if let Some(covering) = covering {
                let top = self.topmost_overmount(child);
                if self[covering].mnt_flags & MNT_LOCKED != 0 {
                    self[child].mnt_flags |= MNT_LOCKED;
                    self[covering].mnt_flags &= !MNT_LOCKED;
                }
                let root = shorter.filter(|_| child != source).unwrap_or(covered);
                self.mnt_change_mountpoint(top, root, covering);
            }
        }
        Ok(())
    }

    fn commit_tree(&mut self, mnt: Mnt) {
        let parent = self[mnt].mnt_parent;
        let ns = self[parent].mnt_ns.expect("it is attached to a mount of a namespace");
        if !self.is_in_ns_tree(mnt) {
            for mnt in self.tree(mnt) {
                self.mnt_add_to_ns(ns, mnt);
            }
        }
        self.make_visible(mnt);
    }

    /// `do_add_mount`, of a mount that nobody has seen yet.
    pub(super) fn do_add_mount(
        &mut self,
        task: &str,
        mnt: Mnt,
        path: Path,
        mnt_flags: u32,
    ) -> Result<()> {
        let place = self.lock_mount(path, false)?;
        if self[place.mnt].mnt_ns != Some(self.task(task).ns) {
            return Err(Errno::INVAL);
        }
        let is_same = self[place.mnt].mnt_sb == self[mnt].mnt_sb;
        if is_same && self[place.mnt].mnt_root == place.dentry {
            return Err(Errno::BUSY);
        }
        self[mnt].mnt_flags = mnt_flags;
        self.graft_tree(task, mnt, place)
    }

    /// A mount that was never attached goes away.
    pub(super) fn drop_unattached(&mut self, mnt: Mnt) {
        self.cleanup_mnt(mnt);
    }

    fn may_copy_tree(&self, task: &str, path: Path) -> bool {
        let ns = self.task(task).ns;
        self[path.mnt].mnt_ns == Some(ns)
            || self[path.dentry].nsfs.is_some()
            || self.check_anonymous_mnt(task, path.mnt)
    }

    fn check_anonymous_mnt(&self, task: &str, mnt: Mnt) -> bool {
        let Some(ns) = self[mnt].mnt_ns.filter(|ns| self[*ns].is_anon) else { return false };
        let origin = self[ns].seq_origin;
        origin == 0 || origin == self[self.task(task).ns].ns_id
    }

    /// `__do_loopback`: a copy that is nowhere yet.
    pub(super) fn loopback_copy(
        &mut self,
        task: &str,
        from: Path,
        recurse: bool,
        flags: u32,
    ) -> Result<Mnt> {
        let old = from.mnt;
        if self[old].is_unbindable
            || !self.may_copy_tree(task, from)
            || (recurse && self[old].mnt_ns.is_none())
            || (!recurse && self.has_locked_children(old, from.dentry))
        {
            return Err(Errno::INVAL);
        }
        if recurse {
            return self.copy_tree(old, from.dentry, flags);
        }
        Ok(self.clone_mnt(old, from.dentry, flags))
    }

    pub(super) fn do_loopback(
        &mut self,
        task: &str,
        from: Path,
        to: Path,
        recurse: bool,
    ) -> Result<()> {
        let ns = self.task(task).ns;
        if self.mnt_ns_loop(from.dentry, ns) {
            return Err(Errno::INVAL);
        }
        let place = self.lock_mount(to, false)?;
        if self[place.mnt].mnt_ns != Some(ns) {
            return Err(Errno::INVAL);
        }
        let mnt = self.loopback_copy(task, from, recurse, CL_COPY_MNT_NS_FILE)?;
        let result = if recurse && !self.check_for_nsfs_mounts(mnt, ns) {
            Err(Errno::INVAL)
        } else {
            self.graft_tree(task, mnt, place)
        };
        if result.is_err() {
            self.umount_tree(mnt, Umount { sync: UMOUNT_SYNC, ..Umount::default() });
        }
        result
    }

    fn mount_is_ancestor(&self, ancestor: Mnt, mnt: Mnt) -> bool {
        let mut at = mnt;
        while at != ancestor && self.mnt_has_parent(at) {
            at = self[at].mnt_parent;
        }
        at == ancestor
    }

    pub(super) fn is_anon_root(&self, mnt: Mnt) -> bool {
        self[mnt].mnt_ns.is_some_and(|ns| self[ns].is_anon) && !self.mnt_has_parent(mnt)
    }

    fn can_move_mount_beneath(&self, task: &str, from: Mnt, over: Mnt, dentry: Den) -> Result<()> {
        let parent = self[over].mnt_parent;
        let is_ours = self[from].mnt_ns == Some(self.task(task).ns);
        if self[from].overmount.is_some()
            || self.mount_is_ancestor(over, from)
            || self.propagation_would_overmount(parent, over, dentry)
            || (is_ours && self.propagation_would_overmount(parent, from, dentry))
        {
            return Err(Errno::INVAL);
        }
        Ok(())
    }

    fn check_move_source(&self, task: &str, old: Mnt, place: Path) -> Result<()> {
        let ns = self.task(task).ns;
        let is_ours = self[old].mnt_ns == Some(ns);
        let is_allowed = if is_ours {
            self.mnt_has_parent(old)
                && self[old].mnt_flags & MNT_LOCKED == 0
                && !self[self[old].mnt_parent].is_shared
                && self[place.mnt].mnt_ns == Some(ns)
        } else {
            self.is_anon_root(old)
                && self[old].mnt_ns != self[place.mnt].mnt_ns
                && (self[place.mnt].mnt_ns == Some(ns) || self.check_anonymous_mnt(task, place.mnt))
        };
        if is_allowed { Ok(()) } else { Err(Errno::INVAL) }
    }

    pub(super) fn do_move_mount(
        &mut self,
        task: &str,
        from: Path,
        to: Path,
        beneath: bool,
    ) -> Result<()> {
        let old = from.mnt;
        if from.dentry != self[old].mnt_root || self[to.dentry].is_dir != self[from.dentry].is_dir {
            return Err(Errno::INVAL);
        }
        let place = self.lock_mount(to, beneath)?;
        self.check_move_source(task, old, place)?;
        if beneath {
            let over = if place.mnt == self[to.mnt].mnt_parent {
                to.mnt
            } else {
                self[place.mnt].overmount.ok_or(Errno::INVAL)?
            };
            self.can_move_mount_beneath(task, old, over, place.dentry)?;
        }
        let tree = self.tree(old);
        if self[place.mnt].is_shared && tree.iter().any(|mnt| self[*mnt].is_unbindable) {
            return Err(Errno::INVAL);
        }
        if !self.check_for_nsfs_mounts(old, self.task(task).ns)
            || self.mount_is_ancestor(old, place.mnt)
        {
            return Err(Errno::LOOP);
        }
        self.attach_recursive_mnt(task, old, place)
    }

    fn may_change_propagation(&self, task: &str, mnt: Mnt) -> Result<()> {
        let ns = self[mnt].mnt_ns.ok_or(Errno::INVAL)?;
        if self.ns_capable(task, self[ns].user_ns) { Ok(()) } else { Err(Errno::PERM) }
    }

    pub(super) fn do_change_type(
        &mut self,
        task: &str,
        path: Path,
        to: Propagation,
        recurse: bool,
    ) -> Result<()> {
        if path.dentry != self[path.mnt].mnt_root {
            return Err(Errno::INVAL);
        }
        self.may_change_propagation(task, path.mnt)?;
        if to == Propagation::Shared {
            self.invent_group_ids(path.mnt, recurse);
        }
        let mounts = if recurse { self.tree(path.mnt) } else { vec![path.mnt] };
        for mnt in mounts {
            self.change_mnt_propagation(mnt, to);
        }
        Ok(())
    }

    pub(super) fn do_set_group(&mut self, task: &str, from: Path, to: Path) -> Result<()> {
        let (source, target) = (from.mnt, to.mnt);
        self.may_change_propagation(task, source)?;
        self.may_change_propagation(task, target)?;
        let target_root = self[target].mnt_root;
        let (has_group, has_master) = (self[source].is_shared, self[source].mnt_master.is_some());
        if from.dentry != self[source].mnt_root
            || to.dentry != target_root
            || self[source].mnt_sb != self[target].mnt_sb
            || !self.is_subdir(target_root, self[source].mnt_root)
            || self.has_locked_children(source, target_root)
            || self[target].is_shared
            || self[target].mnt_master.is_some()
            || self[target].is_unbindable
            || !(has_group || has_master)
        {
            return Err(Errno::INVAL);
        }
        if has_master {
            self.become_slave_behind(target, source);
        }
        if has_group {
            self[target].mnt_group_id = self[source].mnt_group_id;
            self.join_ring(target, source);
            self.set_mnt_shared(target);
        }
        Ok(())
    }

    /// Whether a write through this mount is refused.
    pub(super) fn is_readonly(&self, mnt: Mnt) -> bool {
        let sb: Sb = self[mnt].mnt_sb;
        self[mnt].mnt_flags & super::kernel::MNT_READONLY != 0 || self[sb].s_flags & SB_RDONLY != 0
    }
}
