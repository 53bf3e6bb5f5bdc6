//! `mountwatch watch`: what is there, then every change, with who made it; and a clean end.

use crate::cli_checks::{Setting, ensure_status, finish, no_programs_but, world};
use crate::command::Unshare;
use crate::report;
use crate::scenario::MAIN;
use crate::sys::{self, BpfKind};
use crate::visit;
use crate::world::World;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// A line comes long before, also under emulation.
const LINE_LIMIT: Duration = Duration::from_mins(1);

/// After the end of its process everything is gone by then: the kernel frees it some time later.
const GONE_MAX: Duration = Duration::from_secs(10);
const KINDS: [BpfKind; 3] = [BpfKind::Program, BpfKind::Map, BpfKind::Link];

/// A running `watch -J` and its lines.
pub(crate) struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    /// Starts it.
    pub(crate) fn start(setting: &Setting, arguments: &[&str]) -> Result<Self> {
        let arguments = [&["watch", "-J"][..], arguments].concat();
        Self::of(&mut setting.command(&arguments))
    }

    /// Starts a command that follows changes.
    pub(crate) fn of(command: &mut std::process::Command) -> Result<Self> {
        let mut child = command.spawn().context("cannot start mountwatch")?;
        let stdout = child.stdout.take().context("no pipe")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line.
    pub(crate) fn line(&self) -> Result<Value> {
        self.line_within(LINE_LIMIT)?.context("no line comes")
    }

    /// The next line, if it comes in time.
    pub(crate) fn line_within(&self, limit: Duration) -> Result<Option<Value>> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => {
                serde_json::from_str(&line).with_context(|| format!("no JSON: {line}")).map(Some)
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the watcher ended"),
        }
    }

    /// The mounts that are there at the start.
    pub(crate) fn present(&self) -> Result<Vec<Value>> {
        let mut present = Vec::new();
        loop {
            let line = self.line()?;
            match line["event"].as_str() {
                Some("present") => present.push(line),
                Some("synced") => return Ok(present),
                _ => bail!("neither present nor synced: {line}"),
            }
        }
    }

    /// The next line of a kind about a mountpoint, in a namespace. Others may come before it.
    fn wait_for(&self, event: &str, mountpoint: &str, ns: u32) -> Result<Value> {
        loop {
            let line = self.line().with_context(|| format!("waiting for {event} {mountpoint}"))?;
            if line["event"] == event && line["mountpoint"] == mountpoint && line["ns"] == ns {
                return Ok(line);
            }
        }
    }

    /// Ends it as a user does.
    pub(crate) fn interrupt(self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no pid")?;
        rustix::process::kill_process(pid, Signal::INT)?;
        ensure_status(&finish(self.child)?, 0)
    }
}

fn inode_of_namespace(world: &World, name: &str) -> Result<u32> {
    let viewers = world.viewers();
    let viewer = viewers.iter().find(|viewer| viewer.name == name).context("no such task")?;
    let name = crate::task::namespace_of(viewer.pid, viewer.tid).context("the task is gone")?;
    let inode = name.strip_prefix("mnt:[").and_then(|rest| rest.strip_suffix(']'));
    Ok(inode.context("another form")?.parse()?)
}

fn check_mount(line: &Value) -> Result<()> {
    for key in [
        "time",
        "revision",
        "ns",
        "id",
        "parent",
        "root",
        "fstype",
        "source",
        "options",
        "propagation",
        "device",
    ] {
        ensure!(!line[key].is_null(), "no key {key}: {line}");
    }
    // Without a value where the kernel has none, or the mount cannot be reached from the root.
    for key in ["unique_id", "mountpoint", "mountpoint_in_parent", "pid", "tid", "comm", "hook"] {
        ensure!(line.get(key).is_some(), "no key {key}: {line}");
    }
    Ok(())
}

/// The line says that this task of the world did it; with `poll`, that nobody knows.
fn check_task(line: &Value, world: &World, name: &str) -> Result<()> {
    if line["coverage"] == "polling" {
        ensure!(line["pid"].is_null() && line["comm"].is_null(), "invented: {line}");
        return Ok(());
    }
    let viewers = world.viewers();
    let viewer = viewers.iter().find(|viewer| viewer.name == name).context("no such task")?;
    ensure!(line["pid"] == viewer.pid, "pid of {name} is {}: {line}", viewer.pid);
    let comm = fs::read_to_string(format!("/proc/{}/comm", viewer.pid))?;
    ensure!(line["comm"] == comm.trim_end(), "comm of {name} is {comm}: {line}");
    Ok(())
}

