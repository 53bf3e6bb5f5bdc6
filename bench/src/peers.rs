//! What others ask the kernel.

use crate::sys;
use anyhow::{Context as _, Result, ensure};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use std::fs::File;
use std::io::Read as _;

/// `STATX_MNT_ID_UNIQUE`.
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;

/// A line of mountinfo(5), as a parser gives it that copies nothing.
pub(crate) struct Line<'a> {
    pub(crate) id: &'a [u8],
    pub(crate) mountpoint: &'a [u8],
    /// All words of it were looked at.
    pub(crate) words: usize,
}

/// Reads a mountinfo as a whole, into a buffer that is used again.
pub(crate) fn read_mountinfo(buffer: &mut Vec<u8>) -> Result<()> {
    buffer.clear();
    File::open("/proc/self/mountinfo")?.read_to_end(buffer)?;
    Ok(())
}

/// Its lines.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| {
        let mut words = 0;
        let (mut id, mut mountpoint, mut start) = (&b""[..], &b""[..], 0);
        for end in memchr::memchr_iter(b' ', line).chain([line.len()]) {
            match words {
                0 => id = &line[start..end],
                4 => mountpoint = &line[start..end],
                _ => {}
            }
            words += 1;
            start = end + 1;
        }
        Line { id, mountpoint, words }
    })
}

/// Whether statx(2) calls a path a mount point.
pub(crate) fn is_mount_root(path: &str) -> Result<bool> {
    let stat = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// The unique ID of the mount on which a path lies.
pub(crate) fn unique_id(path: &str) -> Result<u64> {
    let flags = StatxFlags::from_bits_retain(STATX_MNT_ID_UNIQUE);
    Ok(statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, flags)?.stx_mnt_id)
}

/// statmount(2) and listmount(2) with buffers that are used again. Kernel 6.8.
pub(crate) struct Statmount {
    pub(crate) buffer: Vec<u8>,
    pub(crate) ids: Vec<u64>,
}

impl Statmount {
    /// `None` where the kernel has no such calls.
    pub(crate) fn new(path: &str) -> Option<Self> {
        let mut one = Self { buffer: vec![0; 16 << 10], ids: Vec::new() };
        one.of(path, sys::STATMOUNT_BASIC).ok().map(|()| one)
    }

    /// Everything about the mount on which a path lies.
    pub(crate) fn of(&mut self, path: &str, mask: u64) -> Result<()> {
        let id = unique_id(path)?;
        sys::statmount(id, mask, &mut self.buffer).context("statmount(2)")
    }

    /// The mounts on the one at a path, each with everything.
    pub(crate) fn below(&mut self, path: &str) -> Result<usize> {
        sys::listmount(unique_id(path)?, &mut self.ids).context("listmount(2)")?;
        for id in &self.ids {
            sys::statmount(*id, sys::STATMOUNT_ALL, &mut self.buffer)?;
        }
        Ok(self.ids.len())
    }

    /// The mounts whose mountpoint begins with a directory's path.
    pub(crate) fn with_prefix(&mut self, prefix: &str) -> Result<usize> {
        sys::listmount(sys::LISTMOUNT_ROOT, &mut self.ids).context("listmount(2)")?;
        let mut found = 0;
        for id in &self.ids {
            sys::statmount(*id, sys::STATMOUNT_POINT, &mut self.buffer)?;
            let point = sys::mountpoint_of(&self.buffer);
            found += usize::from(point.starts_with(prefix.as_bytes()));
        }
        Ok(found)
    }

    /// All mounts with everything.
    pub(crate) fn all(&mut self) -> Result<usize> {
        sys::listmount(sys::LISTMOUNT_ROOT, &mut self.ids).context("listmount(2)")?;
        for id in &self.ids {
            sys::statmount(*id, sys::STATMOUNT_ALL, &mut self.buffer)?;
        }
        Ok(self.ids.len())
    }
}

/// findmnt(8) as a program. `None` where there is none.
pub(crate) fn has_findmnt() -> bool {
    findmnt().is_ok()
}

/// Lists everything.
pub(crate) fn findmnt() -> Result<()> {
    let output = std::process::Command::new("findmnt").arg("-ln").output()?;
    ensure!(output.status.success() && !output.stdout.is_empty(), "findmnt(8) failed");
    Ok(())
}
