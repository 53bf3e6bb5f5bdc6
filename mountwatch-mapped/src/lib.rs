//! mountwatch's index of one mount namespace in shared memory.
//!
//! The agent publishes what it knows as a table of words in sealed memory (a memfd), and hands the
//! descriptor out over a unix socket. Whoever has it asks without a round trip, without a lock and
//! without a system call:
//!
//! ```no_run
//! use mountwatch_mapped::{Binds, Mapped};
//!
//! let mut mounts = Mapped::connect("/run/mountwatch/mapped.sock")?;
//! let answer = mounts.is_mount_point(b"/var/lib/kubelet", Binds::Count)?;
//! println!("{} as of revision {}, {:?}", answer.value, answer.revision, answer.coverage);
//! for mount in mounts.below(b"/var/lib/kubelet")?.value {
//!     println!("{} {}", mount.id, String::from_utf8_lossy(&mount.mountpoint));
//! }
//! # Ok::<(), mountwatch_mapped::MappedError>(())
//! ```
//!
//! Paths are absolute and those of the view: the root directory of the namespace, or of a process.
//! No symbolic link is followed, `.` and doubled slashes mean nothing, `..` is refused: give a path as
//! realpath(3) gives it. A path leads to the mount on top; covered mounts are in [`Mapped::below`].
//! A deleted directory cannot be reached.
//!
//! What is promised is in `docs/MAPPED.md`. In short: each answer is that of one state of the index,
//! with its revision and coverage, and shows everything that was over before `fresh_ns`, which is
//! [`Answer::age_ns`] ago at most. [`Mapped::sync`] waits until that is now.

mod connect;
pub mod layout;
pub mod protocol;
mod reader;
mod sequence;
mod sys;
pub mod toy;
mod transfer;
pub mod writer;

pub use connect::Mapped;
pub use reader::{
    Answer, Bind, Binds, Coverage, MappedError, MountInfo, Propagation, Reader, WhichMount,
};
pub use sys::{coarse_ns, monotonic_ns};
pub use transfer::{receive_some, send};
