//! The only reads of kernel memory, by the offsets that the loader found in the kernel's BTF.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_probe_read_kernel, generated},
};
use core::arch::asm;
use mountwatch_common::{counter, offset};

use crate::lost;

/// Byte offsets of [`offset::MEMBERS`] on this kernel, set by the loader. A frozen map: verifiers
/// take the values for constants and drop the code for members that do not exist.
#[unsafe(no_mangle)]
static OFFSETS: [u32; offset::COUNT] = [offset::ABSENT; offset::COUNT];
/// Bytes of `struct mount` and of `struct dentry` up to the end of the last member we read.
#[unsafe(no_mangle)]
static SPANS: [u32; 2] = [0; 2];
/// Address of the ID mapping that changes nothing (`nop_mnt_idmap`, before 6.2 `init_user_ns`);
/// 0 for unknown, then no mount counts as mapped.
#[unsafe(no_mangle)]
static NOP_IDMAP: u64 = 0;

/// Whether the programs write diagnostics, set by the loader.
#[unsafe(no_mangle)]
static KERNEL_LOG: u32 = 0;

/// Room for the members of one `struct mount`.
pub const MOUNT_BYTES: usize = 512;
/// Room for the members of one `struct dentry`.
pub const DENTRY_BYTES: usize = 192;

/// The offset of a member.
#[inline(always)]
pub fn offset(member: usize) -> u32 {
    // SAFETY: in bounds (a constant of that very table) and never null. Volatile: the loader
    // changes the value after compilation.
    unsafe { (&raw const OFFSETS).cast::<u32>().add(member).read_volatile() }
}

/// The address of [`NOP_IDMAP`].
#[inline(always)]
pub fn nop_idmap() -> u64 {
    // SAFETY: a static; volatile as in `offset`.
    unsafe { (&raw const NOP_IDMAP).read_volatile() }
}

/// Whether the programs write diagnostics.
#[inline(always)]
pub fn kernel_log() -> bool {
    // SAFETY: a static; volatile as in `offset`.
    unsafe { (&raw const KERNEL_LOG).read_volatile() != 0 }
}

/// Nobody knows what the value would have been about.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_failed() -> i32 {
    lost::lost(counter::READS_FAILED, 0);
    0
}

/// Reads a value; zero, and counted, if the address cannot be read.
#[inline(always)]
pub fn at<T: Copy + Default>(address: u64) -> T {
    // SAFETY: the helper takes any address and fails where there is no memory; `T` is one of the
    // integers, for which any bytes are a value.
    if let Ok(value) = unsafe { bpf_probe_read_kernel(address as *const T) } {
        value
    } else {
        read_failed();
        T::default()
    }
}

/// Reads a word; zero if the address cannot be read.
#[inline(always)]
pub fn quietly(address: u64) -> u64 {
    // SAFETY: as in `at`.
    unsafe { bpf_probe_read_kernel(address as *const u64) }.unwrap_or(0)
}

/// Reads a member of the structure at an address; zero if this kernel does not have it.
#[inline(always)]
pub fn member<T: Copy + Default>(base: u64, index: usize) -> T {
    let offset = offset(index);
    if offset == offset::ABSENT { T::default() } else { at(base + u64::from(offset)) }
}

/// An argument of the hooked function, or its result behind the last one: a plain number, because
/// a global function takes no pointer into the kernel.
#[inline(always)]
pub fn argument(context: &impl EbpfContext, index: usize) -> u64 {
    at(context.as_ptr() as u64 + 8 * index as u64)
}

/// Whether a pointer that the kernel returned is an error (`IS_ERR_OR_NULL`).
#[inline(always)]
pub fn is_error(pointer: u64) -> bool {
    pointer == 0 || pointer >= -4095i64 as u64
}

/// Copies the members of a `struct mount` into a walk's memory.
#[inline(always)]
pub fn mount(destination: &mut [u8; MOUNT_BYTES], address: u64) {
    // SAFETY: a static; volatile as in `offset`.
    let span = unsafe { (&raw const SPANS).cast::<u32>().read_volatile() };
    bulk(destination.as_mut_ptr(), MOUNT_BYTES as u32, span, address);
}

/// Copies the members of a `struct dentry` into a walk's memory.
#[inline(always)]
pub fn dentry(destination: &mut [u8; DENTRY_BYTES], address: u64) {
    // SAFETY: a static; volatile as in `offset`.
    let span = unsafe { (&raw const SPANS).cast::<u32>().add(1).read_volatile() };
    bulk(destination.as_mut_ptr(), DENTRY_BYTES as u32, span, address);
}

#[inline(always)]
fn bulk(destination: *mut u8, room: u32, span: u32, address: u64) {
    // The loader refuses a kernel whose span is larger. This is for the verifier.
    if span > room {
        return;
    }
    // SAFETY: `destination` has `room` bytes; a failure zeroes them and is reported.
    let failed =
        unsafe { generated::bpf_probe_read_kernel(destination.cast(), span, address as _) };
    if failed != 0 {
        read_failed();
    }
}

/// A member of eight bytes of a structure copied before; zero if this kernel does not have it.
#[inline(always)]
pub fn word(bytes: &[u8], index: usize) -> u64 {
    let offset = offset(index);
    if offset > bytes.len() as u32 - 8 {
        return 0;
    }
    // SAFETY: just checked. The kernel's own layout aligns it.
    unsafe { bytes.as_ptr().add(offset as usize).cast::<u64>().read_volatile() }
}

/// A member of four bytes of a structure copied before; zero if this kernel does not have it.
#[inline(always)]
pub fn half(bytes: &[u8], index: usize) -> u32 {
    let offset = offset(index);
    if offset > bytes.len() as u32 - 8 {
        return 0;
    }
    // SAFETY: as in `word`.
    unsafe { bytes.as_ptr().add(offset as usize).cast::<u32>().read_volatile() }
}

/// Copies a string with its final zero, at most `room` bytes. Bytes copied, zero for a null
/// pointer or a failure.
#[inline(always)]
pub fn string(destination: *mut u8, room: u32, address: u64) -> u32 {
    if address == 0 {
        return 0;
    }
    // SAFETY: every caller passes a field of `room` bytes.
    let copied =
        unsafe { generated::bpf_probe_read_kernel_str(destination.cast(), room, address as _) };
    if copied <= 0 {
        read_failed();
        return 0;
    }
    copied as u32
}

/// The last three bits of an index. The verifier knows the bound of the very number that is given
/// back, which the compiler would leave out where it knows better ([`text`] says why that is lost).
#[inline(always)]
pub fn below_eight(index: u32) -> u64 {
    let mut index = u64::from(index);
    // SAFETY: it changes the one register.
    unsafe { asm!("{index} &= 7", index = inout(reg) index, options(nomem, nostack)) };
    index
}

/// Copies `length` bytes, at most `room`. Bytes copied.
#[inline(always)]
pub fn text(destination: *mut u8, room: u64, length: u64, address: u64) -> u32 {
    let mut length = length;
    // The older verifiers lose a bound that was found on another form of the number (a shift, its
    // lower half). So the compiler forgets here where the number comes from, and has to compare
    // the very register that it passes on.
    // SAFETY: no instruction.
    unsafe { asm!("/* {length} */", length = inout(reg) length, options(nomem, nostack)) };
    if length > room {
        length = room;
    }
    // SAFETY: every caller passes a field of `room` bytes.
    let failed = unsafe {
        generated::bpf_probe_read_kernel(destination.cast(), length as u32, address as _)
    };
    if failed != 0 {
        read_failed();
    }
    length as u32
}
