//! The agent's interface, `mountwatch.v1`: messages made of `proto/mountwatch/v1/mountwatch.proto` by
//! `cargo xtask proto`, and what they are in our own words. Nothing here waits or looks anywhere.

pub(crate) mod copy;
pub(crate) mod event;
pub(crate) mod mount;
pub(crate) mod operation;
pub(crate) mod status;
#[cfg(test)]
mod tests;

use thiserror::Error;

#[expect(
    clippy::pedantic,
    clippy::large_enum_variant,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    unused_qualifications,
    reason = "what a program wrote"
)]
pub(crate) mod v1 {
    include!("../proto/generated/mountwatch.v1.rs");
}

/// The definitions, as server reflection tells them.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!("../proto/generated/mountwatch.v1.bin");

/// An answer that this program does not understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the agent's answer is not understood, its field {0}: is it another version?")]
pub struct Malformed(pub(crate) &'static str);
