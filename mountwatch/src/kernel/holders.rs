//! Who keeps mount namespaces alive: a walk over `/proc`.

use super::namespaces::{NamespacesError, each_thread, inode_of_link, numbers};
use crate::model::{Holders, NamespaceInode};
use crate::wire::cgroup;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

/// The holders of every mount namespace that has a process; and, of those that are asked for and have
/// none, a process that holds a descriptor. What vanishes meanwhile is no error. A process that may
/// not be looked at (without root) is left out.
pub fn all(asked: impl IntoIterator<Item = NamespaceInode>) -> Result<Holders, NamespacesError> {
    let mut holders = Holders::new();
    // A process comes with all its threads.
    let mut last = (0, Vec::new());
    each_thread(|inode, pid, _| {
        if last.0 != pid {
            last = (pid, Vec::new());
        }
        if !last.1.contains(&inode) {
            last.1.push(inode);
            let holder = holders.entry(inode).or_default();
            holder.processes += 1;
            holder.pid = Some(holder.pid.map_or(pid, |known| known.min(pid)));
        }
        ControlFlow::Continue(())
    })?;
    for holder in holders.values_mut() {
        let Some(pid) = holder.pid else { continue };
        let comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        holder.comm = comm.strip_suffix(b"\n").unwrap_or(&comm).into();
        let cgroup = fs::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        holder.container = cgroup::container_of_text(&cgroup).map(|container| container.id);
    }
    let empty: Vec<_> = asked.into_iter().filter(|inode| !holders.contains_key(inode)).collect();
    if !empty.is_empty() {
        find_descriptors(&empty, &mut holders)?;
    }
    Ok(holders)
}

fn find_descriptors(
    wanted: &[NamespaceInode],
    holders: &mut Holders,
) -> Result<(), NamespacesError> {
    // Ours are here for a moment only.
    let own = std::process::id();
    let pids = numbers(Path::new("/proc")).map_err(NamespacesError::Proc)?;
    for pid in pids.into_iter().filter(|pid| *pid != own) {
        let Ok(links) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let found = links.flatten().filter_map(|link| inode_of_link(&link.path()));
        for inode in found.filter(|inode| wanted.contains(inode)) {
            holders.entry(inode).or_default().descriptor_of.get_or_insert(pid);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn our_own_namespace_has_us() {
        let inode = fs::metadata("/proc/self/ns/mnt").unwrap().ino();
        let inode = NamespaceInode(inode.try_into().unwrap());
        let holders = all([]).unwrap();
        let holder = holders.get(&inode).unwrap();
        assert!(holder.processes > 0);
        assert!(holder.pid.unwrap() <= std::process::id());
        assert!(!holder.comm.is_empty());
    }
}
