//! What `mountwatch status` says.

use super::SelfTest;
use crate::model::{Coverage, Revision, SyscallCost};
use std::borrow::Cow;

/// The state of a tracker, as plain values.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// `hooks`, `notify` or `poll`.
    pub backend: &'static str,
    /// The least that is known of any namespace.
    pub coverage: Coverage,
    /// Revision of the last published snapshot.
    pub revision: Revision,
    /// Mounts in all namespaces.
    pub mounts: u64,
    /// Mount namespaces.
    pub namespaces: u64,
    /// Records and notifications taken since the start.
    pub records: u64,
    /// Losses noticed since the start; each was or is being repaired by a scan.
    pub losses: u64,
    /// Scans of a namespace since the first seed.
    pub rescans: u64,
    /// Reads of a whole mount table for a single fact of it, which the kernel gives no other way.
    pub rereads: u64,
    /// Questions to the kernel about single mounts (statmount).
    pub looks: u64,
    /// Contradictions between what was told and what was known.
    pub anomalies: u64,
    /// Greatest time between a record and its being applied, in microseconds.
    pub lag_us_max: u64,
    /// What runs in the kernel: hook, function, and how it is attached.
    pub attached: Vec<(String, String, String)>,
    /// What the self-test found, of a back end that has one.
    pub selftest: Option<SelfTest>,
    /// What was refused or is missing, in sentences.
    pub refused: Vec<String>,
    /// What is not told of who made a change, in sentences; the index does not rest on it.
    pub unattributed: Vec<String>,
    /// The kernel side's own counters.
    pub counters: Vec<(Cow<'static, str>, u64)>,
    /// What it costs each system call, measured at the start; `None` without programs.
    pub cost: Option<SyscallCost>,
    /// Size of the ring buffer, in bytes; 0 without one.
    pub ring_bytes: u64,
    /// Most bytes that were in the ring buffer when it was emptied.
    pub ring_used_bytes_max: u64,
    /// Names that the index holds. With `hooks` the kernel side's largest map has an entry for each.
    pub names: u64,
    /// Release of the running kernel.
    pub kernel: String,
}
