//! A thousand mounts that come and go in each second: `mountwatch watch` tells of each one, also of
//! those that are gone before anybody could look at them.
//!
//! Each cycle is a mount(2) with a source of its own and an umount(2) right after it.

use crate::cli_checks::Setting;
use crate::command::Unshare;
use crate::report::{self, Report, Verdict};
use crate::scenario::MAIN;
use crate::visit;
use crate::watch_checks::Watch;
use crate::world::World;
use anyhow::{Context as _, Result, bail};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Cycles in a second, of all threads together.
const PER_SECOND: u32 = 1_000;
/// What may be added to the cycles' own time: a watcher that lags, under emulation.
const SPARE: Duration = Duration::from_mins(4);
/// The source of the mount after the last one.
const LAST: &str = "cycles-are-over";
/// Sources that are named in a failure.
const NAMED_MAX: usize = 5;

/// Who mounts.
struct Cycles {
    name: &'static str,
    /// Namespaces made from the first one, and how.
    others: &'static [(&'static str, Unshare)],
    /// Whether the directories are on a shared mount.
    is_shared: bool,
    threads_each: usize,
    /// Mounts that one mount(2) makes.
    copies: u32,
}

const CYCLES: &[Cycles] = &[
    Cycles { name: "cycles_one_thread", others: &[], is_shared: false, threads_each: 1, copies: 1 },
    Cycles {
        name: "cycles_two_namespaces",
        others: &[("A", Unshare::Private)],
        is_shared: false,
        threads_each: 2,
        copies: 1,
    },
    Cycles {
        name: "cycles_in_peers",
        others: &[("A", Unshare::Peer)],
        is_shared: true,
        threads_each: 1,
        copies: 2,
    },
];

/// Of so many lines one may be unnamed where the kernel skips programs. On real processors none of 20,000
/// is; emulated ones stop a program a hundred times longer, and one line of 100 was.
const UNNAMED_ONE_IN: u32 = 25;

/// The names of all of them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CYCLES.iter().map(|cycles| cycles.name)
}

/// Runs those that are wanted, each for that long.
pub(crate) fn run(
    report: &mut Report,
    setting: &Setting,
    length: Duration,
    is_wanted: &dyn Fn(&str) -> bool,
) {
    // The kernel skips a program on a system call while bpf(2) works on any map on that CPU (until
    // 7.1), or while another task is in the same program there (since 7.2), now and then its spare
    // too: then nobody knows what the call was given. It is told that a mount came and went.
    let may_be_unnamed = setting.backend == Some("notify");
    for cycles in CYCLES.iter().filter(|cycles| is_wanted(cycles.name)) {
        let setting = setting.clone();
        let result =
            report::with_limit(length + SPARE, move |at| one(cycles, &setting, length, at));
        let verdict = match result {
            Ok(Ok(told)) => {
                println!("{}: {}", cycles.name, told.summary());
                Verdict::of(told.failures(cycles.copies, may_be_unnamed))
            }
            Ok(Err(error)) => Verdict::Failed(vec![format!("{error:#}")]),
            Err(why) => Verdict::Failed(vec![why]),
        };
        report.add(cycles.name, verdict);
    }
}

/// What `watch` told of the cycles.
#[derive(Debug, Default)]
struct Told {
    /// Cycles of each thread.
    cycles: Vec<u32>,
    seconds: f64,
    /// By source: how often it was attached and detached.
    mounts: BTreeMap<String, (u32, u32)>,
    /// Lines by the place in the kernel where they were seen.
    hooks: BTreeMap<String, u32>,
    /// Lines that say of a mount that it came or went, and not which one.
    unnamed: u32,
    /// Lines about losses and stale answers.
    losses: u32,
    /// Seconds of a core that the watching process took.
    cpu_seconds: f64,
}

impl Told {
    fn count(&self) -> u32 {
        self.cycles.iter().sum()
    }

