//! Peer groups, masters and slaves: `fs/pnode.c` as it is since 6.17.

use super::copy::{CL_MAKE_SHARED, CL_SLAVE};
use super::kernel::{Den, Kernel, MNT_UMOUNT, Mnt, Ns, Path, Result};
use crate::command::Propagation;

impl Kernel {
    pub(super) fn peers(&self, one: Mnt, other: Mnt) -> bool {
        self[one].mnt_group_id != 0 && self[one].mnt_group_id == self[other].mnt_group_id
    }

    /// The ring of peers from this mount on.
    pub(super) fn ring(&self, mnt: Mnt) -> Vec<Mnt> {
        let mut ring = vec![mnt];
        let mut next = self[mnt].next_peer;
        while next != mnt {
            ring.push(next);
            next = self[next].next_peer;
        }
        ring
    }

    pub(super) fn join_ring(&mut self, mnt: Mnt, behind: Mnt) {
        let next = self[behind].next_peer;
        self[behind].next_peer = mnt;
        self[mnt].previous_peer = behind;
        self[mnt].next_peer = next;
        self[next].previous_peer = mnt;
    }

    fn leave_ring(&mut self, mnt: Mnt) {
        let (previous, next) = (self[mnt].previous_peer, self[mnt].next_peer);
        self[previous].next_peer = next;
        self[next].previous_peer = previous;
        self[mnt].next_peer = mnt;
        self[mnt].previous_peer = mnt;
    }

    pub(super) fn become_slave_behind(&mut self, mnt: Mnt, behind: Mnt) {
        let Some(master) = self[behind].mnt_master else { return };
        self[mnt].mnt_master = Some(master);
        let list = &mut self[master].mnt_slave_list;
        let at = list.iter().position(|slave| *slave == behind).map_or(0, |at| at + 1);
        list.insert(at, mnt);
    }

    pub(super) fn become_first_slave(&mut self, mnt: Mnt, master: Mnt) {
        self[mnt].mnt_master = Some(master);
        self[master].mnt_slave_list.insert(0, mnt);
    }

    /// Off the list of its master; `mnt_master` stays as it is.
    fn leave_slave_list(&mut self, mnt: Mnt) {
        if let Some(master) = self[mnt].mnt_master {
            self[master].mnt_slave_list.retain(|slave| *slave != mnt);
        }
    }

    pub(super) fn mnt_alloc_group_id(&mut self, mnt: Mnt) {
        self[mnt].mnt_group_id = self.group_ids.take(1);
    }

    pub(super) fn mnt_release_group_id(&mut self, mnt: Mnt) {
        self.hook_group_dead(mnt);
        let group = self[mnt].mnt_group_id;
        self.group_ids.give_back(group);
        self[mnt].mnt_group_id = 0;
    }

    /// `set_mnt_shared`: a shared mount is not unbindable.
    pub(super) fn set_mnt_shared(&mut self, mnt: Mnt) {
        self[mnt].is_shared = true;
        self[mnt].is_unbindable = false;
    }

    pub(super) fn invent_group_ids(&mut self, mnt: Mnt, recurse: bool) {
        let mounts = if recurse { self.tree(mnt) } else { vec![mnt] };
        for mnt in mounts {
            if self[mnt].mnt_group_id == 0 {
                self.mnt_alloc_group_id(mnt);
            }
        }
    }

    pub(super) fn cleanup_group_ids(&mut self, mnt: Mnt) {
        for mnt in self.tree(mnt) {
            if self[mnt].mnt_group_id != 0 && !self[mnt].is_shared {
                self.mnt_release_group_id(mnt);
            }
        }
    }

    fn transfer_propagation(&mut self, mnt: Mnt, to: Option<Mnt>) {
        let slaves = std::mem::take(&mut self[mnt].mnt_slave_list);
        for slave in &slaves {
            self[*slave].mnt_master = to;
        }
        if let Some(to) = to {
            self[to].mnt_slave_list.splice(0..0, slaves);
        }
    }

