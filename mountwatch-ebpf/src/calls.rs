//! System calls of the mount family, for hosts that refuse the other programs (back end `notify`).

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_uid_gid,
        generated::{bpf_get_current_comm, bpf_get_current_task},
    },
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};
use mountwatch_common::{
    hook, offset,
    record::{CallRecord, flag, kind},
};

use crate::{
    emit::{Wake, header, reserve},
    namespace, read,
};

/// `syscalls:sys_enter_*`, of several calls. Words of the context: the call's number is the second,
/// the arguments follow.
#[tracepoint]
pub fn call_enter(context: TracePointContext) -> u32 {
    let Some(mut entry) = reserve::<CallRecord>(0) else { return 0 };
    let record = entry.as_mut_ptr();
    // SAFETY: the slot is ours until submitted; every field is written.
    unsafe {
        fill(record, &context, 0);
        let mut index = 0;
        while index < 6 {
            let argument = read::argument(&context, index + 2);
            (&raw mut (*record).args).cast::<u64>().add(index).write_volatile(argument);
            index += 1;
        }
        (*record).ret = 0;
    }
    // The call's end wakes the reader.
    entry.submit(Wake::Silent.flags());
    0
}

/// `syscalls:sys_exit_*`. The result is the third word of the context.
#[tracepoint]
pub fn call_exit(context: TracePointContext) -> u32 {
    let Some(mut entry) = reserve::<CallRecord>(0) else { return 0 };
    let record = entry.as_mut_ptr();
    // SAFETY: as above.
    unsafe {
        fill(record, &context, flag::EXIT);
        let mut index = 0;
        while index < 6 {
            (&raw mut (*record).args).cast::<u64>().add(index).write_volatile(0);
            index += 1;
        }
        (*record).ret = read::argument(&context, 2) as i64;
    }
    entry.submit(Wake::Now.flags());
    0
}

/// `sched_process_fork(parent, child)`: a child in another mount namespace than its parent. With
/// clone(2) in place of a tracepoint of its own every process start on the host would cost more.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn fork(context: RawTracePointContext) -> i32 {
    let parent = read::argument(&context, 0);
    let child = read::argument(&context, 1);
    let ns = mount_namespace_of(child);
    if ns != 0 && ns != mount_namespace_of(parent) {
        let task: u32 = read::member(child, offset::TASK_PID);
        namespace::tell(ns, kind::NAMESPACE_BORN, hook::NAMESPACE_BORN, 0, task);
    }
    0
}

/// Everything but the arguments and the result.
#[inline(always)]
unsafe fn fill(record: *mut CallRecord, context: &impl EbpfContext, flags: u32) {
    // SAFETY: the caller's slot.
    unsafe {
        header(&raw mut (*record).header, kind::CALL, hook::CALL, flags);
        (*record).call = read::argument(context, 1) as u32;
        (*record).uid = bpf_get_current_uid_gid() as u32;
        (*record).reserved = 0;
        (*record).ns_id = 0;
        (*record).ns_inum = 0;
        bpf_get_current_comm((&raw mut (*record).comm).cast(), 16);
        let ns = mount_namespace_of(bpf_get_current_task());
        if ns != 0 {
            let identity = namespace::identity(ns);
            (*record).ns_id = identity.id;
            (*record).ns_inum = identity.inum;
        }
    }
}

/// The mount namespace of a task, 0 for one that has left its namespaces.
#[inline(always)]
pub fn mount_namespace_of(task: u64) -> u64 {
    let nsproxy: u64 = read::member(task, offset::TASK_NSPROXY);
    if nsproxy == 0 { 0 } else { read::member(nsproxy, offset::NSPROXY_MNT_NS) }
}
