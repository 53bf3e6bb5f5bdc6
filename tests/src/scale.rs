//! Much at once, with the ring of its usual size: nothing is lost, and memory stays what it was.
//!
//! The small sizes are for each run; `--full-size` is what a large node has.

use crate::agent::{Agent, Ground};
use crate::cli_checks::{Setting, ensure_status};
use crate::report::{self, Report, Verdict};
use crate::sys;
use anyhow::{Context as _, Result, bail, ensure};
use mountwatch::agent::{Config, Tracker};
use mountwatch::{render, verify};
use mountwatch_common::limits::RING_BYTES_MIN;
use rustix::mount::{
    MountFlags, MountPropagationFlags as Propagation, UnmountFlags, mount, mount_bind,
    mount_change, unmount,
};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// The first argument of a process that mounts as fast as it can.
pub(crate) const ARGUMENT: &str = "--flat-out";
/// Processes that do.
const PROCESSES: u32 = 16;
/// Mounts that one of them has at once.
const AT_ONCE: u32 = 4;
/// For so long they do while the agent is stopped.
const STOPPED: Duration = Duration::from_secs(2);
/// How often one mount propagates to all namespaces.
const PROPAGATIONS: usize = 5;
/// By how much memory may differ after the first cycles and after many more.
const GROWTH_PERCENT_MAX: u64 = 5;
/// After a burst, memory goes back to the kernel within so long.
const REST: Duration = Duration::from_secs(10);
/// All of one check, under emulation too.
const LIMIT: Duration = Duration::from_mins(10);
const FULL_LIMIT: Duration = Duration::from_mins(55);

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Mounts of the namespace that is copied.
    mounts: usize,
    /// Namespaces to which a mount propagates.
    namespaces: usize,
    /// How long processes mount and unmount.
    length: Duration,
    /// After so many mounts and unmounts, and after so many more, memory is looked at.
    cycles: (u32, u32),
    limit: Duration,
}

const SMALL: Sizes = Sizes {
    mounts: 2_000,
    namespaces: 100,
    length: Duration::from_secs(5),
    cycles: (3_000, 12_000),
    limit: LIMIT,
};
const FULL: Sizes = Sizes {
    mounts: 50_000,
    namespaces: 1_000,
    length: Duration::from_mins(1),
    cycles: (10_000, 990_000),
    limit: FULL_LIMIT,
};

type Check = fn(&Setting, Sizes, &dyn Fn(&str)) -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("scale_unshare", unshare),
    ("scale_propagation", propagation),
    ("scale_flat_out", flat_out),
    ("scale_small_ring", small_ring),
    ("scale_memory", memory),
];

/// The names of all of them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

/// Runs those that are wanted.
pub(crate) fn run(
    report: &mut Report,
    setting: &Setting,
    is_full: bool,
    is_wanted: &dyn Fn(&str) -> bool,
) {
    let sizes = if is_full { FULL } else { SMALL };
    for (name, check) in CHECKS.iter().filter(|(name, _)| is_wanted(name)) {
        let setting = setting.clone();
        // In a thread of its own, which has the only view of what it mounts.
        let result = report::with_limit(sizes.limit, move |at| {
            sys::unshare(libc::CLONE_NEWNS).context("cannot unshare the mount namespace")?;
            mount_change("/", Propagation::PRIVATE | Propagation::REC)?;
            check(&setting, sizes, at)
        });
        let failures = match result {
            Ok(Ok(())) => Vec::new(),
            Ok(Err(error)) => vec![format!("{error:#}")],
            Err(why) => vec![why],
        };
        report.add(name, Verdict::of(failures));
    }
}

fn start(setting: &Setting) -> Result<Tracker> {
    let config = Config { backend: setting.choice(), ..Config::new() };
    Tracker::start(&config).context("cannot start the tracker")
}

/// The index is what the kernel has, and nothing was lost on the way.
fn compare(tracker: &Tracker, what: &str) -> Result<()> {
    let verification = verify::compare(tracker)?;
    ensure!(
        verification.is_equal(),
        "{what}: {}",
        render::verification_text(&verification, render::Secrets::Shown)
    );
    let status = tracker.status()?;
    ensure!(
        (status.losses, status.anomalies) == (0, 0),
        "{what}: {} losses, {} anomalies: {:?}",
        status.losses,
        status.anomalies,
        status.counters
    );
    println!(
        "{what}: {} mounts in {} namespaces, up to {} of {} KiB of the ring used, {} rescans",
        tracker.now()?.mount_count(),
        tracker.now()?.namespaces().count(),
        status.ring_used_bytes_max >> 10,
        status.ring_bytes >> 10,
        status.rescans
    );
    Ok(())
}

