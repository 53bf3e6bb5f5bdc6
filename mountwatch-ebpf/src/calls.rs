//! System calls of the mount family by their tracepoints, for hosts that refuse the other programs
//! (back end `notify`), and what both back ends do about a call.
//!
//! Until 7.1 the kernel runs these programs with preemption disabled, and skips them all while
//! bpf(2) works on a map on that CPU: userspace does not, it maps what it has to change. Since 7.2
//! they can be preempted (`trace_call_bpf_faultable`), and then the kernel skips the same program,
//! and no other, for whoever comes next on that CPU. So each of them has a spare there: a second
//! program behind it that does its work if it did not run. The memory of each is its own.

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        generated::{
            bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_task, bpf_ktime_get_ns,
        },
    },
    macros::{map, raw_tracepoint, tracepoint},
    maps::HashMap,
    programs::{RawTracePointContext, TracePointContext},
};
use mountwatch_common::{
    control, counter, hook, limits, offset,
    record::{CallRecord, flag, kind},
};

use crate::{
    descent::descent,
    emit::{Wake, header},
    lost,
    maps::{RECORDS, control, count},
    namespace, read,
    room::{BEGINS_SHARE, is_crowded, is_filled, reserve_of_call, wake_at_end},
    text::argument_tell,
    who::{self, paths_tell},
};

/// Calls that [`RULES`] has room for, a power of two.
const CALLS: usize = 512;

/// What to do about a call, by its number; set by the loader.
#[repr(C)]
#[derive(Clone, Copy)]
struct Rule {
    /// Bit n: argument n is a text.
    texts: u32,
    /// The argument that decides whether the call changes attributes.
    flags_index: u32,
    /// It does if one of these bits is set there (0: whatever is set).
    any: u32,
    /// And none of these.
    none: u32,
    /// Bit n: argument n is a text if the bit of `texts_when` is set whose number is argument 1.
    texts_some: u32,
    texts_when: u32,
    /// It concerns us only if one of these bits is set in argument 0 (0: always).
    concerns: u32,
    reserved: u32,
}

const NO_RULE: Rule = Rule {
    texts: 0,
    flags_index: 0,
    any: 0,
    none: 0,
    texts_some: 0,
    texts_when: 0,
    concerns: 0,
    reserved: 0,
};

/// By the number on this architecture.
#[unsafe(no_mangle)]
static RULES: [Rule; CALLS] = [NO_RULE; CALLS];
/// By the number that callers with 32 bits give.
#[unsafe(no_mangle)]
static RULES_COMPAT: [Rule; CALLS] = [NO_RULE; CALLS];

/// What a call was given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Called {
    /// Its arguments.
    pub args: [u64; 6],
    /// When it began.
    pub ktime_ns: u64,
    /// The call's number.
    pub call: u32,
    /// [`GLANCED`], bits from [`TOLD`] on, and [`flag::ASTRAY`] and [`flag::COMPAT`] if those hold.
    pub flags: u32,
    /// Where [`crate::who`] stands on the way up from an executable: its key, the vfsmount and the
    /// dentry at hand, and how many names were told.
    pub way: [u64; 4],
}

/// Of [`Called::flags`]: `glance_exit` has run.
pub const GLANCED: u32 = 1;
/// Of [`Called::flags`]: its begin is not told.
const UNBEGUN: u32 = 1 << 8;
/// Of [`Called::flags`]: the text of argument 0 is told; those of the others are the bits above.
pub const TOLD: u32 = 1 << 1;
/// An element that is older cannot be of a call that begins now.
const BEGIN_MAX_NS: u64 = 1_000_000_000;

/// Thread → the call that it is in.
#[map]
static CALLING: HashMap<u64, Called> = HashMap::with_max_entries(limits::THREADS_MAX, 0);

/// `syscalls:sys_enter_*`, of several calls. Words of the context: the call's number is the second,
/// the arguments follow.
#[tracepoint]
pub fn call_enter(context: TracePointContext) -> u32 {
    enter(&context);
    0
}

#[tracepoint]
pub fn call_enter_spare(context: TracePointContext) -> u32 {
    if !is_kept(&context) {
        count(counter::SKIPS_SPARED);
        enter(&context);
    }
    0
}

