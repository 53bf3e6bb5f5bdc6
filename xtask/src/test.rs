//! `cargo xtask test`: everything, in stages, with one closing line. Virtual machines run beside each
//! other: one takes little more than one core.

mod world;

pub(crate) use self::world::{Machine, World};

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::tally::Tally;
use crate::{api, check, docs, ebpf, kernels, proto, scrape, telemetry, tidy, toolchain};

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run this stage alone, or this group of stages: check, kernel, worlds
    #[arg(long, value_name = "STAGE")]
    only: Option<String>,
}

/// A stage counts tests; one that is right or wrong as a whole is one test.
struct Stage {
    group: &'static str,
    name: &'static str,
    /// No other may run meanwhile.
    is_alone: bool,
    run: Box<dyn Fn() -> Result<Tally> + Send + Sync>,
}

/// Runs the stages; says whether nothing failed. The closing line is the last of all.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let mut stages = stages();
    if let Some(only) = &arguments.only {
        stages.retain(|stage| stage.name == only || stage.group == only);
        if stages.is_empty() {
            bail!("there is no stage {only}; there are {}", names().join(", "));
        }
    }
    let mut sum = Tally::default();
    let mut summary = String::new();
    let (alone, beside): (Vec<_>, Vec<_>) = stages.into_iter().partition(|stage| stage.is_alone);
    for (tally, line) in alone.iter().map(timed).chain(in_lanes(&beside, lanes())) {
        summary += &line;
        sum.add(tally);
    }
    print!("{summary}");
    for line in &sum.said {
        println!("{line}");
    }
    println!("{} passed, {} failed", sum.passed, sum.failed);
    Ok(sum.failed == 0)
}

/// As many machines at a time as there are cores.
fn lanes() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Runs stages beside each other; what they gave, in their order.
fn in_lanes(stages: &[Stage], lanes: usize) -> Vec<(Tally, String)> {
    let waiting: Mutex<VecDeque<_>> = Mutex::new(stages.iter().enumerate().collect());
    let done = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..lanes.min(stages.len()) {
            scope.spawn(|| {
                while let Some((place, stage)) = next() {
                    let (tally, line) = timed(stage);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((place, tally, line));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, ..)| *place);
    done.into_iter().map(|(_, tally, line)| (tally, line)).collect()
}

fn names() -> Vec<&'static str> {
    stages().iter().map(|stage| stage.name).collect()
}

fn stages() -> Vec<Stage> {
    let stage = |group, name, run: fn() -> Result<Tally>| {
        let run = Box::new(run);
        Stage { group, name, is_alone: true, run }
    };
    let mut stages = vec![
        stage("check", "format", || whole(check::format)),
        stage("check", "lints", || whole(check::lints)),
        stage("check", "tidy", || whole(tidy::run)),
        stage("check", "kernels", || whole(kernels::check)),
        stage("check", "docs", || whole(docs::check)),
        stage("check", "proto", || whole(proto::check)),
        stage("check", "api", || whole(api::check)),
        stage("check", "unit", check::tests),
        stage("kernel", "toolchain", || whole(toolchain::prepare)),
        stage("kernel", "ebpf", || whole(ebpf::check)),
        stage("kernel", "telemetry", || whole(telemetry::run)),
        stage("worlds", "scrape", || whole(scrape::run)),
    ];
    for world in world::WORLDS {
        let run = Box::new(|| world::run(world));
        let is_alone = world.is_alone();
        stages.push(Stage { group: "worlds", name: world.name, is_alone, run });
    }
    let run = Box::new(world::systemd);
    stages.push(Stage { group: "worlds", name: world::SYSTEMD, is_alone: false, run });
    stages
}

/// A chore as a test.
fn whole(chore: fn() -> Result<()>) -> Result<Tally> {
    chore().map(|()| Tally { passed: 1, ..Tally::default() })
}

/// Runs a stage, and says so in a line. One that cannot run has failed, it is never skipped.
fn timed(stage: &Stage) -> (Tally, String) {
    println!("==> {}", stage.name);
    let start = Instant::now();
    let tally = (stage.run)().unwrap_or_else(|error| {
        let said = format!("xtask: {}: {error:#}", stage.name);
        println!("{said}");
        Tally { passed: 0, failed: 1, said: vec![said] }
    });
    let seconds = start.elapsed().as_secs_f64();
    let Tally { passed, failed, .. } = &tally;
    let line = format!("<== {}: {passed} passed, {failed} failed in {seconds:.1} s\n", stage.name);
    print!("{line}");
    (tally, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_have_names_of_their_own() {
        let mut names = names();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn stages_in_lanes_run_once_each_and_are_told_in_order() {
        let stage = |name, passed| {
            let run = Box::new(move || Ok(Tally { passed, ..Tally::default() }));
            Stage { group: "x", name, is_alone: false, run }
        };
        let stages = [stage("a", 1), stage("b", 2), stage("c", 3), stage("d", 4)];
        for lanes in [1, 2, 9] {
            let told = in_lanes(&stages, lanes);
            let passed: Vec<_> = told.iter().map(|(tally, _)| tally.passed).collect();
            assert_eq!(passed, [1, 2, 3, 4]);
            assert!(told[2].1.starts_with("<== c: 3 passed"), "{}", told[2].1);
        }
    }

    #[test]
    fn a_stage_that_cannot_run_has_failed() {
        let fails = Box::new(|| bail!("cannot"));
        let stage = Stage { group: "x", name: "x", is_alone: true, run: fails };
        let said = vec!["xtask: x: cannot".to_owned()];
        assert_eq!(timed(&stage).0, Tally { passed: 0, failed: 1, said });
        let arguments = Arguments { only: Some("nosuch".into()) };
        assert!(run(&arguments).unwrap_err().to_string().contains("unit"));
    }
}
