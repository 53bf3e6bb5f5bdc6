//! One mount and what is around it.

use super::info::path_buf;
use super::{HostPath, MountInfo, SnapshotView, Viewpoint};
use crate::model::{Mount, MountId, NamespaceInode, UniqueMountId};
use crate::state::Tables;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Another mount, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its mount ID.
    pub id: MountId,
    /// Its unique mount ID (kernel 6.8).
    pub unique_id: Option<UniqueMountId>,
    /// The namespace that it is in.
    pub namespace: NamespaceInode,
    /// Its mountpoint: as the viewpoint sees it or, in another namespace, as seen from the root of
    /// that. `None` if no path leads there.
    pub path: Option<PathBuf>,
}

/// Everything about one mount. All lists are in the kernel's order, those over several namespaces by
/// namespace first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portrait {
    /// The mount itself.
    pub info: MountInfo,
    /// The mount on which it sits.
    pub parent: Option<Neighbour>,
    /// The mounts that sit on it.
    pub children: Vec<Neighbour>,
    /// The mounts below it at the same path, from the top down.
    pub covers: Vec<Neighbour>,
    /// If it is hidden: the mount on which a walk along its path ends.
    pub covered_by: Option<Neighbour>,
    /// The other members of its peer group, in every namespace.
    pub peers: Vec<Neighbour>,
    /// The members of the peer group from which it receives.
    pub masters: Vec<Neighbour>,
    /// The mounts that receive from its peer group.
    pub slaves: Vec<Neighbour>,
    /// The other mounts of its namespace that show the same directory.
    pub same_root: Vec<Neighbour>,
    /// How the host reaches its mountpoint.
    pub host_path: Option<HostPath>,
}

impl SnapshotView {
    /// Everything about a mount that is seen; `None` for one that is not.
    pub fn portrait(&self, mount: &Mount) -> Option<Portrait> {
        let (tables, from) = (&**self.snapshot(), self.viewpoint());
        let info = tables.info(mount, from)?;
        let path = info.mountpoint.as_os_str().as_bytes();
        let others = |mounts: Vec<&Arc<Mount>>| {
            let mut others: Vec<_> =
                mounts.into_iter().filter(|one| one.key != mount.key).collect();
            others.sort_by_key(|one| (one.namespace, Tables::order(one)));
            others.into_iter().filter_map(|one| tables.neighbour(one, from)).collect::<Vec<_>>()
        };
        let top = tables.walk(path, from).map(|end| end.mount);
        let parent = tables.mount(mount.parent).filter(|parent| parent.key != mount.key);
        let peers = mount.peer_group.map(|group| tables.group_members(group).collect());
        let masters = mount.master.map(|group| tables.group_members(group).collect());
        let slaves = mount.peer_group.map(|group| tables.group_slaves(group).collect());
        let covers = tables.covered_by(mount, from);
        Some(Portrait {
            parent: parent.and_then(|parent| tables.neighbour(parent, from)),
            children: others(tables.children(mount.key).collect()),
            covers: covers.filter_map(|one| tables.neighbour(one, from)).collect(),
            covered_by: top
                .filter(|top| top.key != mount.key)
                .and_then(|top| tables.neighbour(top, from)),
            peers: others(peers.unwrap_or_default()),
            masters: others(masters.unwrap_or_default()),
            slaves: others(slaves.unwrap_or_default()),
            same_root: others(tables.showing(mount.root, mount.namespace).collect()),
            host_path: self.way_from_host(path),
            info,
        })
    }
}

impl Portrait {
    /// Takes out all unique mount IDs: those of an index that was made from text are made up.
    #[must_use]
    pub fn without_unique_ids(mut self) -> Self {
        self.info.unique_id = None;
        self.info.parent_unique_id = None;
        let lists = [
            &mut self.children,
            &mut self.covers,
            &mut self.peers,
            &mut self.masters,
            &mut self.slaves,
            &mut self.same_root,
        ];
        let single = [&mut self.parent, &mut self.covered_by];
        for one in lists.into_iter().flatten().chain(single.into_iter().flatten()) {
            one.unique_id = None;
        }
        self
    }
}

impl Tables {
    /// A mount of any namespace, as somewhere to go; `None` for one of a detached tree.
    fn neighbour(&self, mount: &Mount, from: Viewpoint) -> Option<Neighbour> {
        let namespace = self.namespace(mount.namespace)?;
        let from = if mount.namespace == from.namespace {
            Some(from)
        } else {
            self.viewpoint_of_namespace(mount.namespace)
        };
        let path = from.and_then(|from| self.path_of(mount.key, from));
        Some(Neighbour {
            id: mount.id,
            unique_id: mount.unique_id,
            namespace: namespace.inode,
            path: path.map(path_buf),
        })
    }
}
