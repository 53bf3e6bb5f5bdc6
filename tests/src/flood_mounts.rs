//! Mounts that succeed, as fast as somebody without privileges can make them: in a user namespace of
//! one's own everybody may. Meanwhile the agent loses nothing of what others do, does not grow, fills no
//! disk, and says what it does not export.

use crate::agent::{Agent, Place};
use crate::cli_checks::{NOBODY, Setting, ensure_status};
use crate::report;
use crate::scenario::MAIN;
use crate::sys;
use crate::world::World;
use anyhow::{Context as _, Result, bail, ensure};
use mountwatch::client::{WatchOptions, Watched, Whose, blocking};
use mountwatch::model::Coverage;
use mountwatch::query::{Binds, MountQueries};
use mountwatch::render::{SaidKind, Saying};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{DumpableBehavior, Gid, Uid};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The argument that makes this binary the one that floods; the directory and the seconds follow.
pub(crate) const ARGUMENT: &str = "run-as-flood";
const THREADS: usize = 2;
/// Between two changes of somebody else.
const PAUSE: Duration = Duration::from_millis(20);
/// How much is exported: lines in a second, bytes of a file, files.
const RATE: &str = "50";
const FILE_BYTES: u64 = 64 << 10;
const FILES: u64 = 3;
/// What the agent may have more after a flood: 64 MiB of the journal, the ring, and what is on its way
/// from a full one to those who follow. Of a flood of 40 seconds it came to 355 MiB in the first half, and
/// to 2 in the second.
const GROWTH_KB_MAX: u64 = 448 << 10;
/// Until a watcher was told everything, under emulation.
const TOLD_MAX: Duration = Duration::from_mins(2);

/// What somebody else did while it was flooded.
#[derive(Debug, Default)]
struct Others {
    changes: u32,
    /// Answers that said themselves that they may be out of date.
    stale: u32,
}

/// One flood of that length.
pub(crate) fn one(setting: &Setting, length: Duration, at: &dyn Fn(&str)) -> Result<Vec<String>> {
    let mut world = World::new(&setting.base)?;
    world.line(MAIN, "mkdir /m")?;
    let main = world.viewers().first().context("no task")?.pid;
    let place = Place::new()?;
    let events = place.0.join("events.json");
    let bytes = FILE_BYTES.to_string();
    let files = FILES.to_string();
    let file = events.to_string_lossy().into_owned();
    let words = ["--export-file", &file, "--export-rate", RATE];
    let words = [&words[..], &["--export-file-bytes", &bytes, "--export-files", &files]].concat();
    let agent = Agent::start_at(setting, place, &words, |_| {})?;
    let told = follow(&agent, setting.base.join("m"), main);
    let before = memory_kb(agent.pid())?;
    at("the flood");
    let start = Instant::now();
    let mut flood = Flood::start(&setting.base, length)?;
    let mut others = Others::default();
    let mut halfway = 0;
    while start.elapsed() < length {
        change(&mut world, &agent, setting, main, &mut others)?;
        if halfway == 0 && start.elapsed() > length / 2 {
            halfway = memory_kb(agent.pid())?;
        }
        thread::sleep(PAUSE);
    }
    let cycles = flood.end()?;
    let seconds = start.elapsed().as_secs_f64();
    at("the end");
    // It stays until it was told: somebody can look at it.
    world.line(MAIN, "mount tmpfs -s end /m")?;
    let told = told.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
    world.line(MAIN, "umount /m")?;
    let after = memory_kb(agent.pid())?;
    // What was dropped is said with the next line that is not. Few come now: no file is rotated away.
    world.line(MAIN, "mount tmpfs /m")?;
    let dropped = report::eventually(TOLD_MAX, || dropped_lines(&events))?;
    world.line(MAIN, "umount /m")?;
    at("the comparison");
    ensure_status(&agent.run(&["verify"])?, 0)?;
    let status = agent.run(&["status", "-J"])?;
    let status: Value = serde_json::from_slice(&status.stdout).context("no JSON")?;
    println!(
        "flood_mounting: {cycles} mounts and unmounts in {seconds:.1} s, {} changes of others, {} answers \
         stale; {} losses, {} operations missed; {before} KiB before, {halfway} halfway, {after} after; \
         {dropped} lines dropped; up to {} KiB of the ring used",
        others.changes,
        others.stale,
        status["losses"],
        status["counters"]["operations_missed"],
        status["ring_used_bytes_max"].as_u64().unwrap_or(0) >> 10
    );
    if let Some(why) = &told.gap {
        println!("flood_mounting: the watcher was told of a gap: {why}");
    }
    let mut failures = told.failures(others.changes, setting.backend == Some("hooks"));
    for (is_bad, what) in [
        (cycles == 0 || others.changes == 0, "nothing happened"),
        (others.stale > 0, "answers about others were stale"),
        // A notification costs a look: on two cores `notify` cannot keep up with two threads, its ring gets
        // full, and everything is scanned again. What others do is right in each answer all the same.
        (status["losses"] != 0 && setting.backend == Some("hooks"), "it lost something"),
        (status["anomalies"] != 0, "it met contradictions"),
        (after > before + GROWTH_KB_MAX, "it grows"),
        (bytes_of(&events) > FILE_BYTES * FILES, "the files are too large"),
    ] {
        if is_bad {
            failures.push(what.to_owned());
        }
    }
    agent.terminate()?;
    world.tear_down();
    Ok(failures)
}

