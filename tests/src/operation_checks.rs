//! Operations: each call with its arguments and its result, after its changes; and the mounts that
//! remember them.

use crate::cli_checks::{Setting, world};
use crate::command::{self, Unshare};
use crate::report;
use crate::scenario::MAIN;
use crate::task::Reply;
use crate::watch_checks::Watch;
use crate::words;
use crate::world::World;
use anyhow::{Context as _, Result, bail, ensure};
use mountwatch::agent::{Config, Tracker};
use mountwatch::model::{Call, Mount, NamespaceInode, Operation};
use mountwatch::state::Snapshot;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

/// An operation is told soon after its call returned.
const TOLD_MAX: Duration = Duration::from_secs(20);

/// An operation, and the changes that were told before it as parts of it.
struct Deed {
    operation: Value,
    changes: Vec<Value>,
}

impl Deed {
    fn text(&self, key: &str) -> Option<&str> {
        self.operation["arguments"][key].as_str()
    }

    fn count(&self, key: &str) -> u64 {
        self.operation[key].as_u64().unwrap_or(0)
    }

    /// It did so much, and each change of that was told.
    fn did(&self, created: u64, changed: u64, removed: u64) -> Result<()> {
        let counts = ["created", "changed", "removed"].map(|key| self.count(key));
        ensure!(counts == [created, changed, removed], "it did {counts:?}: {}", self.operation);
        let told = |event| self.changes.iter().filter(|line| line["event"] == event).count();
        let (attached, detached) = (told("attach"), told("detach"));
        ensure!(
            u64::try_from(attached) == Ok(created) && u64::try_from(detached) == Ok(removed),
            "{attached} attached and {detached} detached were told before: {}",
            self.operation
        );
        for line in &self.changes {
            ensure!(
                line["pid"] == self.operation["pid"],
                "{line} is not by whom {}",
                self.operation
            );
        }
        Ok(())
    }
}

/// The next operation that is of this process, or of any for `None`, and is of this call.
fn next(watch: &Watch, pid: Option<u32>, call: &str) -> Result<Deed> {
    let mut lines = Vec::new();
    loop {
        let line = watch.line().with_context(|| format!("waiting for {call}"))?;
        if line["event"] != "operation" {
            lines.push(line);
            continue;
        }
        let is_whose = pid.is_none_or(|pid| line["pid"] == pid);
        if is_whose && line["call"] == call {
            let id = &line["operation"];
            lines.retain(|change| change["operation"] == *id);
            return Ok(Deed { operation: line, changes: lines });
        }
        ensure!(pid.is_none() || !is_whose, "instead of {call}: {line}");
    }
}

fn viewer_of(world: &World, name: &str) -> Result<(u32, u32)> {
    let viewers = world.viewers();
    let viewer = viewers.iter().find(|viewer| viewer.name == name).context("no such task")?;
    Ok((viewer.pid, viewer.tid))
}

/// What the kernel answered to a line.
fn try_line(world: &mut World, task: &str, line: &str) -> Result<Reply> {
    let command = command::parse(&words::split(line.as_bytes())?)?;
    world.command(task, line, &command)
}

/// Each operation as `watch --operations` tells it.
pub(crate) fn told(setting: &Setting) -> Result<()> {
    let mut world = world(setting)?;
    let base = setting.base.to_str().context("the base directory is not UTF-8")?;
    let watch = Watch::start(setting, &["--operations", "--initial"])?;
    watch.present()?;
    let main = viewer_of(&world, MAIN)?.0;

    world.line(MAIN, "mkdir /m")?;
    world.line(MAIN, "mount tmpfs -s origin -o noexec /m")?;
    let mount = next(&watch, Some(main), "mount")?;
    mount.did(1, 0, 0)?;
    check_caller(&mount.operation, main)?;
    ensure!(mount.text("target") == Some(&format!("{base}/m")), "{}", mount.operation);
    ensure!(mount.text("source") == Some("origin"), "{}", mount.operation);
    let flags = &mount.operation["arguments"]["flags"];
    ensure!(flags.as_array().is_some_and(|flags| flags.contains(&"MS_NOEXEC".into())), "{flags}");
    ensure!(mount.operation["result"] == 0 && mount.operation["errno"].is_null());
    let change = mount.changes.first().context("no change")?;
    let id = change["unique_id"].as_u64();
    ensure!(id == mount.operation["created_ids"][0].as_u64(), "{change}: {}", mount.operation);
    ensure!(mount.operation["first_revision"] == change["revision"], "{}", mount.operation);

    failures(&mut world, &watch, main, base)?;
    new_calls(&mut world, &watch, main)?;
    propagation(&mut world, &watch, main)?;
    namespaces(&mut world, &watch)?;
    world.tear_down();
    watch.interrupt()
}

