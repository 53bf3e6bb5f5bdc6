//! An index made from text, for tests of code that asks questions: no kernel, no root.
//!
//! ```
//! use mountwatch::fake::Index;
//! use mountwatch::query::{Binds, MountQueries};
//! use std::path::Path;
//!
//! let view = Index::new()
//!     .namespace(
//!         4026531841,
//!         "21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
//!          30 21 0:40 / /mnt rw,nosuid shared:5 - tmpfs scratch rw,size=4k\n",
//!     )?
//!     .view(4026531841)?;
//! assert!(view.is_mount_point(Path::new("/mnt"), Binds::Count)?.value);
//! assert!(!view.is_mount_point(Path::new("/mnt/below"), Binds::Count)?.value);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//!
//! The text is that of mountinfo(5), as `/proc/PID/mountinfo` has it. Several namespaces make a host;
//! mount IDs are those of the whole host, each used once. Unique mount IDs are made up: they count the
//! lines, so that a line further down is a younger mount.

pub use crate::textual::{Index, TextError};