/// Somebody mounts and unmounts, and asks after each.
fn change(
    world: &mut World,
    agent: &Agent,
    setting: &Setting,
    main: u32,
    others: &mut Others,
) -> Result<()> {
    let client = blocking::Client::connect(&agent.socket())?;
    let view = client.view(Whose::Task(main));
    let path = setting.base.join("m");
    for is_mounted in [true, false] {
        let source = others.changes / 2;
        let mount = format!("mount tmpfs -s flood-{source} /m");
        world.line(MAIN, if is_mounted { &mount } else { "umount /m" })?;
        others.changes += 1;
        let answer = view.is_mount_point(&path, Binds::Count)?;
        others.stale += u32::from(matches!(answer.coverage, Coverage::Stale));
        ensure!(answer.value == is_mounted, "change {}: mounted is {is_mounted}", others.changes);
    }
    Ok(())
}

/// What a watcher was told of the others: by source, how often it came.
#[derive(Debug, Default)]
struct Told {
    came: BTreeMap<String, u32>,
    gap: Option<String>,
}

impl Told {
    /// `is_whole`: nobody may say less than there was. Else a watcher may be told that it has to begin again.
    fn failures(&self, changes: u32, is_whole: bool) -> Vec<String> {
        if self.gap.is_some() && !is_whole {
            return Vec::new();
        }
        let mut failures: Vec<_> = self.gap.iter().map(|why| format!("a gap: {why}")).collect();
        let expected = changes / 2;
        let mut missing = 0;
        for number in 0..expected {
            match self.came.get(&format!("flood-{number}")) {
                Some(1) => {}
                None => missing += 1,
                Some(times) => failures.push(format!("flood-{number} was told {times} times")),
            }
        }
        if missing > 0 && (is_whole || missing > expected / 100) {
            failures.push(format!("{missing} of {expected} mounts were not told"));
        }
        failures
    }
}

fn follow(agent: &Agent, path: PathBuf, main: u32) -> thread::JoinHandle<Result<Told>> {
    let options =
        WatchOptions { path: Some(path), whose: Whose::Task(main), ..WatchOptions::default() };
    let socket = agent.socket();
    let (started, is_started) = mpsc::channel();
    let thread = thread::spawn(move || {
        let client = blocking::Client::connect(&socket)?;
        let mut watching = client.watch(&options)?;
        let Some(Watched::Started(..)) = watching.next()? else { bail!("it does not start") };
        started.send(())?;
        let mut told = Told::default();
        while let Some(watched) = watching.next()? {
            let source = match watched {
                Watched::Gap(why) => {
                    told.gap = Some(why);
                    return Ok(told);
                }
                Watched::Said(said) => match said.what {
                    Saying::Change(change) => attached(&change.kind),
                    _ => None,
                },
                _ => None,
            };
            match source {
                Some(source) if source == "end" => return Ok(told),
                Some(source) => *told.came.entry(source).or_default() += 1,
                None => {}
            }
        }
        bail!("the watcher ended")
    });
    // An error is what the thread gives.
    let _ = is_started.recv();
    thread
}

