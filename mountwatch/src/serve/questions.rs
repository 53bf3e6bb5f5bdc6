//! The calls that are answered at once.

use super::limits::{self, count};
use super::peer::Peer;
use super::scope::{of_path, of_tracker, only_in, path, peer_of, with_host};
use super::watch::Watching;
use super::{Agent, Service};
use crate::kernel::{self, holders};
use crate::model::{Holders, MountId, UniqueMountId};
use crate::proto::mount::{as_of, mount_of_info, to_coverage, to_host_path};
use crate::proto::status::{to_holder, to_status};
use crate::proto::v1::{self, list_mounts_request, mountwatch_server::Mountwatch, which_mount};
use crate::query::{Answer, Binds, MountInfo, MountQueries, SnapshotView, WhichMount};
use crate::render::{Secrets, mountpoint_in_parent};
use crate::state::Snapshot;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

type Answered<T> = Result<Response<T>, Status>;

impl Agent {
    fn as_of<T>(&self, answer: &Answer<T>) -> v1::AsOf {
        as_of(self.instance, answer.revision, &answer.coverage)
    }

    /// A mount of an answer. What was done to it from another mount namespace names paths of that one,
    /// and is told to those alone who may see it.
    pub(super) fn mount(&self, peer: &Peer, snapshot: &Snapshot, info: &MountInfo) -> v1::Mount {
        let mount = snapshot.mount_by_id(info.id);
        let in_parent = mount.and_then(|mount| mountpoint_in_parent(snapshot, mount));
        let mut message = mount_of_info(info, in_parent, self.secrets);
        if !peer.is_privileged {
            let is_own = |done: &v1::Operation| done.namespace == message.namespace;
            message.created_by = message.created_by.take().filter(is_own);
            message.changed_by = message.changed_by.take().filter(is_own);
        }
        message
    }

    /// Answers a call, counts it, and complains in the log about one that means nothing. Of a call that
    /// stays it is the time to its first message that counts.
    async fn judge<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Answered<T>>,
    ) -> Answered<T> {
        let begin = std::time::Instant::now();
        let answered = answer.await;
        count(&self.counters.calls);
        let code = answered.as_ref().err().map_or(tonic::Code::Ok, Status::code);
        self.metrics.query(call, code_name(code), begin.elapsed());
        if let Err(status) = &answered
            && status.code() == tonic::Code::InvalidArgument
        {
            count(&self.counters.calls_invalid);
            self.complaints.complain(status.message());
        }
        answered
    }
}

/// A code as gRPC's specification writes it.
fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Unavailable => "UNAVAILABLE",
        Code::Internal => "INTERNAL",
        _ => "OTHER",
    }
}

fn which(which: Option<which_mount::Which>) -> Result<WhichMount, Status> {
    match which {
        Some(which_mount::Which::Id(id)) => Ok(WhichMount::Id(MountId(id))),
        Some(which_mount::Which::UniqueId(id)) => Ok(WhichMount::UniqueId(UniqueMountId(id))),
        None => Err(Status::invalid_argument("which mount? give its ID or its unique ID")),
    }
}

#[tonic::async_trait]
impl Mountwatch for Service {
    type ListMountsStream = ReceiverStream<Result<v1::ListMountsResponse, Status>>;
    type WatchStream = Watching;

    async fn is_mount_point(
        &self,
        request: Request<v1::IsMountPointRequest>,
    ) -> Answered<v1::IsMountPointResponse> {
        self.judge("IsMountPoint", self.is_one(request)).await
    }

    async fn get_mount(
        &self,
        request: Request<v1::GetMountRequest>,
    ) -> Answered<v1::GetMountResponse> {
        self.judge("GetMount", self.one(request)).await
    }

    async fn covering_mount(
        &self,
        request: Request<v1::CoveringMountRequest>,
    ) -> Answered<v1::CoveringMountResponse> {
        self.judge("CoveringMount", self.covering(request)).await
    }

    async fn list_mounts(
        &self,
        request: Request<v1::ListMountsRequest>,
    ) -> Answered<Self::ListMountsStream> {
        self.judge("ListMounts", self.list(request)).await
    }