fn check_caller(operation: &Value, pid: u32) -> Result<()> {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm"))?;
    ensure!(operation["comm"] == comm.trim_end(), "{operation}");
    ensure!(operation["uid"] == 0, "{operation}");
    ensure!(operation["parent_pid"] == std::process::id(), "{operation}");
    let executable = fs::read_link(format!("/proc/{pid}/exe"))?;
    let name = executable.file_name().and_then(|name| name.to_str()).context("no name")?;
    let told = operation["executable"].as_str().context("no executable")?;
    ensure!(told.starts_with('/') && told.ends_with(&format!("/{name}")), "{operation}");
    let inode =
        |kind: &str| fs::metadata(format!("/proc/{pid}/ns/{kind}")).map(|found| found.ino());
    ensure!(
        operation["ns"] == inode("mnt")? && operation["pid_ns"] == inode("pid")?,
        "{operation}"
    );
    ensure!(operation["cgroup"].as_str().is_some_and(|path| path.starts_with('/')), "{operation}");
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let is_one =
        cgroups.lines().any(|line| line.splitn(3, ':').nth(2) == operation["cgroup"].as_str());
    ensure!(is_one, "none of {cgroups}: {operation}");
    ensure!(operation["duration_ns"].as_u64() > Some(0), "{operation}");
    Ok(())
}

/// Calls that change nothing are told with their errors.
fn failures(world: &mut World, watch: &Watch, main: u32, base: &str) -> Result<()> {
    world.line(MAIN, "mkdir /m/x")?;
    world.line(MAIN, "mount tmpfs /m/x")?;
    next(watch, Some(main), "mount")?.did(1, 0, 0)?;
    for (line, call, errno) in [
        ("umount /m", "umount2", "EBUSY"),
        ("umount /nothing", "umount2", "ENOENT"),
        ("mount tmpfs -o nonsense=1 /m", "mount", "EINVAL"),
        ("mount nosuchfs /m", "mount", "ENODEV"),
    ] {
        let Reply::Refused(_) = try_line(world, MAIN, line)? else { bail!("{line} succeeded") };
        let failed = next(watch, Some(main), call)?;
        failed.did(0, 0, 0)?;
        ensure!(failed.operation["errno"] == errno, "{}", failed.operation);
        ensure!(failed.operation["first_revision"].is_null(), "{}", failed.operation);
        let target = failed.text("target").context("no target")?;
        ensure!(target.starts_with(base), "{}", failed.operation);
    }
    world.line(MAIN, "umount /m/x")?;
    next(watch, Some(main), "umount2")?.did(0, 0, 1)?;
    world.line(MAIN, "umount -l /m")?;
    let detached = next(watch, Some(main), "umount2")?;
    detached.did(0, 0, 1)?;
    ensure!(detached.operation["arguments"]["flags"][0] == "MNT_DETACH", "{}", detached.operation);
    Ok(())
}

/// As mount(8) of util-linux 2.39 and later does it.
fn new_calls(world: &mut World, watch: &Watch, main: u32) -> Result<()> {
    world.line(MAIN, "fsmount tmpfs as t source=first")?;
    ensure!(next(watch, Some(main), "fsopen")?.text("fstype") == Some("tmpfs"));
    let option = next(watch, Some(main), "fsconfig")?;
    ensure!(option.operation["arguments"]["cmd"] == "FSCONFIG_SET_STRING", "{}", option.operation);
    ensure!(option.text("key") == Some("source"), "{}", option.operation);
    ensure!(option.text("value") == Some("first"), "{}", option.operation);
    let create = next(watch, Some(main), "fsconfig")?;
    ensure!(create.operation["arguments"]["cmd"] == "FSCONFIG_CMD_CREATE", "{}", create.operation);
    next(watch, Some(main), "fsmount")?.did(0, 0, 0)?;
    world.line(MAIN, "mkdir /n")?;
    world.line(MAIN, "move_mount @t /n")?;
    let moved = next(watch, Some(main), "move_mount")?;
    moved.did(1, 0, 0)?;
    world.line(MAIN, "make shared /n")?;
    next(watch, Some(main), "mount")?.did(0, 1, 0)
}

