//! When a dentry or a super block may be dropped.
//!
//! 1. Its last reference goes. It stays: a record that relies on it may be on its way.
//! 2. `QUIET_NS` later, if still unused, the kernel side is asked to forget that it told of it
//!    ([`Need::Forget`]); from then on a record that needs it tells it again.
//! 3. `QUIET_NS` later, if still unused and not told again, it is dropped.
//!
//! A program that was held up longer than that between its look at the table and its record is
//! found out: the record names a dentry that is not there, which is an anomaly and heals by a scan.
//! Time is the records' own; without records nothing needs to be dropped.

use super::{Need, State};
use crate::model::{DentryKey, SuperKey};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// How long a record may be on its way, in nanoseconds.
const QUIET_NS: u64 = 2_000_000_000;

/// What can be retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retired {
    /// A dentry.
    Dentry(DentryKey),
    /// A super block.
    Super(SuperKey),
}

#[derive(Debug, Default)]
pub(super) struct Retire {
    now_ns: u64,
    references: HashMap<Retired, u32>,
    /// Unused since.
    unused: VecDeque<(u64, Retired)>,
    /// Asked to be forgotten at.
    forgotten: VecDeque<(u64, Retired)>,
    /// The stage of each key that is in a queue, and since when: an entry that does not agree with
    /// it is void.
    stage: HashMap<Retired, (Stage, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Unused,
    Forgotten,
}

impl Retire {
    pub(super) fn now(&mut self, ktime_ns: u64) {
        self.now_ns = self.now_ns.max(ktime_ns);
    }

    pub(super) fn references(&self, key: Retired) -> u32 {
        self.references.get(&key).copied().unwrap_or(0)
    }

    pub(super) fn refer(&mut self, key: Retired) {
        *self.references.entry(key).or_insert(0) += 1;
        self.stage.remove(&key);
    }

    pub(super) fn release(&mut self, key: Retired) {
        let Some(count) = self.references.get_mut(&key) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.references.remove(&key);
            self.unused(key);
        }
    }

    /// Told again: the kernel side knows that it told, so the way starts anew.
    pub(super) fn told(&mut self, key: Retired) {
        if self.stage.contains_key(&key) {
            self.unused(key);
        }
    }

    pub(super) fn unused(&mut self, key: Retired) {
        self.stage.insert(key, (Stage::Unused, self.now_ns));
        self.unused.push_back((self.now_ns, key));
    }

    /// The keys whose first wait is over.
    fn forget(&mut self) -> Vec<Retired> {
        let now_ns = self.now_ns;
        let keys = ripe(&mut self.unused, &mut self.stage, Stage::Unused, now_ns);
        for key in &keys {
            self.stage.insert(*key, (Stage::Forgotten, now_ns));
            self.forgotten.push_back((now_ns, *key));
        }
        keys
    }

    /// The keys whose second wait is over.
    fn drop(&mut self) -> Vec<Retired> {
        ripe(&mut self.forgotten, &mut self.stage, Stage::Forgotten, self.now_ns)
    }
}

fn ripe(
    queue: &mut VecDeque<(u64, Retired)>,
    stages: &mut HashMap<Retired, (Stage, u64)>,
    stage: Stage,
    now_ns: u64,
) -> Vec<Retired> {
    let mut keys = Vec::new();
    while let Some((since_ns, key)) = queue.front().copied() {
        if since_ns.saturating_add(QUIET_NS) > now_ns {
            break;
        }
        queue.pop_front();
        if stages.get(&key) == Some(&(stage, since_ns)) {
            stages.remove(&key);
            keys.push(key);
        }
    }
    keys
}

impl State {
    /// Lets go of what nothing uses any more. Called at publications.
    pub(super) fn retire_unused(&mut self) {
        for key in self.retire.forget() {
            self.needs.push(Need::Forget(key));
        }
        for key in self.retire.drop() {
            match key {
                Retired::Dentry(key) => self.drop_dentry(key),
                Retired::Super(key) => self.tables.take_super(key),
            }
        }
    }
}
