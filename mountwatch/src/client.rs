//! Questions to an agent: the same ones as to a tracker of one's own, and changes as they happen.
//!
//! [`Client`] is for code with an event loop (tokio). [`blocking::Client`] is the same for all other
//! code; its [`blocking::View`] answers [`MountQueries`](crate::query::MountQueries), as a
//! [`SnapshotView`](crate::query::SnapshotView) of a tracker does, so that code can take either.
//!
//! [`mapped::View`] answers the same questions out of memory that it shares with the agent, without a
//! round trip: a thousand times as fast, and as old as it says.
//!
//! ```no_run
//! use mountwatch::client::{Whose, blocking};
//! use mountwatch::query::{Binds, MountQueries};
//! use std::path::Path;
//!
//! let client = blocking::Client::connect(Path::new(mountwatch::client::SOCKET))?;
//! let answer = client.view(Whose::Caller).is_mount_point(Path::new("/var"), Binds::Count)?;
//! println!("{} as of revision {} ({})", answer.value, answer.revision, answer.coverage);
//! # Ok::<(), mountwatch::client::ClientError>(())
//! ```

pub mod blocking;
pub mod mapped;
mod watching;

pub use crate::proto::Malformed;
pub use watching::{Position, WatchOptions, Watched, Watching};

use crate::agent::Status;
use crate::model::{Holders, NamespaceId, NamespaceInode};
use crate::proto::copy::Copied;
use crate::proto::mount::{answer_of, host_path_of, to_info};
use crate::proto::status::status_of;
use crate::proto::v1::{
    self, index_client::IndexClient, mountwatch_client::MountwatchClient, which_mount,
};
use crate::query::{Answer, Binds, HostPath, MountInfo, WhichMount};
use crate::state::Snapshot;
use hyper_util::rt::TokioIo;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::UnixStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// Where an agent's socket is by default.
pub const SOCKET: &str = crate::serve::SOCKET;

/// Where an agent hands out its mapped tables by default.
pub const MAPPED_SOCKET: &str = crate::serve::MAPPED_SOCKET;

/// One message of a list or of a copy is some 200 KB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why an agent gives no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// None is there, or it may not be asked.
    #[error("cannot connect to the agent at {socket}: {io_error}")]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        io_error: io::Error,
    },
    /// What is there does not speak the agent's language.
    #[error("cannot speak to the agent at {socket}: {error}")]
    Speak {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        error: tonic::transport::Error,
    },
    /// It refused, or ended meanwhile.
    #[error("the agent does not answer: {message}")]
    Refused {
        /// The name of gRPC's status code.
        code: String,
        /// The sentence.
        message: String,
    },
    /// The answer is not understood.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// There is no thread or event loop to ask in.
    #[error("cannot start the event loop: {0}")]
    EventLoop(#[source] io::Error),
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        Self::Refused { code: format!("{:?}", status.code()), message: status.message().to_owned() }
    }
}

/// Whose mounts are asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Whose {
    /// Those that this process sees.
    #[default]
    Caller,
    /// Those that another process or thread sees; its ID in the agent's PID namespace.
    Task(u32),
    /// Those that a process sees which enters this mount namespace.
    Namespace(NamespaceInode),
    /// The same by the ID that is never reused.
    NamespaceId(NamespaceId),
    /// Those that the host sees.
    Host,
}

impl Whose {
    fn message(self) -> Option<v1::Viewpoint> {
        use v1::viewpoint::{From, Host};
        let from = match self {
            Self::Caller => return None,
            Self::Task(task) => From::Task(task),
            Self::Namespace(inode) => From::Namespace(inode.0),
            Self::NamespaceId(id) => From::NamespaceId(id.0),
            Self::Host => From::Host(Host {}),
        };
        Some(v1::Viewpoint { from: Some(from) })
    }
}

/// What an agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its version.
    pub version: String,
    /// Its back end: `hooks`, `notify` or `poll`.
    pub backend: String,
    /// Release of the running kernel.
    pub kernel: String,
    /// Whether it shows values of options that hold secrets.
    pub shows_secrets: bool,
}

