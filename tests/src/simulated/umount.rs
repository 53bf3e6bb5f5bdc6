//! Unmounting: `umount_tree`, and `propagate_umount` by the rules of 6.17 and later
//! (`Documentation/filesystems/propagate_umount.txt`).

use super::kernel::{Den, Kernel, MNT_LOCKED, MNT_UMOUNT, Mnt, Result, SB_RDONLY};
use crate::command::UmountFlags;
use rustix::io::Errno;

pub(super) const UMOUNT_SYNC: bool = true;

/// How a tree leaves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Umount {
    /// Everything is taken apart at once.
    pub(super) sync: bool,
    /// Receivers of the parent lose theirs as well.
    pub(super) propagate: bool,
    /// The tree stays together while something refers to it.
    pub(super) connected: bool,
}

impl Kernel {
    fn is_candidate(&self, mnt: Mnt) -> bool {
        self[mnt].is_candidate
    }

    fn is_leaving(&self, mnt: Mnt) -> bool {
        self[mnt].mnt_flags & MNT_UMOUNT != 0
    }

    fn is_locked(&self, mnt: Mnt) -> bool {
        self[mnt].mnt_flags & MNT_LOCKED != 0
    }

    pub(super) fn umount_tree(&mut self, root: Mnt, how: Umount) {
        if how.propagate {
            self.propagate_mount_unlock(root);
        }
        let mut set = self.tree(root);
        for mnt in &set {
            self[*mnt].mnt_flags |= MNT_UMOUNT;
            self.move_from_ns(*mnt);
        }
        for mnt in &set {
            self.hide(*mnt);
        }
        if how.propagate {
            self.propagate_umount(&mut set);
        }
        self.bulk_make_private(&set);
        for mnt in set {
            self[mnt].mnt_ns = None;
            if !self.mnt_has_parent(mnt) {
                continue;
            }
            let parent = self[mnt].mnt_parent;
            let stays_connected =
                !how.sync && self.is_leaving(parent) && (how.connected || self.is_locked(mnt));
            if stays_connected {
                self[parent].mnt_mounts.push(mnt);
            } else {
                self.umount_mnt(mnt);
            }
        }
    }

    fn propagate_mount_unlock(&mut self, mnt: Mnt) {
        let (parent, dentry) = (self[mnt].mnt_parent, self[mnt].mnt_mountpoint);
        for receiver in self.receivers(parent) {
            if let Some(child) = self.lookup_mnt(receiver, dentry) {
                self[child].mnt_flags &= !MNT_LOCKED;
            }
        }
    }

    fn gather_candidates(&mut self, set: &[Mnt]) -> Vec<Mnt> {
        let mut candidates = Vec::new();
        for mnt in set {
            if self.is_candidate(*mnt) {
                continue;
            }
            self[*mnt].is_candidate = true;
            let (parent, dentry) = (self[*mnt].mnt_parent, self[*mnt].mnt_mountpoint);
            for receiver in self.receivers(parent) {
                let Some(child) = self.lookup_mnt(receiver, dentry) else { continue };
                if !self.is_candidate(child) {
                    self[child].is_candidate = true;
                    if !self.is_leaving(child) {
                        candidates.push(child);
                    }
                }
            }
        }
        for mnt in set {
            self[*mnt].is_candidate = false;
        }
        candidates.reverse();
        candidates
    }

    fn propagate_umount(&mut self, set: &mut Vec<Mnt>) {
        let mut candidates = self.gather_candidates(set);
        let mut going = Vec::new();
        for mnt in candidates.clone() {
            self.trim_one(mnt, &mut candidates, &mut going);
        }
        while let Some(first) = candidates.first().copied() {
            self.handle_locked(first, &mut candidates, &mut going);
        }
        for mnt in &going {
            if let Some(over) = self[*mnt].overmount
                && !self.is_leaving(over)
            {
                self.reparent(over);
            }
        }
        set.extend(going);
    }

    fn strike(&mut self, mnt: Mnt, candidates: &mut Vec<Mnt>) {
        self[mnt].is_marked = false;
        self[mnt].is_candidate = false;
        candidates.retain(|other| *other != mnt);
    }

    fn umount_one(&mut self, mnt: Mnt, going: &mut Vec<Mnt>) {
        self[mnt].mnt_flags |= MNT_UMOUNT;
        self.hide(mnt);
        self.move_from_ns(mnt);
        going.push(mnt);
    }

    /// A candidate with something below it that stays cannot go, unless that covers it; what can
    /// be decided at once goes at once.
    fn trim_one(&mut self, mnt: Mnt, candidates: &mut Vec<Mnt>, going: &mut Vec<Mnt>) {
        if !self.is_candidate(mnt) {
            self.strike(mnt, candidates);
            return;
        }
        let over = self[mnt].overmount;
        let staying: Vec<Mnt> = self[mnt]
            .mnt_mounts
            .iter()
            .copied()
            .filter(|child| !self.is_candidate(*child))
            .collect();
        let is_blocked = staying.iter().any(|child| Some(*child) != over);
        if !staying.is_empty() {
            self.trim_ancestors(mnt);
            if is_blocked {
                self.strike(mnt, candidates);
            }
        } else if !self.is_locked(mnt) && self[mnt].mnt_mounts.is_empty() {
            self.strike(mnt, candidates);
            self.umount_one(mnt, going);
        }
    }

