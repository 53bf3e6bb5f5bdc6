//! Propagation as a reader sees it.

use super::Viewpoint;
use crate::model::{Mount, PeerGroupId};
use crate::state::Tables;

impl Tables {
    /// The N of `propagate_from:N`: the nearest peer group up the chain of masters that has a
    /// member which the reader can reach; only said where it is not the master itself.
    /// `get_dominating_id` in fs/pnode.c.
    pub fn propagate_from(&self, mount: &Mount, from: Viewpoint) -> Option<PeerGroupId> {
        let master = mount.master?;
        let mut group = Some(master);
        // A chain of masters has no loop; the count guards a broken one.
        for _ in 0..self.namespaces_depth_max() {
            let id = group?;
            let is_visible = self
                .group_members(id)
                .any(|peer| peer.namespace == mount.namespace && self.is_reachable(peer, from));
            if is_visible {
                return (id != master).then_some(id);
            }
            group = self.group_master(id);
        }
        None
    }

    /// Whether the root of a mount lies at or below the reader's root: `is_path_reachable`.
    fn is_reachable(&self, mount: &Mount, from: Viewpoint) -> bool {
        self.path_of(mount.key, from).is_some()
    }
}
