//! Nothing that the tracker holds keeps somebody's mount namespace alive: when its last process
//! ends, it dies, and the tracker says so.
//!
//! Whether a namespace lives is asked of the kernel alone. A FUSE file system that is mounted in it
//! and nowhere else is the witness: its connection ends when its last mount does, which whoever
//! holds `/dev/fuse` is told. From 6.12 on the kernel's list of namespaces is asked as well.

use crate::command::Unshare;
use crate::kernel::{self, Kernel};
use crate::report::{self, Report, Verdict};
use crate::scenario::MAIN;
use crate::task::Reply;
use crate::world::World;
use crate::{sys, visit};
use anyhow::{Context as _, Result, bail, ensure};
use mountwatch::agent::{BackendChoice, Config, Tracker};
use mountwatch::model::{ChangeKind, NamespaceInode};
use mountwatch::verify;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::process::{Pid, Signal, WaitOptions};
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// After the end of its last process a namespace is gone within this time, and told as gone.
const GONE_MAX: Duration = Duration::from_secs(2);
/// Several times the interval at which the tracker looks after everything without a reason.
const REST: Duration = Duration::from_millis(700);
/// All of one case.
const LIMIT: Duration = Duration::from_mins(2);
/// The longest request that the kernel puts into `/dev/fuse`, and more.
const FUSE_BYTES: usize = 1 << 16;

/// How the namespace is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Birth {
    /// Before the tracker starts.
    Earlier,
    Unshare,
    Thread,
    Clone,
    /// `open_tree(OPEN_TREE_NAMESPACE)`: a descriptor is all that holds it.
    OpenTree,
}

/// What is done before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Rest,
    /// Changes inside and elsewhere, each with an answer after it.
    Drains,
    /// A scan of everything, and a comparison.
    Rescan,
}

/// One case.
struct Case {
    name: &'static str,
    birth: Birth,
    before: Before,
    since: (u32, u32),
}

const OLDEST: (u32, u32) = (5, 10);

const fn case(name: &'static str, birth: Birth, before: Before) -> Case {
    Case { name, birth, before, since: OLDEST }
}

const CASES: &[Case] = &[
    case("lifetime_at_rest", Birth::Earlier, Before::Rest),
    case("lifetime_after_drains", Birth::Earlier, Before::Drains),
    case("lifetime_after_rescan", Birth::Earlier, Before::Rescan),
    case("lifetime_of_unshare", Birth::Unshare, Before::Rest),
    case("lifetime_of_unshare_after_drains", Birth::Unshare, Before::Drains),
    case("lifetime_of_unshare_after_rescan", Birth::Unshare, Before::Rescan),
    case("lifetime_of_thread", Birth::Thread, Before::Drains),
    case("lifetime_of_clone", Birth::Clone, Before::Rest),
    case("lifetime_of_clone_after_rescan", Birth::Clone, Before::Rescan),
    Case { since: (7, 0), ..case("lifetime_of_open_tree", Birth::OpenTree, Before::Rest) },
    Case {
        since: (7, 0),
        ..case("lifetime_of_open_tree_after_rescan", Birth::OpenTree, Before::Rescan)
    },
];

/// The names of all of them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

/// Runs those that are wanted.
pub(crate) fn run(
    report: &mut Report,
    backend: BackendChoice,
    kernel: Kernel,
    base: &Path,
    is_wanted: &dyn Fn(&str) -> bool,
) {
    for case in CASES.iter().filter(|case| is_wanted(case.name)) {
        let (major, minor) = case.since;
        let verdict = if !kernel.is_at_least(case.since) {
            Verdict::Skipped(format!("needs kernel {major}.{minor}"))
        } else if !kernel::has_file_system("fuse") {
            Verdict::Skipped("needs the file system fuse".to_owned())
        } else {
            let base = base.to_owned();
            match report::with_limit(LIMIT, move |at| one(case, backend, &base, at)) {
                Ok(Ok(failures)) => Verdict::of(failures),
                Ok(Err(error)) => Verdict::Failed(vec![format!("{error:#}")]),
                Err(why) => Verdict::Failed(vec![why]),
            }
        };
        report.add(case.name, verdict);
    }
}

