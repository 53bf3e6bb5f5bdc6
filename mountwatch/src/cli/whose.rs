//! Whose mounts a command asks about, and what a path means then.

use super::source::Source;
use super::{path, start};
use crate::model::NamespaceInode;
use crate::query::Viewpoint;
use crate::state::Snapshot;
use anyhow::{Context, anyhow};
use clap::Args;
use std::path::Path;

/// Whose mounts are asked about; by default those that this process sees.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct WhoseArgs {
    /// What this process or thread sees, from its root directory.
    #[arg(short = 'N', long, value_name = "TID")]
    pub task: Option<u32>,
    /// What a process sees that enters this mount namespace: the inode of /proc/PID/ns/mnt.
    #[arg(long, value_name = "INODE", conflicts_with = "task")]
    pub ns: Option<u32>,
}

impl WhoseArgs {
    /// Whether it is this process itself.
    pub(super) fn is_own(self) -> bool {
        self.task.is_none() && self.ns.is_none()
    }

    /// The task whose view it is.
    pub(super) fn tid(self) -> Option<u32> {
        match self.ns {
            Some(_) => None,
            None => Some(self.task.unwrap_or_else(std::process::id)),
        }
    }

    pub(super) fn viewpoint(
        self,
        source: &Source,
        snapshot: &Snapshot,
    ) -> anyhow::Result<Viewpoint> {
        match (self.ns, self.task) {
            (Some(inode), _) => of_namespace(snapshot, inode)
                .with_context(|| format!("look into mount namespace {inode}")),
            (None, Some(task)) => source
                .viewpoint_of_task(snapshot, task)
                .with_context(|| format!("see what task {task} sees")),
            (None, None) => start::own_view(source, snapshot),
        }
    }

    /// A path as the index knows it. Of this process it is resolved; of others it is taken as it
    /// stands.
    pub(super) fn path(self, snapshot: &Snapshot, from: Viewpoint, path: &Path) -> Vec<u8> {
        if !self.is_own() {
            return path::lexical(path);
        }
        let path = path::resolve(path);
        match snapshot.covering(&path, from) {
            // Whoever touches it may wait for a server for ever.
            Some(covering) if covering.is_mountpoint => path,
            _ => path::resolve_link(&path),
        }
    }
}

fn of_namespace(snapshot: &Snapshot, inode: u32) -> anyhow::Result<Viewpoint> {
    let known = snapshot.namespace_by_inode(NamespaceInode(inode)).ok_or_else(|| {
        anyhow!("there is no such mount namespace; `mountwatch namespaces` has them all")
    })?;
    snapshot.viewpoint_of_namespace(known.key).ok_or_else(|| anyhow!("nothing is mounted in it"))
}
