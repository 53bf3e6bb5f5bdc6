//! A client for code without an event loop. Not to be used inside of one: it waits.

use super::{ClientError, Copy, Version, WatchOptions, Watched, Whose};
use crate::agent::Status;
use crate::query::{Answer, Binds, HostPath, MountInfo, MountQueries, WhichMount};
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;

/// A connection to an agent.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    client: super::Client,
}

impl Client {
    /// Connects to the agent at a socket.
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        // A thread of its own: signs of life are given while nobody asks.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mountwatch-client")
            .enable_all()
            .build()
            .map_err(ClientError::EventLoop)?;
        let client = runtime.block_on(super::Client::connect(socket))?;
        Ok(Self { runtime, client })
    }

    /// The client and the event loop that it lives in.
    pub(crate) fn into_parts(self) -> (Runtime, super::Client) {
        (self.runtime, self.client)
    }

    /// Questions about what somebody sees.
    pub fn view(&self, whose: Whose) -> View<'_> {
        View { client: self, whose }
    }

    /// What the agent is.
    pub fn version(&self) -> Result<Version, ClientError> {
        self.runtime.block_on(self.client.version())
    }

    /// How the agent is doing.
    pub fn status(&self) -> Result<Status, ClientError> {
        self.runtime.block_on(self.client.status())
    }

    /// See [`super::Client::copy`].
    pub fn copy(&self, holders: bool) -> Result<Copy, ClientError> {
        self.runtime.block_on(self.client.copy(holders))
    }

    /// Follows changes.
    pub fn watch(&self, options: &WatchOptions) -> Result<Watching<'_>, ClientError> {
        let watching = self.runtime.block_on(self.client.watch(options))?;
        Ok(Watching { client: self, watching })
    }

    /// See [`super::Client::wait_for_mount`].
    pub fn wait_for_mount(
        &self,
        whose: Whose,
        path: &Path,
        at_most: Option<Duration>,
    ) -> Result<Answer<Option<MountInfo>>, ClientError> {
        self.runtime.block_on(self.client.wait_for_mount(whose, path, at_most))
    }
}

/// Changes as they happen.
#[derive(Debug)]
pub struct Watching<'a> {
    client: &'a Client,
    watching: super::Watching,
}

impl Watching<'_> {
    /// See [`super::Watching::next`]. Waits for it.
    #[expect(clippy::should_implement_trait, reason = "it can fail, as no iterator's does")]
    pub fn next(&mut self) -> Result<Option<Watched>, ClientError> {
        self.client.runtime.block_on(self.watching.next())
    }

    /// The place of what was given last.
    pub fn position(&self) -> Option<super::Position> {
        self.watching.position()
    }
}

/// What somebody sees, as an agent tells it: each answer shows everything that happened before the
/// question.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    client: &'a Client,
    whose: Whose,
}

impl MountQueries for View<'_> {
    type Error = ClientError;

    fn is_mount_point(&self, path: &Path, binds: Binds) -> Result<Answer<bool>, ClientError> {
        let Client { runtime, client } = self.client;
        runtime.block_on(client.is_mount_point(self.whose, path, binds))
    }

    fn mount_at(&self, path: &Path) -> Result<Answer<Option<MountInfo>>, ClientError> {
        let Client { runtime, client } = self.client;
        runtime.block_on(client.mount_at(self.whose, path))
    }

    fn covering(&self, path: &Path) -> Result<Answer<Option<MountInfo>>, ClientError> {
        let Client { runtime, client } = self.client;
        runtime.block_on(client.covering(self.whose, path))
    }

    fn below(&self, path: &Path) -> Result<Answer<Vec<MountInfo>>, ClientError> {
        let Client { runtime, client } = self.client;
        runtime.block_on(client.below(self.whose, path))
    }

    fn list(&self) -> Result<Answer<Vec<MountInfo>>, ClientError> {
        let Client { runtime, client } = self.client;
        runtime.block_on(client.list(self.whose))
    }

    fn mount(&self, which: WhichMount) -> Result<Answer<Option<MountInfo>>, ClientError> {
        let Client { runtime, client } = self.client;
        runtime.block_on(client.mount(self.whose, which))
    }

    fn children(&self, which: WhichMount) -> Result<Answer<Vec<MountInfo>>, ClientError> {
        let Client { runtime, client } = self.client;
        runtime.block_on(client.children(self.whose, which))
    }

    fn host_path(&self, path: &Path) -> Result<Answer<Option<HostPath>>, ClientError> {
        let Client { runtime, client } = self.client;
        runtime.block_on(client.host_path(self.whose, path))
    }
}
