//! The writer: mirrors the mounts of one namespace into shared memory, change by change.
//!
//! Work is done for what changed: a mount that moves with a tree of 200 below it is one record, since
//! paths are not stored. Nothing is copied. A table that is full is left behind, and a larger one made.

mod buckets;
mod cells;
mod dentries;
mod judge;
mod mounts;
mod strings;
mod supers;

pub use cells::{Identity, Room};

use crate::layout::{
    H_COUNTS, H_COVERAGE, H_FRESH_NS, H_REVISION, H_SENTENCES, H_SEQUENCE, H_STATE, pair,
};
use crate::sequence;
use cells::Cells;
use judge::Cases;
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use strings::{Slots, Strings};
use thiserror::Error;

/// There is no room for something: make a table with twice the [`Room`], and mark this one as moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the mapped table is full")]
pub struct Full;

/// A dentry, as the index has it.
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
#[derive(Clone, Copy, Debug)]
pub struct DentryFacts<'a> {
    /// Its parent; itself for a root of a file system.
    pub parent: u64,
    /// Its name.
    pub name: &'a [u8],
    /// It is deleted.
    pub is_deleted: bool,
    /// The name is the whole root field of mountinfo(5).
    pub is_literal: bool,
    /// It was told.
    pub is_known: bool,
    /// It is the one that is found by this name below its parent.
    pub is_linked: bool,
}

/// A mount, as the index has it.
#[derive(Clone, Copy, Debug)]
pub struct MountFacts<'a> {
    /// Mount ID.
    pub id: u32,
    /// Mount ID of the parent.
    pub parent_id: u32,
    /// Unique mount ID.
    pub unique_id: Option<u64>,
    /// The mount on which it sits; `None` if on none.
    pub parent: Option<u64>,
    /// The dentry that it shows.
    pub root: u64,
    /// The dentry on which it sits.
    pub mountpoint: u64,
    /// Its super block.
    pub super_block: u64,
    /// Device of that.
    pub device: u32,
    /// Attributes, as the kernel numbers them.
    pub attributes: u32,
    /// Peer group; 0 for none.
    pub peer_group: u32,
    /// Master; 0 for none.
    pub master: u32,
    /// It is unbindable.
    pub is_unbindable: bool,
    /// What was mounted.
    pub source: &'a [u8],
}

/// A super block, as the index has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SuperFacts<'a> {
    /// Type of the file system.
    pub fs_type: &'a [u8],
    /// Options as the file system prints them, if they are known.
    pub options: Option<&'a [u8]>,
    /// Flags, as the kernel numbers them.
    pub flags: u32,
}

/// The index, seen from one mount namespace. Keys are any numbers; they do not get into the table.
pub trait Source {
    /// A mount, if it is in the namespace.
    fn mount(&self, key: u64) -> Option<MountFacts<'_>>;
    /// A dentry.
    fn dentry(&self, key: u64) -> Option<DentryFacts<'_>>;
    /// A super block.
    fn super_block(&self, key: u64) -> Option<SuperFacts<'_>>;
    /// The mounts at a dentry of a mount, the one on top last.
    fn mounted_at(&self, mount: u64, dentry: u64) -> Vec<u64>;
    /// The mounts that sit on one.
    fn children(&self, mount: u64) -> Vec<u64>;
    /// Why a mount counts as a bind mount: [`crate::layout::BIND_NOT`] and its kin.
    fn bind(&self, mount: u64) -> u32;
    /// Whether that depends on mounts of directories above, in this file system.
    fn is_partly_mounted(&self, super_block: u64) -> bool;
}

/// What is different from what was written last. More than that does no harm.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// Mounts that came, left, moved or changed.
    pub mounts: Vec<u64>,
    /// Dentries that were renamed, moved or deleted.
    pub dentries: Vec<u64>,
    /// Super blocks with other flags, options or type.
    pub supers: Vec<u64>,
    /// Dentries that mounts of other namespaces show since, or showed until then.
    pub shown_elsewhere: Vec<u64>,
}