    async fn get_host_path(
        &self,
        request: Request<v1::GetHostPathRequest>,
    ) -> Answered<v1::GetHostPathResponse> {
        self.judge("GetHostPath", self.host_path(request)).await
    }

    async fn list_namespaces(
        &self,
        request: Request<v1::ListNamespacesRequest>,
    ) -> Answered<v1::ListNamespacesResponse> {
        self.judge("ListNamespaces", self.namespaces(request)).await
    }

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Answered<v1::GetStatusResponse> {
        count(&self.counters.calls);
        let mut status = self.status().await?;
        status.counters.extend(self.counters.all());
        Ok(Response::new(to_status(status, self.instance)))
    }

    async fn get_version(
        &self,
        _: Request<v1::GetVersionRequest>,
    ) -> Answered<v1::GetVersionResponse> {
        count(&self.counters.calls);
        Ok(Response::new(v1::GetVersionResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api: String::from("v1"),
            backend: self.backend.clone(),
            kernel: kernel::host::kernel_release(),
            instance: self.instance,
            shows_secrets: self.secrets == Secrets::Shown,
        }))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answered<Self::WatchStream> {
        self.judge("Watch", self.follow(request)).await
    }

    async fn wait_for_mount(
        &self,
        request: Request<v1::WaitForMountRequest>,
    ) -> Answered<v1::WaitForMountResponse> {
        self.judge("WaitForMount", self.wait(request)).await
    }
}

impl Service {
    async fn is_one(
        &self,
        request: Request<v1::IsMountPointRequest>,
    ) -> Answered<v1::IsMountPointResponse> {
        let (peer, asked) = (peer_of(&request)?, request.into_inner());
        let view = self.view(&peer, asked.viewpoint.as_ref(), asked.min_freshness.as_ref()).await?;
        let binds = if asked.exclude_binds { Binds::Exclude } else { Binds::Count };
        let answer = view.is_mount_point(path(&asked.path), binds).map_err(of_path)?;
        Ok(Response::new(v1::IsMountPointResponse {
            as_of: Some(self.as_of(&answer)),
            is_mount_point: answer.value,
        }))
    }

    async fn one(&self, request: Request<v1::GetMountRequest>) -> Answered<v1::GetMountResponse> {
        use v1::get_mount_request::What;
        let (peer, asked) = (peer_of(&request)?, request.into_inner());
        let view = self.view(&peer, asked.viewpoint.as_ref(), asked.min_freshness.as_ref()).await?;
        let answer = match asked.what {
            Some(What::Mount(mount)) => view.mount(which(mount.which)?),
            Some(What::Path(bytes)) => view.mount_at(path(&bytes)),
            None => {
                return Err(Status::invalid_argument("which mount? give its path or its number"));
            }
        };
        let answer = answer.map_err(of_path)?;
        Ok(Response::new(v1::GetMountResponse {
            as_of: Some(self.as_of(&answer)),
            mount: answer.value.as_ref().map(|info| self.mount(&peer, view.snapshot(), info)),
        }))
    }

    async fn covering(
        &self,
        request: Request<v1::CoveringMountRequest>,
    ) -> Answered<v1::CoveringMountResponse> {
        let (peer, asked) = (peer_of(&request)?, request.into_inner());
        let view = self.view(&peer, asked.viewpoint.as_ref(), asked.min_freshness.as_ref()).await?;
        let answer = view.covering(path(&asked.path)).map_err(of_path)?;
        Ok(Response::new(v1::CoveringMountResponse {
            as_of: Some(self.as_of(&answer)),
            mount: answer.value.as_ref().map(|info| self.mount(&peer, view.snapshot(), info)),
        }))
    }

