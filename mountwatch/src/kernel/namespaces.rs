//! Every mount namespace of the host.
//!
//! Since 6.12 the kernel has a list of them, which also has those without a process. Before, the
//! links in `/proc` are all there is: of tasks, and of descriptors that hold a namespace; and the
//! bind mounts that tasks see. A
//! namespace that only a descriptor in flight over a socket holds is found by neither.
//!
//! An open descriptor keeps its namespace alive: none is held longer than its use.

use super::sys::{self, Step, Towards};
use crate::model::{NamespaceId, NamespaceInode};
use crate::wire::mountinfo;
use hashbrown::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// `NSFS_MAGIC`
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;
/// The mount namespace of this process.
const OWN: &str = "/proc/self/ns/mnt";

/// Why the mount namespaces are not known.
#[derive(Debug, Error)]
pub enum NamespacesError {
    /// No `/proc`.
    #[error("cannot read /proc: {0}; mount it, and run as root")]
    Proc(#[source] io::Error),
    /// Our own namespace cannot be opened.
    #[error("cannot open {OWN}: {0}; mount /proc")]
    Own(#[source] io::Error),
    /// The kernel refuses.
    #[error("cannot ask for a mount namespace: {0}; run as root")]
    Ask(#[source] io::Error),
    /// Too many descriptors.
    #[error("cannot hold a descriptor for each mount namespace: {0}; raise the limit (ulimit -n)")]
    Descriptors(#[source] io::Error),
}

/// One mount namespace.
#[derive(Debug)]
pub struct FoundNamespace {
    /// It, open: alive as long as this lives.
    pub fd: OwnedFd,
    /// Its inode.
    pub inode: NamespaceInode,
    /// Its ID, where the kernel has one (6.11).
    pub id: Option<NamespaceId>,
    /// A thread in it, if one is known.
    pub task: Option<u32>,
}

/// Every mount namespace, each with a task if it has one.
pub fn all() -> Result<Vec<FoundNamespace>, NamespacesError> {
    let mut tasks = HashMap::new();
    each_task(|inode, tid| {
        tasks.entry(inode).or_insert(tid);
        ControlFlow::Continue(())
    })?;
    let mut found = Vec::new();
    each(|mut namespace| {
        namespace.task = namespace.task.or_else(|| tasks.get(&namespace.inode).copied());
        found.push(namespace);
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Gives each mount namespace once, one at a time.
pub fn each(
    mut visit: impl FnMut(FoundNamespace) -> ControlFlow<()>,
) -> Result<(), NamespacesError> {
    let own = open_own()?;
    for towards in [Towards::Next, Towards::Previous] {
        let mut at = own.try_clone().map_err(NamespacesError::Descriptors)?;
        loop {
            match sys::neighbour(at.as_fd(), towards).map_err(asked)? {
                Step::Unknown => return each_of_proc(visit),
                Step::End => break,
                Step::To(fd, id) => {
                    let next = fd.try_clone().map_err(NamespacesError::Descriptors)?;
                    let inode = inode_of(&fd).map_err(NamespacesError::Ask)?;
                    let id = Some(NamespaceId(id));
                    if visit(FoundNamespace { fd, inode, id, task: None }).is_break() {
                        return Ok(());
                    }
                    at = next;
                }
            }
        }
    }
    let own = found(own, Some(std::process::id())).map_err(NamespacesError::Ask)?;
    let _ = visit(own);
    Ok(())
}

/// The mount namespace of a thread; `None` if the thread is gone.
pub fn open_by_task(tid: u32) -> Result<Option<FoundNamespace>, NamespacesError> {
    match open_link(Path::new(&format!("/proc/{tid}/ns/mnt"))) {
        Ok(fd) => found(fd, Some(tid)).map(Some).map_err(NamespacesError::Ask),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(NamespacesError::Ask(error)),
    }
}

/// A mount namespace by its inode. `task`: a thread that was seen in it, which is asked first.
/// `None` if there is no such namespace.
pub fn open(inode: NamespaceInode, task: Option<u32>) -> Result<Option<OwnedFd>, NamespacesError> {
    Ok(find(task, |found| found.inode == inode)?.map(|found| found.fd))
}

/// A mount namespace by its ID, in the same way.
pub fn open_by_id(
    id: NamespaceId,
    task: Option<u32>,
) -> Result<Option<FoundNamespace>, NamespacesError> {
    find(task, |found| found.id == Some(id))
}

fn find(
    task: Option<u32>,
    is_it: impl Fn(&FoundNamespace) -> bool,
) -> Result<Option<FoundNamespace>, NamespacesError> {
    if let Some(tid) = task
        && let Some(found) = open_by_task(tid)?
        && is_it(&found)
    {
        return Ok(Some(found));
    }
    let mut result = None;
    each(|found| {
        if is_it(&found) {
            result = Some(found);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok(result)
}

/// Before 6.12: the links of `/proc`.
fn each_of_proc(
    mut visit: impl FnMut(FoundNamespace) -> ControlFlow<()>,
) -> Result<(), NamespacesError> {
    let mut seen = HashSet::new();
    let mut error = None;
    let mut open = |link: &Path, tid: Option<u32>| match open_link(link) {
        // The task may have gone on to another namespace after its link was read.
        Ok(fd) => match found(fd, tid) {
            Ok(found) if seen.insert(found.inode) => visit(found),
            _ => ControlFlow::Continue(()),
        },
        Err(io_error) if io_error.raw_os_error() == Some(libc::EMFILE) => {
            error = Some(NamespacesError::Descriptors(io_error));
            ControlFlow::Break(())
        }
        Err(_) => ControlFlow::Continue(()),
    };
    let mut known = HashSet::new();
    let mut readers = Vec::new();
    each_task(|inode, tid| {
        if known.insert(inode) {
            readers.push(tid);
            return open(Path::new(&format!("/proc/{tid}/ns/mnt")), Some(tid));
        }
        ControlFlow::Continue(())
    })?;
    for pid in numbers(Path::new("/proc")).map_err(NamespacesError::Proc)? {
        let Ok(links) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for link in links.flatten() {
            let path = link.path();
            if inode_of_link(&path).is_some_and(|inode| known.insert(inode))
                && open(&path, None).is_break()
            {
                break;
            }
        }
    }
    // Those that a bind mount alone keeps alive.
    for tid in readers {
        for (inode, path) in binds_of(tid) {
            if known.insert(inode) && is_namespace(&path, inode) && open(&path, None).is_break() {
                break;
            }
        }
    }
    error.map_or(Ok(()), Err)
}

/// The bind mounts of mount namespaces that a task sees, as paths through its root.
fn binds_of(tid: u32) -> Vec<(NamespaceInode, PathBuf)> {
    let text = fs::read(format!("/proc/{tid}/mountinfo")).unwrap_or_default();
    text.split(|byte| *byte == b'\n')
        .filter_map(|line| mountinfo::parse(line).ok())
        .filter_map(|line| {
            let mut path = format!("/proc/{tid}/root").into_bytes();
            path.extend_from_slice(&line.mountpoint);
            Some((NamespaceInode::of_name(&line.root)?, PathBuf::from(OsStr::from_bytes(&path))))
        })
        .collect()
}

/// The tasks of a mount namespace: the first thread of each process, and all of a process with
/// several.
pub fn tasks_in(inode: NamespaceInode) -> Result<Vec<u32>, NamespacesError> {
    let mut tasks = Vec::new();
    each_task(|found, tid| {
        if found == inode {
            tasks.push(tid);
        }
        ControlFlow::Continue(())
    })?;
    Ok(tasks)
}

/// Whether a path is that namespace, and not something mounted over it.
fn is_namespace(path: &Path, inode: NamespaceInode) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type == NSFS_MAGIC)
        && fs::metadata(path).is_ok_and(|found| found.ino() == u64::from(inode.0))
}

/// Each task that may be in another namespace than those before it: the first thread of each
/// process, and all of a process with several. Processes that vanish are no error.
fn each_task(
    mut visit: impl FnMut(NamespaceInode, u32) -> ControlFlow<()>,
) -> Result<(), NamespacesError> {
    each_thread(|inode, _, tid| visit(inode, tid))
}

/// The same, with the process of each.
pub(super) fn each_thread(
    mut visit: impl FnMut(NamespaceInode, u32, u32) -> ControlFlow<()>,
) -> Result<(), NamespacesError> {
    for pid in numbers(Path::new("/proc")).map_err(NamespacesError::Proc)? {
        let tasks = format!("/proc/{pid}/task");
        // A directory has two links more than it has directories.
        let is_single = fs::metadata(&tasks).is_ok_and(|metadata| metadata.nlink() <= 3);
        let threads =
            if is_single { vec![pid] } else { numbers(Path::new(&tasks)).unwrap_or_default() };
        for tid in threads {
            if let Some(inode) = inode_of_link(Path::new(&format!("{tasks}/{tid}/ns/mnt")))
                && visit(inode, pid, tid).is_break()
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The entries of a directory that are numbers.
pub(super) fn numbers(directory: &Path) -> io::Result<Vec<u32>> {
    Ok(fs::read_dir(directory)?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

/// The inode in a link to `mnt:[N]`.
pub(super) fn inode_of_link(link: &Path) -> Option<NamespaceInode> {
    NamespaceInode::of_name(fs::read_link(link).ok()?.as_os_str().as_bytes())
}

fn open_own() -> Result<OwnedFd, NamespacesError> {
    open_link(Path::new(OWN)).map_err(NamespacesError::Own)
}

fn open_link(link: &Path) -> io::Result<OwnedFd> {
    Ok(File::open(link)?.into())
}

fn found(fd: OwnedFd, task: Option<u32>) -> io::Result<FoundNamespace> {
    let inode = inode_of(&fd)?;
    let id = sys::namespace_id(fd.as_fd())?.map(NamespaceId);
    Ok(FoundNamespace { fd, inode, id, task })
}

/// The inode of an open namespace.
pub(super) fn inode_of(fd: &OwnedFd) -> io::Result<NamespaceInode> {
    let inode = rustix::fs::fstat(fd)?.st_ino;
    u32::try_from(inode).map(NamespaceInode).map_err(io::Error::other)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

fn asked(error: io::Error) -> NamespacesError {
    if error.raw_os_error() == Some(libc::EMFILE) {
        NamespacesError::Descriptors(error)
    } else {
        NamespacesError::Ask(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespace_is_found() {
        let own = open_by_task(std::process::id()).unwrap().unwrap();
        let again = open(own.inode, None);
        // Without privileges the kernel's list stops short, but our own is in it.
        if let Ok(again) = again {
            assert_eq!(inode_of(&again.unwrap()).unwrap(), own.inode);
        }
    }

    #[test]
    fn a_task_that_is_not_there_is_no_error() {
        assert!(open_by_task(u32::MAX).unwrap().is_none());
    }
}
