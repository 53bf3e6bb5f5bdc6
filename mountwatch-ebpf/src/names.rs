//! Renames and deletions of names by system calls, for hosts that refuse the hook on the kernel's own
//! functions (back end `notify`).
//!
//! What is renamed or deleted is named by the last component of a path, whatever leads there. Only
//! if that is a name on the way to a mountpoint or a root (`NAMES`) the call is told. A name that
//! becomes known while it is renamed is not missed: this side stamps its cell first and looks for
//! the name then, userspace puts the name there first and looks at the stamp then.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::{map, tracepoint},
    maps::Array,
    programs::TracePointContext,
};
use mountwatch_common::{counter, limits, name};

use crate::{
    calls::{Called, forget, is_kept, keep, kept, kept_or_lost, tell_exit, texts_of, word},
    maps, read,
    text::{name_hash, slot},
};

/// Bits of the names that matter, and behind them a word that is not 0 if all of them do. Userspace
/// writes them through a mapping and not with bpf(2): while that is under way the kernel skips
/// every program on a tracepoint on that CPU.
#[map]
static NAMES: Array<u64> =
    Array::with_max_entries(limits::NAME_BITS / u64::BITS + 1, aya_ebpf::bindings::BPF_F_MMAPABLE);
/// When a name of a cell was renamed or deleted last. Mapped by userspace.
#[map]
static STAMPS: Array<u64> =
    Array::with_max_entries(limits::STAMPS, aya_ebpf::bindings::BPF_F_MMAPABLE);

/// `syscalls:sys_enter_*` of rename, renameat, renameat2, unlink, unlinkat and rmdir.
#[tracepoint]
pub fn name_enter(context: TracePointContext) -> u32 {
    keep(&context);
    0
}

#[tracepoint]
pub fn name_enter_spare(context: TracePointContext) -> u32 {
    if !is_kept(&context) {
        maps::count(counter::SKIPS_SPARED);
        keep(&context);
    }
    0
}

/// `syscalls:sys_exit_*` of the same.
#[tracepoint]
pub fn name_exit(context: TracePointContext) -> u32 {
    if let Some(called) = kept_or_lost(read::argument(&context, 2)) {
        exit(&context, called, slot::NAME);
    }
    0
}

#[tracepoint]
pub fn name_exit_spare(context: TracePointContext) -> u32 {
    // The first one forgets it.
    if let Some(called) = kept() {
        maps::count(counter::SKIPS_SPARED);
        exit(&context, called, slot::NAME_SPARE);
    }
    0
}

/// The target of a rename loses its name too.
#[inline(always)]
fn exit(context: &TracePointContext, called: *const Called, slot: u32) {
    let call = read::argument(context, 1);
    let result = read::argument(context, 2);
    if result != 0 {
        return forget();
    }
    let texts = texts_of(call);
    // Not options: the compiler reads what they do not have, which the verifier refuses.
    let (mut first, mut second) = (0, 0);
    let mut count = 0;
    let mut index = 0;
    while index < 4 {
        if texts >> index & 1 != 0 {
            let hash = name_hash(word(called, index), slot);
            if count == 0 {
                first = hash;
            } else {
                second = hash;
            }
            count += 1;
        }
        index += 1;
    }
    stamp(first);
    stamp(second);
    // A locked addition: what is stamped is seen by all before the names are looked for.
    maps::count(counter::NAMES_CHANGED);
    if matters(first) || count > 1 && matters(second) {
        tell_exit(call, result, called, Some([first, second]));
    }
    forget();
}

/// A name that is not known stamps a cell that some other one has, which does no harm.
#[inline(always)]
fn stamp(hash: u64) {
    if let Some(cell) = STAMPS.get_ptr_mut(name::cell(hash)) {
        // SAFETY: a cell of the map; the helper has no precondition.
        unsafe { cell.write_volatile(bpf_ktime_get_ns()) };
    }
}

/// A name that could not be read may be any.
#[inline(always)]
fn matters(hash: u64) -> bool {
    if hash == 0 {
        return true;
    }
    let bit = name::bit(hash);
    is_set(bit / u64::BITS, 1 << (bit % u64::BITS)) || is_set(limits::NAME_BITS / u64::BITS, 1)
}

#[inline(always)]
fn is_set(index: u32, mask: u64) -> bool {
    match NAMES.get_ptr(index) {
        // SAFETY: a cell of the map, which userspace writes at any time.
        Some(cell) => (unsafe { cell.read_volatile() }) & mask != 0,
        None => true,
    }
}
