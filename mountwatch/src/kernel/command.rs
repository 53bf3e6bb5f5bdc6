//! One command that runs as our child, and every process below it.
//!
//! This process becomes a child subreaper (prctl(2)): whoever below it loses its parent becomes its
//! child, so that a chain of parents leads from each of them to here however it was made.

use super::sys_signal::Blocked;
use rustix::process::{Pid, Signal, WaitOptions};
use std::ffi::OsString;
use std::io;
use std::process::Command;
use std::time::Duration;
use thiserror::Error;

/// Signals that are passed on to the command.
const PASSED_ON: &[i32] =
    &[libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];
/// Exit status of a shell for a command that is not there, and for one that cannot be executed.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
/// What is added to the number of the signal that ended a command.
const BY_SIGNAL: u8 = 128;

/// Why a command does not run, or is not waited for.
#[derive(Debug, Error)]
pub enum CommandError {
    /// It cannot be executed.
    #[error("{io_error}")]
    Execute {
        /// Why.
        #[source]
        io_error: io::Error,
        /// What a shell gives as exit status then.
        status: u8,
    },
    /// No mount namespace for it.
    #[error(
        "it gets no mount namespace of its own: {0}; run as root, without --namespace or raise user.max_mnt_namespaces"
    )]
    Namespace(#[source] io::Error),
    /// The kernel refuses something else.
    #[error("{call}: {io_error}")]
    Call {
        /// What.
        call: &'static str,
        /// Why.
        #[source]
        io_error: io::Error,
    },
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an exit status.
    Status(u8),
    /// By a signal.
    Signal(u8),
}

impl Ended {
    /// The exit status that a shell gives: 128 more than the number of a signal.
    pub fn status(self) -> u8 {
        match self {
            Self::Status(status) => status,
            Self::Signal(signal) => BY_SIGNAL.saturating_add(signal),
        }
    }
}

/// What came while we waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// Nothing.
    Nothing,
    /// Children ended; the command, if it says how.
    Child(Option<Ended>),
    /// A signal that is to be passed on.
    Signal(i32),
}

/// This process as the parent of everything that a command starts.
pub struct Parent {
    signals: Blocked,
    child: Option<Pid>,
}

impl std::fmt::Debug for Parent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parent").field("child", &self.child).finish_non_exhaustive()
    }
}

impl Parent {
    /// To be made before any thread: from now on signals are waited for, in every thread.
    pub fn new() -> Result<Self, CommandError> {
        let fail = |call| move |io_error| CommandError::Call { call, io_error };
        let signals =
            Blocked::new(&[PASSED_ON, &[libc::SIGCHLD]].concat()).map_err(fail("block signals"))?;
        // Any process but none says that it is meant.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(io::Error::from)
            .map_err(fail("become the parent of orphans"))?;
        Ok(Self { signals, child: None })
    }

    /// Starts the command, with our own stdin, stdout and stderr. `is_private`: in a mount namespace of
    /// its own that gets and gives no mounts.
    pub fn spawn(&mut self, words: &[OsString], is_private: bool) -> Result<(), CommandError> {
        let mut words = words.iter();
        let Some(program) = words.next() else {
            let io_error = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(CommandError::Execute { io_error, status: NOT_EXECUTABLE });
        };
        let mut command = Command::new(program);
        command.args(words);
        self.signals.prepare(&mut command, is_private);
        let child = command.spawn().map_err(|io_error| explain(io_error, is_private))?;
        self.child = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(())
    }

    /// What comes next, if anything does in this time.
    pub fn wait(&mut self, timeout: Duration) -> Result<Came, CommandError> {
        let fail = |call| move |io_error| CommandError::Call { call, io_error };
        let caught = self.signals.wait(timeout).map_err(fail("wait for signals"))?;
        Ok(match caught {
            None => Came::Nothing,
            Some(caught) if caught.signal == libc::SIGCHLD => {
                Came::Child(self.reap().map_err(fail("wait for the command"))?)
            }
            // The command is in our process group and has it already.
            Some(caught) if caught.is_from_kernel && self.child.is_some() => Came::Nothing,
            Some(caught) => Came::Signal(caught.signal),
        })
    }

    /// Passes a signal on to the command. One that has ended gets none.
    pub fn pass_on(&self, signal: i32) {
        if let (Some(child), Some(signal)) = (self.child, Signal::from_named_raw(signal)) {
            // It cannot have been waited for yet, so that it is no other process.
            let _ = rustix::process::kill_process(child, signal);
        }
    }

    /// Waits for every child that has ended. One signal may stand for many.
    fn reap(&mut self) -> io::Result<Option<Ended>> {
        let mut ended = None;
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if Some(pid) == self.child => {
                    ended = ended_of(status);
                    if ended.is_some() {
                        self.child = None;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(ended),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn ended_of(status: rustix::process::WaitStatus) -> Option<Ended> {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.exit_status(), status.terminating_signal()) {
        (Some(status), _) => Some(Ended::Status(byte(status))),
        (None, Some(signal)) => Some(Ended::Signal(byte(signal))),
        (None, None) => None,
    }
}

/// execve(2) does not give the errors of unshare(2), but for ENOMEM, which is as bad in both.
fn explain(io_error: io::Error, is_private: bool) -> CommandError {
    match io_error.raw_os_error() {
        Some(libc::EPERM | libc::ENOSPC | libc::EUSERS) if is_private => {
            CommandError::Namespace(io_error)
        }
        Some(libc::ENOENT) => CommandError::Execute { io_error, status: NOT_FOUND },
        Some(libc::EAGAIN | libc::ENOMEM) => {
            CommandError::Call { call: "start a process", io_error }
        }
        _ => CommandError::Execute { io_error, status: NOT_EXECUTABLE },
    }
}
