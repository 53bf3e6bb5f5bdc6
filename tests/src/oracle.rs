//! The oracle: the kernel's own view, `/proc/PID/mountinfo` of every mount namespace, against the
//! index rendered as that file.
//!
//! The kernel's file is not one view: it is read in pieces of 4 KiB, between which mounts can move.
//! So nothing of the tests' own moves during a comparison; what other processes of the host do
//! meanwhile is noticed, since the file is then another one when it is read again.

use crate::kernel::Kernel;
use crate::mountinfo;
use crate::task;
use crate::visit;
use anyhow::{Context as _, Result};
use mountwatch::agent::{Status, Tracker};
use mountwatch::model::{MountId, NamespaceInode};
use mountwatch::render;
use mountwatch::state::Snapshot;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, process, thread};

/// How often a file that others change meanwhile is compared again.
const TRIES_MAX: u32 = 50;
/// `notify` is exact after a bounded delay; this is the bound that is claimed.
const NOTIFY_DELAY_MAX: Duration = Duration::from_secs(2);
/// A scan of everything ends long before, also under emulation.
const SCAN_LIMIT: Duration = Duration::from_mins(1);
/// Namespaces die some time after their last reference: a kernel worker drops it.
const GHOST_LIMIT: Duration = Duration::from_secs(10);
/// Differences of one comparison that are printed.
const DIFFERENCES_MAX: usize = 12;

/// A task whose view is compared.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    /// What it is called in the scenario.
    pub(crate) name: String,
    /// Its process.
    pub(crate) pid: u32,
    /// Its thread.
    pub(crate) tid: u32,
}

/// A descriptor of a mount namespace that a task holds.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// What it is called in the scenario.
    pub(crate) name: String,
    /// The process that holds it.
    pub(crate) pid: u32,
    /// Its number there.
    pub(crate) descriptor: i64,
}

/// Counters of the kernel side that mean that a record is missing.
const LOST: [&str; 6] = [
    "records_lost",
    "roots_lost",
    "walks_cut",
    "reads_failed",
    "records_undecoded",
    "notifications_lost",
];

/// Counters of the tracker that have to stand still.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    losses: u64,
    /// Records that found no room, walks that were cut, and their like.
    lost: u64,
    anomalies: u64,
    rereads: u64,
    rescans: u64,
}

impl From<&Status> for Counts {
    fn from(status: &Status) -> Self {
        let sum = |names: &[&str]| {
            let counters = status.counters.iter().filter(|(name, _)| names.contains(&&**name));
            counters.map(|(_, count)| count).sum()
        };
        Self {
            losses: status.losses,
            lost: sum(&LOST),
            anomalies: status.anomalies,
            rereads: status.rereads,
            rescans: status.rescans,
        }
    }
}

/// Until what a file system changed by itself has been looked at.
const SELF_CHANGE_DELAY: Duration = Duration::from_millis(600);

/// What was compared so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compared {
    /// Files that were equal.
    pub(crate) files: u64,
    /// Lines of them.
    pub(crate) lines: u64,
    /// Files that were equal only after a while (`notify`).
    pub(crate) late: u64,
}

/// Compares.
pub(crate) struct Oracle {
    /// The tracker under test.
    pub(crate) tracker: Tracker,
    /// The running kernel.
    pub(crate) kernel: Kernel,
    /// The back end that runs: `hooks`, `notify` or `poll`.
    pub(crate) backend: &'static str,
    baseline: Mutex<Counts>,
    compared: Mutex<Compared>,
}

enum View {
    Task { pid: u32, tid: u32 },
    Namespace { descriptor: OwnedFd, inode: u32 },
}

impl View {
    /// The kernel's file; `None` if the task is gone.
    fn read(&self) -> Option<Vec<u8>> {
        match self {
            Self::Task { pid, tid } => fs::read(format!("/proc/{pid}/task/{tid}/mountinfo")).ok(),
            Self::Namespace { descriptor, .. } => visit::mountinfo(descriptor).ok(),
        }
    }

    /// The same file out of the index.
    fn render(&self, tracker: &Tracker, snapshot: &Snapshot) -> Result<Vec<u8>, String> {
        let viewpoint = match self {
            Self::Task { tid, .. } => tracker
                .viewpoint_of_task(snapshot, *tid)
                .map_err(|error| format!("no viewpoint: {error}"))?,
            Self::Namespace { inode, .. } => snapshot
                .namespace_by_inode(NamespaceInode(*inode))
                .and_then(|namespace| snapshot.viewpoint_of_namespace(namespace.key))
                .ok_or_else(|| format!("the index has no namespace {inode}"))?,
        };
        Ok(render::mountinfo(snapshot, viewpoint))
    }
}

