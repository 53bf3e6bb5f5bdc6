//! What goes wrong on purpose: each loss is said at once, repaired where it was, and gone.

use crate::command::Unshare;
use crate::report::{self, Report, Verdict};
use crate::scenario::MAIN;
use crate::world::World;
use anyhow::{Context as _, Result, bail};
use mountwatch::agent::{BackendChoice, Config, Faults, Subscription, Tracker};
use mountwatch::model::NamespaceInode;
use mountwatch::{render, verify};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// One fault.
struct Fault {
    name: &'static str,
    /// The back ends to which it can happen.
    backends: &'static [&'static str],
    /// Notifications that the queue has room for; for a back end that has a queue.
    queue_max: Option<u32>,
    ring_bytes: u32,
    faults: Faults,
    /// The counter that says what happened.
    counter: &'static str,
    /// Whether the namespaces concerned are known, so that the others stay complete.
    is_placed: bool,
    /// What the task `A` does.
    lines: &'static [&'static str],
}

const NONE: Faults =
    Faults { roots_max: None, cut_record: None, panic_at: None, bounded_queue: false };
const HOOKS: &[&str] = &["hooks"];
/// The smallest ring.
const SMALL: u32 = 256 << 10;
const LARGE: u32 = 16 << 20;
/// The last line makes more mounts than the smallest ring has room for, and each of their names but one
/// was told before: one that was lost concerned all namespaces.
const TREE: &[&str] = &[
    "mkdir /t",
    "mount tmpfs /t",
    "for i 0..8 mkdir /t/$i",
    "for i 0..8 rbind /t /t/$i",
    "mkdir /u",
    "mount tmpfs /u",
    "for i 0..5 mkdir /u/$i",
    "for i 0..5 rbind /t /u/$i",
    "mkdir /v",
    "rbind /u /v",
];
/// More than the smallest queue has room for.
const DOUBLE: &[&str] =
    &["mkdir /t", "mount tmpfs /t", "for i 0..12 mkdir /t/$i", "for i 0..12 rbind /t /t/$i"];
const SOME: &[&str] = &["mkdir /t", "mount tmpfs /t", "mkdir /t/a", "bind /t /t/a", "umount /t/a"];

const FAULTS: &[Fault] = &[
    Fault {
        name: "fault_ring_full",
        backends: HOOKS,
        queue_max: None,
        ring_bytes: SMALL,
        faults: NONE,
        counter: "records_lost",
        is_placed: true,
        lines: TREE,
    },
    Fault {
        name: "fault_roots_lost",
        backends: HOOKS,
        queue_max: None,
        ring_bytes: LARGE,
        faults: Faults { roots_max: Some(16), ..NONE },
        counter: "roots_lost",
        // A copy has no namespace when it is marked.
        is_placed: false,
        lines: &[
            "mkdir /t",
            "mount tmpfs /t",
            "make shared /t",
            "for i 0..19 mkdir /p$i",
            "for i 0..19 bind /t /p$i",
            "mkdir /t/a",
            "mount tmpfs /t/a",
        ],
    },
    Fault {
        name: "fault_record_cut",
        backends: HOOKS,
        queue_max: None,
        ring_bytes: LARGE,
        faults: Faults { cut_record: Some(4), ..NONE },
        counter: "records_undecoded",
        is_placed: false,
        lines: SOME,
    },
    Fault {
        name: "fault_panic",
        backends: &["hooks", "notify"],
        queue_max: None,
        ring_bytes: LARGE,
        faults: Faults { panic_at: Some(4), ..NONE },
        counter: "",
        is_placed: false,
        lines: SOME,
    },
    Fault {
        name: "fault_queue_full",
        backends: &["notify"],
        queue_max: Some(64),
        ring_bytes: LARGE,
        faults: Faults { bounded_queue: true, ..NONE },
        counter: "notifications_lost",
        // Nothing says which notifications there was no room for.
        is_placed: false,
        lines: DOUBLE,
    },
];

/// Runs of a fault in which the namespaces concerned happen not to be known.
const TRIES_MAX: u32 = 3;
const OTHER_STALE: &str = "the other namespace was stale meanwhile";

/// What may take so long.
const LIMIT: Duration = Duration::from_mins(3);

/// What the tests may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rights {
    /// The back end under test.
    pub(crate) backend: &'static str,
    /// Settings of the whole machine may be changed.
    pub(crate) is_own_machine: bool,
}

/// Runs those that are wanted.
pub(crate) fn run(
    report: &mut Report,
    rights: Rights,
    base: &Path,
    is_wanted: &dyn Fn(&str) -> bool,
) {
    let backend = rights.backend;
    let can_happen = |fault: &&Fault| fault.backends.contains(&backend) && is_wanted(fault.name);
    for fault in FAULTS.iter().filter(can_happen) {
        if fault.queue_max.is_some() && !rights.is_own_machine {
            let why = "changes a setting of the whole machine: needs --own-machine";
            report.add(fault.name, Verdict::Skipped(why.to_owned()));
            continue;
        }
        let mut verdict = Verdict::of(Vec::new());
        for _ in 0..TRIES_MAX {
            let base = base.to_owned();
            verdict = match report::with_limit(LIMIT, move |at| run_one(fault, backend, &base, at))
            {
                // What was lost may have been a name, which any namespace may show.
                Ok(Ok(failures)) if failures.len() == 1 && failures == [OTHER_STALE] => {
                    Verdict::of(failures)
                }
                Ok(Ok(failures)) => {
                    verdict = Verdict::of(failures);
                    break;
                }
                Ok(Err(error)) => {
                    verdict = Verdict::Failed(vec![format!("{error:#}")]);
                    break;
                }
                Err(why) => {
                    verdict = Verdict::Failed(vec![why]);
                    break;
                }
            };
        }
        report.add(fault.name, verdict);
    }
}

