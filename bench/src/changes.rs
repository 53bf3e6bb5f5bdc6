//! Changes: when they are seen, what seeing them costs, what seeding and keeping the index costs.

use crate::data::Data;
use crate::measure::{Row, median, rounds, way};
use crate::peers::{self, lines};
use crate::sys;
use anyhow::{Context as _, Result, ensure};
use mountwatch::agent::Tracker;
use mountwatch::query::{Binds, MountQueries as _};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Changes of which the latency is measured.
const CHANGES: usize = 60;
/// Changes per second, and for how long, of which the consumer's CPU time is measured.
const RATE: u32 = 1_000;
const SECONDS: u64 = 2;
/// After which a change counts as not seen.
const PATIENCE: Duration = Duration::from_secs(20);

fn cycle(data: &Data, between: impl FnOnce() -> Result<()>) -> Result<()> {
    mount_bind(&data.source, &data.spare)?;
    let result = between();
    unmount(&data.spare, UnmountFlags::empty())?;
    result
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn ns(time: Duration) -> f64 {
    time.as_nanos() as f64
}

/// From the return of mount(2) to an answer that has it.
pub(crate) fn latency(tracker: &Tracker, data: &Data) -> Result<Vec<Row>> {
    let view = tracker.view_of_task(std::process::id())?;
    let (from, spare) = (view.viewpoint(), data.spare.as_bytes());
    let is_there = |snapshot: &mountwatch::state::Snapshot| {
        snapshot.covering(spare, from).is_some_and(|covering| covering.is_mountpoint)
    };
    let mut seen = Vec::new();
    let mut asked = Vec::new();
    let mut reread = Vec::new();
    let mut text = Vec::new();
    let slow = data.paths.len() > 20_000;
    for at in 0..CHANGES {
        // What went before is over: else it would be taken for what comes.
        ensure!(!is_there(&*tracker.now()?), "the index has a mount that is gone");
        cycle(data, || {
            let start = Instant::now();
            while !is_there(&tracker.latest()) {
                ensure!(start.elapsed() < PATIENCE, "a mount was not seen");
                std::hint::spin_loop();
            }
            seen.push(ns(start.elapsed()));
            Ok(())
        })?;
        cycle(data, || {
            let start = Instant::now();
            let snapshot = tracker.now()?;
            asked.push(ns(start.elapsed()));
            ensure!(is_there(&snapshot), "the barrier gave a snapshot without a finished mount");
            Ok(())
        })?;
        if at % if slow { 20 } else { 4 } == 0 {
            let file = File::open("/proc/self/mountinfo")?;
            cycle(data, || {
                let start = Instant::now();
                poll(&mut [PollFd::new(&file, PollFlags::PRI)], None)?;
                peers::read_mountinfo(&mut text)?;
                ensure!(lines(&text).any(|line| line.mountpoint == spare), "not in mountinfo");
                reread.push(ns(start.elapsed()));
                Ok(())
            })?;
        }
    }
    let what = "a change, from the return of mount(2)";
    let mut rows = vec![
        Row::of(what, "mountwatch", seen).noting("a reader that only looks at what is published"),
        Row::of(what, "mountwatch, barrier", asked)
            .noting("what the asking takes; the answer has it"),
        Row::of(what, "poll+mountinfo", reread),
    ];
    if let Some(values) = fanotify_latency(data) {
        rows.push(
            Row::of(what, "fanotify+statmount", values?).noting(
                "asked by the thread that mounts: an ID, and one mount if it is still there",
            ),
        );
    }
    Ok(rows)
}

/// The consumer asks right after mount(2), like the others here. `None` before 6.15.
fn fanotify_latency(data: &Data) -> Option<Result<Vec<f64>>> {
    let namespace = File::open("/proc/self/ns/mnt").ok()?;
    let queue = sys::fanotify(namespace.as_fd()).ok()?;
    let mut values = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    for _ in 0..CHANGES {
        let result = cycle(data, || {
            let start = Instant::now();
            for id in take(&queue)? {
                let _ = sys::statmount(id, sys::STATMOUNT_ALL, &mut buffer);
            }
            values.push(ns(start.elapsed()));
            Ok(())
        });
        if let Err(error) = result.and_then(|()| take(&queue)) {
            return Some(Err(error));
        }
    }
    Some(Ok(values))
}

/// Waits for notifications; the mounts that they are about.
fn take(queue: &std::os::fd::OwnedFd) -> Result<Vec<u64>> {
    let mut bytes = [0_u8; 4 << 10];
    let count = rustix::io::read(queue, &mut bytes)?;
    let mut ids = Vec::new();
    let mut rest = &bytes[..count];
    // Events of 24 bytes, each with one piece of information: 8 bytes, then the ID.
    while let Some(length) = rest.first_chunk::<4>() {
        let length = u32::from_ne_bytes(*length) as usize;
        if let Some(id) = rest.get(32..40).and_then(|id| id.try_into().ok()) {
            ids.push(u64::from_ne_bytes(id));
        }
        rest = rest.get(length.max(24)..).unwrap_or_default();
    }
    Ok(ids)
}

/// CPU time of a consumer while mounts come and go at a fixed rate.
pub(crate) fn cpu(tracker: &Tracker, data: &Data) -> Result<Vec<Row>> {
    let what = "CPU of one core at 1,000 mount+umount/s";
    let own = thread_named("mountwatch")?;
    let percent = |before: u64, after: u64, time: Duration| {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let used = after.saturating_sub(before) as f64;
        100.0 * used / ns(time)
    };
    let run = |task: &str| -> Result<(f64, String)> {
        let (before, start) = (cpu_ns(task)?, Instant::now());
        let made = churn(data)?;
        Ok((percent(before, cpu_ns(task)?, start.elapsed()), format!("{made} cycles made")))
    };
    let (records, before) = (tracker.status()?.records, cpu_ns(&own)?);
    let (value, note) = run(&own)?;
    let (told, used) = (tracker.status()?.records - records, cpu_ns(&own)? - before);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = used as f64 / told.max(1) as f64;
    let mut rows = vec![
        Row::single("CPU for one event", "mountwatch", each, "ns"),
        Row::single(what, "mountwatch", value, "percent").noting(format!("{note}, {told} events")),
    ];
    let namespace = File::open("/proc/self/ns/mnt")?;
    let queue = sys::fanotify(namespace.as_fd());
    if let Ok(queue) = queue {
        let (value, note) = beside("bench-fanotify", run, |stop| {
            let mut buffer = vec![0; 16 << 10];
            while !stop.load(Ordering::Relaxed) {
                if poll(&mut [PollFd::new(&queue, PollFlags::IN)], Some(&SHORT))? > 0 {
                    for id in take(&queue)? {
                        let _ = sys::statmount(id, sys::STATMOUNT_ALL, &mut buffer);
                    }
                }
            }
            Ok(())
        })?;
        rows.push(Row::single(what, "fanotify+statmount", value, "percent").noting(note));
    }
    let (value, note) = beside("bench-reread", run, |stop| {
        let file = File::open("/proc/self/mountinfo")?;
        let mut text = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            if poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&SHORT))? > 0 {
                peers::read_mountinfo(&mut text)?;
                ensure!(lines(&text).count() > 0, "an empty mountinfo");
            }
        }
        Ok(())
    })?;
    rows.push(Row::single(what, "poll+mountinfo", value, "percent").noting(note));
    Ok(rows)
}