/// Threads that each stay in a copy of the mount namespace until they are let go.
struct Copies(Vec<(mpsc::Sender<()>, thread::JoinHandle<()>)>);

impl Copies {
    fn make(count: usize) -> Result<Self> {
        let mut copies = Self(Vec::new());
        for _ in 0..count {
            let (end, wait) = mpsc::channel::<()>();
            let (ready, begun) = mpsc::channel();
            let thread = thread::Builder::new().stack_size(64 << 10).spawn(move || {
                let _ = ready.send(sys::unshare(libc::CLONE_NEWNS));
                let _ = wait.recv();
            })?;
            copies.0.push((end, thread));
            begun.recv().context("a thread ended")?.context("cannot unshare")?;
        }
        Ok(copies)
    }

    fn end(self) -> Result<()> {
        for (end, thread) in self.0 {
            drop(end);
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        }
        Ok(())
    }
}

/// A namespace with many mounts is copied in one system call.
fn unshare(setting: &Setting, sizes: Sizes, at: &dyn Fn(&str)) -> Result<()> {
    let ground = Ground::new(setting)?;
    let source = ground.directory("source")?;
    let tracker = start(setting)?;
    at("the mounts");
    for number in 0..sizes.mounts {
        mount_bind(&source, ground.directory(&format!("{}/{number}", number % 100))?)?;
    }
    compare(&tracker, "made one by one")?;
    at("the copy");
    let start = Instant::now();
    let copies = Copies::make(1)?;
    println!("copied in {} ms", start.elapsed().as_millis());
    compare(&tracker, "copied")?;
    at("the end");
    copies.end()?;
    compare(&tracker, "the copy is gone")?;
    drop(ground);
    compare(&tracker, "unmounted at once")
}

/// One mount appears in many namespaces, in one system call.
fn propagation(setting: &Setting, sizes: Sizes, at: &dyn Fn(&str)) -> Result<()> {
    let ground = Ground::new(setting)?;
    let place = ground.directory("place")?;
    mount_change(&ground.0, Propagation::SHARED)?;
    // A scan holds a descriptor for each namespace.
    crate::agent_load_checks::raise_descriptors()?;
    let tracker = start(setting)?;
    at("the namespaces");
    let copies = Copies::make(sizes.namespaces)?;
    compare(&tracker, "many namespaces")?;
    for round in 0..PROPAGATIONS {
        at("a mount");
        mount("propagated", &place, "tmpfs", MountFlags::empty(), None)?;
        if round == 0 {
            compare(&tracker, "propagated")?;
        }
        unmount(&place, UnmountFlags::DETACH)?;
    }
    compare(&tracker, "all is gone again")?;
    at("the end");
    copies.end()?;
    compare(&tracker, "one namespace")
}

/// With a ring of the usual size nothing is lost.
fn flat_out(setting: &Setting, sizes: Sizes, at: &dyn Fn(&str)) -> Result<()> {
    let ground = Ground::new(setting)?;
    mount_change(&ground.0, Propagation::SHARED)?;
    let tracker = start(setting)?;
    mount_flat_out(&ground, sizes.length, at)?;
    println!("flat out: {} events in {} s", tracker.status()?.records, sizes.length.as_secs());
    at("the comparison");
    compare(&tracker, "flat out")
}

