//! A setting of the command's allocator.

use std::ffi::c_int;

/// `mi_option_purge_delay` of mimalloc's `mi_option_t`, which the crate gives no name; the same number in
/// its versions 2 and 3.
const PURGE_DELAY: c_int = 15;

/// Lets it give memory back to the kernel as soon as that is free, and not when it is asked for memory
/// next: after a burst of changes that may be never. `MIMALLOC_PURGE_DELAY` (milliseconds) goes before.
/// Nothing happens in a program with another allocator.
pub(crate) fn give_back_at_once() {
    // SAFETY: it stores a number in mimalloc's table of options, which is there in any case.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, 0) }
}