/// The names of all of them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FAULTS.iter().map(|fault| fault.name)
}

fn run_one(fault: &Fault, backend: &str, base: &Path, at: &dyn Fn(&str)) -> Result<Vec<String>> {
    let mut world = World::new(base)?;
    for name in ["A", "B"] {
        world.namespace(name, MAIN, Unshare::Private)?;
    }
    let inode = |name: &str| namespace_of(&world, name);
    let (concerned, other) = (inode("A")?, inode("B")?);
    let config = Config {
        backend: if backend == "notify" { BackendChoice::Notify } else { BackendChoice::Hooks },
        ring_bytes: fault.ring_bytes,
        operations: false,
        faults: fault.faults,
        ..Config::new()
    };
    let queue = fault.queue_max.map(QueueMax::set).transpose()?;
    let tracker = Tracker::start(&config).context("cannot start the tracker")?;
    drop(queue);
    let (_, mut subscription) = tracker.subscribe()?;
    at("the lines");
    for line in fault.lines {
        each(line, |line| {
            world.line("A", line)?;
            // What one line makes alone is to be too much.
            if fault.is_placed {
                tracker.now()?;
            }
            Ok(())
        })?;
    }
    at("the repair");
    let start = Instant::now();
    // The best that the back end can say.
    let whole = if backend == "notify" { "blind" } else { "complete" };
    while tracker.now()?.coverage().word() != whole {
        if start.elapsed() > LIMIT / 2 {
            bail!("the index is still {}", tracker.now()?.coverage());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut found = Vec::new();
    let verification = verify::compare(&tracker)?;
    if !verification.is_equal() {
        let text = render::verification_text(&verification, render::Secrets::Shown);
        found.push(format!("after the repair: {text}"));
    }
    let status = tracker.status()?;
    let counted = status.counters.iter().find(|(name, _)| *name == fault.counter);
    if !fault.counter.is_empty() && counted.is_none_or(|(_, count)| *count == 0) {
        found.push(format!("nothing went wrong: {:?}", status.counters));
    }
    if status.losses == 0 || status.rescans == 0 {
        found.push(format!("{} losses, {} scans", status.losses, status.rescans));
    }
    drop(tracker);
    let [was_stale, was_other_stale] = were_stale(&mut subscription, [concerned, other]);
    if !was_stale {
        found.push("no answer said that the namespace concerned is stale".to_owned());
    }
    if was_other_stale && fault.is_placed {
        found.push(OTHER_STALE.to_owned());
    } else if !was_other_stale && !fault.is_placed {
        found.push("the other namespace was complete meanwhile".to_owned());
    }
    world.tear_down();
    Ok(found)
}

/// `fs.fanotify.max_queued_events`, which is that of a queue when the queue is made. As it was again
/// when this is dropped.
struct QueueMax(String);

impl QueueMax {
    const PATH: &str = "/proc/sys/fs/fanotify/max_queued_events";

    fn set(max: u32) -> Result<Self> {
        let before = std::fs::read_to_string(Self::PATH).context("cannot read the setting")?;
        std::fs::write(Self::PATH, max.to_string()).context("cannot change the setting")?;
        Ok(Self(before))
    }
}

impl Drop for QueueMax {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(Self::PATH, &self.0) {
            eprintln!("{} is not as it was: {error}", Self::PATH);
        }
    }
}

/// Whether some answer said that these namespaces are stale.
fn were_stale(subscription: &mut Subscription, of: [NamespaceInode; 2]) -> [bool; 2] {
    let mut were = [false; 2];
    while let Some(Ok(published)) = subscription.recv_blocking() {
        let snapshot = &published.snapshot;
        for (was, inode) in were.iter_mut().zip(of) {
            let coverage = match snapshot.namespace_by_inode(inode) {
                Some(known) => &known.coverage,
                None => snapshot.coverage(),
            };
            *was |= coverage.word() == "stale";
        }
    }
    were
}

fn namespace_of(world: &World, name: &str) -> Result<NamespaceInode> {
    let (_, task) = world.tasks().find(|(known, _)| *known == name).context("no such task")?;
    let path = format!("/proc/{}/ns/mnt", task.tid);
    let inode = std::fs::metadata(&path).with_context(|| format!("cannot look at {path}"))?.ino();
    Ok(NamespaceInode(u32::try_from(inode)?))
}

/// `for i FIRST..LAST LINE`, as in a scenario, or the line itself.
fn each(line: &str, mut run: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let Some(rest) = line.strip_prefix("for i ") else { return run(line) };
    let (range, line) = rest.split_once(' ').context("no line")?;
    let (first, last) = range.split_once("..").context("no range")?;
    for number in first.parse::<u32>()?..=last.parse()? {
        run(&line.replace("$i", &number.to_string()))?;
    }
    Ok(())
}
