//! Who is at the other end of a connection, and what that may see.

use crate::kernel::sys_peer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::net::UnixStream;

/// The process that connected, as it was then.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) pid: u32,
    pub(super) uid: u32,
    /// Root, the agent's own user, or a member of the socket's group: sees everything.
    pub(super) is_privileged: bool,
    /// By which it is known whether it still lives: its number may be another's by now.
    process: Option<OwnedFd>,
}

impl Peer {
    /// Asks the kernel. `group`: the socket's.
    pub(super) fn of(stream: &UnixStream, group: u32) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let (uid, gid) = (credentials.uid(), credentials.gid());
        let is_member =
            || sys_peer::peer_groups(stream.as_fd()).is_ok_and(|groups| groups.contains(&group));
        let own = rustix::process::geteuid().as_raw();
        let pid = credentials.pid().and_then(Pid::from_raw);
        let process = sys_peer::peer_pidfd(stream.as_fd())
            .ok()
            .or_else(|| pidfd_open(pid?, PidfdFlags::empty()).ok());
        Ok(Self {
            pid: pid.map_or(0, |pid| u32::try_from(pid.as_raw_nonzero().get()).unwrap_or(0)),
            uid,
            is_privileged: uid == 0 || uid == own || gid == group || is_member(),
            process,
        })
    }

    /// Whether it still lives.
    pub(super) fn is_alive(&self) -> bool {
        let Some(process) = &self.process else { return false };
        // A descriptor of a process is readable once that has ended.
        let mut fds = [PollFd::new(process, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready == 0)
    }
}
