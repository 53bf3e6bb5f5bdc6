//! Calls that fail, as fast as anyone can make them: whoever may change nothing can do that. Nothing of
//! what others change meanwhile is lost for it.

use crate::cli_checks::{NOBODY, Setting};
use crate::flood_mounts;
use crate::report::{self, Report, Verdict};
use crate::scenario::MAIN;
use crate::world::World;
use anyhow::{Context as _, Result, bail};
use mountwatch::agent::{Config, Tracker};
use mountwatch::{render, verify};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Uid;
use std::thread;
use std::time::{Duration, Instant};

/// Those who call.
const THREADS: usize = 2;
/// Between two changes of somebody else.
const PAUSE: Duration = Duration::from_millis(20);
/// What may be added to the length itself, under emulation.
const SPARE: Duration = Duration::from_mins(4);

/// Whether somebody follows what the index learns, failed calls among it.
const FLOODS: [(&str, bool); 2] = [("flood_unfollowed", false), ("flood_followed", true)];

/// Mounts that succeed, in a user namespace.
const MOUNTING: &str = "flood_mounting";

/// The names of all of them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FLOODS.iter().map(|(name, _)| *name).chain([MOUNTING])
}

/// Runs those that are wanted, each for that long.
pub(crate) fn run(
    report: &mut Report,
    setting: &Setting,
    length: Duration,
    is_wanted: &dyn Fn(&str) -> bool,
) {
    for (name, is_followed) in FLOODS.into_iter().filter(|(name, _)| is_wanted(name)) {
        let setting = setting.clone();
        let result = report::with_limit(length + SPARE, move |at| {
            one(name, &setting, length, is_followed, at)
        });
        report.add(name, verdict(result));
    }
    if is_wanted(MOUNTING) && setting.backend == Some("poll") {
        let why = "the back end poll sees what is there when it looks, and nobody who floods";
        report.add(MOUNTING, Verdict::NotClaimed(why.to_owned()));
    } else if is_wanted(MOUNTING) {
        let setting = setting.clone();
        let result = report::with_limit(length + SPARE * 2, move |at| {
            flood_mounts::one(&setting, length, at)
        });
        report.add(MOUNTING, verdict(result));
    }
}

fn verdict(result: Result<Result<Vec<String>>, String>) -> Verdict {
    match result {
        Ok(Ok(failures)) => Verdict::of(failures),
        Ok(Err(error)) => Verdict::Failed(vec![format!("{error:#}")]),
        Err(why) => Verdict::Failed(vec![why]),
    }
}

fn one(
    name: &str,
    setting: &Setting,
    length: Duration,
    is_followed: bool,
    at: &dyn Fn(&str),
) -> Result<Vec<String>> {
    let mut world = World::new(&setting.base)?;
    world.line(MAIN, "mkdir /m")?;
    let config = Config { backend: setting.choice(), ..Config::new() };
    let tracker = Tracker::start(&config).context("cannot start the tracker")?;
    let follower = if is_followed {
        let (_, mut subscription) = tracker.subscribe()?;
        Some(thread::spawn(move || while let Some(Ok(_)) = subscription.recv_blocking() {}))
    } else {
        None
    };
    at("the flood");
    let start = Instant::now();
    let callers: Vec<_> =
        (0..THREADS).map(|_| thread::spawn(move || fail_until(start + length))).collect();
    let mut changes = 0;
    while start.elapsed() < length {
        world.line(MAIN, if changes % 2 == 0 { "mount tmpfs /m" } else { "umount /m" })?;
        changes += 1;
        thread::sleep(PAUSE);
    }
    let mut calls = 0;
    for caller in callers {
        calls += caller.join().unwrap_or_else(|_| bail!("a thread panicked"))?;
    }
    at("the comparison");
    let verification = verify::compare(&tracker)?;
    let status = tracker.status()?;
    let missed = status.counters.iter().find(|(name, _)| *name == "operations_missed");
    println!(
        "{name}: {calls} calls failed in {:.1} s, {changes} changes; {} operations missed, up to {} KiB \
         of the ring used",
        start.elapsed().as_secs_f64(),
        missed.map_or(0, |(_, count)| *count),
        status.ring_used_bytes_max >> 10
    );
    let mut failures = Vec::new();
    if !verification.is_equal() {
        failures.push(render::verification_text(&verification, render::Secrets::Shown));
    }
    if (status.losses, status.anomalies) != (0, 0) {
        failures.push(format!(
            "{} losses, {} anomalies: {:?}",
            status.losses, status.anomalies, status.counters
        ));
    }
    if calls == 0 || changes == 0 {
        failures.push(format!("{calls} calls, {changes} changes"));
    }
    drop(tracker);
    if let Some(follower) = follower {
        follower.join().map_err(|_| anyhow::anyhow!("the follower panicked"))?;
    }
    world.tear_down();
    Ok(failures)
}

/// As a user to whom nothing belongs; how often.
fn fail_until(end: Instant) -> Result<u64> {
    rustix::thread::set_thread_uid(Uid::from_raw(NOBODY)).context("cannot be nobody")?;
    let mut calls = 0;
    while Instant::now() < end {
        if unmount("/", UnmountFlags::empty()).is_ok() {
            bail!("it should fail");
        }
        calls += 1;
    }
    Ok(calls)
}