    async fn list(
        &self,
        request: Request<v1::ListMountsRequest>,
    ) -> Answered<ReceiverStream<Result<v1::ListMountsResponse, Status>>> {
        let (peer, asked) = (peer_of(&request)?, request.into_inner());
        let view = self.view(&peer, asked.viewpoint.as_ref(), asked.min_freshness.as_ref()).await?;
        // What cannot be asked is said before anything is sent.
        if let Some(list_mounts_request::Which::On(mount)) = &asked.which {
            which(mount.which)?;
        }
        if let Some(list_mounts_request::Which::Below(bytes)) = &asked.which {
            view.covering(path(bytes)).map_err(of_path)?;
        }
        let (sender, receiver) = mpsc::channel(limits::STREAM_MESSAGES_MAX);
        let agent = self.0.clone();
        tokio::task::spawn_blocking(move || {
            let answer = match selected(&view, asked.which) {
                Ok(answer) => answer,
                Err(status) => return drop(sender.blocking_send(Err(status))),
            };
            let as_of = Some(agent.as_of(&answer));
            // An empty list has a message too.
            let mut chunks: Vec<_> = answer.value.chunks(limits::LIST_MOUNTS).collect();
            if chunks.is_empty() {
                chunks.push(&[]);
            }
            for chunk in chunks {
                let mount = |info| agent.mount(&peer, view.snapshot(), info);
                let mounts = chunk.iter().map(mount).collect();
                let message = v1::ListMountsResponse { as_of: as_of.clone(), mounts };
                if sender.blocking_send(Ok(message)).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn host_path(
        &self,
        request: Request<v1::GetHostPathRequest>,
    ) -> Answered<v1::GetHostPathResponse> {
        let (peer, asked) = (peer_of(&request)?, request.into_inner());
        let view = self.view(&peer, asked.viewpoint.as_ref(), asked.min_freshness.as_ref()).await?;
        // The host's paths are shown to those who may see the host.
        let view = if peer.is_privileged { with_host(view) } else { view };
        let answer = view.host_path(path(&asked.path)).map_err(of_path)?;
        Ok(Response::new(v1::GetHostPathResponse {
            as_of: Some(self.as_of(&answer)),
            host_path: answer.value.as_ref().map(to_host_path),
        }))
    }

    async fn namespaces(
        &self,
        request: Request<v1::ListNamespacesRequest>,
    ) -> Answered<v1::ListNamespacesResponse> {
        let (peer, asked) = (peer_of(&request)?, request.into_inner());
        let snapshot = self.fresh(asked.min_freshness.as_ref()).await?;
        let only = only_in(&peer, &snapshot)?;
        let holders =
            if peer.is_privileged { self.holders(&snapshot).await? } else { Holders::new() };
        let mut known: Vec<_> = snapshot
            .namespaces()
            .filter(|known| only.is_none_or(|only| only == known.key))
            .collect();
        known.sort_by_key(|known| (known.id, known.inode));
        let coverage = match (only, known.first()) {
            (Some(_), Some(known)) => &known.coverage,
            _ => snapshot.coverage(),
        };
        let namespaces = known.iter().map(|known| v1::Namespace {
            inode: known.inode.0,
            id: known.id.map(|id| id.0),
            mounts: known.mount_count() as u64,
            coverage: Some(to_coverage(&known.coverage)),
            holder: holders.get(&known.inode).map(to_holder),
        });
        Ok(Response::new(v1::ListNamespacesResponse {
            namespaces: namespaces.collect(),
            as_of: Some(as_of(self.instance, snapshot.revision(), coverage)),
        }))
    }
}

impl Agent {
    /// Who holds the namespaces. Looks at every process: in a thread that may wait.
    pub(super) async fn holders(&self, snapshot: &Snapshot) -> Result<Holders, Status> {
        let inodes: Vec<_> = snapshot.namespaces().map(|known| known.inode).collect();
        tokio::task::spawn_blocking(move || holders::all(inodes))
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| Status::internal(error.to_string()))
    }

    pub(super) async fn status(&self) -> Result<crate::agent::Status, Status> {
        let tracker = self.tracker.clone();
        tokio::task::spawn_blocking(move || tracker.status())
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| of_tracker(&error))
    }
}

fn selected(
    view: &SnapshotView,
    asked: Option<list_mounts_request::Which>,
) -> Result<Answer<Vec<MountInfo>>, Status> {
    let answer = match asked {
        None => view.list(),
        Some(list_mounts_request::Which::Below(bytes)) => view.below(path(&bytes)),
        Some(list_mounts_request::Which::On(mount)) => view.children(which(mount.which)?),
    };
    answer.map_err(of_path)
}
