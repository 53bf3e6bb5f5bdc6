//! System calls of the mount family by the kernel's own functions for them (back end `hooks`): no
//! other call costs more.
//!
//! What a call was given is kept while it runs, so that all records of its changes say which call they
//! are of. A program that the kernel skips costs the index nothing: that call is not told.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use mountwatch_common::{counter, record::flag};

use crate::{
    calls::{Called, concerns, forget, keep_called, kept, tell_exit, texts_tell},
    maps::count,
    program::{probe_arguments, probe_result},
    read,
    who::paths_tell,
};

/// Byte offsets within `struct pt_regs`: the six arguments of a system call, the same for a caller
/// with 32 bits, and the call's number. Set by the loader.
#[unsafe(no_mangle)]
static CALL_REGISTERS: [u32; 13] = [0; 13];

/// Index of the number.
const NUMBER: u32 = 12;
/// Index of the first argument of a caller with 32 bits.
const COMPAT: u32 = 6;
/// What a number has above its table's (x32).
const NUMBER_MASK: u64 = 0x3fff_ffff;

/// `regs`: the caller's registers. `compat`: [`flag::COMPAT`] or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn call_begin(regs: u64, compat: u32) -> i32 {
    let call = register(regs, NUMBER) & NUMBER_MASK;
    let first = if compat == 0 { 0 } else { COMPAT };
    let mut called =
        Called { args: [0; 6], ktime_ns: 0, call: call as u32, flags: compat, way: [0; 4] };
    let mut index = 0;
    while index < 6 {
        let word = register(regs, first + index);
        called.args[index as usize] = if compat == 0 { word } else { word & 0xffff_ffff };
        index += 1;
    }
    if !concerns(call, compat, called.args[0]) {
        // What is kept is of a call whose end was not seen.
        forget();
        return 0;
    }
    // SAFETY: the helper has no precondition.
    called.ktime_ns = unsafe { bpf_ktime_get_ns() };
    if !keep_called(&called) {
        count(counter::OPERATIONS_MISSED);
        return 0;
    }
    if let Some(called) = kept() {
        let told = texts_tell(compat, 1);
        // SAFETY: an element of the map, which only this very thread removes.
        unsafe { (&raw mut (*called).flags).write_volatile(told) };
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn call_end(result: u64) -> i32 {
    // It does not concern us, or its begin was not seen.
    let Some(called) = kept() else { return 0 };
    // SAFETY: an element of the map, which only this very thread removes.
    let call = u64::from(unsafe { (&raw const (*called).call).read_volatile() });
    texts_tell(0, 0);
    paths_tell();
    tell_exit(call, result, called, None);
    forget();
    0
}

#[inline(always)]
fn register(regs: u64, index: u32) -> u64 {
    // SAFETY: in bounds; volatile, since the loader sets it.
    let offset =
        unsafe { (&raw const CALL_REGISTERS).cast::<u32>().add(index as usize).read_volatile() };
    read::quietly(regs + u64::from(offset))
}

macro_rules! ends {
    ($($name:ident)*) => {$(
        #[fexit]
        pub fn $name(context: FExitContext) -> i32 {
            call_end(read::argument(&context, 1))
        }
    )*};
}

ends! {
    call_mount_end
    call_umount_end
    call_move_mount_end
    call_open_tree_end
    call_open_tree_attr_end
    call_fsopen_end
    call_fsconfig_end
    call_fsmount_end
    call_fspick_end
    call_mount_setattr_end
    call_pivot_root_end
    call_unshare_end
    call_setns_end
}

/// For all calls: a trampoline would need a program for each.
#[kprobe]
pub fn call_begin_probe(context: ProbeContext) -> u32 {
    let [regs, ..] = probe_arguments(&context, 1);
    call_begin(regs, 0) as u32
}

/// For all calls of callers with 32 bits, which are rare.
#[kprobe]
pub fn call_begin_compat_probe(context: ProbeContext) -> u32 {
    let [regs, ..] = probe_arguments(&context, 1);
    call_begin(regs, flag::COMPAT) as u32
}

/// The end of both where there are no trampolines, and for callers with 32 bits.
#[kretprobe]
pub fn call_end_probe(context: RetProbeContext) -> u32 {
    call_end(probe_result(&context)) as u32
}
