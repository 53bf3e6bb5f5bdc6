//! Mount namespaces of the host: which there are, and what the kernel says inside one.

use crate::sys::{self, BpfKind};
use anyhow::{Context as _, Result, bail};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::LinkNameSpaceType;
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A thread is gone long before.
const END_LIMIT: Duration = Duration::from_secs(5);

/// `/proc/self/mountinfo` of whoever enters the namespace.
pub(crate) fn mountinfo(namespace: &OwnedFd) -> Result<Vec<u8>> {
    // The namespace need not have a /proc of its own.
    let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    inside(namespace, move || {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&proc, "thread-self/mountinfo", flags, Mode::empty())?;
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut fs::File::from(file), &mut text)?;
        Ok(text)
    })
}

/// Does something in a thread that enters the namespace for it. Nothing of it stays there.
pub(crate) fn inside<T: Send + 'static>(
    namespace: &OwnedFd,
    act: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let namespace = namespace.try_clone()?;
    let (sender, receiver) = mpsc::channel();
    let visitor = thread::spawn(move || -> Result<T> {
        // Nobody waits for it only if this whole call is over.
        sender.send(rustix::thread::gettid()).ok();
        sys::unshare(libc::CLONE_FS)?;
        let kind = Some(LinkNameSpaceType::Mount);
        rustix::thread::move_into_link_name_space(namespace.as_fd(), kind)?;
        act()
    });
    let tid = receiver.recv().context("the visitor did not start")?;
    let Ok(done) = visitor.join() else { bail!("the visitor panicked") };
    // A joined thread still holds its namespace for a moment.
    let directory = format!("/proc/self/task/{}", tid.as_raw_nonzero());
    let start = Instant::now();
    while fs::metadata(&directory).is_ok() && start.elapsed() < END_LIMIT {
        thread::yield_now();
    }
    done
}

/// Whether the kernel's own list of mount namespaces has this one. No before 6.12, where there is no
/// such list.
pub(crate) fn kernel_lists(id: u64) -> Result<bool> {
    for later in [true, false] {
        let mut at: OwnedFd = fs::File::open("/proc/self/ns/mnt")?.into();
        loop {
            match sys::mount_namespace_beside(&at, later) {
                Ok(Some((_, found))) if found == id => return Ok(true),
                Ok(Some((next, _))) => at = next,
                Ok(None) => break,
                Err(Errno::NOTTY | Errno::INVAL) => return Ok(false),
                Err(error) => return Err(error).context("cannot walk the mount namespaces"),
            }
        }
    }
    Ok(false)
}

/// The inode of a namespace, by a descriptor of it.
pub(crate) fn inode_of(descriptor: &OwnedFd) -> Option<u32> {
    u32::try_from(rustix::fs::fstat(descriptor).ok()?.st_ino).ok()
}

/// Opens a path as a task sees it, if it is still the namespace that is expected there.
pub(crate) fn open_in(tid: u32, path: &[u8], name: &str) -> Option<OwnedFd> {
    let path = [format!("/proc/{tid}/root").as_bytes(), path].concat();
    let file = fs::File::open(std::ffi::OsString::from_vec(path)).ok()?;
    (format!("mnt:[{}]", file.metadata().ok()?.ino()) == name).then(|| file.into())
}

/// `mnt:[INODE]` with a process and a thread of it, once for each namespace that has tasks.
pub(crate) fn one_task_of_each_namespace() -> Vec<(String, u32, u32)> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for pid in numbers("/proc") {
        for tid in numbers(&format!("/proc/{pid}/task")) {
            if let Some(name) = crate::task::namespace_of(pid, tid)
                && seen.insert(name.clone())
            {
                found.push((name, pid, tid));
            }
        }
    }
    found
}

fn numbers(directory: &str) -> impl Iterator<Item = u32> + use<> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Inodes of every mount namespace that a task is in, that a descriptor holds, or that is bound.
pub(crate) fn living_namespaces() -> BTreeSet<u32> {
    let mut living = BTreeSet::new();
    let mut add = |name: &str| {
        let number = name.strip_prefix("mnt:[").and_then(|rest| rest.strip_suffix(']'));
        living.extend(number.and_then(|number| number.parse::<u32>().ok()));
    };
    for (name, pid, tid) in one_task_of_each_namespace() {
        add(&name);
        let file = fs::read(format!("/proc/{pid}/task/{tid}/mountinfo")).unwrap_or_default();
        for (_, name) in crate::mountinfo::bound_namespaces(&file) {
            add(&name);
        }
    }
    for pid in numbers("/proc") {
        for descriptor in numbers(&format!("/proc/{pid}/fd")) {
            if let Ok(link) = fs::read_link(format!("/proc/{pid}/fd/{descriptor}")) {
                add(&String::from_utf8_lossy(link.as_os_str().as_bytes()));
            }
        }
    }
    living
}

/// The IDs of the BPF programs that other processes hold by descriptors, of programs or of links.
pub(crate) fn bpf_programs_of_others() -> BTreeSet<u32> {
    let others = numbers("/proc").filter(|pid| *pid != std::process::id());
    others.flat_map(|pid| bpf_objects_of(pid, BpfKind::Program)).collect()
}

/// The IDs of the BPF objects of a kind that a process holds by descriptors. A descriptor of a link
/// also holds its program.
pub(crate) fn bpf_objects_of(pid: u32, kind: BpfKind) -> BTreeSet<u32> {
    let key = match kind {
        BpfKind::Program => "prog_id:",
        BpfKind::Map => "map_id:",
        BpfKind::Link => "link_id:",
    };
    let of_one = |info: String| -> Vec<u32> {
        info.lines().filter_map(|line| line.strip_prefix(key)?.trim().parse().ok()).collect()
    };
    descriptors_of(pid).flat_map(of_one).collect()
}

/// How many queues of fanotify(7) a process has.
pub(crate) fn fanotify_queues_of(pid: u32) -> usize {
    descriptors_of(pid).filter(|info| info.contains("fanotify flags:")).count()
}

/// What the kernel says of each descriptor of a process.
fn descriptors_of(pid: u32) -> impl Iterator<Item = String> {
    numbers(&format!("/proc/{pid}/fdinfo")).map(move |descriptor| {
        fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).unwrap_or_default()
    })
}

/// The processes that a process started and that are there.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let of_thread = |tid| fs::read_to_string(format!("/proc/{pid}/task/{tid}/children"));
    numbers(&format!("/proc/{pid}/task"))
        .flat_map(|tid| {
            let text = of_thread(tid).unwrap_or_default();
            text.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}
