//! Who answers a command: the agent of this host if there is one, else a tracker of the command's own.

use super::{Backend, Global, start};
use crate::agent::{
    NICE, Status, Subscription, Tracker, ViewError, out_of_reach, viewpoint_of_root,
};
use crate::client::{ClientError, blocking};
use crate::kernel::{direct, holders, task};
use crate::model::{Holders, NamespaceInode};
use crate::query::{SnapshotView, Viewpoint};
use crate::state::Snapshot;
use crate::verify::{Verification, VerifyError, compare, compare_agent};
use anyhow::{Context, bail};
use mountwatch_common::limits;
use std::io::ErrorKind;
use std::sync::Arc;

/// How often a process may change its root between two looks.
const VIEW_TRIES: u32 = 3;
const HOST_TASK: u32 = 1;

/// What `answered_by` says of an agent.
pub(super) const AGENT: &str = "agent";

/// Who answers.
pub(super) enum Source {
    Tracker(Box<Tracker>),
    Agent(Box<blocking::Client>),
}

impl Source {
    /// The agent, or a tracker for questions about the mounts.
    pub(super) fn open(global: &Global) -> anyhow::Result<Self> {
        Self::open_or(global, start::reader)
    }

    /// The agent, or a tracker that does all that an agent does.
    pub(super) fn open_whole(global: &Global) -> anyhow::Result<Self> {
        Self::open_or(global, start::tracker)
    }

    fn open_or(
        global: &Global,
        start: fn(&Global) -> anyhow::Result<Tracker>,
    ) -> anyhow::Result<Self> {
        if let Some(agent) = agent(global)? {
            return Ok(Self::Agent(Box::new(agent)));
        }
        let tracker = start(global)?;
        log::info!("answered by a tracker of this process");
        Ok(Self::Tracker(Box::new(tracker)))
    }

    /// A snapshot that shows everything that happened before.
    pub(super) fn now(&self) -> anyhow::Result<Arc<Snapshot>> {
        match self {
            Self::Tracker(tracker) => tracker.now().context("bring the index up to date"),
            Self::Agent(agent) => Ok(agent.copy(false).context("copy the agent's index")?.snapshot),
        }
    }

    /// The same with who holds the namespaces. `is_deep`: also those that no process is in.
    pub(super) fn now_with_holders(
        &self,
        is_deep: bool,
    ) -> anyhow::Result<(Arc<Snapshot>, Holders)> {
        let find = |snapshot: &Snapshot| {
            let inodes: Vec<NamespaceInode> = if is_deep {
                snapshot.namespaces().map(|known| known.inode).collect()
            } else {
                Vec::new()
            };
            holders::all(inodes).context("find out who holds the mount namespaces")
        };
        match self {
            Self::Tracker(_) => {
                let snapshot = self.now()?;
                let holders = find(&snapshot)?;
                Ok((snapshot, holders))
            }
            Self::Agent(agent) => {
                let copy = agent.copy(true).context("copy the agent's index")?;
                // Who may not see everything sees the processes that it may see.
                let holders = if copy.is_whole { copy.holders } else { find(&copy.snapshot)? };
                Ok((copy.snapshot, holders))
            }
        }
    }

    /// What a process or thread sees.
    pub(super) fn viewpoint_of_task(
        &self,
        snapshot: &Snapshot,
        pid: u32,
    ) -> anyhow::Result<Viewpoint> {
        if let Self::Tracker(tracker) = self {
            return Ok(tracker.viewpoint_of_task(snapshot, pid)?);
        }
        let root = task::root_of(pid)?;
        if let Some(view) = viewpoint_of_root(snapshot, &root) {
            return Ok(view);
        }
        let now = self.now()?;
        let unknown = ViewError::UnknownRoot { pid, revision: snapshot.revision().0 };
        Ok(out_of_reach(snapshot, &now, &root).ok_or(unknown)?)
    }