#[inline(always)]
fn enter(context: &TracePointContext) {
    let begin_ktime_ns = keep(context);
    // Whoever may change nothing can still call, and fail, more often than anyone can read: what begins
    // leaves room for what was done. Without a begin its end is told all the same.
    let entry = if is_filled(BEGINS_SHARE) { None } else { RECORDS.reserve::<CallRecord>(0) };
    let Some(mut entry) = entry else { return begin_untold() };
    let record = entry.as_mut_ptr();
    // SAFETY: the slot is ours until submitted; every field is written.
    unsafe {
        fill(record, read::argument(context, 1), 0);
        let mut index = 0;
        while index < 6 {
            let argument = read::argument(context, index + 2);
            (&raw mut (*record).args).cast::<u64>().add(index).write_volatile(argument);
            index += 1;
        }
        (*record).ret = 0;
        // It may have found no room.
        (*record).header.begin_ktime_ns = begin_ktime_ns;
    }
    // The call's end wakes the reader.
    entry.submit(Wake::Silent.flags());
}

#[inline(always)]
fn begin_untold() {
    if let Some(called) = kept() {
        // SAFETY: an element of the map, which only this very thread removes.
        unsafe {
            let flags = (&raw const (*called).flags).read_volatile();
            (&raw mut (*called).flags).write_volatile(flags | UNBEGUN);
        }
    }
}

/// `syscalls:sys_exit_*`. The result is the third word of the context. The texts come first: by now
/// the kernel has read them too, so that they are in memory.
#[tracepoint]
pub fn call_exit(context: TracePointContext) -> u32 {
    if let Some(called) = kept_or_lost(read::argument(&context, 2)) {
        exit(&context, called);
    }
    0
}

#[tracepoint]
pub fn call_exit_spare(context: TracePointContext) -> u32 {
    // The first one forgets it.
    if let Some(called) = kept() {
        count(counter::SKIPS_SPARED);
        exit(&context, called);
    }
    0
}

#[inline(always)]
fn exit(context: &TracePointContext, called: *const Called) {
    let call = read::argument(context, 1);
    let result = read::argument(context, 2);
    if is_of_nobody(result, called) {
        return forget();
    }
    // What a call that failed was given is of use to those who follow operations, and to nobody else.
    if result as i64 >= 0 || (control(control::FOLLOWED) != 0 && !is_crowded()) {
        texts_tell(0, 0);
        paths_tell();
    }
    tell_exit(call, result, called, None);
    forget();
}

/// Whether nobody needs to know that a call returns: it failed, did nothing on its way, its begin is not
/// told, and nobody follows operations, or they find no room.
#[inline(always)]
fn is_of_nobody(result: u64, called: *const Called) -> bool {
    // SAFETY: an element of the map, which only this very thread removes.
    let flags = unsafe { (&raw const (*called).flags).read_volatile() };
    if result as i64 >= 0 || flags & UNBEGUN == 0 || flags & (flag::ASTRAY | GLANCED) != 0 {
        return false;
    }
    if control(control::FOLLOWED) == 0 {
        return true;
    }
    let is_missed = is_crowded();
    if is_missed {
        count(counter::OPERATIONS_MISSED);
    }
    is_missed
}

/// Tells the texts of the call that the thread is in, as far as they were not told yet. Gives all that
/// are told now, as bits of [`Called::flags`].
#[inline(always)]
pub fn texts_tell(flags: u32, may_come: u32) -> u32 {
    let mut told = flags;
    let mut index = 0;
    while index < 6 {
        told |= text_tell(index, may_come) as u32;
        index += 1;
    }
    told
}