/// A copy of an agent's index.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The index, as far as this process may see it. Keys are not the agent's.
    pub snapshot: Arc<Snapshot>,
    /// The agent's back end.
    pub backend: String,
    /// It is all that the agent knows.
    pub is_whole: bool,
    /// Who holds the namespaces, if that was asked for and is shown to this process.
    pub holders: Holders,
}

/// A connection to an agent. Cheap to clone; clones share it. It is made anew if the agent was.
#[derive(Clone, Debug)]
pub struct Client {
    mountwatch: MountwatchClient<Channel>,
    index: IndexClient<Channel>,
}

impl Client {
    /// Connects to the agent at a socket.
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        let refused = |io_error| ClientError::Connect { socket: socket.to_owned(), io_error };
        // Once by ourselves: the reason is known then.
        drop(UnixStream::connect(socket).await.map_err(refused)?);
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_: tonic::transport::Uri| {
            let path = path.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
            .map_err(|error| ClientError::Speak { socket: socket.to_owned(), error })?;
        Ok(Self {
            mountwatch: MountwatchClient::new(channel.clone())
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            index: IndexClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX),
        })
    }

    /// What the agent is.
    pub async fn version(&self) -> Result<Version, ClientError> {
        let answer = self.mountwatch.clone().get_version(v1::GetVersionRequest {}).await?;
        let found = answer.into_inner();
        Ok(Version {
            version: found.version,
            backend: found.backend,
            kernel: found.kernel,
            shows_secrets: found.shows_secrets,
        })
    }

    /// How the agent is doing. Its own counters follow those of its tracker.
    pub async fn status(&self) -> Result<Status, ClientError> {
        let answer = self.mountwatch.clone().get_status(v1::GetStatusRequest {}).await?;
        Ok(status_of(answer.into_inner())?)
    }

    /// Whether something is mounted exactly at a path.
    pub async fn is_mount_point(
        &self,
        whose: Whose,
        path: &Path,
        binds: Binds,
    ) -> Result<Answer<bool>, ClientError> {
        let request = v1::IsMountPointRequest {
            path: bytes(path),
            viewpoint: whose.message(),
            min_freshness: None,
            exclude_binds: binds == Binds::Exclude,
        };
        let found = self.mountwatch.clone().is_mount_point(request).await?.into_inner();
        Ok(answer_of(found.as_of, found.is_mount_point)?)
    }

    /// What is mounted exactly at a path: the mount on top, if several are stacked.
    pub async fn mount_at(
        &self,
        whose: Whose,
        path: &Path,
    ) -> Result<Answer<Option<MountInfo>>, ClientError> {
        self.get(whose, v1::get_mount_request::What::Path(bytes(path))).await
    }

    /// One mount by its number.
    pub async fn mount(
        &self,
        whose: Whose,
        which: WhichMount,
    ) -> Result<Answer<Option<MountInfo>>, ClientError> {
        self.get(whose, v1::get_mount_request::What::Mount(number(which))).await
    }

    async fn get(
        &self,
        whose: Whose,
        what: v1::get_mount_request::What,
    ) -> Result<Answer<Option<MountInfo>>, ClientError> {
        let request = v1::GetMountRequest {
            what: Some(what),
            viewpoint: whose.message(),
            min_freshness: None,
        };
        let found = self.mountwatch.clone().get_mount(request).await?.into_inner();
        Ok(answer_of(found.as_of, found.mount.map(to_info).transpose()?)?)
    }

    /// The mount on which a path lies.
    pub async fn covering(
        &self,
        whose: Whose,
        path: &Path,
    ) -> Result<Answer<Option<MountInfo>>, ClientError> {
        let request = v1::CoveringMountRequest {
            path: bytes(path),
            viewpoint: whose.message(),
            min_freshness: None,
        };
        let found = self.mountwatch.clone().covering_mount(request).await?.into_inner();
        Ok(answer_of(found.as_of, found.mount.map(to_info).transpose()?)?)
    }

    /// What is mounted at a path and below it, in the kernel's order.
    pub async fn below(
        &self,
        whose: Whose,
        path: &Path,
    ) -> Result<Answer<Vec<MountInfo>>, ClientError> {
        self.list_of(whose, Some(v1::list_mounts_request::Which::Below(bytes(path)))).await
    }

    /// Every mount that is seen, in the kernel's order.
    pub async fn list(&self, whose: Whose) -> Result<Answer<Vec<MountInfo>>, ClientError> {
        self.list_of(whose, None).await
    }

    /// The mounts that sit on one.
    pub async fn children(
        &self,
        whose: Whose,
        which: WhichMount,
    ) -> Result<Answer<Vec<MountInfo>>, ClientError> {
        self.list_of(whose, Some(v1::list_mounts_request::Which::On(number(which)))).await
    }

    async fn list_of(
        &self,
        whose: Whose,
        which: Option<v1::list_mounts_request::Which>,
    ) -> Result<Answer<Vec<MountInfo>>, ClientError> {
        let request =
            v1::ListMountsRequest { which, viewpoint: whose.message(), min_freshness: None };
        let mut messages = self.mountwatch.clone().list_mounts(request).await?.into_inner();
        let (mut as_of, mut mounts) = (None, Vec::new());
        while let Some(message) = messages.message().await? {
            as_of = as_of.or(message.as_of);
            for mount in message.mounts {
                mounts.push(to_info(mount)?);
            }
        }
        Ok(answer_of(as_of, mounts)?)
    }

    /// How the host reaches a path.
    pub async fn host_path(
        &self,
        whose: Whose,
        path: &Path,
    ) -> Result<Answer<Option<HostPath>>, ClientError> {
        let request = v1::GetHostPathRequest {
            path: bytes(path),
            viewpoint: whose.message(),
            min_freshness: None,
        };
        let found = self.mountwatch.clone().get_host_path(request).await?.into_inner();
        Ok(answer_of(found.as_of, found.host_path.map(host_path_of).transpose()?)?)
    }

    /// Waits until something is mounted at a path. `None`: as long as it takes.
    pub async fn wait_for_mount(
        &self,
        whose: Whose,
        path: &Path,
        at_most: Option<Duration>,
    ) -> Result<Answer<Option<MountInfo>>, ClientError> {
        let request = v1::WaitForMountRequest {
            path: bytes(path),
            viewpoint: whose.message(),
            until_unmounted: false,
            // 0 has a meaning of its own.
            timeout_ms: at_most
                .map_or(0, |at_most| u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX).max(1)),
        };
        let found = self.mountwatch.clone().wait_for_mount(request).await?.into_inner();
        Ok(answer_of(found.as_of, found.mount.map(to_info).transpose()?)?)
    }

    /// A copy of the index, which shows everything that happened before this call. Takes time for all
    /// mounts that there are. `holders`: who holds the namespaces too.
    pub async fn copy(&self, holders: bool) -> Result<Copy, ClientError> {
        let request = v1::CopyRequest { min_freshness: None, holders };
        let mut messages: Streaming<_> = self.index.clone().copy(request).await?.into_inner();
        let mut copied = Copied::default();
        while let Some(message) = messages.message().await? {
            copied.take(message)?;
        }
        let (backend, is_whole) = (std::mem::take(&mut copied.backend), copied.is_whole);
        let holders = std::mem::take(&mut copied.holders);
        Ok(Copy { snapshot: Arc::new(copied.finish()?), backend, is_whole, holders })
    }

    /// Follows changes.
    pub async fn watch(&self, options: &WatchOptions) -> Result<Watching, ClientError> {
        let messages = self.mountwatch.clone().watch(options.message()).await?;
        Ok(Watching::new(messages.into_inner()))
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

fn number(which: WhichMount) -> v1::WhichMount {
    let which = match which {
        WhichMount::Id(id) => which_mount::Which::Id(id.0),
        WhichMount::UniqueId(id) => which_mount::Which::UniqueId(id.0),
    };
    v1::WhichMount { which: Some(which) }
}
