//! What the canary can do, each by one system call. What it needs for it is made before.

use super::{Nest, open};
use crate::kernel::{sys, sys_canary};
use crate::model::Call;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsPickFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The source of its mounts, by which somebody who sees one knows whose it is.
pub(super) const SOURCE: &str = "mountwatch";
/// `AT_RECURSIVE` of open_tree(2).
const AT_RECURSIVE: u32 = 0x8000;
/// `MOUNT_ATTR_NOSUID` and `MOUNT_ATTR_NODEV`.
const ATTR_NOSUID: u64 = 0x2;
const ATTR_NODEV: u64 = 0x4;

/// A propagation type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// A peer group of its own.
    Shared,
    /// Of its present peer group.
    Slave,
    /// None.
    Private,
}

/// One thing that the canary does. Paths are absolute in its namespace; directories that are not
/// there are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// mount(2) of a new tmpfs.
    Mount(&'static str),
    /// mount(2) with MS_BIND.
    Bind(&'static str, &'static str),
    /// mount(2) with MS_BIND and MS_REC.
    BindTree(&'static str, &'static str),
    /// mount(2) with MS_MOVE.
    Move(&'static str, &'static str),
    /// umount(2).
    Umount(&'static str),
    /// umount2(2) with MNT_DETACH.
    Detach(&'static str),
    /// mount(2) with a propagation type.
    Make(Propagation, &'static str),
    /// mount(2) with MS_REMOUNT, MS_BIND and MS_NOEXEC.
    Remount(&'static str),
    /// fspick(2), and fsconfig(2) with `ro`.
    Reconfigure(&'static str),
    /// mount_setattr(2) with MOUNT_ATTR_NOSUID.
    SetAttributes(&'static str),
    /// open_tree_attr(2) of an attached mount with MOUNT_ATTR_NODEV.
    TreeAttributes(&'static str),
    /// move_mount(2) with MOVE_MOUNT_SET_GROUP.
    SetGroup(&'static str, &'static str),
    /// pivot_root(2): the new root, and where the old one goes.
    Pivot(&'static str, &'static str),
    /// rename(2).
    Rename(&'static str, &'static str),
    /// renameat2(2) with RENAME_EXCHANGE.
    Exchange(&'static str, &'static str),
    /// rmdir(2).
    Rmdir(&'static str),
    /// open_tree(2) with OPEN_TREE_CLONE and AT_RECURSIVE.
    OpenTree(&'static str),
    /// move_mount(2) of what was opened.
    Attach(&'static str),
    /// unshare(2) with CLONE_NEWNS, and back: the copy is held.
    Copy,
    /// close(2) of the copy.
    Leave,
}

impl Act {
    /// The system call of the mount family that it is, or the last one of those.
    pub fn call(self) -> Option<Call> {
        Some(match self {
            Self::Mount(_)
            | Self::Bind(..)
            | Self::BindTree(..)
            | Self::Move(..)
            | Self::Make(..)
            | Self::Remount(_) => Call::Mount,
            Self::Umount(_) | Self::Detach(_) => Call::Umount2,
            Self::Reconfigure(_) => Call::Fsconfig,
            Self::SetAttributes(_) => Call::MountSetattr,
            Self::TreeAttributes(_) => Call::OpenTreeAttr,
            Self::SetGroup(..) | Self::Attach(_) => Call::MoveMount,
            Self::Pivot(..) => Call::PivotRoot,
            Self::OpenTree(_) => Call::OpenTree,
            Self::Copy => Call::Unshare,
            Self::Rename(..) | Self::Exchange(..) | Self::Rmdir(_) | Self::Leave => return None,
        })
    }
}

/// The reused ID of a descriptor's mount.
pub(super) fn mount_id(fd: &OwnedFd) -> Option<u32> {
    let known = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    u32::try_from(known.stx_mnt_id).ok()
}

impl Nest {
    pub(super) fn act(&mut self, act: Act) -> io::Result<()> {
        match act {
            Act::Mount(at) => {
                make_directories(at)?;
                Ok(rustix::mount::mount(SOURCE, at, "tmpfs", MountFlags::empty(), None)?)
            }
            Act::Bind(from, to) => {
                make_directories(from)?;
                make_directories(to)?;
                Ok(rustix::mount::mount_bind(from, to)?)
            }
            Act::BindTree(from, to) => {
                make_directories(to)?;
                Ok(rustix::mount::mount_bind_recursive(from, to)?)
            }
            Act::Move(from, to) => {
                make_directories(to)?;
                Ok(rustix::mount::mount_move(from, to)?)
            }
            Act::Umount(at) => Ok(rustix::mount::unmount(at, UnmountFlags::empty())?),
            Act::Detach(at) => Ok(rustix::mount::unmount(at, UnmountFlags::DETACH)?),
            Act::Make(propagation, at) => {
                Ok(rustix::mount::mount_change(at, flags_of(propagation))?)
            }
            Act::Pivot(new, old) => {
                make_directories(old)?;
                Ok(rustix::process::pivot_root(new, old)?)
            }
            Act::Rename(from, to) => Ok(rustix::fs::rename(from, to)?),
            Act::Exchange(one, other) => {
                make_directories(other)?;
                let flags = RenameFlags::EXCHANGE;
                Ok(rustix::fs::renameat_with(CWD, one, CWD, other, flags)?)
            }
            Act::Rmdir(at) => Ok(rustix::fs::rmdir(at)?),
            Act::Remount(_)
            | Act::Reconfigure(_)
            | Act::SetAttributes(_)
            | Act::TreeAttributes(_)
            | Act::SetGroup(..) => set(act),
            Act::OpenTree(_) | Act::Attach(_) => self.tree(act),
            Act::Copy => self.copy(),
            Act::Leave => {
                self.copy = None;
                Ok(())
            }
        }
    }

    /// A tree that is in no namespace.
    fn tree(&mut self, act: Act) -> io::Result<()> {
        if let Act::OpenTree(at) = act {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE.bits()
                | OpenTreeFlags::OPEN_TREE_CLOEXEC.bits()
                | AT_RECURSIVE;
            let flags = OpenTreeFlags::from_bits_retain(flags);
            self.tree = Some(rustix::mount::open_tree(CWD, at, flags)?);
        } else if let Act::Attach(at) = act {
            make_directories(at)?;
            let tree = self.tree.take().ok_or(Errno::BADF)?;
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(&tree, "", CWD, at, flags)?;
        }
        Ok(())
    }

    fn copy(&mut self) -> io::Result<()> {
        sys_canary::unshare_mounts()?;
        let copy = open(&self.proc, c"thread-self/ns/mnt", OFlags::empty());
        sys::enter(self.own.as_fd())?;
        self.copy = Some(copy?);
        Ok(())
    }
}

/// Acts on the attributes of what is mounted.
fn set(act: Act) -> io::Result<()> {
    match act {
        Act::Remount(at) => {
            let flags = MountFlags::BIND | MountFlags::NOEXEC;
            rustix::mount::mount_remount(at, flags, c"")?;
        }
        Act::Reconfigure(at) => {
            let context = rustix::mount::fspick(CWD, at, FsPickFlags::FSPICK_CLOEXEC)?;
            rustix::mount::fsconfig_set_flag(&context, "ro")?;
            rustix::mount::fsconfig_reconfigure(&context)?;
        }
        Act::SetAttributes(at) => sys_canary::mount_setattr(&CString::new(at)?, ATTR_NOSUID)?,
        Act::TreeAttributes(at) => {
            sys_canary::open_tree_attr(&CString::new(at)?, ATTR_NODEV).map(drop)?;
        }
        Act::SetGroup(from, to) => {
            let flags = MoveMountFlags::MOVE_MOUNT_SET_GROUP;
            rustix::mount::move_mount(CWD, from, CWD, to, flags)?;
        }
        _ => return Err(Errno::INVAL.into()),
    }
    Ok(())
}

fn flags_of(propagation: Propagation) -> MountPropagationFlags {
    match propagation {
        Propagation::Shared => MountPropagationFlags::SHARED,
        Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
        Propagation::Private => MountPropagationFlags::PRIVATE,
    }
}

/// Makes a directory and those above it.
fn make_directories(path: &str) -> io::Result<()> {
    let ends = path.char_indices().skip(1).filter_map(|(at, byte)| (byte == '/').then_some(at));
    for end in ends.chain([path.len()]) {
        let above = path.get(..end).unwrap_or(path);
        match rustix::fs::mkdir(above, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
