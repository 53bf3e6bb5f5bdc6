//! The shell around the core: one writer thread that owns the [`State`](crate::state::State), and handles to it.
//!
//! The writer takes what the back end has, applies it, publishes a snapshot, does what the core
//! asks for, and answers commands. Readers hold immutable snapshots and wait for nobody, except
//! that [`Tracker::now`] waits until everything that happened before the call is in its answer.

mod handle;
mod losses;
mod options;
mod scan;
mod selftest;
mod source;
mod status;
mod steps;
mod writer;

pub use handle::{Lagged, Subscription, Tracker, TrackerError, ViewError};
pub(crate) use handle::{out_of_reach, viewpoint_of_root};
pub(crate) use options::LOOK_EVERY;
pub use selftest::SelfTest;
pub use source::{Refused, SourceError, StartError};
pub use status::Status;

use mountwatch_common::limits;

/// Which back end is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// The best that the host allows.
    #[default]
    Auto,
    /// Programs on the kernel's own mount code: exact at every instant. 5.10 and later with BTF.
    Hooks,
    /// Mount notifications of fanotify and tracepoints of system calls: exact once their queues
    /// are drained. 6.15 and later.
    Notify,
    /// Mount tables, read again from time to time and before each answer: right when nothing moves.
    Poll,
}

/// What is to go wrong on purpose, for tests of what is said and repaired then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Roots of changed subtrees that one transaction has room for. `hooks` alone.
    pub roots_max: Option<u32>,
    /// The record, by its number from the end of the first seed on, that is cut short. `hooks`
    /// alone.
    pub cut_record: Option<u64>,
    /// The event, counted likewise, at which the core panics.
    pub panic_at: Option<u64>,
    /// Whether the queue of notifications holds no more than `fs.fanotify.max_queued_events`, as
    /// that is at the start. `notify` alone.
    pub bounded_queue: bool,
}

/// How to track.
#[derive(Clone, Debug)]
pub struct Config {
    /// The back end.
    pub backend: BackendChoice,
    /// Size of the ring buffer, in bytes: a power of two of at least
    /// [`limits::RING_BYTES_MIN`].
    pub ring_bytes: u32,
    /// Whether system calls are told as operations. Without them `hooks` starts in half the time and costs
    /// those calls less, a change names its process and not its call, and calls that fail are not told.
    /// `notify` needs the calls for its index, and always tells them.
    pub operations: bool,
    /// Names of hooks that are left out; for tests of what happens then.
    pub without_hooks: Vec<String>,
    /// Names of hooks that are replaced by what stands in for them; for tests of that.
    pub fallback_hooks: Vec<String>,
    /// Probes in place of trampolines; for tests of what works without those.
    pub no_fentry: bool,
    /// Names of hooks that are said to be attached and are not; for tests of the self-test.
    pub mute_hooks: Vec<String>,
    /// The nice value of the thread that tracks, from -20 to 19 (setpriority(2)). It needs CAP_SYS_NICE
    /// to be below that of the process, and is left alone without.
    pub nice: i32,
    /// Whether the kernel side writes diagnostics of its own.
    pub kernel_log: bool,
    /// The process (in the initial PID namespace) whose descendants are told apart, by
    /// [`crate::model::Task::descent`]. `poll` cannot: it does not know who makes a change.
    pub descendants_of: Option<u32>,
    /// What is to go wrong.
    pub faults: Faults,
}

/// Where all processors are busy, the thread that tracks would else get as much of them as each of those
/// that mount, and fall behind.
pub(crate) const NICE: i32 = -15;

impl Config {
    /// The best back end with the default ring.
    pub fn new() -> Self {
        Self {
            backend: BackendChoice::Auto,
            ring_bytes: limits::RING_BYTES,
            operations: true,
            without_hooks: Vec::new(),
            fallback_hooks: Vec::new(),
            no_fentry: false,
            mute_hooks: Vec::new(),
            nice: NICE,
            kernel_log: false,
            descendants_of: None,
            faults: Faults::default(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}
