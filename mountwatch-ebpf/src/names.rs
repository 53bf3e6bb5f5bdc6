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
    maps::{Array, HashMap},
    programs::TracePointContext,
};
use mountwatch_common::{control, counter, limits, name};

use crate::{
    calls::{forget, keep, kept, tell_exit, texts_of, word},
    maps, read,
    text::name_hash,
};

/// `BPF_F_NO_PREALLOC`: room is taken when it is needed.
const NO_PREALLOC: u32 = 1;

/// Hash of a name that matters → nothing.
#[map]
static NAMES: HashMap<u64, u8> = HashMap::with_max_entries(limits::NAMES_MAX, NO_PREALLOC);
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

/// `syscalls:sys_exit_*` of the same. The target of a rename loses its name too.
#[tracepoint]
pub fn name_exit(context: TracePointContext) -> u32 {
    let call = read::argument(&context, 1);
    let result = read::argument(&context, 2);
    let Some(called) = kept(result) else { return 0 };
    if result != 0 {
        forget();
        return 0;
    }
    let texts = texts_of(call);
    let (mut first, mut second) = (None, None);
    let mut index = 0;
    while index < 4 {
        if texts >> index & 1 != 0 {
            let hash = name_hash(word(called, index));
            if first.is_none() {
                first = Some(hash);
            } else {
                second = Some(hash);
            }
        }
        index += 1;
    }
    stamp(first);
    stamp(second);
    // A locked addition: what is stamped is seen by all before the names are looked for.
    maps::count(counter::NAMES_CHANGED);
    if matters(first) || matters(second) || maps::control(control::NAMES_UNTRACKED) != 0 {
        tell_exit(call, result, called, [first.unwrap_or(0), second.unwrap_or(0)]);
    }
    forget();
    0
}

#[inline(always)]
fn stamp(hash: Option<u64>) {
    if let Some(hash) = hash
        && let Some(cell) = STAMPS.get_ptr_mut(name::cell(hash))
    {
        // SAFETY: a cell of the map; the helper has no precondition.
        unsafe { cell.write_volatile(bpf_ktime_get_ns()) };
    }
}

/// A name that could not be read may be any.
#[inline(always)]
fn matters(hash: Option<u64>) -> bool {
    match hash {
        None => false,
        Some(0) => true,
        Some(hash) => NAMES.get_ptr(hash).is_some(),
    }
}
