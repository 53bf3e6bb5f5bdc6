//! How the host reaches what a process in another namespace calls by some path.
//!
//! In this order:
//!
//! 1. The path lies on a mount of the host's own namespace: its path there.
//! 2. A mount that the host sees shows the same directory of the same file system: the path through
//!    it. It shows the same files for as long as the host's mount is there, whatever becomes of the
//!    other namespace. What is mounted *on* the directory may differ.
//! 3. `/proc/PID/root/…` through a process that has the viewpoint as its root. It shows the same
//!    mounts too, for as long as the process lives; and only whoever may trace it can use it.

use super::Viewpoint;
use super::info::path_buf;
use crate::model::{DentryKey, Mount};
use crate::state::Tables;
use std::path::PathBuf;

/// By what the host reaches a path of another viewpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostWay {
    /// It is the host's own mount.
    SameMount,
    /// A mount of the host that shows the same directory.
    SameDirectory,
    /// The root directory of this process.
    Process(u32),
}

impl HostWay {
    /// The word for it in every output: `same_mount`, `same_directory` or `process`.
    pub fn word(self) -> &'static str {
        match self {
            Self::SameMount => "same_mount",
            Self::SameDirectory => "same_directory",
            Self::Process(_) => "process",
        }
    }
}

/// A path of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPath {
    /// The path.
    pub path: PathBuf,
    /// How it gets there.
    pub way: HostWay,
}

impl Tables {
    /// How the host reaches an absolute path of a viewpoint. `task`: a process whose root directory
    /// the viewpoint is, if one is known.
    pub fn host_path(
        &self,
        path: &[u8],
        from: Viewpoint,
        host: Viewpoint,
        task: Option<u32>,
    ) -> Option<HostPath> {
        let end = self.walk(path, from)?;
        let own = (end.mount.namespace == host.namespace)
            .then(|| self.place(end.mount, end.dentry, end.rest, host))
            .flatten();
        if let Some(path) = own {
            return Some(HostPath { path: path_buf(path), way: HostWay::SameMount });
        }
        if let Some(path) = self.same_directory(end.dentry, end.rest, host) {
            return Some(HostPath { path: path_buf(path), way: HostWay::SameDirectory });
        }
        let pid = task?;
        let path = [format!("/proc/{pid}/root").as_bytes(), path].concat();
        Some(HostPath { path: path_buf(path), way: HostWay::Process(pid) })
    }

    fn same_directory(&self, dentry: DentryKey, rest: &[u8], host: Viewpoint) -> Option<Vec<u8>> {
        let mut at = dentry;
        for _ in 0..=self.dentry_count() {
            let mut places = self
                .showing(at, host.namespace)
                .filter_map(|mount| self.place(mount, dentry, rest, host));
            if let Some(path) = places.next() {
                return Some(path);
            }
            at = match self.dentry(at) {
                Some(known) if known.is_known && known.parent != at => known.parent,
                _ => return None,
            };
        }
        None
    }

    /// The path of a dentry on a mount, if a walk along it ends there.
    fn place(
        &self,
        mount: &Mount,
        dentry: DentryKey,
        rest: &[u8],
        from: Viewpoint,
    ) -> Option<Vec<u8>> {
        // The mount of the root directory may show more than what lies below that.
        let (above, stop) = if mount.key == from.mount {
            (b"/".to_vec(), from.dentry)
        } else {
            (self.path_of(mount.key, from)?, mount.root)
        };
        let below = self.names_up(dentry, Some(stop))?;
        let mut path = Vec::with_capacity(above.len() + below.len() + rest.len());
        for part in [&above[..], &below, rest] {
            path.extend_from_slice(if part == b"/" { b"" } else { part });
        }
        if path.is_empty() {
            path.push(b'/');
        }
        let end = self.walk(&path, from)?;
        let is_there = end.mount.key == mount.key && end.dentry == dentry;
        is_there.then_some(path)
    }
}
