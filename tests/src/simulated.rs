//! A simulated kernel, and the real core of mountwatch on top of it.
//!
//! The kernel is one of the generation since 6.17 (`propagate_umount` by its new rules, nullfs below
//! the root file system): a model of `fs/namespace.c` and `fs/pnode.c` in which every call is over
//! at once. The hooks of the eBPF side run at the same points and write the same bytes on a bounded
//! ring; what reads them is the library's own `decode`, `apply`, `publish`. So every scenario and
//! every random program runs without root, with faults that no real machine has on demand.
//!
//! | file | what it is |
//! |---|---|
//! | `kernel`, `tree` | nouns, keys, addresses that are used again; trees of mounts |
//! | `lookup`, `directory` | paths and directory entries |
//! | `copy`, `attach`, `umount`, `pnode` | copies, attaching, leaving, propagation |
//! | `supers`, `namespaces`, `descriptors` | options and attributes, namespaces and tasks, detached trees |
//! | `execute` | commands of the scenario language as calls |
//! | `show`, `read` | the kernel's own mountinfo: the oracle; what a reader asks |
//! | `hooks`, `records`, `ring` | the eBPF side, its bytes, its ring, and the faults |
//! | `driver` | what `agent/writer.rs` does |
//! | `mapped` | the tables in shared memory against each snapshot |
//! | `audit`, `history`, `world` | claims of a snapshot against the kernel, now and then; scenarios |
//! | `generate`, `fuzz`, `shrink` | random programs, made small when they fail |
//! | `compare` | the model against the real kernel |

mod attach;
mod audit;
mod compare;
mod copy;
mod descriptors;
mod directory;
mod driver;
mod execute;
mod fuzz;
mod generate;
mod history;
mod hooks;
mod kernel;
mod lookup;
mod mapped;
mod namespaces;
mod pnode;
mod read;
mod records;
mod ring;
mod show;
mod shrink;
mod supers;
mod tree;
mod umount;
mod world;

use crate::report::{Report, Verdict};
use crate::scenario::Scenario;
use generate::Flavour;
use std::path::Path;
use std::time::{Duration, Instant};

/// Runs every scenario in the simulated world.
pub(crate) fn run_scenarios(report: &mut Report, scenarios: &[Scenario]) {
    for scenario in scenarios {
        let verdict = match world::LEFT_OUT.iter().find(|(name, _)| *name == scenario.name) {
            Some((_, why)) => Verdict::NotClaimed((*why).to_owned()),
            None => Verdict::of(world::run(scenario)),
        };
        report.add(&scenario.name, verdict);
    }
}

/// Runs random programs, kept seeds first, for that long.
pub(crate) fn run_random(report: &mut Report, seed: u64, length: Duration) {
    let start = Instant::now();
    let fresh = (seed..).flat_map(|seed| [(seed, Flavour::Calm), (seed, Flavour::Faulty)]);
    let mut sum = fuzz::Fuzzed::default();
    let mut programs = 0;
    println!("simulated programs: seeds from {seed} on, {} seconds", length.as_secs());
    for (seed, flavour) in fuzz::kept_seeds().into_iter().chain(fresh) {
        if start.elapsed() > length {
            break;
        }
        programs += 1;
        let fuzzed = fuzz::seed(seed, flavour);
        sum.add(&fuzzed);
        if let Some(failure) = fuzzed.failure {
            for line in &failure.file {
                println!("    {line}");
            }
            return report.add("simulated", Verdict::Failed(failure.found));
        }
    }
    println!(
        "simulated programs: {programs}, {} lines, {} refused, {} losses, {} publications and {} \
         complete namespaces compared",
        sum.lines.0, sum.lines.1, sum.losses, sum.audited.0, sum.audited.1
    );
    report.add("simulated", Verdict::Passed);
}

/// The oldest kernel whose rules the model has: 6.18 differs in that the copy of an unbindable mount
/// in a new namespace is not unbindable, and before 6.17 propagation is another one.
const MODEL_OF: (u32, u32) = (7, 0);

/// Runs random programs on the real kernel and on the model, for that long.
pub(crate) fn run_model(
    report: &mut Report,
    kernel: crate::kernel::Kernel,
    base: &Path,
    (seed, length): (u64, Duration),
) {
    if !kernel.is_at_least(MODEL_OF) {
        let (major, minor) = MODEL_OF;
        let why = format!("needs kernel {major}.{minor}, the rules that the model has");
        return report.add("model", Verdict::Skipped(why));
    }
    println!("model: seeds from {seed} on, {} seconds", length.as_secs());
    let start = Instant::now();
    let (mut programs, mut lines, mut views) = (0, 0, 0);
    for seed in seed.. {
        if start.elapsed() > length {
            break;
        }
        let compared = match compare::seed(seed, base) {
            Ok(compared) => compared,
            Err(error) => {
                return report.add("model", Verdict::Failed(vec![format!("{seed}: {error:#}")]));
            }
        };
        programs += 1;
        lines += compared.lines;
        views += compared.views;
        if let Some((found, file)) = compared.difference {
            println!("    # seed {seed}: the model differs from the kernel");
            for line in file {
                println!("    {line}");
            }
            return report.add("model", Verdict::Failed(found));
        }
    }
    println!("model: {programs} programs, {lines} lines, {views} views compared");
    report.add("model", Verdict::Passed);
}
