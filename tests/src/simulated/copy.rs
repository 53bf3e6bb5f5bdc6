//! Copies of mounts and of trees.

use super::kernel::{
    Den, Kernel, MNT_LOCK_ATIME, MNT_LOCK_NODEV, MNT_LOCK_NOEXEC, MNT_LOCK_NOSUID,
    MNT_LOCK_READONLY, MNT_LOCKED, MNT_NODEV, MNT_NOEXEC, MNT_NOSUID, MNT_READONLY, MNT_UMOUNT,
    Mnt, Ns, Result,
};
use super::umount::{UMOUNT_SYNC, Umount};
use rustix::io::Errno;

pub(super) const CL_COPY_UNBINDABLE: u32 = 0x04;
pub(super) const CL_MAKE_SHARED: u32 = 0x08;
pub(super) const CL_SLAVE: u32 = 0x20;
pub(super) const CL_COPY_MNT_NS_FILE: u32 = 0x40;

impl Kernel {
    pub(super) fn clone_mnt(&mut self, old: Mnt, root: Den, flags: u32) -> Mnt {
        let source = self[old].mnt_devname.clone();
        let mnt = self.setup_mnt(root, &source);
        self[mnt].mnt_flags = self[old].mnt_flags & !(MNT_LOCKED | MNT_UMOUNT);
        self[mnt].is_unbindable = self[old].is_unbindable;
        self[mnt].is_idmapped = self[old].is_idmapped;
        if flags & CL_SLAVE == 0 {
            self[mnt].mnt_group_id = self[old].mnt_group_id;
        }
        if flags & CL_MAKE_SHARED != 0 && self[mnt].mnt_group_id == 0 {
            self.mnt_alloc_group_id(mnt);
        }
        if self[mnt].mnt_group_id != 0 {
            self.set_mnt_shared(mnt);
        }
        if self.peers(mnt, old) {
            self.join_ring(mnt, old);
        }
        if flags & CL_SLAVE != 0 && self[old].mnt_group_id != 0 {
            self.become_first_slave(mnt, old);
        } else if self[old].mnt_master.is_some() {
            self.become_slave_behind(mnt, old);
        }
        mnt
    }

    /// The mount namespace that a dentry of nsfs stands for.
    pub(super) fn mnt_ns_of_file(&self, dentry: Den) -> Option<Ns> {
        if self[dentry].nsfs.as_deref() != Some("mnt") {
            return None;
        }
        let found = self.all_namespaces().find(|(_, ns)| u64::from(ns.inum) == self[dentry].ino);
        found.map(|(key, _)| key)
    }

    pub(super) fn mnt_ns_loop(&self, dentry: Den, current: Ns) -> bool {
        self.mnt_ns_of_file(dentry).is_some_and(|ns| self[current].ns_id >= self[ns].ns_id)
    }

    /// Whether a tree keeps no mount namespace that could keep this one.
    pub(super) fn check_for_nsfs_mounts(&self, root: Mnt, current: Ns) -> bool {
        !self.tree(root).into_iter().any(|mnt| self.mnt_ns_loop(self[mnt].mnt_root, current))
    }

    pub(super) fn copy_tree(&mut self, source: Mnt, root: Den, flags: u32) -> Result<Mnt> {
        let left_out = |kernel: &Self, mnt: Mnt, root: Den| {
            let is_unbindable = flags & CL_COPY_UNBINDABLE == 0 && kernel[mnt].is_unbindable;
            let is_ns_file =
                flags & CL_COPY_MNT_NS_FILE == 0 && kernel[root].nsfs.as_deref() == Some("mnt");
            (is_unbindable, is_ns_file)
        };
        if left_out(self, source, root) != (false, false) {
            return Err(Errno::INVAL);
        }
        let copy = self.clone_mnt(source, root, flags);
        let mut pairs: Vec<(Mnt, Mnt)> = self[source]
            .mnt_mounts
            .iter()
            .filter(|child| self.is_subdir(self[**child].mnt_mountpoint, root))
            .map(|child| (*child, copy))
            .rev()
            .collect();
        while let Some((old, parent)) = pairs.pop() {
            let root = self[old].mnt_root;
            let (is_unbindable, is_ns_file) = left_out(self, old, root);
            if is_unbindable && self[old].mnt_flags & MNT_LOCKED != 0 {
                self.umount_tree(copy, Umount { sync: UMOUNT_SYNC, ..Umount::default() });
                return Err(Errno::PERM);
            }
            if is_unbindable || is_ns_file {
                continue;
            }
            let made = self.clone_mnt(old, root, flags);
            self[made].mnt_flags |= self[old].mnt_flags & MNT_LOCKED;
            let dentry = self[old].mnt_mountpoint;
            self.attach_mnt(made, parent, dentry);
            pairs.extend(self[old].mnt_mounts.iter().rev().map(|child| (*child, made)));
        }
        self.hook_copy_tree(copy);
        Ok(copy)
    }

    /// What another user namespace gets cannot be taken apart there.
    pub(super) fn lock_mnt_tree(&mut self, root: Mnt) {
        const LOCKS: [(u32, u32); 4] = [
            (MNT_READONLY, MNT_LOCK_READONLY),
            (MNT_NODEV, MNT_LOCK_NODEV),
            (MNT_NOSUID, MNT_LOCK_NOSUID),
            (MNT_NOEXEC, MNT_LOCK_NOEXEC),
        ];
        for mnt in self.tree(root) {
            let mut flags = self[mnt].mnt_flags | MNT_LOCK_ATIME;
            for (flag, lock) in LOCKS {
                if flags & flag != 0 {
                    flags |= lock;
                }
            }
            if mnt != root {
                flags |= MNT_LOCKED;
            }
            self[mnt].mnt_flags = flags;
        }
    }

    pub(super) fn has_locked_children(&self, mnt: Mnt, dentry: Den) -> bool {
        self[mnt].mnt_mounts.iter().any(|child| {
            self.is_subdir(self[*child].mnt_mountpoint, dentry)
                && self[*child].mnt_flags & MNT_LOCKED != 0
        })
    }
}
