//! Runs programs in the simulated world under the auditor, and makes failing ones small.

use super::audit;
use super::execute::Ended;
use super::generate::{Fault, Flavour, Happening, program};
use super::history::History;
use super::kernel::Kernel;
use super::shrink;
use super::world::World;
use crate::program::PREPARATION;
use crate::scenario::{self, Line, MAIN};
use crate::task;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// From this number of mounts on, lines that make more are left out.
const MOUNTS_MAX: usize = 250;
/// Steps after which what was lost has to be repaired, if nothing goes wrong any more.
const REPAIR_STEPS_MAX: u32 = 6;

/// What a seed gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fuzzed {
    /// Lines that were done and that were refused.
    pub(crate) lines: (u64, u64),
    /// Publications compared, and namespaces in them that said `complete`.
    pub(crate) audited: (u64, u64),
    /// Losses that were repaired.
    pub(crate) losses: u64,
    /// What is wrong, with the program that shows it.
    pub(crate) failure: Option<Failure>,
}

impl Fuzzed {
    /// Adds the counts of another one.
    pub(crate) fn add(&mut self, other: &Self) {
        self.lines.0 += other.lines.0;
        self.lines.1 += other.lines.1;
        self.audited.0 += other.audited.0;
        self.audited.1 += other.audited.1;
        self.losses += other.losses;
    }
}

/// A program that shows something wrong.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What is wrong: sentences.
    pub(crate) found: Vec<String>,
    /// The lines that lead there, as a scenario file.
    pub(crate) file: Vec<String>,
}

