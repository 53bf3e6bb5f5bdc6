//! Bytes from outside into domain words. Pure: any bytes, no panic, no disproportionate allocation.

pub mod btf;
pub mod call;
pub mod cgroup;
pub mod mountinfo;
pub mod record;
pub mod statmount;
