//! Indexes of the kernel side's counters (map `COUNTERS`, one `u64` each).

/// A record that found no room in the ring buffer. A loss: the namespaces concerned are rescanned.
pub const RECORDS_LOST: u32 = 0;
/// A root of a changed subtree that found no room in the table of roots. A loss.
pub const ROOTS_LOST: u32 = 1;
/// A walk over a tree that reached its bound before its end. A loss.
pub const WALKS_CUT: u32 = 2;
/// A dentry that found no room in the table of told dentries. No loss: it is told again each time,
/// and from then on every rename and deletion is told.
pub const DENTRIES_UNTRACKED: u32 = 3;
/// A read of kernel memory that failed. A loss: a field of that record is zero.
pub const READS_FAILED: u32 = 4;
/// How many counters there are.
pub const COUNT: u32 = 5;

/// The names of the counters, in the order of their indexes, as `status` shows them.
pub const NAMES: [&str; COUNT as usize] =
    ["records_lost", "roots_lost", "walks_cut", "dentries_untracked", "reads_failed"];