    fn summary(&self) -> String {
        let count = self.count();
        let sum = |which: fn(&(u32, u32)) -> u32| self.mounts.values().map(which).sum::<u32>();
        let mut text = format!(
            "{count} cycles in {:.1} s, {:.0} in a second; told: {} attached, {} detached",
            self.seconds,
            f64::from(count) / self.seconds,
            sum(|told| told.0),
            sum(|told| told.1)
        );
        for (hook, lines) in &self.hooks {
            write!(text, ", {lines} seen by {hook}").expect("writing to a string does not fail");
        }
        let percent = 100.0 * self.cpu_seconds / self.seconds;
        if self.unnamed > 0 {
            write!(text, ", {} unnamed", self.unnamed).expect("writing to a string does not fail");
        }
        write!(text, "; mountwatch took {percent:.0} % of a core")
            .expect("writing to a string does not fail");
        text
    }

    /// Each mount that was not told once as attached and once as detached. `may_be_unnamed`: some
    /// lines need not say which mount it was.
    fn failures(&self, copies: u32, may_be_unnamed: bool) -> Vec<String> {
        let mut failures = Vec::new();
        let named: u32 = self.mounts.values().map(|told| told.0 + told.1).sum();
        let all = 2 * copies * self.count();
        if may_be_unnamed && named + self.unnamed == all && self.unnamed <= all / UNNAMED_ONE_IN {
            return failures;
        }
        if self.losses > 0 {
            failures.push(format!("the watcher was told {} times of a loss", self.losses));
        }
        if self.unnamed > 0 {
            failures.push(format!("{} lines do not say which mount came or went", self.unnamed));
        }
        let mut wrong = 0;
        for (thread, count) in self.cycles.iter().enumerate() {
            for number in 0..*count {
                let source = source(thread, number);
                let told = self.mounts.get(&source).copied().unwrap_or_default();
                if told == (copies, copies) {
                    continue;
                }
                wrong += 1;
                if wrong <= NAMED_MAX {
                    failures.push(format!(
                        "{source}: attached {} times, detached {} times, expected was {copies}",
                        told.0, told.1
                    ));
                }
            }
        }
        if wrong > 0 {
            failures.push(format!("{wrong} of {} cycles were not told as they were", self.count()));
        }
        failures
    }

    /// One line of `watch -J`; `true` if it is the last one.
    fn take(&mut self, line: &Value) -> bool {
        let event = line["event"].as_str().unwrap_or_default();
        if event == "lost" || (event == "coverage" && line["coverage"] == "stale") {
            self.losses += 1;
            return false;
        }
        let Some(source) = line["source"].as_str() else {
            self.unnamed += u32::from(matches!(event, "attach" | "detach"));
            return false;
        };
        if source == LAST {
            return event == "attach";
        }
        if !source.starts_with("cycle-") {
            return false;
        }
        let told = self.mounts.entry(source.to_owned()).or_default();
        match event {
            "attach" => told.0 += 1,
            "detach" => told.1 += 1,
            _ => return false,
        }
        *self.hooks.entry(line["hook"].as_str().unwrap_or("nothing").to_owned()).or_default() += 1;
        false
    }
}

fn source(thread: usize, number: u32) -> String {
    format!("cycle-{thread}-{number}")
}

