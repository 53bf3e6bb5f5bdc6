//! Every limit that both sides share, each with its reason and what counts its being reached.

/// Longest name of one dentry, in bytes: the kernel's `NAME_MAX`.
pub const NAME_BYTES_MAX: usize = 255;
/// A name up to this long goes into the small class of dentry records. Most names do.
pub const NAME_BYTES_SHORT: usize = 40;
/// A source (`mnt_devname`) up to this long goes into the small class of mount records.
pub const SOURCE_BYTES_SHORT: usize = 48;
/// Longest source told, in bytes with its final zero: a page, the most that mount(2) copies in.
pub const SOURCE_BYTES_MAX: usize = 4096;
/// Roots of changed subtrees in one transaction. One mount in a peer group of n gives n roots.
/// Counted by `roots_lost`.
pub const ROOTS_MAX: u32 = 65_536;
/// Rounds of each of the three nested loops of a walk: 256 x 256 x 256 steps, about a million
/// mounts twelve steps each (a step is one mount or one dentry on its way to a root). Counted by
/// `walks_cut`. The verifier looks at each loop on its own, so three short ones cost it a hundredth
/// of one long one.
pub const WALK_ROUNDS: u32 = 256;
/// Rounds of each of the two nested loops along one chain of dentries: 64 x 64 components, twice
/// as many as a path of 4,096 bytes can have. Counted by `walks_cut`.
pub const CHAIN_ROUNDS: u32 = 64;
/// Dentries and super blocks that the kernel side remembers as told. Counted by
/// `dentries_untracked`.
pub const TOLD_MAX: u32 = 131_072;
/// Threads between the start of a move_mount(2) or pivot_root(2) and the change that it makes.
pub const STASH_MAX: u32 = 4_096;
/// Threads between a program and its spare, or between a function's entry and its return. Counted
/// by `spares_unmarked` and `arguments_lost`.
pub const THREADS_MAX: u32 = 4_096;
/// Namespaces with a loss that userspace has not read yet. Counted by `losses_unplaced`.
pub const LOST_MAX: u32 = 1_024;
/// Cells for copies of mounts of one transaction and their originals, a power of two: 1.5 MiB. With as
/// many copies as a quarter of that one in a thousand does not know its original.
pub const COPIES: u32 = 65_536;
/// A text argument of a system call up to this long goes into the small class of records.
pub const TEXT_BYTES_SHORT: usize = 64;
/// Components of the path of an executable or a cgroup that are told; the last ones.
pub const COMPONENTS_MAX: u32 = 40;
/// Paths of executables and cgroups that the kernel side remembers as told. Those used least are
/// told again when they are met again.
pub const PATHS_MAX: u32 = 1_024;
/// Longest text argument told, in bytes with its final zero: a page, the most that the calls of the
/// mount family copy in.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Bits that say which names are on the way to mountpoints and roots, by the hash of the name, a
/// power of two (back end `notify`): 128 KiB. Names that share a bit cost a record too many.
pub const NAME_BITS: u32 = 1 << 20;
/// Cells for the times of the latest renames and deletions, by the hash of the name, a power of
/// two. Names that share a cell cost a look too many.
pub const STAMPS: u32 = 4_096;
/// Mounts of which the kernel side remembers what was told of their attributes (back end
/// `notify`). Those used least are forgotten, and told once more when they are met again.
pub const GLANCED_MAX: u32 = 65_536;
/// Cells in which userspace counts how often what was told of a mount's attributes became old, by
/// its unique ID, a power of two. Mounts that share a cell are told once more.
pub const GLANCE_AGES: u32 = 4_096;
/// Rounds of each of the three nested loops of a glance over a namespace: 128 x 128 x 128 steps of
/// one mount each. Counted by `walks_cut`.
pub const GLANCE_ROUNDS: u32 = 128;
/// Ancestors of a task that are looked at for the process whose descendants are told apart. A
/// longer chain is told as such ([`crate::record::flag::DESCENT_UNKNOWN`]).
pub const ANCESTORS_MAX: u32 = 128;
/// Default size of the ring buffer, in bytes, a power of two: 16 MiB hold 80,000 mount records.
pub const RING_BYTES: u32 = 16 << 20;
/// Smallest ring that can hold what one read of mountinfo tells, in bytes.
pub const RING_BYTES_MIN: u32 = 256 << 10;
