//! One look at a table: loads that can give anything, since a writer may be at work, or the bytes
//! may be those of something else. No load is outside the memory, and every loop comes to an end.

use crate::layout::{
    D_NAME, D_PARENT, D_TEXT, DENTRY_KNOWN, DENTRY_LINKED, DENTRY_WORDS, H_DENTRIES, H_IDS,
    H_MOUNTS, H_NAMES, H_PLACES, H_SEED, H_SEQUENCE, H_STRINGS, H_SUPERS, H_VIEWS, H_WORDS,
    HEADER_WORDS, M_ATTRIBUTES, M_ID, M_PARENT, M_ROOT, M_UNIQUE_ID, MOUNT_LIVE, MOUNT_WORDS,
    NAME_INLINE_BYTES, SUPER_WORDS, hash_name, hash_pair, high, low, words_of,
};
use std::sync::atomic::{AtomicU64, Ordering};

/// What was read makes no sense: it is torn, or the table is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// What a look gives.
pub(super) type Look<T> = Result<T, Broken>;

/// A text longer than this is none: options and paths are a page or a few.
const TEXT_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Region {
    start: u32,
    pub(super) count: u32,
}

/// Where everything is. It never changes, and was looked at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Geometry {
    seed: u64,
    names: Region,
    places: Region,
    ids: Region,
    dentries: Region,
    pub(super) mounts: Region,
    supers: Region,
    strings: Region,
    pub(super) views: Region,
}

impl Geometry {
    /// Out of the header; `None` if regions are not inside the memory, or hash tables are none.
    pub(super) fn of(words: &[AtomicU64]) -> Option<Self> {
        let word = |at: usize| words.get(at).map(|word| word.load(Ordering::Relaxed));
        let all = word(H_WORDS)?.min(words.len() as u64);
        let region = |at, size: u32| {
            let (start, count) = (low(word(at)?), high(word(at)?));
            let end = u64::from(start) + u64::from(count) * u64::from(size);
            let is_inside = start >= HEADER_WORDS && end <= all && count > 0;
            is_inside.then_some(Region { start, count })
        };
        let buckets = |at| region(at, 1).filter(|region| region.count.is_power_of_two());
        Some(Self {
            seed: word(H_SEED)?,
            names: buckets(H_NAMES)?,
            places: buckets(H_PLACES)?,
            ids: buckets(H_IDS)?,
            dentries: region(H_DENTRIES, DENTRY_WORDS)?,
            mounts: region(H_MOUNTS, MOUNT_WORDS)?,
            supers: region(H_SUPERS, SUPER_WORDS)?,
            strings: region(H_STRINGS, 1)?,
            views: region(H_VIEWS, 1)?,
        })
    }
}

pub(super) struct Pass<'a> {
    words: &'a [AtomicU64],
    pub(super) geometry: &'a Geometry,
    /// Steps of loops that are left, until something is whole.
    steps: u64,
    /// The sequence with which this look began.
    begin: u64,
    /// The path has `..` in it, whatever the table says.
    pub(super) is_refused: bool,
}

/// How often, in steps, it is looked whether going on is of any use.
const STEPS_BETWEEN_LOOKS: u64 = 1_024;

impl<'a> Pass<'a> {
    pub(super) fn new(words: &'a [AtomicU64], geometry: &'a Geometry, begin: u64) -> Self {
        let mut pass = Self { words, geometry, steps: 0, begin, is_refused: false };
        pass.replenish();
        pass
    }

    /// Steps for one more walk, which visits everything a few times at most.
    pub(super) fn replenish(&mut self) {
        let records =
            u64::from(self.geometry.mounts.count) + u64::from(self.geometry.dentries.count);
        self.steps = 64 * records;
    }