/// Seeds that failed once, of the file `seeds.txt`: they run before all others.
pub(crate) fn kept_seeds() -> Vec<(u64, Flavour)> {
    let read = |line: &str| {
        let mut words = line.split_whitespace();
        let number = words.next()?.parse().ok()?;
        let flavour = match words.next()? {
            "calm" => Flavour::Calm,
            "faulty" => Flavour::Faulty,
            "real" => Flavour::Real,
            _ => return None,
        };
        Some((number, flavour))
    };
    let lines = include_str!("../../seeds.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| read(line).expect("a line is NUMBER FLAVOUR COMMENT")).collect()
}

/// Runs the program of a seed; a failing one is made small.
pub(crate) fn seed(seed: u64, flavour: Flavour) -> Fuzzed {
    let happenings = program(seed, flavour);
    let mut fuzzed = run(&happenings);
    if fuzzed.failure.is_some() {
        let small = shrink::shrink(&happenings, |candidate| run(candidate).failure.is_some());
        fuzzed.failure = run(&small).failure.or(fuzzed.failure);
    }
    if let Some(failure) = &mut fuzzed.failure {
        failure.file.insert(0, format!("# seed {seed}, {flavour:?}"));
    }
    fuzzed
}

/// Runs a program. A panic of the model or of the core is a failure as well.
pub(crate) fn run(happenings: &[Happening]) -> Fuzzed {
    catch_unwind(AssertUnwindSafe(|| Run::new().run(happenings))).unwrap_or_else(|_| {
        let file = happenings.iter().map(ToString::to_string).collect();
        let found = vec!["a panic".to_owned()];
        Fuzzed { failure: Some(Failure { found, file }), ..Fuzzed::default() }
    })
}

/// Whether a line may run while there are many mounts.
fn is_harmless(line: &str) -> bool {
    ["umount", "exit", "close", "rmdir", "unlink"].iter().any(|word| line.contains(word))
}

struct Run {
    world: World,
    fuzzed: Fuzzed,
    file: Vec<String>,
    has_faults: bool,
    history: History,
}

impl Run {
    fn new() -> Self {
        let mut world = World::new();
        let mut file = Vec::from(["## all".to_owned()]);
        for line in PREPARATION {
            file.push((*line).to_owned());
            act(&mut world.kernel, line);
        }
        world.driver.step(&mut world.kernel);
        Self {
            world,
            fuzzed: Fuzzed::default(),
            file,
            has_faults: false,
            history: History::default(),
        }
    }

    fn run(mut self, happenings: &[Happening]) -> Fuzzed {
        let mut at = 0;
        while let Some(happening) = happenings.get(at) {
            at += 1;
            match happening {
                Happening::Line(line) => self.line(line),
                Happening::Step => {
                    self.world.driver.step(&mut self.world.kernel);
                    self.check();
                }
                Happening::Part(records) => {
                    self.file.push(happening.to_string());
                    let World { kernel, driver } = &mut self.world;
                    driver.step_partly(kernel, *records, &mut self.history);
                    self.check_found();
                }
                Happening::Race(lines) => {
                    let end = happenings.len().min(at + lines);
                    self.race(&happenings[at..end]);
                    at = end;
                }
                Happening::Fault(fault) => self.fault(*fault),
            }
            if self.fuzzed.failure.is_some() {
                return self.fuzzed;
            }
        }
        self.settle();
        self.fuzzed.audited = self.world.driver.audited;
        self.fuzzed.losses = self.world.driver.state().counters().losses;
        self.fuzzed
    }

    fn line(&mut self, line: &str) {
        let ended = act(&mut self.world.kernel, line);
        self.note(line, ended.as_ref());
        self.history.note(&self.world.kernel);
    }

    fn note(&mut self, line: &str, ended: Option<&Ended>) {
        match ended {
            Some(Ended::Done) => {
                self.fuzzed.lines.0 += 1;
                self.file.push(line.to_owned());
            }
            Some(Ended::Refused(error)) => {
                self.fuzzed.lines.1 += 1;
                self.file.push(expecting(line, &task::name_of(*error)));
            }
            Some(Ended::Failed(_)) | None => {}
        }
    }

    /// Lines, and faults, between the lines of a scan of everything.
    fn race(&mut self, happenings: &[Happening]) {
        self.file.push(format!("# during a scan, the next {} lines:", happenings.len()));
        let mut lines = happenings.iter();
        let mut notes = Vec::new();
        let World { kernel, driver } = &mut self.world;
        let mut next = |kernel: &mut Kernel| {
            for happening in lines.by_ref() {
                match happening {
                    Happening::Line(line) => {
                        notes.push((line.clone(), act(kernel, line)));
                        return true;
                    }
                    Happening::Fault(fault) => {
                        self.has_faults = true;
                        notes.push((happening.to_string(), Some(Ended::Done)));
                        go_wrong(kernel, *fault);
                    }
                    _ => {}
                }
            }
            false
        };
        driver.rescan(kernel, &mut |kernel| {
            next(kernel);
        });
        while next(kernel) {}
        driver.step(kernel);
        for (line, ended) in notes {
            self.note(&line, ended.as_ref());
        }
        self.check();
    }

    fn fault(&mut self, fault: Fault) {
        self.has_faults = true;
        self.file.push(Happening::Fault(fault).to_string());
        match fault {
            Fault::Panic(count) => self.world.driver.panic_in = Some(count.into()),
            fault => go_wrong(&mut self.world.kernel, fault),
        }
    }

    /// What the auditor found; and tasks see what the index shows them if it claims to be complete.
    fn check(&mut self) {
        self.check_found();
        let mut found = Vec::new();
        if self.world.driver.latest().coverage().word() == "complete" {
            found.extend(audit::tasks(self.world.driver.latest(), &self.world.kernel));
        }
        if !self.has_faults {
            found.extend(self.world.alarms());
        }
        self.fail(found);
    }

    fn check_found(&mut self) {
        let found = std::mem::take(&mut self.world.driver.found);
        self.fail(found);
    }

    fn fail(&mut self, found: Vec<String>) {
        if !found.is_empty() && self.fuzzed.failure.is_none() {
            self.fuzzed.failure = Some(Failure { found, file: self.file.clone() });
        }
    }

    /// Nothing goes wrong any more: the index has to be complete and right soon.
    fn settle(&mut self) {
        self.world.kernel.hooks.faults = super::ring::Faults::default();
        self.world.driver.panic_in = None;
        for _ in 0..REPAIR_STEPS_MAX {
            self.world.driver.step(&mut self.world.kernel);
            self.check();
            if self.world.driver.latest().coverage().word() == "complete" {
                break;
            }
        }
        let found = self.world.differences();
        self.fail(found);
        let ended: Vec<String> = self.world.kernel.tasks.keys().cloned().collect();
        for name in ended.iter().filter(|name| **name != super::namespaces::HOST) {
            self.world.kernel.end(name);
        }
        self.world.driver.step(&mut self.world.kernel);
        self.check();
        let left = self.world.driver.latest().namespaces().count();
        if left != 1 {
            self.fail(vec![format!("{left} namespaces after the end of all tasks but the host's")]);
        }
    }
}

/// Puts a fault of the kernel side in.
fn go_wrong(kernel: &mut Kernel, fault: Fault) {
    let faults = &mut kernel.hooks.faults;
    match fault {
        Fault::Full(count) => faults.full += count,
        Fault::Garbage(count) => faults.garbage += count,
        Fault::Skipped(count) => faults.skipped += count,
        Fault::Cut(count) => faults.cut += count,
        Fault::Roots(count) => faults.roots += count,
        Fault::Panic(_) => {}
    }
}

/// Runs a line if it can be read, its task is there, and there is room.
fn act(kernel: &mut Kernel, line: &str) -> Option<Ended> {
    let parsed = runnable(kernel, line)?;
    Some(World::act(kernel, &parsed.task, &parsed.action))
}

/// A line, if it can be read, its tasks are there, and there is room.
pub(super) fn runnable(kernel: &Kernel, line: &str) -> Option<Line> {
    let parsed = scenario::parse_line(0, line).ok()?;
    let is_full = kernel.all_mounts().count() > MOUNTS_MAX && !is_harmless(line);
    (!is_full && names_known(kernel, &parsed)).then_some(parsed)
}

/// Whether every task that a line names is there.
fn names_known(kernel: &Kernel, line: &Line) -> bool {
    use crate::command::{Command, Holder};
    use scenario::Action;
    if !kernel.has_task(&line.task) {
        return false;
    }
    match &line.action {
        Action::Run(
            Command::SetNamespace { from: Holder::Task(other), .. }
            | Command::OpenNamespace { of: Some(other), .. }
            | Command::Take { from: other, .. },
        ) => kernel.has_task(other),
        Action::Namespace { name, of, .. } | Action::Thread { name, of, .. } => {
            kernel.has_task(of) && !kernel.has_task(name)
        }
        Action::End { name, .. } => kernel.has_task(name) && name != MAIN,
        _ => true,
    }
}

/// `TASK: expect ERROR COMMAND`.
pub(super) fn expecting(line: &str, error: &str) -> String {
    match line.split_once(": ") {
        Some((task, rest)) => format!("{task}: expect {error} {rest}"),
        None => format!("expect {error} {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(seeds: std::ops::Range<u64>, flavour: Flavour) -> Fuzzed {
        let mut sum = Fuzzed::default();
        for number in seeds {
            let fuzzed = seed(number, flavour);
            sum.add(&fuzzed);
            if let Some(failure) = fuzzed.failure {
                panic!("{}\n{}", failure.found.join("\n"), failure.file.join("\n"));
            }
        }
        sum
    }

    /// Programs with which the auditor found an index that was wrong and called itself complete.
    #[test]
    fn what_the_auditor_found_once_stays_repaired() {
        let line = |line: &str| Happening::Line(line.to_owned());
        let programs = [
            // After a panic no namespace was left that could be stale.
            vec![Happening::Fault(Fault::Panic(1)), line("mount tmpfs /s/d0"), Happening::Step],
            // A scan in the epoch of the loss did not repeat the name that was lost.
            vec![
                line("mount tmpfs /p/d2/d1"),
                Happening::Step,
                Happening::Race(2),
                Happening::Fault(Fault::Garbage(1)),
                line("rename /p/d2 /p/renamed"),
            ],
            // A super block that one walk told for two namespaces was lost for the first one only.
            vec![
                line("ns B slave"),
                Happening::Step,
                Happening::Fault(Fault::Full(1)),
                line("mount tmpfs /s/d3"),
                Happening::Step,
            ],
            // No scan told that options had changed.
            vec![
                line("mount tmpfs /s/d2"),
                Happening::Step,
                Happening::Fault(Fault::Full(4)),
                line("remount_super -o rw,size=2m /s/d2"),
                Happening::Step,
            ],
        ];
        for program in programs {
            let fuzzed = run(&program);
            assert!(fuzzed.losses > 0, "{program:?}");
            assert_eq!(fuzzed.failure.map(|failure| failure.found), None, "{program:?}");
        }
    }

    /// The moment matters: what is missing by then is found although more lines wait on the ring.
    #[test]
    fn a_publication_in_the_middle_is_compared_with_its_moment() {
        for silent in [0, 100] {
            let mut run = Run::new();
            run.world.kernel.hooks.faults.silent = silent;
            run.line("mount tmpfs /s/d0");
            run.world.kernel.hooks.faults.silent = 0;
            run.line("mount tmpfs /s/d1");
            let waiting = run.world.kernel.hooks.ring.len();
            run.line("mount tmpfs /s/d2");
            let World { kernel, driver } = &mut run.world;
            driver.step_partly(kernel, waiting, &mut run.history);
            let (audited, found) = (driver.audited, &driver.found);
            assert!(audited.1 > 0);
            assert_eq!(silent == 0, found.is_empty(), "{found:?}");
            assert!(found.iter().all(|line| line.starts_with("then: ")), "{found:?}");
        }
    }

    #[test]
    fn kept_seeds_hold() {
        let seeds = kept_seeds();
        assert!(!seeds.is_empty());
        for (number, flavour) in seeds {
            all(number..number + 1, flavour);
        }
    }

    #[test]
    fn sequential_programs_hold() {
        let sum = all(0..25, Flavour::Calm);
        assert!(sum.lines.0 > 500 && sum.audited.1 > 1_000, "{sum:?}");
    }

    #[test]
    fn programs_with_faults_are_repaired_and_never_silently_wrong() {
        let sum = all(0..25, Flavour::Faulty);
        assert!(sum.losses > 40 && sum.audited.1 > 500, "{sum:?}");
    }
}