/// The present state, then each change, in namespaces that are there and in one that comes later.
pub(crate) fn follow(setting: &Setting) -> Result<()> {
    let mut world = world(setting)?;
    let base = setting.base.to_str().context("the base directory is not UTF-8")?;
    let watch = Watch::start(setting, &["--initial"])?;
    let present = watch.present()?;
    present.iter().try_for_each(check_mount)?;
    let main = inode_of_namespace(&world, MAIN)?;
    let there = format!("{base}/a");
    ensure!(
        present.iter().any(|line| line["mountpoint"] == *there && line["ns"] == main),
        "{there} is not among the present mounts"
    );

    for directory in ["/mounted", "/bound", "/moved"] {
        world.line(MAIN, &format!("mkdir {directory}"))?;
    }
    world.line(MAIN, "mount tmpfs -s origin -o noexec /mounted")?;
    let line = watch.wait_for("attach", &format!("{base}/mounted"), main)?;
    check_mount(&line)?;
    check_task(&line, &world, MAIN)?;
    ensure!(line["fstype"] == "tmpfs" && line["source"] == "origin", "{line}");
    ensure!(line["options"].as_str().is_some_and(|text| text.contains("noexec")), "{line}");

    world.line(MAIN, "bind /mounted /bound")?;
    let bound = watch.wait_for("attach", &format!("{base}/bound"), main)?;
    check_task(&bound, &world, MAIN)?;
    world.line(MAIN, "move /bound /moved")?;
    let moved = watch.wait_for("move", &format!("{base}/moved"), main)?;
    ensure!(moved["id"] == bound["id"], "a move is of the same mount: {bound} {moved}");
    check_task(&moved, &world, MAIN)?;
    world.line(MAIN, "umount /moved")?;
    let gone = watch.wait_for("detach", &format!("{base}/moved"), main)?;
    check_task(&gone, &world, MAIN)?;

    world.namespace("B", MAIN, Unshare::Private)?;
    let inside = inode_of_namespace(&world, "B")?;
    world.line("B", "mkdir /later")?;
    world.line("B", "mount tmpfs /later")?;
    let line = watch.wait_for("attach", &format!("{base}/later"), inside)?;
    check_task(&line, &world, "B")?;
    world.tear_down();
    watch.interrupt()
}

/// SIGINT is a good end, and no BPF program stays loaded.
pub(crate) fn interrupt(setting: &Setting) -> Result<()> {
    let before = sys::bpf_ids(BpfKind::Program)?;
    let watch = Watch::start(setting, &["--initial"])?;
    watch.present()?;
    let loaded = sys::bpf_ids(BpfKind::Program)?.iter().filter(|id| !before.contains(id)).count();
    ensure!((loaded > 0) != (setting.backend == Some("poll")), "{loaded} BPF programs were loaded");
    watch.interrupt()?;
    no_programs_but(&before)
}

/// Looks at the time of a system call: the least of several series, in nanoseconds.
fn call_ns() -> u64 {
    const CALLS: u32 = 20_000;
    let series = || {
        let start = Instant::now();
        for _ in 0..CALLS {
            let _ = rustix::process::getppid();
        }
        start.elapsed() / CALLS
    };
    let least = (0..10).map(|_| series()).min().unwrap_or_default();
    u64::try_from(least.as_nanos()).unwrap_or(u64::MAX)
}

/// Killed without a chance to clean up: all that it had in the kernel is gone.
pub(crate) fn killed(setting: &Setting) -> Result<()> {
    let before = call_ns();
    let mut watch = Watch::start(setting, &["--initial"])?;
    watch.present()?;
    let watched = call_ns();
    let held = KINDS.map(|kind| (kind, visit::bpf_objects_of(watch.pid(), kind)));
    for (kind, ids) in &held {
        // Probes of kernels before 5.15 have no links.
        ensure!(!ids.is_empty() || *kind == BpfKind::Link, "it has no {kind:?}");
    }
    let queues = visit::fanotify_queues_of(watch.pid());
    let has_queue = setting.backend_in_use()? == "notify";
    ensure!(has_queue == (queues > 0), "it has {queues} queues of fanotify");
    let children = visit::children_of(watch.pid());
    ensure!(children.is_empty(), "it has children, which would keep what it has: {children:?}");
    watch.child.kill()?;
    watch.child.wait()?;
    report::eventually(GONE_MAX, || {
        for (kind, ids) in &held {
            let mut left = sys::bpf_ids(*kind).with_context(|| format!("cannot walk {kind:?}s"))?;
            left.retain(|id| ids.contains(id));
            ensure!(left.is_empty(), "{kind:?}s stay loaded: {left:?}");
        }
        Ok(())
    })?;
    let after = call_ns();
    println!(
        "cli_watch_killed: getppid(2) takes {before} ns, watched {watched} ns, then {after} ns"
    );
    Ok(())
}

/// `--timeout` and `-n` are good ends.
pub(crate) fn timeout(setting: &Setting) -> Result<()> {
    let child = setting.command(&["watch", "--timeout", "0.2"]).spawn().context("cannot start")?;
    ensure_status(&finish(child).context("watch --timeout")?, 0)?;
    let mut world = world(setting)?;
    let watch = Watch::start(setting, &["--initial", "-n", "2"])?;
    watch.present()?;
    for directory in ["/one", "/two"] {
        world.line(MAIN, &format!("mkdir {directory}"))?;
        world.line(MAIN, &format!("mount tmpfs {directory}"))?;
    }
    let output = finish(watch.child).context("watch -n 2")?;
    let count = watch.lines.iter().count();
    ensure!(count == 2, "{count} changes instead of 2");
    ensure_status(&output, 0)?;
    world.tear_down();
    Ok(())
}
