//! The auditor: what a snapshot claims, against the simulated kernel.

use super::kernel::{Kernel, Ns, Path, Task};
use crate::mountinfo;
use mountwatch::model::{Coverage, MountKey, NamespaceInode, NamespaceKey};
use mountwatch::query::Viewpoint;
use mountwatch::render;
use mountwatch::state::Snapshot;

/// What one look at a publication gave.
#[derive(Debug, Default)]
pub(super) struct Audited {
    /// Claims that are wrong.
    pub(super) found: Vec<String>,
    /// Namespaces that said `complete` and were compared.
    pub(super) complete: u64,
}

/// Every namespace that the snapshot calls complete has to be what the kernel has, and if all of
/// it is complete, none may be missing or too many.
pub(super) fn publication(snapshot: &Snapshot, kernel: &Kernel) -> Audited {
    let mut audited = Audited::default();
    let is_complete = *snapshot.coverage() == Coverage::Complete;
    let mut known = 0;
    for (ns, namespace) in kernel.all_namespaces().filter(|(_, namespace)| !namespace.is_anon) {
        let Some(claimed) = snapshot.namespace_by_inode(NamespaceInode(namespace.inum)) else {
            if is_complete {
                audited.found.push(format!("namespace {} is not known", namespace.inum));
            }
            continue;
        };
        known += 1;
        if claimed.key != NamespaceKey(namespace.address) {
            if claimed.coverage == Coverage::Complete {
                audited.found.push(format!("namespace {} is another one", namespace.inum));
            }
            continue;
        }
        if claimed.coverage != Coverage::Complete {
            continue;
        }
        audited.complete += 1;
        let (here, there) = (claimed.mount_count(), namespace.mounts.len());
        if here != there {
            let inum = namespace.inum;
            audited.found.push(format!("namespace {inum}: {here} mounts, kernel {there}"));
        }
        audited.found.extend(namespace_view(snapshot, kernel, ns));
    }
    let claimed = snapshot.namespaces().count();
    if is_complete && claimed != known {
        audited.found.push(format!("{claimed} namespaces, kernel {known}"));
    }
    audited
}

/// What somebody sees who enters the namespace.
fn namespace_view(snapshot: &Snapshot, kernel: &Kernel, ns: Ns) -> Vec<String> {
    let Some(root) = kernel.root_of(ns) else { return Vec::new() };
    let theirs = kernel.mountinfo(ns, root);
    let ours = snapshot
        .viewpoint_of_namespace(NamespaceKey(kernel[ns].address))
        .map(|view| render::mountinfo(snapshot, view));
    named(&format!("namespace {}", kernel[ns].inum), ours, &theirs)
}

/// What every task sees.
pub(super) fn tasks(snapshot: &Snapshot, kernel: &Kernel) -> Vec<String> {
    kernel.tasks.iter().flat_map(|(name, task)| task_view(snapshot, kernel, name, task)).collect()
}

fn task_view(snapshot: &Snapshot, kernel: &Kernel, name: &str, task: &Task) -> Vec<String> {
    let theirs = kernel.mountinfo(task.ns, task.root);
    let view = viewpoint(snapshot, kernel, task.ns, task.root);
    named(name, Some(render::mountinfo(snapshot, view)), &theirs)
}

/// A root directory as the index finds it: its mount, and a path below that.
fn viewpoint(snapshot: &Snapshot, kernel: &Kernel, ns: Ns, root: Path) -> Viewpoint {
    let below: Vec<u8> = kernel
        .names_between(root.dentry, kernel[root.mnt].mnt_root)
        .iter()
        .flat_map(|name| [&b"/"[..], name].concat())
        .collect();
    let namespace = NamespaceKey(kernel[ns].address);
    snapshot
        .viewpoint_of_root(MountKey(kernel[root.mnt].address), &below)
        .filter(|view| view.namespace == namespace && kernel[root.mnt].mnt_ns == Some(ns))
        .unwrap_or(Viewpoint::nowhere(namespace))
}

fn named(name: &str, ours: Option<Vec<u8>>, theirs: &[u8]) -> Vec<String> {
    let Some(ours) = ours else { return vec![format!("{name}: the index does not show it")] };
    let found = mountinfo::differences(&ours, theirs, true);
    found.into_iter().map(|line| format!("{name}: {line}")).collect()
}
