//! The eBPF side: the same programs at the same points, which write the same bytes.

use super::kernel::{Den, Kernel, MNT_UMOUNT, Mnt, Ns, Sb};
use super::records;
pub(crate) use super::ring::Hooks;
use super::ring::{Faults, Fingerprint, Root};
use mountwatch_common::hook::{self, Hook};
use mountwatch_common::limits::{ROOTS_MAX, TOLD_MAX};
use mountwatch_common::record::{flag, kind};
use std::collections::HashSet;

/// Namespaces that can be noted for a walk under the lock.
const PENDING_MAX: usize = 16;
/// Levels that are climbed to find the namespace that a leaving mount was in.
const CLIMB_MAX: u32 = 16;

/// One run of a program: what its records have in common.
struct Walk {
    hook: Hook,
    flags: u32,
    ktime_ns: u64,
    /// `namespace_sem` is held: names first.
    is_locked: bool,
    /// The namespace that a lost name is about; 0 for any.
    lost_ns: u64,
    seen: HashSet<u64>,
}

impl Kernel {
    fn begin(&mut self, hook: Hook, flags: u32, is_locked: bool) -> Walk {
        self.hooks.clock += 1_000;
        let ktime_ns = self.hooks.clock;
        Walk { hook, flags, ktime_ns, is_locked, lost_ns: 0, seen: HashSet::new() }
    }

    /// The namespace that a loss about a mount is about: one that leaves has none any more, but
    /// one above it has.
    fn lost_ns(&self, mnt: Mnt) -> u64 {
        let mut at = mnt;
        for _ in 0..CLIMB_MAX {
            if let Some(ns) = self[at].mnt_ns {
                return self[ns].address;
            }
            at = self[at].mnt_parent;
        }
        0
    }

    fn header(&self, walk: &Walk, kind: u16, flags: u32) -> records::Stamp {
        let (pid, tid) = self.current;
        records::Stamp {
            kind,
            hook: walk.hook,
            flags,
            ktime_ns: walk.ktime_ns,
            pid_tgid: (u64::from(pid) << 32) | u64::from(tid),
        }
    }

    fn mark(&mut self, mnt: Mnt, is_copy: bool, is_single: bool) {
        self.hooks.dirty = true;
        if let Some(last) = self.hooks.roots.last_mut()
            && last.mnt == mnt
        {
            last.is_copy &= is_copy;
            last.is_single &= is_single;
            return;
        }
        let is_full = self.hooks.roots.len() >= ROOTS_MAX as usize;
        if is_full || Faults::strikes(&mut self.hooks.faults.roots) {
            self.hooks.counted.roots_lost += 1;
            let ns = self.lost_ns(mnt);
            self.hooks.lost.insert(ns);
            return;
        }
        self.hooks.roots.push(Root { mnt, is_copy, is_single });
    }

    pub(super) fn hook_attach(&mut self, mnt: Mnt) {
        let parent = self[mnt].mnt_parent;
        if self.hooks.runs() && self[parent].mnt_ns.is_some() {
            self.mark(mnt, false, false);
        }
    }

    pub(super) fn hook_copy_tree(&mut self, mnt: Mnt) {
        if self.hooks.runs() {
            self.mark(mnt, true, false);
        }
    }

    pub(super) fn hook_propagation(&mut self, mnt: Mnt) {
        if self.hooks.runs() {
            let walk = self.begin(hook::PROPAGATION, flag::TRANSACTION, true);
            self.tell_mount(&walk, mnt, 0);
            self.hooks.dirty = true;
        }
    }

    pub(super) fn hook_bulk_private(&mut self, set: &[Mnt]) {
        if self.hooks.runs() {
            let walk = self.begin(hook::BULK_PRIVATE, flag::TRANSACTION | flag::GONE, true);
            for mnt in set {
                self.tell_mount(&walk, *mnt, 0);
            }
            self.hooks.dirty = true;
        }
    }

    pub(super) fn hook_group_dead(&mut self, mnt: Mnt) {
        if self.hooks.runs() {
            self.hooks.dirty = true;
            let walk = self.begin(hook::GROUP_DEAD, flag::TRANSACTION, true);
            let stamp = self.header(&walk, kind::GROUP_DEAD, flag::TRANSACTION);
            let record = records::group(stamp, self, mnt);
            self.hooks.put(record, 0);
        }
    }

    pub(super) fn hook_namespace_born(&mut self, ns: Ns) {
        if self.hooks.runs() {
            self.tell_namespace(ns, kind::NAMESPACE_BORN, hook::NAMESPACE_BORN, flag::TRANSACTION);
            self.hooks.dirty = true;
            if let Some(root) = self[ns].root {
                self.mark(root, false, false);
            }
        }
    }

    fn hook_namespace_gone(&mut self, ns: Ns) {
        if self.hooks.runs() {
            self.hooks.pending.retain(|other| *other != ns);
            self.tell_namespace(ns, kind::NAMESPACE_GONE, hook::NAMESPACE_GONE, 0);
        }
    }