/// Copies by propagation are parts of the one call.
fn propagation(world: &mut World, watch: &Watch, main: u32) -> Result<()> {
    world.line(MAIN, "mkdir /a/p")?;
    world.line(MAIN, "mount tmpfs /a/p")?;
    let mount = next(watch, Some(main), "mount")?;
    // Beside itself one in its peer, and one in the slave of another namespace.
    mount.did(3, 0, 0)?;
    let mut namespaces: Vec<_> = mount.changes.iter().map(|line| line["ns"].as_u64()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    ensure!(namespaces.len() == 2, "{namespaces:?}: {}", mount.operation);
    world.line(MAIN, "umount /a/p")?;
    next(watch, Some(main), "umount2")?.did(0, 0, 3)
}

/// A namespace is made, its root is changed, and it dies.
fn namespaces(world: &mut World, watch: &Watch) -> Result<()> {
    world.namespace("C", MAIN, Unshare::Private)?;
    let pid = viewer_of(world, "C")?.0;
    let unshare = next(watch, Some(pid), "unshare")?;
    let copied = unshare.count("created");
    ensure!(copied > 0, "{}", unshare.operation);
    ensure!(unshare.operation["arguments"]["flags"].to_string().contains("CLONE_NEWNS"));
    unshare.did(copied, 0, 0)?;
    // What comes first makes the copy private.
    next(watch, Some(pid), "mount")?;
    world.line("C", "mkdir /new")?;
    world.line("C", "mount tmpfs /new")?;
    next(watch, Some(pid), "mount")?.did(1, 0, 0)?;
    world.line("C", "mkdir /new/old")?;
    let reply = try_line(world, "C", "pivot_root /new /new/old")?;
    let pivot = next(watch, Some(pid), "pivot_root")?;
    match &reply {
        Reply::Done(_) => ensure!(pivot.count("changed") >= 2, "{}", pivot.operation),
        // The root of an initrd cannot be pivoted.
        Reply::Refused(errno) => {
            ensure!(pivot.operation["errno"] == **errno, "{}", pivot.operation);
        }
        Reply::Failed(why) => bail!("pivot_root: {why}"),
    }
    world.end("C", true)?;
    let death = next(watch, None, "namespace_death")?;
    ensure!(death.operation["kernel_made"] == true, "{}", death.operation);
    ensure!(death.count("removed") == copied + 1, "of {copied}: {}", death.operation);
    Ok(())
}

/// The namespace in which a task is.
fn namespace_of(world: &World, name: &str) -> Result<NamespaceInode> {
    let (_, tid) = viewer_of(world, name)?;
    let inode = fs::metadata(format!("/proc/{tid}/ns/mnt"))?.ino();
    Ok(NamespaceInode(u32::try_from(inode)?))
}

/// The newest mount of a namespace with a source.
fn mount_of(snapshot: &Snapshot, inode: NamespaceInode, source: &str) -> Result<Arc<Mount>> {
    let namespace = snapshot.namespace_by_inode(inode).context("no such namespace")?;
    let mut keys: Vec<_> = namespace.keys().collect();
    keys.reverse();
    let mounts = keys.into_iter().filter_map(|key| snapshot.mount(key));
    let found = mounts.into_iter().find(|mount| &mount.source[..] == source.as_bytes());
    found.cloned().with_context(|| format!("no mount of {source}"))
}

/// Mounts remember the operations that made and changed them, and those are forgotten with them.
pub(crate) fn remembered(setting: &Setting) -> Result<()> {
    let mut world = world(setting)?;
    let config = Config { backend: setting.choice(), ..Config::new() };
    let tracker = Tracker::start(&config).context("cannot start the tracker")?;
    let main = namespace_of(&world, MAIN)?;
    let (pid, _) = viewer_of(&world, MAIN)?;
    let seeded = mount_of(&*tracker.now()?, main, "with blank")?;
    ensure!(seeded.provenance.created_by.is_none(), "{seeded:?} was there before");

    world.line(MAIN, "mkdir /r")?;
    world.line(MAIN, "mount tmpfs -s remembered /r")?;
    let (mount, made) = wait_for(&tracker, main, |mount| mount.provenance.created_by)?;
    ensure!(made.call == Call::Mount && made.task.pid == pid, "{made:?}");
    ensure!(mount.provenance.changed_by.is_none(), "{mount:?}");
    world.line(MAIN, "make shared /r")?;
    let (mount, changed) = wait_for(&tracker, main, |mount| mount.provenance.changed_by)?;
    ensure!(changed.call == Call::Mount && changed.id > made.id, "{changed:?}");
    ensure!(mount.provenance.created_by == Some(made.id), "{mount:?}");

    world.line(MAIN, "mkdir /s")?;
    world.line(MAIN, "bind /r /s")?;
    let (copy, bound) = wait_for(&tracker, main, |copy| copy.provenance.created_by)?;
    ensure!(copy.key != mount.key && bound.id > changed.id, "{bound:?}");
    if tracker.status()?.backend == "hooks" {
        let from = copy.provenance;
        let is_it = match mount.unique_id {
            Some(id) => from.copied_from() == Some(id),
            None => from.copied_from_id() == Some(mount.id),
        };
        ensure!(is_it, "{copy:?} is no copy of {mount:?}");
    }
    world.line(MAIN, "umount /s")?;
    world.line(MAIN, "umount /r")?;
    let snapshot = tracker.now()?;
    for operation in [made, changed, bound] {
        ensure!(snapshot.operation(operation.id).is_none(), "{operation:?} is not forgotten");
    }
    world.tear_down();
    Ok(())
}

/// The newest mount that this check made, and an operation that it remembers.
fn wait_for(
    tracker: &Tracker,
    inode: NamespaceInode,
    which: impl Fn(&Mount) -> Option<mountwatch::model::OperationId>,
) -> Result<(Arc<Mount>, Arc<Operation>)> {
    report::eventually(TOLD_MAX, || {
        let snapshot = tracker.now()?;
        let mount = mount_of(&snapshot, inode, "remembered")?;
        let id = which(&mount).with_context(|| format!("nobody did it: {mount:?}"))?;
        let operation = snapshot.operation(id).with_context(|| format!("{id} is not told"))?;
        Ok((mount, Arc::clone(operation)))
    })
}
