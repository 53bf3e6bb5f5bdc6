//! The records for our own reads of mountinfo.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::fentry, programs::FEntryContext};
use mountwatch_common::{control, hook, offset, record::flag};

use crate::{
    maps::{control, slot},
    read,
    step::walk_run,
    walk::Walk,
};

/// `show_mountinfo(seq_file, vfsmount)`, under `namespace_sem` held for read: one line of
/// mountinfo, also of those lines that the reader is not shown.
#[fentry]
pub fn scan(context: FEntryContext) -> i32 {
    if control(control::SCAN_TGID) != bpf_get_current_pid_tgid() >> 32 {
        return 0;
    }
    let vfsmount = read::argument(&context, 1);
    if let Some(walk) = Walk::begin(slot::SCAN, hook::SCAN, flag::SCAN, true) {
        walk.aim(vfsmount - u64::from(read::offset(offset::MOUNT_MNT)), true);
        walk_run(slot::SCAN);
    }
    0
}
