//! Hash tables with open addressing: a bucket is a record's number and its whole hash, which also says
//! where the bucket belongs. Nothing is marked as deleted: what follows moves up.

use super::cells::{Cells, Region};
use crate::layout::{high, low, pair};

/// Tables are half full at most, since they have two buckets for each record.
pub(super) fn insert(cells: &Cells, table: Region, hash: u32, slot: u32) {
    let mask = table.count - 1;
    let mut at = hash & mask;
    while cells.word(table.start + at) != 0 {
        at = (at + 1) & mask;
    }
    cells.set_word(table.start + at, pair(slot, hash));
}

/// The first record with this hash that is the one.
pub(super) fn find(
    cells: &Cells,
    table: Region,
    hash: u32,
    is_it: impl Fn(u32) -> bool,
) -> Option<u32> {
    let mask = table.count - 1;
    let mut at = hash & mask;
    loop {
        let bucket = cells.word(table.start + at);
        if bucket == 0 {
            return None;
        }
        if high(bucket) == hash && is_it(low(bucket)) {
            return Some(low(bucket));
        }
        at = (at + 1) & mask;
    }
}

/// Takes out a record; whether it was there.
pub(super) fn remove(cells: &Cells, table: Region, hash: u32, slot: u32) -> bool {
    let mask = table.count - 1;
    let mut hole = hash & mask;
    loop {
        let bucket = cells.word(table.start + hole);
        if bucket == 0 {
            return false;
        }
        if bucket == pair(slot, hash) {
            break;
        }
        hole = (hole + 1) & mask;
    }
    let mut at = hole;
    loop {
        at = (at + 1) & mask;
        let bucket = cells.word(table.start + at);
        if bucket == 0 {
            break;
        }
        // It may move into the hole if that is not before its own place.
        let home = high(bucket) & mask;
        if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
            cells.set_word(table.start + hole, bucket);
            hole = at;
        }
    }
    cells.set_word(table.start + hole, 0);
    true
}