fn one(cycles: &Cycles, setting: &Setting, length: Duration, at: &dyn Fn(&str)) -> Result<Told> {
    let mut world = World::new(&setting.base)?;
    let namespaces = 1 + cycles.others.len();
    let threads = namespaces * cycles.threads_each;
    for thread in 0..=threads {
        world.line(MAIN, &format!("mkdir /{thread}"))?;
    }
    if cycles.is_shared {
        world.line(MAIN, "make shared /")?;
    }
    for (name, how) in cycles.others {
        world.namespace(name, MAIN, *how)?;
    }
    let tids: Vec<u32> = world.viewers().into_iter().map(|viewer| viewer.tid).collect();
    let watch = Watch::start(setting, &["--initial"])?;
    watch.present()?;
    let mut told = Told::default();
    let before = cpu_seconds(watch.pid())?;
    at("the cycles");
    let start = Instant::now();
    let period = Duration::from_secs(1) * u32::try_from(threads)? / PER_SECOND;
    let workers: Vec<_> = (0..threads)
        .zip(tids.iter().cycle())
        .map(|(thread, tid)| {
            let directory = setting.base.join(thread.to_string());
            let namespace = fs::File::open(format!("/proc/{tid}/ns/mnt"))?.into();
            let cycles = move || mount_and_unmount(thread, &directory, start, period, length);
            Ok(thread::spawn(move || visit::inside(&namespace, cycles)))
        })
        .collect::<Result<_>>()?;
    // The lines are taken meanwhile, as whoever watches does.
    while start.elapsed() < length {
        if let Some(line) = watch.line_within(Duration::from_millis(100))? {
            told.take(&line);
        }
    }
    for worker in workers {
        told.cycles.push(worker.join().unwrap_or_else(|_| bail!("a thread panicked"))?);
    }
    told.seconds = start.elapsed().as_secs_f64();
    at("the last mount");
    world.line(MAIN, &format!("mount tmpfs -s {LAST} /{threads}"))?;
    while !told.take(&watch.line().context("waiting for the last mount")?) {}
    told.cpu_seconds = cpu_seconds(watch.pid())? - before;
    watch.interrupt()?;
    world.tear_down();
    Ok(told)
}

/// Mounts and unmounts at a steady pace, or as fast as it goes; how often.
fn mount_and_unmount(
    thread: usize,
    directory: &Path,
    start: Instant,
    period: Duration,
    length: Duration,
) -> Result<u32> {
    let mut number = 0;
    while start.elapsed() < length {
        let source = source(thread, number);
        mount(&*source, directory, "tmpfs", MountFlags::empty(), None).context("cannot mount")?;
        unmount(directory, UnmountFlags::empty()).context("cannot unmount")?;
        number += 1;
        thread::sleep((period * number).saturating_sub(start.elapsed()));
    }
    Ok(number)
}

/// Time that a process has spent so far, in its own code and in the kernel's.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold blanks, and is in parentheses.
    let (_, rest) = stat.rsplit_once(") ").context("another form of stat")?;
    let ticks: Vec<u32> =
        rest.split(' ').skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
    Ok(f64::from(ticks.iter().sum::<u32>()) / f64::from(per_second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_cycle_is_expected_once_attached_and_once_detached() {
        let mut told = Told { cycles: vec![2, 1], ..Told::default() };
        for (event, source) in [
            ("attach", "cycle-0-0"),
            ("detach", "cycle-0-0"),
            ("attach", "cycle-0-1"),
            ("attach", "else"),
            ("detach", "cycle-1-0"),
        ] {
            assert!(!told.take(&json!({"event": event, "source": source, "hook": "attach"})));
        }
        let failures = told.failures(1, false);
        assert_eq!(failures.len(), 3, "{failures:?}");
        assert!(failures[0].starts_with("cycle-0-1: attached 1 times, detached 0 times"));
        assert!(failures[2].starts_with("2 of 3 cycles"));
        assert!(told.take(&json!({"event": "attach", "source": LAST})));
        assert!(!told.take(&json!({"event": "lost", "why": "x"})));
        assert_eq!(told.failures(1, true).len(), 4);
    }

    #[test]
    fn few_lines_may_be_unnamed_where_the_kernel_skips_programs() {
        let mut told = Told { cycles: vec![100], ..Told::default() };
        for number in 0..99 {
            for event in ["attach", "detach"] {
                told.take(&json!({"event": event, "source": source(0, number)}));
            }
        }
        assert_eq!(told.failures(1, true).len(), 2, "one is not there");
        told.take(&json!({"event": "attach", "source": null}));
        told.take(&json!({"event": "detach", "source": null}));
        assert!(told.failures(1, true).is_empty());
        assert!(!told.failures(1, false).is_empty());
    }

    #[test]
    fn the_own_time_is_read() {
        assert!(cpu_seconds(std::process::id()).unwrap() >= 0.0);
    }
}
