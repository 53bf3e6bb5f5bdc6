//! The one bpf(2) command that the loader's library does not offer.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
/// Words of `struct bpf_prog_info` up to and including `recursion_misses`.
const INFO_WORDS: usize = 27;
/// Index of `recursion_misses` among them.
const RECURSION_MISSES: usize = 26;

/// The head of `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// How often the kernel skipped a program because it was already running on that CPU
/// (`recursion_misses`, since 5.12; 0 before).
pub(crate) fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = [0u64; INFO_WORDS];
    let mut attr = InfoAttr {
        bpf_fd: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        info_len: u32::try_from(size_of_val(&info)).map_err(io::Error::other)?,
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: `attr` and the buffer that it names live through the call, and the kernel writes no
    // more than `info_len` bytes. All input fields of the buffer are zero: no array is asked for.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &raw mut attr, size_of::<InfoAttr>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // An older kernel fills less; the rest stays zero.
    Ok(info[RECURSION_MISSES])
}
