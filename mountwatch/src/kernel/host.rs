//! Facts of the host that need nothing special.

/// CLOCK_MONOTONIC in nanoseconds: the clock of the records.
pub fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// Release of the running kernel, as `uname -r` says it.
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Build of the running kernel, as `uname -v` says it: among others whether it is preemptible.
pub fn kernel_version() -> String {
    rustix::system::uname().version().to_string_lossy().into_owned()
}