/// Tells one of them. Its bit if it is told now, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn text_tell(index: u32, may_come: u32) -> i32 {
    let Some(called) = kept() else { return 0 };
    let index = read::below_eight(index);
    // SAFETY: an element of the map, which only this very thread removes.
    let (call, flags) = unsafe {
        ((&raw const (*called).call).read_volatile(), (&raw const (*called).flags).read_volatile())
    };
    let rule = rule(u64::from(call), flags & flag::COMPAT);
    let mut texts = rule.texts;
    if rule.texts_when >> (word(called, 1) & 31) & 1 != 0 {
        texts |= rule.texts_some;
    }
    let bit = TOLD << index;
    // SAFETY: as above; every caller counts to six at most, and two words more lie in the element.
    let pointer =
        unsafe { (&raw const (*called).args).cast::<u64>().add(index as usize).read_volatile() };
    if texts >> index & 1 == 0 || flags & bit != 0 || pointer == 0 {
        return 0;
    }
    if argument_tell(call, index as u32, pointer, may_come) == 0 { bit as i32 } else { 0 }
}

/// Tells that a call returns. `names`: of a call about names, in place of its arguments.
#[inline(always)]
pub fn tell_exit(call: u64, result: u64, called: *const Called, names: Option<[u64; 2]>) {
    let Some(mut entry) = reserve_of_call::<CallRecord>() else { return };
    let record = entry.as_mut_ptr();
    // SAFETY: the slot is ours until submitted; every field is written.
    unsafe {
        let flags = (&raw const (*called).flags).read_volatile() & (flag::ASTRAY | flag::COMPAT);
        fill(record, call, flag::EXIT | foreign_root() | flags);
        who::fill(record);
        let args = (&raw mut (*record).args).cast::<u64>();
        let mut index = 0;
        while index < 6 {
            args.add(index).write_volatile(word(called, index as u32));
            index += 1;
        }
        if let Some([first, second]) = names {
            args.write_volatile(first);
            args.add(1).write_volatile(second);
        }
        (*record).ret = result as i64;
    }
    entry.submit(wake_at_end().flags());
}

/// Keeps what a call is given until it returns. Gives the time.
#[inline(always)]
pub fn keep(context: &TracePointContext) -> u64 {
    let call = read::argument(context, 1) as u32;
    let mut called = Called { args: [0; 6], ktime_ns: 0, call, flags: 0, way: [0; 4] };
    let mut index = 0;
    while index < 6 {
        called.args[index] = read::argument(context, index + 2);
        index += 1;
    }
    // SAFETY: the helper has no precondition.
    called.ktime_ns = unsafe { bpf_ktime_get_ns() };
    if !keep_called(&called) {
        lost::lost(counter::ARGUMENTS_LOST, 0);
    }
    called.ktime_ns
}

/// Keeps it; whether there was room.
#[inline(always)]
pub fn keep_called(called: &Called) -> bool {
    CALLING.insert(bpf_get_current_pid_tgid(), called, 0).is_ok()
}

/// Whether what the beginning call is given is kept already.
#[inline(always)]
pub fn is_kept(context: &TracePointContext) -> bool {
    let Some(called) = CALLING.get_ptr(bpf_get_current_pid_tgid()) else { return false };
    // SAFETY: an element of the map, which only this very thread removes; the helper has no
    // precondition.
    let (call, age_ns) = unsafe {
        let ktime_ns = (&raw const (*called).ktime_ns).read_volatile();
        ((&raw const (*called).call).read_volatile(), bpf_ktime_get_ns() - ktime_ns)
    };
    let mut is_same = call == read::argument(context, 1) as u32 && age_ns < BEGIN_MAX_NS;
    let mut index = 0;
    while index < 6 {
        is_same &= word(called, index) == read::argument(context, index as usize + 2);
        index += 1;
    }
    is_same
}

/// What the returning call was given. `None` is a loss if the call succeeded: nobody knows what it
/// did.
#[inline(always)]
pub fn kept_or_lost(result: u64) -> Option<*mut Called> {
    let called = kept();
    if called.is_none() && (result as i64) >= 0 {
        lost::lost(counter::ARGUMENTS_LOST, 0);
    }
    called
}

/// When the call began that the running thread is in; 0 if it is in none.
#[inline(always)]
pub fn begin_ktime_ns() -> u64 {
    match kept() {
        // SAFETY: an element of the map, which only this very thread removes.
        Some(called) => unsafe { (&raw const (*called).ktime_ns).read_volatile() },
        None => 0,
    }
}

/// What the returning call was given.
#[inline(always)]
pub fn kept() -> Option<*mut Called> {
    CALLING.get_ptr_mut(bpf_get_current_pid_tgid())
}

