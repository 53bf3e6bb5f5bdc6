//! System calls as a 32-bit program makes them: `int 0x80` of a 64-bit process enters the kernel's
//! table for those, too. Numbers and memory have to fit into 32 bits.

use crate::sys::MountAttr;
use rustix::io::Errno;
use std::arch::asm;
use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

const MOVE_MOUNT: u32 = 429;
const MOUNT_SETATTR: u32 = 442;
const OPEN_TREE_ATTR: u32 = 467;
/// There if the kernel has the table; without it the instruction ends the process.
const SIGN: &str = "/proc/sys/abi/vsyscall32";
const ROOM: usize = 16 << 10;
/// The size of [`MountAttr`]: four numbers of 64 bits.
const MOUNT_ATTR_BYTES: u32 = 32;

/// Memory below 4 GiB.
struct Low {
    start: *mut u8,
    used: usize,
}

impl Low {
    fn new() -> Result<Self, Errno> {
        if !std::path::Path::new(SIGN).exists() {
            return Err(Errno::NOSYS);
        }
        // SAFETY: new memory wherever the kernel likes below 2 GiB; nothing else is touched.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                ROOM,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            Err(Errno::NOMEM)
        } else {
            Ok(Self { start: start.cast(), used: 0 })
        }
    }

    /// A copy in there; its address.
    fn put(&mut self, bytes: &[u8]) -> Result<u32, Errno> {
        let end = self
            .used
            .checked_add(bytes.len())
            .filter(|end| *end <= ROOM)
            .ok_or(Errno::NAMETOOLONG)?;
        // SAFETY: the room from `used` to `end` is inside the mapping, and ours alone.
        let at = unsafe {
            let at = self.start.add(self.used);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len());
            at
        };
        self.used = end.next_multiple_of(8);
        u32::try_from(at.addr()).map_err(|_| Errno::FAULT)
    }

    fn put_attributes(&mut self, attributes: &MountAttr) -> Result<u32, Errno> {
        let words =
            [attributes.set, attributes.clear, attributes.propagation, attributes.userns_fd];
        self.put(words.map(u64::to_ne_bytes).as_flattened())
    }
}

impl Drop for Low {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no address of it is used any more.
        unsafe { libc::munmap(self.start.cast(), ROOM) };
    }
}

/// # Safety
///
/// The arguments have to be what the call wants: addresses of memory that lives until it returns.
unsafe fn call(number: u32, arguments: [u32; 5]) -> Result<u32, Errno> {
    let [first, second, third, fourth, fifth] = arguments.map(u64::from);
    let result: u64;
    // SAFETY: the first argument's register is the compiler's own and is given back; the others are
    // declared; the kernel may clear r8 to r11.
    unsafe {
        asm!(
            "xchg {first}, rbx",
            "int 0x80",
            "xchg {first}, rbx",
            first = inout(reg) first => _,
            inlateout("rax") u64::from(number) => result,
            in("rcx") second,
            in("rdx") third,
            in("rsi") fourth,
            in("rdi") fifth,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    // The result has 32 bits, with a sign.
    let result = u32::try_from(result & u64::from(u32::MAX)).unwrap_or_default();
    let error = result.cast_signed();
    if (-4095..0).contains(&error) { Err(Errno::from_raw_os_error(-error)) } else { Ok(result) }
}

fn descriptor(of: BorrowedFd<'_>) -> u32 {
    of.as_raw_fd().cast_unsigned()
}

/// `mount_setattr(2)`.
pub(crate) fn mount_setattr(
    directory: BorrowedFd<'_>,
    path: &CStr,
    flags: u32,
    attributes: &MountAttr,
) -> Result<(), Errno> {
    let mut low = Low::new()?;
    let path = low.put(path.to_bytes_with_nul())?;
    let at = low.put_attributes(attributes)?;
    // SAFETY: path and attributes are in `low`, which lives until the end of this function.
    unsafe { call(MOUNT_SETATTR, [descriptor(directory), path, flags, at, MOUNT_ATTR_BYTES]) }
        .map(|_| ())
}

/// `open_tree_attr(2)`.
pub(crate) fn open_tree_attr(
    directory: BorrowedFd<'_>,
    path: &CStr,
    flags: u32,
    attributes: &MountAttr,
) -> Result<OwnedFd, Errno> {
    let mut low = Low::new()?;
    let path = low.put(path.to_bytes_with_nul())?;
    let at = low.put_attributes(attributes)?;
    // SAFETY: as for mount_setattr(2).
    let opened = unsafe {
        call(OPEN_TREE_ATTR, [descriptor(directory), path, flags, at, MOUNT_ATTR_BYTES])
    }?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(opened.cast_signed()) })
}

/// `move_mount(2)`.
pub(crate) fn move_mount(
    from: (BorrowedFd<'_>, &CStr),
    to: (BorrowedFd<'_>, &CStr),
    flags: u32,
) -> Result<(), Errno> {
    let mut low = Low::new()?;
    let from_path = low.put(from.1.to_bytes_with_nul())?;
    let to_path = low.put(to.1.to_bytes_with_nul())?;
    let arguments = [descriptor(from.0), from_path, descriptor(to.0), to_path, flags];
    // SAFETY: both paths are in `low`, which lives until the end of this function.
    unsafe { call(MOVE_MOUNT, arguments) }.map(|_| ())
}
