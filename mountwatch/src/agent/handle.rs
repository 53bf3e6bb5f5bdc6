//! Handles: what other threads hold of a tracker.

use super::options;
use super::source::StartError;
use super::writer::{self, Command};
use super::{Config, Status};
use crate::kernel::gauge::{Gauge, Reading};
use crate::kernel::task::{self, TaskError, TaskRoot};
use crate::query::{SnapshotView, Viewpoint};
use crate::state::{Published, Snapshot, Tables};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, mpsc as std_mpsc};
use std::thread::JoinHandle;
use thiserror::Error;
use tokio::sync::mpsc;

/// Whose root directory is the host's.
const HOST_TASK: u32 = 1;
/// How often a process may change its root between two looks.
const VIEW_TRIES: u32 = 3;

/// The tracker is not there any more.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrackerError {
    /// Its thread ended.
    #[error("the tracker ended: {0}")]
    Ended(String),
}

/// Why the view of a task is not known.
#[derive(Debug, Error)]
pub enum ViewError {
    /// The kernel does not say.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The tracker ended.
    #[error(transparent)]
    Tracker(#[from] TrackerError),
    /// It was born, or changed its root, after the snapshot.
    #[error("the root directory of process {pid} is newer than revision {revision}; ask again")]
    UnknownRoot {
        /// The process.
        pid: u32,
        /// The snapshot's revision.
        revision: u64,
    },
}

/// The receiver was too slow: changes after the last one it got were dropped. Subscribe again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too slow: changes were dropped; start again from the present state")]
pub struct Lagged;

/// A tracker that runs inside this process. Dropping it ends it and takes its programs out of the
/// kernel.
#[derive(Debug)]
pub struct Tracker {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the writer shows to readers.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) latest: RwLock<Arc<Snapshot>>,
    pub(super) end: RwLock<String>,
    /// Turns of the writer's loop.
    pub(super) turns: AtomicU64,
    pub(super) gauge: Option<Gauge>,
    /// The reading up to which everything is published.
    pub(super) settled: RwLock<Option<Reading>>,
}

impl Shared {
    /// Everything before the reading is published.
    pub(super) fn settle(&self, reading: Option<Reading>) {
        *self.settled.write().unwrap_or_else(PoisonError::into_inner) = reading;
    }

    /// Whether everything that happened before the call is published already.
    fn is_settled(&self) -> bool {
        let Some(now) = self.gauge.as_ref().map(Gauge::read) else { return false };
        *self.settled.read().unwrap_or_else(PoisonError::into_inner) == Some(now)
    }
}

impl Tracker {
    /// Loads the back end, reads every namespace once, and runs until it is dropped. Blocks until
    /// the first snapshot is there.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (ready, started) = std_mpsc::sync_channel(1);
        let config = config.clone();
        let thread = std::thread::Builder::new()
            .name("mountwatch".into())
            .spawn(move || writer::run(&config, receiver, &ready))
            .map_err(StartError::Thread)?;
        match started.recv() {
            Ok(Ok(shared)) => Ok(Self { commands, shared, thread: Some(thread) }),
            Ok(Err(error)) => {
                let _ = thread.join();
                Err(error)
            }
            Err(_) => Err(StartError::Died),
        }
    }

    /// The last published snapshot. Waits for nothing.
    pub fn latest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.latest.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The freshness barrier, and the default read: a snapshot that shows everything that happened
    /// before this call. A mount whose mount(2) has returned is in it.
    ///
    /// With the back end `hooks`, on a kernel that does not preempt itself, it makes no system call
    /// as long as nothing has changed since the last publication.
    pub fn now(&self) -> Result<Arc<Snapshot>, TrackerError> {
        if self.shared.is_settled() {
            return Ok(self.latest());
        }
        self.ask(Command::Now)
    }

    /// How often the writer looked whether there is something to do: at least four times in a second,
    /// unless it is busy. Whoever sees no progress for long knows that it hangs. Waits for nothing.
    pub fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::Relaxed)
    }

    /// Why the tracker ended, if it has. Waits for nothing.
    pub fn end(&self) -> Option<TrackerError> {
        let end = self.shared.end.read().unwrap_or_else(PoisonError::into_inner);
        let is_over = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        (is_over || !end.is_empty()).then(|| TrackerError::Ended(end.clone()))
    }

    /// The present state, and every change after exactly that.
    pub fn subscribe(&self) -> Result<(Arc<Snapshot>, Subscription), TrackerError> {
        self.ask(Command::Subscribe)
    }

    /// How it is doing, as of now.
    pub fn status(&self) -> Result<Status, TrackerError> {
        self.ask(Command::Status)
    }

    /// Scans every namespace again, while events go on. What is known stays valid meanwhile.
    pub fn rescan(&self) -> Result<(), TrackerError> {
        self.ask(Command::Rescan)
    }

    /// What a process or thread sees: its namespace and its root directory.
    pub fn viewpoint_of_task(&self, snapshot: &Snapshot, pid: u32) -> Result<Viewpoint, ViewError> {
        let root = task::root_of(pid)?;
        if let Some(view) = viewpoint_of_root(snapshot, &root) {
            return Ok(view);
        }
        let now = self.now()?;
        out_of_reach(snapshot, &now, &root)
            .ok_or(ViewError::UnknownRoot { pid, revision: snapshot.revision().0 })
    }

    /// What a process or thread sees, as of now: ask it with [`MountQueries`].
    ///
    /// [`MountQueries`]: crate::query::MountQueries
    pub fn view_of_task(&self, pid: u32) -> Result<SnapshotView, ViewError> {
        let mut tries = 0;
        loop {
            let snapshot = self.now()?;
            match self.viewpoint_of_task(&snapshot, pid) {
                // It changed its root between the two: the next snapshot has it.
                Err(ViewError::UnknownRoot { .. }) if tries < VIEW_TRIES => tries += 1,
                from => {
                    let from = from?;
                    let host = self.host(&snapshot);
                    let view = SnapshotView::new(snapshot, from).with_task(pid);
                    return Ok(match host {
                        Some(host) => view.with_host(host),
                        None => view,
                    });
                }
            }
        }
    }

    /// What the host sees: process 1 or, where that may not be looked at, this process.
    pub fn host(&self, snapshot: &Snapshot) -> Option<Viewpoint> {
        let tasks = [HOST_TASK, std::process::id()];
        tasks.into_iter().find_map(|task| self.viewpoint_of_task(snapshot, task).ok())
    }

    fn ask<T>(
        &self,
        command: impl FnOnce(std_mpsc::SyncSender<T>) -> Command,
    ) -> Result<T, TrackerError> {
        let (answer, answered) = std_mpsc::sync_channel(1);
        let ended = |shared: &Shared| {
            let end = shared.end.read().unwrap_or_else(PoisonError::into_inner);
            TrackerError::Ended(end.clone())
        };
        self.commands.send(command(answer)).map_err(|_| ended(&self.shared))?;
        answered.recv().map_err(|_| ended(&self.shared))
    }
}

