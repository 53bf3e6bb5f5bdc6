//! Texts out of the memory of the running process, and the names at their ends.

use aya_ebpf::{helpers::generated::bpf_probe_read_user_str, macros::map, maps::PerCpuArray};
use mountwatch_common::{
    hook,
    limits::{TEXT_BYTES_MAX, TEXT_BYTES_SHORT},
    name,
    record::{ArgumentLong, ArgumentRecord, ArgumentShort, flag, kind},
};

use crate::{
    emit::{Wake, header},
    room::reserve_of_call,
};

/// The last bytes of a path that are looked at for its last component: a name of 255 bytes, and
/// slashes behind it.
const TAIL_BYTES: u32 = 320;
/// Bytes that one round of [`name_steps`] takes.
const STEP_BYTES: u32 = 64;

/// A text, and the state of the search for the name at its end.
#[repr(C)]
struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    at: u32,
    end: u32,
    /// The component at hand has bytes.
    has_bytes: u32,
    /// The beginning of the component at hand was seen.
    is_whole: u32,
    hash: u64,
    /// The hash of the component before.
    last: u64,
}

/// Slots of [`TEXT`], one for each program that may be preempted by the others.
pub mod slot {
    pub const NAME: u32 = 0;
    pub const NAME_SPARE: u32 = 1;
    pub const COUNT: u32 = 2;
}

#[map]
static TEXT: PerCpuArray<Text> = PerCpuArray::with_max_entries(slot::COUNT, 0);

/// Tells one text argument of a call. It is read right into the record: what is told is what was
/// there when it was read. `may_come`: the call has just begun, and what cannot be read may be there
/// when it returns. 1 = nothing is told.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn argument_tell(call: u32, index: u32, pointer: u64, may_come: u32) -> i32 {
    let Some(mut entry) = reserve_of_call::<ArgumentShort>() else { return 1 };
    let record = entry.as_mut_ptr();
    // SAFETY: the slot is ours until submitted; the field has so many bytes, what is behind the text
    // is not read, and the helper takes any address.
    let copied = unsafe {
        let to = (&raw mut (*record).text).cast();
        bpf_probe_read_user_str(to, TEXT_BYTES_SHORT as u32, pointer as *const _)
    };
    if copied <= 0 && may_come != 0 {
        entry.discard(Wake::Silent.flags());
        return 1;
    }
    if copied >= TEXT_BYTES_SHORT as i64 {
        entry.discard(Wake::Silent.flags());
        return long_argument_tell(call, index, pointer);
    }
    let flags = if copied <= 0 { flag::UNREADABLE } else { 0 };
    let length = if copied <= 0 { 0 } else { copied as u32 - 1 };
    // SAFETY: as above.
    unsafe { fill(&raw mut (*record).argument, call, index, length, flags) };
    entry.submit(Wake::Silent.flags());
    0
}

/// One that does not fit into the short class.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn long_argument_tell(call: u32, index: u32, pointer: u64) -> i32 {
    let Some(mut entry) = reserve_of_call::<ArgumentLong>() else { return 1 };
    let record = entry.as_mut_ptr();
    // SAFETY: as above.
    let copied = unsafe {
        let to = (&raw mut (*record).text).cast();
        bpf_probe_read_user_str(to, TEXT_BYTES_MAX as u32, pointer as *const _)
    };
    let flags = if copied <= 0 { flag::UNREADABLE } else { 0 };
    let length = if copied <= 0 { 0 } else { copied as u32 - 1 };
    // SAFETY: as above.
    unsafe { fill(&raw mut (*record).argument, call, index, length, flags) };
    entry.submit(Wake::Silent.flags());
    0
}

#[inline(always)]
unsafe fn fill(record: *mut ArgumentRecord, call: u32, index: u32, text_bytes: u32, flags: u32) {
    // SAFETY: the caller's slot.
    unsafe {
        header(&raw mut (*record).header, kind::ARGUMENT, hook::CALL, flags);
        (*record).call = call;
        (*record).index = index;
        (*record).text_bytes = text_bytes;
        (*record).reserved = 0;
    }
}

/// Copies a text; its length without the final zero. `None`: it cannot be read.
#[inline(always)]
fn load(text: *mut Text, pointer: u64) -> Option<u32> {
    // SAFETY: the field has so many bytes, and the helper takes any address.
    let copied = unsafe {
        let bytes = (&raw mut (*text).bytes).cast();
        bpf_probe_read_user_str(bytes, TEXT_BYTES_MAX as u32, pointer as *const _)
    };
    if copied <= 0 || copied > TEXT_BYTES_MAX as i64 { None } else { Some(copied as u32 - 1) }
}

/// The hash of the last component of a path; 0 if it is not known.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn name_hash(pointer: u64, slot: u32) -> u64 {
    let Some(text) = TEXT.get_ptr_mut(slot) else { return 0 };
    let Some(length) = load(text, pointer) else { return 0 };
    // SAFETY: the slot of the running program on this CPU.
    unsafe {
        (*text).end = length;
        (*text).at = length.saturating_sub(TAIL_BYTES);
        (*text).is_whole = u32::from(length <= TAIL_BYTES);
        (*text).has_bytes = 0;
        (*text).hash = name::START;
        (*text).last = 0;
    }
    let mut round = 0;
    while round < TAIL_BYTES / STEP_BYTES {
        if name_steps(slot) != 0 {
            break;
        }
        round += 1;
    }
    // SAFETY: as above.
    unsafe {
        if (*text).has_bytes == 0 {
            (*text).last
        } else if (*text).is_whole == 0 {
            0
        } else {
            name::finish((*text).hash)
        }
    }
}

/// Takes some bytes. 1 = the text is over.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn name_steps(slot: u32) -> i32 {
    let Some(text) = TEXT.get_ptr_mut(slot) else { return 1 };
    let mut step = 0;
    while step < STEP_BYTES {
        // SAFETY: the memory of this CPU; the index is masked.
        unsafe {
            let at = (&raw const (*text).at).read_volatile();
            if at >= (&raw const (*text).end).read_volatile() {
                return 1;
            }
            let index = at as usize & (TEXT_BYTES_MAX - 1);
            let byte = (&raw const (*text).bytes).cast::<u8>().add(index).read_volatile();
            if byte == b'/' {
                if (&raw const (*text).has_bytes).read_volatile() != 0 {
                    let is_whole = (&raw const (*text).is_whole).read_volatile() != 0;
                    let last = if is_whole { name::finish((*text).hash) } else { 0 };
                    (&raw mut (*text).last).write_volatile(last);
                }
                (&raw mut (*text).has_bytes).write_volatile(0);
                (&raw mut (*text).is_whole).write_volatile(1);
                (&raw mut (*text).hash).write_volatile(name::START);
            } else {
                let hash = name::step((&raw const (*text).hash).read_volatile(), byte);
                (&raw mut (*text).hash).write_volatile(hash);
                (&raw mut (*text).has_bytes).write_volatile(1);
            }
            (&raw mut (*text).at).write_volatile(at + 1);
        }
        step += 1;
    }
    0
}
