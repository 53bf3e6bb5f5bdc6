//! A slot of the ring: reserve, fill, submit.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        generated::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_ktime_get_ns},
    },
    maps::ring_buf::RingBufEntry,
};
use core::ptr::write_volatile;
use mountwatch_common::{
    counter,
    record::{CommitRecord, Header, flag, kind},
};

use crate::{
    calls::begin_ktime_ns,
    descent::descent,
    lost,
    maps::{RECORDS, count, counted},
};

/// Whether submitting a record wakes the reader.
///
/// One wake-up costs a microsecond, and the reader can publish nothing before a COMMIT. So the
/// records of a change are silent and its COMMIT wakes, whatever the reader seems to be doing (the
/// kernel's own rule would not wake it, because it has not yet read the silent ones).
#[derive(Clone, Copy)]
pub enum Wake {
    /// Never.
    Silent,
    /// Always.
    Now,
    /// If the reader had read everything: the kernel's rule.
    Adaptive,
}

impl Wake {
    #[inline(always)]
    pub fn flags(self) -> u64 {
        match self {
            Wake::Silent => u64::from(BPF_RB_NO_WAKEUP),
            Wake::Now => u64::from(BPF_RB_FORCE_WAKEUP),
            Wake::Adaptive => 0,
        }
    }
}

/// Reserves a slot; counts a loss in a namespace (0: in any) if the ring is full.
#[inline(always)]
pub fn reserve<T: 'static>(ns: u64) -> Option<RingBufEntry<T>> {
    let entry = RECORDS.reserve::<T>(0);
    if entry.is_none() {
        lost::lost(counter::RECORDS_LOST, ns);
    }
    entry
}

/// Reserves a slot for what is known of a mount; counts a loss if the ring is full.
#[inline(always)]
pub fn reserve_for<T: 'static>(mount: u64) -> Option<RingBufEntry<T>> {
    let entry = RECORDS.reserve::<T>(0);
    if entry.is_none() {
        lost::lost_mount(counter::RECORDS_LOST, mount);
    }
    entry
}

/// Fills the header, with the time now.
#[inline(always)]
pub fn header(header: *mut Header, kind: u16, hook: u16, flags: u32) {
    // SAFETY: the helper has no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    let stamp = Stamp {
        ktime_ns: now,
        pid_tgid: bpf_get_current_pid_tgid(),
        begin_ktime_ns: begin_ktime_ns(),
    };
    fill_header(header, kind, hook, flags, stamp);
}

/// When, in which thread, and in which call of it.
#[derive(Clone, Copy)]
pub struct Stamp {
    pub ktime_ns: u64,
    pub pid_tgid: u64,
    pub begin_ktime_ns: u64,
}

/// Fills the header.
#[inline(always)]
pub fn fill_header(header: *mut Header, kind: u16, hook: u16, flags: u32, stamp: Stamp) {
    // SAFETY: `header` lies in a slot that the caller has reserved. Volatile, so that the compiler
    // does not merge the stores and the later reads into one block copy through the stack.
    unsafe {
        write_volatile(&raw mut (*header).kind, kind);
        write_volatile(&raw mut (*header).hook, hook);
        write_volatile(&raw mut (*header).flags, flags);
        write_volatile(&raw mut (*header).ktime_ns, stamp.ktime_ns);
        write_volatile(&raw mut (*header).pid_tgid, stamp.pid_tgid);
        write_volatile(&raw mut (*header).begin_ktime_ns, stamp.begin_ktime_ns);
    }
}

/// Tells the end of a change.
#[inline(always)]
pub fn commit(hook: u16, transaction: bool) {
    let flags = descent() | if transaction { flag::TRANSACTION } else { 0 };
    let Some(mut entry) = RECORDS.reserve::<CommitRecord>(0) else {
        count(counter::COMMITS_LOST);
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the slot is ours until submitted; every byte of it is written.
    unsafe {
        header(&raw mut (*record).header, kind::COMMIT, hook, flags);
        bpf_get_current_comm((&raw mut (*record).comm).cast(), 16);
        (*record).cgroup_id = bpf_get_current_cgroup_id();
        (*record).uid = bpf_get_current_uid_gid() as u32;
        (*record).reserved = 0;
        (*record).records_lost = counted(counter::RECORDS_LOST);
    }
    entry.submit(Wake::Now.flags());
}