/// Whose end is the namespace's.
enum Last {
    /// A task of the world.
    Task,
    /// A descriptor of the task `main`.
    Descriptor,
    /// A process of our own.
    Child(Pid),
}

const NAME: &str = "A";
const HELD: &str = "inside";

fn one(case: &Case, backend: BackendChoice, base: &Path, at: &dyn Fn(&str)) -> Result<Vec<String>> {
    let mut world = World::new(base)?;
    for line in ["mkdir /witness", "mkdir /else", "mount tmpfs /else", "mkdir /else/witness"] {
        world.line(MAIN, line)?;
    }
    let config = Config { backend, operations: false, ..Config::new() };
    let start = || Tracker::start(&config).context("cannot start the tracker");
    at("the birth");
    let ((last, link), tracker) = if case.birth == Birth::Earlier {
        let born = born(&mut world, case.birth)?;
        (born, start()?)
    } else {
        let tracker = start()?;
        (born(&mut world, case.birth)?, tracker)
    };
    let (_, mut changes) = tracker.subscribe()?;
    let (witness, inode, id) = {
        let namespace: OwnedFd = fs::File::open(&link).context("no namespace")?.into();
        let inode = visit::inode_of(&namespace).context("no inode")?;
        let id = sys::mount_namespace_id(&namespace)?;
        let target = match case.birth {
            Birth::OpenTree => PathBuf::from("/witness"),
            Birth::Clone => base.to_owned(),
            _ => base.join("witness"),
        };
        (Witness::mount(&namespace, &target)?, NamespaceInode(inode), id)
    };
    at("before the end");
    before(case.before, &tracker, &mut world, last_is_task(&last))?;
    ensure!(witness.lives()?, "the witness is gone before the end");
    let known = tracker.now()?.namespace_by_inode(inode).is_some();
    ensure!(known, "the index does not have the namespace {inode}");
    // What the answer needed is over.
    thread::sleep(REST);
    at("the end");
    match last {
        Last::Task => world.end(NAME, true)?,
        Last::Descriptor => world.line(MAIN, &format!("close @{HELD}"))?,
        Last::Child(pid) => end_child(pid)?,
    }
    let failures = wait_for_end(&witness, &tracker, inode, id)?;
    drop(tracker);
    let mut is_told = false;
    while let Some(Ok(published)) = changes.recv_blocking() {
        is_told |= published.transaction.changes.iter().any(|change| {
            matches!(&change.kind, ChangeKind::NamespaceGone { inode: gone, .. } if *gone == inode)
        });
    }
    world.tear_down();
    let untold = (!is_told).then(|| "no change says that the namespace is gone".to_owned());
    Ok(failures.into_iter().chain(untold).collect())
}

fn last_is_task(last: &Last) -> bool {
    matches!(last, Last::Task)
}

/// Makes the namespace; who holds it, and a link to it.
fn born(world: &mut World, birth: Birth) -> Result<(Last, String)> {
    match birth {
        Birth::Earlier | Birth::Unshare => {
            let reply = world.namespace(NAME, MAIN, Unshare::Private)?;
            ensure!(matches!(reply, Reply::Done(_)), "no namespace: {reply:?}");
        }
        Birth::Thread => world.thread(NAME, MAIN, Unshare::Private)?,
        Birth::Clone => {
            let pid = sys::clone_with_mount_namespace()?;
            return Ok((Last::Child(pid), format!("/proc/{}/ns/mnt", pid.as_raw_nonzero())));
        }
        Birth::OpenTree => {
            world.line(MAIN, &format!("open_tree -n -r /else as {HELD}"))?;
            let held = world.held();
            let held = held.first().context("nothing is held")?;
            return Ok((Last::Descriptor, format!("/proc/{}/fd/{}", held.pid, held.descriptor)));
        }
    }
    let viewers = world.viewers();
    let viewer = viewers.iter().find(|viewer| viewer.name == NAME).context("no such task")?;
    Ok((Last::Task, format!("/proc/{}/task/{}/ns/mnt", viewer.pid, viewer.tid)))
}