const SHORT: rustix::time::Timespec = rustix::time::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Runs something while a consumer works in a thread of its own.
fn beside<T>(
    name: &str,
    run: impl Fn(&str) -> Result<T>,
    consume: impl FnOnce(&AtomicBool) -> Result<()> + Send,
) -> Result<T> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn_scoped(scope, || consume(&stop))?;
        std::thread::sleep(Duration::from_millis(50));
        let result = thread_named(name).and_then(|task| run(&task));
        stop.store(true, Ordering::Relaxed);
        thread.join().map_err(|_| anyhow::anyhow!("the thread {name} panicked"))??;
        result
    })
}

/// Mounts and unmounts at the rate; how often.
fn churn(data: &Data) -> Result<u32> {
    let start = Instant::now();
    let mut made = 0;
    while start.elapsed() < Duration::from_secs(SECONDS) {
        cycle(data, || Ok(()))?;
        made += 1;
        let due = Duration::from_secs(1) * made / RATE;
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
    Ok(made)
}

fn thread_named(name: &str) -> Result<String> {
    for entry in fs::read_dir("/proc/self/task")? {
        let path = entry?.path();
        if fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name) {
            return Ok(path.to_string_lossy().into_owned());
        }
    }
    anyhow::bail!("there is no thread {name}")
}

/// Nanoseconds that a thread ran.
fn cpu_ns(task: &str) -> Result<u64> {
    let text = fs::read_to_string(Path::new(task).join("schedstat"))?;
    let first = text.split(' ').next().context("an empty schedstat")?;
    Ok(first.parse()?)
}

/// A scan of all namespaces, which in its own namespace is one read of each mountinfo.
pub(crate) fn seeding(tracker: &Tracker) -> Result<Vec<Row>> {
    let mut text = Vec::new();
    let ways = vec![
        way("mountwatch", || Ok(tracker.rescan()?)),
        way("mountinfo", || {
            peers::read_mountinfo(&mut text)?;
            ensure!(lines(&text).all(|line| line.words >= 10), "a line has too few words");
            Ok(())
        }),
    ];
    rounds("seeding", ways)
}

/// What mount and umount take, for one round.
pub(crate) fn cycle_ns(data: &Data, times: u32) -> Result<f64> {
    let mut values = Vec::new();
    for _ in 0..times {
        let start = Instant::now();
        cycle(data, || Ok(()))?;
        values.push(ns(start.elapsed()));
    }
    Ok(median(values).0)
}

/// Whether a path is a mount point for a tracker, for a check of the data.
pub(crate) fn knows(tracker: &Tracker, path: &str) -> Result<bool> {
    let view = tracker.view_of_task(std::process::id())?;
    Ok(view.is_mount_point(Path::new(path), Binds::Count)?.value)
}
