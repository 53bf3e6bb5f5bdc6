//! Waiting for descriptors in tokio's event loop.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor of its own for the same file with the event loop of this thread: it is
/// readable when the given one is.
pub(crate) fn readable(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    let own = fd.try_clone_to_owned()?;
    // SAFETY: the descriptor is open and owned by the value that is returned, which gives out the
    // same one each time and keeps it open until it is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) };
    registered.map_err(io::Error::from)
}