    fn trim_ancestors(&mut self, mnt: Mnt) {
        let mut mnt = mnt;
        let mut parent = self[mnt].mnt_parent;
        while self.is_candidate(parent) {
            if self[mnt].is_marked {
                return;
            }
            self[mnt].is_marked = true;
            if self[parent].overmount != Some(mnt) {
                self[parent].is_candidate = false;
            }
            mnt = parent;
            parent = self[mnt].mnt_parent;
        }
    }

    fn handle_locked(&mut self, mnt: Mnt, candidates: &mut Vec<Mnt>, going: &mut Vec<Mnt>) {
        if !self.is_candidate(mnt) {
            self.strike(mnt, candidates);
            return;
        }
        let mut cutoff = mnt;
        let mut at = mnt;
        while self.is_candidate(at) {
            self.strike(at, candidates);
            if !self.is_locked(at) {
                cutoff = self[at].mnt_parent;
            }
            at = self[at].mnt_parent;
        }
        if self.is_leaving(at) {
            cutoff = at;
        }
        let mut mnt = mnt;
        while mnt != cutoff {
            self.umount_one(mnt, going);
            mnt = self[mnt].mnt_parent;
        }
    }

    /// What covered a stack that goes away takes the place of the stack.
    fn reparent(&mut self, mnt: Mnt) {
        let mut at = mnt;
        let mut dentry = self[at].mnt_mountpoint;
        loop {
            at = self[at].mnt_parent;
            if !self.is_leaving(at) {
                break;
            }
            dentry = self[at].mnt_mountpoint;
        }
        self.mnt_change_mountpoint(at, dentry, mnt);
    }

    /// Whether a mount, or a copy that would go with it, is in use.
    fn propagate_mount_busy(&self, mnt: Mnt) -> bool {
        if !self[mnt].mnt_mounts.is_empty() || self.references(mnt) > 0 {
            return true;
        }
        if !self.mnt_has_parent(mnt) {
            return false;
        }
        let (parent, dentry) = (self[mnt].mnt_parent, self[mnt].mnt_mountpoint);
        self.receivers(parent).into_iter().any(|receiver| {
            let Some(child) = self.lookup_mnt(receiver, dentry) else { return false };
            let over = self[child].overmount;
            let is_bare = self[child].mnt_mounts.iter().all(|below| Some(*below) == over);
            is_bare && self.references(child) > 0
        })
    }

    pub(super) fn sys_umount(&mut self, task: &str, at: &[u8], flags: UmountFlags) -> Result<()> {
        let path = self.user_path(task, at)?;
        let mnt = path.mnt;
        let ns = self.task(task).ns;
        if !self.may_mount(task) {
            return Err(Errno::PERM);
        }
        if path.dentry != self[mnt].mnt_root || self[mnt].mnt_ns != Some(ns) || self.is_locked(mnt)
        {
            return Err(Errno::INVAL);
        }
        let sb = self[mnt].mnt_sb;
        if flags.force && !self.ns_capable(task, self[sb].s_user_ns) {
            return Err(Errno::PERM);
        }
        let is_root = self.task(task).root.mnt == mnt;
        if flags.expire {
            if is_root || flags.force || flags.lazy {
                return Err(Errno::INVAL);
            }
            if !self[mnt].mnt_mounts.is_empty() || self.references(mnt) > 0 {
                return Err(Errno::BUSY);
            }
            if !std::mem::replace(&mut self[mnt].mnt_expiry_mark, true) {
                return Err(Errno::AGAIN);
            }
        }
        if is_root && !flags.lazy {
            return self.do_umount_root(task, mnt);
        }
        let result = self.do_umount(mnt, flags);
        self.namespace_unlock();
        result
    }

    fn do_umount_root(&mut self, task: &str, mnt: Mnt) -> Result<()> {
        let sb = self[mnt].mnt_sb;
        if !self.ns_capable(task, self[sb].s_user_ns) {
            return Err(Errno::PERM);
        }
        if self[sb].s_flags & SB_RDONLY == 0 {
            self[sb].s_flags |= SB_RDONLY;
            self.hook_reconfigure(sb);
        }
        Ok(())
    }

    fn do_umount(&mut self, mnt: Mnt, flags: UmountFlags) -> Result<()> {
        if !self.mnt_has_parent(mnt) {
            return Err(Errno::INVAL);
        }
        if !flags.lazy && self.propagate_mount_busy(mnt) {
            return Err(Errno::BUSY);
        }
        let how = Umount { sync: !flags.lazy, propagate: true, connected: false };
        self.umount_tree(mnt, how);
        Ok(())
    }

    /// A dentry is deleted where nothing is mounted on it: what is mounted there elsewhere leaves.
    pub(super) fn detach_mounts(&mut self, dentry: Den) {
        if !self.d_mountpoint(dentry) {
            return;
        }
        while let Some(mnt) = self.newest_mounted_on(dentry) {
            if self.is_leaving(mnt) {
                self.umount_mnt(mnt);
            } else {
                self.umount_tree(mnt, Umount { connected: true, ..Umount::default() });
            }
        }
        self.namespace_unlock();
    }

    fn newest_mounted_on(&self, dentry: Den) -> Option<Mnt> {
        let mounted = self
            .all_mounts()
            .filter(|(key, mount)| mount.mnt_mountpoint == dentry && mount.mnt_parent != *key);
        mounted.map(|(key, _)| key).last()
    }
}
