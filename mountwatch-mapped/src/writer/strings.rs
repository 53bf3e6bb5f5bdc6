//! Texts and records: who has which number.

use super::Full;
use super::cells::Cells;
use crate::layout::{low, pair, words_of};
use std::collections::HashMap;

/// Numbers of records, from 1. Those that were given back are given again first.
#[derive(Debug, Default)]
pub(super) struct Slots {
    free: Vec<u32>,
    /// The highest that ever was.
    pub(super) highest: u32,
}

impl Slots {
    pub(super) fn take(&mut self, count: u32) -> Result<u32, Full> {
        if let Some(slot) = self.free.pop() {
            return Ok(slot);
        }
        if self.highest >= count {
            return Err(Full);
        }
        self.highest += 1;
        Ok(self.highest)
    }

    pub(super) fn give_back(&mut self, slot: u32) {
        self.free.push(slot);
    }
}

/// Texts are kept once, with a count of who uses them. Room that is free is used again for texts of
/// about the same length; when the rest is full too, a new table brings it together.
#[derive(Debug, Default)]
pub(super) struct Strings {
    known: HashMap<Box<[u8]>, (u32, u32)>,
    free: HashMap<u32, Vec<u32>>,
    used: u32,
}

impl Strings {
    /// The reference to a text: its first word, and how many bytes. An empty one is 0.
    pub(super) fn hold(&mut self, cells: &Cells, text: &[u8]) -> Result<u64, Full> {
        if text.is_empty() {
            return Ok(0);
        }
        let bytes = u32::try_from(text.len()).map_err(|_| Full)?;
        if let Some((at, uses)) = self.known.get_mut(text) {
            *uses += 1;
            return Ok(pair(*at, bytes));
        }
        let size = room_of(bytes);
        let at = match self.free.get_mut(&size).and_then(Vec::pop) {
            Some(at) => at,
            None if cells.strings.count - self.used >= size => {
                self.used += size;
                cells.strings.start + self.used - size
            }
            None => return Err(Full),
        };
        for (number, word) in (0..).zip(words_of(text)) {
            cells.set_word(at + number, word);
        }
        self.known.insert(text.into(), (at, 1));
        Ok(pair(at, bytes))
    }

    pub(super) fn release(&mut self, cells: &Cells, reference: u64) {
        let text = read(cells, reference);
        let Some((at, uses)) = self.known.get_mut(&text[..]) else { return };
        *uses -= 1;
        if *uses == 0 {
            let at = *at;
            self.known.remove(&text[..]);
            let size = room_of(u32::try_from(text.len()).unwrap_or(0));
            self.free.entry(size).or_default().push(at);
        }
    }
}

/// The words that a text takes: steps of an eighth of its size, so that few sizes are many.
fn room_of(bytes: u32) -> u32 {
    let words = bytes.div_ceil(8);
    let step = (words.next_power_of_two() / 8).max(1);
    words.next_multiple_of(step)
}

pub(super) fn read(cells: &Cells, reference: u64) -> Vec<u8> {
    let bytes = (reference >> 32) as usize;
    let words = (low(reference)..).take(bytes.div_ceil(8));
    let mut text: Vec<u8> = words.flat_map(|at| cells.word(at).to_ne_bytes()).collect();
    text.truncate(bytes);
    text
}
