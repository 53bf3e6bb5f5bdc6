//! The only room with aya, system calls and /proc.

pub mod canary;
pub mod command;
pub mod cost;
pub mod descent;
pub mod direct;
pub mod examine;
pub(crate) mod gauge;
pub mod holders;
pub mod hooks;
pub mod host;
pub mod load;
pub mod namespaces;
pub mod notify;
pub mod poll;
pub mod ring;
pub mod scan;
pub mod task;

mod sys;
pub(crate) mod sys_alloc;
mod sys_bpf;
mod sys_canary;
mod sys_map;
pub(crate) mod sys_peer;
mod sys_signal;
mod sys_tracefs;
pub(crate) mod sys_wait;