/// What is seen from a root directory; `None` if the snapshot does not know it.
pub(crate) fn viewpoint_of_root(snapshot: &Snapshot, root: &TaskRoot) -> Option<Viewpoint> {
    let mount = options::mount_of(snapshot, root).filter(|mount| snapshot.is_attached(mount))?;
    snapshot.viewpoint_at(mount, root.is_mount_root, &root.path)
}

/// What is seen from a root directory that the snapshot does not know. `now`: a snapshot that was
/// asked for after the root directory was. `None`: the root is newer than the first snapshot.
///
/// Else its mount is in no namespace any more (or not yet): then nothing of its namespace can be
/// reached from there, and its mountinfo is empty.
pub(crate) fn out_of_reach(
    snapshot: &Snapshot,
    now: &Snapshot,
    root: &TaskRoot,
) -> Option<Viewpoint> {
    let find = |tables: &Tables| options::mount_of(tables, root).cloned();
    if find(snapshot).is_some_and(|mount| snapshot.is_attached(&mount))
        || find(now).is_some_and(|mount| now.is_attached(&mount))
    {
        return None;
    }
    let namespace = snapshot.namespace_by_inode(root.namespace)?;
    Some(Viewpoint::nowhere(namespace.key))
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The changes after one snapshot.
#[derive(Debug)]
pub struct Subscription {
    pub(super) receiver: mpsc::Receiver<Arc<Published>>,
    pub(super) lagged: Arc<AtomicBool>,
}

impl Subscription {
    /// The next published step. `None` when the tracker ended.
    pub async fn recv(&mut self) -> Option<Result<Arc<Published>, Lagged>> {
        let published = self.receiver.recv().await;
        self.given(published)
    }

    /// As [`Subscription::recv`], for threads without an event loop.
    pub fn recv_blocking(&mut self) -> Option<Result<Arc<Published>, Lagged>> {
        let published = self.receiver.blocking_recv();
        self.given(published)
    }

    /// The next published step, if it is there. `None`: it is not, or the tracker ended.
    pub fn try_recv(&mut self) -> Option<Result<Arc<Published>, Lagged>> {
        match self.receiver.try_recv() {
            Err(mpsc::error::TryRecvError::Empty) => None,
            published => self.given(published.ok()),
        }
    }

    fn given(&self, published: Option<Arc<Published>>) -> Option<Result<Arc<Published>, Lagged>> {
        match published {
            Some(published) => Some(Ok(published)),
            None if self.lagged.swap(false, Ordering::Relaxed) => Some(Err(Lagged)),
            None => None,
        }
    }
}
