//! A tracefs to look tracepoints up in, on hosts that have none mounted.

use std::{fs, io, ptr, thread};

/// Where the loader's library looks for it, among other places.
const TRACEFS: &std::ffi::CStr = c"/sys/kernel/tracing";
/// A file of every tracefs.
const PROBE: [&str; 2] = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"];

/// Runs `work` where a tracefs is mounted: here, or else in a thread with a mount namespace of its
/// own, so that nobody else's mounts change.
pub(crate) fn with_tracefs<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    if PROBE.iter().any(|path| fs::exists(path).unwrap_or(false)) {
        return Ok(work());
    }
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            mount_privately()?;
            Ok(work())
        });
        worker.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
}

/// Gives the calling thread a mount namespace of its own, with a tracefs.
fn mount_privately() -> io::Result<()> {
    // SAFETY: affects the calling thread alone: its namespace, its root and working directory.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    // SAFETY: the paths are C strings; the other pointers may be null for this operation.
    check(unsafe {
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), flags, ptr::null())
    })?;
    // SAFETY: as above.
    check(unsafe {
        let kind = c"tracefs".as_ptr();
        libc::mount(kind, TRACEFS.as_ptr(), kind, libc::MS_NOSUID, ptr::null())
    })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