    /// What a process or thread sees, as of now.
    pub(super) fn view_of_task(&self, pid: u32) -> anyhow::Result<SnapshotView> {
        if let Self::Tracker(tracker) = self {
            return Ok(tracker.view_of_task(pid)?);
        }
        let mut tries = 0;
        loop {
            let snapshot = self.now()?;
            let from = match self.viewpoint_of_task(&snapshot, pid) {
                Err(error) if tries < VIEW_TRIES && is_unknown_root(&error) => {
                    tries += 1;
                    continue;
                }
                from => from?,
            };
            let host = self.host(&snapshot);
            let view = SnapshotView::new(snapshot, from).with_task(pid);
            return Ok(host.map_or(view.clone(), |host| view.with_host(host)));
        }
    }

    /// What the host sees.
    pub(super) fn host(&self, snapshot: &Snapshot) -> Option<Viewpoint> {
        match self {
            Self::Tracker(tracker) => tracker.host(snapshot),
            Self::Agent(_) => [HOST_TASK, std::process::id()]
                .into_iter()
                .find_map(|pid| viewpoint_of_root(snapshot, &task::root_of(pid).ok()?)),
        }
    }

    /// The present state, and every change after it; of a tracker alone.
    pub(super) fn subscribe(&self) -> anyhow::Result<(Arc<Snapshot>, Subscription)> {
        match self {
            Self::Tracker(tracker) => tracker.subscribe().context("follow the changes"),
            Self::Agent(_) => bail!("follow the changes: an agent is followed by its own stream"),
        }
    }

    /// How it is doing.
    pub(super) fn status(&self) -> anyhow::Result<Status> {
        match self {
            Self::Tracker(tracker) => tracker.status().context("ask the tracker for its status"),
            Self::Agent(agent) => agent.status().context("ask the agent for its status"),
        }
    }

    /// Who it is, in a word: a back end, or the agent.
    pub(super) fn answered_by(&self) -> anyhow::Result<String> {
        match self {
            Self::Tracker(_) => Ok(self.status()?.backend.to_owned()),
            Self::Agent(_) => Ok(AGENT.to_owned()),
        }
    }

    /// The index against the kernel.
    pub(super) fn verify(&self) -> Result<Verification, VerifyError> {
        match self {
            Self::Tracker(tracker) => compare(tracker),
            Self::Agent(agent) => compare_agent(agent),
        }
    }
}

fn is_unknown_root(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ViewError::UnknownRoot { .. }))
}

/// The agent of this host, if there is one and nothing on the command line asks for something else.
pub(super) fn agent(global: &Global) -> anyhow::Result<Option<blocking::Client>> {
    if !asks_agent(global) {
        return Ok(None);
    }
    match blocking::Client::connect(&global.socket) {
        Ok(agent) if global.show_secrets && !agent.version()?.shows_secrets => {
            if !direct::is_root() {
                bail!("show secrets: the agent was started without --show-secrets");
            }
            log::info!("the agent does not show secrets");
            Ok(None)
        }
        Ok(agent) => {
            log::info!("answered by the agent at {}", global.socket.display());
            Ok(Some(agent))
        }
        Err(ClientError::Connect { io_error, .. })
            if matches!(io_error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            log::info!("no agent at {}: {io_error}", global.socket.display());
            Ok(None)
        }
        Err(ClientError::Connect { io_error, .. })
            if io_error.kind() == ErrorKind::PermissionDenied =>
        {
            log::info!("the agent at {} is not for this user", global.socket.display());
            Ok(None)
        }
        Err(error) => Err(error).context("ask the agent; --no-agent does without it"),
    }
}

/// Whether an agent is asked: not if the command line says how the host is to be watched.
pub(super) fn asks_agent(global: &Global) -> bool {
    !global.no_agent
        && !global.socket.as_os_str().is_empty()
        && global.backend == Backend::Auto
        && global.without_hooks.is_empty()
        && global.fallback_hooks.is_empty()
        && global.mute_hooks.is_empty()
        && !global.no_fentry
        && !global.kernel_log
        && global.ring_bytes == limits::RING_BYTES
        && global.nice == NICE
}