/// Gives the tracker reasons to hold something.
fn before(what: Before, tracker: &Tracker, world: &mut World, has_task: bool) -> Result<()> {
    match what {
        Before::Rest => {}
        Before::Drains => {
            for round in 0..8 {
                for task in [MAIN, NAME].into_iter().filter(|name| *name == MAIN || has_task) {
                    for line in ["mkdir", "mount tmpfs", "umount"] {
                        world.line(task, &format!("{line} /{task}{round}"))?;
                        tracker.now()?;
                    }
                }
            }
        }
        Before::Rescan => {
            tracker.rescan()?;
            let start = Instant::now();
            while tracker.now()?.coverage().word() == "stale" {
                ensure!(start.elapsed() < LIMIT / 2, "the index is still stale after a scan");
                thread::sleep(Duration::from_millis(10));
            }
            ensure!(verify::compare(tracker)?.is_equal(), "index and kernel differ");
        }
    }
    for viewer in world.viewers() {
        let snapshot = tracker.now()?;
        tracker.viewpoint_of_task(&snapshot, viewer.tid)?;
    }
    Ok(())
}

fn end_child(pid: Pid) -> Result<()> {
    rustix::process::kill_process(pid, Signal::KILL)?;
    rustix::process::waitpid(Some(pid), WaitOptions::empty())?;
    Ok(())
}

/// What is not gone in time, of the namespace itself and of the tracker's index of it. The tracker
/// is not asked: it has to notice by itself.
fn wait_for_end(
    witness: &Witness,
    tracker: &Tracker,
    inode: NamespaceInode,
    id: Option<u64>,
) -> Result<Vec<String>> {
    let start = Instant::now();
    loop {
        let mut left = Vec::new();
        if witness.lives()? {
            left.push("a mount of the namespace");
        }
        if let Some(id) = id
            && visit::kernel_lists(id)?
        {
            left.push("the namespace in the kernel's list");
        }
        if tracker.latest().namespace_by_inode(inode).is_some() {
            left.push("the namespace in the index");
        }
        if left.is_empty() || start.elapsed() > GONE_MAX {
            let seconds = GONE_MAX.as_secs();
            return Ok(left
                .into_iter()
                .map(|what| format!("still there after {seconds} s: {what}"))
                .collect());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A FUSE file system that nobody serves, in one namespace alone.
struct Witness(OwnedFd);

impl Witness {
    fn mount(namespace: &OwnedFd, target: &Path) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let connection =
            rustix::fs::open("/dev/fuse", flags, Mode::empty()).context("cannot open /dev/fuse")?;
        let descriptor = connection.as_raw_fd();
        let target = target.to_owned();
        visit::inside(namespace, move || {
            let data = format!("fd={descriptor},rootmode=40000,user_id=0,group_id=0\0");
            let data = std::ffi::CStr::from_bytes_with_nul(data.as_bytes())?;
            rustix::mount::mount("witness", &target, "fuse", MountFlags::empty(), Some(data))
                .with_context(|| format!("cannot mount the witness on {}", target.display()))
        })?;
        Ok(Self(connection))
    }

    /// Whether some mount of it is left.
    fn lives(&self) -> Result<bool> {
        match rustix::io::read(&self.0, &mut vec![0_u8; FUSE_BYTES][..]) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(Errno::NODEV) => Ok(false),
            Err(error) => bail!("the witness says {error}"),
        }
    }
}
