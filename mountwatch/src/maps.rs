//! Persistent collections: a clone is a pointer, a change copies a few hundred bytes of it.
//!
//! The index is published after each change, so its tables have to be cheap to clone, and there are
//! some twelve entries for each mount, so they have to be small. Entries lie side by side in their
//! leaves: the maps of `rpds`, the best of the ready-made ones, allocate each by itself, which took
//! three times the memory and, at 100,000 mounts, five times as long to look up.
//!
//! [`Room`] is for the ordinary ones beside them.

mod room;
mod sorted;
mod trie;

pub(crate) use room::Room;
pub(crate) use sorted::Sorted;
pub(crate) use trie::{Hashed, Trie, nearby, spread};
