//! Facts of the host.

use super::sys;
use crate::model::Dialect;
use crate::render::Clock;
use crate::wire::mountinfo;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::{self, Read};

/// CLOCK_MONOTONIC in nanoseconds: the clock of the records.
pub fn monotonic_ns() -> u64 {
    read_ns(ClockId::Monotonic)
}

/// Both clocks, now: by them a time of a record is one of the wall clock.
pub fn clock() -> Clock {
    Clock { realtime_ns: read_ns(ClockId::Realtime), monotonic_ns: monotonic_ns() }
}

fn read_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// `fs.mount-max`: how many mounts a mount namespace may have.
pub fn mount_max() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/fs/mount-max").ok()?.trim().parse().ok()
}

/// Release of the running kernel, as `uname -r` says it.
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Build of the running kernel, as `uname -v` says it: among others whether it is preemptible.
pub fn kernel_version() -> String {
    rustix::system::uname().version().to_string_lossy().into_owned()
}

/// How the running kernel writes mountinfo(5). Kernels with statmount(2) need not be asked; another
/// one is shown a mount with a strange source, in a mount namespace that nobody else is in and that
/// is gone when this returns.
pub fn dialect() -> io::Result<Dialect> {
    if sys::has_statmount() {
        return Ok(Dialect::default());
    }
    std::thread::Builder::new()
        .name("dialect".to_owned())
        .spawn(ask_dialect)
        .and_then(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("it panicked"))))
}

/// Ends with the thread and its namespace.
fn ask_dialect() -> io::Result<Dialect> {
    sys::unshare_mounts()?;
    // Nothing that is done here may reach another namespace.
    mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let mut file = File::open("/proc/thread-self/mountinfo")?;
    mount(c"#", c"/", c"tmpfs", MountFlags::RDONLY, None)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    mountinfo::dialect_in(&text, b"tmpfs")
        .ok_or_else(|| io::Error::other("the mount that was to show it is not in its own file"))
}
