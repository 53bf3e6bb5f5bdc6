//! Writing to stdout. Whoever reads may go away at any time, which is no error.

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Write};

/// Whether anybody still reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Reads,
    Gone,
}

/// Writes everything and flushes.
pub(super) fn write(bytes: &[u8]) -> anyhow::Result<Reader> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error).context("write to stdout"),
    }
}

/// Whether the other end of a pipe or socket is closed. Costs no write.
pub(super) fn is_reader_gone() -> bool {
    let stdout = std::io::stdout();
    // Errors are told unasked.
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok()
        && fds.iter().any(|fd| fd.revents().contains(PollFlags::ERR))
}
