//! Random programs: workers in namespaces of mixed propagation change mounts at the same time, in
//! rounds; after each round everything stands still and is compared.
//!
//! The programs depend on the seed alone, what the kernel makes of them on the scheduler as well.
//! The log of a round reads as a scenario, with the errors that came as the expected ones.

use crate::command::{self, Unshare};
use crate::oracle::Oracle;
use crate::program::{self, Random};
use crate::scenario::MAIN;
use crate::task::{Reply, Task};
use crate::words;
use crate::world::World;
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Length of one round.
const ROUND: Duration = Duration::from_secs(2);
/// From this number of mounts on in all namespaces, a worker only unmounts.
const MOUNTS_MAX: usize = 1_500;
/// Up to this number whole trees are bound: each copy may be copied to all peers.
const MOUNTS_FOR_TREES_MAX: usize = 500;
/// Lines of the log that are printed.
const LOG_LINES_MAX: usize = 4_000;

/// The workers, from whose namespace each one's is made, and how; `None`: in that namespace.
const WORKERS: &[(&str, &str, Option<Unshare>)] = &[
    ("peer", MAIN, Some(Unshare::Peer)),
    ("slave", MAIN, Some(Unshare::Slave)),
    ("private", MAIN, Some(Unshare::Private)),
    ("below", "slave", Some(Unshare::Peer)),
    ("same", MAIN, None),
];

/// How it went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// What is wrong.
    pub(crate) failures: Vec<String>,
    /// The log of the last round, if something is.
    pub(crate) log: Vec<String>,
    /// Operations that succeeded and that were refused.
    pub(crate) operations: (u64, u64),
    /// Comparisons of everything.
    pub(crate) rounds: u32,
    /// Most mounts at the end of a round.
    pub(crate) mounts_max: usize,
}

/// Runs random programs for that long.
pub(crate) fn run(
    oracle: &Oracle,
    base: &Path,
    seed: u64,
    length: Duration,
    at: &dyn Fn(&str),
) -> Report {
    let mut report = Report::default();
    let mut world = match set_up(oracle, base) {
        Ok(world) => world,
        Err(error) => {
            report.failures.push(format!("{error:#}"));
            return report;
        }
    };
    let start = Instant::now();
    while start.elapsed() < length && report.failures.is_empty() {
        report.rounds += 1;
        let title = format!("round {} of seed {seed}", report.rounds);
        at(&title);
        let log = match round(oracle, &world, seed, report.rounds, &mut report) {
            Ok(log) => log,
            Err(error) => {
                report.failures.push(format!("{title}: {error:#}"));
                break;
            }
        };
        let mut found = oracle.differences(&world.viewers(), &world.held());
        found.extend(prune(oracle, &mut world).err().map(|error| format!("{error:#}")));
        report.mounts_max = report.mounts_max.max(oracle.tracker.latest().mount_count());
        report.failures.extend(found.into_iter().map(|line| format!("{title}: {line}")));
        if !report.failures.is_empty() {
            report.log = log;
        }
    }
    at("the end");
    world.tear_down();
    if report.failures.is_empty() {
        report.failures.extend(oracle.ghosts());
        report.failures.extend(oracle.differences(&[], &[]));
    }
    report
}

fn set_up(oracle: &Oracle, base: &Path) -> Result<World> {
    let mut world = World::new(base)?;
    for line in program::PREPARATION {
        world.line(MAIN, line)?;
    }
    for (name, of, how) in WORKERS {
        let how_or_peer = how.unwrap_or(Unshare::Peer);
        match world.namespace(name, of, how_or_peer)? {
            Reply::Done(_) => {}
            reply => bail!("no namespace for {name}: {reply:?}"),
        }
        if how.is_none() {
            world.line(name, &format!("setns {of}"))?;
        }
    }
    let found = oracle.differences(&world.viewers(), &world.held());
    if let Some(difference) = found.first() {
        bail!("before the first round: {difference}");
    }
    Ok(world)
}

