//! The mapped tables of a tracker that runs: the server, the client, and processes with fewer rights.

use crate::command::Unshare;
use crate::report::{self, Report, Verdict};
use crate::scenario::MAIN;
use crate::world::World;
use anyhow::{Context as _, Result, bail, ensure};
use mountwatch::agent::{BackendChoice, Config, Tracker};
use mountwatch::client::mapped::View;
use mountwatch::mapped::MappedServer;
use mountwatch::model::{NamespaceInode, Provenance};
use mountwatch::query::{Answer, Binds, MountInfo, MountQueries, SnapshotView, WhichMount};
use mountwatch_mapped::{self as table, Mapped, MappedError};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

/// All of one check.
const LIMIT: Duration = Duration::from_mins(2);
/// The first argument of a process that reads with fewer rights.
pub(crate) const ARGUMENT: &str = "--read-mapped";
/// Who has none.
const NOBODY: u32 = 65_534;
/// More mounts than a new table has room for.
const MANY: usize = 400;

type Check = fn(&Path, &Arc<Tracker>) -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("mapped_follows", follows),
    ("mapped_grows", grows),
    ("mapped_rights", rights),
    ("mapped_root", own_root),
    ("mapped_end", end),
];

/// The names of all of them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

/// Runs those that are wanted.
pub(crate) fn run(
    report: &mut Report,
    backend: BackendChoice,
    base: &Path,
    is_wanted: &dyn Fn(&str) -> bool,
) {
    for (name, check) in CHECKS.iter().filter(|(name, _)| is_wanted(name)) {
        let base = base.to_owned();
        let outcome = report::with_limit(LIMIT, move |_| -> Result<()> {
            let config = Config { backend, ..Config::new() };
            let tracker = Arc::new(Tracker::start(&config).context("cannot start the tracker")?);
            check(&base, &tracker)
        });
        let failures = match outcome {
            Ok(Ok(())) => Vec::new(),
            Ok(Err(error)) => vec![format!("{error:#}")],
            Err(why) => vec![why],
        };
        report.add(name, Verdict::of(failures));
    }
}

/// A server at a socket that goes with it.
struct Served {
    _server: MappedServer,
    socket: PathBuf,
}

impl Served {
    fn start(base: &Path, tracker: &Arc<Tracker>) -> Result<Self> {
        let socket = base.join("mapped.sock");
        let listener = UnixListener::bind(&socket).context("cannot bind the socket")?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
        let server = MappedServer::start_at(&socket, listener, Arc::clone(tracker))?;
        Ok(Self { _server: server, socket })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.socket);
    }
}

fn inode(world: &World, name: &str) -> Result<u32> {
    let (_, task) = world.tasks().find(|(known, _)| *known == name).context("no such task")?;
    Ok(u32::try_from(fs::metadata(format!("/proc/{}/ns/mnt", task.pid))?.ino())?)
}

/// After a round trip the table shows what the tracker does, but for what it has not.
fn same(table: &View, tracker: &Tracker, inode: u32) -> Result<usize> {
    table.sync()?;
    let snapshot = tracker.now()?;
    let namespace = snapshot.namespace_by_inode(NamespaceInode(inode));
    let key = namespace.context("the namespace is not known")?.key;
    let from = snapshot.viewpoint_of_namespace(key).context("the namespace is empty")?;
    let index = SnapshotView::new(Arc::clone(&snapshot), from);
    let is_same = |what: &str, ours: Answer<Vec<MountInfo>>, theirs: Vec<MountInfo>| {
        let theirs: Vec<_> = theirs.into_iter().map(without).collect();
        ensure!(ours.value == theirs, "{what}: {:?}, the index {theirs:?}", ours.value);
        ensure!(ours.coverage == *index.coverage(), "{what}: {:?}", ours.coverage);
        Ok(())
    };
    let expected = index.list()?.value;
    is_same("everything", table.list()?, expected.clone())?;
    for info in &expected {
        let which = WhichMount::Id(info.id);
        is_same("children", table.children(which)?, index.children(which)?.value)?;
        is_same("below", table.below(&info.mountpoint)?, index.below(&info.mountpoint)?.value)?;
        let own = table.mount(which)?.value;
        ensure!(own.as_ref() == Some(&without(info.clone())), "by its number: {own:?}");
        for binds in [Binds::Count, Binds::Exclude] {
            let (is, should) = (
                table.is_mount_point(&info.mountpoint, binds)?.value,
                index.is_mount_point(&info.mountpoint, binds)?.value,
            );
            ensure!(is == should, "{} {binds:?}: {is}", info.mountpoint.display());
        }
    }
    ensure!(table.age()? < Duration::from_secs(5), "{:?} old", table.age()?);
    Ok(expected.len())
}

/// Without what no table has.
fn without(info: MountInfo) -> MountInfo {
    MountInfo {
        propagate_from: None,
        provenance: Provenance::default(),
        created_by: None,
        changed_by: None,
        ..info
    }
}

/// Every change is there after a sync, in two namespaces.
fn follows(base: &Path, tracker: &Arc<Tracker>) -> Result<()> {
    let served = Served::start(base, tracker)?;
    let mut world = World::new(base)?;
    world.namespace("A", MAIN, Unshare::Slave)?;
    let namespaces = [inode(&world, MAIN)?, inode(&world, "A")?];
    let mut tables = Vec::new();
    for inode in namespaces {
        tables.push((inode, View::connect_to(&served.socket, NamespaceInode(inode))?));
    }
    for line in [
        "mkdir -p /s/x/y",
        "mount tmpfs /s",
        "make shared /s",
        "mkdir -p /s/a/b",
        "mount tmpfs /s/a/b",
        "mkdir /s/c",
        "bind /s/a /s/c",
        "rename /s/a /s/d",
        "umount /s/d/b",
    ] {
        world.line(MAIN, line)?;
        for (inode, table) in &tables {
            same(table, tracker, *inode).with_context(|| format!("after {line}"))?;
        }
    }
    world.tear_down();
    Ok(())
}

