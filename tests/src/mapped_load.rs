//! The mapped table of a tracker that runs, while somebody mounts, moves and unmounts as fast as the
//! kernel lets him: four processes read it, and each answer is of one state, and not older than promised.

use crate::agent::Ground;
use crate::cli_checks::Setting;
use crate::report::{self, Report, Verdict};
use crate::sys;
use anyhow::{Context as _, Result, bail, ensure};
use mountwatch::agent::{Config, Tracker};
use mountwatch::mapped::MappedServer;
use mountwatch_mapped::{Binds, Mapped};
use rustix::mount::{
    MountFlags, MountPropagationFlags as Propagation, UnmountFlags, mount, mount_change,
    mount_move, unmount,
};
use std::env;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first argument of a process that reads.
pub(crate) const ARGUMENT: &str = "--read-mapped-load";
const NAME: &str = "mapped_load";
const READERS: usize = 4;
/// Reads of all of them together.
const READS: u64 = 400_000;
const READS_FULL: u64 = 100_000_000;
/// Mounts of the tree that is moved, its root included.
const TREE: usize = 200;
/// Of so many reads one is of the whole tree, and one comes after a barrier.
const WHOLE_EVERY: u64 = 1_000;
const SYNC_EVERY: u64 = 2_000;
const LIMIT: Duration = Duration::from_mins(10);
const LIMIT_FULL: Duration = Duration::from_mins(40);

/// The name, for a list.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    std::iter::once(NAME)
}

/// Runs it, if it is wanted.
pub(crate) fn run(
    report: &mut Report,
    setting: &Setting,
    is_full: bool,
    is_wanted: &dyn Fn(&str) -> bool,
) {
    if !is_wanted(NAME) {
        return;
    }
    let (reads, limit) = if is_full { (READS_FULL, LIMIT_FULL) } else { (READS, LIMIT) };
    let setting = setting.clone();
    let result = report::with_limit(limit, move |at| check(&setting, reads, at));
    let failures = match result {
        Ok(Ok(())) => Vec::new(),
        Ok(Err(error)) => vec![format!("{error:#}")],
        Err(why) => vec![why],
    };
    report.add(NAME, Verdict::of(failures));
}