impl Oracle {
    /// An oracle over a tracker that has just started.
    pub(crate) fn new(tracker: Tracker, kernel: Kernel) -> Result<Self> {
        let status = tracker.status().context("the tracker has no status")?;
        let baseline = Mutex::new(Counts::from(&status));
        let compared = Mutex::default();
        Ok(Self { tracker, kernel, backend: status.backend, baseline, compared })
    }

    /// What was compared so far.
    pub(crate) fn compared(&self) -> Compared {
        *self.compared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every difference between index and kernel, now.
    pub(crate) fn differences(&self, viewers: &[Viewer], held: &[Held]) -> Vec<String> {
        let mut found = Vec::new();
        for (name, view) in views(viewers, held) {
            let told = self.compare(&view);
            let count = told.len();
            found.extend(
                told.into_iter().take(DIFFERENCES_MAX).map(|line| format!("{name}: {line}")),
            );
            if count > DIFFERENCES_MAX {
                found.push(format!("{name}: and {} more", count - DIFFERENCES_MAX));
            }
        }
        found.extend(self.check_counts());
        found
    }

    fn compare(&self, view: &View) -> Vec<String> {
        let start = Instant::now();
        let (mut is_late, mut has_waited) = (false, false);
        for _ in 0..TRIES_MAX {
            let Some(kernel) = view.read() else { return Vec::new() };
            let differences = match self.tracker.now() {
                Ok(snapshot) => match view.render(&self.tracker, &snapshot) {
                    Ok(index) => {
                        mountinfo::differences(&index, &kernel, self.kernel.has_known_order())
                    }
                    // A root directory on a mount that left: the kernel's file is empty as well.
                    Err(_) if kernel.is_empty() => Vec::new(),
                    Err(error) => vec![error],
                },
                Err(error) => return vec![format!("the tracker has no snapshot: {error}")],
            };
            if differences.is_empty() {
                let mut compared = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
                compared.files += 1;
                compared.lines += mountinfo::lines(&kernel).len() as u64;
                compared.late += u64::from(is_late);
                return Vec::new();
            }
            if self.is_late(&kernel, view) {
                if !self.kernel.is_at_least((6, 11)) {
                    return self.compare_after_scan(view);
                }
                // The tracker looks at such file systems a few times in a second.
                if !has_waited {
                    has_waited = true;
                    thread::sleep(SELF_CHANGE_DELAY);
                    continue;
                }
            }
            match view.read() {
                None => return Vec::new(),
                // Others of the host are at work: compare again.
                Some(again) if again != kernel => {}
                Some(_) if self.backend == "notify" && start.elapsed() < NOTIFY_DELAY_MAX => {
                    is_late = true;
                    thread::sleep(NOTIFY_DELAY_MAX / (TRIES_MAX / 2));
                }
                Some(_) => return differences,
            }
        }
        vec!["the kernel's file does not stand still".to_owned()]
    }

    /// Whether nothing differs but what file systems changed by themselves. Before 6.11 that is seen
    /// only by reading everything.
    fn is_late(&self, kernel: &[u8], view: &View) -> bool {
        let Ok(snapshot) = self.tracker.now() else { return false };
        let Ok(index) = view.render(&self.tracker, &snapshot) else { return false };
        let changes = |id: u32| {
            snapshot
                .mount_by_id(MountId(id))
                .and_then(|mount| snapshot.super_block(mount.super_block))
                .is_some_and(|known| known.changes_by_itself())
        };
        let without = |file: &[u8]| mountinfo::without_super_options(file, &changes);
        mountinfo::differences(&without(&index), &without(kernel), false).is_empty()
    }

    /// A scan of everything has to make good what is late.
    fn compare_after_scan(&self, view: &View) -> Vec<String> {
        if let Err(error) = self.rescan() {
            return vec![format!("{error:#}")];
        }
        let Some(kernel) = view.read() else { return Vec::new() };
        match self.tracker.now().map(|snapshot| view.render(&self.tracker, &snapshot)) {
            Ok(Ok(index)) => mountinfo::differences(&index, &kernel, self.kernel.has_known_order()),
            Ok(Err(error)) => vec![error],
            Err(error) => vec![format!("the tracker has no snapshot: {error}")],
        }
    }

    /// What the tracker says of itself has to be that nothing was lost and nothing is unknown.
    fn check_counts(&self) -> Vec<String> {
        let status = match self.tracker.status() {
            Ok(status) => status,
            Err(error) => return vec![format!("no status: {error}")],
        };
        let now = Counts::from(&status);
        let before = std::mem::replace(
            &mut *self.baseline.lock().unwrap_or_else(PoisonError::into_inner),
            now,
        );
        let mut found = Vec::new();
        let word = status.coverage.word();
        let expected = match self.backend {
            "poll" => &["polling"][..],
            "notify" => &["complete", "blind"],
            _ => &["complete"],
        };
        if !expected.contains(&word) {
            found.push(format!("coverage is {word}: {:?}", status.coverage.blind()));
        }
        if self.backend == "notify" && now.rereads > 0 {
            found.push(format!("{} rereads, of which notify has no need", now.rereads));
        }
        let mut grew = |name: &str, before: u64, now: u64| {
            if before != now {
                found.push(format!("{name} grew from {before} to {now}"));
            }
        };
        grew("records lost", before.lost, now.lost);
        grew("losses", before.losses, now.losses);
        grew("anomalies", before.anomalies, now.anomalies);
        // Reading is all that this one does, and each reading counts.
        if self.backend == "poll" {
            if before.rereads >= now.rereads {
                found.push("nothing was read for this answer".to_owned());
            }
            return found;
        }
        // Before 6.11 statmount(2) does not tell options: one read, which is a scan, for each new
        // super block.
        if self.backend == "notify" || self.kernel.is_at_least((6, 12)) {
            grew("rereads", before.rereads, now.rereads);
            grew("rescans", before.rescans, now.rescans);
        } else {
            let without = |counts: Counts| counts.rescans.saturating_sub(counts.rereads);
            grew("rescans without rereads", without(before), without(now));
        }
        found
    }

    /// Has everything scanned again, and waits until it is.
    pub(crate) fn rescan(&self) -> Result<()> {
        self.tracker.rescan().context("cannot scan again")?;
        self.settle()
    }

    /// Waits until a scan that was asked for is over. It is no reason to complain then; a loss on
    /// the way still is.
    pub(crate) fn settle(&self) -> Result<()> {
        let start = Instant::now();
        while self.tracker.now()?.coverage().word() == "stale" {
            if start.elapsed() > SCAN_LIMIT {
                anyhow::bail!("the index is still stale after a scan");
            }
            thread::sleep(Duration::from_millis(5));
        }
        let counts = Counts::from(&self.tracker.status()?);
        let mut baseline = self.baseline.lock().unwrap_or_else(PoisonError::into_inner);
        baseline.rescans = counts.rescans;
        baseline.rereads = counts.rereads;
        Ok(())
    }

    /// Namespaces of the index that nothing on the host refers to any more. They may stay for a
    /// moment, not for long.
    pub(crate) fn ghosts(&self) -> Vec<String> {
        let start = Instant::now();
        loop {
            let snapshot = match self.tracker.now() {
                Ok(snapshot) => snapshot,
                Err(error) => return vec![format!("the tracker has no snapshot: {error}")],
            };
            // The index first: a namespace that is born after it is no ghost.
            let known: Vec<u32> =
                snapshot.namespaces().map(|namespace| namespace.inode.0).collect();
            let living = visit::living_namespaces();
            let ghosts: Vec<u32> =
                known.into_iter().filter(|inode| !living.contains(inode)).collect();
            if ghosts.is_empty() {
                return Vec::new();
            }
            if start.elapsed() > GHOST_LIMIT {
                return vec![format!("the index keeps namespaces that are gone: {ghosts:?}")];
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Everything to look at, with its name: the tasks of the scenario, ourselves, one task of every
/// other namespace, the namespaces that only descriptors or bind mounts hold.
fn views(viewers: &[Viewer], held: &[Held]) -> Vec<(String, View)> {
    let own = Viewer { name: "vm-tests".to_owned(), pid: process::id(), tid: process::id() };
    let mut views = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for viewer in viewers.iter().chain([&own]) {
        seen.extend(task::namespace_of(viewer.pid, viewer.tid));
        views.push((viewer.name.clone(), View::Task { pid: viewer.pid, tid: viewer.tid }));
    }
    let mut add_namespace = |name: String, descriptor: OwnedFd| {
        let Some(inode) = visit::inode_of(&descriptor) else { return };
        if seen.insert(format!("mnt:[{inode}]")) {
            views.push((name, View::Namespace { descriptor, inode }));
        }
    };
    for held in held {
        let path = format!("/proc/{}/fd/{}", held.pid, held.descriptor);
        if let Ok(file) = fs::File::open(path) {
            add_namespace(format!("namespace @{}", held.name), file.into());
        }
    }
    for viewer in viewers {
        let Ok(file) = fs::read(format!("/proc/{}/task/{}/mountinfo", viewer.pid, viewer.tid))
        else {
            continue;
        };
        for (path, inode) in mountinfo::bound_namespaces(&file) {
            if let Some(descriptor) = visit::open_in(viewer.tid, &path, &inode) {
                add_namespace(format!("namespace bound in {}", viewer.name), descriptor);
            }
        }
    }
    for (name, pid, tid) in visit::one_task_of_each_namespace() {
        if seen.insert(name.clone()) {
            views.push((format!("{name} of task {tid}"), View::Task { pid, tid }));
        }
    }
    views
}

/// Shared by the tests.
pub(crate) type SharedOracle = Arc<Oracle>;
