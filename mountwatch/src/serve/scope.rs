//! From a request to what its sender sees: viewpoint, freshness, rights.

use super::Agent;
use super::limits::{self, count};
use super::peer::Peer;
use crate::agent::{TrackerError, out_of_reach, viewpoint_of_root};
use crate::kernel::task::{self, TaskError, TaskRoot};
use crate::model::{NamespaceId, NamespaceInode, NamespaceKey};
use crate::proto::v1;
use crate::query::{PathError, SnapshotView, Viewpoint};
use crate::state::Snapshot;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use tonic::{Request, Status};
use v1::freshness::AtLeast;
use v1::viewpoint::From;

/// Whose root directory is the host's; where that may not be looked at, the agent's own.
const HOST_TASK: u32 = 1;

/// Who asks.
pub(super) fn peer_of<T>(request: &Request<T>) -> Result<Arc<Peer>, Status> {
    let peer = request.extensions().get::<Arc<Peer>>();
    peer.cloned().ok_or_else(|| Status::internal("the caller is not known"))
}

/// A path of a request.
pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

pub(super) fn of_path(error: PathError) -> Status {
    Status::invalid_argument(error.to_string())
}

pub(super) fn of_tracker(error: &TrackerError) -> Status {
    Status::unavailable(error.to_string())
}

fn of_task(error: &TaskError) -> Status {
    let text = error.to_string();
    match error {
        TaskError::Gone(_) => Status::not_found(text),
        TaskError::NotPermitted(_) => Status::permission_denied(text),
        TaskError::NoMountId(_) => Status::failed_precondition(text),
        TaskError::Call { .. } => Status::internal(text),
    }
}

impl Agent {
    /// A snapshot that is as fresh as asked for.
    pub(super) async fn fresh(
        &self,
        freshness: Option<&v1::Freshness>,
    ) -> Result<Arc<Snapshot>, Status> {
        let asked = freshness.and_then(|freshness| freshness.at_least.as_ref());
        let position = match asked {
            Some(AtLeast::Latest(_)) => return Ok(self.tracker.latest()),
            Some(AtLeast::Position(position)) => Some(position),
            Some(AtLeast::Now(_)) | None => None,
        };
        let Some(position) = position else {
            return self.barrier.now().await.map_err(|error| of_tracker(&error));
        };
        if position.instance != self.instance {
            return Err(Status::failed_precondition(
                "the position is one of another run of the agent: ask for what is there now",
            ));
        }
        let latest = self.tracker.latest();
        if latest.revision().0 >= position.revision {
            return Ok(latest);
        }
        let now = self.barrier.now().await.map_err(|error| of_tracker(&error))?;
        if now.revision().0 < position.revision {
            return Err(Status::failed_precondition(format!(
                "revision {} is not there yet: the index is at {}",
                position.revision,
                now.revision()
            )));
        }
        Ok(now)
    }

    /// What is seen from a viewpoint, as fresh as asked for.
    pub(super) async fn view(
        &self,
        peer: &Peer,
        viewpoint: Option<&v1::Viewpoint>,
        freshness: Option<&v1::Freshness>,
    ) -> Result<SnapshotView, Status> {
        let snapshot = self.fresh(freshness).await?;
        let view = self.view_of(snapshot, peer, viewpoint).await?;
        self.permit(peer, &view)?;
        Ok(view)
    }

    async fn view_of(
        &self,
        snapshot: Arc<Snapshot>,
        peer: &Peer,
        viewpoint: Option<&v1::Viewpoint>,
    ) -> Result<SnapshotView, Status> {
        let namespace = match viewpoint.and_then(|viewpoint| viewpoint.from.as_ref()) {
            None => return self.view_of_root(snapshot, peer.pid, || root_of_peer(peer)).await,
            Some(From::Task(task)) => {
                let root = || task::root_of(*task).map_err(|error| of_task(&error));
                return self.view_of_root(snapshot, *task, root).await;
            }
            Some(From::Host(_)) => {
                let task = host_task();
                let root = || task::root_of(task).map_err(|error| of_task(&error));
                return self.view_of_root(snapshot, task, root).await;
            }
            Some(From::Namespace(inode)) => snapshot.namespace_by_inode(NamespaceInode(*inode)),
            Some(From::NamespaceId(id)) => {
                snapshot.namespaces().find(|known| known.id == Some(NamespaceId(*id)))
            }
        };
        let key =
            namespace.ok_or_else(|| Status::not_found("there is no such mount namespace"))?.key;
        let from = snapshot.viewpoint_of_namespace(key).unwrap_or(Viewpoint::nowhere(key));
        Ok(SnapshotView::new(snapshot, from))
    }

    /// What is seen from a task's root directory. One that is newer than the snapshot is looked for
    /// again in a fresh one.
    async fn view_of_root(
        &self,
        snapshot: Arc<Snapshot>,
        task: u32,
        root: impl Fn() -> Result<TaskRoot, Status>,
    ) -> Result<SnapshotView, Status> {
        let mut snapshot = snapshot;
        for _ in 0..limits::VIEW_TRIES {
            let root = root()?;
            if let Some(from) = viewpoint_of_root(&snapshot, &root) {
                return Ok(SnapshotView::new(snapshot, from).with_task(task));
            }
            let now = self.barrier.now().await.map_err(|error| of_tracker(&error))?;
            if let Some(from) = out_of_reach(&snapshot, &now, &root) {
                return Ok(SnapshotView::new(snapshot, from).with_task(task));
            }
            snapshot = now;
        }
        Err(Status::failed_precondition(format!(
            "the root directory of task {task} changes all the time: ask again"
        )))
    }

    fn permit(&self, peer: &Peer, view: &SnapshotView) -> Result<(), Status> {
        let Some(only) = only(peer)? else { return Ok(()) };
        let seen = view.snapshot().namespace(view.viewpoint().namespace).map(|known| known.inode);
        if seen == Some(only) {
            return Ok(());
        }
        count(&self.counters.calls_denied);
        Err(Status::permission_denied(
            "another mount namespace than the caller's is shown to root and to the members of the \
             socket's group alone",
        ))
    }
}

/// The namespace that is all that a caller may see; `None`: every one.
pub(super) fn only(peer: &Peer) -> Result<Option<NamespaceInode>, Status> {
    if peer.is_privileged {
        return Ok(None);
    }
    Ok(Some(root_of_peer(peer)?.namespace))
}

/// The same as a key of a snapshot; one that it does not have shows nothing.
pub(super) fn only_in(peer: &Peer, snapshot: &Snapshot) -> Result<Option<NamespaceKey>, Status> {
    let only = only(peer)?;
    let key = |inode| snapshot.namespace_by_inode(inode).map(|known| known.key);
    Ok(only.map(|inode| key(inode).unwrap_or(NamespaceKey(u64::MAX))))
}

/// The view with the way to the host.
pub(super) fn with_host(view: SnapshotView) -> SnapshotView {
    let host = task::root_of(host_task()).ok();
    match host.and_then(|root| viewpoint_of_root(view.snapshot(), &root)) {
        Some(host) => view.with_host(host),
        None => view,
    }
}

fn host_task() -> u32 {
    if task::root_of(HOST_TASK).is_ok() { HOST_TASK } else { std::process::id() }
}

/// The root directory of the process that connected. Its number must still be its own after that.
fn root_of_peer(peer: &Peer) -> Result<TaskRoot, Status> {
    let root = task::root_of(peer.pid);
    if !peer.is_alive() {
        return Err(Status::failed_precondition(
            "the process that opened this connection has ended: connect anew, or name a viewpoint",
        ));
    }
    root.map_err(|error| of_task(&error))
}
