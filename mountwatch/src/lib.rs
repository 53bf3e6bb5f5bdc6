//! One live, exact, race-free index of every mount in every mount namespace of a Linux host.
//!
//! ```no_run
//! use mountwatch::agent::{Config, Tracker};
//! use mountwatch::query::{Binds, MountQueries};
//! use std::path::Path;
//!
//! // As root: loads the back end, reads every namespace once, and keeps the index from then on.
//! let tracker = Tracker::start(&Config::new())?;
//!
//! // What this process sees. Everything that happened before this call is in it.
//! let view = tracker.view_of_task(std::process::id())?;
//! let kubelet = Path::new("/var/lib/kubelet");
//! let answer = view.is_mount_point(kubelet, Binds::Count)?;
//! println!("{} as of revision {} ({})", answer.value, answer.revision, answer.coverage);
//! for mount in view.below(kubelet)?.value {
//!     println!("{} {}", mount.id, mount.mountpoint.display());
//! }
//! if let Some(mount) = view.covering(Path::new("/proc/self"))?.value {
//!     println!("/proc/self lies on mount {} at {}", mount.id, mount.mountpoint.display());
//! }
//!
//! // The present state, then every change after exactly that.
//! let (_present, mut changes) = tracker.subscribe()?;
//! while let Some(Ok(step)) = changes.recv_blocking() {
//!     for change in &step.transaction.changes {
//!         println!("{}", change.kind.word());
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Code that takes a [`query::MountQueries`] need not know who answers: a [`query::SnapshotView`]
//! of a tracker, or one of [`fake`], made of text, in a test.
//!
//! The rooms, in the order in which data flows: [`kernel`] (programs, ring, scans) → [`wire`]
//! (bytes into events) → [`model`] (nouns) → [`state`] (events into snapshots) → [`query`]
//! (questions) → [`render`] (answers as text) → [`cli`]. [`agent`] is the thread that joins them,
//! [`verify`] the proof against the kernel. `model`, `wire`, `state`, `query`, `leaks` and `render` are pure.
#![warn(clippy::indexing_slicing)]

pub mod agent;
pub mod cli;
pub mod client;
pub mod exports;
pub mod fake;
pub mod kernel;
pub mod leaks;
pub mod mapped;
mod maps;
pub mod metrics;
pub mod model;
mod proto;
pub mod query;
pub mod render;
pub mod serve;
pub mod state;
mod textual;
pub mod verify;
pub mod wire;