    /// Each turn of a loop takes one: a damaged table may have loops that a tree does not have.
    pub(super) fn step(&mut self) -> Look<()> {
        self.steps = self.steps.checked_sub(1).ok_or(Broken)?;
        if self.steps.is_multiple_of(STEPS_BETWEEN_LOOKS) {
            let now = self.words.get(H_SEQUENCE).map(|word| word.load(Ordering::Relaxed));
            if now != Some(self.begin) {
                return Err(Broken);
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn word(&self, at: u32) -> Look<u64> {
        self.words.get(at as usize).map(|word| word.load(Ordering::Relaxed)).ok_or(Broken)
    }

    #[inline]
    fn record(region: Region, size: u32, slot: u32) -> Look<u32> {
        if slot == 0 || slot > region.count {
            return Err(Broken);
        }
        Ok(region.start + (slot - 1) * size)
    }

    #[inline]
    pub(super) fn dentry(&self, slot: u32, field: u32) -> Look<u64> {
        self.word(Self::record(self.geometry.dentries, DENTRY_WORDS, slot)? + field)
    }

    #[inline]
    pub(super) fn mount(&self, slot: u32, field: u32) -> Look<u64> {
        self.word(Self::record(self.geometry.mounts, MOUNT_WORDS, slot)? + field)
    }

    pub(super) fn super_block(&self, slot: u32, field: u32) -> Look<u64> {
        self.word(Self::record(self.geometry.supers, SUPER_WORDS, slot)? + field)
    }

    /// A mount and a dentry; `None` if nothing can be reached from there.
    pub(super) fn view(&self, number: u32) -> Look<Option<(u32, u32)>> {
        if number >= self.geometry.views.count {
            return Err(Broken);
        }
        let view = self.word(self.geometry.views.start + number)?;
        Ok((low(view) != 0).then_some((low(view), high(view))))
    }

    /// A text of the table.
    pub(super) fn text(&self, reference: u64) -> Look<Vec<u8>> {
        let (at, bytes) = (low(reference), high(reference) as usize);
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let region = self.geometry.strings;
        let words = bytes.div_ceil(8);
        let end = u64::from(at) + words as u64;
        if bytes > TEXT_BYTES_MAX
            || at < region.start
            || end > u64::from(region.start) + u64::from(region.count)
        {
            return Err(Broken);
        }
        let mut text = Vec::with_capacity(words * 8);
        self.push_bytes(at, bytes, &mut text)?;
        Ok(text)
    }

    fn push_bytes(&self, at: u32, bytes: usize, text: &mut Vec<u8>) -> Look<()> {
        let from = self.words.get(at as usize..at as usize + bytes.div_ceil(8)).ok_or(Broken)?;
        let end = text.len() + bytes;
        for word in from {
            text.extend_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        text.truncate(end);
        Ok(())
    }

    /// The first word of a dentry's name, and how many bytes it has.
    #[inline]
    fn name_at(&self, slot: u32, flags: u32) -> Look<(u32, usize)> {
        let bytes = (flags & 0xffff) as usize;
        let at = Self::record(self.geometry.dentries, DENTRY_WORDS, slot)? + D_TEXT;
        if bytes <= NAME_INLINE_BYTES { Ok((at, bytes)) } else { Ok((low(self.word(at)?), bytes)) }
    }

    pub(super) fn push_name(&self, slot: u32, text: &mut Vec<u8>) -> Look<()> {
        let (at, bytes) = self.name_at(slot, low(self.dentry(slot, D_NAME)?))?;
        self.push_bytes(at, bytes, text)
    }

    /// The path is none that can be asked about.
    pub(super) fn refuse<T>(&mut self) -> Look<T> {
        self.is_refused = true;
        Err(Broken)
    }

    pub(super) fn is_known(&self, slot: u32) -> Look<bool> {
        Ok(low(self.dentry(slot, D_NAME)?) & DENTRY_KNOWN != 0)
    }

    /// The child of a dentry with a name, and at how many mounts something is mounted on it.
    pub(super) fn child(&mut self, parent: u32, name: &[u8]) -> Look<Option<(u32, u32)>> {
        let hash = hash_name(self.geometry.seed, parent, name);
        let mut found = 0;
        let slot = self.find(self.geometry.names, hash, |pass, slot| {
            let word = pass.dentry(slot, D_NAME)?;
            let flags = low(word);
            if (flags & 0xffff) as usize != name.len()
                || flags & DENTRY_LINKED == 0
                || low(pass.dentry(slot, D_PARENT)?) != parent
            {
                return Ok(false);
            }
            let (at, bytes) = pass.name_at(slot, flags)?;
            let at = at as usize;
            let here = pass.words.get(at..at + bytes.div_ceil(8)).ok_or(Broken)?;
            found = high(word);
            Ok(here.iter().zip(words_of(name)).all(|(a, b)| a.load(Ordering::Relaxed) == b))
        })?;
        Ok(slot.map(|slot| (slot, found)))
    }

    /// The mount on top at a dentry of a mount.
    pub(super) fn mounted_at(&mut self, mount: u32, dentry: u32) -> Look<Option<u32>> {
        let hash = hash_pair(self.geometry.seed, u64::from(mount), u64::from(dentry));
        self.find(self.geometry.places, hash, |pass, slot| {
            Ok(low(pass.mount(slot, M_PARENT)?) == mount
                && high(pass.mount(slot, M_ROOT)?) == dentry)
        })
    }

    /// The mount with an ID.
    pub(super) fn with_id(&mut self, kind: u64, id: u64) -> Look<Option<u32>> {
        let hash = hash_pair(self.geometry.seed, kind, id);
        self.find(self.geometry.ids, hash, |pass, slot| {
            let known = if kind == crate::layout::ID_UNIQUE {
                pass.mount(slot, M_UNIQUE_ID)?
            } else {
                u64::from(low(pass.mount(slot, M_ID)?))
            };
            Ok(known == id && high(pass.mount(slot, M_ATTRIBUTES)?) & MOUNT_LIVE != 0)
        })
    }

    fn find(
        &mut self,
        table: Region,
        hash: u32,
        mut is_it: impl FnMut(&Self, u32) -> Look<bool>,
    ) -> Look<Option<u32>> {
        let mask = table.count - 1;
        let mut at = hash & mask;
        loop {
            let bucket = self.word(table.start + at)?;
            if bucket == 0 {
                return Ok(None);
            }
            if high(bucket) == hash && is_it(self, low(bucket))? {
                return Ok(Some(low(bucket)));
            }
            self.step()?;
            at = (at + 1) & mask;
        }
    }
}
