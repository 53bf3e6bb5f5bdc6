//! Dentries: the part of the kernel's dcache that the mounts of the namespace pin.

use super::{Full, Source, Writer, buckets};
use crate::layout::{
    D_NAME, D_OWN, D_PARENT, D_SIBLINGS, D_TEXT, DENTRY_DELETED, DENTRY_KNOWN, DENTRY_LINKED,
    DENTRY_LITERAL, NAME_INLINE_BYTES, hash_name, high, low, pair, words_of,
};

/// Longer names than this no file system has.
const NAME_BYTES_MAX: usize = 0xffff;

impl Writer {
    /// One reference more to a dentry, which is taken in if it is not there, with those above it.
    pub(super) fn hold_dentry<S: Source>(&mut self, source: &S, key: u64) -> Result<u32, Full> {
        let mut missing = Vec::new();
        let mut at = key;
        let mut above = loop {
            if let Some(slot) = self.dentry_slots.get(&at) {
                break *slot;
            }
            if missing.contains(&at) {
                break 0; // a loop, which a tree does not have
            }
            missing.push(at);
            match source.dentry(at) {
                Some(facts) if facts.parent != at => at = facts.parent,
                _ => break 0,
            }
        };
        while let Some(key) = missing.pop() {
            let slot = self.dentry_numbers.take(self.cells.dentries.count)?;
            self.dentry_slots.insert(key, slot);
            set_key(&mut self.dentry_keys, slot, key);
            self.cells.set_word(self.cells.dentry(slot, D_SIBLINGS), 0);
            self.cells.set_word(self.cells.dentry(slot, D_PARENT), 0);
            self.cells.set_word(self.cells.dentry(slot, D_NAME), 0);
            self.cells.set_word(self.cells.dentry(slot, D_OWN), 0);
            if !source.dentry(key).is_some_and(|facts| facts.is_known) {
                self.unknown.insert(key);
            }
            self.put_name(source, key, slot, above)?;
            above = slot;
        }
        self.refer(above, 1);
        Ok(above)
    }

    /// One reference less; what nobody refers to leaves, and perhaps what is above it.
    pub(super) fn release_dentry(&mut self, slot: u32) {
        let mut slot = slot;
        while slot != 0 && self.refer(slot, -1) == 0 {
            let parent = self.cells.low(self.cells.dentry(slot, D_PARENT));
            self.take_name(slot);
            if let Some(key) = self.dentry_keys.get(slot as usize) {
                self.dentry_slots.remove(key);
            }
            self.dentry_numbers.give_back(slot);
            slot = parent;
        }
    }

    /// A dentry was renamed, moved, deleted, or told at last. Gives its number if its parent is
    /// another.
    pub(super) fn rename<S: Source>(&mut self, source: &S, key: u64) -> Result<Option<u32>, Full> {
        let Some(slot) = self.dentry_slots.get(&key).copied() else { return Ok(None) };
        let parent = source.dentry(key).map_or(key, |facts| facts.parent);
        let above = if parent == key { 0 } else { self.hold_dentry(source, parent)? };
        let before = self.cells.low(self.cells.dentry(slot, D_PARENT));
        self.take_name(slot);
        self.put_name(source, key, slot, above)?;
        // `put_name` counted the new parent; the hold above was for the way there.
        self.release_dentry(above);
        self.release_dentry(before);
        Ok((above != before).then_some(slot))
    }

    fn refer(&mut self, slot: u32, by: i32) -> u32 {
        let at = self.cells.dentry(slot, D_OWN);
        let count = self.cells.low(at).wrapping_add_signed(by);
        self.cells.set_low(at, count);
        count
    }

    /// Writes what a dentry is, below a parent that is there, which gets a reference.
    fn put_name<S: Source>(
        &mut self,
        source: &S,
        key: u64,
        slot: u32,
        parent: u32,
    ) -> Result<(), Full> {
        let Some(facts) = source.dentry(key) else { return Ok(()) };
        let cells = &self.cells;
        let name = facts.name.get(..NAME_BYTES_MAX).unwrap_or(facts.name);
        let mut flags = u32::try_from(name.len()).unwrap_or(0);
        flags |= if facts.is_deleted { DENTRY_DELETED } else { 0 };
        flags |= if facts.is_literal { DENTRY_LITERAL } else { 0 };
        flags |= if facts.is_known { DENTRY_KNOWN } else { 0 };
        cells.set_low(cells.dentry(slot, D_NAME), flags);
        if name.len() > NAME_INLINE_BYTES {
            let text = self.strings.hold(cells, name)?;
            cells.set_word(cells.dentry(slot, D_TEXT), text);
        } else {
            for (number, word) in (0..).zip(words_of(name)) {
                cells.set_word(cells.dentry(slot, D_TEXT + number), word);
            }
        }
        if parent == 0 {
            return Ok(());
        }
        self.refer(parent, 1);
        self.put_below(slot, parent);
        if facts.is_linked {
            self.link(slot, parent, name);
        }
        Ok(())
    }

