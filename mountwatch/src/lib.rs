//! One live, exact, race-free index of every mount in every mount namespace of a Linux host.
//!
//! ```no_run
//! use mountwatch::agent::{Config, Tracker};
//!
//! // As root: loads the back end, reads every namespace once, and keeps the index from then on.
//! let tracker = Tracker::start(&Config::new())?;
//!
//! // The default read: everything that happened before this call is in it.
//! let snapshot = tracker.now()?;
//! let here = tracker.viewpoint_of_task(&snapshot, std::process::id())?;
//! let covering = snapshot.covering(b"/proc/self", here).expect("everything lies on a mount");
//! println!(
//!     "/proc/self lies on mount {}, as of revision {} ({})",
//!     covering.mount.id,
//!     snapshot.revision(),
//!     snapshot.coverage(),
//! );
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
//! The rooms, in the order in which data flows: [`kernel`] (programs, ring, scans) → [`wire`]
//! (bytes into events) → [`model`] (nouns) → [`state`] (events into snapshots) → [`query`]
//! (questions) → [`render`] (answers as text) → [`cli`]. [`agent`] is the thread that joins them,
//! [`verify`] the proof against the kernel. `model`, `wire`, `state`, `query` and `render` are pure.
#![warn(clippy::indexing_slicing)]

pub mod agent;
pub mod cli;
pub mod fake;
pub mod kernel;
pub mod model;
pub mod query;
pub mod render;
pub mod state;
mod textual;
pub mod verify;
pub mod wire;
