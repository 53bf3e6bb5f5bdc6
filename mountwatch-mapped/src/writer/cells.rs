//! The words of a table, as its writer reaches them.

use crate::layout::{
    DENTRY_WORDS, H_DENTRIES, H_EPOCH, H_FRESH_MAX_NS, H_IDS, H_MAGIC, H_MOUNTS, H_NAMES,
    H_NAMESPACE, H_NAMESPACE_ID, H_PLACES, H_SEED, H_STATE, H_STRINGS, H_SUPERS, H_VERSION,
    H_VIEWS, H_WORDS, HEADER_WORDS, MAGIC, MOUNT_WORDS, STATE_LIVE, SUPER_WORDS, VERSION, high,
    low, pair,
};
use crate::sys::Memory;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many of each a table has room for. What is not used takes address space, and no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Mounts.
    pub mounts: u32,
    /// Dentries: mountpoints, roots, and the directories on the way to them.
    pub dentries: u32,
    /// Super blocks.
    pub supers: u32,
    /// Words of texts: sources, types, options, long names.
    pub strings: u32,
}

/// Views that a table has room for.
pub(super) const VIEWS: u32 = 64;

impl Room {
    /// Room for twice as many mounts as there are.
    pub fn for_mounts(mounts: usize) -> Self {
        let mounts = u32::try_from(mounts).unwrap_or(u32::MAX / 16).saturating_mul(2) + 256;
        Self {
            mounts,
            dentries: mounts.saturating_mul(2),
            supers: mounts,
            strings: mounts.saturating_mul(32),
        }
    }

    /// After something had no room.
    #[must_use]
    pub fn doubled(self) -> Self {
        let twice = |count: u32| count.saturating_mul(2);
        Self {
            mounts: twice(self.mounts),
            dentries: twice(self.dentries),
            supers: twice(self.supers),
            strings: twice(self.strings),
        }
    }
}

/// Of which namespace a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Inode of the mount namespace.
    pub inode: u32,
    /// The ID that is never reused, if the kernel has one.
    pub id: Option<u64>,
    /// Random bits for the hashes: whoever chooses names must not know them.
    pub seed: u64,
    /// Random bits that tell tables apart.
    pub epoch: u64,
    /// How old the table may become before it counts as not kept any more, nanoseconds.
    pub fresh_max_ns: u64,
}

/// A region: its first word, and how many records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    pub(super) start: u32,
    pub(super) count: u32,
}

#[derive(Debug)]
pub(super) struct Cells {
    memory: Memory,
    pub(super) seed: u64,
    pub(super) names: Region,
    pub(super) places: Region,
    pub(super) ids: Region,
    pub(super) dentries: Region,
    pub(super) mounts: Region,
    pub(super) supers: Region,
    pub(super) strings: Region,
    pub(super) views: Region,
}

impl Cells {
    pub(super) fn create(identity: &Identity, room: Room) -> io::Result<(Self, OwnedFd)> {
        let mut end = u64::from(HEADER_WORDS);
        let mut region = |count: u32, words: u32| {
            let start = u32::try_from(end).unwrap_or(u32::MAX);
            // To whole cache lines.
            end = (end + u64::from(count) * u64::from(words)).next_multiple_of(8);
            Region { start, count }
        };
        let buckets = |records: u32| records.saturating_mul(2).checked_next_power_of_two();
        let buckets = |records| buckets(records).unwrap_or(1 << 31);
        let names = region(buckets(room.dentries), 1);
        let places = region(buckets(room.mounts), 1);
        let ids = region(buckets(room.mounts.saturating_mul(2)), 1);
        let dentries = region(room.dentries, DENTRY_WORDS);
        let mounts = region(room.mounts, MOUNT_WORDS);
        let supers = region(room.supers, SUPER_WORDS);
        let strings = region(room.strings, 1);
        let views = region(VIEWS, 1);
        if end >= u64::from(u32::MAX) {
            return Err(io::Error::other("the mount namespace is too large for a mapped table"));
        }
        let words = usize::try_from(end).map_err(io::Error::other)?;
        let (memory, file) = Memory::create(words)?;
        let seed = identity.seed;
        let cells =
            Self { memory, seed, names, places, ids, dentries, mounts, supers, strings, views };
        cells.put_header(identity, end);
        Ok((cells, file))
    }

    fn put_header(&self, identity: &Identity, words: u64) {
        let regions = [
            (H_NAMES, self.names),
            (H_PLACES, self.places),
            (H_IDS, self.ids),
            (H_DENTRIES, self.dentries),
            (H_MOUNTS, self.mounts),
            (H_SUPERS, self.supers),
            (H_STRINGS, self.strings),
            (H_VIEWS, self.views),
        ];
        for (at, region) in regions {
            self.header(at).store(pair(region.start, region.count), Ordering::Relaxed);
        }
        for (at, word) in [
            (H_VERSION, pair(VERSION, HEADER_WORDS)),
            (H_WORDS, words),
            (H_SEED, identity.seed),
            (H_NAMESPACE, u64::from(identity.inode)),
            (H_NAMESPACE_ID, identity.id.unwrap_or(0)),
            (H_EPOCH, identity.epoch),
            (H_FRESH_MAX_NS, identity.fresh_max_ns),
            (H_STATE, STATE_LIVE),
            (H_MAGIC, MAGIC),
        ] {
            self.header(at).store(word, Ordering::Relaxed);
        }
    }

    pub(super) fn header(&self, at: usize) -> &AtomicU64 {
        &self.memory.words()[at]
    }

    #[cfg(test)]
    pub(super) fn words(&self) -> &[AtomicU64] {
        self.memory.words()
    }

    pub(super) fn word(&self, at: u32) -> u64 {
        self.memory.words()[at as usize].load(Ordering::Relaxed)
    }

    pub(super) fn set_word(&self, at: u32, word: u64) {
        self.memory.words()[at as usize].store(word, Ordering::Relaxed);
    }

    /// A word of a record; records count from 1.
    pub(super) fn dentry(&self, slot: u32, field: u32) -> u32 {
        self.dentries.start + (slot - 1) * DENTRY_WORDS + field
    }

    pub(super) fn mount(&self, slot: u32, field: u32) -> u32 {
        self.mounts.start + (slot - 1) * MOUNT_WORDS + field
    }

    pub(super) fn super_block(&self, slot: u32, field: u32) -> u32 {
        self.supers.start + (slot - 1) * SUPER_WORDS + field
    }

    pub(super) fn low(&self, at: u32) -> u32 {
        low(self.word(at))
    }

    pub(super) fn high(&self, at: u32) -> u32 {
        high(self.word(at))
    }

    pub(super) fn set_low(&self, at: u32, value: u32) {
        self.set_word(at, pair(value, self.high(at)));
    }

    pub(super) fn set_high(&self, at: u32, value: u32) {
        self.set_word(at, pair(self.low(at), value));
    }
}