    pub(super) fn change_mnt_propagation(&mut self, mnt: Mnt, to: Propagation) {
        if to == Propagation::Shared {
            self.set_mnt_shared(mnt);
            self.hook_propagation(mnt);
            return;
        }
        let mut master = self[mnt].mnt_master;
        self.leave_slave_list(mnt);
        if self[mnt].is_shared {
            if self[mnt].next_peer == mnt {
                self.mnt_release_group_id(mnt);
            } else {
                master = Some(self[mnt].next_peer);
                self.leave_ring(mnt);
                self[mnt].mnt_group_id = 0;
            }
            self[mnt].is_shared = false;
            self.transfer_propagation(mnt, master);
        }
        self[mnt].mnt_master = None;
        if to == Propagation::Slave {
            if let Some(master) = master {
                self.become_first_slave(mnt, master);
            }
        } else {
            self[mnt].is_unbindable = to == Propagation::Unbindable;
        }
        self.hook_propagation(mnt);
    }

    fn is_going(&self, mnt: Mnt) -> bool {
        self[mnt].mnt_flags & MNT_UMOUNT != 0
    }

    /// Takes a mount, and those that it would hand its slaves to, out of rings and lists, until
    /// one is found that stays.
    fn trace_transfers(&mut self, mnt: Mnt) -> Option<Mnt> {
        let mut mnt = mnt;
        loop {
            self.leave_slave_list(mnt);
            let peer = self[mnt].next_peer;
            let heir = if peer == mnt {
                if self[mnt].is_shared {
                    self.mnt_release_group_id(mnt);
                }
                self[mnt].mnt_master
            } else {
                self.leave_ring(mnt);
                self[mnt].mnt_group_id = 0;
                self[mnt].mnt_master = Some(peer);
                Some(peer)
            };
            self[mnt].is_shared = false;
            self[mnt].is_marked = true;
            let heir = heir?;
            if !self.is_going(heir) {
                return Some(heir);
            }
            if self[heir].is_marked {
                return self[heir].mnt_master;
            }
            mnt = heir;
        }
    }

    /// What one umount takes away leaves its groups at once, so that slaves that stay get a
    /// master that stays.
    pub(super) fn bulk_make_private(&mut self, set: &[Mnt]) {
        self.hook_bulk_private(set);
        for mnt in set {
            if self[*mnt].is_marked {
                continue;
            }
            let master = self.trace_transfers(*mnt);
            let mut at = *mnt;
            while self[at].mnt_master != master {
                let Some(next) = self[at].mnt_master else { break };
                self[at].mnt_master = master;
                at = next;
            }
        }
        for mnt in set {
            let master = self[*mnt].mnt_master;
            self.transfer_propagation(*mnt, master);
            self[*mnt].mnt_master = None;
            self[*mnt].is_marked = false;
        }
    }

    /// Every mount that receives from this one, itself left out: each one's slaves before its
    /// next sibling.
    pub(super) fn receivers(&self, origin: Mnt) -> Vec<Mnt> {
        let mut found = Vec::new();
        for peer in self.ring(origin) {
            if peer != origin {
                found.push(peer);
            }
            self.add_slaves(peer, &mut found);
        }
        found
    }

    fn add_slaves(&self, mnt: Mnt, found: &mut Vec<Mnt>) {
        if self[mnt].mnt_ns.is_none() {
            return;
        }
        for slave in &self[mnt].mnt_slave_list {
            found.push(*slave);
            self.add_slaves(*slave, found);
        }
    }

    /// The peer groups that receive from this mount's, depth first; its own is the first one.
    fn groups(&self, origin: Mnt) -> Vec<Vec<Mnt>> {
        let mut found = Vec::new();
        self.add_groups(origin, &mut found);
        found
    }

    fn add_groups(&self, first: Mnt, found: &mut Vec<Vec<Mnt>>) {
        let ring = self.ring(first);
        found.push(ring.clone());
        for peer in ring {
            if self[peer].mnt_ns.is_none() {
                continue;
            }
            let slaves = &self[peer].mnt_slave_list;
            for (at, slave) in slaves.iter().enumerate() {
                // Peers stand side by side on the list of their master.
                let is_first = at == 0 || !self.peers(slaves[at - 1], *slave);
                if is_first {
                    self.add_groups(*slave, found);
                }
            }
        }
    }

