//! What the simulated kernel was after each line, by the number of records until then: so that a
//! publication in the middle of what waits on the ring is compared with the moment that it is of.

use super::audit::Audited;
use super::kernel::Kernel;
use crate::mountinfo;
use mountwatch::model::{Coverage, NamespaceKey};
use mountwatch::render;
use mountwatch::state::Snapshot;
use std::collections::BTreeMap;

/// One namespace at one moment.
#[derive(Clone, Debug)]
struct View {
    inum: u32,
    mounts: usize,
    mountinfo: Vec<u8>,
}

/// The namespaces by their addresses.
type Moment = BTreeMap<u64, View>;

/// Moments by the number of records that had been put on the ring.
#[derive(Debug, Default)]
pub(crate) struct History(BTreeMap<u64, Moment>);

impl History {
    /// Notes what is now.
    pub(crate) fn note(&mut self, kernel: &Kernel) {
        let living = kernel.all_namespaces().filter(|(_, namespace)| !namespace.is_anon);
        let views = living.filter_map(|(ns, namespace)| {
            let mountinfo = without_options(&kernel.mountinfo(ns, kernel.root_of(ns)?));
            let (inum, mounts) = (namespace.inum, namespace.mounts.len());
            Some((namespace.address, View { inum, mounts, mountinfo }))
        });
        self.0.insert(kernel.hooks.ring.pushed(), views.collect());
    }

    /// What is wrong in a publication after so many records, if there was a line's end just there.
    /// What is older is forgotten.
    pub(crate) fn publication(&mut self, snapshot: &Snapshot, records: u64) -> Audited {
        let mut audited = Audited::default();
        self.0 = self.0.split_off(&records);
        let Some(moment) = self.0.get(&records) else { return audited };
        let is_complete = *snapshot.coverage() == Coverage::Complete;
        let (here, there) = (snapshot.namespaces().count(), moment.len());
        if is_complete && here != there {
            audited.found.push(format!("then: {here} namespaces, kernel {there}"));
        }
        for (address, view) in moment {
            let Some(claimed) = snapshot.namespace(NamespaceKey(*address)) else { continue };
            if claimed.coverage != Coverage::Complete || claimed.inode.0 != view.inum {
                continue;
            }
            audited.complete += 1;
            let ours = snapshot
                .viewpoint_of_namespace(claimed.key)
                .map(|from| without_options(&render::mountinfo(snapshot, from)));
            let mut found =
                mountinfo::differences(&ours.unwrap_or_default(), &view.mountinfo, true);
            if claimed.mount_count() != view.mounts {
                found.push(format!("{} mounts, kernel {}", claimed.mount_count(), view.mounts));
            }
            let named = found.into_iter().map(|line| format!("then: {}: {line}", view.inum));
            audited.found.extend(named);
        }
        audited
    }
}

/// Options of super blocks are those of the moment in which they are looked up.
fn without_options(file: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(file.len());
    for line in mountinfo::lines(file) {
        let end = line.iter().rposition(|byte| *byte == b' ').unwrap_or(line.len());
        out.extend_from_slice(&line[..end]);
        out.push(b'\n');
    }
    out
}