/// The least ring is full long before the agent runs again, which is stopped. With `hooks` that is a loss,
/// which is said and repaired. With `notify` the ring has no more than calls: what one of them did that was
/// not told is looked for before anybody is told anything.
fn small_ring(setting: &Setting, _: Sizes, at: &dyn Fn(&str)) -> Result<()> {
    let ground = Ground::new(setting)?;
    mount_change(&ground.0, Propagation::SHARED)?;
    let agent = Agent::start(setting, &["--ring-bytes", &RING_BYTES_MIN.to_string()])?;
    // Its socket is there before it follows anything.
    ensure_status(&agent.run(&["status"])?, 0)?;
    agent.signal(Signal::STOP)?;
    let mounted = mount_flat_out(&ground, STOPPED, at);
    agent.signal(Signal::CONT)?;
    mounted?;
    at("the comparison");
    ensure_status(&agent.run(&["verify"])?, 0)?;
    let status = agent.run(&["status", "-J"])?;
    ensure_status(&status, 0)?;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
    let (lost, losses) = (&status["counters"]["records_lost"], &status["losses"]);
    println!("small ring: {lost} records found no room, {losses} losses");
    ensure!(lost.as_u64() > Some(0), "the ring was never full: {status}");
    let is_lossless = status["backend"] == "notify";
    ensure!((losses.as_u64() == Some(0)) == is_lossless, "{losses} losses: {status}");
    agent.terminate()?;
    Ok(())
}

/// Many processes, half of them in namespaces of their own, mount and unmount as fast as they can.
fn mount_flat_out(ground: &Ground, length: Duration, at: &dyn Fn(&str)) -> Result<()> {
    at("the processes");
    let children: Result<Vec<Child>> = (0..PROCESSES)
        .map(|number| {
            let mut command = Command::new(env::current_exe()?);
            command.arg(ARGUMENT).arg(ground.directory(&number.to_string())?);
            command.arg((number % 2).to_string()).arg(length.as_secs().to_string());
            command.spawn().context("cannot start a process")
        })
        .collect();
    for mut child in children? {
        ensure!(child.wait()?.success(), "a process failed");
    }
    Ok(())
}

/// What such a process does.
pub(crate) fn mount_as_told(arguments: impl Iterator<Item = String>) -> Result<()> {
    let arguments: Vec<String> = arguments.collect();
    let [place, is_private, seconds] = &arguments[..] else {
        bail!("it wants a directory, whether it is alone, and seconds")
    };
    if is_private == "1" {
        sys::unshare(libc::CLONE_NEWNS)?;
        mount_change("/", Propagation::PRIVATE | Propagation::REC)?;
    }
    let places: Vec<PathBuf> =
        (0..AT_ONCE).map(|number| Path::new(place).join(number.to_string())).collect();
    for place in &places {
        fs::create_dir(place)?;
    }
    let (start, length) = (Instant::now(), Duration::from_secs(seconds.parse()?));
    while start.elapsed() < length {
        for place in &places {
            mount("flat-out", place, "tmpfs", MountFlags::empty(), None)?;
        }
        for place in &places {
            unmount(place, UnmountFlags::DETACH)?;
        }
    }
    Ok(())
}

/// The least that it has while nothing happens but questions.
fn at_rest(agent: &Agent) -> Result<u64> {
    let (start, mut least) = (Instant::now(), agent.resident_bytes()?);
    while start.elapsed() < REST {
        agent.run(&["status"])?;
        least = least.min(agent.resident_bytes()?);
        thread::sleep(Duration::from_millis(500));
    }
    Ok(least)
}

/// An agent's memory after some cycles and after many more.
fn memory(setting: &Setting, sizes: Sizes, at: &dyn Fn(&str)) -> Result<()> {
    let ground = Ground::new(setting)?;
    let (source, place) = (ground.directory("source")?, ground.directory("place")?);
    let agent = Agent::start(setting, &[])?;
    let cycle = |count: u32| -> Result<()> {
        for _ in 0..count {
            mount_bind(&source, &place)?;
            unmount(&place, UnmountFlags::empty())?;
        }
        // With the answer all of it is in the index.
        let output = agent.run(&["status"])?;
        ensure!(output.status.success(), "status: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    at("the first cycles");
    cycle(sizes.cycles.0)?;
    let first = at_rest(&agent)?;
    at("the other cycles");
    let start = Instant::now();
    cycle(sizes.cycles.1)?;
    let took = start.elapsed();
    let last = at_rest(&agent)?;
    println!(
        "{} KiB after {} cycles, {} KiB after {} more, which took {:.0} s",
        first >> 10,
        sizes.cycles.0,
        last >> 10,
        sizes.cycles.1,
        took.as_secs_f64()
    );
    ensure!(
        last <= first + first * GROWTH_PERCENT_MAX / 100,
        "{first} bytes after {} cycles, {last} after {} more",
        sizes.cycles.0,
        sizes.cycles.1
    );
    agent.terminate()?;
    Ok(())
}