fn check(setting: &Setting, reads: u64, at: &dyn Fn(&str)) -> Result<()> {
    sys::unshare(libc::CLONE_NEWNS).context("cannot unshare the mount namespace")?;
    mount_change("/", Propagation::PRIVATE | Propagation::REC)?;
    let ground = Ground::new(setting)?;
    for name in ["a", "b", "tick"] {
        ground.directory(name)?;
    }
    for number in 0..TREE {
        let below = if number == 0 { "a".to_owned() } else { format!("a/{number}") };
        mount("tree", ground.directory(&below)?, "tmpfs", MountFlags::empty(), None)?;
    }
    let config = Config { backend: setting.choice(), ..Config::new() };
    let tracker = Arc::new(Tracker::start(&config).context("cannot start the tracker")?);
    let socket = ground.0.join("mapped.sock");
    let listener = UnixListener::bind(&socket).context("cannot bind the socket")?;
    let _server = MappedServer::start_at(&socket, listener, Arc::clone(&tracker))?;
    let ticks = File::create_new(ground.0.join("ticks"))?;
    ticks.write_all_at(&0_u64.to_ne_bytes(), 0)?;
    at("the readers");
    let mut readers: Vec<Child> = (0..READERS)
        .map(|_| {
            let mut command = Command::new(env::current_exe()?);
            command.arg(ARGUMENT).arg(&ground.0).arg((reads / READERS as u64).to_string());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().context("cannot start a reader")
        })
        .collect::<Result<_>>()?;
    let (start, mut tick) = (Instant::now(), 0);
    while readers.iter_mut().any(|reader| matches!(reader.try_wait(), Ok(None))) {
        tick += 1;
        step(&ground.0, tick)?;
        ticks.write_all_at(&tick.to_ne_bytes(), 0)?;
    }
    println!("{NAME}: {} changes in {:.1} s", tick * 3, start.elapsed().as_secs_f64());
    for reader in readers {
        let output = reader.wait_with_output()?;
        print!("{NAME}: {}", String::from_utf8_lossy(&output.stdout));
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let status = tracker.status()?;
    ensure!(
        (status.losses, status.anomalies) == (0, 0),
        "{} losses, {} anomalies: {:?}",
        status.losses,
        status.anomalies,
        status.counters
    );
    Ok(())
}

/// A mount with the number of the step as its source comes, the tree moves, the mount goes.
fn step(base: &Path, tick: u64) -> Result<()> {
    let (from, to) = if tick % 2 == 1 { ("a", "b") } else { ("b", "a") };
    mount(tick.to_string(), base.join("tick"), "tmpfs", MountFlags::empty(), None)?;
    mount_move(base.join(from), base.join(to))?;
    Ok(unmount(base.join("tick"), UnmountFlags::DETACH)?)
}

/// What a reader does.
pub(crate) fn read_as_told(arguments: impl Iterator<Item = String>) -> Result<()> {
    let arguments: Vec<String> = arguments.collect();
    let [base, reads] = &arguments[..] else { bail!("it wants a directory and a number") };
    let (base, reads) = (Path::new(base), reads.parse::<u64>()?);
    let ticks = File::open(base.join("ticks"))?;
    let mut table = Mapped::connect(base.join("mapped.sock"))?;
    let place = |name: &str| base.join(name).as_os_str().as_bytes().to_owned();
    let places = [place("a"), place("b")];
    let (tick_place, inner) = (place("tick"), [place("a/7"), place("b/7")]);
    let (mut revision, mut pairs, mut age_max_ns, mut synced) = (0, 0_u64, 0, 0_u64);
    let start = Instant::now();
    let mut read = 0;
    while read < reads {
        let inside = read % 16 == 2;
        let [a, b] = if inside { &inner } else { &places };
        let first = table.is_mount_point(a, Binds::Count)?;
        let second = table.is_mount_point(b, Binds::Count)?;
        ensure!(first.revision >= revision && second.revision >= first.revision, "it went back");
        // Both are of one state: the tree is at one of the places.
        if first.revision == second.revision {
            pairs += 1;
            ensure!(first.value != second.value, "at {}: {} twice", first.revision, first.value);
        }
        revision = second.revision;
        age_max_ns = second.age_ns.max(age_max_ns);
        read += 2;
        if read % WHOLE_EVERY == 0 {
            revision = whole(&mut table, base, &places)?.max(revision);
            read += 1;
        }
        if read % SYNC_EVERY < 2 {
            synced += u64::from(fresh(&mut table, &ticks, &tick_place)?);
            read += 1;
        }
    }
    println!(
        "{read} reads, {} ns each, {pairs} pairs of one state, {synced} mounts after a barrier, \
         {} retries, at most {} us old",
        start.elapsed().as_nanos() / u128::from(read),
        table.reader().retries(),
        age_max_ns / 1_000
    );
    Ok(())
}

/// The tree is wholly at one place.
fn whole(table: &mut Mapped, base: &Path, places: &[Vec<u8>; 2]) -> Result<u64> {
    let answer = table.below(base.as_os_str().as_bytes())?;
    let counts = places.each_ref().map(|place| {
        answer.value.iter().filter(|mount| mount.mountpoint.starts_with(place)).count()
    });
    ensure!(
        counts == [TREE, 0] || counts == [0, TREE],
        "{counts:?} mounts of the tree at {}",
        answer.revision
    );
    Ok(answer.revision)
}

/// What was over before the barrier is in the answer. Whether the mount was there to be looked at.
fn fresh(table: &mut Mapped, ticks: &File, place: &[u8]) -> Result<bool> {
    let mut bytes = [0; 8];
    ticks.read_exact_at(&mut bytes, 0)?;
    let over = u64::from_ne_bytes(bytes);
    table.sync()?;
    let Some(mount) = table.mount_at(place)?.value else { return Ok(false) };
    let seen: u64 = std::str::from_utf8(&mount.source)?.parse()?;
    ensure!(seen > over, "the mount of step {seen} is there, step {over} was over");
    Ok(true)
}
