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
    each_thread(|inode, pid, tid| {
        if last.0 != pid {
            last = (pid, Vec::new());
        }
        if !last.1.contains(&inode) {
            last.1.push(inode);
            let holder = holders.entry(inode).or_default();
            holder.processes += 1;
            if holder.pid.is_none_or(|known| pid < known) {
                (holder.pid, holder.tid) = (Some(pid), Some(tid));
            }
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
        for link in links.flatten() {
            let Some(inode) = inode_of_link(&link.path()) else { continue };
            if !wanted.contains(&inode) {
                continue;
            }
            let holder = holders.entry(inode).or_default();
            if holder.descriptor_of.is_none() {
                holder.descriptor_of = Some(pid);
                holder.descriptor = link.file_name().to_str().and_then(|name| name.parse().ok());
            }
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