/// The source of a mount that came.
fn attached(kind: &SaidKind) -> Option<String> {
    let source = match kind {
        SaidKind::Attach(mount) => &mount.source[..],
        SaidKind::Glimpsed { glimpsed, is_attached: true, .. } => glimpsed.source.as_deref()?,
        _ => return None,
    };
    Some(String::from_utf8_lossy(source).into_owned())
}

/// How many lines were dropped, as the newest line about that says.
fn dropped_lines(events: &Path) -> Result<u64> {
    let mut text = String::new();
    for file in ["events.json.2", "events.json.1", "events.json"] {
        text += &fs::read_to_string(events.with_file_name(file)).unwrap_or_default();
    }
    let line = text.lines().rev().find(|line| line.contains("\"event\":\"dropped\""));
    let line = line.context("nobody says that lines were dropped")?;
    let line: Value = serde_json::from_str(line)?;
    line["lines_total"].as_u64().filter(|count| *count > 0).context("none were dropped")
}

/// Of all files of the export.
fn bytes_of(events: &Path) -> u64 {
    let directory = events.parent().into_iter().flat_map(fs::read_dir);
    let ours = directory
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("events.json"));
    ours.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

fn memory_kb(pid: u32) -> Result<u64> {
    crate::container_checks::memory_kb(pid)
}

/// The process that floods.
struct Flood(Child);

impl Flood {
    fn start(base: &Path, length: Duration) -> Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg(ARGUMENT).arg(base).arg(length.as_secs().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.spawn().context("cannot start the flood").map(Self)
    }

    /// How often it mounted and unmounted.
    fn end(&mut self) -> Result<u64> {
        let mut text = String::new();
        self.0.stdout.take().context("no pipe")?.read_to_string(&mut text)?;
        ensure!(self.0.wait()?.success(), "the flood failed");
        Ok(text.trim().parse()?)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process itself, before it has threads: nobody, in a user namespace of its own.
pub(crate) fn serve(arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let [base, seconds] = &arguments.collect::<Vec<_>>()[..] else { bail!("wrong arguments") };
    let length = Duration::from_secs(seconds.to_str().context("no number")?.parse()?);
    rustix::thread::set_thread_groups(&[]).context("cannot leave groups")?;
    rustix::thread::set_thread_gid(Gid::from_raw(NOBODY)).context("cannot be nobody")?;
    rustix::thread::set_thread_uid(Uid::from_raw(NOBODY)).context("cannot be nobody")?;
    // Whoever changed its user owns its files in /proc no more.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS).context("no user namespace")?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {NOBODY} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {NOBODY} 1"))?;
    mount("flood", base, "tmpfs", MountFlags::empty(), None).context("cannot mount")?;
    let end = Instant::now() + length;
    let callers = (0..THREADS).map(|number| {
        let path = Path::new(base).join(number.to_string());
        thread::spawn(move || mount_until(&path, end))
    });
    let mut cycles = 0;
    for caller in callers.collect::<Vec<_>>() {
        cycles += caller.join().unwrap_or_else(|_| bail!("a thread panicked"))?;
    }
    println!("{cycles}");
    Ok(())
}

fn mount_until(path: &Path, end: Instant) -> Result<u64> {
    fs::create_dir(path)?;
    let mut cycles = 0;
    while Instant::now() < end {
        mount("flood", path, "tmpfs", MountFlags::empty(), None).context("cannot mount")?;
        unmount(path, UnmountFlags::empty()).context("cannot unmount")?;
        cycles += 1;
    }
    Ok(cycles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mount_of_others_is_expected_once() {
        let mut told = Told::default();
        told.came.insert("flood-0".to_owned(), 1);
        assert!(told.failures(2, true).is_empty());
        assert_eq!(told.failures(4, true).len(), 1);
        told.came.insert("flood-1".to_owned(), 2);
        assert_eq!(told.failures(4, false).len(), 1);
        told.gap = Some("too slow".to_owned());
        assert!(told.failures(4, false).is_empty() && !told.failures(4, true).is_empty());
    }
}
