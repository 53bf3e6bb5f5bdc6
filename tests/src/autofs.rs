//! An automounter in a few lines: what systemd and automount(8) do, with a tmpfs for everything.
//!
//! The kernel writes a packet into a pipe when somebody walks into the mount, and when something may
//! expire; a thread mounts or unmounts and answers with the packet's token. Whoever is in the process
//! group of the automounter walks in without that.

use crate::command::Bytes;
use crate::sys;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::thread;

/// The packet of protocol version 5: `struct autofs_v5_packet` of include/uapi/linux/auto_fs.h.
const PACKET_BYTES: usize = 304;
const TYPE_AT: usize = 4;
const TOKEN_AT: usize = 8;
const LENGTH_AT: usize = 40;
const NAME_AT: usize = 44;
const MISSING_INDIRECT: u32 = 3;
const EXPIRE_INDIRECT: u32 = 4;
const MISSING_DIRECT: u32 = 5;
const EXPIRE_DIRECT: u32 = 6;

/// Mounts autofs and serves it until the process ends. The descriptor is the mount's root, on which
/// requests are made.
pub(crate) fn start(at: Bytes, is_direct: bool) -> Result<OwnedFd, Errno> {
    // A group of its own: others are to set it off.
    rustix::process::setpgid(None, None)?;
    let (packets, pipe) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let options = format!(
        "fd={},pgrp={},minproto=5,maxproto=5,{}",
        pipe.as_raw_fd(),
        rustix::process::getpgrp().as_raw_nonzero(),
        if is_direct { "direct" } else { "indirect" }
    );
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount("automounter", &at[..], "autofs", MountFlags::empty(), &*options)?;
    let root = rustix::fs::open(
        &at[..],
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    sys::autofs_timeout(root.as_fd(), 1)?;
    let shared = Arc::new(root.try_clone().map_err(|_| Errno::MFILE)?);
    thread::spawn(move || {
        // The end that the kernel writes to stays open as long as this serves.
        let _pipe = pipe;
        serve(&packets, &shared, &at);
    });
    Ok(root)
}

/// Asks the kernel to have everything expired that nobody uses, and waits until that is done.
pub(crate) fn expire(root: &OwnedFd) -> Result<(), Errno> {
    sys::autofs_expire(root.as_fd())
}

fn serve(packets: &OwnedFd, root: &OwnedFd, at: &[u8]) {
    let mut packet = [0; PACKET_BYTES];
    while let Ok(PACKET_BYTES) = rustix::io::read(packets, &mut packet) {
        let is_done = answer(&packet, at).is_ok();
        if sys::autofs_answer(root.as_fd(), number(&packet, TOKEN_AT), is_done).is_err() {
            return;
        }
    }
}

fn answer(packet: &[u8; PACKET_BYTES], at: &[u8]) -> Result<(), Errno> {
    let length = usize::try_from(number(packet, LENGTH_AT)).map_err(|_| Errno::INVAL)?;
    let name = packet.get(NAME_AT..NAME_AT + length).ok_or(Errno::INVAL)?;
    let below = [at, b"/", name].concat();
    let mount =
        |at: &[u8]| rustix::mount::mount("automounted", at, "tmpfs", MountFlags::empty(), None);
    match number(packet, TYPE_AT) {
        MISSING_INDIRECT => {
            rustix::fs::mkdir(&below[..], Mode::from_bits_retain(0o755))?;
            mount(&below)
        }
        EXPIRE_INDIRECT => {
            rustix::mount::unmount(&below[..], UnmountFlags::empty())?;
            rustix::fs::rmdir(&below[..])
        }
        MISSING_DIRECT => mount(at),
        EXPIRE_DIRECT => rustix::mount::unmount(at, UnmountFlags::empty()),
        _ => Err(Errno::INVAL),
    }
}

fn number(packet: &[u8; PACKET_BYTES], at: usize) -> u32 {
    packet.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}
