//! Verbs: what each event does to the index. Deterministic, and it cannot fail.
//!
//! [`State::apply`] takes events in the order in which they were told; [`State::publish`] gives out
//! an immutable [`Snapshot`] whenever no transaction is open. Contradictions are values
//! ([`Need`], the anomaly counter), never panics.

mod apply;
mod assembly;
mod check;
mod dentry;
mod group;
mod names;
mod namespace;
mod operation;
#[cfg(test)]
mod operation_tests;
#[cfg(test)]
mod options_tests;
mod pile;
#[cfg(test)]
mod properties;
mod publish;
mod retire;
mod scan;
mod snapshot;
mod spots;
mod super_block;
mod tables;
#[cfg(test)]
mod tests;

pub use assembly::Assembly;
pub use names::Dentry;
pub use publish::Published;
pub use retire::Retired;
pub use scan::ScanMark;
pub use snapshot::Snapshot;
pub(crate) use spots::NotKept;
pub use super_block::Wanted;
pub use tables::Tables;

use crate::model::{
    Coverage, Dialect, Mount, MountKey, NamespaceInode, NamespaceKey, OperationId, Revision, Task,
};
use hashbrown::{HashMap, HashSet};
use mountwatch_common::hook::Hook;
use std::sync::Arc;

/// What the core asks the shell around it to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Scan this mount namespace: something about it is not known.
    Scan(NamespaceInode),
    /// Something was lost and nobody knows what: raise the epoch and scan every namespace.
    ScanAll,
    /// Too many names are unused: drop them on both sides and scan every namespace
    /// ([`State::trim`]).
    Trim,
}

/// Counters of the core, for `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events applied.
    pub events: u64,
    /// Contradictions between events and state; each makes something stale.
    pub anomalies: u64,
    /// Losses told by the kernel side or a queue.
    pub losses: u64,
}

/// The index under construction: one writer owns it.
#[derive(Debug, Default)]
pub struct State {
    tables: Tables,
    revision: Revision,
    /// Number of the last event applied.
    sequence: u64,
    /// Last event about each mount; a scan sweeps what it did not tell.
    told: HashMap<MountKey, u64>,
    told_namespaces: HashMap<NamespaceKey, u64>,
    touched: publish::Touched,
    open: Open,
    /// The last event ended a change, and nobody has been given it yet.
    ended: bool,
    groups: group::Dying,
    operations: operation::Operations,
    /// Namespaces that were dropped since the last publication.
    dropped: HashSet<NamespaceKey>,
    retire: retire::Retire,
    /// Super blocks whose options nobody told yet.
    wanted_options: HashSet<crate::model::SuperKey>,
    /// Super blocks whose flags and options change without a call.
    self_changing: HashSet<crate::model::SuperKey>,
    /// Super blocks whose options are known and read again.
    rereading: HashSet<crate::model::SuperKey>,
    /// Those that were asked for and that nobody could tell.
    untold_options: HashMap<crate::model::SuperKey, super_block::Untold>,
    /// Super blocks that a mount refers to and that were not told yet.
    first_shown: HashMap<crate::model::SuperKey, MountKey>,
    /// How often options became stale: a text read before is older than that.
    options_stale: u64,
    /// Dentries that something refers to and that were not told yet.
    unknown_dentries: HashSet<crate::model::DentryKey>,
    needs: Vec<Need>,
    losses: scan::LastLosses,
    counters: Counters,
    /// What the back end cannot see, in sentences.
    blind: Vec<String>,
    /// What it cannot see of file systems that are mounted, or were once.
    partly_seen: Vec<&'static str>,
    /// What a namespace is worth that was told as a whole.
    whole: Coverage,
    /// The first seed is over: from now on changes are told.
    seeded: bool,
    /// Everything is reread from time to time (back end `poll`).
    polling: bool,
}

/// Which changes have been begun and not ended.
#[derive(Debug, Default)]
struct Open {
    /// A transaction under `namespace_sem`: there is at most one.
    transaction: bool,
    /// Threads between the first record and the COMMIT of an unlocked hook.
    threads: HashSet<u32>,
    /// Who made the changes that ended since the last publication, by thread.
    tasks: HashMap<u32, Arc<Task>>,
}

impl Open {
    fn is_empty(&self) -> bool {
        !self.transaction && self.threads.is_empty()
    }
}

/// Where a change was seen first, and what was there before.
#[derive(Clone, Debug)]
struct Touch {
    before: Option<Arc<Mount>>,
    hook: Hook,
    ktime_ns: u64,
    tid: u32,
    by_scan: bool,
    operation: Option<OperationId>,
}

impl State {
    /// An empty index. `blind` says in sentences what the back end cannot see.
    pub fn new(blind: Vec<String>) -> Self {
        let mut state = Self { blind, ..Self::default() };
        state.settle_whole();
        state
    }

    /// What the core asks for, once.
    pub fn take_needs(&mut self) -> Vec<Need> {
        std::mem::take(&mut self.needs)
    }

    /// Counters since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The tables as they are now, perhaps in the middle of a transaction.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Keeps the paths of a namespace's mounts from now on, as it does by itself for one that is asked
    /// about often: questions about what is mounted at a path take one look-up then.
    pub fn keep_paths(&mut self, namespace: NamespaceKey) {
        self.touched.dirty |= self.tables.make_paths(namespace);
    }

    /// Says what the back end cannot see, from now on.
    pub fn set_blind(&mut self, blind: Vec<String>) {
        self.touched.dirty |= self.blind != blind;
        self.blind = blind;
        self.settle_whole();
    }

    /// Says how the kernel writes mountinfo(5).
    pub fn set_dialect(&mut self, dialect: Dialect) {
        self.tables.dialect = dialect;
    }

    fn anomaly(&mut self, need: Need) {
        self.counters.anomalies += 1;
        match need {
            Need::Scan(inode) => self.mark_stale(inode),
            Need::ScanAll => self.mark_all_stale(),
            Need::Trim => {}
        }
        if !self.needs.contains(&need) {
            self.needs.push(need);
        }
    }
}
