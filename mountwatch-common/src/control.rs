//! Indexes of the values that userspace writes while the programs run (map `CONTROL`, `u64` each).

/// The epoch: what was told of dentries and super blocks in an earlier one counts as untold. Raised
/// after a loss and before a scan that repairs.
pub const EPOCH: u32 = 0;
/// Process whose reads of mountinfo are scans; 0 while none runs.
pub const SCAN_TGID: u32 = 1;
/// Somebody follows operations: the end of each call wakes the reader (back end `hooks`), and one that
/// failed is told with what it was given (`notify`). 0: neither.
pub const FOLLOWED: u32 = 2;
/// Process (in the initial PID namespace) whose descendants are to be told apart; 0: nobody's.
pub const DESCENDANTS_OF: u32 = 3;
/// How many there are.
pub const COUNT: u32 = 4;
