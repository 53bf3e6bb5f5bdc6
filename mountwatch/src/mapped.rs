//! The index in shared memory: tables that other processes read without asking
//! ([`mountwatch_mapped`] has the layout, the reader and the client).
//!
//! One table for each mount namespace that somebody has asked for; who has a right to it gets the
//! descriptor over a unix socket. `docs/MAPPED.md` says what is promised.

mod connection;
mod keeper;
mod server;
mod source;

pub use keeper::Keeper;
pub use server::MappedServer;