/// The call returned.
#[inline(always)]
pub fn forget() {
    let _ = CALLING.remove(bpf_get_current_pid_tgid());
}

/// One argument.
#[inline(always)]
pub fn word(called: *const Called, index: u32) -> u64 {
    // SAFETY: an element of the map, which only this very thread removes; every caller counts to
    // six at most.
    unsafe { (&raw const (*called).args).cast::<u64>().add(index as usize).read_volatile() }
}

#[inline(always)]
fn rule(call: u64, compat: u32) -> Rule {
    let index = call as usize & (CALLS - 1);
    // SAFETY: masked. Volatile: the loader sets them.
    unsafe {
        if compat == 0 {
            (&raw const RULES).cast::<Rule>().add(index).read_volatile()
        } else {
            (&raw const RULES_COMPAT).cast::<Rule>().add(index).read_volatile()
        }
    }
}

/// Bit n: argument n of the call is a text.
#[inline(always)]
pub fn texts_of(call: u64) -> u32 {
    rule(call, 0).texts
}

/// Whether a call concerns us.
#[inline(always)]
pub fn concerns(call: u64, compat: u32, first: u64) -> bool {
    let concerns = rule(call, compat).concerns;
    concerns == 0 || first as u32 & concerns != 0
}

/// Whether a call with these arguments changes attributes of mounts.
#[inline(always)]
pub fn changes_attributes(call: u64, called: *const Called) -> bool {
    let rule = rule(call, 0);
    // A number that the verifier follows through each of its values.
    let mut flags = 0;
    let mut index = 0;
    while index < 6 {
        if rule.flags_index == index {
            flags = word(called, index) as u32;
        }
        index += 1;
    }
    (rule.any == 0 || flags & rule.any != 0) && flags & rule.none == 0
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
        namespace::tell(ns, kind::NAMESPACE_BORN, hook::NAMESPACE_BORN, descent(), task);
    }
    0
}

/// Everything but the arguments, the result and when it began.
#[inline(always)]
unsafe fn fill(record: *mut CallRecord, call: u64, flags: u32) {
    // SAFETY: the caller's slot.
    unsafe {
        header(&raw mut (*record).header, kind::CALL, hook::CALL, flags | descent());
        (*record).call = call as u32;
        (*record).uid = bpf_get_current_uid_gid() as u32;
        (*record).reserved = 0;
        (*record).ns_id = 0;
        (*record).ns_inum = 0;
        bpf_get_current_comm((&raw mut (*record).comm).cast(), 16);
        (*record).cgroup_id = bpf_get_current_cgroup_id();
        (*record).parent_pid = 0;
        (*record).pid_ns_inum = 0;
        (*record).parent_comm = [0; 16];
        (*record).executable = 0;
        (*record).cgroup = 0;
        let ns = mount_namespace_of(bpf_get_current_task());
        if ns != 0 {
            let identity = namespace::identity(ns);
            (*record).ns_id = identity.id;
            (*record).ns_inum = identity.inum;
        }
    }
}

/// [`flag::FOREIGN_ROOT`] if it holds for the running task.
#[inline(always)]
fn foreign_root() -> u32 {
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    let fs: u64 = read::member(task, offset::TASK_FS);
    if fs == 0 || read::offset(offset::FS_STRUCT_ROOT) == offset::ABSENT {
        return 0;
    }
    let root = fs + u64::from(read::offset(offset::FS_STRUCT_ROOT));
    let vfsmount: u64 = read::member(root, offset::PATH_MNT);
    let mount = vfsmount - u64::from(read::offset(offset::MOUNT_MNT));
    let ns: u64 = read::member(mount, offset::MOUNT_NS);
    if ns == mount_namespace_of(task) { 0 } else { flag::FOREIGN_ROOT }
}

/// The mount namespace of a task, 0 for one that has left its namespaces.
#[inline(always)]
pub fn mount_namespace_of(task: u64) -> u64 {
    let nsproxy: u64 = read::member(task, offset::TASK_NSPROXY);
    if nsproxy == 0 { 0 } else { read::member(nsproxy, offset::NSPROXY_MNT_NS) }
}