    fn tell_namespace(&mut self, ns: Ns, kind: u16, hook: Hook, flags: u32) {
        let walk = self.begin(hook, flags, true);
        let record = records::namespace(self.header(&walk, kind, flags), self, ns);
        self.hooks.put(record, 0);
    }

    /// The end of a hold of `namespace_sem`.
    pub(super) fn namespace_unlock(&mut self) {
        if self.hooks.is_attached {
            self.hook_commit();
        }
        if let Some(ns) = self.emptied_ns.take() {
            self.free_mnt_ns(ns);
        }
    }

    pub(super) fn free_mnt_ns(&mut self, ns: Ns) {
        if !self[ns].is_anon {
            self.hook_namespace_gone(ns);
            let inum = self[ns].inum;
            self.inodes.give_back(inum);
        }
        let address = self[ns].address;
        self.remove_namespace(ns);
        self.namespace_slab.give_back(address);
    }

    fn hook_commit(&mut self) {
        if let Some(target) = self.hooks.stash {
            self.mark(target, false, true);
        }
        if !self.hooks.dirty {
            return;
        }
        for ns in std::mem::take(&mut self.hooks.pending) {
            if let Some(root) = self[ns].root {
                self.mark(root, false, false);
            }
        }
        let roots = std::mem::take(&mut self.hooks.roots);
        self.hooks.dirty = false;
        if !roots.is_empty() {
            let mut walk = self.begin(hook::COMMIT, flag::TRANSACTION, true);
            for root in roots {
                self.walk_root(&mut walk, root);
            }
        }
        self.commit(hook::COMMIT, flag::TRANSACTION);
    }

    fn walk_root(&mut self, walk: &mut Walk, root: Root) {
        let is_somewhere = self.is_mount(root.mnt) && self[root.mnt].mnt_ns.is_some();
        if !is_somewhere || (root.is_copy && self.mnt_has_parent(root.mnt)) {
            return;
        }
        let mounts = if root.is_single { vec![root.mnt] } else { self.tree(root.mnt) };
        let mut subtree = if root.is_single { 0 } else { flag::SUBTREE };
        for mnt in mounts {
            self.visit(walk, mnt, subtree);
            subtree = 0;
            if Faults::strikes(&mut self.hooks.faults.cut) {
                self.hooks.counted.walks_cut += 1;
                let ns = self.lost_ns(root.mnt);
                self.hooks.lost.insert(ns);
                return;
            }
        }
    }

    fn visit(&mut self, walk: &mut Walk, mnt: Mnt, flags: u32) {
        if !walk.is_locked {
            self.tell_mount(walk, mnt, flags);
        }
        if walk.is_locked
            && let Some(ns) = self[mnt].mnt_ns
        {
            walk.lost_ns = self[ns].address;
        }
        let (sb, root) = (self[mnt].mnt_sb, self[mnt].mnt_root);
        self.tell_super(walk, sb, false);
        self.tell_chain(walk, root, false);
        if self.mnt_has_parent(mnt) {
            let mountpoint = self[mnt].mnt_mountpoint;
            self.tell_chain(walk, mountpoint, false);
        }
        if walk.is_locked {
            self.tell_mount(walk, mnt, flags);
        }
    }

    fn tell_mount(&mut self, walk: &Walk, mnt: Mnt, flags: u32) {
        let mount = &self[mnt];
        let mut flags = flags | walk.flags;
        let facts = [
            (mount.mnt_ns.is_none() || mount.mnt_flags & MNT_UMOUNT != 0, flag::GONE),
            (mount.mnt_ns.is_some_and(|ns| self[ns].root == Some(mnt)), flag::NAMESPACE_ROOT),
            (mount.mnt_ns.is_some_and(|ns| self[ns].is_anon), flag::ANONYMOUS),
            (mount.is_shared, flag::SHARED),
            (mount.is_unbindable, flag::UNBINDABLE),
            (mount.mnt_master.is_some(), flag::SLAVE),
            (mount.is_idmapped, flag::IDMAPPED),
        ];
        for (is_so, bit) in facts {
            flags |= if is_so { bit } else { 0 };
        }
        let record = records::mount(self.header(walk, kind::MOUNT, flags), self, mnt);
        let ns = self.lost_ns(mnt);
        self.hooks.put(record, ns);
    }

    fn tell_super(&mut self, walk: &mut Walk, sb: Sb, is_stale: bool) {
        let super_block = &self[sb];
        let address = super_block.address;
        let fingerprint = Fingerprint {
            parent: u64::from(super_block.s_dev),
            text: super_block.fs_type.clone().into_bytes(),
            number: u64::from(super_block.s_flags),
            epoch: self.hooks.epoch,
        };
        if !is_stale {
            let is_seen = walk.flags & flag::TRANSACTION != 0 && !walk.seen.insert(address);
            if is_seen || self.hooks.told.get(&address) == Some(&fingerprint) {
                return;
            }
        }
        let stale = if is_stale { flag::OPTIONS_STALE } else { 0 };
        let flags = walk.flags & (flag::TRANSACTION | flag::SCAN) | stale;
        let record = records::super_block(self.header(walk, kind::SUPER, flags), self, sb);
        if self.hooks.put(record, walk.lost_ns) {
            self.remember(address, fingerprint);
        }
    }