/// What an answer from the table rests on.
#[derive(Clone, Copy, Debug)]
pub struct Footing<'a> {
    /// Revision of the index.
    pub revision: u64,
    /// Coverage: [`crate::layout::COVERAGE_COMPLETE`] and its kin.
    pub coverage: u32,
    /// What cannot be seen.
    pub sentences: &'a [String],
    /// What somebody sees who enters the namespace: a mount and a dentry.
    pub view: Option<(u64, u64)>,
}

/// The one writer of one table.
#[derive(Debug)]
pub struct Writer {
    cells: Cells,
    file: OwnedFd,
    dentry_slots: HashMap<u64, u32>,
    dentry_keys: Vec<u64>,
    dentry_numbers: Slots,
    mount_slots: HashMap<u64, u32>,
    mount_keys: Vec<u64>,
    mount_numbers: Slots,
    super_slots: HashMap<u64, u32>,
    super_keys: Vec<u64>,
    super_numbers: Slots,
    strings: Strings,
    /// Dentries that nobody told yet.
    unknown: HashSet<u64>,
    sentences: Vec<u8>,
    views: Vec<View>,
}

impl Writer {
    /// An empty table.
    pub fn create(identity: &Identity, room: Room) -> io::Result<Self> {
        let (cells, file) = Cells::create(identity, room)?;
        Ok(Self {
            cells,
            file,
            dentry_slots: HashMap::new(),
            dentry_keys: Vec::new(),
            dentry_numbers: Slots::default(),
            mount_slots: HashMap::new(),
            mount_keys: Vec::new(),
            mount_numbers: Slots::default(),
            super_slots: HashMap::new(),
            super_keys: Vec::new(),
            super_numbers: Slots::default(),
            strings: Strings::default(),
            unknown: HashSet::new(),
            sentences: Vec::new(),
            views: vec![View::default()],
        })
    }

    #[cfg(test)]
    pub(crate) fn words(&self) -> &[std::sync::atomic::AtomicU64] {
        self.cells.words()
    }

    /// The memory, sealed: whoever gets it can read.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// How many mounts are in the table.
    pub fn mount_count(&self) -> usize {
        self.mount_slots.len()
    }

    /// Bytes of memory that the table takes: pages that were never touched take none.
    pub fn memory_bytes(&self) -> io::Result<u64> {
        let blocks = rustix::fs::fstat(&self.file)?.st_blocks;
        Ok(u64::try_from(blocks).unwrap_or(0) * 512)
    }

    /// Writes one step. Readers see all of it or nothing. After [`Full`] the table is of no use:
    /// readers wait until it is marked as moved.
    pub fn apply<S: Source>(
        &mut self,
        source: &S,
        touched: &Touched,
        footing: &Footing<'_>,
    ) -> Result<(), Full> {
        let odd = sequence::begin_write(self.cells.header(H_SEQUENCE));
        let mut cases = Cases::default();
        self.mounts(source, &touched.mounts, &mut cases.roots)?;
        self.dentries(source, &touched.dentries, &mut cases.moved)?;
        for key in &touched.supers {
            cases.retyped.extend(self.change_super(source, *key)?);
        }
        self.judge(source, touched, &cases);
        self.put_footing(source, footing)?;
        sequence::end_write(self.cells.header(H_SEQUENCE), odd);
        Ok(())
    }

    /// What was over before this moment (CLOCK_MONOTONIC) is in the table: it is kept.
    pub fn fresh(&self, at_ns: u64) {
        self.cells.header(H_FRESH_NS).store(at_ns, Ordering::Release);
    }

    /// Says to readers that this table is no longer the one: [`crate::layout::STATE_MOVED`] or
    /// [`crate::layout::STATE_CLOSED`].
    pub fn leave(&self, state: u64) {
        self.cells.header(H_STATE).store(state, Ordering::Release);
    }

