//! A disk: a loop device over a file with the smallest ext2 file system, which ext4 mounts.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};

use crate::sys;

// Everything is small: 16 bits hold it, and go into any other number.
const BLOCK: u16 = 1024;
const BLOCKS: u16 = 256;
const INODES: u16 = 16;
/// The blocks in their order: boot, super block, group descriptor, bitmaps of blocks and of inodes,
/// inodes (two blocks), root directory.
const SUPER_BLOCK: u16 = 1;
const GROUP_BLOCK: u16 = 2;
const BLOCK_BITMAP: u16 = 3;
const INODE_BITMAP: u16 = 4;
const INODE_TABLE: u16 = 5;
const ROOT_BLOCK: u16 = 7;
/// Inodes that the file system keeps for itself, the root directory among them.
const RESERVED_INODES: u16 = 10;
/// Bytes of one inode.
const INODE_BYTES: usize = 128;

/// Writes the file system into a file and attaches it to a loop device, which frees itself with its
/// last user.
pub(crate) fn attach(path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::from_bits_retain(0o600))?;
    let mut rest = &image()[..];
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let control = rustix::fs::open("/dev/loop-control", flags, Mode::empty())?;
    let number = sys::loop_free(control.as_fd())?;
    let device = rustix::fs::open(format!("/dev/loop{number}"), flags, Mode::empty())?;
    sys::loop_attach(device.as_fd(), file.as_fd())?;
    Ok(device)
}

/// The path of a loop device that is open.
pub(crate) fn path(device: &OwnedFd) -> Result<Vec<u8>, Errno> {
    use std::os::fd::AsRawFd as _;
    let link = format!("/proc/self/fd/{}", device.as_raw_fd());
    Ok(rustix::fs::readlink(link, Vec::new())?.into_bytes())
}

/// Makes ext4 believe that it found an error on a device.
pub(crate) fn cause_error(device: &OwnedFd) -> Result<(), Errno> {
    let path = path(device)?;
    let name = String::from_utf8_lossy(path.strip_prefix(b"/dev/").unwrap_or(&path)).into_owned();
    fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "caused by a test")
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// An empty ext2 file system of the first revision: `struct ext4_super_block` and its kin of
/// fs/ext4/ext4.h.
fn image() -> Vec<u8> {
    let start = |block: u16| usize::from(BLOCK) * usize::from(block);
    let mut image = vec![0; start(BLOCKS)];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    let (free_blocks, free_inodes) = (BLOCKS - 1 - ROOT_BLOCK, INODES - RESERVED_INODES);
    // Counts, sizes: blocks of 1 KiB of which the first is block 1, one group.
    let words = [INODES, BLOCKS, 0, free_blocks, free_inodes, 1, 0, 0, 8192, 8192, INODES];
    for (index, word) in words.into_iter().enumerate() {
        put(start(SUPER_BLOCK) + index * 4, &u32::from(word).to_le_bytes());
    }
    // Never to be checked, the magic number, clean, errors: go on.
    for (at, half) in [(54, u16::MAX), (56, 0xef53), (58, 1), (60, 1)] {
        put(start(SUPER_BLOCK) + at, &half.to_le_bytes());
    }
    for (index, block) in [BLOCK_BITMAP, INODE_BITMAP, INODE_TABLE].into_iter().enumerate() {
        put(start(GROUP_BLOCK) + index * 4, &u32::from(block).to_le_bytes());
    }
    for (index, count) in [free_blocks, free_inodes, 1].into_iter().enumerate() {
        put(start(GROUP_BLOCK) + 12 + index * 2, &count.to_le_bytes());
    }
    // A bit is set for what is used and for what is beyond the end. Block 0 has none.
    put(start(BLOCK_BITMAP), &bitmap(ROOT_BLOCK, BLOCKS - 1));
    put(start(INODE_BITMAP), &bitmap(RESERVED_INODES, INODES));
    // The root directory, inode 2: mode, size, links, sectors, block.
    let root = start(INODE_TABLE) + INODE_BYTES;
    for (at, half) in [(0, 0x41ed), (4, BLOCK), (26, 2), (28, 2), (40, ROOT_BLOCK)] {
        put(root + at, &half.to_le_bytes());
    }
    // Its entries `.` and `..`: inode, length of the entry, length of the name, name.
    put(start(ROOT_BLOCK), b"\x02\0\0\0\x0c\0\x01\0.");
    put(start(ROOT_BLOCK) + 12, b"\x02\0\0\0\xf4\x03\x02\0..");
    image
}

fn bitmap(used: u16, all: u16) -> [u8; BLOCK as usize] {
    let mut bitmap = [0; BLOCK as usize];
    for bit in (0..used).chain(all..BLOCK * 8) {
        bitmap[usize::from(bit / 8)] |= 1 << (bit % 8);
    }
    bitmap
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_set_before_the_free_ones_and_after_them() {
        let bitmap = bitmap(10, 16);
        assert_eq!(bitmap[..4], [0xff, 0x03, 0xff, 0xff]);
    }

    #[test]
    fn the_image_has_its_magic_number() {
        let image = image();
        assert_eq!(image.len(), 256 * 1024);
        assert_eq!(image[1024 + 56..1024 + 58], [0x53, 0xef]);
    }
}
