//! The agent's interface, `mountwatch.v1`: messages made of `proto/mountwatch/v1/mountwatch.proto` by
//! `cargo xtask proto`, and what they are in our own words. Pure: nothing here waits or looks anywhere.

mod copy;
mod event;
mod mount;
mod status;

pub(crate) use copy::{Assembled, chunks};
pub(crate) use event::{said_of, to_event};
pub(crate) use mount::{
    answer_of, as_of, coverage_of, host_path_of, mount_of_info, to_coverage, to_host_path, to_info,
};
pub(crate) use status::{holder_of, status_of, to_holder, to_status};

#[expect(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "what a program wrote"
)]
pub(crate) mod v1 {
    include!("../proto/generated/mountwatch.v1.rs");
}

/// The definitions, as server reflection tells them.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!("../proto/generated/mountwatch.v1.bin");