    fn need_secondary(&self, mnt: Mnt, dentry: Den) -> bool {
        self[mnt].mnt_ns.is_some_and(|ns| !self[ns].is_anon)
            && self.is_subdir(dentry, self[mnt].mnt_root)
    }

    /// The copy that a copy for this receiver has to be a slave of.
    fn find_master(&self, receiver: Mnt, last_copy: Mnt, original: Mnt) -> Mnt {
        let mut mnt = receiver;
        let mut master = self[mnt].mnt_master;
        while let Some(up) = master {
            if self[up].is_marked {
                break;
            }
            mnt = up;
            master = self[mnt].mnt_master;
        }
        let mut copy = last_copy;
        while !self.peers(copy, original) {
            let parent = self[copy].mnt_parent;
            let Some(up) = self[copy].mnt_master else { break };
            if self[parent].mnt_master == master {
                if !self.peers(parent, mnt) {
                    copy = up;
                }
                break;
            }
            copy = up;
        }
        copy
    }

    /// Copies of a tree for every mount that receives from its destination: not attached yet.
    pub(super) fn propagate_mnt(
        &mut self,
        dest: Mnt,
        dentry: Den,
        source: Mnt,
    ) -> (Vec<Mnt>, Result<()>) {
        let mut copies = Vec::new();
        let mut marked: Vec<Mnt> = self[dest].mnt_master.into_iter().collect();
        let mut copy = source;
        let mut result = Ok(());
        for master in &marked {
            self[*master].is_marked = true;
        }
        'all: for group in self.groups(dest) {
            let is_own = group[0] == dest;
            if is_own {
                copy = source;
            }
            let mut flags = if is_own { CL_MAKE_SHARED } else { CL_SLAVE };
            if !is_own && self[group[0]].is_shared {
                flags |= CL_MAKE_SHARED;
            }
            for receiver in group.into_iter().skip(usize::from(is_own)) {
                if !self.need_secondary(receiver, dentry) {
                    continue;
                }
                if flags & CL_SLAVE != 0 {
                    copy = self.find_master(receiver, copy, source);
                }
                let root = self[copy].mnt_root;
                match self.copy_tree(copy, root, flags) {
                    Ok(made) => copy = made,
                    Err(error) => {
                        result = Err(error);
                        break 'all;
                    }
                }
                self.mnt_set_mountpoint(receiver, dentry, copy);
                if let Some(master) = self[receiver].mnt_master {
                    self[master].is_marked = true;
                    marked.push(master);
                }
                copies.push(copy);
                flags = CL_MAKE_SHARED;
            }
        }
        for master in marked {
            self[master].is_marked = false;
        }
        copies.reverse();
        (copies, result)
    }

    pub(super) fn propagation_would_overmount(&self, from: Mnt, to: Mnt, dentry: Den) -> bool {
        if !self[from].is_shared || self[to].mnt_root != dentry {
            return false;
        }
        let mut at = Some(to);
        while let Some(mnt) = at {
            if self.peers(from, mnt) {
                return true;
            }
            at = self[mnt].mnt_master;
        }
        false
    }

    /// The nearest group up the chain of masters with a member in this namespace that the root
    /// directory reaches: what `propagate_from` says.
    pub(super) fn get_dominating_id(&self, mnt: Mnt, ns: Ns, root: Path) -> u32 {
        let mut master = self[mnt].mnt_master;
        while let Some(up) = master {
            let found = self.ring(up).into_iter().find(|peer| {
                self[*peer].mnt_ns == Some(ns)
                    && self.is_path_reachable(*peer, self[*peer].mnt_root, root)
            });
            if let Some(found) = found {
                return self[found].mnt_group_id;
            }
            master = self[up].mnt_master;
        }
        0
    }
}
