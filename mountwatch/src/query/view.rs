//! A snapshot with a viewpoint: whoever holds one asks with paths.

use super::questions::{MountQueries, WhichMount};
use super::{Answer, Binds, HostPath, Listed, MountInfo, Viewpoint};
use crate::model::{Coverage, Mount};
use crate::state::Snapshot;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::Arc;
use thiserror::Error;

/// Why a path is none that can be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("the path is not absolute: give it from the root directory on")]
    NotAbsolute,
    /// It has a zero byte, which no path has.
    #[error("the path has a zero byte in it")]
    ZeroByte,
    /// It has a `..`, which means something else behind a symbolic link.
    #[error("the path has `..` in it: give it as realpath(3) gives it")]
    ParentDirectory,
}

/// What somebody sees in one state of the index. Cheap to clone, never changes, waits for nothing.
#[derive(Clone, Debug)]
pub struct SnapshotView {
    snapshot: Arc<Snapshot>,
    from: Viewpoint,
    host: Option<Viewpoint>,
    task: Option<u32>,
}

impl SnapshotView {
    /// A snapshot seen from somewhere.
    pub fn new(snapshot: Arc<Snapshot>, from: Viewpoint) -> Self {
        Self { snapshot, from, host: None, task: None }
    }

    /// Where the host is, which [`MountQueries::host_path`] leads to.
    #[must_use]
    pub fn with_host(self, host: Viewpoint) -> Self {
        Self { host: Some(host), ..self }
    }

    /// Where the host is for another view of the same snapshot.
    #[must_use]
    pub fn with_host_of(self, other: &Self) -> Self {
        Self { host: other.host, ..self }
    }

    /// A process whose root directory the viewpoint is: the last way from the host to a path.
    #[must_use]
    pub fn with_task(self, pid: impl Into<Option<u32>>) -> Self {
        Self { task: pid.into(), ..self }
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// From where it is seen.
    pub fn viewpoint(&self) -> Viewpoint {
        self.from
    }

    /// What is known of the namespace that is seen.
    pub fn coverage(&self) -> &Coverage {
        let namespace = self.snapshot.namespace(self.from.namespace);
        namespace.map_or(self.snapshot.coverage(), |known| &known.coverage)
    }

    pub(super) fn way_from_host(&self, path: &[u8]) -> Option<HostPath> {
        let host = self.host.unwrap_or(Viewpoint::nowhere(self.from.namespace));
        self.snapshot.host_path(path, self.from, host, self.task)
    }

    /// A mount by its number, whether or not a path leads to it.
    pub fn find(&self, which: WhichMount) -> Option<&Arc<Mount>> {
        let mount = match which {
            WhichMount::Id(id) => self.snapshot.mount_by_id(id),
            WhichMount::UniqueId(id) => self.snapshot.mount_by_unique_id(id),
        };
        mount.filter(|mount| mount.namespace == self.from.namespace)
    }

    fn answer<T>(&self, value: T) -> Answer<T> {
        Answer { value, revision: self.snapshot.revision(), coverage: self.coverage().clone() }
    }

    fn infos(&self, listed: &[Listed]) -> Vec<MountInfo> {
        listed
            .iter()
            .filter_map(|listed| self.snapshot.info_at(&listed.mount, &listed.path, self.from))
            .collect()
    }
}

impl MountQueries for SnapshotView {
    type Error = PathError;

    fn is_mount_point(&self, path: &Path, binds: Binds) -> Result<Answer<bool>, PathError> {
        let path = bytes(path)?;
        if binds == Binds::Count {
            return Ok(self.answer(self.snapshot.is_mounted_at(path, self.from)));
        }
        let mount = self.snapshot.mount_at(path, self.from);
        Ok(self.answer(mount.is_some_and(|mount| self.snapshot.bind(mount).is_none())))
    }

    fn mount_at(&self, path: &Path) -> Result<Answer<Option<MountInfo>>, PathError> {
        let mount = self.snapshot.mount_at(bytes(path)?, self.from);
        Ok(self.answer(mount.and_then(|mount| self.snapshot.info(mount, self.from))))
    }

    fn covering(&self, path: &Path) -> Result<Answer<Option<MountInfo>>, PathError> {
        let end = self.snapshot.walk(bytes(path)?, self.from);
        Ok(self.answer(end.and_then(|end| self.snapshot.info(end.mount, self.from))))
    }

    fn below(&self, path: &Path) -> Result<Answer<Vec<MountInfo>>, PathError> {
        let listed = self.snapshot.below(bytes(path)?, self.from);
        Ok(self.answer(self.infos(&listed)))
    }

    fn list(&self) -> Result<Answer<Vec<MountInfo>>, PathError> {
        Ok(self.answer(self.infos(&self.snapshot.list(self.from))))
    }

    fn mount(&self, which: WhichMount) -> Result<Answer<Option<MountInfo>>, PathError> {
        let mount = self.find(which);
        Ok(self.answer(mount.and_then(|mount| self.snapshot.info(mount, self.from))))
    }

    fn children(&self, which: WhichMount) -> Result<Answer<Vec<MountInfo>>, PathError> {
        let mut children: Vec<_> = self
            .find(which)
            .into_iter()
            .flat_map(|mount| self.snapshot.children(mount.key))
            .collect();
        children.sort_by_key(|mount| crate::state::Tables::order(mount));
        let infos = children.into_iter().filter_map(|mount| self.snapshot.info(mount, self.from));
        Ok(self.answer(infos.collect()))
    }

    fn host_path(&self, path: &Path) -> Result<Answer<Option<HostPath>>, PathError> {
        Ok(self.answer(self.way_from_host(bytes(path)?)))
    }
}

/// The bytes of a path that can be asked about.
fn bytes(path: &Path) -> Result<&[u8], PathError> {
    let bytes = path.as_os_str().as_bytes();
    if memchr::memchr(0, bytes).is_some() {
        return Err(PathError::ZeroByte);
    }
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    // Few paths have two dots in a row; in those, each component is looked at.
    let has_dots = memchr::memchr_iter(b'.', bytes)
        .any(|at| bytes.get(at + 1).is_some_and(|next| *next == b'.'));
    if has_dots && path.components().any(|component| component == Component::ParentDir) {
        return Err(PathError::ParentDirectory);
    }
    Ok(bytes)
}
