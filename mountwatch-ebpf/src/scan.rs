//! The records for our own reads of mountinfo.

use aya_ebpf::{
    EbpfContext, helpers::bpf_get_current_pid_tgid, macros::fentry, programs::FEntryContext,
};
use mountwatch_common::{control, hook, offset, record::flag};

use crate::{
    maps::{control, slot},
    program::{Arguments, FIRST, SPARE, arguments, at_entry, is_left, mark_done},
    read,
    step::walk_run,
    walk::Walk,
};

// `show_mountinfo(seq_file, vfsmount)`.
at_entry!(hook::SCAN, scan_body, 2: scan, scan_probe);

/// Under `namespace_sem` held for read: one line of mountinfo, also of those lines that the reader
/// is not shown.
#[inline(always)]
fn scan_body(_: &impl EbpfContext, [_, vfsmount, _]: Arguments, place: u32) {
    if control(control::SCAN_TGID) != bpf_get_current_pid_tgid() >> 32 {
        return;
    }
    // The reads of others leave no mark.
    if place == FIRST {
        mark_done(hook::SCAN);
    } else if !is_left(hook::SCAN, false) {
        return;
    }
    let slot = slot::SCAN + place;
    if let Some(walk) = Walk::begin(slot, hook::SCAN, flag::SCAN, true) {
        walk.aim(vfsmount - u64::from(read::offset(offset::MOUNT_MNT)), true);
        walk_run(slot);
    }
}

/// The spare of `scan`.
#[fentry]
pub fn scan_spare(context: FEntryContext) -> i32 {
    scan_body(&context, arguments(&context, 2), SPARE);
    0
}