/// A table that is full is left for a larger one, and its reader follows.
fn grows(base: &Path, tracker: &Arc<Tracker>) -> Result<()> {
    let served = Served::start(base, tracker)?;
    let mut world = World::new(base)?;
    let inode = inode(&world, MAIN)?;
    let view = View::connect_to(&served.socket, NamespaceInode(inode))?;
    let mut table = Mapped::connect_to(&served.socket, inode)?;
    let (epoch, before) = (table.reader().epoch(), same(&view, tracker, inode)?);
    world.line(MAIN, "mkdir /s")?;
    for _ in 0..MANY {
        world.line(MAIN, "mount tmpfs /s")?;
    }
    let after = same(&view, tracker, inode)?;
    table.list()?;
    ensure!(after == before + MANY, "{after} mounts, {before} before");
    ensure!(table.reader().epoch() != epoch, "it is the same table");
    world.tear_down();
    Ok(())
}

/// Without rights a process gets its own namespace's table and no other.
fn rights(base: &Path, tracker: &Arc<Tracker>) -> Result<()> {
    let served = Served::start(base, tracker)?;
    let world = World::new(base)?;
    let other = inode(&world, MAIN)?;
    let read = |user: u32| -> Result<String> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(ARGUMENT).arg(&served.socket).arg(other.to_string());
        let output = command.uid(user).gid(user).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (nobody, root) = (read(NOBODY)?, read(0)?);
    ensure!(nobody == "own true other refused\n", "nobody: {nobody:?}");
    ensure!(root == "own true other true\n", "root: {root:?}");
    world.tear_down();
    Ok(())
}

/// What the processes do that the checks start.
pub(crate) fn read_as_told(arguments: impl Iterator<Item = String>) -> Result<()> {
    let arguments: Vec<String> = arguments.collect();
    match &arguments[..] {
        [option, root, socket] if option == "--root" => {
            read_from_below(Path::new(root), Path::new(socket))
        }
        [socket, other] => read_as_another(socket, other.parse()?),
        _ => bail!("it wants a socket and a namespace"),
    }
}

fn read_as_another(socket: &str, other: u32) -> Result<()> {
    let own = Mapped::connect(socket)?.is_mount_point(b"/proc", table::Binds::Count)?.value;
    let other = match Mapped::connect_to(socket, other) {
        Ok(mut table) => table.is_mount_point(b"/", table::Binds::Count)?.value.to_string(),
        Err(MappedError::Refused(_)) => "refused".to_owned(),
        Err(error) => return Err(error.into()),
    };
    println!("own {own} other {other}");
    Ok(())
}

/// A process with a root directory of its own sees paths from there.
fn own_root(base: &Path, tracker: &Arc<Tracker>) -> Result<()> {
    let served = Served::start(base, tracker)?;
    let root = base.join("root");
    fs::create_dir(&root)?;
    let output = Command::new(env::current_exe()?)
        .args([ARGUMENT, "--root"])
        .args([&root, &served.socket])
        .output()?;
    fs::remove_dir(&root)?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(said == "true true false\n", "{said:?} {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// In a mount namespace of its own it makes a root, and asks from there.
fn read_from_below(root: &Path, socket: &Path) -> Result<()> {
    use rustix::mount::{MountFlags, MountPropagationFlags as Propagation};
    crate::sys::unshare(libc::CLONE_NEWNS)?;
    rustix::mount::mount_change("/", Propagation::PRIVATE | Propagation::REC)?;
    let none = MountFlags::empty();
    rustix::mount::mount("root", root, "tmpfs", none, None)?;
    fs::create_dir_all(root.join("in/proc"))?;
    fs::create_dir_all(root.join("in/mnt"))?;
    rustix::mount::mount_bind_recursive("/proc", root.join("in/proc"))?;
    let link = root.join("in/socket");
    fs::write(&link, "")?;
    rustix::mount::mount_bind(socket, &link)?;
    rustix::process::chroot(root.join("in"))?;
    env::set_current_dir("/")?;
    let mut table = Mapped::connect("/socket")?;
    let proc = table.is_mount_point(b"/proc", table::Binds::Count)?.value;
    rustix::mount::mount("new", "/mnt", "tmpfs", none, None)?;
    table.sync()?;
    let mnt = table.is_mount_point(b"/mnt", table::Binds::Count)?.value;
    rustix::mount::unmount("/mnt", rustix::mount::UnmountFlags::empty())?;
    table.sync()?;
    println!("{proc} {mnt} {}", table.is_mount_point(b"/mnt", table::Binds::Count)?.value);
    Ok(())
}

/// When the server ends, its tables say so; and another one is found again.
fn end(base: &Path, tracker: &Arc<Tracker>) -> Result<()> {
    let served = Served::start(base, tracker)?;
    let mut table = Mapped::connect(&served.socket)?;
    ensure!(table.is_mount_point(b"/proc", table::Binds::Count)?.value, "/proc is not found");
    drop(served);
    let closed = table.reader().is_mount_point(b"/proc", table::Binds::Count);
    ensure!(matches!(closed, Err(MappedError::Closed)), "{closed:?}");
    let alone = table.is_mount_point(b"/proc", table::Binds::Count);
    ensure!(matches!(alone, Err(MappedError::Io { .. })), "{alone:?}");
    let _served = Served::start(base, tracker)?;
    ensure!(table.is_mount_point(b"/proc", table::Binds::Count)?.value, "/proc is not found again");
    Ok(())
}
