//! A thread that changes mounts in a mount namespace of its own, so that the hooks can be seen to
//! fire.
//!
//! Everything that it makes lies on a tmpfs of its own in a private copy of this process's mount
//! namespace. The thread goes home at its end, which frees the namespace before the end is told; if
//! the process is killed the kernel does the same. Nothing is left behind either way, and nothing
//! that it does propagates to anywhere else.

mod act;

use super::sys;
use super::sys_canary;
use crate::model::NamespaceInode;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use thiserror::Error;

pub use act::{Act, Propagation};

/// Why the canary does not live.
#[derive(Debug, Error)]
pub enum CanaryError {
    /// A step of its preparation.
    #[error("cannot {step}: {error}")]
    Prepare {
        /// What was to be done.
        step: &'static str,
        /// Why it was not.
        error: io::Error,
    },
    /// Its namespaces cannot be read.
    #[error("cannot read the mountinfo of its mount namespaces: {0}")]
    Look(#[source] io::Error),
    /// The thread.
    #[error("cannot start a thread for it: {0}")]
    Thread(#[source] io::Error),
    /// It ended.
    #[error("its thread ended")]
    Ended,
}

/// What the kernel says of one of its namespaces.
#[derive(Debug)]
pub struct Seen {
    /// Inode of the namespace.
    pub inode: NamespaceInode,
    /// The namespace.
    pub namespace: OwnedFd,
    /// Its mountinfo, as whoever enters it reads it.
    pub mountinfo: Vec<u8>,
}

/// What one act led to.
#[derive(Debug)]
pub struct Outcome {
    /// Whether the kernel did it.
    pub result: io::Result<()>,
    /// Its namespaces after it.
    pub seen: Vec<Seen>,
    /// The mount ID of a detached tree, if there is one now.
    pub detached: Option<u32>,
    /// The namespace that it left for good.
    pub gone: Option<NamespaceInode>,
}

/// The canary. Dropping it ends it.
#[derive(Debug)]
pub struct Canary {
    acts: Option<Sender<Act>>,
    outcomes: Receiver<Result<Outcome, CanaryError>>,
    handle: Option<JoinHandle<()>>,
}

impl Canary {
    /// Starts it; with what it sees before its first act.
    pub fn start() -> Result<(Self, Outcome), CanaryError> {
        let (acts, from_caller) = channel();
        let (to_caller, outcomes) = channel();
        let handle = std::thread::Builder::new()
            .name("canary".to_owned())
            .spawn(move || live(&from_caller, &to_caller))
            .map_err(CanaryError::Thread)?;
        let canary = Self { acts: Some(acts), outcomes, handle: Some(handle) };
        let first = canary.outcome()?;
        Ok((canary, first))
    }

    /// Lets it do something.
    pub fn act(&mut self, act: Act) -> Result<Outcome, CanaryError> {
        let acts = self.acts.as_ref().ok_or(CanaryError::Ended)?;
        acts.send(act).map_err(|_| CanaryError::Ended)?;
        self.outcome()
    }

    fn outcome(&self) -> Result<Outcome, CanaryError> {
        self.outcomes.recv().map_err(|_| CanaryError::Ended)?
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.acts = None;
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

/// What the thread holds.
struct Nest {
    /// `/proc`, opened before it stands where none is mounted.
    proc: OwnedFd,
    /// This process's own namespace.
    home: OwnedFd,
    /// Its own.
    own: OwnedFd,
    /// A copy of its own, if it has made one.
    copy: Option<OwnedFd>,
    /// A detached tree, if it has one.
    tree: Option<OwnedFd>,
}

fn live(acts: &Receiver<Act>, outcomes: &Sender<Result<Outcome, CanaryError>>) {
    let mut nest = match Nest::build() {
        Ok(nest) => nest,
        Err(error) => {
            let _ = outcomes.send(Err(error));
            return;
        }
    };
    let first = nest.outcome(Ok(()), None).map_err(CanaryError::Look);
    if outcomes.send(first).is_ok() {
        while let Ok(act) = acts.recv() {
            let gone = if act == Act::Leave { nest.copy.as_ref().and_then(inode_of) } else { None };
            let result = nest.act(act);
            let outcome = nest.outcome(result, gone).map_err(CanaryError::Look);
            if outcomes.send(outcome).is_err() {
                break;
            }
        }
    }
    nest.tree = None;
    nest.copy = None;
    // Now, and not when the thread is taken apart: a thread that was waited for can still have
    // its namespace.
    let _ = sys::enter(nest.home.as_fd());
}

fn prepare<T>(
    step: &'static str,
    result: Result<T, impl Into<io::Error>>,
) -> Result<T, CanaryError> {
    result.map_err(|error| CanaryError::Prepare { step, error: error.into() })
}

impl Nest {
    fn build() -> Result<Self, CanaryError> {
        let proc = prepare("open /proc", open(CWD, c"/proc", OFlags::DIRECTORY))?;
        let link = c"thread-self/ns/mnt";
        let home = prepare("open /proc/thread-self/ns/mnt", open(&proc, link, OFlags::empty()))?;
        prepare("have a root directory of its own", sys::unshare_fs())?;
        prepare("make a mount namespace", sys_canary::unshare_mounts())?;
        // From here on the thread must not end without going home, or its namespace would live a
        // little longer than the thread.
        let built = Self::settle(&proc);
        let own = built.inspect_err(|_| {
            let _ = sys::enter(home.as_fd());
        })?;
        Ok(Self { proc, home, own, copy: None, tree: None })
    }

    /// Cuts the new namespace off from all others and puts a tmpfs over everything.
    fn settle(proc: &OwnedFd) -> Result<OwnedFd, CanaryError> {
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        prepare("make its mounts private", rustix::mount::mount_change("/", private))?;
        let link = c"thread-self/ns/mnt";
        let own = prepare("open its mount namespace", open(proc, link, OFlags::empty()))?;
        let old = prepare("open its root directory", open(CWD, c"/", OFlags::DIRECTORY))?;
        let tmpfs = prepare("make a tmpfs", tmpfs())?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        let moved = rustix::mount::move_mount(&tmpfs, "", CWD, "/", flags);
        prepare("mount a tmpfs on its root directory", moved)?;
        prepare("enter its tmpfs", rustix::process::fchdir(&tmpfs))?;
        // Without the mounts of the host each step is cheaper. The first root of a machine cannot
        // be left (EINVAL): then they stay below the tmpfs, where nothing sees them.
        if rustix::process::pivot_root(".", ".").is_ok() {
            prepare("go to its old root directory", rustix::process::fchdir(&old))?;
            prepare(
                "detach what it does not need",
                rustix::mount::unmount(".", UnmountFlags::DETACH),
            )?;
        }
        // Whoever enters a namespace stands on top of everything there.
        prepare("enter its mount namespace", sys::enter(own.as_fd()))?;
        Ok(own)
    }

    /// Looks around, from the root of each of its namespaces.
    fn outcome(&self, result: io::Result<()>, gone: Option<NamespaceInode>) -> io::Result<Outcome> {
        let mut seen = Vec::new();
        // The own one is the last, so that the thread stands there afterwards.
        for namespace in self.copy.iter().chain([&self.own]) {
            sys::enter(namespace.as_fd())?;
            let file = open(&self.proc, c"thread-self/mountinfo", OFlags::empty())?;
            let mut mountinfo = Vec::new();
            io::Read::read_to_end(&mut std::fs::File::from(file), &mut mountinfo)?;
            let inode = inode_of(namespace).unwrap_or_default();
            seen.push(Seen { inode, namespace: namespace.try_clone()?, mountinfo });
        }
        let detached = self.tree.as_ref().and_then(act::mount_id);
        Ok(Outcome { result, seen, detached, gone })
    }
}

fn open(directory: impl AsFd, path: &std::ffi::CStr, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, path, flags, Mode::empty())?)
}

/// A tmpfs that is not attached yet.
fn tmpfs() -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", act::SOURCE)?;
    rustix::mount::fsconfig_create(&context)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    Ok(rustix::mount::fsmount(&context, flags, MountAttrFlags::empty())?)
}

fn inode_of(namespace: &OwnedFd) -> Option<NamespaceInode> {
    let inode = rustix::fs::fstat(namespace).ok()?.st_ino;
    u32::try_from(inode).ok().map(NamespaceInode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leaves_nothing_behind_or_says_why_it_cannot_live() {
        let before = std::fs::read("/proc/thread-self/mountinfo").unwrap();
        match Canary::start() {
            Ok((mut canary, first)) => {
                assert_eq!(first.seen.len(), 1);
                let outcome = canary.act(Act::Mount("/a")).unwrap();
                outcome.result.unwrap();
                let text = String::from_utf8_lossy(&outcome.seen.first().unwrap().mountinfo);
                assert!(text.contains(" /a "), "{text}");
            }
            // Without privileges.
            Err(error) => assert!(matches!(error, CanaryError::Prepare { .. }), "{error}"),
        }
        assert_eq!(std::fs::read("/proc/thread-self/mountinfo").unwrap(), before);
    }
}
