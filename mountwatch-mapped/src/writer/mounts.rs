//! Mounts: records, the lists that they are in, and the places where they sit.

use super::dentries::set_key;
use super::{Full, MountFacts, Source, Writer, buckets};
use crate::layout::{
    D_NAME, D_OWN, ID_REUSED, ID_UNIQUE, M_ATTRIBUTES, M_COVERS, M_GROUPS, M_ID, M_PARENT, M_ROOT,
    M_SHOWN, M_SIBLINGS, M_SOURCE, M_SUPER, M_UNIQUE_ID, MOUNT_LIVE, MOUNT_UNBINDABLE, hash_pair,
    high, low, pair,
};
use std::collections::{HashMap, HashSet};

/// Keys of a mount and a dentry of it.
type Place = (u64, u64);

/// What a record refers to.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    root: u32,
    mountpoint: u32,
    super_block: u32,
    source: u64,
}

impl Writer {
    /// Brings mounts to what they are now. Notes the dentries that they show now, and showed before.
    pub(super) fn mounts<S: Source>(
        &mut self,
        source: &S,
        touched: &[u64],
        roots: &mut HashMap<u64, bool>,
    ) -> Result<(), Full> {
        let (mut places, mut held) = (HashSet::new(), Vec::new());
        let mut there = Vec::new();
        // First all that they were: then no list has a mount at two places.
        for key in touched {
            if let Some(slot) = self.mount_slots.get(key).copied() {
                let before = self.take_out(slot, &mut places);
                let root = self.dentry_keys.get(before.root as usize);
                let super_block = self.super_keys.get(before.super_block as usize);
                if let (Some(root), Some(super_block)) = (root, super_block) {
                    *roots.entry(*root).or_default() |= source.is_partly_mounted(*super_block);
                }
                held.push(before);
                if source.mount(*key).is_none() {
                    self.drop_mount(*key, slot, &mut places);
                }
            } else if source.mount(*key).is_some() {
                self.new_mount(*key)?;
                there.push(*key);
            }
        }
        for key in touched {
            let (Some(slot), Some(facts)) = (self.mount_slots.get(key), source.mount(*key)) else {
                continue;
            };
            *roots.entry(facts.root).or_default() |= source.is_partly_mounted(facts.super_block);
            let slot = *slot;
            if self.cells.low(self.cells.mount(slot, M_ROOT)) == 0 {
                self.put_in(source, *key, slot, &facts, &mut places)?;
            }
        }
        self.adopt(source, &there, &mut places);
        for before in held {
            self.release(before);
        }
        for place in places {
            self.put_place(source, place);
        }
        Ok(())
    }

    fn new_mount(&mut self, key: u64) -> Result<(), Full> {
        let slot = self.mount_numbers.take(self.cells.mounts.count)?;
        self.mount_slots.insert(key, slot);
        set_key(&mut self.mount_keys, slot, key);
        for field in 0..crate::layout::MOUNT_WORDS {
            self.cells.set_word(self.cells.mount(slot, field), 0);
        }
        Ok(())
    }

    /// Takes a mount out of every list but that of its children.
    fn take_out(&mut self, slot: u32, places: &mut HashSet<Place>) -> Held {
        let cells = &self.cells;
        let word = |field| cells.word(cells.mount(slot, field));
        let roots = word(M_ROOT);
        let held = Held {
            root: low(roots),
            mountpoint: high(roots),
            super_block: low(word(M_SUPER)),
            source: word(M_SOURCE),
        };
        for (kind, id) in [(ID_REUSED, u64::from(low(word(M_ID)))), (ID_UNIQUE, word(M_UNIQUE_ID))]
        {
            buckets::remove(cells, cells.ids, hash_pair(cells.seed, kind, id), slot);
        }
        self.leave_parent(slot, places);
        self.leave_shown(slot, held.root);
        self.cells.set_word(self.cells.mount(slot, M_ROOT), 0);
        held
    }

    fn drop_mount(&mut self, key: u64, slot: u32, places: &mut HashSet<Place>) {
        loop {
            let child = self.cells.high(self.cells.mount(slot, M_PARENT));
            if child == 0 {
                break;
            }
            self.leave_parent(child, places);
        }
        self.cells.set_word(self.cells.mount(slot, M_ATTRIBUTES), 0);
        self.mount_slots.remove(&key);
        self.mount_numbers.give_back(slot);
    }

    fn put_in<S: Source>(
        &mut self,
        source: &S,
        key: u64,
        slot: u32,
        facts: &MountFacts<'_>,
        places: &mut HashSet<Place>,
    ) -> Result<(), Full> {
        let root = self.hold_dentry(source, facts.root)?;
        let mountpoint = self.hold_dentry(source, facts.mountpoint)?;
        let super_block = self.hold_super(source, facts.super_block)?;
        let text = self.strings.hold(&self.cells, facts.source)?;
        let cells = &self.cells;
        let flags = MOUNT_LIVE | if facts.is_unbindable { MOUNT_UNBINDABLE } else { 0 };
        for (field, word) in [
            (M_ID, pair(facts.id, facts.parent_id)),
            (M_UNIQUE_ID, facts.unique_id.unwrap_or(0)),
            (M_ROOT, pair(root, mountpoint)),
            (M_ATTRIBUTES, pair(facts.attributes, flags)),
            (M_GROUPS, pair(facts.peer_group, facts.master)),
            (M_SOURCE, text),
            (M_COVERS, pair(0, facts.device)),
        ] {
            cells.set_word(cells.mount(slot, field), word);
        }
        cells.set_low(cells.mount(slot, M_SUPER), super_block);
        let unique = facts.unique_id.map(|id| (ID_UNIQUE, id));
        for (kind, id) in [Some((ID_REUSED, u64::from(facts.id))), unique].into_iter().flatten() {
            buckets::insert(cells, cells.ids, hash_pair(cells.seed, kind, id), slot);
        }
        let first = cells.high(cells.dentry(root, D_OWN));
        cells.set_word(cells.mount(slot, M_SHOWN), pair(first, 0));
        if first != 0 {
            cells.set_high(cells.mount(first, M_SHOWN), slot);
        }
        cells.set_high(cells.dentry(root, D_OWN), slot);
        self.join_parent(key, slot, facts, places);
        Ok(())
    }