    fn remember(&mut self, address: u64, fingerprint: Fingerprint) -> bool {
        let has_room =
            self.hooks.told.len() < TOLD_MAX as usize || self.hooks.told.contains_key(&address);
        if has_room {
            self.hooks.told.insert(address, fingerprint);
        }
        has_room
    }

    /// Tells a dentry and those above it that were not told as they are now.
    fn tell_chain(&mut self, walk: &mut Walk, dentry: Den, force: bool) {
        let (mut at, mut force) = (dentry, force);
        loop {
            let (address, parent) = (self[at].address, self[at].d_parent);
            let is_seen = walk.flags & flag::TRANSACTION != 0 && !walk.seen.insert(address);
            if is_seen && !force {
                return;
            }
            let fingerprint = Fingerprint {
                parent: self[parent].address,
                text: self[at].d_name.clone(),
                number: (self[at].ino << 1) | u64::from(self[at].is_deleted),
                epoch: self.hooks.epoch,
            };
            if force || self.hooks.told.get(&address) != Some(&fingerprint) {
                force = false;
                let flags = walk.flags & (flag::TRANSACTION | flag::SCAN);
                let stamp = self.header(walk, kind::DENTRY, flags);
                let record = records::dentry(stamp, self, at);
                if self.hooks.put(record, walk.lost_ns) && !self.remember(address, fingerprint) {
                    self.hooks.counted.dentries_untracked += 1;
                    self.hooks.untracked = true;
                }
            }
            if parent == at {
                return;
            }
            at = parent;
        }
    }

    fn commit(&mut self, hook: Hook, flags: u32) {
        let walk = self.begin(hook, flags, true);
        let stamp = self.header(&walk, kind::COMMIT, flags);
        let record = records::commit(stamp, self.hooks.counted.records_lost);
        if !self.hooks.push(record) {
            self.hooks.counted.commits_lost += 1;
        }
    }

    pub(super) fn hook_remount(&mut self, mnt: Mnt) {
        if self[mnt].mnt_ns.is_some() && self.hooks.runs() {
            let mut walk = self.begin(hook::REMOUNT, 0, false);
            walk.lost_ns = self.lost_ns(mnt);
            self.visit(&mut walk, mnt, 0);
            self.commit(hook::REMOUNT, 0);
        }
    }

    pub(super) fn hook_reconfigure(&mut self, sb: Sb) {
        if self.hooks.runs() {
            let mut walk = self.begin(hook::RECONFIGURE, 0, false);
            self.tell_super(&mut walk, sb, true);
            self.commit(hook::RECONFIGURE, 0);
        }
    }

    /// mount_setattr(2) returned: the caller's namespace is walked without the lock.
    pub(super) fn hook_setattr(&mut self, ns: Ns, hook: Hook) {
        if !self.hooks.runs() {
            return;
        }
        let Some(root) = self[ns].root else { return };
        if !self.hooks.pending.contains(&ns) {
            if self.hooks.pending.len() < PENDING_MAX {
                self.hooks.pending.push(ns);
            } else {
                self.hooks.counted.walks_cut += 1;
                let address = self[ns].address;
                self.hooks.lost.insert(address);
            }
        }
        let mut walk = self.begin(hook, 0, false);
        walk.lost_ns = self[ns].address;
        let root = Root { mnt: root, is_copy: false, is_single: false };
        self.walk_root(&mut walk, root);
        self.commit(hook, 0);
    }

    fn matters(&self, dentry: Den) -> bool {
        self.hooks.untracked || self.hooks.told.contains_key(&self[dentry].address)
    }

    pub(super) fn hook_rename(&mut self, dentry: Den, target: Option<Den>) {
        let told: Vec<Den> = [Some(dentry), target]
            .into_iter()
            .flatten()
            .filter(|dentry| self.matters(*dentry))
            .collect();
        if !self.hooks.runs() || told.is_empty() {
            return;
        }
        for dentry in told {
            let mut walk = self.begin(hook::RENAME, 0, false);
            self.tell_chain(&mut walk, dentry, true);
        }
        self.commit(hook::RENAME, 0);
    }

    pub(super) fn hook_delete(&mut self, dentry: Den) {
        if self.hooks.runs() && self.matters(dentry) && self[dentry].is_deleted {
            let mut walk = self.begin(hook::DELETE, 0, false);
            self.tell_chain(&mut walk, dentry, true);
            self.commit(hook::DELETE, 0);
        }
    }

    /// `show_mountinfo` for our own read.
    pub(super) fn hook_scan(&mut self, mnt: Mnt) {
        let skips = self.hooks.counted.recursion_misses;
        let runs = self.hooks.runs();
        self.hooks.counted.skips_in_scans += self.hooks.counted.recursion_misses - skips;
        if runs {
            let mut walk = self.begin(hook::SCAN, flag::SCAN, true);
            self.visit(&mut walk, mnt, 0);
        }
    }
}
