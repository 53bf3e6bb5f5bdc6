//! The ring of the simulated kernel, what its programs remember, and the faults that can be put in.

use super::kernel::{Mnt, Ns};
use mountwatch_common::limits;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Every slot of the kernel's ring has a header of eight bytes and is a multiple of them.
const SLOT: usize = 8;

/// Records on their way.
#[derive(Debug)]
pub(crate) struct Ring {
    records: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Records so far.
    pushed: u64,
    /// Room for so many bytes.
    pub(crate) capacity: usize,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            records: VecDeque::new(),
            bytes: 0,
            pushed: 0,
            capacity: limits::RING_BYTES as usize,
        }
    }
}

impl Ring {
    /// `false`: there is no room.
    pub(super) fn push(&mut self, record: Vec<u8>) -> bool {
        let room = record.len().next_multiple_of(SLOT) + SLOT;
        if self.bytes + room > self.capacity {
            return false;
        }
        self.bytes += room;
        self.pushed += 1;
        self.records.push_back(record);
        true
    }

    /// The next record.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let record = self.records.pop_front()?;
        self.bytes -= record.len().next_multiple_of(SLOT) + SLOT;
        Some(record)
    }

    /// Records that were put on it so far.
    pub(crate) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Records that were taken so far.
    pub(crate) fn popped(&self) -> u64 {
        self.pushed - self.records.len() as u64
    }

    /// Records that wait.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }
}

/// What is counted on the kernel side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Records that found no room.
    pub(crate) records_lost: u64,
    /// Roots that found no room.
    pub(crate) roots_lost: u64,
    /// Walks that reached their bound.
    pub(crate) walks_cut: u64,
    /// Programs that the kernel skipped.
    pub(crate) recursion_misses: u64,
    /// Programs that the kernel skipped during our own reads.
    pub(crate) skips_in_scans: u64,
    /// Dentries that found no room in the table; no loss.
    pub(crate) dentries_untracked: u64,
    /// Ends of changes that found no room; no loss.
    pub(crate) commits_lost: u64,
}

impl Counted {
    /// Losses whose namespaces were noted.
    pub(crate) fn placed(&self) -> u64 {
        self.records_lost + self.roots_lost + self.walks_cut
    }

    /// The sum of everything that means that a record is missing.
    pub(crate) fn losses(&self) -> u64 {
        self.placed() + self.recursion_misses
    }
}

/// What goes wrong from now on, each so many times.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Records that find the ring full.
    pub(crate) full: u32,
    /// Records whose bytes are no record.
    pub(crate) garbage: u32,
    /// Programs that do not run, which the kernel counts.
    pub(crate) skipped: u32,
    /// Records that are missing and counted nowhere: what must never happen, and what the auditor
    /// has to notice.
    pub(crate) silent: u32,
    /// Walks that end after one mount.
    pub(crate) cut: u32,
    /// Roots that find no room.
    pub(crate) roots: u32,
}

impl Faults {
    /// Whether a fault is to happen now, once less from now on.
    pub(super) fn strikes(count: &mut u32) -> bool {
        let strikes = *count > 0;
        *count = count.saturating_sub(1);
        strikes
    }
}

/// A root of a changed tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) mnt: Mnt,
    /// `TAG_COPY`.
    pub(super) is_copy: bool,
    /// `TAG_SINGLE`.
    pub(super) is_single: bool,
}

/// What was told of a dentry or a super block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) parent: u64,
    pub(super) text: Vec<u8>,
    pub(super) number: u64,
    pub(super) epoch: u64,
}

/// The maps of the eBPF side.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    /// The programs are attached.
    pub(crate) is_attached: bool,
    pub(crate) ring: Ring,
    pub(crate) counted: Counted,
    pub(crate) faults: Faults,
    /// `EPOCH`: what was told in an older one is told again.
    pub(crate) epoch: u64,
    /// `TOLD`.
    pub(super) told: HashMap<u64, Fingerprint>,
    /// The table was full once.
    pub(super) untracked: bool,
    /// `LOST`: addresses of the namespaces that something was lost of; 0 for any.
    pub(super) lost: BTreeSet<u64>,
    pub(super) roots: Vec<Root>,
    pub(super) dirty: bool,
    /// Namespaces that were walked without the lock.
    pub(super) pending: Vec<Ns>,
    /// `STASH`: the target of a move_mount(2).
    pub(super) stash: Option<Mnt>,
    pub(super) clock: u64,
}

impl Hooks {
    /// Forgets what was told of these addresses.
    pub(crate) fn forget(&mut self, addresses: &[u64]) {
        for address in addresses {
            self.told.remove(address);
        }
    }

    /// Puts a record on the ring. `false`: it found no room.
    pub(super) fn push(&mut self, mut record: Vec<u8>) -> bool {
        if Faults::strikes(&mut self.faults.silent) {
            return true;
        }
        if Faults::strikes(&mut self.faults.garbage) {
            record.truncate(20);
        }
        !Faults::strikes(&mut self.faults.full) && self.ring.push(record)
    }

    /// The same for a record about a namespace (0: about any), whose loss is counted.
    pub(super) fn put(&mut self, record: Vec<u8>, ns: u64) -> bool {
        let has_room = self.push(record);
        if !has_room {
            self.lost.insert(ns);
            self.counted.records_lost += 1;
        }
        has_room
    }

    /// The namespaces of what was lost, once.
    pub(crate) fn take_places(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.lost).into_iter().collect()
    }

    /// Whether a program runs now.
    pub(super) fn runs(&mut self) -> bool {
        if !self.is_attached {
            return false;
        }
        if Faults::strikes(&mut self.faults.skipped) {
            self.counted.recursion_misses += 1;
            return false;
        }
        true
    }
}
