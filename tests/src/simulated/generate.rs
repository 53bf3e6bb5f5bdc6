//! Programs of a simulated machine: lines of a scenario, one after the other, with faults between.

use crate::kernel;
use crate::program::{self, Random};
use crate::scenario::MAIN;
use std::fmt;

/// The kernel that is simulated: the operations of the table that it has.
pub(crate) const GENERATION: kernel::Kernel = kernel::Kernel { major: 7, minor: 3 };
/// Tasks that a program starts, besides `main`.
const TASKS: [&str; 6] = ["A", "B", "C", "D", "E", "F"];
/// Operations of one program.
const OPERATIONS: u64 = 120;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// A line of a scenario.
    Line(String),
    /// The writer takes what is there.
    Step,
    /// The writer takes so many records and no more.
    Part(usize),
    /// The writer scans everything, and so many of the next lines run between the lines of it.
    Race(usize),
    /// Something goes wrong from now on.
    Fault(Fault),
}

/// What goes wrong, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The ring is full.
    Full(u32),
    /// Bytes are no record.
    Garbage(u32),
    /// The kernel skips programs.
    Skipped(u32),
    /// Walks end early.
    Cut(u32),
    /// The table of roots is full.
    Roots(u32),
    /// The core panics at one of the next events.
    Panic(u32),
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => f.write_str(line),
            Self::Step => f.write_str("# the writer takes what is there"),
            Self::Part(records) => write!(f, "# the writer takes {records} records"),
            Self::Race(lines) => write!(f, "# a scan of everything, the next {lines} lines in it"),
            Self::Fault(fault) => write!(f, "# fault: {fault:?}"),
        }
    }
}

/// What is to come out of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Lines alone, each followed by a step.
    Calm,
    /// With races and faults.
    Faulty,
    /// Lines that mean the same on a real machine.
    Real,
}

/// The program of a seed, without the preparation.
pub(crate) fn program(seed: u64, flavour: Flavour) -> Vec<Happening> {
    let mut random = Random::new(seed);
    let mut happenings = Vec::new();
    // More places than the preparation makes, so that less is refused.
    for root in ["/s", "/p"] {
        for first in 0..5 {
            for second in 0..5 {
                if random.below(2) == 0 {
                    let line = format!("mkdir -p {root}/d{first}/d{second}");
                    happenings.push(Happening::Line(line));
                }
            }
        }
    }
    for (index, how) in ["peer", "slave", "private"].into_iter().enumerate() {
        if random.below(3) > 0 {
            happenings.push(Happening::Line(format!("ns {} {how}", TASKS[index])));
        }
    }
    for _ in 0..OPERATIONS {
        let lines = if random.below(8) == 0 {
            task_operation(&mut random, flavour)
        } else if random.below(16) == 0 {
            chain(&mut random)
        } else {
            let task = task(&mut random);
            let lines = program::operation(&mut random, GENERATION, true);
            lines.into_iter().map(|line| format!("{task}: {line}")).collect()
        };
        happenings.extend(lines.into_iter().map(Happening::Line));
        happenings.extend(around(&mut random, flavour));
    }
    happenings
}

fn around(random: &mut Random, flavour: Flavour) -> Vec<Happening> {
    if flavour != Flavour::Faulty {
        return vec![Happening::Step];
    }
    let mut found = Vec::new();
    let count = |random: &mut Random, most: u64| u32::try_from(random.below(most)).unwrap_or(0) + 1;
    if random.below(6) == 0 {
        found.push(Happening::Fault(match random.below(6) {
            0 => Fault::Full(count(random, 12)),
            1 => Fault::Garbage(count(random, 4)),
            2 => Fault::Skipped(count(random, 3)),
            3 => Fault::Cut(count(random, 2)),
            4 => Fault::Roots(count(random, 3)),
            _ => Fault::Panic(count(random, 20)),
        }));
    }
    match random.below(8) {
        0 => found.push(Happening::Race(count(random, 8) as usize)),
        1..=3 => found.push(Happening::Step),
        4 | 5 => found.push(Happening::Part(count(random, 12) as usize)),
        _ => {}
    }
    found
}

fn task(random: &mut Random) -> &'static str {
    if random.below(3) == 0 { MAIN } else { random.pick(&TASKS) }
}

/// A mount becomes the master of a group of its own copies: chance alone rarely makes chains.
fn chain(random: &mut Random) -> Vec<String> {
    let task = task(random);
    let (from, to) = (program::place(random), program::place(random));
    vec![
        format!("{task}: make shared {from}"),
        format!("{task}: bind {from} {to}"),
        format!("{task}: make slave {to}"),
        format!("{task}: make shared {to}"),
    ]
}

/// Lines about tasks, namespaces and root directories.
fn task_operation(random: &mut Random, flavour: Flavour) -> Vec<String> {
    let (task, other) = (task(random), task(random));
    let new = random.pick(&TASKS);
    let how = random.pick(&["peer", "slave", "private", "user"]);
    let place = program::place(random);
    // A real task with another root directory would be at work on the machine's own files.
    let kinds = if flavour == Flavour::Real { 6 } else { 9 };
    match random.below(kinds) {
        0 | 1 => vec![format!("ns {new} of {task} {how}")],
        2 => vec![format!("exit {new}")],
        3 => vec![format!("{task}: setns {other}")],
        4 => vec![format!("{task}: open_ns mnt of {other} as k")],
        5 => vec![format!("{task}: close @k")],
        6 => vec![format!("{task}: chroot {place}")],
        7 => vec![
            format!("{task}: open_tree -n -r {place} as k"),
            format!("{other}: take k from {task}"),
            format!("{other}: setns -r @k"),
        ],
        _ => vec![
            format!("{task}: switch_root {place}"),
            format!("{task}: mkdir /old"),
            format!("{task}: mount tmpfs /old"),
            format!("{task}: mkdir /old/old"),
            format!("{task}: pivot_root /old /old/old"),
            format!("{task}: umount -l /old"),
        ],
    }
}
