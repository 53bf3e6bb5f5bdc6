//! Plain data on both sides of mountwatch's ring buffer.
//!
//! The law of this crate: `repr(C)`, explicit padding, fixed widths; no `bool`, no `enum` and no
//! pointer type on the wire; no logic beyond `const fn`. The kernel side writes these bytes,
//! `mountwatch::wire::record` reads them, and both compile this one file.
#![no_std]
#![forbid(unsafe_code)]

pub mod control;
pub mod counter;
pub mod hook;
pub mod limits;
pub mod name;
pub mod offset;
pub mod record;
