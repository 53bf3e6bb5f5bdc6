//! Super blocks: what all mounts of a file system share.

use super::dentries::set_key;
use super::{Full, Source, Writer};
use crate::layout::{S_FLAGS, S_OPTIONS, S_OWN, S_TYPE, SUPER_OPTIONS_KNOWN, pair};

impl Writer {
    pub(super) fn hold_super<S: Source>(&mut self, source: &S, key: u64) -> Result<u32, Full> {
        let slot = if let Some(slot) = self.super_slots.get(&key) {
            *slot
        } else {
            let slot = self.super_numbers.take(self.cells.supers.count)?;
            self.super_slots.insert(key, slot);
            set_key(&mut self.super_keys, slot, key);
            for field in [S_TYPE, S_OPTIONS, S_FLAGS, S_OWN] {
                self.cells.set_word(self.cells.super_block(slot, field), 0);
            }
            self.change_super(source, key)?;
            slot
        };
        let at = self.cells.super_block(slot, S_OWN);
        self.cells.set_word(at, self.cells.word(at) + 1);
        Ok(slot)
    }

    pub(super) fn release_super(&mut self, slot: u32) {
        if slot == 0 {
            return;
        }
        let at = self.cells.super_block(slot, S_OWN);
        let references = self.cells.word(at).saturating_sub(1);
        self.cells.set_word(at, references);
        if references > 0 {
            return;
        }
        for field in [S_TYPE, S_OPTIONS] {
            let text = self.cells.word(self.cells.super_block(slot, field));
            self.strings.release(&self.cells, text);
        }
        if let Some(key) = self.super_keys.get(slot as usize) {
            self.super_slots.remove(key);
        }
        self.super_numbers.give_back(slot);
    }

    /// Flags, options or type are others. Gives its number if the type is.
    pub(super) fn change_super<S: Source>(
        &mut self,
        source: &S,
        key: u64,
    ) -> Result<Option<u32>, Full> {
        let Some(slot) = self.super_slots.get(&key).copied() else { return Ok(None) };
        let type_before = self.cells.word(self.cells.super_block(slot, S_TYPE));
        let facts = source.super_block(key).unwrap_or_default();
        let texts = [(S_TYPE, facts.fs_type), (S_OPTIONS, facts.options.unwrap_or_default())];
        for (field, text) in texts {
            let at = self.cells.super_block(slot, field);
            let before = self.cells.word(at);
            let now = self.strings.hold(&self.cells, text)?;
            self.cells.set_word(at, now);
            self.strings.release(&self.cells, before);
        }
        let known = if facts.options.is_some() { SUPER_OPTIONS_KNOWN } else { 0 };
        self.cells.set_word(self.cells.super_block(slot, S_FLAGS), pair(facts.flags, known));
        let fs_type = self.cells.word(self.cells.super_block(slot, S_TYPE));
        Ok((fs_type != type_before).then_some(slot))
    }
}