    fn join_parent(
        &self,
        key: u64,
        slot: u32,
        facts: &MountFacts<'_>,
        places: &mut HashSet<Place>,
    ) {
        let Some(parent_key) = facts.parent.filter(|parent| *parent != key) else { return };
        let Some(parent) = self.mount_slots.get(&parent_key).copied() else { return };
        let cells = &self.cells;
        let first = cells.high(cells.mount(parent, M_PARENT));
        cells.set_low(cells.mount(slot, M_PARENT), parent);
        cells.set_word(cells.mount(slot, M_SIBLINGS), pair(first, 0));
        if first != 0 {
            cells.set_high(cells.mount(first, M_SIBLINGS), slot);
        }
        cells.set_high(cells.mount(parent, M_PARENT), slot);
        places.insert((parent_key, facts.mountpoint));
    }

    /// Mounts that were there before the one on which they sit.
    fn adopt<S: Source>(&self, source: &S, there: &[u64], places: &mut HashSet<Place>) {
        for key in there {
            for child in source.children(*key) {
                let Some(slot) = self.mount_slots.get(&child).copied() else { continue };
                let Some(facts) = source.mount(child) else { continue };
                if self.cells.low(self.cells.mount(slot, M_PARENT)) == 0 {
                    self.join_parent(child, slot, &facts, places);
                }
            }
        }
    }

    fn leave_parent(&self, slot: u32, places: &mut HashSet<Place>) {
        let cells = &self.cells;
        let parent = cells.low(cells.mount(slot, M_PARENT));
        if parent == 0 {
            return;
        }
        let mountpoint = cells.high(cells.mount(slot, M_ROOT));
        self.take_place(parent, mountpoint);
        let keys =
            (self.mount_keys.get(parent as usize), self.dentry_keys.get(mountpoint as usize));
        if let (Some(mount), Some(dentry)) = keys {
            places.insert((*mount, *dentry));
        }
        let siblings = cells.word(cells.mount(slot, M_SIBLINGS));
        let (next, previous) = (low(siblings), high(siblings));
        if previous != 0 {
            cells.set_low(cells.mount(previous, M_SIBLINGS), next);
        } else {
            cells.set_high(cells.mount(parent, M_PARENT), next);
        }
        if next != 0 {
            cells.set_high(cells.mount(next, M_SIBLINGS), previous);
        }
        cells.set_low(cells.mount(slot, M_PARENT), 0);
        cells.set_word(cells.mount(slot, M_SIBLINGS), 0);
    }

    fn leave_shown(&self, slot: u32, root: u32) {
        let cells = &self.cells;
        let shown = cells.word(cells.mount(slot, M_SHOWN));
        let (next, previous) = (low(shown), high(shown));
        if previous != 0 {
            cells.set_low(cells.mount(previous, M_SHOWN), next);
        } else if root != 0 {
            cells.set_high(cells.dentry(root, D_OWN), next);
        }
        if next != 0 {
            cells.set_high(cells.mount(next, M_SHOWN), previous);
        }
        cells.set_word(cells.mount(slot, M_SHOWN), 0);
    }

    fn release(&mut self, held: Held) {
        if held.root != 0 {
            self.release_dentry(held.root);
            self.release_dentry(held.mountpoint);
            self.release_super(held.super_block);
            self.strings.release(&self.cells, held.source);
        }
    }

    /// The record on top at a place is no longer found there.
    fn take_place(&self, parent: u32, dentry: u32) {
        let cells = &self.cells;
        let hash = hash_pair(cells.seed, u64::from(parent), u64::from(dentry));
        let is_here = |slot: u32| {
            cells.low(cells.mount(slot, M_PARENT)) == parent
                && cells.high(cells.mount(slot, M_ROOT)) == dentry
        };
        if let Some(top) = buckets::find(cells, cells.places, hash, is_here) {
            buckets::remove(cells, cells.places, hash, top);
            let count = cells.dentry(dentry, D_NAME);
            cells.set_high(count, cells.high(count) - 1);
        }
    }

    /// Writes what is at a place now: the mount on top, and what it covers.
    fn put_place<S: Source>(&self, source: &S, place: Place) {
        let cells = &self.cells;
        let keys = (self.mount_slots.get(&place.0), self.dentry_slots.get(&place.1));
        let (Some(parent), Some(dentry)) = keys else { return };
        let (parent, dentry) = (*parent, *dentry);
        self.take_place(parent, dentry);
        let mut below = 0;
        for key in source.mounted_at(place.0, place.1) {
            let Some(slot) = self.mount_slots.get(&key).copied() else { continue };
            if cells.low(cells.mount(slot, M_PARENT)) == parent
                && cells.high(cells.mount(slot, M_ROOT)) == dentry
            {
                cells.set_low(cells.mount(slot, M_COVERS), below);
                below = slot;
            }
        }
        if below != 0 {
            let hash = hash_pair(cells.seed, u64::from(parent), u64::from(dentry));
            buckets::insert(cells, cells.places, hash, below);
            let count = cells.dentry(dentry, D_NAME);
            cells.set_high(count, cells.high(count) + 1);
        }
    }
}