/// One round: all workers at once. Returns the log.
fn round(
    oracle: &Oracle,
    world: &World,
    seed: u64,
    number: u32,
    report: &mut Report,
) -> Result<Vec<String>> {
    let log = Mutex::new(Vec::new());
    let end = Instant::now() + ROUND;
    let has_rescan = number.is_multiple_of(2);
    let counts = thread::scope(|scope| -> Result<Vec<(u64, u64)>> {
        let mut workers = Vec::new();
        for (index, (name, task)) in world.tasks().enumerate() {
            let random = Random::new(seed ^ (u64::from(number) << 32) ^ (index as u64) << 16);
            let (log, bindings) = (&log, world.bindings());
            workers.push(scope.spawn(move || {
                let worker = Worker { oracle, name, task, bindings, log, random };
                worker.run(end)
            }));
        }
        if has_rescan {
            thread::sleep(ROUND / 2);
            oracle.tracker.rescan().context("cannot scan again in the middle")?;
        }
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| bail!("a worker panicked")))
            .collect()
    })?;
    if has_rescan {
        oracle.settle()?;
    }
    for (done, refused) in counts {
        report.operations.0 += done;
        report.operations.1 += refused;
    }
    let mut log = log.into_inner().unwrap_or_else(PoisonError::into_inner);
    let surplus = log.len().saturating_sub(LOG_LINES_MAX);
    log.drain(..surplus);
    Ok(log)
}

struct Worker<'a> {
    oracle: &'a Oracle,
    name: &'a str,
    task: &'a Task,
    bindings: String,
    log: &'a Mutex<Vec<String>>,
    random: Random,
}

impl Worker<'_> {
    fn run(mut self, end: Instant) -> Result<(u64, u64)> {
        let (mut done, mut refused) = (0, 0);
        while Instant::now() < end {
            let mounts = self.oracle.tracker.latest().mount_count();
            let lines = if mounts > MOUNTS_MAX {
                program::shrink(&mut self.random)
            } else {
                let with_trees = mounts < MOUNTS_FOR_TREES_MAX;
                let kernel = self.oracle.kernel;
                program::operation(&mut self.random, kernel, with_trees)
            };
            if lines.is_empty() {
                self.short_lived_namespace()?;
                done += 1;
            }
            for line in lines {
                let reply = self.task.run(&self.bindings, &line)?;
                match &reply {
                    Reply::Done(_) => done += 1,
                    Reply::Refused(_) => refused += 1,
                    // `@t` is not there if open_tree(2) was refused.
                    Reply::Failed(why) if why.starts_with("nothing is held") => {}
                    Reply::Failed(why) => bail!("{}: {line}: {why}", self.name),
                }
                self.note(&line, &reply);
            }
        }
        Ok((done, refused))
    }

    /// A process that makes a namespace, mounts something and ends.
    fn short_lived_namespace(&mut self) -> Result<()> {
        let task = Task::start()?;
        let how = self.random.pick(&["peer", "slave", "private"]);
        let at = program::place(&mut self.random);
        let lines =
            [format!("setns {}", self.name), format!("unshare {how}"), format!("mount tmpfs {at}")];
        for line in lines {
            let reply = task.run(&self.bindings, &line)?;
            self.note(&format!("# in a process that ends soon: {line}"), &reply);
        }
        if self.random.below(2) == 0 {
            task.kill();
        } else {
            task.end(false)?;
        }
        Ok(())
    }

    fn note(&self, line: &str, reply: &Reply) {
        let line = match reply {
            Reply::Refused(error) => format!("{}: expect {error} {line}", self.name),
            _ => format!("{}: {line}", self.name),
        };
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// Between rounds: if there are many mounts, unmounts everything below the two roots.
fn prune(oracle: &Oracle, world: &mut World) -> Result<()> {
    if oracle.tracker.latest().mount_count() < MOUNTS_MAX {
        return Ok(());
    }
    let names: Vec<String> = world.viewers().into_iter().map(|viewer| viewer.name).collect();
    for name in names {
        for line in program::everything() {
            let command = command::parse(&words::split(line.as_bytes())?)?;
            // Refused where nothing is mounted.
            while matches!(world.command(&name, &line, &command)?, Reply::Done(_)) {}
        }
    }
    Ok(())
}
