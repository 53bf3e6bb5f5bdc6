//! Settings of the command's memory.

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

/// Lets the kernel give it pages of the usual size alone. The allocator asks for huge ones, of 2 MiB, and
/// the kernel makes some out of whatever is there, minutes later (`khugepaged`): then memory that is long
/// free comes back, and what a process has grows with its age and not with what it keeps. Nothing here is
/// faster for them.
///
/// It is inherited by children and by what they run (`PR_SET_THP_DISABLE` in prctl(2)): not for somebody
/// who runs another one's program.
pub(crate) fn take_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        log::debug!("the kernel goes on giving huge pages: {error}");
    }
}