    fn put_below(&mut self, slot: u32, parent: u32) {
        let cells = &self.cells;
        let first = cells.high(cells.dentry(parent, D_PARENT));
        cells.set_low(cells.dentry(slot, D_PARENT), parent);
        cells.set_word(cells.dentry(slot, D_SIBLINGS), pair(first, 0));
        if first != 0 {
            cells.set_high(cells.dentry(first, D_SIBLINGS), slot);
        }
        cells.set_high(cells.dentry(parent, D_PARENT), slot);
    }

    /// Makes a dentry the one that is found by its name.
    fn link(&mut self, slot: u32, parent: u32, name: &[u8]) {
        let hash = hash_name(self.cells.seed, parent, name);
        let same = |other: u32| {
            self.cells.low(self.cells.dentry(other, D_PARENT)) == parent
                && self.name_of(other) == name
        };
        if let Some(other) = buckets::find(&self.cells, self.cells.names, hash, same) {
            self.unlink(other);
        }
        let cells = &self.cells;
        buckets::insert(cells, cells.names, hash, slot);
        let flags = cells.dentry(slot, D_NAME);
        cells.set_low(flags, cells.low(flags) | DENTRY_LINKED);
    }

    fn unlink(&self, slot: u32) {
        let cells = &self.cells;
        let flags = cells.dentry(slot, D_NAME);
        if cells.low(flags) & DENTRY_LINKED == 0 {
            return;
        }
        let parent = cells.low(cells.dentry(slot, D_PARENT));
        let hash = hash_name(cells.seed, parent, &self.name_of(slot));
        buckets::remove(cells, cells.names, hash, slot);
        cells.set_low(flags, cells.low(flags) & !DENTRY_LINKED);
    }

    /// Takes a dentry out of its parent's children; the reference to the parent stays.
    fn take_name(&mut self, slot: u32) {
        self.unlink(slot);
        let cells = &self.cells;
        let siblings = cells.word(cells.dentry(slot, D_SIBLINGS));
        let (next, previous) = (low(siblings), high(siblings));
        let parent = cells.low(cells.dentry(slot, D_PARENT));
        if previous != 0 {
            cells.set_low(cells.dentry(previous, D_SIBLINGS), next);
        } else if parent != 0 {
            cells.set_high(cells.dentry(parent, D_PARENT), next);
        }
        if next != 0 {
            cells.set_high(cells.dentry(next, D_SIBLINGS), previous);
        }
        cells.set_word(cells.dentry(slot, D_SIBLINGS), 0);
        cells.set_low(cells.dentry(slot, D_PARENT), 0);
        if name_bytes(cells.low(cells.dentry(slot, D_NAME))) > NAME_INLINE_BYTES {
            let text = cells.word(cells.dentry(slot, D_TEXT));
            self.strings.release(cells, text);
        }
    }

    fn name_of(&self, slot: u32) -> Vec<u8> {
        let cells = &self.cells;
        let bytes = name_bytes(cells.low(cells.dentry(slot, D_NAME)));
        let at = cells.dentry(slot, D_TEXT);
        let at = if bytes > NAME_INLINE_BYTES { cells.low(at) } else { at };
        super::strings::read(cells, pair(at, u32::try_from(bytes).unwrap_or(0)))
    }
}

fn name_bytes(flags: u32) -> usize {
    (flags & 0xffff) as usize
}

/// Keeps a key by the number of its record.
pub(super) fn set_key(keys: &mut Vec<u64>, slot: u32, key: u64) {
    let slot = slot as usize;
    if keys.len() <= slot {
        keys.resize(slot + 1, 0);
    }
    keys[slot] = key;
}
