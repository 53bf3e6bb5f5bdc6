//! Indexes of the kernel side's counters (map `COUNTERS`, one `u64` each).

/// How many there are.
pub const COUNT: u32 = 12;

macro_rules! counters {
    ($($(#[$doc:meta])* $constant:ident = $number:literal, $name:literal, loss $is_loss:literal;)*) => {
        $($(#[$doc])* pub const $constant: u32 = $number;)*
        /// The names of the counters, in the order of their indexes, as `status` shows them.
        pub const NAMES: [&str; COUNT as usize] = [$($name),*];
        /// Whether a counter's growth means that the index may be wrong until a scan.
        pub const IS_LOSS: [bool; COUNT as usize] = [$($is_loss),*];
    };
}

counters! {
    /// A record that found no room in the ring buffer.
    RECORDS_LOST = 0, "records_lost", loss true;
    /// A root of a changed subtree that found no room in the table of roots.
    ROOTS_LOST = 1, "roots_lost", loss true;
    /// A walk over a tree that reached its bound before its end.
    WALKS_CUT = 2, "walks_cut", loss true;
    /// A dentry that found no room in the table of told dentries. No loss: it is told again each
    /// time, and from then on every rename and deletion is told.
    DENTRIES_UNTRACKED = 3, "dentries_untracked", loss false;
    /// A read of kernel memory that failed: a field of that record is zero.
    READS_FAILED = 4, "reads_failed", loss true;
    /// The arguments of a function that found no room between its entry and its return (probes).
    ARGUMENTS_LOST = 5, "arguments_lost", loss true;
    /// A COMMIT that found no room in the ring buffer. No loss: its change is told without its end,
    /// and without who made it.
    COMMITS_LOST = 6, "commits_lost", loss false;
    /// A loss that found no room in the table of namespaces concerned: all are.
    LOSSES_UNPLACED = 7, "losses_unplaced", loss true;
    /// A program that the kernel skipped and whose spare did its work. No loss.
    SKIPS_SPARED = 8, "skips_spared", loss false;
    /// A program that could not tell its spare that its work is done; the spare repeats it, and
    /// counts one of `skips_spared` too many. No loss.
    SPARES_UNMARKED = 9, "spares_unmarked", loss false;
    /// Renames and deletions of names by system calls (back end `notify`). No loss.
    NAMES_CHANGED = 10, "names_changed", loss false;
    /// A system call of the mount family that is not told: it found no room, or its begin was not
    /// seen (back end `hooks`). No loss: the index does not rest on it.
    OPERATIONS_MISSED = 11, "operations_missed", loss false;
}
