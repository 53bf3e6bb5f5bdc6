//! Signals that are waited for, and what a child does between fork(2) and execve(2).

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Signals that are blocked, and what was blocked before.
#[derive(Clone, Copy)]
pub(super) struct Blocked {
    set: libc::sigset_t,
    before: libc::sigset_t,
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caught {
    pub(super) signal: i32,
    /// The kernel sent it, as it does for a key of the terminal: to the whole process group.
    pub(super) is_from_kernel: bool,
}

impl Blocked {
    /// Blocks signals in this thread and in those that it makes from now on.
    pub(super) fn new(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: both sets are plain memory of this function, and the first is initialised by
        // sigemptyset before anything else; pthread_sigmask writes the other one.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in signals {
                if libc::sigaddset(&raw mut set, *signal) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            let error = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before);
            if error == 0 {
                Ok(Self { set, before })
            } else {
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }

    /// The next of the signals, if one comes in this time.
    pub(super) fn wait(&self, timeout: Duration) -> io::Result<Option<Caught>> {
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: all three live until the call returns, which fills the second.
        let (signal, info) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let signal = libc::sigtimedwait(&raw const self.set, &raw mut info, &raw const timeout);
            (signal, info)
        };
        if signal >= 0 {
            let is_from_kernel = info.si_code == libc::SI_KERNEL;
            return Ok(Some(Caught { signal, is_from_kernel }));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => Ok(None),
            _ => Err(error),
        }
    }

    /// Lets the command's process begin with the signals that were blocked before, and if asked for
    /// in a mount namespace of its own that is private.
    pub(super) fn prepare(&self, command: &mut Command, is_private: bool) {
        let before = self.before;
        let begin = move || {
            if is_private {
                super::sys_canary::unshare_mounts()?;
                let private = rustix::mount::MountPropagationFlags::PRIVATE
                    | rustix::mount::MountPropagationFlags::REC;
                rustix::mount::mount_change(c"/", private)?;
            }
            // SAFETY: the set is a copy that the closure owns.
            let error = unsafe {
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut())
            };
            if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
        };
        // SAFETY: between fork and exec it makes three system calls on memory of its own, takes no
        // lock and allocates nothing.
        unsafe { command.pre_exec(begin) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_waited_for() {
        // The mask of this very thread.
        let blocked = Blocked::new(&[libc::SIGUSR2]).unwrap();
        assert_eq!(blocked.wait(Duration::ZERO).unwrap(), None);
        // SAFETY: the signal is blocked in this thread, to which it is sent.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGUSR2) };
        let caught = blocked.wait(Duration::from_secs(5)).unwrap().unwrap();
        assert_eq!(caught, Caught { signal: libc::SIGUSR2, is_from_kernel: false });
    }
}