    fn dentries<S: Source>(
        &mut self,
        source: &S,
        touched: &[u64],
        moved: &mut Vec<u32>,
    ) -> Result<(), Full> {
        for key in touched {
            moved.extend(self.rename(source, *key)?);
        }
        // A name that came later is no change that anybody tells.
        for key in std::mem::take(&mut self.unknown) {
            if source.dentry(key).is_some_and(|facts| facts.is_known) {
                moved.extend(self.rename(source, key)?);
            } else if self.dentry_slots.contains_key(&key) {
                self.unknown.insert(key);
            }
        }
        Ok(())
    }

    fn put_footing<S: Source>(&mut self, source: &S, footing: &Footing<'_>) -> Result<(), Full> {
        let mut sentences = Vec::new();
        for sentence in footing.sentences {
            sentences.extend_from_slice(sentence.as_bytes());
            sentences.push(0);
        }
        if sentences != self.sentences {
            let before = self.cells.header(H_SENTENCES).load(Ordering::Relaxed);
            let text = self.strings.hold(&self.cells, &sentences)?;
            self.cells.header(H_SENTENCES).store(text, Ordering::Relaxed);
            self.strings.release(&self.cells, before);
            self.sentences = sentences;
        }
        let mounts = u32::try_from(self.mount_slots.len()).unwrap_or(u32::MAX);
        let count = u32::try_from(footing.sentences.len()).unwrap_or(u32::MAX);
        for (at, word) in [
            (H_REVISION, footing.revision),
            (H_COVERAGE, pair(footing.coverage, count)),
            (H_COUNTS, pair(mounts, self.mount_numbers.highest)),
        ] {
            self.cells.header(at).store(word, Ordering::Relaxed);
        }
        self.set_view(0, footing.view);
        self.put_views(source)
    }

    /// A place from which somebody else sees: its number, or `None` if there are too many.
    pub fn add_view(&mut self) -> Option<u32> {
        let free = self.views.iter().skip(1).position(|view| !view.is_taken).map(|at| at + 1);
        let number = free.unwrap_or(self.views.len());
        let given = u32::try_from(number).ok().filter(|number| *number < cells::VIEWS)?;
        if number == self.views.len() {
            self.views.push(View::default());
        }
        self.views[number].is_taken = true;
        Some(given)
    }

    /// Says from where a view sees, with the next [`Writer::apply`].
    pub fn set_view(&mut self, number: u32, place: Option<(u64, u64)>) {
        if let Some(view) = self.views.get_mut(number as usize) {
            view.wanted = place;
        }
    }

    /// Gives the number of a view back.
    pub fn drop_view(&mut self, number: u32) {
        self.set_view(number, None);
        if let Some(view) = self.views.get_mut(number as usize) {
            view.is_taken = false;
        }
    }

    /// Takes over the views of a table in whose place this one comes, with their numbers.
    pub fn adopt_views(&mut self, before: &Self) {
        self.views = before.views.iter().map(|view| View { held: None, ..*view }).collect();
    }

    /// The numbers of what the views' keys are now: mounts come and go.
    fn put_views<S: Source>(&mut self, source: &S) -> Result<(), Full> {
        for number in 0..self.views.len() {
            let View { wanted, held, .. } = self.views[number];
            if wanted != held {
                if let Some((_, dentry)) = wanted {
                    self.hold_dentry(source, dentry)?;
                }
                let before = held.and_then(|(_, dentry)| self.dentry_slots.get(&dentry).copied());
                self.release_dentry(before.unwrap_or(0));
                self.views[number].held = wanted;
            }
        }
        for (at, view) in (self.cells.views.start..).zip(&self.views) {
            let word = view.held.and_then(|(mount, dentry)| {
                let mount = self.mount_slots.get(&mount)?;
                Some(pair(*mount, *self.dentry_slots.get(&dentry)?))
            });
            self.cells.set_word(at, word.unwrap_or(0));
        }
        Ok(())
    }
}

/// From where somebody sees: keys of a mount and a dentry.
#[derive(Clone, Copy, Debug, Default)]
struct View {
    wanted: Option<(u64, u64)>,
    /// The one in the table, whose dentry is referred to.
    held: Option<(u64, u64)>,
    is_taken: bool,
}
